// SPDX-License-Identifier: GPL-2.0-only

//! Faults of one direction of a cable, decided by a generator of its own: the same seed and the same frames give the same
//! faults, whatever happens elsewhere.
//!
//! Loss, CRC errors and flipped bits strike frames on paths. Control packets are spared: on real cables these faults are
//! far too rare to hit them, and links would hardly stay up with rates that make a data path interesting. Stall and delay
//! are for everything on the cable; the rate limit is for frames on paths.

use std::time::Duration;

use rand::Rng;
use rand_chacha::ChaCha8Rng;

use crate::command::{Burst, FaultChange};

/// What happens to a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Strike {
    /// Nothing.
    None,
    /// It is lost.
    Drop,
    /// It is lost in a burst.
    BurstDrop,
    /// It arrives, with damage.
    Damage {
        /// The receiver is told that the CRC is wrong.
        crc_error: bool,
        /// This bit of it is changed, without a sign.
        flipped_bit: Option<usize>,
    },
}

/// The faults of one direction.
#[derive(Debug)]
pub struct Faults {
    drop: f64,
    corrupt: f64,
    flip: f64,
    burst: Option<Burst>,
    in_burst: bool,
    /// Time on the cable.
    pub delay: Duration,
    /// Nothing moves.
    pub stall: bool,
    /// Bits per second, if limited.
    pub cap: Option<u64>,
    random: ChaCha8Rng,
}

impl Faults {
    /// None yet.
    #[must_use]
    pub fn new(random: ChaCha8Rng) -> Self {
        Self {
            drop: 0.0,
            corrupt: 0.0,
            flip: 0.0,
            burst: None,
            in_burst: false,
            delay: Duration::ZERO,
            stall: false,
            cap: None,
            random,
        }
    }

    /// Changes what the change names.
    pub fn change(&mut self, change: &FaultChange) {
        let probability = |old: &mut f64, new: Option<f64>| {
            if let Some(new) = new.filter(|new| !new.is_nan()) {
                *old = new.clamp(0.0, 1.0);
            }
        };
        probability(&mut self.drop, change.drop);
        probability(&mut self.corrupt, change.corrupt);
        probability(&mut self.flip, change.flip);
        if let Some(mut burst) = change.burst {
            let (mut enter, mut exit) = (0.0, 0.0);
            probability(&mut enter, Some(burst.enter));
            probability(&mut exit, Some(burst.exit));
            burst = Burst { enter, exit };
            self.burst = (enter > 0.0 || exit > 0.0).then_some(burst);
            self.in_burst = false;
        }
        self.delay = change.delay.unwrap_or(self.delay);
        self.stall = change.stall.unwrap_or(self.stall);
        if let Some(cap) = change.cap {
            self.cap = (cap > 0).then_some(cap);
        }
    }

    /// Ends all faults.
    pub fn clear(&mut self) {
        *self = Self::new(self.random.clone());
    }

    /// Decides about the next frame, of so many bytes.
    pub fn strike(&mut self, length: usize) -> Strike {
        if let Some(burst) = self.burst {
            let turn = if self.in_burst {
                burst.exit
            } else {
                burst.enter
            };
            if self.chance(turn) {
                self.in_burst = !self.in_burst;
            }
            if self.in_burst {
                return Strike::BurstDrop;
            }
        }
        if self.chance(self.drop) {
            return Strike::Drop;
        }
        let crc_error = self.chance(self.corrupt);
        let flipped_bit = (self.chance(self.flip) && length > 0)
            .then(|| self.random.random_range(0..length.saturating_mul(8)));
        if crc_error || flipped_bit.is_some() {
            Strike::Damage {
                crc_error,
                flipped_bit,
            }
        } else {
            Strike::None
        }
    }

    fn chance(&mut self, probability: f64) -> bool {
        probability > 0.0 && self.random.random_bool(probability)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;

    fn faults(seed: u64, change: &FaultChange) -> Faults {
        let mut faults = Faults::new(ChaCha8Rng::seed_from_u64(seed));
        faults.change(change);
        faults
    }

    fn strikes(seed: u64, change: &FaultChange) -> Vec<Strike> {
        let mut faults = faults(seed, change);
        (0..10_000).map(|_| faults.strike(4096)).collect()
    }

    #[test]
    fn a_seed_repeats_itself() {
        let change = FaultChange {
            drop: Some(0.1),
            corrupt: Some(0.2),
            flip: Some(0.3),
            ..FaultChange::default()
        };
        assert_eq!(strikes(7, &change), strikes(7, &change));
        assert_ne!(strikes(7, &change), strikes(8, &change));
    }

    #[test]
    fn rates_are_as_asked() {
        let drops = |change: &FaultChange| {
            strikes(1, change)
                .iter()
                .filter(|strike| **strike == Strike::Drop)
                .count()
        };
        let with = |drop| FaultChange {
            drop: Some(drop),
            ..FaultChange::default()
        };
        assert_eq!(drops(&with(0.0)), 0);
        assert_eq!(drops(&with(1.0)), 10_000);
        assert!((900..1100).contains(&drops(&with(0.1))));
        assert_eq!(drops(&with(f64::NAN)), 0);
    }

    #[test]
    fn bits_are_inside_the_frame() {
        let change = FaultChange {
            flip: Some(1.0),
            ..FaultChange::default()
        };
        let mut faults = faults(1, &change);
        for length in [1, 2, 4096] {
            for _ in 0..100 {
                let Strike::Damage {
                    crc_error: false,
                    flipped_bit: Some(bit),
                } = faults.strike(length)
                else {
                    panic!("no flip");
                };
                assert!(bit < length * 8);
            }
        }
        assert_eq!(faults.strike(0), Strike::None);
    }

    #[test]
    fn bursts_have_a_length() {
        let change = FaultChange {
            burst: Some(Burst {
                enter: 0.01,
                exit: 0.25,
            }),
            ..FaultChange::default()
        };
        let strikes = strikes(3, &change);
        let lost = strikes.iter().filter(|s| **s == Strike::BurstDrop).count();
        let bursts = strikes
            .windows(2)
            .filter(|pair| pair[0] != Strike::BurstDrop && pair[1] == Strike::BurstDrop)
            .count();
        // Four frames on average, and 1 % of the good frames begin one.
        assert!((300..500).contains(&lost), "{lost}");
        assert!((3..6).contains(&(lost / bursts)), "{lost} in {bursts}");
    }

    #[test]
    fn clearing_ends_everything_and_keeps_the_sequence() {
        let mut faults = faults(
            1,
            &FaultChange {
                drop: Some(1.0),
                stall: Some(true),
                cap: Some(5),
                delay: Some(Duration::from_secs(1)),
                ..FaultChange::default()
            },
        );
        faults.clear();
        assert_eq!(faults.strike(1), Strike::None);
        assert_eq!(
            (faults.stall, faults.cap, faults.delay),
            (false, None, Duration::ZERO)
        );
        faults.change(&FaultChange {
            cap: Some(0),
            ..FaultChange::default()
        });
        assert_eq!(faults.cap, None);
    }
}
