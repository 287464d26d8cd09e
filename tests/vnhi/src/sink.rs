// SPDX-License-Identifier: GPL-2.0-only

//! What comes out of the model besides what it writes into guest memory.

use std::fmt;

use crate::command::Direction;
use crate::time::Time;
use crate::topology::NhiId;

/// Takes interrupts and tapped frames from [`Fabric::run`](crate::fabric::Fabric::run).
pub trait Sink {
    /// Signal MSI-X `vector` of `nhi`.
    fn interrupt(&mut self, nhi: NhiId, vector: u16);

    /// A frame on a cable whose tap is on.
    fn frame(&mut self, now: Time, frame: &TapFrame<'_>);
}

/// What became of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It lies in a buffer of the receiver.
    Delivered,
    /// Lost on the cable: by the drop or burst fault.
    Lost,
    /// The receiver had no buffer, and no end-to-end flow control held the sender back.
    NoBuffer,
    /// No path, no running ring, or the cable was pulled.
    NoPath,
    /// The receiving ring takes no such start or end of frame.
    Filtered,
}

impl fmt::Display for Fate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Delivered => "delivered",
            Self::Lost => "lost",
            Self::NoBuffer => "no buffer",
            Self::NoPath => "no path",
            Self::Filtered => "filtered",
        })
    }
}

/// A frame as it was on the cable.
#[derive(Debug)]
pub struct TapFrame<'a> {
    /// Number of the cable.
    pub cable: usize,
    /// Which way it went.
    pub direction: Direction,
    /// HopID on the cable; 0 is the control channel.
    pub hop: u16,
    /// Protocol field of its start.
    pub sof: u8,
    /// Protocol field of its end.
    pub eof: u8,
    /// The receiver was told that the CRC is wrong.
    pub crc_error: bool,
    /// What became of it.
    pub fate: Fate,
    /// Its bytes, as they arrived.
    pub payload: &'a [u8],
}
