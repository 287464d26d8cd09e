// SPDX-License-Identifier: GPL-2.0-only

//! Both halves together: what one peer is to us, and what the owner of the rings must call.
//!
//! The halves can be kept under a lock each, **receiving before sending**, so that a request is
//! posted while packets are delivered. Then [`Halves`] is made of both where both are needed. A test
//! or a single thread keeps a [`Link`] and calls the same methods there.
//!
//! | context | locks | calls, in this order |
//! |---|---|---|
//! | `post_send` | tx | for each packet `tx.reserve`, `tx.commit`; then `tx.flush` |
//! | transmit ring done | tx | `tx.completed`, `tx.flush`; then the queue pairs that were told `Busy` |
//! | receive ring, for each frame | rx | repost a buffer, then `rx.receive`. Its [`Ingress`] may take tx and `reserve`, `commit` an acknowledgement |
//! | the same, if what `receive` returned [is something](Heard::is_something) | rx, tx | [`Halves::hear`] with it |
//! | the same, at the end of the batch | rx, tx | [`Halves::flush`]; then the timer |
//! | timer, at [`Halves::next_timeout`] | rx, tx | [`Halves::tick`]; then the timer |
//! | a rail is up, down, the peer is new | rx, tx | [`Halves::rail_up`], [`rail_down`](Halves::rail_down), [`reset`](Halves::reset); then the timer |
//!
//! None of them sleeps or allocates, all may run in soft interrupt context, and each does a bounded
//! amount of work. "Then the timer": `next_timeout` may have become earlier. Calls on one half
//! exclude each other; nothing else is assumed, not even that rails are looked at in any order.
//!
//! # What the owner of the rings promises
//!
//! - **A life.** Both ends begin a life with empty rings: the paths are down, transmit descriptors
//!   taken back, the receive ring primed with `rx_ring` buffers, *then* `rail_up`. The epoch keeps
//!   heads of an earlier life out, payload frames have none. The other end may be late: no packet
//!   goes before it has answered.
//! - **Ring sizes** count the frames a ring holds: one less than its descriptors where a full ring
//!   must differ from an empty one. The handshake tells the same numbers.
//! - **Buffers.** A frame that `receive` got belongs to the link until [`Ingress::release`], also
//!   after `rail_down`; a ring that is torn down first must leave such buffers alone.
//! - **After [`Notices::rail_down`]** the link counts nothing in the transmit ring any more and
//!   posts nothing there. The call comes with locks held: note it, and later, where it may sleep,
//!   stop the rings, say [`Logout`](super::frame::hello::Message::Logout) to the peer, log in again.
//! - **Going away.** `tx.close` on each rail, `tx.flush`, give the frames some time, `rail_down`.

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
/// The sending half itself takes about 5 KiB, the receiving half less than one. They are built by value,
/// each for itself: do that in process context, once, straight into a box. The calls of the data path
/// have frames of at most 1 KiB.
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
}

/// Both halves, borrowed from where they are kept.
pub struct Halves<'a, E: Egress, F, Q, L> {
    /// The sending half.
    pub tx: &'a mut Sender<E, L>,
    /// The receiving half.
    pub rx: &'a mut Receiver<F, Q>,
}

impl<E, F, Q, L> Halves<'_, E, F, Q, L>
where
    E: Egress,
    F: Copy,
    Q: DerefMut<Target = [Slot<F>]>,
    L: DerefMut<Target = [Entry]>,
{
    /// A rail begins a new life, as agreed in the handshake. Its receive ring is primed.
    ///
    /// If it still was in an earlier one, that ends first.
    pub fn rail_up<P>(
        &mut self,
        now: Time,
        id: RailId,
        config: &RailUp,
        egress: &mut E,
        port: &mut P,
    ) where
        P: Ingress<Frame = F> + Notices,
    {
        self.rail_down(now, id, Down::Local, port);
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

    /// Passes what a frame said on to the sending half, if it [is something](Heard::is_something).
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
        if self.rx.losses().serial != self.tx.known_losses() {
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
        self.rx.go_on(port);
        self.tx.tick(now, egress, port);
        self.settle(now, port);
        self.flush(now, egress);
    }

    /// When [`tick`](Self::tick) is to be called, at the latest. [`Time::ZERO`]: at once, there are
    /// packets to deliver that were more than one call should do.
    pub fn next_timeout(&self) -> Time {
        next_timeout(self.tx, self.rx)
    }

    /// The peer has lost its memory, and so have we: all rails are down, all numbers begin anew.
    pub fn reset<P>(&mut self, now: Time, port: &mut P)
    where
        P: Ingress<Frame = F> + Notices,
    {
        self.tx.reset(now, port);
        while self.tx.take_down().is_some() {}
        self.rx.reset(port);
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
        self.tx.learn(now, &report);
    }
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
        }
    }

    /// Both halves.
    #[inline]
    pub fn halves(&mut self) -> Halves<'_, E, F, Q, L> {
        Halves {
            tx: &mut self.tx,
            rx: &mut self.rx,
        }
    }

    /// See [`Halves::rail_up`].
    pub fn rail_up<P>(
        &mut self,
        now: Time,
        id: RailId,
        config: &RailUp,
        egress: &mut E,
        port: &mut P,
    ) where
        P: Ingress<Frame = F> + Notices,
    {
        self.halves().rail_up(now, id, config, egress, port);
    }

    /// See [`Halves::rail_down`].
    pub fn rail_down<P>(&mut self, now: Time, id: RailId, why: Down, port: &mut P)
    where
        P: Ingress<Frame = F> + Notices,
    {
        self.halves().rail_down(now, id, why, port);
    }

    /// See [`Halves::receive`].
    #[inline]
    pub fn receive<P>(&mut self, now: Time, id: RailId, tag: Tag, frame: F, port: &mut P)
    where
        P: Ingress<Frame = F> + Notices,
    {
        self.halves().receive(now, id, tag, frame, port);
    }

    /// See [`Halves::flush`].
    pub fn flush(&mut self, now: Time, egress: &mut E) {
        self.halves().flush(now, egress);
    }

    /// See [`Halves::tick`].
    pub fn tick<P>(&mut self, now: Time, egress: &mut E, port: &mut P)
    where
        P: Ingress<Frame = F> + Notices,
    {
        self.halves().tick(now, egress, port);
    }

    /// See [`Halves::next_timeout`].
    pub fn next_timeout(&self) -> Time {
        next_timeout(&self.tx, &self.rx)
    }

    /// See [`Halves::reset`].
    pub fn reset<P>(&mut self, now: Time, port: &mut P)
    where
        P: Ingress<Frame = F> + Notices,
    {
        self.halves().reset(now, port);
    }
}

fn next_timeout<E, F, Q, L>(tx: &Sender<E, L>, rx: &Receiver<F, Q>) -> Time
where
    E: Egress,
    F: Copy,
    Q: DerefMut<Target = [Slot<F>]>,
    L: DerefMut<Target = [Entry]>,
{
    if rx.has_more() {
        Time::ZERO
    } else {
        tx.next_timeout()
    }
}
