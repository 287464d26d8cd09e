// SPDX-License-Identifier: GPL-2.0-only

//! The sending half of a link.
//!
//! ```text
//!   reserve ─ write headers ─ commit      fills the open frame of a class
//!                              |  full: dispatch      not full: waits for flush
//!   flush, completed ----------'
//!   dispatch    turn: which class   pick: which rail   -> Egress::post_head, post_payload
//!   hear        credits and statuses of the peer       -> limits, Notices::sent_lost, health
//!   tick        probes, stalls, deaths                 -> Notices::rail_down
//! ```
//!
//! A frame waits only behind others: with a rail that has next to nothing to do, [`flush`] sends
//! what there is. With all rails busy it fills up until one is not.
//!
//! [`flush`]: Sender::flush

mod log;
mod open;
mod pick;
mod rail;
mod turn;
mod upkeep;

pub use log::Entry;
pub use open::Shape;
pub use rail::RailUp;

use core::ops::DerefMut;

use self::log::Log;
use self::open::Open;
use self::rail::TxRail;
use self::turn::Turn;
use super::config::{
    Times, CONTROL_RESERVE, EAGER, HALF_TRAIN, MAX_TRAIN, REFILL, RESPONSE_RESERVE, SHORT_TRAIN,
    SPREAD,
};
use super::control::{Report, Untold};
use super::frame::{Class, Header, RailStatus, Tag};
use super::id::RailId;
use super::port::{Egress, Notices};
use super::seq::Seq;
use super::tally::TxView;
use super::MAX_RAILS;
use crate::rxe::time::Time;

/// Why a packet cannot be sent now.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum NotNow {
    /// All rails are busy, or out of credit, or down; or there is no buffer. Try again after
    /// [`Sender::completed`] or [`Sender::hear`].
    Busy,
    /// No frame could ever carry it.
    Impossible,
}

/// The sending half.
pub struct Sender<E: Egress, L> {
    rails: [TxRail; MAX_RAILS],
    /// The highest speed of the rails that are up.
    fastest: u32,
    rdma: Open<E::Buffer, E::Payload>,
    ethernet: Open<E::Buffer, E::Payload>,
    turn: Turn,
    /// Since when packets wait and no rail takes any.
    stuck: Option<Time>,
    /// Packets sent since nothing was in any ring.
    burst: u32,
    /// The next packet to go into a ring.
    stripe: Seq,
    /// The rail of the last packets, and how many went there without a break.
    last: Option<RailId>,
    run: u32,
    log: Log<L>,
    untold: Untold,
    times: Times,
    /// Rails that went down and the receiving half does not know.
    downs: u8,
}

impl<E: Egress, L: DerefMut<Target = [Entry]>> Sender<E, L> {
    /// A sender without rails. `log` has a power of two of entries.
    pub fn new(log: L, times: Times) -> Self {
        Self {
            rails: [TxRail::DOWN; MAX_RAILS],
            fastest: 1,
            rdma: Open::new(),
            ethernet: Open::new(),
            turn: Turn::default(),
            stuck: None,
            burst: 0,
            stripe: Seq::ZERO,
            last: None,
            run: 0,
            log: Log::new(log),
            untold: Untold::new(),
            times,
            downs: 0,
        }
    }

    /// Makes room for a packet: bytes for `shape.inline` and, behind them, `shape.tail`.
    ///
    /// Write the inline bytes at the front, then [`commit`](Self::commit). A reservation that is
    /// not committed costs nothing.
    #[inline]
    pub fn reserve(
        &mut self,
        now: Time,
        class: Class,
        shape: &Shape,
        egress: &mut E,
    ) -> Result<&mut [u8], NotNow> {
        if !shape.is_possible() {
            return Err(NotNow::Impossible);
        }
        let train = self.train_limit(class);
        let open = self.open(class);
        if !open.fits(shape, train.max(super::frame::record::MAX_FRAMES)) {
            open.full = true;
            self.dispatch(now, false, egress);
            if !self.open(class).is_empty() {
                return Err(NotNow::Busy);
            }
        }
        if self.open(class).is_empty() {
            let limit = self.longest_train();
            self.open(class).limit = limit;
        }
        let open = self.open(class);
        if open.buffer.is_none() {
            open.buffer = egress.buffer();
        }
        open.room(shape).ok_or(NotNow::Busy)
    }

    /// The room reserved last for this class, with the same `shape`.
    #[inline]
    pub fn room(&mut self, class: Class, shape: &Shape) -> Option<&mut [u8]> {
        self.open(class).room(shape)
    }

    /// Adds the packet reserved last for this class.
    ///
    /// `inline` bytes of the room are its front, `tail` its end; between them are `payload_len`
    /// bytes in the `payload` frames, all of 4096 bytes but the last. `token` comes back if it is
    /// lost. False: this is not what was reserved, and nothing was added.
    #[inline]
    pub fn commit(
        &mut self,
        class: Class,
        inline: usize,
        tail: &[u8],
        payload: &[E::Payload],
        payload_len: usize,
        token: u64,
    ) -> bool {
        self.open(class)
            .add(inline, tail, payload, payload_len, token)
    }

    /// There is no more for now: sends what waits, where a rail has little to do.
    pub fn flush(&mut self, now: Time, egress: &mut E) {
        self.dispatch(now, true, egress);
        self.tell_if_due(now, egress);
    }

    /// The ring of a rail has sent `frames` frames; call [`flush`](Self::flush) after.
    pub fn completed(&mut self, now: Time, id: RailId, frames: u32) {
        let rail = &mut self.rails[id.index()];
        rail.completed(frames, now);
        if rail.outstanding == 0 && self.rails.iter().all(|rail| rail.outstanding == 0) {
            self.burst = 0;
        }
    }

    /// Whether a packet waits for a rail.
    pub fn is_waiting(&self) -> bool {
        !self.rdma.is_empty() || !self.ethernet.is_empty()
    }

    /// Whether something waits until a ring has less to send. Only [`completed`](Self::completed) tells that it has:
    /// whoever does not hear of it from the rings looks at them soon.
    pub fn waits_for_rings(&self) -> bool {
        self.stuck.is_some() && self.rails.iter().any(|rail| rail.outstanding != 0)
    }

    /// The next packet to go into a ring.
    pub fn next_stripe(&self) -> Seq {
        self.stripe
    }

    /// Whether a rail is up.
    pub fn is_up(&self, id: RailId) -> bool {
        self.rails[id.index()].up
    }

    /// Frames in the ring of a rail.
    pub fn outstanding(&self, id: RailId) -> u32 {
        self.rails[id.index()].outstanding
    }

    /// How a rail is and what it did, for people.
    pub fn view(&self, id: RailId) -> TxView {
        self.rails[id.index()].view()
    }

    /// How many losses the receiving half has had, as far as is known here.
    #[inline]
    pub(super) fn known_losses(&self) -> u64 {
        self.untold.report.losses.serial
    }

    /// Takes note of the receiving half, so that the peer can be told.
    pub fn learn(&mut self, now: Time, report: &Report) {
        self.untold.learn(report, now, &self.times);
    }

    /// Takes note of one rail of the receiving half.
    #[inline]
    pub fn learn_rail(&mut self, now: Time, id: RailId, grant: RailStatus) {
        self.untold.learn_rail(id, grant, now, &self.times);
    }

    /// Whether payload of a packet that waits for a rail is such.
    pub fn is_waiting_with(&self, is: impl Fn(E::Payload) -> bool) -> bool {
        let mut open = [&self.rdma, &self.ethernet].into_iter();
        open.any(|open| {
            let payload = open.payload.iter().take(usize::from(open.frames));
            payload.flatten().any(|(memory, _)| is(*memory))
        })
    }

    /// Drops what waits for a rail: there is none any more, and what is sent again later must not
    /// meet itself.
    pub fn abandon<N: Notices>(&mut self, egress: &mut E, notices: &mut N) {
        for open in [&mut self.rdma, &mut self.ethernet] {
            if let Some(buffer) = open.buffer.take() {
                egress.drop_buffer(buffer);
            }
            let payload = open.payload.iter().take(usize::from(open.frames));
            for (memory, _) in payload.flatten() {
                egress.drop_payload(*memory);
            }
            let tokens = open.tokens.get(..usize::from(open.packets));
            for token in tokens.unwrap_or_default() {
                notices.sent_lost(Some(*token));
            }
            open.clear();
        }
        self.stuck = None;
    }

    fn open(&mut self, class: Class) -> &mut Open<E::Buffer, E::Payload> {
        match class {
            Class::Rdma => &mut self.rdma,
            Class::Ethernet => &mut self.ethernet,
        }
    }

    /// How long a train may be now: short while a rail has nothing to do.
    #[inline]
    fn train_limit(&self, class: Class) -> usize {
        let idle = self
            .rails
            .iter()
            .any(|rail| rail.outstanding == 0 && rail.takes_packets());
        if idle || class == Class::Ethernet {
            SHORT_TRAIN
        } else {
            self.rdma.limit
        }
    }

    /// How long the train may become that begins now.
    fn longest_train(&self) -> usize {
        let mut rails = 0;
        let mut next: Option<&TxRail> = None;
        for rail in self.rails.iter().filter(|rail| rail.takes_packets()) {
            rails += 1;
            if next.is_none_or(|best| rail.is_done_before(best)) {
                next = Some(rail);
            }
        }
        // The rail that will take it is the one that will be done first.
        let slow = next.is_some_and(|rail| rail.speed < self.fastest / 2);
        if slow || rails > 1 && self.burst < rails * SPREAD {
            HALF_TRAIN
        } else {
            MAX_TRAIN
        }
    }

    /// Sends full frames, and with `flush` those with room too, while a rail wants them.
    fn dispatch(&mut self, now: Time, flush: bool, egress: &mut E) {
        loop {
            let class = match (self.rdma.is_empty(), self.ethernet.is_empty()) {
                (true, true) => return,
                (false, true) => Class::Rdma,
                (true, false) => Class::Ethernet,
                (false, false) => {
                    if self.turn.is_ethernet(self.ethernet.total_frames()) {
                        Class::Ethernet
                    } else {
                        Class::Rdma
                    }
                }
            };
            let due = class == Class::Ethernet && !self.rdma.is_empty();
            let open = self.open(class);
            let frames = open.total_frames();
            // Ethernet keeps the rings short for RDMA, unless its turn has come.
            let busiest = match (class, open.full) {
                (Class::Ethernet, _) if due => REFILL,
                (Class::Ethernet, true) => REFILL / 2,
                (Class::Rdma, true) => REFILL,
                (_, false) if flush => EAGER,
                (_, false) => return,
            };
            // Acknowledgements and other small packets may use what trains may not.
            let reserve = if open.frames == 0 {
                CONTROL_RESERVE
            } else {
                CONTROL_RESERVE + RESPONSE_RESERVE
            };
            let Some(rail) = self.pick(frames, busiest, reserve) else {
                self.stuck.get_or_insert(now);
                return;
            };
            self.send(now, class, rail, egress);
        }
    }

    /// Puts the open frame of a class into the ring of a rail.
    fn send(&mut self, now: Time, class: Class, id: RailId, egress: &mut E) {
        let credit = self.untold.credit();
        let stripe = self.stripe;
        let run = if self.last == Some(id) { self.run } else { 0 };
        let rail = &mut self.rails[id.index()];
        let open = match class {
            Class::Rdma => &mut self.rdma,
            Class::Ethernet => &mut self.ethernet,
        };
        let frames = open.total_frames();
        let packets = u32::from(open.packets);
        let header = Header {
            kind: open.kind(),
            class,
            epoch: rail.epoch,
            packets: open.packets,
            rail_seq: rail.next,
            stripe,
            run: u16::try_from(run).unwrap_or(u16::MAX),
            payload_frames: open.frames,
            // A frame has at most 4096 bytes.
            length: u16::try_from(open.len).unwrap_or(u16::MAX),
            credit,
        };
        let Some(mut buffer) = open.buffer.take() else {
            open.clear();
            return;
        };
        if header.emit(&mut buffer).is_err() {
            // A buffer shorter than a header: not the caller's promise. Drop what is in it.
            open.clear();
            return;
        }
        let first = rail.take(frames, true, now);
        egress.post_head(id, buffer, open.len);
        let payload = open.payload.iter().take(usize::from(open.frames));
        for (place, (memory, len)) in (0u8..).zip(payload.flatten()) {
            egress.post_payload(id, *memory, usize::from(*len), Tag::payload(place));
        }
        let tokens = open
            .tokens
            .get(..usize::from(open.packets))
            .unwrap_or_default();
        let last_seq = first.plus(frames - 1);
        self.log.put(stripe, tokens, id, rail.epoch, last_seq);
        open.clear();
        self.stripe = stripe.plus(packets);
        self.last = Some(id);
        self.run = run.saturating_add(packets);
        self.burst = self.burst.saturating_add(packets);
        match class {
            Class::Rdma => self.turn.rdma_sent(frames, !self.ethernet.is_empty()),
            Class::Ethernet => self.turn.ethernet_sent(),
        }
        self.stuck = None;
    }
}

impl<E: Egress, L: DerefMut<Target = [Entry]>> Sender<E, L> {
    /// The peer has begun anew, and so do we: no rail is up, nothing was sent.
    pub fn reset<N: Notices>(&mut self, now: Time, notices: &mut N) {
        for id in RailId::all() {
            self.rail_down(now, id, super::port::Down::Peer, notices);
        }
        self.stripe = Seq::ZERO;
        self.last = None;
        self.run = 0;
        self.log.reset();
        self.untold = Untold::new();
    }
}
