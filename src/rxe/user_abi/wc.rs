// SPDX-License-Identifier: GPL-2.0-only

//! Completions, as users see them: `struct ib_uverbs_wc` and the values of `struct ib_wc`.

use zerocopy::byteorder::native_endian::{U16, U32, U64};

use super::layout::{bytes_of, UserWc, WC_BYTES};
use crate::rxe::cqe::{Cqe, WcOpcode, WcStatus};
use crate::rxe::icrc::IpVersion;
use crate::rxe::qpn::Qpn;

/// `enum ib_wc_flags`.
mod flag {
    pub const GRH: u32 = 1;
    pub const WITH_IMM: u32 = 1 << 1;
    pub const WITH_INVALIDATE: u32 = 1 << 2;
    pub const WITH_NETWORK_HDR_TYPE: u32 = 1 << 6;
}

/// `enum rdma_network_type`.
const NETWORK_IPV4: u8 = 2;
const NETWORK_IPV6: u8 = 3;

/// What users find as the service level, which RoCE does not have: mlx5's packet type, which is UDP (8)
/// over IPv4 (2) or IPv6 (1). UCX looks for the destination's address by it (decision 0046).
const SERVICE_LEVEL_IPV4: u8 = 8 | 2;
const SERVICE_LEVEL_IPV6: u8 = 8 | 1;

/// Our only port.
const PORT: u8 = 1;

/// A completion in the numbers of the kernel's `struct ib_wc`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Wc {
    /// The user's name for the request.
    pub wr_id: u64,
    /// `enum ib_wc_status`.
    pub status: u32,
    /// `enum ib_wc_opcode`.
    pub opcode: u32,
    /// Bytes moved.
    pub byte_len: u32,
    /// `ex`: immediate data as it came, or a key in the machine's byte order.
    pub ex: [u8; 4],
    /// Sender of a datagram.
    pub src_qp: u32,
    /// `enum ib_wc_flags`.
    pub flags: u32,
    /// Port.
    pub port: u8,
    /// `enum rdma_network_type`.
    pub network: u8,
}

impl Wc {
    /// All zeros.
    pub const EMPTY: Self = Self {
        wr_id: 0,
        status: 0,
        opcode: 0,
        byte_len: 0,
        ex: [0; 4],
        src_qp: 0,
        flags: 0,
        port: 0,
        network: 0,
    };

    /// The values of a completion. Without success only name, status and opcode count.
    pub fn new(cqe: &Cqe) -> Self {
        let mut wc = Self {
            wr_id: cqe.wr_id,
            status: u32::from(cqe.status as u8),
            opcode: u32::from(cqe.opcode as u8),
            ..Self::EMPTY
        };
        if cqe.status != WcStatus::Success {
            return wc;
        }
        wc.byte_len = cqe.byte_len;
        match cqe.opcode {
            WcOpcode::Receive | WcOpcode::ReceiveWriteImm => {}
            WcOpcode::Send
            | WcOpcode::Write
            | WcOpcode::Read
            | WcOpcode::CompareSwap
            | WcOpcode::FetchAdd
            | WcOpcode::BindMw
            | WcOpcode::LocalInvalidate
            | WcOpcode::Flush
            | WcOpcode::AtomicWrite
            | WcOpcode::RegMr => return wc,
        }
        // There is no RoCE packet without network addresses.
        wc.flags = flag::GRH | flag::WITH_NETWORK_HDR_TYPE;
        wc.network = match cqe.network {
            IpVersion::V4 => NETWORK_IPV4,
            IpVersion::V6 => NETWORK_IPV6,
        };
        wc.port = PORT;
        wc.src_qp = cqe.src_qp.get();
        if let Some(imm) = cqe.imm {
            wc.flags |= flag::WITH_IMM;
            wc.ex = imm.0;
        } else if let Some(key) = cqe.invalidated {
            wc.flags |= flag::WITH_INVALIDATE;
            wc.ex = key.to_ne_bytes();
        }
        wc
    }
}

/// A completion of queue pair `qpn` for a user.
pub fn encode_wc(cqe: &Cqe, qpn: Qpn) -> [u8; WC_BYTES] {
    let wc = Wc::new(cqe);
    let user = UserWc {
        wr_id: U64::new(wc.wr_id),
        status: U32::new(wc.status),
        opcode: U32::new(wc.opcode),
        vendor_err: U32::new(0),
        byte_len: U32::new(wc.byte_len),
        ex: wc.ex,
        qp_num: U32::new(qpn.get()),
        src_qp: U32::new(wc.src_qp),
        // The kernel's alone, users' flags end before it.
        flags: U32::new(wc.flags & !flag::WITH_NETWORK_HDR_TYPE),
        pkey_index: U16::new(0),
        slid: U16::new(0),
        sl: match wc.network {
            NETWORK_IPV4 => SERVICE_LEVEL_IPV4,
            NETWORK_IPV6 => SERVICE_LEVEL_IPV6,
            _ => 0,
        },
        dlid_path_bits: 0,
        port_num: wc.port,
        reserved: 0,
    };
    bytes_of(&user)
}
