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

/// Copies are counted in blocks of this size, so that the CRC finds them in the L1 cache.
const COPY_BLOCK: usize = 4096;

/// Longest masked head: IPv6, UDP, BTH, AtomicETH.
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
    /// Starts with the headers of a packet: `head` runs from the first byte of the IP header to
    /// the end of the last extension header.
    ///
    /// Returns `None` if `head` is too short to hold the headers up to the BTH, or longer than
    /// [`MAX_HEAD`].
    pub fn start(ip: IpVersion, head: &[u8]) -> Option<Self> {
        let mut copy = [0u8; MAX_HEAD];
        let masked = copy.get_mut(..head.len())?;
        masked.copy_from_slice(head);
        match ip {
            IpVersion::V4 => mask_v4(masked.first_chunk_mut()?),
            IpVersion::V6 => mask_v6(masked.first_chunk_mut()?),
        }
        Some(Self {
            state: C::update(SEED, masked),
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

    /// Copies `from` to `to`, which has the same length, and continues with the bytes copied.
    ///
    /// The CRC runs over the copy: what a user changes in `from` meanwhile cannot make a packet
    /// whose ICRC is wrong.
    #[must_use]
    pub fn copy(self, from: &[u8], to: &mut [u8]) -> Self {
        let mut icrc = self;
        for (from, to) in from.chunks(COPY_BLOCK).zip(to.chunks_mut(COPY_BLOCK)) {
            if from.len() == to.len() {
                to.copy_from_slice(from);
            }
            icrc = icrc.update(to);
        }
        icrc
    }

    /// The bytes that go on the wire.
    pub fn finish(self) -> [u8; LEN] {
        (!self.state).to_le_bytes()
    }
}

/// Masks IPv4 + UDP + BTH.
fn mask_v4(head: &mut [u8; 40]) {
    head[1] = 0xff; // TOS
    head[8] = 0xff; // TTL
    head[10] = 0xff; // header checksum
    head[11] = 0xff;
    head[26] = 0xff; // UDP checksum
    head[27] = 0xff;
    head[32] = 0xff; // FECN, BECN, resv6a
}

/// Masks IPv6 + UDP + BTH.
fn mask_v6(head: &mut [u8; 60]) {
    head[0] |= 0x0f; // traffic class, flow label
    head[1] = 0xff;
    head[2] = 0xff;
    head[3] = 0xff;
    head[7] = 0xff; // hop limit
    head[46] = 0xff; // UDP checksum
    head[47] = 0xff;
    head[52] = 0xff; // FECN, BECN, resv6a
}
