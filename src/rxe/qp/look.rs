// SPDX-License-Identifier: GPL-2.0-only

//! How often to look for memory that is being fetched (on-demand paging).

use super::Qp;
use crate::rxe::storage::Storage;
use crate::rxe::time::Nanos;

/// A page fault takes as long, or longer.
const SOON: Nanos = Nanos::from_micros(100);
/// The longest that memory which has come may go unnoticed.
const LATE: Nanos = Nanos::from_millis(10);

impl<S: Storage> Qp<S> {
    /// How long until absent memory is worth another look, which is [`packet`](Self::packet) with what waits
    /// for it, then [`run`](Self::run). `fetched`: how long its fetch has taken so far.
    ///
    /// Some fetches never end, so looks become rare: an eighth of the time it has taken. But not while the
    /// peer waits for us: that it has waited for long and is to be told so is noticed at a look, and its clock is ticking.
    pub fn look_after(&self, fetched: Nanos) -> Nanos {
        if self.request_waits || self.responder.may_delay() {
            return SOON;
        }
        Nanos(fetched.0 / 8).max(SOON).min(LATE)
    }
}
