// SPDX-License-Identifier: GPL-2.0-only

//! One packet in a packet frame or in the head of a train.
//!
//! ```text
//!    0                   1                   2                   3
//!    0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//!   +-------+-----------------------+-------------------------------+
//!   | tail  | inline                | payload                       |
//!   +-------+-----------------------+-------------------------------+
//!   | inline bytes, tail bytes ...
//! ```
//!
//! The packet is its inline bytes, then its payload, then its tail. The payload lies in payload
//! frames that follow the head: all of 4096 bytes but the last. Ethernet, IP, UDP and BTH are
//! inline, pad and ICRC are the tail; a small packet is inline as a whole.

use super::FrameError;
use crate::usb4::rail::FRAME_SIZE;

/// Length of the two lengths before the bytes.
pub const LEN: usize = 4;
/// The longest tail.
pub const MAX_TAIL: usize = 15;
/// The most payload frames of one packet.
pub const MAX_FRAMES: usize = 3;
/// The most payload of one packet.
pub const MAX_PAYLOAD: usize = MAX_FRAMES * FRAME_SIZE;

/// Where the parts of a packet lie.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Record {
    /// Where its inline bytes begin in the frame.
    pub start: u16,
    /// How many inline bytes there are.
    pub inline: u16,
    /// How many bytes of tail follow them.
    pub tail: u8,
    /// How many bytes lie in payload frames.
    pub payload: u16,
}

impl Record {
    /// Reads the record at `offset` of a frame.
    #[inline]
    pub fn read(frame: &[u8], offset: usize) -> Result<Self, FrameError> {
        let bytes = frame
            .get(offset..)
            .and_then(|rest| rest.first_chunk::<LEN>())
            .ok_or(FrameError::Records)?;
        let [a, b, c, d] = *bytes;
        let word = u16::from_be_bytes([a, b]);
        let record = Self {
            // A frame is at most 4096 bytes long.
            start: u16::try_from(offset.saturating_add(LEN)).map_err(|_| FrameError::Records)?,
            inline: word & 0xfff,
            tail: a >> 4,
            payload: u16::from_be_bytes([c, d]),
        };
        if usize::from(record.payload) > MAX_PAYLOAD {
            return Err(FrameError::Train);
        }
        if record.end() > frame.len() {
            return Err(FrameError::Records);
        }
        Ok(record)
    }

    /// Writes the two lengths.
    #[inline]
    pub fn lengths(&self) -> [u8; LEN] {
        let word = (u16::from(self.tail) & 0xf) << 12 | self.inline & 0xfff;
        let ([a, b], [c, d]) = (word.to_be_bytes(), self.payload.to_be_bytes());
        [a, b, c, d]
    }

    /// Where the next record begins.
    #[inline]
    pub fn end(&self) -> usize {
        usize::from(self.start) + usize::from(self.inline) + usize::from(self.tail)
    }

    /// The inline bytes, out of the frame the record was read from.
    #[inline]
    pub fn inline_bytes<'a>(&self, frame: &'a [u8]) -> &'a [u8] {
        let start = usize::from(self.start);
        frame
            .get(start..start + usize::from(self.inline))
            .unwrap_or_default()
    }

    /// The tail, out of the frame the record was read from.
    #[inline]
    pub fn tail_bytes<'a>(&self, frame: &'a [u8]) -> &'a [u8] {
        let start = usize::from(self.start) + usize::from(self.inline);
        frame
            .get(start..start + usize::from(self.tail))
            .unwrap_or_default()
    }

    /// How many payload frames there are.
    #[inline]
    pub fn frames(&self) -> usize {
        frames_of(usize::from(self.payload))
    }

    /// The length of payload frame `index`.
    #[inline]
    pub fn frame_len(&self, index: usize) -> usize {
        usize::from(self.payload)
            .saturating_sub(index.saturating_mul(FRAME_SIZE))
            .min(FRAME_SIZE)
    }

    /// The length of the packet.
    #[inline]
    pub fn packet_len(&self) -> usize {
        usize::from(self.inline) + usize::from(self.payload) + usize::from(self.tail)
    }
}

/// How many payload frames `payload` bytes take.
#[inline]
pub const fn frames_of(payload: usize) -> usize {
    payload.div_ceil(FRAME_SIZE)
}

/// Checks that `packets` records fill `frame` from `offset` on, and need `payload_frames` frames.
#[inline]
pub fn check(
    frame: &[u8],
    offset: usize,
    packets: u8,
    payload_frames: u8,
) -> Result<(), FrameError> {
    let mut at = offset;
    let mut frames = 0;
    for _ in 0..packets {
        let record = Record::read(frame, at)?;
        if record.inline == 0 {
            return Err(FrameError::Records);
        }
        at = record.end();
        frames += record.frames();
    }
    if at != frame.len() {
        return Err(FrameError::Records);
    }
    if frames != usize::from(payload_frames) {
        return Err(FrameError::Train);
    }
    Ok(())
}
