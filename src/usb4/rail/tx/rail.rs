// SPDX-License-Identifier: GPL-2.0-only

//! One rail, sending: what is in its ring, what the peer allows, what the peer has seen.

use crate::rxe::time::Time;
use crate::usb4::rail::config::{CONTROL_RESERVE, MAX_RING};
use crate::usb4::rail::health::{Doubt, Watch};
use crate::usb4::rail::seq::Seq;
use crate::usb4::rail::tally::{State, TxTally, TxView};

/// What a rail is told when it comes up.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RailUp {
    /// Which life of the rail begins, as agreed in the handshake; the first one is not 0.
    pub epoch: u8,
    /// Its speed, in any unit that is the same for all rails of the link.
    pub speed: u32,
    /// Frames its transmit ring holds.
    pub tx_ring: u32,
    /// Frames its receive ring holds.
    pub rx_ring: u32,
    /// Frames the peer's receive ring holds.
    pub peer_ring: u32,
}

/// One rail, sending.
///
/// # Invariants
///
/// `confirmed <= next <= limit`, and `limit - confirmed` is at most the peer's ring.
#[derive(Clone, Copy, Debug)]
pub(super) struct TxRail {
    pub up: bool,
    pub epoch: u8,
    pub speed: u32,
    /// Frames in the ring.
    pub outstanding: u32,
    /// The next frame.
    pub next: Seq,
    /// The peer has answered in this life: packets may go.
    pub joined: bool,
    /// Goodbye was said: no packets go behind it.
    pub closing: bool,
    /// Credit was missing.
    pub starved: bool,
    pub watch: Watch,
    /// The first frame the peer has not seen.
    pub confirmed: Seq,
    /// The frame after the last one with packets. Control frames need not be seen: they only say
    /// what can be asked again.
    pub packets_end: Seq,
    /// Over all lives.
    pub tally: TxTally,
    ring: u32,
    peer_ring: u32,
    limit: Seq,
}

impl TxRail {
    pub const DOWN: Self = Self {
        up: false,
        epoch: 0,
        speed: 1,
        outstanding: 0,
        next: Seq::ZERO,
        joined: false,
        closing: false,
        starved: false,
        watch: Watch::NEW,
        confirmed: Seq::ZERO,
        packets_end: Seq::ZERO,
        tally: TxTally {
            posted: 0,
            completed: 0,
            control: 0,
            starved: 0,
            lives: 0,
            given_up: 0,
            by_peer: 0,
            violations: 0,
        },
        ring: 0,
        peer_ring: 0,
        limit: Seq::ZERO,
    };

    /// Begins a new life. `tally` is what the rail did in earlier ones.
    pub fn start(config: &RailUp, mut tally: TxTally, now: Time) -> Self {
        tally.lives = tally.lives.wrapping_add(1);
        let peer_ring = config.peer_ring.min(MAX_RING);
        Self {
            up: true,
            epoch: config.epoch,
            speed: config.speed.max(1),
            ring: config.tx_ring.min(MAX_RING),
            peer_ring,
            limit: Seq::ZERO.plus(peer_ring),
            watch: Watch::started(now),
            tally,
            ..Self::DOWN
        }
    }

    /// Frames the peer's ring has room for.
    #[inline]
    pub fn credit(&self) -> u32 {
        self.limit.count_from(self.next)
    }

    /// Whether the ring holds more than a rail of speed `fastest` sends in the time of `frames` frames.
    #[inline]
    pub fn is_busier(&self, frames: u32, fastest: u32) -> bool {
        u64::from(self.outstanding) * u64::from(fastest) > u64::from(frames) * u64::from(self.speed)
    }

    /// Whether what is in the ring is sent before what is in the ring of another rail.
    #[inline]
    pub fn is_done_before(&self, other: &Self) -> bool {
        u64::from(self.outstanding) * u64::from(other.speed)
            < u64::from(other.outstanding) * u64::from(self.speed)
    }

    /// The ring has sent `frames` frames.
    #[inline]
    pub fn completed(&mut self, frames: u32, now: Time) {
        self.outstanding = self.outstanding.saturating_sub(frames);
        self.tally.completed = self.tally.completed.wrapping_add(frames.into());
        self.watch.sent(now);
    }

    /// Whether packets that wait may wait for this rail: for credit, or for what is in its ring and does not
    /// leave, be it control frames only.
    pub fn holds_up(&self) -> bool {
        self.starved || self.joined && self.outstanding != 0
    }

    /// Packets cannot go for lack of credit.
    pub fn starve(&mut self) {
        if !self.starved {
            self.tally.starved = self.tally.starved.wrapping_add(1);
        }
        self.starved = true;
    }

    /// How it is, for people.
    pub fn view(&self) -> TxView {
        let state = match (self.up, self.joined) {
            (false, _) => State::Down,
            (true, false) => State::Joining,
            (true, true) if self.watch.is_suspect() => State::Suspect,
            (true, true) => State::Up,
        };
        // What an ended life says of the peer is over.
        let now = |count: u32| if self.up { count } else { 0 };
        TxView {
            state,
            in_flight: self.outstanding,
            room: now(self.ring.saturating_sub(self.outstanding)),
            credit: now(self.credit()),
            unseen: now(self.next.count_from(self.confirmed)),
            tally: self.tally,
        }
    }

    /// Whether `frames` frames fit into the ring and leave room for control.
    #[inline]
    pub fn has_ring(&self, frames: u32) -> bool {
        self.outstanding
            .saturating_add(frames)
            .saturating_add(CONTROL_RESERVE)
            <= self.ring
    }

    /// Whether a control frame can go.
    pub fn takes_control(&self) -> bool {
        self.up && self.outstanding < self.ring && self.credit() > 0
    }

    /// Whether packets may go.
    #[inline]
    pub fn takes_packets(&self) -> bool {
        self.up && self.joined && !self.closing && !self.watch.is_suspect()
    }

    /// Whether nothing that is urgent should go.
    pub fn is_doubtful(&self) -> bool {
        !self.joined || self.watch.is_asked_about()
    }

    /// Whether all packets have been seen.
    #[inline]
    pub fn is_quiet(&self) -> bool {
        !self.packets_end.is_after(self.confirmed)
    }

    /// What there is to ask; `waiting`: some packet waits for a rail.
    pub fn doubt(&self, waiting: bool) -> Doubt {
        Doubt {
            joining: !self.joined,
            unseen: !self.is_quiet(),
            starved: self.starved && waiting,
            drained: self.outstanding == 0,
        }
    }

    /// `frames` frames go into the ring; returns the sequence of the first.
    #[inline]
    pub fn take(&mut self, frames: u32, packets: bool, now: Time) -> Seq {
        let first = self.next;
        self.next = self.next.plus(frames);
        if packets {
            if self.is_quiet() {
                self.watch.progress(now);
            }
            self.watch.sent(now);
            self.packets_end = self.next;
        } else {
            self.tally.control = self.tally.control.wrapping_add(frames.into());
        }
        self.tally.posted = self.tally.posted.wrapping_add(frames.into());
        self.outstanding = self.outstanding.saturating_add(frames);
        first
    }

    /// The peer says what it allows and has seen. Says so if it is news that frames arrived.
    pub fn hear(&mut self, limit: Seq, window: u16, now: Time) -> bool {
        let seen = limit.minus(u32::from(window));
        let lie = u32::from(window) > self.peer_ring || seen.is_after(self.next);
        if lie || self.confirmed.is_after(seen) {
            return false;
        }
        if limit.is_after(self.limit) {
            self.limit = limit;
            self.starved = false;
        }
        if seen.is_after(self.confirmed) {
            self.confirmed = seen;
            self.joined = true;
            if self.is_quiet() {
                // It must not fall behind half of all numbers while only control frames go.
                self.packets_end = seen;
            }
            self.watch.progress(now);
            return true;
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rail_that_carries_control_frames_only_stays_quiet() {
        let up = RailUp {
            epoch: 1,
            speed: 1,
            tx_ring: 1024,
            rx_ring: 1024,
            peer_ring: 1024,
        };
        let mut rail = TxRail::start(&up, TxTally::default(), Time::ZERO);
        rail.take(1, true, Time::ZERO);
        let mut seen = Seq::ZERO;
        for _ in 0..(1u32 << 31) / 1000 + 10 {
            seen = seen.plus(1000);
            rail.take(1000, false, Time::ZERO);
            rail.hear(seen.plus(1024), 1024, Time::ZERO);
            assert!(rail.is_quiet(), "at {seen:?}");
        }
    }
}
