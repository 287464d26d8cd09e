// SPDX-License-Identifier: GPL-2.0-only

//! The number of a rail.

use super::MAX_RAILS;

/// Which rail of a link: below [`MAX_RAILS`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct RailId(u8);

impl RailId {
    /// Takes a number below [`MAX_RAILS`].
    pub const fn new(number: u8) -> Option<Self> {
        if (number as usize) < MAX_RAILS {
            Some(Self(number))
        } else {
            None
        }
    }

    /// The number.
    pub const fn get(self) -> u8 {
        self.0
    }

    /// The number as an index below [`MAX_RAILS`]; the mask shows that to the compiler.
    pub const fn index(self) -> usize {
        self.0 as usize & (MAX_RAILS - 1)
    }

    /// All rails a link may have.
    pub fn all() -> impl Iterator<Item = Self> {
        // MAX_RAILS is eight.
        (0u8..8).map(Self)
    }
}
