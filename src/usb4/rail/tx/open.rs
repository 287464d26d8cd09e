// SPDX-License-Identifier: GPL-2.0-only

//! The frame being filled: packets go in until it is full or a rail wants it.

use core::ops::DerefMut;

use crate::usb4::rail::config::MAX_TRAIN;
use crate::usb4::rail::frame::record::{self, Record};
use crate::usb4::rail::frame::{header, Kind};
use crate::usb4::rail::FRAME_SIZE;

/// The most packets of a frame.
pub(super) const MAX_PACKETS: usize = 64;

/// What a packet needs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Shape {
    /// Bytes in the head frame before the payload, at most.
    pub inline: usize,
    /// Bytes in the head frame after the payload.
    pub tail: usize,
    /// Bytes in payload frames.
    pub payload: usize,
}

impl Shape {
    /// A packet that lies in the head frame as a whole.
    pub const fn inline(len: usize) -> Self {
        Self {
            inline: len,
            tail: 0,
            payload: 0,
        }
    }

    /// Whether any frame can carry it.
    pub const fn is_possible(&self) -> bool {
        self.inline > 0
            && self.inline <= 0xfff
            && self.tail <= record::MAX_TAIL
            && self.payload <= record::MAX_PAYLOAD
            && header::LEN + record::LEN + self.inline + self.tail <= FRAME_SIZE
    }
}

/// A frame being filled.
pub(super) struct Open<B, P> {
    pub buffer: Option<B>,
    pub len: usize,
    pub packets: u8,
    pub frames: u8,
    /// The most payload frames it may have.
    pub limit: usize,
    /// No room for the packet that came last.
    pub full: bool,
    pub payload: [Option<(P, u16)>; MAX_TRAIN],
    pub tokens: [u64; MAX_PACKETS],
}

impl<B: DerefMut<Target = [u8]>, P: Copy> Open<B, P> {
    pub fn new() -> Self {
        Self {
            buffer: None,
            len: header::LEN,
            packets: 0,
            frames: 0,
            limit: MAX_TRAIN,
            full: false,
            payload: [None; MAX_TRAIN],
            tokens: [0; MAX_PACKETS],
        }
    }

    pub fn is_empty(&self) -> bool {
        self.packets == 0
    }

    /// Frames on the rail: this one and its payload.
    pub fn total_frames(&self) -> u32 {
        u32::from(self.frames) + 1
    }

    pub fn kind(&self) -> Kind {
        if self.frames == 0 {
            Kind::Packets
        } else {
            Kind::Train
        }
    }

    /// Whether one more packet fits in a train of at most `train` payload frames.
    #[inline]
    pub fn fits(&self, shape: &Shape, train: usize) -> bool {
        let needed = record::frames_of(shape.payload);
        let frames = usize::from(self.frames) + needed;
        self.len + record::LEN + shape.inline + shape.tail <= FRAME_SIZE
            && usize::from(self.packets) < MAX_PACKETS
            && (needed == 0 || frames <= train)
    }

    /// Room for the inline bytes and the tail of a packet.
    #[inline]
    pub fn room(&mut self, shape: &Shape) -> Option<&mut [u8]> {
        let start = self.len + record::LEN;
        let end = start + shape.inline + shape.tail;
        self.buffer.as_mut()?.get_mut(start..end)
    }

    /// Adds the packet whose inline bytes are in the room. False: it does not fit.
    #[inline]
    pub fn add(
        &mut self,
        inline: usize,
        tail: &[u8],
        payload: &[P],
        payload_len: usize,
        token: u64,
    ) -> bool {
        let shape = Shape {
            inline,
            tail: tail.len(),
            payload: payload_len,
        };
        let frames = record::frames_of(payload_len);
        if !shape.is_possible() || payload.len() != frames || !self.fits(&shape, MAX_TRAIN) {
            return false;
        }
        let (Ok(start), Ok(inline_len), Ok(tail_len), Ok(payload_length)) = (
            u16::try_from(self.len + record::LEN),
            u16::try_from(inline),
            u8::try_from(tail.len()),
            u16::try_from(payload_len),
        ) else {
            return false;
        };
        let record = Record {
            start,
            inline: inline_len,
            tail: tail_len,
            payload: payload_length,
        };
        let end = record.end();
        let Some(room) = self
            .buffer
            .as_mut()
            .and_then(|buffer| buffer.get_mut(self.len..end))
        else {
            return false;
        };
        if let Some(place) = room.first_chunk_mut() {
            *place = record.lengths();
        }
        if let Some(place) = room.get_mut(record::LEN + inline..) {
            place.copy_from_slice(tail);
        }
        let places = self
            .payload
            .get_mut(usize::from(self.frames)..)
            .unwrap_or_default();
        for (index, (place, payload)) in places.iter_mut().zip(payload).enumerate() {
            // A frame has at most 4096 bytes.
            let len = u16::try_from(record.frame_len(index)).unwrap_or(u16::MAX);
            *place = Some((*payload, len));
            self.frames += 1;
        }
        if let Some(place) = self.tokens.get_mut(usize::from(self.packets)) {
            *place = token;
        }
        self.packets += 1;
        self.len = end;
        true
    }

    /// Begins the next frame.
    pub fn clear(&mut self) {
        self.buffer = None;
        self.len = header::LEN;
        self.packets = 0;
        self.frames = 0;
        self.full = false;
    }
}
