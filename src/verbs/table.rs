// SPDX-License-Identifier: GPL-2.0-only

//! Objects by number, found without lock or reference count.
//!
//! ```text
//!   reserve ──> a number nobody else gets ──publish──> get finds the object
//!                                                          |
//!   remove: erase, wait for a grace period, hand back <────'
//! ```
//!
//! Readers have softirqs off, which is a read-side section of RCU: what [`Table::get`] lends to the
//! holder of a [`Bh`] is not let go of before that holder is done. The price is on the other side:
//! taking an object out sleeps until all such sections that were open are over.

use core::marker::PhantomData;
use core::mem::{align_of, ManuallyDrop};
use core::ptr::null_mut;

use kernel::error::to_result;
use kernel::prelude::*;
use kernel::sync::{Arc, ArcBorrow};
use kernel::types::Opaque;

use super::lock::Bh;

/// A table of objects.
///
/// # Invariants
///
/// Each entry of the xarray is reserved (null to readers), or a pointer from [`Arc::into_raw`] that
/// owns its reference.
#[pin_data(PinnedDrop)]
pub struct Table<T: Send + Sync> {
    #[pin]
    entries: Opaque<compat::xarray>,
    /// Where to look for a free number first. Under the xarray's lock.
    #[pin]
    next: Opaque<u32>,
    _owns: PhantomData<Arc<T>>,
}

// SAFETY: The table owns references to `T`, which may be let go of anywhere as `T` is `Send` and
// `Sync`; the xarray belongs to no thread.
unsafe impl<T: Send + Sync> Send for Table<T> {}
// SAFETY: The xarray has its own lock; what it lends is shared references to `T`, which is `Sync`,
// and lets others clone and drop them, as `T` is `Send`.
unsafe impl<T: Send + Sync> Sync for Table<T> {}

/// Waits until everybody who has softirqs off now has had them on again. Sleeps.
pub fn wait_for_readers() {
    // SAFETY: Our callers may sleep: only verbs of objects get here.
    unsafe { compat::synchronize_rcu_expedited() };
}

impl<T: Send + Sync> Table<T> {
    /// An empty table.
    pub fn new() -> impl PinInit<Self> {
        const {
            // The two lowest bits of an entry are the xarray's.
            assert!(align_of::<T>() >= 4);
        }
        // INVARIANT: There are no entries.
        pin_init!(Self {
            entries <- Opaque::ffi_init(|entries| {
                // SAFETY: `entries` is ours to initialise, and pinned.
                unsafe { compat::xa_init_flags(entries, compat::usb4_rxe_XA_FLAGS_ALLOC) }
            }),
            next <- Opaque::new(0),
            _owns: PhantomData,
        })
    }

    /// Reserves a number between `lowest` and `highest`, one that was not in use lately if
    /// possible. Sleeps.
    ///
    /// # Errors
    ///
    /// `EBUSY` if all are taken, `ENOMEM`.
    pub fn reserve(&self, lowest: u32, highest: u32) -> Result<Reserved<'_, T>> {
        let mut number = 0;
        let limit = compat::xa_limit {
            max: highest,
            min: lowest,
        };
        // SAFETY: The xarray is initialised and `next` is only used under its lock, which this
        // takes; it may sleep.
        // INVARIANT: A null entry is stored as a reservation.
        let result = unsafe {
            compat::xa_alloc_cyclic(
                self.entries.get(),
                &mut number,
                null_mut(),
                limit,
                self.next.get(),
                compat::usb4_rxe_GFP_KERNEL,
            )
        };
        // 1 is success, too: it began from `lowest` again.
        to_result(result)?;
        Ok(Reserved {
            table: self,
            number,
        })
    }

    /// Reserves the first free number from `start` on, going on at `lowest` after `highest`.
    /// Sleeps.
    ///
    /// # Errors
    ///
    /// As [`reserve`](Self::reserve).
    pub fn reserve_from(&self, start: u32, lowest: u32, highest: u32) -> Result<Reserved<'_, T>> {
        self.reserve_first(start, highest)
            .or_else(|error| match start.checked_sub(1) {
                Some(before) if error == EBUSY && before >= lowest => {
                    self.reserve_first(lowest, before)
                }
                _ => Err(error),
            })
    }

    fn reserve_first(&self, lowest: u32, highest: u32) -> Result<Reserved<'_, T>> {
        let mut number = 0;
        let limit = compat::xa_limit {
            max: highest,
            min: lowest,
        };
        // SAFETY: The xarray is initialised; this may sleep.
        // INVARIANT: A null entry is stored as a reservation.
        to_result(unsafe {
            compat::xa_alloc(
                self.entries.get(),
                &mut number,
                null_mut(),
                limit,
                compat::usb4_rxe_GFP_KERNEL,
            )
        })?;
        Ok(Reserved {
            table: self,
            number,
        })
    }

    /// The pointer under a number.
    #[inline]
    fn load(&self, number: u32) -> *const T {
        // SAFETY: The xarray is initialised; reading it takes no lock. Reservations read as null.
        unsafe { compat::xa_load(self.entries.get(), number as usize) }
            .cast::<T>()
            .cast_const()
    }

    /// Finds an object.
    #[inline]
    pub fn get<'a>(&'a self, _bh: &'a Bh, number: u32) -> Option<ArcBorrow<'a, T>> {
        let entry = self.load(number);
        if entry.is_null() {
            return None;
        }
        // SAFETY: By the type's invariants this is a pointer from `Arc::into_raw` whose reference
        // the table owned when it was read. The table lets go of it only after a grace period that
        // began later, in `take_out`, and `_bh` holds that up for at least `'a`. Nobody has a
        // `UniqueArc` of what is in a table.
        Some(unsafe { ArcBorrow::from_raw(entry) })
    }

    /// Finds an object, as a plain reference.
    #[inline]
    pub fn get_ref<'a>(&'a self, _bh: &'a Bh, number: u32) -> Option<&'a T> {
        // SAFETY: As in `get`: null, or alive and shared for at least `'a`.
        unsafe { self.load(number).as_ref() }
    }

    /// The first number in use from one on.
    pub fn first_from(&self, number: u32) -> Option<u32> {
        let mut index = number as usize;
        // SAFETY: The xarray is initialised; reading it takes no lock.
        let entry = unsafe { compat::usb4_rxe_xa_find(self.entries.get(), &mut index) };
        // Numbers have 32 bits.
        (!entry.is_null()).then_some(index as u32)
    }

    /// Takes an object out: after this no reader has it any more. Sleeps.
    ///
    /// `None` if there is none, or the number is only reserved.
    pub fn remove(&self, number: u32) -> Option<Arc<T>> {
        // SAFETY: The xarray is initialised.
        // INVARIANT: The entry is gone; its reference goes to the caller.
        let old = unsafe { compat::xa_erase(self.entries.get(), number as usize) };
        Self::take_out(old)
    }

    /// Puts another object under a number in use: readers find either the old one or the new one,
    /// and after this only the new one. Sleeps. Hands back the old one.
    ///
    /// # Errors
    ///
    /// `ENOMEM`, with everything as it was.
    pub fn replace(&self, number: u32, value: Arc<T>) -> Result<Option<Arc<T>>> {
        let old = self.store(number, value)?;
        Ok(Self::take_out(old))
    }

    /// Stores an object, hands back the entry before it.
    fn store(&self, number: u32, value: Arc<T>) -> Result<*mut core::ffi::c_void> {
        let value = Arc::into_raw(value);
        // SAFETY: The xarray is initialised; the pointer is aligned to 4, see `new`; this may sleep.
        // INVARIANT: The entry owns the reference.
        let (old, error) = unsafe {
            let old = compat::xa_store(
                self.entries.get(),
                number as usize,
                value.cast_mut().cast(),
                compat::usb4_rxe_GFP_KERNEL,
            );
            (old, compat::xa_err(old))
        };
        if let Err(error) = to_result(error) {
            // SAFETY: Nothing was stored, so the reference is still ours.
            drop(unsafe { Arc::from_raw(value) });
            return Err(error);
        }
        Ok(old)
    }

    /// What an entry that is no longer in the table owns, once no reader has it any more.
    fn take_out(entry: *mut core::ffi::c_void) -> Option<Arc<T>> {
        if entry.is_null() {
            return None;
        }
        wait_for_readers();
        // SAFETY: By the type's invariants the entry was a pointer from `Arc::into_raw` that owned
        // its reference, which is now ours.
        Some(unsafe { Arc::from_raw(entry.cast::<T>()) })
    }
}

#[pinned_drop]
impl<T: Send + Sync> PinnedDrop for Table<T> {
    fn drop(self: Pin<&mut Self>) {
        // All objects are destroyed before the device that has the table. If one was not, its
        // owner may still use it: leaking is the harmless end.
        // SAFETY: The xarray is initialised and nobody else has it any more.
        unsafe {
            if !compat::xa_empty(self.entries.get()) {
                pr_err!("objects outlived their device; their memory stays taken until the next boot; please report this\n");
            }
            compat::xa_destroy(self.entries.get());
        }
    }
}

/// A number without an object yet. Dropping it gives the number back.
pub struct Reserved<'a, T: Send + Sync> {
    table: &'a Table<T>,
    number: u32,
}

impl<T: Send + Sync> Reserved<'_, T> {
    /// The number.
    pub fn get(&self) -> u32 {
        self.number
    }

    /// Lets readers find `value` under the number. Sleeps.
    ///
    /// # Errors
    ///
    /// `ENOMEM`, with the number given back. (It does not happen: the place is there.)
    pub fn publish(self, value: Arc<T>) -> Result {
        self.table.store(self.number, value)?;
        // The number is the object's.
        let _ = ManuallyDrop::new(self);
        Ok(())
    }
}

impl<T: Send + Sync> Drop for Reserved<'_, T> {
    fn drop(&mut self) {
        // SAFETY: The xarray is initialised; the entry is a reservation and owns nothing.
        unsafe { compat::xa_erase(self.table.entries.get(), self.number as usize) };
    }
}
