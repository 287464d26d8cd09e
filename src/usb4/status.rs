// SPDX-License-Identifier: GPL-2.0-only

//! What people can look at: `/sys/kernel/debug/usb4_rxe/peers`.
//!
//! ```text
//!   usb4eth0: 80 Gb/s
//!     host router 3d4b8a00-...
//!     rail 0: cable 0-1, 40 Gb/s, life 1, e2e, HopIDs out 8 in 8, rings out 1 in 1, peer's ring 511
//!     rail 1: cable 1-1, ...
//!     sending, receiving, lives     a table of the rails: see `rail::tally`
//!     all rails                     counters of the wire, in `ethtool -S` with `wire_` in front
//!     RDMA, of rdma statistic       those that should be rare
//! ```
//!
//! It is text for people, and may change. `docs/status.md` says how to read it.

use kernel::ffi::c_int;
use kernel::prelude::*;
use kernel::seq_file::SeqFile;
use kernel::seq_print;

use super::peers;

/// The file, while this lives. As long as somebody has it open the module stays.
///
/// # Invariants
///
/// What [`compat::usb4_rxe_status_create`] returned, not removed yet.
pub struct Status(*mut compat::dentry);

// SAFETY: The pointer is only handed back, by whoever drops it.
unsafe impl Send for Status {}
// SAFETY: As above.
unsafe impl Sync for Status {}

impl Status {
    /// Makes it. A kernel without debugfs has none, and that is no error.
    pub fn new() -> Self {
        // SAFETY: The names end with a zero; `show` is as the function asks for it.
        let dir = unsafe {
            compat::usb4_rxe_status_create(
                c"usb4_rxe".as_char_ptr(),
                c"peers".as_char_ptr(),
                Some(show),
            )
        };
        // INVARIANT: Just made.
        Self(dir)
    }
}

impl Drop for Status {
    fn drop(&mut self) {
        // SAFETY: By the type's invariants; nobody else has the pointer.
        unsafe { compat::usb4_rxe_status_remove(self.0) };
    }
}

/// # Safety
///
/// As the core calls it.
unsafe extern "C" fn show(seq: *mut compat::seq_file) -> c_int {
    // SAFETY: The core hands in a file that nobody else uses during the call.
    let seq = unsafe { SeqFile::from_raw(seq.cast()) };
    seq_print!(seq, "{}", Peers);
    0
}

/// What the file says.
struct Peers;

impl kernel::fmt::Display for Peers {
    fn fmt(&self, f: &mut kernel::fmt::Formatter<'_>) -> kernel::fmt::Result {
        peers::show(f)
    }
}
