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
pub mod usb4;
