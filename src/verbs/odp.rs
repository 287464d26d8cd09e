// SPDX-License-Identifier: GPL-2.0-only

//! Memory of a process that is not pinned: its pages come and go (on-demand paging).
//!
//! ```text
//!   access (softirqs off) ──> Here: copy under the lock
//!        |                    Absent: want it, tell the engine to try again
//!        v
//!   wanted ──work──> the core fetches pages (sleeps) ──> Page::fetched
//!
//!   the kernel takes pages (munmap, reclaim, migration) ──notifier──> Page::take, marks them dirty
//! ```
//!
//! We hold no reference to a page: what keeps it in place while it is copied is that the kernel,
//! before it lets go of a page, waits for our notifier, which takes the lock.
//!
//! Locks: [`Shared::fetching`], sleeping; then the umem's mutex (what the core knows of pages), which
//! the notifier takes, too; then [`Shared::pages`], softirqs off.

use core::ptr::{null_mut, NonNull};

use kernel::error::{from_err_ptr, to_result};
use kernel::prelude::*;
use kernel::sync::{new_mutex, Arc, Mutex};
use kernel::workqueue::{impl_has_work, new_work, Queue, Work, WorkItem};

use super::lock::{new_bh_lock, Bh, BhLock};
use super::pages::Span;
use super::{timer, work, Shared as Static};
use crate::rxe::access::blocks::Blocks;
use crate::rxe::access::paging::{Found, Page, Want, Wanted};
use crate::rxe::access::Rights;
use crate::rxe::env::Fault;
use crate::rxe::time::{Nanos, Time};

const PAGE_SIZE: usize = kernel::page::PAGE_SIZE;
const PAGE_SHIFT: u32 = PAGE_SIZE.trailing_zeros();
/// How many times the host's memory a region may be long: each page of it takes 16 bytes, here and
/// in the core, whether or not it is ever there.
const MOST: usize = 8;
/// Pages that the core is asked for at once.
const FETCH_AT_ONCE: usize = 512;
/// Pages taken away with the lock held.
const TAKE_AT_ONCE: usize = 64;

/// Memory of a process, paged on demand.
pub struct OnDemand {
    shared: Arc<Shared>,
    blocks: Blocks,
    writable: bool,
}

/// What the notifier and the work see, too.
#[pin_data]
struct Shared {
    umem: Umem,
    /// The core looks for pages without its mutex and writes down what it sees before it knows
    /// whether that is still true. Two at once could take each other's guesses for the truth.
    #[pin]
    fetching: Mutex<()>,
    #[pin]
    pages: BhLock<Pages>,
    #[pin]
    work: Work<Shared>,
}

impl_has_work! {
    impl HasWork<Self> for Shared { self.work }
}

struct Pages {
    pages: KVVec<Page>,
    wanted: Wanted,
    /// When the fetch under way began, or was asked for.
    since: Option<Time>,
    /// Accesses that found pages absent.
    asked: u64,
    /// How many there had been when an access was last told that pages cannot be fetched.
    told: u64,
}

/// The core's side.
///
/// # Invariants
///
/// From `usb4_rxe_odp_get`; released only by [`OnDemand`]'s drop, after which nobody uses it.
struct Umem(NonNull<compat::ib_umem_odp>);

// SAFETY: Everything the core does with it is under its mutex, from any thread.
unsafe impl Send for Umem {}
// SAFETY: As above.
unsafe impl Sync for Umem {}

/// The queue on which pages are fetched, of our own: a page may take for ever (a file system that does not
/// answer), and on the kernel's queues others would wait behind it. Of high priority: a packet waits,
/// and the process it is for may be busy polling for it.
pub struct Fetches(());

impl Fetches {
    /// Makes it. Once per load of the module, before there are devices.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub fn new() -> Result<Self> {
        // SAFETY: Nobody uses the queue yet.
        to_result(unsafe { compat::usb4_rxe_fetches_alloc() })?;
        Ok(Self(()))
    }

    fn queue() -> &'static Queue {
        // SAFETY: Whoever fetches has a region of a device, and all devices are gone before `drop`
        // (`Subsystem`). The binding of the `kernel` crate is of the same structure.
        unsafe { Queue::from_raw(compat::usb4_rxe_fetches().cast()) }
    }
}

impl Drop for Fetches {
    fn drop(&mut self) {
        // SAFETY: As there.
        unsafe { compat::usb4_rxe_fetches_free() };
    }
}

static NOTIFIER: Static<compat::mmu_interval_notifier_ops> =
    Static(compat::mmu_interval_notifier_ops {
        invalidate: Some(invalidate),
        ..super::zeroed()
    });

/// Whether the kernel can do it.
pub fn is_supported() -> bool {
    // SAFETY: Has no requirements.
    unsafe { compat::usb4_rxe_odp_is_supported() }
}

impl OnDemand {
    /// Memory of the current process. `access` are the flags of the verb. Pages that are there are
    /// known at once. Sleeps.
    ///
    /// # Safety
    ///
    /// `device` is a registered device, and lives longer than the result.
    ///
    /// # Errors
    ///
    /// `EOPNOTSUPP` for all of the process's memory at once; `ENOMEM` for several times more than
    /// this host has; `EINVAL`, `EOVERFLOW`, `ENOMEM` as the core says.
    pub unsafe fn new(
        device: *mut compat::ib_device,
        start: u64,
        len: u64,
        access: u32,
    ) -> Result<Self> {
        if start == 0 && len == u64::MAX {
            return Err(super::unsupported());
        }
        let addr = usize::try_from(start).map_err(|_| EINVAL)?;
        let size = usize::try_from(len).map_err(|_| EINVAL)?;
        let access = i32::try_from(access).map_err(|_| EINVAL)?;
        let lead = start % PAGE_SIZE as u64;
        let blocks = Blocks::new(PAGE_SHIFT, lead, len).ok_or(EINVAL)?;
        let count = usize::try_from(blocks.count()).map_err(|_| ENOMEM)?;
        // SAFETY: Has no requirements.
        let ram = unsafe { compat::usb4_rxe_ram_pages() };
        if count > ram.saturating_mul(MOST) {
            return Err(ENOMEM);
        }
        let mut pages = KVVec::with_capacity(count, GFP_KERNEL_ACCOUNT | __GFP_NOWARN)?;
        pages.extend_with(count, Page::ABSENT, GFP_KERNEL)?;

        // SAFETY: The device is valid; the notifier's table is a static.
        let umem =
            unsafe { compat::usb4_rxe_odp_get(device, addr, size, access, &raw const NOTIFIER.0) };
        // INVARIANT: Just made. Released below if `this` cannot be made: its drop does it then.
        let umem = NonNull::new(from_err_ptr(umem)?).ok_or(ENOMEM)?;
        let known = Pages {
            pages,
            wanted: Wanted::NOTHING,
            since: None,
            asked: 0,
            told: 0,
        };
        let shared = Arc::pin_init(
            pin_init!(Shared {
                umem: Umem(umem),
                fetching <- new_mutex!((), "usb4_rxe fetching"),
                pages <- new_bh_lock!(known, "usb4_rxe pages on demand"),
                work <- new_work!("usb4_rxe pages on demand"),
            }),
            GFP_KERNEL_ACCOUNT,
        );
        let shared = match shared {
            Ok(shared) => shared,
            Err(error) => {
                // SAFETY: Nobody else has it.
                unsafe { compat::usb4_rxe_odp_release(umem.as_ptr()) };
                return Err(error);
            }
        };
        let this = Self {
            // SAFETY: Valid by the type's invariants; this field does not change.
            writable: unsafe { (*umem.as_ptr()).umem.writable() } != 0,
            shared,
            blocks,
        };
        this.shared.umem.with_mutex(|umem| {
            // SAFETY: The field is ours, and read under the mutex only, which is taken.
            unsafe { (*umem).private = Arc::as_ptr(&this.shared).cast_mut().cast() };
        });
        this.shared.look(count);
        Ok(this)
    }

    /// Hands the spans of a range, in order, to `each`, if all of it is here.
    #[inline]
    pub fn spans(
        &self,
        bh: &Bh,
        offset: u64,
        len: usize,
        write: bool,
        mut each: impl FnMut(Span<'_>) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        if write && !self.writable {
            return Err(Fault::Gone);
        }
        let pieces = self.blocks.pieces(offset, len).ok_or(Fault::Gone)?;
        let mut known = self.shared.pages.lock(bh);
        for piece in pieces {
            match known.find(piece.block, write)? {
                Found::Here(_) => {}
                Found::Absent => {
                    let first = piece.block;
                    let last = pieces.last().map_or(first, |piece| piece.block);
                    known.wanted.add(Want {
                        first,
                        count: last.saturating_sub(first).saturating_add(1),
                        write,
                    });
                    known.asked = known.asked.wrapping_add(1);
                    known.since.get_or_insert_with(timer::now);
                    drop(known);
                    self.shared.start_work();
                    return Err(Fault::Absent);
                }
                Found::Failed => {
                    // Nor is it left behind on the other pages of this access, for the next one there.
                    for piece in pieces {
                        if let Some(page) = known.pages.get_mut(piece.block) {
                            page.told();
                        }
                    }
                    known.told = known.asked;
                    return Err(Fault::Gone);
                }
            }
        }
        for piece in pieces {
            let Found::Here(addr) = known.find(piece.block, write)? else {
                return Err(Fault::Gone);
            };
            if write {
                if let Some(page) = known.pages.get_mut(piece.block) {
                    page.written();
                }
            }
            let addr = (addr as usize).wrapping_add(piece.within as usize);
            // SAFETY: The page is there, writable if it is to be written, and stays as long as the
            // lock is held: see the module's documentation. `usb4_rxe_odp_page` has seen that the
            // kernel maps it.
            each(unsafe { Span::new(addr, piece.len) })?;
        }
        Ok(())
    }

    /// For how long the fetch under way has taken.
    pub fn fetched_for(&self, bh: &Bh) -> Nanos {
        let since = self.shared.pages.lock(bh).since;
        since.map_or(Nanos(0), |since| timer::now().since(since))
    }

    /// Whether it may be accessed with these flags of the verb.
    ///
    /// # Errors
    ///
    /// `EACCES` if it is to be written and was not registered for that (the code is the core's).
    pub fn permits(&self, access: u32) -> Result {
        if Rights::from_bits(access).intersects(Rights::WRITES) && !self.writable {
            return Err(EACCES);
        }
        Ok(())
    }

    /// Fetches a range, as far as it is not here; without `fault` only what needs no work. Sleeps.
    ///
    /// # Errors
    ///
    /// `EINVAL` outside of the region, `EPERM` to write what may not be written; as the core says.
    pub fn prefetch(&self, offset: u64, len: usize, write: bool, fault: bool) -> Result {
        if write && !self.writable {
            return Err(EPERM);
        }
        let mut pieces = self.blocks.pieces(offset, len).ok_or(EINVAL)?;
        let Some(first) = pieces.next() else {
            return Ok(());
        };
        let last = pieces.last().unwrap_or(first);
        let count = last.block.saturating_sub(first.block).saturating_add(1);
        self.shared.fetch(first.block, count, write, fault)
    }
}

impl Drop for OnDemand {
    fn drop(&mut self) {
        // Nobody accesses it any more, so the work is not started again.
        work::cancel(&self.shared);
        let shared = &self.shared;
        shared.umem.with_mutex(|umem| {
            shared.take_away(0, usize::MAX);
            // SAFETY: The field is ours, and read under the mutex only, which is taken.
            unsafe { (*umem).private = null_mut() };
        });
        // SAFETY: Valid by the type's invariants; the notifier is done when this returns, and the
        // work is, so nobody uses it any more.
        unsafe { compat::usb4_rxe_odp_release(shared.umem.0.as_ptr()) };
    }
}

impl Pages {
    #[inline]
    fn find(&self, page: usize, write: bool) -> Result<Found, Fault> {
        Ok(self.pages.get(page).ok_or(Fault::Gone)?.find(write))
    }
}

impl Umem {
    /// Calls `with` with the mutex taken. Sleeps.
    fn with_mutex(&self, with: impl FnOnce(*mut compat::ib_umem_odp)) {
        let umem = self.0.as_ptr();
        // SAFETY: Valid by the type's invariants.
        unsafe { compat::usb4_rxe_odp_lock(umem) };
        with(umem);
        // SAFETY: We took it.
        unsafe { compat::usb4_rxe_odp_unlock(umem) };
    }
}

impl Shared {
    fn start_work(self: &Arc<Self>) {
        // Enqueued twice is enqueued once.
        let _ = Fetches::queue().enqueue(self.clone());
    }

    /// Learns which pages are there, to spare the first accesses the wait.
    fn look(&self, count: usize) {
        for first in (0..count).step_by(FETCH_AT_ONCE) {
            let some = FETCH_AT_ONCE.min(count.saturating_sub(first));
            // What is not known is fetched when it is needed.
            if kernel::current!().signal_pending()
                || self.fetch_some(first, some, false, false).is_err()
            {
                return;
            }
        }
    }

    /// Fetches pages. Sleeps. Stops where one cannot be fetched, and when the process is killed.
    fn fetch(&self, first: usize, count: usize, write: bool, fault: bool) -> Result {
        let end = first.saturating_add(count);
        let mut first = first;
        while first < end {
            let count = FETCH_AT_ONCE.min(end.saturating_sub(first));
            // SAFETY: Looks at the task that runs.
            if unsafe { compat::usb4_rxe_is_killed() } {
                return Err(EINTR);
            }
            self.fetch_some(first, count, write, fault)?;
            first = first.saturating_add(count);
        }
        Ok(())
    }

    /// Fetches a few pages.
    fn fetch_some(&self, first: usize, count: usize, write: bool, fault: bool) -> Result {
        let _alone = self.fetching.lock();
        let umem = self.umem.0.as_ptr();
        let bytes = |pages: usize| (pages as u64).saturating_mul(PAGE_SIZE as u64);
        // SAFETY: Valid by the type's invariants; its start does not change. The core checks that
        // the range is within it. We may sleep.
        let fetched = to_result(unsafe {
            let start = compat::usb4_rxe_odp_start(umem) as u64;
            let addr = start.saturating_add(bytes(first));
            compat::usb4_rxe_odp_map_and_lock(umem, addr, bytes(count), write, fault)
        });
        fetched?;
        let bh = Bh::disable();
        let mut known = self.pages.lock(&bh);
        let pages = known.pages.iter_mut().enumerate();
        let mut got_all = true;
        for (at, page) in pages.take(first.saturating_add(count)).skip(first) {
            let mut writable = false;
            // SAFETY: The mutex is taken, and `at` is a page of the range just mapped.
            let addr = unsafe { compat::usb4_rxe_odp_page(umem, at, &mut writable) };
            if addr.is_null() {
                got_all = false;
            } else {
                page.fetched(addr as u64, writable);
            }
        }
        drop(known);
        drop(bh);
        // SAFETY: Mapping took the mutex.
        unsafe { compat::usb4_rxe_odp_unlock(umem) };
        match got_all || !fault {
            true => Ok(()),
            // Fetched, and still not for us: it belongs to another device, or is kept from the kernel.
            false => Err(EFAULT),
        }
    }

    /// Fetches what somebody waits for, and notes what cannot be fetched. `asked`: how many had asked before.
    fn serve(&self, want: &Want, asked: u64) {
        if self.fetch(want.first, want.count, want.write, true).is_ok() {
            return;
        }
        // One by one: a page that is in order shall not be refused because of its neighbour, which is all that
        // the core says.
        for page in want.first..want.first.saturating_add(want.count) {
            if want.count == 1 || self.fetch(page, 1, want.write, true).is_err() {
                self.give_up(page, want.write, asked);
            }
        }
    }

    /// Tells who waits for a page that it cannot be fetched. `asked`: how many had asked when the fetch began.
    fn give_up(&self, page: usize, write: bool, asked: u64) {
        let bh = Bh::disable();
        let mut known = self.pages.lock(&bh);
        if asked == known.told {
            // Who asked has heard it from the fetch before, which was for the same packet, sent
            // twice. Left behind, the verdict would meet somebody for whom there may be memory by
            // then. Whoever else waits asks again.
            return;
        }
        if let Some(page) = known.pages.get_mut(page) {
            match write {
                true => page.write_failed(),
                false => page.failed(),
            }
        }
    }

    /// Takes pages away from those who access them, and marks those dirty that were written. The
    /// mutex is taken.
    fn take_away(&self, first: usize, last: usize) {
        let mut written = [0u64; TAKE_AT_ONCE];
        let mut at = first;
        loop {
            let mut dirty = 0usize;
            let end = last.min(at.saturating_add(TAKE_AT_ONCE));
            {
                let bh = Bh::disable();
                let mut known = self.pages.lock(&bh);
                let end = end.min(known.pages.len());
                if at >= end {
                    return;
                }
                for page in known.pages.iter_mut().take(end).skip(at) {
                    if let (Some(addr), Some(place)) = (page.take(), written.get_mut(dirty)) {
                        *place = addr;
                        dirty = dirty.saturating_add(1);
                    }
                }
            }
            for addr in written.iter().take(dirty) {
                // SAFETY: The kernel lets go of the page only after the notifier is done, which
                // waits for the mutex or is what calls us; so this is the page that was written.
                unsafe { compat::set_page_dirty(compat::virt_to_page(*addr as *const _)) };
            }
            at = end;
        }
    }
}

impl WorkItem for Shared {
    type Pointer = Arc<Shared>;

    /// Fetches what is wanted.
    fn run(this: Arc<Shared>) {
        loop {
            let (next, asked) = {
                let bh = Bh::disable();
                let mut known = this.pages.lock(&bh);
                let next = known.wanted.take();
                known.since = next.map(|_| timer::now());
                (next, known.asked)
            };
            let Some(want) = next else {
                return;
            };
            this.serve(&want, asked);
        }
    }
}

/// `mmu_interval_notifier_ops.invalidate`: the kernel is about to take pages of the process.
///
/// # Safety
///
/// As the kernel calls it: `notifier` is that of a umem with [`NOTIFIER`].
unsafe extern "C" fn invalidate(
    notifier: *mut compat::mmu_interval_notifier,
    range: *const compat::mmu_notifier_range,
    seq: kernel::ffi::c_ulong,
) -> bool {
    let (mut start, mut end) = (0, 0);
    // SAFETY: As our caller promises.
    let umem = unsafe {
        compat::usb4_rxe_odp_invalidate_and_lock(notifier, range, seq, &mut start, &mut end)
    };
    if umem.is_null() {
        return false;
    }
    // SAFETY: The umem is not released before its notifier is done, and the mutex is taken.
    let (shared, base) = unsafe {
        (
            (*umem).private.cast::<Shared>().cast_const(),
            compat::usb4_rxe_odp_start(umem),
        )
    };
    // SAFETY: Null, or set by `OnDemand::new` to what lives until `OnDemand::drop` has set it to null
    // again, under the mutex that is taken.
    if let Some(shared) = unsafe { shared.as_ref() } {
        let page = |addr: kernel::ffi::c_ulong| addr.saturating_sub(base) >> PAGE_SHIFT;
        shared.take_away(page(start), page(end));
    }
    // SAFETY: The mutex is taken, and this gives it back.
    unsafe {
        compat::usb4_rxe_odp_unmap(umem, start, end);
        compat::usb4_rxe_odp_unlock(umem);
    }
    true
}
