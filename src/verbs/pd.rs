// SPDX-License-Identifier: GPL-2.0-only

//! Protection domains: a number, for the engine to compare.

use kernel::prelude::*;
use kernel::sync::Arc;

use super::device::Device;
use super::errno;
use super::object::Object;
use crate::rxe::access;

/// A protection domain.
pub struct Pd {
    device: Arc<Device>,
    number: u32,
}

impl Pd {
    /// Its number.
    pub fn number(&self) -> access::Pd {
        access::Pd(self.number)
    }
}

/// `ib_device_ops.alloc_pd`
///
/// # Safety
///
/// As the core calls it: `ib` is a new object of our size with its device set.
pub unsafe extern "C" fn alloc_pd(
    ib: *mut compat::ib_pd,
    _udata: *mut compat::ib_udata,
) -> core::ffi::c_int {
    // SAFETY: As our caller promises.
    errno(unsafe { alloc(ib) })
}

/// # Safety
///
/// `ib` is a new object of our size with its device set.
unsafe fn alloc(ib: *mut compat::ib_pd) -> Result {
    // SAFETY: The core has set the device, which lives longer than its objects.
    let device = Arc::from(unsafe { Device::from_ib((*ib).device) });
    let number = device.pd_numbers.take()?;
    let pd = Arc::new(Pd { device, number }, GFP_KERNEL_ACCOUNT)?;
    // SAFETY: `ib` is new and of our size.
    unsafe { Object::set(ib, pd) };
    Ok(())
}

impl Drop for Pd {
    fn drop(&mut self) {
        // In process context: only the core's object owns a `Pd`.
        self.device.pd_numbers.put(self.number);
    }
}

/// `ib_device_ops.dealloc_pd`
///
/// # Safety
///
/// As the core calls it: `ib` was made by [`alloc_pd`], nobody uses it any more.
pub unsafe extern "C" fn dealloc_pd(
    ib: *mut compat::ib_pd,
    _udata: *mut compat::ib_udata,
) -> core::ffi::c_int {
    // SAFETY: As our caller promises.
    drop(unsafe { Object::<_, Pd>::take(ib) });
    0
}
