// SPDX-License-Identifier: GPL-2.0-only

//! Path MTU: how many payload bytes one packet may carry (IBTA vol. 1, 7.7.8).

/// The five legal payload limits of a packet.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
pub enum Mtu {
    /// 256 bytes.
    M256,
    /// 512 bytes.
    M512,
    /// 1024 bytes.
    M1024,
    /// 2048 bytes.
    M2048,
    /// 4096 bytes.
    M4096,
}

impl Mtu {
    /// Every value, smallest first.
    pub const ALL: [Self; 5] = [
        Self::M256,
        Self::M512,
        Self::M1024,
        Self::M2048,
        Self::M4096,
    ];

    /// The size in bytes.
    pub const fn bytes(self) -> u32 {
        1 << self.shift()
    }

    /// The base-two logarithm of the size.
    pub const fn shift(self) -> u32 {
        match self {
            Self::M256 => 8,
            Self::M512 => 9,
            Self::M1024 => 10,
            Self::M2048 => 11,
            Self::M4096 => 12,
        }
    }

    /// Decodes the value verbs use (`enum ib_mtu`: 1 is 256 bytes, 5 is 4096).
    pub const fn from_code(code: u8) -> Option<Self> {
        match code {
            1 => Some(Self::M256),
            2 => Some(Self::M512),
            3 => Some(Self::M1024),
            4 => Some(Self::M2048),
            5 => Some(Self::M4096),
            _ => None,
        }
    }

    /// The value verbs use.
    pub const fn code(self) -> u8 {
        match self {
            Self::M256 => 1,
            Self::M512 => 2,
            Self::M1024 => 3,
            Self::M2048 => 4,
            Self::M4096 => 5,
        }
    }

    /// How many packets a message of `len` bytes takes; an empty message takes one.
    pub const fn packets(self, len: u32) -> u32 {
        if len == 0 {
            1
        } else {
            // len - 1 cannot underflow, and the result is at most 2^24.
            ((len - 1) >> self.shift()) + 1
        }
    }
}
