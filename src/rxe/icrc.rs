// SPDX-License-Identifier: GPL-2.0-only

//! The invariant CRC of RoCEv2 (IBTA annex A17.3.3).
//!
//! CRC-32 over everything from the IP header to the pad bytes, with the fields a router may change
//! taken as ones, preceded by eight bytes of ones where an InfiniBand packet has its LRH:
//!
//! ```text
//!   ff x 8 | IP header (masked) | UDP (masked) | BTH (masked) | ext. headers | payload | pad || ICRC
//!   '-----'                                                                                  ^^^^
//!    SEED                                                     complement, low byte first ----'
//! ```
//!
//! | header | taken as ones |
//! |---|---|
//! | IPv4 | TOS, TTL, header checksum |
//! | IPv6 | traffic class, flow label, hop limit |
//! | UDP  | checksum |
//! | BTH  | the byte with FECN, BECN and resv6a |
//!
//! The CRC function itself comes from outside, as a type: `crc32_le` in the kernel, `crc32fast` on
//! the host. Both see the same bytes in the same order, so one [`Icrc`] serves both.

use core::marker::PhantomData;

/// A CRC-32 function (IEEE polynomial, low bit first) without inversion at either end: the
/// contract of the kernel's `crc32_le`.
pub trait Crc32 {
    /// Folds `bytes` into `state`.
    fn update(state: u32, bytes: &[u8]) -> u32;
}

/// The CRC state behind the eight bytes of ones that stand for the LRH.
pub const SEED: u32 = 0xdebb_20e3;

/// Bytes of the ICRC on the wire.
pub const LEN: usize = 4;

/// Longest head over IPv4: IP, UDP, BTH, AtomicETH.
const MAX_HEAD_V4: usize = 20 + 8 + 12 + 28;

/// Longest head over IPv6.
const MAX_HEAD_V6: usize = 40 + 8 + 12 + 28;

/// An ACK over IPv4 from IP header to ICRC: the shortest packet.
const ACK_V4: usize = 20 + 8 + 12 + 4 + LEN;

/// An ACK over IPv6.
const ACK_V6: usize = 40 + 8 + 12 + 4 + LEN;

/// Longest head.
pub const MAX_HEAD: usize = MAX_HEAD_V6;

/// The two versions of IP, with the bytes that do not count.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum IpVersion {
    /// IPv4 without options.
    V4,
    /// IPv6 without extension headers.
    V6,
}

impl IpVersion {
    /// The length of the IP header.
    pub const fn header_len(self) -> usize {
        match self {
            Self::V4 => 20,
            Self::V6 => 40,
        }
    }
}

/// A running ICRC over the CRC function `C`.
pub struct Icrc<C> {
    state: u32,
    crc: PhantomData<fn() -> C>,
}

impl<C> Clone for Icrc<C> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<C> Copy for Icrc<C> {}

impl<C> core::fmt::Debug for Icrc<C> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Icrc({:#010x})", self.state)
    }
}

impl<C: Crc32> Icrc<C> {
    /// Starts with the headers of a packet. `packet` begins with the IP header; its first
    /// `head_len` bytes end with the last extension header. Whatever is behind does not count.
    ///
    /// Returns `None` if `packet` is shorter than that, or if `head_len` cannot be right: too short
    /// to reach the end of the BTH, or longer than the longest chain of headers.
    #[inline]
    pub fn start(ip: IpVersion, packet: &[u8], head_len: usize) -> Option<Self> {
        if head_len > packet.len() || head_len < ip.header_len() + 8 + 12 {
            return None;
        }
        let state = match ip {
            IpVersion::V4 => masked::<C, ACK_V4, MAX_HEAD_V4>(&MASK_V4, packet, head_len)?,
            IpVersion::V6 => masked::<C, ACK_V6, MAX_HEAD_V6>(&MASK_V6, packet, head_len)?,
        };
        Some(Self {
            state,
            crc: PhantomData,
        })
    }

    /// Continues with payload or pad bytes.
    #[must_use]
    pub fn update(self, bytes: &[u8]) -> Self {
        Self {
            state: C::update(self.state, bytes),
            crc: PhantomData,
        }
    }

    /// Copies `from` to `to` and continues with the bytes copied; `None` if the lengths differ.
    ///
    /// The CRC runs over the copy: what a user changes in `from` meanwhile cannot make a packet
    /// whose ICRC is wrong. It finds the copy in the L1 cache, for a packet's payload fits there;
    /// smaller steps only cost more calls.
    #[must_use]
    pub fn copy(self, from: &[u8], to: &mut [u8]) -> Option<Self> {
        if from.len() != to.len() {
            return None;
        }
        to.copy_from_slice(from);
        Some(self.update(to))
    }

    /// The bytes that go on the wire.
    pub fn finish(self) -> [u8; LEN] {
        (!self.state).to_le_bytes()
    }
}

/// The CRC over the first `head_len` bytes of `packet`, with the bits of `mask` taken as ones.
///
/// Works on a copy of one of two fixed sizes, so that whole registers are copied and masked; what
/// is copied too much does not count.
#[inline]
fn masked<C: Crc32, const SHORT: usize, const LONG: usize>(
    mask: &[u8; LONG],
    packet: &[u8],
    head_len: usize,
) -> Option<u32> {
    if head_len <= SHORT {
        if let Some(head) = packet.first_chunk::<SHORT>() {
            let head = or(head, mask.first_chunk()?);
            return Some(C::update(SEED, head.get(..head_len)?));
        }
    }
    let head = match packet.first_chunk::<LONG>() {
        Some(head) => or(head, mask),
        None => {
            let mut head = [0; LONG];
            head.get_mut(..packet.len())?.copy_from_slice(packet);
            or(&head, mask)
        }
    };
    Some(C::update(SEED, head.get(..head_len)?))
}

/// `a | b`, byte by byte.
#[inline]
fn or<const N: usize>(a: &[u8; N], b: &[u8; N]) -> [u8; N] {
    let mut or = *a;
    for (or, b) in or.iter_mut().zip(b) {
        *or |= b;
    }
    or
}

/// The bits of IPv4 + UDP + BTH that do not count.
const MASK_V4: [u8; MAX_HEAD_V4] = {
    let mut mask = [0; MAX_HEAD_V4];
    mask[1] = 0xff; // TOS
    mask[8] = 0xff; // TTL
    mask[10] = 0xff; // header checksum
    mask[11] = 0xff;
    mask[20 + 6] = 0xff; // UDP checksum
    mask[20 + 7] = 0xff;
    mask[20 + 8 + 4] = 0xff; // FECN, BECN, resv6a
    mask
};

/// The bits of IPv6 + UDP + BTH that do not count.
const MASK_V6: [u8; MAX_HEAD_V6] = {
    let mut mask = [0; MAX_HEAD_V6];
    mask[0] = 0x0f; // traffic class, flow label
    mask[1] = 0xff;
    mask[2] = 0xff;
    mask[3] = 0xff;
    mask[7] = 0xff; // hop limit
    mask[40 + 6] = 0xff; // UDP checksum
    mask[40 + 7] = 0xff;
    mask[40 + 8 + 4] = 0xff; // FECN, BECN, resv6a
    mask
};
