// SPDX-License-Identifier: GPL-2.0-only

//! Datagram extended transport header (IBTA vol. 1, 9.3.2).
//!
//! ```text
//!    0                   1                   2                   3
//!    0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//!   +---------------------------------------------------------------+
//!   | queue key                                                     |
//!   +---------------+-----------------------------------------------+
//!   | reserved      | source QP                                     |
//!   +---------------+-----------------------------------------------+
//! ```

use zerocopy::byteorder::network_endian::U32;
use zerocopy_derive::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::rxe::qpn::Qpn;

/// Length of the header.
pub const LEN: usize = 8;

/// The queue key of the GSI QP.
pub const GSI_QKEY: u32 = 0x8001_0000;

/// The header as it lies in the buffer.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned, Clone, Copy, Debug)]
#[repr(C)]
pub struct Header {
    qkey: U32,
    src_qp: U32,
}

/// Who sends a datagram, and the key that lets it in.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Repr {
    /// Queue key of the destination.
    pub qkey: u32,
    /// Source queue pair.
    pub src_qp: Qpn,
}

impl Repr {
    /// Reads the header.
    #[inline]
    pub fn parse(header: &Header) -> Self {
        Self {
            qkey: header.qkey.get(),
            src_qp: Qpn::new(header.src_qp.get()),
        }
    }

    /// The header in wire form.
    #[inline]
    pub fn header(&self) -> Header {
        Header {
            qkey: U32::new(self.qkey),
            src_qp: U32::new(self.src_qp.get()),
        }
    }
}
