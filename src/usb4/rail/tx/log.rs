// SPDX-License-Identifier: GPL-2.0-only

//! What was sent lately and where, so that a loss can be told to the one who sent it.

use core::ops::DerefMut;

use crate::usb4::rail::frame::Loss;
use crate::usb4::rail::id::RailId;
use crate::usb4::rail::port::Notices;
use crate::usb4::rail::seq::Seq;

/// Losses are told within milliseconds; whatever is so many packets ago is settled.
const FAR: u32 = 1 << 30;

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
        // Numbers compare by distance: what nobody told for so long must not fall behind half of them.
        if first.minus(self.told.get()).get() > FAR {
            self.told = first.minus(FAR / 2);
        }
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
        // Whether packets older than the log may be among them.
        let mut older = true;
        if self.told.is_after(stripe) {
            stripe = self.told;
            older = false;
        }
        while next.is_after(stripe) {
            let lost = self.place(stripe).and_then(|entry| {
                (entry.rail == rail && entry.epoch == epoch)
                    .then(|| entry.rail_seq.distance(confirmed) >= 0)
            });
            if let Some(lost) = lost {
                // Rails are first in, first out: the oldest one here speaks for those before it.
                if lost && older {
                    notices.sent_lost(None);
                }
                older = false;
                if lost {
                    self.tell(stripe, notices);
                }
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

#[cfg(test)]
#[allow(clippy::cast_possible_truncation)] // sequences wrap
mod tests {
    use core::ops::Deref;

    use super::*;
    use crate::usb4::rail::port::Down;

    /// The first tokens told, and how many there were.
    #[derive(Default)]
    struct Told([Option<u64>; 16], usize);

    impl Notices for Told {
        fn sent_lost(&mut self, token: Option<u64>) {
            self.0[self.1] = token;
            self.1 += 1;
        }

        fn rail_down(&mut self, _: RailId, _: Down) {}
    }

    struct Entries([Entry; 8]);

    impl Deref for Entries {
        type Target = [Entry];

        fn deref(&self) -> &[Entry] {
            &self.0
        }
    }

    impl DerefMut for Entries {
        fn deref_mut(&mut self) -> &mut [Entry] {
            &mut self.0
        }
    }

    fn rail() -> RailId {
        RailId::new(0).expect("a rail")
    }

    /// A log after `sent` packets, as far as it remembers: each has a frame and its number as token.
    fn log_after(sent: u64) -> (Log<Entries>, Seq) {
        let mut log = Log::new(Entries([Entry::EMPTY; 8]));
        // A packet now and then stands for all.
        for number in (0..sent - 8).step_by(1 << 20).chain(sent - 8..sent) {
            let seq = Seq::new(number as u32);
            log.put(seq, &[number], rail(), 1, seq);
        }
        (log, Seq::new(sent as u32))
    }

    #[test]
    fn a_loss_is_told_after_any_number_of_packets() {
        for sent in [
            8,
            1 << 31,
            (1 << 31) + 5,
            (1 << 32) - 1,
            (1 << 32) + 3,
            3 << 32,
        ] {
            let (mut log, next) = log_after(sent);
            let mut told = Told::default();
            let loss = Loss {
                first: next.minus(2),
                count: 1,
            };
            log.lost(loss, next, &mut told);
            assert_eq!((told.0[0], told.1), (Some(sent - 2), 1), "after {sent}");
            assert_eq!(log.heard(), next.minus(1), "after {sent}");
            log.lost(loss, next, &mut told);
            assert_eq!(told.1, 1, "once");
        }
    }

    #[test]
    fn a_dead_rail_is_told_after_any_number_of_packets() {
        for sent in [8, 1 << 31, (1 << 31) + 100, (1 << 32) + 3] {
            let (mut log, next) = log_after(sent);
            let mut told = Told::default();
            log.rail_died(rail(), 1, next.minus(3), next, &mut told);
            let all = [sent - 3, sent - 2, sent - 1].map(Some);
            assert_eq!((&told.0[..3], told.1), (&all[..], 3), "after {sent}");
        }
    }

    #[test]
    fn what_a_dead_rail_lost_before_the_log_begins_is_said_to_exist() {
        let (mut log, next) = log_after(20);
        let mut told = Told::default();
        log.rail_died(rail(), 1, Seq::new(5), next, &mut told);
        assert_eq!(told.0[..2], [None, Some(12)]);
        assert_eq!(told.1, 9);
        // All before the log was seen: nothing to add.
        let (mut log, next) = log_after(20);
        let mut told = Told::default();
        log.rail_died(rail(), 1, Seq::new(13), next, &mut told);
        assert_eq!((told.0[0], told.1), (Some(13), 7));
    }

    #[test]
    fn a_dead_rail_loses_nothing_of_an_earlier_life() {
        let mut log = Log::new(Entries([Entry::EMPTY; 8]));
        // Frames 0 and 1 were seen in life 1; frame 0 of life 2 was not.
        log.put(Seq::ZERO, &[10, 11], rail(), 1, Seq::new(1));
        log.put(Seq::new(2), &[12], rail(), 2, Seq::ZERO);
        let mut told = Told::default();
        log.rail_died(rail(), 2, Seq::ZERO, Seq::new(3), &mut told);
        assert_eq!((told.0[0], told.1), (Some(12), 1));
    }
}
