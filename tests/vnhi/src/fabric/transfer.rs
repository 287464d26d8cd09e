// SPDX-License-Identifier: GPL-2.0-only

//! Frames on paths: from a transmit ring over a cable into a receive ring.
//!
//! ```text
//!  descriptor --> path of the ring --> cable: gate, faults --> path at the other end --> descriptor, payload, status
//!                  |                    |        |              |                         |
//!                  none: dropped        closed:  struck: lost   none: dropped             no buffer: dropped, or with
//!                                       waits    or damaged                               end-to-end flow control: waits
//! ```
//!
//! Without delay, damage or tap a payload goes straight from one guest's memory into the other's.

use crate::cable::{Content, End, Gate, InFlight, Pipe};
use crate::command::Direction;
use crate::fabric::Fabric;
use crate::fault::Strike;
use crate::memory::CopyError;
use crate::nhi::descriptor::{Descriptor, Received};
use crate::nhi::registers::Way;
use crate::sink::{Fate, Sink, TapFrame};
use crate::time::Time;

/// Most frames of one host in one run.
const BUDGET: usize = 1024;
/// Frames of one ring before the next one has its turn.
const TURN: usize = 4;
/// Longest packet in raw mode.
const MAX_RAW: usize = 256;

/// Which way a frame goes over which cable.
#[derive(Debug, Clone, Copy)]
struct Wire {
    cable: usize,
    direction: Direction,
    hop: u16,
}

/// Where a transmit ring leads.
#[derive(Debug, Clone, Copy)]
struct Path {
    wire: Wire,
    /// The far end.
    to: End,
}

/// A frame as the receiver sees it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Arrival {
    pub(super) sof: u8,
    pub(super) eof: u8,
    pub(super) crc_error: bool,
}

/// Where the bytes of a frame are.
#[derive(Debug, Clone, Copy)]
pub(super) enum Payload<'a> {
    /// In the sender's memory.
    Guest {
        node: usize,
        address: u64,
        length: usize,
    },
    /// Here.
    Bytes(&'a [u8]),
}

impl Payload<'_> {
    fn len(&self) -> usize {
        match self {
            Self::Guest { length, .. } => *length,
            Self::Bytes(bytes) => bytes.len(),
        }
    }
}

/// What came of an attempt to send.
enum Sent {
    /// A frame is gone.
    Yes,
    /// There is none.
    Idle,
    /// It has to wait.
    Held,
}

impl Fabric {
    /// Sends what the data rings of a host have. Says whether more may be there.
    pub(super) fn transmit(&mut self, now: Time, place: usize, sink: &mut dyn Sink) -> bool {
        let rings = u16::try_from(self.nodes[place].nhi.tx.len())
            .unwrap_or(u16::MAX)
            .saturating_sub(1);
        let mut left = BUDGET;
        let mut moved = true;
        let mut waiting = false;
        while std::mem::take(&mut moved) {
            waiting = false;
            let first = self.nodes[place].next_ring;
            for turn in 0..rings {
                let ring = (first + turn) % rings + 1;
                for _ in 0..TURN {
                    if left == 0 {
                        return true;
                    }
                    match self.send_one(now, place, ring, sink) {
                        Sent::Yes => {
                            moved = true;
                            left -= 1;
                            self.nodes[place].next_ring = ring % rings;
                        }
                        Sent::Idle => break,
                        Sent::Held => {
                            waiting = true;
                            break;
                        }
                    }
                }
            }
        }
        let node = &mut self.nodes[place];
        // Control packets may wait for a host that is slow to take answers.
        node.active = waiting || node.control_waits();
        false
    }

    fn send_one(&mut self, now: Time, place: usize, ring: u16, sink: &mut dyn Sink) -> Sent {
        let index = usize::from(ring);
        let posted = |fabric: &Self| fabric.nodes[place].nhi.tx[index].posted() > 0;
        if !posted(self) {
            return Sent::Idle;
        }
        let path = self.path(place, ring);
        let e2e = self.nodes[place].nhi.tx[index].e2e();
        if e2e && !self.has_credit(place, path) {
            let tx = &mut self.nodes[place].nhi.tx[index];
            if !tx.stalled {
                tx.stalled = true;
                tx.counters.e2e_stalls += 1;
            }
            return Sent::Held;
        }
        self.nodes[place].nhi.tx[index].stalled = false;
        if let Some(path) = path {
            if self.pipe_mut(path.wire).gate(now) != Gate::Open {
                return Sent::Held;
            }
        }
        let Some(descriptor) = self.next_transmit(place, ring) else {
            return Sent::Idle;
        };
        match path {
            Some(path) => self.launch(now, place, ring, path, &descriptor, sink),
            None => self.nodes[place].nhi.tx[index].counters.tx_no_path += 1,
        }
        self.complete_transmit(place, ring, &descriptor);
        Sent::Yes
    }

    /// Where a transmit ring leads, if its path is enabled and the link is up.
    fn path(&self, place: usize, ring: u16) -> Option<Path> {
        let node = &self.nodes[place];
        let hop = node.router.path_from_ring(ring)?;
        let port = node.router.port_of(hop.adapter)?;
        let number = node.cable(port)?;
        let cable = &self.cables[number];
        let direction = cable.direction_from(End { node: place, port })?;
        cable.is_up().then(|| Path {
            wire: Wire {
                cable: number,
                direction,
                hop: hop.next,
            },
            to: cable.end_of(direction),
        })
    }

    /// The receive ring that a frame on this path reaches.
    fn destination(&self, path: &Path) -> Option<u16> {
        let router = &self.nodes[path.to.node].router;
        router.path_to_ring(path.to.port, path.wire.hop, false)
    }

    fn pipe_mut(&mut self, wire: Wire) -> &mut Pipe {
        self.cables[wire.cable].pipe_mut(wire.direction)
    }

    /// With end-to-end flow control: the receiver has granted a buffer. It grants over the path of the transmit ring that
    /// it names, so that one has to lead back here.
    fn has_credit(&self, place: usize, path: Option<Path>) -> bool {
        let Some(path) = path else {
            return false;
        };
        let Some(ring) = self.destination(&path) else {
            return false;
        };
        let Some(rx) = self.nodes[path.to.node].nhi.rx.get(usize::from(ring)) else {
            return false;
        };
        rx.e2e()
            && rx.free() > 0
            && self
                .path(path.to.node, rx.e2e_ring())
                .is_some_and(|back| back.to.node == place && self.destination(&back).is_some())
    }

    /// Puts a frame on its cable.
    fn launch(
        &mut self,
        now: Time,
        place: usize,
        ring: u16,
        path: Path,
        descriptor: &Descriptor,
        sink: &mut dyn Sink,
    ) {
        let tx = &self.nodes[place].nhi.tx[usize::from(ring)];
        let (raw, e2e) = (tx.raw(), tx.e2e());
        let length = descriptor.length();
        if raw && length > MAX_RAW {
            self.nodes[place].nhi.errors.bad_length += 1;
            return;
        }
        let mut arrival = Arrival {
            // A raw packet has one PDF.
            sof: if raw {
                descriptor.eof()
            } else {
                descriptor.sof()
            },
            eof: descriptor.eof(),
            crc_error: false,
        };
        let wire = path.wire;
        let tap = self.cables[wire.cable].tap;
        let pipe = self.pipe_mut(wire);
        pipe.enter(now, length);
        let strike = pipe.faults.strike(length);
        let (lost, flipped_bit) = match strike {
            Strike::None => (false, None),
            Strike::Drop => {
                pipe.counters.dropped += 1;
                (true, None)
            }
            Strike::BurstDrop => {
                pipe.counters.burst_dropped += 1;
                (true, None)
            }
            Strike::Damage {
                crc_error,
                flipped_bit,
            } => {
                pipe.counters.corrupted += u64::from(crc_error);
                pipe.counters.flipped += u64::from(flipped_bit.is_some());
                arrival.crc_error = crc_error;
                (false, flipped_bit)
            }
        };
        let direct = pipe.is_direct();
        if lost && !tap {
            return;
        }
        let to = self.destination(&path);
        if direct && !tap && flipped_bit.is_none() {
            let payload = Payload::Guest {
                node: place,
                address: descriptor.buffer,
                length,
            };
            self.arrive(wire, path.to.node, to, arrival, payload);
            return;
        }
        let mut bytes = vec![0; length];
        if self.memories[place]
            .read(descriptor.buffer, &mut bytes)
            .is_err()
        {
            self.nodes[place].nhi.errors.bad_buffer += 1;
            return;
        }
        if let Some(bit) = flipped_bit {
            if let Some(byte) = bytes.get_mut(bit / 8) {
                *byte ^= 1 << (bit % 8);
            }
        }
        match to {
            _ if lost => self.show(now, wire, arrival, Fate::Lost, &bytes, sink),
            Some(to) if !direct => self.delay(now, &path, to, e2e, arrival, bytes),
            _ => {
                let fate = self.arrive(wire, path.to.node, to, arrival, Payload::Bytes(&bytes));
                self.show(now, wire, arrival, fate, &bytes, sink);
            }
        }
    }

    /// Puts a frame on a cable where it stays for a while.
    fn delay(
        &mut self,
        now: Time,
        path: &Path,
        to: u16,
        e2e: bool,
        arrival: Arrival,
        bytes: Vec<u8>,
    ) {
        let content = Content::Data {
            hop: path.wire.hop,
            sof: arrival.sof,
            eof: arrival.eof,
            crc_error: arrival.crc_error,
            reserved: e2e.then_some(to),
        };
        if self.pipe_mut(path.wire).push(now, content, bytes) && e2e {
            self.nodes[path.to.node].reserve(to);
        }
    }

    /// A frame leaves a cable after its delay.
    pub(super) fn land(
        &mut self,
        now: Time,
        number: usize,
        direction: Direction,
        frame: InFlight,
        sink: &mut dyn Sink,
    ) {
        let end = self.cables[number].end_of(direction);
        let InFlight {
            content, payload, ..
        } = frame;
        match content {
            Content::Control { pdf } => {
                self.arrive_control(now, number, end, pdf, payload, sink);
            }
            Content::Data {
                hop,
                sof,
                eof,
                crc_error,
                reserved,
            } => {
                if let Some(ring) = reserved {
                    self.nodes[end.node].unreserve(ring);
                }
                let arrival = Arrival {
                    sof,
                    eof,
                    crc_error,
                };
                let wire = Wire {
                    cable: number,
                    direction,
                    hop,
                };
                let router = &self.nodes[end.node].router;
                let to = router.path_to_ring(end.port, hop, true);
                let fate = self.arrive(wire, end.node, to, arrival, Payload::Bytes(&payload));
                self.show(now, wire, arrival, fate, &payload, sink);
            }
        }
    }

    /// A frame has reached the receiving host router.
    fn arrive(
        &mut self,
        wire: Wire,
        place: usize,
        ring: Option<u16>,
        arrival: Arrival,
        payload: Payload<'_>,
    ) -> Fate {
        let rx = ring.and_then(|ring| self.nodes[place].nhi.rx.get_mut(usize::from(ring)));
        let (Some(ring), Some(rx)) = (ring, rx) else {
            self.pipe_mut(wire).counters.no_path += 1;
            return Fate::NoPath;
        };
        if !rx.enabled() {
            rx.counters.rx_stopped += 1;
            return Fate::NoPath;
        }
        if !rx.takes(arrival.sof, arrival.eof) {
            rx.counters.rx_filtered += 1;
            return Fate::Filtered;
        }
        if rx.posted() == 0 {
            rx.counters.rx_no_buffer += 1;
            self.nodes[place].nhi.interrupts.overflow(ring);
            return Fate::NoBuffer;
        }
        self.receive(place, ring, arrival, payload)
    }

    /// Writes a frame into the next buffer of a receive ring that has one.
    pub(super) fn receive(
        &mut self,
        place: usize,
        ring: u16,
        arrival: Arrival,
        payload: Payload<'_>,
    ) -> Fate {
        let index = usize::from(ring);
        let rx = &self.nodes[place].nhi.rx[index];
        let (base, next, room, raw) = (rx.base(), rx.next(), rx.buffer_size(), rx.raw());
        let memory = &self.memories[place];
        let Ok(descriptor) = Descriptor::read(memory, base, next) else {
            let nhi = &mut self.nodes[place].nhi;
            nhi.rx[index].halt();
            nhi.errors.bad_descriptor += 1;
            return Fate::NoBuffer;
        };
        let length = payload.len().min(room);
        let copied = match payload {
            Payload::Bytes(bytes) => {
                let bytes = bytes.get(..length).unwrap_or(bytes);
                memory.write(descriptor.buffer, bytes).map_err(|_| place)
            }
            Payload::Guest { node, address, .. } => {
                let from = &self.memories[node];
                from.copy(address, memory, descriptor.buffer, length)
                    .map_err(|error| match error {
                        CopyError::Source => node,
                        CopyError::Target => place,
                    })
            }
        };
        if let Err(at_fault) = copied {
            self.nodes[at_fault].nhi.errors.bad_buffer += 1;
            if at_fault != place {
                // The sender had nothing to send: the receiver never hears of it.
                return Fate::Lost;
            }
        }
        let received = Received {
            length,
            sof: if raw { 0 } else { arrival.sof },
            eof: arrival.eof,
            // What was not written must not pass for a good frame.
            crc_error: arrival.crc_error || copied.is_err(),
            overrun: length < payload.len(),
        };
        let done = descriptor.complete_receive(memory, received);
        let nhi = &mut self.nodes[place].nhi;
        let rx = &mut nhi.rx[index];
        if done.is_err() {
            rx.halt();
            nhi.errors.bad_descriptor += 1;
            return Fate::NoBuffer;
        }
        rx.advance();
        rx.counters.rx_frames += 1;
        rx.counters.rx_bytes += u64::try_from(length).unwrap_or(0);
        rx.counters.rx_crc_errors += u64::from(received.crc_error);
        rx.counters.rx_overruns += u64::from(received.overrun);
        if descriptor.wants_interrupt() {
            nhi.interrupts.complete(Way::Receive, ring);
        }
        Fate::Delivered
    }

    /// The next descriptor of a transmit ring, if one is posted and can be read.
    pub(super) fn next_transmit(&mut self, place: usize, ring: u16) -> Option<Descriptor> {
        let nhi = &mut self.nodes[place].nhi;
        let tx = nhi.tx.get_mut(usize::from(ring))?;
        if tx.posted() == 0 {
            return None;
        }
        let descriptor = Descriptor::read(&self.memories[place], tx.base(), tx.next());
        if descriptor.is_err() {
            tx.halt();
            nhi.errors.bad_descriptor += 1;
        }
        descriptor.ok()
    }

    /// The device is done with a transmit descriptor.
    pub(super) fn complete_transmit(&mut self, place: usize, ring: u16, descriptor: &Descriptor) {
        let nhi = &mut self.nodes[place].nhi;
        let Some(tx) = nhi.tx.get_mut(usize::from(ring)) else {
            return;
        };
        if descriptor.complete_transmit(&self.memories[place]).is_err() {
            tx.halt();
            nhi.errors.bad_descriptor += 1;
            return;
        }
        tx.advance();
        tx.counters.tx_frames += 1;
        tx.counters.tx_bytes += u64::try_from(descriptor.length()).unwrap_or(0);
        if descriptor.wants_interrupt() {
            nhi.interrupts.complete(Way::Transmit, ring);
        }
    }

    /// Shows a frame to the tap of its cable, if that is on.
    fn show(
        &self,
        now: Time,
        wire: Wire,
        arrival: Arrival,
        fate: Fate,
        payload: &[u8],
        sink: &mut dyn Sink,
    ) {
        if self.cables[wire.cable].tap {
            let frame = TapFrame {
                cable: wire.cable,
                direction: wire.direction,
                hop: wire.hop,
                sof: arrival.sof,
                eof: arrival.eof,
                crc_error: arrival.crc_error,
                fate,
                payload,
            };
            sink.frame(now, &frame);
        }
    }
}
