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

use kernel::debugfs::{Dir, File};
use kernel::fmt;
use kernel::prelude::*;

use super::peers;

/// The file, while this lives.
pub struct Status(#[allow(dead_code)] Pin<KBox<File<()>>>);

impl Status {
    /// Makes it.
    ///
    /// # Errors
    ///
    /// `ENOMEM`. A kernel without debugfs is none.
    pub fn new() -> Result<Self> {
        let dir = Dir::new(c"usb4_rxe");
        let file = KBox::pin_init(dir.read_callback_file(c"peers", (), &show), GFP_KERNEL)?;
        Ok(Self(file))
    }
}

fn show(_: &(), f: &mut fmt::Formatter<'_>) -> fmt::Result {
    peers::show(f)
}
