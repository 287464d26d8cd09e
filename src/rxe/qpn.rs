// SPDX-License-Identifier: GPL-2.0-only

//! Queue pair numbers: 24 bits, three of them with a fixed meaning.

/// A queue pair number.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, PartialOrd, Ord)]
pub struct Qpn(u32);

impl Qpn {
    /// QP0, subnet management. RoCE has none: packets to it are dropped.
    pub const SMI: Self = Self(0);
    /// QP1, general services (connection management).
    pub const GSI: Self = Self(1);
    /// The destination of multicast packets.
    pub const MULTICAST: Self = Self(0x00ff_ffff);

    /// Takes the low 24 bits of `value`.
    pub const fn new(value: u32) -> Self {
        Self(value & 0x00ff_ffff)
    }

    /// Takes `value` if it fits in 24 bits.
    pub const fn try_new(value: u32) -> Option<Self> {
        if value <= 0x00ff_ffff {
            Some(Self(value))
        } else {
            None
        }
    }

    /// The number, below 2^24.
    pub const fn get(self) -> u32 {
        self.0
    }
}

impl core::fmt::Debug for Qpn {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Qpn({:#x})", self.0)
    }
}
