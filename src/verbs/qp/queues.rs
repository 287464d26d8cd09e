// SPDX-License-Identifier: GPL-2.0-only

//! The send and the receive queue of one queue pair: from entries in shared memory to requests of
//! the engine.
//!
//! ```text
//!   user or post_*:  write entry, producer + 1        (shared)
//!   engine asks:     taken + 1: entry copied once, decoded from the copy   (private)
//!   engine is done:  released + 1, shown as consumer  (shared)
//! ```
//!
//! Everything in shared memory is the user's to spoil: the producer index only says how many
//! entries to look at, at most the whole ring; what an entry says holds for our copy.

use kernel::prelude::*;
use kernel::sync::Arc;

use super::Qp;
use crate::rxe::qp::QpType;
use crate::rxe::user_abi::{self, AhRef};
use crate::rxe::wqe::{BadWr, RecvWr, SendWr, Sge};
use crate::verbs::lend::Sent;
use crate::verbs::queue::Queue;

/// Our private positions in the shared queues: running numbers.
pub struct Ends {
    /// Send entries taken.
    sq_taken: u32,
    /// Send entries the user may use again.
    sq_released: u32,
    /// Receive entries taken.
    rq_taken: u32,
    /// Room for the copy of an entry.
    copy: KVec<u8>,
    /// Which packets may be sent from where their payload lies.
    pub sent: Sent,
}

impl Ends {
    /// At the beginning, for entries of at most `entry` bytes.
    pub fn new(entry: usize) -> Result<Self> {
        let mut copy = KVec::with_capacity(entry, GFP_KERNEL_ACCOUNT)?;
        copy.extend_with(entry, 0u8, GFP_KERNEL_ACCOUNT)?;
        Ok(Self {
            sq_taken: 0,
            sq_released: 0,
            rq_taken: 0,
            copy,
            sent: Sent::default(),
        })
    }
}

/// The send queue.
pub struct SendQueue {
    /// The ring.
    pub ring: Arc<Queue>,
    /// Pieces per request.
    pub max_sge: u32,
    /// Inline bytes per request.
    pub max_inline: u32,
    /// Every request reports success.
    pub signal_all: bool,
    /// The queue pair's type.
    pub qp_type: QpType,
}

impl SendQueue {
    /// Copies the next request out of the queue.
    pub fn next(
        &self,
        qp: &Qp,
        ends: &mut Ends,
        wr: &mut SendWr,
        room: &mut [Sge],
    ) -> Option<Result<(), BadWr>> {
        let Ends { sq_taken, copy, .. } = ends;
        if !self.ring.is_ahead(self.ring.shared_producer(), *sq_taken) {
            return None;
        }
        let copy = copy.get_mut(..self.ring.element())?;
        let entry = user_abi::copy_send(copy, |at, into| self.ring.read(*sq_taken, at, into));
        *sq_taken = sq_taken.wrapping_add(1);
        let path = |ah: AhRef| qp.device().ahs.path(ah, qp.pd);
        let decoded = user_abi::decode_send(entry, qp.poster, self.qp_type, room, path, wr);
        wr.signaled |= self.signal_all;
        Some(decoded)
    }

    /// Forgets everything posted: the queue pair is reset.
    pub fn forget(&self, ends: &mut Ends) {
        ends.sq_taken = self.ring.shared_producer();
        ends.sq_released = ends.sq_taken;
        ends.sent = Sent::default();
        self.ring.publish_consumer(ends.sq_released);
    }

    /// The oldest entry not yet released may be written again.
    pub fn release(&self, ends: &mut Ends) {
        ends.sq_released = ends.sq_released.wrapping_add(1);
        self.ring.publish_consumer(ends.sq_released);
    }
}

/// The receive queue.
pub struct RecvQueue {
    /// The ring.
    pub ring: Arc<Queue>,
    /// Pieces per request.
    pub max_sge: u32,
}

impl RecvQueue {
    /// Forgets everything posted: the queue pair is reset.
    pub fn forget(&self, ends: &mut Ends) {
        ends.rq_taken = self.ring.shared_producer();
        self.ring.publish_consumer(ends.rq_taken);
    }

    /// Takes the next request. Its entry is free at once: we keep a copy.
    pub fn next(&self, ends: &mut Ends, room: &mut [Sge]) -> Option<Result<RecvWr, BadWr>> {
        let Ends { rq_taken, copy, .. } = ends;
        if !self.ring.is_ahead(self.ring.shared_producer(), *rq_taken) {
            return None;
        }
        let copy = copy.get_mut(..self.ring.element())?;
        let entry = user_abi::copy_recv(copy, |at, into| self.ring.read(*rq_taken, at, into));
        *rq_taken = rq_taken.wrapping_add(1);
        self.ring.publish_consumer(*rq_taken);
        Some(user_abi::decode_recv(entry, self.max_sge, room))
    }
}
