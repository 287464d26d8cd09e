// SPDX-License-Identifier: GPL-2.0-only

//! Interrupts: a status bit per ring, an enable bit per ring, and vectors that several rings may share.
//!
//! ```text
//!  status bits    0 .. n-1 transmit     n .. 2n-1 receive     2n .. 3n-1 receive overflow (n rings; no interrupt)
//!  enable bits    0 .. n-1 transmit     n .. 2n-1 receive
//! ```
//!
//! A vector is asked for when a status bit is newly set while enabled, or newly enabled while set. It is sent at the end
//! of the batch, not before its throttling interval is over, and not if the driver has disabled all its bits by then. A
//! status bit that is set already asks for nothing more: the driver clears it when it handles the interrupt.
//!
//! # A clear that comes late
//!
//! The driver clears a status bit by a posted write and then looks at its descriptors. On real hardware that write takes
//! well under a microsecond, so whatever was completed before it arrived is there when the driver looks. Here it waits in
//! a socket until this process gets a CPU, and descriptors are completed meanwhile that the driver has looked at too
//! early; with the bit cleared, nobody would ever tell it. So a clear does not touch bits with completions that no
//! interrupt has announced yet: the effect is that of a completion right after the clear, which is what real hardware
//! would have shown. (Interrupts that are lost on purpose are the business of the loss fault.)

use std::time::Duration;

use rand::Rng;
use rand_chacha::ChaCha8Rng;

use super::registers::{Way, VECTOR_COUNT};
use crate::counters::InterruptCounters;
use crate::time::Time;

/// Status is cleared when the interrupt is sent.
const AUTO_CLEAR: u32 = 1 << 2;
/// Status is not cleared when it is read.
const KEEP_ON_READ: u32 = 1 << 17;
/// Unit of the throttling register.
const THROTTLE_UNIT: Duration = Duration::from_nanos(256);

const VECTORS: usize = VECTOR_COUNT as usize;

/// How interrupts get lost.
#[derive(Debug)]
struct Loss {
    count: u32,
    probability: f64,
    random: ChaCha8Rng,
}

/// One MSI-X vector.
#[derive(Debug, Clone, Copy, Default)]
struct Vector {
    /// Unit: 256 ns.
    throttle: u16,
    asked: bool,
    delayed: bool,
    sent: Option<Time>,
}

/// The interrupts of an NHI.
#[derive(Debug)]
pub struct Interrupts {
    rings: u16,
    status: u64,
    enable: u64,
    /// Status bits with completions that no interrupt has announced.
    unannounced: u64,
    map: [u32; 8],
    misc: u32,
    vectors: [Vector; VECTORS],
    gap: Option<Duration>,
    loss: Loss,
    /// What was counted.
    pub counters: InterruptCounters,
}

impl Interrupts {
    /// Nothing pending, nothing enabled.
    #[must_use]
    pub fn new(rings: u16, random: ChaCha8Rng) -> Self {
        Self {
            rings,
            status: 0,
            enable: 0,
            unannounced: 0,
            map: [0; 8],
            misc: 0,
            vectors: [Vector::default(); VECTORS],
            gap: None,
            loss: Loss {
                count: 0,
                probability: 0.0,
                random,
            },
            counters: InterruptCounters::default(),
        }
    }

    /// Registers go back to their values after reset; faults and counters stay.
    pub fn reset(&mut self) {
        self.status = 0;
        self.enable = 0;
        self.unannounced = 0;
        self.map = [0; 8];
        self.misc = 0;
        self.vectors = [Vector::default(); VECTORS];
    }

    /// Sets a status bit for a completed descriptor.
    pub fn complete(&mut self, way: Way, ring: u16) {
        self.set(match way {
            Way::Transmit => ring,
            Way::Receive => self.rings.saturating_add(ring),
        });
    }

    /// Sets a status bit for a frame that found no buffer.
    pub fn overflow(&mut self, ring: u16) {
        self.set(self.rings.saturating_mul(2).saturating_add(ring));
    }

    fn set(&mut self, bit: u16) {
        let mask = 1_u64.checked_shl(u32::from(bit)).unwrap_or(0);
        self.unannounced |= mask;
        if self.status & mask == 0 {
            self.status |= mask;
            self.ask(self.enable & mask);
        }
    }

    /// Asks for the vectors of these bits.
    fn ask(&mut self, mut bits: u64) {
        while bits != 0 {
            let vector = self.vector_of(bits.trailing_zeros());
            self.vectors[vector].asked = true;
            bits &= bits - 1;
        }
    }

    fn vector_of(&self, bit: u32) -> usize {
        let word = self.map.get((bit / 8) as usize).copied().unwrap_or(0);
        (word >> (bit % 8 * 4) & 0xf) as usize
    }

    /// Status and enable bits that send this vector.
    fn pending(&self, vector: usize) -> u64 {
        let mut due = 0;
        let mut bits = self.status & self.enable;
        while bits != 0 {
            let bit = bits.trailing_zeros();
            if self.vector_of(bit) == vector {
                due |= 1 << bit;
            }
            bits &= bits - 1;
        }
        due
    }

    /// Vectors with something pending and enabled.
    pub fn pending_vectors(&self) -> impl Iterator<Item = u16> + '_ {
        (0..u16::from(VECTOR_COUNT)).filter(|vector| self.pending(usize::from(*vector)) != 0)
    }

    /// The driver reads a word of the status, which clears it unless that is turned off.
    pub fn read_status(&mut self, word: u8) -> u32 {
        let value = word_of(self.status, word);
        if self.misc & KEEP_ON_READ == 0 {
            // It has seen these bits and looks at the descriptors after this.
            self.unannounced &= !placed(value, word);
            self.clear(word, value);
        }
        value
    }

    /// The driver clears bits of the status; those with unannounced completions stay and ask again.
    pub fn clear(&mut self, word: u8, bits: u32) {
        let bits = placed(bits, word);
        self.status &= !bits | self.unannounced;
        self.ask(self.status & bits & self.enable);
    }

    /// The driver reads a word of the enable bits.
    #[must_use]
    pub fn enabled(&self, word: u8) -> u32 {
        word_of(self.enable, word)
    }

    /// The driver writes a word of the enable bits.
    pub fn set_enabled(&mut self, word: u8, bits: u32) {
        let old = self.enable;
        let all = 1_u64
            .checked_shl(u32::from(self.rings) * 2)
            .unwrap_or(0)
            .wrapping_sub(1);
        self.enable = (old & !placed(u32::MAX, word) | placed(bits, word)) & all;
        self.ask(self.enable & !old & self.status);
    }

    /// The driver clears enable bits.
    pub fn disable(&mut self, word: u8, bits: u32) {
        self.enable &= !placed(bits, word);
    }

    /// Which vectors eight rings use.
    #[must_use]
    pub fn map(&self, word: u8) -> u32 {
        self.map.get(usize::from(word)).copied().unwrap_or(0)
    }

    /// Says which vectors eight rings use.
    pub fn set_map(&mut self, word: u8, value: u32) {
        if let Some(entry) = self.map.get_mut(usize::from(word)) {
            *entry = value;
        }
    }

    /// Throttling of a vector, in units of 256 ns.
    #[must_use]
    pub fn throttle(&self, vector: u8) -> u32 {
        self.vectors
            .get(usize::from(vector))
            .map_or(0, |vector| vector.throttle.into())
    }

    /// Sets it; only 16 bits count.
    pub fn set_throttle(&mut self, vector: u8, value: u32) {
        if let Some(vector) = self.vectors.get_mut(usize::from(vector)) {
            let [a, b, ..] = value.to_le_bytes();
            vector.throttle = u16::from_le_bytes([a, b]);
        }
    }

    /// How status is cleared.
    #[must_use]
    pub fn misc(&self) -> u32 {
        self.misc
    }

    /// Says how status is cleared.
    pub fn set_misc(&mut self, value: u32) {
        self.misc = value & (AUTO_CLEAR | KEEP_ON_READ);
    }

    /// Fault: the next so many interrupts are lost.
    pub fn lose(&mut self, count: u32) {
        self.loss.count = count;
    }

    /// Fault: each interrupt is lost with this probability.
    pub fn lose_at_random(&mut self, probability: f64) {
        self.loss.probability = probability;
    }

    /// Fault: a gap between interrupts that overrides the register; zero ends it.
    pub fn override_throttle(&mut self, gap: Duration) {
        self.gap = (!gap.is_zero()).then_some(gap);
    }

    fn gap(&self, vector: usize) -> Duration {
        self.gap
            .unwrap_or(THROTTLE_UNIT * u32::from(self.vectors[vector].throttle))
    }

    /// When a vector may be sent next.
    fn allowed(&self, vector: usize) -> Time {
        match self.vectors[vector].sent {
            Some(sent) => sent + self.gap(vector),
            None => Time::ZERO,
        }
    }

    /// When the first delayed vector is due.
    #[must_use]
    pub fn next_timer(&self) -> Option<Time> {
        (0..VECTORS)
            .filter(|&vector| self.vectors[vector].asked)
            .map(|vector| self.allowed(vector))
            .min()
    }

    /// Sends what is due.
    pub fn send(&mut self, now: Time, mut signal: impl FnMut(u16)) {
        for (number, vector) in (0..u16::from(VECTOR_COUNT)).zip(0..VECTORS) {
            if !self.vectors[vector].asked {
                continue;
            }
            if now < self.allowed(vector) {
                if !self.vectors[vector].delayed {
                    self.vectors[vector].delayed = true;
                    self.counters.throttled += 1;
                }
                continue;
            }
            self.vectors[vector].asked = false;
            self.vectors[vector].delayed = false;
            let bits = self.pending(vector);
            if bits == 0 {
                continue;
            }
            self.vectors[vector].sent = Some(now);
            self.unannounced &= !bits;
            if self.misc & AUTO_CLEAR != 0 {
                self.status &= !bits;
            }
            if self.loss.takes() {
                self.counters.lost += 1;
            } else {
                self.counters.raised += 1;
                signal(number);
            }
        }
    }
}

impl Loss {
    fn takes(&mut self) -> bool {
        if let Some(left) = self.count.checked_sub(1) {
            self.count = left;
            return true;
        }
        self.probability > 0.0 && self.random.random_bool(self.probability.clamp(0.0, 1.0))
    }
}

/// Word `word` of 64 bits.
fn word_of(bits: u64, word: u8) -> u32 {
    let [a, b, c, d, e, f, g, h] = bits.to_le_bytes();
    match word {
        0 => u32::from_le_bytes([a, b, c, d]),
        1 => u32::from_le_bytes([e, f, g, h]),
        _ => 0,
    }
}

/// 32 bits in their place among 64.
fn placed(bits: u32, word: u8) -> u64 {
    u64::from(bits)
        .checked_shl(u32::from(word) * 32)
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;

    fn interrupts() -> Interrupts {
        let mut interrupts = Interrupts::new(12, ChaCha8Rng::seed_from_u64(1));
        interrupts.set_misc(KEEP_ON_READ);
        // Transmit ring 1 on vector 3, receive ring 1 (bit 13) on vector 4.
        interrupts.set_map(0, 3 << 4);
        interrupts.set_map(1, 4 << 20);
        interrupts
    }

    fn sent(interrupts: &mut Interrupts, now: u64) -> Vec<u16> {
        let mut sent = Vec::new();
        interrupts.send(Time::from_nanos(now), |vector| sent.push(vector));
        sent
    }

    #[test]
    fn a_vector_is_sent_once_until_its_status_is_cleared() {
        let mut interrupts = interrupts();
        interrupts.set_enabled(0, 1 << 1 | 1 << 13);
        interrupts.complete(Way::Receive, 1);
        interrupts.complete(Way::Receive, 1);
        assert_eq!(sent(&mut interrupts, 0), [4]);
        interrupts.complete(Way::Receive, 1);
        assert!(sent(&mut interrupts, 0).is_empty());
        assert_eq!(interrupts.read_status(0), 1 << 13);
        interrupts.clear(0, 1 << 13);
        interrupts.complete(Way::Receive, 1);
        interrupts.complete(Way::Transmit, 1);
        assert_eq!(sent(&mut interrupts, 0), [3, 4]);
        assert_eq!(interrupts.counters.raised, 3);
    }

    #[test]
    fn what_is_pending_is_sent_when_it_is_enabled() {
        let mut interrupts = interrupts();
        interrupts.complete(Way::Transmit, 1);
        assert!(sent(&mut interrupts, 0).is_empty());
        interrupts.set_enabled(0, 1 << 1);
        assert_eq!(interrupts.pending_vectors().collect::<Vec<_>>(), [3]);
        assert_eq!(sent(&mut interrupts, 0), [3]);
        // Writing the same value again is no 0 to 1.
        interrupts.set_enabled(0, 1 << 1);
        assert!(sent(&mut interrupts, 0).is_empty());
        interrupts.disable(0, 1 << 1);
        assert_eq!(interrupts.enabled(0), 0);
        interrupts.set_enabled(0, 1 << 1);
        assert_eq!(sent(&mut interrupts, 0), [3]);
    }

    #[test]
    fn a_late_clear_hides_no_completion() {
        let mut interrupts = interrupts();
        interrupts.set_enabled(0, u32::MAX);
        interrupts.complete(Way::Receive, 1);
        assert_eq!(sent(&mut interrupts, 0), [4]);
        // Completed while the driver's clear is on its way.
        interrupts.complete(Way::Receive, 1);
        assert!(sent(&mut interrupts, 0).is_empty());
        interrupts.clear(0, 1 << 13);
        assert_eq!(sent(&mut interrupts, 0), [4]);
        // Nothing new since: this clear is final.
        interrupts.clear(0, 1 << 13);
        assert!(sent(&mut interrupts, 0).is_empty());
        assert_eq!(interrupts.pending_vectors().count(), 0);
        // The same for a vector that waits for its throttling interval.
        interrupts.complete(Way::Receive, 1);
        interrupts.clear(0, u32::MAX);
        assert_eq!(sent(&mut interrupts, 0), [4]);
    }

    #[test]
    fn rings_that_are_not_there_cannot_be_enabled() {
        let mut interrupts = interrupts();
        interrupts.set_enabled(0, u32::MAX);
        assert_eq!(interrupts.enabled(0), (1 << 24) - 1);
        assert_eq!(interrupts.enabled(1), 0);
    }

    #[test]
    fn throttling_keeps_a_distance() {
        let mut interrupts = interrupts();
        interrupts.set_enabled(0, 1 << 1);
        interrupts.set_throttle(3, 4);
        interrupts.complete(Way::Transmit, 1);
        assert_eq!(sent(&mut interrupts, 5000), [3]);
        interrupts.clear(0, 1 << 1);
        interrupts.complete(Way::Transmit, 1);
        assert!(sent(&mut interrupts, 5100).is_empty());
        assert_eq!(interrupts.next_timer(), Some(Time::from_nanos(6024)));
        assert!(sent(&mut interrupts, 6023).is_empty());
        assert_eq!(sent(&mut interrupts, 6024), [3]);
        assert_eq!(interrupts.counters.throttled, 1);
        interrupts.override_throttle(Duration::from_micros(10));
        interrupts.clear(0, 1 << 1);
        interrupts.complete(Way::Transmit, 1);
        assert!(sent(&mut interrupts, 16_023).is_empty());
        assert_eq!(sent(&mut interrupts, 16_024), [3]);
        assert_eq!(interrupts.next_timer(), None);
    }

    #[test]
    fn status_is_cleared_by_reading_or_sending_if_the_driver_wants_it_so() {
        let mut interrupts = interrupts();
        interrupts.set_misc(0);
        interrupts.overflow(11);
        assert_eq!(interrupts.read_status(1), 1 << 3);
        assert_eq!(interrupts.read_status(1), 0);
        interrupts.set_misc(KEEP_ON_READ | AUTO_CLEAR);
        interrupts.set_enabled(0, 1 << 1);
        for _ in 0..2 {
            interrupts.complete(Way::Transmit, 1);
            assert_eq!(sent(&mut interrupts, 0), [3]);
        }
        assert_eq!(interrupts.read_status(0), 0);
    }

    #[test]
    fn interrupts_can_be_lost() {
        let mut interrupts = interrupts();
        interrupts.set_misc(KEEP_ON_READ | AUTO_CLEAR);
        interrupts.set_enabled(0, 1 << 1);
        let round = |interrupts: &mut Interrupts| {
            interrupts.complete(Way::Transmit, 1);
            sent(interrupts, 0).len()
        };
        interrupts.lose(2);
        assert_eq!(
            [0; 3].map(|_: i32| round(&mut interrupts)),
            [0, 0, 1],
            "exactly two"
        );
        interrupts.lose_at_random(0.5);
        let arrived: usize = (0..1000).map(|_| round(&mut interrupts)).sum();
        assert!((400..600).contains(&arrived), "{arrived}");
        assert_eq!(interrupts.counters.lost + interrupts.counters.raised, 1003);
    }
}
