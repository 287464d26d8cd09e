// SPDX-License-Identifier: GPL-2.0-only

//! How a process gets a queue into its memory.
//!
//! ```text
//!   create_*: Mapping::new --> entry in the process's context --> offset in the answer
//!   mmap(offset) --> mmap --> entry --> its pages, each counted for the mapping
//!   destroy_*: Mapping::remove: no new mappings; the last one inside `mmap` frees the entry
//! ```
//!
//! The pages themselves are reference counted: a process that keeps a mapping of a queue long gone
//! keeps those pages and nothing else.

use core::ptr::NonNull;

use kernel::error::to_result;
use kernel::prelude::*;
use kernel::sync::atomic::{ordering, Atomic};
use kernel::sync::Arc;

use super::queue::Memory;
use super::udata::Udata;
use super::zeroed;
use crate::rxe::user_abi::MapInfo;

/// What the core finds by an offset: its own part first.
#[repr(C)]
struct Entry {
    core: compat::rdma_user_mmap_entry,
    memory: Arc<Memory>,
}

/// The right to map a queue.
///
/// # Invariants
///
/// `entry` was inserted; as long as `there`, the reference that insertion gave is ours.
pub struct Mapping {
    entry: NonNull<Entry>,
    info: MapInfo,
    there: Atomic<bool>,
}

// SAFETY: The entry belongs to no thread, and only `there` decides who touches it.
unsafe impl Send for Mapping {}
// SAFETY: As above.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Gives the process that asks the right to map `memory`.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub fn new(udata: &Udata, memory: Arc<Memory>) -> Result<Self> {
        let len = memory.len();
        let size = u32::try_from(len).map_err(|_| EINVAL)?;
        let entry = KBox::new(
            Entry {
                core: zeroed(),
                memory,
            },
            GFP_KERNEL_ACCOUNT,
        )?;
        let entry = NonNull::from(KBox::leak(entry));
        // SAFETY: The context is that of the process in this verb, the entry is ours and new.
        let inserted = to_result(unsafe {
            compat::rdma_user_mmap_entry_insert(udata.context(), entry.as_ptr().cast(), len)
        });
        if let Err(error) = inserted {
            // SAFETY: Leaked above, and not inserted.
            drop(unsafe { KBox::from_raw(entry.as_ptr()) });
            return Err(error);
        }
        // SAFETY: Inserted, and not removed yet.
        let offset = unsafe { compat::rdma_user_mmap_get_offset(entry.as_ptr().cast()) };
        // INVARIANT: Just inserted.
        Ok(Self {
            entry,
            info: MapInfo { offset, size },
            there: Atomic::new(true),
        })
    }

    /// What to tell the process.
    pub fn info(&self) -> MapInfo {
        self.info
    }

    /// Takes the right away. Sleeps; does nothing the second time.
    pub fn remove(&self) {
        if self.there.xchg(false, ordering::Relaxed) {
            // SAFETY: By the type's invariants the reference was ours, and we do not use it again.
            // The context is still there: the core takes the objects of a process apart first.
            unsafe { compat::rdma_user_mmap_entry_remove(self.entry.as_ptr().cast()) };
        }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // Only for a verb that failed half-way, in its own context: otherwise it is removed when
        // the object is destroyed.
        self.remove();
    }
}

/// `ib_device_ops.mmap`
///
/// # Safety
///
/// As the core calls it.
pub unsafe extern "C" fn mmap(
    context: *mut compat::ib_ucontext,
    vma: *mut compat::vm_area_struct,
) -> core::ffi::c_int {
    // SAFETY: Both are valid, as our caller promises. The core checks that the mapping is shared
    // and as long as the entry.
    let found = unsafe { compat::rdma_user_mmap_entry_get(context, vma) };
    if found.is_null() {
        return EINVAL.to_errno();
    }
    // SAFETY: Entries of our contexts are made by `Mapping::new` only; the reference that we have
    // now keeps it, and with it the memory. `vma` is the new mapping, as long as the memory.
    unsafe {
        let memory = &(*found.cast::<Entry>()).memory;
        let mapped = compat::usb4_rxe_queue_map(vma, memory.base().cast());
        compat::rdma_user_mmap_entry_put(found);
        mapped
    }
}

/// `ib_device_ops.mmap_free`: the last reference to an entry is gone.
///
/// # Safety
///
/// As the core calls it.
pub unsafe extern "C" fn mmap_free(entry: *mut compat::rdma_user_mmap_entry) {
    // SAFETY: Entries are made by `Mapping::new` only, which leaked a box; nobody else has it.
    drop(unsafe { KBox::from_raw(entry.cast::<Entry>()) });
}
