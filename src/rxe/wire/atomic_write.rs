// SPDX-License-Identifier: GPL-2.0-only

//! The payload of an ATOMIC WRITE (IBTA vol. 1 release 1.6, annex A19.4.2).
//!
//! ```text
//!   +---------------------------------------------------------------+ 0
//!   | eight bytes, stored at the RETH's address in one access,      |
//!   | in memory order                                               |
//!   +---------------------------------------------------------------+ 8
//! ```
//!
//! On the wire this is payload. It always has eight bytes and no pad, so we treat it as one more
//! header: then a packet with any other length cannot be expressed.

use zerocopy_derive::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Length of the data.
pub const LEN: usize = 8;

/// The bytes to store, in memory order.
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
pub struct Data(pub [u8; 8]);
