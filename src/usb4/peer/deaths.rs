// SPDX-License-Identifier: GPL-2.0-only

//! Which rails died by themselves: noted where the wire sees it, with locks held, and told to the peer
//! in a work.

use kernel::prelude::*;
use kernel::sync::{Arc, ArcBorrow};
use kernel::workqueue::{impl_has_work, new_work, Queue, Work, WorkItem};

use crate::usb4::peers;
use crate::usb4::rail::id::RailId;
use crate::usb4::rail::port::Down;
use crate::usb4::rail::MAX_RAILS;
use crate::usb4::wire::Watcher;
use crate::verbs::lock::{new_irq_lock, IrqLock};

/// What the wire noted of one peer's rails.
#[pin_data]
pub struct Deaths {
    #[pin]
    dead: IrqLock<[Option<Down>; MAX_RAILS]>,
    #[pin]
    work: Work<Deaths>,
}

impl_has_work! {
    impl HasWork<Self> for Deaths { self.work }
}

impl Deaths {
    /// Nobody died. There are none but in an `Arc`.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub fn new() -> Result<Arc<Self>> {
        Arc::pin_init(
            pin_init!(Self {
                dead <- new_irq_lock!([None; MAX_RAILS], "usb4_rxe dead rails"),
                work <- new_work!("usb4_rxe dead rails"),
            }),
            GFP_KERNEL,
        )
    }

    /// What was noted since the last time.
    pub fn take(&self) -> [Option<Down>; MAX_RAILS] {
        core::mem::replace(&mut *self.dead.lock(), [None; MAX_RAILS])
    }

    /// Why this one died, if it did.
    pub fn noted(&self, id: RailId) -> Option<Down> {
        self.dead.lock()[id.index()]
    }

    /// A rail of this number begins anew.
    pub fn forget(&self, id: RailId) {
        self.dead.lock()[id.index()] = None;
    }
}

impl Watcher for Deaths {
    fn rail_died(&self, id: RailId, why: Down) {
        self.dead.lock()[id.index()] = Some(why);
        // SAFETY: All are made in an `Arc`, see `new`; whoever calls has a reference to it during the call.
        let this: Arc<Self> = unsafe { ArcBorrow::from_raw(self) }.into();
        // SAFETY: A work queue of the kernel's, made at boot, for good.
        let queue = unsafe { Queue::from_raw(compat::system_dfl_long_wq.cast()) };
        // Enqueued twice is enqueued once.
        let _ = queue.enqueue(this);
    }
}

impl WorkItem for Deaths {
    type Pointer = Arc<Deaths>;

    fn run(this: Arc<Deaths>) {
        if let Some(peer) = peers::of(&this) {
            peer.bury();
        }
    }
}
