// SPDX-License-Identifier: GPL-2.0-only

//! Invalidate extended transport header (IBTA vol. 1, 9.3.7).
//!
//! ```text
//!    0                   1                   2                   3
//!    0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//!   +---------------------------------------------------------------+
//!   | remote key the receiver shall invalidate                      |
//!   +---------------------------------------------------------------+
//! ```

use zerocopy::byteorder::network_endian::U32;
use zerocopy_derive::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Length of the header.
pub const LEN: usize = 4;

/// The header as it lies in the buffer.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned, Clone, Copy, Debug)]
#[repr(C)]
pub struct Header {
    rkey: U32,
}

/// The key to invalidate.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Repr {
    /// Remote key.
    pub rkey: u32,
}

impl Repr {
    /// Reads the header.
    #[inline]
    pub fn parse(header: &Header) -> Self {
        Self {
            rkey: header.rkey.get(),
        }
    }

    /// The header in wire form.
    #[inline]
    pub fn header(&self) -> Header {
        Header {
            rkey: U32::new(self.rkey),
        }
    }
}
