// SPDX-License-Identifier: GPL-2.0-only

//! The first steps of a request: copied out of the user's queue, checked, given its PSNs; or
//! executed at once, if it never leaves this host.

use zerocopy::IntoBytes;

use super::slot::{Phase, Slot, Window};
use super::{Requester, Step, MAX_MESSAGE};
use crate::rxe::env::Env;
use crate::rxe::error::Failure;
use crate::rxe::qp::{Attr, QpType};
use crate::rxe::sge;
use crate::rxe::wire::Selectivity;
use crate::rxe::wqe::{Data, SendOp, SendTail, Sge};

/// With more PSNs under way, a responder could not tell old from new. The longest message takes as
/// many.
const HALF_OF_ALL_PSNS: u32 = 1 << 23;

impl Requester {
    /// Copies the next request from the user's queue into its slot.
    pub(super) fn take<E: Env>(&mut self, window: &mut Window<'_>, env: &mut E) -> bool {
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
    pub(super) fn begin<E: Env>(
        &mut self,
        window: &mut Window<'_>,
        attr: &Attr,
        env: &mut E,
    ) -> Step {
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
