// SPDX-License-Identifier: GPL-2.0-only

//! One send request under way, and the ring of them.
//!
//! ```text
//!   slots   | done: released | sent, waiting for answers | being sent | taken, not begun | free |
//!           '---------------head                       cursor                          tail ----'
//!   PSNs                     una ................. sent_end .... next_psn
//! ```

use crate::rxe::error::Failure;
use crate::rxe::psn::Psn;
use crate::rxe::wqe::{Data, SendOp, SendWr, Sge};

/// How far a send request is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Phase {
    /// Not begun: has no PSNs.
    Posted,
    /// Begun: has PSNs, some or all of its packets are sent.
    Begun,
    /// Needs nothing more from the peer; completes when it is the oldest.
    Done,
    /// Failed before it was sent; fails the queue when it is the oldest.
    Failed(Failure),
}

/// A send request under way.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Slot {
    /// The request, as copied from the user's queue.
    pub wr: SendWr,
    /// Bytes of local data.
    pub len: u32,
    /// How far it is.
    pub phase: Phase,
    /// PSN of its first packet.
    pub first_psn: Psn,
    /// How many PSNs it takes.
    pub packets: u32,
    /// Bytes of a READ that have arrived.
    pub received: u32,
    /// Counts against `max_rd_atomic`.
    pub holds_rd_atomic: bool,
}

impl Slot {
    /// A place for a request.
    pub const EMPTY: Self = Self {
        wr: SendWr {
            wr_id: 0,
            signaled: false,
            solicited: false,
            fence: false,
            op: SendOp::LocalInvalidate(0),
            data: Data::Gather(0),
        },
        len: 0,
        phase: Phase::Posted,
        first_psn: Psn::ZERO,
        packets: 0,
        received: 0,
        holds_rd_atomic: false,
    };

    /// The PSN behind its last one.
    pub const fn end_psn(&self) -> Psn {
        self.first_psn.wrapping_add(self.packets)
    }
}

/// The dimensions of a send window, computed once.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Shape {
    /// How many requests fit: 0 or a power of two.
    capacity: u32,
    /// Room of one request, in pieces.
    stride: usize,
}

impl Shape {
    /// Of this memory. A number of slots that is no power of two is cut to one.
    pub fn of(slots: &[Slot], room: &[Sge]) -> Self {
        let len = u32::try_from(slots.len()).unwrap_or(u32::MAX);
        let capacity = match len.checked_ilog2() {
            Some(log) => 1u32.wrapping_shl(log),
            None => 0,
        };
        Self {
            capacity,
            stride: room.len().checked_div(slots.len()).unwrap_or(0),
        }
    }
}

/// The send window: slots by running number, and the room for their local data.
#[derive(Debug)]
pub struct Window<'a> {
    slots: &'a mut [Slot],
    room: &'a mut [Sge],
    shape: Shape,
}

impl<'a> Window<'a> {
    /// Over the caller's memory.
    #[inline]
    pub fn new(slots: &'a mut [Slot], room: &'a mut [Sge], shape: Shape) -> Self {
        Self { slots, room, shape }
    }

    /// How many requests fit: 0 or a power of two.
    #[inline]
    pub fn capacity(&self) -> u32 {
        self.shape.capacity
    }

    /// The place of request `number`.
    #[inline]
    fn index(&self, number: u32) -> usize {
        // Power of two: the running number may wrap.
        (number & self.shape.capacity.wrapping_sub(1)) as usize
    }

    /// The request `number` and the room for its local data.
    pub fn place_mut(&mut self, number: u32) -> Option<(&mut Slot, &mut [Sge])> {
        let index = self.index(number);
        let start = index.wrapping_mul(self.shape.stride);
        let room = self
            .room
            .get_mut(start..start.wrapping_add(self.shape.stride))?;
        Some((self.slots.get_mut(index)?, room))
    }

    /// The request `number`.
    #[inline]
    pub fn slot(&self, number: u32) -> Option<&Slot> {
        self.slots.get(self.index(number))
    }

    /// The request `number`.
    #[inline]
    pub fn slot_mut(&mut self, number: u32) -> Option<&mut Slot> {
        let index = self.index(number);
        self.slots.get_mut(index)
    }

    /// The pieces of request `number`; none if its data is inline.
    #[inline]
    pub fn pieces(&self, number: u32) -> &[Sge] {
        let index = self.index(number);
        let count = match self.slots.get(index).map(|slot| slot.wr.data) {
            Some(Data::Gather(count)) => usize::from(count),
            Some(Data::Inline(_)) | None => 0,
        };
        let start = index.wrapping_mul(self.shape.stride);
        self.room
            .get(start..start.wrapping_add(count.min(self.shape.stride)))
            .unwrap_or(&[])
    }

    /// The room of request `number`, as left by the caller.
    pub fn room(&self, number: u32) -> &[Sge] {
        let start = self.index(number).wrapping_mul(self.shape.stride);
        self.room
            .get(start..start.wrapping_add(self.shape.stride))
            .unwrap_or(&[])
    }
}
