// SPDX-License-Identifier: GPL-2.0-only

//! Properties that hold for every packet, number and byte string.

use proptest::prelude::*;
use usb4_rxe::host::HostCrc32;
use usb4_rxe::rxe::icrc::{Crc32, Icrc, IpVersion, SEED};
use usb4_rxe::rxe::opcode::Opcode;
use usb4_rxe::rxe::psn::{Msn, Psn};
use usb4_rxe::rxe::wire::packet::MAX_PACKET;
use usb4_rxe::rxe::wire::*;

use crate::corpus::parse_check;
use crate::samples;

/// Cuts `bytes` at the given places.
fn pieces<'a>(bytes: &'a [u8], cuts: &[prop::sample::Index]) -> Vec<&'a [u8]> {
    let mut places: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
    places.sort_unstable();
    let mut pieces = Vec::new();
    let mut from = 0;
    for to in places {
        pieces.push(&bytes[from..to]);
        from = to;
    }
    pieces.push(&bytes[from..]);
    pieces
}

fn cuts() -> impl Strategy<Value = Vec<prop::sample::Index>> {
    prop::collection::vec(any::<prop::sample::Index>(), 0..4)
}

fn round_trip(repr: &PacketRepr, payload: &[u8], cuts: &[prop::sample::Index]) {
    let pieces = pieces(payload, cuts);
    let mut frame = vec![0xaa; MAX_PACKET];
    let len = repr
        .emit::<HostCrc32>(&pieces, &mut frame)
        .expect("packet is legal");
    assert_eq!(len, repr.packet_len(payload.len()));
    assert!(frame[len..].iter().all(|byte| *byte == 0xaa));
    frame.truncate(len);
    assert_eq!(len % 4, (repr.header_len()) % 4);
    assert_eq!(frame.last_chunk(), Some(&parse_check::plain_icrc(&frame)));

    let packet = Packet::parse::<HostCrc32>(&frame).expect("our own packet");
    assert_eq!(&packet.headers.repr, repr);
    assert_eq!(packet.payload, payload);
    assert_eq!(packet.headers.packet_len(), len);

    // The same packet in parts: payload never copied, sent and received in other pieces.
    let mut head = vec![0; repr.header_len()];
    let mut started = repr
        .emit_headers::<HostCrc32>(payload.len(), &mut head)
        .expect("packet is legal");
    for piece in &pieces {
        started.payload(piece).expect("payload is as announced");
    }
    let trailer = started.finish().expect("payload is complete");
    assert_eq!([&head, payload, trailer.as_bytes()].concat(), frame);
    let place = &mut vec![0; payload.len() + 1];
    let mut started = repr
        .emit_headers::<HostCrc32>(payload.len(), &mut head)
        .expect("packet is legal");
    assert_eq!(started.copy_payload(payload, place), Err(EmitError::NoRoom));
    let headers = Headers::parse(&head).expect("our own headers");
    assert_eq!(headers, packet.headers);
    assert_eq!(headers.trailer_len(), trailer.as_bytes().len());
    assert_eq!(
        headers.verify::<HostCrc32>(&head, &pieces, trailer.as_bytes()),
        Ok(())
    );

    // Too little room is an error, at every size.
    for room in [0, 13, repr.header_len() - 1, len - 1] {
        let result = repr.emit::<HostCrc32>(&pieces, &mut vec![0; room]);
        assert_eq!(result, Err(EmitError::NoRoom));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    #[test]
    fn packets_make_the_round_trip((repr, payload) in samples::packet(), cuts in cuts()) {
        round_trip(&repr, &payload, &cuts);
    }

    #[test]
    fn a_changed_packet_is_refused_or_means_the_same(
        (repr, payload) in samples::packet(),
        at in any::<prop::sample::Index>(),
        xor in 1..=255u8,
    ) {
        let mut frame = vec![0; repr.packet_len(payload.len())];
        repr.emit::<HostCrc32>(&[&payload], &mut frame).expect("fits");
        let at = at.index(frame.len());
        frame[at] ^= xor;
        parse_check::check(&frame);
    }

    #[test]
    fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        parse_check::check(&bytes);
    }

    /// Random bytes rarely come past the Ethernet type: help them.
    #[test]
    fn no_bytes_behind_good_headers_panic(
        (repr, payload) in samples::packet(),
        tail in prop::collection::vec(any::<u8>(), 0..80),
        from in 14usize..64,
    ) {
        let mut frame = vec![0; repr.packet_len(payload.len())];
        repr.emit::<HostCrc32>(&[&payload], &mut frame).expect("fits");
        frame.truncate(from);
        frame.extend_from_slice(&tail);
        parse_check::check(&frame);
    }

    #[test]
    fn psn_arithmetic_is_modular(a in any::<u32>(), steps in any::<u32>()) {
        let psn = Psn::new(a);
        let further = psn.wrapping_add(steps);
        prop_assert_eq!(further.wrapping_sub(steps), psn);
        let modulus = 1u64 << 24;
        prop_assert_eq!(
            u64::from(further.get()),
            (u64::from(a) + u64::from(steps)) % modulus
        );
        prop_assert_eq!(further.offset_from(psn), steps & 0x00ff_ffff);
        // The signed distance is the offset, taken to the nearer side.
        let offset = i64::from(steps & 0x00ff_ffff);
        let signed = if offset < 1 << 23 { offset } else { offset - (1 << 24) };
        prop_assert_eq!(i64::from(further.distance(psn)), signed);
        prop_assert_eq!(further.is_after(psn), signed > 0);
        prop_assert_eq!(further.is_before(psn), signed < 0);
    }

    #[test]
    fn the_host_crc_can_be_cut_anywhere(
        bytes in prop::collection::vec(any::<u8>(), 0..400),
        cuts in cuts(),
        seed in any::<u32>(),
    ) {
        let whole = HostCrc32::update(seed, &bytes);
        let cut = pieces(&bytes, &cuts).into_iter().fold(seed, HostCrc32::update);
        prop_assert_eq!(whole, cut);
    }
}

/// Each opcode has its own turn, so that none depends on luck.
#[test]
fn every_opcode_makes_the_round_trip() {
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig::with_cases(100));
    for opcode in Opcode::all() {
        runner
            .run(
                &(samples::packet_of(opcode), cuts()),
                |((repr, payload), cuts)| {
                    prop_assert_eq!(repr.opcode(), opcode);
                    round_trip(&repr, &payload, &cuts);
                    Ok(())
                },
            )
            .expect("holds");
    }
}

#[test]
fn psn_boundaries() {
    const LAST: u32 = 0x00ff_ffff;
    const HALF: u32 = 0x0080_0000;
    let marks = [0, 1, 2, HALF - 1, HALF, HALF + 1, LAST - 1, LAST];
    for a in marks {
        for b in marks {
            let (x, y) = (Psn::new(a), Psn::new(b));
            let forward = (i64::from(a) - i64::from(b)).rem_euclid(1 << 24);
            let signed = if forward >= 1 << 23 {
                forward - (1 << 24)
            } else {
                forward
            };
            assert_eq!(i64::from(x.distance(y)), signed, "{x:?} from {y:?}");
            assert_eq!(i64::from(x.offset_from(y)), forward);
            for len in [0, 1, HALF, LAST, LAST + 1] {
                assert_eq!(x.is_within(y, len), forward < i64::from(len));
            }
        }
    }
    assert_eq!(Psn::new(LAST).next(), Psn::ZERO);
    assert_eq!(Psn::ZERO.prev(), Psn::new(LAST));
    assert_eq!(Psn::try_new(LAST), Some(Psn::new(LAST)));
    assert_eq!(Psn::try_new(LAST + 1), None);
    assert_eq!(Msn::new(LAST).next(), Msn::ZERO);
    // Half of the circle is behind, not ahead: exactly one of two opposite numbers is older.
    assert_eq!(Psn::new(HALF).distance(Psn::ZERO), -(1 << 23));
}

/// The seed is what the CRC makes of eight bytes of ones, and the contract is that of `crc32_le`.
#[test]
fn crc_conventions() {
    assert_eq!(HostCrc32::update(!0, &[0xff; 8]), SEED);
    // The check value of CRC-32 is given with both inversions.
    assert_eq!(!HostCrc32::update(!0, b"123456789"), 0xcbf4_3926);
}

/// FLUSH in upstream rxe's layout: placement in bits 3..0, selectivity in bits 5..4.
#[test]
fn flush_bits() {
    let reth = Reth::default();
    for bits in 0..=u8::MAX {
        let (repr, _) = samples::one_of_each().remove(0);
        let global = bits & 1 != 0;
        let persistent = bits & 2 != 0;
        let selectivity = if bits & 0x10 == 0 {
            Selectivity::Range
        } else {
            Selectivity::Region
        };
        let flush = Feth {
            global,
            persistent,
            selectivity,
        };
        let body = Body::Rc(Rc::Flush(flush, reth));
        let repr = PacketRepr { body, ..repr };
        let mut frame = vec![0; repr.packet_len(0)];
        repr.emit::<HostCrc32>(&[], &mut frame).expect("fits");
        // FETH is the first extension header over IPv4: 14 + 20 + 8 + 12.
        assert_eq!(frame[54..58], [0, 0, 0, bits & 0x13]);
        frame[57] = bits;
        // Reserved bits 7 and 6 do not count, unknown values below do.
        let expected = if bits & 0x2c == 0 {
            Ok(body)
        } else {
            Err(ParseError::Flush(u32::from(bits)))
        };
        assert_eq!(Headers::parse(&frame).map(|h| h.repr.body), expected);
    }
}

#[test]
fn syndromes() {
    for code in 0..=u8::MAX {
        match Syndrome::from_code(code) {
            Ok(syndrome) => {
                assert_eq!(syndrome.code(), code);
                assert!(code < 0x40 || (0x60..0x64).contains(&code));
            }
            Err(error) => {
                assert_eq!(error, ParseError::Syndrome(code));
                assert!((0x40..0x60).contains(&code) || code >= 0x64);
            }
        }
    }
    assert_eq!(Syndrome::ACK.code(), 0x1f);
}

#[test]
fn icrc_refuses_impossible_heads() {
    let packet = [0u8; 200];
    for (version, shortest, longest) in [(IpVersion::V4, 40, 68), (IpVersion::V6, 60, 88)] {
        for head_len in 0..packet.len() {
            let started = Icrc::<HostCrc32>::start(version, &packet, head_len).is_some();
            assert_eq!(started, (shortest..=longest).contains(&head_len));
        }
        assert!(Icrc::<HostCrc32>::start(version, &packet[..shortest - 1], shortest).is_none());
    }
}

/// The ICRC as annex A17 says it: eight bytes of ones, the masked packet, bit by bit.
fn icrc_by_the_book(version: IpVersion, packet: &[u8]) -> [u8; 4] {
    let mut bytes = vec![0xff; 8];
    bytes.extend_from_slice(packet);
    let masked = &mut bytes[8..];
    let transport = match version {
        IpVersion::V4 => {
            for at in [1, 8, 10, 11] {
                masked[at] = 0xff;
            }
            20
        }
        IpVersion::V6 => {
            masked[0] |= 0x0f;
            for at in [1, 2, 3, 7] {
                masked[at] = 0xff;
            }
            40
        }
    };
    masked[transport + 6..transport + 8].fill(0xff);
    masked[transport + 8 + 4] = 0xff;
    let mut state = u32::MAX;
    for byte in bytes {
        state ^= u32::from(byte);
        for _ in 0..8 {
            state = (state >> 1) ^ if state & 1 == 1 { 0xedb8_8320 } else { 0 };
        }
    }
    (!state).to_le_bytes()
}

proptest! {
    #[test]
    fn icrc_is_that_of_the_book(packet in prop::collection::vec(any::<u8>(), 60..300), cut in 0..20usize) {
        for version in [IpVersion::V4, IpVersion::V6] {
            let expected = icrc_by_the_book(version, &packet);
            prop_assert_eq!(Icrc::<HostCrc32>::of(version, &packet), Some(expected));
            let head = (version.header_len() + 20 + cut).min(packet.len());
            let parts = Icrc::<HostCrc32>::start(version, &packet, head)
                .map(|icrc| icrc.update(&packet[head..]).finish());
            prop_assert_eq!(parts, Some(expected));
        }
    }
}

#[test]
fn payload_must_fit_the_announcement() {
    for (repr, payload) in samples::one_of_each() {
        let mut room = vec![0; MAX_PACKET];
        let started = repr.emit_headers::<HostCrc32>(payload.len(), &mut room);
        let mut started = started.expect("packet is legal");
        assert_eq!(
            started.payload(&vec![0; payload.len() + 1]),
            Err(EmitError::Payload)
        );
        if !payload.is_empty() {
            assert_eq!(started.finish().err(), Some(EmitError::Payload));
        } else if repr.opcode().facts().payload.permits(0, 0)
            && !repr.opcode().facts().payload.permits(1, 1)
        {
            let refused = repr.emit_headers::<HostCrc32>(1, &mut room);
            assert_eq!(refused.err(), Some(EmitError::Payload));
        }
        let refused = repr.emit_headers::<HostCrc32>(4097, &mut room);
        assert_eq!(refused.err(), Some(EmitError::Payload));

        let headers = Headers::parse(&room).expect("our own headers");
        let mut check = headers
            .start::<HostCrc32>(&room)
            .expect("headers are there");
        let result = check.payload(&vec![0; payload.len() + 1]);
        assert_eq!(result, Err(ParseError::Length));
    }
}
