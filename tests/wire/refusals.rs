// SPDX-License-Identifier: GPL-2.0-only

//! Each way to be malformed has its error; and what the receiver makes of UDP checksum and GRH.

use usb4_rxe::host::HostCrc32;
use usb4_rxe::rxe::opcode::Opcode;
use usb4_rxe::rxe::wire::*;

use crate::corpus::parse_check;
use crate::samples;

/// The sample packet of `opcode` over IPv4 or IPv6, and its frame.
fn sample(opcode: Opcode, v6: bool) -> (PacketRepr, Vec<u8>, Vec<u8>) {
    let (repr, payload) = samples::one_of_each()
        .into_iter()
        .find(|(repr, _)| repr.opcode() == opcode && matches!(repr.ip, Ip::V6(_)) == v6)
        .expect("one of each is there");
    let mut frame = vec![0; repr.packet_len(payload.len())];
    repr.emit::<HostCrc32>(&[&payload], &mut frame)
        .expect("fits");
    (repr, payload, frame)
}

/// The ones' complement sum of pairs of bytes.
fn sum16(bytes: &[u8]) -> u16 {
    let mut sum: u32 = bytes
        .chunks(2)
        .map(|pair| u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0)))
        .sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    u16::try_from(sum).expect("sum is folded")
}

/// Makes the IPv4 header checksum right.
fn fix_ip(frame: &mut [u8]) {
    frame[24..26].fill(0);
    let sum = !sum16(&frame[14..34]);
    frame[24..26].copy_from_slice(&sum.to_be_bytes());
}

/// Makes the ICRC right.
fn fix_icrc(frame: &mut [u8]) {
    let icrc = parse_check::plain_icrc(frame);
    let at = frame.len() - 4;
    frame[at..].copy_from_slice(&icrc);
}

/// Changes an IPv4 packet of `opcode`, repairs checksum and ICRC, and says why it is refused.
fn refused(opcode: Opcode, change: impl FnOnce(&mut Vec<u8>)) -> ParseError {
    let (_, _, mut frame) = sample(opcode, false);
    change(&mut frame);
    fix_ip(&mut frame);
    fix_icrc(&mut frame);
    Packet::parse::<HostCrc32>(&frame).expect_err("packet is malformed")
}

/// Makes the length fields of IP and UDP right.
fn set_len(frame: &mut [u8]) {
    let total = u16::try_from(frame.len() - 14).expect("packet is short");
    frame[16..18].copy_from_slice(&total.to_be_bytes());
    frame[38..40].copy_from_slice(&(total - 20).to_be_bytes());
}

#[test]
fn every_error_is_reached() {
    use Opcode as O;
    use ParseError as E;
    let set = |at: usize, value: u8| move |frame: &mut Vec<u8>| frame[at] = value;
    assert_eq!(refused(O::RcAck, set(13, 6)), E::EtherType(0x0806));
    assert_eq!(refused(O::RcSendFirst, set(14, 0x65)), E::IpVersion(6));
    assert_eq!(refused(O::RcAck, set(14, 0x46)), E::IpOptions);
    assert_eq!(refused(O::RcAck, set(20, 0x20)), E::Fragment);
    assert_eq!(refused(O::RcAck, set(21, 1)), E::Fragment);
    assert_eq!(refused(O::RcAck, set(23, 6)), E::IpProtocol(6));
    assert_eq!(refused(O::RcAck, set(37, 53)), E::UdpPort(0x1235));
    assert_eq!(refused(O::RcAck, set(39, 0)), E::Length);
    assert_eq!(refused(O::RcAck, set(17, 10)), E::Length);
    assert_eq!(refused(O::RcAck, set(43, 1)), E::TransportVersion(1));
    assert_eq!(refused(O::RcAck, set(42, 0x15)), E::Opcode(0x15));
    assert_eq!(refused(O::RcAck, set(42, 0x81)), E::Opcode(0x81));
    assert_eq!(refused(O::RcAck, set(43, 0x10)), E::Pad(1));
    assert_eq!(refused(O::RcAck, set(54, 0x40)), E::Syndrome(0x40));
    assert_eq!(refused(O::RcFlush, set(57, 0x20)), E::Flush(0x20));
    // An ACK with payload; a packet that is no multiple of four; one that is too long.
    let grow = |by: usize| {
        move |frame: &mut Vec<u8>| {
            frame.resize(frame.len() + by, 0);
            set_len(frame);
        }
    };
    assert_eq!(refused(O::RcAck, grow(4)), E::Length);
    assert_eq!(refused(O::RcSendOnly, grow(1)), E::Length);
    assert_eq!(refused(O::RcSendOnly, grow(4100)), E::PayloadTooLong);
    // Room for the BTH, not for the extension header or the ICRC.
    let shrink = |frame: &mut Vec<u8>| {
        frame.truncate(frame.len() - 4);
        set_len(frame);
    };
    assert_eq!(refused(O::RcAck, shrink), E::Length);

    let (_, _, mut frame) = sample(O::RcAck, false);
    frame[24] ^= 1;
    assert_eq!(Packet::parse::<HostCrc32>(&frame), Err(E::IpChecksum));
    frame[24] ^= 1;
    frame[56] ^= 1;
    assert_eq!(Packet::parse::<HostCrc32>(&frame), Err(E::Icrc));
    assert_eq!(Packet::parse::<HostCrc32>(&frame[..40]), Err(E::TooShort));
}

/// A peer may compute the UDP checksum. Then it must be right.
#[test]
fn a_udp_checksum_is_checked_if_present() {
    for v6 in [false, true] {
        for opcode in Opcode::all() {
            let (_, _, mut frame) = sample(opcode, v6);
            let udp = if v6 { 54 } else { 34 };
            let addresses = if v6 { 22..54 } else { 26..34 };
            let udp_len = u16::try_from(frame.len() - udp).expect("packet is short");
            let mut covered = frame[addresses].to_vec();
            covered.extend_from_slice(&[0, 17]);
            covered.extend_from_slice(&udp_len.to_be_bytes());
            covered.extend_from_slice(&frame[udp..]);
            let checksum = match !sum16(&covered) {
                0 => 0xffff,
                checksum => checksum,
            };
            frame[udp + 6..udp + 8].copy_from_slice(&checksum.to_be_bytes());
            assert!(Packet::parse::<HostCrc32>(&frame).is_ok(), "{opcode:?}");

            let wrong = checksum.wrapping_add(1).max(1);
            frame[udp + 6..udp + 8].copy_from_slice(&wrong.to_be_bytes());
            let result = Packet::parse::<HostCrc32>(&frame);
            assert_eq!(result, Err(ParseError::UdpChecksum), "{opcode:?}");
        }
    }
}

/// The receiver of a datagram finds the IP header as it came.
#[test]
fn the_grh_area_holds_the_ip_header() {
    let (_, _, frame) = sample(Opcode::UdSendOnly, false);
    let packet = Packet::parse::<HostCrc32>(&frame).expect("packet is good");
    let area = packet.headers.grh();
    assert_eq!(area[..20], [0; 20]);
    assert_eq!(area[20..], frame[14..34]);

    let (_, _, frame) = sample(Opcode::UdSendOnly, true);
    let packet = Packet::parse::<HostCrc32>(&frame).expect("packet is good");
    assert_eq!(packet.headers.grh(), frame[14..54]);
}

/// An IPv4 address in a GID is mapped, as `rdma` and NCCL expect.
#[test]
fn gids_hold_addresses_of_both_versions() {
    let (repr, _, _) = sample(Opcode::RcAck, false);
    let mapped = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 10, 1, 2, 3];
    assert_eq!(repr.ip.src_gid(), mapped);
    let (repr, _, frame) = sample(Opcode::RcAck, true);
    assert_eq!(repr.ip.src_gid(), frame[22..38]);
    assert_eq!(repr.ip.dst_gid(), frame[38..54]);
}
