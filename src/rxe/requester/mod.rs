// SPDX-License-Identifier: GPL-2.0-only

//! The requester: from send requests to request packets (IBTA vol. 1, 9.7).
//!
//! ```text
//!   user's queue --next_send--> slot (Posted) --begin--> slot (Begun) --packets--> link
//!                                  |                        |    ^
//!                                  | local operation,       |    '-- start over: at the NAKed
//!                                  | datagram sent          |        packet, at the missing byte
//!                                  v                        v        of a READ
//!                                 Done <-------------- completer
//! ```
//!
//! One call of [`Requester::step`] sends at most one packet. What stops it is said by [`Step`];
//! every reason to go on again passes through [`Qp`](super::qp::Qp), which then runs once more.

mod begin;
mod recover;
mod segment;
mod slot;
mod transmit;

pub use slot::{Phase, Shape, Slot, Window};

use super::env::Env;
use super::error::Failure;
use super::psn::Psn;
use super::qp::{Attr, QpType, Work};
use super::retry::{Retry, LOSS_SIGNS};
use super::time::Time;
use recover::RESTARTS;
use segment::{segment, Segment};
pub(super) use transmit::wire_bytes;
use transmit::{transmit, SendError};

/// The longest message.
pub const MAX_MESSAGE: u32 = 1 << 31;

/// Packets sent without asking for an answer, in the middle of a long message. Upstream's number:
/// it asks again when more than this many went unasked.
const MAX_UNASKED: u32 = 64;

/// What one step did.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Step {
    /// Something; there may be more.
    Worked,
    /// Nothing: waits for an answer, a timer or a new request.
    Idle,
    /// Nothing: the link has no room.
    Busy,
    /// Nothing: memory to send is not there now.
    Absent,
}

/// The requester's half of a queue pair, together with the completer.
#[derive(Clone, Copy, Debug)]
pub struct Requester {
    /// Number of the oldest slot.
    pub(super) head: u32,
    /// Number behind the newest slot.
    pub(super) tail: u32,
    /// Number of the slot being sent: in `head ..= tail`.
    pub(super) cursor: u32,
    /// The next packet of that slot.
    pub(super) packet: u32,
    /// PSN of the next request to begin.
    next_psn: Psn,
    /// Oldest PSN the peer has not answered.
    pub(super) una: Psn,
    /// PSN behind the newest packet sent.
    pub(super) sent_end: Psn,
    /// Reads and atomics under way.
    pub(super) rd_atomic: u32,
    /// How many packets may be under way, on top of what the queue pair allows: few after a silence,
    /// more with every answer.
    pub(super) limit: u32,
    /// Packets sent since one that asks for an answer.
    unasked: u32,
    /// The packet sent last, since the requester started over: number of its slot, place in it.
    sent_last: Option<(u32, u32)>,
    /// The PSN the requester last started over from, until it makes progress.
    restarted: Option<Psn>,
    /// The response that last showed a gap, until there is progress.
    last_gap: Option<Psn>,
    /// The peer named the place we started over from: before or after it got what was sent again?
    in_doubt: bool,
    /// How often the requester may still start over from one place at the peer's word.
    restarts_left: u8,
    /// Repeat the packet sent last, so that the peer says where it is.
    probe: bool,
    /// Reports of a loss that may still lead to a probe before there is progress.
    signs_left: u8,
    /// Packets sent again whose answers may still come, although all they say is known by then.
    echoes_due: u32,
    /// Timers and budgets.
    pub(super) retry: Retry,
}

impl Requester {
    /// A requester that has sent nothing.
    pub fn new(attr: &Attr) -> Self {
        Self {
            head: 0,
            tail: 0,
            cursor: 0,
            packet: 0,
            next_psn: attr.sq_psn,
            una: attr.sq_psn,
            sent_end: attr.sq_psn,
            rd_atomic: 0,
            limit: u32::MAX,
            unasked: 0,
            sent_last: None,
            restarted: None,
            last_gap: None,
            in_doubt: false,
            restarts_left: RESTARTS,
            probe: false,
            signs_left: LOSS_SIGNS,
            echoes_due: 0,
            retry: Retry::new(attr.timeout, attr.retry_count, attr.rnr_retry),
        }
    }

    /// The PSN a new request would begin with.
    pub const fn next_psn(&self) -> Psn {
        self.next_psn
    }

    /// Packets under way.
    pub const fn outstanding(&self) -> u32 {
        self.sent_end.offset_from(self.una)
    }

    /// Whether a request is begun and not complete.
    pub fn is_begun(&self, window: &Window<'_>) -> bool {
        self.head != self.tail
            && window
                .slot(self.head)
                .is_some_and(|slot| slot.phase != Phase::Posted)
    }

    /// Sends one packet, executes one local operation, or begins one request.
    #[inline]
    pub fn step<E: Env>(
        &mut self,
        window: &mut Window<'_>,
        attr: &Attr,
        work: Work,
        now: Time,
        env: &mut E,
    ) -> Step {
        let step = self.try_step(window, attr, work, now, env);
        self.retry.request_waits(now, step == Step::Absent);
        step
    }

    fn try_step<E: Env>(
        &mut self,
        window: &mut Window<'_>,
        attr: &Attr,
        work: Work,
        now: Time,
        env: &mut E,
    ) -> Step {
        if self.retry.is_not_ready() {
            return Step::Idle;
        }
        if self.probe {
            return self.send_probe(window, attr, now, env);
        }
        if self.cursor == self.tail && (work != Work::Executed || !self.take(window, env)) {
            return Step::Idle;
        }
        let Some(slot) = window.slot(self.cursor) else {
            return Step::Idle;
        };
        match slot.phase {
            Phase::Begun => self.send(window, attr, now, env),
            Phase::Done => {
                self.next_slot();
                Step::Worked
            }
            // The oldest one fails the queue now; with others before it, it waits for them.
            Phase::Failed(_) if self.cursor == self.head => Step::Worked,
            Phase::Failed(_) => Step::Idle,
            Phase::Posted if work != Work::Executed => Step::Idle,
            Phase::Posted => match self.begin(window, attr, env) {
                Step::Worked if self.is_cursor_begun(window) => self.send(window, attr, now, env),
                step => step,
            },
        }
    }

    fn is_cursor_begun(&self, window: &Window<'_>) -> bool {
        window
            .slot(self.cursor)
            .is_some_and(|slot| slot.phase == Phase::Begun)
    }

    /// Sends the next packet of the request at the cursor.
    fn send<E: Env>(
        &mut self,
        window: &mut Window<'_>,
        attr: &Attr,
        now: Time,
        env: &mut E,
    ) -> Step {
        let reliable = attr.init.qp_type == QpType::Rc;
        let Some(slot) = window.slot(self.cursor) else {
            return Step::Idle;
        };
        let Some(segment) = segment(slot, self.packet, attr) else {
            return self.fail_cursor(window, Failure::BadRequest);
        };
        let used = segment.psn.offset_from(self.una);
        let limit = attr.init.window.min(self.limit).max(1);
        if reliable && used >= limit {
            return Step::Idle;
        }
        let ask = reliable && self.asks(&segment, used.saturating_add(1) >= limit);
        match transmit(window, self.cursor, &segment, ask, attr, env) {
            Ok(()) => {}
            Err(SendError::Busy) => return Step::Busy,
            Err(SendError::Absent) => return Step::Absent,
            Err(SendError::Failed(failure)) => return self.fail_cursor(window, failure),
        }
        self.unasked = match (reliable, ask) {
            (true, false) => self.unasked.saturating_add(1),
            _ => 0,
        };
        self.note_sent(&segment);
        self.sent_last = Some((self.cursor, self.packet));
        if reliable {
            self.retry.sent(now);
        } else {
            self.una = self.sent_end;
        }
        if segment.last {
            if !reliable {
                if let Some(slot) = window.slot_mut(self.cursor) {
                    slot.phase = Phase::Done;
                }
            }
            self.next_slot();
        } else {
            self.packet = self.packet.wrapping_add(1);
        }
        Step::Worked
    }

    /// Whether a packet asks for an answer: the end of a message does, as does every so many
    /// packets in its middle, and the last one the window has room for.
    fn asks(&self, segment: &Segment, window_full: bool) -> bool {
        segment.last || self.unasked > MAX_UNASKED || window_full
    }

    fn note_sent(&mut self, segment: &Segment) {
        let end = segment.psn.wrapping_add(segment.psns);
        if end.offset_from(self.una) > self.outstanding() {
            self.sent_end = end;
        } else {
            self.echoes_due = self.echoes_due.saturating_add(segment.psns);
        }
    }

    fn next_slot(&mut self) {
        self.cursor = self.cursor.wrapping_add(1);
        self.packet = 0;
    }

    fn fail_cursor(&mut self, window: &mut Window<'_>, failure: Failure) -> Step {
        if let Some(slot) = window.slot_mut(self.cursor) {
            slot.phase = Phase::Failed(failure);
        }
        Step::Worked
    }
}
