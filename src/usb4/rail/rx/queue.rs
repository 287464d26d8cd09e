// SPDX-License-Identifier: GPL-2.0-only

//! Frames of one rail that arrived and were not delivered yet, in the order of the rail.
//!
//! The queue has as many slots as the receive ring has frames, in memory of the caller. A frame
//! that is held is missing in the ring, and a frame known to be lost takes a slot too, so the peer's
//! credits bound the queue.

use core::ops::DerefMut;

use crate::usb4::rail::frame::Class;
use crate::usb4::rail::seq::Seq;

/// A head: what must be known of it without looking at its bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Head {
    pub start: Seq,
    pub run: u16,
    pub packets: u8,
    pub payload_frames: u8,
    pub class: Class,
}

/// What is in a slot.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Item<F> {
    /// A frame with packets.
    Head(F, Head),
    /// A payload frame and its length.
    Payload(F, u16),
    /// A payload frame that was lost.
    Hole,
}

/// A slot of the queue, see [`Memory`](crate::usb4::rail::link::Memory).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Slot<F>(Item<F>);

impl<F> Slot<F> {
    /// A slot with nothing in it.
    pub const EMPTY: Self = Self(Item::Hole);
}

/// The queue.
#[derive(Debug)]
pub(super) struct Queue<Q> {
    slots: Q,
    first: usize,
    len: usize,
}

impl<F: Copy, Q: DerefMut<Target = [Slot<F>]>> Queue<Q> {
    pub fn new(slots: Q) -> Self {
        Self {
            slots,
            first: 0,
            len: 0,
        }
    }

    pub fn capacity(&self) -> usize {
        self.slots.len()
    }

    pub fn len(&self) -> usize {
        self.len
    }

    #[inline]
    fn place(&self, index: usize) -> usize {
        let place = self.first + index;
        if place >= self.slots.len() {
            place - self.slots.len()
        } else {
            place
        }
    }

    /// Adds a frame at the end. The callers have counted: if there is no slot, it is not added.
    #[inline]
    pub fn push(&mut self, item: Item<F>) -> bool {
        if self.len >= self.slots.len() {
            return false;
        }
        let place = self.place(self.len);
        if let Some(slot) = self.slots.get_mut(place) {
            *slot = Slot(item);
            self.len += 1;
            return true;
        }
        false
    }

    /// The frame `index` places behind the first one.
    #[inline]
    pub fn peek(&self, index: usize) -> Option<Item<F>> {
        if index >= self.len {
            return None;
        }
        self.slots.get(self.place(index)).map(|slot| slot.0)
    }

    /// Takes the first frame.
    #[inline]
    pub fn pop(&mut self) -> Option<Item<F>> {
        let item = self.peek(0)?;
        self.first = self.place(1);
        self.len -= 1;
        Some(item)
    }
}
