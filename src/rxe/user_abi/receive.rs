// SPDX-License-Identifier: GPL-2.0-only

//! Receive entries.

use zerocopy::FromBytes as _;

use super::layout::RecvHeader;
use super::send::copy_pieces;
use crate::rxe::wqe::{BadWr, RecvWr, Sge};

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
