// SPDX-License-Identifier: GPL-2.0-only

//! Chooses QEMU's accelerator: KVM where a guest really boots with it, TCG everywhere else.
//!
//! `/dev/kvm` alone proves nothing (nested and emulated KVM exist that cannot run a kernel), so the first run after
//! a host's boot starts a kernel to the end of its initramfs with KVM and remembers the outcome.

use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use anyhow::Result;

use crate::cache::{Cache, Kernel};
use crate::interrupt::interrupted;

/// Time a guest gets to reach user space with KVM; it needs one to two seconds where KVM works.
const PROBE_TIME: Duration = Duration::from_secs(10);

/// How guests execute.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Accelerator {
    /// Hardware virtualisation.
    Kvm,
    /// Emulation; works everywhere.
    Tcg,
}

impl Accelerator {
    /// The accelerator for this host: as remembered since its boot, otherwise probed.
    pub fn detect(cache: &Cache, kernel: &Kernel) -> Result<Self> {
        let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        let fact = cache.facts().join("kvm-works");
        if let Ok(known) = std::fs::read_to_string(&fact) {
            if let Some(works) = known.strip_prefix(boot.as_str()) {
                return Ok(if works == "yes" { Self::Kvm } else { Self::Tcg });
            }
        }
        let works = std::fs::File::options()
            .read(true)
            .write(true)
            .open("/dev/kvm")
            .is_ok()
            && boots_with_kvm(cache, kernel);
        if interrupted() {
            // A probe that was cut short proves nothing.
            return Ok(Self::Tcg);
        }
        // Only a shortcut for the next run: a cache that cannot be written costs another probe.
        let _ = std::fs::write(&fact, format!("{boot}{}", if works { "yes" } else { "no" }));
        Ok(if works { Self::Kvm } else { Self::Tcg })
    }

    /// QEMU's arguments for it.
    pub fn arguments(self) -> [&'static str; 4] {
        match self {
            Self::Kvm => ["-accel", "kvm", "-cpu", "host"],
            Self::Tcg => ["-accel", "tcg,thread=multi", "-cpu", "max"],
        }
    }
}

fn boots_with_kvm(cache: &Cache, kernel: &Kernel) -> bool {
    let Ok(dir) = tempfile::tempdir() else {
        return false;
    };
    let console = dir.path().join("console");
    let mut qemu = cache.qemu();
    qemu.args(Accelerator::Kvm.arguments())
        .args([
            "-machine",
            "q35",
            "-m",
            "256M",
            "-nodefaults",
            "-display",
            "none",
            "-no-reboot",
            "-run-with",
            "exit-with-parent=on",
            "-serial",
        ])
        .arg(format!("file:{}", console.display()))
        .arg("-kernel")
        .arg(kernel.dir.join("vmlinuz"))
        .arg("-initrd")
        .arg(kernel.dir.join("initrd"))
        .args(["-append", "console=ttyS0 quiet panic=-1 lab.probe"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let Ok(mut child) = qemu.spawn() else {
        return false;
    };
    wait_at_most(&mut child, PROBE_TIME);
    std::fs::read(&console)
        .is_ok_and(|text| String::from_utf8_lossy(&text).contains("lab: probe ok"))
}

fn wait_at_most(child: &mut Child, limit: Duration) {
    let deadline = Instant::now() + limit;
    while Instant::now() < deadline && !interrupted() {
        if !matches!(child.try_wait(), Ok(None)) {
            return;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    let _ = child.kill();
    let _ = child.wait();
}
