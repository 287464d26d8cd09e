// SPDX-License-Identifier: GPL-2.0-only

//! The handshake: what two ends tell each other before a rail carries frames.
//!
//! These messages do not travel on rails but as XDomain control messages, behind the headers that
//! the Thunderbolt core puts there. They are multiples of four bytes.
//!
//! ```text
//!    0                   1                   2                   3
//!    0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//!   +---------------------------------------------------------------+
//!   | magic "U4RX"                                                  |
//!   +---------------+---------------+---------------+---------------+
//!   | type          | lowest version| highest vers. | rail epoch    |
//!   +---------------+---------------+---------------+---------------+
//!   | capabilities offered                                          |
//!   +---------------------------------------------------------------+
//!   | capabilities required                                         |
//!   +---------------------------------------------------------------+
//!   | instance: a random number of this load of the module          |
//!   |                                                               |
//!   +-------------------------------+-------------------------------+
//!   | receive ring, frames          | transmit ring, frames         |
//!   +-------------------------------+-------------------------------+
//!   | transmit HopID                | refusal                       |
//!   +-------------------------------+-------------------------------+
//!   | number of the rail; refusal: ours                             |
//!   +---------------------------------------------------------------+
//!   | wire; refusal: theirs                                         |
//!   +---------------------------------------------------------------+
//! ```
//!
//! The first eight bytes and the refusal are the same in every version, so that two ends that share
//! no version can still say so.

use core::cmp::Ordering;
use core::fmt;

use zerocopy::byteorder::network_endian::{U16, U32, U64};
use zerocopy_derive::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::{header, take, FrameError};
use crate::usb4::rail::config::{MAX_RING, MIN_RING};
use crate::usb4::rail::id::RailId;

/// Length of a message.
pub const LEN: usize = 40;
/// In [`Hello::wire`] if there is none; never in the name of one.
pub const NO_WIRE: u32 = 1 << 31;
/// How a message begins.
pub const MAGIC: u32 = u32::from_be_bytes(*b"U4RX");

/// What an end can do.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Capabilities(pub u32);

impl Capabilities {
    /// Flow control of the host router (E2E) on the rings.
    pub const E2E: Self = Self(1);
    /// Trains with payload frames; without it every packet is inline.
    pub const TRAINS: Self = Self(1 << 1);
    /// Packets may come without ICRC. This version does not offer it, see the decision pages.
    pub const NO_ICRC: Self = Self(1 << 2);

    /// What this version requires of a peer: a packet of 4 KiB does not fit into one frame.
    pub const REQUIRED: Self = Self::TRAINS;

    /// What both can do.
    pub const fn both(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// What is here and not in `other`.
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Both together.
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether all of `other` is here.
    pub const fn contains(self, other: Self) -> bool {
        other.0 & !self.0 == 0
    }
}

/// What kind of message it is.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Message {
    /// "This is what I am."
    Login(Hello),
    /// "So be it; this is what I am."
    Accept(Hello),
    /// "We cannot talk", and why.
    Refuse(Refusal),
    /// "The rail of this epoch is over."
    Logout {
        /// Which life of the rail ends.
        epoch: u8,
    },
}

/// What an end says about itself.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Hello {
    /// The lowest version it speaks.
    pub min_version: u8,
    /// The highest version it speaks.
    pub max_version: u8,
    /// Which life of the rail would begin: one more than the last one this end knows of.
    pub epoch: u8,
    /// What it can do.
    pub offers: Capabilities,
    /// What it insists on.
    pub requires: Capabilities,
    /// A random number drawn when the module was loaded: a new one means the peer forgot all.
    pub instance: u64,
    /// Which wire's numbers it would go on with ([`Agreement::wire`] of when they began); with
    /// [`NO_WIRE`] in it, none, and how often this end has forgotten somebody.
    pub wire: u32,
    /// Frames its receive ring holds.
    pub rx_ring: u16,
    /// Frames its transmit ring holds.
    pub tx_ring: u16,
    /// The HopID it transmits on.
    pub hop: u16,
    /// What it would call the rail. Frames speak of rails by number, so both ends must mean the same.
    pub rail: RailId,
}

/// Why two ends cannot talk. Both can print it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Refusal {
    /// What does not fit.
    pub cause: Cause,
    /// The value of the one who refuses.
    pub ours: u32,
    /// The value of the one who is refused.
    pub theirs: u32,
}

/// What does not fit.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Cause {
    /// No version in common; the values are `lowest << 8 | highest`.
    Version,
    /// A capability is required and not offered; the values are what is required and what is
    /// offered.
    Capability,
    /// A ring is too small or too large; the values are `smallest << 16 | largest` and the ring.
    Ring,
    /// There is no rail left; the values are how many there are and zero.
    Rails,
    /// The refusing end is going away.
    Shutdown,
    /// A cause of a later version.
    Other(u16),
}

/// What two ends agreed on.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Agreement {
    /// The version both speak.
    pub version: u8,
    /// What both can do.
    pub capabilities: Capabilities,
    /// Which life of the rail begins: the later one of the two offered, and never 0, which is what
    /// an end says of a rail that it has never seen.
    pub epoch: u8,
    /// Frames the peer's receive ring holds.
    pub peer_rx_ring: u16,
    /// The number of the rail. One end decides for all rails to it, so that its numbers differ: the
    /// one with the larger instance.
    pub rail: RailId,
    /// What the wire is called if its numbers begin anew with this life: the same at both ends, and
    /// for all cables that log in meanwhile; another one the next time; never 0.
    pub wire: u32,
}

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned, Clone, Copy)]
#[repr(C)]
struct Raw {
    magic: U32,
    kind: u8,
    min_version: u8,
    max_version: u8,
    epoch: u8,
    offers: U32,
    requires: U32,
    instance: U64,
    rx_ring: U16,
    tx_ring: U16,
    hop: U16,
    cause: U16,
    ours: U32,
    theirs: U32,
}

impl Hello {
    /// Finds what both ends can do, or why they cannot talk.
    pub fn agree(&self, theirs: &Self) -> Result<Agreement, Refusal> {
        let version = self.max_version.min(theirs.max_version);
        if version < self.min_version || version < theirs.min_version {
            return Err(Refusal {
                cause: Cause::Version,
                ours: self.versions(),
                theirs: theirs.versions(),
            });
        }
        for (needs, has) in [
            (self.requires, theirs.offers),
            (theirs.requires, self.offers),
        ] {
            if !has.contains(needs) {
                return Err(Refusal {
                    cause: Cause::Capability,
                    ours: needs.0,
                    theirs: has.0,
                });
            }
        }
        for ring in [self.rx_ring, self.tx_ring, theirs.rx_ring, theirs.tx_ring] {
            if !(MIN_RING..=MAX_RING).contains(&u32::from(ring)) {
                return Err(Refusal {
                    cause: Cause::Ring,
                    ours: MIN_RING << 16 | MAX_RING,
                    theirs: u32::from(ring),
                });
            }
        }
        Ok(Agreement {
            version,
            capabilities: self.offers.both(theirs.offers),
            epoch: later(self.epoch, theirs.epoch).max(1),
            peer_rx_ring: theirs.rx_ring,
            rail: match self.instance.cmp(&theirs.instance) {
                Ordering::Less => theirs.rail,
                // Both ends are in one host, where each has a number of its own.
                Ordering::Equal => self.rail.min(theirs.rail),
                Ordering::Greater => self.rail,
            },
            wire: (self.mix().wrapping_add(theirs.mix()) & !NO_WIRE).max(1),
        })
    }

    /// What it adds to the name of a new wire.
    fn mix(&self) -> u32 {
        let both = self.instance ^ u64::from(self.wire) << 16;
        // The upper half of a product depends on all bits of a factor.
        (both.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) as u32
    }

    fn versions(&self) -> u32 {
        u32::from(self.min_version) << 8 | u32::from(self.max_version)
    }
}

/// The later of two epochs, which wrap; of two that are as far from each other as can be, the larger.
pub const fn later(a: u8, b: u8) -> u8 {
    match a.wrapping_sub(b) {
        0x80 if a > b => a,
        0..=0x7f => a,
        _ => b,
    }
}

impl Message {
    /// Reads a message.
    pub fn parse(bytes: &[u8]) -> Result<Self, FrameError> {
        let mut rest = bytes;
        let raw: &Raw = take(&mut rest)?;
        if raw.magic.get() != MAGIC {
            return Err(FrameError::Magic);
        }
        let hello = |rail| Hello {
            min_version: raw.min_version,
            max_version: raw.max_version,
            epoch: raw.epoch,
            offers: Capabilities(raw.offers.get()),
            requires: Capabilities(raw.requires.get()),
            instance: raw.instance.get(),
            wire: raw.theirs.get(),
            rx_ring: raw.rx_ring.get(),
            tx_ring: raw.tx_ring.get(),
            hop: raw.hop.get(),
            rail,
        };
        let rail = || {
            let number = u8::try_from(raw.ours.get()).ok();
            number.and_then(RailId::new).ok_or(FrameError::Rail)
        };
        Ok(match raw.kind {
            1 => Self::Login(hello(rail()?)),
            2 => Self::Accept(hello(rail()?)),
            3 => Self::Refuse(Refusal {
                cause: Cause::from_bits(raw.cause.get()),
                ours: raw.ours.get(),
                theirs: raw.theirs.get(),
            }),
            4 => Self::Logout { epoch: raw.epoch },
            _ => return Err(FrameError::Kind),
        })
    }

    /// Writes a message.
    pub fn emit(&self) -> [u8; LEN] {
        let mut raw = Raw {
            magic: U32::new(MAGIC),
            kind: 0,
            min_version: header::VERSION,
            max_version: header::VERSION,
            epoch: 0,
            offers: U32::ZERO,
            requires: U32::ZERO,
            instance: U64::ZERO,
            rx_ring: U16::ZERO,
            tx_ring: U16::ZERO,
            hop: U16::ZERO,
            cause: U16::ZERO,
            ours: U32::ZERO,
            theirs: U32::ZERO,
        };
        match self {
            Self::Login(hello) | Self::Accept(hello) => {
                raw.kind = if matches!(self, Self::Login(_)) { 1 } else { 2 };
                raw.min_version = hello.min_version;
                raw.max_version = hello.max_version;
                raw.epoch = hello.epoch;
                raw.offers = U32::new(hello.offers.0);
                raw.requires = U32::new(hello.requires.0);
                raw.instance = U64::new(hello.instance);
                raw.rx_ring = U16::new(hello.rx_ring);
                raw.tx_ring = U16::new(hello.tx_ring);
                raw.hop = U16::new(hello.hop);
                raw.ours = U32::new(hello.rail.get().into());
                raw.theirs = U32::new(hello.wire);
            }
            Self::Refuse(refusal) => {
                raw.kind = 3;
                raw.cause = U16::new(refusal.cause.bits());
                raw.ours = U32::new(refusal.ours);
                raw.theirs = U32::new(refusal.theirs);
            }
            Self::Logout { epoch } => {
                raw.kind = 4;
                raw.epoch = *epoch;
            }
        }
        let mut bytes = [0; LEN];
        // The structure has LEN bytes; a test holds that.
        let _ = zerocopy::IntoBytes::write_to(&raw, &mut bytes);
        bytes
    }
}

impl Cause {
    const fn from_bits(bits: u16) -> Self {
        match bits {
            1 => Self::Version,
            2 => Self::Capability,
            3 => Self::Ring,
            4 => Self::Rails,
            5 => Self::Shutdown,
            other => Self::Other(other),
        }
    }

    const fn bits(self) -> u16 {
        match self {
            Self::Version => 1,
            Self::Capability => 2,
            Self::Ring => 3,
            Self::Rails => 4,
            Self::Shutdown => 5,
            Self::Other(other) => other,
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (ours, theirs) = (self.ours, self.theirs);
        match self.cause {
            Cause::Version => write!(
                f,
                "no common rail version: one end speaks {} to {}, the other {} to {}",
                ours >> 8,
                ours & 0xff,
                theirs >> 8,
                theirs & 0xff,
            ),
            Cause::Capability => write!(
                f,
                "a capability is missing: required {ours:#x}, offered {theirs:#x}",
            ),
            Cause::Ring => write!(
                f,
                "a ring of {theirs} frames is out of bounds ({} to {})",
                ours >> 16,
                ours & 0xffff,
            ),
            Cause::Rails => write!(f, "all {ours} rails are in use"),
            Cause::Shutdown => f.write_str("the device is going away"),
            Cause::Other(code) => write!(f, "cause {code} ({ours:#x}, {theirs:#x})"),
        }
    }
}
