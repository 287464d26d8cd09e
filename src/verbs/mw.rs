// SPDX-License-Identifier: GPL-2.0-only

//! Memory windows: a part of a region under a key of its own.
//!
//! ```text
//!   BIND_MW ──> Window (rules: crate::rxe::access::mw) ──tied to──> region (counts its windows)
//! ```
//!
//! Lock: [`Mw::state`], softirqs off, outside of the region's.

use kernel::prelude::*;
use kernel::sync::{Arc, ArcBorrow};

use super::device::Device;
use super::errno;
use super::keys::{Keyed, Kind};
use super::lock::{new_bh_lock, Bh, BhLock};
use super::mr::{Handle, Mr};
use super::object::Object;
use super::pd::Pd;
use crate::rxe::access::mw::{Type, Window};
use crate::rxe::access::{AccessError, Facts, Identity};
use crate::rxe::env::Fault;
use crate::rxe::wqe::BindMw;

/// A memory window.
pub struct Mw {
    state: Pin<KBox<BhLock<Binding>>>,
}

/// What changes.
struct Binding {
    window: Window,
    /// Counts binds and invalidations.
    epoch: u32,
    /// The region it is tied to, which counts it.
    region: Option<Arc<Keyed>>,
}

/// The region behind a key, if it is one.
fn region(object: &Keyed) -> Option<&Mr> {
    match object {
        Keyed::Region(mr) => Some(mr),
        Keyed::Window(_) => None,
    }
}

impl Binding {
    /// Ties the window to `next` and no longer to what it is tied to.
    fn tie(&mut self, bh: &Bh, next: Option<Arc<Keyed>>) {
        self.epoch = self.epoch.wrapping_add(1);
        let Some(last) = core::mem::replace(&mut self.region, next) else {
            return;
        };
        if let Some(mr) = region(&last) {
            mr.untie(bh);
        }
        // `last` is not the last reference: the region's owner has one until it is deregistered,
        // which waits for a grace period after the last window was untied, and softirqs are off.
    }
}

impl Mw {
    fn new(window: Window) -> Result<Self> {
        let binding = Binding {
            window,
            epoch: 0,
            region: None,
        };
        let state = KBox::pin_init(
            new_bh_lock!(binding, "usb4_rxe memory window"),
            GFP_KERNEL_ACCOUNT,
        )?;
        Ok(Self { state })
    }

    /// Begins an access to its region.
    pub fn open<'a>(&'a self, bh: &'a Bh) -> Option<(Handle<'a>, Facts)> {
        let binding = self.state.lock(bh);
        let mr = core::ptr::from_ref(region(binding.region.as_ref()?)?);
        // SAFETY: The region's object lives during `'a`: a window is tied to it now, so it is not
        // deregistered. It can be once the window is untied, but then `dereg_mr` waits for a grace
        // period before it lets go of it, and `bh` holds that up during `'a`.
        let mr: &'a Mr = unsafe { &*mr };
        let (handle, region) = mr.open(bh);
        let facts = binding.window.facts(region.valid);
        Some((handle.through(self, binding.epoch), facts))
    }

    /// Calls `access` while nobody can bind or invalidate the window, if nobody did since `epoch`.
    pub fn while_bound(
        &self,
        bh: &Bh,
        epoch: u32,
        access: impl FnOnce() -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        let binding = self.state.lock(bh);
        if binding.epoch != epoch {
            return Err(Fault::Gone);
        }
        access()
    }

    /// Executes BIND_MW; `object` is what its region's key names, if it has one.
    pub fn bind(
        &self,
        bh: &Bh,
        who: Identity,
        object: Option<ArcBorrow<'_, Keyed>>,
        wr: &BindMw,
    ) -> Result<(), AccessError> {
        let mut binding = self.state.lock(bh);
        let next = match object {
            Some(object) => {
                let mr = region(&object).ok_or(AccessError::Key)?;
                mr.tie(bh, |region| binding.window.bind(who, Some(region), wr))?;
                Some(Arc::from(object))
            }
            None => {
                binding.window.bind(who, None, wr)?;
                None
            }
        };
        binding.tie(bh, next);
        Ok(())
    }

    /// Invalidates it. After this no access under its old key touches the region.
    pub fn invalidate(&self, bh: &Bh, who: Identity, key: u32) -> Result<(), AccessError> {
        let mut binding = self.state.lock(bh);
        binding.window.invalidate(who, key)?;
        binding.tie(bh, None);
        Ok(())
    }

    /// Ties it to nothing, for good.
    fn untie(&self) {
        let bh = Bh::disable();
        self.state.lock(&bh).tie(&bh, None);
    }
}

/// What the core has to allocate: nothing of ours stands behind a window, its key leads to it.
pub const SIZE: usize = size_of::<compat::ib_mw>();

/// `ib_device_ops.alloc_mw`
///
/// # Safety
///
/// As the core calls it: `ib` is a new object of our size with device, PD and type set.
pub unsafe extern "C" fn alloc_mw(
    ib: *mut compat::ib_mw,
    _udata: *mut compat::ib_udata,
) -> core::ffi::c_int {
    // SAFETY: As our caller promises.
    errno(unsafe { alloc(ib) })
}

/// # Safety
///
/// `ib` is a new object of our size with device, PD and type set.
unsafe fn alloc(ib: *mut compat::ib_mw) -> Result {
    // SAFETY: The core has set all three; device and PD live longer than the window.
    let (device, pd, kind) = unsafe {
        (
            Device::from_ib((*ib).device),
            Object::<_, Pd>::get((*ib).pd),
            (*ib).type_,
        )
    };
    let kind = match kind {
        compat::ib_mw_type_IB_MW_TYPE_1 => Type::One,
        compat::ib_mw_type_IB_MW_TYPE_2 => Type::TwoB,
        _ => return Err(EINVAL),
    };
    let new = device.keys.reserve(Kind::Window)?;
    let key = new.get();
    let window = Mw::new(Window::new(kind, pd.number(), key))?;
    new.publish(Arc::new(Keyed::Window(window), GFP_KERNEL_ACCOUNT)?)?;
    // SAFETY: `ib` is new, and ours.
    unsafe { (*ib).rkey = key };
    Ok(())
}

/// `ib_device_ops.dealloc_mw`
///
/// # Safety
///
/// As the core calls it: `ib` was made by [`alloc_mw`], nobody uses it any more.
pub unsafe extern "C" fn dealloc_mw(ib: *mut compat::ib_mw) -> core::ffi::c_int {
    // SAFETY: The device lives longer than the window.
    let (device, key) = unsafe { (Device::from_ib((*ib).device), (*ib).rkey) };
    if let Some(object) = device.keys.remove(key) {
        if let Keyed::Window(mw) = &*object {
            mw.untie();
        }
    }
    0
}
