// SPDX-License-Identifier: GPL-2.0-only

//! Frames: what is written is read the same, and nothing else is read.

use proptest::prelude::*;
use usb4_rxe::usb4::rail::config::MAX_TRAIN;
use usb4_rxe::usb4::rail::frame::close::Reason;
use usb4_rxe::usb4::rail::frame::hello::{Capabilities, Cause, Hello, Message, Refusal, LEN};
use usb4_rxe::usb4::rail::frame::record::{self, Record};
use usb4_rxe::usb4::rail::frame::{
    header, status, Class, Credit, FrameError, Header, Kind, Loss, RailStatus, Status, Tag,
};
use usb4_rxe::usb4::rail::id::RailId;
use usb4_rxe::usb4::rail::seq::Seq;

const KINDS: [Kind; 6] = [
    Kind::Packets,
    Kind::Train,
    Kind::Credit,
    Kind::Probe,
    Kind::ProbeAck,
    Kind::Close,
];

fn example(kind: Kind) -> Header {
    let counts = match kind {
        Kind::Packets => (3, 0),
        Kind::Train => (2, 2),
        _ => (0, 0),
    };
    Header {
        kind,
        class: Class::Ethernet,
        epoch: 0xe1,
        packets: counts.0,
        rail_seq: Seq::new(0x0102_0304),
        stripe: Seq::new(0x0506_0708),
        run: 0x090a,
        payload_frames: counts.1,
        length: 24,
        credit: Some(Credit {
            rail: RailId::new(5).unwrap(),
            epoch: 9,
            limit: Seq::new(0x1112_1314),
            window: 0x0f10,
        }),
    }
}

/// Gives a frame the right checksum, whatever else is in it.
fn reseal(frame: &mut [u8]) {
    let length = u16::try_from(frame.len()).unwrap();
    frame[14..16].fill(0);
    // What is of no kind is refused for that.
    let _ = header::seal(frame, length);
}

#[test]
fn the_header_is_as_drawn() {
    let mut frame = [0; header::LEN];
    example(Kind::Train).emit(&mut frame).unwrap();
    assert_eq!(
        frame,
        [
            0x12, 0xe1, 0x80, 2, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0xa, 0x1d, 0xe3, 2, 0xcd, 0xf, 0x10,
            0x11, 0x12, 0x13, 0x14
        ]
    );
}

#[test]
fn every_kind_is_read_as_written() {
    for kind in KINDS {
        let mut frame = [0; header::LEN];
        let header = example(kind);
        header.emit(&mut frame).unwrap();
        assert_eq!(Header::parse(&frame), Ok((header, &[][..])));
    }
}

#[test]
fn headers_are_refused() {
    let mut good = [0; header::LEN];
    example(Kind::Train).emit(&mut good).unwrap();
    for (at, value, error) in [
        (0, 0x22, FrameError::Version),
        (0, 0x10, FrameError::Kind),
        (0, 0x17, FrameError::Kind),
        (0, 0x11, FrameError::Count),
        (0, 0x13, FrameError::Count),
        (2, 0x40, FrameError::Reserved),
        (3, 0, FrameError::Count),
        (16, 0, FrameError::Count),
        (16, MAX_TRAIN as u8 + 1, FrameError::Train),
    ] {
        let mut bad = good;
        bad[at] = value;
        reseal(&mut bad);
        assert_eq!(Header::parse(&bad), Err(error), "byte {at} = {value}");
    }
    // A bit that turned over is noticed, whatever it says then.
    for bit in 0..8 * header::LEN {
        let mut bad = good;
        bad[bit / 8] ^= 1 << (bit % 8);
        assert!(Header::parse(&bad).is_err(), "bit {bit}");
    }
    let mut longer = good.to_vec();
    longer.push(0);
    assert_eq!(Header::parse(&longer), Err(FrameError::Checksum));
    for len in 0..header::LEN {
        assert_eq!(Header::parse(&good[..len]), Err(FrameError::TooShort));
    }
    let mut long = [0; 4097];
    let mut header = example(Kind::Packets);
    header.length = 4097;
    header.emit(&mut long).unwrap();
    assert_eq!(Header::parse(&long), Err(FrameError::Length));
}

#[test]
fn a_control_frame_is_refused_with_any_bit_turned_over() {
    let mut frame = vec![0; header::LEN + status::MAX_LEN];
    let body = Status::default().emit(&mut frame[header::LEN..]).unwrap();
    frame.truncate(header::LEN + body);
    let mut header = example(Kind::Credit);
    header.length = u16::try_from(frame.len()).unwrap();
    header.emit(&mut frame).unwrap();
    assert!(Header::parse(&frame).is_ok());
    for bit in 0..8 * frame.len() {
        let mut bad = frame.clone();
        bad[bit / 8] ^= 1 << (bit % 8);
        assert!(Header::parse(&bad).is_err(), "bit {bit}");
    }
}

/// A frame body with these records: inline, tail, payload.
fn records(parts: &[(usize, usize, usize)]) -> Vec<u8> {
    let mut frame = Vec::new();
    for (inline, tail, payload) in parts {
        let record = Record {
            start: 0,
            inline: u16::try_from(*inline).unwrap(),
            tail: u8::try_from(*tail).unwrap(),
            payload: u16::try_from(*payload).unwrap(),
        };
        frame.extend_from_slice(&record.lengths());
        frame.resize(frame.len() + inline + tail, 0);
    }
    frame
}

#[test]
fn records_must_fill_their_frame() {
    let frame = records(&[(58, 4, 4096), (10, 0, 0), (822, 0, 8192)]);
    assert_eq!(record::check(&frame, 0, 3, 3), Ok(()));
    assert_eq!(record::check(&frame, 0, 2, 1), Err(FrameError::Records));
    assert_eq!(record::check(&frame, 0, 4, 3), Err(FrameError::Records));
    assert_eq!(record::check(&frame, 0, 3, 2), Err(FrameError::Train));
    assert_eq!(record::check(&frame, 0, 3, 4), Err(FrameError::Train));
    assert_eq!(
        record::check(&frame[..frame.len() - 1], 0, 3, 3),
        Err(FrameError::Records)
    );
    let empty = records(&[(0, 4, 0)]);
    assert_eq!(record::check(&empty, 0, 1, 0), Err(FrameError::Records));
    let endless = records(&[(1, 0, record::MAX_PAYLOAD + 1)]);
    assert_eq!(record::check(&endless, 0, 1, 4), Err(FrameError::Train));
}

#[test]
fn tags_are_read_as_written() {
    for bits in 0..=255 {
        match Tag::from_bits(bits) {
            Some(tag) => assert_eq!(tag.bits(), bits),
            None => assert!(!(2..=15).contains(&bits)),
        }
    }
    for place in 0..=255 {
        let tag = Tag::payload(place);
        assert_eq!(Tag::from_bits(tag.bits()), Some(tag));
    }
}

#[test]
fn reasons_are_read_as_written() {
    for reason in [
        Reason::Shutdown,
        Reason::Suspend,
        Reason::Violation,
        Reason::Other(9),
    ] {
        assert_eq!(Reason::parse(&reason.emit()), Ok(reason));
        assert!(!reason.to_string().is_empty());
    }
    assert_eq!(Reason::parse(&[1, 0, 0]), Err(FrameError::TooShort));
    assert_eq!(Reason::parse(&[1, 0, 0, 0, 0]), Err(FrameError::Length));
    assert_eq!(Reason::parse(&[1, 0, 1, 0]), Err(FrameError::Reserved));
}

fn hello() -> Hello {
    Hello {
        min_version: 1,
        max_version: 1,
        epoch: 7,
        offers: Capabilities::TRAINS.with(Capabilities::E2E),
        requires: Capabilities::REQUIRED,
        instance: 0x0123_4567_89ab_cdef,
        wire: 0x1000_0002,
        rx_ring: 1024,
        tx_ring: 512,
        hop: 8,
        rail: RailId::new(3).unwrap(),
    }
}

#[test]
fn one_end_numbers_all_rails() {
    let number = |instance, rail| Hello {
        instance,
        rail: RailId::new(rail).unwrap(),
        ..hello()
    };
    for (ours, theirs, agreed) in [
        (number(1, 0), number(2, 5), 5),
        (number(2, 0), number(1, 5), 0),
        // Both ends in one host.
        (number(2, 4), number(2, 3), 3),
    ] {
        assert_eq!(ours.agree(&theirs).unwrap().rail.get(), agreed);
        assert_eq!(theirs.agree(&ours).unwrap().rail.get(), agreed);
    }
    // There are eight.
    let mut bytes = Message::Login(hello()).emit();
    assert_eq!(Message::parse(&bytes), Ok(Message::Login(hello())));
    bytes[35] = 8;
    assert_eq!(Message::parse(&bytes), Err(FrameError::Rail));
}

#[test]
fn two_ends_agree() {
    let ours = hello();
    let theirs = Hello {
        max_version: 3,
        offers: Capabilities::TRAINS.with(Capabilities::NO_ICRC),
        rx_ring: 256,
        ..hello()
    };
    let agreement = ours.agree(&theirs).unwrap();
    assert_eq!(agreement.version, 1);
    assert_eq!(agreement.capabilities, Capabilities::TRAINS);
    assert_eq!(agreement.peer_rx_ring, 256);
    assert_eq!(theirs.agree(&ours).unwrap().version, 1);
}

#[test]
fn the_later_life_begins() {
    for (ours, theirs, life) in [
        (1, 1, 1),
        (3, 7, 7),
        (250, 2, 2),
        (0, 0, 1),
        (255, 0, 1),
        (0, 255, 1),
        (128, 0, 128),
        (0, 128, 128),
    ] {
        let (ours, theirs) = [ours, theirs]
            .map(|epoch| Hello { epoch, ..hello() })
            .into();
        assert_eq!(ours.agree(&theirs).unwrap().epoch, life);
    }
}

#[test]
fn two_ends_refuse_with_a_reason_both_can_print() {
    let cases = [
        Hello {
            min_version: 2,
            max_version: 3,
            ..hello()
        },
        Hello {
            offers: Capabilities::E2E,
            requires: Capabilities::default(),
            ..hello()
        },
        Hello {
            requires: Capabilities::NO_ICRC,
            ..hello()
        },
        Hello {
            rx_ring: 64,
            ..hello()
        },
        Hello {
            tx_ring: 0xffff,
            ..hello()
        },
    ];
    let mut text = String::new();
    for theirs in cases {
        let refusal = hello().agree(&theirs).unwrap_err();
        // Over the wire and printed there, it is the same.
        let Ok(Message::Refuse(there)) = Message::parse(&Message::Refuse(refusal).emit()) else {
            panic!("a refusal is a refusal");
        };
        assert_eq!(there, refusal);
        text += &format!("{refusal}\n");
        assert!(theirs.agree(&hello()).is_err(), "both ends see it");
    }
    for cause in [Cause::Rails, Cause::Shutdown, Cause::Other(99)] {
        let refusal = Refusal {
            cause,
            ours: 8,
            theirs: 0,
        };
        text += &format!("{refusal}\n");
    }
    insta::assert_snapshot!("refusals", text);
}

#[test]
fn handshakes_are_refused() {
    let good = Message::Login(hello()).emit();
    assert_eq!(Message::parse(&good[..LEN - 1]), Err(FrameError::TooShort));
    let mut bad = good;
    bad[0] = b'V';
    assert_eq!(Message::parse(&bad), Err(FrameError::Magic));
    bad = good;
    bad[4] = 9;
    assert_eq!(Message::parse(&bad), Err(FrameError::Kind));
    for message in [
        Message::Login(hello()),
        Message::Accept(hello()),
        Message::Logout { epoch: 3 },
    ] {
        assert_eq!(Message::parse(&message.emit()), Ok(message));
    }
}

prop_compose! {
    /// Any end, but most often one that can be talked to.
    fn any_hello()(
        versions in prop::sample::select(vec![(1, 1), (1, 2), (2, 3), (0, 0), (3, 1), (0, 255)]),
        epoch: u8,
        offers in 0u32..8,
        requires in prop::sample::select(vec![0u32, 2, 4, 8]),
        instance: u64,
        wire: u32,
        rings in prop::array::uniform2(prop::sample::select(vec![0u16, 127, 128, 1024, 4096, 4097, 0xffff])),
        hop: u16,
        rail in 0u8..8,
    ) -> Hello {
        Hello {
            min_version: versions.0,
            max_version: versions.1,
            epoch,
            offers: Capabilities(offers),
            requires: Capabilities(requires),
            instance,
            wire,
            rx_ring: rings[0],
            tx_ring: rings[1],
            hop,
            rail: RailId::new(rail).unwrap(),
        }
    }
}

proptest! {
    #[test]
    fn both_ends_see_it_the_same(a in any_hello(), b in any_hello()) {
        match (a.agree(&b), b.agree(&a)) {
            (Ok(ours), Ok(theirs)) => {
                prop_assert_eq!(ours.version, theirs.version);
                prop_assert!((a.min_version..=a.max_version).contains(&ours.version));
                prop_assert!((b.min_version..=b.max_version).contains(&ours.version));
                prop_assert_eq!(ours.capabilities, theirs.capabilities);
                prop_assert!(a.offers.contains(b.requires) && b.offers.contains(a.requires));
                prop_assert_eq!(ours.epoch, theirs.epoch);
                prop_assert!(ours.epoch != 0);
                prop_assert_eq!((ours.peer_rx_ring, theirs.peer_rx_ring), (b.rx_ring, a.rx_ring));
                prop_assert!((128..=4096).contains(&ours.peer_rx_ring));
            }
            (Err(ours), Err(theirs)) => prop_assert_eq!(ours.cause, theirs.cause),
            (ours, theirs) => prop_assert!(false, "{ours:?} and {theirs:?}"),
        }
    }
}

prop_compose! {
    fn rail_status()(
        sending: bool, epoch: u8, sent: u32, limit: u32, window: u16
    ) -> RailStatus {
        RailStatus { sending, epoch, sent: Seq::new(sent), limit: Seq::new(limit), window }
    }
}

proptest! {
    #[test]
    fn a_status_is_read_as_written(
        rails in prop::array::uniform8(rail_status()),
        heard: u32,
        losses in prop::collection::vec((any::<u32>(), any::<u32>()), 0..=status::MAX_LOSSES),
    ) {
        let mut status = Status::default();
        status.rails = rails;
        status.heard = Seq::new(heard);
        for (first, count) in losses {
            status.add_loss(Loss { first: Seq::new(first), count });
        }
        let mut room = [0; status::MAX_LEN];
        let len = status.emit(&mut room).unwrap();
        prop_assert_eq!(Status::parse(&room[..len]), Ok(status));
        prop_assert!(status.emit(&mut room[..len - 1]).is_err());
        prop_assert!(Status::parse(&room[..len - 1]).is_err());
        prop_assert!(header::LEN + status::MAX_LEN <= 252, "one packet on the cable");
    }

    #[test]
    fn any_bytes_are_read_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = Header::parse(&bytes);
        let _ = Status::parse(&bytes);
        let _ = Reason::parse(&bytes);
        let _ = Message::parse(&bytes);
        let mut at = 0;
        while let Ok(record) = Record::read(&bytes, at) {
            prop_assert!(record.end() <= bytes.len());
            prop_assert_eq!(record.inline_bytes(&bytes).len(), usize::from(record.inline));
            at = record.end();
        }
    }

    #[test]
    fn a_header_that_is_read_is_written_the_same(
        mut bytes in prop::collection::vec(any::<u8>(), header::LEN..64),
        kind in 0u8..8,
    ) {
        // Make the parts right that chance does not.
        bytes[0] = header::VERSION << 4 | kind;
        bytes[2] &= 0x80;
        if kind != 2 {
            bytes[16] = 0;
        }
        if kind > 2 {
            bytes[3] = 0;
        }
        if bytes[17] & 0x80 == 0 {
            bytes[17..24].fill(0);
        }
        reseal(&mut bytes);
        if let Ok((header, _)) = Header::parse(&bytes) {
            let mut again = bytes.clone();
            again[..header::LEN].fill(0xff);
            header.emit(&mut again).unwrap();
            prop_assert_eq!(again, bytes);
        }
    }
}

#[test]
fn the_halves_are_small_enough_to_be_built_on_a_kernel_stack() {
    use usb4_rxe::usb4::rail::rx::{Heard, Receiver, Slot};
    use usb4_rxe::usb4::rail::tx::{Entry, Sender};
    type Tx = Sender<crate::end::Rings, Box<[Entry]>>;
    type Rx = Receiver<u32, Box<[Slot<u32>]>>;
    assert!(size_of::<Tx>() <= 6 * 1024, "{}", size_of::<Tx>());
    assert!(size_of::<Rx>() <= 1024, "{}", size_of::<Rx>());
    assert!(size_of::<Heard>() <= 256, "{}", size_of::<Heard>());
}
