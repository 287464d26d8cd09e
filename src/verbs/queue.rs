// SPDX-License-Identifier: GPL-2.0-only

//! Rings of entries, shared with a process or, in the same layout, private to the kernel.
//!
//! ```text
//!   vmalloc memory   | log2, mask | producer | consumer | slot 0 | slot 1 | ... | slot mask |
//!   mapped by        the process, reading and writing all of it
//!   believed of it   one index (whose side it is not ours), reduced by our own mask;
//!                    the bytes of a slot, copied once
//! ```
//!
//! Positions are running numbers that the caller keeps; the ring reduces them to slots. One slot
//! stays free, so that full and empty differ.
//!
//! This file reads and writes memory that a process changes at any time. It never makes a reference
//! to it: indices are atomics, slots are volatile words.

use core::ptr::NonNull;

use kernel::page::PAGE_SIZE;
use kernel::prelude::*;
use kernel::sync::atomic::{ordering, Atomic};
use kernel::sync::Arc;

use super::mmap::Mapping;
use super::udata::Udata;
use crate::rxe::user_abi::{
    MapInfo, QUEUE_CONSUMER_AT, QUEUE_DATA_AT, QUEUE_ELEMENT_AT, QUEUE_MASK_AT, QUEUE_PRODUCER_AT,
};

/// Entries begin on cache lines.
const LINE: usize = 64;
/// The unit in which entries are copied.
const WORD: usize = size_of::<u64>();

const _: () = assert!(QUEUE_DATA_AT % LINE == 0 && QUEUE_DATA_AT < PAGE_SIZE);

/// Pages that a process may map; they are freed when the last of us and its mappings is gone.
///
/// # Invariants
///
/// `base` points to `len` bytes from `usb4_rxe_queue_alloc`, a multiple of the page size.
pub struct Memory {
    base: NonNull<u8>,
    len: usize,
}

// SAFETY: Memory that no thread owns; access goes through atomics and volatile words only.
unsafe impl Send for Memory {}
// SAFETY: As above.
unsafe impl Sync for Memory {}

impl Memory {
    /// Allocates, zeroed.
    fn new(len: usize) -> Result<Self> {
        let len = len.checked_next_multiple_of(PAGE_SIZE).ok_or(EINVAL)?;
        // SAFETY: Has no requirements.
        let base = unsafe { compat::usb4_rxe_queue_alloc(len) };
        let base = NonNull::new(base.cast::<u8>()).ok_or(ENOMEM)?;
        // INVARIANT: Just allocated.
        Ok(Self { base, len })
    }

    /// Where it begins.
    pub fn base(&self) -> *mut u8 {
        self.base.as_ptr()
    }

    /// How long it is, whole pages.
    pub fn len(&self) -> usize {
        self.len
    }

    /// An index in the header.
    #[inline]
    fn index(&self, at: usize) -> &Atomic<u32> {
        debug_assert!(at < QUEUE_DATA_AT && at % size_of::<u32>() == 0);
        // SAFETY: The header lies in the first page, see above, and every `Memory` has one; the
        // address is aligned. Others access it only as an atomic, or from user space, which is as
        // good as one: on this machine an aligned word is read and written at once.
        unsafe { Atomic::from_ptr(self.base().add(at).cast::<u32>()) }
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: From `Memory::new`, and nobody uses it in the kernel any more. The last owner
        // may be in softirq context, which `vfree` allows: it then frees later. Processes keep
        // references to the pages that they have mapped.
        unsafe { compat::vfree(self.base().cast()) };
    }
}

/// A ring.
///
/// # Invariants
///
/// `mask + 1` slots of `1 << shift` bytes, at least `LINE`, fit in `memory` behind the header.
pub struct Queue {
    memory: Arc<Memory>,
    shift: u32,
    mask: u32,
    mapping: Option<Mapping>,
}

impl Queue {
    /// A ring for at least `entries` entries of at least `element` bytes, and a way to map it for
    /// the process that asks.
    ///
    /// # Errors
    ///
    /// `ENOMEM`; `EINVAL` for sizes beyond counting.
    pub fn create(entries: u32, element: usize, udata: Option<&Udata>) -> Result<Arc<Self>> {
        let element = element
            .max(LINE)
            .checked_next_power_of_two()
            .ok_or(EINVAL)?;
        let slots = entries
            .checked_add(1)
            .and_then(u32::checked_next_power_of_two)
            .ok_or(EINVAL)?;
        let mask = slots.wrapping_sub(1);
        let shift = element.trailing_zeros();
        let bytes = (slots as usize)
            .checked_mul(element)
            .and_then(|slots| slots.checked_add(QUEUE_DATA_AT))
            // Processes are told a length of 32 bits.
            .filter(|bytes| u32::try_from(bytes.next_multiple_of(PAGE_SIZE)).is_ok())
            .ok_or(EINVAL)?;
        let memory = Arc::new(Memory::new(bytes)?, GFP_KERNEL_ACCOUNT)?;
        // For the process; we have our own.
        memory
            .index(QUEUE_ELEMENT_AT)
            .store(shift, ordering::Relaxed);
        memory.index(QUEUE_MASK_AT).store(mask, ordering::Relaxed);
        let mapping = match udata {
            Some(udata) => Some(Mapping::new(udata, memory.clone())?),
            None => None,
        };
        // INVARIANT: `bytes` were computed so.
        let queue = Self {
            memory,
            shift,
            mask,
            mapping,
        };
        Ok(Arc::new(queue, GFP_KERNEL_ACCOUNT)?)
    }

    /// Where a process maps it.
    pub fn map_info(&self) -> MapInfo {
        self.mapping
            .as_ref()
            .map_or_else(MapInfo::default, Mapping::info)
    }

    /// Lets nobody map it any more. Mappings there are stay, with pages nobody else uses. Sleeps.
    pub fn unmap(&self) {
        if let Some(mapping) = &self.mapping {
            mapping.remove();
        }
    }

    /// Entries that fit.
    #[inline]
    pub fn capacity(&self) -> u32 {
        self.mask
    }

    /// Bytes of a slot.
    #[inline]
    pub fn element(&self) -> usize {
        1 << self.shift
    }

    /// The producer's position, a slot, as the other side has it. What it wrote before is visible.
    #[inline]
    pub fn shared_producer(&self) -> u32 {
        self.memory.index(QUEUE_PRODUCER_AT).load(ordering::Acquire) & self.mask
    }

    /// The consumer's position, a slot, as the other side has it.
    #[inline]
    pub fn shared_consumer(&self) -> u32 {
        self.memory.index(QUEUE_CONSUMER_AT).load(ordering::Acquire) & self.mask
    }

    /// Shows the other side that entries before `position` are written.
    #[inline]
    pub fn publish_producer(&self, position: u32) {
        self.memory
            .index(QUEUE_PRODUCER_AT)
            .store(position & self.mask, ordering::Release);
    }

    /// Shows the other side that entries before `position` may be written again.
    #[inline]
    pub fn publish_consumer(&self, position: u32) {
        self.memory
            .index(QUEUE_CONSUMER_AT)
            .store(position & self.mask, ordering::Release);
    }

    /// How far `ahead` is in front of `behind`: fewer than there are slots.
    #[inline]
    pub fn distance(&self, ahead: u32, behind: u32) -> u32 {
        ahead.wrapping_sub(behind) & self.mask
    }

    /// Whether `ahead` is in front of `behind` at all.
    #[inline]
    pub fn is_ahead(&self, ahead: u32, behind: u32) -> bool {
        self.distance(ahead, behind) != 0
    }

    /// Whether a producer at `position` finds no free slot.
    #[inline]
    pub fn is_full(&self, position: u32) -> bool {
        self.distance(position, self.shared_consumer()) == self.capacity()
    }

    /// The slot of a position.
    #[inline]
    fn slot(&self, position: u32) -> *mut u64 {
        let offset = ((position & self.mask) as usize) << self.shift;
        // SAFETY: By the type's invariants the slot lies in the memory. It is aligned: the memory is
        // to pages, the header and slots are multiples of cache lines.
        unsafe { self.memory.base().add(QUEUE_DATA_AT + offset) }.cast()
    }

    /// Copies a part of an entry, each byte once; it begins at a whole word.
    #[inline]
    pub fn read(&self, position: u32, start: usize, into: &mut [u8]) {
        let slot = self.slot(position);
        let skip = start / WORD;
        let len = into.len().min(self.element().saturating_sub(start));
        for (i, chunk) in into
            .get_mut(..len)
            .unwrap_or_default()
            .chunks_mut(WORD)
            .enumerate()
        {
            // SAFETY: The slot has whole words, `start + len` bytes of them at least.
            let word = unsafe { slot.add(skip).add(i).read_volatile() };
            if let Some(bytes) = word.to_ne_bytes().get(..chunk.len()) {
                chunk.copy_from_slice(bytes);
            }
        }
    }

    /// Writes the front of an entry, whole words: the last one is filled up with zeros.
    #[inline]
    pub fn write(&self, position: u32, from: &[u8]) {
        let slot = self.slot(position);
        let len = from.len().min(self.element());
        for (i, chunk) in from.get(..len).unwrap_or_default().chunks(WORD).enumerate() {
            let mut word = [0; WORD];
            if let Some(place) = word.get_mut(..chunk.len()) {
                place.copy_from_slice(chunk);
            }
            // SAFETY: The slot has whole words, and at least as many as are given.
            unsafe { slot.add(i).write_volatile(u64::from_ne_bytes(word)) };
        }
    }
}
