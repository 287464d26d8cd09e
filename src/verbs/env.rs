// SPDX-License-Identifier: GPL-2.0-only

//! What the engine asks for while it runs a queue pair: the traits of [`crate::rxe::env`], over the
//! verbs objects.
//!
//! An [`Env`] lives for one call of the engine, under the queue pair's lock. What must not happen
//! under it, calling users' handlers, is collected in [`Later`] and done after.

use core::ops::Range;

use kernel::prelude::*;

use super::cq::Wake;
use super::lock::Bh;
use super::loopback::Packet;
use super::mr::Handle;
use super::pieces::Pieces;
use super::qp::{Ends, Qp};
use crate::rxe::access::{AccessError, Facts, Identity};
use crate::rxe::cqe::Cqe;
use crate::rxe::env::{
    AtomicOp, Busy, Completions, CqOverrun, Fault, Link, Memory, Notices, WorkQueues,
};
use crate::rxe::events::{AsyncEvent, Counter, Event};
use crate::rxe::time::Nanos;
use crate::rxe::wire::{Feth, PacketRepr};
use crate::rxe::wqe::{BadWr, BindMw, RecvWr, RegMr, SendWr, Sge};
use crate::usb4::wire::Outgoing;

/// Bytes that FLUSH writes back before others get their turn: some tenths of a millisecond.
const FLUSH_AT_ONCE: u64 = 1 << 20;

/// What to do once the queue pair's lock is free.
#[derive(Default)]
pub struct Later {
    /// For the send completion queue.
    pub send: Wake,
    /// For the receive completion queue.
    pub receive: Wake,
    /// The shared receive queue runs low.
    pub srq_limit: bool,
    /// Memory was not there, and for how long it has been fetched, the one that has for the shortest: try
    /// again soon. Or there is more to flush.
    pub absent: Option<Nanos>,
    /// Bytes written back for FLUSH.
    flushed: u64,
    /// Packets went to a wire: they leave at the latest now.
    pub flush: bool,
    /// Events of the queue pair, each at most once: a set of [`bit`]s.
    pub events: u8,
}

impl Later {
    /// Takes what is left to do. What was flushed counts on: whoever handles packets of several queue pairs
    /// in a row may flush that much for all of them.
    pub fn take(&mut self) -> Self {
        let next = Self {
            flushed: self.flushed,
            ..Self::default()
        };
        core::mem::replace(self, next)
    }
}

/// The place of an event in [`Later::events`].
pub const fn bit(event: AsyncEvent) -> u8 {
    match event {
        AsyncEvent::Fatal => 1,
        AsyncEvent::RequestError => 1 << 1,
        AsyncEvent::AccessError => 1 << 2,
        AsyncEvent::CommunicationEstablished => 1 << 3,
        AsyncEvent::SendQueueDrained => 1 << 4,
        AsyncEvent::LastReceiveReached => 1 << 5,
    }
}

/// Where the packet being built goes.
enum Out<'a> {
    /// To this host.
    Loopback(KBox<Packet>),
    /// To the host at the other end of the rails. True: its payload may stay where it is.
    Wire(Outgoing<'a>, bool),
    /// To a group: members are here and at the other end.
    Group(KBox<Packet>, PacketRepr),
    /// To a host that no rail leads to: it is lost, as on any network. Counted as an error of sending.
    Nowhere,
}

/// The surroundings of one call of the engine.
pub struct Env<'a> {
    qp: &'a Qp,
    bh: &'a Bh,
    ends: &'a mut Ends,
    later: &'a mut Later,
    out: Option<Out<'a>>,
}

impl<'a> Env<'a> {
    /// For a call under the lock that `ends` lies under.
    #[inline]
    pub fn new(qp: &'a Qp, bh: &'a Bh, ends: &'a mut Ends, later: &'a mut Later) -> Self {
        Self {
            qp,
            bh,
            ends,
            later,
            out: None,
        }
    }

    /// Notes if memory was not there.
    #[inline]
    fn note<T>(&mut self, region: &Handle<'_>, access: Result<T, Fault>) -> Result<T, Fault> {
        if matches!(access, Err(Fault::Absent)) {
            self.waits(region.fetched_for());
        }
        access
    }

    /// Something waits that has for so long.
    #[cold]
    fn waits(&mut self, waited: Nanos) {
        let least = self.later.absent.map_or(waited, |other| other.min(waited));
        self.later.absent = Some(least);
    }
}

impl WorkQueues for Env<'_> {
    #[inline]
    fn next_send(&mut self, wr: &mut SendWr, room: &mut [Sge]) -> Option<Result<(), BadWr>> {
        self.qp.sq.next(self.qp, self.ends, wr, room)
    }

    #[inline]
    fn release_send(&mut self) {
        self.qp.sq.release(self.ends);
    }

    #[inline]
    fn next_receive(&mut self, room: &mut [Sge]) -> Option<Result<RecvWr, BadWr>> {
        match (&self.qp.srq, &self.qp.rq) {
            (Some(srq), _) => {
                let (taken, limit) = srq.take(room);
                self.later.srq_limit |= limit;
                taken
            }
            (None, Some(rq)) => rq.next(self.ends, room),
            (None, None) => None,
        }
    }
}

impl Completions for Env<'_> {
    #[inline]
    fn complete_send(&mut self, cqe: &Cqe) -> Result<(), CqOverrun> {
        let wake = self.qp.send_cq.push(cqe, &self.qp.name)?;
        self.later.send.merge(wake);
        Ok(())
    }

    #[inline]
    fn complete_receive(&mut self, cqe: &Cqe) -> Result<(), CqOverrun> {
        let wake = self.qp.recv_cq.push(cqe, &self.qp.name)?;
        self.later.receive.merge(wake);
        Ok(())
    }
}

impl<'a> Memory for Env<'a> {
    type Payload<'p> = Pieces<'p>;
    type Region = Handle<'a>;

    #[inline]
    fn region(&mut self, key: u32) -> Option<(Self::Region, Facts)> {
        self.qp.device().keys.region(self.bh, key)
    }

    #[inline]
    fn store(
        &mut self,
        region: &Self::Region,
        at: u64,
        payload: &Pieces<'_>,
        range: Range<usize>,
    ) -> Result<(), Fault> {
        let pieces = payload.range(range).ok_or(Fault::Gone)?;
        let mut at = at;
        for piece in pieces.as_slice() {
            let stored = region.store(at, piece);
            self.note(region, stored)?;
            at = at.wrapping_add(piece.len() as u64);
        }
        Ok(())
    }

    #[inline]
    fn store_bytes(&mut self, region: &Self::Region, at: u64, bytes: &[u8]) -> Result<(), Fault> {
        let stored = region.store(at, bytes);
        self.note(region, stored)
    }

    fn atomic(&mut self, region: &Self::Region, at: u64, op: AtomicOp) -> Result<u64, Fault> {
        let done = region.atomic(at, op);
        self.note(region, done)
    }

    fn store_atomic(
        &mut self,
        region: &Self::Region,
        at: u64,
        bytes: [u8; 8],
    ) -> Result<(), Fault> {
        let stored = region.store_atomic(at, bytes);
        self.note(region, stored)
    }

    fn flush(
        &mut self,
        region: &Self::Region,
        range: Option<(u64, u64)>,
        what: Feth,
        done: u64,
    ) -> Result<Option<u64>, Fault> {
        let mut left = FLUSH_AT_ONCE.saturating_sub(self.later.flushed);
        let flushed = region.flush(range, what, done, &mut left);
        self.later.flushed = FLUSH_AT_ONCE.saturating_sub(left);
        if matches!(flushed, Ok(Some(_))) {
            self.waits(Nanos(0));
        }
        self.note(region, flushed)
    }

    fn invalidate(&mut self, who: Identity, key: u32) -> Result<(), AccessError> {
        self.qp.device().keys.invalidate(self.bh, who, key)
    }

    fn bind(&mut self, who: Identity, wr: &BindMw) -> Result<(), AccessError> {
        self.qp.device().keys.bind(self.bh, who, wr)
    }

    fn register(&mut self, who: Identity, wr: &RegMr) -> Result<(), AccessError> {
        self.qp.device().keys.register(self.bh, who, wr)
    }
}

impl<'a> Env<'a> {
    /// A packet to this host, or a group.
    fn begin_here(&mut self, packet: &PacketRepr, payload_len: usize) -> Result<Out<'a>, Busy> {
        let device = self.qp.device();
        let mut place = device.loopback.take().ok_or(Busy)?;
        if !place.begin(packet, payload_len) {
            device.loopback.put(place);
            return Ok(Out::Nowhere);
        }
        Ok(if device.is_group(packet) {
            Out::Group(place, *packet)
        } else {
            Out::Loopback(place)
        })
    }

    /// Sends the other end's members of a group a copy. Datagrams may be lost, so it goes now or
    /// never.
    fn send_to_group(&mut self, packet: &Packet, repr: &PacketRepr) {
        let Some(wire) = self.qp.device().wire() else {
            return;
        };
        let payload = packet.payload();
        let Ok(Some(mut copy)) = wire.begin(self.bh, repr, payload.len()) else {
            return;
        };
        let filled = copy.append(payload.len(), |room| {
            room.copy_from_slice(payload);
            Ok(())
        });
        match filled {
            Ok(()) => copy.commit(self.qp.name.qpn),
            Err(_) => copy.abort(),
        }
        self.later.flush = true;
    }
}

impl Link for Env<'_> {
    #[inline]
    fn begin(&mut self, packet: &PacketRepr, payload_len: usize) -> Result<(), Busy> {
        let (qp, bh) = (self.qp, self.bh);
        let out = match qp.device().wire() {
            Some(wire) if !qp.device().is_for_us(packet) => {
                match wire.begin(bh, packet, payload_len)? {
                    Some(out) => Out::Wire(out, self.ends.sent.may_lend(packet)),
                    None => Out::Nowhere,
                }
            }
            None if !qp.device().is_for_us(packet) => Out::Nowhere,
            _ => self.begin_here(packet, payload_len)?,
        };
        self.out = Some(out);
        Ok(())
    }

    #[inline]
    fn append(&mut self, region: &Self::Region, at: u64, len: usize) -> Result<(), Fault> {
        let loaded = match &mut self.out {
            Some(Out::Wire(packet, may_lend)) => {
                let lent = match *may_lend && packet.takes_loan(len) {
                    true => region.lend(at, len),
                    false => None,
                };
                match lent {
                    Some(lent) => packet.lend(lent),
                    None => packet.append(len, |room| region.load(at, room)),
                }
            }
            Some(Out::Loopback(packet) | Out::Group(packet, _)) => {
                region.load(at, packet.payload_mut(len).ok_or(Fault::Gone)?)
            }
            Some(Out::Nowhere) | None => Ok(()),
        };
        self.note(region, loaded)
    }

    #[inline]
    fn append_bytes(&mut self, bytes: &[u8]) {
        match &mut self.out {
            Some(Out::Wire(packet, _)) => {
                // There is room for what was announced, and no more is said.
                let _ = packet.append(bytes.len(), |room| {
                    room.copy_from_slice(bytes);
                    Ok(())
                });
            }
            Some(Out::Loopback(packet) | Out::Group(packet, _)) => {
                if let Some(room) = packet.payload_mut(bytes.len()) {
                    room.copy_from_slice(bytes);
                }
            }
            Some(Out::Nowhere) | None => {}
        }
    }

    #[inline]
    fn commit(&mut self) {
        match self.out.take() {
            Some(Out::Wire(packet, _)) => {
                packet.commit(self.qp.name.qpn);
                self.later.flush = true;
            }
            Some(Out::Loopback(packet)) => self.qp.device().loopback.send(packet),
            Some(Out::Group(packet, repr)) => {
                self.send_to_group(&packet, &repr);
                self.qp.device().loopback.send(packet);
            }
            Some(Out::Nowhere) => {
                let counters = &self.qp.device().counters;
                counters.add(self.bh, Counter::SendErr, 1);
            }
            None => {}
        }
    }

    fn abort(&mut self) {
        match self.out.take() {
            Some(Out::Wire(packet, _)) => packet.abort(),
            Some(Out::Loopback(packet) | Out::Group(packet, _)) => {
                self.qp.device().loopback.put(packet);
            }
            Some(Out::Nowhere) | None => {}
        }
    }
}

impl Notices for Env<'_> {
    #[inline]
    fn count(&mut self, event: Event) {
        self.qp.device().count(self.bh, event);
    }

    fn notify(&mut self, event: AsyncEvent) {
        self.later.events |= bit(event);
    }
}
