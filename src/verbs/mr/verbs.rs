// SPDX-License-Identifier: GPL-2.0-only

//! The verbs of memory regions.

use core::ffi::c_int;

use kernel::prelude::*;
use kernel::sync::{Arc, ArcBorrow};

use super::{Backing, Fast, Mr};
use crate::rxe::access::Rights;
use crate::verbs::device::Device;
use crate::verbs::keys::{Keyed, Kind};
use crate::verbs::limits;
use crate::verbs::object::Object;
use crate::verbs::odp::OnDemand;
use crate::verbs::pd::Pd;
use crate::verbs::umem::Pinned;
use crate::verbs::{errno, unsupported, zeroed};

/// A region as the core sees it, and ours behind it. We allocate these: the core does not.
#[repr(C)]
struct Base {
    ib: compat::ib_mr,
    /// A [`Keyed::Region`]. Changed by rereg_user_mr only, which the core lets run alone.
    object: Arc<Keyed>,
}

/// The flags a region may be made with. Those of the optional range ask for nothing we could refuse
/// (relaxed ordering: our stores are ordered anyway).
const FLAGS: u32 = Rights::LOCAL_WRITE.bits()
    | Rights::REMOTE.bits()
    | Rights::MW_BIND.bits()
    | Rights::FLUSH_GLOBAL.bits()
    | Rights::FLUSH_PERSISTENT.bits()
    | ON_DEMAND
    | compat::ib_access_flags_IB_ACCESS_OPTIONAL;

/// The memory is not pinned.
const ON_DEMAND: u32 = compat::ib_access_flags_IB_ACCESS_ON_DEMAND;

/// The flags, if there are none that we don't know.
///
/// # Errors
///
/// `EOPNOTSUPP`
fn flags(access: c_int) -> Result<u32> {
    let access = access as u32;
    if access & !FLAGS != 0 {
        return Err(unsupported());
    }
    Ok(access)
}

/// What C callers expect of a verb that makes something.
fn pointer<T>(result: Result<*mut T>) -> *mut T {
    result.unwrap_or_else(Error::to_ptr)
}

/// Makes a region known, under a new key. Sleeps.
///
/// # Safety
///
/// `pd` is a protection domain of ours that lives longer than the region.
unsafe fn publish(
    pd: *mut compat::ib_pd,
    access: u32,
    backing: Backing,
    range: (u64, u64),
) -> Result<*mut compat::ib_mr> {
    // SAFETY: The PD is of ours, and its device lives longer.
    let (ib_device, number) = unsafe {
        let number = Object::<_, Pd>::get(pd).number();
        ((*pd).device, number)
    };
    // SAFETY: As above.
    let device = unsafe { Device::from_ib(ib_device) };
    let new = device.keys.reserve(Kind::Region)?;
    let key = new.get();
    let mr = Mr::new(backing, key, number, access, range)?;
    let object = Arc::new(Keyed::Region(mr), GFP_KERNEL_ACCOUNT)?;
    let ib = compat::ib_mr {
        device: ib_device,
        pd,
        lkey: key,
        rkey: key,
        ..zeroed()
    };
    let base = KBox::new(
        Base {
            ib,
            object: object.clone(),
        },
        GFP_KERNEL_ACCOUNT,
    )?;
    new.publish(object)?;
    Ok(KBox::into_raw(base).cast())
}

/// Ours behind a region of the core.
///
/// # Safety
///
/// `ib` was made by [`publish`]; during `'a` it is not deregistered, and not changed by others.
unsafe fn base<'a>(ib: *mut compat::ib_mr) -> &'a mut Base {
    // SAFETY: As our caller promises; `ib` is the front of a `Base`.
    unsafe { &mut *ib.cast::<Base>() }
}

/// The region of an object.
pub(super) fn region(object: &Keyed) -> Result<&Mr> {
    match object {
        Keyed::Region(mr) => Ok(mr),
        Keyed::Window(_) => Err(EINVAL),
    }
}

/// `ib_device_ops.get_dma_mr`
///
/// # Safety
///
/// As the core calls it: `pd` is ours.
pub unsafe extern "C" fn get_dma_mr(pd: *mut compat::ib_pd, access: c_int) -> *mut compat::ib_mr {
    // SAFETY: As our caller promises.
    pointer(unsafe { publish(pd, access as u32, Backing::Dma, (0, u64::MAX)) })
}

/// `ib_device_ops.reg_user_mr`
///
/// # Safety
///
/// As the core calls it: `pd` is ours; the process that called the verb is the current one.
pub unsafe extern "C" fn reg_user_mr(
    pd: *mut compat::ib_pd,
    start: u64,
    length: u64,
    iova: u64,
    access: c_int,
    dmah: *mut compat::ib_dmah,
    _udata: *mut compat::ib_udata,
) -> *mut compat::ib_mr {
    let register = || {
        if !dmah.is_null() {
            return Err(unsupported());
        }
        let access = flags(access)?;
        // SAFETY: The PD's device is registered as long as it has objects.
        let backing = unsafe { memory((*pd).device, start, (iova, length), access)? };
        // SAFETY: As our caller promises.
        unsafe { publish(pd, access, backing, (iova, length)) }
    };
    pointer(register())
}

/// Gets memory that is to have addresses from `iova` on.
///
/// # Safety
///
/// `device` is registered, and lives longer than the result.
unsafe fn memory(
    device: *mut compat::ib_device,
    start: u64,
    (iova, len): (u64, u64),
    access: u32,
) -> Result<Backing> {
    iova.checked_add(len).ok_or(EINVAL)?;
    if access & ON_DEMAND != 0 {
        // SAFETY: As our caller promises.
        let memory = unsafe { OnDemand::new(device, start, len, access)? };
        return Ok(Backing::OnDemand(Arc::new(memory, GFP_KERNEL_ACCOUNT)?));
    }
    // SAFETY: As our caller promises.
    let memory = unsafe { Pinned::new(device, start, len, access)? };
    Ok(Backing::Pinned(Arc::new(memory, GFP_KERNEL_ACCOUNT)?))
}

/// `ib_device_ops.rereg_user_mr`
///
/// # Safety
///
/// As the core calls it: `ib` was made by [`reg_user_mr`], and nobody else has it now; `new_pd` is
/// ours; the process that called the verb is the current one.
pub unsafe extern "C" fn rereg_user_mr(
    ib: *mut compat::ib_mr,
    what: c_int,
    start: u64,
    length: u64,
    iova: u64,
    access: c_int,
    new_pd: *mut compat::ib_pd,
    _udata: *mut compat::ib_udata,
) -> *mut compat::ib_mr {
    let to = Target {
        start,
        iova,
        length,
        access,
        pd: new_pd,
    };
    // SAFETY: As our caller promises. Null says that the region stays the same for the core.
    pointer(unsafe { reregister(ib, what as u32, &to) }.map(|()| core::ptr::null_mut()))
}

/// What a region is to become.
struct Target {
    start: u64,
    iova: u64,
    length: u64,
    access: c_int,
    pd: *mut compat::ib_pd,
}

/// Puts a new object in place of a region's. An access finds the old one or the new one; when this
/// returns, nobody uses the old one any more.
///
/// # Safety
///
/// As for [`rereg_user_mr`].
unsafe fn reregister(ib: *mut compat::ib_mr, what: u32, to: &Target) -> Result {
    const TRANSLATION: u32 = compat::ib_mr_rereg_flags_IB_MR_REREG_TRANS;
    const PD: u32 = compat::ib_mr_rereg_flags_IB_MR_REREG_PD;
    const ACCESS: u32 = compat::ib_mr_rereg_flags_IB_MR_REREG_ACCESS;
    if what & !(TRANSLATION | PD | ACCESS) != 0 {
        return Err(unsupported());
    }
    // SAFETY: As our caller promises.
    let base = unsafe { base(ib) };
    // SAFETY: The device lives longer than the region.
    let device = unsafe { Device::from_ib(base.ib.device) };
    let old = region(&base.object)?;

    let access = match what & ACCESS {
        0 => old.access,
        _ => flags(to.access)?,
    };
    let pd = match what & PD {
        0 => old.facts.pd,
        // SAFETY: The PD is ours, as our caller promises.
        _ => unsafe { Object::<_, Pd>::get(to.pd) }.number(),
    };
    let (backing, range) = match what & TRANSLATION {
        0 => {
            old.permits(access)?;
            (old.backing.clone(), (old.facts.start, old.facts.len))
        }
        _ => {
            let range = (to.iova, to.length);
            // SAFETY: The device is registered as long as it has objects.
            let new = unsafe { memory(base.ib.device, to.start, range, access)? };
            (new, range)
        }
    };
    let new = Mr::new(backing, old.facts.rkey, pd, access, range)?;
    let new = Arc::new(Keyed::Region(new), GFP_KERNEL_ACCOUNT)?;

    // From here on no window is bound to the old one.
    old.retire()?;
    if let Err(error) = device.keys.replace(old.facts.rkey, new.clone()) {
        old.unretire();
        return Err(error);
    }
    base.object = new;
    Ok(())
}

/// `ib_device_ops.dereg_mr`
///
/// # Safety
///
/// As the core calls it: `ib` was made by one of these verbs; if this succeeds nobody uses it any
/// more.
pub unsafe extern "C" fn dereg_mr(ib: *mut compat::ib_mr, _udata: *mut compat::ib_udata) -> c_int {
    // SAFETY: As our caller promises.
    errno(unsafe { deregister(ib) })
}

/// # Safety
///
/// As for [`dereg_mr`].
unsafe fn deregister(ib: *mut compat::ib_mr) -> Result {
    // SAFETY: As our caller promises.
    let base = unsafe { base(ib) };
    // SAFETY: The device lives longer than the region.
    let device = unsafe { Device::from_ib(base.ib.device) };
    region(&base.object)?.retire()?;
    // Waits until nobody touches its memory any more. The kernel may have changed the low byte of
    // the core's key; the number stays.
    drop(device.keys.remove(base.ib.lkey));
    // SAFETY: From `KBox::into_raw` in `publish`, and nobody else's any more, as our caller
    // promises. The last reference to the object goes with it: pinned memory is unpinned here. Only
    // memory on demand may be held by another call, that fetches it (`advise_mr`), until that is done.
    drop(unsafe { KBox::from_raw(core::ptr::from_mut(base)) });
    Ok(())
}

/// `ib_device_ops.alloc_mr`
///
/// # Safety
///
/// As the core calls it: `pd` is ours.
pub unsafe extern "C" fn alloc_mr(
    pd: *mut compat::ib_pd,
    kind: compat::ib_mr_type,
    max_pages: u32,
) -> *mut compat::ib_mr {
    let allocate = || {
        if kind != compat::ib_mr_type_IB_MR_TYPE_MEM_REG || max_pages > limits::FAST_REGISTER_PAGES
        {
            return Err(EINVAL);
        }
        let fast = Backing::Fast(Fast::new(max_pages as usize)?);
        // SAFETY: As our caller promises. Rights and addresses come with REG_MR.
        unsafe { publish(pd, 0, fast, (0, 0)) }
    };
    pointer(allocate())
}

/// `ib_device_ops.map_mr_sg`
///
/// # Safety
///
/// As the core calls it: `ib` was made by [`alloc_mr`]; the scatterlist has `entries` entries,
/// mapped for our device; `offset` is null or valid.
pub unsafe extern "C" fn map_mr_sg(
    ib: *mut compat::ib_mr,
    list: *mut compat::scatterlist,
    entries: c_int,
    offset: *mut core::ffi::c_uint,
) -> c_int {
    // SAFETY: The region is not deregistered during the call; only the object is looked at, which
    // does not change.
    let begun = unsafe { fast(ib) }.and_then(|fast| {
        // SAFETY: As above.
        fast.begin(unsafe { (*ib).page_size })
    });
    match begun {
        // SAFETY: As our caller promises.
        Ok(()) => unsafe { compat::ib_sg_to_pages(ib, list, entries, offset, Some(set_page)) },
        Err(error) => error.to_errno(),
    }
}

/// Takes a page of the list.
///
/// # Safety
///
/// As `ib_sg_to_pages` calls it: `ib` is what [`map_mr_sg`] gave it.
unsafe extern "C" fn set_page(ib: *mut compat::ib_mr, addr: u64) -> c_int {
    // SAFETY: As our caller promises.
    errno(unsafe { fast(ib) }.and_then(|fast| fast.push(addr as usize)))
}

/// The pages of a fast-register region.
///
/// # Safety
///
/// `ib` was made by one of these verbs, is not deregistered during `'a`, and not reregistered.
unsafe fn fast<'a>(ib: *mut compat::ib_mr) -> Result<ArcBorrow<'a, Fast>> {
    // SAFETY: As our caller promises: the object stays, and `Base` is only read.
    let object: &'a Arc<Keyed> = unsafe { &(*ib.cast::<Base>()).object };
    match &region(object)?.backing {
        Backing::Fast(fast) => Ok(fast.as_arc_borrow()),
        Backing::Dma | Backing::Pinned(_) | Backing::OnDemand(_) => Err(EINVAL),
    }
}

impl Mr {
    /// Whether the memory it has may be accessed with these flags.
    ///
    /// # Errors
    ///
    /// `EACCES` if it is to be written and is not pinned for that (the code is the core's);
    /// `EINVAL` if it is to be persistent and is not.
    fn permits(&self, access: u32) -> Result {
        match &self.backing {
            Backing::Pinned(pinned) => pinned.permits(access),
            Backing::OnDemand(memory) => memory.permits(access),
            Backing::Dma | Backing::Fast(_) => Err(EINVAL),
        }
    }
}
