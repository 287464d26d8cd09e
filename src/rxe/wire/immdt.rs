// SPDX-License-Identifier: GPL-2.0-only

//! Immediate data (IBTA vol. 1, 9.3.6): four bytes handed to the receiver's completion.
//!
//! ```text
//!    0                   1                   2                   3
//!    0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//!   +---------------------------------------------------------------+
//!   | immediate data, opaque                                        |
//!   +---------------------------------------------------------------+
//! ```

use zerocopy_derive::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Length of the header.
pub const LEN: usize = 4;

/// Immediate data: the bytes of the verbs' `__be32 imm_data`, never swapped.
#[derive(
    FromBytes,
    IntoBytes,
    KnownLayout,
    Immutable,
    Unaligned,
    Clone,
    Copy,
    PartialEq,
    Eq,
    Hash,
    Debug,
    Default,
)]
#[repr(C)]
pub struct Imm(pub [u8; 4]);
