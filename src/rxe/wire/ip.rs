// SPDX-License-Identifier: GPL-2.0-only

//! Either version of IP.

use super::{ipv4, ipv6};
use crate::rxe::icrc::IpVersion;

/// An IP header of either version.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Ip {
    /// IPv4.
    V4(ipv4::Repr),
    /// IPv6.
    V6(ipv6::Repr),
}

/// The first twelve bytes of an IPv4-mapped IPv6 address: how a GID holds an IPv4 address.
const V4_MAPPED: [u8; 12] = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff];

/// An IPv4 address in the form of a GID.
pub fn mapped_gid(address: [u8; 4]) -> [u8; 16] {
    let [a, b, c, d] = address;
    let [z0, z1, z2, z3, z4, z5, z6, z7, z8, z9, f0, f1] = V4_MAPPED;
    [z0, z1, z2, z3, z4, z5, z6, z7, z8, z9, f0, f1, a, b, c, d]
}

/// The IPv4 address in a GID, if that is what it holds.
pub fn embedded_v4(gid: &[u8; 16]) -> Option<[u8; 4]> {
    let (front, address) = gid.split_last_chunk()?;
    (*front == V4_MAPPED).then_some(*address)
}

impl Ip {
    /// The version.
    pub const fn version(&self) -> IpVersion {
        match self {
            Self::V4(_) => IpVersion::V4,
            Self::V6(_) => IpVersion::V6,
        }
    }

    /// The sender's address as a GID.
    pub fn src_gid(&self) -> [u8; 16] {
        match self {
            Self::V4(v4) => mapped_gid(v4.src),
            Self::V6(v6) => v6.src,
        }
    }

    /// The receiver's address as a GID.
    pub fn dst_gid(&self) -> [u8; 16] {
        match self {
            Self::V4(v4) => mapped_gid(v4.dst),
            Self::V6(v6) => v6.dst,
        }
    }
}
