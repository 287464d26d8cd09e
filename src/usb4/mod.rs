// SPDX-License-Identifier: GPL-2.0-only

//! The egress: packets over USB4 DMA rings.
//!
//! [`rail`] is pure and says what goes into which frame of which cable; the host's library has it
//! from `lib.rs`. [`wire`] drives it over [`ring`]s. [`netdev`] is the Ethernet interface beside the
//! RDMA device.
//!
//! ```text
//!   service --> cable --> peers --> peer --> wire --> ring     who comes and goes, see docs/handshake.md
//!      '--- xdomain ---'              '--> ethernet: usb4ethN; verbs::link: usb4_rxeN
//! ```

pub mod buffers;
pub mod cable;
pub mod crc;
pub mod ethernet;
pub mod netdev;
pub mod peer;
pub mod peers;
pub mod rail;
pub mod ring;
pub mod service;
pub mod status;
pub mod wire;
pub mod xdomain;
mod xmit;
