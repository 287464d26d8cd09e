// SPDX-License-Identifier: GPL-2.0-only

//! Two links on one rail that does nothing but hand over: no clock, no copy, no allocation.

#![allow(dead_code)] // the bench and the test use different parts

use usb4_rxe::rxe::time::Time;
use usb4_rxe::usb4::rail::config::{Times, MAX_TRAIN};
use usb4_rxe::usb4::rail::frame::{Class, Loss, Tag};
use usb4_rxe::usb4::rail::id::RailId;
use usb4_rxe::usb4::rail::link::{Link, Memory};
use usb4_rxe::usb4::rail::port::{Down, Egress, Ingress, Notices, Received, Refused};
use usb4_rxe::usb4::rail::rx::Slot;
use usb4_rxe::usb4::rail::tx::{Entry, RailUp, Shape};

/// Packets of a batch: one full train.
pub const BATCH: usize = MAX_TRAIN;
/// Headers of a WRITE, middle, on IPv4.
pub const HEAD: usize = 54;
/// Frames of a ring.
const RING: usize = 512;

#[derive(Clone, Copy)]
struct Posted {
    frame: u32,
    tag: Tag,
}

/// One direction: the transmit rings of one end and the receive rings of the other.
pub struct Wire {
    spare: Vec<Box<[u8]>>,
    frames: Vec<Option<(Box<[u8]>, usize)>>,
    next: usize,
    posted: Vec<Posted>,
    zeros: Box<[u8]>,
    /// Packets and bytes delivered.
    pub packets: u64,
    pub bytes: u64,
}

impl Wire {
    fn new() -> Self {
        Self {
            spare: (0..16).map(|_| vec![0; 4096].into()).collect(),
            frames: (0..RING).map(|_| None).collect(),
            next: 0,
            posted: Vec::with_capacity(RING),
            zeros: vec![0; 4096].into(),
            packets: 0,
            bytes: 0,
        }
    }
}

/// A payload frame has this handle.
const PAYLOAD: u32 = u32::MAX;

impl Egress for Wire {
    type Buffer = Box<[u8]>;
    type Payload = u64;

    fn buffer(&mut self) -> Option<Box<[u8]>> {
        self.spare.pop()
    }

    fn post_head(&mut self, _: RailId, buffer: Box<[u8]>, len: usize) {
        let frame = self.next;
        self.next = (frame + 1) % RING;
        self.frames[frame] = Some((buffer, len));
        self.posted.push(Posted {
            frame: frame as u32,
            tag: Tag::Header,
        });
    }

    fn post_payload(&mut self, _: RailId, _: u64, len: usize, tag: Tag) {
        assert_eq!(len, 4096);
        self.posted.push(Posted {
            frame: PAYLOAD,
            tag,
        });
    }

    fn drop_buffer(&mut self, buffer: Box<[u8]>) {
        self.spare.push(buffer);
    }

    fn drop_payload(&mut self, _: u64) {}
}

impl Ingress for Wire {
    type Frame = u32;

    fn bytes(&self, frame: u32) -> &[u8] {
        if frame == PAYLOAD {
            return &self.zeros;
        }
        let (buffer, len) = self.frames[frame as usize].as_ref().expect("held");
        &buffer[..*len]
    }

    fn packet(&mut self, packet: &Received<u32>) -> bool {
        self.packets += 1;
        let inline = packet.record.inline_bytes(self.bytes(packet.head)).len();
        self.bytes += inline as u64;
        for (_, len) in packet.payload() {
            self.bytes += len as u64;
        }
        true
    }

    fn lost(&mut self, _: Loss) {
        unreachable!("nothing is lost here");
    }

    fn release(&mut self, frame: u32) {
        if frame != PAYLOAD {
            let (buffer, _) = self.frames[frame as usize].take().expect("held");
            self.spare.push(buffer);
        }
    }

    fn refused(&mut self, _: RailId, why: Refused) {
        unreachable!("{why:?}");
    }
}

impl Notices for Wire {
    fn sent_lost(&mut self, _: Option<u64>) {
        unreachable!("nothing is lost here");
    }

    fn rail_down(&mut self, _: RailId, why: Down) {
        unreachable!("{why:?}");
    }
}

type End = Link<Wire, u32, Vec<Slot<u32>>, Vec<Entry>>;

fn end() -> End {
    let memory = Memory {
        queues: core::array::from_fn(|_| vec![Slot::EMPTY; RING]),
        log: vec![Entry::EMPTY; 8192],
    };
    Link::new(memory, Times::default())
}

/// Two ends and both directions.
pub struct Rails {
    a: End,
    b: End,
    pub there: Wire,
    pub back: Wire,
    id: RailId,
}

impl Rails {
    pub fn new() -> Self {
        let mut rails = Self {
            a: end(),
            b: end(),
            there: Wire::new(),
            back: Wire::new(),
            id: RailId::new(0).expect("a rail"),
        };
        let config = RailUp {
            epoch: 1,
            speed: 1,
            tx_ring: RING as u32,
            rx_ring: RING as u32,
            peer_ring: RING as u32,
        };
        let Self {
            a,
            b,
            there,
            back,
            id,
        } = &mut rails;
        let mut nobody = Wire::new();
        a.rail_up(Time::ZERO, *id, &config, there, &mut nobody);
        b.rail_up(Time::ZERO, *id, &config, back, &mut nobody);
        rails.hand_over();
        rails
    }

    /// Sends a batch of packets of 4 KiB and takes it in.
    pub fn batch(&mut self, head: &[u8; HEAD]) {
        let shape = Shape {
            inline: HEAD,
            tail: 4,
            payload: 4096,
        };
        for _ in 0..BATCH {
            let room = self
                .a
                .tx
                .reserve(Time::ZERO, Class::Rdma, &shape, &mut self.there)
                .expect("room");
            room[..HEAD].copy_from_slice(head);
            let done = self.a.tx.commit(Class::Rdma, HEAD, &[0; 4], &[0], 4096, 1);
            assert!(done);
        }
        self.hand_over();
    }

    /// Sends one small packet and takes it in.
    pub fn small(&mut self, packet: &[u8; 142]) {
        let shape = Shape::inline(packet.len());
        let room = self
            .a
            .tx
            .reserve(Time::ZERO, Class::Rdma, &shape, &mut self.there)
            .expect("room");
        room.copy_from_slice(packet);
        let done = self.a.tx.commit(Class::Rdma, packet.len(), &[], &[], 0, 1);
        assert!(done);
        self.hand_over();
    }

    fn hand_over(&mut self) {
        self.a.flush(Time::ZERO, &mut self.there);
        pass(&mut self.a, &mut self.b, &mut self.there, self.id);
        self.b.flush(Time::ZERO, &mut self.back);
        pass(&mut self.b, &mut self.a, &mut self.back, self.id);
    }
}

fn pass(from: &mut End, to: &mut End, wire: &mut Wire, id: RailId) {
    let count = wire.posted.len();
    for index in 0..count {
        let posted = wire.posted[index];
        to.receive(Time::ZERO, id, posted.tag, posted.frame, wire);
    }
    wire.posted.clear();
    from.tx.completed(Time::ZERO, id, count as u32);
}
