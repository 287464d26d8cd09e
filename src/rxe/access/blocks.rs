// SPDX-License-Identifier: GPL-2.0-only

//! Where the bytes of a region lie: equal blocks, found by a shift.
//!
//! Memory that is contiguous for its user is scattered over pages. It is described by runs (what
//! is contiguous on both sides) when it is pinned, or by pages of one size when it is registered
//! fast; an access should not search either of them. So a region is cut into blocks of one size, a
//! power of two, such that each block lies within one run; one base address per block is all there
//! is to keep:
//!
//! ```text
//!   runs      |     run 0      |  run 1  |          run 2           |
//!   blocks  ..|....|.....|.....|....|....|....|....|....|....|....|..
//!             ^ first byte: `lead` bytes into block 0
//!   byte at offset o: block (lead + o) >> shift, (lead + o) & mask bytes into it
//! ```
//!
//! The larger the blocks, the fewer: memory in huge pages has blocks of that size, memory in one
//! run has a single one.

/// The size of the largest blocks, as a shift: no memory is larger.
const LARGEST: u32 = 62;

/// Bytes that are contiguous in the region and in the kernel's addresses.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Run {
    /// Kernel address of the first byte.
    pub addr: u64,
    /// Number of bytes.
    pub len: u64,
}

/// How the bytes of a region are cut into blocks.
///
/// # Invariants
///
/// `shift <= LARGEST`, `lead < 1 << shift`, and `lead + len` does not overflow.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Blocks {
    shift: u32,
    lead: u64,
    len: u64,
}

/// The part of a range that lies in one block.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Piece {
    /// Which block.
    pub block: usize,
    /// Where in the block it begins.
    pub within: u64,
    /// Number of bytes, not 0.
    pub len: usize,
}

impl Blocks {
    /// No bytes.
    pub const EMPTY: Self = Self {
        shift: 0,
        lead: 0,
        len: 0,
    };

    /// `len` bytes in blocks of `1 << shift` bytes, beginning `lead` bytes into the first block.
    pub const fn new(shift: u32, lead: u64, len: u64) -> Option<Self> {
        if shift > LARGEST || lead >> shift != 0 || lead.checked_add(len).is_none() {
            return None;
        }
        // INVARIANT: Just checked.
        Some(Self { shift, lead, len })
    }

    /// The largest blocks that fit the runs. `None` if the runs are longer than memory can be.
    pub fn fit(runs: impl Iterator<Item = Run>) -> Option<Self> {
        let mut shift = LARGEST;
        let mut lead = 0u64;
        let mut len = 0u64;
        let mut merged = Merged::new(runs).peekable();
        let mut first = true;
        while let Some(run) = merged.next() {
            len = len.checked_add(run.len)?;
            if merged.peek().is_none() {
                break;
            }
            // A run ends here, so a block does: where the first one does fixes the lead, and from
            // one such place to the next there are whole blocks.
            if first {
                first = false;
                lead = 0u64.wrapping_sub(run.len);
            } else {
                shift = shift.min(run.len.trailing_zeros());
            }
        }
        // INVARIANT: The mask keeps `lead` below `1 << shift`; `new` checks all.
        Self::new(shift, lead & mask(shift), len)
    }

    /// The base addresses of the blocks: first the one of block 0, and so on. `runs` are those
    /// that [`fit`](Self::fit) was given.
    ///
    /// The base of the first block lies up to a block below the first byte, where nothing may be.
    pub fn bases(self, runs: impl Iterator<Item = Run>) -> impl Iterator<Item = u64> {
        let size = 1u64 << self.shift;
        // Of the run at hand: where it begins, counted from the base of block 0.
        let mut begin = self.lead;
        Merged::new(runs).flat_map(move |run| {
            let into = begin & mask(self.shift);
            begin = begin.wrapping_add(run.len);
            let base = run.addr.wrapping_sub(into);
            let count = blocks(into.saturating_add(run.len), self.shift);
            (0..count).map(move |block| base.wrapping_add(block.wrapping_mul(size)))
        })
    }

    /// How many blocks there are.
    pub fn count(&self) -> u64 {
        if self.len == 0 {
            return 0;
        }
        blocks(self.lead.saturating_add(self.len), self.shift)
    }

    /// Number of bytes in all.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The pieces of a range of the region, or `None` if it is not within the region.
    #[inline]
    pub fn pieces(&self, offset: u64, len: usize) -> Option<Pieces> {
        if offset > self.len || len as u64 > self.len.wrapping_sub(offset) {
            return None;
        }
        Some(Pieces {
            shift: self.shift,
            // Does not wrap: `offset <= self.len`, and `lead + len` does not overflow.
            at: self.lead.wrapping_add(offset),
            left: len,
        })
    }
}

/// The bits below a block's size.
const fn mask(shift: u32) -> u64 {
    (1u64 << shift).wrapping_sub(1)
}

/// How many blocks hold `bytes` bytes.
const fn blocks(bytes: u64, shift: u32) -> u64 {
    (bytes >> shift).saturating_add((bytes & mask(shift) != 0) as u64)
}

/// The pieces of a range, in order.
#[derive(Clone, Copy, Debug)]
pub struct Pieces {
    shift: u32,
    at: u64,
    left: usize,
}

impl Iterator for Pieces {
    type Item = Piece;

    #[inline]
    fn next(&mut self) -> Option<Piece> {
        if self.left == 0 {
            return None;
        }
        let within = self.at & mask(self.shift);
        // Not 0: `within` is less than the size of a block.
        let room = (1u64 << self.shift).wrapping_sub(within);
        let len = match usize::try_from(room) {
            Ok(room) if room < self.left => room,
            _ => self.left,
        };
        let piece = Piece {
            // On 64 bits nothing is lost.
            block: usize::try_from(self.at >> self.shift).unwrap_or(usize::MAX),
            within,
            len,
        };
        self.at = self.at.wrapping_add(len as u64);
        self.left = self.left.wrapping_sub(len);
        Some(piece)
    }
}

/// Runs, the empty ones left out, those that continue each other as one.
struct Merged<I> {
    runs: I,
    next: Option<Run>,
}

impl<I: Iterator<Item = Run>> Merged<I> {
    fn new(runs: I) -> Self {
        Self { runs, next: None }
    }
}

impl<I: Iterator<Item = Run>> Iterator for Merged<I> {
    type Item = Run;

    fn next(&mut self) -> Option<Run> {
        let mut run = self.next.take();
        for more in self.runs.by_ref() {
            if more.len == 0 {
                continue;
            }
            match &mut run {
                None => run = Some(more),
                Some(run) if run.addr.wrapping_add(run.len) == more.addr => {
                    run.len = run.len.saturating_add(more.len);
                }
                Some(_) => {
                    self.next = Some(more);
                    break;
                }
            }
        }
        run
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The address of each byte, the slow way.
    fn bytes(runs: &[Run]) -> Vec<u64> {
        runs.iter()
            .flat_map(|run| (0..run.len).map(|i| run.addr + i))
            .collect()
    }

    /// The address of each byte of a range, by blocks.
    fn through_blocks(blocks: &Blocks, bases: &[u64], offset: u64, len: usize) -> Vec<u64> {
        blocks
            .pieces(offset, len)
            .expect("within the region")
            .flat_map(|piece| {
                let base = bases[piece.block].wrapping_add(piece.within);
                (0..piece.len as u64).map(move |i| base.wrapping_add(i))
            })
            .collect()
    }

    fn same_addresses(runs: &[Run]) {
        let blocks = Blocks::fit(runs.iter().copied()).expect("short enough");
        let bases: Vec<u64> = blocks.bases(runs.iter().copied()).collect();
        assert_eq!(bases.len() as u64, blocks.count(), "{runs:?}");
        let want = bytes(runs);
        assert_eq!(blocks.len(), want.len() as u64);
        for offset in 0..=want.len() {
            for len in [0, 1, 2, 7, 8, 64, want.len() - offset] {
                if offset + len <= want.len() {
                    assert_eq!(
                        through_blocks(&blocks, &bases, offset as u64, len),
                        want[offset..offset + len],
                        "{runs:?} {offset} {len}"
                    );
                }
            }
        }
    }

    fn run(addr: u64, len: u64) -> Run {
        Run { addr, len }
    }

    #[test]
    fn every_byte_is_where_its_run_has_it() {
        same_addresses(&[]);
        same_addresses(&[run(0x1234, 100)]);
        same_addresses(&[run(0x1ffd, 3), run(0x8000, 64), run(0x4000, 17)]);
        same_addresses(&[run(0x1000, 0), run(0x1000, 8), run(0x1008, 8), run(0, 0)]);
        same_addresses(&[run(0x1ff0, 16), run(0x9000, 32), run(0x3000, 16), run(0, 5)]);
        // Two runs: one block each, however odd they are.
        same_addresses(&[run(0x1003, 13), run(0x5001, 7)]);
        same_addresses(&[run(0xffff_ffff_ffff_f000, 4096), run(0x10, 1)]);
    }

    #[test]
    fn random_runs() {
        let mut state = 0x9e37_79b9_7f4a_7c15u64;
        let mut random = move |below: u64| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state % below
        };
        for _ in 0..300 {
            let unit = 1 << random(6);
            let mut runs: Vec<Run> = (0..random(6) + 1)
                .map(|_| run(0x1000 * (1 + random(1000)), unit * (1 + random(8))))
                .collect();
            let skip = random(unit);
            runs[0].addr += skip;
            runs[0].len -= skip;
            let last = runs.len() - 1;
            runs[last].len -= random(runs[last].len);
            same_addresses(&runs);
        }
    }

    #[test]
    fn blocks_are_as_large_as_can_be() {
        // One run, and two: no more blocks than runs.
        let one = Blocks::fit([run(0x1234, 1 << 30)].into_iter());
        assert_eq!(one.map(|blocks| blocks.count()), Some(1));
        let two = Blocks::fit([run(0x1234, 5), run(0x1_0000, 77)].into_iter());
        assert_eq!(two.map(|blocks| blocks.count()), Some(2));
        // Huge pages, entered in the middle of the first one.
        let huge = 2 << 20;
        let runs = [
            run(huge * 8 + 4096, huge - 4096),
            run(huge * 3, huge),
            run(huge * 5, huge),
            run(huge * 16, 1),
        ];
        let blocks = Blocks::fit(runs.into_iter()).expect("short enough");
        assert_eq!(blocks.count(), 4);
        assert_eq!(blocks.bases(runs.into_iter()).next(), Some(huge * 8));
        // Neighbours count as one run.
        let runs = (0..16).map(|page| run(0x10_000 + page * 4096, 4096));
        assert_eq!(Blocks::fit(runs).map(|blocks| blocks.count()), Some(1));
    }

    #[test]
    fn nothing_outside_of_the_region() {
        let blocks = Blocks::new(12, 100, 5000).expect("fits");
        assert_eq!(blocks.count(), 2);
        for (offset, len, good) in [
            (0, 5000, true),
            (5000, 0, true),
            (4999, 1, true),
            (4999, 2, false),
            (5000, 1, false),
            (5001, 0, false),
            (u64::MAX, 0, false),
            (u64::MAX, 1, false),
            (0, usize::MAX, false),
            (1, usize::MAX, false),
        ] {
            assert_eq!(blocks.pieces(offset, len).is_some(), good, "{offset} {len}");
        }
        let mut nothing = Blocks::EMPTY
            .pieces(0, 0)
            .expect("nothing is within nothing");
        assert_eq!(nothing.next(), None);
        assert_eq!(Blocks::EMPTY.count(), 0);
        assert_eq!(Blocks::EMPTY.pieces(0, 1).map(|_| ()), None);
    }

    #[test]
    fn impossible_blocks_are_refused() {
        assert_eq!(Blocks::new(63, 0, 1), None);
        assert_eq!(Blocks::new(12, 4096, 1), None);
        assert_eq!(Blocks::new(12, 1, u64::MAX), None);
        assert!(Blocks::new(12, 0, u64::MAX).is_some());
        assert_eq!(Blocks::fit([run(0, u64::MAX), run(5, 1)].into_iter()), None);
    }
}
