// SPDX-License-Identifier: GPL-2.0-only

//! What must hold for a link whatever a peer sends. Used by the fuzz target and by the ordinary
//! tests.
//!
//! The bytes are a list of operations: frames as they are, frames with a header made plausible (no
//! fuzzer guesses an epoch or a sequence), payload frames, and what happens on our own side.

#![allow(clippy::cast_possible_truncation)] // operations are bytes

use usb4_rxe::rxe::time::{Nanos, Time};
use usb4_rxe::usb4::rail::config::Times;
use usb4_rxe::usb4::rail::frame::hello::Message;
use usb4_rxe::usb4::rail::frame::{header, Class, Header, Loss, Tag};
use usb4_rxe::usb4::rail::id::RailId;
use usb4_rxe::usb4::rail::link::{Link, Memory};
use usb4_rxe::usb4::rail::port::{Down, Egress, Ingress, Notices, Received, Refused};
use usb4_rxe::usb4::rail::rx::Slot;
use usb4_rxe::usb4::rail::seq::Seq;
use usb4_rxe::usb4::rail::tx::{Entry, RailUp, Shape};

/// Frames of each ring.
const RING: u32 = 128;
/// Rails of the link.
const RAILS: u8 = 3;

#[derive(Default)]
struct Rings {
    in_ring: [u32; 8],
    /// The next frame of each rail that a peer in its right mind has seen.
    sent: [u32; 8],
}

impl Egress for Rings {
    type Buffer = Vec<u8>;
    type Payload = ();

    fn buffer(&mut self) -> Option<Vec<u8>> {
        Some(vec![0; 4096])
    }

    fn post_head(&mut self, rail: RailId, buffer: Vec<u8>, len: usize) {
        self.in_ring[rail.index()] += 1;
        self.sent[rail.index()] += 1;
        assert!(
            self.in_ring[rail.index()] <= RING,
            "the ring is not overrun"
        );
        Header::parse(&buffer[..len]).expect("our own frame is good");
    }

    fn post_payload(&mut self, rail: RailId, (): (), _: usize, _: Tag) {
        self.in_ring[rail.index()] += 1;
        self.sent[rail.index()] += 1;
        assert!(
            self.in_ring[rail.index()] <= RING,
            "the ring is not overrun"
        );
    }

    fn drop_buffer(&mut self, _: Vec<u8>) {}

    fn drop_payload(&mut self, (): ()) {}
}

#[derive(Default)]
struct Upper {
    frames: Vec<Option<(RailId, Vec<u8>)>>,
    expected: Seq,
    packets: usize,
    downs: Vec<RailId>,
}

impl Ingress for Upper {
    type Frame = usize;

    fn bytes(&self, frame: usize) -> &[u8] {
        &self.frames[frame].as_ref().expect("held").1
    }

    fn packet(&mut self, packet: &Received<usize>) -> bool {
        assert_eq!(packet.stripe, self.expected, "in order, once");
        self.expected = self.expected.plus(1);
        self.packets += 1;
        let head = self.bytes(packet.head);
        let record = packet.record;
        assert!(!record.inline_bytes(head).is_empty());
        assert_eq!(record.tail_bytes(head).len(), usize::from(record.tail));
        let mut payload = 0;
        for (frame, len) in packet.payload() {
            assert_eq!(self.bytes(frame).len(), len);
            payload += len;
        }
        assert_eq!(payload, usize::from(record.payload));
        true
    }

    fn lost(&mut self, loss: Loss) {
        assert_eq!(loss.first, self.expected, "in order, once");
        assert!(loss.count > 0);
        self.expected = self.expected.plus(loss.count);
    }

    fn release(&mut self, frame: usize) {
        self.frames[frame].take().expect("released once");
    }

    fn refused(&mut self, _: RailId, _: Refused) {}
}

impl Notices for Upper {
    fn sent_lost(&mut self, token: Option<u64>) {
        assert!(token.is_none_or(|token| token == 77));
    }

    fn rail_down(&mut self, rail: RailId, _: Down) {
        self.downs.push(rail);
    }
}

struct Play<'a> {
    link: Link<Rings, usize, Vec<Slot<usize>>, Vec<Entry>>,
    rings: Rings,
    upper: Upper,
    now: Time,
    bytes: &'a [u8],
    /// What the peer sends next on each rail.
    next: [u32; 8],
    epoch: [u8; 8],
    stripe: Seq,
}

/// Plays the operations in `bytes`. Returns how many packets came out.
pub fn check(bytes: &[u8]) -> usize {
    if let Ok(message) = Message::parse(bytes) {
        assert_eq!(Message::parse(&message.emit()), Ok(message));
    }
    let memory = Memory {
        queues: core::array::from_fn(|_| vec![Slot::EMPTY; RING as usize]),
        log: vec![Entry::EMPTY; 256],
    };
    let mut play = Play {
        link: Link::new(memory, Times::default()),
        rings: Rings::default(),
        upper: Upper::default(),
        now: Time::ZERO,
        bytes,
        next: [0; 8],
        epoch: [0; 8],
        stripe: Seq::ZERO,
    };
    for number in 0..RAILS {
        play.rail_up(number);
    }
    while play.step() {
        play.invariants();
    }
    play.upper.packets
}

impl Play<'_> {
    fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.bytes.split_first()?;
        self.bytes = rest;
        Some(*first)
    }

    fn take(&mut self, len: usize) -> Vec<u8> {
        let (taken, rest) = self.bytes.split_at(len.min(self.bytes.len()));
        self.bytes = rest;
        taken.to_vec()
    }

    fn rail_up(&mut self, number: u8) {
        let id = RailId::new(number % RAILS).expect("a rail");
        self.link
            .rail_down(self.now, id, Down::Local, &mut self.upper);
        self.settle();
        let epoch = self.epoch[id.index()].wrapping_add(1);
        let config = RailUp {
            epoch,
            speed: u32::from(number) + 1,
            tx_ring: RING,
            rx_ring: RING,
            peer_ring: RING,
        };
        self.epoch[id.index()] = epoch;
        self.next[id.index()] = 0;
        self.rings.sent[id.index()] = 0;
        self.link
            .rail_up(self.now, id, &config, &mut self.rings, &mut self.upper);
    }

    /// The owner of the rings empties those of dead rails.
    fn settle(&mut self) {
        for id in self.upper.downs.drain(..) {
            self.rings.in_ring[id.index()] = 0;
        }
    }

    fn step(&mut self) -> bool {
        let (Some(op), Some(arg)) = (self.byte(), self.byte()) else {
            return false;
        };
        let id = RailId::new(arg % RAILS).expect("a rail");
        let bits = arg / RAILS;
        match op % 12 {
            0 => {
                let len = usize::from(self.byte().unwrap_or(0)) + usize::from(bits & 1) * 256;
                let frame = self.take(len);
                self.arrive(id, Tag::Header, frame);
            }
            1..=4 => {
                let frame = self.plausible(id, bits);
                self.arrive(id, Tag::Header, frame);
            }
            5 | 6 => {
                let len = if bits & 1 == 0 {
                    4096
                } else {
                    usize::from(self.byte().unwrap_or(0))
                };
                let place = self.byte().unwrap_or(0);
                self.arrive(id, Tag::payload(place), vec![0; len]);
            }
            7 => {
                let class = if bits & 1 == 0 {
                    Class::Rdma
                } else {
                    Class::Ethernet
                };
                let shape = Shape {
                    inline: 1 + usize::from(bits) * 20,
                    tail: 4,
                    payload: usize::from(self.byte().unwrap_or(0)) * 50,
                };
                let frames = shape.payload.div_ceil(4096);
                let room = self
                    .link
                    .tx
                    .reserve(self.now, class, &shape, &mut self.rings);
                if room.is_ok() {
                    let (inline, len) = (shape.inline, shape.payload);
                    let payload = vec![(); frames];
                    assert!(self
                        .link
                        .tx
                        .commit(class, inline, &[0; 4], &payload, len, 77));
                }
            }
            8 => {
                let done = self.rings.in_ring[id.index()].min(u32::from(bits));
                self.rings.in_ring[id.index()] -= done;
                self.link.tx.completed(self.now, id, done);
            }
            9 => self.link.flush(self.now, &mut self.rings),
            10 => {
                self.now = self.now.after(Nanos::from_micros(u64::from(arg) * 20));
                self.link.tick(self.now, &mut self.rings, &mut self.upper);
            }
            _ => match bits % 8 {
                0..=4 if !self.link.tx.is_up(id) => self.rail_up(arg % RAILS),
                0 => self
                    .link
                    .rail_down(self.now, id, Down::Local, &mut self.upper),
                _ => {}
            },
        }
        true
    }

    /// A frame with a header that may well be right.
    fn plausible(&mut self, id: RailId, bits: u8) -> Vec<u8> {
        let kind = match bits % 16 {
            0..=5 => 1,
            6..=11 => 2,
            12 => 3,
            13 => 4,
            14 => 5,
            _ => 6,
        };
        let (packets, payload) = match kind {
            1 => (1 + self.byte().unwrap_or(0) % 4, 0),
            2 => (1 + self.byte().unwrap_or(0) % 4, 1),
            _ => (0, 0),
        };
        let mut frame = vec![0; header::LEN];
        frame[0] = header::VERSION << 4 | kind;
        frame[1] = self.epoch[id.index()];
        let skip = self.byte().unwrap_or(0);
        let seq = self.next[id.index()].wrapping_add(u32::from(skip % 4) / 3);
        frame[4..8].copy_from_slice(&seq.to_be_bytes());
        let ahead = self.byte().unwrap_or(0);
        // Mostly the next packet, sometimes one that is lost, late or far away.
        let expected = self.link.rx.expected();
        if expected.is_after(self.stripe) || self.stripe.distance(expected) > 200 {
            self.stripe = expected;
        }
        let stripe = match ahead {
            0..=199 => self.stripe.plus(u32::from(ahead) / 160),
            200..=239 => expected.minus(u32::from(ahead)),
            _ => expected.plus(u32::from(ahead) << 18),
        };
        if ahead < 200 {
            self.stripe = stripe.plus(u32::from(packets));
        }
        let stripe = stripe.get();
        frame[8..12].copy_from_slice(&stripe.to_be_bytes());
        frame[13] = self.byte().unwrap_or(0);
        frame[3] = packets;
        if bits & 16 != 0 {
            // A credit.
            frame[17] = 0x80 | (self.epoch[id.index()] & 0xf) << 3 | id.get();
            let window = self.byte().unwrap_or(0);
            let limit = self.rings.sent[id.index()].wrapping_add(u32::from(window));
            frame[19] = window;
            frame[20..24].copy_from_slice(&limit.to_be_bytes());
        }
        let mut total = 0;
        for _ in 0..packets {
            let inline = 1 + self.byte().unwrap_or(0) % 32;
            let frames = if payload > 0 {
                1 + self.byte().unwrap_or(0) % 3
            } else {
                0
            };
            total += frames;
            frame.extend_from_slice(&[0x40, inline]);
            frame.extend_from_slice(&(u16::from(frames) * 4096).to_be_bytes());
            frame.extend(core::iter::repeat_n(7, usize::from(inline) + 4));
        }
        frame[16] = total;
        match kind {
            3..=5 => {
                let mut status = vec![0; 8 + 8 * 12];
                let sending = self.byte().unwrap_or(0);
                status[0] = if sending < 200 { 0xff } else { sending };
                let losses = self.byte().unwrap_or(0) % 9;
                status[1] = losses;
                for rail in 0..8 {
                    let at = 8 + rail * 12;
                    status[at + 10] = self.epoch[rail];
                    let window = self.byte().unwrap_or(0);
                    let limit = self.rings.sent[rail].wrapping_add(u32::from(window));
                    status[at + 4..at + 8].copy_from_slice(&limit.to_be_bytes());
                    status[at + 9] = window;
                    status[at + 3] = self.byte().unwrap_or(0);
                }
                for _ in 0..losses {
                    let (first, count) = (self.byte().unwrap_or(0), self.byte().unwrap_or(0));
                    status.extend_from_slice(&[0, 0, 0, first, 0, 0, 0, count]);
                }
                frame.extend_from_slice(&status);
            }
            6 => frame.extend_from_slice(&[1, 0, 0, 0]),
            _ => {}
        }
        let len = frame.len() as u16;
        header::seal(&mut frame, len).expect("a whole frame");
        self.next[id.index()] = seq.wrapping_add(1 + u32::from(total));
        frame
    }

    fn arrive(&mut self, id: RailId, tag: Tag, frame: Vec<u8>) {
        if tag == Tag::Header {
            if let Ok((header, _)) = Header::parse(&frame) {
                let mut again = frame.clone();
                header.emit(&mut again).expect("as long as it was");
                assert_eq!(Header::parse(&again).expect("good").0, header);
            }
        }
        let index = self.upper.frames.len();
        self.upper.frames.push(Some((id, frame)));
        self.link.receive(self.now, id, tag, index, &mut self.upper);
        self.settle();
    }

    fn invariants(&mut self) {
        self.settle();
        for number in 0..RAILS {
            let id = RailId::new(number).expect("a rail");
            let held = self.upper.frames.iter().flatten();
            let held = held.filter(|(rail, _)| *rail == id).count();
            let window = self.link.rx.grant(id).window;
            assert!(
                held + usize::from(window) <= RING as usize,
                "held frames are counted"
            );
            if self.link.tx.is_up(id) {
                assert_eq!(self.link.tx.outstanding(id), self.rings.in_ring[id.index()]);
            }
        }
    }
}
