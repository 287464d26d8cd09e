// SPDX-License-Identifier: GPL-2.0-only

//! The device's attributes.

use kernel::ffi;

use super::{limits, odp, unsupported};

/// `ib_device_ops.query_device`
///
/// # Safety
///
/// As the core calls it.
pub unsafe extern "C" fn query_device(
    ib: *mut compat::ib_device,
    attr: *mut compat::ib_device_attr,
    _udata: *mut compat::ib_udata,
) -> ffi::c_int {
    // SAFETY: The device is ours; `attr` is valid and zeroed.
    let (guid, attr) = unsafe { ((*ib).node_guid, &mut *attr) };
    attr.sys_image_guid = guid;
    attr.vendor_id = limits::VENDOR;
    attr.max_mr_size = u64::MAX;
    attr.page_size_cap = limits::PAGE_SIZES;
    attr.device_cap_flags = limits::CAPABILITIES;
    attr.kernel_cap_flags = limits::KERNEL_CAPABILITIES;
    if odp::is_supported() {
        attr.kernel_cap_flags |= compat::ib_kernel_cap_flags_IBK_ON_DEMAND_PAGING as u64;
        let caps = &mut attr.odp_caps;
        caps.general_caps = compat::ib_odp_general_cap_bits_IB_ODP_SUPPORT as u64;
        caps.per_transport_caps.ud_odp_caps = limits::ODP_DATAGRAM;
        caps.per_transport_caps.rc_odp_caps = limits::ODP_CONNECTION;
    }
    attr.atomic_cap = compat::ib_atomic_cap_IB_ATOMIC_HCA;
    // These fields are signed in 7.2 and not in 7.3; the limits fit in both.
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
    attr.max_mcast_grp = limits::MCAST_GROUPS as _;
    attr.max_mcast_qp_attach = limits::MCAST_ATTACH as _;
    attr.max_total_mcast_qp_attach = limits::MCAST_TOTAL as _;
    attr.max_ah = limits::AH as _;
    attr.max_srq = limits::SRQ as _;
    attr.max_srq_wr = limits::SRQ_WR as _;
    attr.max_srq_sge = limits::SRQ_SGE as _;
    attr.max_fast_reg_page_list_len = limits::FAST_REGISTER_PAGES;
    attr.max_pkeys = limits::PKEYS;
    attr.local_ca_ack_delay = limits::ACK_DELAY;
    0
}

/// `ib_device_ops.modify_device`: the description that the administrator gives.
///
/// # Safety
///
/// As the core calls it.
pub unsafe extern "C" fn modify_device(
    ib: *mut compat::ib_device,
    mask: ffi::c_int,
    modify: *mut compat::ib_device_modify,
) -> ffi::c_int {
    let description = compat::ib_device_modify_flags_IB_DEVICE_MODIFY_NODE_DESC;
    if mask as u32 & !description != 0 {
        return unsupported().to_errno();
    }
    if mask as u32 & description != 0 {
        // SAFETY: Both are valid; a reader at the same time sees a mixture of both texts, as with
        // other drivers.
        unsafe { (*ib).node_desc = (*modify).node_desc };
    }
    0
}
