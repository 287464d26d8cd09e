// SPDX-License-Identifier: GPL-2.0-only

//! Proof that `rxe/user_abi/layout.rs` has the layouts of the kernel's own headers: the numbers
//! here are those that file asserts of its structures.

#![forbid(unsafe_code)]

use core::mem::offset_of;

use crate::rxe::user_abi::{
    CREATE_AH_RESP_BYTES, CREATE_CQ_RESP_BYTES, CREATE_QP_RESP_BYTES, CREATE_SRQ_RESP_BYTES,
    MAP_INFO_BYTES, MODIFY_SRQ_CMD_BYTES, QUEUE_CONSUMER_AT, QUEUE_DATA_AT, QUEUE_ELEMENT_AT,
    QUEUE_MASK_AT, QUEUE_PRODUCER_AT, RECV_WQE_BYTES, SEND_WQE_BYTES, SGE_BYTES, WC_BYTES,
};

/// Asserts the size of a structure of the C header.
macro_rules! size {
    ($($structure:ident: $bytes:expr;)*) => {
        $(const _: () = assert!(size_of::<compat::$structure>() == $bytes);)*
    };
}

/// Asserts where a field of a structure of the C header lies.
macro_rules! offset {
    ($($structure:ident $($field:ident).+: $at:expr;)*) => {
        $(const _: () = assert!(offset_of!(compat::$structure, $($field).+) == $at);)*
    };
}

size! {
    rxe_queue_buf: QUEUE_DATA_AT;
    rxe_send_wqe: SEND_WQE_BYTES;
    rxe_recv_wqe: RECV_WQE_BYTES;
    rxe_sge: SGE_BYTES;
    ib_uverbs_wc: WC_BYTES;
    mminfo: MAP_INFO_BYTES;
    rxe_create_cq_resp: CREATE_CQ_RESP_BYTES;
    rxe_resize_cq_resp: CREATE_CQ_RESP_BYTES;
    rxe_create_qp_resp: CREATE_QP_RESP_BYTES;
    rxe_create_srq_resp: CREATE_SRQ_RESP_BYTES;
    rxe_create_ah_resp: CREATE_AH_RESP_BYTES;
    rxe_modify_srq_cmd: MODIFY_SRQ_CMD_BYTES;
}

offset! {
    rxe_queue_buf log2_elem_size: QUEUE_ELEMENT_AT;
    rxe_queue_buf index_mask: QUEUE_MASK_AT;
    rxe_queue_buf producer_index: QUEUE_PRODUCER_AT;
    rxe_queue_buf consumer_index: QUEUE_CONSUMER_AT;

    rxe_send_wqe wr.wr_id: 0;
    rxe_send_wqe wr.opcode: 12;
    rxe_send_wqe wr.send_flags: 16;
    rxe_send_wqe wr.ex: 20;
    rxe_send_wqe wr.wr: 24;
    rxe_send_wqe wr.wr.rdma.rkey: 24 + 8;
    rxe_send_wqe wr.wr.atomic.compare_add: 24 + 8;
    rxe_send_wqe wr.wr.atomic.swap: 24 + 16;
    rxe_send_wqe wr.wr.atomic.rkey: 24 + 24;
    rxe_send_wqe wr.wr.flush.rkey: 24 + 12;
    rxe_send_wqe wr.wr.flush.type_: 24 + 16;
    rxe_send_wqe wr.wr.flush.level: 24 + 17;
    rxe_send_wqe wr.wr.ud.remote_qpn: 24;
    rxe_send_wqe wr.wr.ud.remote_qkey: 24 + 4;
    rxe_send_wqe wr.wr.ud.ah_num: 24 + 12;
    rxe_send_wqe wr.wr.mw.addr: 24;
    rxe_send_wqe wr.wr.mw.length: 24 + 8;
    rxe_send_wqe wr.wr.mw.mr_lkey: 24 + 16;
    rxe_send_wqe wr.wr.mw.mw_rkey: 24 + 20;
    rxe_send_wqe wr.wr.mw.rkey: 24 + 24;
    rxe_send_wqe wr.wr.mw.access: 24 + 28;
    rxe_send_wqe status: 144;
    rxe_send_wqe dma: 184;
    rxe_recv_wqe dma: 16;
    rxe_dma_info length: 0;
    rxe_dma_info num_sge: 12;

    ib_uverbs_wc status: 8;
    ib_uverbs_wc opcode: 12;
    ib_uverbs_wc byte_len: 20;
    ib_uverbs_wc ex: 24;
    ib_uverbs_wc qp_num: 28;
    ib_uverbs_wc src_qp: 32;
    ib_uverbs_wc wc_flags: 36;
    ib_uverbs_wc port_num: 46;

    rxe_create_qp_resp rq_mi: 0;
    rxe_create_srq_resp srq_num: 16;
    mminfo size: 8;
}
