// SPDX-License-Identifier: GPL-2.0-only

//! One lie each, and what becomes of it.

use std::cell::Cell;
use std::sync::Mutex;
use std::thread;

use usb4_rxe::rxe::time::{Nanos, Time};
use usb4_rxe::usb4::rail::config::{Times, MAX_TRAIN};
use usb4_rxe::usb4::rail::frame::{
    header, Class, Credit, FrameError, Header, Kind, Loss, RailStatus, Record, Status, Tag,
};
use usb4_rxe::usb4::rail::id::RailId;
use usb4_rxe::usb4::rail::link::{Halves, Link, Posting, Sending};
use usb4_rxe::usb4::rail::port::{Down, Ingress, Notices, Received, Refused};
use usb4_rxe::usb4::rail::seq::Seq;
use usb4_rxe::usb4::rail::tx::{Entry, RailUp, Sender, Shape};

use crate::cable::{Frame, Piece};
use crate::end::{End, Rings, Upper, HEAD};
use crate::world::rail;

const RING: u32 = 128;

fn end() -> End {
    let mut end = End::new(RING, Times::default());
    up(&mut end, 0);
    end
}

fn up(end: &mut End, number: usize) {
    let config = RailUp {
        epoch: 3,
        speed: 1,
        tx_ring: RING,
        rx_ring: RING,
        peer_ring: RING,
    };
    end.link.rail_up(
        Time::ZERO,
        rail(number),
        &config,
        &mut end.rings,
        &mut end.upper,
    );
}

/// A head with one packet, and `frames` payload frames to follow.
fn head(rail_seq: u32, stripe: u32, frames: u8) -> (Header, Vec<u8>) {
    let record = Record {
        start: 0,
        inline: HEAD as u16,
        tail: 0,
        payload: u16::from(frames) * 4096,
    };
    let mut bytes = vec![0; header::LEN];
    bytes.extend_from_slice(&record.lengths());
    // The serial of the test's packets is their stripe sequence.
    bytes.extend_from_slice(&u64::from(stripe).to_be_bytes());
    bytes.extend_from_slice(&[0; 8]);
    bytes.extend_from_slice(&(u32::from(frames) * 4096).to_be_bytes());
    let header = Header {
        kind: if frames > 0 {
            Kind::Train
        } else {
            Kind::Packets
        },
        class: Class::Rdma,
        epoch: 3,
        packets: 1,
        rail_seq: Seq::new(rail_seq),
        stripe: Seq::new(stripe),
        run: 0,
        payload_frames: frames,
        length: bytes.len() as u16,
        credit: None,
    };
    (header, bytes)
}

/// A head with so many small packets.
fn crowd(rail_seq: u32, stripe: u32, packets: u8) -> (Header, Vec<u8>) {
    let (mut header, mut bytes) = head(rail_seq, stripe, 0);
    for number in 1..u32::from(packets) {
        let (_, another) = head(rail_seq, stripe + number, 0);
        bytes.extend_from_slice(&another[header::LEN..]);
    }
    header.packets = packets;
    header.length = bytes.len() as u16;
    (header, bytes)
}

fn arrive(end: &mut End, frame: (Header, Vec<u8>)) -> Option<Refused> {
    arrive_on(end, 0, frame)
}

fn arrive_on(
    end: &mut End,
    number: usize,
    (header, mut bytes): (Header, Vec<u8>),
) -> Option<Refused> {
    header.emit(&mut bytes).unwrap();
    let len = bytes.len();
    receive(end, number, Tag::Header, Frame::Head(bytes, len))
}

fn payload(end: &mut End, serial: u64, index: u8, place: u8) -> Option<Refused> {
    let tag = Tag::payload(place);
    receive(
        end,
        0,
        tag,
        Frame::Payload(Piece { serial, index }, 4096, tag),
    )
}

fn receive(end: &mut End, number: usize, tag: Tag, frame: Frame) -> Option<Refused> {
    let id = rail(number);
    let held = end.upper.hold(id, frame);
    end.link.receive(Time::ZERO, id, tag, held, &mut end.upper);
    end.upper.refusals.pop().map(|(_, why)| why)
}

#[test]
fn a_replay_is_refused() {
    let mut end = end();
    assert_eq!(arrive(&mut end, head(0, 0, 0)), None);
    assert_eq!(arrive(&mut end, head(0, 0, 0)), Some(Refused::Stale));
    assert_eq!(arrive(&mut end, head(0, 1, 0)), Some(Refused::Replay));
    assert_eq!(arrive(&mut end, head(1, 1, 0)), None);
    assert_eq!(end.upper.delivered, 2);
    assert_eq!(end.upper.held(), 0);
}

#[test]
fn another_life_is_refused() {
    let mut end = end();
    let mut old = head(0, 0, 0);
    old.0.epoch = 2;
    assert_eq!(arrive(&mut end, old), Some(Refused::Epoch));
    assert_eq!(end.upper.held(), 0);
}

#[test]
fn frames_without_credit_end_the_rail() {
    let mut end = end();
    // Packet 0 may still come on another rail, so all that follow are held, up to the ring.
    up(&mut end, 1);
    for number in 0..RING {
        assert_eq!(arrive(&mut end, head(number, number + 1, 0)), None);
    }
    assert_eq!(end.upper.held(), RING as usize);
    let last = arrive(&mut end, head(RING, RING + 1, 0));
    assert_eq!(last, Some(Refused::NoCredit));
    assert_eq!(end.upper.downs, [(rail(0), Down::Violation)]);
    // With all rails dead packet 0 is lost, and those held are delivered.
    end.link
        .rail_down(Time::ZERO, rail(1), Down::Local, &mut end.upper);
    while end.link.rx.has_more() {
        end.link.rx.go_on(&mut end.upper);
    }
    assert_eq!((end.upper.lost, end.upper.delivered), (1, u64::from(RING)));
    assert_eq!(end.upper.held(), 0);
}

#[test]
fn packets_from_the_far_future_end_the_rail() {
    let mut end = end();
    let far = arrive(&mut end, head(0, 1 << 30, 0));
    assert_eq!(far, Some(Refused::Ahead));
    assert_eq!(end.upper.downs, [(rail(0), Down::Violation)]);
}

#[test]
fn an_endless_train_is_refused() {
    let mut end = end();
    let (mut header, bytes) = head(0, 0, 3);
    header.payload_frames = MAX_TRAIN as u8 + 1;
    let endless = arrive(&mut end, (header, bytes.clone()));
    assert_eq!(endless, Some(Refused::Frame(FrameError::Train)));
    // More payload frames than the records need.
    header.payload_frames = 4;
    let longer = arrive(&mut end, (header, bytes));
    assert_eq!(longer, Some(Refused::Frame(FrameError::Train)));
    assert_eq!(end.upper.held(), 0);
}

#[test]
fn payload_without_a_train_is_refused() {
    let mut end = end();
    assert_eq!(payload(&mut end, 0, 0, 0), Some(Refused::Orphan));
    assert_eq!(arrive(&mut end, head(0, 0, 1)), None);
    assert_eq!(payload(&mut end, 0, 0, 1), Some(Refused::Orphan));
    assert_eq!(payload(&mut end, 0, 0, 0), None);
    assert_eq!(end.upper.delivered, 1);
    assert_eq!(payload(&mut end, 0, 0, 1), Some(Refused::Orphan));
    assert_eq!(end.upper.held(), 0);
}

#[test]
fn a_lost_payload_frame_loses_its_packet_only() {
    let mut end = end();
    assert_eq!(arrive(&mut end, head(0, 0, 2)), None);
    assert_eq!(payload(&mut end, 0, 1, 1), None);
    assert_eq!(arrive(&mut end, head(3, 1, 0)), None);
    assert_eq!((end.upper.lost, end.upper.delivered), (1, 1));
    assert_eq!(end.upper.held(), 0);
}

#[test]
fn a_head_inside_an_open_train_is_refused() {
    let mut end = end();
    assert_eq!(arrive(&mut end, head(0, 0, 3)), None);
    assert_eq!(payload(&mut end, 0, 0, 0), None);
    // Frames 2 and 3 are payload.
    for number in [2, 3] {
        let inside = arrive(&mut end, head(number, 1, 0));
        assert_eq!(inside, Some(Refused::Replay));
    }
    assert_eq!(payload(&mut end, 0, 1, 1), None);
    assert_eq!(payload(&mut end, 0, 2, 2), None);
    assert_eq!(arrive(&mut end, head(4, 1, 0)), None);
    assert_eq!(end.upper.delivered, 2);
}

/// The peer says that it has seen our first frame.
fn join(end: &mut End, epoch: u8) {
    let stripe = end.link.rx.expected().get();
    let (mut header, bytes) = head(stripe, stripe, 0);
    header.credit = Some(Credit {
        rail: rail(0),
        epoch,
        limit: Seq::new(RING),
        window: RING as u16 - 1,
    });
    assert_eq!(arrive(end, (header, bytes)), None);
}

/// Sends packets for as long as the peer's ring has room; returns how many frames there are.
fn fill(end: &mut End, inline: usize, payload: usize) -> usize {
    for _ in 0..1000 {
        let _ = end.send(Time::ZERO, Class::Rdma, inline, payload, 0);
        end.link.flush(Time::ZERO, &mut end.rings);
        let ring = end.link.tx.outstanding(rail(0));
        end.link.tx.completed(Time::ZERO, rail(0), ring);
    }
    end.rings.posted.len()
}

#[test]
fn a_credit_of_another_life_counts_for_nothing() {
    let mut end = end();
    join(&mut end, 4);
    assert_eq!(fill(&mut end, 3000, 0), 1, "the probe of the beginning");
    join(&mut end, 3);
    assert!(fill(&mut end, 3000, 0) > 100);
}

#[test]
fn the_last_frames_of_the_peers_ring_are_for_control_and_acknowledgements() {
    let ring = RING as usize;
    let mut bulk = end();
    join(&mut bulk, 3);
    let posted = fill(&mut bulk, 54, 4096);
    assert!((ring - 18..=ring - 16).contains(&posted), "{posted}");
    let mut small = end();
    join(&mut small, 3);
    assert_eq!(fill(&mut small, 3000, 0), ring - 8);
}

/// The peer has a train of ours that waits for credit. For half a second it says each millisecond that
/// it has seen all so far, and allows `more` frames on top of what it allowed at first.
fn hold_back(end: &mut End, more: u32) -> Vec<(RailId, Down)> {
    join(end, 3);
    fill(end, 54, 4096);
    assert!(end.link.tx.is_waiting());
    for millis in 1..500 {
        let now = Time::ZERO.after(Nanos::from_millis(millis));
        let seq = end.link.rx.expected().get();
        let (mut header, bytes) = head(seq, seq, 0);
        let seen = end.rings.posted.len() as u32;
        header.credit = Some(Credit {
            rail: rail(0),
            epoch: 3,
            limit: Seq::new(RING + more),
            window: (RING + more - seen) as u16,
        });
        if arrive(end, (header, bytes)).is_some() {
            break;
        }
        end.link.flush(now, &mut end.rings);
        end.link.tick(now, &mut end.rings, &mut end.upper);
        let ring = end.link.tx.outstanding(rail(0));
        end.link.tx.completed(now, rail(0), ring);
    }
    end.upper.downs.clone()
}

#[test]
fn a_peer_that_answers_and_allows_nothing_loses_the_rail() {
    assert_eq!(hold_back(&mut end(), 0), [(rail(0), Down::Starved)]);
    // What waited went, and nothing else does: the rail is as good as idle.
    assert_eq!(hold_back(&mut end(), 50), []);
}

/// A question of the peer's, who has seen `seen` of our frames and allows a ring more.
fn question(rail_seq: u32, stripe: u32, seen: u32) -> (Header, Vec<u8>) {
    let mut status = Status::default();
    status.rails[0] = RailStatus {
        sending: true,
        epoch: 3,
        sent: Seq::new(rail_seq),
        limit: Seq::new(seen + RING),
        window: RING as u16,
    };
    let (mut header, mut bytes) = head(rail_seq, stripe, 0);
    bytes.resize(4096, 0);
    let body = status.emit(&mut bytes[header::LEN..]).unwrap();
    bytes.truncate(header::LEN + body);
    header.kind = Kind::Probe;
    header.packets = 0;
    header.length = bytes.len() as u16;
    (header, bytes)
}

#[test]
fn a_peer_that_asks_and_takes_no_answer_loses_the_rail() {
    let mut end = end();
    join(&mut end, 3);
    end.link.tx.completed(Time::ZERO, rail(0), 1);
    let mut now = Time::ZERO;
    // Answers are not packets: nobody waits to have them seen. They stay in our ring, for the peer reads none.
    for number in 1..=20 {
        now = now.after(Nanos::from_millis(1));
        assert_eq!(arrive(&mut end, question(number, 1, 1)), None);
        end.link.tick(now, &mut end.rings, &mut end.upper);
    }
    assert_eq!(end.link.tx.outstanding(rail(0)), 20);
    end.send(now, Class::Rdma, 54, 4096, 0).unwrap();
    end.link.flush(now, &mut end.rings);
    assert!(end.link.tx.is_waiting());
    // As the module would, which looks when something is due.
    while end.upper.downs.is_empty() {
        now = end.link.next_timeout();
        assert_ne!(now, Time::NEVER, "a packet waits, and nobody will look");
        end.link.tick(now, &mut end.rings, &mut end.upper);
    }
    assert_eq!(end.upper.downs, [(rail(0), Down::Starved)]);
}

#[test]
fn a_lie_about_credit_is_not_believed() {
    let mut end = end();
    for (limit, window) in [
        // The truth: the peer has seen our probe.
        (RING, RING as u16 - 1),
        // Seen more than was sent.
        (1000, 10),
        // A ring larger than the one agreed on.
        (5001, 5000),
        // Less than before.
        (u32::MAX, 0),
    ] {
        let seq = end.link.rx.grant(rail(0)).limit.get() - RING;
        let (mut header, bytes) = head(seq, seq, 0);
        header.credit = Some(Credit {
            rail: rail(0),
            epoch: 3,
            limit: Seq::new(limit),
            window,
        });
        assert_eq!(arrive(&mut end, (header, bytes)), None);
    }
    // What goes out stays within the first ring: the probe of the beginning and RING - 1 more.
    for _ in 0..10_000 {
        let _ = end.send(Time::ZERO, Class::Rdma, 3000, 0, 0);
        end.link.flush(Time::ZERO, &mut end.rings);
        let ring = end.link.tx.outstanding(rail(0));
        end.link.tx.completed(Time::ZERO, rail(0), ring);
    }
    let posted = end.rings.posted.len();
    assert!(posted <= RING as usize && posted > 100, "{posted}");
}

#[test]
fn an_idle_rail_is_as_good_as_new_after_half_of_all_numbers() {
    let mut end = end();
    up(&mut end, 1);
    // Rail 0 carries all; each frame says that those missed before it went there too.
    let mut stripe = 0u32;
    let mut seq = 0;
    for _ in 0..=(1 << 31) / 60_000u32 + 1000 {
        stripe = stripe.wrapping_add(60_000);
        let (mut header, bytes) = head(seq, stripe, 0);
        header.run = 60_000;
        assert_eq!(arrive(&mut end, (header, bytes)), None);
        seq += 1;
        stripe = stripe.wrapping_add(1);
    }
    // The next packet comes on rail 1, silent so far.
    let before = end.upper.delivered;
    assert_eq!(arrive_on(&mut end, 1, head(0, stripe, 0)), None);
    assert_eq!(end.upper.delivered, before + 1);
    // And one that is missing may come there.
    assert_eq!(arrive(&mut end, head(seq, stripe.wrapping_add(2), 0)), None);
    assert_eq!(end.upper.delivered, before + 1, "not lost yet");
    assert_eq!(
        arrive_on(&mut end, 1, head(1, stripe.wrapping_add(1), 0)),
        None
    );
    assert_eq!(end.upper.delivered, before + 3);
    assert_eq!(end.upper.held(), 0);
}

#[test]
fn one_call_does_a_bounded_amount_of_work() {
    // One call, and as many as 16 of our longest trains bring.
    let most = 16 * 48 + 100;
    let mut end = end();
    up(&mut end, 1);
    let mut next = 1;
    for number in 0..50 {
        assert_eq!(arrive(&mut end, crowd(number, next, 100)), None);
        next += 100;
    }
    end.link
        .rail_down(Time::ZERO, rail(1), Down::Local, &mut end.upper);
    while end.link.rx.has_more() {
        let before = end.upper.delivered;
        end.link.rx.go_on(&mut end.upper);
        let now = end.upper.delivered - before;
        assert!((1..most).contains(&now), "{now} at once");
    }
    assert_eq!(end.upper.delivered, 5000);
}

#[test]
fn one_call_takes_a_bounded_number_of_heads() {
    let mut end = end();
    up(&mut end, 1);
    let count = 100;
    for number in 0..count {
        assert_eq!(arrive(&mut end, head(number, number + 1, 0)), None);
    }
    assert_eq!(end.upper.delivered, 0);
    // Packet 0 was to come on rail 1.
    end.link
        .rail_down(Time::ZERO, rail(1), Down::Local, &mut end.upper);
    let mut before = end.upper.delivered;
    assert!((1..=16).contains(&before), "{before} at once");
    // Frames that arrive meanwhile go on as well.
    assert_eq!(arrive(&mut end, head(count, count + 1, 0)), None);
    assert!(end.upper.delivered > before);
    let mut calls = 0;
    while end.link.next_timeout() == Time::ZERO {
        before = end.upper.delivered;
        end.link.tick(Time::ZERO, &mut end.rings, &mut end.upper);
        assert!(end.upper.delivered - before <= 16);
        calls += 1;
        assert!(calls < 20);
    }
    assert_eq!(
        (end.upper.lost, end.upper.delivered),
        (1, u64::from(count) + 1)
    );
    assert_eq!(end.upper.held(), 0);
}

#[test]
fn a_life_that_begins_ends_the_one_before() {
    let mut end = end();
    let (mut header, bytes) = head(0, 0, 0);
    header.credit = Some(Credit {
        rail: rail(0),
        epoch: 3,
        limit: Seq::new(RING),
        window: RING as u16 - 1,
    });
    assert_eq!(arrive(&mut end, (header, bytes)), None);
    end.send(Time::ZERO, Class::Rdma, 3000, 0, 77).unwrap();
    end.link.flush(Time::ZERO, &mut end.rings);
    assert_eq!(end.upper.sent_lost, []);
    up(&mut end, 0);
    assert_eq!(end.upper.sent_lost, [Some(77)]);
    assert_eq!(end.upper.downs, [(rail(0), Down::Local)]);
    assert!(end.link.tx.is_up(rail(0)));
}

#[test]
fn what_an_earlier_life_left_in_the_ring_is_refused() {
    let mut end = end();
    assert_eq!(arrive(&mut end, head(0, 0, 3)), None);
    assert_eq!(payload(&mut end, 0, 0, 0), None);
    end.link
        .rail_down(Time::ZERO, rail(0), Down::Local, &mut end.upper);
    assert_eq!((end.upper.delivered, end.upper.lost), (0, 1));
    assert_eq!(payload(&mut end, 0, 1, 1), Some(Refused::Down));
    let config = RailUp {
        epoch: 4,
        speed: 1,
        tx_ring: RING,
        rx_ring: RING,
        peer_ring: RING,
    };
    let (rings, upper) = (&mut end.rings, &mut end.upper);
    end.link.rail_up(Time::ZERO, rail(0), &config, rings, upper);
    // The rest of the train, and the frame behind it.
    assert_eq!(payload(&mut end, 0, 1, 1), Some(Refused::Orphan));
    assert_eq!(payload(&mut end, 0, 2, 2), Some(Refused::Orphan));
    assert_eq!(arrive(&mut end, head(4, 1, 0)), Some(Refused::Epoch));
    let mut new = head(0, 1, 0);
    new.0.epoch = 4;
    assert_eq!(arrive(&mut end, new), None);
    assert_eq!((end.upper.delivered, end.upper.lost), (1, 1));
    assert_eq!(end.upper.held(), 0);
}

/// What waits when the last rail goes does not wait for the next one.
#[test]
fn what_waits_without_rails_is_dropped() {
    let mut end = end();
    join(&mut end, 3);
    end.send(Time::ZERO, Class::Rdma, 64, 8192, 11).unwrap();
    end.send(Time::ZERO, Class::Rdma, 64, 0, 12).unwrap();
    end.send(Time::ZERO, Class::Ethernet, 64, 100, 13).unwrap();
    end.link
        .rail_down(Time::ZERO, rail(0), Down::Local, &mut end.upper);
    assert_eq!(end.upper.sent_lost, []);
    let spare = end.rings.spare.len();
    end.link.tx.abandon(&mut end.rings, &mut end.upper);
    assert_eq!(end.upper.sent_lost, [Some(11), Some(12), Some(13)]);
    assert_eq!(end.rings.dropped.len(), 3);
    assert_eq!(end.rings.spare.len(), spare + 2);
    assert!(!end.link.tx.is_waiting());
    up(&mut end, 0);
    end.rings.posted.clear();
    end.link.flush(Time::ZERO, &mut end.rings);
    assert!(end.rings.posted.is_empty());
}

/// The sending half under a lock; knows whether this thread has it.
struct Locked<'a>(&'a Mutex<(Tx, Rings)>);

type Tx = Sender<Rings, Vec<Entry>>;

thread_local! {
    static HAS_TX: Cell<bool> = const { Cell::new(false) };
}

impl Sending for Locked<'_> {
    type Egress = Rings;
    type Log = Vec<Entry>;

    fn with<R>(&mut self, call: impl FnOnce(&mut Tx) -> R) -> R {
        self.post(|tx, _| call(tx))
    }
}

impl Posting for Locked<'_> {
    fn post<R>(&mut self, call: impl FnOnce(&mut Tx, &mut Rings) -> R) -> R {
        let (tx, rings) = &mut *self.0.lock().unwrap();
        HAS_TX.set(true);
        let result = call(tx, rings);
        HAS_TX.set(false);
        result
    }
}

/// Sends an answer to every packet that comes in.
struct Answering<'a> {
    upper: &'a mut Upper,
    tx: Locked<'a>,
    answers: u32,
}

fn post(tx: &mut Tx, rings: &mut Rings) {
    let shape = Shape::inline(3000);
    let room = tx.reserve(Time::ZERO, Class::Rdma, &shape, rings);
    room.expect("the ring has room").fill(1);
    assert!(tx.commit(Class::Rdma, 3000, &[], &[], 0, 7));
    tx.flush(Time::ZERO, rings);
    let ring = tx.outstanding(rail(0));
    tx.completed(Time::ZERO, rail(0), ring);
}

impl Ingress for Answering<'_> {
    type Frame = u32;

    fn bytes(&self, frame: u32) -> &[u8] {
        self.upper.bytes(frame)
    }

    fn packet(&mut self, packet: &Received<u32>) -> bool {
        assert!(!HAS_TX.get(), "an answer would wait for ever");
        self.tx.post(post);
        self.answers += 1;
        self.upper.packet(packet)
    }

    fn lost(&mut self, loss: Loss) {
        self.upper.lost(loss);
    }

    fn release(&mut self, frame: u32) {
        self.upper.release(frame);
    }

    fn refused(&mut self, rail: RailId, why: Refused) {
        self.upper.refused(rail, why);
    }
}

impl Notices for Answering<'_> {
    fn sent_lost(&mut self, token: Option<u64>) {
        self.upper.sent_lost(token);
    }

    fn rail_down(&mut self, rail: RailId, why: Down) {
        self.upper.rail_down(rail, why);
    }
}

/// As the kernel does it: a lock for each half, requests posted by one thread while another one takes
/// frames and answers them. The dead rail's end delivers packets, too.
#[test]
fn the_halves_may_have_a_lock_each() {
    let mut end = end();
    join(&mut end, 3);
    let End {
        link: Link { tx, mut rx },
        mut upper,
        rings,
        ..
    } = end;
    let sending = Mutex::new((tx, rings));
    const PACKETS: u32 = 24;
    let mut port = Answering {
        upper: &mut upper,
        tx: Locked(&sending),
        answers: 0,
    };
    thread::scope(|scope| {
        let poster = scope.spawn(|| {
            for _ in 0..PACKETS {
                Locked(&sending).post(post);
            }
        });
        let mut halves = Halves {
            tx: Locked(&sending),
            rx: &mut rx,
        };
        for number in 1..=PACKETS {
            let (header, mut bytes) = head(number, number, 0);
            header.emit(&mut bytes).unwrap();
            let len = bytes.len();
            let held = port.upper.hold(rail(0), Frame::Head(bytes, len));
            halves.receive(Time::ZERO, rail(0), Tag::Header, held, &mut port);
            halves.flush(Time::ZERO);
        }
        poster.join().expect("the poster found room");
        halves.tick(Time::ZERO, &mut port);
        halves.rail_down(Time::ZERO, rail(0), Down::Local, &mut port);
    });
    assert_eq!(port.answers, PACKETS);
    assert_eq!(upper.delivered, u64::from(PACKETS) + 1);
    assert_eq!(upper.held(), 0);
    let (tx, _) = sending.into_inner().unwrap();
    assert_eq!(tx.next_stripe(), Seq::new(2 * PACKETS));
}
