// SPDX-License-Identifier: GPL-2.0-only

//! The engine's storage: allocated when the queue pair is created, never after.

use kernel::prelude::*;

use crate::rxe::requester::Slot;
use crate::rxe::responder::Resource;
use crate::rxe::storage::{Parts, Storage};
use crate::rxe::wqe::Sge;

/// Send requests under way at most; further ones stay in the user's queue.
const SLOTS: usize = 128;
/// Reads and atomics a peer may have under way: what `query_device` promises.
const RESOURCES: usize = 128;

/// The memory of one queue pair.
pub struct Memory {
    slots: KVVec<Slot>,
    send_room: KVVec<Sge>,
    recv_room: KVec<Sge>,
    resources: KVVec<Resource>,
}

fn filled<T: Copy>(value: T, count: usize) -> Result<KVVec<T>> {
    let mut all = KVVec::with_capacity(count, GFP_KERNEL_ACCOUNT)?;
    all.extend_with(count, value, GFP_KERNEL_ACCOUNT)?;
    Ok(all)
}

impl Memory {
    /// For a send queue of `send_wr` requests with `send_pieces` pieces (or as much inline data),
    /// and receive requests with `recv_pieces`.
    pub fn new(send_wr: usize, send_pieces: usize, recv_pieces: usize) -> Result<Self> {
        let slots = send_wr.clamp(1, SLOTS).next_power_of_two();
        let empty = Sge {
            addr: 0,
            len: 0,
            lkey: 0,
        };
        let mut recv_room = KVec::with_capacity(recv_pieces, GFP_KERNEL_ACCOUNT)?;
        recv_room.extend_with(recv_pieces, empty, GFP_KERNEL_ACCOUNT)?;
        Ok(Self {
            slots: filled(Slot::EMPTY, slots)?,
            send_room: filled(empty, slots.saturating_mul(send_pieces.max(1)))?,
            recv_room,
            resources: filled(Resource::EMPTY, RESOURCES)?,
        })
    }
}

impl Storage for Memory {
    #[inline]
    fn parts(&mut self) -> Parts<'_> {
        Parts {
            slots: &mut self.slots,
            send_room: &mut self.send_room,
            recv_room: &mut self.recv_room,
            resources: &mut self.resources,
        }
    }
}
