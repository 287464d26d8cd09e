// SPDX-License-Identifier: GPL-2.0-only

//! The RoCEv2 engine: pure Rust, no I/O, no clock, no allocation per packet.

pub mod icrc;
pub mod mtu;
pub mod opcode;
pub mod psn;
pub mod qpn;
pub mod time;
pub mod wire;
