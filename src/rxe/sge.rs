// SPDX-License-Identifier: GPL-2.0-only

//! Scatter and gather: from a range of a message to pieces of local memory.
//!
//! ```text
//!   message   0        a             b        c
//!             | sge 0  |    sge 1    |  sge 2 |
//!   range          '-------------------'        -> tail of 0, all of 1, front of 2
//! ```

use super::access::{check, Access, AccessError, Identity, Rights, Side};
use super::env::{Fault, Memory};
use super::wqe::Sge;

/// The total length of a list, or `None` if it does not fit in 32 bits.
pub fn total(sges: &[Sge]) -> Option<u32> {
    sges.iter()
        .try_fold(0u32, |sum, sge| sum.checked_add(sge.len))
}

/// A part of one piece of local memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Piece {
    /// First byte.
    pub addr: u64,
    /// Number of bytes, not 0.
    pub len: u32,
    /// Local key.
    pub lkey: u32,
}

/// The pieces of `len` bytes of a message from `offset` on. Ends early if the list does.
#[derive(Clone, Debug)]
pub struct Pieces<'a> {
    sges: core::slice::Iter<'a, Sge>,
    skip: u32,
    left: u32,
}

impl<'a> Pieces<'a> {
    /// Begins at `offset`.
    pub fn new(sges: &'a [Sge], offset: u32, len: u32) -> Self {
        Self {
            sges: sges.iter(),
            skip: offset,
            left: len,
        }
    }
}

impl Iterator for Pieces<'_> {
    type Item = Piece;

    fn next(&mut self) -> Option<Piece> {
        if self.left == 0 {
            return None;
        }
        loop {
            let sge = self.sges.next()?;
            match sge.len.checked_sub(self.skip) {
                None | Some(0) => self.skip = self.skip.saturating_sub(sge.len),
                Some(behind) => {
                    let len = behind.min(self.left);
                    let piece = Piece {
                        // Wraps only for addresses that no region contains.
                        addr: sge.addr.wrapping_add(u64::from(self.skip)),
                        len,
                        lkey: sge.lkey,
                    };
                    self.skip = 0;
                    self.left = self.left.saturating_sub(len);
                    return Some(piece);
                }
            }
        }
    }
}

/// Why a scatter stopped.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ScatterError {
    /// The list has no room for the message.
    TooShort,
    /// A key does not permit it.
    Protection,
    /// A page is not there now; the same scatter will succeed soon.
    Absent,
}

impl From<AccessError> for ScatterError {
    fn from(_: AccessError) -> Self {
        Self::Protection
    }
}

impl From<Fault> for ScatterError {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Gone => Self::Protection,
            Fault::Absent => Self::Absent,
        }
    }
}

/// Finds the memory of one piece.
pub fn resolve<M: Memory + ?Sized>(
    memory: &mut M,
    who: Identity,
    piece: &Piece,
    rights: Rights,
) -> Result<(M::Region, u64), AccessError> {
    let (region, facts) = memory.region(piece.lkey).ok_or(AccessError::Key)?;
    let want = Access {
        key: piece.lkey,
        side: Side::Local,
        rights,
        va: piece.addr,
        len: u64::from(piece.len),
    };
    let at = check(&facts, who, &want)?;
    Ok((region, at))
}

/// Stores a payload of `len` bytes at `offset` of the message.
pub fn scatter<M: Memory + ?Sized>(
    memory: &mut M,
    who: Identity,
    sges: &[Sge],
    offset: u32,
    payload: &M::Payload<'_>,
    len: u32,
) -> Result<(), ScatterError> {
    let mut from = 0usize;
    for piece in Pieces::new(sges, offset, len) {
        let (region, at) = resolve(memory, who, &piece, Rights::LOCAL_WRITE)?;
        let to = from.saturating_add(piece.len as usize);
        memory.store(&region, at, payload, from..to)?;
        from = to;
    }
    if from == len as usize {
        Ok(())
    } else {
        Err(ScatterError::TooShort)
    }
}

/// Stores a few bytes at `offset` of the message.
pub fn scatter_bytes<M: Memory + ?Sized>(
    memory: &mut M,
    who: Identity,
    sges: &[Sge],
    offset: u32,
    bytes: &[u8],
) -> Result<(), ScatterError> {
    let len = u32::try_from(bytes.len()).map_err(|_| ScatterError::TooShort)?;
    let mut rest = bytes;
    for piece in Pieces::new(sges, offset, len) {
        let (region, at) = resolve(memory, who, &piece, Rights::LOCAL_WRITE)?;
        let (now, later) = rest
            .split_at_checked(piece.len as usize)
            .ok_or(ScatterError::TooShort)?;
        memory.store_bytes(&region, at, now)?;
        rest = later;
    }
    if rest.is_empty() {
        Ok(())
    } else {
        Err(ScatterError::TooShort)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(lens: &[u32]) -> Vec<Sge> {
        let mut addr = 0x1000;
        lens.iter()
            .map(|&len| {
                let sge = Sge { addr, len, lkey: 7 };
                addr += 0x1_0000;
                sge
            })
            .collect()
    }

    #[test]
    fn pieces_cover_the_range_once_and_in_order() {
        let lens = [5, 0, 7, 1, 0, 9];
        let sges = list(&lens);
        let bytes: Vec<u64> = sges
            .iter()
            .flat_map(|sge| (0..u64::from(sge.len)).map(|i| sge.addr + i))
            .collect();
        for offset in 0..=22u32 {
            for len in 0..=30u32 {
                let got: Vec<u64> = Pieces::new(&sges, offset, len)
                    .flat_map(|p| (0..u64::from(p.len)).map(move |i| p.addr + i))
                    .collect();
                let want: Vec<u64> = bytes
                    .iter()
                    .copied()
                    .skip(offset as usize)
                    .take(len as usize)
                    .collect();
                assert_eq!(got, want, "offset {offset} len {len}");
            }
        }
    }

    #[test]
    fn a_list_longer_than_32_bits_has_no_total() {
        assert_eq!(total(&list(&[u32::MAX, 0])), Some(u32::MAX));
        assert_eq!(total(&list(&[u32::MAX, 1])), None);
    }

    #[test]
    fn hostile_addresses_do_not_overflow() {
        let sges = [Sge {
            addr: u64::MAX,
            len: u32::MAX,
            lkey: 1,
        }];
        let piece = Pieces::new(&sges, u32::MAX - 1, 9).next();
        assert_eq!(piece.map(|p| p.len), Some(1));
    }
}
