// SPDX-License-Identifier: GPL-2.0-only

//! One rail, receiving: what the next frame must be, and what is missing if it is not.
//!
//! ```text
//!   head n, 3 payload frames follow       payload place 0, 1, 2        head n + 4
//!   expected = n + 1, train of 3 left     expected + 1 each            expected = n + 5
//! ```
//!
//! A payload frame with a later place than expected: those between are lost. A head with a later
//! sequence: what the open train lacks is lost, and so are the frames between. A rail is first in
//! first out, so all this is certain.
//!
//! # Invariants
//!
//! - `used` is the length of the queue, and one more while a head of this rail is being delivered.
//! - `expected + ring - used` never goes back: it is the limit told to the peer.
//! - The queue has a slot for each frame the peer may send.

use core::ops::DerefMut;

use super::queue::{Head, Item, Queue, Slot};
use crate::usb4::rail::frame::tag::PLACES;
use crate::usb4::rail::frame::Header;
use crate::usb4::rail::port::{Ingress, Refused};
use crate::usb4::rail::seq::Seq;
use crate::usb4::rail::tally::{RxTally, RxView};

/// The payload frames still to come after a head.
#[derive(Clone, Copy, Debug, Default)]
struct Train {
    left: u8,
    place: u8,
}

/// One rail, receiving.
#[derive(Debug)]
pub(super) struct RxRail<Q> {
    pub up: bool,
    pub epoch: u8,
    pub queue: Queue<Q>,
    /// What arrives on this rail after the queue is at or after this packet.
    pub floor: Seq,
    /// Frames missing in the ring.
    pub used: u32,
    /// Over all lives.
    pub tally: RxTally,
    ring: u32,
    expected: Seq,
    train: Train,
}

impl<F: Copy, Q: DerefMut<Target = [Slot<F>]>> RxRail<Q> {
    pub fn new(slots: Q) -> Self {
        Self {
            up: false,
            epoch: 0,
            queue: Queue::new(slots),
            floor: Seq::ZERO,
            used: 0,
            tally: RxTally::default(),
            ring: 0,
            expected: Seq::ZERO,
            train: Train::default(),
        }
    }

    /// Begins a new life. What is left of the last one is dropped.
    pub fn start<I: Ingress<Frame = F>>(
        &mut self,
        epoch: u8,
        ring: u32,
        floor: Seq,
        ingress: &mut I,
    ) {
        while let Some(item) = self.queue.pop() {
            if let Item::Head(frame, _) | Item::Payload(frame, _) = item {
                ingress.release(frame);
            }
        }
        let capacity = u32::try_from(self.queue.capacity()).unwrap_or(u32::MAX);
        self.up = true;
        self.epoch = epoch;
        self.floor = floor;
        self.used = 0;
        self.ring = ring.min(capacity);
        self.expected = Seq::ZERO;
        self.train = Train::default();
    }

    /// Ends this life: nothing more will come. What is in the queue stays deliverable.
    pub fn stop(&mut self) {
        if self.up {
            self.close_train();
            self.up = false;
        }
    }

    /// The first frame that has not been seen.
    pub fn expected(&self) -> Seq {
        self.expected
    }

    /// How many frames the peer may send from [`expected`](Self::expected) on.
    pub fn window(&self) -> u32 {
        self.ring.saturating_sub(self.used)
    }

    /// The limit told to the peer.
    pub fn limit(&self) -> Seq {
        self.expected.plus(self.window())
    }

    /// How it is, for people.
    pub fn view(&self) -> RxView {
        RxView {
            held: self.used,
            room: if self.up { self.window() } else { 0 },
            tally: self.tally,
        }
    }

    /// Checks the place of a frame with a header and takes note of what is missing before it.
    #[inline]
    pub fn header(&mut self, header: &Header) -> Result<(), Refused> {
        let ahead = header.rail_seq.distance(self.expected);
        if ahead < i32::from(self.train.left) {
            return Err(Refused::Replay);
        }
        let needs = ahead
            .unsigned_abs()
            .saturating_add(1)
            .saturating_add(u32::from(header.payload_frames));
        if needs > self.window() {
            return Err(Refused::NoCredit);
        }
        self.tally.gap(ahead.unsigned_abs());
        self.tally.frame();
        self.close_train();
        self.expected = header.rail_seq.plus(1);
        Ok(())
    }

    /// Takes a frame with packets into the queue, after [`header`](Self::header).
    #[inline]
    pub fn push_head(&mut self, frame: F, header: &Header) {
        let head = Head {
            start: header.stripe,
            run: header.run,
            packets: header.packets,
            payload_frames: header.payload_frames,
            class: header.class,
        };
        self.push(Item::Head(frame, head));
        self.train = Train {
            left: header.payload_frames,
            place: 0,
        };
        self.floor = header.stripe.plus(u32::from(header.packets));
    }

    /// Takes a payload frame into the queue.
    #[inline]
    pub fn payload(&mut self, frame: F, len: u16, place: u8) -> Result<(), Refused> {
        // Both are below PLACES: nothing overflows.
        let skipped = (place % PLACES + PLACES - self.train.place) % PLACES;
        if skipped >= self.train.left {
            return Err(Refused::Orphan);
        }
        self.tally.gap(skipped.into());
        self.tally.frame();
        for _ in 0..skipped {
            self.push(Item::Hole);
        }
        self.push(Item::Payload(frame, len));
        self.train.left -= skipped + 1;
        self.train.place = (self.train.place + skipped + 1) % PLACES;
        self.expected = self.expected.plus(u32::from(skipped) + 1);
        Ok(())
    }

    /// What the open train still lacks will not come.
    fn close_train(&mut self) {
        for _ in 0..self.train.left {
            self.push(Item::Hole);
        }
        self.expected = self.expected.plus(u32::from(self.train.left));
        self.train.left = 0;
    }

    fn push(&mut self, item: Item<F>) {
        if self.queue.push(item) {
            self.used += 1;
        }
    }
}
