// SPDX-License-Identifier: GPL-2.0-only

//! Packets to this host itself: a fixed pool of buffers and a queue between queue pairs.
//!
//! A sender may be its own receiver, and holds its lock while it sends. So a packet is queued, and
//! delivered once the sender's lock is free, mostly by the sender itself:
//!
//! ```text
//!   Env::begin    take a buffer ---- none free: Busy, the queue pair waits for one
//!   Env::append   payload, copied once out of the sender's memory
//!   Env::commit   to the end of the queue
//!                        |
//!   deliver()     one deliverer at a time, so packets stay in order
//!                        |  headers -> queue pair(s) -> receiver's memory
//!                        '> buffer back to the pool, waiting queue pairs become ready
//! ```
//!
//! Packets that wait for memory (on-demand paging), off a wire or not, wait in these buffers, too, but
//! not in the last quarter of them.
//!
//! No ICRC: nothing on the way could spoil the bytes.

use kernel::prelude::*;

use super::lock::{new_irq_lock, IrqLock};
use super::pieces::Pieces;
use crate::rxe::icrc::Crc32;
use crate::rxe::qpn::Qpn;
use crate::rxe::wire::PacketRepr;

/// Longest chain of headers, rounded up.
const HEAD_BYTES: usize = 128;
/// Largest path MTU.
const PAYLOAD_BYTES: usize = 4096;
/// Packets under way to this host, over all queue pairs.
const BUFFERS: usize = 512;
/// Free buffers that packets waiting for memory leave to others.
const SPARE: usize = BUFFERS / 4;

/// A packet under way.
pub struct Packet {
    /// The queue pair in its BTH.
    to: Qpn,
    head_len: usize,
    payload_len: usize,
    head: [u8; HEAD_BYTES],
    payload: [u8; PAYLOAD_BYTES],
}

/// The ICRC that nobody looks at.
struct Unchecked;

impl Crc32 for Unchecked {
    #[inline]
    fn update(state: u32, _bytes: &[u8]) -> u32 {
        state
    }
}

impl Packet {
    /// Begins a packet. `false` if the headers do not fit, which no legal packet does.
    pub fn begin(&mut self, repr: &PacketRepr, payload_len: usize) -> bool {
        self.to = repr.bth.dst_qp;
        self.payload_len = 0;
        match repr.emit_headers::<Unchecked>(payload_len, &mut self.head) {
            Ok(started) => {
                self.head_len = started.header_len();
                true
            }
            Err(_) => false,
        }
    }

    /// Becomes a copy of a packet for `to`. `false`: it is longer than any packet.
    pub fn fill(&mut self, to: Qpn, head: &[u8], payload: &Pieces<'_>) -> bool {
        self.to = to;
        let Some(place) = self.head.get_mut(..head.len()) else {
            return false;
        };
        place.copy_from_slice(head);
        self.head_len = head.len();
        match payload.copy_to(&mut self.payload) {
            Some(len) => self.payload_len = len,
            None => return false,
        }
        true
    }

    /// Room for the next `len` bytes of payload.
    pub fn payload_mut(&mut self, len: usize) -> Option<&mut [u8]> {
        let end = self.payload_len.checked_add(len)?;
        let room = self.payload.get_mut(self.payload_len..end)?;
        self.payload_len = end;
        Some(room)
    }

    /// The headers, as on the wire.
    pub fn head(&self) -> &[u8] {
        self.head.get(..self.head_len).unwrap_or(&[])
    }

    /// The payload.
    pub fn payload(&self) -> &[u8] {
        self.payload.get(..self.payload_len).unwrap_or(&[])
    }
}

/// Who may deliver.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Deliverer {
    /// Nobody does: whoever comes next may.
    None,
    /// Somebody does.
    Somebody,
    /// Somebody did and had to stop: the port's work goes on.
    Work,
}

struct State {
    free: KVec<KBox<Packet>>,
    /// A ring of `BUFFERS` places.
    queue: KVec<Option<KBox<Packet>>>,
    first: usize,
    queued: usize,
    deliverer: Deliverer,
}

/// The way to this host itself.
#[pin_data]
pub struct Loopback {
    #[pin]
    state: IrqLock<State>,
}

impl Loopback {
    /// With all buffers free. 2 MiB.
    pub fn new() -> Result<impl PinInit<Self>> {
        let mut free = KVec::with_capacity(BUFFERS, GFP_KERNEL)?;
        let mut queue = KVec::with_capacity(BUFFERS, GFP_KERNEL)?;
        for _ in 0..BUFFERS {
            free.push(new_packet()?, GFP_KERNEL)?;
            queue.push(None, GFP_KERNEL)?;
        }
        let state = State {
            free,
            queue,
            first: 0,
            queued: 0,
            deliverer: Deliverer::None,
        };
        Ok(pin_init!(Self { state <- new_irq_lock!(state, "usb4_rxe loop-back") }))
    }

    /// Takes a free buffer.
    pub fn take(&self) -> Option<KBox<Packet>> {
        self.state.lock().free.pop()
    }

    /// Gives a buffer back. Somebody may wait for it: see [`super::schedule`].
    pub fn put(&self, packet: KBox<Packet>) {
        // There is room for every buffer there is, so nothing is allocated here.
        let _ = self.state.lock().free.push_within_capacity(packet);
    }

    /// Whether a buffer is free.
    pub fn has_room(&self) -> bool {
        !self.state.lock().free.is_empty()
    }

    /// Whether one more packet may wait for memory (on-demand paging), which may take for ever: a
    /// process decides when its page comes, if it likes. The others must not want for buffers.
    pub fn may_wait(&self) -> bool {
        self.state.lock().free.len() >= SPARE
    }

    /// Queues a packet.
    pub fn send(&self, packet: KBox<Packet>) {
        let mut state = self.state.lock();
        let place = state.first.wrapping_add(state.queued) & (BUFFERS - 1);
        // There are as many places as buffers, so the place is free.
        if let Some(place) = state.queue.get_mut(place) {
            *place = Some(packet);
            state.queued = state.queued.wrapping_add(1);
        }
    }

    /// Becomes the deliverer, if there is something to deliver and nobody else does.
    pub fn begin_delivery(&self, is_work: bool) -> bool {
        let mut state = self.state.lock();
        let free = match state.deliverer {
            Deliverer::None => state.queued != 0,
            Deliverer::Somebody => false,
            Deliverer::Work => is_work,
        };
        if free {
            state.deliverer = Deliverer::Somebody;
        }
        free
    }

    /// The next packet for the deliverer; without one it is the deliverer no more.
    pub fn next(&self) -> Option<KBox<Packet>> {
        let mut state = self.state.lock();
        let packet = state.pop();
        if packet.is_none() {
            state.deliverer = Deliverer::None;
        }
        packet
    }

    /// The next packet, if it is for the same queue pair.
    pub fn next_for(&self, qpn: Qpn) -> Option<KBox<Packet>> {
        let mut state = self.state.lock();
        let same = matches!(state.queue.get(state.first), Some(Some(packet)) if packet.to == qpn);
        if same {
            state.pop()
        } else {
            None
        }
    }

    /// The deliverer stops for now; the port's work will go on.
    pub fn hand_over(&self) {
        self.state.lock().deliverer = Deliverer::Work;
    }
}

impl State {
    fn pop(&mut self) -> Option<KBox<Packet>> {
        let packet = self.queue.get_mut(self.first)?.take()?;
        self.first = self.first.wrapping_add(1) & (BUFFERS - 1);
        self.queued = self.queued.wrapping_sub(1);
        Some(packet)
    }
}

const _: () = assert!(BUFFERS.is_power_of_two());

fn new_packet() -> Result<KBox<Packet>> {
    // Written in place: four KiB do not belong on a kernel stack.
    let packet = KBox::init(
        pin_init::init!(Packet {
            to: Qpn::new(0),
            head_len: 0,
            payload_len: 0,
            head: [0; HEAD_BYTES],
            payload <- pin_init::init_zeroed::<[u8; PAYLOAD_BYTES]>(),
        }),
        GFP_KERNEL,
    )?;
    Ok(packet)
}
