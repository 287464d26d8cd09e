// SPDX-License-Identifier: GPL-2.0-only

//! A whole packet: header chain, payload, pad, ICRC.
//!
//! The payload need not lie behind the headers. A sender writes headers to one place and lets the
//! payload travel from where it is; a receiver may get it in frames of its own:
//!
//! ```text
//!   emit_headers -> Ethernet | IP | UDP | BTH | ext.        head.len() bytes
//!                   payload, in any number of pieces        Started::payload / copy_payload
//!   finish       -> pad | ICRC                              Trailer, 4 to 7 bytes
//!
//!   Headers::parse(head)             lengths, opcode, every field; nothing is trusted yet
//!   Headers::start(head) -> Check    payload pieces, then finish(trailer): ICRC right or wrong
//!
//!   emit / parse                     the same over one contiguous frame
//! ```

use super::body::Body;
use super::checksum::Sum;
use super::cursor::{put, put_bytes, take};
use super::error::{EmitError, ParseError};
use super::{bth, ethernet, ipv4, ipv6, udp};
use super::{Bth, Ethernet, Ip, Udp};
use crate::rxe::icrc::{self, Crc32, Icrc, IpVersion};
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

/// The headers of a received packet. Well-formed, but not trusted before the ICRC is checked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Headers {
    /// What the headers say.
    pub repr: Repr,
    header_len: u16,
    payload_len: u16,
    pad: u8,
    udp_checksum: bool,
}

impl Headers {
    /// Reads the headers at the front of `bytes`. More may follow, and need not be there yet.
    #[inline]
    pub fn parse(bytes: &[u8]) -> Result<Self, ParseError> {
        let mut rest = bytes;
        let (ethernet, version) = ethernet::Repr::parse(take(&mut rest)?)?;
        let (ip, ip_payload) = match version {
            IpVersion::V4 => {
                let (v4, len) = ipv4::Repr::parse(take(&mut rest)?)?;
                (Ip::V4(v4), len)
            }
            IpVersion::V6 => {
                let (v6, len) = ipv6::Repr::parse(take(&mut rest)?)?;
                (Ip::V6(v6), len)
            }
        };
        let udp_header: &udp::Header = take(&mut rest)?;
        let (udp, udp_payload) = udp::Repr::parse(udp_header, ip_payload)?;
        let (bth, opcode, pad) = bth::Repr::parse(take(&mut rest)?)?;
        let body = Body::parse(opcode, &mut rest)?;

        let facts = opcode.facts();
        let padded = udp_payload
            .checked_sub(bth::LEN + facts.chain.len() + icrc::LEN)
            .ok_or(ParseError::Length)?;
        if padded % 4 != 0 {
            return Err(ParseError::Length);
        }
        let payload_len = padded
            .checked_sub(usize::from(pad))
            .ok_or(ParseError::Pad(pad))?;
        if facts.payload == PayloadRule::None && padded != 0 {
            return Err(ParseError::Length);
        }
        if payload_len > MAX_PAYLOAD {
            return Err(ParseError::PayloadTooLong);
        }
        let header_len = bytes.len().wrapping_sub(rest.len());
        Ok(Self {
            repr: Repr {
                ethernet,
                ip,
                udp,
                bth,
                body,
            },
            // Both bounded: MAX_HEADERS and MAX_PAYLOAD.
            header_len: u16::try_from(header_len).map_err(|_| ParseError::Length)?,
            payload_len: u16::try_from(payload_len).map_err(|_| ParseError::Length)?,
            pad,
            udp_checksum: udp_header.has_checksum(),
        })
    }

    /// The opcode.
    pub const fn opcode(&self) -> Opcode {
        self.repr.body.opcode()
    }

    /// The length of the headers in bytes.
    pub const fn header_len(&self) -> usize {
        self.header_len as usize
    }

    /// The length of the payload in bytes, without pad; at most [`MAX_PAYLOAD`].
    pub const fn payload_len(&self) -> usize {
        self.payload_len as usize
    }

    /// The number of pad bytes.
    pub const fn pad_len(&self) -> usize {
        self.pad as usize
    }

    /// The length of pad and ICRC.
    pub const fn trailer_len(&self) -> usize {
        self.pad_len() + icrc::LEN
    }

    /// The length of the whole packet.
    pub const fn packet_len(&self) -> usize {
        self.header_len() + self.payload_len() + self.trailer_len()
    }

    /// The 40 bytes in front of a received datagram.
    pub fn grh(&self) -> [u8; super::grh::LEN] {
        super::grh::area(&self.repr.ip, self.ip_payload_len())
    }

    /// What the IP header says follows it.
    const fn ip_payload_len(&self) -> u16 {
        // A sum of parts of a packet whose IP header held it in 16 bits.
        let before = ethernet::LEN + self.repr.ip.version().header_len();
        #[allow(clippy::cast_possible_truncation)]
        let len = self.packet_len().wrapping_sub(before) as u16;
        len
    }

    /// Begins the check of the packet whose headers, read by [`Self::parse`], begin `bytes`.
    #[inline]
    pub fn start<C: Crc32>(&self, bytes: &[u8]) -> Result<Check<C>, ParseError> {
        let packet = bytes.get(ethernet::LEN..).ok_or(ParseError::TooShort)?;
        let version = self.repr.ip.version();
        let head_len = self.header_len() - ethernet::LEN;
        let icrc = Icrc::start(version, packet, head_len).ok_or(ParseError::TooShort)?;
        let udp = if self.udp_checksum {
            let head = packet
                .get(version.header_len()..head_len)
                .ok_or(ParseError::TooShort)?;
            Some(pseudo_sum(&self.repr.ip, self.ip_payload_len()).add(head))
        } else {
            None
        };
        Ok(Check {
            icrc,
            left: self.payload_len(),
            pad: self.pad_len(),
            udp,
        })
    }

    /// Checks a packet that lies in three places.
    #[inline]
    pub fn verify<C: Crc32>(
        &self,
        head: &[u8],
        pieces: &[&[u8]],
        trailer: &[u8],
    ) -> Result<(), ParseError> {
        let mut check = self.start::<C>(head)?;
        for piece in pieces {
            check.payload(piece)?;
        }
        check.finish(trailer)
    }
}

/// The UDP pseudo header (RFC 768, RFC 8200 8.1).
fn pseudo_sum(ip: &Ip, udp_len: u16) -> Sum {
    let [high, low] = udp_len.to_be_bytes();
    let sum = match ip {
        Ip::V4(v4) => Sum::default().add(&v4.src).add(&v4.dst),
        Ip::V6(v6) => Sum::default().add(&v6.src).add(&v6.dst),
    };
    sum.add(&[0, udp::PROTOCOL, high, low])
}

/// A received packet whose payload is being checked.
#[derive(Clone, Copy)]
pub struct Check<C> {
    icrc: Icrc<C>,
    left: usize,
    pad: usize,
    /// The UDP checksum so far, if the sender computed one.
    udp: Option<Sum>,
}

impl<C: Crc32> Check<C> {
    /// Counts a piece of payload.
    #[inline]
    pub fn payload(&mut self, piece: &[u8]) -> Result<(), ParseError> {
        self.left = self
            .left
            .checked_sub(piece.len())
            .ok_or(ParseError::Length)?;
        self.icrc = self.icrc.update(piece);
        self.udp = self.udp.map(|sum| sum.add(piece));
        Ok(())
    }

    /// Ends with pad and ICRC, which must be the first bytes of `trailer`.
    #[inline]
    pub fn finish(self, trailer: &[u8]) -> Result<(), ParseError> {
        if self.left != 0 {
            return Err(ParseError::TooShort);
        }
        let (pad, rest) = trailer
            .split_at_checked(self.pad)
            .ok_or(ParseError::TooShort)?;
        let wire = rest.first_chunk().ok_or(ParseError::TooShort)?;
        if self.icrc.update(pad).finish() != *wire {
            return Err(ParseError::Icrc);
        }
        match self.udp {
            Some(sum) if sum.add(pad).add(wire).finish() != 0 => Err(ParseError::UdpChecksum),
            _ => Ok(()),
        }
    }
}

/// A received packet in one piece, ICRC checked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Packet<'a> {
    /// The headers.
    pub headers: Headers,
    /// The payload, without pad.
    pub payload: &'a [u8],
}

impl<'a> Packet<'a> {
    /// Reads and checks the packet at the front of `frame`. Bytes behind it (Ethernet fills up
    /// short frames) do not count.
    #[inline]
    pub fn parse<C: Crc32>(frame: &'a [u8]) -> Result<Self, ParseError> {
        let headers = Headers::parse(frame)?;
        let (payload, trailer) = frame
            .get(headers.header_len()..)
            .and_then(|rest| rest.split_at_checked(headers.payload_len()))
            .ok_or(ParseError::TooShort)?;
        headers.verify::<C>(frame, &[payload], trailer)?;
        Ok(Self { headers, payload })
    }
}
