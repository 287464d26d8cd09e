// SPDX-License-Identifier: GPL-2.0-only

//! A whole packet to send: header chain, payload, pad, ICRC. The other way is in `received`.
//!
//! The payload need not lie behind the headers: a sender writes headers to one place and lets the
//! payload travel from where it is.
//!
//! ```text
//!   emit_headers -> Ethernet | IP | UDP | BTH | ext.        head.len() bytes
//!                   payload, in any number of pieces        Started::payload / copy_payload
//!   finish       -> pad | ICRC                              Trailer, 4 to 7 bytes
//!
//!   emit                             the same into one contiguous frame
//! ```

use super::body::Body;
use super::cursor::{put, put_bytes};
use super::error::EmitError;
use super::{bth, ethernet, udp};
use super::{Bth, Ethernet, Ip, Udp};
use crate::rxe::icrc::{self, Crc32, Icrc};
use crate::rxe::opcode::{Opcode, PayloadRule};

/// Longest payload: the largest MTU.
pub const MAX_PAYLOAD: usize = 4096;

/// Longest header chain: Ethernet, IPv6, UDP, BTH, AtomicETH.
pub const MAX_HEADERS: usize = ethernet::LEN + icrc::MAX_HEAD;

/// Longest pad and ICRC.
pub const MAX_TRAILER: usize = 3 + icrc::LEN;

/// Longest packet.
pub const MAX_PACKET: usize = MAX_HEADERS + MAX_PAYLOAD + MAX_TRAILER;

/// Everything a packet says in front of its payload.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Repr {
    /// Link addresses.
    pub ethernet: Ethernet,
    /// Network header.
    pub ip: Ip,
    /// Source port.
    pub udp: Udp,
    /// Base transport header.
    pub bth: Bth,
    /// Opcode and extension headers.
    pub body: Body,
}

/// The pad bytes that fill `payload_len` up to a multiple of four.
pub const fn pad_for(payload_len: usize) -> u8 {
    // Only the low two bits count, and they survive any truncation.
    #[allow(clippy::cast_possible_truncation)]
    let low = payload_len as u8;
    low.wrapping_neg() & 3
}

impl Repr {
    /// The opcode.
    pub const fn opcode(&self) -> Opcode {
        self.body.opcode()
    }

    /// The length of the headers in bytes.
    #[inline]
    pub fn header_len(&self) -> usize {
        // At most MAX_HEADERS.
        ethernet::LEN
            + self.ip.version().header_len()
            + udp::LEN
            + bth::LEN
            + self.opcode().facts().chain.len()
    }

    /// The length of the whole packet with `payload_len` bytes of payload.
    pub fn packet_len(&self, payload_len: usize) -> usize {
        self.header_len()
            .saturating_add(payload_len)
            .saturating_add(usize::from(pad_for(payload_len)) + icrc::LEN)
    }

    /// Writes the headers of a packet with `payload_len` bytes of payload into the front of
    /// `room`, and starts its ICRC.
    #[inline]
    pub fn emit_headers<C: Crc32>(
        &self,
        payload_len: usize,
        room: &mut [u8],
    ) -> Result<Started<C>, EmitError> {
        let facts = self.opcode().facts();
        let legal = match facts.payload {
            PayloadRule::None => payload_len == 0,
            PayloadRule::FullMtu | PayloadRule::Tail | PayloadRule::Any => {
                payload_len <= MAX_PAYLOAD
            }
        };
        if !legal {
            return Err(EmitError::Payload);
        }
        let pad = pad_for(payload_len);
        let udp_len =
            udp::LEN + bth::LEN + facts.chain.len() + payload_len + usize::from(pad) + icrc::LEN;
        // Bounded by the check above: below 4200.
        let udp_len = u16::try_from(udp_len).map_err(|_| EmitError::Payload)?;

        let header_len = self.header_len();
        let mut rest = room.get_mut(..header_len).ok_or(EmitError::NoRoom)?;
        let version = self.ip.version();
        put(&mut rest, &self.ethernet.header(version))?;
        match &self.ip {
            Ip::V4(v4) => put(&mut rest, &v4.header(udp_len))?,
            Ip::V6(v6) => put(&mut rest, &v6.header(udp_len))?,
        }
        put(&mut rest, &self.udp.header(udp_len))?;
        put(&mut rest, &self.bth.header(facts.opcode, pad))?;
        self.body.emit(&mut rest)?;

        let packet = room.get(ethernet::LEN..).ok_or(EmitError::NoRoom)?;
        let icrc =
            Icrc::start(version, packet, header_len - ethernet::LEN).ok_or(EmitError::NoRoom)?;
        Ok(Started {
            header_len,
            left: payload_len,
            pad,
            icrc,
        })
    }

    /// Writes a whole packet, its payload gathered from `pieces`, into the front of `room`.
    /// Returns the length of the packet.
    #[inline]
    pub fn emit<C: Crc32>(&self, pieces: &[&[u8]], room: &mut [u8]) -> Result<usize, EmitError> {
        let payload_len = pieces
            .iter()
            .fold(0usize, |sum, piece| sum.saturating_add(piece.len()));
        let mut started = self.emit_headers::<C>(payload_len, room)?;
        let packet_len = self.packet_len(payload_len);
        let mut rest = room
            .get_mut(started.header_len..packet_len)
            .ok_or(EmitError::NoRoom)?;
        for piece in pieces {
            let (place, behind) = core::mem::take(&mut rest)
                .split_at_mut_checked(piece.len())
                .ok_or(EmitError::NoRoom)?;
            started.copy_payload(piece, place)?;
            rest = behind;
        }
        put_bytes(&mut rest, started.finish()?.as_bytes())?;
        Ok(packet_len)
    }
}

/// A packet whose headers are written and whose payload is under way.
#[derive(Clone, Copy, Debug)]
pub struct Started<C> {
    header_len: usize,
    left: usize,
    pad: u8,
    icrc: Icrc<C>,
}

impl<C: Crc32> Started<C> {
    /// The length of the headers in bytes.
    pub const fn header_len(&self) -> usize {
        self.header_len
    }

    /// Counts a piece of payload that travels from where it is. The bytes must not change until
    /// they are sent; where that cannot be promised, use [`Self::copy_payload`].
    #[inline]
    pub fn payload(&mut self, piece: &[u8]) -> Result<(), EmitError> {
        self.left = self
            .left
            .checked_sub(piece.len())
            .ok_or(EmitError::Payload)?;
        self.icrc = self.icrc.update(piece);
        Ok(())
    }

    /// The same for `len` bytes that only the caller can read: `fold` folds them into the CRC.
    #[inline]
    pub fn payload_by(
        &mut self,
        len: usize,
        fold: impl FnOnce(u32) -> u32,
    ) -> Result<(), EmitError> {
        self.left = self.left.checked_sub(len).ok_or(EmitError::Payload)?;
        self.icrc = self.icrc.update_by(fold);
        Ok(())
    }

    /// Copies a piece of payload to `place`, of the same length, and counts it.
    #[inline]
    pub fn copy_payload(&mut self, piece: &[u8], place: &mut [u8]) -> Result<(), EmitError> {
        let left = self
            .left
            .checked_sub(piece.len())
            .ok_or(EmitError::Payload)?;
        self.icrc = self.icrc.copy(piece, place).ok_or(EmitError::NoRoom)?;
        self.left = left;
        Ok(())
    }

    /// Ends the packet: the bytes behind the payload.
    #[inline]
    pub fn finish(self) -> Result<Trailer, EmitError> {
        if self.left != 0 {
            return Err(EmitError::Payload);
        }
        let zeros = [0u8; 3];
        let pad = zeros.get(..usize::from(self.pad)).unwrap_or(&[]);
        Ok(Trailer::new(self.pad, self.icrc.update(pad).finish()))
    }
}

/// Pad bytes and ICRC.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Trailer {
    bytes: [u8; MAX_TRAILER],
    len: u8,
}

impl Trailer {
    fn new(pad: u8, icrc: [u8; icrc::LEN]) -> Self {
        let [a, b, c, d] = icrc;
        let (bytes, len) = match pad {
            0 => ([a, b, c, d, 0, 0, 0], 4),
            1 => ([0, a, b, c, d, 0, 0], 5),
            2 => ([0, 0, a, b, c, d, 0], 6),
            _ => ([0, 0, 0, a, b, c, d], 7),
        };
        Self { bytes, len }
    }

    /// The bytes.
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..usize::from(self.len)).unwrap_or(&[])
    }
}
