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

mod mask;

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

/// Longest head: IPv6, UDP, BTH, AtomicETH.
pub const MAX_HEAD: usize = 40 + 8 + 12 + 28;

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
        let max = MAX_HEAD.wrapping_sub(40).wrapping_add(ip.header_len());
        if !(ip.header_len().wrapping_add(8 + 12)..=max).contains(&head_len) {
            return None;
        }
        let head = packet.get(..head_len)?;
        Some(Self {
            state: C::update(mask::start(ip, head)?, head),
            crc: PhantomData,
        })
    }

    /// All at once: a packet without its ICRC, from the IP header on, in one piece. `None` if it
    /// ends before the BTH does.
    #[inline]
    pub fn of(ip: IpVersion, packet: &[u8]) -> Option<[u8; LEN]> {
        let whole = Self {
            state: C::update(mask::start(ip, packet)?, packet),
            crc: PhantomData,
        };
        Some(whole.finish())
    }

    /// Continues with payload or pad bytes.
    #[must_use]
    pub fn update(self, bytes: &[u8]) -> Self {
        Self {
            state: C::update(self.state, bytes),
            crc: PhantomData,
        }
    }

    /// Continues with bytes that only the caller can read: `fold` folds them into the CRC's state.
    #[must_use]
    pub fn update_by(self, fold: impl FnOnce(u32) -> u32) -> Self {
        Self {
            state: fold(self.state),
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
