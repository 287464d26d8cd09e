// SPDX-License-Identifier: GPL-2.0-only

//! Why bytes are not a packet, and why a packet does not become bytes.

/// What is wrong with received bytes. Such a packet is dropped and counted; it is never answered,
/// for nothing in it can be trusted.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum ParseError {
    /// The bytes end inside a header, the payload or the ICRC.
    TooShort,
    /// The Ethernet type is neither IPv4 nor IPv6.
    EtherType(u16),
    /// The version field of the IP header contradicts the Ethernet type.
    IpVersion(u8),
    /// IPv4 options: RoCEv2 has none.
    IpOptions,
    /// A fragment, or the reserved IPv4 flag: RoCEv2 packets are never fragmented.
    Fragment,
    /// The IPv4 header checksum is wrong.
    IpChecksum,
    /// The IP payload is not UDP.
    IpProtocol(u8),
    /// The UDP destination port is not 4791.
    UdpPort(u16),
    /// The UDP checksum is there and wrong.
    UdpChecksum,
    /// The lengths in IP, UDP and BTH contradict each other or the opcode.
    Length,
    /// The transport header version is not 0.
    TransportVersion(u8),
    /// An opcode we do not speak.
    Opcode(u8),
    /// The pad count contradicts the length: a packet is a multiple of four bytes.
    Pad(u8),
    /// More payload than the largest MTU.
    PayloadTooLong,
    /// A reserved AETH syndrome.
    Syndrome(u8),
    /// A FLUSH of unknown type or selectivity.
    Flush(u32),
    /// The ICRC is wrong.
    Icrc,
}

impl core::fmt::Display for ParseError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::TooShort => write!(f, "packet too short"),
            Self::EtherType(t) => write!(f, "unknown Ethernet type {t:#06x}"),
            Self::IpVersion(v) => write!(f, "unexpected IP version {v}"),
            Self::IpOptions => write!(f, "IPv4 options"),
            Self::Fragment => write!(f, "IP fragment"),
            Self::IpChecksum => write!(f, "wrong IPv4 header checksum"),
            Self::IpProtocol(p) => write!(f, "IP protocol {p} is not UDP"),
            Self::UdpPort(p) => write!(f, "UDP port {p} is not RoCEv2"),
            Self::UdpChecksum => write!(f, "wrong UDP checksum"),
            Self::Length => write!(f, "contradicting lengths"),
            Self::TransportVersion(v) => write!(f, "unknown transport header version {v}"),
            Self::Opcode(o) => write!(f, "unknown opcode {o:#04x}"),
            Self::Pad(p) => write!(f, "wrong pad count {p}"),
            Self::PayloadTooLong => write!(f, "payload above the largest MTU"),
            Self::Syndrome(s) => write!(f, "reserved syndrome {s:#04x}"),
            Self::Flush(b) => write!(f, "unknown FLUSH {b:#010x}"),
            Self::Icrc => write!(f, "wrong ICRC"),
        }
    }
}

/// Why a packet cannot be written: the caller's mistake, never the peer's.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum EmitError {
    /// The buffer is too small.
    NoRoom,
    /// This opcode carries no payload, or less than given.
    Payload,
}

impl core::fmt::Display for EmitError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::NoRoom => write!(f, "buffer too small"),
            Self::Payload => write!(f, "illegal payload length for the opcode"),
        }
    }
}
