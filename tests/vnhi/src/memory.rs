// SPDX-License-Identifier: GPL-2.0-only

//! Guest memory that one NHI may reach: the windows its machine has mapped for it.
//!
//! Every address comes from the guest. An access that leaves the mapped windows, or writes into a read-only one,
//! is an error value; nothing of it happens, except that an access over several windows may be done in part.

use std::fmt;
use std::sync::atomic::Ordering;

use vm_memory::{Address, Bytes, GuestMemoryRegion, GuestRegionMmap, VolatileSlice};

/// An address range that cannot be reached, or not written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BadAddress;

impl fmt::Display for BadAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("address range is not mapped or not writable")
    }
}

impl std::error::Error for BadAddress {}

/// Which end of a copy could not be reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CopyError {
    /// Where the bytes are.
    Source,
    /// Where they go.
    Target,
}

/// Why a window was not mapped or unmapped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MapError {
    /// There is no such NHI.
    NoSuchNhi,
    /// It overlaps a mapped window.
    Overlap,
    /// No window was mapped with this address and size.
    NotMapped,
    /// More windows than any machine needs.
    TooMany,
}

impl fmt::Display for MapError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoSuchNhi => "there is no such NHI",
            Self::Overlap => "the range overlaps a mapped one",
            Self::NotMapped => "the range was not mapped",
            Self::TooMany => "too many mapped ranges",
        })
    }
}

impl std::error::Error for MapError {}

/// Most windows of one machine; QEMU makes a few dozen.
const MAX_WINDOWS: usize = 4096;

#[derive(Debug)]
struct Window {
    start: u64,
    /// Last address, so that a window may end at the very top.
    last: u64,
    writable: bool,
    region: GuestRegionMmap,
}

/// The windows, sorted by address.
#[derive(Debug, Default)]
pub struct Memory {
    windows: Vec<Window>,
}

impl Memory {
    /// Adds a window.
    ///
    /// # Errors
    ///
    /// When it overlaps one that is there, or there are too many.
    pub fn map(&mut self, region: GuestRegionMmap, writable: bool) -> Result<(), MapError> {
        if self.windows.len() >= MAX_WINDOWS {
            return Err(MapError::TooMany);
        }
        let start = region.start_addr().raw_value();
        let last = region.last_addr().raw_value();
        let at = self.windows.partition_point(|window| window.last < start);
        if self.windows.get(at).is_some_and(|next| next.start <= last) {
            return Err(MapError::Overlap);
        }
        let window = Window {
            start,
            last,
            writable,
            region,
        };
        self.windows.insert(at, window);
        Ok(())
    }

    /// Removes the window that was mapped with exactly these values.
    ///
    /// # Errors
    ///
    /// When there is none.
    pub fn unmap(&mut self, address: u64, size: u64) -> Result<(), MapError> {
        let at = self
            .windows
            .iter()
            .position(|window| window.start == address && window.region.len() == size)
            .ok_or(MapError::NotMapped)?;
        self.windows.remove(at);
        Ok(())
    }

    /// Removes all windows.
    pub fn clear(&mut self) {
        self.windows.clear();
    }

    /// The window that holds `address`, and the offset in it.
    fn find(&self, address: u64) -> Option<(&Window, u64)> {
        let at = self.windows.partition_point(|window| window.last < address);
        let window = self.windows.get(at)?;
        Some((window, address.checked_sub(window.start)?))
    }

    /// The range as one piece, when one window holds it all.
    fn piece(
        &self,
        address: u64,
        length: usize,
        write: bool,
    ) -> Result<VolatileSlice<'_>, BadAddress> {
        let (window, offset) = self.find(address).ok_or(BadAddress)?;
        if write && !window.writable {
            return Err(BadAddress);
        }
        window
            .region
            .get_slice(vm_memory::MemoryRegionAddress(offset), length)
            .map_err(|_| BadAddress)
    }

    /// A range to read from, in one piece.
    ///
    /// # Errors
    ///
    /// When no single window holds it all.
    pub fn readable(&self, address: u64, length: usize) -> Result<VolatileSlice<'_>, BadAddress> {
        self.piece(address, length, false)
    }

    /// A range to write into, in one piece.
    ///
    /// # Errors
    ///
    /// When no single writable window holds it all.
    pub fn writable(&self, address: u64, length: usize) -> Result<VolatileSlice<'_>, BadAddress> {
        self.piece(address, length, true)
    }

    /// Bytes from `address` on that lie in its window, at most `length`.
    fn reach(&self, address: u64, length: usize) -> usize {
        match self.find(address) {
            Some((window, _)) => usize::try_from((window.last - address).saturating_add(1))
                .unwrap_or(usize::MAX)
                .min(length),
            None => 0,
        }
    }

    /// Reads a range, over several windows if need be.
    ///
    /// # Errors
    ///
    /// When part of it is not mapped.
    pub fn read(&self, mut address: u64, mut data: &mut [u8]) -> Result<(), BadAddress> {
        if let Ok(piece) = self.readable(address, data.len()) {
            piece.copy_to(data);
            return Ok(());
        }
        while !data.is_empty() {
            let (now, later) = data.split_at_mut(self.reach(address, data.len()));
            self.readable(address, now.len())?.copy_to(now);
            address = advance(address, now.len(), later.is_empty())?;
            data = later;
        }
        Ok(())
    }

    /// Writes a range, over several windows if need be.
    ///
    /// # Errors
    ///
    /// When part of it is not mapped or not writable.
    pub fn write(&self, mut address: u64, mut data: &[u8]) -> Result<(), BadAddress> {
        if let Ok(piece) = self.writable(address, data.len()) {
            piece.copy_from(data);
            return Ok(());
        }
        while !data.is_empty() {
            let (now, later) = data.split_at(self.reach(address, data.len()));
            self.writable(address, now.len())?.copy_from(now);
            address = advance(address, now.len(), later.is_empty())?;
            data = later;
        }
        Ok(())
    }

    /// Copies into another machine's memory, or within the same.
    ///
    /// # Errors
    ///
    /// When one of the ranges is not mapped, or the target not writable.
    pub fn copy(&self, from: u64, target: &Self, to: u64, length: usize) -> Result<(), CopyError> {
        if let (Ok(from), Ok(to)) = (self.readable(from, length), target.writable(to, length)) {
            from.copy_to_volatile_slice(to);
            return Ok(());
        }
        let mut bytes = vec![0; length];
        self.read(from, &mut bytes).map_err(|_| CopyError::Source)?;
        target.write(to, &bytes).map_err(|_| CopyError::Target)
    }

    /// Writes one word so that whoever sees it also sees everything written before.
    ///
    /// # Errors
    ///
    /// When it is not mapped, not writable or not aligned.
    pub fn publish(&self, address: u64, word: u32) -> Result<(), BadAddress> {
        self.writable(address, 4)?
            .store(word.to_le(), 0, Ordering::Release)
            .map_err(|_| BadAddress)
    }
}

/// The address after a piece; stepping over the top is an error only when something is left to do there.
fn advance(address: u64, length: usize, end: bool) -> Result<u64, BadAddress> {
    if length == 0 {
        return Err(BadAddress);
    }
    match address.checked_add(u64::try_from(length).unwrap_or(u64::MAX)) {
        Some(next) => Ok(next),
        None if end => Ok(0),
        None => Err(BadAddress),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use vm_memory::{GuestAddress, MmapRegion};

    fn window(address: u64, size: usize) -> GuestRegionMmap {
        GuestRegionMmap::new(MmapRegion::new(size).unwrap(), GuestAddress(address)).unwrap()
    }

    fn two() -> Memory {
        let mut memory = Memory::default();
        memory.map(window(0x3000, 0x1000), true).unwrap();
        memory.map(window(0x1000, 0x2000), true).unwrap();
        memory.map(window(0x8000, 0x1000), false).unwrap();
        memory
    }

    #[test]
    fn ranges_may_cross_windows_but_not_holes() {
        let memory = two();
        let data: Vec<u8> = (0..=255).collect();
        memory.write(0x2f80, &data).unwrap();
        let mut back = [0; 256];
        memory.read(0x2f80, &mut back).unwrap();
        assert_eq!(back[..], data[..]);
        assert_eq!(memory.read(0x3f80, &mut back), Err(BadAddress));
        assert_eq!(memory.read(0xfff, &mut back), Err(BadAddress));
        assert_eq!(memory.read(u64::MAX, &mut back), Err(BadAddress));
        assert!(memory.readable(0x2f80, 256).is_err());
        assert!(memory.readable(0x2f00, 256).is_ok());
        assert_eq!(memory.read(0xffff_0000, &mut []), Ok(()));
    }

    #[test]
    fn copies_cross_machines_and_windows() {
        let (a, b) = (two(), two());
        a.write(0x2ff0, &[7; 32]).unwrap();
        for (from, to) in [(0x2ff0, 0x1000), (0x2ff0, 0x2ff8), (0x2ff0, 0x3000)] {
            a.copy(from, &b, to, 32).unwrap();
            let mut back = [0; 32];
            b.read(to, &mut back).unwrap();
            assert_eq!(back, [7; 32]);
        }
        assert_eq!(a.copy(0, &b, 0x1000, 1), Err(CopyError::Source));
        assert_eq!(a.copy(0x1000, &b, 0x8000, 1), Err(CopyError::Target));
    }

    #[test]
    fn read_only_windows_are_not_written() {
        let memory = two();
        assert_eq!(memory.read(0x8000, &mut [0; 4]), Ok(()));
        assert_eq!(memory.write(0x8000, &[0; 4]), Err(BadAddress));
        assert_eq!(memory.publish(0x8000, 1), Err(BadAddress));
    }

    #[test]
    fn words_are_published_at_aligned_addresses() {
        let memory = two();
        memory.publish(0x1008, 0x0102_0304).unwrap();
        let mut word = [0; 4];
        memory.read(0x1008, &mut word).unwrap();
        assert_eq!(word, [4, 3, 2, 1]);
        assert_eq!(memory.publish(0x1009, 0), Err(BadAddress));
    }

    #[test]
    fn windows_come_and_go_whole() {
        let mut memory = two();
        assert_eq!(
            memory.map(window(0x2000, 0x1000), true),
            Err(MapError::Overlap)
        );
        assert_eq!(
            memory.map(window(0, 0x1_0000), true),
            Err(MapError::Overlap)
        );
        assert_eq!(memory.unmap(0x1000, 0x1000), Err(MapError::NotMapped));
        assert_eq!(memory.unmap(0x1000, 0x2000), Ok(()));
        assert_eq!(memory.read(0x1000, &mut [0]), Err(BadAddress));
        memory.clear();
        assert_eq!(memory.read(0x3000, &mut [0]), Err(BadAddress));
    }
}
