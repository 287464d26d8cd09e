// SPDX-License-Identifier: GPL-2.0-only

//! IPv6 header (RFC 8200), without extension headers.
//!
//! ```text
//!    0                   1                   2                   3
//!    0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//!   +-------+---------------+---------------------------------------+
//!   | 6     | class     (*) | flow label                        (*) |
//!   +-------+---------------+-------+---------------+---------------+
//!   | payload length                | next hdr. 17  | hop limit (*) |
//!   +-------------------------------+---------------+---------------+
//!   | source address, 16 bytes                                      |
//!   +---------------------------------------------------------------+
//!   | destination address, 16 bytes                                 |
//!   +---------------------------------------------------------------+
//!   (*) ones in the ICRC
//! ```

use zerocopy::byteorder::network_endian::{U16, U32};
use zerocopy_derive::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::error::ParseError;
use super::udp;

/// Length of the header.
pub const LEN: usize = 40;

/// The header as it lies in the buffer.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned, Clone, Copy, Debug)]
#[repr(C)]
pub struct Header {
    version_class_flow: U32,
    payload_len: U16,
    next_header: u8,
    hop_limit: u8,
    src: [u8; 16],
    dst: [u8; 16],
}

/// A flow label: 20 bits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct FlowLabel(u32);

impl FlowLabel {
    /// Takes the low 20 bits of `value`.
    pub const fn new(value: u32) -> Self {
        Self(value & 0x000f_ffff)
    }

    /// The label, below 2^20.
    pub const fn get(self) -> u32 {
        self.0
    }
}

/// What a sender may choose in an IPv6 header.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Repr {
    /// Sender.
    pub src: [u8; 16],
    /// Receiver.
    pub dst: [u8; 16],
    /// Traffic class: DSCP and ECN.
    pub traffic_class: u8,
    /// Flow label.
    pub flow_label: FlowLabel,
    /// Hops left.
    pub hop_limit: u8,
}

impl Repr {
    /// Reads the header; the second value is the length of what follows it.
    #[inline]
    pub fn parse(header: &Header) -> Result<(Self, usize), ParseError> {
        let [first, second, ..] = header.version_class_flow.to_bytes();
        if first >> 4 != 6 {
            return Err(ParseError::IpVersion(first >> 4));
        }
        if header.next_header != udp::PROTOCOL {
            return Err(ParseError::IpProtocol(header.next_header));
        }
        let repr = Self {
            src: header.src,
            dst: header.dst,
            traffic_class: (first << 4) | (second >> 4),
            flow_label: FlowLabel::new(header.version_class_flow.get()),
            hop_limit: header.hop_limit,
        };
        Ok((repr, usize::from(header.payload_len.get())))
    }

    /// The header in wire form, `payload_len` bytes following it.
    #[inline]
    pub fn header(&self, payload_len: u16) -> Header {
        Header {
            version_class_flow: U32::new(
                (6 << 28) | (u32::from(self.traffic_class) << 20) | self.flow_label.get(),
            ),
            payload_len: U16::new(payload_len),
            next_header: udp::PROTOCOL,
            hop_limit: self.hop_limit,
            src: self.src,
            dst: self.dst,
        }
    }
}
