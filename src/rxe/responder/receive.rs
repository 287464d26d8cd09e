// SPDX-License-Identifier: GPL-2.0-only

//! The receive request being filled: taken from the queue, filled packet by packet, completed.

use super::execute::Reject;
use crate::rxe::access::Identity;
use crate::rxe::cqe::{Cqe, WcOpcode, WcStatus};
use crate::rxe::env::{Completions, Env, Memory, WorkQueues};
use crate::rxe::error::Failure;
use crate::rxe::sge::{self, ScatterError};
use crate::rxe::wqe::Sge;

/// A receive request taken from the queue.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Receive {
    wr_id: u64,
    sges: u8,
    /// Bytes it can hold.
    pub total: u32,
    /// Bytes it holds.
    pub filled: u32,
}

/// Why there is no receive request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NoReceive {
    /// The queue is empty.
    Empty,
    /// The next one is malformed; it has been completed in error.
    Bad,
}

impl Receive {
    /// Takes the next request from the queue; its pieces stay in `room`.
    pub fn take<E: Env>(room: &mut [Sge], env: &mut E) -> Result<Self, NoReceive> {
        let taken = env.next_receive(room).ok_or(NoReceive::Empty)?;
        let bad = match taken {
            Ok(wr) => match room.get(..usize::from(wr.sges)).and_then(sge::total) {
                Some(total) => {
                    return Ok(Self {
                        wr_id: wr.wr_id,
                        sges: wr.sges,
                        total,
                        filled: 0,
                    })
                }
                None => wr.wr_id,
            },
            Err(bad) => bad.wr_id,
        };
        let status = Failure::BadReceive.consequence().status;
        // The queue pair fails in any case.
        let _ = env.complete_receive(&Cqe::new(bad, WcOpcode::Receive, status));
        Err(NoReceive::Bad)
    }

    /// Stores the next `len` bytes of the message.
    pub(super) fn fill<M: Memory + ?Sized>(
        &mut self,
        memory: &mut M,
        who: Identity,
        room: &[Sge],
        payload: &M::Payload<'_>,
        len: u32,
    ) -> Result<(), Reject> {
        let pieces = self.space_for(room, len)?;
        sge::scatter(memory, who, pieces, self.filled, payload, len).map_err(reject)?;
        self.filled = self.filled.saturating_add(len);
        Ok(())
    }

    /// Stores a few bytes.
    pub(super) fn fill_bytes<M: Memory + ?Sized>(
        &mut self,
        memory: &mut M,
        who: Identity,
        room: &[Sge],
        bytes: &[u8],
    ) -> Result<(), Reject> {
        let len = u32::try_from(bytes.len()).map_err(|_| Failure::ReceiveLength)?;
        let pieces = self.space_for(room, len)?;
        sge::scatter_bytes(memory, who, pieces, self.filled, bytes).map_err(reject)?;
        self.filled = self.filled.saturating_add(len);
        Ok(())
    }

    fn space_for<'a>(&self, room: &'a [Sge], len: u32) -> Result<&'a [Sge], Failure> {
        if self.total.saturating_sub(self.filled) < len {
            return Err(Failure::ReceiveLength);
        }
        Ok(room.get(..usize::from(self.sges)).unwrap_or(&[]))
    }

    /// A completion of this request.
    pub const fn cqe(&self, opcode: WcOpcode, status: WcStatus) -> Cqe {
        Cqe::new(self.wr_id, opcode, status)
    }
}

fn reject(error: ScatterError) -> Reject {
    match error {
        ScatterError::TooShort => Reject::Failure(Failure::ReceiveLength),
        ScatterError::Protection => Reject::Failure(Failure::ReceiveProtection),
        ScatterError::Absent => Reject::Absent,
    }
}

/// Ends up to `budget` requests of the queue with status "flushed"; returns how many.
pub fn flush<Q: WorkQueues + Completions>(room: &mut [Sge], budget: u32, queues: &mut Q) -> u32 {
    let mut flushed = 0;
    while flushed < budget {
        let wr_id = match queues.next_receive(room) {
            Some(Ok(wr)) => wr.wr_id,
            Some(Err(bad)) => bad.wr_id,
            None => break,
        };
        let cqe = Cqe::new(wr_id, WcOpcode::Receive, WcStatus::Flushed);
        // A full completion queue loses completions; the caller reports that.
        let _ = queues.complete_receive(&cqe);
        flushed = flushed.saturating_add(1);
    }
    flushed
}
