// SPDX-License-Identifier: GPL-2.0-only

//! The network device of a peer: `usb4ethN`, there as long as the peer is known, whoever pulls which
//! cable.
//!
//! Its parent is the host router's PCI device, and through it so is the RDMA device's: that is where
//! NCCL looks. Nobody else can delete it, for it is of no `ip link` type; moved to a network namespace
//! it comes back from there.

use core::ptr::NonNull;

use kernel::error::to_result;
use kernel::prelude::*;
use kernel::str::CStr;
use kernel::sync::Arc;

use super::netdev::{self, Netdev};
use super::rail::frame::envelope::Uuid;
use super::wire::Wire;

/// A registered network device.
///
/// # Invariants
///
/// The pointer is to a registered network device of ours, whose private part owns a reference to a
/// [`Wire`].
pub struct Ethernet(NonNull<compat::net_device>);

// SAFETY: Network devices belong to no thread.
unsafe impl Send for Ethernet {}
// SAFETY: What can be done with a shared reference may be done from any thread.
unsafe impl Sync for Ethernet {}

impl Ethernet {
    /// Makes and registers one without carrier. Takes RTNL.
    ///
    /// # Safety
    ///
    /// `parent` is a device that stays until this is dropped.
    ///
    /// # Errors
    ///
    /// `ENOMEM`, or what the core says.
    pub unsafe fn new(
        parent: *mut compat::device,
        address: [u8; 6],
        speed_gbps: u32,
        wire: &Arc<Wire>,
    ) -> Result<Self> {
        // SAFETY: The parent is there, as our caller promises.
        let raw = unsafe {
            compat::usb4_rxe_netdev_alloc(
                netdev::PRIVATE_SIZE,
                Some(netdev::setup),
                parent,
                address.as_ptr(),
            )
        };
        let device = NonNull::new(raw).ok_or(ENOMEM)?;
        // SAFETY: New, and ours; the private part is a pointer.
        let registered = unsafe {
            netdev::private(raw).write(Arc::into_raw(wire.clone()));
            netdev::set_speed(raw, speed_gbps.saturating_mul(1000));
            compat::netif_carrier_off(raw);
            to_result(compat::register_netdev(raw))
        };
        if let Err(error) = registered {
            // SAFETY: Not registered, and not known to anybody else.
            unsafe { free(raw) };
            return Err(error);
        }
        // INVARIANT: Registered just now.
        Ok(Self(device))
    }

    /// The device, held.
    pub fn netdev(&self) -> Netdev {
        // SAFETY: By the type's invariants it is there.
        unsafe { Netdev::hold(self.0.as_ptr()) }
    }

    /// Brings it up, as an administrator would. Takes RTNL.
    ///
    /// # Errors
    ///
    /// What the core says.
    pub fn open(netdev: &Netdev) -> Result {
        // SAFETY: The device is held, and one that is on its way out is left alone.
        to_result(unsafe { compat::usb4_rxe_netdev_open(netdev.raw()) })
    }

    /// Calls with its name. An administrator may change it meanwhile: it is for the log.
    pub fn name(&self) -> &CStr {
        // SAFETY: By the type's invariants the device is there; the name is part of it and always
        // ends with a zero.
        unsafe { CStr::from_char_ptr(compat::usb4_rxe_netdev_name(self.0.as_ptr())) }
    }

    /// Tells the network stack whether anything can be sent, and how fast.
    pub fn set_carrier(&self, speed_gbps: u32) {
        let raw = self.0.as_ptr();
        // SAFETY: By the type's invariants the device is there, and one of ours.
        unsafe {
            if speed_gbps == 0 {
                // It stays as fast as it was: who asks gets no better answer.
                compat::netif_carrier_off(raw);
            } else {
                netdev::set_speed(raw, speed_gbps.saturating_mul(1000));
                compat::netif_carrier_on(raw);
            }
        }
    }
}

impl Drop for Ethernet {
    fn drop(&mut self) {
        let raw = self.0.as_ptr();
        // SAFETY: Registered, by the type's invariants. When it is unregistered nobody holds it
        // any more.
        unsafe {
            compat::unregister_netdev(raw);
            free(raw);
        }
    }
}

/// # Safety
///
/// `raw` is a device that [`Ethernet::new`] made, and nobody uses it any more.
unsafe fn free(raw: *mut compat::net_device) {
    // SAFETY: As our caller promises; the private part is from `Arc::into_raw`.
    unsafe {
        let wire = netdev::private(raw).read();
        compat::free_netdev(raw);
        drop(Arc::from_raw(wire));
    }
}

/// The address of our end towards a host router: always the same for the same two, another one for
/// the other end, and locally administered.
pub fn address(local: &Uuid, remote: &Uuid) -> [u8; 6] {
    let mut hash = 0xcbf2_9ce4_8422_2325u64;
    for byte in [local.0, remote.0].as_flattened() {
        // FNV-1a.
        hash = (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3);
    }
    hash ^= hash >> 29;
    let [a, b, c, d, e, f, ..] = hash.to_le_bytes();
    [a & 0xfc | 2, b, c, d, e, f]
}
