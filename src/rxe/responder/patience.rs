// SPDX-License-Identifier: GPL-2.0-only

//! How long the responder waits for memory (on-demand paging) before it says so.
//!
//! Most pages come in microseconds: then waiting is quicker than asking the peer to send again. But
//! the peer's clock is ticking, and to it a silent responder is a dead one. So after a while it
//! gets an RNR NAK, which is what adapters answer to a page fault, and which costs it no retry.
//! See `docs/decisions/0017-memory-that-is-not-there.md`.

use crate::rxe::psn::Psn;
use crate::rxe::time::{Nanos, Time};

/// Shorter than any answer timeout in use: those begin at 1 ms, most are above 16 ms.
const PATIENCE: Nanos = Nanos::from_micros(500);

/// Since when the packet with this PSN waits.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Patience(Option<(Psn, Time)>);

impl Patience {
    /// The packet with this PSN waits now. Whether it has waited long enough.
    #[cold]
    pub fn is_over(&mut self, psn: Psn, now: Time) -> bool {
        match self.0 {
            Some((waits, since)) if waits == psn => now.since(since) >= PATIENCE,
            _ => {
                self.0 = Some((psn, now));
                false
            }
        }
    }

    /// The peer was told. It has a wait as long again when the packet comes again.
    pub fn renew(&mut self) {
        self.0 = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_packet_is_waited_for_once_and_anew_after_a_nak() {
        let mut patience = Patience::default();
        assert!(!patience.is_over(Psn::new(1), Time(1_000)));
        assert!(!patience.is_over(Psn::new(1), Time(500_999)));
        assert!(patience.is_over(Psn::new(1), Time(501_000)));
        assert!(!patience.is_over(Psn::new(2), Time(501_000)));
        assert!(patience.is_over(Psn::new(2), Time(1_001_000)));
        patience.renew();
        assert!(!patience.is_over(Psn::new(2), Time(1_001_000)));
    }
}
