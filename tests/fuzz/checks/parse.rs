// SPDX-License-Identifier: GPL-2.0-only

//! What must hold for the parser on any bytes. Used by the fuzz target and by the ordinary tests.

use usb4_rxe::host::HostCrc32;
use usb4_rxe::rxe::wire::{Headers, Packet};

/// Checks `bytes` as they are, and once more with checksum and ICRC made right, for no fuzzer
/// guesses those. Returns whether the bytes as they are were a packet.
pub fn check(bytes: &[u8]) -> bool {
    let good = check_one(bytes);
    let mut repaired = bytes.to_vec();
    if repair(&mut repaired) {
        assert!(check_one(&repaired), "a repaired packet is good");
    }
    good
}

fn check_one(bytes: &[u8]) -> bool {
    let Ok(packet) = Packet::parse::<HostCrc32>(bytes) else {
        return false;
    };
    let headers = packet.headers;
    let len = headers.packet_len();
    // Accepted means: the ICRC is right by the plain definition.
    assert!(len <= bytes.len());
    assert_eq!(bytes[len - 4..len], plain_icrc(&bytes[..len]));
    assert_eq!(
        packet.payload,
        &bytes[headers.header_len()..][..headers.payload_len()]
    );

    // What was understood can be said again, and is understood the same.
    let mut again = vec![0; len];
    let emitted = headers
        .repr
        .emit::<HostCrc32>(&[packet.payload], &mut again);
    assert_eq!(emitted, Ok(len));
    let second = Packet::parse::<HostCrc32>(&again).expect("our own packet");
    assert_eq!(second.headers.repr, headers.repr);
    assert_eq!(second.payload, packet.payload);
    assert_eq!(headers.grh().len(), 40);

    // In parts it is the same packet.
    let (head, rest) = bytes[..len].split_at(headers.header_len());
    let (payload, trailer) = rest.split_at(headers.payload_len());
    assert_eq!(Headers::parse(head), Ok(headers));
    let (a, b) = payload.split_at(payload.len() / 3);
    assert_eq!(headers.verify::<HostCrc32>(head, &[a, b], trailer), Ok(()));
    true
}

/// Makes checksums and ICRC right if the headers make sense otherwise. Returns whether they do.
fn repair(bytes: &mut [u8]) -> bool {
    if bytes.len() >= 34 && bytes[12..15] == [8, 0, 0x45] {
        bytes[24..26].fill(0);
        let mut sum: u32 = bytes[14..34]
            .chunks(2)
            .map(|pair| u32::from(pair[0]) << 8 | u32::from(pair[1]))
            .sum();
        while sum > 0xffff {
            sum = (sum & 0xffff) + (sum >> 16);
        }
        let [.., high, low] = (!sum).to_be_bytes();
        bytes[24..26].copy_from_slice(&[high, low]);
    }
    let Ok(headers) = Headers::parse(bytes) else {
        return false;
    };
    let len = headers.packet_len();
    if len > bytes.len() {
        return false;
    }
    // No UDP checksum.
    let udp = if bytes[14] >> 4 == 4 { 34 } else { 54 };
    bytes[udp + 6..udp + 8].fill(0);
    let icrc = plain_icrc(&bytes[..len]);
    bytes[len - 4..len].copy_from_slice(&icrc);
    true
}

/// The ICRC, bit by bit, of a frame that ends with room for it.
pub fn plain_icrc(frame: &[u8]) -> [u8; 4] {
    let mut covered = vec![0xff; 8];
    covered.extend_from_slice(&frame[14..frame.len() - 4]);
    let free: &[usize] = if covered[8] >> 4 == 4 {
        &[1, 8, 10, 11, 26, 27, 32]
    } else {
        covered[8] |= 0x0f;
        &[1, 2, 3, 7, 46, 47, 52]
    };
    for index in free {
        covered[8 + index] = 0xff;
    }
    let mut crc = !0u32;
    for byte in covered {
        crc ^= u32::from(byte);
        for _ in 0..8 {
            crc = (crc >> 1) ^ (0xedb8_8320 & 0u32.wrapping_sub(crc & 1));
        }
    }
    (!crc).to_le_bytes()
}
