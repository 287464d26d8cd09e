// SPDX-License-Identifier: GPL-2.0-only

//! The table of verbs: which function of which file the core calls.

use super::object::Object;
use super::{
    ah, context, cq, gids, link, mcast, mmap, mr, mw, pd, pma, port, qp, query, srq, stats,
};
use super::{zeroed, Shared};

/// The verbs.
///
/// The driver id is upstream rxe's: librxe looks for it
/// (`docs/decisions/0030-sharing-the-driver-id.md`).
pub static OPS: Shared<compat::ib_device_ops> = Shared(compat::ib_device_ops {
    driver_id: compat::rdma_driver_id_RDMA_DRIVER_RXE,
    // `RXE_UVERBS_ABI_VERSION`, which only user space has a header for.
    uverbs_abi_ver: 2,

    add_gid: Some(gids::add_gid),
    advise_mr: Some(mr::advise_mr),
    alloc_hw_port_stats: Some(stats::alloc_hw_port_stats),
    alloc_mr: Some(mr::alloc_mr),
    alloc_mw: Some(mw::alloc_mw),
    alloc_pd: Some(pd::alloc_pd),
    alloc_ucontext: Some(context::alloc_ucontext),
    attach_mcast: Some(mcast::attach_mcast),
    create_ah: Some(ah::create_ah),
    create_user_ah: Some(ah::create_ah),
    create_cq: Some(cq::create_cq),
    create_qp: Some(qp::create_qp),
    create_srq: Some(srq::create_srq),
    dealloc_driver: Some(link::dealloc_driver),
    dealloc_mw: Some(mw::dealloc_mw),
    dealloc_pd: Some(pd::dealloc_pd),
    dealloc_ucontext: Some(context::dealloc_ucontext),
    del_gid: Some(gids::del_gid),
    dereg_mr: Some(mr::dereg_mr),
    destroy_ah: Some(ah::destroy_ah),
    destroy_cq: Some(cq::destroy_cq),
    destroy_qp: Some(qp::destroy_qp),
    destroy_srq: Some(srq::destroy_srq),
    detach_mcast: Some(mcast::detach_mcast),
    disassociate_ucontext: Some(context::disassociate_ucontext),
    get_dma_mr: Some(mr::get_dma_mr),
    get_hw_stats: Some(stats::get_hw_stats),
    get_link_layer: Some(port::get_link_layer),
    get_netdev: Some(port::get_netdev),
    get_port_immutable: Some(port::get_port_immutable),
    map_mr_sg: Some(mr::map_mr_sg),
    mmap: Some(mmap::mmap),
    mmap_free: Some(mmap::mmap_free),
    modify_ah: Some(ah::modify_ah),
    modify_device: Some(query::modify_device),
    modify_port: Some(port::modify_port),
    modify_qp: Some(qp::modify_qp),
    modify_srq: Some(srq::modify_srq),
    peek_cq: Some(cq::peek_cq),
    poll_cq: Some(cq::poll_cq),
    post_recv: Some(qp::post_recv),
    post_send: Some(qp::post_send),
    post_srq_recv: Some(srq::post_srq_recv),
    process_mad: Some(pma::process_mad),
    query_ah: Some(ah::query_ah),
    query_device: Some(query::query_device),
    query_gid: Some(port::query_gid),
    query_pkey: Some(port::query_pkey),
    query_port: Some(port::query_port),
    query_qp: Some(qp::query_qp),
    query_srq: Some(srq::query_srq),
    reg_user_mr: Some(mr::reg_user_mr),
    req_notify_cq: Some(cq::req_notify_cq),
    rereg_user_mr: Some(mr::rereg_user_mr),
    resize_user_cq: Some(cq::resize_user_cq),

    size_ib_ah: Object::<compat::ib_ah, ah::Ah>::SIZE,
    size_ib_cq: Object::<compat::ib_cq, cq::Cq>::SIZE,
    size_ib_mw: mw::SIZE,
    size_ib_pd: Object::<compat::ib_pd, pd::Pd>::SIZE,
    size_ib_qp: Object::<compat::ib_qp, qp::Qp>::SIZE,
    size_ib_srq: Object::<compat::ib_srq, srq::Srq>::SIZE,
    size_ib_ucontext: size_of::<compat::ib_ucontext>(),
    ..zeroed()
});
