// SPDX-License-Identifier: GPL-2.0-only

//! The path table of an adapter: where frames that enter there with a HopID go.
//!
//! ```text
//!           31     30 25  24   23        17 16      11 10           0
//!          +------+------+----+------------+----------+--------------+
//!  word 0  |enable|  0   |PM  | credits    | adapter  | next HopID   |
//!          +------+------+----+------------+----------+--------------+
//!           31 29  28      27 24        23      22  12    11   10 8  7 4  3   0
//!          +------+-------+-----------+--------+---------+----+----+----+------+
//!  word 1  |  0   |pending| flow ctl  |counting| counter |drop|prio| 0  |weight|
//!          +------+-------+-----------+--------+---------+----+----+----+------+
//! ```
//!
//! A path that is disabled while frames are on the cable towards it is pending until they have arrived; these still go
//! where it led. Credits, priorities and weights are kept and mean nothing here.

const ENABLE: u32 = 1 << 31;
const WORD_0: u32 = ENABLE | 0x01ff_ffff;
const WORD_1: u32 = 0x0fff_ff0f;
const PENDING: u32 = 1 << 28;
/// Where the credits of a path begin in word 0.
const CREDITS_SHIFT: u32 = 17;
/// Buffers that the control channel has in a lane adapter.
const CONTROL_CREDITS: u32 = 2;

/// Where a path goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hop {
    /// The adapter by which frames leave.
    pub adapter: u8,
    /// Their HopID from there on; for the host interface, the ring.
    pub next: u16,
}

#[derive(Debug, Clone, Copy, Default)]
struct Entry {
    words: [u32; 2],
    draining: bool,
}

impl Entry {
    fn hop(&self) -> Hop {
        let [word, _] = self.words;
        Hop {
            // Six and eleven bits.
            adapter: u8::try_from(word >> 11 & 0x3f).unwrap_or(0),
            next: u16::try_from(word & 0x7ff).unwrap_or(0),
        }
    }

    fn enabled(&self) -> bool {
        self.words[0] & ENABLE != 0
    }
}

/// The paths that enter at one adapter.
#[derive(Debug, Clone)]
pub struct PathTable {
    entries: Vec<Entry>,
    /// Entry 0 is the control channel and cannot be written.
    control: bool,
}

impl PathTable {
    /// A table for HopIDs up to `last`; `control` says that HopID 0 is the control channel's.
    #[must_use]
    pub fn new(last: u16, control: bool) -> Self {
        let mut entries = vec![Entry::default(); usize::from(last) + 1];
        if control {
            entries[0].words[0] = CONTROL_CREDITS << CREDITS_SHIFT;
        }
        Self { entries, control }
    }

    /// Forgets all paths.
    pub fn reset(&mut self) {
        let last = u16::try_from(self.entries.len() - 1).unwrap_or(u16::MAX);
        *self = Self::new(last, self.control);
    }

    /// Where a frame with this HopID goes, if the path is enabled.
    #[must_use]
    pub fn lookup(&self, hop: u16) -> Option<Hop> {
        let entry = self.entries.get(usize::from(hop))?;
        entry.enabled().then(|| entry.hop())
    }

    /// Where a frame goes that was on the cable already when the path may have been disabled.
    #[must_use]
    pub fn lookup_draining(&self, hop: u16) -> Option<Hop> {
        let entry = self.entries.get(usize::from(hop))?;
        (entry.enabled() || entry.draining).then(|| entry.hop())
    }

    /// Ends the pending state of disabled paths that no frame is under way to.
    pub fn settle(&mut self, under_way: impl Fn(u16) -> bool) {
        for (hop, entry) in (0..).zip(&mut self.entries) {
            if entry.draining && !under_way(hop) {
                entry.draining = false;
            }
        }
    }

    /// Software reads words; `None` when not all are there.
    #[must_use]
    pub fn read(&self, offset: u16, length: u16) -> Option<Vec<u32>> {
        let offsets = usize::from(offset)..usize::from(offset) + usize::from(length);
        offsets
            .map(|at| {
                let entry = self.entries.get(at / 2)?;
                let pending = if at % 2 == 1 && entry.draining {
                    PENDING
                } else {
                    0
                };
                Some(entry.words[at % 2] | pending)
            })
            .collect()
    }

    /// Software writes words; `None` when not all are there.
    #[must_use]
    pub fn write(&mut self, offset: u16, data: &[u32]) -> Option<()> {
        let start = usize::from(offset);
        if (start + data.len()).div_ceil(2) > self.entries.len() {
            return None;
        }
        for (at, value) in (start..).zip(data) {
            if at / 2 == 0 && self.control {
                continue;
            }
            let entry = self.entries.get_mut(at / 2)?;
            let was = entry.enabled();
            entry.words[at % 2] = value & [WORD_0, WORD_1][at % 2];
            if was != entry.enabled() {
                entry.draining = was;
            }
        }
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_lead_on_when_enabled() {
        let mut table = PathTable::new(11, false);
        assert_eq!(table.lookup(1), None);
        table
            .write(2, &[1 << 31 | 1 << 11 | 8, 0x0a00_0001])
            .unwrap();
        let hop = Hop {
            adapter: 1,
            next: 8,
        };
        assert_eq!(table.lookup(1), Some(hop));
        assert_eq!(
            table.read(2, 2),
            Some(vec![1 << 31 | 1 << 11 | 8, 0x0a00_0001])
        );
        table.reset();
        assert_eq!(table.lookup(1), None);
    }

    #[test]
    fn a_disabled_path_is_pending_until_it_is_empty() {
        let mut table = PathTable::new(23, true);
        table.write(16, &[1 << 31 | 3 << 11 | 1, 0]).unwrap();
        table.write(16, &[3 << 11 | 1, 0]).unwrap();
        table.settle(|hop| hop == 8);
        assert_eq!(table.read(17, 1), Some(vec![PENDING]));
        assert_eq!(table.lookup(8), None);
        assert!(table.lookup_draining(8).is_some());
        table.settle(|_| false);
        assert_eq!(table.read(17, 1), Some(vec![0]));
        assert_eq!(table.lookup_draining(8), None);
        // Software cannot set the bit.
        table.write(17, &[PENDING]).unwrap();
        assert_eq!(table.read(17, 1), Some(vec![0]));
    }

    #[test]
    fn the_control_channel_and_the_outside_are_out_of_reach() {
        let mut table = PathTable::new(23, true);
        table.write(0, &[u32::MAX, u32::MAX]).unwrap();
        assert_eq!(table.read(0, 2), Some(vec![2 << 17, 0]));
        assert_eq!(table.read(47, 2), None);
        assert_eq!(table.write(47, &[0, 0]), None);
        assert_eq!(table.write(48, &[0]), None);
        assert_eq!(table.read(0x1fff, 60), None);
        assert_eq!(table.lookup(24), None);
        assert_eq!(table.write(47, &[1]), Some(()));
    }
}
