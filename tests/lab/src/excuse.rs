// SPDX-License-Identifier: GPL-2.0-only

//! What fails a run though nothing here is to blame: such a run says nothing, and is made once more (docs/lab.md).

use std::fmt;

use crate::accel::Accelerator;

/// Who is to blame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Excuse {
    /// QEMU's emulation: an emulated CPU now and then runs into the breakpoint that another one has just replaced by code.
    Emulation,
    /// The Thunderbolt core: it frees an answer of its own to a request for properties while what comes in is still
    /// compared with it.
    CoresAnswer,
}

impl fmt::Display for Excuse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Emulation => "QEMU's emulation, not the kernel",
            Self::CoresAnswer => {
                "a known fault of the Thunderbolt core, in nothing of this project's"
            }
        })
    }
}

/// Whether QEMU's emulation is to blame for a line of the kernel's. Only for that of a guest that boots, which has loaded
/// nothing of ours yet.
pub fn is_emulations(line: &str, is_booting: bool, accelerator: Accelerator) -> bool {
    accelerator == Accelerator::Tcg && is_booting && line.contains("Oops: int3: 0000")
}

/// How the report of the core's answer begins.
const CORES_ANSWER: &str = "BUG: KASAN: slab-use-after-free in tb_xdomain_match+";

/// Whether a line begins a report that may be of the core's answer.
pub fn begins_cores_answer(line: &str) -> bool {
    line.contains(CORES_ANSWER)
}

/// Whether such reports in a kernel's log are all of an answer of the core's: the core's own handler allocated it and freed
/// it, and no function of another module is named. (The memory could as well be of an answer that a driver gave.)
pub fn is_cores_answer(log: &str) -> bool {
    let mut reports = log.split(CORES_ANSWER).skip(1).peekable();
    reports.peek().is_some()
        && reports.all(|report| {
            let (report, _) = report
                .split_once("Memory state around")
                .unwrap_or((report, ""));
            let Some((_, history)) = report.split_once("Allocated by task") else {
                return false;
            };
            let Some((allocated, freed)) = history.split_once("Freed by task") else {
                return false;
            };
            [allocated, freed]
                .iter()
                .all(|part| part.contains(" tb_xdp_handle_request+"))
                && !report.contains("[usb4_rxe]")
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn emulation_is_to_blame_for_breakpoints_at_boot_only() {
        use Accelerator::{Kvm, Tcg};
        let breakpoint = "[    1.652873] Oops: int3: 0000 [#1] SMP NOPTI";
        assert!(is_emulations(breakpoint, true, Tcg));
        assert!(!is_emulations(breakpoint, true, Kvm));
        assert!(!is_emulations(breakpoint, false, Tcg));
        let other = "[    1.652873] Oops: general protection fault";
        assert!(!is_emulations(other, true, Tcg));
    }

    const REPORT: &str = "\
[   43.932316] BUG: KASAN: slab-use-after-free in tb_xdomain_match+0x89/0xe0 [thunderbolt]
[   43.935550] Read of size 4 at addr ffff88800648a600 by task kworker/0:0/9
[   43.946983]  tb_ctl_rx_callback+0x42b/0x720 [thunderbolt]
[   43.954688] Allocated by task 9:
[   43.955748]  tb_xdp_handle_request+0xbe7/0x1040 [thunderbolt]
[   43.960104] Freed by task 9:
[   43.962623]  tb_xdp_handle_request+0x102b/0x1040 [thunderbolt]
[   43.973938] Memory state around the buggy address:
[   80.0] usb4_rxe: usb4eth0: rail 0 is up [usb4_rxe]
";

    #[test]
    fn the_core_is_to_blame_for_its_own_answer_only() {
        assert!(begins_cores_answer(REPORT.lines().next().unwrap()));
        assert!(is_cores_answer(REPORT));
        assert!(is_cores_answer(&[REPORT, REPORT].concat()));
        let ours = REPORT.replace(
            "tb_xdp_handle_request+0x102b/0x1040 [thunderbolt]",
            "usb4_rxe_answer_free+0x1/0x2 [usb4_rxe]",
        );
        assert!(!is_cores_answer(&ours));
        assert!(!is_cores_answer(&[REPORT, &ours].concat()));
        let in_its_trace = REPORT.replace(
            "tb_ctl_rx_callback+0x42b/0x720 [thunderbolt]",
            "f+0x1/0x2 [usb4_rxe]",
        );
        assert!(!is_cores_answer(&in_its_trace));
        let cut_off = REPORT.split("Freed by").next().unwrap();
        assert!(!is_cores_answer(cut_off));
        assert!(!is_cores_answer("nothing"));
    }
}
