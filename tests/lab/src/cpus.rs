// SPDX-License-Identifier: GPL-2.0-only

//! Guests' CPUs give way to their devices.
//!
//! The fabric and QEMU's main loop stand for hardware: the copy of a frame, an interrupt on its way. On a machine
//! with no CPU to spare they would wait for milliseconds behind a guest that spins, which no hardware does, and a
//! latency would be that of the host's scheduler. A guest's CPUs are therefore a little less urgent than they are.

use std::fs;

use rustix::process::{getpriority_process, setpriority_process, Pid};

/// Enough to be preempted by a thread that wakes; little enough to get along with whatever else the machine does.
const NICER: i32 = 5;

/// Makes the CPUs of a QEMU less urgent than its other threads. Without a right to do so nothing happens.
pub fn give_way(qemu: u32) {
    let Ok(threads) = fs::read_dir(format!("/proc/{qemu}/task")) else {
        return;
    };
    for thread in threads.flatten() {
        // "CPU 0/TCG", "CPU 1/KVM"
        let is_cpu = fs::read_to_string(thread.path().join("comm"))
            .is_ok_and(|name| name.starts_with("CPU "));
        let id = thread.file_name().to_str().and_then(|id| id.parse().ok());
        if let Some(id) = id.filter(|_| is_cpu).and_then(Pid::from_raw) {
            // The lab as a whole may have been made less urgent already.
            if let Ok(nice) = getpriority_process(Some(id)) {
                let _ = setpriority_process(Some(id), nice + NICER);
            }
        }
    }
}
