// SPDX-License-Identifier: GPL-2.0-only

//! Memory of users: copying into it and out of it.
//!
//! ```text
//!   region's offset --Blocks--> block, place in it --bases--> Span: kernel address, length
//!                                                               |
//!                                            write, read, atomic, write_back
//! ```
//!
//! A [`Span`] is memory that others write at any time: the process it belongs to, other queue
//! pairs. No reference to it is ever made; bytes go in and out through C's `memcpy`, eight at a
//! time through atomics.

use core::marker::PhantomData;

use kernel::prelude::*;
use kernel::sync::atomic::{ordering, Atomic};

use crate::rxe::access::blocks::{Blocks, Run};
use crate::rxe::env::{AtomicOp, Fault};

/// Bytes at consecutive kernel addresses.
///
/// # Invariants
///
/// During `'a` the bytes are mapped, readable and writable, and lie within one object of the
/// kernel's memory. Anybody may change them at any time.
#[derive(Clone, Copy)]
pub struct Span<'a> {
    addr: usize,
    len: usize,
    _lives: PhantomData<&'a ()>,
}

impl<'a> Span<'a> {
    /// Names bytes.
    ///
    /// # Safety
    ///
    /// The type's invariants hold.
    #[inline]
    pub unsafe fn new(addr: usize, len: usize) -> Self {
        // INVARIANT: As our caller promises.
        Self {
            addr,
            len,
            _lives: PhantomData,
        }
    }

    /// Number of bytes.
    #[inline]
    pub fn len(self) -> usize {
        self.len
    }

    /// Where they are.
    #[inline]
    pub fn address(self) -> usize {
        self.addr
    }

    /// Copies bytes in: as many as there are on both sides.
    #[inline]
    pub fn write(self, from: &[u8]) {
        // SAFETY: The bytes are writable by the type's invariants; `from` is as long as said, and
        // does not overlap them: nobody has a reference to such memory. That others write at the
        // same time is none of the compiler's business: it does not see into C.
        unsafe {
            compat::memcpy(
                self.addr as *mut _,
                from.as_ptr().cast(),
                self.len.min(from.len()),
            )
        };
    }

    /// Copies bytes out: as many as there are on both sides.
    #[inline]
    pub fn read(self, into: &mut [u8]) {
        // SAFETY: As in `write`, the other way round.
        unsafe {
            compat::memcpy(
                into.as_mut_ptr().cast(),
                self.addr as *const _,
                self.len.min(into.len()),
            )
        };
    }

    /// The bytes as one atomic word, if that is what they are.
    #[inline]
    fn word(self) -> Result<&'a Atomic<u64>, Fault> {
        let word = self.addr as *mut u64;
        if self.len != size_of::<u64>() || !word.is_aligned() {
            return Err(Fault::Gone);
        }
        // SAFETY: Aligned and long enough, as just checked; mapped for `'a` by the type's
        // invariants. Others access it as user space does, with plain or locked instructions: not
        // data races in the sense of the kernel's memory model, and no compiler sees both sides.
        Ok(unsafe { Atomic::from_ptr(word) })
    }

    /// Executes an atomic operation, in one instruction; returns the value before it.
    #[inline]
    pub fn atomic(self, op: AtomicOp) -> Result<u64, Fault> {
        let word = self.word()?;
        Ok(match op {
            AtomicOp::CompareSwap { compare, swap } => {
                match word.cmpxchg(compare, swap, ordering::Full) {
                    Ok(old) | Err(old) => old,
                }
            }
            AtomicOp::FetchAdd { add } => word.fetch_add(add, ordering::Full),
        })
    }

    /// Stores eight bytes in one access, after everything stored before.
    #[inline]
    pub fn store_word(self, bytes: [u8; 8]) -> Result<(), Fault> {
        self.word()?
            .store(u64::from_ne_bytes(bytes), ordering::Release);
        Ok(())
    }

    /// Writes the CPUs' caches back to memory.
    pub fn write_back(self) {
        // SAFETY: The bytes are mapped by the type's invariants.
        unsafe { compat::usb4_rxe_write_back(self.addr as *mut _, self.len) };
    }
}

/// Where the bytes of a region are.
///
/// # Invariants
///
/// `bases` has one address for each of `blocks`. As long as this exists, each byte of the region
/// lies where they tell, and is mapped, readable and writable there.
pub struct PageList {
    blocks: Blocks,
    bases: KVVec<usize>,
}

impl PageList {
    /// Nothing, with room for `room` blocks.
    ///
    /// # Errors
    ///
    /// `ENOMEM`
    pub fn with_room(room: usize) -> Result<Self> {
        // INVARIANT: No blocks, no addresses.
        Ok(Self {
            blocks: Blocks::EMPTY,
            bases: KVVec::with_capacity(room, GFP_KERNEL_ACCOUNT)?,
        })
    }

    /// The bytes of these runs, in order.
    ///
    /// # Safety
    ///
    /// The runs are mapped, readable and writable as long as the result exists. Both iterators
    /// yield the same.
    ///
    /// # Errors
    ///
    /// `ENOMEM`; `EINVAL` if they are more than memory can be.
    pub unsafe fn of_runs<I: Iterator<Item = Run> + Clone>(runs: I) -> Result<Self> {
        let blocks = Blocks::fit(runs.clone()).ok_or(EINVAL)?;
        let count = usize::try_from(blocks.count()).map_err(|_| ENOMEM)?;
        let mut bases = KVVec::with_capacity(count, GFP_KERNEL_ACCOUNT | __GFP_NOWARN)?;
        for base in blocks.bases(runs) {
            bases.push(base as usize, GFP_KERNEL)?;
        }
        if bases.len() != count {
            return Err(EINVAL);
        }
        // INVARIANT: The bases tell where the runs are, which our caller vouches for.
        Ok(Self { blocks, bases })
    }

    /// Takes over another list, in the room there is.
    ///
    /// # Safety
    ///
    /// The type's invariants hold for `blocks` and `bases`, as long as `self` exists or until it is
    /// set again.
    pub unsafe fn set(&mut self, blocks: Blocks, bases: &[usize]) -> Result<(), Fault> {
        let count = usize::try_from(blocks.count()).map_err(|_| Fault::Gone)?;
        let bases = bases.get(..count).ok_or(Fault::Gone)?;
        if count > self.bases.capacity() {
            return Err(Fault::Gone);
        }
        // INVARIANT: No blocks, no addresses; then one for each, as our caller promises.
        self.blocks = Blocks::EMPTY;
        self.bases.clear();
        for base in bases {
            self.bases
                .push_within_capacity(*base)
                .map_err(|_| Fault::Gone)?;
        }
        self.blocks = blocks;
        Ok(())
    }

    /// The span of a range, if it is one.
    #[inline]
    pub fn span(&self, offset: u64, len: usize) -> Option<Span<'_>> {
        let piece = self.blocks.pieces(offset, len)?.next()?;
        if piece.len != len {
            return None;
        }
        let base = self.bases.get(piece.block)?;
        // SAFETY: As in `spans`.
        Some(unsafe { Span::new(base.wrapping_add(piece.within as usize), len) })
    }

    /// Hands the spans of a range, in order, to `each`.
    #[inline]
    pub fn spans(
        &self,
        offset: u64,
        len: usize,
        mut each: impl FnMut(Span<'_>) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        for piece in self.blocks.pieces(offset, len).ok_or(Fault::Gone)? {
            let base = self.bases.get(piece.block).ok_or(Fault::Gone)?;
            // The base may lie below where the region begins; with `within` it does not.
            let addr = base.wrapping_add(piece.within as usize);
            // SAFETY: A piece of the region, in one block of it: mapped as long as `self` exists,
            // by the type's invariants.
            each(unsafe { Span::new(addr, piece.len) })?;
        }
        Ok(())
    }
}

/// Hands the span of a range of kernel addresses to `each`: what "virtual DMA" calls DMA addresses.
///
/// # Safety
///
/// As far as there is memory in the range, it is the caller's to touch, and stays mapped: nobody takes memory
/// that others use out of the kernel's mapping.
#[inline]
pub unsafe fn direct_span(
    at: u64,
    len: usize,
    each: impl FnOnce(Span<'_>) -> Result<(), Fault>,
) -> Result<(), Fault> {
    if len == 0 {
        return Ok(());
    }
    let first = usize::try_from(at).map_err(|_| Fault::Gone)?;
    let last = first.checked_add(len.wrapping_sub(1)).ok_or(Fault::Gone)?;
    let mut page = first;
    loop {
        // SAFETY: Looks the address up, does not use it.
        if !unsafe { compat::virt_addr_valid(page as *const _) } {
            return Err(Fault::Gone);
        }
        if page | PAGE_MASK >= last | PAGE_MASK {
            break;
        }
        page = (page | PAGE_MASK).wrapping_add(1);
    }
    // SAFETY: Each page is memory whose place in the kernel's mapping this is; our caller may touch it,
    // and says that it is mapped.
    each(unsafe { Span::new(first, len) })
}

/// The bits of an address within a page.
const PAGE_MASK: usize = kernel::page::PAGE_SIZE - 1;
