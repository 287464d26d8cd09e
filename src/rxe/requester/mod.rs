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

mod segment;
mod slot;

pub use slot::{Phase, Shape, Slot, Window};

use zerocopy::IntoBytes;

use super::access::Rights;
use super::env::{Busy, Env};
use super::error::Failure;
use super::events::Event;
use super::psn::Psn;
use super::qp::{Attr, QpType, Work};
use super::retry::{Exhausted, Retry, LOSS_SIGNS};
use super::sge::{self, Pieces};
use super::time::Time;
use super::wire::{Bth, Selectivity};
use super::wqe::{Data, SendOp, SendTail, Sge};
use segment::{may_solicit, segment, segment_again, Segment};

/// The longest message.
pub const MAX_MESSAGE: u32 = 1 << 31;

/// With more PSNs under way, a responder could not tell old from new. The longest message takes as
/// many.
const HALF_OF_ALL_PSNS: u32 = 1 << 23;

/// Packets sent without asking for an answer, in the middle of a long message. Upstream's number:
/// it asks again when more than this many went unasked.
const MAX_UNASKED: u32 = 64;

/// How often the requester starts over from one place because the peer says that the packet there
/// was lost again, on top of what the retry budget is charged for. After that, the timer is left.
const RESTARTS: u8 = 7;

/// What one step did.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Step {
    /// Something; there may be more.
    Worked,
    /// Nothing: waits for an answer, a timer or a new request.
    Idle,
    /// Nothing: the link has no room.
    Busy,
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
            unasked: 0,
            sent_last: None,
            restarted: None,
            last_gap: None,
            in_doubt: false,
            restarts_left: RESTARTS,
            probe: false,
            signs_left: LOSS_SIGNS,
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
    pub fn step<E: Env>(
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

    /// Copies the next request from the user's queue into its slot.
    fn take<E: Env>(&mut self, window: &mut Window<'_>, env: &mut E) -> bool {
        let number = self.tail;
        if number.wrapping_sub(self.head) >= window.capacity() {
            return false;
        }
        let Some((slot, room)) = window.place_mut(number) else {
            return false;
        };
        let Some(taken) = env.next_send(&mut slot.wr, room) else {
            return false;
        };
        slot.len = 0;
        slot.received = 0;
        slot.holds_rd_atomic = false;
        slot.phase = match taken {
            Ok(()) => match data_len(&slot.wr.data, room) {
                Some(len) if len <= MAX_MESSAGE => {
                    slot.len = len;
                    Phase::Posted
                }
                Some(_) => Phase::Failed(Failure::RequestLength),
                None => Phase::Failed(Failure::BadRequest),
            },
            Err(bad) => {
                slot.wr.wr_id = bad.wr_id;
                Phase::Failed(Failure::BadRequest)
            }
        };
        self.tail = number.wrapping_add(1);
        true
    }

    /// Begins a request: checks it, waits for fences and limits, gives it its PSNs.
    fn begin<E: Env>(&mut self, window: &mut Window<'_>, attr: &Attr, env: &mut E) -> Step {
        let is_oldest = self.cursor == self.head;
        let under_way = self.next_psn.offset_from(self.una);
        let rd_atomic = self.rd_atomic;
        let Some(slot) = window.slot_mut(self.cursor) else {
            return Step::Idle;
        };
        if let Some(failure) = refuse(slot, attr) {
            slot.phase = Phase::Failed(failure);
            return Step::Worked;
        }
        // Local invalidate waits for everything before it (10.6.5.1), a fence for reads and
        // atomics (10.8.3.3).
        let op = &slot.wr.op;
        if matches!(op, SendOp::LocalInvalidate(_)) && !is_oldest {
            return Step::Idle;
        }
        if slot.wr.fence && rd_atomic != 0 {
            return Step::Idle;
        }
        if op.is_local() {
            slot.phase = match execute_local(op, attr, env) {
                Ok(()) => Phase::Done,
                Err(failure) => Phase::Failed(failure),
            };
            return Step::Worked;
        }
        let packets = match op {
            SendOp::Send(_) | SendOp::Write { .. } | SendOp::Read(_) => attr.mtu.packets(slot.len),
            _ => 1,
        };
        let in_window = under_way < attr.init.window.max(1)
            && under_way.saturating_add(packets) <= HALF_OF_ALL_PSNS;
        if attr.init.qp_type == QpType::Rc && !in_window {
            return Step::Idle;
        }
        if op.takes_rd_atomic() {
            if rd_atomic >= u32::from(attr.max_rd_atomic) {
                return Step::Idle;
            }
            slot.holds_rd_atomic = true;
            self.rd_atomic = rd_atomic.saturating_add(1);
        }
        if matches!(op, SendOp::Datagram(_)) && slot.len > attr.mtu.bytes() {
            // C10-93.1.1: too long a datagram is not sent, and that is not an error.
            slot.phase = Phase::Done;
            self.next_psn = self.next_psn.next();
            self.una = self.next_psn;
            self.sent_end = self.next_psn;
            return Step::Worked;
        }
        slot.phase = Phase::Begun;
        slot.first_psn = self.next_psn;
        slot.packets = packets;
        self.next_psn = slot.end_psn();
        self.packet = 0;
        Step::Worked
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
        let limit = attr.init.window.max(1);
        if reliable && used >= limit {
            return Step::Idle;
        }
        let ask = reliable && self.asks(&segment, used.saturating_add(1) >= limit);
        match transmit(window, self.cursor, &segment, ask, attr, env) {
            Ok(()) => {}
            Err(SendError::Busy) => return Step::Busy,
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

    /// Repeats the packet sent last. Whatever came before it has arrived by then or never will: the
    /// peer, who takes packets in order, answers with all it has done, or says what it misses.
    fn send_probe<E: Env>(
        &mut self,
        window: &mut Window<'_>,
        attr: &Attr,
        now: Time,
        env: &mut E,
    ) -> Step {
        if let Some((number, segment)) = self.newest(window, attr) {
            match transmit(window, number, &segment, true, attr, env) {
                Ok(()) => {
                    env.count(Event::Retry(segment.psn));
                    self.retry.sent(now);
                }
                Err(SendError::Busy) => return Step::Busy,
                // The memory is gone; sending it the regular way will say so.
                Err(SendError::Failed(_)) => {}
            }
        }
        self.probe = false;
        Step::Worked
    }

    /// The packet sent last, if it is not answered yet; of a READ, the question for its end.
    fn newest(&self, window: &Window<'_>, attr: &Attr) -> Option<(u32, Segment)> {
        let (number, k) = self.sent_last?;
        let under_way = number.wrapping_sub(self.head) < self.tail.wrapping_sub(self.head);
        let slot = window.slot(number).filter(|_| under_way)?;
        let segment = match slot.phase {
            Phase::Begun => segment_again(slot, k, attr)?,
            Phase::Posted | Phase::Done | Phase::Failed(_) => return None,
        };
        let unanswered = segment.psn.offset_from(self.una) < self.outstanding();
        unanswered.then_some((number, segment))
    }

    /// A loss is certain: whatever was lost, the answer to the packet sent last tells.
    pub fn lost(&mut self) {
        // Having just started over, the requester sends all there is anyway.
        let quiet = self.outstanding() == 0 || self.sent_last.is_none();
        if quiet || self.retry.is_not_ready() {
            return;
        }
        if let Some(left) = self.signs_left.checked_sub(1) {
            self.signs_left = left;
            self.probe = true;
        }
    }

    /// Starts over from the oldest unanswered packet.
    pub fn restart<E: Env>(&mut self, window: &Window<'_>, env: &mut E) {
        env.count(Event::Retry(self.una));
        self.restarted = Some(self.una);
        self.cursor = self.head;
        self.packet = self.answered_of_head(window);
        self.sent_last = None;
        self.in_doubt = false;
        self.unasked = 0;
        self.probe = false;
    }

    /// Starts over because no answer came: what the peer says about this place counts again.
    pub fn restart_unanswered<E: Env>(&mut self, window: &Window<'_>, env: &mut E) {
        self.restart(window, env);
        self.hope();
    }

    /// Starts over because the peer said so. The budget is charged once per place; what is lost
    /// there again and again is left to the answer timeout, which goes on meanwhile.
    pub fn restart_charged<E: Env>(
        &mut self,
        window: &Window<'_>,
        env: &mut E,
    ) -> Result<(), Exhausted> {
        if self.restarted != Some(self.una) {
            self.retry.charge()?;
        } else if let Some(left) = self.restarts_left.checked_sub(1) {
            self.restarts_left = left;
        } else {
            return Ok(());
        }
        self.restart(window, env);
        Ok(())
    }

    /// The peer says that something is missing, perhaps what was sent again: if it says so before
    /// that arrived, the answer to a probe corrects it, else confirms it.
    pub fn restart_if_sure<E: Env>(
        &mut self,
        window: &Window<'_>,
        env: &mut E,
    ) -> Result<(), Exhausted> {
        if self.restarted == Some(self.una) && !self.in_doubt {
            self.in_doubt = self.sent_last.is_some();
            self.probe = self.in_doubt;
            return Ok(());
        }
        self.restart_charged(window, env)
    }

    /// Whether a response with this PSN, ahead of the one that is missing, tells something new: it
    /// is the first one, or PSNs go back, for the peer has started over and the same was lost.
    pub(super) fn is_new_gap(&mut self, got: Psn) -> bool {
        let back = self
            .last_gap
            .replace(got)
            .is_some_and(|last| !last.is_before(got));
        back || self.restarted != Some(self.una)
    }

    /// After progress, or a silence: whatever was given up may be tried again.
    pub(super) fn hope(&mut self) {
        self.restarted = None;
        self.last_gap = None;
        self.restarts_left = RESTARTS;
        self.signs_left = LOSS_SIGNS;
    }

    /// After progress: nothing before `una` is sent again.
    pub(super) fn skip_answered(&mut self, window: &Window<'_>) {
        if self.cursor == self.head {
            self.packet = self.packet.max(self.answered_of_head(window));
        }
    }

    /// How many packets of the oldest request are answered.
    fn answered_of_head(&self, window: &Window<'_>) -> u32 {
        match window.slot(self.head) {
            Some(slot) if self.head != self.tail && slot.phase == Phase::Begun => {
                let answered = self.una.offset_from(slot.first_psn);
                // A READ is one packet, whatever part of its answer is here.
                if answered < slot.packets && !matches!(slot.wr.op, SendOp::Read(_)) {
                    answered
                } else {
                    0
                }
            }
            _ => 0,
        }
    }

    fn note_sent(&mut self, segment: &Segment) {
        let end = segment.psn.wrapping_add(segment.psns);
        if end.offset_from(self.una) > self.outstanding() {
            self.sent_end = end;
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

/// The length of the local data, or `None` if it is not in the room.
fn data_len(data: &Data, room: &[Sge]) -> Option<u32> {
    match *data {
        Data::Gather(count) => sge::total(room.get(..usize::from(count))?),
        Data::Inline(len) => {
            let fits = usize::from(len) <= room.as_bytes().len();
            fits.then_some(u32::from(len))
        }
    }
}

/// Why a request cannot be executed on this queue pair.
fn refuse(slot: &Slot, attr: &Attr) -> Option<Failure> {
    let qp_type = attr.init.qp_type;
    let inline = matches!(slot.wr.data, Data::Inline(_));
    let legal = match slot.wr.op {
        SendOp::Send(SendTail::Invalidate(_))
        | SendOp::FetchAdd { .. }
        | SendOp::CompareSwap { .. }
        | SendOp::Read(_)
        | SendOp::AtomicWrite { .. }
        | SendOp::Flush { .. }
        | SendOp::LocalInvalidate(_)
        | SendOp::RegMr(_) => qp_type == QpType::Rc,
        SendOp::Send(_) | SendOp::Write { .. } | SendOp::BindMw(_) => qp_type.is_connected(),
        SendOp::Datagram(_) => !qp_type.is_connected(),
    };
    // Data comes back into memory only.
    let needs_memory = slot.wr.op.needs_response() && inline;
    if !legal || needs_memory {
        return Some(Failure::BadRequest);
    }
    if qp_type.is_connected() && attr.path.is_none() {
        return Some(Failure::BadRequest);
    }
    if slot.wr.op.takes_rd_atomic() && attr.max_rd_atomic == 0 {
        return Some(Failure::BadRequest);
    }
    match slot.wr.op {
        SendOp::CompareSwap { .. } | SendOp::FetchAdd { .. } if slot.len < 8 => {
            Some(Failure::RequestLength)
        }
        SendOp::Flush { len, what, .. }
            if what.selectivity == Selectivity::Range && len > MAX_MESSAGE =>
        {
            Some(Failure::RequestLength)
        }
        _ => None,
    }
}

/// Executes an operation that never leaves this host.
fn execute_local<E: Env>(op: &SendOp, attr: &Attr, env: &mut E) -> Result<(), Failure> {
    let who = attr.identity();
    match op {
        SendOp::LocalInvalidate(key) => env.invalidate(who, *key).map_err(|_| Failure::KeyChange),
        SendOp::RegMr(wr) => env.register(who, wr).map_err(|_| Failure::KeyChange),
        SendOp::BindMw(wr) => env.bind(who, wr).map_err(|_| Failure::Bind),
        _ => Err(Failure::BadRequest),
    }
}

/// Why a packet was not sent.
enum SendError {
    Busy,
    Failed(Failure),
}

impl From<Busy> for SendError {
    fn from(_: Busy) -> Self {
        Self::Busy
    }
}

/// Sends one packet: headers, then payload from the request's memory or its inline bytes.
fn transmit<E: Env>(
    window: &Window<'_>,
    number: u32,
    segment: &Segment,
    ask: bool,
    attr: &Attr,
    env: &mut E,
) -> Result<(), SendError> {
    let slot = window
        .slot(number)
        .ok_or(SendError::Failed(Failure::BadRequest))?;
    let path = match &slot.wr.op {
        SendOp::Datagram(to) => &to.path,
        _ => attr
            .path
            .as_ref()
            .ok_or(SendError::Failed(Failure::BadRequest))?,
    };
    let mut bth = Bth::new(segment.dst_qp, segment.psn);
    bth.pkey = attr.pkey;
    bth.ack_request = ask;
    bth.solicited = slot.wr.solicited && may_solicit(&segment.body);
    let packet = path.packet(bth, segment.body);
    env.begin(&packet, segment.len as usize)?;
    match slot.wr.data {
        Data::Inline(_) => {
            let start = segment.offset as usize;
            let end = start.saturating_add(segment.len as usize);
            match window.room(number).as_bytes().get(start..end) {
                Some(bytes) => env.append_bytes(bytes),
                None => {
                    env.abort();
                    return Err(SendError::Failed(Failure::BadRequest));
                }
            }
        }
        Data::Gather(_) => {
            for piece in Pieces::new(window.pieces(number), segment.offset, segment.len) {
                let appended = sge::resolve(env, attr.identity(), &piece, Rights::NONE)
                    .is_ok_and(|(region, at)| env.append(&region, at, piece.len as usize).is_ok());
                if !appended {
                    env.abort();
                    return Err(SendError::Failed(Failure::RequestProtection));
                }
            }
        }
    }
    env.commit();
    let len = packet.packet_len(segment.len as usize);
    env.count(Event::Sent {
        bytes: wire_bytes(len),
    });
    Ok(())
}

/// The length that counts as sent or received: from the IP header to the ICRC.
pub(super) fn wire_bytes(packet_len: usize) -> u32 {
    u32::try_from(packet_len.saturating_sub(super::wire::ethernet::LEN)).unwrap_or(u32::MAX)
}
