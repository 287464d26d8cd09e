// SPDX-License-Identifier: GPL-2.0-only

//! One ring: its registers, and how far driver and device have come in it.
//!
//! The driver writes one index (the producer of a transmit ring, the first descriptor of a receive ring that it has not
//! posted), the device counts the other. Both run modulo the size; equal means that nothing is posted.

use super::descriptor::MAX_FRAME;
use super::registers::{RingWord, Way};
use crate::counters::RingCounters;

const ENABLE: u32 = 1 << 31;
const RAW: u32 = 1 << 30;
const E2E: u32 = 1 << 28;

/// Why a ring has nothing to work on although it is enabled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BadRing {
    /// Its size is zero or its base not aligned.
    Shape,
    /// Its index lies outside.
    Index,
}

/// A ring.
#[derive(Debug, Clone)]
pub struct Ring {
    way: Way,
    base: u64,
    size: u32,
    options: u32,
    masks: u32,
    /// As the driver wrote it.
    driver: u16,
    /// Where the device works.
    device: u16,
    /// A descriptor could not be reached: nothing moves until the ring is started anew.
    halted: bool,
    /// Held back by end-to-end flow control, so that only the beginning is counted.
    pub stalled: bool,
    /// Frames on a cable that have a buffer of this ring set aside.
    pub reserved: u16,
    /// What was counted.
    pub counters: RingCounters,
}

impl Ring {
    /// A ring after reset.
    #[must_use]
    pub fn new(way: Way, number: u16) -> Self {
        Self {
            way,
            base: 0,
            size: 0,
            options: 0,
            masks: 0,
            driver: 0,
            device: 0,
            halted: false,
            stalled: false,
            reserved: 0,
            counters: RingCounters {
                ring: number,
                ..RingCounters::default()
            },
        }
    }

    /// Back to the state after reset; what was counted stays.
    pub fn reset(&mut self) {
        let counters = self.counters;
        *self = Self::new(self.way, counters.ring);
        self.counters = counters;
    }

    /// The driver reads a register.
    #[must_use]
    pub fn read(&self, word: RingWord) -> u32 {
        let (high, low) = (32, 0xffff_ffff_u64);
        match word {
            // Both halves fit by construction.
            RingWord::BaseLow => u32::try_from(self.base & low).unwrap_or(0),
            RingWord::BaseHigh => u32::try_from(self.base >> high).unwrap_or(0),
            RingWord::Index => match self.way {
                Way::Transmit => u32::from(self.driver) << 16 | u32::from(self.device),
                Way::Receive => u32::from(self.device) << 16 | u32::from(self.driver),
            },
            RingWord::Size => self.size,
            RingWord::Options => self.options,
            RingWord::Masks => self.masks,
        }
    }

    /// The driver writes a register. The half of the index that the device counts is read-only.
    ///
    /// # Errors
    ///
    /// When an enabled ring could never work like this.
    pub fn write(&mut self, word: RingWord, value: u32) -> Result<(), BadRing> {
        match word {
            RingWord::BaseLow => self.base = self.base & !0xffff_ffff | u64::from(value),
            RingWord::BaseHigh => self.base = self.base & 0xffff_ffff | u64::from(value) << 32,
            RingWord::Index => {
                self.driver = match self.way {
                    Way::Transmit => half(value >> 16),
                    Way::Receive => half(value),
                };
                if self.enabled() && self.driver >= self.entries() {
                    return Err(BadRing::Index);
                }
            }
            RingWord::Size => self.size = value,
            RingWord::Masks => self.masks = value,
            RingWord::Options => {
                let started = value & ENABLE != 0 && !self.enabled();
                self.options = value;
                if started {
                    // End-to-end flow control is a second write to a running ring: only the first one starts it.
                    self.driver = 0;
                    self.device = 0;
                    self.halted = false;
                    self.stalled = false;
                    if self.entries() == 0 || self.base % 4 != 0 {
                        return Err(BadRing::Shape);
                    }
                }
            }
        }
        Ok(())
    }

    /// The driver has started it.
    #[must_use]
    pub fn enabled(&self) -> bool {
        self.options & ENABLE != 0
    }

    /// It carries single packets of up to 256 bytes, checksum included, and has no PDF masks.
    #[must_use]
    pub fn raw(&self) -> bool {
        self.options & RAW != 0
    }

    /// End-to-end flow control is on.
    #[must_use]
    pub fn e2e(&self) -> bool {
        self.options & E2E != 0
    }

    /// The transmit ring over whose path a receive ring grants credits.
    #[must_use]
    pub fn e2e_ring(&self) -> u16 {
        half(self.options >> 12 & 0x7ff)
    }

    /// Where its descriptors are.
    #[must_use]
    pub fn base(&self) -> u64 {
        self.base
    }

    /// The descriptor that is next.
    #[must_use]
    pub fn next(&self) -> u16 {
        self.device
    }

    /// Number of descriptors.
    fn entries(&self) -> u16 {
        half(self.size)
    }

    /// Descriptors that the driver has posted and the device not completed.
    #[must_use]
    pub fn posted(&self) -> u16 {
        let size = self.entries();
        if !self.enabled() || self.halted || self.driver >= size || self.device >= size {
            return 0;
        }
        match self.driver.checked_sub(self.device) {
            Some(posted) => posted,
            None => size - self.device + self.driver,
        }
    }

    /// Posted descriptors that no frame on a cable counts on.
    #[must_use]
    pub fn free(&self) -> u16 {
        self.posted().saturating_sub(self.reserved)
    }

    /// One descriptor is done.
    pub fn advance(&mut self) {
        self.device = match self.device.checked_add(1) {
            Some(next) if next < self.entries() => next,
            _ => 0,
        };
    }

    /// A descriptor cannot be reached: stop here until the driver starts the ring anew.
    pub fn halt(&mut self) {
        self.halted = true;
    }

    /// Bytes that a buffer of this receive ring holds.
    #[must_use]
    pub fn buffer_size(&self) -> usize {
        match usize::from(half(self.size >> 16)) {
            0 => MAX_FRAME,
            size => size.min(MAX_FRAME),
        }
    }

    /// Whether a receive ring takes frames with these PDFs.
    #[must_use]
    pub fn takes(&self, sof: u8, eof: u8) -> bool {
        let start = self.masks >> 16 >> (sof & 0xf) & 1;
        let end = self.masks >> (eof & 0xf) & 1;
        self.raw() || start & end == 1
    }
}

/// The low half of a word.
fn half(word: u32) -> u16 {
    let [a, b, ..] = word.to_le_bytes();
    u16::from_le_bytes([a, b])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn started(way: Way, size: u32) -> Ring {
        let mut ring = Ring::new(way, 1);
        ring.write(RingWord::BaseLow, 0x1000).unwrap();
        ring.write(RingWord::Size, size).unwrap();
        ring.write(RingWord::Options, ENABLE).unwrap();
        ring
    }

    #[test]
    fn the_driver_moves_one_index_and_the_device_the_other() {
        let mut ring = started(Way::Transmit, 4);
        assert_eq!(ring.posted(), 0);
        ring.write(RingWord::Index, 3 << 16 | 7).unwrap();
        assert_eq!(ring.posted(), 3);
        ring.advance();
        ring.advance();
        assert_eq!(ring.read(RingWord::Index), 3 << 16 | 2);
        ring.write(RingWord::Index, 1 << 16).unwrap();
        assert_eq!(ring.posted(), 3);
        for _ in 0..3 {
            ring.advance();
        }
        assert_eq!((ring.posted(), ring.next()), (0, 1));

        let mut ring = started(Way::Receive, 4);
        ring.write(RingWord::Index, 2).unwrap();
        assert_eq!(ring.posted(), 2);
        ring.advance();
        assert_eq!(ring.read(RingWord::Index), 1 << 16 | 2);
    }

    #[test]
    fn only_the_first_enable_starts_over() {
        let mut ring = started(Way::Receive, 8);
        ring.write(RingWord::Index, 5).unwrap();
        ring.advance();
        ring.write(RingWord::Options, ENABLE | E2E | 3 << 12)
            .unwrap();
        assert_eq!((ring.posted(), ring.e2e(), ring.e2e_ring()), (4, true, 3));
        ring.write(RingWord::Options, 0).unwrap();
        assert_eq!(ring.posted(), 0);
        ring.write(RingWord::Options, ENABLE).unwrap();
        assert_eq!((ring.posted(), ring.next()), (0, 0));
    }

    #[test]
    fn nonsense_is_an_error_and_posts_nothing() {
        let mut ring = started(Way::Transmit, 4);
        assert_eq!(ring.write(RingWord::Index, 4 << 16), Err(BadRing::Index));
        assert_eq!(ring.posted(), 0);
        let mut ring = Ring::new(Way::Transmit, 1);
        assert_eq!(ring.write(RingWord::Options, ENABLE), Err(BadRing::Shape));
        assert_eq!(ring.write(RingWord::Index, 0), Err(BadRing::Index));
        assert_eq!(ring.posted(), 0);
        ring.advance();
        ring.write(RingWord::Size, 0xffff).unwrap();
        for _ in 0..0x2_0000 {
            ring.advance();
        }
        // The ring shrinks under the device.
        ring.write(RingWord::Size, 2).unwrap();
        assert!(ring.posted() < 2);
        ring.advance();
        assert!(ring.next() < 2);
    }

    #[test]
    fn pdf_masks_count_in_frame_mode_only() {
        let mut ring = started(Way::Receive, 4);
        ring.write(RingWord::Masks, 1 << (16 + 2) | 1 << 3).unwrap();
        assert!(ring.takes(2, 3));
        assert!(!ring.takes(3, 3));
        assert!(!ring.takes(2, 2));
        ring.write(RingWord::Options, ENABLE | RAW).unwrap();
        assert!(ring.takes(0, 15));
    }

    #[test]
    fn buffers_are_4096_bytes_unless_the_driver_says_less() {
        assert_eq!(started(Way::Receive, 4).buffer_size(), 4096);
        assert_eq!(started(Way::Receive, 256 << 16 | 4).buffer_size(), 256);
        assert_eq!(started(Way::Receive, 0xffff << 16 | 4).buffer_size(), 4096);
    }
}
