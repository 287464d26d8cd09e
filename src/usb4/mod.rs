// SPDX-License-Identifier: GPL-2.0-only

//! The egress: packets over USB4 DMA rings.
//!
//! [`rail`] is pure and says what goes into which frame of which cable; the host's library has it
//! from `lib.rs`. [`wire`] drives it over [`ring`]s. [`netdev`] is the Ethernet interface beside the
//! RDMA device.

pub mod buffers;
pub mod crc;
pub mod netdev;
pub mod rail;
pub mod ring;
pub mod wire;
mod xmit;
