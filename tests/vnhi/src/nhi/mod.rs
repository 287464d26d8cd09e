// SPDX-License-Identifier: GPL-2.0-only

//! The native host interface (NHI): what a driver sees in BAR 0.
//!
//! ```text
//!  driver writes --> registers --> ring indexes ---.
//!                                                   '-> the fabric moves frames: descriptor, payload, descriptor
//!  MSI-X <-- interrupts <-- status bits <-------------- of rings that it has completed
//! ```
//!
//! Register accesses only record; frames move when the fabric runs.

pub mod descriptor;
pub mod interrupt;
pub mod registers;
pub mod ring;

use rand_chacha::ChaCha8Rng;

use self::interrupt::Interrupts;
use self::registers::{Register, Way};
use self::ring::{BadRing, Ring};
use crate::counters::GuestErrors;

/// In the version field: a USB4 version 2 host interface, which a driver resets through the reset register.
const VERSION_2: u32 = 0x40;
/// In the reset register.
const HOST_RESET: u32 = 1 << 0;

/// What a register write asks of the rest of the host router.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// Nothing more.
    None,
    /// A transmit ring may have something to send.
    Transmit,
    /// Ring 0 was started or stopped.
    ControlRing,
    /// Reset everything.
    HostReset,
}

/// One NHI.
#[derive(Debug)]
pub struct Nhi {
    rings: u16,
    /// Transmit rings; ring 0 carries control packets.
    pub tx: Vec<Ring>,
    /// Receive rings.
    pub rx: Vec<Ring>,
    /// Its interrupts.
    pub interrupts: Interrupts,
    /// What the guest did wrong.
    pub errors: GuestErrors,
}

impl Nhi {
    /// An NHI with so many rings of each kind, after reset.
    #[must_use]
    pub fn new(rings: u16, random: ChaCha8Rng) -> Self {
        let all = |way| (0..rings).map(|number| Ring::new(way, number)).collect();
        Self {
            rings,
            tx: all(Way::Transmit),
            rx: all(Way::Receive),
            interrupts: Interrupts::new(rings, random),
            errors: GuestErrors::default(),
        }
    }

    /// Registers go back to their values after reset; faults and counters stay.
    pub fn reset(&mut self) {
        self.tx.iter_mut().chain(&mut self.rx).for_each(Ring::reset);
        self.interrupts.reset();
    }

    /// Both rings of control packets run.
    #[must_use]
    pub fn control_runs(&self) -> bool {
        let runs = |rings: &[Ring]| rings.first().is_some_and(Ring::enabled);
        runs(&self.tx) && runs(&self.rx)
    }

    fn ring_mut(&mut self, way: Way, ring: u16) -> Option<&mut Ring> {
        match way {
            Way::Transmit => self.tx.get_mut(usize::from(ring)),
            Way::Receive => self.rx.get_mut(usize::from(ring)),
        }
    }

    /// Reads registers; what is none reads as zero. Anything but whole words is an error of the guest.
    pub fn read(&mut self, offset: u64, data: &mut [u8]) {
        data.fill(0);
        if offset % 4 != 0 || data.len() % 4 != 0 {
            self.errors.bad_access += 1;
            return;
        }
        let mut at = offset;
        for bytes in data.chunks_exact_mut(4) {
            bytes.copy_from_slice(&self.read_word(at).to_le_bytes());
            at = at.wrapping_add(4);
        }
    }

    fn read_word(&mut self, offset: u64) -> u32 {
        let Some(register) = self.decode(offset) else {
            return 0;
        };
        match register {
            Register::Ring(way, ring, word) => {
                self.ring_mut(way, ring).map_or(0, |ring| ring.read(word))
            }
            Register::Status(word) => self.interrupts.read_status(word),
            Register::Enable(word) | Register::Disable(word) => self.interrupts.enabled(word),
            Register::Throttle(vector) => self.interrupts.throttle(vector),
            Register::Vectors(word) => self.interrupts.map(word),
            Register::Capabilities => VERSION_2 << 16 | u32::from(self.rings),
            Register::DmaMisc => self.interrupts.misc(),
            // A reset is over before the next access.
            Register::Clear(_) | Register::Reset => 0,
        }
    }

    /// Writes one register, and says what follows from it.
    pub fn write_word(&mut self, offset: u64, value: u32) -> Effect {
        let Some(register) = self.decode(offset) else {
            return Effect::None;
        };
        match register {
            Register::Ring(way, number, word) => return self.write_ring(way, number, word, value),
            Register::Clear(word) => self.interrupts.clear(word, value),
            Register::Enable(word) => self.interrupts.set_enabled(word, value),
            Register::Disable(word) => self.interrupts.disable(word, value),
            Register::Throttle(vector) => self.interrupts.set_throttle(vector, value),
            Register::Vectors(word) => self.interrupts.set_map(word, value),
            Register::DmaMisc => self.interrupts.set_misc(value),
            Register::Reset if value & HOST_RESET != 0 => return Effect::HostReset,
            Register::Reset | Register::Status(_) | Register::Capabilities => {}
        }
        Effect::None
    }

    fn write_ring(
        &mut self,
        way: Way,
        number: u16,
        word: registers::RingWord,
        value: u32,
    ) -> Effect {
        let Some(ring) = self.ring_mut(way, number) else {
            return Effect::None;
        };
        let ran = ring.enabled();
        let written = ring.write(word, value);
        let runs = ring.enabled();
        match written {
            Ok(()) => {}
            Err(BadRing::Shape) => self.errors.bad_ring += 1,
            Err(BadRing::Index) => self.errors.bad_index += 1,
        }
        if number == 0 && ran != runs {
            Effect::ControlRing
        } else if way == Way::Transmit && runs {
            Effect::Transmit
        } else {
            Effect::None
        }
    }

    fn decode(&self, offset: u64) -> Option<Register> {
        registers::decode(u32::try_from(offset).ok()?, self.rings)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;

    fn nhi(rings: u16) -> Nhi {
        Nhi::new(rings, ChaCha8Rng::seed_from_u64(0))
    }

    fn read(nhi: &mut Nhi, offset: u64) -> u32 {
        let mut word = [0; 4];
        nhi.read(offset, &mut word);
        u32::from_le_bytes(word)
    }

    #[test]
    fn it_says_how_many_rings_it_has() {
        assert_eq!(read(&mut nhi(12), 0x3_9640), 0x0040_000c);
        assert_eq!(read(&mut nhi(3), 0x3_9640), 0x0040_0003);
    }

    #[test]
    fn registers_keep_what_is_written() {
        let mut nhi = nhi(12);
        for (offset, value) in [
            (0x10, 0x1234_5000),
            (0x14, 0x1),
            (0x1c, 256),
            (0x2_9824, 0x00ff_1234),
            (0x3_8200, 0x00ff_ffff),
            (0x3_8c0c, 0x1ff),
            (0x3_8c44, 0x7654_3210),
            (0x3_9864, 1 << 17),
        ] {
            assert_eq!(nhi.write_word(offset, value), Effect::None);
            assert_eq!(read(&mut nhi, offset), value, "{offset:#x}");
        }
        let mut words = [0; 8];
        nhi.read(0x10, &mut words);
        assert_eq!(words, [0, 0x50, 0x34, 0x12, 1, 0, 0, 0]);
        nhi.reset();
        assert_eq!(read(&mut nhi, 0x10), 0);
        assert_eq!(read(&mut nhi, 0x3_8200), 0);
    }

    #[test]
    fn effects_are_told_apart() {
        let mut nhi = nhi(3);
        for offset in [0x0c, 0x1c, 0x800c] {
            nhi.write_word(offset, 8);
        }
        assert_eq!(nhi.write_word(0x1_9800, 1 << 31), Effect::ControlRing);
        assert!(!nhi.control_runs());
        assert_eq!(nhi.write_word(0x2_9800, 1 << 31), Effect::ControlRing);
        assert!(nhi.control_runs());
        assert_eq!(nhi.write_word(0x1_9820, 1 << 31), Effect::Transmit);
        assert_eq!(nhi.write_word(0x18, 1 << 16), Effect::Transmit);
        assert_eq!(nhi.write_word(0x3_9898, 0), Effect::None);
        assert_eq!(nhi.write_word(0x3_9898, 1), Effect::HostReset);
        assert_eq!(read(&mut nhi, 0x3_9898), 0);
        assert_eq!(nhi.errors, GuestErrors::default());
    }

    #[test]
    fn nonsense_is_counted() {
        let mut nhi = nhi(3);
        nhi.read(2, &mut [0; 4]);
        nhi.read(0, &mut [0; 2]);
        nhi.write_word(0x1_9820, 1 << 31);
        nhi.write_word(0x18, 1 << 16);
        assert_eq!(
            nhi.errors,
            GuestErrors {
                bad_access: 2,
                bad_ring: 1,
                bad_index: 1,
                ..GuestErrors::default()
            }
        );
        nhi.read(u64::MAX - 3, &mut [0; 4]);
        assert_eq!(nhi.write_word(u64::MAX - 3, 1), Effect::None);
    }
}
