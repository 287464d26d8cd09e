// SPDX-License-Identifier: GPL-2.0-only

//! Requests that come again: executed once, answered every time (IBTA vol. 1, 9.7.5.1.4).

use super::resource::{Answer, Owed};
use super::{Incoming, Responder, Room};
use crate::rxe::env::Env;
use crate::rxe::events::{Drop, Event};
use crate::rxe::qp::Attr;
use crate::rxe::wire::{Body, Rc, Reth, Syndrome};

impl Responder {
    /// Answers a request that was executed before.
    pub(super) fn duplicate<E: Env>(
        &mut self,
        room: &mut Room<'_>,
        attr: &Attr,
        incoming: &Incoming<'_, E::Payload<'_>>,
        env: &mut E,
    ) {
        let Body::Rc(rc) = &incoming.headers.repr.body else {
            return;
        };
        let same = match rc {
            // C9-105: say again how far we are, or this packet is, unless a NAK that says so is due anyway.
            Rc::Send(_) | Rc::Write(_) => {
                let last = self.expected.prev();
                let psn = match self.has_answer(room.resources, last) {
                    true => incoming.psn(),
                    false => last,
                };
                let is_news = self.verdict.is_none_or(|said| {
                    matches!(said.syndrome, Syndrome::Ack(_)) && said.psn.is_before(psn)
                });
                if is_news {
                    self.say(psn, Syndrome::ACK);
                }
                return;
            }
            Rc::ReadRequest(reth) => {
                if !self.read_again(room, attr, incoming, reth) {
                    env.count(Event::Dropped(Drop::Forgotten));
                }
                return;
            }
            Rc::CompareSwap(_) | Rc::FetchAdd(_) => {
                |answer: &Answer| matches!(answer, Answer::Atomic { .. })
            }
            Rc::AtomicWrite(..) => |answer: &Answer| matches!(answer, Answer::AtomicWrite),
            Rc::Flush(..) => {
                self.say_flushed(incoming.psn());
                return;
            }
            Rc::ReadResponse(_) | Rc::Ack(_) | Rc::AtomicAck(..) => return,
        };
        let found = self.ring.find(room.resources, incoming.psn());
        match found {
            Some(index) if room.resources.get(index).is_some_and(|r| same(&r.answer)) => {
                self.ring.owe_again(room.resources, index, Owed::EMPTY);
            }
            // Too old: the requester has had its answer, or will time out.
            _ => env.count(Event::Dropped(Drop::Forgotten)),
        }
    }

    /// Owes a READ again: all of it, or from a later packet on. PSN, address and length must
    /// agree with the first question.
    fn read_again<P: ?Sized>(
        &mut self,
        room: &mut Room<'_>,
        attr: &Attr,
        incoming: &Incoming<'_, P>,
        reth: &Reth,
    ) -> bool {
        let psn = incoming.psn();
        let Some(index) = self.ring.find(room.resources, psn) else {
            return false;
        };
        let Some(resource) = room.resources.get(index) else {
            return false;
        };
        let Answer::Read { va, rkey, len } = resource.answer else {
            return false;
        };
        if len == 0 {
            let again = reth.len == 0;
            if again {
                self.ring.owe_again(room.resources, index, Owed::EMPTY);
            }
            return again;
        }
        let skipped = psn.offset_from(resource.first_psn);
        let Some(start) = reth.va.checked_sub(va).and_then(|s| u32::try_from(s).ok()) else {
            return false;
        };
        let Some(end) = start.checked_add(reth.len) else {
            return false;
        };
        // All packets before it are full.
        let aligned = u64::from(start) == u64::from(skipped) << attr.mtu.shift();
        let fits = end <= len && reth.len != 0 && reth.rkey == rkey;
        if !aligned || !fits {
            return false;
        }
        let comes_anyway = resource
            .owed
            .is_some_and(|owed| owed.next <= start && owed.end >= end);
        if !comes_anyway {
            let owed = Owed {
                start,
                next: start,
                end,
            };
            self.ring.owe_again(room.resources, index, owed);
        }
        true
    }
}
