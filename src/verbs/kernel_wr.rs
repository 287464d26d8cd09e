// SPDX-License-Identifier: GPL-2.0-only

//! A kernel user's work requests, from the core's structures to queue entries.
//!
//! An `ib_send_wr` is the head of a larger structure that its opcode tells: the casts are here, and
//! nowhere else.

use core::mem::offset_of;
use core::slice;

use kernel::prelude::*;

use super::ah::Ah;
use super::limits;
use super::object::Object;
use super::qp::SendQueue;
use super::queue::Queue;
use crate::rxe::access::Rights;
use crate::rxe::qp::QpType;
use crate::rxe::qpn::Qpn;
use crate::rxe::user_abi::{
    encode_recv, encode_send, AhRef, Posted, PostedData, PostedOp, TooLong, RECV_WQE_BYTES,
    SEND_WQE_BYTES,
};
use crate::rxe::wire::Imm;
use crate::rxe::wqe::{RegMr, Remote, SendTail, Sge};

/// The longest entry: header and [`PIECES`] pieces.
const ENTRY_BYTES: usize = SEND_WQE_BYTES + PIECES * size_of::<Sge>();
/// The most pieces a request has.
const PIECES: usize = 32;
/// What an atomic operation reads and writes.
const ATOMIC_BYTES: u32 = 8;

// The core's and the engine's piece are the same thing.
const _: () = {
    assert!(size_of::<compat::ib_sge>() == size_of::<Sge>());
    assert!(offset_of!(compat::ib_sge, addr) == offset_of!(Sge, addr));
    assert!(offset_of!(compat::ib_sge, length) == offset_of!(Sge, len));
    assert!(offset_of!(compat::ib_sge, lkey) == offset_of!(Sge, lkey));
};

/// The request's pieces.
///
/// # Safety
///
/// `list` points to `count` pieces, unless `count` is 0, for as long as `'a`.
unsafe fn pieces<'a>(list: *const compat::ib_sge, count: i32, max: u32) -> Result<&'a [Sge]> {
    let count = u32::try_from(count).map_err(|_| EINVAL)?;
    if count > max {
        return Err(EINVAL);
    }
    if count == 0 {
        return Ok(&[]);
    }
    // SAFETY: As our caller promises; the layout is the same, see above.
    Ok(unsafe { slice::from_raw_parts(list.cast::<Sge>(), count as usize) })
}

/// The container of a request.
///
/// # Safety
///
/// `$wr` is the field `wr` of a `$whole`.
macro_rules! container {
    ($wr:expr, $whole:ty) => {
        &*core::ptr::from_ref($wr)
            .byte_sub(offset_of!($whole, wr))
            .cast::<$whole>()
    };
}

/// Writes one send request to the queue at `at`. The caller holds the producer's lock.
///
/// # Safety
///
/// `wr` is a valid request: the head of the structure that its opcode and `sq`'s type tell.
pub unsafe fn write_send(sq: &SendQueue, at: u32, wr: &compat::ib_send_wr) -> Result {
    if sq.ring.is_full(at) {
        return Err(ENOMEM);
    }
    // SAFETY: The request is valid.
    let list = unsafe { pieces(wr.sg_list, wr.num_sge, sq.max_sge)? };
    // SAFETY: As our caller promises.
    let op = unsafe { operation(sq, wr)? };
    let flags = wr.send_flags as u32;
    let has = |flag: compat::ib_send_flags| flags & flag as u32 != 0;
    check(
        sq.qp_type,
        &op,
        list,
        has(compat::ib_send_flags_IB_SEND_INLINE),
    )?;

    let mut entry = [0u8; ENTRY_BYTES];
    let entry = entry
        .get_mut(..sq.ring.element().min(ENTRY_BYTES))
        .ok_or(EINVAL)?;
    let data = if has(compat::ib_send_flags_IB_SEND_INLINE) {
        let room = entry.get_mut(SEND_WQE_BYTES..).ok_or(EINVAL)?;
        // SAFETY: Inline data of a kernel user lies at kernel addresses.
        PostedData::Inline(unsafe { copy_inline(list, sq.max_inline, room)? })
    } else {
        PostedData::Gather(list)
    };
    let posted = Posted {
        // SAFETY: Both readings of the name are one word: `wr_id`, or the pointer `wr_cqe`.
        wr_id: unsafe { wr.__bindgen_anon_1.wr_id },
        signaled: has(compat::ib_send_flags_IB_SEND_SIGNALED),
        solicited: has(compat::ib_send_flags_IB_SEND_SOLICITED),
        fence: has(compat::ib_send_flags_IB_SEND_FENCE),
        op,
        data,
    };
    encode_send(&posted, entry).map_err(|TooLong| EINVAL)?;
    sq.ring.write(at, entry);
    Ok(())
}

/// Refuses at once what could only fail later, and with it the queue pair.
fn check(qp_type: QpType, op: &PostedOp, list: &[Sge], is_inline: bool) -> Result {
    let is_unreliable = matches!(
        op,
        PostedOp::Send(SendTail::Plain | SendTail::Imm(_)) | PostedOp::Write { .. }
    );
    if qp_type == QpType::Uc && !is_unreliable {
        return Err(EINVAL);
    }
    let total = crate::rxe::sge::total(list).ok_or(EINVAL)?;
    let is_right = match op {
        PostedOp::Datagram { .. } | PostedOp::Send(_) | PostedOp::Write { .. } => true,
        PostedOp::CompareSwap { remote, .. } | PostedOp::FetchAdd { remote, .. } => {
            !is_inline && total == ATOMIC_BYTES && remote.va % u64::from(ATOMIC_BYTES) == 0
        }
        PostedOp::Read(_) | PostedOp::LocalInvalidate(_) | PostedOp::RegMr(_) => !is_inline,
    };
    match is_right && total <= limits::MESSAGE {
        true => Ok(()),
        false => Err(EINVAL),
    }
}

/// Copies inline data.
///
/// # Safety
///
/// The pieces' addresses are kernel addresses of readable bytes.
unsafe fn copy_inline(list: &[Sge], max: u32, mut room: &mut [u8]) -> Result<u32> {
    let total = crate::rxe::sge::total(list).ok_or(EINVAL)?;
    if total > max {
        return Err(EINVAL);
    }
    for piece in list {
        let (place, behind) = room
            .split_at_mut_checked(piece.len as usize)
            .ok_or(EINVAL)?;
        // SAFETY: As our caller promises; the place is ours and as long.
        unsafe {
            core::ptr::copy_nonoverlapping(
                piece.addr as *const u8,
                place.as_mut_ptr(),
                place.len(),
            );
        }
        room = behind;
    }
    Ok(total)
}

/// What the request asks for.
///
/// # Safety
///
/// As for [`write_send`].
unsafe fn operation(sq: &SendQueue, wr: &compat::ib_send_wr) -> Result<PostedOp> {
    // SAFETY: Both readings are four bytes.
    let imm = || Imm(unsafe { wr.ex.imm_data }.to_ne_bytes());
    // SAFETY: Both readings are four bytes.
    let key = || unsafe { wr.ex.invalidate_rkey };
    let datagram = matches!(sq.qp_type, QpType::Ud | QpType::Gsi);
    let op = match wr.opcode {
        compat::ib_wr_opcode_IB_WR_SEND | compat::ib_wr_opcode_IB_WR_SEND_WITH_IMM if datagram => {
            // SAFETY: A send on a datagram queue pair is an `ib_ud_wr` with a live handle.
            let (whole, ah) = unsafe {
                let whole = container!(wr, compat::ib_ud_wr);
                (whole, Object::<_, Ah>::get(whole.ah))
            };
            PostedOp::Datagram {
                ah: AhRef(ah.number()),
                qpn: Qpn::new(whole.remote_qpn),
                qkey: whole.remote_qkey,
                imm: (wr.opcode == compat::ib_wr_opcode_IB_WR_SEND_WITH_IMM).then(imm),
            }
        }
        _ if datagram => return Err(EINVAL),
        compat::ib_wr_opcode_IB_WR_SEND => PostedOp::Send(SendTail::Plain),
        compat::ib_wr_opcode_IB_WR_SEND_WITH_IMM => PostedOp::Send(SendTail::Imm(imm())),
        compat::ib_wr_opcode_IB_WR_SEND_WITH_INV => PostedOp::Send(SendTail::Invalidate(key())),
        compat::ib_wr_opcode_IB_WR_RDMA_WRITE | compat::ib_wr_opcode_IB_WR_RDMA_WRITE_WITH_IMM => {
            PostedOp::Write {
                // SAFETY: The opcode says that it is an `ib_rdma_wr`.
                remote: unsafe { remote(wr) },
                imm: (wr.opcode == compat::ib_wr_opcode_IB_WR_RDMA_WRITE_WITH_IMM).then(imm),
            }
        }
        // SAFETY: As above.
        compat::ib_wr_opcode_IB_WR_RDMA_READ => PostedOp::Read(unsafe { remote(wr) }),
        compat::ib_wr_opcode_IB_WR_ATOMIC_CMP_AND_SWP => {
            // SAFETY: The opcode says that it is an `ib_atomic_wr`.
            let whole = unsafe { container!(wr, compat::ib_atomic_wr) };
            PostedOp::CompareSwap {
                remote: atomic_remote(whole),
                compare: whole.compare_add,
                swap: whole.swap,
            }
        }
        compat::ib_wr_opcode_IB_WR_ATOMIC_FETCH_AND_ADD => {
            // SAFETY: As above.
            let whole = unsafe { container!(wr, compat::ib_atomic_wr) };
            PostedOp::FetchAdd {
                remote: atomic_remote(whole),
                add: whole.compare_add,
            }
        }
        compat::ib_wr_opcode_IB_WR_LOCAL_INV => PostedOp::LocalInvalidate(key()),
        compat::ib_wr_opcode_IB_WR_REG_MR => {
            // SAFETY: The opcode says that it is an `ib_reg_wr` with a live region of ours.
            let (whole, region) = unsafe {
                let whole = container!(wr, compat::ib_reg_wr);
                (whole, &*whole.mr)
            };
            PostedOp::RegMr(RegMr {
                // Its index counts; the low byte is new already.
                mr_lkey: region.lkey,
                key: whole.key,
                iova: region.iova,
                len: region.length,
                rights: Rights::from_bits(whole.access as u32),
            })
        }
        _ => return Err(EINVAL),
    };
    Ok(op)
}

/// # Safety
///
/// `wr` is the head of an `ib_rdma_wr`.
unsafe fn remote(wr: &compat::ib_send_wr) -> Remote {
    // SAFETY: As our caller promises.
    let whole = unsafe { container!(wr, compat::ib_rdma_wr) };
    Remote {
        va: whole.remote_addr,
        rkey: whole.rkey,
    }
}

fn atomic_remote(whole: &compat::ib_atomic_wr) -> Remote {
    Remote {
        va: whole.remote_addr,
        rkey: whole.rkey,
    }
}

/// Writes one receive request to the queue at `at`. The caller holds the producer's lock.
///
/// # Safety
///
/// `wr` is a valid request.
pub unsafe fn write_recv(ring: &Queue, max_sge: u32, at: u32, wr: &compat::ib_recv_wr) -> Result {
    if ring.is_full(at) {
        return Err(ENOMEM);
    }
    // SAFETY: The request is valid.
    let list = unsafe { pieces(wr.sg_list, wr.num_sge, max_sge)? };
    let mut entry = [0u8; RECV_WQE_BYTES + PIECES * size_of::<Sge>()];
    let room = ring.element().min(entry.len());
    let entry = entry.get_mut(..room).ok_or(EINVAL)?;
    // SAFETY: Both readings of the name are one word: `wr_id`, or the pointer `wr_cqe`.
    let wr_id = unsafe { wr.__bindgen_anon_1.wr_id };
    encode_recv(wr_id, list, entry).map_err(|TooLong| EINVAL)?;
    ring.write(at, entry);
    Ok(())
}
