// SPDX-License-Identifier: GPL-2.0-only

//! The end of a queue pair: the failed request reports why, everything else posted is flushed, now
//! and whenever something is posted later.

use super::{Drain, Qp, QpType, State};
use crate::rxe::cqe::{Cqe, WcOpcode, WcStatus};
use crate::rxe::env::Env;
use crate::rxe::error::{Failure, Scope};
use crate::rxe::events::{AsyncEvent, Event};
use crate::rxe::requester::{Step, Window};
use crate::rxe::responder;
use crate::rxe::storage::Storage;
use crate::rxe::time::{Nanos, Time};

/// How often a failed queue pair looks for requests posted late: its user needs no system call to
/// post a receive, so nobody else would flush it.
pub(super) const FIRST_LATE_LOOK: Nanos = Nanos::from_millis(1);
/// The longest time between two looks: a user may leave thousands of failed queue pairs behind.
const LAST_LATE_LOOK: Nanos = Nanos::from_millis(1024);

impl<S: Storage> Qp<S> {
    /// Enters state ERR. Answers owed, a NAK among them, still go out: they are the last words.
    pub(super) fn fail_all(&mut self) {
        self.state = State::Err;
        self.drain = Drain::Off;
        self.requester.retry.stop();
        self.late_look = None;
        self.late_wait = FIRST_LATE_LOOK;
    }

    /// The oldest send request failed, and the send queue with it.
    pub(super) fn fail_sends<E: Env>(&mut self, failure: Failure, env: &mut E) {
        let consequence = failure.consequence();
        env.count(Event::Failed(failure));
        let parts = self.storage.parts();
        if failure == Failure::CqOverrun {
            // The completion that had no room is lost; the event says so.
            if let Some(event) = consequence.event {
                env.notify(event);
            }
        } else {
            let mut window = Window::new(parts.slots, parts.send_room, self.shape);
            self.requester
                .end_oldest(&mut window, consequence.status, env);
        }
        let connected = self.attr.init.qp_type == QpType::Rc;
        if connected || consequence.scope == Scope::QueuePair {
            self.responder.forget_answers(parts.resources);
            self.fail_all();
        } else {
            self.requester.retry.stop();
            self.drain = Drain::Off;
            self.state = State::Sqe;
        }
    }

    /// Ends a few requests with status "flushed".
    pub(super) fn flush<E: Env>(&mut self, now: Time, env: &mut E) -> Step {
        /// Requests ended in one step.
        const AT_ONCE: u32 = 16;
        let parts = self.storage.parts();
        let mut window = Window::new(parts.slots, parts.send_room, self.shape);
        let mut flushed = 0u32;
        while flushed < AT_ONCE
            && self
                .requester
                .end_oldest(&mut window, WcStatus::Flushed, env)
        {
            flushed = flushed.saturating_add(1);
        }
        while flushed < AT_ONCE {
            // Nothing is under way any more: any slot will do.
            let Some((slot, room)) = window.place_mut(0) else {
                break;
            };
            let wr_id = match env.next_send(&mut slot.wr, room) {
                Some(Ok(())) => slot.wr.wr_id,
                Some(Err(bad)) => bad.wr_id,
                None => break,
            };
            env.release_send();
            let cqe = Cqe::new(wr_id, WcOpcode::Send, WcStatus::Flushed);
            // A full completion queue loses completions; the caller reports that.
            let _ = env.complete_send(&cqe);
            flushed = flushed.saturating_add(1);
        }
        if self.state != State::Err {
            return if flushed == 0 {
                Step::Idle
            } else {
                Step::Worked
            };
        }
        if self.responder.flush_receive(env) {
            flushed = flushed.saturating_add(1);
        }
        if !self.attr.init.shared_receive {
            let received = responder::flush(parts.recv_room, AT_ONCE, env);
            flushed = flushed.saturating_add(received);
        } else if !self.last_receive_told {
            self.last_receive_told = true;
            env.notify(AsyncEvent::LastReceiveReached);
        }
        if flushed != 0 {
            self.late_wait = FIRST_LATE_LOOK;
            self.late_look = Some(now.after(FIRST_LATE_LOOK));
            return Step::Worked;
        }
        if self.late_look.is_none_or(|at| at <= now) {
            self.late_look = Some(now.after(self.late_wait));
            self.late_wait = self
                .late_wait
                .saturating_add(self.late_wait)
                .min(LAST_LATE_LOOK);
        }
        Step::Idle
    }
}
