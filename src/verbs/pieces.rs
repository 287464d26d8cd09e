// SPDX-License-Identifier: GPL-2.0-only

//! Bytes that lie in a few places: a packet in the frames it came in, or its payload.

use core::ops::Range;

/// The most places: headers, three payload frames, what is behind the payload.
const MOST: usize = 5;

/// Bytes in up to [`MOST`] places.
#[derive(Clone, Copy)]
pub struct Pieces<'a> {
    pieces: [&'a [u8]; MOST],
    count: usize,
}

impl<'a> Pieces<'a> {
    /// Bytes in one place.
    #[inline]
    pub fn new(first: &'a [u8]) -> Self {
        Self {
            pieces: [first, &[], &[], &[], &[]],
            count: 1,
        }
    }

    /// Adds bytes behind those that are there. More than fit are left out.
    #[inline]
    pub fn push(&mut self, piece: &'a [u8]) {
        if piece.is_empty() {
            return;
        }
        if let Some(place) = self.pieces.get_mut(self.count) {
            *place = piece;
            self.count = self.count.wrapping_add(1);
        }
    }

    /// The places.
    #[inline]
    pub fn as_slice(&self) -> &[&'a [u8]] {
        self.pieces.get(..self.count).unwrap_or_default()
    }

    /// The first place.
    #[inline]
    pub fn first(&self) -> &'a [u8] {
        self.pieces[0]
    }

    /// A part of the bytes. `None`: there are fewer.
    #[inline]
    pub fn range(&self, range: Range<usize>) -> Option<Self> {
        let mut part = Self {
            pieces: [&[]; MOST],
            count: 0,
        };
        let (mut skip, mut left) = (range.start, range.end.checked_sub(range.start)?);
        for piece in self.as_slice() {
            let from = skip.min(piece.len());
            skip = skip.saturating_sub(from);
            let behind = piece.get(from..)?;
            let taken = behind.get(..left.min(behind.len()))?;
            left = left.saturating_sub(taken.len());
            part.push(taken);
        }
        (left == 0).then_some(part)
    }

    /// Copies all bytes to the front of `into`. Returns how many; `None` if there is no room.
    pub fn copy_to(&self, into: &mut [u8]) -> Option<usize> {
        let mut at = 0usize;
        for piece in self.as_slice() {
            let end = at.checked_add(piece.len())?;
            into.get_mut(at..end)?.copy_from_slice(piece);
            at = end;
        }
        Some(at)
    }
}
