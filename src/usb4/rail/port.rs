// SPDX-License-Identifier: GPL-2.0-only

//! What the rails need of the world around them: rings, buffers, and someone to deliver to.
//!
//! The halves of a link borrow separately, so that [`Ingress::packet`] may send on the
//! [`Sender`](super::tx::Sender) of the same link: an acknowledgement leaves in the same pass.

use super::frame::close::Reason;
use super::frame::{Class, FrameError, Loss, Record, Tag};
use super::id::RailId;
use super::seq::Seq;
use crate::usb4::rail::frame::record::MAX_FRAMES;
use core::ops::DerefMut;

/// The transmit rings. Posting cannot fail: the sender counts what is in a ring.
pub trait Egress {
    /// A buffer of 4096 bytes that any rail can send from.
    type Buffer: DerefMut<Target = [u8]>;
    /// Memory a payload frame is sent from: an address in a pinned page, say.
    type Payload: Copy;

    /// An unused buffer, if there is one.
    fn buffer(&mut self) -> Option<Self::Buffer>;

    /// Puts the first `len` bytes of a buffer into a ring, tagged [`Tag::Header`].
    fn post_head(&mut self, rail: RailId, buffer: Self::Buffer, len: usize);

    /// Puts `len` bytes of memory into a ring. The payload frames of a train follow its head.
    fn post_payload(&mut self, rail: RailId, payload: Self::Payload, len: usize, tag: Tag);

    /// A buffer that will not be sent.
    fn drop_buffer(&mut self, buffer: Self::Buffer);

    /// Memory that will not be sent.
    fn drop_payload(&mut self, payload: Self::Payload);
}

/// A packet that arrived: bytes in the head frame, and payload in frames of its own.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Received<F> {
    /// Whose packet it is.
    pub class: Class,
    /// Its stripe sequence.
    pub stripe: Seq,
    /// The frame its record lies in.
    pub head: F,
    /// Where in that frame inline bytes and tail are.
    pub record: Record,
    payload: [Option<F>; MAX_FRAMES],
}

impl<F: Copy> Received<F> {
    pub(super) const fn new(
        class: Class,
        stripe: Seq,
        head: F,
        record: Record,
        payload: [Option<F>; MAX_FRAMES],
    ) -> Self {
        Self {
            class,
            stripe,
            head,
            record,
            payload,
        }
    }

    /// The payload frames, each with its length.
    #[inline]
    pub fn payload(&self) -> impl Iterator<Item = (F, usize)> + '_ {
        self.payload
            .iter()
            .flatten()
            .enumerate()
            .map(|(index, frame)| (*frame, self.record.frame_len(index)))
    }
}

/// Where packets and freed frames go.
pub trait Ingress {
    /// A received frame: a slot of a receive ring, say. Its bytes do not change while it is held.
    type Frame: Copy;

    /// The bytes of a frame.
    fn bytes(&self, frame: Self::Frame) -> &[u8];

    /// Takes a packet. Its frames are released when this returns.
    ///
    /// False: its checksum is wrong, it counts as lost. A cable that swallows whole runs of frames
    /// can make payload follow the wrong header once in thirteen times; the ICRC sees that.
    fn packet(&mut self, packet: &Received<Self::Frame>) -> bool;

    /// Packets that will never come. They would have been the next ones.
    fn lost(&mut self, loss: Loss);

    /// A frame is not needed any more: the ring may have it back.
    fn release(&mut self, frame: Self::Frame);

    /// A frame was refused; it is released all the same.
    fn refused(&mut self, rail: RailId, why: Refused);
}

/// Why a frame was refused.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Refused {
    /// The rail is not up.
    Down,
    /// It belongs to another life of the rail.
    Epoch,
    /// It makes no sense.
    Frame(FrameError),
    /// Its rail sequence has been before.
    Replay,
    /// It came without credit.
    NoCredit,
    /// Its stripe sequence has been before.
    Stale,
    /// Its stripe sequence is too far ahead.
    Ahead,
    /// A payload frame that belongs to no train.
    Orphan,
}

/// Why a rail is down.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Down {
    /// The caller said so: unplugged, suspended.
    Local,
    /// Frames go in and do not arrive, while another rail delivers.
    Stalled,
    /// Nothing arrived for too long.
    Silent,
    /// The peer answers, and takes no packet: it gives no credit, or what is in the ring does not leave.
    Starved,
    /// The peer does not send on it any more.
    Peer,
    /// The peer closed it.
    Closed(Reason),
    /// The peer broke the rules on it.
    Violation,
}

/// What the engine and the owner of the rings are told.
pub trait Notices {
    /// A packet committed with `token` is lost. `None`: so are some from too long ago to know.
    fn sent_lost(&mut self, token: Option<u64>);

    /// A rail is down: quiesce its rings, take back all that is in them, and log in again.
    fn rail_down(&mut self, rail: RailId, why: Down);
}
