// SPDX-License-Identifier: GPL-2.0-only

//! One packet onto the link: headers, then payload from memory or from the request itself. Every
//! local key is checked here, for every packet anew.

use zerocopy::IntoBytes;

use super::segment::{may_solicit, Segment};
use super::slot::Window;
use crate::rxe::access::Rights;
use crate::rxe::env::{Busy, Env, Fault};
use crate::rxe::error::Failure;
use crate::rxe::events::Event;
use crate::rxe::qp::Attr;
use crate::rxe::sge::{self, Pieces};
use crate::rxe::wire::Bth;
use crate::rxe::wqe::{Data, SendOp};

/// Why a packet was not sent.
pub(super) enum SendError {
    /// The link has no room.
    Busy,
    /// Memory to send is not there now.
    Absent,
    Failed(Failure),
}

impl From<Busy> for SendError {
    fn from(_: Busy) -> Self {
        Self::Busy
    }
}

/// Sends one packet: headers, then payload from the request's memory or its inline bytes.
pub(super) fn transmit<E: Env>(
    window: &Window<'_>,
    number: u32,
    segment: &Segment,
    ask: bool,
    attr: &Attr,
    env: &mut E,
) -> Result<(), SendError> {
    let slot = window
        .slot(number)
        .ok_or(SendError::Failed(Failure::BadRequest))?;
    let path = match &slot.wr.op {
        SendOp::Datagram(to) => &to.path,
        _ => attr
            .path
            .as_ref()
            .ok_or(SendError::Failed(Failure::BadRequest))?,
    };
    let mut bth = Bth::new(segment.dst_qp, segment.psn);
    bth.pkey = attr.pkey;
    bth.ack_request = ask;
    bth.solicited = slot.wr.solicited && may_solicit(&segment.body);
    let packet = path.packet(bth, segment.body);
    env.begin(&packet, segment.len as usize)?;
    match slot.wr.data {
        Data::Inline(_) => {
            let start = segment.offset as usize;
            let end = start.saturating_add(segment.len as usize);
            match window.room(number).as_bytes().get(start..end) {
                Some(bytes) => env.append_bytes(bytes),
                None => {
                    env.abort();
                    return Err(SendError::Failed(Failure::BadRequest));
                }
            }
        }
        Data::Gather(_) => {
            for piece in Pieces::new(window.pieces(number), segment.offset, segment.len) {
                let appended = match sge::resolve(env, attr.identity(), &piece, Rights::NONE) {
                    Ok((region, at)) => env.append(&region, at, piece.len as usize),
                    Err(_) => Err(Fault::Gone),
                };
                if let Err(fault) = appended {
                    env.abort();
                    return Err(match fault {
                        Fault::Gone => SendError::Failed(Failure::RequestProtection),
                        Fault::Absent => SendError::Absent,
                    });
                }
            }
        }
    }
    env.commit();
    let len = packet.packet_len(segment.len as usize);
    env.count(Event::Sent {
        bytes: wire_bytes(len),
    });
    Ok(())
}

/// The length that counts as sent or received: from the IP header to the ICRC.
pub fn wire_bytes(packet_len: usize) -> u32 {
    u32::try_from(packet_len.saturating_sub(crate::rxe::wire::ethernet::LEN)).unwrap_or(u32::MAX)
}
