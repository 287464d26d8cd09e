// SPDX-License-Identifier: GPL-2.0-only

//! The port: what it can do, whether it is up, and the network device behind it.
//!
//! We answer `get_netdev` and never tell the core by `ib_device_set_netdev`: that would put us where
//! upstream rdma_rxe, which shares our driver id, looks for its own devices
//! (`docs/decisions/0030-sharing-the-driver-id.md`). So we also pass on the events of the network
//! device ourselves, see [`super::link`].

use kernel::error::to_result;
use kernel::prelude::*;

use super::device::{limits, Device};
use super::{errno, unsupported};
use crate::rxe::wire::bth::DEFAULT_PKEY;

/// Entries of the GID table: NCCL scans all of it at start.
const GIDS: i32 = 128;
/// The longest message.
const MESSAGE: u32 = 1 << 31;

/// `ib_device_ops.query_port`
///
/// # Safety
///
/// As the core calls it.
pub unsafe extern "C" fn query_port(
    ib: *mut compat::ib_device,
    port: u32,
    attr: *mut compat::ib_port_attr,
) -> core::ffi::c_int {
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
    let netdev = device.netdev().ok_or(ENODEV)?;

    attr.max_mtu = compat::ib_mtu_IB_MTU_4096;
    attr.active_mtu = u32::from(device.mtu().code()) as _;
    attr.gid_tbl_len = GIDS;
    attr.port_cap_flags = compat::ib_port_capability_mask_bits_IB_PORT_CM_SUP;
    attr.max_msg_sz = MESSAGE;
    attr.pkey_tbl_len = 1;
    attr.max_vl_num = 1;
    // SAFETY: The network device is held; `attr` is valid.
    unsafe {
        attr.state = compat::ib_get_curr_port_state(netdev.raw());
        let up = compat::usb4_rxe_netdev_is_up(netdev.raw());
        // Their numbers fit in a byte.
        attr.phys_state = match (attr.state, up) {
            (compat::ib_port_state_IB_PORT_ACTIVE, _) => {
                compat::ib_port_phys_state_IB_PORT_PHYS_STATE_LINK_UP
            }
            (_, true) => compat::ib_port_phys_state_IB_PORT_PHYS_STATE_POLLING,
            (_, false) => compat::ib_port_phys_state_IB_PORT_PHYS_STATE_DISABLED,
        } as u8;
        to_result(compat::ib_get_eth_speed(
            ib,
            port,
            &mut attr.active_speed,
            &mut attr.active_width,
        ))
    }
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
) -> core::ffi::c_int {
    // SAFETY: Valid, as our caller promises.
    let immutable = unsafe { &mut *immutable };
    immutable.core_cap_flags = compat::RDMA_CORE_PORT_IBA_ROCE_UDP_ENCAP;
    immutable.pkey_tbl_len = 1;
    immutable.gid_tbl_len = GIDS;
    immutable.max_mad_size = compat::IB_MGMT_MAD_SIZE as _;
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
    device
        .netdev()
        .map_or(core::ptr::null_mut(), super::device::Netdev::into_raw)
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
) -> core::ffi::c_int {
    if index != 0 {
        return EINVAL.to_errno();
    }
    // SAFETY: Valid, as our caller promises.
    unsafe { *pkey = DEFAULT_PKEY };
    0
}

/// `ib_device_ops.query_gid`: the core keeps the table of a RoCE port itself.
///
/// # Safety
///
/// As the core calls it.
pub unsafe extern "C" fn query_gid(
    _ib: *mut compat::ib_device,
    _port: u32,
    _index: core::ffi::c_int,
    _gid: *mut compat::ib_gid,
) -> core::ffi::c_int {
    unsupported().to_errno()
}

/// `ib_device_ops.query_device`
///
/// # Safety
///
/// As the core calls it.
pub unsafe extern "C" fn query_device(
    ib: *mut compat::ib_device,
    attr: *mut compat::ib_device_attr,
    _udata: *mut compat::ib_udata,
) -> core::ffi::c_int {
    // SAFETY: The device is ours; `attr` is valid and zeroed.
    let (guid, attr) = unsafe { ((*ib).node_guid, &mut *attr) };
    attr.sys_image_guid = guid;
    attr.vendor_id = 0x00ff_ffff;
    attr.max_mr_size = u64::MAX;
    attr.page_size_cap = 0xffff_f000;
    attr.device_cap_flags = limits::CAPABILITIES;
    attr.kernel_cap_flags = limits::KERNEL_CAPABILITIES;
    // These fields have one sign in 7.2 and none in 7.3.
    attr.max_qp = limits::QP as _;
    attr.max_qp_wr = limits::QP_WR as _;
    attr.max_send_sge = limits::SGE as _;
    attr.max_recv_sge = limits::SGE as _;
    attr.max_sge_rd = limits::SGE as _;
    attr.max_cq = limits::OBJECTS as _;
    attr.max_cqe = limits::CQE as _;
    attr.max_mr = limits::MR as _;
    attr.max_mw = limits::MW as _;
    attr.max_pd = limits::OBJECTS as _;
    attr.max_qp_rd_atom = limits::RD_ATOMIC as _;
    attr.max_qp_init_rd_atom = limits::RD_ATOMIC as _;
    attr.max_res_rd_atom = limits::RESPONDER_RESOURCES as _;
    attr.atomic_cap = compat::ib_atomic_cap_IB_ATOMIC_HCA;
    attr.max_mcast_grp = limits::MCAST_GROUPS as _;
    attr.max_mcast_qp_attach = limits::MCAST_ATTACH as _;
    attr.max_total_mcast_qp_attach = limits::MCAST_TOTAL as _;
    attr.max_ah = limits::AH as _;
    attr.max_srq = limits::SRQ as _;
    attr.max_srq_wr = limits::SRQ_WR as _;
    attr.max_srq_sge = limits::SRQ_SGE as _;
    attr.max_fast_reg_page_list_len = limits::FAST_REGISTER_PAGES;
    attr.max_pkeys = 1;
    attr.local_ca_ack_delay = limits::ACK_DELAY;
    0
}

/// `ib_device_ops.modify_port`: nothing of a RoCE port is set this way; CM sets its capability bit.
///
/// # Safety
///
/// As the core calls it.
pub unsafe extern "C" fn modify_port(
    _ib: *mut compat::ib_device,
    _port: u32,
    _mask: core::ffi::c_int,
    _attr: *mut compat::ib_port_modify,
) -> core::ffi::c_int {
    0
}
