// SPDX-License-Identifier: GPL-2.0-only

//! What a responder owes and remembers: reads and atomics, in a ring (IBTA vol. 1, 9.7.5.1.4).
//!
//! An answer is *owed* until its last packet is sent; after that it is *remembered*, for the
//! requester may ask again. Answers go out in the order of their PSNs, and a repeated question
//! makes its answer owed again, ahead of younger ones:
//!
//! ```text
//!      oldest                                              newest
//!   | remembered | remembered | owed (half sent) | owed | owed |
//!                              ^ next
//!                 ^ asked again: next goes back here
//! ```

use crate::rxe::psn::{Msn, Psn};

/// The kind of answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Answer {
    /// Nothing here yet.
    Empty,
    /// The bytes of a region.
    Read {
        /// First byte.
        va: u64,
        /// Remote key.
        rkey: u32,
        /// Number of bytes.
        len: u32,
    },
    /// The value before an atomic.
    Atomic {
        /// That value.
        original: u64,
    },
    /// An empty READ response: ATOMIC WRITE.
    AtomicWrite,
}

/// Bytes of a READ still owed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Owed {
    /// Where this answer began: 0, or where a repeated question did.
    pub start: u32,
    /// The next byte to send.
    pub next: u32,
    /// Where it ends.
    pub end: u32,
}

impl Owed {
    /// An answer without data.
    pub const EMPTY: Self = Self {
        start: 0,
        next: 0,
        end: 0,
    };
}

/// One answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Resource {
    /// What was asked.
    pub answer: Answer,
    /// PSN of the request.
    pub first_psn: Psn,
    /// How many PSNs the answer takes.
    pub packets: u32,
    /// MSN at the time.
    pub msn: Msn,
    /// What is still to be sent.
    pub owed: Option<Owed>,
    /// It was sent to its end once: what is owed since was asked for again.
    pub answered: bool,
}

impl Resource {
    /// A place for an answer.
    pub const EMPTY: Self = Self {
        answer: Answer::Empty,
        first_psn: Psn::ZERO,
        packets: 0,
        msn: Msn::ZERO,
        owed: None,
        answered: false,
    };
}

/// The order of the answers in the caller's memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Ring {
    /// Where the next answer goes: the oldest one is there.
    head: usize,
    /// The oldest answer owed, if any is.
    next: usize,
    /// How many are owed.
    owed: usize,
}

/// The oldest answer is still owed: the peer asks for more than it may.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Full;

impl Ring {
    /// Adds an answer, all of it owed.
    pub fn push(&mut self, resources: &mut [Resource], new: Resource) -> Result<(), Full> {
        self.has_room(resources)?;
        *resources.get_mut(self.head).ok_or(Full)? = new;
        if self.owed == 0 {
            self.next = self.head;
        }
        self.owed = self.owed.saturating_add(1);
        self.head = following(self.head, resources.len());
        Ok(())
    }

    /// Whether there is a place for another answer.
    pub fn has_room(&self, resources: &[Resource]) -> Result<(), Full> {
        match resources.get(self.head) {
            Some(place) if place.owed.is_none() => Ok(()),
            _ => Err(Full),
        }
    }

    /// The answer owed first.
    pub fn first_owed<'a>(&self, resources: &'a mut [Resource]) -> Option<&'a mut Resource> {
        if self.owed == 0 {
            return None;
        }
        resources.get_mut(self.next)
    }

    /// The last packet of the first answer owed is sent.
    pub fn paid(&mut self, resources: &mut [Resource]) {
        if let Some(resource) = resources.get_mut(self.next) {
            resource.owed = None;
            resource.answered = true;
        }
        self.owed = self.owed.saturating_sub(1);
        if self.owed == 0 {
            return;
        }
        for _ in 0..resources.len() {
            self.next = following(self.next, resources.len());
            if resources.get(self.next).is_some_and(|r| r.owed.is_some()) {
                return;
            }
        }
    }

    /// Finds the answer that has this PSN: the youngest, for one that is older may be left from an
    /// earlier lap of the PSNs.
    pub fn find(&self, resources: &[Resource], psn: Psn) -> Option<usize> {
        let has = |r: &Resource| r.answer != Answer::Empty && psn.is_within(r.first_psn, r.packets);
        let (younger, older) = resources.split_at_checked(self.head)?;
        let before_head = younger.iter().rposition(has);
        before_head.or_else(|| Some(older.iter().rposition(has)?.wrapping_add(self.head)))
    }

    /// Makes the answer at `index` owed, from `owed.next` on.
    pub fn owe_again(&mut self, resources: &mut [Resource], index: usize, owed: Owed) {
        let len = resources.len();
        let Some(resource) = resources.get_mut(index) else {
            return;
        };
        if resource.owed.replace(owed).is_none() {
            self.owed = self.owed.saturating_add(1);
        }
        let age = |i: usize| {
            // Places from the oldest on.
            i.wrapping_add(len).wrapping_sub(self.head) % len.max(1)
        };
        if self.owed == 1 || age(index) < age(self.next) {
            self.next = index;
        }
    }

    /// Whether anything is owed.
    pub const fn owes(&self) -> bool {
        self.owed != 0
    }

    /// Owes nothing for now, and remembers all answers.
    pub fn owe_nothing(&mut self, resources: &mut [Resource]) {
        for resource in resources {
            resource.owed = None;
        }
        self.owed = 0;
    }

    /// Forgets everything.
    pub fn clear(&mut self, resources: &mut [Resource]) {
        resources.fill(Resource::EMPTY);
        *self = Self::default();
    }
}

fn following(index: usize, len: usize) -> usize {
    let next = index.wrapping_add(1);
    if next >= len {
        0
    } else {
        next
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(psn: u32, packets: u32) -> Resource {
        Resource {
            answer: Answer::Read {
                va: 0,
                rkey: 1,
                len: packets * 256,
            },
            first_psn: Psn::new(psn),
            packets,
            msn: Msn::ZERO,
            owed: Some(ALL),
            answered: false,
        }
    }

    const ALL: Owed = Owed {
        start: 0,
        next: 0,
        end: 1,
    };

    fn order(ring: &mut Ring, resources: &mut [Resource]) -> Vec<u32> {
        let mut psns = Vec::new();
        while let Some(first) = ring.first_owed(resources) {
            psns.push(first.first_psn.get());
            ring.paid(resources);
        }
        psns
    }

    #[test]
    fn answers_go_out_oldest_first() {
        let mut memory = [Resource::EMPTY; 4];
        let mut ring = Ring::default();
        for psn in [10, 20, 30, 40] {
            assert_eq!(ring.push(&mut memory, read(psn, 10)), Ok(()));
        }
        assert_eq!(ring.push(&mut memory, read(50, 1)), Err(Full));
        assert_eq!(order(&mut ring, &mut memory), [10, 20, 30, 40]);
        assert_eq!(ring.push(&mut memory, read(50, 10)), Ok(()));
        // 10 is forgotten, 20 is the oldest now.
        assert_eq!(ring.find(&memory, Psn::new(15)), None);
        let twenty = ring.find(&memory, Psn::new(29)).expect("remembered");
        let forty = ring.find(&memory, Psn::new(40)).expect("remembered");
        ring.owe_again(&mut memory, forty, ALL);
        ring.owe_again(&mut memory, twenty, ALL);
        ring.owe_again(&mut memory, twenty, ALL);
        assert_eq!(order(&mut ring, &mut memory), [20, 40, 50]);
        assert!(!ring.owes());
    }

    #[test]
    fn what_is_not_owed_any_more_can_be_asked_for_again() {
        let mut memory = [Resource::EMPTY; 4];
        let mut ring = Ring::default();
        for psn in [10, 20, 30] {
            assert_eq!(ring.push(&mut memory, read(psn, 10)), Ok(()));
        }
        ring.owe_nothing(&mut memory);
        assert!(!ring.owes());
        assert_eq!(order(&mut ring, &mut memory), []);
        let thirty = ring.find(&memory, Psn::new(30)).expect("remembered");
        ring.owe_again(&mut memory, thirty, ALL);
        assert_eq!(ring.push(&mut memory, read(40, 10)), Ok(()));
        assert_eq!(order(&mut ring, &mut memory), [30, 40]);
    }

    #[test]
    fn of_two_laps_the_younger_answers() {
        for start in 0..4 {
            let mut memory = [Resource::EMPTY; 4];
            let mut ring = Ring::default();
            for psn in 0..start {
                assert_eq!(ring.push(&mut memory, read(psn, 1)), Ok(()));
            }
            for (psn, packets) in [(1000, 9), (0xff_ff00, 5), (1003, 1)] {
                order(&mut ring, &mut memory);
                assert_eq!(ring.push(&mut memory, read(psn, packets)), Ok(()));
            }
            let found = ring.find(&memory, Psn::new(1003)).expect("remembered");
            assert_eq!(memory[found].packets, 1, "start {start}");
            let found = ring.find(&memory, Psn::new(1004)).expect("remembered");
            assert_eq!(memory[found].packets, 9, "start {start}");
        }
    }

    #[test]
    fn without_memory_nothing_is_remembered() {
        let mut ring = Ring::default();
        assert_eq!(ring.push(&mut [], read(1, 1)), Err(Full));
        ring.owe_again(&mut [], 0, ALL);
        assert_eq!(ring.first_owed(&mut []), None);
    }
}
