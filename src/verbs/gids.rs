// SPDX-License-Identifier: GPL-2.0-only

//! The port's GIDs: our own IP addresses, by which a packet for us is told from one to forward.
//!
//! The core keeps the table itself; it tells us what it puts in.

use core::ffi;

use kernel::prelude::*;

use super::device::Device;
use super::limits;
use super::lock::{new_bh_lock, Bh, BhLock};

const COUNT: usize = limits::GIDS as usize;

/// Our own addresses, by place in the GID table.
#[pin_data]
pub struct Addresses {
    #[pin]
    known: BhLock<Known>,
}

struct Known {
    gids: [[u8; 16]; COUNT],
    /// No address is at this place or behind.
    end: usize,
}

/// No address.
const NONE: [u8; 16] = [0; 16];

impl Addresses {
    /// None yet.
    pub fn new() -> impl PinInit<Self> {
        let known = Known {
            gids: [NONE; COUNT],
            end: 0,
        };
        pin_init!(Self { known <- new_bh_lock!(known, "usb4_rxe addresses") })
    }

    /// Whether an address is ours.
    #[inline]
    pub fn contains(&self, bh: &Bh, gid: &[u8; 16]) -> bool {
        let known = self.known.lock(bh);
        let gids = known.gids.get(..known.end);
        gids.unwrap_or_default().contains(gid)
    }

    fn set(&self, index: u32, gid: [u8; 16]) {
        let bh = Bh::disable();
        let mut known = self.known.lock(&bh);
        if let Some(place) = known.gids.get_mut(index as usize) {
            *place = gid;
        }
        let last = known.gids.iter().rposition(|gid| *gid != NONE);
        known.end = last.map_or(0, |last| last.wrapping_add(1));
    }
}

/// `ib_device_ops.add_gid`
///
/// # Safety
///
/// As the core calls it.
pub unsafe extern "C" fn add_gid(
    attr: *const compat::ib_gid_attr,
    _context: *mut *mut ffi::c_void,
) -> ffi::c_int {
    // SAFETY: The attributes are valid, the device is ours.
    let (device, index, gid) = unsafe {
        (
            Device::from_ib((*attr).device),
            (*attr).index,
            (*attr).gid.raw,
        )
    };
    device.addresses.set(index.into(), gid);
    0
}

/// `ib_device_ops.del_gid`
///
/// # Safety
///
/// As the core calls it.
pub unsafe extern "C" fn del_gid(
    attr: *const compat::ib_gid_attr,
    _context: *mut *mut ffi::c_void,
) -> ffi::c_int {
    // SAFETY: As in `add_gid`.
    let (device, index) = unsafe { (Device::from_ib((*attr).device), (*attr).index) };
    device.addresses.set(index.into(), NONE);
    0
}
