// SPDX-License-Identifier: GPL-2.0-only

//! Entries we write ourselves, on behalf of kernel users: the same layout, so that there is one
//! way out of a queue.

use zerocopy::byteorder::native_endian::{U16, U32, U64};
use zerocopy::{FromZeros as _, Immutable, IntoBytes};

use super::layout::{
    AtomicBody, DatagramBody, RdmaBody, RecvHeader, RegisterBody, SendHeader, BODY_BYTES,
};
use super::send::{flag, opcode, AhRef};
use crate::rxe::qpn::Qpn;
use crate::rxe::wire::Imm;
use crate::rxe::wqe::{RegMr, Remote, SendTail, Sge};

/// What kernel users can ask for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PostedOp {
    /// SEND on a connection.
    Send(SendTail),
    /// RDMA WRITE.
    Write {
        /// Destination.
        remote: Remote,
        /// Immediate data.
        imm: Option<Imm>,
    },
    /// RDMA READ.
    Read(Remote),
    /// Compare and swap.
    CompareSwap {
        /// The eight bytes.
        remote: Remote,
        /// Value to compare with.
        compare: u64,
        /// Value to store.
        swap: u64,
    },
    /// Fetch and add.
    FetchAdd {
        /// The eight bytes.
        remote: Remote,
        /// Value to add.
        add: u64,
    },
    /// Invalidates a local key.
    LocalInvalidate(u32),
    /// Registers a fast-register region.
    RegMr(RegMr),
    /// SEND of a datagram.
    Datagram {
        /// Address handle.
        ah: AhRef,
        /// Destination queue pair.
        qpn: Qpn,
        /// Queue key.
        qkey: u32,
        /// Immediate data.
        imm: Option<Imm>,
    },
}

/// Where the data is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PostedData<'a> {
    /// In pieces.
    Gather(&'a [Sge]),
    /// Inline: the caller puts this many bytes behind the header, at
    /// [`SEND_WQE_BYTES`](super::SEND_WQE_BYTES).
    Inline(u32),
}

/// A kernel user's send request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Posted<'a> {
    /// The user's name for it.
    pub wr_id: u64,
    /// Report success too.
    pub signaled: bool,
    /// Wake the receiver's completion handler.
    pub solicited: bool,
    /// Wait for all earlier reads and atomics.
    pub fence: bool,
    /// The operation.
    pub op: PostedOp,
    /// The local data.
    pub data: PostedData<'a>,
}

/// The entry has no room for the data.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TooLong;

/// Writes an entry to the front of `bytes`. What is behind the header and its pieces stays.
pub fn encode_send(posted: &Posted<'_>, bytes: &mut [u8]) -> Result<(), TooLong> {
    let mut header = SendHeader::new_zeroed();
    header.wr_id = U64::new(posted.wr_id);
    for (on, bit) in [
        (posted.signaled, flag::SIGNALED),
        (posted.solicited, flag::SOLICITED),
        (posted.fence, flag::FENCE),
    ] {
        if on {
            header.flags |= bit;
        }
    }
    put_operation(&posted.op, &mut header);

    let (front, behind) = bytes
        .split_at_mut_checked(size_of::<SendHeader>())
        .ok_or(TooLong)?;
    match posted.data {
        PostedData::Gather(sges) => {
            let (count, length) = put_pieces(sges, behind)?;
            header.dma.num_sge = count;
            header.dma.length = length;
        }
        PostedData::Inline(len) => {
            if len as usize > behind.len() {
                return Err(TooLong);
            }
            header.flags |= flag::INLINE;
            header.dma.length = U32::new(len);
        }
    }
    front.copy_from_slice(header.as_bytes());
    Ok(())
}

/// Writes a receive entry to the front of `bytes`.
pub fn encode_recv(wr_id: u64, sges: &[Sge], bytes: &mut [u8]) -> Result<(), TooLong> {
    let mut header = RecvHeader::new_zeroed();
    header.wr_id = U64::new(wr_id);
    let (front, behind) = bytes
        .split_at_mut_checked(size_of::<RecvHeader>())
        .ok_or(TooLong)?;
    let (count, length) = put_pieces(sges, behind)?;
    header.dma.num_sge = count;
    header.dma.length = length;
    front.copy_from_slice(header.as_bytes());
    Ok(())
}

fn put_operation(op: &PostedOp, header: &mut SendHeader) {
    let code = match *op {
        PostedOp::Send(SendTail::Plain) => opcode::SEND,
        PostedOp::Send(SendTail::Imm(imm)) => {
            header.ex = imm.0;
            opcode::SEND_IMM
        }
        PostedOp::Send(SendTail::Invalidate(key)) => {
            header.ex = key.to_ne_bytes();
            opcode::SEND_INVALIDATE
        }
        PostedOp::Write { remote, imm } => {
            put_body(header, &rdma(remote));
            match imm {
                None => opcode::WRITE,
                Some(imm) => {
                    header.ex = imm.0;
                    opcode::WRITE_IMM
                }
            }
        }
        PostedOp::Read(remote) => {
            put_body(header, &rdma(remote));
            opcode::READ
        }
        PostedOp::CompareSwap {
            remote,
            compare,
            swap,
        } => {
            put_body(header, &atomic(remote, compare, swap));
            opcode::COMPARE_SWAP
        }
        PostedOp::FetchAdd { remote, add } => {
            put_body(header, &atomic(remote, add, 0));
            opcode::FETCH_ADD
        }
        PostedOp::LocalInvalidate(key) => {
            header.ex = key.to_ne_bytes();
            opcode::LOCAL_INVALIDATE
        }
        PostedOp::RegMr(wr) => {
            put_body(
                header,
                &RegisterBody {
                    iova: U64::new(wr.iova),
                    length: U64::new(wr.len),
                    mr_lkey: U32::new(wr.mr_lkey),
                    key: U32::new(wr.key),
                    access: U32::new(wr.rights.bits()),
                    reserved: U32::new(0),
                },
            );
            opcode::REG_MR
        }
        PostedOp::Datagram { ah, qpn, qkey, imm } => {
            put_body(
                header,
                &DatagramBody {
                    remote_qpn: U32::new(qpn.get()),
                    remote_qkey: U32::new(qkey),
                    pkey_index: U16::new(0),
                    reserved: U16::new(0),
                    ah_num: U32::new(ah.0),
                    pad: [U32::new(0); 4],
                },
            );
            match imm {
                None => opcode::SEND,
                Some(imm) => {
                    header.ex = imm.0;
                    opcode::SEND_IMM
                }
            }
        }
    };
    header.opcode = U32::new(code);
}

fn rdma(remote: Remote) -> RdmaBody {
    RdmaBody {
        remote_addr: U64::new(remote.va),
        rkey: U32::new(remote.rkey),
        reserved: U32::new(0),
    }
}

fn atomic(remote: Remote, compare_add: u64, swap: u64) -> AtomicBody {
    AtomicBody {
        remote_addr: U64::new(remote.va),
        compare_add: U64::new(compare_add),
        swap: U64::new(swap),
        rkey: U32::new(remote.rkey),
        reserved: U32::new(0),
    }
}

fn put_body<T: IntoBytes + Immutable>(header: &mut SendHeader, body: &T) {
    const { assert!(size_of::<T>() <= BODY_BYTES) };
    // It fits, see above.
    if let Some(place) = header.body.get_mut(..size_of::<T>()) {
        place.copy_from_slice(body.as_bytes());
    }
}

/// Writes pieces; returns their number and total length.
fn put_pieces(sges: &[Sge], behind: &mut [u8]) -> Result<(U32, U32), TooLong> {
    let count = u8::try_from(sges.len()).map_err(|_| TooLong)?;
    let length = crate::rxe::sge::total(sges).ok_or(TooLong)?;
    let bytes = sges.as_bytes();
    behind
        .get_mut(..bytes.len())
        .ok_or(TooLong)?
        .copy_from_slice(bytes);
    Ok((U32::new(count.into()), U32::new(length)))
}
