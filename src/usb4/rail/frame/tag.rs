// SPDX-License-Identifier: GPL-2.0-only

//! What the ring carries beside a frame: four bits that end it (the descriptor's EOF PDF).
//!
//! ```text
//!   start of frame  1        always
//!   end of frame    2        a frame with a header
//!                   3 .. 15  payload frame: its place in its train, modulo 13
//! ```
//!
//! A payload frame has no sequence number of its own, so its place in the train is what tells a
//! lost payload frame from the next one.

/// The value that starts every frame.
pub const START: u8 = 1;
/// The value that ends a frame with a header.
pub const HEADER: u8 = 2;
/// The first value that ends a payload frame.
const FIRST_PLACE: u8 = 3;
/// How many places can be told apart.
pub const PLACES: u8 = 13;

/// The values a receive ring accepts at a frame's start and end, as bit masks.
pub const START_MASK: u16 = 1 << START;
/// See [`START_MASK`].
pub const END_MASK: u16 = 0xfffc;

/// What a frame is.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Tag {
    /// It begins with a rail header.
    Header,
    /// It is payload; this is its place in the train, modulo [`PLACES`].
    Payload(u8),
}

impl Tag {
    /// The tag of the payload frame at `place` of its train.
    #[inline]
    pub const fn payload(place: u8) -> Self {
        Self::Payload(place % PLACES)
    }

    /// Reads the value that ended a frame.
    #[inline]
    pub const fn from_bits(bits: u8) -> Option<Self> {
        match bits {
            HEADER => Some(Self::Header),
            FIRST_PLACE..=15 => Some(Self::Payload(bits - FIRST_PLACE)),
            _ => None,
        }
    }

    /// The value that ends the frame.
    #[inline]
    pub const fn bits(self) -> u8 {
        match self {
            Self::Header => HEADER,
            Self::Payload(place) => FIRST_PLACE + place % PLACES,
        }
    }
}
