// SPDX-License-Identifier: GPL-2.0-only

//! A received packet: headers read first, trusted only when the ICRC over all of it is right.
//!
//! Payload and ICRC may arrive in frames of their own:
//!
//! ```text
//!   Headers::parse(head)             lengths, opcode, every field; nothing is trusted yet
//!   Headers::start(head) -> Check    payload in any number of pieces
//!   Check::finish(trailer)           pad and ICRC: right or wrong
//!
//!   Packet::parse                    the same over one contiguous frame
//! ```

use super::body::Body;
use super::checksum::Sum;
use super::cursor::take;
use super::error::ParseError;
use super::packet::{Repr, MAX_PAYLOAD};
use super::Ip;
use super::{bth, ethernet, grh, ipv4, ipv6, udp};
use crate::rxe::icrc::{self, Crc32, Icrc, IpVersion};
use crate::rxe::opcode::{Opcode, PayloadRule};

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
    pub fn grh(&self) -> [u8; grh::LEN] {
        grh::area(&self.repr.ip, self.ip_payload_len())
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

    /// Checks a packet that lies in one piece: one call of the CRC function over all of it.
    #[inline]
    pub fn verify_in_place<C: Crc32>(&self, frame: &[u8]) -> Result<(), ParseError> {
        if self.udp_checksum {
            let (payload, trailer) = frame
                .get(self.header_len()..)
                .and_then(|rest| rest.split_at_checked(self.payload_len()))
                .ok_or(ParseError::TooShort)?;
            return self.verify::<C>(frame, &[payload], trailer);
        }
        let (packet, behind) = frame
            .split_at_checked(self.packet_len().wrapping_sub(icrc::LEN))
            .ok_or(ParseError::TooShort)?;
        let covered = packet.get(ethernet::LEN..).ok_or(ParseError::TooShort)?;
        let version = self.repr.ip.version();
        match (Icrc::<C>::of(version, covered), behind.first_chunk()) {
            (Some(icrc), Some(wire)) if icrc == *wire => Ok(()),
            (Some(_), Some(_)) => Err(ParseError::Icrc),
            _ => Err(ParseError::TooShort),
        }
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
        headers.verify_in_place::<C>(frame)?;
        let payload = frame
            .get(headers.header_len()..)
            .and_then(|rest| rest.get(..headers.payload_len()))
            .ok_or(ParseError::TooShort)?;
        Ok(Self { headers, payload })
    }
}
