// SPDX-License-Identifier: GPL-2.0-only

//! Reads and writes of configuration space, and their answers.
//!
//! ```text
//!            31  29 28 27 26 25 24      19 18      13 12            0
//!          +-------+-----+-----+----------+----------+---------------+
//!  word 2  |   0   | seq |space| adapter  | length   | offset        |   length and offset in words
//!          +-------+-----+-----+----------+----------+---------------+
//!  word 3  | data of a write request or of a read response ...       |
//!          +---------------------------------------------------------+
//! ```
//!
//! An error is a packet of its own kind with word 2: code 7:0, adapter 13:8.

use super::packet::{Kind, Packet};

/// Most words of data in one request.
const MAX_DATA: u32 = 60;

/// A configuration space.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Space {
    /// Paths that enter at an adapter, two words each.
    Path,
    /// An adapter.
    Adapter,
    /// The router.
    Router,
    /// Counters of an adapter.
    Counters,
}

/// Why a request is refused; the codes of the error packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// Nothing is connected at the adapter the route leaves by.
    NotConnected,
    /// No such space, or the range leaves it.
    BadSpace,
    /// No such adapter.
    NoSuchAdapter,
    /// The router behind the adapter belongs to another domain.
    Locked,
}

impl Refusal {
    fn code(self) -> u32 {
        match self {
            Self::NotConnected => 0,
            Self::BadSpace => 2,
            Self::NoSuchAdapter => 4,
            Self::Locked => 15,
        }
    }
}

/// A request for configuration space.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request<'a> {
    /// Which space.
    pub space: Space,
    /// Which adapter, for all but the router's.
    pub adapter: u8,
    /// First word.
    pub offset: u16,
    /// Number of words.
    pub length: u16,
    /// What to write, if it is a write: exactly `length` words.
    pub data: Option<&'a [u32]>,
    route: u64,
    address: u32,
}

impl<'a> Request<'a> {
    /// Takes a read or write request apart; `None` when its lengths do not agree.
    #[must_use]
    pub fn parse(packet: &'a Packet) -> Option<Self> {
        let (&address, data) = packet.rest().split_first()?;
        let length = address >> 13 & 0x3f;
        let data = match packet.kind {
            Kind::Read if data.is_empty() => None,
            Kind::Write if data.len() == length as usize => Some(data),
            _ => return None,
        };
        if length == 0 || length > MAX_DATA {
            return None;
        }
        let space = match address >> 25 & 3 {
            0 => Space::Path,
            1 => Space::Adapter,
            2 => Space::Router,
            _ => Space::Counters,
        };
        Some(Self {
            space,
            adapter: u8::try_from(address >> 19 & 0x3f).ok()?,
            offset: u16::try_from(address & 0x1fff).ok()?,
            length: u16::try_from(length).ok()?,
            data,
            route: packet.route(),
            address,
        })
    }

    /// The adapter by which the route leaves the first router; `None` when the request is for that router itself.
    #[must_use]
    pub fn next_adapter(&self) -> Option<u8> {
        let [first, ..] = self.route.to_le_bytes();
        (self.route != 0).then_some(first)
    }

    /// The answer: words that were read, or none for a write. It carries the adapter that leads to the connection
    /// manager in the place of the one that was asked.
    #[must_use]
    pub fn answer(&self, upstream: u8, data: &[u32]) -> Packet {
        let address = self.address & !(0x3f << 19) | u32::from(upstream & 0x3f) << 19;
        let mut rest = vec![address];
        rest.extend_from_slice(data);
        let kind = match self.data {
            Some(_) => Kind::Write,
            None => Kind::Read,
        };
        Packet::new(kind, true, self.route, &rest)
    }

    /// The answer when it cannot be done.
    #[must_use]
    pub fn refuse(&self, refusal: Refusal) -> Packet {
        let adapter = self.next_adapter().unwrap_or(self.adapter);
        let word = refusal.code() | u32::from(adapter & 0x3f) << 8;
        Packet::new(Kind::Error, true, self.route, &[word])
    }
}

/// A plug event of an adapter.
#[must_use]
pub fn plug_event(adapter: u8, unplug: bool) -> Packet {
    let unplug = u32::from(unplug) << 31;
    Packet::new(Kind::Event, true, 0, &[unplug | u32::from(adapter & 0x3f)])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(space: u32, adapter: u32, length: u32, offset: u32) -> u32 {
        2 << 27 | space << 25 | adapter << 19 | length << 13 | offset
    }

    #[test]
    fn reads_and_writes_are_told_apart() {
        let packet = Packet::new(Kind::Read, false, 0, &[address(1, 3, 8, 0x20)]);
        let request = Request::parse(&packet).unwrap();
        assert_eq!(
            (
                request.space,
                request.adapter,
                request.offset,
                request.length
            ),
            (Space::Adapter, 3, 0x20, 8)
        );
        assert_eq!(request.data, None);
        let answer = request.answer(5, &[1; 8]);
        assert_eq!(answer.kind, Kind::Read);
        assert_eq!(answer.rest()[0], address(1, 5, 8, 0x20));
        assert_eq!(answer.rest()[1..], [1; 8]);

        let packet = Packet::new(Kind::Write, false, 0, &[address(2, 0, 2, 1), 7, 8]);
        let request = Request::parse(&packet).unwrap();
        assert_eq!(request.data, Some(&[7, 8][..]));
        assert_eq!(request.answer(3, &[]).rest(), [address(2, 3, 2, 1)]);
    }

    #[test]
    fn lengths_must_agree() {
        for (kind, rest) in [
            (Kind::Read, vec![]),
            (Kind::Read, vec![address(2, 0, 0, 0)]),
            (Kind::Read, vec![address(2, 0, 61, 0)]),
            (Kind::Read, vec![address(2, 0, 1, 0), 0]),
            (Kind::Write, vec![address(2, 0, 2, 0), 0]),
            (Kind::Write, vec![address(2, 0, 0, 0)]),
            (Kind::Event, vec![address(2, 0, 1, 0)]),
        ] {
            let packet = Packet::new(kind, false, 0, &rest);
            assert_eq!(Request::parse(&packet), None, "{rest:x?}");
        }
    }

    #[test]
    fn refusals_name_the_adapter() {
        let packet = Packet::new(Kind::Read, false, 0x0103, &[address(2, 0, 1, 0)]);
        let request = Request::parse(&packet).unwrap();
        assert_eq!(request.next_adapter(), Some(3));
        let error = request.refuse(Refusal::Locked);
        assert_eq!((error.kind, error.route()), (Kind::Error, 0x0103));
        assert_eq!(error.rest(), [15 | 3 << 8]);
    }

    #[test]
    fn events_carry_the_adapter() {
        assert_eq!(plug_event(3, false).rest(), [3]);
        assert_eq!(plug_event(1, true).rest(), [1 | 1 << 31]);
    }
}
