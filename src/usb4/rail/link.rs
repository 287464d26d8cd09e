// SPDX-License-Identifier: GPL-2.0-only

//! Both halves together: what one peer is to us, and what the owner of the rings must call.
//!
//! The halves can be kept under a lock each, **receiving before sending**, so that a request is
//! posted while packets are delivered. A test or a single thread keeps a [`Link`] and calls the same methods there.
//!
//! | context | locks | calls, in this order |
//! |---|---|---|
//! | `post_send` | tx | for each packet `tx.reserve`, `tx.commit`; then `tx.flush` |
//! | transmit ring done | tx | `tx.completed`, `tx.flush`; then the queue pairs that were told `Busy` |
//! | receive ring, for each frame | rx | [`Halves::receive`]. Its [`Ingress`] may take tx and `reserve`, `commit` an acknowledgement |
//! | the same, at the end of the batch | rx | [`Halves::flush`]; then the timer |
//! | timer, when `flush` or `tick` said | rx | [`Halves::tick`]; then the timer |
//! | a rail is up, down, the peer is new | rx | [`Halves::rail_up`], [`rail_down`](Halves::rail_down), [`reset`](Halves::reset); then `flush` |
//!
//! [`Halves`] takes tx by itself, by way of [`Sending`], whenever it needs it.
//!
//! None of them sleeps or allocates, all may run in soft interrupt context, and each does a bounded
//! amount of work. "Then the timer": its time may have become earlier. Calls on one half
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
//! - **The last rail is down.** `tx.abandon`, or what waits goes to whoever comes next.
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

/// How to get at the sending half, which may lie under a lock of its own.
pub trait Sending {
    /// The transmit rings.
    type Egress: Egress;
    /// The log's memory.
    type Log: DerefMut<Target = [Entry]>;

    /// Calls with the sending half, locked if need be.
    fn with<R>(&mut self, call: impl FnOnce(&mut Sender<Self::Egress, Self::Log>) -> R) -> R;
}

/// The same with the transmit rings.
pub trait Posting: Sending {
    /// Calls with the sending half and the rings, locked if need be.
    fn post<R>(
        &mut self,
        call: impl FnOnce(&mut Sender<Self::Egress, Self::Log>, &mut Self::Egress) -> R,
    ) -> R;
}

/// Both halves, borrowed from where they are kept.
///
/// The sending half is locked for moments only, and never while a packet is delivered: an
/// [`Ingress`] may send.
pub struct Halves<'a, T, F, Q> {
    /// The sending half.
    pub tx: T,
    /// The receiving half.
    pub rx: &'a mut Receiver<F, Q>,
}

impl<T, F, Q> Halves<'_, T, F, Q>
where
    T: Sending,
    F: Copy,
    Q: DerefMut<Target = [Slot<F>]>,
{
    /// A rail is dead, both ways.
    pub fn rail_down<P>(&mut self, now: Time, id: RailId, why: Down, port: &mut P)
    where
        P: Ingress<Frame = F> + Notices,
    {
        self.tx.with(|tx| tx.rail_down(now, id, why, port));
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

    /// Passes what a frame said on to the sending half, if it [is something](Heard::is_something),
    /// and what was lost.
    #[inline]
    pub fn hear<P>(&mut self, now: Time, id: RailId, heard: &Heard, port: &mut P)
    where
        P: Ingress<Frame = F> + Notices,
    {
        let serial = self.rx.losses().serial;
        if heard.is_something() {
            let settled = self.tx.with(|tx| {
                tx.hear(now, id, heard, port);
                if heard.violation {
                    tx.rail_down(now, id, Down::Violation, port);
                }
                !tx.has_downs() && tx.known_losses() == serial
            });
            if let Some((status, _)) = &heard.status {
                self.rx.heard_losses(status.heard);
            }
            if settled {
                return;
            }
            self.settle(now, port);
        } else if self.rx.is_told(serial) {
            return;
        }
        self.learn(now);
    }

    /// The peer has lost its memory, and so have we: all rails are down, all numbers begin anew.
    pub fn reset<P>(&mut self, now: Time, port: &mut P)
    where
        P: Ingress<Frame = F> + Notices,
    {
        self.tx.with(|tx| {
            tx.reset(now, port);
            while tx.take_down().is_some() {}
        });
        self.rx.reset(port);
    }

    /// Tells the receiving half which rails the sending half gave up.
    fn settle<P: Ingress<Frame = F>>(&mut self, now: Time, port: &mut P) {
        let mut some = false;
        while let Some(id) = self.tx.with(Sender::take_down) {
            self.rx.rail_down(id, port);
            some = true;
        }
        if some {
            self.learn(now);
        }
    }

    /// What the sending half is to know of the receiving half.
    fn report(&self) -> Report {
        let mut report = Report {
            rails: Default::default(),
            losses: *self.rx.losses(),
        };
        for id in RailId::all() {
            report.rails[id.index()] = self.rx.grant(id);
        }
        report
    }

    /// Tells the sending half what the receiving half has room for and has missed: the next frame says
    /// so. [`flush`](Self::flush) does it too; before answers are written, it makes them carry it.
    pub fn learn(&mut self, now: Time) {
        let report = self.report();
        self.tx.with(|tx| tx.learn(now, &report));
        self.rx.told(report.losses.serial);
    }
}

impl<T, F, Q> Halves<'_, T, F, Q>
where
    T: Posting,
    F: Copy,
    Q: DerefMut<Target = [Slot<F>]>,
{
    /// A rail begins a new life, as agreed in the handshake. Its receive ring is primed.
    ///
    /// If it still was in an earlier one, that ends first.
    pub fn rail_up<P>(&mut self, now: Time, id: RailId, config: &RailUp, port: &mut P)
    where
        P: Ingress<Frame = F> + Notices,
    {
        self.rail_down(now, id, Down::Local, port);
        self.rx.rail_up(id, config.epoch, config.rx_ring, port);
        self.tx
            .post(|tx, egress| tx.rail_up(now, id, config, egress));
    }

    /// Sends what waits: packets, credits, answers. Returns when [`tick`](Self::tick) is to be
    /// called, at the latest. [`Time::ZERO`]: at once, there are packets to deliver that were more
    /// than one call should do.
    pub fn flush(&mut self, now: Time) -> Time {
        let report = self.report();
        let next = self.tx.post(|tx, egress| {
            tx.learn(now, &report);
            tx.flush(now, egress);
            tx.next_timeout()
        });
        self.rx.told(report.losses.serial);
        if self.rx.has_more() {
            Time::ZERO
        } else {
            next
        }
    }

    /// Does what is due.
    pub fn tick<P>(&mut self, now: Time, port: &mut P) -> Time
    where
        P: Ingress<Frame = F> + Notices,
    {
        self.rx.go_on(port);
        self.tx.post(|tx, egress| tx.tick(now, egress, port));
        self.settle(now, port);
        self.flush(now)
    }
}

/// The sending half of a [`Link`], which needs no lock.
struct Plain<'a, E: Egress, L>(&'a mut Sender<E, L>);

impl<E: Egress, L: DerefMut<Target = [Entry]>> Sending for Plain<'_, E, L> {
    type Egress = E;
    type Log = L;

    #[inline]
    fn with<R>(&mut self, call: impl FnOnce(&mut Sender<E, L>) -> R) -> R {
        call(self.0)
    }
}

/// The same with the rings.
struct WithRings<'a, E: Egress, L>(&'a mut Sender<E, L>, &'a mut E);

impl<E: Egress, L: DerefMut<Target = [Entry]>> Sending for WithRings<'_, E, L> {
    type Egress = E;
    type Log = L;

    #[inline]
    fn with<R>(&mut self, call: impl FnOnce(&mut Sender<E, L>) -> R) -> R {
        call(self.0)
    }
}

impl<E: Egress, L: DerefMut<Target = [Entry]>> Posting for WithRings<'_, E, L> {
    #[inline]
    fn post<R>(&mut self, call: impl FnOnce(&mut Sender<E, L>, &mut E) -> R) -> R {
        call(self.0, self.1)
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

    fn plain(&mut self) -> Halves<'_, Plain<'_, E, L>, F, Q> {
        Halves {
            tx: Plain(&mut self.tx),
            rx: &mut self.rx,
        }
    }

    fn with_rings<'a>(&'a mut self, egress: &'a mut E) -> Halves<'a, WithRings<'a, E, L>, F, Q> {
        Halves {
            tx: WithRings(&mut self.tx, egress),
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
        self.with_rings(egress).rail_up(now, id, config, port);
    }

    /// See [`Halves::rail_down`].
    pub fn rail_down<P>(&mut self, now: Time, id: RailId, why: Down, port: &mut P)
    where
        P: Ingress<Frame = F> + Notices,
    {
        self.plain().rail_down(now, id, why, port);
    }

    /// See [`Halves::receive`].
    #[inline]
    pub fn receive<P>(&mut self, now: Time, id: RailId, tag: Tag, frame: F, port: &mut P)
    where
        P: Ingress<Frame = F> + Notices,
    {
        self.plain().receive(now, id, tag, frame, port);
    }

    /// See [`Halves::flush`].
    pub fn flush(&mut self, now: Time, egress: &mut E) {
        self.with_rings(egress).flush(now);
    }

    /// See [`Halves::tick`].
    pub fn tick<P>(&mut self, now: Time, egress: &mut E, port: &mut P)
    where
        P: Ingress<Frame = F> + Notices,
    {
        self.with_rings(egress).tick(now, port);
    }

    /// When [`tick`](Self::tick) is to be called, at the latest. See [`Halves::flush`].
    pub fn next_timeout(&self) -> Time {
        if self.rx.has_more() {
            Time::ZERO
        } else {
            self.tx.next_timeout()
        }
    }

    /// See [`Halves::reset`].
    pub fn reset<P>(&mut self, now: Time, port: &mut P)
    where
        P: Ingress<Frame = F> + Notices,
    {
        self.plain().reset(now, port);
    }
}
