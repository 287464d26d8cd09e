// SPDX-License-Identifier: GPL-2.0-only

//! Sending what is owed, one packet per call: a long READ never holds up the others.

use super::reach::remote;
use super::resource::{Answer, Resource};
use super::{Responder, Room, Verdict};
use crate::rxe::access::Rights;
use crate::rxe::env::{Busy, Env, Fault};
use crate::rxe::error::Failure;
use crate::rxe::events::{Drop, Event};
use crate::rxe::psn::Psn;
use crate::rxe::qp::Attr;
use crate::rxe::requester::wire_bytes;
use crate::rxe::time::Time;
use crate::rxe::wire::{Aeth, AtomicAckEth, Body, Bth, PacketRepr, Rc, ReadResponse, Syndrome};

/// What one call did.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Answered {
    /// Sent a packet, or gave up an answer that nobody waits for.
    Sent,
    /// Nothing is owed.
    Nothing,
    /// The link has no room.
    Busy,
    /// Memory to send is not there now.
    Absent,
    /// The memory of a READ is gone: the queue pair ends.
    Failed(Failure),
}

impl Responder {
    /// Whether anything is owed.
    pub const fn owes(&self) -> bool {
        self.verdict.is_some() || self.flushed.is_some() || self.ring.owes()
    }

    /// Sends one packet of what is owed, oldest PSN first.
    pub fn answer<E: Env>(
        &mut self,
        room: &mut Room<'_>,
        attr: &Attr,
        now: Time,
        env: &mut E,
    ) -> Answered {
        let first = self.ring.first_owed(room.resources).copied();
        let before_first = |psn: Psn| first.is_none_or(|owed| psn.is_before(owed.first_psn));
        let flushed = self.flushed.filter(|psn| before_first(*psn));
        let verdict = self.verdict.filter(|verdict| before_first(verdict.psn));
        match (flushed, verdict, first) {
            (Some(psn), None, _) => self.send_flushed(psn, attr, env),
            (Some(psn), Some(verdict), _) if psn.is_before(verdict.psn) => {
                self.send_flushed(psn, attr, env)
            }
            (_, Some(verdict), _) => self.send_verdict(verdict, attr, env),
            (None, None, Some(owed)) => match self.send_answer(room, &owed, attr, env) {
                Answered::Absent => self.delay(room, &owed, attr, now, env),
                answered => answered,
            },
            (None, None, None) => Answered::Nothing,
        }
    }

    fn send_flushed<E: Env>(&mut self, psn: Psn, attr: &Attr, env: &mut E) -> Answered {
        let aeth = Aeth {
            syndrome: Syndrome::ACK,
            msn: self.msn,
        };
        let only = Rc::ReadResponse(ReadResponse::Only(aeth));
        match send_empty(psn, only, attr, env) {
            Ok(()) => {
                self.flushed = None;
                Answered::Sent
            }
            Err(Busy) => {
                env.count(Event::AnswerDeferred);
                Answered::Busy
            }
        }
    }

    fn send_verdict<E: Env>(&mut self, verdict: Verdict, attr: &Attr, env: &mut E) -> Answered {
        let aeth = Aeth {
            syndrome: verdict.syndrome,
            msn: self.msn,
        };
        match send_empty(verdict.psn, Rc::Ack(aeth), attr, env) {
            Ok(()) => {
                self.verdict = None;
                Answered::Sent
            }
            Err(Busy) => {
                env.count(Event::AnswerDeferred);
                Answered::Busy
            }
        }
    }

    fn send_answer<E: Env>(
        &mut self,
        room: &mut Room<'_>,
        resource: &Resource,
        attr: &Attr,
        env: &mut E,
    ) -> Answered {
        let aeth = Aeth {
            syndrome: Syndrome::ACK,
            msn: resource.msn,
        };
        let only = Rc::ReadResponse(ReadResponse::Only(aeth));
        let psn = resource.first_psn;
        let sent = match resource.answer {
            Answer::Read { va, rkey, len } if len != 0 => {
                return self.send_read_data(room, resource, (va, rkey), aeth, attr, env);
            }
            Answer::Empty => Ok(()),
            Answer::Read { .. } | Answer::AtomicWrite => send_empty(psn, only, attr, env),
            Answer::Atomic { original } => send_empty(
                psn,
                Rc::AtomicAck(aeth, AtomicAckEth { original }),
                attr,
                env,
            ),
        };
        match sent {
            Ok(()) => {
                self.ring.paid(room.resources);
                Answered::Sent
            }
            Err(Busy) => {
                env.count(Event::AnswerDeferred);
                Answered::Busy
            }
        }
    }

    fn send_read_data<E: Env>(
        &mut self,
        room: &mut Room<'_>,
        resource: &Resource,
        (va, rkey): (u64, u32),
        aeth: Aeth,
        attr: &Attr,
        env: &mut E,
    ) -> Answered {
        let Some(owed) = resource.owed else {
            self.ring.paid(room.resources);
            return Answered::Nothing;
        };
        let left = owed.end.saturating_sub(owed.next);
        let len = left.min(attr.mtu.bytes());
        let begins = owed.next == owed.start;
        let ends = left <= attr.mtu.bytes();
        let part = match (begins, ends) {
            (true, true) => ReadResponse::Only(aeth),
            (true, false) => ReadResponse::First(aeth),
            (false, false) => ReadResponse::Middle,
            (false, true) => ReadResponse::Last(aeth),
        };
        let psn = next_psn(resource, attr);
        let Some(packet) = packet(psn, Rc::ReadResponse(part), attr) else {
            return Answered::Nothing;
        };
        // The key may have been invalidated since the request came.
        let from = va.wrapping_add(u64::from(owed.next));
        let found = remote(env, attr, rkey, Rights::REMOTE_READ, from, len);
        let Ok((region, at)) = found else {
            return self.end_read(room, resource, psn, attr, env);
        };
        if env.begin(&packet, len as usize).is_err() {
            env.count(Event::AnswerDeferred);
            return Answered::Busy;
        }
        if let Err(fault) = env.append(&region, at, len as usize) {
            env.abort();
            return match fault {
                Fault::Gone => self.end_read(room, resource, psn, attr, env),
                Fault::Absent => Answered::Absent,
            };
        }
        env.commit();
        count_sent(&packet, len as usize, env);
        if ends {
            self.ring.paid(room.resources);
        } else if let Some(resource) = self.ring.first_owed(room.resources) {
            if let Some(owed) = &mut resource.owed {
                owed.next = owed.next.saturating_add(len);
            }
        }
        Answered::Sent
    }

    /// Whether the peer waits for an answer, and is told if that takes long.
    pub fn may_delay(&self) -> bool {
        self.owes() && !self.is_ending()
    }

    /// Whether it is all over, after the answers that are owed.
    fn is_ending(&self) -> bool {
        self.verdict.is_some_and(Verdict::is_fatal)
    }

    /// The memory of a READ is not there. If that lasts, the peer is told to ask again later, and
    /// with this answer for all behind it; what it would ask in vain it is not told.
    #[cold]
    fn delay<E: Env>(
        &mut self,
        room: &mut Room<'_>,
        resource: &Resource,
        attr: &Attr,
        now: Time,
        env: &mut E,
    ) -> Answered {
        let psn = next_psn(resource, attr);
        if !self.answer_patience.is_over(psn, now) || self.is_ending() {
            return Answered::Absent;
        }
        let verdict = Verdict {
            psn,
            syndrome: Syndrome::RnrNak(attr.min_rnr_timer),
        };
        let answered = self.send_verdict(verdict, attr, env);
        if answered == Answered::Sent {
            env.count(Event::RnrNakSent(psn));
            self.answer_patience.renew();
            self.ring.owe_nothing(room.resources);
            self.flushed = None;
        }
        answered
    }

    /// The memory of a READ is gone.
    fn end_read<E: Env>(
        &mut self,
        room: &mut Room<'_>,
        resource: &Resource,
        psn: Psn,
        attr: &Attr,
        env: &mut E,
    ) -> Answered {
        // The peer asked again while the answer was on its way, has had it, and took the key away: with a
        // SEND_WITH_INV that was executed before this answer's turn, or by telling our user.
        if resource.answered {
            self.ring.paid(room.resources);
            env.count(Event::Dropped(Drop::Forgotten));
            return Answered::Sent;
        }
        self.ring.clear(room.resources);
        self.fail(Failure::RemoteAccess, psn, attr, env);
        Answered::Failed(Failure::RemoteAccess)
    }
}

/// The PSN of the next packet of an answer.
fn next_psn(resource: &Resource, attr: &Attr) -> Psn {
    let sent = resource.owed.map_or(0, |owed| owed.next);
    resource.first_psn.wrapping_add(sent >> attr.mtu.shift())
}

/// The headers of an answer, or `None` if the queue pair has no peer.
fn packet(psn: Psn, body: Rc, attr: &Attr) -> Option<PacketRepr> {
    let mut bth = Bth::new(attr.dest_qp, psn);
    bth.pkey = attr.pkey;
    Some(attr.path.as_ref()?.packet(bth, Body::Rc(body)))
}

fn send_empty<E: Env>(psn: Psn, body: Rc, attr: &Attr, env: &mut E) -> Result<(), Busy> {
    let Some(packet) = packet(psn, body, attr) else {
        return Ok(());
    };
    env.begin(&packet, 0)?;
    env.commit();
    count_sent(&packet, 0, env);
    Ok(())
}

fn count_sent<E: Env>(packet: &PacketRepr, payload_len: usize, env: &mut E) {
    env.count(Event::Sent {
        bytes: wire_bytes(packet.packet_len(payload_len)),
    });
}
