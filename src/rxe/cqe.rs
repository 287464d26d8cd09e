// SPDX-License-Identifier: GPL-2.0-only

//! Work completions: how each work request ended (IBTA vol. 1, 11.4.2.1 and 11.6.2).
//!
//! Pure values. The caller maps them to the user ABI and rings the completion queue.

use super::icrc::IpVersion;
use super::qpn::Qpn;
use super::wire::Imm;
use super::wqe::SendOp;

/// How a work request ended; the numbers are those of `enum ib_wc_status`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[repr(u8)]
pub enum WcStatus {
    /// Done.
    Success = 0,
    /// A message does not fit in the receive request, or is longer than allowed.
    LocalLength = 1,
    /// The request is malformed or illegal on this QP.
    LocalQpOperation = 2,
    /// A local key does not permit the access.
    LocalProtection = 4,
    /// The QP left the working states before the request was done.
    Flushed = 5,
    /// Binding a memory window failed.
    MwBind = 6,
    /// The peer sent a response that does not answer the request.
    BadResponse = 7,
    /// The peer saw an illegal request.
    RemoteInvalidRequest = 9,
    /// A remote key does not permit the access.
    RemoteAccess = 10,
    /// The peer failed.
    RemoteOperation = 11,
    /// No answer within the retry budget.
    RetryExceeded = 12,
    /// The peer was not ready to receive within the RNR retry budget.
    RnrRetryExceeded = 13,
    /// The peer gave up the connection before it answered this request.
    RemoteAborted = 16,
}

/// What ended; the numbers are those of `enum ib_wc_opcode`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[repr(u8)]
pub enum WcOpcode {
    /// SEND.
    Send = 0,
    /// RDMA WRITE.
    Write = 1,
    /// RDMA READ.
    Read = 2,
    /// Compare and swap.
    CompareSwap = 3,
    /// Fetch and add.
    FetchAdd = 4,
    /// Memory window bind.
    BindMw = 5,
    /// Local invalidate.
    LocalInvalidate = 6,
    /// FLUSH.
    Flush = 8,
    /// ATOMIC WRITE.
    AtomicWrite = 9,
    /// Fast register.
    RegMr = 10,
    /// A message received.
    Receive = 128,
    /// RDMA WRITE with immediate received.
    ReceiveWriteImm = 129,
}

impl WcOpcode {
    /// The opcode that reports `op`.
    pub const fn of(op: &SendOp) -> Self {
        match op {
            SendOp::Send(_) | SendOp::Datagram(_) => Self::Send,
            SendOp::Write { .. } => Self::Write,
            SendOp::Read(_) => Self::Read,
            SendOp::CompareSwap { .. } => Self::CompareSwap,
            SendOp::FetchAdd { .. } => Self::FetchAdd,
            SendOp::AtomicWrite { .. } => Self::AtomicWrite,
            SendOp::Flush { .. } => Self::Flush,
            SendOp::LocalInvalidate(_) => Self::LocalInvalidate,
            SendOp::BindMw(_) => Self::BindMw,
            SendOp::RegMr(_) => Self::RegMr,
        }
    }
}

/// A completion.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Cqe {
    /// The user's name for the request.
    pub wr_id: u64,
    /// How it ended.
    pub status: WcStatus,
    /// What ended; counts only on success.
    pub opcode: WcOpcode,
    /// Bytes moved.
    pub byte_len: u32,
    /// Immediate data.
    pub imm: Option<Imm>,
    /// The key the peer had us invalidate.
    pub invalidated: Option<u32>,
    /// Sender of a datagram.
    pub src_qp: Qpn,
    /// IP version of the packet received.
    pub network: IpVersion,
    /// The sender asked for a solicited event.
    pub solicited: bool,
}

impl Cqe {
    /// A completion that says nothing but how the request ended.
    pub const fn new(wr_id: u64, opcode: WcOpcode, status: WcStatus) -> Self {
        Self {
            wr_id,
            status,
            opcode,
            byte_len: 0,
            imm: None,
            invalidated: None,
            src_qp: Qpn::new(0),
            network: IpVersion::V4,
            solicited: false,
        }
    }
}
