// SPDX-License-Identifier: GPL-2.0-only

//! Base transport header (IBTA vol. 1, 9.2).
//!
//! ```text
//!    0                   1                   2                   3
//!    0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//!   +---------------+-+-+---+-------+-------------------------------+
//!   | opcode        |S|M|pad| tver  | partition key                 |
//!   +-+-+-----------+-+-+---+-------+-------------------------------+
//!   |F|B| resv6a    | destination QP                                |
//!   +-+-+-----------+-----------------------------------------------+
//!   |A| resv7       | PSN                                           |
//!   +-+-------------+-----------------------------------------------+
//!   S solicited event, M migration request, F FECN, B BECN, A acknowledge request
//!   The byte with F, B and resv6a is ones in the ICRC.
//! ```
//!
//! Reserved bits are sent as zero and ignored when received, as upstream does.

use zerocopy::byteorder::network_endian::{U16, U32};
use zerocopy_derive::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::error::ParseError;
use crate::rxe::opcode::Opcode;
use crate::rxe::psn::Psn;
use crate::rxe::qpn::Qpn;

/// Length of the header.
pub const LEN: usize = 12;

/// The partition key of every RoCE port: full member of the default partition.
pub const DEFAULT_PKEY: u16 = 0xffff;

const SOLICITED: u8 = 0x80;
const MIGRATED: u8 = 0x40;
const PAD_SHIFT: u32 = 4;
const VERSION_MASK: u8 = 0x0f;
const FECN: u32 = 0x8000_0000;
const BECN: u32 = 0x4000_0000;
const ACK_REQUEST: u32 = 0x8000_0000;

/// The header as it lies in the buffer.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned, Clone, Copy, Debug)]
#[repr(C)]
pub struct Header {
    opcode: u8,
    flags: u8,
    pkey: U16,
    qpn: U32,
    psn: U32,
}

/// What a BTH says besides opcode and pad count, which follow from the rest of the packet.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Repr {
    /// Wake the receiver's completion handler.
    pub solicited: bool,
    /// Path migration state.
    pub migrated: bool,
    /// Partition key.
    pub pkey: u16,
    /// Forward congestion notification.
    pub fecn: bool,
    /// Backward congestion notification.
    pub becn: bool,
    /// Destination queue pair.
    pub dst_qp: Qpn,
    /// The requester wants an answer.
    pub ack_request: bool,
    /// Packet sequence number.
    pub psn: Psn,
}

impl Repr {
    /// A header with nothing set but destination and sequence number.
    pub const fn new(dst_qp: Qpn, psn: Psn) -> Self {
        Self {
            solicited: false,
            migrated: false,
            pkey: DEFAULT_PKEY,
            fecn: false,
            becn: false,
            dst_qp,
            ack_request: false,
            psn,
        }
    }

    /// Reads the header; the other values are the opcode and the pad count (0 to 3).
    // Always, for the reason given at `Body::parse`.
    #[inline(always)]
    pub fn parse(header: &Header) -> Result<(Self, Opcode, u8), ParseError> {
        if header.flags & VERSION_MASK != 0 {
            return Err(ParseError::TransportVersion(header.flags & VERSION_MASK));
        }
        let opcode = Opcode::from_code(header.opcode).ok_or(ParseError::Opcode(header.opcode))?;
        let qpn = header.qpn.get();
        let psn = header.psn.get();
        let repr = Self {
            solicited: header.flags & SOLICITED != 0,
            migrated: header.flags & MIGRATED != 0,
            pkey: header.pkey.get(),
            fecn: qpn & FECN != 0,
            becn: qpn & BECN != 0,
            dst_qp: Qpn::new(qpn),
            ack_request: psn & ACK_REQUEST != 0,
            psn: Psn::new(psn),
        };
        Ok((repr, opcode, (header.flags >> PAD_SHIFT) & 3))
    }

    /// The header in wire form.
    #[inline]
    pub fn header(&self, opcode: Opcode, pad: u8) -> Header {
        let bit = |on: bool, bit: u32| if on { bit } else { 0 };
        let flag = |on: bool, bit: u8| if on { bit } else { 0 };
        Header {
            opcode: opcode.code(),
            flags: flag(self.solicited, SOLICITED)
                | flag(self.migrated, MIGRATED)
                | ((pad & 3) << PAD_SHIFT),
            pkey: U16::new(self.pkey),
            qpn: U32::new(bit(self.fecn, FECN) | bit(self.becn, BECN) | self.dst_qp.get()),
            psn: U32::new(bit(self.ack_request, ACK_REQUEST) | self.psn.get()),
        }
    }
}
