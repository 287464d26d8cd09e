// SPDX-License-Identifier: GPL-2.0-only

//! BAR 0: which register lies where. All are 32-bit words.
//!
//! ```text
//!  00000 + 16 n   transmit ring n   +0 base low  +4 base high  +8 index  +12 size
//!  08000 + 16 n   receive ring n    the same
//!  19800 + 32 n   transmit options  +0 flags     +4 (not used)
//!  29800 + 32 n   receive options   +0 flags     +4 PDF masks: start 31:16, end 15:0
//!  37800 + 4 w    interrupt status              37808 + 4 w    write 1 to clear
//!  38200 + 4 w    interrupt enable              38208 + 4 w    write 1 to disable
//!  38c00 + 4 v    throttling of vector v        38c40 + 4 w    vectors, a nibble per ring and direction
//!  39640          rings 9:0, version 23:16      39864          bit 2 clear on interrupt, bit 17 no clear on read
//!  39898          bit 0: reset of the host router; reads 0 when done
//! ```

/// Which of the two rings of a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// From memory to the cable.
    Transmit,
    /// From the cable to memory.
    Receive,
}

/// A word of a ring's registers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RingWord {
    /// Low half of the base address.
    BaseLow,
    /// High half of the base address.
    BaseHigh,
    /// Producer 31:16, consumer 15:0.
    Index,
    /// Descriptors 15:0; for a receive ring also the largest frame 31:16.
    Size,
    /// Flags.
    Options,
    /// PDF masks of a receive ring.
    Masks,
}

/// A register.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Register {
    /// Of a ring.
    Ring(Way, u16, RingWord),
    /// Interrupt status, by word.
    Status(u8),
    /// Clears interrupt status.
    Clear(u8),
    /// Interrupt enable, by word.
    Enable(u8),
    /// Clears interrupt enable.
    Disable(u8),
    /// Throttling, by vector.
    Throttle(u8),
    /// Vectors, by word.
    Vectors(u8),
    /// Ring count and version.
    Capabilities,
    /// How status is cleared.
    DmaMisc,
    /// Reset of the host router.
    Reset,
}

const TX_RINGS: u32 = 0x0_0000;
const RX_RINGS: u32 = 0x0_8000;
const TX_OPTIONS: u32 = 0x1_9800;
const RX_OPTIONS: u32 = 0x2_9800;
const STATUS: u32 = 0x3_7800;
const CLEAR: u32 = 0x3_7808;
const ENABLE: u32 = 0x3_8200;
const DISABLE: u32 = 0x3_8208;
const THROTTLE: u32 = 0x3_8c00;
const VECTORS: u32 = 0x3_8c40;
const CAPABILITIES: u32 = 0x3_9640;
const DMA_MISC: u32 = 0x3_9864;
const RESET: u32 = 0x3_9898;

/// MSI-X vectors of an NHI.
pub const VECTOR_COUNT: u8 = 16;

/// The register at an aligned offset of an NHI with so many rings, if there is one.
#[must_use]
pub fn decode(offset: u32, rings: u16) -> Option<Register> {
    /// Splits an offset in a table of entries into entry and rest.
    fn entry(offset: u32, base: u32, size: u32, count: u16) -> Option<(u16, u32)> {
        let at = offset.checked_sub(base)?;
        let index = u16::try_from(at / size).ok()?;
        (index < count).then_some((index, at % size))
    }
    /// The word in a table of words.
    fn word(offset: u32, base: u32, count: u16) -> Option<u8> {
        u8::try_from(entry(offset, base, 4, count)?.0).ok()
    }

    for (base, way) in [(TX_RINGS, Way::Transmit), (RX_RINGS, Way::Receive)] {
        if let Some((ring, at)) = entry(offset, base, 16, rings) {
            let word = match at {
                0 => RingWord::BaseLow,
                4 => RingWord::BaseHigh,
                8 => RingWord::Index,
                _ => RingWord::Size,
            };
            return Some(Register::Ring(way, ring, word));
        }
    }
    for (base, way) in [(TX_OPTIONS, Way::Transmit), (RX_OPTIONS, Way::Receive)] {
        if let Some((ring, at)) = entry(offset, base, 32, rings) {
            return match at {
                0 => Some(Register::Ring(way, ring, RingWord::Options)),
                4 => Some(Register::Ring(way, ring, RingWord::Masks)),
                _ => None,
            };
        }
    }
    // Status has a bit per ring for transmit, receive and overflow; enable has no overflow. Two words hold either.
    match offset {
        CAPABILITIES => Some(Register::Capabilities),
        DMA_MISC => Some(Register::DmaMisc),
        RESET => Some(Register::Reset),
        _ => word(offset, STATUS, 2)
            .map(Register::Status)
            .or_else(|| word(offset, CLEAR, 2).map(Register::Clear))
            .or_else(|| word(offset, ENABLE, 2).map(Register::Enable))
            .or_else(|| word(offset, DISABLE, 2).map(Register::Disable))
            .or_else(|| word(offset, THROTTLE, u16::from(VECTOR_COUNT)).map(Register::Throttle))
            .or_else(|| word(offset, VECTORS, 8).map(Register::Vectors)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn registers_lie_where_the_driver_looks_for_them() {
        use Register::{Capabilities, Clear, Disable, DmaMisc, Enable, Reset, Ring, Status};
        for (offset, register) in [
            (0x0, Ring(Way::Transmit, 0, RingWord::BaseLow)),
            (0x18, Ring(Way::Transmit, 1, RingWord::Index)),
            (0x80bc, Ring(Way::Receive, 11, RingWord::Size)),
            (0x1_9820, Ring(Way::Transmit, 1, RingWord::Options)),
            (0x2_9804, Ring(Way::Receive, 0, RingWord::Masks)),
            (0x3_7800, Status(0)),
            (0x3_7804, Status(1)),
            (0x3_780c, Clear(1)),
            (0x3_8200, Enable(0)),
            (0x3_8208, Disable(0)),
            (0x3_8c3c, Register::Throttle(15)),
            (0x3_8c40, Register::Vectors(0)),
            (0x3_8c48, Register::Vectors(2)),
            (0x3_9640, Capabilities),
            (0x3_9864, DmaMisc),
            (0x3_9898, Reset),
        ] {
            assert_eq!(decode(offset, 12), Some(register), "{offset:#x}");
        }
    }

    #[test]
    fn there_is_nothing_beyond_the_last_ring() {
        assert_eq!(decode(0x30, 3), None);
        assert_eq!(decode(0x1_9800 + 32 * 3, 3), None);
        assert_eq!(decode(0x1_9808, 3), None);
        assert_eq!(decode(0x3_fffc, 12), None);
        assert_eq!(decode(u32::MAX, 12), None);
    }
}
