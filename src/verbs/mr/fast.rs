// SPDX-License-Identifier: GPL-2.0-only

//! The pages of fast-register regions.
//!
//! ```text
//!   map_mr_sg (any context)       REG_MR (under the region's lock)
//!   scatterlist ──> staged ────copied────> pages in use
//! ```
//!
//! A kernel user may map the next pages while the region is still registered with the last ones
//! and the invalidation waits in a queue: the pages in use stay what they were until REG_MR.

use kernel::prelude::*;
use kernel::sync::Arc;

use crate::rxe::access::blocks::Blocks;
use crate::rxe::access::AccessError;
use crate::rxe::wqe::RegMr;
use crate::verbs::lock::{new_irq_lock, IrqLock};
use crate::verbs::pages::PageList;

/// The pages of a fast-register region that wait for REG_MR.
#[pin_data]
pub(super) struct Fast {
    room: usize,
    #[pin]
    staged: IrqLock<Staged>,
}

struct Staged {
    /// Size of the pages, as a shift.
    shift: u32,
    /// Kernel addresses of the pages.
    bases: KVVec<usize>,
}

impl Fast {
    /// Room for `room` pages.
    pub(super) fn new(room: usize) -> Result<Arc<Self>> {
        let staged = Staged {
            shift: 0,
            bases: KVVec::with_capacity(room, GFP_KERNEL_ACCOUNT)?,
        };
        Arc::pin_init(
            pin_init!(Self {
                room,
                staged <- new_irq_lock!(staged, "usb4_rxe pages to register"),
            }),
            GFP_KERNEL_ACCOUNT,
        )
    }

    /// How many pages there is room for.
    pub(super) fn room(&self) -> usize {
        self.room
    }

    /// Begins a new list.
    ///
    /// # Errors
    ///
    /// `EINVAL` if the size is not a power of two.
    pub(super) fn begin(&self, page_size: u32) -> Result {
        if !page_size.is_power_of_two() {
            return Err(EINVAL);
        }
        let mut staged = self.staged.lock();
        staged.shift = page_size.trailing_zeros();
        staged.bases.clear();
        Ok(())
    }

    /// Adds a page.
    ///
    /// # Errors
    ///
    /// `ENOMEM` if there is no room.
    pub(super) fn push(&self, base: usize) -> Result {
        let mut staged = self.staged.lock();
        if staged.bases.len() >= self.room {
            return Err(ENOMEM);
        }
        staged.bases.push_within_capacity(base).map_err(|_| ENOMEM)
    }

    /// Executes REG_MR: asks `permit`, which is told how many bytes there are from the request's
    /// address on, and puts the pages into use.
    pub(super) fn register(
        &self,
        pages: &mut PageList,
        wr: &RegMr,
        permit: impl FnOnce(u64) -> Result<(), AccessError>,
    ) -> Result<(), AccessError> {
        let staged = self.staged.lock();
        let size = 1u64 << staged.shift;
        // The first byte may be anywhere in the first page; the address tells where.
        let lead = wr.iova & size.wrapping_sub(1);
        let all = (staged.bases.len() as u64).saturating_mul(size);
        permit(all.saturating_sub(lead))?;
        let blocks = Blocks::new(staged.shift, lead, wr.len).ok_or(AccessError::Range)?;
        // SAFETY: A kernel user mapped the pages for this and vouches for them until the
        // invalidation is done; the region's state keeps accesses away after that. They are enough:
        // `permit` has compared.
        unsafe { pages.set(blocks, &staged.bases) }.map_err(|_| AccessError::Range)
    }
}
