// SPDX-License-Identifier: GPL-2.0-only

//! The frames on a rail, byte by byte. `docs/wire.md` draws them.
//!
//! ```text
//!   packet frame    header  record record ...                   one or more whole packets
//!   train           header  record record ...                   headers of many packets,
//!     payload frame   bytes of memory, up to 4096, nothing else  then their payloads, in order
//!   control frame   header  status                              credits, probe, probe answer
//!   close           header  reason                              the last frame on a rail
//! ```
//!
//! A payload frame has no byte of ours: it is memory of the user, as it is. What it is stands in
//! the [`Tag`] that the ring carries beside each frame.

pub mod close;
pub mod envelope;
pub mod error;
pub mod header;
pub mod hello;
pub mod record;
pub mod status;
pub mod tag;

pub use error::FrameError;
pub use header::{Class, Credit, Header, Kind};
pub use record::Record;
pub use status::{Loss, RailStatus, Status};
pub use tag::Tag;

use zerocopy::{FromBytes, Immutable, KnownLayout, Unaligned};

/// Takes one structure off the front of `bytes`.
#[inline]
fn take<'a, T>(bytes: &mut &'a [u8]) -> Result<&'a T, FrameError>
where
    T: FromBytes + KnownLayout + Immutable + Unaligned,
{
    match T::ref_from_prefix(bytes) {
        Ok((value, rest)) => {
            *bytes = rest;
            Ok(value)
        }
        Err(_) => Err(FrameError::TooShort),
    }
}
