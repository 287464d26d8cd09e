// SPDX-License-Identifier: GPL-2.0-only

//! The completer: from responses to completions (IBTA vol. 1, 9.7.3, 9.7.5.1.2, 11.6.2).
//!
//! A response with PSN `p` says first of all that everything before `p` was executed: sends and
//! writes before it complete, but a READ or an atomic before it has lost its answer.
//!
//! ```text
//!   response p --> outside of what is under way?  ghost: drop; if it was answered before, the peer is slow
//!             |--> ACK            everything up to p is done
//!             |--> READ data      p is the next byte missing? store; behind it? a gap: start over
//!             |--> atomic result  store, done
//!             |--> sequence NAK   start over at p
//!             |--> RNR NAK        wait, then start over at p
//!             '--> other NAK      the request with p fails, and the queue pair with it
//! ```

use super::cqe::{Cqe, WcOpcode, WcStatus};
use super::env::Env;
use super::error::Failure;
use super::events::{Drop, Event};
use super::inbound::Taken;
use super::opcode::Position;
use super::psn::Psn;
use super::qp::Attr;
use super::requester::{Phase, Requester, Window};
use super::sge::{self, ScatterError};
use super::time::Time;
use super::wire::{Aeth, Body, Headers, Nak, Rc, ReadResponse, Syndrome};
use super::wqe::SendOp;

/// Why everything before a PSN could not be taken as done.
enum Stop {
    /// The answer of a READ or an atomic is missing.
    Gap,
    /// A completion queue is full.
    Failed(Failure),
}

impl From<Failure> for Stop {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

/// What a NAK says that ends the queue pair.
fn fatal(nak: Nak) -> Option<Failure> {
    match nak {
        Nak::PsnSequence => None,
        Nak::InvalidRequest => Some(Failure::PeerInvalidRequest),
        Nak::RemoteAccess => Some(Failure::PeerAccess),
        Nak::RemoteOperational => Some(Failure::PeerOperation),
    }
}

impl Requester {
    /// Takes one response. An error fails the oldest request and the queue.
    pub fn response<E: Env>(
        &mut self,
        window: &mut Window<'_>,
        attr: &Attr,
        now: Time,
        headers: &Headers,
        payload: &E::Payload<'_>,
        env: &mut E,
    ) -> Result<Taken, Failure> {
        let Body::Rc(rc) = &headers.repr.body else {
            return Ok(Taken::Done);
        };
        let psn = headers.repr.bth.psn;
        let outstanding = self.outstanding();
        let ahead = psn.offset_from(self.una);
        // A sequence NAK may name the packet behind the last one sent: "I lack nothing".
        let is_sequence_nak = matches!(
            rc,
            Rc::Ack(Aeth {
                syndrome: Syndrome::Nak(Nak::PsnSequence),
                ..
            })
        );
        if ahead >= outstanding && !(is_sequence_nak && ahead == outstanding) {
            if let Some(failure) = self.ends_read(window, psn, rc) {
                return Err(failure);
            }
            if psn.is_before(self.una) {
                self.echo(now);
            }
            env.count(Event::Dropped(Drop::Ghost));
            return Ok(Taken::Done);
        }
        let is_ack = matches!(
            rc,
            Rc::Ack(Aeth {
                syndrome: Syndrome::Ack(_),
                ..
            })
        );
        let before = self.una;
        let advanced = self.advance(window, if is_ack { psn.next() } else { psn }, env);
        self.progressed(before, window, now);
        match advanced {
            Ok(()) => {}
            Err(Stop::Failed(failure)) => return Err(failure),
            Err(Stop::Gap) => {
                return match rc {
                    Rc::Ack(Aeth {
                        syndrome: Syndrome::Nak(nak),
                        ..
                    }) if *nak != Nak::PsnSequence => Err(Failure::PeerGone),
                    _ => {
                        self.gap(window, psn, is_sequence_nak, env)?;
                        Ok(Taken::Done)
                    }
                }
            }
        }
        let before = self.una;
        let mut taken = Taken::Done;
        match rc {
            Rc::Ack(aeth) => self.verdict(window, now, psn, aeth.syndrome, env)?,
            Rc::ReadResponse(part) => {
                taken = self.read_data(window, attr, psn, part, headers, payload, env)?;
            }
            Rc::AtomicAck(aeth, value) => {
                taken = self.atomic_result(window, attr, psn, aeth, value.original, env)?;
            }
            Rc::Send(_)
            | Rc::Write(_)
            | Rc::ReadRequest(_)
            | Rc::CompareSwap(_)
            | Rc::FetchAdd(_)
            | Rc::Flush(..)
            | Rc::AtomicWrite(..) => {}
        }
        self.progressed(before, window, now);
        Ok(taken)
    }

    /// Why a READ ends of which some data has come: a peer that cannot go on may name the request (upstream does)
    /// and not the packet that it owes.
    #[cold]
    fn ends_read(&self, window: &Window<'_>, psn: Psn, rc: &Rc) -> Option<Failure> {
        let Rc::Ack(Aeth { syndrome, .. }) = rc else {
            return None;
        };
        let slot = window.slot(self.head).filter(|_| self.head != self.tail)?;
        let is_read = matches!(slot.wr.op, SendOp::Read(_)) && slot.received != 0;
        let came = self.una.offset_from(slot.first_psn);
        match syndrome {
            Syndrome::Nak(nak) if is_read && psn.is_within(slot.first_psn, came) => fatal(*nak),
            _ => None,
        }
    }

    /// If the peer answered something new, budgets are full again.
    fn progressed(&mut self, before: Psn, window: &Window<'_>, now: Time) {
        if self.una == before {
            return;
        }
        self.limit = self.limit.saturating_add(self.una.offset_from(before));
        self.hope();
        self.skip_answered(window);
        if !self.retry.is_not_ready() {
            self.retry.progress(now, self.outstanding() != 0);
        }
    }

    /// Starts over at a missing answer: once, for what is under way behind it shows the same gap
    /// again and again. `told` if the peer says by itself that something was lost.
    fn gap<E: Env>(
        &mut self,
        window: &Window<'_>,
        got: Psn,
        told: bool,
        env: &mut E,
    ) -> Result<(), Failure> {
        env.count(Event::ResponseGap {
            expected: self.una,
            got,
        });
        let is_new = self.is_new_gap(got);
        if self.retry.is_not_ready() {
            return Ok(());
        }
        let restarted = match (is_new, told) {
            (true, _) => self.restart_charged(window, env),
            (false, true) => self.restart_if_sure(window, env),
            (false, false) => Ok(()),
        };
        restarted.map_err(|_| self.retries_exceeded(env))
    }

    /// The budget is used up.
    pub(super) fn retries_exceeded<E: Env>(&self, env: &mut E) -> Failure {
        env.count(Event::RetryExceeded);
        Failure::RetryExceeded
    }

    /// Takes an ACK or NAK after everything it acknowledges was completed.
    fn verdict<E: Env>(
        &mut self,
        window: &Window<'_>,
        now: Time,
        psn: Psn,
        syndrome: Syndrome,
        env: &mut E,
    ) -> Result<(), Failure> {
        match syndrome {
            Syndrome::Ack(_) => Ok(()),
            Syndrome::RnrNak(timer) => {
                env.count(Event::RnrNakReceived(psn));
                if self.retry.is_not_ready() {
                    return Ok(());
                }
                if self.retry.charge_rnr(now, timer).is_err() {
                    env.count(Event::RnrRetryExceeded);
                    return Err(Failure::RnrRetryExceeded);
                }
                self.restart(window, env);
                Ok(())
            }
            Syndrome::Nak(Nak::PsnSequence) => {
                env.count(Event::SequenceNakReceived(psn));
                if self.outstanding() == 0 || self.retry.is_not_ready() {
                    return Ok(());
                }
                self.restart_if_sure(window, env)
                    .map_err(|_| self.retries_exceeded(env))
            }
            Syndrome::Nak(nak) => fatal(nak).map_or(Ok(()), Err),
        }
    }

    /// Takes READ data, or the empty answer to FLUSH and ATOMIC WRITE.
    #[allow(clippy::too_many_arguments)]
    fn read_data<E: Env>(
        &mut self,
        window: &mut Window<'_>,
        attr: &Attr,
        psn: Psn,
        part: &ReadResponse,
        headers: &Headers,
        payload: &E::Payload<'_>,
        env: &mut E,
    ) -> Result<Taken, Failure> {
        if let ReadResponse::First(aeth) | ReadResponse::Last(aeth) | ReadResponse::Only(aeth) =
            part
        {
            if !matches!(aeth.syndrome, Syndrome::Ack(_)) {
                return Err(Failure::BadResponse);
            }
        }
        let number = self.head;
        let Some(slot) = window.slot(number).filter(|_| number != self.tail) else {
            return Ok(Taken::Done);
        };
        match slot.wr.op {
            SendOp::Read(_) => {}
            SendOp::Flush { .. } | SendOp::AtomicWrite { .. } if headers.payload_len() == 0 => {
                return match self.advance(window, psn.next(), env) {
                    Err(Stop::Failed(failure)) => Err(failure),
                    Ok(()) | Err(Stop::Gap) => Ok(Taken::Done),
                };
            }
            _ => return Err(Failure::BadResponse),
        }
        let left = slot.len.saturating_sub(slot.received);
        let len = left.min(attr.mtu.bytes());
        let position = headers.opcode().facts().position;
        let ends = matches!(position, Position::Last | Position::Only);
        if headers.payload_len() != len as usize || ends != (left <= attr.mtu.bytes()) {
            return Err(Failure::BadResponse);
        }
        let offset = slot.received;
        let stored = sge::scatter(
            env,
            attr.identity(),
            window.pieces(number),
            offset,
            payload,
            len,
        );
        if let Some(taken) = again(stored)? {
            return Ok(taken);
        }
        if let Some(slot) = window.slot_mut(number) {
            slot.received = offset.saturating_add(len);
            if ends {
                slot.phase = Phase::Done;
            }
        }
        self.una = psn.next();
        if ends {
            self.complete_ready(window, env)?;
        }
        Ok(Taken::Done)
    }

    fn atomic_result<E: Env>(
        &mut self,
        window: &mut Window<'_>,
        attr: &Attr,
        psn: Psn,
        aeth: &Aeth,
        value: u64,
        env: &mut E,
    ) -> Result<Taken, Failure> {
        if !matches!(aeth.syndrome, Syndrome::Ack(_)) {
            return Err(Failure::BadResponse);
        }
        let number = self.head;
        let is_atomic = window
            .slot(number)
            .filter(|_| number != self.tail)
            .is_some_and(|slot| {
                matches!(
                    slot.wr.op,
                    SendOp::CompareSwap { .. } | SendOp::FetchAdd { .. }
                )
            });
        if !is_atomic {
            return Err(Failure::BadResponse);
        }
        // In the byte order of this host, like the memory of its user.
        let bytes = value.to_ne_bytes();
        let stored = sge::scatter_bytes(env, attr.identity(), window.pieces(number), 0, &bytes);
        if let Some(taken) = again(stored)? {
            return Ok(taken);
        }
        if let Some(slot) = window.slot_mut(number) {
            slot.phase = Phase::Done;
        }
        self.una = psn.next();
        self.complete_ready(window, env)?;
        Ok(Taken::Done)
    }

    /// Everything before `end` was executed.
    fn advance<E: Env>(
        &mut self,
        window: &mut Window<'_>,
        end: Psn,
        env: &mut E,
    ) -> Result<(), Stop> {
        loop {
            self.complete_ready(window, env)?;
            let answered = end.offset_from(self.una);
            let Some(slot) = window
                .slot_mut(self.head)
                .filter(|_| self.head != self.tail)
            else {
                return Ok(());
            };
            if answered == 0 || slot.phase != Phase::Begun {
                return Ok(());
            }
            if slot.wr.op.needs_response() {
                return Err(Stop::Gap);
            }
            let left = slot.end_psn().offset_from(self.una);
            if answered < left {
                self.una = end;
                return Ok(());
            }
            slot.phase = Phase::Done;
            self.una = slot.end_psn();
        }
    }

    /// Completes the requests that are done, oldest first.
    pub fn complete_ready<E: Env>(
        &mut self,
        window: &mut Window<'_>,
        env: &mut E,
    ) -> Result<(), Failure> {
        while self.head != self.tail {
            let Some(slot) = window.slot(self.head) else {
                return Ok(());
            };
            match slot.phase {
                Phase::Done => {}
                Phase::Failed(failure) => return Err(failure),
                Phase::Posted | Phase::Begun => return Ok(()),
            }
            let wr = &slot.wr;
            self.pop(slot.holds_rd_atomic);
            env.release_send();
            if matches!(wr.op, SendOp::Send(_) | SendOp::Datagram(_)) {
                env.count(Event::SendCompleted);
            }
            if wr.signaled {
                let mut cqe = Cqe::new(wr.wr_id, WcOpcode::of(&wr.op), WcStatus::Success);
                cqe.byte_len = match wr.op {
                    SendOp::AtomicWrite { .. } => 8,
                    _ => slot.len,
                };
                env.complete_send(&cqe).map_err(|_| Failure::CqOverrun)?;
            }
        }
        Ok(())
    }

    /// Removes the oldest request.
    fn pop(&mut self, held_rd_atomic: bool) {
        if self.cursor == self.head {
            self.cursor = self.cursor.wrapping_add(1);
            self.packet = 0;
        }
        self.head = self.head.wrapping_add(1);
        if held_rd_atomic {
            self.rd_atomic = self.rd_atomic.saturating_sub(1);
        }
    }

    /// Ends the oldest request with `status`, if there is one.
    pub fn end_oldest<E: Env>(
        &mut self,
        window: &mut Window<'_>,
        status: WcStatus,
        env: &mut E,
    ) -> bool {
        let Some(slot) = window.slot(self.head).filter(|_| self.head != self.tail) else {
            return false;
        };
        let cqe = Cqe::new(slot.wr.wr_id, WcOpcode::of(&slot.wr.op), status);
        let held = slot.holds_rd_atomic;
        self.pop(held);
        env.release_send();
        // Nothing more can be done about a full queue: the caller has reported it.
        let _ = env.complete_send(&cqe);
        true
    }
}

/// Whether an answer must come again because its place in memory is not there now.
fn again(stored: Result<(), ScatterError>) -> Result<Option<Taken>, Failure> {
    match stored {
        Ok(()) => Ok(None),
        Err(ScatterError::Absent) => Ok(Some(Taken::Again)),
        Err(ScatterError::TooShort | ScatterError::Protection) => Err(Failure::RequestProtection),
    }
}
