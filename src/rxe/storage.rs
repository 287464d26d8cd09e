// SPDX-License-Identifier: GPL-2.0-only

//! The memory of a queue pair: allocated by the caller when the queue pair is created, never grown.
//!
//! | part | holds | size |
//! |---|---|---|
//! | `slots` | snapshots of send requests under way | a power of two, at least 1 |
//! | `send_room` | their pieces or inline bytes | `slots` times the pieces of one request |
//! | `recv_room` | the pieces of the receive request being filled | the pieces of one request |
//! | `resources` | reads and atomics that may be asked again | `max_dest_rd_atomic` or more |

use super::requester::Slot;
use super::responder::Resource;
use super::wqe::Sge;

/// Room in bytes of one [`Sge`], for sizing `send_room` by inline data.
pub const SGE_BYTES: usize = core::mem::size_of::<Sge>();

/// The parts, borrowed together.
#[derive(Debug)]
pub struct Parts<'a> {
    /// Send requests under way.
    pub slots: &'a mut [Slot],
    /// Their local data.
    pub send_room: &'a mut [Sge],
    /// The receive request being filled.
    pub recv_room: &'a mut [Sge],
    /// Answers to reads and atomics.
    pub resources: &'a mut [Resource],
}

/// Memory that outlives every call. The sizes must not change.
pub trait Storage {
    /// Lends all parts.
    fn parts(&mut self) -> Parts<'_>;
}

/// Storage on the stack or in a static, for tests and for small fixed setups.
#[derive(Debug)]
pub struct Inline<const SLOTS: usize, const ROOM: usize, const RECV: usize, const READS: usize> {
    slots: [Slot; SLOTS],
    send_room: [Sge; ROOM],
    recv_room: [Sge; RECV],
    resources: [Resource; READS],
}

impl<const SLOTS: usize, const ROOM: usize, const RECV: usize, const READS: usize> Default
    for Inline<SLOTS, ROOM, RECV, READS>
{
    fn default() -> Self {
        let sge = Sge {
            addr: 0,
            len: 0,
            lkey: 0,
        };
        Self {
            slots: [Slot::EMPTY; SLOTS],
            send_room: [sge; ROOM],
            recv_room: [sge; RECV],
            resources: [Resource::EMPTY; READS],
        }
    }
}

impl<const SLOTS: usize, const ROOM: usize, const RECV: usize, const READS: usize> Storage
    for Inline<SLOTS, ROOM, RECV, READS>
{
    fn parts(&mut self) -> Parts<'_> {
        Parts {
            slots: &mut self.slots,
            send_room: &mut self.send_room,
            recv_room: &mut self.recv_room,
            resources: &mut self.resources,
        }
    }
}
