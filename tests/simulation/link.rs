// SPDX-License-Identifier: GPL-2.0-only

//! The link between two hosts: takes its time, and fails in every way a link can, from a seed.

use crate::rng::Rng;

/// What the link does to frames. Chances are per mille.
#[derive(Clone, Copy, Debug, Default)]
pub struct Faults {
    /// Lost.
    pub loss: u64,
    /// Lost, once a loss has begun: bursts.
    pub burst: u64,
    /// Delivered twice.
    pub duplicate: u64,
    /// One bit turned over.
    pub corrupt: u64,
    /// Held back for up to this long, past younger frames.
    pub reorder: u64,
    /// How long held frames are late at most, in nanoseconds.
    pub late: u64,
    /// A lost or corrupted frame is noticed and reported in its place, as a rail does.
    pub rail: bool,
    /// At most this many frames are harmed in all.
    pub budget: u32,
}

/// What arrives at the other end.
#[derive(Clone, Debug)]
pub enum Arrival {
    /// A frame.
    Frame(Vec<u8>),
    /// The report of a certain loss.
    Loss,
}

/// One direction of the link.
#[derive(Debug)]
pub struct Direction {
    faults: Faults,
    delay: u64,
    /// Nanoseconds per byte, in 1/1024.
    per_byte: u64,
    free_at: u64,
    in_burst: bool,
    /// Frames sent.
    sent: u64,
    /// Frames that are lost and reported, by number.
    doomed: Vec<u64>,
}

impl Direction {
    /// With this delay in nanoseconds and speed in Gb/s.
    pub fn new(faults: Faults, delay: u64, gbps: u64) -> Self {
        Self {
            faults,
            delay,
            per_byte: 8 * 1024 / gbps.max(1),
            free_at: 0,
            in_burst: false,
            sent: 0,
            doomed: Vec::new(),
        }
    }

    /// Loses these frames, by their number from now on, and reports each.
    pub fn doom(&mut self, frames: &[u64]) {
        self.doomed = frames.iter().map(|frame| self.sent + frame).collect();
    }

    /// When the link can take another frame.
    pub fn free_at(&self) -> u64 {
        self.free_at
    }

    /// Sends a frame; appends what arrives and when.
    pub fn send(
        &mut self,
        now: u64,
        mut frame: Vec<u8>,
        rng: &mut Rng,
        out: &mut Vec<(u64, Arrival)>,
    ) {
        let start = now.max(self.free_at);
        self.free_at = start + (frame.len() as u64 * self.per_byte) / 1024;
        let mut at = self.free_at + self.delay;
        let number = self.sent;
        self.sent += 1;
        if self.doomed.contains(&number) {
            out.push((at, Arrival::Loss));
            return;
        }
        let f = self.faults;
        if f.budget == 0 {
            out.push((at, Arrival::Frame(frame)));
            return;
        }
        let lost = rng.chance(if self.in_burst { f.burst } else { f.loss });
        self.in_burst = lost;
        if lost {
            self.faults.budget = self.faults.budget.saturating_sub(1);
            if f.rail {
                out.push((at, Arrival::Loss));
            }
            return;
        }
        if rng.chance(f.corrupt) {
            self.faults.budget = self.faults.budget.saturating_sub(1);
            // A bit of what the ICRC covers; elsewhere it might not matter at all.
            let bit = 26 * 8 + rng.below((frame.len() as u64 - 26) * 8) as usize;
            frame[bit / 8] ^= 1 << (bit % 8);
            if f.rail {
                out.push((at, Arrival::Loss));
            }
            out.push((at, Arrival::Frame(frame)));
            return;
        }
        if rng.chance(f.reorder) {
            self.faults.budget = self.faults.budget.saturating_sub(1);
            at += 1 + rng.below(f.late);
        }
        if rng.chance(f.duplicate) {
            self.faults.budget = self.faults.budget.saturating_sub(1);
            out.push((at + rng.below(f.late), Arrival::Frame(frame.clone())));
        }
        out.push((at, Arrival::Frame(frame)));
    }
}
