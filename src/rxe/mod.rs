// SPDX-License-Identifier: GPL-2.0-only

//! The RoCEv2 engine: pure Rust, no I/O, no clock, no allocation per packet.

pub mod access;
mod completer;
pub mod cqe;
pub mod env;
pub mod error;
pub mod events;
pub mod icrc;
pub mod inbound;
pub mod mtu;
pub mod opcode;
pub mod path;
pub mod psn;
pub mod qp;
pub mod qpn;
pub mod rate;
pub mod requester;
pub mod responder;
pub mod retry;
pub mod round;
pub mod sge;
pub mod srq;
pub mod storage;
pub mod time;
pub mod user_abi;
pub mod wire;
pub mod wqe;
