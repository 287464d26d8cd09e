// SPDX-License-Identifier: GPL-2.0-only

//! The responder: from request packets to memory, completions and answers (IBTA vol. 1, 9.7, 9.8).
//!
//! ```text
//!   request p --> p == expected --> legal here? --> execute --> owed: ACK, data, result
//!             |                         |
//!             |                         '--> failure: NAK, the queue pair ends
//!             |                         '--> no receive request: RNR NAK, p again later
//!             |                         '--> memory not there: waits; RNR NAK if it takes long
//!             |--> p behind     a duplicate: ACK again, or owe the remembered answer again
//!             '--> p ahead      something is lost: NAK once, then silence until p == expected,
//!                               or until PSNs go back: our NAK was lost, or the packet once more
//!
//!   answer()  <-- owed answers, oldest PSN first, one packet per call
//! ```
//!
//! # Order of packets
//!
//! The engine wants packets in the order they were sent; `usb4/rail` keeps that promise over any
//! number of rails. A packet ahead of the expected one therefore means loss, never reordering, and
//! is NAKed at once. A loss at the end of a burst has no packet behind it that could show the gap:
//! for that the rail reports a certain loss ([`Responder::lost`]), and the responder NAKs what it
//! expects, whether or not anything was sent.

mod answer;
mod duplicate;
mod execute;
mod fetch;
mod patience;
mod reach;
mod receive;
mod resource;
mod sequence;
mod unreliable;

pub use receive::{flush, Receive};
pub use resource::{Answer, Resource};

use super::env::Env;
use super::error::Failure;
use super::events::Event;
use super::inbound::Taken;
use super::opcode::{Kind, Position};
use super::psn::{Msn, Psn};
use super::qp::{Attr, QpType};
use super::retry::LOSS_SIGNS;
use super::time::Time;
use super::wire::{Headers, Nak, Syndrome};
use super::wqe::Sge;
pub use answer::Answered;
use execute::Reject;
use patience::Patience;
use resource::Ring;

/// The memory the responder works with.
#[derive(Debug)]
pub struct Room<'a> {
    /// Pieces of the receive request being filled.
    pub pieces: &'a mut [Sge],
    /// Answers owed and remembered.
    pub resources: &'a mut [Resource],
}

/// A request packet and its payload.
struct Incoming<'a, P: ?Sized> {
    headers: &'a Headers,
    payload: &'a P,
    /// Length of the payload, at most the largest MTU.
    len: u32,
}

impl<P: ?Sized> Incoming<'_, P> {
    fn psn(&self) -> Psn {
        self.headers.repr.bth.psn
    }
}

/// The message whose middle we are in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Message {
    /// None.
    None,
    /// A SEND, into the current receive request.
    Send,
    /// An RDMA WRITE.
    Write {
        /// Where the next byte goes.
        va: u64,
        /// Remote key.
        rkey: u32,
        /// Bytes to come.
        left: u32,
        /// Length of the whole message.
        total: u32,
    },
}

/// An ACK or NAK that is due.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Verdict {
    psn: Psn,
    syndrome: Syndrome,
}

impl Verdict {
    /// It says that the queue pair ends.
    fn is_fatal(self) -> bool {
        matches!(self.syndrome, Syndrome::Nak(nak) if nak != Nak::PsnSequence)
    }
}

/// What the responder has told a requester whose packets it does not take.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Told {
    /// Nothing.
    Nothing,
    /// Which packet is missing.
    Missing,
    /// That it is not ready.
    NotReady,
}

/// The responder's half of a queue pair.
#[derive(Clone, Copy, Debug)]
pub struct Responder {
    expected: Psn,
    msn: Msn,
    message: Message,
    receive: Option<Receive>,
    verdict: Option<Verdict>,
    /// A FLUSH whose empty answer is due. It needs no memory: a repeated one was executed before,
    /// for sure, and requesters do not count it as a read.
    flushed: Option<Psn>,
    /// A FLUSH of which a part is done, and how many bytes that is.
    flushing: Option<(Psn, u64)>,
    told: Told,
    /// The last packet that was not taken, since one was.
    last_refused: Option<Psn>,
    ring: Ring,
    /// Reports of a loss that may still be passed on before something in sequence arrives.
    signs_left: u8,
    /// Unreliable services: the rest of this message is ignored.
    dropping: bool,
    /// With a request whose memory is not there.
    request_patience: Patience,
    /// With an answer whose memory is not there.
    answer_patience: Patience,
}

impl Responder {
    /// A responder that has received nothing.
    pub fn new(attr: &Attr) -> Self {
        Self {
            expected: attr.rq_psn,
            msn: Msn::ZERO,
            message: Message::None,
            receive: None,
            verdict: None,
            flushed: None,
            flushing: None,
            told: Told::Nothing,
            last_refused: None,
            ring: Ring::default(),
            signs_left: LOSS_SIGNS,
            dropping: false,
            request_patience: Patience::default(),
            answer_patience: Patience::default(),
        }
    }

    /// The PSN of the next request.
    pub const fn expected(&self) -> Psn {
        self.expected
    }

    /// Takes one request. An error ends the queue pair; the peer and the user are told already.
    pub fn request<E: Env>(
        &mut self,
        room: &mut Room<'_>,
        attr: &Attr,
        now: Time,
        headers: &Headers,
        payload: &E::Payload<'_>,
        env: &mut E,
    ) -> Result<Taken, Failure> {
        let incoming = Incoming {
            headers,
            payload,
            // At most the largest MTU.
            len: u32::try_from(headers.payload_len()).unwrap_or(u32::MAX),
        };
        match attr.init.qp_type {
            QpType::Rc => self.reliable(room, attr, now, &incoming, env),
            QpType::Uc => self.unreliable(room, attr, &incoming, env),
            QpType::Ud | QpType::Gsi => self.datagram(room, attr, &incoming, env),
        }
    }

    fn reliable<E: Env>(
        &mut self,
        room: &mut Room<'_>,
        attr: &Attr,
        now: Time,
        incoming: &Incoming<'_, E::Payload<'_>>,
        env: &mut E,
    ) -> Result<Taken, Failure> {
        let psn = incoming.psn();
        let distance = psn.distance(self.expected);
        if distance > 0 {
            self.ahead(psn, incoming.headers.repr.bth.ack_request, env);
            return Ok(Taken::Done);
        }
        if distance < 0 {
            env.count(Event::DuplicateRequest(psn));
            if self.told != Told::Nothing && self.goes_back(psn) {
                self.say_missing();
            }
            self.duplicate(room, attr, incoming, env);
            return Ok(Taken::Done);
        }
        self.told = Told::Nothing;
        self.last_refused = None;
        self.signs_left = LOSS_SIGNS;
        if let Some(verdict) = &mut self.verdict {
            // It came after all, before the NAK left. What the NAK acknowledged still is.
            if !matches!(verdict.syndrome, Syndrome::Ack(_)) {
                *verdict = Verdict {
                    psn: psn.prev(),
                    syndrome: Syndrome::ACK,
                };
                if self.has_answer(room.resources, psn.prev()) {
                    self.verdict = None;
                }
            }
        }
        match self.in_sequence(room, attr, incoming, env) {
            Ok(()) => Ok(Taken::Done),
            Err(Reject::Absent) if !self.request_patience.is_over(psn, now) => Ok(Taken::Again),
            Err(Reject::Failure(failure)) => {
                self.fail(failure, psn, attr, env);
                Err(failure)
            }
            Err(Reject::NotReady | Reject::Absent) => {
                self.request_patience.renew();
                env.count(Event::RnrNakSent(psn));
                self.told = Told::NotReady;
                self.say(psn, Syndrome::RnrNak(attr.min_rnr_timer));
                Ok(Taken::Done)
            }
            Err(Reject::NoRoom) => {
                // As if it had been lost: it will be accepted when the answers before it are out.
                self.told = Told::Missing;
                self.say(psn, Syndrome::Nak(Nak::PsnSequence));
                Ok(Taken::Done)
            }
        }
    }

    /// Executes the request we expect.
    fn in_sequence<E: Env>(
        &mut self,
        room: &mut Room<'_>,
        attr: &Attr,
        incoming: &Incoming<'_, E::Payload<'_>>,
        env: &mut E,
    ) -> Result<(), Reject> {
        let facts = incoming.headers.opcode().facts();
        if !self.continues(facts.kind, facts.position) {
            return Err(Failure::OpcodeSequence.into());
        }
        let packets = self.execute(room, attr, incoming, env)?;
        let psn = incoming.psn();
        self.expected = psn.wrapping_add(packets);
        let answers_itself = matches!(
            facts.kind,
            Kind::ReadRequest
                | Kind::CompareSwap
                | Kind::FetchAdd
                | Kind::Flush
                | Kind::AtomicWrite
        );
        if !answers_itself {
            if facts.position.ends() {
                self.msn = self.msn.next();
            }
            if incoming.headers.repr.bth.ack_request {
                self.say(psn, Syndrome::ACK);
            }
        }
        Ok(())
    }

    /// Whether this PSN is that of a READ's or atomic's answer. An ACK must not name it: the answer says as much,
    /// and if that was lost, an upstream requester takes the ACK for it.
    fn has_answer(&self, resources: &[Resource], psn: Psn) -> bool {
        self.ring.find(resources, psn).is_some()
    }

    /// Whether a packet of this kind and place may follow what came before.
    fn continues(&self, kind: Kind, position: Position) -> bool {
        match (&self.message, position.starts()) {
            (Message::None, starts) => starts,
            (Message::Send, starts) => !starts && kind == Kind::Send,
            (Message::Write { .. }, starts) => !starts && kind == Kind::Write,
        }
    }

    /// Ends the queue pair: tells the user through the receive request, or an event, and the peer
    /// through a NAK.
    fn fail<E: Env>(&mut self, failure: Failure, psn: Psn, attr: &Attr, env: &mut E) {
        let consequence = failure.consequence();
        env.count(Event::Failed(failure));
        match self.receive.take() {
            Some(receive) if failure != Failure::CqOverrun => {
                let opcode = super::cqe::WcOpcode::Receive;
                // The queue pair fails in any case.
                let _ = env.complete_receive(&receive.cqe(opcode, consequence.status));
            }
            _ => {
                if let Some(event) = consequence.event {
                    env.notify(event);
                }
            }
        }
        self.message = Message::None;
        if let (QpType::Rc, Some(nak)) = (attr.init.qp_type, consequence.nak) {
            self.verdict = Some(Verdict {
                psn,
                syndrome: Syndrome::Nak(nak),
            });
        }
    }

    /// Ends the receive request under way with status "flushed", if there is one.
    pub fn flush_receive<E: Env>(&mut self, env: &mut E) -> bool {
        let Some(receive) = self.receive.take() else {
            return false;
        };
        self.message = Message::None;
        let opcode = super::cqe::WcOpcode::Receive;
        let cqe = receive.cqe(opcode, super::cqe::WcStatus::Flushed);
        // Nothing more can be done about a full queue: the caller has reported it.
        let _ = env.complete_receive(&cqe);
        true
    }

    /// Owes the peer nothing any more.
    pub fn forget_answers(&mut self, resources: &mut [Resource]) {
        self.ring.clear(resources);
        self.verdict = None;
        self.flushed = None;
    }

    /// The answer to a FLUSH is due. An answer to a younger one says all that of an older one said.
    fn say_flushed(&mut self, psn: Psn) {
        if self.flushed.is_none_or(|due| due.is_before(psn)) {
            self.flushed = Some(psn);
        }
    }

    /// An ACK or NAK is due. A newer one says all an older one said.
    fn say(&mut self, psn: Psn, syndrome: Syndrome) {
        self.verdict = Some(Verdict { psn, syndrome });
    }
}
