// SPDX-License-Identifier: GPL-2.0-only

//! Executing one request packet: every check first, then the effect.

use super::receive::{NoReceive, Receive};
use super::resource::{Answer, Full, Owed, Resource};
use super::{Incoming, Message, Responder, Room};
use crate::rxe::access::{self, Access, AccessError, Rights, Side};
use crate::rxe::cqe::{WcOpcode, WcStatus};
use crate::rxe::env::{AtomicOp, Env, Memory};
use crate::rxe::error::Failure;
use crate::rxe::events::Event;
use crate::rxe::opcode::Position;
use crate::rxe::qp::Attr;
use crate::rxe::requester::MAX_MESSAGE;
use crate::rxe::wire::{
    AtomicEth, Body, Feth, Imm, Rc, RcTail, Reth, Selectivity, Send, Uc, Ud, Write,
};

/// Why a request was not executed.
pub(super) enum Reject {
    /// It is wrong.
    Failure(Failure),
    /// There is no receive request.
    NotReady,
    /// There is no room to remember the answer now.
    NoRoom,
}

impl From<Failure> for Reject {
    fn from(failure: Failure) -> Self {
        Self::Failure(failure)
    }
}

impl From<Full> for Reject {
    fn from(_: Full) -> Self {
        Self::NoRoom
    }
}

impl From<NoReceive> for Reject {
    fn from(reason: NoReceive) -> Self {
        match reason {
            NoReceive::Empty => Self::NotReady,
            NoReceive::Bad => Self::Failure(Failure::BadReceive),
        }
    }
}

/// What the last packet of a SEND brings.
struct Tail {
    imm: Option<Imm>,
    invalidate: Option<u32>,
}

impl Responder {
    /// Executes a packet; returns how many PSNs it takes.
    pub(super) fn execute<E: Env>(
        &mut self,
        room: &mut Room<'_>,
        attr: &Attr,
        incoming: &Incoming<'_, E::Payload>,
        env: &mut E,
    ) -> Result<u32, Reject> {
        match &incoming.headers.repr.body {
            Body::Rc(Rc::Send(send)) => {
                let tail = match send {
                    Send::First | Send::Middle => (None, None),
                    Send::Last(tail) | Send::Only(tail) => match tail {
                        RcTail::Plain => (None, None),
                        RcTail::Imm(imm) => (Some(*imm), None),
                        RcTail::Invalidate(ieth) => (None, Some(ieth.rkey)),
                    },
                };
                let (imm, invalidate) = tail;
                self.send(room, attr, incoming, &Tail { imm, invalidate }, env)?;
            }
            Body::Uc(Uc::Send(send)) => {
                let imm = match send {
                    Send::First | Send::Middle => None,
                    Send::Last(imm) | Send::Only(imm) => *imm,
                };
                let tail = Tail {
                    imm,
                    invalidate: None,
                };
                self.send(room, attr, incoming, &tail, env)?;
            }
            Body::Rc(Rc::Write(write)) | Body::Uc(Uc::Write(write)) => {
                permit(attr, Rights::REMOTE_WRITE)?;
                self.write(room, attr, incoming, write, env)?;
            }
            Body::Rc(Rc::ReadRequest(reth)) => {
                permit(attr, Rights::REMOTE_READ)?;
                return self.read(room, attr, incoming, reth, env);
            }
            Body::Rc(Rc::CompareSwap(eth)) => {
                let op = AtomicOp::CompareSwap {
                    compare: eth.compare,
                    swap: eth.swap_add,
                };
                self.atomic(room, attr, incoming, eth, op, env)?;
            }
            Body::Rc(Rc::FetchAdd(eth)) => {
                let op = AtomicOp::FetchAdd { add: eth.swap_add };
                self.atomic(room, attr, incoming, eth, op, env)?;
            }
            Body::Rc(Rc::AtomicWrite(reth, data)) => {
                self.atomic_write(room, attr, incoming, reth, data.0, env)?;
            }
            Body::Rc(Rc::Flush(feth, reth)) => {
                self.flush(attr, incoming, feth, reth, env)?;
            }
            // Responses and datagrams do not come here.
            Body::Rc(Rc::ReadResponse(_) | Rc::Ack(_) | Rc::AtomicAck(..)) | Body::Ud(_) => {}
        }
        Ok(1)
    }

    /// Takes a receive request unless one is at hand.
    fn need_receive<E: Env>(&mut self, room: &mut Room<'_>, env: &mut E) -> Result<(), Reject> {
        if self.receive.is_none() {
            self.receive = Some(Receive::take(room.pieces, env)?);
        }
        Ok(())
    }

    fn send<E: Env>(
        &mut self,
        room: &mut Room<'_>,
        attr: &Attr,
        incoming: &Incoming<'_, E::Payload>,
        tail: &Tail,
        env: &mut E,
    ) -> Result<(), Reject> {
        let position = incoming.headers.opcode().facts().position;
        if position.starts() {
            self.need_receive(room, env)?;
        }
        check_len(attr, incoming)?;
        let Some(receive) = &mut self.receive else {
            return Err(Failure::OpcodeSequence.into());
        };
        receive.fill(
            env,
            attr.identity(),
            room.pieces,
            incoming.payload,
            incoming.len,
        )?;
        if !position.ends() {
            self.message = Message::Send;
            return Ok(());
        }
        if let Some(key) = tail.invalidate {
            env.invalidate(attr.identity(), key)
                .map_err(|_| Failure::RemoteInvalidate)?;
        }
        let len = receive.filled;
        self.message = Message::None;
        self.complete(WcOpcode::Receive, len, tail, incoming, env)
    }

    fn write<E: Env>(
        &mut self,
        room: &mut Room<'_>,
        attr: &Attr,
        incoming: &Incoming<'_, E::Payload>,
        write: &Write,
        env: &mut E,
    ) -> Result<(), Reject> {
        let imm = match write {
            Write::First(_) | Write::Middle => None,
            Write::Last(imm) | Write::Only(_, imm) => *imm,
        };
        if imm.is_some() {
            self.need_receive(room, env)?;
        }
        check_len(attr, incoming)?;
        let (va, rkey, left, total) = match (write, self.message) {
            (Write::First(reth) | Write::Only(reth, _), _) => {
                (reth.va, reth.rkey, reth.len, reth.len)
            }
            (
                Write::Middle | Write::Last(_),
                Message::Write {
                    va,
                    rkey,
                    left,
                    total,
                },
            ) => (va, rkey, left, total),
            (Write::Middle | Write::Last(_), _) => return Err(Failure::OpcodeSequence.into()),
        };
        let ends = matches!(write, Write::Last(_) | Write::Only(..));
        // The last packet brings exactly what is left, the others less.
        let fits = if ends {
            incoming.len == left
        } else {
            incoming.len < left
        };
        if total > MAX_MESSAGE || !fits {
            return Err(Failure::MessageLength.into());
        }
        // C9-88: a write of nothing needs no key.
        if total != 0 {
            let (region, at) = remote(env, attr, rkey, Rights::REMOTE_WRITE, va, left)?;
            env.store(&region, at, incoming.payload, 0..incoming.len as usize)
                .map_err(|_| Failure::RemoteAccess)?;
        }
        if !ends {
            self.message = Message::Write {
                // The region check has seen that it does not wrap.
                va: va.wrapping_add(u64::from(incoming.len)),
                rkey,
                left: left.saturating_sub(incoming.len),
                total,
            };
            return Ok(());
        }
        self.message = Message::None;
        if imm.is_none() {
            return Ok(());
        }
        let tail = Tail {
            imm,
            invalidate: None,
        };
        self.complete(WcOpcode::ReceiveWriteImm, total, &tail, incoming, env)
    }

    fn read<E: Env>(
        &mut self,
        room: &mut Room<'_>,
        attr: &Attr,
        incoming: &Incoming<'_, E::Payload>,
        reth: &Reth,
        env: &mut E,
    ) -> Result<u32, Reject> {
        if attr.max_dest_rd_atomic == 0 {
            return Err(Failure::ReadDepth.into());
        }
        if reth.len > MAX_MESSAGE {
            return Err(Failure::MessageLength.into());
        }
        if reth.len != 0 {
            remote(env, attr, reth.rkey, Rights::REMOTE_READ, reth.va, reth.len)?;
        }
        let packets = attr.mtu.packets(reth.len);
        let answer = Answer::Read {
            va: reth.va,
            rkey: reth.rkey,
            len: reth.len,
        };
        let owed = Owed {
            start: 0,
            next: 0,
            end: reth.len,
        };
        self.owe(room, incoming, answer, packets, owed)?;
        Ok(packets)
    }

    fn atomic<E: Env>(
        &mut self,
        room: &mut Room<'_>,
        attr: &Attr,
        incoming: &Incoming<'_, E::Payload>,
        eth: &AtomicEth,
        op: AtomicOp,
        env: &mut E,
    ) -> Result<(), Reject> {
        permit(attr, Rights::REMOTE_ATOMIC)?;
        if attr.max_dest_rd_atomic == 0 {
            return Err(Failure::ReadDepth.into());
        }
        let (region, at) = remote(env, attr, eth.rkey, Rights::REMOTE_ATOMIC, eth.va, 8)?;
        if at % 8 != 0 {
            return Err(Failure::Misaligned.into());
        }
        // An atomic happens once: not without a place for its answer.
        self.ring.has_room(room.resources)?;
        let original = env
            .atomic(&region, at, op)
            .map_err(|_| Failure::RemoteAccess)?;
        let answer = Answer::Atomic { original };
        self.owe(room, incoming, answer, 1, Owed::EMPTY)
    }

    fn atomic_write<E: Env>(
        &mut self,
        room: &mut Room<'_>,
        attr: &Attr,
        incoming: &Incoming<'_, E::Payload>,
        reth: &Reth,
        data: [u8; 8],
        env: &mut E,
    ) -> Result<(), Reject> {
        permit(attr, Rights::REMOTE_WRITE)?;
        if attr.max_dest_rd_atomic == 0 {
            return Err(Failure::ReadDepth.into());
        }
        let (region, at) = remote(env, attr, reth.rkey, Rights::REMOTE_WRITE, reth.va, 8)?;
        if reth.len != 8 {
            return Err(Failure::MessageLength.into());
        }
        if at % 8 != 0 {
            return Err(Failure::Misaligned.into());
        }
        self.ring.has_room(room.resources)?;
        env.store_atomic(&region, at, data)
            .map_err(|_| Failure::RemoteAccess)?;
        self.owe(room, incoming, Answer::AtomicWrite, 1, Owed::EMPTY)
    }

    fn flush<E: Env>(
        &mut self,
        attr: &Attr,
        incoming: &Incoming<'_, E::Payload>,
        feth: &Feth,
        reth: &Reth,
        env: &mut E,
    ) -> Result<(), Reject> {
        let mut rights = Rights::NONE;
        if feth.global {
            rights = rights | Rights::FLUSH_GLOBAL;
        }
        if feth.persistent {
            rights = rights | Rights::FLUSH_PERSISTENT;
        }
        permit(attr, rights)?;
        let (region, range) = match feth.selectivity {
            Selectivity::Range => {
                let (region, at) = remote(env, attr, reth.rkey, rights, reth.va, reth.len)?;
                (region, Some((at, u64::from(reth.len))))
            }
            Selectivity::Region => (whole_region(env, attr, reth.rkey, rights)?, None),
        };
        env.flush(&region, range, *feth)
            .map_err(|_| Failure::RemoteAccess)?;
        self.msn = self.msn.next();
        self.say_flushed(incoming.psn());
        Ok(())
    }

    /// Remembers an answer, all of it owed. The request counts as executed (C9-148).
    fn owe<P: ?Sized>(
        &mut self,
        room: &mut Room<'_>,
        incoming: &Incoming<'_, P>,
        answer: Answer,
        packets: u32,
        owed: Owed,
    ) -> Result<(), Reject> {
        let msn = self.msn.next();
        let resource = Resource {
            answer,
            first_psn: incoming.psn(),
            packets,
            msn,
            owed: Some(owed),
        };
        self.ring.push(room.resources, resource)?;
        self.msn = msn;
        Ok(())
    }

    /// Completes the receive request at hand.
    fn complete<E: Env>(
        &mut self,
        opcode: WcOpcode,
        len: u32,
        tail: &Tail,
        incoming: &Incoming<'_, E::Payload>,
        env: &mut E,
    ) -> Result<(), Reject> {
        let Some(receive) = self.receive.take() else {
            return Err(Failure::OpcodeSequence.into());
        };
        let repr = &incoming.headers.repr;
        let mut cqe = receive.cqe(opcode, WcStatus::Success);
        cqe.byte_len = len;
        cqe.imm = tail.imm;
        cqe.invalidated = tail.invalidate;
        cqe.network = repr.ip.version();
        cqe.solicited = repr.bth.solicited;
        if let Body::Ud(ud) = &repr.body {
            cqe.src_qp = ud.deth.src_qp;
        }
        env.count(Event::ReceiveCompleted);
        env.complete_receive(&cqe)
            .map_err(|_| Reject::Failure(Failure::CqOverrun))
    }

    /// Takes a datagram: 40 bytes for the network header, then the payload.
    pub(super) fn take_datagram<E: Env>(
        &mut self,
        room: &mut Room<'_>,
        attr: &Attr,
        incoming: &Incoming<'_, E::Payload>,
        ud: &Ud,
        env: &mut E,
    ) -> Result<(), Reject> {
        self.need_receive(room, env)?;
        let grh = incoming.headers.grh();
        let Some(receive) = &mut self.receive else {
            return Err(Reject::NotReady);
        };
        receive.filled = 0;
        // All or nothing: the receive request serves the next datagram if this one is too long.
        let need = incoming
            .len
            .saturating_add(u32::try_from(grh.len()).unwrap_or(u32::MAX));
        if need > receive.total {
            return Err(Failure::ReceiveLength.into());
        }
        let who = attr.identity();
        receive.fill_bytes(env, who, room.pieces, &grh)?;
        receive.fill(env, who, room.pieces, incoming.payload, incoming.len)?;
        let tail = Tail {
            imm: ud.imm,
            invalidate: None,
        };
        self.complete(WcOpcode::Receive, need, &tail, incoming, env)
    }
}

/// Whether the queue pair takes such requests at all.
fn permit(attr: &Attr, rights: Rights) -> Result<(), Failure> {
    if attr.rights.contains(rights) {
        Ok(())
    } else {
        Err(Failure::OperationNotPermitted)
    }
}

/// Whether the payload is as long as its place in the message wants.
fn check_len<P: ?Sized>(attr: &Attr, incoming: &Incoming<'_, P>) -> Result<(), Failure> {
    let facts = incoming.headers.opcode().facts();
    let mtu = attr.mtu.bytes() as usize;
    // UC and RC share the rule; FIRST and MIDDLE are full, LAST is not empty.
    let ok = match facts.position {
        Position::First | Position::Middle => incoming.len as usize == mtu,
        Position::Last => (1..=mtu).contains(&(incoming.len as usize)),
        Position::Only => incoming.len as usize <= mtu,
    };
    if ok {
        Ok(())
    } else {
        Err(Failure::MessageLength)
    }
}

/// Finds memory by remote key.
pub(super) fn remote<M: Memory + ?Sized>(
    memory: &mut M,
    attr: &Attr,
    rkey: u32,
    rights: Rights,
    va: u64,
    len: u32,
) -> Result<(M::Region, u64), Failure> {
    let (region, facts) = memory.region(rkey).ok_or(Failure::RemoteAccess)?;
    let want = Access {
        key: rkey,
        side: Side::Remote,
        rights,
        va,
        len: u64::from(len),
    };
    match access::check(&facts, attr.identity(), &want) {
        Ok(at) => Ok((region, at)),
        Err(
            AccessError::Key
            | AccessError::State
            | AccessError::Domain
            | AccessError::QueuePair
            | AccessError::Rights
            | AccessError::Range,
        ) => Err(Failure::RemoteAccess),
    }
}

/// Finds a region by remote key, whatever its range.
fn whole_region<M: Memory + ?Sized>(
    memory: &mut M,
    attr: &Attr,
    rkey: u32,
    rights: Rights,
) -> Result<M::Region, Failure> {
    let (region, facts) = memory.region(rkey).ok_or(Failure::RemoteAccess)?;
    let want = Access {
        key: rkey,
        side: Side::Remote,
        rights,
        va: if facts.zero_based { 0 } else { facts.start },
        len: 0,
    };
    access::check(&facts, attr.identity(), &want).map_err(|_| Failure::RemoteAccess)?;
    Ok(region)
}
