// SPDX-License-Identifier: GPL-2.0-only

//! What was sent lately and where, so that a loss can be told to the one who sent it.

use core::ops::DerefMut;

use crate::usb4::rail::frame::Loss;
use crate::usb4::rail::id::RailId;
use crate::usb4::rail::port::Notices;
use crate::usb4::rail::seq::Seq;

/// A packet that was sent, see [`Memory`](crate::usb4::rail::link::Memory).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Entry {
    token: u64,
    /// The last frame it needs.
    rail_seq: Seq,
    rail: RailId,
    epoch: u8,
    told: bool,
}

impl Entry {
    /// An entry with nothing in it.
    pub const EMPTY: Self = Self {
        token: 0,
        rail_seq: Seq::ZERO,
        rail: match RailId::new(0) {
            Some(id) => id,
            None => panic!("rail 0 exists"),
        },
        epoch: 0,
        told: true,
    };
}

/// The packets sent last, by stripe sequence.
#[derive(Debug)]
pub(super) struct Log<L> {
    entries: L,
    /// Losses before this packet have been told.
    told: Seq,
}

impl<L: DerefMut<Target = [Entry]>> Log<L> {
    /// `entries` has a power of two of them.
    pub fn new(entries: L) -> Self {
        Self {
            entries,
            told: Seq::ZERO,
        }
    }

    /// The losses before this packet have been heard of.
    pub fn heard(&self) -> Seq {
        self.told
    }

    fn place(&mut self, stripe: Seq) -> Option<&mut Entry> {
        let mask = self.entries.len().wrapping_sub(1);
        self.entries.get_mut(stripe.get() as usize & mask)
    }

    /// Notes packets from `first` on, which need the frames up to `rail_seq` of a rail.
    pub fn put(&mut self, first: Seq, tokens: &[u64], rail: RailId, epoch: u8, rail_seq: Seq) {
        let mut stripe = first;
        for token in tokens {
            if let Some(entry) = self.place(stripe) {
                *entry = Entry {
                    token: *token,
                    rail_seq,
                    rail,
                    epoch,
                    told: false,
                };
            }
            stripe = stripe.plus(1);
        }
    }

    /// How far back the log goes.
    fn oldest(&self, next: Seq) -> Seq {
        // Never more than 2^24 entries, see `Memory`.
        let len = u32::try_from(self.entries.len()).unwrap_or(0);
        next.minus(len)
    }

    /// The peer says packets are lost. Each is told once, whatever the peer says how often: losses
    /// come in order, so the work is bounded by the packets sent.
    pub fn lost<N: Notices>(&mut self, loss: Loss, next: Seq, notices: &mut N) {
        let end = loss.first.plus(loss.count);
        let backwards = end.distance(loss.first) < 0;
        if backwards || end.is_after(next) || !end.is_after(self.told) {
            return;
        }
        let mut stripe = loss.first;
        for bound in [self.told, self.oldest(next)] {
            if bound.is_after(stripe) {
                stripe = bound;
            }
        }
        if self.oldest(next).is_after(loss.first) && self.oldest(next).is_after(self.told) {
            notices.sent_lost(None);
        }
        while end.is_after(stripe) {
            self.tell(stripe, notices);
            stripe = stripe.plus(1);
        }
        self.told = end;
    }

    fn tell<N: Notices>(&mut self, stripe: Seq, notices: &mut N) {
        if let Some(entry) = self.place(stripe) {
            if !entry.told {
                entry.told = true;
                notices.sent_lost(Some(entry.token));
            }
        }
    }

    /// A rail died: what it was not seen to deliver is lost.
    pub fn rail_died<N: Notices>(
        &mut self,
        rail: RailId,
        epoch: u8,
        confirmed: Seq,
        next: Seq,
        notices: &mut N,
    ) {
        let mut stripe = self.oldest(next);
        if self.told.is_after(stripe) {
            stripe = self.told;
        }
        while next.is_after(stripe) {
            let hit = self.place(stripe).is_some_and(|entry| {
                entry.rail == rail
                    && entry.epoch == epoch
                    && entry.rail_seq.distance(confirmed) >= 0
            });
            if hit {
                self.tell(stripe, notices);
            }
            stripe = stripe.plus(1);
        }
    }

    pub fn reset(&mut self) {
        self.told = Seq::ZERO;
        for entry in self.entries.iter_mut() {
            *entry = Entry::EMPTY;
        }
    }
}
