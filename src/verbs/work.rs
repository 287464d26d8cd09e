// SPDX-License-Identifier: GPL-2.0-only

//! Taking back work items, and putting them off: the `kernel` crate can only enqueue them.

use kernel::sync::Arc;
use kernel::time::Jiffies;
use kernel::workqueue::{HasDelayedWork, HasWork, Work, WorkItem};

/// Waits until the work neither runs nor waits to run. Sleeps.
///
/// Whoever calls it knows that it is not enqueued again.
pub fn cancel<T, const ID: u64>(owner: &Arc<T>)
where
    T: WorkItem<ID, Pointer = Arc<T>> + HasWork<T, ID>,
{
    let raw = Arc::as_ptr(owner);
    // SAFETY: `raw` points to a `T` that `owner` keeps, whose work item is initialised. If it
    // was waiting, it will not run, and the reference that enqueueing took, from `Arc::into_raw`, is
    // now ours.
    unsafe {
        let work = Work::raw_get(T::raw_get_work(raw.cast_mut()));
        if compat::cancel_work_sync(work.cast()) {
            drop(Arc::from_raw(raw));
        }
    }
}

/// The same for delayed work.
pub fn cancel_delayed<T, const ID: u64>(owner: &Arc<T>)
where
    T: WorkItem<ID, Pointer = Arc<T>> + HasDelayedWork<T, ID>,
{
    let raw = Arc::as_ptr(owner);
    // SAFETY: As in `cancel`; `HasDelayedWork` promises that the work item is the field `work` of a
    // `delayed_work`, which comes first (checked below).
    unsafe {
        let work = Work::raw_get(T::raw_get_work(raw.cast_mut()));
        if compat::cancel_delayed_work_sync(work.cast()) {
            drop(Arc::from_raw(raw));
        }
    }
}

/// Has delayed work run after `delay`, whether it was to run at another time or not at all. From any
/// context, on a queue where it may take its time.
pub fn start_delayed<T, const ID: u64>(owner: &Arc<T>, delay: Jiffies)
where
    T: WorkItem<ID, Pointer = Arc<T>> + HasDelayedWork<T, ID>,
{
    let raw = Arc::into_raw(owner.clone());
    // SAFETY: As in `cancel_delayed`. The work has a reference, this one, until it runs or is taken
    // back; if it was waiting it has one already.
    unsafe {
        let work = Work::raw_get(T::raw_get_work(raw.cast_mut()));
        if compat::usb4_rxe_start_work(work.cast(), delay) {
            drop(Arc::from_raw(raw));
        }
    }
}

const _: () = assert!(core::mem::offset_of!(compat::delayed_work, work) == 0);
