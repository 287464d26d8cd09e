// SPDX-License-Identifier: GPL-2.0-only

//! Retransmitting traffic, as reliable queue pairs make it: go back to the packet missed.
//!
//! There is no timer in it but the short one after a hint: every loss must be found by the rails.

use usb4_rxe::rxe::time::{Nanos, Time};

/// What a packet of a flow says, in one word.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Word {
    Data {
        flow: u16,
        psn: u32,
    },
    Ack {
        flow: u16,
        psn: u32,
    },
    Nak {
        flow: u16,
        psn: u32,
    },
    /// A packet of an engine.
    Packet {
        node: u16,
    },
}

impl Word {
    pub fn pack(self) -> u64 {
        let (kind, flow, psn) = match self {
            Self::Data { flow, psn } => (1, flow, psn),
            Self::Ack { flow, psn } => (2, flow, psn),
            Self::Nak { flow, psn } => (3, flow, psn),
            Self::Packet { node } => (4, node, 0),
        };
        kind << 48 | u64::from(flow) << 32 | u64::from(psn)
    }

    pub fn unpack(word: u64) -> Self {
        let (flow, psn) = ((word >> 32) as u16, word as u32);
        match word >> 48 {
            1 => Self::Data { flow, psn },
            2 => Self::Ack { flow, psn },
            3 => Self::Nak { flow, psn },
            4 => Self::Packet { node: flow },
            other => panic!("no such word: {other}"),
        }
    }
}

/// How long after a hint the flow waits for the peer to say what is missing.
const PATIENCE: Nanos = Nanos::from_micros(80);
/// Packets between two acknowledgements.
const ACK_EVERY: u32 = 16;

/// The sending side of a flow.
#[derive(Clone, Debug)]
pub struct Sending {
    pub una: u32,
    pub next: u32,
    /// How far it got before it went back.
    pub highest: u32,
    pub window: u32,
    pub total: u32,
    pub hint: Option<(Time, u32)>,
    pub sent: u64,
}

impl Sending {
    pub fn new(window: u32, total: u32) -> Self {
        Self {
            una: 0,
            next: 0,
            highest: 0,
            window,
            total,
            hint: None,
            sent: 0,
        }
    }

    pub fn wants(&self) -> bool {
        self.next < self.total && self.next - self.una < self.window
    }

    pub fn sent_one(&mut self) {
        self.next += 1;
        self.highest = self.highest.max(self.next);
        self.sent += 1;
    }

    pub fn ack(&mut self, psn: u32) {
        if psn > self.una {
            self.una = psn;
            self.next = self.next.max(psn);
            if self.hint.is_some_and(|(_, at)| at < psn) {
                self.hint = None;
            }
        }
    }

    pub fn nak(&mut self, psn: u32) {
        if psn >= self.una {
            self.una = psn;
            self.next = psn;
            self.hint = None;
        }
    }

    /// A packet is said to be lost; the last of those matters, see [`ack`](Self::ack).
    pub fn lost(&mut self, psn: u32, now: Time) {
        if psn >= self.una && psn < self.next {
            let (at, last) = self.hint.unwrap_or((now.after(PATIENCE), psn));
            self.hint = Some((at, last.max(psn)));
        }
    }

    /// Nobody said what is missing.
    pub fn expire(&mut self, now: Time) {
        if let Some((at, _)) = self.hint {
            if now >= at {
                self.hint = None;
                self.next = self.una;
            }
        }
    }

    pub fn is_done(&self) -> bool {
        self.una == self.total
    }
}

/// The receiving side of a flow.
#[derive(Clone, Debug, Default)]
pub struct Receiving {
    pub expected: u32,
    acked: u32,
    nak_sent: bool,
    answer: Option<Answer>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Answer {
    Ack,
    Nak,
}

impl Receiving {
    pub fn data(&mut self, psn: u32, message: u32, total: u32) {
        if psn == self.expected {
            self.expected += 1;
            self.nak_sent = false;
            let ends = self.expected % message == 0 || self.expected == total;
            if ends || self.expected - self.acked >= ACK_EVERY {
                self.answer = Some(Answer::Ack);
            }
        } else if psn > self.expected {
            if !self.nak_sent {
                self.nak_sent = true;
                self.answer = Some(Answer::Nak);
            }
        } else {
            self.answer.get_or_insert(Answer::Ack);
        }
    }

    /// Our own answer was lost.
    pub fn answer_lost(&mut self) {
        let again = if self.nak_sent {
            Answer::Nak
        } else {
            Answer::Ack
        };
        self.answer = Some(again);
    }

    pub fn answer(&self, flow: u16) -> Option<Word> {
        let psn = self.expected;
        self.answer.map(|answer| match answer {
            Answer::Ack => Word::Ack { flow, psn },
            Answer::Nak => Word::Nak { flow, psn },
        })
    }

    pub fn answered(&mut self) {
        self.acked = self.expected;
        self.answer = None;
    }
}
