// SPDX-License-Identifier: GPL-2.0-only

//! Executing one request packet: every check first, then the effect.

use super::reach::{check_len, permit, remote};
use super::receive::{NoReceive, Receive};
use super::resource::Full;
use super::{Incoming, Message, Responder, Room};
use crate::rxe::access::Rights;
use crate::rxe::cqe::{WcOpcode, WcStatus};
use crate::rxe::env::{AtomicOp, Env, Fault};
use crate::rxe::error::Failure;
use crate::rxe::events::Event;
use crate::rxe::qp::Attr;
use crate::rxe::requester::MAX_MESSAGE;
use crate::rxe::wire::{Body, Imm, Rc, RcTail, Send, Uc, Write};

/// Why a request was not executed.
pub(super) enum Reject {
    /// It is wrong.
    Failure(Failure),
    /// There is no receive request.
    NotReady,
    /// There is no room to remember the answer now.
    NoRoom,
    /// Memory it needs is not there now, or there is more of it to flush than can be done at once. It does not
    /// count yet: the same packet comes again.
    Absent,
}

impl From<Failure> for Reject {
    fn from(failure: Failure) -> Self {
        Self::Failure(failure)
    }
}

impl From<Fault> for Reject {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Gone => Self::Failure(Failure::RemoteAccess),
            Fault::Absent => Self::Absent,
        }
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
pub(super) struct Tail {
    pub imm: Option<Imm>,
    pub invalidate: Option<u32>,
}

impl Responder {
    /// Executes a packet; returns how many PSNs it takes.
    pub(super) fn execute<E: Env>(
        &mut self,
        room: &mut Room<'_>,
        attr: &Attr,
        incoming: &Incoming<'_, E::Payload<'_>>,
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
    pub(super) fn need_receive<E: Env>(
        &mut self,
        room: &mut Room<'_>,
        env: &mut E,
    ) -> Result<(), Reject> {
        if self.receive.is_none() {
            self.receive = Some(Receive::take(room.pieces, env)?);
        }
        Ok(())
    }

    fn send<E: Env>(
        &mut self,
        room: &mut Room<'_>,
        attr: &Attr,
        incoming: &Incoming<'_, E::Payload<'_>>,
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
        incoming: &Incoming<'_, E::Payload<'_>>,
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
            env.store(&region, at, incoming.payload, 0..incoming.len as usize)?;
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

    /// Completes the receive request at hand.
    pub(super) fn complete<E: Env>(
        &mut self,
        opcode: WcOpcode,
        len: u32,
        tail: &Tail,
        incoming: &Incoming<'_, E::Payload<'_>>,
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
}
