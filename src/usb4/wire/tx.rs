// SPDX-License-Identifier: GPL-2.0-only

//! The sending half, its buffers and its rings.
//!
//! A buffer is free, or lies in the frame being filled, or in a transmit ring; when the ring has
//! sent it, it is free again. The buffers of a rail that went down are free when its ring is
//! stopped: until then the host router may still read them. The same goes for memory of users that
//! is lent ([`crate::verbs::lend`]).

use core::ops::{Deref, DerefMut};
use core::ptr::NonNull;
use core::slice;

use kernel::prelude::*;
use kernel::sync::Arc;

use crate::rxe::time::{Nanos, Time};
use crate::usb4::buffers::Pages;
use crate::usb4::netdev::Netdev;
use crate::usb4::rail::config::Times;
use crate::usb4::rail::frame::Tag;
use crate::usb4::rail::id::RailId;
use crate::usb4::rail::link::{Posting, Sending};
use crate::usb4::rail::login;
use crate::usb4::rail::port::Egress;
use crate::usb4::rail::tx::{Entry, Sender};
use crate::usb4::rail::{FRAME_SIZE, MAX_RAILS};
use crate::usb4::ring::Rings;
use crate::usb4::xmit::Packet;
use crate::verbs::lend::Lent;
use crate::verbs::lock::Bh;

use super::Wire;

/// Longer than in the simulations: a peer is no clockwork. Its work queue may be late, its CPU away
/// for some milliseconds (in a virtual machine for many), and a rail that is given up too early costs
/// a login. A cable that is pulled is known from the host router anyway.
const TIMES: Times = Times {
    // Longer than a message and its answer take where guests are emulated, too: what the peer sends
    // anyway then says that all arrived.
    probe: Nanos::from_millis(2),
    status: Nanos::from_millis(1),
    stall: Nanos::from_millis(10),
    again: Nanos::from_millis(5),
    dead: Nanos::from_millis(2_000),
    starved: Nanos::from_millis(5_000),
    join: Nanos::from_millis(5_000),
};

// Or a cable that carries control messages only would be tried again and again without a rest.
const _: () = assert!(TIMES.join.0 < login::SHORT.0);

/// Packets whose loss can be told to their queue pair.
const LOG: usize = 8192;
/// Descriptors of a ring, or more.
const PLACES: usize = 512;

/// The sending half of the rails over our rings.
pub type WireSender = Sender<Out, KVVec<Entry>>;

/// What the lock protects.
pub struct Tx {
    pub sender: KBox<WireSender>,
    pub out: Out,
    /// Whose queue is stopped while a packet waits.
    pub netdev: Option<Netdev>,
    /// The packet of plain Ethernet that found no room. It goes out of `netdev`, and is taken from here
    /// with softirqs off until it is sent or dropped: it holds no reference to the device. While there is
    /// one, a rail is up, and the timer set or the work about to run.
    pub waiting: Option<Packet>,
    /// When the timer fires.
    pub timer_at: Time,
    /// The timer is not set any more.
    pub is_over: bool,
    /// How soon to look for room.
    pub patience: Nanos,
}

/// How soon the transmit rings are looked at when somebody waits for room, and how seldom while
/// they do not move.
const LOOK_FIRST: Nanos = Nanos::from_micros(25);
const LOOK_LAST: Nanos = Nanos::from_micros(800);

impl Tx {
    pub fn new(pages: Arc<Pages>) -> Result<Self> {
        let mut log = KVVec::with_capacity(LOG, GFP_KERNEL)?;
        log.extend_with(LOG, Entry::EMPTY, GFP_KERNEL)?;
        Ok(Self {
            sender: KBox::new(Sender::new(log, TIMES), GFP_KERNEL)?,
            out: Out::new(pages)?,
            netdev: None,
            waiting: None,
            timer_at: Time::NEVER,
            is_over: false,
            patience: LOOK_FIRST,
        })
    }

    /// Frees what the rings have sent. Returns how many frames.
    pub fn reap(&mut self, now: Time) -> u32 {
        let all = self.reap_all(now);
        if all != 0 {
            self.patience = LOOK_FIRST;
        }
        all
    }

    /// The next packet of plain Ethernet may come: none waits.
    pub fn wake_queue(&self) {
        if let Some(netdev) = &self.netdev {
            netdev.wake_queue();
        }
    }

    /// The packet that waits, which cannot be sent any more: to be dropped after the lock.
    pub fn give_up_waiting(&mut self) -> Option<Packet> {
        let packet = self.waiting.take()?;
        self.wake_queue();
        Some(packet)
    }

    /// Nothing was sent since somebody began to wait.
    pub fn be_patient(&mut self) {
        self.patience = self.patience.saturating_mul(2).min(LOOK_LAST);
    }

    fn reap_all(&mut self, now: Time) -> u32 {
        let mut all = 0u32;
        for rail in RailId::all() {
            let sent = self.out.reap(rail);
            if sent != 0 {
                self.sender.completed(now, rail, sent);
                all = all.saturating_add(sent);
            }
        }
        all
    }
}

/// A transmit ring and the buffers in it.
pub struct Ring {
    rings: Arc<Rings>,
    posted: u32,
    reaped: u32,
    /// By place in the ring.
    held: KVVec<Held>,
}

/// What a transmit ring reads.
#[derive(Clone, Copy)]
enum Held {
    /// A buffer.
    Buffer(u16),
    /// Memory of a user, and what the host router calls it.
    Lent(Lent, compat::dma_addr_t),
}

impl Ring {
    /// An empty one.
    pub fn new(rings: Arc<Rings>) -> Result<Self> {
        let mut held = KVVec::with_capacity(PLACES, GFP_KERNEL)?;
        held.extend_with(PLACES, Held::Buffer(0), GFP_KERNEL)?;
        Ok(Self {
            rings,
            posted: 0,
            reaped: 0,
            held,
        })
    }

    #[inline]
    fn post(&mut self, payload: Payload, len: usize, tag: Tag) {
        let held = match payload {
            Payload::Buffer(buffer) => {
                self.rings.post_buffer(self.posted, buffer.into(), len, tag);
                Held::Buffer(buffer)
            }
            Payload::Lent(lent) => {
                let address = self.rings.post_lent(self.posted, lent, tag);
                Held::Lent(lent, address)
            }
        };
        if let Some(place) = self.held.get_mut(self.posted as usize % PLACES) {
            *place = held;
        }
        self.posted = self.posted.wrapping_add(1);
    }

    /// What it has not sent yet.
    fn held(&self) -> impl Iterator<Item = Held> + '_ {
        in_ring(&self.held, self.posted, self.reaped)
    }

    /// The rail is down: leaves the buffers in the ring to the rings, until they are stopped. Sleeps.
    pub fn orphan(self) {
        let Self {
            rings,
            posted,
            reaped,
            held,
        } = self;
        rings.adopt(Orphans {
            posted,
            reaped,
            held,
        });
    }
}

/// Buffers in a transmit ring that the wire uses no more.
pub struct Orphans {
    posted: u32,
    reaped: u32,
    held: KVVec<Held>,
}

impl Orphans {
    /// Which ones.
    fn held(&self) -> impl Iterator<Item = Held> + '_ {
        in_ring(&self.held, self.posted, self.reaped)
    }
}

fn in_ring(held: &[Held], posted: u32, reaped: u32) -> impl Iterator<Item = Held> + '_ {
    let count = posted.wrapping_sub(reaped);
    (0..count).filter_map(move |number| {
        let place = reaped.wrapping_add(number) as usize % PLACES;
        held.get(place).copied()
    })
}

/// The buffers and the transmit rings.
///
/// # Invariants
///
/// A buffer is in `free`, or lent out by `buffer` or `take`, or in a ring: at one place only.
pub struct Out {
    rings: [Option<Ring>; MAX_RAILS],
    pages: Arc<Pages>,
    free: KVVec<u16>,
    /// Frames put into rings.
    pub posted: u64,
    /// All rails read memory without having it mapped.
    is_direct: bool,
}

/// A buffer, lent out.
pub struct Buffer {
    index: u16,
    page: NonNull<u8>,
}

// SAFETY: Memory belongs to no thread.
unsafe impl Send for Buffer {}

impl Deref for Buffer {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        // SAFETY: The page has as many bytes; by the invariants of `Out` nobody else has it.
        // Buffers are dropped with the sender, before the pages are.
        unsafe { slice::from_raw_parts(self.page.as_ptr(), FRAME_SIZE) }
    }
}

impl DerefMut for Buffer {
    #[inline]
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: As in `deref`.
        unsafe { slice::from_raw_parts_mut(self.page.as_ptr(), FRAME_SIZE) }
    }
}

impl Out {
    fn new(pages: Arc<Pages>) -> Result<Self> {
        let mut free = KVVec::with_capacity(pages.len(), GFP_KERNEL)?;
        for index in 0..pages.len() {
            // There are fewer than 2^16.
            free.push(index as u16, GFP_KERNEL)?;
        }
        Ok(Self {
            rings: [const { None }; MAX_RAILS],
            pages,
            free,
            posted: 0,
            is_direct: false,
        })
    }

    /// Puts another ring, or none, in a rail's place.
    pub fn replace(&mut self, rail: RailId, ring: Option<Ring>) -> Option<Ring> {
        let place = self.rings.get_mut(rail.index())?;
        let before = core::mem::replace(place, ring);
        let mut rings = self.rings.iter().flatten();
        self.is_direct = rings.all(|ring| ring.rings.is_direct());
        before
    }

    /// Whether all rails read memory without having it mapped.
    #[inline]
    pub fn is_direct(&self) -> bool {
        self.is_direct
    }

    /// Whether the ring of a rail has such memory of users.
    pub fn holds(&self, rail: RailId, is_wanted: impl Fn(Lent) -> bool) -> bool {
        let Some(Some(ring)) = self.rings.get(rail.index()) else {
            return false;
        };
        let mut held = ring.held();
        held.any(|held| matches!(held, Held::Lent(lent, _) if is_wanted(lent)))
    }

    /// Takes back what a stopped ring held.
    pub fn take_back(&mut self, rings: &Rings, orphans: &Orphans) {
        for held in orphans.held() {
            give_back(&mut self.free, rings, held);
        }
    }

    /// Frees what a ring has sent. Returns how many frames.
    #[inline]
    fn reap(&mut self, rail: RailId) -> u32 {
        let Self { rings, free, .. } = self;
        let Some(Some(ring)) = rings.get_mut(rail.index()) else {
            return 0;
        };
        let before = ring.reaped;
        while ring.reaped != ring.posted && ring.rings.poll_sent() {
            if let Some(held) = ring.held.get(ring.reaped as usize % PLACES) {
                give_back(free, &ring.rings, *held);
            }
            ring.reaped = ring.reaped.wrapping_add(1);
        }
        ring.reaped.wrapping_sub(before)
    }

    /// Lends out a buffer.
    #[inline]
    pub fn take(&mut self) -> Option<Buffer> {
        let index = self.free.pop()?;
        let page = self.pages.get(index.into())?;
        Some(Buffer { index, page })
    }

    /// A buffer is free.
    pub fn put(&mut self, index: u16) {
        let _ = self.free.push_within_capacity(index);
    }

    #[inline]
    fn post(&mut self, rail: RailId, payload: Payload, len: usize, tag: Tag) {
        match self.rings.get_mut(rail.index()) {
            Some(Some(ring)) => {
                ring.post(payload, len, tag);
                self.posted = self.posted.wrapping_add(1);
            }
            // The sender posts to rails that are up only, and those have a ring.
            _ => self.drop_payload(payload),
        }
    }
}

/// A ring has sent, or will not send, what it held.
#[inline]
fn give_back(free: &mut KVVec<u16>, rings: &Rings, held: Held) {
    match held {
        Held::Buffer(buffer) => {
            // There is room for every buffer there is.
            let _ = free.push_within_capacity(buffer);
        }
        Held::Lent(lent, address) => {
            rings.unmap(lent, address);
            // SAFETY: It was posted once, and nobody else has it.
            unsafe { lent.end() };
        }
    }
}

impl Buffer {
    /// Its number.
    pub fn index(&self) -> u16 {
        self.index
    }
}

/// What a payload frame is sent from. Becomes the sender's, for once.
#[derive(Clone, Copy)]
pub enum Payload {
    /// The buffer of this number.
    Buffer(u16),
    /// Memory of a user.
    Lent(Lent),
}

impl Payload {
    /// Whether it is such memory of a user.
    pub fn is_lent(self, is_wanted: impl Fn(Lent) -> bool) -> bool {
        matches!(self, Self::Lent(lent) if is_wanted(lent))
    }
}

impl Egress for Out {
    type Buffer = Buffer;
    type Payload = Payload;

    #[inline]
    fn buffer(&mut self) -> Option<Buffer> {
        self.take()
    }

    #[inline]
    fn post_head(&mut self, rail: RailId, buffer: Buffer, len: usize) {
        self.post(rail, Payload::Buffer(buffer.index), len, Tag::Header);
    }

    #[inline]
    fn post_payload(&mut self, rail: RailId, payload: Payload, len: usize, tag: Tag) {
        self.post(rail, payload, len, tag);
    }

    fn drop_buffer(&mut self, buffer: Buffer) {
        self.put(buffer.index);
    }

    fn drop_payload(&mut self, payload: Payload) {
        match payload {
            Payload::Buffer(buffer) => self.put(buffer),
            // SAFETY: It is the sender's, for once, and will not be posted.
            Payload::Lent(lent) => unsafe { lent.end() },
        }
    }
}

/// The sending half behind its lock.
pub struct Locked<'a> {
    wire: &'a Wire,
    bh: &'a Bh,
}

impl<'a> Locked<'a> {
    pub fn new(wire: &'a Wire, bh: &'a Bh) -> Self {
        Self { wire, bh }
    }
}

impl Sending for Locked<'_> {
    type Egress = Out;
    type Log = KVVec<Entry>;

    #[inline]
    fn with<R>(&mut self, call: impl FnOnce(&mut WireSender) -> R) -> R {
        call(&mut self.wire.tx.lock(self.bh).sender)
    }
}

impl Posting for Locked<'_> {
    #[inline]
    fn post<R>(&mut self, call: impl FnOnce(&mut WireSender, &mut Out) -> R) -> R {
        let tx = &mut *self.wire.tx.lock(self.bh);
        call(&mut tx.sender, &mut tx.out)
    }
}
