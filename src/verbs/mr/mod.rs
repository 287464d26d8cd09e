// SPDX-License-Identifier: GPL-2.0-only

//! Memory regions.
//!
//! | kind | memory | changes by | an access takes |
//! |---|---|---|---|
//! | DMA | all of the kernel's | nothing | no lock |
//! | on demand | pages of a process, as they come and go | the same | the pages' lock, while it copies |
//! | pinned | pages of a process | rereg_user_mr, which puts a new object in its place | no lock |
//! | fast-register | what a kernel user maps | REG_MR, invalidation | its lock, while it copies |
//!
//! Regions that do not change are read by any number of CPUs at once without writing to them. What
//! a region was when an access was checked, and what it is when its bytes are copied, is the same
//! or the access fails: see [`Handle`].
//!
//! Lock: [`Mr::state`], softirqs off; in it, [`Fast`]'s.

mod advise;
mod fast;
mod handle;
mod verbs;

pub use advise::advise_mr;
pub use handle::Handle;
pub use verbs::{alloc_mr, dereg_mr, get_dma_mr, map_mr_sg, reg_user_mr, rereg_user_mr};

use kernel::prelude::*;
use kernel::sync::{Arc, SpinLockGuard};

use super::lock::{new_bh_lock, Bh, BhLock};
use super::odp::OnDemand;
use super::pages::PageList;
use super::umem::Pinned;
use crate::rxe::access::mr::{Origin, Region, State};
use crate::rxe::access::{AccessError, Facts, Identity, Pd, Rights};
use crate::rxe::wqe::RegMr;
use fast::Fast;

/// A memory region.
pub struct Mr {
    /// What an access check needs, of regions that do not change.
    facts: Facts,
    /// The flags of the verb it was made with.
    access: u32,
    backing: Backing,
    state: Pin<KBox<BhLock<Changing>>>,
}

/// What memory it is.
#[derive(Clone)]
enum Backing {
    Dma,
    Pinned(Arc<Pinned>),
    OnDemand(Arc<OnDemand>),
    Fast(Arc<Fast>),
}

/// What changes.
struct Changing {
    region: Region,
    /// Counts registrations and invalidations.
    epoch: u32,
    /// Where the bytes are, of a fast-register region.
    pages: PageList,
}

impl Mr {
    /// A region. `access` are the flags of a verb.
    fn new(
        backing: Backing,
        key: u32,
        pd: Pd,
        access: u32,
        (iova, len): (u64, u64),
    ) -> Result<Self> {
        let (origin, state, room) = match &backing {
            Backing::Dma => (Origin::Dma, State::Valid, 0),
            Backing::Pinned(_) | Backing::OnDemand(_) => (Origin::User, State::Valid, 0),
            Backing::Fast(fast) => (Origin::FastRegister, State::Free, fast.room()),
        };
        let region = Region {
            origin,
            state,
            pd,
            key,
            rights: Rights::from_bits(access),
            iova,
            len,
            windows: 0,
        };
        let changing = Changing {
            region,
            epoch: 0,
            pages: PageList::with_room(room)?,
        };
        Ok(Self {
            facts: region.facts(),
            access,
            backing,
            state: KBox::pin_init(
                new_bh_lock!(changing, "usb4_rxe memory region"),
                GFP_KERNEL_ACCOUNT,
            )?,
        })
    }

    /// Begins an access.
    #[inline]
    pub fn open<'a>(&'a self, bh: &'a Bh) -> (Handle<'a>, Facts) {
        match &self.backing {
            Backing::Dma | Backing::Pinned(_) | Backing::OnDemand(_) => {
                (Handle::new(self, bh, 0), self.facts)
            }
            Backing::Fast(_) => {
                let state = self.state.lock(bh);
                (Handle::new(self, bh, state.epoch), state.region.facts())
            }
        }
    }

    fn lock<'a>(&'a self, bh: &'a Bh) -> SpinLockGuard<'a, Changing> {
        self.state.lock(bh)
    }

    /// Ties a window to the region, if `bind` permits it.
    pub fn tie<T>(
        &self,
        bh: &Bh,
        bind: impl FnOnce(&Region) -> Result<T, AccessError>,
    ) -> Result<T, AccessError> {
        let mut state = self.lock(bh);
        let bound = bind(&state.region)?;
        // There are fewer windows than numbers.
        state.region.windows = state.region.windows.saturating_add(1);
        Ok(bound)
    }

    /// Unties a window.
    pub fn untie(&self, bh: &Bh) {
        let mut state = self.lock(bh);
        state.region.windows = state.region.windows.saturating_sub(1);
    }

    /// Invalidates a fast-register region. After this no access under its old key touches it.
    pub fn invalidate(&self, bh: &Bh, who: Identity, key: u32) -> Result<(), AccessError> {
        let mut state = self.lock(bh);
        state.region.invalidate(who, key)?;
        state.epoch = state.epoch.wrapping_add(1);
        Ok(())
    }

    /// Registers what was mapped to a fast-register region.
    pub fn register(&self, bh: &Bh, who: Identity, wr: &RegMr) -> Result<(), AccessError> {
        let Backing::Fast(fast) = &self.backing else {
            return Err(AccessError::State);
        };
        let mut state = self.lock(bh);
        let Changing {
            region,
            epoch,
            pages,
        } = &mut *state;
        let mut next = *region;
        fast.register(pages, wr, |room| next.register(who, wr, room))?;
        *region = next;
        *epoch = epoch.wrapping_add(1);
        Ok(())
    }

    /// Lets no window be bound any more, or says that one is.
    ///
    /// # Errors
    ///
    /// `EINVAL` if a window is bound (IBTA vol. 1, 10.6.7.2.6; the code is upstream's).
    fn retire(&self) -> Result {
        let bh = Bh::disable();
        let mut state = self.lock(&bh);
        if state.region.windows != 0 {
            return Err(EINVAL);
        }
        state.region.state = State::Free;
        Ok(())
    }

    /// Takes [`retire`](Self::retire) back, of a region that was valid.
    fn unretire(&self) {
        let bh = Bh::disable();
        self.lock(&bh).region.state = State::Valid;
    }
}
