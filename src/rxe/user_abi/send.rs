// SPDX-License-Identifier: GPL-2.0-only

//! Send entries: what a user wrote, as a request of the engine.
//!
//! librxe fills an entry in two ways, by `ibv_post_send` and by the `ibv_wr_*` calls, and not
//! always alike. What we rely on is what both agree on:
//!
//! | | `ibv_post_send` | `ibv_wr_*` (rdma-core 56) | we take |
//! |---|---|---|---|
//! | length of a message in pieces | the sum | the first piece times their number | the sum of the pieces |
//! | length of inline data | the sum | the sum, but 0 if given as a list | `dma.length` |
//! | inline data | flag set, `num_sge` as posted | flag as the user set it, `num_sge` 0 | flag, or a length without pieces |
//! | range of FLUSH | (not possible) | in `dma.length` | `dma.length` |
//! | ATOMIC WRITE | (not possible) | 8 bytes behind the header | those |
//!
//! Whether the queue pair's type may do the operation is for the engine to say.

use zerocopy::{FromBytes, IntoBytes as _};

use super::layout::{
    AtomicBody, BindBody, DatagramBody, FlushBody, RdmaBody, RegisterBody, SendHeader, DMA_AT,
    FRONT_BYTES, SEND_WQE_BYTES, SGE_BYTES,
};
use crate::rxe::access::Rights;
use crate::rxe::path::Path;
use crate::rxe::qp::QpType;
use crate::rxe::qpn::Qpn;
use crate::rxe::wire::{Feth, Imm, Selectivity};
use crate::rxe::wqe::{
    BadWr, BindMw, Data, Datagram, RegMr, Remote, SendOp, SendTail, SendWr, Sge,
};

/// Whose entry it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Poster {
    /// A process wrote it, or garbage.
    User,
    /// We wrote it for a kernel user.
    Kernel,
}

/// The address handle of a datagram, by its number.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct AhRef(pub u32);

/// Opcodes: `enum ib_uverbs_wr_opcode`, and the one of kernel users.
pub(super) mod opcode {
    pub const WRITE: u32 = 0;
    pub const WRITE_IMM: u32 = 1;
    pub const SEND: u32 = 2;
    pub const SEND_IMM: u32 = 3;
    pub const READ: u32 = 4;
    pub const COMPARE_SWAP: u32 = 5;
    pub const FETCH_ADD: u32 = 6;
    pub const LOCAL_INVALIDATE: u32 = 7;
    pub const BIND_MW: u32 = 8;
    pub const SEND_INVALIDATE: u32 = 9;
    pub const FLUSH: u32 = 14;
    pub const ATOMIC_WRITE: u32 = 15;
    pub const REG_MR: u32 = 0x20;
}

/// Flags: `enum ib_send_flags`.
pub(super) mod flag {
    pub const FENCE: u32 = 1;
    pub const SIGNALED: u32 = 1 << 1;
    pub const SOLICITED: u32 = 1 << 2;
    pub const INLINE: u32 = 1 << 3;
}

/// Placements of FLUSH: `enum ib_flush_type`.
const FLUSH_GLOBAL: u8 = 1;
const FLUSH_PERSISTENT: u8 = 2;

/// Bytes of an ATOMIC WRITE.
const ATOMIC_BYTES: usize = 8;

/// Copies of an entry what [`decode_send`] looks at, each byte once, by `read(place, room)`: an
/// entry has room for the most pieces and a header with large gaps, and most requests use little of
/// both. Returns the copy.
#[inline]
pub fn copy_send(copy: &mut [u8], read: impl Fn(usize, &mut [u8])) -> &[u8] {
    if let Some(header) = copy.get_mut(..SEND_WQE_BYTES) {
        for part in [0..FRONT_BYTES, DMA_AT..SEND_WQE_BYTES] {
            let place = part.start;
            if let Some(room) = header.get_mut(part) {
                read(place, room);
            }
        }
    }
    let behind = SendHeader::ref_from_prefix(copy).map_or(0, |(header, _)| bytes_behind(header));
    let end = SEND_WQE_BYTES.saturating_add(behind).min(copy.len());
    if let Some(room) = copy.get_mut(SEND_WQE_BYTES..end) {
        read(SEND_WQE_BYTES, room);
    }
    copy.get(..end).unwrap_or_default()
}

/// How much behind the header counts, at most.
fn bytes_behind(header: &SendHeader) -> usize {
    let pieces = SGE_BYTES.saturating_mul(header.dma.num_sge.get() as usize);
    if header.opcode.get() == opcode::ATOMIC_WRITE {
        ATOMIC_BYTES
    } else if is_inline(header) {
        pieces.max(header.dma.length.get() as usize)
    } else {
        pieces
    }
}

fn is_inline(header: &SendHeader) -> bool {
    header.flags.get() & flag::INLINE != 0
        || (header.dma.num_sge.get() == 0 && header.dma.length.get() != 0)
}

/// Reads an entry: the request goes to `wr`, its pieces or inline bytes to the front of `room`.
///
/// `path` finds the way of a datagram; it is asked at most once.
pub fn decode_send(
    bytes: &[u8],
    poster: Poster,
    qp_type: QpType,
    room: &mut [Sge],
    path: impl FnOnce(AhRef) -> Option<Path>,
    wr: &mut SendWr,
) -> Result<(), BadWr> {
    let Ok((header, behind)) = SendHeader::ref_from_prefix(bytes) else {
        return Err(BadWr { wr_id: 0 });
    };
    let bad = BadWr {
        wr_id: header.wr_id.get(),
    };
    let op = match (qp_type, header.opcode.get()) {
        (QpType::Ud | QpType::Gsi, opcode::SEND) => datagram(header, None, path),
        (QpType::Ud | QpType::Gsi, opcode::SEND_IMM) => {
            datagram(header, Some(Imm(header.ex)), path)
        }
        _ => operation(header, behind, poster),
    }
    .ok_or(bad)?;
    let data = match op {
        SendOp::Send(_) | SendOp::Write { .. } | SendOp::Datagram(_) => {
            message(header, behind, room)
        }
        // Data comes in, so there is nothing to be inline.
        SendOp::Read(_) | SendOp::CompareSwap { .. } | SendOp::FetchAdd { .. } => {
            pieces(header, behind, room)
        }
        SendOp::AtomicWrite { .. }
        | SendOp::Flush { .. }
        | SendOp::LocalInvalidate(_)
        | SendOp::BindMw(_)
        | SendOp::RegMr(_) => Some(Data::Gather(0)),
    };
    let flags = header.flags.get();
    *wr = SendWr {
        wr_id: bad.wr_id,
        signaled: flags & flag::SIGNALED != 0,
        solicited: flags & flag::SOLICITED != 0,
        fence: flags & flag::FENCE != 0,
        op,
        data: data.ok_or(bad)?,
    };
    Ok(())
}

/// A SEND on a datagram queue pair; `None` if nothing leads there.
fn datagram(
    header: &SendHeader,
    imm: Option<Imm>,
    path: impl FnOnce(AhRef) -> Option<Path>,
) -> Option<SendOp> {
    let (body, _) = DatagramBody::ref_from_prefix(&header.body).ok()?;
    Some(SendOp::Datagram(Datagram {
        path: path(AhRef(body.ah_num.get()))?,
        qpn: Qpn::new(body.remote_qpn.get()),
        qkey: body.remote_qkey.get(),
        imm,
    }))
}

/// Every other operation; `None` if there is no such one.
fn operation(header: &SendHeader, behind: &[u8], poster: Poster) -> Option<SendOp> {
    let key = u32::from_ne_bytes(header.ex);
    let imm = Imm(header.ex);
    Some(match header.opcode.get() {
        opcode::SEND => SendOp::Send(SendTail::Plain),
        opcode::SEND_IMM => SendOp::Send(SendTail::Imm(imm)),
        opcode::SEND_INVALIDATE => SendOp::Send(SendTail::Invalidate(key)),
        opcode::WRITE => SendOp::Write {
            remote: remote(header)?,
            imm: None,
        },
        opcode::WRITE_IMM => SendOp::Write {
            remote: remote(header)?,
            imm: Some(imm),
        },
        opcode::READ => SendOp::Read(remote(header)?),
        opcode::COMPARE_SWAP => {
            let (body, _) = AtomicBody::ref_from_prefix(&header.body).ok()?;
            SendOp::CompareSwap {
                remote: atomic_remote(body),
                compare: body.compare_add.get(),
                swap: body.swap.get(),
            }
        }
        opcode::FETCH_ADD => {
            let (body, _) = AtomicBody::ref_from_prefix(&header.body).ok()?;
            SendOp::FetchAdd {
                remote: atomic_remote(body),
                add: body.compare_add.get(),
            }
        }
        opcode::ATOMIC_WRITE => {
            if header.dma.length.get() as usize != ATOMIC_BYTES {
                return None;
            }
            SendOp::AtomicWrite {
                remote: remote(header)?,
                data: *behind.first_chunk()?,
            }
        }
        opcode::FLUSH => flush(header)?,
        opcode::LOCAL_INVALIDATE => SendOp::LocalInvalidate(key),
        opcode::BIND_MW => {
            let (body, _) = BindBody::ref_from_prefix(&header.body).ok()?;
            SendOp::BindMw(BindMw {
                mw_rkey: body.mw_rkey.get(),
                new_rkey: body.rkey.get(),
                mr_lkey: body.mr_lkey.get(),
                addr: body.addr.get(),
                len: body.length.get(),
                rights: Rights::from_bits(body.access.get()),
            })
        }
        opcode::REG_MR if poster == Poster::Kernel => {
            let (body, _) = RegisterBody::ref_from_prefix(&header.body).ok()?;
            SendOp::RegMr(RegMr {
                mr_lkey: body.mr_lkey.get(),
                key: body.key.get(),
                iova: body.iova.get(),
                len: body.length.get(),
                rights: Rights::from_bits(body.access.get()),
            })
        }
        _ => return None,
    })
}

fn remote(header: &SendHeader) -> Option<Remote> {
    let (body, _) = RdmaBody::ref_from_prefix(&header.body).ok()?;
    Some(Remote {
        va: body.remote_addr.get(),
        rkey: body.rkey.get(),
    })
}

fn atomic_remote(body: &AtomicBody) -> Remote {
    Remote {
        va: body.remote_addr.get(),
        rkey: body.rkey.get(),
    }
}

fn flush(header: &SendHeader) -> Option<SendOp> {
    let (body, _) = FlushBody::ref_from_prefix(&header.body).ok()?;
    let placement = body.placement;
    if placement & !(FLUSH_GLOBAL | FLUSH_PERSISTENT) != 0 {
        return None;
    }
    let selectivity = match body.selectivity {
        0 => Selectivity::Range,
        1 => Selectivity::Region,
        _ => return None,
    };
    Some(SendOp::Flush {
        remote: Remote {
            va: body.remote_addr.get(),
            rkey: body.rkey.get(),
        },
        len: header.dma.length.get(),
        what: Feth {
            global: placement & FLUSH_GLOBAL != 0,
            persistent: placement & FLUSH_PERSISTENT != 0,
            selectivity,
        },
    })
}

/// The data of a message that goes out: inline or in pieces.
fn message(header: &SendHeader, behind: &[u8], room: &mut [Sge]) -> Option<Data> {
    if !is_inline(header) {
        return pieces(header, behind, room);
    }
    let len = header.dma.length.get();
    let from = behind.get(..len as usize)?;
    room.as_mut_bytes()
        .get_mut(..from.len())?
        .copy_from_slice(from);
    Some(Data::Inline(u16::try_from(len).ok()?))
}

/// Data in pieces.
fn pieces(header: &SendHeader, behind: &[u8], room: &mut [Sge]) -> Option<Data> {
    copy_pieces(header.dma.num_sge.get(), behind, room).map(Data::Gather)
}

/// Copies `count` pieces to the front of `room`; `None` if there are more than fit.
pub(super) fn copy_pieces(count: u32, behind: &[u8], room: &mut [Sge]) -> Option<u8> {
    let small = u8::try_from(count).ok()?;
    let room = room.get_mut(..usize::from(small))?.as_mut_bytes();
    room.copy_from_slice(behind.get(..room.len())?);
    Some(small)
}

const _: () = assert!(SEND_WQE_BYTES % SGE_BYTES == 0);
