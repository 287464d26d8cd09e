// SPDX-License-Identifier: GPL-2.0-only

//! The network device: `usb4ethN`, an ordinary Ethernet interface.
//!
//! It gives the RDMA device its GIDs, and carries ARP, IP and TCP beside it.
//!
//! ```text
//!   ip link add type usb4eth --> setup --> registered by the core, deleted by ip link del or with us
//!   one of a peer, see ethernet.rs --> its private part points to the peer's wire
//!   IP to this host itself takes lo, so what comes to start_xmit is for somebody else: xmit.rs
//! ```

use core::ptr;

use kernel::error::to_result;
use kernel::ffi;
use kernel::prelude::*;
use kernel::str::CStrExt;
use kernel::sync::atomic::{ordering, Atomic};
use kernel::sync::{Arc, ArcBorrow};
use kernel::types::Opaque;

use super::wire::Wire;
use super::xmit::start_xmit;
use crate::verbs::lock::Rtnl;
use crate::verbs::{ethtool, Shared};

/// Largest Ethernet payload, and what we begin with: room for a path MTU of 4096.
const MAX_MTU: u32 = 9000;
/// Smallest one: IPv4's.
const MIN_MTU: u32 = 68;
/// Speed without rails, in Mbit/s: what one USB4 cable carries.
const SPEED: u32 = 40_000;

static DEVICE_OPS: Shared<compat::net_device_ops> = Shared(compat::net_device_ops {
    ndo_start_xmit: Some(start_xmit),
    ndo_set_mac_address: Some(compat::eth_mac_addr),
    ndo_validate_addr: Some(compat::eth_validate_addr),
    ..pin_init::zeroed()
});

static ETHTOOL_OPS: Shared<compat::ethtool_ops> = Shared(compat::ethtool_ops {
    get_link: Some(compat::ethtool_op_get_link),
    get_link_ksettings: Some(get_link_ksettings),
    get_drvinfo: Some(get_drvinfo),
    get_ts_info: Some(compat::ethtool_op_get_ts_info),
    get_sset_count: Some(ethtool::get_sset_count),
    get_strings: Some(ethtool::get_strings),
    get_ethtool_stats: Some(ethtool::get_ethtool_stats),
    ..pin_init::zeroed()
});

/// `rtnl_link_ops.setup`
///
/// # Safety
///
/// As the core calls it.
pub unsafe extern "C" fn setup(device: *mut compat::net_device) {
    // SAFETY: The core hands in a new device; the tables are statics, and devices with them are gone
    // before the module is: see `LinkType`.
    unsafe {
        compat::usb4_rxe_netdev_setup(device, &DEVICE_OPS.0, &ETHTOOL_OPS.0, MIN_MTU, MAX_MTU);
    }
}

/// `ethtool_ops.get_link_ksettings`
///
/// # Safety
///
/// As the core calls it.
unsafe extern "C" fn get_link_ksettings(
    device: *mut compat::net_device,
    settings: *mut compat::ethtool_link_ksettings,
) -> ffi::c_int {
    // SAFETY: The core hands in zeroed settings to fill.
    let base = unsafe { &mut (*settings).base };
    // SAFETY: The core hands in a device of ours.
    base.speed = unsafe { mbps(device) };
    // Constants of one byte.
    base.duplex = compat::DUPLEX_FULL as u8;
    base.port = compat::PORT_OTHER as u8;
    base.autoneg = compat::AUTONEG_DISABLE as u8;
    0
}

/// `ethtool_ops.get_drvinfo`
///
/// # Safety
///
/// As the core calls it.
unsafe extern "C" fn get_drvinfo(
    _device: *mut compat::net_device,
    info: *mut compat::ethtool_drvinfo,
) {
    // SAFETY: The core hands in a zeroed structure to fill.
    let driver = unsafe { &mut (*info).driver };
    for (place, byte) in driver.iter_mut().zip(b"usb4_rxe") {
        *place = *byte as ffi::c_char;
    }
}

/// Whether a network device is one of ours.
///
/// # Safety
///
/// `device` is a network device that is held during the call.
pub unsafe fn is_ours(device: *mut compat::net_device) -> bool {
    // SAFETY: As our caller promises; the field is set before the device is registered, for good.
    let ops = unsafe { compat::usb4_rxe_netdev_ops(device) };
    ptr::eq(ops, &DEVICE_OPS.0)
}

/// Where a device of ours keeps what it leads to: from `Arc::into_raw`, or null.
///
/// # Safety
///
/// `device` is one of ours, and held.
pub unsafe fn private(device: *mut compat::net_device) -> *mut *const Wire {
    // SAFETY: As our caller promises.
    unsafe { &raw mut (*compat::netdev_priv(device).cast::<Private>()).wire }
}

/// What a device of ours has for itself; zeroed when it is made.
#[repr(C)]
struct Private {
    /// See [`private`].
    wire: *const Wire,
    /// The sum of the rails, in Mbit/s; 0 if there never were any.
    speed: Atomic<u32>,
}

/// Bytes of the private part.
pub const PRIVATE_SIZE: usize = size_of::<Private>();

/// # Safety
///
/// `device` is one of ours, and held during `'a`.
unsafe fn speed<'a>(device: *mut compat::net_device) -> &'a Atomic<u32> {
    // SAFETY: As our caller promises.
    unsafe { &(*compat::netdev_priv(device).cast::<Private>()).speed }
}

/// The sum of the rails, in Mbit/s; what one cable carries if there never were any.
///
/// # Safety
///
/// `device` is one of ours, and held.
unsafe fn mbps(device: *mut compat::net_device) -> u32 {
    // SAFETY: As our caller promises.
    match unsafe { speed(device) }.load(ordering::Relaxed) {
        0 => SPEED,
        sum => sum,
    }
}

/// Sets the speed, in Mbit/s.
///
/// # Safety
///
/// `device` is one of ours, and held.
pub unsafe fn set_speed(device: *mut compat::net_device, mbps: u32) {
    // SAFETY: As our caller promises.
    unsafe { speed(device) }.store(mbps, ordering::Relaxed);
}

/// A reference to a network device.
///
/// # Invariants
///
/// The pointer is to a network device, and holds it.
pub struct Netdev(*mut compat::net_device);

// SAFETY: References to network devices belong to no thread.
unsafe impl Send for Netdev {}
// SAFETY: What can be done with a shared reference may be done from any thread.
unsafe impl Sync for Netdev {}

impl Netdev {
    /// Takes a reference.
    ///
    /// # Safety
    ///
    /// `raw` is a network device that somebody holds during the call.
    pub unsafe fn hold(raw: *mut compat::net_device) -> Self {
        // SAFETY: As our caller promises.
        unsafe { compat::dev_hold(raw) };
        // INVARIANT: Held just now.
        Self(raw)
    }

    /// The device, valid as long as `self`.
    pub fn raw(&self) -> *mut compat::net_device {
        self.0
    }

    /// The device, with the reference.
    pub fn into_raw(self) -> *mut compat::net_device {
        let raw = self.0;
        core::mem::forget(self);
        raw
    }

    /// Its address.
    pub fn address(&self) -> [u8; 6] {
        let mut address = [0; 6];
        // SAFETY: The device is held; the addresses of our devices have six bytes.
        unsafe { compat::usb4_rxe_netdev_address(self.0, address.as_mut_ptr()) };
        address
    }

    /// Its name, which nobody changes meanwhile.
    pub fn name<'a>(&'a self, _rtnl: &'a Rtnl) -> &'a CStr {
        // SAFETY: The device is held, and its name is part of it and ends with a zero. It is changed
        // under RTNL, which is not let go before the name is.
        unsafe { CStr::from_char_ptr(compat::usb4_rxe_netdev_name(self.0)) }
    }

    /// The largest payload of a frame.
    pub fn mtu(&self) -> u32 {
        // SAFETY: The device is held.
        unsafe { compat::usb4_rxe_netdev_mtu(self.0) }
    }

    /// Its speed in Mbit/s; 0: it is somebody else's.
    pub fn mbps(&self) -> u32 {
        // SAFETY: The device is held, and of ours where its speed is asked for.
        unsafe {
            if !is_ours(self.0) {
                return 0;
            }
            mbps(self.0)
        }
    }

    /// Whether the administrator wants it up.
    #[inline]
    pub fn is_up(&self) -> bool {
        // SAFETY: The device is held.
        unsafe { compat::usb4_rxe_netdev_is_up(self.0) }
    }

    /// Whether it is registered, and not about to be unregistered.
    pub fn is_registered(&self) -> bool {
        // SAFETY: The device is held.
        unsafe { compat::usb4_rxe_netdev_is_registered(self.0) }
    }

    /// The rails to the peer. `None`: it leads nowhere.
    pub fn wire(&self) -> Option<Arc<Wire>> {
        // SAFETY: As our caller of `hold` promised the device is there; it is one of ours, or of
        // somebody else's, which `is_ours` tells.
        let wire = unsafe {
            if !is_ours(self.0) {
                return None;
            }
            private(self.0).read()
        };
        if wire.is_null() {
            return None;
        }
        // SAFETY: The private part owns a reference, until the device is freed.
        Some(unsafe { ArcBorrow::from_raw(wire) }.into())
    }

    /// Whether somebody listens (tcpdump).
    #[inline]
    pub fn has_taps(&self) -> bool {
        // SAFETY: The device is held.
        unsafe { compat::usb4_rxe_has_taps(self.0) }
    }

    /// Whether somebody listens who can be shown what the RDMA device receives: not while the device
    /// belongs to another one (a bridge), which would take it for its own.
    #[inline]
    pub fn has_receive_taps(&self) -> bool {
        // SAFETY: The device is held.
        unsafe { compat::usb4_rxe_has_receive_taps(self.0) }
    }

    /// Whether the network stack may have a packet of this length now; if not, it counts as dropped.
    /// Softirqs are off until it has it.
    #[inline]
    pub fn may_receive(&self, len: usize) -> bool {
        let len = u32::try_from(len).unwrap_or(u32::MAX);
        // SAFETY: The device is held.
        unsafe { compat::usb4_rxe_may_receive(self.0, len) }
    }

    /// No packets may come for now.
    pub fn stop_queue(&self) {
        // SAFETY: The device is held.
        unsafe { compat::netif_stop_queue(self.0) };
    }

    /// Packets may come again.
    pub fn wake_queue(&self) {
        // SAFETY: The device is held.
        unsafe { compat::netif_wake_queue(self.0) };
    }

    /// The state of an RDMA port over it.
    pub fn port_state(&self) -> compat::ib_port_state {
        // SAFETY: The device is held.
        unsafe { compat::ib_get_curr_port_state(self.0) }
    }
}

impl Clone for Netdev {
    fn clone(&self) -> Self {
        // SAFETY: By the type's invariants `self` holds it.
        unsafe { Self::hold(self.0) }
    }
}

impl Drop for Netdev {
    fn drop(&mut self) {
        // SAFETY: By the type's invariants the reference is ours.
        unsafe { compat::dev_put(self.0) };
    }
}

/// `ip link add type usb4eth` works while this lives.
pub struct LinkType(KBox<Opaque<compat::rtnl_link_ops>>);

// SAFETY: The core may be called from any thread.
unsafe impl Send for LinkType {}
// SAFETY: Nothing can be done with a reference.
unsafe impl Sync for LinkType {}

impl LinkType {
    /// Registers the type.
    pub fn register() -> Result<Self> {
        let ops = KBox::new(
            Opaque::new(compat::rtnl_link_ops {
                kind: c"usb4eth".as_char_ptr(),
                priv_size: PRIVATE_SIZE,
                setup: Some(setup),
                ..pin_init::zeroed()
            }),
            GFP_KERNEL,
        )?;
        // SAFETY: The structure stays where it is until it is unregistered in `drop`.
        to_result(unsafe { compat::rtnl_link_register(ops.get()) })?;
        Ok(Self(ops))
    }
}

impl Drop for LinkType {
    fn drop(&mut self) {
        // Takes all devices of the type along.
        // SAFETY: Registered in `register`.
        unsafe { compat::rtnl_link_unregister(self.0.get()) };
    }
}
