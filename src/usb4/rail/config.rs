// SPDX-License-Identifier: GPL-2.0-only

//! The numbers both ends agree on, and the ones an end may choose.

use crate::rxe::time::Nanos;

/// The most payload frames of a train: 49 frames for 48 packets of 4 KiB are 1.02 frames a packet,
/// and the headers of 48 packets fit into one frame with IPv6 too.
pub const MAX_TRAIN: usize = 48;

/// The payload frames of a train where a long one would keep others waiting: on a rail that is less
/// than half as fast as the fastest, for all wait for what it carries, and a queue pair that goes
/// back repeats what waits; and in the first [`SPREAD`] packets of each rail after a rest, for the
/// last trains of a message should end at about the same time.
pub const HALF_TRAIN: usize = MAX_TRAIN / 2;

/// Packets for each rail after a rest that go in half trains.
pub const SPREAD: u32 = 32;

/// The payload frames of a train while some rail has nothing to do: a single message then spreads
/// over the idle rails instead of queueing on one.
pub const SHORT_TRAIN: usize = 8;

/// A full frame or train goes to a rail that has no more than this many frames in its ring. More
/// would only be a longer queue; fewer would let a rail run dry before the next completion.
pub const REFILL: u32 = 16;

/// A frame that has room left goes to a rail that has no more than this many frames in its ring.
/// Behind a longer queue it has the time to fill.
pub const EAGER: u32 = 4;

/// Frames of the peer's ring that only control frames may use.
pub const CONTROL_RESERVE: u32 = 8;

/// Frames of the peer's ring that trains may not use: they are for acknowledgements.
pub const RESPONSE_RESERVE: u32 = 8;

/// The smallest ring, in either direction.
pub const MIN_RING: u32 = 128;

/// The largest ring.
pub const MAX_RING: u32 = 4096;

/// While plain Ethernet waits, it gets one frame for this many of RDMA.
pub const ETHERNET_SHARE: u32 = 8;

/// The farthest a packet may be ahead of the one expected: more than all rings can hold.
pub const MAX_AHEAD: u32 = 1 << 24;

/// The times an end waits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Times {
    /// A rail that has sent nothing for this long, and does not know that all arrived, asks.
    pub probe: Nanos,
    /// Credits are told at the latest this long after the first frame came free.
    pub status: Nanos,
    /// A rail without a sign of arrival for this long is suspected, and another one is asked.
    pub stall: Nanos,
    /// A peer that answered is asked once more after this long, before a rail is called stalled.
    pub again: Nanos,
    /// A rail without a sign of arrival for this long is dead, whatever the others say.
    pub dead: Nanos,
    /// A rail without credit, or with frames that do not leave its ring, while packets wait and nothing
    /// moves for this long, is given up: the peer may answer, but it takes nothing. Longer than `dead`: a
    /// peer's ring can be full of frames that wait for those of another, dead rail.
    pub starved: Nanos,
    /// A new rail that the peer did not answer on for this long is given up.
    pub join: Nanos,
}

impl Times {
    /// What the simulations say is right.
    pub const DEFAULT: Self = Self {
        probe: Nanos::from_micros(250),
        status: Nanos::from_micros(250),
        stall: Nanos::from_micros(500),
        again: Nanos::from_micros(100),
        dead: Nanos::from_millis(100),
        starved: Nanos::from_millis(250),
        join: Nanos::from_millis(1_000),
    };
}

impl Default for Times {
    fn default() -> Self {
        Self::DEFAULT
    }
}
