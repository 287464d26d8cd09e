// SPDX-License-Identifier: GPL-2.0-only

//! The port: what it can do, whether it is up, and the network device behind it.
//!
//! We answer `get_netdev` and never call `ib_device_set_netdev`: that would put us where upstream
//! rdma_rxe, which shares our driver id, looks for its own devices
//! (`docs/decisions/0030-sharing-the-driver-id.md`). So nobody passes the events of the network
//! device on for us, and [`super::link`] does.

use core::ptr::null_mut;

use kernel::ffi;
use kernel::prelude::*;

use super::device::Device;
use super::{errno, limits, unsupported};
use crate::rxe::rate::Rate;
use crate::rxe::wire::bth::DEFAULT_PKEY;
use crate::usb4::netdev::Netdev;

/// `ib_device_ops.query_port`
///
/// # Safety
///
/// As the core calls it.
pub unsafe extern "C" fn query_port(
    ib: *mut compat::ib_device,
    port: u32,
    attr: *mut compat::ib_port_attr,
) -> ffi::c_int {
    // SAFETY: The device is ours; `attr` is valid and zeroed.
    errno(unsafe { query(ib, port, &mut *attr) })
}

/// # Safety
///
/// `ib` is a device of ours.
unsafe fn query(ib: *mut compat::ib_device, port: u32, attr: &mut compat::ib_port_attr) -> Result {
    if port != 1 {
        return Err(EINVAL);
    }
    // SAFETY: As our caller promises.
    let device = unsafe { Device::from_ib(ib) };

    attr.max_mtu = compat::ib_mtu_IB_MTU_4096;
    attr.active_mtu = device.mtu().code().into();
    // A small constant.
    attr.gid_tbl_len = limits::GIDS as ffi::c_int;
    attr.set_ip_gids(1);
    attr.port_cap_flags = compat::ib_port_capability_mask_bits_IB_PORT_CM_SUP;
    attr.max_msg_sz = limits::MESSAGE;
    attr.pkey_tbl_len = limits::PKEYS;
    attr.max_vl_num = 1;
    let netdev = device.netdev();
    let rate = Rate::nearest(netdev.as_ref().map_or(0, Netdev::mbps));
    (attr.active_width, attr.active_speed) = (rate.width, rate.speed);
    // Small constants, both of them.
    (attr.state, attr.phys_state) = match netdev {
        Some(netdev) => {
            let state = netdev.port_state();
            let physical = match state {
                compat::ib_port_state_IB_PORT_ACTIVE => {
                    compat::ib_port_phys_state_IB_PORT_PHYS_STATE_LINK_UP
                }
                _ if netdev.is_up() => compat::ib_port_phys_state_IB_PORT_PHYS_STATE_POLLING,
                _ => compat::ib_port_phys_state_IB_PORT_PHYS_STATE_DISABLED,
            };
            (state, physical as u8)
        }
        // The network device is gone, and we are on our way out: that is no error to complain of.
        None => {
            let physical = compat::ib_port_phys_state_IB_PORT_PHYS_STATE_DISABLED;
            (compat::ib_port_state_IB_PORT_DOWN, physical as u8)
        }
    };
    Ok(())
}

/// `ib_device_ops.get_port_immutable`
///
/// # Safety
///
/// As the core calls it.
pub unsafe extern "C" fn get_port_immutable(
    _ib: *mut compat::ib_device,
    _port: u32,
    immutable: *mut compat::ib_port_immutable,
) -> ffi::c_int {
    // SAFETY: Valid, as our caller promises.
    let immutable = unsafe { &mut *immutable };
    immutable.core_cap_flags = compat::RDMA_CORE_PORT_IBA_ROCE_UDP_ENCAP;
    immutable.pkey_tbl_len = limits::PKEYS.into();
    // A small constant.
    immutable.gid_tbl_len = limits::GIDS as ffi::c_int;
    immutable.max_mad_size = compat::IB_MGMT_MAD_SIZE;
    0
}

/// `ib_device_ops.get_link_layer`
///
/// # Safety
///
/// As the core calls it.
pub unsafe extern "C" fn get_link_layer(
    _ib: *mut compat::ib_device,
    _port: u32,
) -> compat::rdma_link_layer {
    compat::rdma_link_layer_IB_LINK_LAYER_ETHERNET
}

/// `ib_device_ops.get_netdev`: held for the caller.
///
/// # Safety
///
/// As the core calls it.
pub unsafe extern "C" fn get_netdev(
    ib: *mut compat::ib_device,
    _port: u32,
) -> *mut compat::net_device {
    // SAFETY: The device is ours.
    let device = unsafe { Device::from_ib(ib) };
    device.netdev().map_or(null_mut(), Netdev::into_raw)
}

/// `ib_device_ops.query_pkey`
///
/// # Safety
///
/// As the core calls it.
pub unsafe extern "C" fn query_pkey(
    _ib: *mut compat::ib_device,
    _port: u32,
    index: u16,
    pkey: *mut u16,
) -> ffi::c_int {
    if index >= limits::PKEYS {
        return EINVAL.to_errno();
    }
    // SAFETY: Valid, as our caller promises.
    unsafe { *pkey = DEFAULT_PKEY };
    0
}

/// `ib_device_ops.query_gid`: the core keeps the table of a RoCE port itself and does not ask.
///
/// # Safety
///
/// As the core calls it.
pub unsafe extern "C" fn query_gid(
    _ib: *mut compat::ib_device,
    _port: u32,
    _index: ffi::c_int,
    _gid: *mut compat::ib_gid,
) -> ffi::c_int {
    unsupported().to_errno()
}

/// `ib_device_ops.modify_port`: CM announces itself this way; a RoCE port has nobody to tell.
///
/// # Safety
///
/// As the core calls it.
pub unsafe extern "C" fn modify_port(
    _ib: *mut compat::ib_device,
    port: u32,
    mask: ffi::c_int,
    _attr: *mut compat::ib_port_modify,
) -> ffi::c_int {
    if port != 1 {
        return EINVAL.to_errno();
    }
    // No violation is ever counted, so there is nothing to reset.
    let harmless = compat::ib_port_modify_flags_IB_PORT_RESET_QKEY_CNTR;
    if mask as u32 & !harmless != 0 {
        return unsupported().to_errno();
    }
    0
}
