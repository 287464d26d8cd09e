// SPDX-License-Identifier: GPL-2.0-only

//! The 40 bytes in front of every received datagram (IBTA annex A17.4.5.1).
//!
//! A UD receive buffer begins with room for a GRH. RoCEv2 has none; its place is taken by the IP
//! header of the packet:
//!
//! ```text
//!        0                          20                         40
//!        +--------------------------+--------------------------+
//!   IPv4 | zero                     | IPv4 header              |
//!        +--------------------------+--------------------------+
//!   IPv6 | IPv6 header                                         |
//!        +-----------------------------------------------------+
//! ```

use zerocopy::IntoBytes as _;

use super::ip::Ip;

/// Length of the area.
pub const LEN: usize = 40;

/// The area for a packet with this IP header and `ip_payload_len` bytes behind it.
pub fn area(ip: &Ip, ip_payload_len: u16) -> [u8; LEN] {
    let mut area = [0; LEN];
    // Both headers fit, so there is no error to lose.
    let _ = match ip {
        Ip::V4(v4) => v4.header(ip_payload_len).write_to_suffix(&mut area).ok(),
        Ip::V6(v6) => v6.header(ip_payload_len).write_to_suffix(&mut area).ok(),
    };
    area
}
