// SPDX-License-Identifier: GPL-2.0-only

//! How long to wait for an answer, and how often to ask again (IBTA vol. 1, 9.7.5.2.8, 9.9.2).
//!
//! ```text
//!                 sent something                       nothing came in time
//!       Idle ------------------------> Answer(deadline) --------------------> charge, start over
//!        ^                               |   ^     |
//!        '-------- all answered ---------'   |     | RNR NAK: charge the RNR budget
//!                                            |     v
//!                 start over <--- time up ---+-- NotReady(deadline)   nothing is sent meanwhile
//! ```
//!
//! Both budgets are full again after every progress. An RNR retry count of 7 means for ever; a
//! retry count of 7 means seven (upstream takes that for ever too: see
//! `docs/decisions/0011-retry-count-is-finite.md`).
//!
//! A peer that is slow is not silent: what was sent again because of that it answers too, one by one,
//! before it comes to what is missing. Each such echo begins the wait anew. There are at most as many as
//! packets were sent again, and they fill no budget, so a peer that never answers is not waited for longer.
//!
//! While this side itself waits for memory (on-demand paging), the wait for an answer stands still:
//! what the peer is asked for may not be sent yet, and what it answered may lie here unread. It
//! begins anew when the memory is there.

use super::time::{AckTimeout, RnrTimer, Time};

/// The RNR retry count that means for ever.
pub const RNR_RETRY_INFINITE: u8 = 7;

/// How many reports of a certain loss lead to a packet (a NAK, a probe) before there is progress.
///
/// The rail does not know whose packet was lost, so every queue pair says something, and what they
/// say may be lost in turn: without a bound, enough queue pairs on a bad cable would keep each
/// other talking for ever.
pub const LOSS_SIGNS: u8 = 3;

/// What the requester waits for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Wait {
    /// Nothing.
    Idle,
    /// An answer, until then.
    Answer(Time),
    /// The peer's receive queue, until then.
    NotReady(Time),
}

/// What a timer that fired means.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Expired {
    /// No answer came.
    NoAnswer,
    /// The peer's delay is over.
    PeerMayBeReady,
}

/// The budget is used up.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Exhausted;

/// Timers and budgets of one requester.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Retry {
    timeout: AckTimeout,
    retries: u8,
    rnr_retries: u8,
    retries_left: u8,
    rnr_retries_left: u8,
    wait: Wait,
    /// A packet of the peer waits here for memory, and others behind it.
    packet_waits: bool,
    /// What is to be sent waits for memory.
    request_waits: bool,
}

impl Retry {
    /// With these limits, waiting for nothing.
    pub const fn new(timeout: AckTimeout, retries: u8, rnr_retries: u8) -> Self {
        Self {
            timeout,
            retries,
            rnr_retries,
            retries_left: retries,
            rnr_retries_left: rnr_retries,
            wait: Wait::Idle,
            packet_waits: false,
            request_waits: false,
        }
    }

    /// Takes new limits; budgets are full again.
    pub fn set_limits(&mut self, timeout: AckTimeout, retries: u8, rnr_retries: u8) {
        self.timeout = timeout;
        self.retries = retries;
        self.rnr_retries = rnr_retries;
        self.refill();
    }

    /// When to call [`Self::expire`].
    pub const fn deadline(&self) -> Option<Time> {
        match self.wait {
            Wait::Answer(at) if !self.stands_still() => Some(at),
            Wait::NotReady(at) => Some(at),
            Wait::Idle | Wait::Answer(_) => None,
        }
    }

    const fn stands_still(&self) -> bool {
        self.packet_waits || self.request_waits
    }

    /// Whether a packet of the peer waits here for memory.
    #[inline]
    pub fn packet_waits(&mut self, now: Time, waits: bool) {
        if self.packet_waits != waits {
            self.packet_waits = waits;
            self.go_on(now);
        }
    }

    /// Whether what is to be sent waits for memory.
    #[inline]
    pub fn request_waits(&mut self, now: Time, waits: bool) {
        if self.request_waits != waits {
            self.request_waits = waits;
            self.go_on(now);
        }
    }

    /// If an answer is waited for, the peer has all the time it always has, from now on.
    fn go_on(&mut self, now: Time) {
        if matches!(self.wait, Wait::Answer(_)) && !self.stands_still() {
            self.wait_for_answer(now);
        }
    }

    /// Whether nothing may be sent because the peer is not ready.
    pub const fn is_not_ready(&self) -> bool {
        matches!(self.wait, Wait::NotReady(_))
    }

    /// Something was sent that wants an answer.
    pub fn sent(&mut self, now: Time) {
        if self.wait == Wait::Idle {
            self.wait_for_answer(now);
        }
    }

    /// The peer answered something new; `outstanding` if more is due.
    pub fn progress(&mut self, now: Time, outstanding: bool) {
        self.refill();
        if outstanding {
            self.wait_for_answer(now);
        } else {
            self.wait = Wait::Idle;
        }
    }

    /// The peer answered, but nothing new: it is there, and has more to go through before it comes to
    /// what is missing. The budgets stay as they are.
    pub fn echo(&mut self, now: Time) {
        self.go_on(now);
    }

    /// Waits for nothing any more.
    pub fn stop(&mut self) {
        self.wait = Wait::Idle;
    }

    /// Charges one retry; the wait for an answer begins when something is sent again.
    pub fn charge(&mut self) -> Result<(), Exhausted> {
        self.retries_left = self.retries_left.checked_sub(1).ok_or(Exhausted)?;
        self.wait = Wait::Idle;
        Ok(())
    }

    /// Charges one RNR retry and waits as long as the peer asks.
    pub fn charge_rnr(&mut self, now: Time, timer: RnrTimer) -> Result<(), Exhausted> {
        if self.rnr_retries != RNR_RETRY_INFINITE {
            self.rnr_retries_left = self.rnr_retries_left.checked_sub(1).ok_or(Exhausted)?;
        }
        self.wait = Wait::NotReady(now.after(timer.delay()));
        Ok(())
    }

    /// Looks at the clock.
    pub fn expire(&mut self, now: Time) -> Option<Expired> {
        match self.wait {
            Wait::Answer(at) if at <= now && !self.stands_still() => {
                self.wait = Wait::Idle;
                Some(Expired::NoAnswer)
            }
            Wait::NotReady(at) if at <= now => {
                self.wait = Wait::Idle;
                Some(Expired::PeerMayBeReady)
            }
            Wait::Idle | Wait::Answer(_) | Wait::NotReady(_) => None,
        }
    }

    fn refill(&mut self) {
        self.retries_left = self.retries;
        self.rnr_retries_left = self.rnr_retries;
    }

    fn wait_for_answer(&mut self, now: Time) {
        self.wait = match self.timeout.span() {
            Some(span) => Wait::Answer(now.after(span)),
            None => Wait::Idle,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rxe::time::Nanos;

    fn timeout(code: u8) -> AckTimeout {
        AckTimeout::new(code).expect("below 32")
    }

    #[test]
    fn the_first_packet_starts_the_clock_and_later_ones_leave_it() {
        let mut retry = Retry::new(timeout(1), 3, 3);
        assert_eq!(retry.deadline(), None);
        retry.sent(Time(100));
        retry.sent(Time(5000));
        assert_eq!(retry.deadline(), Some(Time(100 + 8192)));
        assert_eq!(retry.expire(Time(8291)), None);
        assert_eq!(retry.expire(Time(8292)), Some(Expired::NoAnswer));
        assert_eq!(retry.deadline(), None);
    }

    #[test]
    fn progress_refills_and_restarts() {
        let mut retry = Retry::new(timeout(1), 1, 0);
        assert_eq!(retry.charge(), Ok(()));
        assert_eq!(retry.charge(), Err(Exhausted));
        retry.progress(Time(7), true);
        assert_eq!(retry.deadline(), Some(Time(7 + 8192)));
        assert_eq!(retry.charge(), Ok(()));
        retry.progress(Time(9), false);
        assert_eq!(retry.deadline(), None);
    }

    #[test]
    fn an_echo_begins_the_wait_anew_and_fills_no_budget() {
        let mut retry = Retry::new(timeout(1), 1, 0);
        retry.echo(Time(5));
        assert_eq!(retry.deadline(), None, "nothing is waited for");
        retry.sent(Time(0));
        assert_eq!(retry.charge(), Ok(()));
        retry.sent(Time(10));
        retry.echo(Time(8000));
        assert_eq!(retry.deadline(), Some(Time(8000 + 8192)));
        assert_eq!(retry.charge(), Err(Exhausted));
    }

    #[test]
    fn a_retry_count_of_seven_is_seven_and_an_rnr_count_of_seven_is_for_ever() {
        let mut retry = Retry::new(timeout(1), 7, 7);
        for _ in 0..7 {
            assert_eq!(retry.charge(), Ok(()));
        }
        assert_eq!(retry.charge(), Err(Exhausted));
        let timer = RnrTimer::from_bits(1);
        for _ in 0..100 {
            assert_eq!(retry.charge_rnr(Time(0), timer), Ok(()));
        }
        assert_eq!(retry.deadline(), Some(Time::ZERO.after(Nanos(10_000))));
        assert!(retry.is_not_ready());
        assert_eq!(retry.expire(Time(10_000)), Some(Expired::PeerMayBeReady));
    }

    #[test]
    fn while_memory_is_waited_for_no_answer_is_missed() {
        let mut retry = Retry::new(timeout(1), 0, 0);
        retry.sent(Time(0));
        retry.packet_waits(Time(100), true);
        retry.request_waits(Time(200), true);
        assert_eq!(retry.deadline(), None);
        assert_eq!(retry.expire(Time(1_000_000)), None);
        retry.packet_waits(Time(1_000_000), false);
        assert_eq!(retry.deadline(), None, "the other still waits");
        retry.request_waits(Time(2_000_000), false);
        assert_eq!(retry.deadline(), Some(Time(2_000_000 + 8192)));
        assert_eq!(retry.expire(Time(2_008_192)), Some(Expired::NoAnswer));
        // The peer's delay is its own affair.
        assert_eq!(
            retry.charge_rnr(Time(0), RnrTimer::from_bits(1)),
            Err(Exhausted)
        );
        let mut retry = Retry::new(timeout(1), 0, 1);
        assert_eq!(retry.charge_rnr(Time(0), RnrTimer::from_bits(1)), Ok(()));
        retry.packet_waits(Time(1), true);
        assert_eq!(retry.expire(Time(10_000)), Some(Expired::PeerMayBeReady));
    }

    #[test]
    fn an_infinite_timeout_never_fires() {
        let mut retry = Retry::new(AckTimeout::INFINITE, 0, 0);
        retry.sent(Time(0));
        assert_eq!(retry.deadline(), None);
        assert_eq!(retry.expire(Time::NEVER), None);
    }
}
