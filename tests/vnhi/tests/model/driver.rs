// SPDX-License-Identifier: GPL-2.0-only

//! What a driver does, in the order in which the thunderbolt driver does it: start rings, exchange control packets,
//! enumerate the router, set up paths, send and receive frames. Offsets and bits are the driver's.

use std::time::Duration;

use crate::world::World;

pub const ENABLE: u32 = 1 << 31;
pub const RAW: u32 = 1 << 30;
pub const E2E: u32 = 1 << 28;

pub const STATUS: u64 = 0x3_7800;
pub const STATUS_CLEAR: u64 = 0x3_7808;
pub const INTERRUPT_ENABLE: u64 = 0x3_8200;
pub const INTERRUPT_DISABLE: u64 = 0x3_8208;
pub const THROTTLE: u64 = 0x3_8c00;
pub const VECTOR_MAP: u64 = 0x3_8c40;
pub const DMA_MISC: u64 = 0x3_9864;
pub const HOST_RESET: u64 = 0x3_9898;

const DESCRIPTOR_COMPLETED: u32 = 1 << 21;
const DESCRIPTOR_POSTED: u32 = 1 << 22;
const DESCRIPTOR_INTERRUPT: u32 = 1 << 23;

pub const READ: u8 = 1;
pub const WRITE: u8 = 2;
pub const ERROR: u8 = 3;
pub const EVENT: u8 = 5;
pub const XDOMAIN_REQUEST: u8 = 6;

/// Configuration spaces.
pub const PATHS: u32 = 0;
pub const ADAPTER: u32 = 1;
pub const ROUTER: u32 = 2;

/// First HopID for data.
pub const HOP: u16 = 8;
/// PDFs as thunderbolt_net uses them.
pub const SOF: u8 = 2;
pub const EOF: u8 = 3;

/// A ring as the driver keeps it.
#[derive(Debug, Clone, Default)]
pub struct Ring {
    descriptors: u64,
    buffers: Vec<u64>,
    size: u16,
    head: u16,
    tail: u16,
}

/// A received frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    pub payload: Vec<u8>,
    pub sof: u8,
    pub eof: u8,
    pub crc_error: bool,
    pub overrun: bool,
}

/// A control packet without its CRC.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packet {
    pub kind: u8,
    pub words: Vec<u32>,
}

pub fn address(space: u32, adapter: u32, offset: u32, length: u32) -> u32 {
    space << 25 | adapter << 19 | length << 13 | offset
}

fn registers(transmit: bool, ring: u16) -> (u64, u64) {
    let ring = u64::from(ring);
    if transmit {
        (ring * 16, 0x1_9800 + ring * 32)
    } else {
        (0x8000 + ring * 16, 0x2_9800 + ring * 32)
    }
}

impl World {
    /// Starts a ring with so many descriptors, each with a buffer of 4096 bytes.
    pub fn start(&mut self, guest: usize, transmit: bool, number: u16, size: u16, flags: u32) {
        let key = (transmit, number);
        if !self.guests[guest].rings.contains_key(&key) {
            let memory = &mut self.guests[guest];
            let ring = Ring {
                descriptors: memory.allocate(u64::from(size) * 16),
                buffers: (0..size).map(|_| memory.allocate(4096)).collect(),
                size,
                ..Ring::default()
            };
            memory.rings.insert(key, ring);
        }
        let ring = self.guests[guest].rings.get_mut(&key).unwrap();
        (ring.head, ring.tail, ring.size) = (0, 0, size);
        let descriptors = ring.descriptors;
        let zeros = vec![0; usize::from(size) * 16];
        self.guests[guest].put(descriptors, &zeros);
        let (base, options) = registers(transmit, number);
        let frame_size = if flags & RAW != 0 { 256 << 16 } else { 0 };
        self.write(
            guest,
            base,
            u32::try_from(descriptors & 0xffff_ffff).unwrap(),
        );
        self.write(guest, base + 4, u32::try_from(descriptors >> 32).unwrap());
        if transmit {
            self.write(guest, base + 12, size.into());
            self.write(guest, options + 4, 0);
        } else {
            self.write(guest, base + 12, frame_size | u32::from(size));
            let masks = if number == 0 {
                0xffff_ffff
            } else {
                1 << (16 + SOF) | 1 << EOF
            };
            self.write(guest, options + 4, masks);
        }
        self.write(guest, options, ENABLE | flags & RAW);
        if flags & E2E != 0 {
            self.write(guest, options, ENABLE | flags);
        }
    }

    /// Stops it.
    pub fn stop(&mut self, guest: usize, transmit: bool, number: u16) {
        let (base, options) = registers(transmit, number);
        for offset in [options, base, base + 4, base + 8, base + 12] {
            self.write(guest, offset, 0);
        }
    }

    fn ring(&mut self, guest: usize, transmit: bool, number: u16) -> &mut Ring {
        self.guests[guest]
            .rings
            .get_mut(&(transmit, number))
            .expect("ring was not started")
    }

    /// Writes a descriptor and the index.
    fn post(&mut self, guest: usize, transmit: bool, number: u16, word: u32) -> u64 {
        let ring = self.ring(guest, transmit, number);
        let slot = ring.head;
        let descriptor = ring.descriptors + u64::from(slot) * 16;
        let buffer = ring.buffers[usize::from(slot)];
        ring.head = (slot + 1) % ring.size;
        assert_ne!(ring.head, ring.tail, "the ring is full");
        let head = u32::from(ring.head);
        let guest_memory = &self.guests[guest];
        guest_memory.put(descriptor, &buffer.to_le_bytes());
        let word = word | DESCRIPTOR_POSTED | DESCRIPTOR_INTERRUPT;
        guest_memory.put(descriptor + 8, &word.to_le_bytes());
        let (base, _) = registers(transmit, number);
        let index = if transmit { head << 16 } else { head };
        self.write(guest, base + 8, index);
        buffer
    }

    /// Posts receive buffers.
    pub fn post_buffers(&mut self, guest: usize, number: u16, count: u16) {
        for _ in 0..count {
            self.post(guest, false, number, 0);
        }
    }

    /// Posts a frame; it moves with the next run.
    pub fn queue(&mut self, guest: usize, number: u16, payload: &[u8], sof: u8, eof: u8) {
        let ring = self.ring(guest, true, number);
        let buffer = ring.buffers[usize::from(ring.head)];
        self.guests[guest].put(buffer, payload);
        let length = u32::try_from(payload.len()).unwrap() & 0xfff;
        let word = length | u32::from(eof) << 12 | u32::from(sof) << 16;
        self.post(guest, true, number, word);
    }

    /// Sends a frame.
    pub fn send(&mut self, guest: usize, number: u16, payload: &[u8]) {
        self.queue(guest, number, payload, SOF, EOF);
        self.run();
        self.reap(guest, number);
    }

    /// Takes back transmit descriptors that are done; says how many.
    pub fn reap(&mut self, guest: usize, number: u16) -> usize {
        let mut done = 0;
        while self.completed(guest, true, number).is_some() {
            done += 1;
        }
        done
    }

    /// The next descriptor that the device has completed: its word, and its buffer.
    fn completed(&mut self, guest: usize, transmit: bool, number: u16) -> Option<(u32, u64)> {
        let ring = self.ring(guest, transmit, number).clone();
        if ring.tail == ring.head {
            return None;
        }
        let at = ring.descriptors + u64::from(ring.tail) * 16 + 8;
        let word = self.guests[guest].get_u32(at);
        if word & DESCRIPTOR_COMPLETED == 0 {
            return None;
        }
        let ring = self.ring(guest, transmit, number);
        ring.tail = (ring.tail + 1) % ring.size;
        Some((
            word,
            ring.buffers[usize::from((ring.tail + ring.size - 1) % ring.size)],
        ))
    }

    /// Takes received frames without posting new buffers.
    pub fn take(&mut self, guest: usize, number: u16) -> Vec<Frame> {
        let mut frames = Vec::new();
        while let Some((word, buffer)) = self.completed(guest, false, number) {
            let length = match word & 0xfff {
                0 => 4096,
                length => length as usize,
            };
            frames.push(Frame {
                payload: self.guests[guest].get(buffer, length),
                sof: u8::try_from(word >> 16 & 0xf).unwrap(),
                eof: u8::try_from(word >> 12 & 0xf).unwrap(),
                crc_error: word & 1 << 20 != 0,
                overrun: word & 1 << 22 != 0,
            });
        }
        frames
    }

    /// Takes received frames and posts their buffers again.
    pub fn receive(&mut self, guest: usize, number: u16) -> Vec<Frame> {
        let frames = self.take(guest, number);
        let count = u16::try_from(frames.len()).unwrap();
        self.post_buffers(guest, number, count);
        frames
    }

    /// Sends a control packet.
    pub fn send_control(&mut self, guest: usize, kind: u8, words: &[u32]) {
        let mut bytes: Vec<u8> = words.iter().flat_map(|word| word.to_be_bytes()).collect();
        bytes.extend(crc32c::crc32c(&bytes).to_be_bytes());
        self.queue(guest, 0, &bytes, kind, kind);
        self.run();
        self.reap(guest, 0);
    }

    /// Takes control packets that have come and are no answers.
    pub fn control(&mut self, guest: usize) -> Vec<Packet> {
        let mut packets = std::mem::take(&mut self.guests[guest].events);
        packets.extend(self.new_control(guest));
        packets
    }

    /// Takes control packets from ring 0, after a look at their CRC.
    fn new_control(&mut self, guest: usize) -> Vec<Packet> {
        let frames = self.receive(guest, 0);
        self.run();
        frames
            .iter()
            .map(|frame| {
                let (body, crc) = frame.payload.split_last_chunk::<4>().unwrap();
                assert_eq!(crc32c::crc32c(body), u32::from_be_bytes(*crc));
                assert_eq!(frame.sof, 0);
                let words = body.chunks_exact(4);
                Packet {
                    kind: frame.eof,
                    words: words
                        .map(|word| u32::from_be_bytes(word.try_into().unwrap()))
                        .collect(),
                }
            })
            .collect()
    }

    /// A control packet and its one answer. Events that come meanwhile are kept.
    pub fn ask(&mut self, guest: usize, kind: u8, words: &[u32]) -> Packet {
        let earlier = self.new_control(guest);
        self.guests[guest].events.extend(earlier);
        self.send_control(guest, kind, words);
        let (mut answers, events): (Vec<_>, Vec<_>) = self
            .new_control(guest)
            .into_iter()
            .partition(|packet| packet.kind <= ERROR);
        self.guests[guest].events.extend(events);
        assert_eq!(answers.len(), 1, "{answers:x?}");
        answers.remove(0)
    }

    /// Reads configuration space of the guest's own router.
    pub fn config_read(
        &mut self,
        guest: usize,
        space: u32,
        adapter: u32,
        at: u32,
        n: u32,
    ) -> Vec<u32> {
        let asked = address(space, adapter, at, n);
        let answer = self.ask(guest, READ, &[0, 0, asked]);
        assert_eq!(answer.kind, READ, "{answer:x?}");
        assert_eq!(answer.words[..2], [1 << 31, 0]);
        let mask = !(0x3f << 19);
        assert_eq!(answer.words[2] & mask, asked & mask);
        assert_eq!(answer.words.len(), 3 + n as usize);
        answer.words[3..].to_vec()
    }

    /// Writes it.
    pub fn config_write(&mut self, guest: usize, space: u32, adapter: u32, at: u32, data: &[u32]) {
        let length = u32::try_from(data.len()).unwrap();
        let mut words = vec![0, 0, address(space, adapter, at, length)];
        words.extend(data);
        let answer = self.ask(guest, WRITE, &words);
        assert_eq!((answer.kind, answer.words.len()), (WRITE, 3), "{answer:x?}");
    }

    /// Changes bits of a word.
    pub fn config_modify(
        &mut self,
        guest: usize,
        space: u32,
        adapter: u32,
        at: u32,
        clear: u32,
        set: u32,
    ) {
        let word = self.config_read(guest, space, adapter, at, 1)[0];
        self.config_write(guest, space, adapter, at, &[word & !clear | set]);
    }

    /// A capability of an adapter.
    pub fn capability(&mut self, guest: usize, adapter: u32, id: u32) -> Option<u32> {
        let mut at = self.config_read(guest, ADAPTER, adapter, 1, 1)[0] & 0xff;
        while at != 0 {
            let header = self.config_read(guest, ADAPTER, adapter, at, 1)[0];
            if header >> 8 & 0xff == id {
                return Some(at);
            }
            at = header & 0xff;
        }
        None
    }

    /// The number of the adapter that leads to this host.
    pub fn upstream(&mut self, guest: usize) -> u32 {
        self.ask(guest, READ, &[0, 0, address(ROUTER, 0, 0, 1)])
            .words[2]
            >> 19
            & 0x3f
    }

    /// Resets the host router and starts the control channel.
    pub fn probe(&mut self, guest: usize) {
        self.write(guest, HOST_RESET, 1);
        assert_eq!(self.read(guest, HOST_RESET), 0);
        self.write(guest, INTERRUPT_DISABLE, u32::MAX);
        self.write(guest, STATUS_CLEAR, u32::MAX);
        self.write(guest, DMA_MISC, 1 << 17);
        self.start(guest, true, 0, 10, RAW);
        self.start(guest, false, 0, 10, RAW);
        self.post_buffers(guest, 0, 9);
        self.run();
    }

    /// Enumerates the router and turns plug events on at all its ports.
    pub fn enumerate(&mut self, guest: usize) {
        let mut words = self.config_read(guest, ROUTER, 0, 0, 5);
        words[3] |= 1 << 31;
        words[4] = words[4] & !0xffff | 0x10ff;
        self.config_write(guest, ROUTER, 0, 1, &words[1..]);
        for adapter in 1..self.upstream(guest) {
            if self.capability(guest, adapter, 6).is_some() {
                self.config_modify(guest, ADAPTER, adapter, 5, 1 << 31, 0);
            }
        }
    }

    /// All guests ready, all links up; returns the plug events of each guest.
    pub fn bring_up(&mut self) -> Vec<Vec<Packet>> {
        for guest in 0..self.guests.len() {
            self.probe(guest);
            self.enumerate(guest);
        }
        self.pass(Duration::from_millis(60));
        (0..self.guests.len())
            .map(|guest| self.control(guest))
            .collect()
    }

    /// Lets a transmit ring lead to a cable, and frames from there with the same HopID into a receive ring.
    pub fn connect(&mut self, guest: usize, lane: u32, tx: u16, rx: u16, hop: u16) {
        let upstream = self.upstream(guest);
        let enter = |out: u32, next: u16| [1 << 31 | out << 11 | u32::from(next), 0x0300_0051];
        let at = u32::from(hop) * 2;
        self.config_write(guest, PATHS, lane, at, &enter(upstream, rx));
        let at = u32::from(tx) * 2;
        self.config_write(guest, PATHS, upstream, at, &enter(lane, hop));
    }

    /// Two guests with rings 1 and a path each way; the receive rings have all their buffers posted.
    pub fn connected(flags: u32, buffers: u16) -> Self {
        let mut world = Self::pair();
        world.bring_up();
        for guest in 0..2 {
            let e2e_ring = if flags & E2E != 0 { 1 << 12 } else { 0 };
            world.start(guest, true, 1, 64, flags);
            world.start(guest, false, 1, 64, flags | e2e_ring);
            world.post_buffers(guest, 1, buffers);
            world.connect(guest, 1, 1, 1, HOP);
        }
        world
    }
}

/// A payload that tells frames apart.
pub fn pattern(seed: usize, length: usize) -> Vec<u8> {
    (0..length)
        .map(|at| u8::try_from((seed * 31 + at * 7) % 251).unwrap())
        .collect()
}
