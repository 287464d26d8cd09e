// SPDX-License-Identifier: GPL-2.0-only

//! Sequence numbers that wrap: of frames on a rail, and of packets over all rails.

/// A 32-bit sequence number. Two of them compare by distance, so there is no `Ord`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Seq(u32);

impl Seq {
    /// The first number.
    pub const ZERO: Self = Self(0);

    /// Takes any number.
    pub const fn new(number: u32) -> Self {
        Self(number)
    }

    /// The number.
    pub const fn get(self) -> u32 {
        self.0
    }

    /// The number `count` later.
    #[inline]
    pub const fn plus(self, count: u32) -> Self {
        Self(self.0.wrapping_add(count))
    }

    /// The number `count` earlier.
    #[inline]
    pub const fn minus(self, count: u32) -> Self {
        Self(self.0.wrapping_sub(count))
    }

    /// How far this is behind `origin`, negative if it is before it.
    #[inline]
    pub const fn distance(self, origin: Self) -> i32 {
        self.0.wrapping_sub(origin.0) as i32
    }

    /// How many numbers there are from `origin` to this one; zero if this one is before it.
    #[inline]
    pub const fn count_from(self, origin: Self) -> u32 {
        let distance = self.distance(origin);
        if distance > 0 {
            distance.unsigned_abs()
        } else {
            0
        }
    }

    /// Whether this comes after `other`.
    #[inline]
    pub const fn is_after(self, other: Self) -> bool {
        self.distance(other) > 0
    }
}
