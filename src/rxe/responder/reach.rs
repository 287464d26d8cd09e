// SPDX-License-Identifier: GPL-2.0-only

//! What a peer may reach: rights of the queue pair, lengths of packets, memory by remote key.
//! Everything is looked up when it is used, and held within one call only.

use super::Incoming;
use crate::rxe::access::{self, Access, AccessError, Rights, Side};
use crate::rxe::env::Memory;
use crate::rxe::error::Failure;
use crate::rxe::opcode::Position;
use crate::rxe::qp::Attr;

/// Whether the queue pair takes such requests at all.
pub fn permit(attr: &Attr, rights: Rights) -> Result<(), Failure> {
    if attr.rights.contains(rights) {
        Ok(())
    } else {
        Err(Failure::OperationNotPermitted)
    }
}

/// Whether the payload is as long as its place in the message wants.
pub(super) fn check_len<P: ?Sized>(attr: &Attr, incoming: &Incoming<'_, P>) -> Result<(), Failure> {
    let facts = incoming.headers.opcode().facts();
    let mtu = attr.mtu.bytes() as usize;
    // UC and RC share the rule; FIRST and MIDDLE are full, LAST is not empty.
    let ok = match facts.position {
        Position::First | Position::Middle => incoming.len as usize == mtu,
        Position::Last => (1..=mtu).contains(&(incoming.len as usize)),
        Position::Only => incoming.len as usize <= mtu,
    };
    if ok {
        Ok(())
    } else {
        Err(Failure::MessageLength)
    }
}

/// Finds memory by remote key.
pub fn remote<M: Memory + ?Sized>(
    memory: &mut M,
    attr: &Attr,
    rkey: u32,
    rights: Rights,
    va: u64,
    len: u32,
) -> Result<(M::Region, u64), Failure> {
    let (region, facts) = memory.region(rkey).ok_or(Failure::RemoteAccess)?;
    let want = Access {
        key: rkey,
        side: Side::Remote,
        rights,
        va,
        len: u64::from(len),
    };
    match access::check(&facts, attr.identity(), &want) {
        Ok(at) => Ok((region, at)),
        Err(
            AccessError::Key
            | AccessError::State
            | AccessError::Domain
            | AccessError::QueuePair
            | AccessError::Rights
            | AccessError::Range,
        ) => Err(Failure::RemoteAccess),
    }
}

/// Finds a region by remote key, whatever its range.
pub fn whole_region<M: Memory + ?Sized>(
    memory: &mut M,
    attr: &Attr,
    rkey: u32,
    rights: Rights,
) -> Result<M::Region, Failure> {
    let (region, facts) = memory.region(rkey).ok_or(Failure::RemoteAccess)?;
    let want = Access {
        key: rkey,
        side: Side::Remote,
        rights,
        va: if facts.zero_based { 0 } else { facts.start },
        len: 0,
    };
    access::check(&facts, attr.identity(), &want).map_err(|_| Failure::RemoteAccess)?;
    Ok(region)
}
