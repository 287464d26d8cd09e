// SPDX-License-Identifier: GPL-2.0-only

//! The last frame on a rail: why there will be no more.
//!
//! ```text
//!    0                   1                   2                   3
//!    0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//!   +---------------+-----------------------------------------------+
//!   | reason        | zero                                          |
//!   +---------------+-----------------------------------------------+
//! ```

use core::fmt;

use super::FrameError;

/// Length of the body.
pub const LEN: usize = 4;

/// Why a rail ends.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Reason {
    /// The module is unloaded or the device deleted.
    Shutdown,
    /// The machine sleeps.
    Suspend,
    /// The peer broke the rules.
    Violation,
    /// A reason of a later version.
    Other(u8),
}

impl Reason {
    /// Reads the body of a close frame.
    pub fn parse(body: &[u8]) -> Result<Self, FrameError> {
        let [code, zero @ ..] = *body.first_chunk::<LEN>().ok_or(FrameError::TooShort)?;
        if body.len() != LEN {
            return Err(FrameError::Length);
        }
        if zero != [0; 3] {
            return Err(FrameError::Reserved);
        }
        Ok(match code {
            1 => Self::Shutdown,
            2 => Self::Suspend,
            3 => Self::Violation,
            other => Self::Other(other),
        })
    }

    /// The body of a close frame.
    pub const fn emit(self) -> [u8; LEN] {
        let code = match self {
            Self::Shutdown => 1,
            Self::Suspend => 2,
            Self::Violation => 3,
            Self::Other(other) => other,
        };
        [code, 0, 0, 0]
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Shutdown => f.write_str("the peer shut the device down"),
            Self::Suspend => f.write_str("the peer went to sleep"),
            Self::Violation => f.write_str("the peer says we broke the rules"),
            Self::Other(code) => write!(f, "the peer closed the rail (reason {code})"),
        }
    }
}
