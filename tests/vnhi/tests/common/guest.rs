// SPDX-License-Identifier: GPL-2.0-only

//! A driver for tests: does through sockets and shared memory what thunderbolt.ko does, as far as it takes to bring a link up and move frames.
//!
//! Register and packet layouts are those of the kernel's driver, written down here once more: the test would prove little with the constants of the model.

use std::os::fd::{AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::io::{pread, pwrite};
use vfio_user::Client;
use vnhi::vfio_user::message::{IRQ_ACTION_TRIGGER, IRQ_DATA_EVENTFD};

use super::{guest_memory, wait_for, Event, Fabric, PATIENCE};

/// Where guest memory begins in the device's address space; not 0, so that offsets and addresses cannot be mixed up.
const BASE: u64 = 0x4000_0000;
const SIZE: u64 = 0x40_0000;
/// Descriptors of a ring.
pub const SLOTS: u16 = 16;
const HOPS: u32 = 12;
const RAW: u32 = 1 << 30;
const ENABLE: u32 = 1 << 31;
const DONE: u32 = 1 << 21;
const POSTED: u32 = 3 << 22;

/// The lane adapter of the only port, and the adapter of the NHI.
pub const LANE: u32 = 1;
pub const NHI: u32 = 3;

/// Kinds of control packets, as PDF.
pub const READ: u8 = 1;
pub const WRITE: u8 = 2;
pub const EVENT: u8 = 5;

/// A frame as received.
#[derive(Debug, PartialEq, Eq)]
pub struct Frame {
    pub sof: u8,
    pub eof: u8,
    pub crc_error: bool,
    pub payload: Vec<u8>,
}

/// One ring of the driver.
#[derive(Clone, Copy)]
struct Ring {
    registers: u64,
    descriptors: u64,
    buffers: u64,
    next: u16,
}

impl Ring {
    fn new(number: u64, receive: bool) -> Self {
        let place = number * 2 + u64::from(receive);
        Self {
            registers: if receive { 0x8000 } else { 0 } + 16 * number,
            descriptors: place * 0x1000,
            buffers: 0x10_0000 + place * 0x1_0000,
            next: 0,
        }
    }

    fn descriptor(&self, slot: u16) -> u64 {
        self.descriptors + 16 * u64::from(slot)
    }

    fn buffer(&self, slot: u16) -> u64 {
        self.buffers + 0x1000 * u64::from(slot)
    }
}

/// A machine with a driver.
pub struct Guest {
    pub client: Client,
    memory: OwnedFd,
    pub events: Vec<Event>,
    transmit: Vec<Ring>,
    receive: Vec<Ring>,
    sequence: u32,
}

impl Guest {
    /// Powers a machine on: memory, interrupts, ring 0.
    pub fn start(fabric: &Fabric, nhi: &str) -> Self {
        let mut client = Client::new(&fabric.socket(nhi)).unwrap();
        let memory = guest_memory(SIZE);
        client.dma_map(0, BASE, SIZE, memory.as_raw_fd()).unwrap();
        let events: Vec<Event> = (0..16).map(|_| Event::new()).collect();
        let fds: Vec<i32> = events.iter().map(Event::raw).collect();
        let flags = IRQ_DATA_EVENTFD | IRQ_ACTION_TRIGGER;
        client.set_irqs(2, flags, 0, 16, &fds).unwrap();
        let mut guest = Self {
            client,
            memory,
            events,
            transmit: (0..4).map(|number| Ring::new(number, false)).collect(),
            receive: (0..4).map(|number| Ring::new(number, true)).collect(),
            sequence: 0,
        };
        guest.start_transmit(0, RAW);
        guest.start_receive(0, RAW | 256 << 16);
        guest
    }

    pub fn read(&mut self, offset: u64) -> u32 {
        let mut data = [0; 4];
        self.client.region_read(0, offset, &mut data).unwrap();
        u32::from_le_bytes(data)
    }

    pub fn write(&mut self, offset: u64, value: u32) {
        let data = value.to_le_bytes();
        self.client.region_write(0, offset, &data).unwrap();
    }

    fn place(&mut self, ring: Ring, size: u32) {
        let address = BASE + ring.descriptors;
        self.write(ring.registers, address as u32);
        self.write(ring.registers + 4, (address >> 32) as u32);
        self.write(ring.registers + 8, 0);
        self.write(ring.registers + 12, size);
    }

    /// Starts a transmit ring. Its interrupt is vector `2 * number`.
    pub fn start_transmit(&mut self, number: usize, flags: u32) {
        self.transmit[number].next = 0;
        self.place(self.transmit[number], u32::from(SLOTS));
        self.write(0x1_9800 + 32 * number as u64, ENABLE | flags & RAW);
        self.enable_interrupt(number as u32, 2 * number as u32);
    }

    /// Starts a receive ring that takes all PDFs, and posts all its buffers. Its interrupt is vector `2 * number + 1`.
    pub fn start_receive(&mut self, number: usize, flags: u32) {
        self.receive[number].next = 0;
        let ring = self.receive[number];
        self.place(ring, flags & 0x0fff_0000 | u32::from(SLOTS));
        let options = 0x2_9800 + 32 * number as u64;
        self.write(options + 4, 0xffff_ffff);
        self.write(options, ENABLE | flags & RAW);
        self.enable_interrupt(HOPS + number as u32, 2 * number as u32 + 1);
        for slot in 0..SLOTS - 1 {
            self.post(&ring, slot, POSTED);
        }
        self.write(ring.registers + 8, u32::from(SLOTS - 1));
    }

    fn enable_interrupt(&mut self, bit: u32, vector: u32) {
        let word = 0x3_8c40 + 4 * u64::from(bit / 8);
        let shift = 4 * (bit % 8);
        let others = self.read(word) & !(0xf << shift);
        self.write(word, others | vector << shift);
        let enabled = self.read(0x3_8200);
        self.write(0x3_8200, enabled | 1 << bit);
    }

    fn post(&self, ring: &Ring, slot: u16, word: u32) {
        let address = (BASE + ring.buffer(slot)).to_le_bytes();
        let descriptor = [&address[..], &word.to_le_bytes(), &[0; 4]].concat();
        pwrite(&self.memory, &descriptor, ring.descriptor(slot)).unwrap();
    }

    fn state(&self, ring: &Ring) -> u32 {
        let mut word = [0; 4];
        pread(&self.memory, &mut word, ring.descriptor(ring.next) + 8).unwrap();
        u32::from_le_bytes(word)
    }

    /// Sends a frame, and waits until it has left.
    pub fn send(&mut self, number: usize, sof: u8, eof: u8, payload: &[u8]) {
        self.queue(number, sof, eof, payload);
        let mut ring = self.transmit[number];
        ring.next = (ring.next + SLOTS - 1) % SLOTS;
        wait_for("a frame leaves", || self.state(&ring) & DONE != 0);
    }

    /// Queues a frame and rings the doorbell.
    pub fn queue(&mut self, number: usize, sof: u8, eof: u8, payload: &[u8]) {
        let ring = self.transmit[number];
        pwrite(&self.memory, payload, ring.buffer(ring.next)).unwrap();
        let length = payload.len() as u32 & 0xfff;
        let word = length | u32::from(eof) << 12 | u32::from(sof) << 16 | POSTED;
        self.post(&ring, ring.next, word);
        let next = (ring.next + 1) % SLOTS;
        self.transmit[number].next = next;
        self.write(ring.registers + 8, u32::from(next) << 16);
    }

    /// Takes the next frame of a ring, if it is there within the time.
    pub fn receive_within(&mut self, number: usize, time: Duration) -> Option<Frame> {
        let begin = Instant::now();
        let ring = self.receive[number];
        let word = loop {
            let word = self.state(&ring);
            if word & DONE != 0 {
                break word;
            }
            if begin.elapsed() > time {
                return None;
            }
            std::thread::sleep(Duration::from_micros(200));
        };
        let length = match word & 0xfff {
            0 => 4096,
            length => length as usize,
        };
        let mut payload = vec![0; length];
        pread(&self.memory, &mut payload, ring.buffer(ring.next)).unwrap();
        // The buffer goes back, behind all others.
        let free = (ring.next + SLOTS - 1) % SLOTS;
        self.post(&ring, free, POSTED);
        self.receive[number].next = (ring.next + 1) % SLOTS;
        self.write(ring.registers + 8, u32::from(ring.next));
        Some(Frame {
            sof: (word >> 16 & 0xf) as u8,
            eof: (word >> 12 & 0xf) as u8,
            crc_error: word & 1 << 20 != 0,
            payload,
        })
    }

    /// Takes the next frame of a ring.
    pub fn receive(&mut self, number: usize) -> Frame {
        self.receive_within(number, PATIENCE)
            .expect("no frame comes")
    }

    /// Sends a control packet.
    pub fn send_control(&mut self, pdf: u8, words: &[u32]) {
        let mut bytes: Vec<u8> = words.iter().flat_map(|word| word.to_be_bytes()).collect();
        let crc = crc32c::crc32c(&bytes);
        bytes.extend(crc.to_be_bytes());
        self.send(0, 0, pdf, &bytes);
    }

    /// Takes the next control packet, its CRC checked and removed.
    pub fn receive_control(&mut self) -> (u8, Vec<u32>) {
        let frame = self.receive(0);
        let (body, crc) = frame.payload.split_at(frame.payload.len() - 4);
        assert_eq!(crc32c::crc32c(body).to_be_bytes(), crc);
        let words = body.chunks_exact(4);
        let words = words.map(|word| u32::from_be_bytes(word.try_into().unwrap()));
        (frame.eof, words.collect())
    }

    fn ask(
        &mut self,
        kind: u8,
        space: u32,
        adapter: u32,
        offset: u32,
        length: u32,
        data: &[u32],
    ) -> Vec<u32> {
        self.sequence = (self.sequence + 1) % 4;
        let address = offset | length << 13 | adapter << 19 | space << 25 | self.sequence << 27;
        self.send_control(kind, &[&[0, 0, address], data].concat());
        loop {
            let (pdf, words) = self.receive_control();
            if pdf == kind {
                return words[3..].to_vec();
            }
            // Events come when they like.
            assert_eq!(pdf, EVENT, "{words:x?}");
        }
    }

    /// Reads words of configuration space.
    pub fn read_config(&mut self, space: u32, adapter: u32, offset: u32, length: u32) -> Vec<u32> {
        self.ask(READ, space, adapter, offset, length, &[])
    }

    /// Writes words of configuration space.
    pub fn write_config(&mut self, space: u32, adapter: u32, offset: u32, data: &[u32]) {
        self.ask(WRITE, space, adapter, offset, data.len() as u32, data);
    }

    /// Makes the router work: valid, configured, and its port listens for a peer.
    pub fn configure_router(&mut self) {
        let mut words = self.read_config(2, 0, 1, 5);
        words[2] |= 1 << 31;
        words[4] |= 1 << 31;
        self.write_config(2, 0, 1, &words);
        let word = self.read_config(1, LANE, 5, 1)[0];
        self.write_config(1, LANE, 5, &[word & !(1 << 31)]);
    }

    /// Waits for the event that a peer came or went at the port.
    pub fn wait_for_plug(&mut self, unplugged: bool) {
        loop {
            let (pdf, words) = self.receive_control();
            assert_eq!(pdf, EVENT);
            if words[2] >> 31 == u32::from(unplugged) {
                assert_eq!(words[2] & 0x3f, LANE);
                return;
            }
        }
    }

    /// A path from `adapter`, where frames come in on `hop`, to `out_adapter`, where they go out on `out_hop`.
    pub fn set_path(&mut self, adapter: u32, hop: u32, out_adapter: u32, out_hop: u32) {
        let first = out_hop | out_adapter << 11 | 14 << 17 | 1 << 31;
        self.write_config(0, adapter, 2 * hop, &[first, 0x0300_0001]);
    }
}

/// Two machines on cable 0 of a fabric, their link up.
pub fn linked(fabric: &Fabric) -> (Guest, Guest) {
    let mut one = Guest::start(fabric, "1.0");
    let mut two = Guest::start(fabric, "2.0");
    one.configure_router();
    two.configure_router();
    one.wait_for_plug(false);
    two.wait_for_plug(false);
    (one, two)
}

/// Ring `ring` of `from` sends to ring `ring` of `to`; HopID 8 + `ring` on the cable.
pub fn join(from: &mut Guest, to: &mut Guest, ring: usize) {
    let hop = ring as u32;
    to.start_receive(ring, 0);
    from.start_transmit(ring, 0);
    to.set_path(LANE, 8 + hop, NHI, hop);
    from.set_path(NHI, hop, LANE, 8 + hop);
}
