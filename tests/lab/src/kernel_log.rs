// SPDX-License-Identifier: GPL-2.0-only

//! Tells the lines of a kernel log that must fail a run.

/// What a kernel writes when something is wrong with it or with a driver. Matched anywhere in a line, since lockdep,
/// KASAN and the hung-task detector each have their own way to begin.
const TROUBLE: &[&str] = &[
    "WARNING:",
    "BUG:",
    "kernel BUG at",
    "Oops",
    "Kernel panic",
    "general protection fault",
    "Unable to handle",
    "unable to handle",
    "KASAN:",
    "KFENCE:",
    "UBSAN:",
    "kmemleak:",
    "INFO: task ",
    "blocked for more than",
    "soft lockup",
    "hard LOCKUP",
    "self-detected stall",
    "detected stalls",
    "detected expedited stalls",
    "possible circular locking",
    "possible recursive locking",
    "possible irq lock inversion",
    "inconsistent lock state",
    "Invalid wait context",
    "suspicious RCU usage",
    "held lock freed",
    "trying to register non-static key",
    "turning off the locking correctness validator",
    "lock held when returning to user space",
    "sleeping function called from invalid context",
    "scheduling while atomic",
    "list_add corruption",
    "list_del corruption",
    "refcount_t:",
    "ODEBUG:",
    "DMA-API:",
    "unregister_netdevice: waiting for",
    "rust_kernel: panicked",
    // The module's own.
    "objects outlived their device",
];

/// Lines that look like trouble and are not: what these kernels say of a healthy guest.
const HARMLESS: &[&str] = &[
    // Printed at boot by KASAN, kmemleak, lockdep and the DMA API's checks when they come up.
    "KernelAddressSanitizer initialized",
    "kmemleak: Kernel memory leak detector initialized",
    "kmemleak: Automatic memory scanning thread started",
    "DMA-API: preallocated",
    "DMA-API: debugging enabled",
];

/// True when the line is one that fails a run.
pub fn is_trouble(line: &str) -> bool {
    TROUBLE.iter().any(|sign| line.contains(sign))
        && !HARMLESS.iter().any(|known| line.contains(known))
}

#[cfg(test)]
mod tests {
    use super::is_trouble;

    #[test]
    fn real_reports_are_trouble() {
        for line in [
            "[   12.345678] WARNING: drivers/thunderbolt/nhi.c:123 at tb_ring_start+0x12/0x34 [thunderbolt], CPU#0: x/1",
            "[    5.0] BUG: KASAN: slab-use-after-free in foo+0x1/0x2",
            "[    5.0] BUG: kernel NULL pointer dereference, address: 0000000000000000",
            "[   60.0] INFO: task kworker/0:1:9 blocked for more than 60 seconds.",
            "[    1.0] WARNING: possible circular locking dependency detected",
            "[    9.9] rcu: INFO: rcu_preempt self-detected stall on CPU",
            "[    9.9] rcu: INFO: rcu_preempt detected expedited stalls on CPUs/tasks: { 0-...D }",
            "[    9.9] INFO: trying to register non-static key.",
            "[    9.9] refcount_t: underflow; use-after-free.",
            "[    9.9] DMA-API: thunderbolt 0000:00:06.0: device driver frees DMA memory with different size",
            "[    9.9] usb4_rxe: objects outlived their device; their memory stays taken until the next boot; please report this",
        ] {
            assert!(is_trouble(line), "{line}");
        }
    }

    #[test]
    fn ordinary_lines_are_not() {
        for line in [
            "[    0.000000] Linux version 7.2.12+deb13-amd64",
            "[    3.1] thunderbolt 0000:00:04.0: enabling device (0000 -> 0002)",
            "[    0.1] kmemleak: Kernel memory leak detector initialized (mem pool available: 15679)",
            "[    1.391518] DMA-API: preallocated 65536 debug entries",
            "[    1.392022] DMA-API: debugging enabled by kernel config",
            "[    0.5] usb4_rxe: loading out-of-tree module taints kernel.",
        ] {
            assert!(!is_trouble(line), "{line}");
        }
    }
}
