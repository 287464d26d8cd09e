// SPDX-License-Identifier: GPL-2.0-only

//! The losses the peer must hear of.

use crate::usb4::rail::frame::status::MAX_LOSSES;
use crate::usb4::rail::frame::Loss;
use crate::usb4::rail::seq::Seq;

/// The losses the peer has not heard of, oldest first. They are told in every status until it has.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Losses {
    latest: [Loss; MAX_LOSSES],
    len: usize,
    /// How many there were in all.
    pub serial: u64,
}

impl Losses {
    /// Adds one. Neighbours become one; if there is no room, the two oldest become one and cover
    /// what lies between them: better a packet too many called lost than one too few.
    pub(super) fn push(&mut self, loss: Loss) {
        self.serial = self.serial.wrapping_add(1);
        if let Some(last) = self
            .len
            .checked_sub(1)
            .and_then(|at| self.latest.get_mut(at))
        {
            if last.first.plus(last.count) == loss.first {
                last.count = last.count.saturating_add(loss.count);
                return;
            }
        }
        if self.len == MAX_LOSSES {
            let [oldest, next, ..] = &mut self.latest;
            next.count = next
                .first
                .count_from(oldest.first)
                .saturating_add(next.count);
            next.first = oldest.first;
            self.drop_oldest();
        }
        if let Some(place) = self.latest.get_mut(self.len) {
            *place = loss;
            self.len += 1;
        }
    }

    /// The peer has heard of all losses before `heard`.
    pub(super) fn heard(&mut self, heard: Seq) {
        while let Some(oldest) = self.latest().first() {
            if oldest.first.plus(oldest.count).is_after(heard) {
                return;
            }
            self.drop_oldest();
        }
    }

    fn drop_oldest(&mut self) {
        self.latest.rotate_left(1);
        self.len = self.len.saturating_sub(1);
    }

    /// The losses, oldest first.
    pub fn latest(&self) -> &[Loss] {
        self.latest.get(..self.len).unwrap_or_default()
    }
}
