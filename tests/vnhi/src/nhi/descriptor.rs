// SPDX-License-Identifier: GPL-2.0-only

//! A ring's descriptor: 16 bytes of guest memory that name a buffer and say what became of it.
//!
//! ```text
//!   0        8                                             12       16
//!   +--------+---------------------------------------------+--------+
//!   | buffer | length 11:0  eof 15:12  sof 19:16  flags 31:20 | zero   |
//!   +--------+---------------------------------------------+--------+
//!   flags   transmit: 22 posted, 23 interrupt wanted; done: 21 is set
//!           receive:  22 posted, 23 interrupt wanted; done: 21 alone, 20 = CRC error, 22 = buffer overrun
//! ```
//!
//! A length of zero means 4096.

use crate::memory::{BadAddress, Memory};

/// Bytes of a descriptor.
pub const LEN: u64 = 16;
/// Largest frame.
pub const MAX_FRAME: usize = 4096;

const CRC_ERROR: u32 = 1 << 20;
const COMPLETED: u32 = 1 << 21;
/// In a completed receive descriptor; the same bit is "posted" in one that waits.
const OVERRUN: u32 = 1 << 22;
const INTERRUPT: u32 = 1 << 23;

/// What a descriptor said when it was read, once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Descriptor {
    /// Where the descriptor is.
    address: u64,
    /// Bus address of the buffer.
    pub buffer: u64,
    word: u32,
}

/// What a receive descriptor is completed with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Received {
    /// Bytes in the buffer, 1 to 4096.
    pub length: usize,
    /// Protocol field of the frame's start.
    pub sof: u8,
    /// Protocol field of the frame's end.
    pub eof: u8,
    /// The frame's CRC was wrong.
    pub crc_error: bool,
    /// The frame was longer than the buffer.
    pub overrun: bool,
}

impl Descriptor {
    /// Reads descriptor `index` of a ring at `base`.
    ///
    /// # Errors
    ///
    /// When it lies outside the mapped memory.
    pub fn read(memory: &Memory, base: u64, index: u16) -> Result<Self, BadAddress> {
        let address = base.checked_add(u64::from(index) * LEN).ok_or(BadAddress)?;
        let mut bytes = [0; 16];
        memory.read(address, &mut bytes)?;
        let [b0, b1, b2, b3, b4, b5, b6, b7, w0, w1, w2, w3, ..] = bytes;
        Ok(Self {
            address,
            buffer: u64::from_le_bytes([b0, b1, b2, b3, b4, b5, b6, b7]),
            word: u32::from_le_bytes([w0, w1, w2, w3]),
        })
    }

    /// Length of the frame to send.
    #[must_use]
    pub fn length(&self) -> usize {
        match self.word & 0xfff {
            0 => MAX_FRAME,
            length => length as usize,
        }
    }

    /// Protocol field of the frame's end.
    #[must_use]
    pub fn eof(&self) -> u8 {
        nibble(self.word, 12)
    }

    /// Protocol field of the frame's start.
    #[must_use]
    pub fn sof(&self) -> u8 {
        nibble(self.word, 16)
    }

    /// The driver wants an interrupt when it is done.
    #[must_use]
    pub fn wants_interrupt(&self) -> bool {
        self.word & INTERRUPT != 0
    }

    /// Marks a transmit descriptor as done.
    ///
    /// # Errors
    ///
    /// When it cannot be written.
    pub fn complete_transmit(&self, memory: &Memory) -> Result<(), BadAddress> {
        memory.publish(self.address + 8, self.word | COMPLETED)
    }

    /// Marks a receive descriptor as done, after the payload was written. "Posted" goes: left over, it would read as
    /// an overrun.
    ///
    /// # Errors
    ///
    /// When it cannot be written.
    pub fn complete_receive(&self, memory: &Memory, frame: Received) -> Result<(), BadAddress> {
        let length = u32::try_from(frame.length).unwrap_or(0) & 0xfff;
        let mut word = length
            | u32::from(frame.eof & 0xf) << 12
            | u32::from(frame.sof & 0xf) << 16
            | COMPLETED;
        if frame.crc_error {
            word |= CRC_ERROR;
        }
        if frame.overrun {
            word |= OVERRUN;
        }
        memory.publish(self.address + 8, word)
    }
}

fn nibble(word: u32, shift: u32) -> u8 {
    // Four bits always fit.
    u8::try_from(word >> shift & 0xf).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use vm_memory::{GuestAddress, GuestRegionMmap, MmapRegion};

    fn memory() -> Memory {
        let mut memory = Memory::default();
        let region = MmapRegion::new(0x1000).unwrap();
        let region = GuestRegionMmap::new(region, GuestAddress(0x1000)).unwrap();
        memory.map(region, true).unwrap();
        memory
    }

    fn word(memory: &Memory, address: u64) -> u32 {
        let mut bytes = [0; 4];
        memory.read(address, &mut bytes).unwrap();
        u32::from_le_bytes(bytes)
    }

    #[test]
    fn fields_lie_where_the_driver_puts_them() {
        let memory = memory();
        memory
            .write(0x1010, &0x1234_5678_9abc_u64.to_le_bytes())
            .unwrap();
        memory
            .write(
                0x1018,
                &(0xc << 20 | 0x3 << 16 | 0x5 << 12 | 0x0fe_u32).to_le_bytes(),
            )
            .unwrap();
        let descriptor = Descriptor::read(&memory, 0x1000, 1).unwrap();
        assert_eq!(descriptor.buffer, 0x1234_5678_9abc);
        assert_eq!(
            (descriptor.length(), descriptor.sof(), descriptor.eof()),
            (254, 3, 5)
        );
        assert!(descriptor.wants_interrupt());
        descriptor.complete_transmit(&memory).unwrap();
        assert_eq!(word(&memory, 0x1018) >> 20, 0xe);
    }

    #[test]
    fn a_received_frame_is_done_and_no_longer_posted() {
        let memory = memory();
        memory
            .write(0x1008, &(0xc_u32 << 20).to_le_bytes())
            .unwrap();
        let descriptor = Descriptor::read(&memory, 0x1000, 0).unwrap();
        let frame = Received {
            length: 4096,
            sof: 2,
            eof: 3,
            ..Received::default()
        };
        descriptor.complete_receive(&memory, frame).unwrap();
        assert_eq!(word(&memory, 0x1008), 0x2 << 20 | 2 << 16 | 3 << 12);
        descriptor
            .complete_receive(
                &memory,
                Received {
                    crc_error: true,
                    length: 7,
                    ..frame
                },
            )
            .unwrap();
        assert_eq!(word(&memory, 0x1008), 0x3 << 20 | 2 << 16 | 3 << 12 | 7);
    }

    #[test]
    fn a_ring_at_the_end_of_memory_is_a_fault() {
        assert_eq!(Descriptor::read(&memory(), 0x1ff8, 0), Err(BadAddress));
        assert_eq!(Descriptor::read(&memory(), u64::MAX, 5), Err(BadAddress));
    }
}
