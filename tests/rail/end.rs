// SPDX-License-Identifier: GPL-2.0-only

//! One end: a link, its rings and buffers, and the oracle of what comes out.

use usb4_rxe::rxe::time::Time;
use usb4_rxe::usb4::rail::config::Times;
use usb4_rxe::usb4::rail::frame::{record, Class, Header, Loss, Tag};
use usb4_rxe::usb4::rail::id::RailId;
use usb4_rxe::usb4::rail::link::{Link, Memory};
use usb4_rxe::usb4::rail::port::{Down, Egress, Ingress, Notices, Received, Refused};
use usb4_rxe::usb4::rail::rx::Slot;
use usb4_rxe::usb4::rail::seq::Seq;
use usb4_rxe::usb4::rail::tx::{Entry, NotNow, Shape};

use crate::cable::{Frame, Piece};

/// The transmit side: what was posted and has to go onto the cables.
#[derive(Default)]
pub struct Rings {
    pub posted: Vec<(RailId, Frame)>,
    pub spare: Vec<Vec<u8>>,
    /// Every head posted, for those who want to follow.
    pub trace: Option<Vec<(RailId, Header)>>,
    /// Payload that was not sent.
    pub dropped: Vec<Piece>,
}

impl Egress for Rings {
    type Buffer = Vec<u8>;
    type Payload = Piece;

    fn buffer(&mut self) -> Option<Vec<u8>> {
        Some(self.spare.pop().unwrap_or_else(|| vec![0; 4096]))
    }

    fn post_head(&mut self, rail: RailId, buffer: Vec<u8>, len: usize) {
        if let Some(trace) = &mut self.trace {
            let (header, _) = Header::parse(&buffer[..len]).expect("our own frame");
            trace.push((rail, header));
        }
        self.posted.push((rail, Frame::Head(buffer, len)));
    }

    fn post_payload(&mut self, rail: RailId, payload: Piece, len: usize, tag: Tag) {
        self.posted.push((rail, Frame::Payload(payload, len, tag)));
    }

    fn drop_buffer(&mut self, buffer: Vec<u8>) {
        self.spare.push(buffer);
    }

    fn drop_payload(&mut self, payload: Piece) {
        self.dropped.push(payload);
    }
}

/// A packet as it came out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Arrived {
    pub class: Class,
    pub serial: u64,
    pub word: u64,
    pub len: usize,
}

/// The receive side: frames held, packets delivered, and what must be true of them.
#[derive(Default)]
pub struct Upper {
    frames: Vec<Option<(RailId, Frame)>>,
    free: Vec<u32>,
    /// Frames given back, to be posted again.
    pub released: Vec<(RailId, Frame)>,
    pub arrived: Vec<Arrived>,
    pub sent_lost: Vec<Option<u64>>,
    pub downs: Vec<(RailId, Down)>,
    pub refusals: Vec<(RailId, Refused)>,
    /// Oracle: the next packet, and the last serial of each class.
    expected: Seq,
    last_serial: [Option<u64>; 2],
    pub delivered: u64,
    pub lost: u64,
    /// Packets whose payload was another's: possible only where long runs of frames vanish.
    pub misbound: u64,
    zeros: Vec<u8>,
}

impl Upper {
    fn new() -> Self {
        Self {
            zeros: vec![0; 4096],
            ..Self::default()
        }
    }

    pub fn hold(&mut self, rail: RailId, frame: Frame) -> u32 {
        match self.free.pop() {
            Some(index) => {
                self.frames[index as usize] = Some((rail, frame));
                index
            }
            None => {
                self.frames.push(Some((rail, frame)));
                u32::try_from(self.frames.len() - 1).unwrap()
            }
        }
    }

    /// Frames not given back.
    pub fn held(&self) -> usize {
        self.frames.iter().flatten().count()
    }
}

fn class_index(class: Class) -> usize {
    match class {
        Class::Rdma => 0,
        Class::Ethernet => 1,
    }
}

/// Header bytes in front of everything: class serial, a word of the flow, payload length.
pub const HEAD: usize = 20;

impl Ingress for Upper {
    type Frame = u32;

    fn bytes(&self, frame: u32) -> &[u8] {
        match &self.frames[frame as usize].as_ref().expect("held").1 {
            Frame::Head(bytes, len) => &bytes[..*len],
            Frame::Payload(_, len, _) => &self.zeros[..*len],
        }
    }

    fn packet(&mut self, packet: &Received<u32>) -> bool {
        assert_eq!(packet.stripe, self.expected, "in order, exactly once");
        let head = self.bytes(packet.head);
        let bytes = packet.record.inline_bytes(head);
        let serial = u64::from_be_bytes(bytes[..8].try_into().unwrap());
        let word = u64::from_be_bytes(bytes[8..16].try_into().unwrap());
        let len = u32::from_be_bytes(bytes[16..20].try_into().unwrap()) as usize;
        let tail = packet.record.tail_bytes(head);
        assert!(tail.iter().all(|byte| *byte == serial as u8));
        assert_eq!(usize::from(packet.record.payload), len);
        let mut rest = len;
        for (index, (frame, frame_len)) in packet.payload().enumerate() {
            let Some((_, Frame::Payload(piece, real_len, _))) = &self.frames[frame as usize] else {
                panic!("payload is payload");
            };
            // What the ICRC sees.
            if piece.serial != serial {
                self.misbound += 1;
                return false;
            }
            assert_eq!(usize::from(piece.index), index);
            assert_eq!(*real_len, frame_len);
            rest -= frame_len;
        }
        assert_eq!(rest, 0, "all payload is there");
        self.expected = self.expected.plus(1);
        self.delivered += 1;
        let last = &mut self.last_serial[class_index(packet.class)];
        assert!(last.is_none_or(|last| last < serial), "in order of commit");
        *last = Some(serial);
        self.arrived.push(Arrived {
            class: packet.class,
            serial,
            word,
            len: packet.record.packet_len(),
        });
        true
    }

    fn lost(&mut self, loss: Loss) {
        assert_eq!(loss.first, self.expected, "losses are in order too");
        assert!(loss.count > 0);
        self.expected = self.expected.plus(loss.count);
        self.lost += u64::from(loss.count);
    }

    fn release(&mut self, frame: u32) {
        let held = self.frames[frame as usize].take();
        self.released.push(held.expect("released once"));
        self.free.push(frame);
    }

    fn refused(&mut self, rail: RailId, why: Refused) {
        self.refusals.push((rail, why));
    }
}

impl Notices for Upper {
    fn sent_lost(&mut self, token: Option<u64>) {
        self.sent_lost.push(token);
    }

    fn rail_down(&mut self, rail: RailId, why: Down) {
        self.downs.push((rail, why));
    }
}

/// One end of the link.
pub struct End {
    pub link: Link<Rings, u32, Vec<Slot<u32>>, Vec<Entry>>,
    pub rings: Rings,
    pub upper: Upper,
    /// Packets committed, by class: the next serial.
    pub committed: [u64; 2],
}

impl End {
    pub fn new(ring: u32, times: Times) -> Self {
        let memory = Memory {
            queues: core::array::from_fn(|_| vec![Slot::EMPTY; ring as usize]),
            log: vec![Entry::EMPTY; 8192],
        };
        Self {
            link: Link::new(memory, times),
            rings: Rings::default(),
            upper: Upper::new(),
            committed: [0; 2],
        }
    }

    /// Sends a packet with `inline` header bytes, `payload` bytes in frames of their own, and a
    /// tail of four bytes if there is payload.
    pub fn send(
        &mut self,
        now: Time,
        class: Class,
        inline: usize,
        payload: usize,
        word: u64,
    ) -> Result<(), NotNow> {
        let serial = self.committed[class_index(class)];
        let tail = [serial as u8; 4];
        let tail = &tail[..if payload > 0 { 4 } else { 0 }];
        let shape = Shape {
            inline: inline.max(HEAD),
            tail: tail.len(),
            payload,
        };
        let room = self.link.tx.reserve(now, class, &shape, &mut self.rings)?;
        room[..8].copy_from_slice(&serial.to_be_bytes());
        room[8..16].copy_from_slice(&word.to_be_bytes());
        room[16..20].copy_from_slice(&u32::try_from(payload).unwrap().to_be_bytes());
        let pieces: Vec<Piece> = (0..record::frames_of(payload))
            .map(|index| Piece {
                serial,
                index: index as u8,
            })
            .collect();
        let added = self
            .link
            .tx
            .commit(class, shape.inline, tail, &pieces, payload, word);
        assert!(added, "what was reserved fits");
        self.committed[class_index(class)] += 1;
        Ok(())
    }

    /// All packets given to the link.
    pub fn total_committed(&self) -> u64 {
        self.committed.iter().sum()
    }
}
