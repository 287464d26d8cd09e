// SPDX-License-Identifier: GPL-2.0-only

//! UDP header (RFC 768) of RoCEv2 (IBTA annex A17.3.2).
//!
//! ```text
//!    0                   1                   2                   3
//!    0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//!   +-------------------------------+-------------------------------+
//!   | source port: entropy          | destination port 4791         |
//!   +-------------------------------+-------------------------------+
//!   | length                        | checksum                  (*) |
//!   +-------------------------------+-------------------------------+
//!   (*) ones in the ICRC; we send 0, "none", as upstream does, and check it if a peer sends one
//! ```

use zerocopy::byteorder::network_endian::U16;
use zerocopy_derive::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::error::ParseError;

/// Length of the header.
pub const LEN: usize = 8;

/// UDP's number in IP headers.
pub const PROTOCOL: u8 = 17;

/// The port of RoCEv2.
pub const ROCE_PORT: u16 = 4791;

/// The header as it lies in the buffer.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned, Clone, Copy, Debug)]
#[repr(C)]
pub struct Header {
    src_port: U16,
    dst_port: U16,
    len: U16,
    checksum: U16,
}

impl Header {
    /// Whether the sender computed a checksum.
    pub fn has_checksum(&self) -> bool {
        self.checksum.get() != 0
    }
}

/// What a sender may choose in a RoCEv2 UDP header.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Repr {
    /// Source port: differs by QP, so that routers can spread flows.
    pub src_port: u16,
}

impl Repr {
    /// Reads the header behind an IP header that announced `ip_payload_len` bytes; the second
    /// value is the length of what follows it.
    #[inline]
    pub fn parse(header: &Header, ip_payload_len: usize) -> Result<(Self, usize), ParseError> {
        if header.dst_port.get() != ROCE_PORT {
            return Err(ParseError::UdpPort(header.dst_port.get()));
        }
        let len = usize::from(header.len.get());
        if len != ip_payload_len {
            return Err(ParseError::Length);
        }
        let repr = Self {
            src_port: header.src_port.get(),
        };
        Ok((repr, len.checked_sub(LEN).ok_or(ParseError::Length)?))
    }

    /// The header in wire form; `len` counts the header itself too.
    #[inline]
    pub fn header(&self, len: u16) -> Header {
        Header {
            src_port: U16::new(self.src_port),
            dst_port: U16::new(ROCE_PORT),
            len: U16::new(len),
            checksum: U16::new(0),
        }
    }
}
