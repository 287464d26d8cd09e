// SPDX-License-Identifier: GPL-2.0-only

//! The egress: packets over USB4 DMA rings.
//!
//! [`rail`] is pure and says what goes into which frame of which cable. The kernel's side, which
//! owns rings and buffers, calls it.

pub mod rail;
