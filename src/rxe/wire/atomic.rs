// SPDX-License-Identifier: GPL-2.0-only

//! Atomic operands and result (IBTA vol. 1, 9.3.4 and 9.5.3).
//!
//! ```text
//!   AtomicETH                                AtomicAckETH
//!   +-----------------------------+  0       +-----------------------------+  0
//!   | virtual address             |          | value before the operation  |
//!   | 63..0                       |          | 63..0                       |
//!   +-----------------------------+  8       +-----------------------------+  8
//!   | remote key                  |
//!   +-----------------------------+ 12
//!   | swap (CAS) or add (FADD)    |
//!   | 63..0                       |
//!   +-----------------------------+ 20
//!   | compare (CAS) 63..0         |
//!   | FADD: 0, ignored            |
//!   +-----------------------------+ 28
//! ```

use zerocopy::byteorder::network_endian::{U32, U64};
use zerocopy_derive::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Length of an AtomicETH.
pub const LEN: usize = 28;

/// Length of an AtomicAckETH.
pub const ACK_LEN: usize = 8;

/// The AtomicETH as it lies in the buffer.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned, Clone, Copy, Debug)]
#[repr(C)]
pub struct Header {
    va: U64,
    rkey: U32,
    swap_add: U64,
    compare: U64,
}

/// The AtomicAckETH as it lies in the buffer.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned, Clone, Copy, Debug)]
#[repr(C)]
pub struct AckHeader {
    original: U64,
}

/// The operands of an atomic.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Repr {
    /// Virtual address, a multiple of eight if legal (the responder checks).
    pub va: u64,
    /// Remote key.
    pub rkey: u32,
    /// The value to store (CAS) or to add (FADD).
    pub swap_add: u64,
    /// The value to compare with (CAS).
    pub compare: u64,
}

impl Repr {
    /// Reads the header.
    #[inline]
    pub fn parse(header: &Header) -> Self {
        Self {
            va: header.va.get(),
            rkey: header.rkey.get(),
            swap_add: header.swap_add.get(),
            compare: header.compare.get(),
        }
    }

    /// The header in wire form.
    #[inline]
    pub fn header(&self) -> Header {
        Header {
            va: U64::new(self.va),
            rkey: U32::new(self.rkey),
            swap_add: U64::new(self.swap_add),
            compare: U64::new(self.compare),
        }
    }
}

/// The result of an atomic.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct AckRepr {
    /// The value before the operation.
    pub original: u64,
}

impl AckRepr {
    /// Reads the header.
    #[inline]
    pub fn parse(header: &AckHeader) -> Self {
        Self {
            original: header.original.get(),
        }
    }

    /// The header in wire form.
    #[inline]
    pub fn header(&self) -> AckHeader {
        AckHeader {
            original: U64::new(self.original),
        }
    }
}
