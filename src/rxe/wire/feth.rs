// SPDX-License-Identifier: GPL-2.0-only

//! FLUSH extended transport header (IBTA vol. 1 release 1.6, annex A19.3.1).
//!
//! ```text
//!    0                   1                   2                   3
//!    0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//!   +---------------------------------------------------+---+-------+
//!   | reserved                                          |sel| plt   |
//!   +---------------------------------------------------+---+-------+
//!     sel  0 the range of the RETH, 1 the whole memory region
//!     plt  bit 0 global visibility, bit 1 persistence
//! ```
//!
//! This is the layout upstream rxe sends and expects. Wireshark 4.4 shows three bits of placement
//! and so reads `sel` one bit lower.

use zerocopy::byteorder::network_endian::U32;
use zerocopy_derive::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::error::ParseError;

/// Length of the header.
pub const LEN: usize = 4;

const GLOBAL: u32 = 1;
const PERSISTENT: u32 = 2;
const PLACEMENT_MASK: u32 = 0xf;
const SELECTIVITY_SHIFT: u32 = 4;
const SELECTIVITY_MASK: u32 = 3;

/// The header as it lies in the buffer.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned, Clone, Copy, Debug)]
#[repr(C)]
pub struct Header {
    bits: U32,
}

/// How much to flush.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum Selectivity {
    /// The range named by the RETH.
    #[default]
    Range,
    /// The whole memory region; address and length of the RETH do not count.
    Region,
}

/// What a FLUSH asks for.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Repr {
    /// Make earlier writes visible to everyone on the responder.
    pub global: bool,
    /// Make earlier writes survive power loss.
    pub persistent: bool,
    /// How much to flush.
    pub selectivity: Selectivity,
}

impl Repr {
    /// Reads the header. Reserved bits above do not count; unknown placements do.
    #[inline]
    pub fn parse(header: &Header) -> Result<Self, ParseError> {
        let bits = header.bits.get();
        let placement = bits & PLACEMENT_MASK;
        if placement & !(GLOBAL | PERSISTENT) != 0 {
            return Err(ParseError::Flush(bits));
        }
        let selectivity = match (bits >> SELECTIVITY_SHIFT) & SELECTIVITY_MASK {
            0 => Selectivity::Range,
            1 => Selectivity::Region,
            _ => return Err(ParseError::Flush(bits)),
        };
        Ok(Self {
            global: placement & GLOBAL != 0,
            persistent: placement & PERSISTENT != 0,
            selectivity,
        })
    }

    /// The header in wire form.
    #[inline]
    pub fn header(&self) -> Header {
        let placement =
            if self.global { GLOBAL } else { 0 } | if self.persistent { PERSISTENT } else { 0 };
        let selectivity = match self.selectivity {
            Selectivity::Range => 0,
            Selectivity::Region => 1,
        };
        Header {
            bits: U32::new(placement | (selectivity << SELECTIVITY_SHIFT)),
        }
    }
}
