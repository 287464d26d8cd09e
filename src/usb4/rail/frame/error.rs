// SPDX-License-Identifier: GPL-2.0-only

//! Why a frame is refused.

/// What is wrong with a frame.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum FrameError {
    /// It ends before its headers do.
    TooShort,
    /// It speaks another version.
    Version,
    /// Its kind is unknown.
    Kind,
    /// A bit that must be zero is not.
    Reserved,
    /// It is longer than a frame can be, or what follows the header is not as long as its kind asks.
    Length,
    /// Its header, or what it says without packets, changed on the way.
    Checksum,
    /// It names a rail that cannot exist.
    Rail,
    /// Its records do not fill it, or there are not as many as it says.
    Records,
    /// Its payload frames are not those its records need, or too many.
    Train,
    /// A count is out of bounds.
    Count,
    /// A handshake that is not ours.
    Magic,
    /// There is no room to write it.
    NoRoom,
}
