// SPDX-License-Identifier: GPL-2.0-only

//! RoCEv2 on the wire: bytes to typed packets and back, without allocation or trust.
//!
//! ```text
//!   | Ethernet | IPv4 or IPv6 | UDP 4791 | BTH | extension headers | payload | pad | ICRC |
//!                                              '------ Body ------'
//!   '------------------------ packet::Repr ----------------------'
//! ```
//!
//! Each header has a file with two levels: `Header`, its layout in the buffer, and `Repr`, its
//! meaning, which can only hold what is legal. [`Body`] ties the opcode to its extension headers,
//! [`packet`] strings everything together to send it, [`received`] takes it apart again.

pub(crate) mod checksum;
mod cursor;

pub mod aeth;
pub mod atomic;
pub mod atomic_write;
pub mod body;
pub mod bth;
pub mod deth;
pub mod error;
pub mod ethernet;
pub mod feth;
pub mod grh;
pub mod ieth;
pub mod immdt;
pub mod ip;
pub mod ipv4;
pub mod ipv6;
pub mod packet;
pub mod received;
pub mod reth;
pub mod udp;

pub use aeth::{Credits, Nak, Repr as Aeth, Syndrome};
pub use atomic::{AckRepr as AtomicAckEth, Repr as AtomicEth};
pub use atomic_write::Data as AtomicWriteData;
pub use body::{Body, Rc, RcTail, ReadResponse, Send, Uc, Ud, Write};
pub use bth::Repr as Bth;
pub use deth::Repr as Deth;
pub use error::{EmitError, ParseError};
pub use ethernet::{MacAddr, Repr as Ethernet};
pub use feth::{Repr as Feth, Selectivity};
pub use ieth::Repr as Ieth;
pub use immdt::Imm;
pub use ip::Ip;
pub use ipv4::Repr as Ipv4;
pub use ipv6::{FlowLabel, Repr as Ipv6};
pub use packet::{Repr as PacketRepr, Started, Trailer};
pub use received::{Check, Headers, Packet};
pub use reth::Repr as Reth;
pub use udp::Repr as Udp;
