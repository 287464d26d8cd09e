// SPDX-License-Identifier: GPL-2.0-only

//! Unreliable connections and datagrams: what cannot be executed is dropped, the queue pair lives.

use super::execute::{Reject, Tail};
use super::{Incoming, Message, Responder, Room};
use crate::rxe::cqe::WcOpcode;
use crate::rxe::env::Env;
use crate::rxe::error::{Failure, Scope};
use crate::rxe::events::{Drop, Event};
use crate::rxe::inbound::Taken;
use crate::rxe::qp::Attr;
use crate::rxe::wire::{Body, Ud};

impl Responder {
    /// Unreliable connection: a message arrives whole or not at all (9.8.2.2).
    pub(super) fn unreliable<E: Env>(
        &mut self,
        room: &mut Room<'_>,
        attr: &Attr,
        incoming: &Incoming<'_, E::Payload<'_>>,
        env: &mut E,
    ) -> Result<Taken, Failure> {
        let facts = incoming.headers.opcode().facts();
        let psn = incoming.psn();
        let whole = if facts.position.starts() {
            // Whatever was under way is incomplete; its receive request serves the next message.
            self.abandon();
            self.dropping = false;
            true
        } else {
            !self.dropping && psn == self.expected && self.continues(facts.kind, facts.position)
        };
        self.expected = psn.next();
        if whole {
            match self.execute(room, attr, incoming, env) {
                Ok(_) => {
                    if facts.position.ends() {
                        self.msn = self.msn.next();
                    }
                    return Ok(Taken::Done);
                }
                Err(Reject::Absent) => {
                    self.expected = psn;
                    return Ok(Taken::Again);
                }
                Err(Reject::Failure(failure))
                    if failure.consequence().scope == Scope::QueuePair =>
                {
                    self.fail(failure, psn, attr, env);
                    return Err(failure);
                }
                Err(Reject::Failure(_) | Reject::NotReady | Reject::NoRoom) => {}
            }
        }
        self.abandon();
        self.dropping = true;
        env.count(Event::Dropped(Drop::Unreliable));
        Ok(Taken::Done)
    }

    /// Forgets the message under way and keeps its receive request.
    fn abandon(&mut self) {
        self.message = Message::None;
        if let Some(receive) = &mut self.receive {
            receive.filled = 0;
        }
    }

    pub(super) fn datagram<E: Env>(
        &mut self,
        room: &mut Room<'_>,
        attr: &Attr,
        incoming: &Incoming<'_, E::Payload<'_>>,
        env: &mut E,
    ) -> Result<Taken, Failure> {
        let Body::Ud(ud) = &incoming.headers.repr.body else {
            return Ok(Taken::Done);
        };
        match self.take_datagram(room, attr, incoming, ud, env) {
            Ok(()) => Ok(Taken::Done),
            Err(Reject::Absent) => Ok(Taken::Again),
            Err(Reject::Failure(failure)) if failure.consequence().scope == Scope::QueuePair => {
                self.fail(failure, incoming.psn(), attr, env);
                Err(failure)
            }
            Err(Reject::Failure(_) | Reject::NotReady | Reject::NoRoom) => {
                self.abandon();
                env.count(Event::Dropped(Drop::Unreliable));
                Ok(Taken::Done)
            }
        }
    }

    /// Takes a datagram: 40 bytes for the network header, then the payload.
    fn take_datagram<E: Env>(
        &mut self,
        room: &mut Room<'_>,
        attr: &Attr,
        incoming: &Incoming<'_, E::Payload<'_>>,
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
