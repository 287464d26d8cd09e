// SPDX-License-Identifier: GPL-2.0-only

//! Requests with an answer of their own: READ, atomics, ATOMIC WRITE, FLUSH. An effect comes before
//! its answer is owed, and not without a place for the answer. A long FLUSH takes several tries, each of which
//! goes on where the one before ended.

use super::execute::Reject;
use super::reach::{permit, remote, whole_region};
use super::resource::{Answer, Owed, Resource};
use super::{Incoming, Responder, Room};
use crate::rxe::access::Rights;
use crate::rxe::env::{AtomicOp, Env};
use crate::rxe::error::Failure;
use crate::rxe::qp::Attr;
use crate::rxe::requester::MAX_MESSAGE;
use crate::rxe::wire::{AtomicEth, Feth, Reth, Selectivity};

impl Responder {
    pub(super) fn read<E: Env>(
        &mut self,
        room: &mut Room<'_>,
        attr: &Attr,
        incoming: &Incoming<'_, E::Payload<'_>>,
        reth: &Reth,
        env: &mut E,
    ) -> Result<u32, Reject> {
        if attr.max_dest_rd_atomic == 0 {
            return Err(Failure::ReadDepth.into());
        }
        if reth.len > MAX_MESSAGE {
            return Err(Failure::MessageLength.into());
        }
        if reth.len != 0 {
            remote(env, attr, reth.rkey, Rights::REMOTE_READ, reth.va, reth.len)?;
        }
        let packets = attr.mtu.packets(reth.len);
        let answer = Answer::Read {
            va: reth.va,
            rkey: reth.rkey,
            len: reth.len,
        };
        let owed = Owed {
            start: 0,
            next: 0,
            end: reth.len,
        };
        self.owe(room, incoming, answer, packets, owed)?;
        Ok(packets)
    }

    pub(super) fn atomic<E: Env>(
        &mut self,
        room: &mut Room<'_>,
        attr: &Attr,
        incoming: &Incoming<'_, E::Payload<'_>>,
        eth: &AtomicEth,
        op: AtomicOp,
        env: &mut E,
    ) -> Result<(), Reject> {
        permit(attr, Rights::REMOTE_ATOMIC)?;
        if attr.max_dest_rd_atomic == 0 {
            return Err(Failure::ReadDepth.into());
        }
        let (region, at) = remote(env, attr, eth.rkey, Rights::REMOTE_ATOMIC, eth.va, 8)?;
        if at % 8 != 0 {
            return Err(Failure::Misaligned.into());
        }
        // An atomic happens once: not without a place for its answer.
        self.ring.has_room(room.resources)?;
        let original = env.atomic(&region, at, op)?;
        let answer = Answer::Atomic { original };
        self.owe(room, incoming, answer, 1, Owed::EMPTY)
    }

    pub(super) fn atomic_write<E: Env>(
        &mut self,
        room: &mut Room<'_>,
        attr: &Attr,
        incoming: &Incoming<'_, E::Payload<'_>>,
        reth: &Reth,
        data: [u8; 8],
        env: &mut E,
    ) -> Result<(), Reject> {
        permit(attr, Rights::REMOTE_WRITE)?;
        if attr.max_dest_rd_atomic == 0 {
            return Err(Failure::ReadDepth.into());
        }
        let (region, at) = remote(env, attr, reth.rkey, Rights::REMOTE_WRITE, reth.va, 8)?;
        if reth.len != 8 {
            return Err(Failure::MessageLength.into());
        }
        if at % 8 != 0 {
            return Err(Failure::Misaligned.into());
        }
        self.ring.has_room(room.resources)?;
        env.store_atomic(&region, at, data)?;
        self.owe(room, incoming, Answer::AtomicWrite, 1, Owed::EMPTY)
    }

    pub(super) fn flush<E: Env>(
        &mut self,
        attr: &Attr,
        incoming: &Incoming<'_, E::Payload<'_>>,
        feth: &Feth,
        reth: &Reth,
        env: &mut E,
    ) -> Result<(), Reject> {
        let mut rights = Rights::NONE;
        if feth.global {
            rights = rights | Rights::FLUSH_GLOBAL;
        }
        if feth.persistent {
            rights = rights | Rights::FLUSH_PERSISTENT;
        }
        permit(attr, rights)?;
        let (region, range) = match feth.selectivity {
            Selectivity::Range => {
                let (region, at) = remote(env, attr, reth.rkey, rights, reth.va, reth.len)?;
                (region, Some((at, u64::from(reth.len))))
            }
            Selectivity::Region => (whole_region(env, attr, reth.rkey, rights)?, None),
        };
        let psn = incoming.psn();
        let done = match self.flushing {
            Some((begun, done)) if begun == psn => done,
            _ => 0,
        };
        if let Some(done) = env.flush(&region, range, *feth, done)? {
            self.flushing = Some((psn, done));
            return Err(Reject::Absent);
        }
        self.flushing = None;
        self.msn = self.msn.next();
        self.say_flushed(psn);
        Ok(())
    }

    /// Remembers an answer, all of it owed. The request counts as executed (C9-148).
    fn owe<P: ?Sized>(
        &mut self,
        room: &mut Room<'_>,
        incoming: &Incoming<'_, P>,
        answer: Answer,
        packets: u32,
        owed: Owed,
    ) -> Result<(), Reject> {
        let msn = self.msn.next();
        let resource = Resource {
            answer,
            first_psn: incoming.psn(),
            packets,
            msn,
            owed: Some(owed),
            answered: false,
        };
        self.ring.push(room.resources, resource)?;
        self.msn = msn;
        Ok(())
    }
}
