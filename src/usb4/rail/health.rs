// SPDX-License-Identifier: GPL-2.0-only

//! Whether a rail lives: what it has been silent about, and for how long.
//!
//! ```text
//!   joining --- probe, ever less often ---> join: Silent
//!      |  the peer has seen a probe
//!      v
//!   all seen ----- send -----> waiting --- probe ---> ask on the same rail (finds a lost tail)
//!      ^                          |
//!      |                          '------- stall ---> ask on another rail           
//!      |                                                |  answered, nothing seen here
//!      '-- the peer has seen                            |      send nothing here, again: ask once more
//!          more of this rail                            |          answered, nothing seen: Stalled
//!                                                       '- dead: Silent
//! ```
//!
//! Times count from the last frame the peer was seen to receive. A peer that is busy is silent on
//! all rails, so a rail is only called stalled if questions sent later on another rail were answered.
//! Two of them: a peer that finds time again looks at one ring after the other, and may answer the
//! first question before it has looked at the ring of the silent rail.
//!
//! A rail carries no packets before the peer has answered on it: the two ends do not end the
//! handshake at the same time.

use crate::rxe::time::Time;
use crate::usb4::rail::config::Times;
use crate::usb4::rail::id::RailId;
use crate::usb4::rail::seq::Seq;

/// How often the time between two probes doubles.
const MAX_DOUBLINGS: u32 = 7;

/// The watch over one rail.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Watch {
    /// When the last frame was put into the ring or sent from it.
    last_sent: Time,
    /// When the peer was last seen to receive, or when there first was something to receive.
    last_progress: Time,
    /// Probes without progress.
    probes: u32,
    /// The other rail asked, and the sequence of the question.
    pub witness: Option<(RailId, Seq)>,
    /// When, or when it was answered.
    asked: Time,
    /// It was answered once.
    answered: bool,
}

/// Why a rail may have to be asked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Doubt {
    /// The peer was not seen to receive anything in this life of the rail.
    pub joining: bool,
    /// The peer was not seen to receive all.
    pub unseen: bool,
    /// Credit is missing.
    pub starved: bool,
    /// The transmit ring is empty: while it is not, what follows will find a loss.
    pub drained: bool,
}

impl Doubt {
    fn wants_probe(self) -> bool {
        (self.joining || self.unseen || self.starved) && self.drained
    }
}

/// What the watch wants.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Want {
    Nothing,
    /// A probe on this rail.
    Probe,
    /// A probe on another rail.
    Witness,
    /// The rail is dead.
    Dead,
}

impl Watch {
    pub const NEW: Self = Self {
        last_sent: Time::ZERO,
        last_progress: Time::ZERO,
        probes: 0,
        witness: None,
        asked: Time::ZERO,
        answered: false,
    };

    pub fn started(now: Time) -> Self {
        Self {
            last_sent: now,
            last_progress: now,
            ..Self::NEW
        }
    }

    #[inline]
    pub fn sent(&mut self, now: Time) {
        self.last_sent = now;
    }

    #[inline]
    pub fn progress(&mut self, now: Time) {
        self.last_progress = now;
        self.probes = 0;
        self.witness = None;
        self.answered = false;
    }

    /// A probe was sent on this rail.
    pub fn probed(&mut self) {
        self.probes = self.probes.saturating_add(1);
    }

    /// Another rail was asked.
    pub fn ask(&mut self, witness: Option<(RailId, Seq)>, now: Time) {
        self.witness = witness;
        self.answered &= witness.is_some();
        self.asked = now;
    }

    /// The question was answered, and nothing arrived here. True: for the second time.
    pub fn answered(&mut self, now: Time) -> bool {
        let again = self.answered;
        self.witness = None;
        self.answered = true;
        self.asked = now;
        again
    }

    /// Whether no packets should be sent here. To ask is not enough: behind the queue of a slow rail
    /// silence is normal, and an answer ends it.
    #[inline]
    pub fn is_suspect(&self) -> bool {
        self.answered
    }

    /// Whether nothing that is urgent should be sent here.
    pub fn is_asked_about(&self) -> bool {
        self.witness.is_some() || self.answered
    }

    fn probe_at(&self, times: &Times) -> Time {
        let factor = 1u64 << self.probes.min(MAX_DOUBLINGS);
        self.last_sent.after(times.probe.saturating_mul(factor))
    }

    fn stall_at(&self, times: &Times) -> Time {
        let first = self.last_progress.after(times.stall);
        let patience = if self.answered {
            times.again
        } else {
            times.stall
        };
        let again = self.asked.after(patience);
        if first < again && self.asked >= self.last_progress {
            again
        } else {
            first
        }
    }

    /// What to do now.
    pub fn want(&self, doubt: Doubt, now: Time, times: &Times) -> Want {
        let unseen = doubt.unseen;
        if unseen && now >= self.last_progress.after(times.dead)
            || doubt.joining && now >= self.last_progress.after(times.join)
        {
            Want::Dead
        } else if unseen && now >= self.stall_at(times) {
            Want::Witness
        } else if doubt.wants_probe() && now >= self.probe_at(times) {
            Want::Probe
        } else {
            Want::Nothing
        }
    }

    /// When [`want`](Self::want) will want something.
    pub fn next(&self, doubt: Doubt, times: &Times) -> Time {
        let mut next = Time::NEVER;
        if doubt.unseen {
            next = self
                .last_progress
                .after(times.dead)
                .earlier_of(self.stall_at(times));
        }
        if doubt.joining {
            next = next.earlier_of(self.last_progress.after(times.join));
        }
        if doubt.wants_probe() {
            next = next.earlier_of(self.probe_at(times));
        }
        next
    }
}
