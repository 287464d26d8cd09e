// SPDX-License-Identifier: GPL-2.0-only

//! A device as the RDMA core knows it: how it is made, held, unregistered, and how it ends.

use kernel::ffi;
use kernel::prelude::*;
use kernel::sync::Arc;

use super::books::{links, Stage};
use super::commands::LINK_OPS;
use super::name::Name;
use crate::usb4::netdev::Netdev;
use crate::verbs::device::Device;
use crate::verbs::lock::Rtnl;
use crate::verbs::object::Object;
use crate::verbs::ops::OPS;

/// A reference to a device of the core's.
///
/// # Invariants
///
/// The pointer is to an `ib_device` and holds a reference.
pub struct CoreDevice(*mut compat::ib_device);

// SAFETY: References to the core's devices belong to no thread.
unsafe impl Send for CoreDevice {}

impl CoreDevice {
    /// Whether it is this one.
    pub fn is(&self, ib: *mut compat::ib_device) -> bool {
        self.0 == ib
    }

    /// Takes a reference.
    ///
    /// # Safety
    ///
    /// `ib` is a device of the core's, and somebody holds it.
    pub unsafe fn hold(ib: *mut compat::ib_device) -> Self {
        // SAFETY: As our caller promises.
        unsafe { compat::usb4_rxe_device_get(ib) };
        // INVARIANT: Taken just now.
        Self(ib)
    }

    /// Unregisters the device if it is registered; waits for whoever is about to. Sleeps, takes
    /// RTNL.
    pub fn unregister(&self) {
        // SAFETY: By the type's invariants the device is there. The call may be repeated: the core
        // looks, under its lock, whether there is anything left to do.
        unsafe { compat::ib_unregister_device(self.0) };
    }

    /// Tells users of the device when the port has gone up or down.
    pub fn pass_state(&self, netdev: &Netdev) {
        // SAFETY: By the type's invariants the device is there. While we have a use count it is
        // registered and stays so; the network device is held.
        unsafe {
            if compat::ib_device_try_get(self.0) {
                compat::ib_dispatch_port_state_event(self.0, netdev.raw());
                compat::ib_device_put(self.0);
            }
        }
    }

    /// The device's name now: an administrator may have changed it.
    pub fn name(&self) -> Name {
        // SAFETY: By the type's invariants the device is there. The core changes the name under a
        // lock that is not ours; renaming a device while it is unregistered fails.
        unsafe { (*self.0).name }
    }
}

impl Clone for CoreDevice {
    fn clone(&self) -> Self {
        // SAFETY: By the type's invariants `self` holds it.
        unsafe { Self::hold(self.0) }
    }
}

impl Drop for CoreDevice {
    fn drop(&mut self) {
        // SAFETY: By the type's invariants the reference is ours.
        unsafe { compat::usb4_rxe_device_put(self.0) };
    }
}

/// A network namespace that does not end meanwhile.
///
/// # Invariants
///
/// The pointer is to a namespace, and holds it.
pub struct Namespace(*mut compat::net);

impl Namespace {
    /// Holds that of a network device, where it stays for as long as RTNL is held.
    ///
    /// # Errors
    ///
    /// `ENODEV`: it is ending.
    pub fn of(netdev: &Netdev, _rtnl: &Rtnl) -> Result<Self> {
        // SAFETY: The network device is held. A namespace that ends waits until its devices have moved on,
        // which takes RTNL, or are let go of.
        let net = unsafe { compat::maybe_get_net(compat::dev_net(netdev.raw())) };
        if net.is_null() {
            return Err(ENODEV);
        }
        // INVARIANT: Held just now.
        Ok(Self(net))
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        // SAFETY: By the type's invariants it is ours to let go of.
        unsafe { compat::put_net(self.0) };
    }
}

/// Makes a device that the core does not know yet, in a namespace that is to be held until it does, or
/// never will.
pub fn allocate(
    device: &Arc<Device>,
    netdev: &Netdev,
    namespace: &Namespace,
) -> Result<*mut compat::ib_device> {
    // SAFETY: `SIZE` leaves room for ours behind the core's part; the namespace is held.
    let ib =
        unsafe { compat::_ib_alloc_device(Object::<compat::ib_device, Device>::SIZE, namespace.0) };
    if ib.is_null() {
        return Err(ENOMEM);
    }
    // SAFETY: A new device that nobody else knows yet, of our size; the tables live as long as the
    // module, which waits for the end of the device.
    unsafe {
        Object::set(ib, device.clone());
        // The host router, or nothing. It outlives the network device, and that outlives us.
        (*ib).__bindgen_anon_1.dev.parent = compat::usb4_rxe_netdev_parent(netdev.raw());
        // A small constant.
        (*ib).node_type = compat::RDMA_NODE_IB_CA as u8;
        (*ib).phys_port_cnt = 1;
        // At most as many as the kernel was built for.
        (*ib).num_comp_vectors = compat::nr_cpu_ids as ffi::c_int;
        (*ib).node_guid = guid(device.mac());
        for (place, byte) in (*ib).node_desc.iter_mut().zip(b"usb4_rxe") {
            *place = *byte as ffi::c_char;
        }
        (*ib).uverbs_cmd_mask |= (1 << compat::ib_uverbs_write_cmds_IB_USER_VERBS_CMD_POST_SEND)
            | (1 << compat::ib_uverbs_write_cmds_IB_USER_VERBS_CMD_REQ_NOTIFY_CQ);
        compat::ib_set_device_ops(ib, &OPS.0);
        (*ib).ops.owner = compat::usb4_rxe_this_module();
        (*ib).link_ops = LINK_OPS.get();
        compat::ib_mark_name_assigned_by_user(ib);
    }
    Ok(ib)
}

/// A GUID from an address (modified EUI-64): as stable, and as unique.
fn guid(mac: [u8; 6]) -> u64 {
    let [a, b, c, d, e, f] = mac;
    u64::from_ne_bytes([a ^ 2, b, c, 0xff, 0xfe, d, e, f])
}

/// `ib_device_ops.dealloc_driver`: the device is unregistered, or never was. All its objects are
/// gone.
///
/// # Safety
///
/// As the core calls it.
pub unsafe extern "C" fn dealloc_driver(ib: *mut compat::ib_device) {
    // SAFETY: The device is ours, and nobody uses it any more.
    let device = unsafe { Object::<compat::ib_device, Device>::take(ib) };
    if let Some(wire) = device.wire() {
        wire.forget_device(&device);
    }
    Device::settle(&device);
    let Ok(links) = links() else { return };
    let stage = links.with(ib, |link| {
        link.stage = match link.stage {
            Stage::Up => Stage::Lost,
            Stage::Ending | Stage::Ended | Stage::Lost => Stage::Ended,
        };
        link.stage
    });
    match stage {
        Some(Stage::Lost) => pr_warn!(
            "another driver took our device away (rmmod rdma_rxe does that): it will be registered again\n"
        ),
        // Nobody may wait for a network device that only the books still hold.
        Some(_) => device.forget_netdev(),
        // It did not make it into the books.
        None => return,
    }
    // Taking it out waits for our return.
    links.start_cleaning();
}
