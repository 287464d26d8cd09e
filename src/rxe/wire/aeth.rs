// SPDX-License-Identifier: GPL-2.0-only

//! ACK extended transport header (IBTA vol. 1, 9.3.5 and 9.7.5.2).
//!
//! ```text
//!    0                   1                   2                   3
//!    0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//!   +-+---+---------+-----------------------------------------------+
//!   |0|typ| value   | MSN                                           |
//!   +-+---+---------+-----------------------------------------------+
//!     00  credits    ACK
//!     01  RNR timer  receiver not ready
//!     10             reserved
//!     11  code       NAK
//! ```

use zerocopy::byteorder::network_endian::U32;
use zerocopy_derive::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::error::ParseError;
use crate::rxe::psn::Msn;
use crate::rxe::time::RnrTimer;

/// Length of the header.
pub const LEN: usize = 4;

const VALUE_MASK: u8 = 0x1f;
const TYPE_ACK: u8 = 0x00;
const TYPE_RNR: u8 = 0x20;
const TYPE_NAK: u8 = 0x60;

/// The header as it lies in the buffer.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned, Clone, Copy, Debug)]
#[repr(C)]
pub struct Header {
    syndrome_msn: U32,
}

/// End-to-end credits, in their five-bit encoding.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Credits(u8);

impl Credits {
    /// "No credit count": the encoding a responder without flow control sends. Upstream rxe
    /// always does.
    pub const UNLIMITED: Self = Self(VALUE_MASK);

    /// Takes the low five bits.
    pub const fn from_bits(bits: u8) -> Self {
        Self(bits & VALUE_MASK)
    }

    /// The encoding.
    pub const fn code(self) -> u8 {
        self.0
    }
}

/// Why a responder refused a request.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Nak {
    /// A packet is missing: send again from the PSN in the BTH.
    PsnSequence,
    /// The request makes no sense here.
    InvalidRequest,
    /// No right to that memory.
    RemoteAccess,
    /// The responder failed.
    RemoteOperational,
}

impl Nak {
    const fn from_code(code: u8) -> Option<Self> {
        match code {
            0 => Some(Self::PsnSequence),
            1 => Some(Self::InvalidRequest),
            2 => Some(Self::RemoteAccess),
            3 => Some(Self::RemoteOperational),
            // 4 is "invalid RD request"; we have no RD.
            _ => None,
        }
    }

    /// The code on the wire.
    pub const fn code(self) -> u8 {
        match self {
            Self::PsnSequence => 0,
            Self::InvalidRequest => 1,
            Self::RemoteAccess => 2,
            Self::RemoteOperational => 3,
        }
    }
}

/// The responder's verdict.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Syndrome {
    /// All is well up to the PSN in the BTH.
    Ack(Credits),
    /// No receive request: try again after the delay.
    RnrNak(RnrTimer),
    /// Refused.
    Nak(Nak),
}

impl Syndrome {
    /// The plain ACK.
    pub const ACK: Self = Self::Ack(Credits::UNLIMITED);

    /// Decodes the syndrome byte.
    #[inline]
    pub fn from_code(code: u8) -> Result<Self, ParseError> {
        let value = code & VALUE_MASK;
        match code & !VALUE_MASK {
            TYPE_ACK => Ok(Self::Ack(Credits::from_bits(value))),
            TYPE_RNR => Ok(Self::RnrNak(RnrTimer::from_bits(value))),
            TYPE_NAK => Nak::from_code(value)
                .map(Self::Nak)
                .ok_or(ParseError::Syndrome(code)),
            _ => Err(ParseError::Syndrome(code)),
        }
    }

    /// The syndrome byte.
    pub const fn code(self) -> u8 {
        match self {
            Self::Ack(credits) => TYPE_ACK | credits.code(),
            Self::RnrNak(timer) => TYPE_RNR | timer.code(),
            Self::Nak(nak) => TYPE_NAK | nak.code(),
        }
    }
}

/// What an AETH says.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Repr {
    /// The verdict.
    pub syndrome: Syndrome,
    /// Messages completed so far.
    pub msn: Msn,
}

impl Repr {
    /// Reads the header.
    #[inline]
    pub fn parse(header: &Header) -> Result<Self, ParseError> {
        let [syndrome, ..] = header.syndrome_msn.to_bytes();
        Ok(Self {
            syndrome: Syndrome::from_code(syndrome)?,
            msn: Msn::new(header.syndrome_msn.get()),
        })
    }

    /// The header in wire form.
    #[inline]
    pub fn header(&self) -> Header {
        let syndrome = u32::from(self.syndrome.code());
        Header {
            syndrome_msn: U32::new((syndrome << 24) | self.msn.get()),
        }
    }
}
