// SPDX-License-Identifier: GPL-2.0-only

//! Whether a packet is for a queue pair at all (IBTA vol. 1, 9.6).
//!
//! ```text
//!   ICRC right -> destination QP -> service -> state -> address -> partition key -> queue key
//!   (wire)        (caller's table)  '------------------- admit ---------------------------'
//! ```
//!
//! A multicast packet names no queue pair: the caller offers it to every member of the group, and
//! each decides for itself. A packet refused here is dropped without an answer.

use super::events::Drop;
use super::opcode::Direction;
use super::qp::{Attr, QpType, State};
use super::qpn::Qpn;
use super::wire::deth::GSI_QKEY;
use super::wire::{Body, Headers};

/// The bit of a partition key that makes a full member.
const FULL_MEMBER: u16 = 0x8000;

/// Whether two members of a partition may talk: same partition, not both limited.
pub const fn pkeys_match(a: u16, b: u16) -> bool {
    let (a_base, b_base) = (a & !FULL_MEMBER, b & !FULL_MEMBER);
    a_base == b_base && a_base != 0 && (a | b) & FULL_MEMBER != 0
}

/// What became of a packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use]
pub enum Taken {
    /// It was taken, or dropped for good.
    Done,
    /// Memory that it needs is not there now ([`Fault::Absent`](super::env::Fault::Absent)):
    /// nothing of it counts. Hand the same packet in again soon, before any later one; or drop it,
    /// and say so with [`Qp::none_waits`](super::qp::Qp::none_waits).
    Again,
}

/// Where a packet goes, by its destination number.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Delivery {
    /// To nobody: subnet management does not exist on Ethernet.
    Nobody,
    /// To one queue pair.
    One(Qpn),
    /// To every member of the multicast group of the destination address.
    Group([u8; 16]),
}

/// Reads the destination of a packet.
pub fn delivery(headers: &Headers) -> Delivery {
    let qpn = headers.repr.bth.dst_qp;
    if qpn == Qpn::SMI {
        return Delivery::Nobody;
    }
    if qpn != Qpn::MULTICAST {
        return Delivery::One(qpn);
    }
    match headers.repr.body {
        Body::Ud(_) => Delivery::Group(headers.repr.ip.dst_gid()),
        Body::Rc(_) | Body::Uc(_) => Delivery::Nobody,
    }
}

/// Whether the queue pair takes the packet.
#[inline]
pub fn admit(headers: &Headers, attr: &Attr, state: State) -> Result<Direction, Drop> {
    let facts = headers.opcode().facts();
    let qp_type = attr.init.qp_type;
    if facts.service != qp_type.service() {
        return Err(Drop::Service);
    }
    let direction = facts.kind.direction();
    let permits = state.permits();
    let open = match direction {
        Direction::Request => permits.requests,
        Direction::Response => permits.responses,
    };
    if !open {
        return Err(Drop::State);
    }
    if qp_type.is_connected() {
        let from_peer = attr
            .path
            .is_some_and(|path| path.is_reverse_of(&headers.repr.ip));
        if !from_peer {
            return Err(Drop::Address);
        }
    }
    if !pkeys_match(headers.repr.bth.pkey, attr.pkey) {
        return Err(Drop::Pkey);
    }
    if let Body::Ud(ud) = &headers.repr.body {
        let qkey = match qp_type {
            QpType::Gsi => GSI_QKEY,
            QpType::Rc | QpType::Uc | QpType::Ud => attr.qkey,
        };
        if ud.deth.qkey != qkey {
            return Err(Drop::Qkey);
        }
    }
    Ok(direction)
}
