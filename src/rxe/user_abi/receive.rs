// SPDX-License-Identifier: GPL-2.0-only

//! Receive entries.

use zerocopy::FromBytes as _;

use super::layout::{RecvHeader, RECV_WQE_BYTES, SGE_BYTES};
use super::send::copy_pieces;
use crate::rxe::wqe::{BadWr, RecvWr, Sge};

/// Copies of an entry what [`decode_recv`] looks at, each byte once, by `read(place, room)`.
/// Returns the copy.
#[inline]
pub fn copy_recv(copy: &mut [u8], read: impl Fn(usize, &mut [u8])) -> &[u8] {
    if let Some(header) = copy.get_mut(..RECV_WQE_BYTES) {
        read(0, header);
    }
    let behind = match RecvHeader::ref_from_prefix(copy) {
        Ok((header, _)) => SGE_BYTES.saturating_mul(header.dma.num_sge.get() as usize),
        Err(_) => 0,
    };
    let end = RECV_WQE_BYTES.saturating_add(behind).min(copy.len());
    if let Some(pieces) = copy.get_mut(RECV_WQE_BYTES..end) {
        read(RECV_WQE_BYTES, pieces);
    }
    copy.get(..end).unwrap_or_default()
}

/// Reads an entry: its pieces, at most `max_sge`, go to the front of `room`.
pub fn decode_recv(bytes: &[u8], max_sge: u32, room: &mut [Sge]) -> Result<RecvWr, BadWr> {
    let Ok((header, behind)) = RecvHeader::ref_from_prefix(bytes) else {
        return Err(BadWr { wr_id: 0 });
    };
    let wr_id = header.wr_id.get();
    let count = header.dma.num_sge.get();
    if count > max_sge {
        return Err(BadWr { wr_id });
    }
    match copy_pieces(count, behind, room) {
        Some(sges) => Ok(RecvWr { wr_id, sges }),
        None => Err(BadWr { wr_id }),
    }
}
