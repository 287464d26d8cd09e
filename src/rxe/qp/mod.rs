// SPDX-License-Identifier: GPL-2.0-only

//! A queue pair: the engine's one object, and its run loop.
//!
//! The engine has no clock, no lock, no thread and no socket. Whoever owns it calls in, and it
//! calls back through [`Env`] before it returns:
//!
//! ```text
//!            packet(now, ..)   timeout(now, ..)   loss(..)   modify(..)   doorbell: nothing to say
//!                  |                 |               |            |              |
//!                  '-----------------+---------------+------------+--------------'
//!                                    v
//!                          run(now, budget, env)
//!                answers owed  <-- by turns -->  requests to send
//!                                    |
//!           More: call run again, soon, after others had their turn
//!           Busy: call run again when the link has room
//!           Absent: call run again when memory may have been fetched, see look_after()
//!           Idle: nothing to do before the next call
//!                                    |
//!                          deadline() --> arm one timer, or none
//! ```
//!
//! Calls of `packet` may be batched before one `run`: that is how ACKs coalesce.
//!
//! | who | holds |
//! |---|---|
//! | [`Attr`], [`State`] | what the verbs set |
//! | [`Requester`] | send requests under way, PSNs, budgets; the completer works on the same |
//! | [`Responder`] | expected PSN, message under way, answers owed and remembered |
//! | [`Storage`] | the memory of all that, allocated by the caller once |

mod attr;
mod ending;
mod look;
mod modify;
mod state;

use ending::FIRST_LATE_LOOK;

pub use attr::{Attr, Init, QpType, DEFAULT_WINDOW};
pub use modify::{rule, Change, Fields, ModifyError, Rule};
pub use state::{Permits, State, Work, PERMITS};

use super::env::Env;
use super::events::{AsyncEvent, Event};
use super::inbound::{admit, Taken};
use super::mtu::Mtu;
use super::opcode::Direction;
use super::psn::Psn;
use super::requester::{wire_bytes, Requester, Shape, Step, Window};
use super::responder::{Answered, Responder, Room};
use super::retry::Expired;
use super::storage::{Parts, Storage};
use super::time::{Nanos, Time};
use super::wire::Headers;

/// What [`Qp::run`] leaves.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ran {
    /// Nothing to do before something happens.
    Idle,
    /// The budget is used up and there is more to do.
    More,
    /// The link has no room.
    Busy,
    /// Memory to send is not there now, and there is nothing else to do.
    Absent,
}

/// How a drain of the send queue stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Drain {
    Off,
    Draining,
    Drained,
}

/// A queue pair.
#[derive(Debug)]
pub struct Qp<S> {
    attr: Attr,
    state: State,
    requester: Requester,
    responder: Responder,
    storage: S,
    shape: Shape,
    drain: Drain,
    /// The first packet has arrived.
    established: bool,
    /// The last packet, a request whose sender waits for an answer, waits for memory.
    request_waits: bool,
    /// Told that nothing more is taken from the shared receive queue.
    last_receive_told: bool,
    /// In state ERR: when to look for late requests, and how long to wait after that.
    late_look: Option<Time>,
    late_wait: Nanos,
}

impl<S: Storage> Qp<S> {
    /// A queue pair in state RESET. For datagrams, `port_mtu` is the longest payload, until
    /// [`set_port_mtu`](Self::set_port_mtu).
    pub fn new(init: Init, port_mtu: Mtu, mut storage: S) -> Self {
        let mut attr = Attr::new(init);
        attr.mtu = port_mtu;
        let parts = storage.parts();
        let shape = Shape::of(parts.slots, parts.send_room);
        Self {
            requester: Requester::new(&attr),
            responder: Responder::new(&attr),
            attr,
            state: State::Reset,
            storage,
            shape,
            drain: Drain::Off,
            established: false,
            request_waits: false,
            last_receive_told: false,
            late_look: None,
            late_wait: FIRST_LATE_LOOK,
        }
    }

    /// The port's MTU has changed: datagrams may be that long (C10-93.1.1). Connections keep theirs.
    pub fn set_port_mtu(&mut self, port_mtu: Mtu) {
        if !self.attr.init.qp_type.is_connected() {
            self.attr.mtu = port_mtu;
        }
    }

    /// The state.
    pub const fn state(&self) -> State {
        self.state
    }

    /// The attributes.
    pub const fn attr(&self) -> &Attr {
        &self.attr
    }

    /// Whether the send queue is still draining.
    pub fn is_draining(&self) -> bool {
        self.drain == Drain::Draining
    }

    /// The PSN of the next new request.
    pub const fn sq_psn(&self) -> Psn {
        self.requester.next_psn()
    }

    /// The PSN expected from the peer.
    pub const fn rq_psn(&self) -> Psn {
        self.responder.expected()
    }

    /// Changes attributes and state.
    pub fn modify(&mut self, change: &Change) -> Result<(), ModifyError> {
        let to = change.check(self.state, self.attr.init.qp_type)?;
        let leaves_sqd = change.state.is_some_and(|state| {
            !matches!(state, State::Err | State::Reset) && self.state == State::Sqd
        });
        if leaves_sqd && self.is_draining() {
            return Err(ModifyError::Draining);
        }
        change.apply(&mut self.attr);
        if change.rq_psn.is_some() {
            self.responder = Responder::new(&self.attr);
            self.responder
                .forget_answers(self.storage.parts().resources);
        }
        if change.sq_psn.is_some() {
            self.requester = Requester::new(&self.attr);
        }
        if change.timeout.is_some() || change.retry_count.is_some() || change.rnr_retry.is_some() {
            self.requester.retry.set_limits(
                self.attr.timeout,
                self.attr.retry_count,
                self.attr.rnr_retry,
            );
        }
        if change.state.is_some() {
            self.enter(to);
        }
        Ok(())
    }

    /// Goes to a state the user asked for.
    fn enter(&mut self, to: State) {
        let from = self.state;
        self.state = to;
        self.drain = match (from, to) {
            (State::Sqd, State::Sqd) => self.drain,
            (_, State::Sqd) => Drain::Draining,
            _ => Drain::Off,
        };
        match to {
            State::Reset => {
                self.requester = Requester::new(&self.attr);
                self.responder = Responder::new(&self.attr);
                self.responder
                    .forget_answers(self.storage.parts().resources);
                self.established = false;
                self.request_waits = false;
                self.last_receive_told = false;
                self.late_look = None;
            }
            State::Err => {
                self.responder
                    .forget_answers(self.storage.parts().resources);
                self.fail_all();
            }
            State::Init | State::Rtr | State::Rts | State::Sqd | State::Sqe => {}
        }
    }

    /// Takes a packet with a correct ICRC. Call [`Self::run`] after it, or after a batch.
    #[inline]
    pub fn packet<E: Env>(
        &mut self,
        now: Time,
        headers: &Headers,
        payload: &E::Payload<'_>,
        env: &mut E,
    ) -> Taken {
        let direction = match admit(headers, &self.attr, self.state) {
            Ok(direction) => direction,
            Err(reason) => {
                self.none_waits(now);
                env.count(Event::Dropped(reason));
                return Taken::Done;
            }
        };
        let Parts {
            slots,
            send_room,
            recv_room,
            resources,
        } = self.storage.parts();
        let taken = match direction {
            Direction::Request => {
                if self.state == State::Rtr && !self.established {
                    env.notify(AsyncEvent::CommunicationEstablished);
                }
                self.established = true;
                let mut room = Room {
                    pieces: recv_room,
                    resources,
                };
                let taken = self
                    .responder
                    .request(&mut room, &self.attr, now, headers, payload, env);
                taken.unwrap_or_else(|_| {
                    self.fail_all();
                    Taken::Done
                })
            }
            Direction::Response => {
                let mut window = Window::new(slots, send_room, self.shape);
                let taken =
                    self.requester
                        .response(&mut window, &self.attr, now, headers, payload, env);
                taken.unwrap_or_else(|failure| {
                    self.fail_sends(failure, env);
                    Taken::Done
                })
            }
        };
        let again = taken == Taken::Again;
        self.request_waits =
            again && direction == Direction::Request && self.attr.init.qp_type == QpType::Rc;
        self.requester.retry.packet_waits(now, again);
        if !again {
            env.count(Event::Received {
                bytes: wire_bytes(headers.packet_len()),
            });
        }
        taken
    }

    /// No packet waits any more: the one that [`Self::packet`] wants handed in again is dropped, as if
    /// it had been lost on the way.
    pub fn none_waits(&mut self, now: Time) {
        self.request_waits = false;
        self.requester.retry.packet_waits(now, false);
    }

    /// The rail is sure that a packet between the two hosts was lost, in either direction.
    pub fn loss<E: Env>(&mut self, env: &mut E) {
        let permits = self.state.permits();
        if permits.requests {
            env.count(Event::LossReported);
            self.responder.lost(&self.attr);
        }
        if permits.responses {
            self.requester.lost();
        }
    }

    /// The peer can be reached again, after a time in which whatever was sent went nowhere. Whoever
    /// waits for an answer asks at once: timers may be as long as NCCL's, 4.3 s.
    pub fn reconnected(&mut self) {
        if self.state.permits().responses {
            self.requester.reconnected();
        }
    }

    /// When to call [`Self::timeout`].
    pub fn deadline(&self) -> Option<Time> {
        match self.state {
            State::Rts | State::Sqd => self.requester.retry.deadline(),
            State::Err => self.late_look,
            State::Reset | State::Init | State::Rtr | State::Sqe => None,
        }
    }

    /// Looks at the clock. Call [`Self::run`] after it.
    pub fn timeout<E: Env>(&mut self, now: Time, env: &mut E) {
        if !matches!(self.state, State::Rts | State::Sqd) {
            return;
        }
        match self.requester.retry.expire(now) {
            None | Some(Expired::PeerMayBeReady) => {}
            Some(Expired::NoAnswer) => {
                if self.requester.outstanding() == 0 {
                    return;
                }
                if self.requester.retry.charge().is_err() {
                    let failure = self.requester.retries_exceeded(env);
                    self.fail_sends(failure, env);
                    return;
                }
                let parts = self.storage.parts();
                let window = Window::new(parts.slots, parts.send_room, self.shape);
                self.requester.restart_unanswered(&window, env);
            }
        }
    }

    /// Works: sends what is owed and what is posted, at most `budget` packets.
    pub fn run<E: Env>(&mut self, now: Time, budget: u32, env: &mut E) -> Ran {
        let mut left = budget;
        let mut answered = Answered::Nothing;
        let mut stepped = Step::Idle;
        while left > 0 {
            // What waits for memory is tried once: answers and requests do not wait for each other.
            if answered != Answered::Absent {
                answered = self.answer(now, env);
            }
            // A dead link must not hold up the end of what was posted.
            let flushes = self.state.permits().sends == Work::Flushed;
            if answered == Answered::Busy && !flushes {
                return Ran::Busy;
            }
            if stepped != Step::Absent {
                stepped = self.step(now, env);
            }
            match (answered, stepped) {
                (Answered::Nothing, Step::Idle) => return Ran::Idle,
                (Answered::Busy, Step::Idle) => return Ran::Busy,
                (Answered::Absent, Step::Idle | Step::Absent)
                | (Answered::Nothing, Step::Absent) => return Ran::Absent,
                _ => {}
            }
            if stepped == Step::Busy {
                env.count(Event::LinkBusy);
                return Ran::Busy;
            }
            left = left.saturating_sub(1);
        }
        Ran::More
    }

    fn answer<E: Env>(&mut self, now: Time, env: &mut E) -> Answered {
        if !self.responder.owes() {
            return Answered::Nothing;
        }
        let parts = self.storage.parts();
        let mut room = Room {
            pieces: parts.recv_room,
            resources: parts.resources,
        };
        let answered = self.responder.answer(&mut room, &self.attr, now, env);
        if let Answered::Failed(_) = answered {
            self.fail_all();
        }
        answered
    }

    /// Does one piece of work for the send queue, or flushes.
    fn step<E: Env>(&mut self, now: Time, env: &mut E) -> Step {
        let permits = self.state.permits();
        match permits.sends {
            Work::Held => return Step::Idle,
            Work::Flushed => return self.flush(now, env),
            Work::Executed | Work::Finished => {}
        }
        let parts = self.storage.parts();
        let mut window = Window::new(parts.slots, parts.send_room, self.shape);
        let step = self
            .requester
            .step(&mut window, &self.attr, permits.sends, now, env);
        if step == Step::Worked {
            if let Err(failure) = self.requester.complete_ready(&mut window, env) {
                self.fail_sends(failure, env);
                return step;
            }
        }
        if self.drain == Drain::Draining && !self.requester.is_begun(&window) {
            self.drain = Drain::Drained;
            env.notify(AsyncEvent::SendQueueDrained);
        }
        step
    }
}
