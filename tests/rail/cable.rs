// SPDX-License-Identifier: GPL-2.0-only

//! One direction of a rail.
//!
//! A frame takes the same time on the rail whatever its length: that is what a ring of a real host
//! router costs. A frame that is lost leaves no trace; so does one that finds the receive ring full.

use std::collections::VecDeque;

use usb4_rxe::usb4::rail::frame::Tag;

use crate::rng::Rng;

/// What a payload frame carries: who it belongs to, so that a wrong binding is seen.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Piece {
    pub serial: u64,
    pub index: u8,
}

/// A frame on its way.
#[derive(Clone, Debug)]
pub enum Frame {
    Head(Vec<u8>, usize),
    Payload(Piece, usize, Tag),
}

/// How a cable behaves.
#[derive(Clone, Copy, Debug)]
pub struct Model {
    /// Time of one frame.
    pub frame_ns: u64,
    /// From the end of a frame here to its arrival there.
    pub latency_ns: u64,
    /// Frames lost of 10^9, and the mean length of a burst of losses.
    pub loss_ppb: u64,
    pub burst: u64,
    /// Frames of either ring.
    pub ring: u32,
}

impl Default for Model {
    fn default() -> Self {
        Self {
            // 4096 bytes in 2.73 us: 12 Gb/s, what a ring of a real host router does.
            frame_ns: 2_730,
            latency_ns: 10_000,
            loss_ppb: 0,
            burst: 1,
            ring: 1024,
        }
    }
}

/// What is wrong with a cable.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Fault {
    #[default]
    None,
    /// The transmit ring stands still.
    Stall,
    /// Frames leave the ring and never arrive.
    Swallow,
}

/// One direction of a rail.
#[derive(Debug)]
pub struct Cable {
    pub model: Model,
    pub fault: Fault,
    /// The transmit ring.
    pub ring: VecDeque<Frame>,
    /// A frame is being sent.
    pub busy: bool,
    /// Frames the receive ring has room for.
    pub posted: u32,
    /// Counts lives: what was sent in an earlier one does not arrive.
    pub life: u32,
    pub overflows: u64,
    pub sent: u64,
    pub lost: u64,
    /// Frames, counted from the first, that are lost whatever the model says.
    pub doomed: Vec<u64>,
    in_burst: bool,
}

impl Cable {
    pub fn new(model: Model) -> Self {
        Self {
            model,
            fault: Fault::None,
            ring: VecDeque::new(),
            busy: false,
            posted: 0,
            life: 0,
            overflows: 0,
            sent: 0,
            lost: 0,
            doomed: Vec::new(),
            in_burst: false,
        }
    }

    /// Begins anew with empty rings.
    pub fn restart(&mut self) {
        self.ring.clear();
        self.busy = false;
        self.fault = Fault::None;
        self.posted = self.model.ring;
        self.life += 1;
        self.in_burst = false;
    }

    /// Whether the frame that leaves now is lost.
    pub fn loses(&mut self, rng: &mut Rng) -> bool {
        const ALL: u64 = 1_000_000_000;
        let burst = self.model.burst.max(1);
        self.sent += 1;
        let lost = if self.in_burst {
            rng.below(burst) != 0
        } else {
            rng.below(ALL * burst) < self.model.loss_ppb
        };
        self.in_burst = lost && burst > 1;
        let lost = lost || self.doomed.contains(&self.sent) || self.fault == Fault::Swallow;
        self.lost += u64::from(lost);
        lost
    }
}
