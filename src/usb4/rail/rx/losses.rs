// SPDX-License-Identifier: GPL-2.0-only

//! The latest losses, to be told to the peer.

use crate::usb4::rail::frame::status::MAX_LOSSES;
use crate::usb4::rail::frame::Loss;

/// The latest losses, oldest first. They are told in every status, for a status may be lost; the
/// peer knows which it has heard of, for they are in order.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Losses {
    latest: [Loss; MAX_LOSSES],
    len: usize,
    /// How many there were in all.
    pub serial: u64,
}

impl Losses {
    /// Adds one. Neighbours become one; the oldest makes room.
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
            self.latest.rotate_left(1);
            self.len -= 1;
        }
        if let Some(place) = self.latest.get_mut(self.len) {
            *place = loss;
            self.len += 1;
        }
    }

    /// The losses, oldest first.
    pub fn latest(&self) -> &[Loss] {
        self.latest.get(..self.len).unwrap_or_default()
    }
}
