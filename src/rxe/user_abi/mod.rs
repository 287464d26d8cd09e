// SPDX-License-Identifier: GPL-2.0-only

//! The queue entries and answers that librxe, the stock user-space provider, shares with its driver
//! (`include/uapi/rdma/rdma_user_rxe.h`, ABI version 2).
//!
//! ```text
//!   send entry     bytes --decode_send--> SendWr + [Sge] or inline bytes
//!   receive entry  bytes --decode_recv--> RecvWr + [Sge]
//!   completion     Cqe   --encode_wc----> bytes           (to a user)
//!                        --Wc::new------> plain values    (to a kernel user)
//!   kernel's send  Posted --encode_send-> bytes           (same layout, our own memory)
//! ```
//!
//! `bytes` is always a copy: whoever owns the shared memory takes it once ([`copy_send`],
//! [`copy_recv`] say which bytes), and nothing here sees the memory itself. All numbers are in the machine's byte order, except immediate data, whose
//! four bytes go from queue to wire as they are.
//!
//! | file | what |
//! |---|---|
//! | `layout.rs` | the structures |
//! | `send.rs`, `receive.rs` | entries to requests |
//! | `post.rs` | a kernel user's requests to entries |
//! | `wc.rs` | completions |
//! | `answer.rs` | what the verbs that create objects tell librxe |

mod answer;
mod layout;
mod post;
mod receive;
mod send;
mod wc;

pub use answer::{
    create_ah_response, create_cq_response, create_qp_response, create_srq_response, map_info,
    MapInfo, CREATE_AH_RESP_BYTES, CREATE_CQ_RESP_BYTES, CREATE_QP_RESP_BYTES,
    CREATE_SRQ_RESP_BYTES, MAP_INFO_BYTES, MODIFY_SRQ_CMD_BYTES,
};
pub use layout::{
    QueueHeader, QUEUE_CONSUMER_AT, QUEUE_DATA_AT, QUEUE_ELEMENT_AT, QUEUE_MASK_AT,
    QUEUE_PRODUCER_AT, RECV_WQE_BYTES, SEND_WQE_BYTES, SGE_BYTES, WC_BYTES,
};
pub use post::{encode_recv, encode_send, Posted, PostedData, PostedOp, TooLong};
pub use receive::{copy_recv, decode_recv};
pub use send::{copy_send, decode_send, AhRef, Poster};
pub use wc::{encode_wc, Wc};
