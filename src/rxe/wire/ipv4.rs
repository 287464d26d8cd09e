// SPDX-License-Identifier: GPL-2.0-only

//! IPv4 header (RFC 791), without options, never fragmented.
//!
//! ```text
//!    0                   1                   2                   3
//!    0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//!   +-------+-------+---------------+-------------------------------+
//!   | 4     | IHL 5 | TOS       (*) | total length                  |
//!   +-------+-------+---------------+-----+-------------------------+
//!   | identification                |0 D 0| fragment offset 0       |
//!   +---------------+---------------+-----+-------------------------+
//!   | TTL       (*) | protocol 17   | header checksum           (*) |
//!   +---------------+---------------+-------------------------------+
//!   | source address                                                |
//!   +---------------------------------------------------------------+
//!   | destination address                                           |
//!   +---------------------------------------------------------------+
//!   (*) ones in the ICRC
//! ```

use zerocopy::byteorder::network_endian::U16;
use zerocopy::IntoBytes as _;
use zerocopy_derive::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::checksum;
use super::error::ParseError;
use super::udp;

/// Length of the header.
pub const LEN: usize = 20;

const VERSION_IHL: u8 = 0x45;
const DONT_FRAGMENT: u16 = 0x4000;

/// The header as it lies in the buffer.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned, Clone, Copy, Debug)]
#[repr(C)]
pub struct Header {
    version_ihl: u8,
    tos: u8,
    total_len: U16,
    ident: U16,
    flags_offset: U16,
    ttl: u8,
    protocol: u8,
    checksum: U16,
    src: [u8; 4],
    dst: [u8; 4],
}

impl Header {
    /// The Internet checksum over the header: zero if it contains its own.
    #[inline]
    fn checksum(&self) -> u16 {
        self.as_bytes()
            .first_chunk()
            .map_or(0xffff, checksum::of_ipv4)
    }
}

/// What a sender may choose in an IPv4 header.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Repr {
    /// Sender.
    pub src: [u8; 4],
    /// Receiver.
    pub dst: [u8; 4],
    /// Type of service: DSCP and ECN.
    pub tos: u8,
    /// Hops left.
    pub ttl: u8,
    /// Identification; free to choose, as the packet is never fragmented (RFC 6864).
    pub ident: u16,
    /// Whether routers may not fragment the packet.
    pub dont_fragment: bool,
}

impl Repr {
    /// Reads the header; the second value is the length of what follows it.
    #[inline]
    pub fn parse(header: &Header) -> Result<(Self, usize), ParseError> {
        if header.version_ihl >> 4 != 4 {
            return Err(ParseError::IpVersion(header.version_ihl >> 4));
        }
        if header.version_ihl != VERSION_IHL {
            return Err(ParseError::IpOptions);
        }
        if header.checksum() != 0 {
            return Err(ParseError::IpChecksum);
        }
        let flags = header.flags_offset.get();
        if flags & !DONT_FRAGMENT != 0 {
            return Err(ParseError::Fragment);
        }
        if header.protocol != udp::PROTOCOL {
            return Err(ParseError::IpProtocol(header.protocol));
        }
        let len = usize::from(header.total_len.get())
            .checked_sub(LEN)
            .ok_or(ParseError::Length)?;
        let repr = Self {
            src: header.src,
            dst: header.dst,
            tos: header.tos,
            ttl: header.ttl,
            ident: header.ident.get(),
            dont_fragment: flags & DONT_FRAGMENT != 0,
        };
        Ok((repr, len))
    }

    /// The header in wire form, `payload_len` bytes following it.
    #[inline]
    pub fn header(&self, payload_len: u16) -> Header {
        let mut header = Header {
            version_ihl: VERSION_IHL,
            tos: self.tos,
            // Callers hand in at most a packet of the largest MTU; saturation only keeps
            // nonsense from becoming a panic.
            total_len: U16::new(payload_len.saturating_add(20)),
            ident: U16::new(self.ident),
            flags_offset: U16::new(if self.dont_fragment { DONT_FRAGMENT } else { 0 }),
            ttl: self.ttl,
            protocol: udp::PROTOCOL,
            checksum: U16::new(0),
            src: self.src,
            dst: self.dst,
        };
        header.checksum = U16::new(header.checksum());
        header
    }
}
