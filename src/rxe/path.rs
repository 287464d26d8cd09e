// SPDX-License-Identifier: GPL-2.0-only

//! An address vector, resolved: everything in front of the BTH that does not change per packet.

use super::qpn::Qpn;
use super::wire::{Body, Bth, Ethernet, Ip, PacketRepr, Udp};

/// The link, network and transport headers of packets to one peer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Path {
    /// Link addresses.
    pub ethernet: Ethernet,
    /// Network header.
    pub ip: Ip,
    /// Source port.
    pub udp: Udp,
}

impl Path {
    /// The headers of a packet along this path.
    pub const fn packet(&self, bth: Bth, body: Body) -> PacketRepr {
        PacketRepr {
            ethernet: self.ethernet,
            ip: self.ip,
            udp: self.udp,
            bth,
            body,
        }
    }

    /// Whether a packet with these IP addresses comes from the peer at the other end.
    pub fn is_reverse_of(&self, received: &Ip) -> bool {
        match (&self.ip, received) {
            (Ip::V4(ours), Ip::V4(theirs)) => ours.src == theirs.dst && ours.dst == theirs.src,
            (Ip::V6(ours), Ip::V6(theirs)) => ours.src == theirs.dst && ours.dst == theirs.src,
            (Ip::V4(_), Ip::V6(_)) | (Ip::V6(_), Ip::V4(_)) => false,
        }
    }
}

/// The UDP source port of a connection: spreads connections over the paths of routers, and stays
/// the same for the life of the connection so that no router reorders it.
///
/// 0xc000 is the start of the dynamic ports, as the RoCEv2 annex recommends.
pub fn source_port(local: Qpn, remote: Qpn) -> u16 {
    // A multiplicative hash: neighbouring queue pairs land far apart.
    let key = (u64::from(local.get()) << 24) | u64::from(remote.get());
    let hash = key.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 50;
    // 14 bits are left.
    #[allow(clippy::cast_possible_truncation)]
    let low = hash as u16;
    0xc000 | low
}
