// SPDX-License-Identifier: GPL-2.0-only

//! A control packet: up to 63 big-endian words and a CRC32C. Its kind is the frame's end-of-frame PDF.
//!
//! ```text
//!            31            22 21                             0
//!          +-----------------+-------------------------------+
//!  word 0  | bit 31: reply   | route, high part              |
//!          +-----------------+-------------------------------+
//!  word 1  | route, low part: the adapter to leave the       |
//!          | first router by in bits 7:0, and so on          |
//!          +-------------------------------------------------+
//!  ...     | as the kind has it                              |
//!          +-------------------------------------------------+
//!  last    | CRC32C of all bytes before it                   |
//!          +-------------------------------------------------+
//! ```

/// Bytes of the largest packet, CRC included.
pub const MAX_LEN: usize = 256;
/// In word 0 of what a router sends.
pub const REPLY: u32 = 1 << 31;
/// The part of word 0 that belongs to the route.
const ROUTE_HIGH: u32 = (1 << 22) - 1;

/// What a packet is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Read configuration space, and its response.
    Read,
    /// Write configuration space, and its response.
    Write,
    /// An error as response, or a plug event acknowledged.
    Error,
    /// A notification acknowledged.
    NotifyAck,
    /// A cable was plugged or unplugged.
    Event,
    /// From connection manager to connection manager.
    XdomainRequest,
    /// The answer to that.
    XdomainResponse,
}

impl Kind {
    /// The kind of a PDF.
    #[must_use]
    pub fn from_pdf(pdf: u8) -> Option<Self> {
        Some(match pdf {
            1 => Self::Read,
            2 => Self::Write,
            3 => Self::Error,
            4 => Self::NotifyAck,
            5 => Self::Event,
            6 => Self::XdomainRequest,
            7 => Self::XdomainResponse,
            _ => return None,
        })
    }

    /// Its PDF.
    #[must_use]
    pub fn pdf(self) -> u8 {
        match self {
            Self::Read => 1,
            Self::Write => 2,
            Self::Error => 3,
            Self::NotifyAck => 4,
            Self::Event => 5,
            Self::XdomainRequest => 6,
            Self::XdomainResponse => 7,
        }
    }
}

/// A packet whose CRC was right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packet {
    /// What it is.
    pub kind: Kind,
    /// Its words, CRC not included; never fewer than two.
    words: Vec<u32>,
}

impl Packet {
    /// A packet of a router or connection manager: the route with its reply bit, then the rest.
    #[must_use]
    pub fn new(kind: Kind, reply: bool, route: u64, rest: &[u32]) -> Self {
        let mut words = Vec::with_capacity(2 + rest.len());
        let [low, high] = halves(route);
        words.push(high & ROUTE_HIGH | if reply { REPLY } else { 0 });
        words.push(low);
        words.extend_from_slice(rest);
        words.truncate(MAX_LEN / 4 - 1);
        Self { kind, words }
    }

    /// Takes the bytes of a frame apart; `None` when they are no packet or the CRC is wrong.
    #[must_use]
    pub fn parse(pdf: u8, bytes: &[u8]) -> Option<Self> {
        let kind = Kind::from_pdf(pdf)?;
        if bytes.len() > MAX_LEN || bytes.len() % 4 != 0 {
            return None;
        }
        let (body, crc) = bytes.split_last_chunk::<4>()?;
        if body.len() < 8 || crc32c::crc32c(body) != u32::from_be_bytes(*crc) {
            return None;
        }
        let words = body
            .chunks_exact(4)
            .filter_map(|word| Some(u32::from_be_bytes(word.try_into().ok()?)))
            .collect();
        Some(Self { kind, words })
    }

    /// The bytes of its frame.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes: Vec<u8> = self.words.iter().flat_map(|w| w.to_be_bytes()).collect();
        let crc = crc32c::crc32c(&bytes);
        bytes.extend_from_slice(&crc.to_be_bytes());
        bytes
    }

    /// The route, without the bits above it.
    #[must_use]
    pub fn route(&self) -> u64 {
        match self.words[..] {
            [high, low, ..] => u64::from(high & ROUTE_HIGH) << 32 | u64::from(low),
            _ => 0,
        }
    }

    /// The words after the route.
    #[must_use]
    pub fn rest(&self) -> &[u32] {
        self.words.get(2..).unwrap_or(&[])
    }
}

/// The low and the high word.
fn halves(value: u64) -> [u32; 2] {
    let [a, b, c, d, e, f, g, h] = value.to_le_bytes();
    [
        u32::from_le_bytes([a, b, c, d]),
        u32::from_le_bytes([e, f, g, h]),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn packets_are_big_endian_words_and_a_crc() {
        let packet = Packet::new(Kind::Event, true, 0x0000_0001_0203, &[0x8000_0001]);
        let bytes = packet.to_bytes();
        assert_eq!(
            bytes[..12],
            [0x80, 0, 0, 0, 0, 1, 2, 3, 0x80, 0, 0, 1],
            "{bytes:x?}"
        );
        // CRC-32C of nine digits, as every description of it gives.
        assert_eq!(crc32c::crc32c(b"123456789"), 0xe306_9283);
        assert_eq!(Packet::parse(5, &bytes), Some(packet));
    }

    #[test]
    fn damaged_packets_are_none() {
        let good = Packet::new(Kind::Read, false, 0, &[0x1234]).to_bytes();
        assert!(Packet::parse(1, &good).is_some());
        let mut flipped = good.clone();
        flipped[5] ^= 1;
        assert_eq!(Packet::parse(1, &flipped), None);
        assert_eq!(Packet::parse(0, &good), None);
        assert_eq!(Packet::parse(12, &good), None);
        assert_eq!(Packet::parse(1, &good[..15]), None);
        assert_eq!(Packet::parse(1, &[]), None);
        assert_eq!(Packet::parse(1, &[0; 260]), None);
    }

    #[test]
    fn the_route_is_54_bits() {
        let packet = Packet::new(Kind::Read, true, u64::MAX, &[]);
        assert_eq!(packet.route(), 0x003f_ffff_ffff_ffff);
        assert_eq!(packet.to_bytes()[0], 0x80);
    }

    proptest! {
        #[test]
        fn parsing_never_panics(pdf in 0_u8..16, bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = Packet::parse(pdf, &bytes);
        }

        #[test]
        fn what_is_built_can_be_read(route in 0_u64..1 << 54, rest in proptest::collection::vec(any::<u32>(), 0..61)) {
            let packet = Packet::new(Kind::Write, false, route, &rest);
            let parsed = Packet::parse(2, &packet.to_bytes()).unwrap();
            prop_assert_eq!(parsed.route(), route);
            prop_assert_eq!(parsed.rest(), &rest[..]);
        }
    }
}
