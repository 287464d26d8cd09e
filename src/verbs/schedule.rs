// SPDX-License-Identifier: GPL-2.0-only

//! Queue pairs that have work left, and the softirq work item that does it.
//!
//! Most work is done at once by whoever causes it: the caller of `post_send`, the deliverer of a
//! packet, a timer. What is left over waits here:
//!
//! ```text
//!   More: budget used up            --> ready    --> port work: run again, in turn
//!   kernel user posted              --> ready
//!   Busy: no buffer, link full      --> waiting  --> room again: all become ready
//! ```
//!
//! A queue pair is in at most one of the two lists, at most once; being listed allocates nothing.

use kernel::list::{List, ListArc};
use kernel::prelude::*;
use kernel::sync::atomic::{ordering, Atomic};
use kernel::sync::{Arc, ArcBorrow};

use super::lock::{new_irq_lock, IrqLock};
use super::qp::Qp;

/// The lists.
#[pin_data]
pub struct Schedule {
    #[pin]
    lists: IrqLock<Lists>,
    /// Whether anybody waits, readable without the lock.
    someone_waits: Atomic<bool>,
    /// Whether anybody is ready, readable without the lock.
    someone_is_ready: Atomic<bool>,
}

#[pin_data]
struct Lists {
    ready: List<Qp>,
    waiting: List<Qp>,
}

impl Schedule {
    /// Empty.
    pub fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            lists <- new_irq_lock!(
                Lists { ready: List::new(), waiting: List::new() },
                "usb4_rxe schedule"
            ),
            someone_waits: Atomic::new(false),
            someone_is_ready: Atomic::new(false),
        })
    }

    /// The queue pair wants to run again. The caller starts the port's work.
    pub fn ready(&self, qp: ArcBorrow<'_, Qp>) {
        // Listed already: it will run, and sees what is new.
        if let Ok(entry) = ListArc::try_from_arc(Arc::from(qp)) {
            let mut lists = self.lists.lock();
            lists.ready.push_back(entry);
            self.someone_is_ready.store(true, ordering::Release);
        }
    }

    /// The queue pair wants to run again when there is room on the way out.
    pub fn wait(&self, qp: ArcBorrow<'_, Qp>) {
        if let Ok(entry) = ListArc::try_from_arc(Arc::from(qp)) {
            let mut lists = self.lists.lock();
            lists.waiting.push_back(entry);
            self.someone_waits.store(true, ordering::Release);
        }
    }

    /// There is room on the way out. Whether that made anyone ready.
    pub fn room(&self) -> bool {
        if !self.someone_waits.load(ordering::Acquire) {
            return false;
        }
        let mut lists = self.lists.lock();
        self.someone_waits.store(false, ordering::Relaxed);
        let Lists { ready, waiting } = &mut *lists;
        ready.push_all_back(waiting);
        self.someone_is_ready.store(true, ordering::Release);
        true
    }

    /// The next one whose turn it is.
    pub fn next(&self) -> Option<Arc<Qp>> {
        // From here on it may be listed again, while it runs.
        let mut lists = self.lists.lock();
        let entry = lists.ready.pop_front();
        if lists.ready.is_empty() {
            self.someone_is_ready.store(false, ordering::Relaxed);
        }
        Some(entry?.into_arc())
    }

    /// Whether someone is ready. Who has made someone ready asks this afterwards, so that one of
    /// those who race sees it.
    #[inline]
    pub fn is_due(&self) -> bool {
        self.someone_is_ready.load(ordering::Acquire)
    }
}
