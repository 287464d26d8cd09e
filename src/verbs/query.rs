// SPDX-License-Identifier: GPL-2.0-only

//! The device's attributes.

use kernel::ffi;

use super::{limits, odp, unsupported};

/// A limit in the type of its field: signed in 7.2, unsigned in 7.3.
fn limit<T: TryFrom<u32> + Default>(limit: u32) -> T {
    // All of ours fit in both.
    T::try_from(limit).unwrap_or_default()
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
        attr.kernel_cap_flags |= u64::from(compat::ib_kernel_cap_flags_IBK_ON_DEMAND_PAGING);
        let caps = &mut attr.odp_caps;
        caps.general_caps = u64::from(compat::ib_odp_general_cap_bits_IB_ODP_SUPPORT);
        caps.per_transport_caps.ud_odp_caps = limits::ODP_DATAGRAM;
        caps.per_transport_caps.rc_odp_caps = limits::ODP_CONNECTION;
    }
    attr.atomic_cap = compat::ib_atomic_cap_IB_ATOMIC_HCA;
    attr.max_qp = limit(limits::QP);
    attr.max_qp_wr = limit(limits::QP_WR);
    attr.max_send_sge = limit(limits::SGE);
    attr.max_recv_sge = limit(limits::SGE);
    attr.max_sge_rd = limit(limits::SGE);
    attr.max_cq = limit(limits::OBJECTS);
    attr.max_cqe = limit(limits::CQE);
    attr.max_mr = limit(limits::MR);
    attr.max_mw = limit(limits::MW);
    attr.max_pd = limit(limits::OBJECTS);
    attr.max_qp_rd_atom = limit(limits::RD_ATOMIC);
    attr.max_qp_init_rd_atom = limit(limits::RD_ATOMIC);
    attr.max_res_rd_atom = limit(limits::RESPONDER_RESOURCES);
    attr.max_mcast_grp = limit(limits::MCAST_GROUPS);
    attr.max_mcast_qp_attach = limit(limits::MCAST_ATTACH);
    attr.max_total_mcast_qp_attach = limit(limits::MCAST_TOTAL);
    attr.max_ah = limit(limits::AH);
    attr.max_srq = limit(limits::SRQ);
    attr.max_srq_wr = limit(limits::SRQ_WR);
    attr.max_srq_sge = limit(limits::SRQ_SGE);
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
