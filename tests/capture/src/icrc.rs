// SPDX-License-Identifier: GPL-2.0-only

//! The ICRC as its definition reads (IBTA annex A17.3.3): copy the packet, make ones of what routers may change, compute.
//!
//! The engine computes it another way, without touching the packet; that is why this one is here.

use crc32fast::Hasher;

const UDP_LEN: usize = 8;
const BTH_LEN: usize = 12;
/// Where an InfiniBand packet has its local route header.
const LRH: [u8; 8] = [0xff; 8];

/// The ICRC of a packet from its IP header on, without the ICRC at its end. `None` if it is no UDP packet over IPv4 without
/// options, or over IPv6 without extensions.
pub fn icrc(packet: &[u8]) -> Option<[u8; 4]> {
    let mut masked = packet.to_vec();
    let (ip_len, variable): (usize, &[usize]) = match packet.first()? {
        // Type of service, time to live, checksum.
        0x45 => (20, &[1, 8, 10, 11]),
        // Traffic class, flow label, hop limit.
        first if first >> 4 == 6 => (40, &[1, 2, 3, 7]),
        _ => return None,
    };
    if packet.len() < ip_len + UDP_LEN + BTH_LEN {
        return None;
    }
    if ip_len == 40 {
        masked[0] |= 0x0f;
    }
    for place in variable {
        masked[*place] = 0xff;
    }
    // The UDP checksum; in the BTH the byte of FECN, BECN and reserved bits.
    masked[ip_len + 6..ip_len + 8].fill(0xff);
    masked[ip_len + UDP_LEN + 4] = 0xff;
    let mut hasher = Hasher::new();
    hasher.update(&LRH);
    hasher.update(&masked);
    Some(hasher.finalize().to_le_bytes())
}
