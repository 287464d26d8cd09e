// SPDX-License-Identifier: GPL-2.0-only

//! RDMA extended transport header (IBTA vol. 1, 9.3.3): where in the peer's memory.
//!
//! ```text
//!    0                   1                   2                   3
//!    0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//!   +---------------------------------------------------------------+
//!   | virtual address 63..32                                        |
//!   +---------------------------------------------------------------+
//!   | virtual address 31..0                                         |
//!   +---------------------------------------------------------------+
//!   | remote key                                                    |
//!   +---------------------------------------------------------------+
//!   | DMA length: of the whole message                              |
//!   +---------------------------------------------------------------+
//! ```

use zerocopy::byteorder::network_endian::{U32, U64};
use zerocopy_derive::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Length of the header.
pub const LEN: usize = 16;

/// The header as it lies in the buffer.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned, Clone, Copy, Debug)]
#[repr(C)]
pub struct Header {
    va: U64,
    rkey: U32,
    len: U32,
}

/// A range of the peer's memory. Every bit pattern is legal here; access checks come later.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Repr {
    /// Virtual address.
    pub va: u64,
    /// Remote key.
    pub rkey: u32,
    /// Length of the whole message.
    pub len: u32,
}

impl Repr {
    /// Reads the header.
    #[inline]
    pub fn parse(header: &Header) -> Self {
        Self {
            va: header.va.get(),
            rkey: header.rkey.get(),
            len: header.len.get(),
        }
    }

    /// The header in wire form.
    #[inline]
    pub fn header(&self) -> Header {
        Header {
            va: U64::new(self.va),
            rkey: U32::new(self.rkey),
            len: U32::new(self.len),
        }
    }
}
