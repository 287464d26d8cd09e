// SPDX-License-Identifier: GPL-2.0-only

//! The body of credit frames, probes and their answers: all that one end knows, every time.
//!
//! ```text
//!    0                   1                   2                   3
//!    0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//!   +---------------+---------------+-------------------------------+
//!   | sending rails | losses        | zero                          |
//!   +---------------+---------------+-------------------------------+
//!   | losses heard of: all before this packet                       |
//!   +---------------------------------------------------------------+  \
//!   | end of the packets sent on this rail          (as a sequence) |   |
//!   +---------------------------------------------------------------+   |  for each
//!   | limit of what the peer may send on this rail  (as a sequence) |   |  of eight
//!   +-------------------------------+---------------+---------------+   |  rails
//!   | window                        | epoch         | zero          |   |
//!   +-------------------------------+---------------+---------------+  /
//!   | first packet lost                                             |  \ for each
//!   +---------------------------------------------------------------+   | of up to
//!   | packets lost                                                  |  /  eight losses
//!   +---------------------------------------------------------------+
//! ```
//!
//! Numbers are absolute, so a lost status costs time, never truth. The end of the packets together
//! with the stripe sequence of the header says: who has seen the frames of that rail before this end
//! has seen every packet before that stripe sequence that went over it. A loss is told until it is
//! heard of.

use zerocopy::byteorder::network_endian::{U16, U32};
use zerocopy_derive::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::{take, FrameError};
use crate::usb4::rail::id::RailId;
use crate::usb4::rail::seq::Seq;
use crate::usb4::rail::MAX_RAILS;

/// The most losses of one status.
pub const MAX_LOSSES: usize = 8;
/// The longest status.
pub const MAX_LEN: usize = 8 + MAX_RAILS * 12 + MAX_LOSSES * 8;

/// One rail, as the sender of a status sees it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct RailStatus {
    /// Whether the sender of the status sends on the rail.
    pub sending: bool,
    /// Which life of the rail the numbers belong to.
    pub epoch: u8,
    /// The frame after the last one with packets.
    pub sent: Seq,
    /// The peer may send the frames before this one.
    pub limit: Seq,
    /// How many of those have not been seen.
    pub window: u16,
}

impl RailStatus {
    /// The first frame of the peer that has not been seen.
    pub const fn seen(&self) -> Seq {
        self.limit.minus(self.window as u32)
    }
}

/// Packets that will never come.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Loss {
    /// Stripe sequence of the first one.
    pub first: Seq,
    /// How many there are.
    pub count: u32,
}

/// A status.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Status {
    /// The rails.
    pub rails: [RailStatus; MAX_RAILS],
    /// The losses before this packet, of those the peer told, have been heard of.
    pub heard: Seq,
    losses: [Loss; MAX_LOSSES],
    loss_count: u8,
}

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned, Clone, Copy)]
#[repr(C)]
struct RawHead {
    sending: u8,
    losses: u8,
    zero: U16,
    heard: U32,
}

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned, Clone, Copy)]
#[repr(C)]
struct RawRail {
    sent: U32,
    limit: U32,
    window: U16,
    epoch: u8,
    zero: u8,
}

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned, Clone, Copy)]
#[repr(C)]
struct RawLoss {
    first: U32,
    count: U32,
}

impl Status {
    /// Adds a loss; the oldest ones stay if there is no room.
    pub fn add_loss(&mut self, loss: Loss) {
        if let Some(place) = self.losses.get_mut(usize::from(self.loss_count)) {
            *place = loss;
            self.loss_count += 1;
        }
    }

    /// The losses, oldest first.
    pub fn losses(&self) -> &[Loss] {
        self.losses
            .get(..usize::from(self.loss_count))
            .unwrap_or_default()
    }

    /// Reads a status.
    pub fn parse(body: &[u8]) -> Result<Self, FrameError> {
        let mut rest = body;
        let head: &RawHead = take(&mut rest)?;
        if head.zero.get() != 0 {
            return Err(FrameError::Reserved);
        }
        let mut status = Self {
            heard: Seq::new(head.heard.get()),
            ..Self::default()
        };
        for (id, rail) in RailId::all().zip(&mut status.rails) {
            let raw: &RawRail = take(&mut rest)?;
            if raw.zero != 0 {
                return Err(FrameError::Reserved);
            }
            *rail = RailStatus {
                sending: head.sending >> id.get() & 1 != 0,
                epoch: raw.epoch,
                sent: Seq::new(raw.sent.get()),
                limit: Seq::new(raw.limit.get()),
                window: raw.window.get(),
            };
        }
        if usize::from(head.losses) > MAX_LOSSES {
            return Err(FrameError::Count);
        }
        for _ in 0..head.losses {
            let raw: &RawLoss = take(&mut rest)?;
            status.add_loss(Loss {
                first: Seq::new(raw.first.get()),
                count: raw.count.get(),
            });
        }
        if !rest.is_empty() {
            return Err(FrameError::Length);
        }
        Ok(status)
    }

    /// Writes the status; returns its length.
    pub fn emit(&self, room: &mut [u8]) -> Result<usize, FrameError> {
        let mut at = Writer { room, at: 0 };
        let mut sending = 0;
        for (id, rail) in RailId::all().zip(&self.rails) {
            sending |= u8::from(rail.sending) << id.get();
        }
        at.put(&RawHead {
            sending,
            losses: self.loss_count,
            zero: U16::ZERO,
            heard: U32::new(self.heard.get()),
        })?;
        for rail in &self.rails {
            at.put(&RawRail {
                sent: U32::new(rail.sent.get()),
                limit: U32::new(rail.limit.get()),
                window: U16::new(rail.window),
                epoch: rail.epoch,
                zero: 0,
            })?;
        }
        for loss in self.losses() {
            at.put(&RawLoss {
                first: U32::new(loss.first.get()),
                count: U32::new(loss.count),
            })?;
        }
        Ok(at.at)
    }
}

/// Writes one structure after the other.
struct Writer<'a> {
    room: &'a mut [u8],
    at: usize,
}

impl Writer<'_> {
    fn put<T: zerocopy::IntoBytes + zerocopy::Immutable>(
        &mut self,
        value: &T,
    ) -> Result<(), FrameError> {
        let room = self.room.get_mut(self.at..).ok_or(FrameError::NoRoom)?;
        value
            .write_to_prefix(room)
            .map_err(|_| FrameError::NoRoom)?;
        self.at += size_of::<T>();
        Ok(())
    }
}
