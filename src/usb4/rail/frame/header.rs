// SPDX-License-Identifier: GPL-2.0-only

//! The rail header: the first 24 bytes of every frame that is not payload.
//!
//! ```text
//!    0                   1                   2                   3
//!    0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//!   +-------+-------+---------------+-+-------------+---------------+
//!   |version| kind  | epoch         |c| zero        | packets       |
//!   +-------+-------+---------------+-+-------------+---------------+
//!   | rail sequence: frames before this one on this rail            |
//!   +---------------------------------------------------------------+
//!   | stripe sequence: packets before the first one here, all rails |
//!   +-------------------------------+-------------------------------+
//!   | run                           | checksum                      |
//!   +---------------+---------------+-------------------------------+
//!   | payload frames|p| epoch | rail| window                        |
//!   +---------------+-+-------+-----+-------------------------------+
//!   | limit                                                         |
//!   +---------------------------------------------------------------+
//! ```
//!
//! The *checksum* is that of the Internet (RFC 1071), over this header, the length of the frame, and the
//! rest of a frame without packets. A cable's CRC finds what happens on the cable; this finds what happens
//! before and behind it, for a number that is wrong here would be believed. (What packets say they check
//! themselves.)
//!
//! *c* is the class. *Run*: the `run` packets before the first one here went over this same rail,
//! so a receiver that misses one of them need not ask elsewhere. *p*: a credit is told; on `rail`, in
//! the life with these low bits of its epoch, the receiver of this frame may send the frames with a
//! sequence below `limit`, and those below `limit - window` have been seen.

use zerocopy::byteorder::network_endian::{U16, U32};
use zerocopy_derive::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::{take, FrameError};
use crate::rxe::wire::checksum;
use crate::usb4::rail::config::MAX_TRAIN;
use crate::usb4::rail::id::RailId;
use crate::usb4::rail::seq::Seq;
use crate::usb4::rail::FRAME_SIZE;

/// Length of the header.
pub const LEN: usize = 24;

/// Where the checksum is.
const CHECKSUM: core::ops::Range<usize> = 14..16;

/// The version this code speaks.
pub const VERSION: u8 = 1;

/// A credit is told.
const CREDIT: u8 = 0x80;
/// The class bit.
const ETHERNET: u8 = 0x80;

/// What a frame carries.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Kind {
    /// Whole packets.
    Packets,
    /// Headers of packets whose payload follows in payload frames.
    Train,
    /// A status, sent because credits came free or something was lost.
    Credit,
    /// A status that asks for one.
    Probe,
    /// A status that was asked for.
    ProbeAck,
    /// The last frame on this rail.
    Close,
}

impl Kind {
    const fn from_bits(bits: u8) -> Option<Self> {
        Some(match bits {
            1 => Self::Packets,
            2 => Self::Train,
            3 => Self::Credit,
            4 => Self::Probe,
            5 => Self::ProbeAck,
            6 => Self::Close,
            _ => return None,
        })
    }

    const fn bits(self) -> u8 {
        match self {
            Self::Packets => 1,
            Self::Train => 2,
            Self::Credit => 3,
            Self::Probe => 4,
            Self::ProbeAck => 5,
            Self::Close => 6,
        }
    }
}

/// Who waits for whom.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum Class {
    /// RoCE packets.
    #[default]
    Rdma,
    /// Everything else.
    Ethernet,
}

/// What the peer may send on a rail.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Credit {
    /// The rail.
    pub rail: RailId,
    /// The low four bits of the rail's epoch.
    pub epoch: u8,
    /// Frames with a sequence before this one may be sent.
    pub limit: Seq,
    /// How many of those are still to come.
    pub window: u16,
}

/// A rail header.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Header {
    /// What the frame carries.
    pub kind: Kind,
    /// Whose packets they are.
    pub class: Class,
    /// Which life of the rail this is.
    pub epoch: u8,
    /// How many packets begin here.
    pub packets: u8,
    /// Number of this frame on its rail; payload frames count.
    pub rail_seq: Seq,
    /// Number of the first packet here, or of the next one to be sent.
    pub stripe: Seq,
    /// How many packets before the first one here went over this rail without a break.
    pub run: u16,
    /// How many payload frames follow.
    pub payload_frames: u8,
    /// Length of the frame, this header included. It is not written, but the checksum covers it.
    pub length: u16,
    /// A credit told along the way.
    pub credit: Option<Credit>,
}

/// The header as it lies in the frame.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned, Clone, Copy)]
#[repr(C)]
struct Raw {
    version_kind: u8,
    epoch: u8,
    flags: u8,
    packets: u8,
    rail_seq: U32,
    stripe: U32,
    run: U16,
    checksum: U16,
    payload_frames: u8,
    credited: u8,
    window: U16,
    limit: U32,
}

impl Header {
    /// Reads the header of a frame and what follows it.
    #[inline]
    pub fn parse(frame: &[u8]) -> Result<(Self, &[u8]), FrameError> {
        let mut rest = frame;
        let raw: &Raw = take(&mut rest)?;
        if raw.version_kind >> 4 != VERSION {
            return Err(FrameError::Version);
        }
        let kind = Kind::from_bits(raw.version_kind & 0xf).ok_or(FrameError::Kind)?;
        let length = u16::try_from(frame.len()).map_err(|_| FrameError::Length)?;
        if frame.len() > FRAME_SIZE {
            return Err(FrameError::Length);
        }
        if checksum(kind, frame, length) != Some(0) {
            return Err(FrameError::Checksum);
        }
        let class = match raw.flags {
            0 => Class::Rdma,
            ETHERNET => Class::Ethernet,
            _ => return Err(FrameError::Reserved),
        };
        let credit = if raw.credited & CREDIT == 0 {
            None
        } else {
            Some(Credit {
                rail: RailId::new(raw.credited & 7).ok_or(FrameError::Rail)?,
                epoch: raw.credited >> 3 & 0xf,
                limit: Seq::new(raw.limit.get()),
                window: raw.window.get(),
            })
        };
        let (some_packets, some_payload) = (raw.packets != 0, raw.payload_frames != 0);
        if (some_packets, some_payload) != kind.counts() {
            return Err(FrameError::Count);
        }
        if usize::from(raw.payload_frames) > MAX_TRAIN {
            return Err(FrameError::Train);
        }
        let header = Self {
            kind,
            class,
            epoch: raw.epoch,
            packets: raw.packets,
            rail_seq: Seq::new(raw.rail_seq.get()),
            stripe: Seq::new(raw.stripe.get()),
            run: raw.run.get(),
            payload_frames: raw.payload_frames,
            length,
            credit,
        };
        Ok((header, rest))
    }

    /// Writes the header to the front of a frame; in one without packets what follows is there already.
    #[inline]
    pub fn emit(&self, room: &mut [u8]) -> Result<(), FrameError> {
        let (credited, window, limit) = match self.credit {
            Some(credit) => (
                CREDIT | (credit.epoch & 0xf) << 3 | credit.rail.get(),
                credit.window,
                credit.limit.get(),
            ),
            None => (0, 0, 0),
        };
        let raw = Raw {
            version_kind: VERSION << 4 | self.kind.bits(),
            epoch: self.epoch,
            flags: match self.class {
                Class::Rdma => 0,
                Class::Ethernet => ETHERNET,
            },
            packets: self.packets,
            rail_seq: U32::new(self.rail_seq.get()),
            stripe: U32::new(self.stripe.get()),
            run: U16::new(self.run),
            checksum: U16::ZERO,
            payload_frames: self.payload_frames,
            credited,
            window: U16::new(window),
            limit: U32::new(limit),
        };
        zerocopy::IntoBytes::write_to_prefix(&raw, room).map_err(|_| FrameError::NoRoom)?;
        seal(room, self.length)
    }
}

/// Writes the checksum of a frame of that length, whose checksum is zero.
///
/// # Errors
///
/// It is no frame with a header, or its `length` bytes are not all there.
#[inline]
pub fn seal(frame: &mut [u8], length: u16) -> Result<(), FrameError> {
    let first = frame.first().ok_or(FrameError::NoRoom)?;
    let kind = Kind::from_bits(first & 0xf).ok_or(FrameError::Kind)?;
    let sum = checksum(kind, frame, length).ok_or(FrameError::NoRoom)?;
    let place = frame.get_mut(CHECKSUM).ok_or(FrameError::NoRoom)?;
    place.copy_from_slice(&sum.to_be_bytes());
    Ok(())
}

/// The checksum of a frame; zero if it has the right one.
#[inline]
fn checksum(kind: Kind, frame: &[u8], length: u16) -> Option<u16> {
    let covered = match kind {
        Kind::Packets | Kind::Train => LEN,
        Kind::Credit | Kind::Probe | Kind::ProbeAck | Kind::Close => usize::from(length),
    };
    Some(checksum::of(frame.get(..covered)?, length))
}

impl Kind {
    /// Whether frames of this kind carry packets, and whether payload frames follow.
    const fn counts(self) -> (bool, bool) {
        match self {
            Self::Packets => (true, false),
            Self::Train => (true, true),
            Self::Credit | Self::Probe | Self::ProbeAck | Self::Close => (false, false),
        }
    }
}
