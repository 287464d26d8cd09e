// SPDX-License-Identifier: GPL-2.0-only

//! Whose turn it is: RDMA goes first, and plain Ethernet is not starved.

use crate::usb4::rail::config::ETHERNET_SHARE;

/// What RDMA sent while Ethernet waited.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Turn {
    rdma: u32,
}

impl Turn {
    /// Whether Ethernet, which waits with `frames` frames, goes before RDMA.
    pub fn is_ethernet(&self, frames: u32) -> bool {
        self.rdma >= ETHERNET_SHARE.saturating_mul(frames)
    }

    /// RDMA sent `frames` frames.
    pub fn rdma_sent(&mut self, frames: u32, ethernet_waits: bool) {
        self.rdma = if ethernet_waits {
            self.rdma.saturating_add(frames)
        } else {
            0
        };
    }

    /// Ethernet sent.
    pub fn ethernet_sent(&mut self) {
        self.rdma = 0;
    }
}
