// SPDX-License-Identifier: GPL-2.0-only

//! Pinned memory of a process: the core pins it and accounts for it (`RLIMIT_MEMLOCK`), we learn
//! where it lies.
//!
//! ```text
//!   address, length ──ib_umem──> scatterlist: pages, contiguous ones as one entry ──> Runs
//! ```

use core::ptr::NonNull;

use kernel::error::from_err_ptr;
use kernel::prelude::*;

use super::device::Device;
use super::lend::{Lender, Lent};
use super::pages::PageList;
use crate::rxe::access::blocks::Run;
use crate::rxe::access::Rights;

/// Pinned memory of a process, and where it is.
pub struct Pinned {
    // Dropped first: it names pages that `umem` holds.
    pages: PageList,
    umem: Umem,
    /// Who may read it where it is, if there are rails.
    lender: Option<Pin<KBox<Lender>>>,
}

impl Pinned {
    /// Pins memory of the current process. `access` are the flags of the verb. Sleeps.
    ///
    /// # Safety
    ///
    /// `device` is a registered device, and lives longer than the result.
    ///
    /// # Errors
    ///
    /// `EINVAL` for addresses that wrap, no bytes, or as [`permits`](Self::permits); `EFAULT`,
    /// `ENOMEM`, `EPERM` as the core says.
    pub unsafe fn new(
        device: *mut compat::ib_device,
        start: u64,
        len: u64,
        access: u32,
    ) -> Result<Self> {
        // SAFETY: As our caller promises.
        let umem = unsafe { Umem::get(device, start, len, access)? };
        // SAFETY: What is pinned stays where it is as long as `umem`, which outlives `pages`. The
        // kernel maps all memory, and a walk over the same list yields the same.
        let pages = unsafe { PageList::of_runs(umem.runs())? };
        // SAFETY: The device is ours.
        let wire = unsafe { Device::from_ib(device) }.wire().cloned();
        let lender = match wire {
            Some(wire) => Some(KBox::pin_init(Lender::new(wire), GFP_KERNEL_ACCOUNT)?),
            None => None,
        };
        let pinned = Self {
            pages,
            umem,
            lender,
        };
        pinned.permits(access)?;
        Ok(pinned)
    }

    /// Where it is.
    #[inline]
    pub fn pages(&self) -> &PageList {
        &self.pages
    }

    /// Whether it may be accessed with these flags of the verb.
    ///
    /// # Errors
    ///
    /// `EACCES` if it is to be written and was not pinned for that (the code is the core's),
    /// `EINVAL` if it is to be persistent and is not.
    pub fn permits(&self, access: u32) -> Result {
        let rights = Rights::from_bits(access);
        if rights.intersects(Rights::WRITES) && !self.is_writable() {
            return Err(EACCES);
        }
        if rights.contains(Rights::FLUSH_PERSISTENT) && !self.umem.is_persistent() {
            return Err(EINVAL);
        }
        Ok(())
    }

    /// Lends out a range, for a host router to read.
    #[inline]
    pub fn lend(&self, offset: u64, len: usize) -> Option<Lent> {
        let lender = self.lender.as_ref()?;
        lender.lend(self.pages.span(offset, len)?)
    }

    /// Whether it was pinned for writing.
    #[inline]
    pub fn is_writable(&self) -> bool {
        self.umem.is_writable()
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        if let Some(lender) = &self.lender {
            lender.settle();
        }
    }
}

/// What the core pinned.
///
/// # Invariants
///
/// From `ib_umem_get_va`, not released.
struct Umem(NonNull<compat::ib_umem>);

// SAFETY: The core keeps what it needs of the process; pages are unpinned from any thread.
unsafe impl Send for Umem {}
// SAFETY: It is not changed once it is made.
unsafe impl Sync for Umem {}

impl Umem {
    /// # Safety
    ///
    /// `device` is a registered device, and lives longer than the result.
    unsafe fn get(
        device: *mut compat::ib_device,
        start: u64,
        len: u64,
        access: u32,
    ) -> Result<Self> {
        let start = usize::try_from(start).map_err(|_| EINVAL)?;
        let len = usize::try_from(len).map_err(|_| EINVAL)?;
        let access = i32::try_from(access).map_err(|_| EINVAL)?;
        // SAFETY: The device is valid; start and length are the core's to check.
        let umem = unsafe { compat::ib_umem_get_va(device, start as _, len, access) };
        let umem = NonNull::new(from_err_ptr(umem)?).ok_or(ENOMEM)?;
        // INVARIANT: Just made.
        Ok(Self(umem))
    }

    #[inline]
    fn is_writable(&self) -> bool {
        // SAFETY: Valid by the type's invariants.
        unsafe { self.0.as_ref() }.writable() != 0
    }

    /// The bytes, from the first to the last.
    fn runs(&self) -> Runs<'_> {
        // SAFETY: Valid by the type's invariants.
        let umem = unsafe { self.0.as_ref() };
        let page_mask = kernel::page::PAGE_SIZE as u64 - 1;
        let table = &umem.sgt_append.sgt;
        Runs {
            entry: table.sgl,
            entries: table.orig_nents,
            // The list begins with the page in which the first byte is.
            skip: umem.address as u64 & page_mask,
            left: umem.length as u64,
            _umem: core::marker::PhantomData,
        }
    }

    /// Whether all of it survives power loss.
    fn is_persistent(&self) -> bool {
        self.runs().all(|run| {
            // SAFETY: The run is memory that the kernel has mapped.
            unsafe { compat::usb4_rxe_is_persistent(run.addr as *const _, run.len as usize) }
        })
    }
}

impl Drop for Umem {
    fn drop(&mut self) {
        // SAFETY: From `ib_umem_get_va` by the type's invariants, and nobody uses it any more. Pages
        // pinned for writing are marked dirty.
        unsafe { compat::ib_umem_release(self.0.as_ptr()) };
    }
}

/// The runs of what is pinned.
///
/// # Invariants
///
/// `entry` is the front of `entries` entries of the scatterlist of a [`Umem`] that is borrowed.
#[derive(Clone)]
struct Runs<'a> {
    entry: *mut compat::scatterlist,
    entries: u32,
    skip: u64,
    left: u64,
    _umem: core::marker::PhantomData<&'a Umem>,
}

impl Iterator for Runs<'_> {
    type Item = Run;

    fn next(&mut self) -> Option<Run> {
        if self.left == 0 {
            return None;
        }
        self.entries = self.entries.checked_sub(1)?;
        // SAFETY: An entry of the list, by the type's invariants.
        let (addr, len) = unsafe {
            let addr = compat::sg_virt(self.entry) as u64;
            (addr, u64::from((*self.entry).length))
        };
        // SAFETY: As above. INVARIANT: After the last entry comes null, and `entries` is 0.
        self.entry = unsafe { compat::sg_next(self.entry) };
        let run = Run {
            addr: addr.wrapping_add(self.skip),
            len: len.saturating_sub(self.skip).min(self.left),
        };
        self.skip = self.skip.saturating_sub(len);
        self.left = self.left.saturating_sub(run.len);
        Some(run)
    }
}
