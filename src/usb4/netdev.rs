// SPDX-License-Identifier: GPL-2.0-only

//! The network device: `usb4ethN`, an ordinary Ethernet interface.
//!
//! It gives the RDMA device its GIDs, and carries ARP, IP and TCP beside it. `ip link add usb4eth0
//! type usb4eth` makes one that no cable leads to: good for loop-back. It needs no rails to be up.
//!
//! ```text
//!   ip link add type usb4eth --> setup --> register_netdevice
//!   IP to this host itself goes over lo, so what comes here is for somebody else: without rails it
//!   is dropped and counted
//! ```

use kernel::prelude::*;

use crate::verbs::Shared;

/// Largest Ethernet payload.
const MAX_MTU: u32 = 9000;
/// Smallest one: IPv4's.
const MIN_MTU: u32 = 68;
/// What `ethtool` says of a link without rails, in Mbit/s.
const LOOPBACK_SPEED: u32 = 40_000;

static DEVICE_OPS: Shared<compat::net_device_ops> = Shared(compat::net_device_ops {
    ndo_start_xmit: Some(start_xmit),
    ndo_set_mac_address: Some(compat::eth_mac_addr),
    ndo_validate_addr: Some(compat::eth_validate_addr),
    ndo_get_stats64: None,
    ..pin_init::zeroed()
});

static ETHTOOL_OPS: Shared<compat::ethtool_ops> = Shared(compat::ethtool_ops {
    get_link: Some(compat::ethtool_op_get_link),
    get_link_ksettings: Some(get_link_ksettings),
    get_drvinfo: Some(get_drvinfo),
    ..pin_init::zeroed()
});

/// `rtnl_link_ops.setup`
unsafe extern "C" fn setup(device: *mut compat::net_device) {
    // SAFETY: The core hands in a new device; the tables are statics.
    unsafe {
        compat::usb4_rxe_netdev_setup(
            device,
            &DEVICE_OPS.0,
            &ETHTOOL_OPS.0,
            MIN_MTU,
            MAX_MTU,
        );
    }
}

/// `net_device_ops.ndo_start_xmit`: no rail leads anywhere.
unsafe extern "C" fn start_xmit(
    packet: *mut compat::sk_buff,
    device: *mut compat::net_device,
) -> compat::netdev_tx_t {
    // SAFETY: The packet is ours to free; the device is registered.
    unsafe { compat::usb4_rxe_drop(packet, device) };
    compat::netdev_tx_NETDEV_TX_OK
}

unsafe extern "C" fn get_link_ksettings(
    _device: *mut compat::net_device,
    settings: *mut compat::ethtool_link_ksettings,
) -> kernel::ffi::c_int {
    // SAFETY: The core hands in zeroed settings to fill.
    let base = unsafe { &mut (*settings).base };
    base.speed = LOOPBACK_SPEED;
    // These are constants of one byte.
    base.duplex = compat::DUPLEX_FULL as u8;
    base.port = compat::PORT_OTHER as u8;
    base.autoneg = compat::AUTONEG_DISABLE as u8;
    0
}

unsafe extern "C" fn get_drvinfo(
    _device: *mut compat::net_device,
    info: *mut compat::ethtool_drvinfo,
) {
    // SAFETY: The core hands in a zeroed structure to fill.
    let driver = unsafe { &mut (*info).driver };
    for (place, byte) in driver.iter_mut().zip(b"usb4_rxe") {
        *place = *byte as _;
    }
}

/// Whether a network device is one of ours.
///
/// # Safety
///
/// `device` is a network device that is held.
pub unsafe fn is_ours(device: *mut compat::net_device) -> bool {
    // SAFETY: As our caller promises; the field is set before the device is registered.
    let ops = unsafe { compat::usb4_rxe_netdev_ops(device) };
    core::ptr::eq(ops, &DEVICE_OPS.0)
}

/// `ip link add type usb4eth` works while this lives.
pub struct LinkType(KBox<kernel::types::Opaque<compat::rtnl_link_ops>>);

impl LinkType {
    /// Registers the type.
    pub fn register() -> Result<Self> {
        let ops = compat::rtnl_link_ops {
            kind: c"usb4eth".as_ptr().cast(),
            setup: Some(setup),
            ..pin_init::zeroed()
        };
        let ops = KBox::new(kernel::types::Opaque::new(ops), GFP_KERNEL)?;
        // SAFETY: The structure stays where it is until it is unregistered in `drop`.
        kernel::error::to_result(unsafe { compat::rtnl_link_register(ops.get()) })?;
        Ok(Self(ops))
    }
}

impl Drop for LinkType {
    fn drop(&mut self) {
        // Takes the devices of this type along.
        // SAFETY: Registered in `register`.
        unsafe { compat::rtnl_link_unregister(self.0.get()) };
    }
}

// SAFETY: The core may be called from any thread.
unsafe impl Send for LinkType {}
// SAFETY: Nothing can be done with a reference.
unsafe impl Sync for LinkType {}
