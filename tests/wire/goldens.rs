// SPDX-License-Identifier: GPL-2.0-only

//! Captures: packets of upstream rxe, and one of each of our own, decoded by tshark.

use std::fs;
use std::path::PathBuf;

use pcap_file::pcap::{PcapPacket, PcapReader, PcapWriter};
use usb4_rxe::host::HostCrc32;
use usb4_rxe::rxe::opcode::Opcode;
use usb4_rxe::rxe::wire::{Packet, ParseError};

use crate::corpus::parse_check;
use crate::{csv, samples};

/// What upstream rxe sent: captured on a wire between two stock kernels.
const UPSTREAM: [&str; 5] = ["atomic_fadd", "read_rc", "send_rc", "send_ud", "write_rc"];

/// What we send.
const OURS: &str = "ours_one_of_each";

fn path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("tests/goldens")
        .join(name)
}

/// The frames of a capture.
pub fn frames(name: &str) -> Vec<Vec<u8>> {
    let file = fs::File::open(path(&format!("{name}.pcap"))).expect("capture is there");
    let mut reader = PcapReader::new(file).expect("capture is readable");
    let mut frames = Vec::new();
    while let Some(packet) = reader.next_packet() {
        frames.push(packet.expect("record is readable").data.into_owned());
    }
    frames
}

/// The frames of all captures of upstream rxe.
pub fn upstream_frames() -> Vec<Vec<u8>> {
    UPSTREAM.iter().flat_map(|name| frames(name)).collect()
}

/// Every field of every packet is what tshark says it is.
fn assert_decodes_as_tshark(name: &str) {
    let table = fs::read_to_string(path(&format!("{name}.csv"))).expect("table is there");
    let mut lines = table.lines().skip(1);
    let frames = frames(name);
    assert!(!frames.is_empty());
    for (index, frame) in frames.iter().enumerate() {
        let packet = Packet::parse::<HostCrc32>(frame).expect("packet is good");
        let icrc = *frame.last_chunk().expect("packet has an ICRC");
        let ours = csv::line(index + 1, frame.len(), &packet.headers, icrc);
        assert_eq!(
            Some(ours.as_str()),
            lines.next(),
            "{name}, frame {}",
            index + 1
        );
    }
    assert_eq!(lines.next(), None);
}

#[test]
fn upstream_packets_parse_to_what_tshark_sees() {
    for name in UPSTREAM {
        assert_decodes_as_tshark(name);
    }
}

#[test]
fn upstream_packets_are_re_emitted_byte_for_byte() {
    for frame in upstream_frames() {
        let packet = Packet::parse::<HostCrc32>(&frame).expect("packet is good");
        let mut again = vec![0xcc; frame.len()];
        let len = packet
            .headers
            .repr
            .emit::<HostCrc32>(&[packet.payload], &mut again);
        assert_eq!(len, Ok(frame.len()));
        assert_eq!(again, frame);
        assert_eq!(frame.last_chunk(), Some(&parse_check::plain_icrc(&frame)));
    }
}

/// The captures hold these opcodes; a capture lost would show here.
#[test]
fn upstream_captures_cover_these_opcodes() {
    let mut seen: Vec<Opcode> = Vec::new();
    for frame in upstream_frames() {
        let opcode = Packet::parse::<HostCrc32>(&frame)
            .expect("packet is good")
            .headers
            .opcode();
        if !seen.contains(&opcode) {
            seen.push(opcode);
        }
    }
    seen.sort_by_key(|opcode| opcode.code());
    use Opcode as O;
    let expected = [
        O::RcSendFirst,
        O::RcSendMiddle,
        O::RcSendLast,
        O::RcWriteFirst,
        O::RcWriteMiddle,
        O::RcWriteLast,
        O::RcReadRequest,
        O::RcReadResponseFirst,
        O::RcReadResponseMiddle,
        O::RcReadResponseLast,
        O::RcAck,
        O::RcAtomicAck,
        O::RcFetchAdd,
        O::UdSendOnly,
    ];
    assert_eq!(seen, expected);
}

/// Our own packets: the bytes do not drift, and tshark decodes each as we mean it.
/// `UPDATE_GOLDENS=1` writes the capture anew; then run `decode.sh` on it.
#[test]
fn our_packets_of_every_opcode_parse_to_what_tshark_sees() {
    let mut writer = PcapWriter::new(Vec::new()).expect("header is written");
    for (repr, payload) in samples::one_of_each() {
        let mut frame = vec![0; repr.packet_len(payload.len())];
        let len = repr.emit::<HostCrc32>(&[&payload], &mut frame);
        assert_eq!(len, Ok(frame.len()));
        let stamp = core::time::Duration::ZERO;
        let original_len = u32::try_from(frame.len()).expect("packet is short");
        writer
            .write_packet(&PcapPacket::new(stamp, original_len, &frame))
            .expect("record is written");
    }
    let capture = writer.into_writer();
    let file = path(&format!("{OURS}.pcap"));
    if std::env::var_os("UPDATE_GOLDENS").is_some() {
        fs::write(&file, &capture).expect("capture is written");
    }
    assert!(capture == fs::read(&file).expect("capture is there"));
    assert_decodes_as_tshark(OURS);
}

/// Whether the receiver may not notice that this bit of a packet is wrong.
fn is_free(frame: &[u8], byte: usize) -> bool {
    let bth = if frame[14] >> 4 == 4 {
        14 + 28
    } else {
        14 + 48
    };
    // Link addresses are Ethernet's, FECN, BECN and resv6a may change under way.
    let mut free = byte < 12 || byte == bth + 4;
    // IPv6 has no header checksum: what the ICRC leaves out is open.
    if frame[14] >> 4 == 6 {
        free |= (14..18).contains(&byte) || byte == 21;
    }
    free
}

/// Any single wrong bit is noticed, unless it is one of those the definition leaves open.
fn assert_every_flip_is_noticed(frame: &[u8]) {
    let mut copy = frame.to_vec();
    for byte in 0..frame.len() {
        for bit in 0..8 {
            copy[byte] ^= 1 << bit;
            let result = Packet::parse::<HostCrc32>(&copy);
            // The upper half of IPv6's first byte is the version: not free.
            let version = byte == 14 && bit >= 4;
            if is_free(frame, byte) && !version {
                assert!(result.is_ok(), "byte {byte} bit {bit}: {result:?}");
            } else {
                assert!(result.is_err(), "byte {byte} bit {bit} is not noticed");
            }
            copy[byte] ^= 1 << bit;
        }
    }
}

#[test]
fn no_wrong_bit_in_an_upstream_packet_goes_unnoticed() {
    for frame in upstream_frames() {
        assert_every_flip_is_noticed(&frame);
    }
}

#[test]
fn no_wrong_bit_in_our_packets_goes_unnoticed() {
    for frame in frames(OURS) {
        assert_every_flip_is_noticed(&frame);
    }
}

/// Every packet cut short anywhere is refused; bytes behind it do no harm.
#[test]
fn truncated_packets_are_too_short() {
    for frame in upstream_frames().into_iter().chain(frames(OURS)) {
        for len in 0..frame.len() {
            let result = Packet::parse::<HostCrc32>(&frame[..len]);
            assert_eq!(result, Err(ParseError::TooShort), "cut at {len}");
        }
        let whole = Packet::parse::<HostCrc32>(&frame).expect("packet is good");
        let mut longer = frame.clone();
        longer.extend_from_slice(&[0xee; 46]);
        assert_eq!(Packet::parse::<HostCrc32>(&longer), Ok(whole));
    }
}

/// A router may decrement TTL, mark congestion and rewrite the checksum.
#[test]
fn what_routers_change_does_no_harm() {
    for frame in upstream_frames() {
        let packet = Packet::parse::<HostCrc32>(&frame).expect("packet is good");
        let mut repr = packet.headers.repr;
        if let usb4_rxe::rxe::wire::Ip::V4(v4) = &mut repr.ip {
            v4.ttl -= 1;
            v4.tos |= 3;
        }
        repr.bth.fecn = true;
        let mut routed = vec![0; frame.len()];
        repr.emit::<HostCrc32>(&[packet.payload], &mut routed)
            .expect("fits");
        assert_eq!(routed.last_chunk::<4>(), frame.last_chunk::<4>());
        assert!(Packet::parse::<HostCrc32>(&routed).is_ok());
    }
}
