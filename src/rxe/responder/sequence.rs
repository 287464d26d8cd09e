// SPDX-License-Identifier: GPL-2.0-only

//! Packets out of sequence: what the responder says about the one it misses, and when it says it
//! again.
//!
//! One NAK is enough for everything that is under way behind a gap. It may be lost; and so may be
//! the packet that is sent again. In order, both show in the same way: PSNs go back, for the
//! requester has started over or asks again, and still what we expect does not come.

use super::{Responder, Told};
use crate::rxe::env::Env;
use crate::rxe::events::{Drop, Event};
use crate::rxe::psn::Psn;
use crate::rxe::qp::{Attr, QpType};
use crate::rxe::retry::LOSS_SIGNS;
use crate::rxe::wire::{Nak, Syndrome};

impl Responder {
    /// A packet that should not come yet.
    ///
    /// One NAK is enough for all that is under way behind the gap, unless PSNs go back. If the NAK
    /// went out because the rail told of the loss, it may have been lost before anything showed
    /// the gap: the first packet that asks gets another one.
    pub(super) fn ahead<E: Env>(&mut self, psn: Psn, asks: bool, env: &mut E) {
        let asks_first = asks && self.last_refused.is_none() && self.told == Told::Missing;
        let speak = self.goes_back(psn) || asks_first || self.told == Told::Nothing;
        if !speak {
            env.count(Event::Dropped(Drop::Waiting));
            return;
        }
        env.count(Event::OutOfSequence {
            expected: self.expected,
            got: psn,
        });
        self.say_missing();
    }

    /// Whether a packet that is not taken shows that the requester started over or asks again, and
    /// still does not send what we expect: what we told it was lost, or the packet once more.
    pub(super) fn goes_back(&mut self, psn: Psn) -> bool {
        let back = self
            .last_refused
            .replace(psn)
            .is_some_and(|last| !last.is_before(psn));
        if back {
            // The requester acts on losses: so do we.
            self.signs_left = LOSS_SIGNS;
        }
        back
    }

    /// The rail is sure that something was lost: say what we expect. A requester that lacks
    /// nothing takes it as an ACK, one that waits until we are ready lets it pass.
    pub fn lost(&mut self, attr: &Attr) {
        if attr.init.qp_type != QpType::Rc {
            return;
        }
        if let Some(left) = self.signs_left.checked_sub(1) {
            self.signs_left = left;
            self.say_missing();
        }
    }

    /// Says which packet we expect, unless the peer is being told that we are not ready for it.
    pub(super) fn say_missing(&mut self) {
        let not_ready = self
            .verdict
            .is_some_and(|verdict| matches!(verdict.syndrome, Syndrome::RnrNak(_)));
        if !not_ready {
            self.told = Told::Missing;
            self.say(self.expected, Syndrome::Nak(Nak::PsnSequence));
        }
    }
}
