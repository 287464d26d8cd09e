// SPDX-License-Identifier: GPL-2.0-only

//! From a message to packets: which headers and which bytes packet `k` of `n` carries
//! (IBTA vol. 1, 9.7.2).
//!
//! ```text
//!   SEND, WRITE   | FIRST (RETH) | MIDDLE | ... | LAST (imm, ieth) |   one path MTU each, then the rest
//!                 | ONLY (RETH, imm, ieth)                         |   if it fits
//!   READ          | READ REQUEST (RETH)                            |   takes the PSNs of its answer
//! ```

use super::slot::Slot;
use crate::rxe::mtu::Mtu;
use crate::rxe::psn::Psn;
use crate::rxe::qp::{Attr, QpType};
use crate::rxe::qpn::Qpn;
use crate::rxe::wire::deth::GSI_QKEY;
use crate::rxe::wire::{
    AtomicEth, AtomicWriteData, Body, Deth, Ieth, Rc, RcTail, Reth, Send, Uc, Ud, Write,
};
use crate::rxe::wqe::{Remote, SendOp, SendTail};

/// One packet of a request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Segment {
    /// Opcode and extension headers.
    pub body: Body,
    /// Destination queue pair.
    pub dst_qp: Qpn,
    /// PSN.
    pub psn: Psn,
    /// The payload: where it begins in the message.
    pub offset: u32,
    /// The payload: how long it is.
    pub len: u32,
    /// The message ends here.
    pub last: bool,
    /// How many PSNs this packet takes (a READ request: those of its answer).
    pub psns: u32,
}

/// The place of a packet in its message.
#[derive(Clone, Copy)]
enum Place {
    First,
    Middle,
    Last,
    Only,
}

/// The key of the queue pair itself stands in for a privileged one (IBTA vol. 1, 10.2.5): a user
/// cannot forge those, least of all the GSI's.
const PRIVILEGED_QKEY: u32 = 0x8000_0000;

/// Builds packet `k` of the request in `slot`, or `None` if the operation does not exist on this
/// type of queue pair.
#[inline]
pub fn segment(slot: &Slot, k: u32, attr: &Attr) -> Option<Segment> {
    let mtu = attr.mtu;
    // k < packets <= 2^23 and k * mtu <= len, so nothing is lost.
    let offset = k.wrapping_shl(mtu.shift());
    let left = slot.len.saturating_sub(offset);
    let place = match (k == 0, k.saturating_add(1) >= slot.packets) {
        (true, true) => Place::Only,
        (true, false) => Place::First,
        (false, false) => Place::Middle,
        (false, true) => Place::Last,
    };
    let psn = slot.first_psn.wrapping_add(k);
    let data = Segment {
        body: Body::Rc(Rc::Send(Send::First)),
        dst_qp: attr.dest_qp,
        psn,
        offset,
        len: left.min(mtu.bytes()),
        last: matches!(place, Place::Last | Place::Only),
        psns: 1,
    };
    let whole = |body| Segment {
        body: Body::Rc(body),
        offset: 0,
        len: 0,
        last: true,
        ..data
    };
    let reth = |remote: &Remote, len| Reth {
        va: remote.va,
        rkey: remote.rkey,
        len,
    };
    let segment = match (&slot.wr.op, attr.init.qp_type) {
        (SendOp::Send(tail), QpType::Rc) => Segment {
            body: Body::Rc(Rc::Send(send(place, rc_tail(tail)))),
            ..data
        },
        (SendOp::Send(tail), QpType::Uc) => {
            let imm = match tail {
                SendTail::Plain => None,
                SendTail::Imm(imm) => Some(*imm),
                SendTail::Invalidate(_) => return None,
            };
            Segment {
                body: Body::Uc(Uc::Send(send(place, imm))),
                ..data
            }
        }
        (SendOp::Write { remote, imm }, qp_type @ (QpType::Rc | QpType::Uc)) => {
            let write = match place {
                Place::First => Write::First(reth(remote, slot.len)),
                Place::Middle => Write::Middle,
                Place::Last => Write::Last(*imm),
                Place::Only => Write::Only(reth(remote, slot.len), *imm),
            };
            Segment {
                body: match qp_type {
                    QpType::Uc => Body::Uc(Uc::Write(write)),
                    QpType::Rc | QpType::Ud | QpType::Gsi => Body::Rc(Rc::Write(write)),
                },
                ..data
            }
        }
        (SendOp::Read(remote), QpType::Rc) => read(slot, remote, mtu, data),
        (
            SendOp::CompareSwap {
                remote,
                compare,
                swap,
            },
            QpType::Rc,
        ) => whole(Rc::CompareSwap(AtomicEth {
            va: remote.va,
            rkey: remote.rkey,
            swap_add: *swap,
            compare: *compare,
        })),
        (SendOp::FetchAdd { remote, add }, QpType::Rc) => whole(Rc::FetchAdd(AtomicEth {
            va: remote.va,
            rkey: remote.rkey,
            swap_add: *add,
            compare: 0,
        })),
        (SendOp::AtomicWrite { remote, data }, QpType::Rc) => {
            whole(Rc::AtomicWrite(reth(remote, 8), AtomicWriteData(*data)))
        }
        (SendOp::Flush { remote, len, what }, QpType::Rc) => {
            whole(Rc::Flush(*what, reth(remote, *len)))
        }
        (SendOp::Datagram(to), qp_type @ (QpType::Ud | QpType::Gsi)) => {
            let qkey = match qp_type {
                QpType::Gsi => GSI_QKEY,
                _ if to.qkey & PRIVILEGED_QKEY != 0 => attr.qkey,
                _ => to.qkey,
            };
            let deth = Deth {
                qkey,
                src_qp: attr.init.qpn,
            };
            Segment {
                body: Body::Ud(Ud { deth, imm: to.imm }),
                dst_qp: to.qpn,
                // It fitted when it was begun; the port's MTU may have become smaller since.
                len: slot.len,
                ..data
            }
        }
        _ => return None,
    };
    Some(segment)
}

/// A READ asks for what has not arrived yet.
fn read(slot: &Slot, remote: &Remote, mtu: Mtu, data: Segment) -> Segment {
    let arrived = slot.received >> mtu.shift();
    Segment {
        body: Body::Rc(Rc::ReadRequest(Reth {
            // Wraps only for addresses no region contains.
            va: remote.va.wrapping_add(u64::from(slot.received)),
            rkey: remote.rkey,
            len: slot.len.saturating_sub(slot.received),
        })),
        psn: slot.first_psn.wrapping_add(arrived),
        offset: 0,
        len: 0,
        last: true,
        psns: slot.packets.saturating_sub(arrived),
        ..data
    }
}

/// Packet `k` once more, to learn what has become of it. A READ is asked for its last packet only:
/// the peer may be about to send all the others.
pub fn segment_again(slot: &Slot, k: u32, attr: &Attr) -> Option<Segment> {
    let SendOp::Read(remote) = &slot.wr.op else {
        return segment(slot, k, attr);
    };
    let before = slot.packets.saturating_sub(1);
    // As for any packet: nothing is lost.
    let end = before.wrapping_shl(attr.mtu.shift());
    let mut segment = segment(slot, 0, attr)?;
    segment.body = Body::Rc(Rc::ReadRequest(Reth {
        // Wraps only for addresses no region contains.
        va: remote.va.wrapping_add(u64::from(end)),
        rkey: remote.rkey,
        len: slot.len.saturating_sub(end),
    }));
    segment.psn = slot.first_psn.wrapping_add(before);
    segment.psns = 1;
    Some(segment)
}

fn send<T>(place: Place, tail: T) -> Send<T> {
    match place {
        Place::First => Send::First,
        Place::Middle => Send::Middle,
        Place::Last => Send::Last(tail),
        Place::Only => Send::Only(tail),
    }
}

fn rc_tail(tail: &SendTail) -> RcTail {
    match tail {
        SendTail::Plain => RcTail::Plain,
        SendTail::Imm(imm) => RcTail::Imm(*imm),
        SendTail::Invalidate(rkey) => RcTail::Invalidate(Ieth { rkey: *rkey }),
    }
}

/// Whether a packet with this body may ask for a solicited event: the end of a SEND or of a WRITE
/// with immediate.
pub fn may_solicit(body: &Body) -> bool {
    match body {
        Body::Rc(Rc::Send(Send::Last(_) | Send::Only(_)))
        | Body::Uc(Uc::Send(Send::Last(_) | Send::Only(_)))
        | Body::Ud(_) => true,
        Body::Rc(Rc::Write(write)) | Body::Uc(Uc::Write(write)) => {
            matches!(write, Write::Last(Some(_)) | Write::Only(_, Some(_)))
        }
        Body::Rc(_) | Body::Uc(_) => false,
    }
}
