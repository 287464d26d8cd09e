// SPDX-License-Identifier: GPL-2.0-only

//! Ethernet header (IEEE 802.3), without VLAN tag: our link has no VLANs.
//!
//! ```text
//!    0                   1                   2                   3
//!    0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//!   +---------------------------------------------------------------+
//!   |                 destination address                           |
//!   +-------------------------------+-------------------------------+
//!   |                               |                               |
//!   +-------------------------------+       source address          +
//!   |                                                               |
//!   +-------------------------------+-------------------------------+
//!   |  type: 0x0800, 0x86dd         |
//!   +-------------------------------+
//! ```

use zerocopy::byteorder::network_endian::U16;
use zerocopy_derive::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::error::ParseError;
use crate::rxe::icrc::IpVersion;

/// Length of the header.
pub const LEN: usize = 14;

const TYPE_IPV4: u16 = 0x0800;
const TYPE_IPV6: u16 = 0x86dd;

/// The header as it lies in the buffer.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned, Clone, Copy, Debug)]
#[repr(C)]
pub struct Header {
    dst: [u8; 6],
    src: [u8; 6],
    ethertype: U16,
}

/// A link-layer address.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct MacAddr(pub [u8; 6]);

impl core::fmt::Debug for MacAddr {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

/// The addresses of a frame; its type follows from the packet inside.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Repr {
    /// Receiver.
    pub dst: MacAddr,
    /// Sender.
    pub src: MacAddr,
}

impl Repr {
    /// Reads the header; the second value is the kind of packet inside.
    #[inline]
    pub fn parse(header: &Header) -> Result<(Self, IpVersion), ParseError> {
        let version = match header.ethertype.get() {
            TYPE_IPV4 => IpVersion::V4,
            TYPE_IPV6 => IpVersion::V6,
            other => return Err(ParseError::EtherType(other)),
        };
        let repr = Self {
            dst: MacAddr(header.dst),
            src: MacAddr(header.src),
        };
        Ok((repr, version))
    }

    /// The header in wire form.
    #[inline]
    pub fn header(&self, version: IpVersion) -> Header {
        Header {
            dst: self.dst.0,
            src: self.src.0,
            ethertype: U16::new(match version {
                IpVersion::V4 => TYPE_IPV4,
                IpVersion::V6 => TYPE_IPV6,
            }),
        }
    }
}
