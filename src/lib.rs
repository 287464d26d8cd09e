// SPDX-License-Identifier: GPL-2.0-only

//! Host root of `usb4_rxe`: the pure modules only.
//!
//! Everything below this root knows no kernel, no clock, no lock and no `unsafe`; the kernel root
//! (`usb4_rxe.rs`) compiles the same files unchanged.

#![forbid(unsafe_code)]
#![cfg_attr(not(test), no_std)]

#[cfg(feature = "host")]
pub mod host;
pub mod rxe;

/// The egress: packets over USB4 DMA rings. Here its pure part; `usb4/mod.rs` is the kernel's.
pub mod usb4 {
    pub mod rail;
}
