// SPDX-License-Identifier: GPL-2.0-only

//! How a message of the handshake travels: as an XDomain control message.
//!
//! ```text
//!    dword  0  1   route to the receiver's end of the cable, high and low
//!           2      length of what follows in dwords: 5 bits 0 to 5
//!           3..6   UUID of our protocol
//!           7..10  UUID of the sending host router
//!          11..14  UUID of the receiving host router
//!          15      bit 31: this is an answer; below it a number, the same in question and answer
//!          16..25  the message, see `hello`
//! ```
//!
//! The first seven dwords are what the Thunderbolt core looks at. Control messages are dwords, which
//! the core brings into network order on the wire: here they are in this machine's, and the UUIDs as
//! the core keeps them in memory.
//!
//! The core hands us questions and answers alike and compares an answer with nothing but route and
//! protocol, hence bit and number: an answer that is late must not answer the next question.

use core::fmt;

use super::hello::{self, Message};
use super::FrameError;

/// Length in bytes.
pub const LEN: usize = HEADER + hello::LEN;
const HEADER: usize = 16 * 4;
/// Dwords that the length does not count.
const UNCOUNTED: usize = 3;
const LENGTH_MASK: u32 = 0x3f;
const ANSWER: u32 = 1 << 31;
/// The core may set this bit in a route; it is not part of it.
const ROUTE_FLAG: u64 = 1 << 63;

/// A UUID as the core keeps it in memory.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
#[repr(transparent)]
pub struct Uuid(pub [u8; 16]);

impl fmt::Display for Uuid {
    /// As the core shows it: in the order of memory.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, byte) in self.0.iter().enumerate() {
            let dash = if matches!(at, 4 | 6 | 8 | 10) {
                "-"
            } else {
                ""
            };
            write!(f, "{dash}{byte:02x}")?;
        }
        Ok(())
    }
}

/// Our protocol: 2f68a8ca-2b74-45e3-abdc-9583104fc052.
pub const PROTOCOL: Uuid = Uuid([
    0x2f, 0x68, 0xa8, 0xca, 0x2b, 0x74, 0x45, 0xe3, 0xab, 0xdc, 0x95, 0x83, 0x10, 0x4f, 0xc0, 0x52,
]);

/// A message and where it goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Envelope {
    /// The receiver's end of the cable.
    pub route: u64,
    /// The sending host router.
    pub from: Uuid,
    /// The receiving one.
    pub to: Uuid,
    /// It answers the message of the same number.
    pub is_answer: bool,
    /// Below 2^31.
    pub number: u32,
    /// The message.
    pub message: Message,
}

impl Envelope {
    /// Reads a message.
    ///
    /// # Errors
    ///
    /// If it is not one of ours.
    pub fn parse(bytes: &[u8]) -> Result<Self, FrameError> {
        let bytes: &[u8; LEN] = bytes.try_into().map_err(|_| FrameError::Length)?;
        if (dword(bytes, 2) & LENGTH_MASK) as usize != LEN / 4 - UNCOUNTED {
            return Err(FrameError::Length);
        }
        if uuid(bytes, 3) != PROTOCOL {
            return Err(FrameError::Magic);
        }
        let mut body = [0; hello::LEN];
        swap(&bytes[HEADER..], &mut body);
        let number = dword(bytes, 15);
        Ok(Self {
            route: (u64::from(dword(bytes, 0)) << 32 | u64::from(dword(bytes, 1))) & !ROUTE_FLAG,
            from: uuid(bytes, 7),
            to: uuid(bytes, 11),
            is_answer: number & ANSWER != 0,
            number: number & !ANSWER,
            message: Message::parse(&body)?,
        })
    }

    /// Writes a message.
    pub fn emit(&self) -> [u8; LEN] {
        let mut bytes = [0; LEN];
        let number = self.number & !ANSWER | if self.is_answer { ANSWER } else { 0 };
        // Both halves of the route, the length, a small constant.
        #[allow(clippy::cast_possible_truncation)]
        let head = [
            (self.route >> 32) as u32,
            self.route as u32,
            (LEN / 4 - UNCOUNTED) as u32,
        ];
        for (at, value) in head.into_iter().enumerate() {
            put(&mut bytes, at, &value.to_ne_bytes());
        }
        put(&mut bytes, 3, &PROTOCOL.0);
        put(&mut bytes, 7, &self.from.0);
        put(&mut bytes, 11, &self.to.0);
        put(&mut bytes, 15, &number.to_ne_bytes());
        swap(&self.message.emit(), &mut bytes[HEADER..]);
        bytes
    }
}

fn dword(bytes: &[u8; LEN], at: usize) -> u32 {
    let mut value = [0; 4];
    value.copy_from_slice(&bytes[at * 4..at * 4 + 4]);
    u32::from_ne_bytes(value)
}

fn uuid(bytes: &[u8; LEN], at: usize) -> Uuid {
    let mut value = [0; 16];
    value.copy_from_slice(&bytes[at * 4..at * 4 + 16]);
    Uuid(value)
}

fn put(bytes: &mut [u8; LEN], at: usize, value: &[u8]) {
    bytes[at * 4..at * 4 + value.len()].copy_from_slice(value);
}

/// Between dwords of this machine and bytes in network order.
fn swap(from: &[u8], into: &mut [u8]) {
    for (from, into) in from.chunks_exact(4).zip(into.chunks_exact_mut(4)) {
        let mut value = [0; 4];
        value.copy_from_slice(from);
        into.copy_from_slice(&u32::from_be_bytes(value).to_ne_bytes());
    }
}
