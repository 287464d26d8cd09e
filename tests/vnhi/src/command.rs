// SPDX-License-Identifier: GPL-2.0-only

//! What can be done to a running fabric: faults, plugging, resets.

use std::fmt;
use std::time::Duration;

use crate::topology::NhiId;

/// Which way a frame goes on a cable: from its end `a` to its end `b`, or back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Direction {
    /// From end `a` to end `b`, written `>`.
    AToB,
    /// From end `b` to end `a`, written `<`.
    BToA,
}

impl Direction {
    /// Both, in the order in which arrays hold them.
    pub const BOTH: [Self; 2] = [Self::AToB, Self::BToA];

    /// Its place in such an array.
    pub const fn index(self) -> usize {
        match self {
            Self::AToB => 0,
            Self::BToA => 1,
        }
    }

    /// The other way.
    pub const fn opposite(self) -> Self {
        match self {
            Self::AToB => Self::BToA,
            Self::BToA => Self::AToB,
        }
    }
}

/// Which cables a command is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CableSelector {
    /// Every cable.
    All,
    /// The cable of this number.
    One(usize),
}

/// Burst loss after Gilbert and Elliott: in the bad state every frame is lost.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Burst {
    /// Probability, for each frame in the good state, that the bad state begins with it.
    pub enter: f64,
    /// Probability, for each frame in the bad state, that the good state begins with it.
    pub exit: f64,
}

/// New settings for the faults of one direction; what is `None` stays as it is.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct FaultChange {
    /// Probability that a frame is lost.
    pub drop: Option<f64>,
    /// Probability that a frame arrives with the CRC-error flag.
    pub corrupt: Option<f64>,
    /// Probability that one bit of a frame is changed without a sign of it.
    pub flip: Option<f64>,
    /// Burst loss; both probabilities zero end it.
    pub burst: Option<Burst>,
    /// Time that a frame takes on the cable.
    pub delay: Option<Duration>,
    /// Nothing moves; senders are held back.
    pub stall: Option<bool>,
    /// Bits per second; 0 lifts the limit.
    pub cap: Option<u64>,
}

/// Something to do to a running fabric.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Command {
    /// Change the faults of cables; `direction` `None` means both.
    Fault {
        /// Which cables.
        cables: CableSelector,
        /// Which way, or both.
        direction: Option<Direction>,
        /// What changes.
        change: FaultChange,
    },
    /// End all faults of cables; `direction` `None` means both.
    ClearFaults {
        /// Which cables.
        cables: CableSelector,
        /// Which way, or both.
        direction: Option<Direction>,
    },
    /// Pull a cable.
    Unplug(CableSelector),
    /// Plug it in again.
    Plug(CableSelector),
    /// Let one or both lanes of a cable work.
    Lanes {
        /// Which cables.
        cables: CableSelector,
        /// 1 or 2.
        lanes: u8,
    },
    /// Reset a host router, as a firmware fault does: its paths are gone, and all its links go down and train again. It stays enumerated, so that both ends see an
    /// unplug and a plug.
    ResetRouter(NhiId),
    /// Lose the next so many interrupts of an NHI.
    LoseInterrupts {
        /// Whose.
        nhi: NhiId,
        /// How many.
        count: u32,
    },
    /// Lose each interrupt of an NHI with this probability.
    LoseInterruptsAtRandom {
        /// Whose.
        nhi: NhiId,
        /// Probability; 0 ends it.
        probability: f64,
    },
    /// Least time between two interrupts of a vector, whatever the driver asked for; zero goes back to the driver's wish.
    ThrottleInterrupts {
        /// Whose.
        nhi: NhiId,
        /// The gap.
        gap: Duration,
    },
}

/// Why a command was not carried out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CommandError {
    /// There is no cable of that number; holds the number of cables.
    NoSuchCable(usize, usize),
    /// There is no such router.
    NoSuchRouter(NhiId),
    /// Cables have one or two lanes.
    BadLanes(u8),
}

impl fmt::Display for CommandError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoSuchCable(cable, 0) => {
                write!(f, "there is no cable {cable}: this topology has none")
            }
            Self::NoSuchCable(cable, count) => {
                write!(
                    f,
                    "there is no cable {cable}: give 0 to {} or 'all'",
                    count - 1
                )
            }
            Self::NoSuchRouter(nhi) => write!(f, "there is no router {nhi}: 'topology' lists them"),
            Self::BadLanes(lanes) => write!(f, "{lanes} lanes: give 1 or 2"),
        }
    }
}

impl std::error::Error for CommandError {}
