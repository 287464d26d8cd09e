// SPDX-License-Identifier: GPL-2.0-only

//! Both halves together: what one peer is to us.
//!
//! The halves are public fields, for they can be borrowed apart: the [`Ingress`] given to
//! [`Receiver::receive`] may hold the [`Sender`] and acknowledge from within. Who does that calls
//! [`hear`](Link::hear) afterwards with what `receive` returned.
//!
//! ```text
//!   interrupt: for each frame  link.receive(..)          packets go up, frames come free
//!              then            link.flush(..)            acknowledgements and credits leave
//!   post_send: for each packet link.tx.reserve, commit
//!              then            link.flush(..)
//!   ring done:                 link.tx.completed(..), link.flush(..)
//!   timer:                     link.tick(..) at link.next_timeout()
//! ```

use core::ops::DerefMut;

use super::config::Times;
use super::control::Report;
use super::frame::Tag;
use super::id::RailId;
use super::port::{Down, Egress, Ingress, Notices};
use super::rx::{Heard, Receiver, Slot};
use super::tx::{Entry, RailUp, Sender};
use super::MAX_RAILS;
use crate::rxe::time::Time;

/// The memory of a link, allocated once.
///
/// | part | holds | size |
/// |---|---|---|
/// | `queues` | frames held, per rail | as many slots of 32 bytes as the rail's receive ring has frames |
/// | `log` | packets sent lately | a power of two of 24 bytes, at most 2^24; 8192 cover eight rails |
///
/// The halves themselves take about 6 KiB.
#[derive(Debug)]
pub struct Memory<Q, L> {
    /// See above.
    pub queues: [Q; MAX_RAILS],
    /// See above.
    pub log: L,
}

/// All rails to one peer.
pub struct Link<E: Egress, F, Q, L> {
    /// The sending half.
    pub tx: Sender<E, L>,
    /// The receiving half.
    pub rx: Receiver<F, Q>,
    told_losses: u64,
}

impl<E, F, Q, L> Link<E, F, Q, L>
where
    E: Egress,
    F: Copy,
    Q: DerefMut<Target = [Slot<F>]>,
    L: DerefMut<Target = [Entry]>,
{
    /// A link without rails.
    pub fn new(memory: Memory<Q, L>, times: Times) -> Self {
        Self {
            tx: Sender::new(memory.log, times),
            rx: Receiver::new(memory.queues),
            told_losses: 0,
        }
    }

    /// A rail begins a new life, as agreed in the handshake. Its receive ring is primed.
    pub fn rail_up<P>(
        &mut self,
        now: Time,
        id: RailId,
        config: &RailUp,
        egress: &mut E,
        port: &mut P,
    ) where
        P: Ingress<Frame = F>,
    {
        self.rx.rail_up(id, config.epoch, config.rx_ring, port);
        self.tx.rail_up(now, id, config, egress);
    }

    /// A rail is dead, both ways.
    pub fn rail_down<P>(&mut self, now: Time, id: RailId, why: Down, port: &mut P)
    where
        P: Ingress<Frame = F> + Notices,
    {
        self.tx.rail_down(now, id, why, port);
        self.settle(now, port);
    }

    /// Takes a frame off a rail.
    #[inline]
    pub fn receive<P>(&mut self, now: Time, id: RailId, tag: Tag, frame: F, port: &mut P)
    where
        P: Ingress<Frame = F> + Notices,
    {
        let heard = self.rx.receive(id, tag, frame, port);
        self.hear(now, id, &heard, port);
    }

    /// Passes what a frame said on to the sending half.
    #[inline]
    pub fn hear<P>(&mut self, now: Time, id: RailId, heard: &Heard, port: &mut P)
    where
        P: Ingress<Frame = F> + Notices,
    {
        if heard.is_something() {
            self.tx.hear(now, id, heard, port);
            if let Some((status, _)) = &heard.status {
                self.rx.heard_losses(status.heard);
            }
            if heard.violation {
                self.tx.rail_down(now, id, Down::Violation, port);
            }
            self.settle(now, port);
        }
        if self.rx.losses().serial != self.told_losses {
            self.learn(now);
        }
    }

    /// Sends what waits: packets, credits, answers.
    pub fn flush(&mut self, now: Time, egress: &mut E) {
        self.learn(now);
        self.tx.flush(now, egress);
    }

    /// Does what is due at [`next_timeout`](Self::next_timeout).
    pub fn tick<P>(&mut self, now: Time, egress: &mut E, port: &mut P)
    where
        P: Ingress<Frame = F> + Notices,
    {
        self.tx.tick(now, egress, port);
        self.settle(now, port);
        self.flush(now, egress);
    }

    /// When [`tick`](Self::tick) is to be called, at the latest.
    pub fn next_timeout(&self) -> Time {
        self.tx.next_timeout()
    }

    /// The peer has lost its memory, and so have we: all rails are down, all numbers begin anew.
    pub fn reset<P>(&mut self, now: Time, port: &mut P)
    where
        P: Ingress<Frame = F> + Notices,
    {
        self.tx.reset(now, port);
        while self.tx.take_down().is_some() {}
        self.rx.reset(port);
        self.told_losses = 0;
    }

    /// Tells the receiving half which rails the sending half gave up.
    fn settle<P: Ingress<Frame = F>>(&mut self, now: Time, port: &mut P) {
        let mut some = false;
        while let Some(id) = self.tx.take_down() {
            self.rx.rail_down(id, port);
            some = true;
        }
        if some {
            self.learn(now);
        }
    }

    /// Tells the sending half what the receiving half has room for and has missed.
    fn learn(&mut self, now: Time) {
        let mut report = Report {
            rails: Default::default(),
            losses: *self.rx.losses(),
        };
        for id in RailId::all() {
            report.rails[id.index()] = self.rx.grant(id);
        }
        self.told_losses = report.losses.serial;
        self.tx.learn(now, &report);
    }
}
