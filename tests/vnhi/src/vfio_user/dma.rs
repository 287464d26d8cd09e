// SPDX-License-Identifier: GPL-2.0-only

//! Guest memory that a client lends: which windows of the device's address space exist, and the mappings behind them.
//!
//! A window with a file is mapped into this process. Only files sealed against shrinking are taken (QEMU's memory-backend-memfd seals by
//! default): with any other, the client could cut the file under our mapping and an access would kill the process. A window without a file, as QEMU sends for
//! firmware ROMs, is remembered and never accessed: the device sees no memory there.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::fd::OwnedFd;

use rustix::fs::{fcntl_get_seals, fstat, SealFlags};
use rustix::io::Errno;
use rustix::mm::{MapFlags, ProtFlags};
use vm_memory::mmap::MmapRegionBuilder;
use vm_memory::{FileOffset, GuestAddress, GuestRegionMmap};

use super::message::{DmaMap, DMA_READ, DMA_WRITE};

/// Most windows at a time; told to the client as `max_dma_maps`.
pub const MAX_WINDOWS: usize = 1024;

/// The windows of one client: address to size.
#[derive(Debug, Default)]
pub struct Windows {
    sizes: BTreeMap<u64, u64>,
}

impl Windows {
    /// Notes a new window.
    ///
    /// # Errors
    ///
    /// `EINVAL` for an empty window or one past the end of the address space, `EEXIST` when it overlaps another, `ENOSPC` when there are too many.
    pub fn insert(&mut self, address: u64, size: u64) -> Result<(), Errno> {
        let last = match size.checked_sub(1) {
            Some(extent) => address.checked_add(extent).ok_or(Errno::INVAL)?,
            None => return Err(Errno::INVAL),
        };
        // Windows do not overlap, so the one that begins last at or before our end is the only candidate.
        if let Some((other, other_size)) = self.sizes.range(..=last).next_back() {
            if other + (other_size - 1) >= address {
                return Err(Errno::EXIST);
            }
        }
        if self.sizes.len() >= MAX_WINDOWS {
            return Err(Errno::NOSPC);
        }
        self.sizes.insert(address, size);
        Ok(())
    }

    /// Forgets a window.
    ///
    /// # Errors
    ///
    /// `ENOENT` when there is none with exactly this address and size.
    pub fn remove(&mut self, address: u64, size: u64) -> Result<(), Errno> {
        if self.sizes.get(&address) != Some(&size) {
            return Err(Errno::NOENT);
        }
        self.sizes.remove(&address);
        Ok(())
    }

    /// Forgets all windows and says which they were.
    pub fn take(&mut self) -> impl Iterator<Item = (u64, u64)> {
        std::mem::take(&mut self.sizes).into_iter()
    }
}

/// Memory of a window, mapped into this process.
#[derive(Debug)]
pub struct Mapping {
    /// The memory, at its address in the device's address space.
    pub region: GuestRegionMmap,
    /// Whether the device may write.
    pub writable: bool,
}

/// Maps the file of a window.
///
/// # Errors
///
/// `EPERM` when the file could shrink under the mapping, `EINVAL` when the window is not inside the file or the device may not even read it, and those of `mmap`.
pub fn map(request: &DmaMap, fd: OwnedFd) -> Result<Mapping, Errno> {
    let flags = request.flags.get();
    if flags & DMA_READ == 0 || flags & !(DMA_READ | DMA_WRITE) != 0 {
        return Err(Errno::INVAL);
    }
    let writable = flags & DMA_WRITE != 0;
    match fcntl_get_seals(&fd) {
        Ok(seals) if seals.contains(SealFlags::SHRINK) => {}
        _ => return Err(Errno::PERM),
    }
    let (offset, size) = (request.offset.get(), request.size.get());
    let file_size = u64::try_from(fstat(&fd)?.st_size).map_err(|_| Errno::INVAL)?;
    if offset.checked_add(size).is_none_or(|end| end > file_size) {
        return Err(Errno::INVAL);
    }
    let size = usize::try_from(size).map_err(|_| Errno::INVAL)?;
    let mut protection = ProtFlags::READ;
    protection.set(ProtFlags::WRITE, writable);
    let mapping = MmapRegionBuilder::new(size)
        .with_file_offset(FileOffset::new(File::from(fd), offset))
        .with_mmap_prot(protection.bits() as i32)
        .with_mmap_flags((MapFlags::SHARED | MapFlags::NORESERVE).bits() as i32)
        .build()
        .map_err(|error| match error {
            vm_memory::mmap::MmapRegionError::Mmap(io) => {
                Errno::from_io_error(&io).unwrap_or(Errno::INVAL)
            }
            _ => Errno::INVAL,
        })?;
    let region = GuestRegionMmap::new(mapping, GuestAddress(request.address.get()));
    Ok(Mapping {
        region: region.ok_or(Errno::INVAL)?,
        writable,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::{fcntl_add_seals, ftruncate, memfd_create, MemfdFlags};
    use vm_memory::{Bytes, MemoryRegionAddress};

    fn memory(size: u64, sealed: bool) -> OwnedFd {
        let fd = memfd_create("guest", MemfdFlags::ALLOW_SEALING).unwrap();
        ftruncate(&fd, size).unwrap();
        if sealed {
            fcntl_add_seals(&fd, SealFlags::SHRINK).unwrap();
        }
        fd
    }

    fn request(offset: u64, size: u64, flags: u32) -> DmaMap {
        DmaMap {
            argsz: 32.into(),
            flags: flags.into(),
            offset: offset.into(),
            address: 0x10_0000.into(),
            size: size.into(),
        }
    }

    #[test]
    fn windows_do_not_overlap() {
        let mut windows = Windows::default();
        assert_eq!(windows.insert(0x1000, 0x2000), Ok(()));
        assert_eq!(windows.insert(0x0, 0x1001), Err(Errno::EXIST));
        assert_eq!(windows.insert(0x2fff, 1), Err(Errno::EXIST));
        assert_eq!(windows.insert(0x0, u64::MAX), Err(Errno::EXIST));
        assert_eq!(windows.insert(0x1800, 0x10), Err(Errno::EXIST));
        assert_eq!(windows.insert(0x3000, 0x1000), Ok(()));
        assert_eq!(windows.insert(0x0, 0x1000), Ok(()));
        assert_eq!(windows.insert(0x8000, 0), Err(Errno::INVAL));
        assert_eq!(windows.insert(u64::MAX, 2), Err(Errno::INVAL));
        assert_eq!(windows.insert(u64::MAX, 1), Ok(()));
    }

    #[test]
    fn only_whole_windows_are_removed() {
        let mut windows = Windows::default();
        windows.insert(0x1000, 0x2000).unwrap();
        assert_eq!(windows.remove(0x1000, 0x1000), Err(Errno::NOENT));
        assert_eq!(windows.remove(0x2000, 0x1000), Err(Errno::NOENT));
        assert_eq!(windows.remove(0x1000, 0x2000), Ok(()));
        assert_eq!(windows.insert(0x1000, 0x1000), Ok(()));
        assert_eq!(windows.take().collect::<Vec<_>>(), [(0x1000, 0x1000)]);
        assert_eq!(windows.take().count(), 0);
    }

    #[test]
    fn there_are_not_endlessly_many_windows() {
        let mut windows = Windows::default();
        for index in 0..MAX_WINDOWS as u64 {
            windows.insert(index * 0x1000, 0x1000).unwrap();
        }
        assert_eq!(windows.insert(1 << 40, 0x1000), Err(Errno::NOSPC));
    }

    #[test]
    fn a_mapping_shows_the_file() {
        let fd = memory(0x4000, true);
        rustix::io::pwrite(&fd, b"hello", 0x1008).unwrap();
        let mapping = map(&request(0x1000, 0x2000, 3), fd).unwrap();
        let mut bytes = [0; 5];
        let at = MemoryRegionAddress(8);
        mapping.region.read_slice(&mut bytes, at).unwrap();
        assert_eq!(&bytes, b"hello");
        assert!(mapping.writable);
    }

    #[test]
    fn a_read_only_window_is_mapped_so() {
        let mapping = map(&request(0, 0x1000, DMA_READ), memory(0x1000, true)).unwrap();
        assert!(!mapping.writable);
        assert_eq!(mapping.region.get_mmap().prot(), 1);
    }

    #[test]
    fn memory_that_could_vanish_is_refused() {
        let refused = map(&request(0, 0x1000, 3), memory(0x1000, false));
        assert_eq!(refused.err(), Some(Errno::PERM));
        let file = File::open("/proc/self/exe").unwrap();
        let refused = map(&request(0, 0x1000, 1), file.into());
        assert_eq!(refused.err(), Some(Errno::PERM));
    }

    #[test]
    fn windows_outside_the_file_are_refused() {
        for (offset, size) in [
            (0, 0x1001),
            (0x1000, 0x1000),
            (u64::MAX, 0x1000),
            (0, u64::MAX),
            (0, 1 << 60),
        ] {
            let refused = map(&request(offset, size, 3), memory(0x1000, true));
            assert_eq!(refused.err(), Some(Errno::INVAL), "{offset:#x} {size:#x}");
        }
        let unaligned = map(&request(0x10, 0x100, 3), memory(0x1000, true));
        assert_eq!(unaligned.err(), Some(Errno::INVAL));
        let unreadable = map(&request(0, 0x1000, DMA_WRITE), memory(0x1000, true));
        assert_eq!(unreadable.err(), Some(Errno::INVAL));
    }
}
