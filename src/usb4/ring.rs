// SPDX-License-Identifier: GPL-2.0-only

//! A pair of rings of a host router: frames out and frames in.
//!
//! ```text
//!   alloc ── start: receive ring primed ── (paths on) ── Wire::rail_up
//!                                                             |   post, poll_sent, poll_arrived, repost
//!   drop  ── stop: all frames taken back ── (paths off) ── Wire::rail_down
//! ```
//!
//! Neither ring has callbacks. The receive ring's interrupt starts the wire's work and stays masked
//! until [`Rings::listen`]. The transmit ring is looked at: with `start_poll` set its first interrupt
//! masks itself, and nobody unmasks it (`docs/decisions/0041-transmit-rings-are-looked-at.md`).
//!
//! # Whose frames
//!
//! A transmit frame is the ring's from [`post`](Rings::post) until [`poll_sent`](Rings::poll_sent)
//! returns for it, in order; a receive frame from `start` or [`repost`](Rings::repost) until
//! [`poll_arrived`](Rings::poll_arrived) names it. What is left is taken back by `stop`.

use core::ffi::c_void;
use core::ptr::{null_mut, NonNull};

use kernel::prelude::*;
use kernel::sync::atomic::{ordering, Atomic};
use kernel::sync::{new_mutex, Arc, Mutex};
use kernel::types::Opaque;

use super::buffers::{Direction, Mapping, Pages};
use super::rail::frame::tag;
use super::rail::frame::Tag;
use super::rail::FRAME_SIZE;
use super::wire::{Orphans, Wire};
use crate::verbs::lend::Lent;

/// Descriptors of a ring.
const SIZE: usize = 512;

/// Frames a ring holds: a full one must differ from an empty one.
pub const FRAMES: u32 = SIZE as u32 - 1;

type Frame = Opaque<compat::ring_frame>;

/// One ring.
///
/// # Invariants
///
/// The pointer is to a ring that is ours until it is freed in `drop`.
struct Ring(NonNull<compat::tb_ring>);

// SAFETY: The core locks its rings.
unsafe impl Send for Ring {}
// SAFETY: As above.
unsafe impl Sync for Ring {}

impl Ring {
    #[inline]
    fn get(&self) -> *mut compat::tb_ring {
        self.0.as_ptr()
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        // SAFETY: Ours, and stopped by the owner. Interrupts are over when this returns.
        unsafe { compat::tb_ring_free(self.get()) };
    }
}

/// A transmit and a receive ring.
///
/// # Invariants
///
/// The frames do not move. (Fields are dropped in this order: the rings go before what they reach.)
#[pin_data(PinnedDrop)]
pub struct Rings {
    rx: Ring,
    tx: Ring,
    rx_frames: KVVec<Frame>,
    tx_frames: KVVec<Frame>,
    rx_map: Mapping,
    /// The wire's buffers, as this host router sees them: the same for all rails through it.
    tx_map: Arc<Mapping>,
    /// What the peer's frames are written to.
    rx_pages: Arc<Pages>,
    #[pin]
    is_running: Mutex<bool>,
    rx_ear: KBox<Ear>,
    tx_ear: KBox<Ear>,
    /// Buffers that were in the transmit ring when the rail went down.
    #[pin]
    orphans: Mutex<Option<Orphans>>,
    wire: Arc<Wire>,
}

/// What a ring's interrupt finds.
struct Ear {
    /// Who is to look.
    wire: Option<Arc<Wire>>,
    /// The interrupt is off, for it came.
    is_off: Atomic<bool>,
}

impl Ear {
    fn new(wire: Option<Arc<Wire>>) -> Result<KBox<Self>> {
        let is_off = Atomic::new(false);
        Ok(KBox::new(Self { wire, is_off }, GFP_KERNEL)?)
    }

    fn raw(&self) -> *mut c_void {
        (&raw const *self).cast_mut().cast()
    }
}

// SAFETY: Frames belong to no thread.
unsafe impl Send for Rings {}
// SAFETY: Of the frames, only those that a ring has given back are touched.
unsafe impl Sync for Rings {}

/// A frame that came in.
#[derive(Clone, Copy)]
pub struct Arrived {
    /// Which of the receive ring's frames.
    pub slot: u16,
    /// Its length.
    pub len: u16,
    /// What it is. `None`: it is damaged, or not one of ours.
    pub tag: Option<Tag>,
}

fn frames(count: usize) -> Result<KVVec<Frame>> {
    let mut frames = KVVec::with_capacity(count, GFP_KERNEL)?;
    for _ in 0..count {
        frames.push(Opaque::new(pin_init::zeroed()), GFP_KERNEL)?;
    }
    Ok(frames)
}

impl Rings {
    /// Makes the wire's buffers reachable for a host router: once, whatever rails go through it. Sleeps.
    ///
    /// # Safety
    ///
    /// `nhi` is a host router that stays until the mapping, and all rings with it, are dropped.
    ///
    /// # Errors
    ///
    /// `ENOMEM`; `EIO` if the host router cannot reach our memory.
    pub unsafe fn map_buffers(nhi: *mut compat::tb_nhi, wire: &Wire) -> Result<Arc<Mapping>> {
        // SAFETY: The host router is there and stays, as our caller promises, and so does its device.
        let map = unsafe { Mapping::new((*nhi).dev, wire.buffers().clone(), Direction::ToDevice)? };
        Ok(Arc::new(map, GFP_KERNEL)?)
    }

    /// The [buffers](Self::map_buffers), if these rings are of this host router.
    pub fn buffers_of(&self, nhi: *mut compat::tb_nhi) -> Option<&Arc<Mapping>> {
        // SAFETY: By the type's invariants the ring is there; its host router does not change.
        let is_ours = unsafe { (*self.tx.get()).nhi } == nhi;
        is_ours.then_some(&self.tx_map)
    }

    /// Takes a pair of rings of a host router, and its [buffers](Self::map_buffers). `e2e`: with the
    /// host router's own flow control, as agreed with the peer. Sleeps.
    ///
    /// # Safety
    ///
    /// `nhi` is a host router that stays until the rings are dropped.
    ///
    /// # Errors
    ///
    /// `ENOMEM`; `ENOSPC` if the host router has no rings or interrupts left; `EIO` if it cannot
    /// reach our memory.
    pub unsafe fn alloc(
        nhi: *mut compat::tb_nhi,
        e2e: bool,
        wire: &Arc<Wire>,
        tx_map: &Arc<Mapping>,
    ) -> Result<Arc<Self>> {
        let rx_pages = Pages::alloc(FRAMES as usize)?;
        let (tx_frames, rx_frames) = (frames(SIZE)?, frames(FRAMES as usize)?);
        let (rx_ear, tx_ear) = (Ear::new(Some(wire.clone()))?, Ear::new(None)?);
        let flags = compat::usb4_rxe_RING_FLAG_FRAME
            | if e2e {
                compat::usb4_rxe_RING_FLAG_E2E
            } else {
                0
            };
        // SAFETY: The host router is there, as our caller promises, and so is its device. What
        // `start_poll` gets is kept until the ring is freed. A transmit ring that does not run yet is
        // ours alone.
        let (tx, rx, rx_map) = unsafe {
            let device = (*nhi).dev;
            let tx = compat::tb_ring_alloc_tx(nhi, -1, SIZE as i32, flags);
            let tx = Ring(NonNull::new(tx).ok_or(ENOSPC)?);
            compat::usb4_rxe_ring_set_poll(tx.get(), Some(start_poll), tx_ear.raw());
            let rx = compat::tb_ring_alloc_rx(
                nhi,
                -1,
                SIZE as i32,
                flags,
                (*tx.get()).hop,
                tag::START_MASK,
                tag::END_MASK,
                Some(start_poll),
                rx_ear.raw(),
            );
            let rx = Ring(NonNull::new(rx).ok_or(ENOSPC)?);
            let rx_map = Mapping::new(device, rx_pages.clone(), Direction::FromDevice)?;
            (tx, rx, rx_map)
        };
        let (wire, tx_map) = (wire.clone(), tx_map.clone());
        Arc::pin_init(
            pin_init!(Self {
                rx,
                tx,
                rx_frames,
                tx_frames,
                rx_map,
                tx_map,
                rx_pages,
                rx_ear,
                tx_ear,
                is_running <- new_mutex!(false, "usb4_rxe rings"),
                orphans <- new_mutex!(None, "usb4_rxe orphans"),
                wire,
            }),
            GFP_KERNEL,
        )
    }

    /// The transmit ring's number.
    pub fn tx_hop(&self) -> i32 {
        // SAFETY: By the type's invariants the ring is there; its number does not change.
        unsafe { (*self.tx.get()).hop }
    }

    /// The receive ring's number.
    pub fn rx_hop(&self) -> i32 {
        // SAFETY: As above.
        unsafe { (*self.rx.get()).hop }
    }

    /// Starts both rings and primes the receive ring. Sleeps.
    pub fn start(&self) {
        let mut is_running = self.is_running.lock();
        if *is_running {
            return;
        }
        // SAFETY: The rings are there and do not run.
        unsafe {
            compat::tb_ring_start(self.tx.get());
            compat::tb_ring_start(self.rx.get());
        }
        *is_running = true;
        drop(is_running);
        for slot in 0..self.rx_frames.len() {
            // There are fewer than 2^16.
            self.repost(slot as u16);
        }
    }

    /// Stops both rings and takes all frames back. The paths are off, and the wire uses the rings
    /// no more. Sleeps.
    pub fn stop(&self) {
        let mut is_running = self.is_running.lock();
        if !*is_running {
            return;
        }
        for (ring, ear) in [(&self.rx, &self.rx_ear), (&self.tx, &self.tx_ear)] {
            unmask(ring, ear);
            // SAFETY: The ring is there and runs; this is not a callback of its.
            unsafe { compat::tb_ring_stop(ring.get()) };
        }
        *is_running = false;
        drop(is_running);
        // The host router reads none of them any more.
        if let Some(orphans) = self.orphans.lock().take() {
            self.wire.take_back(self, &orphans);
        }
    }

    /// Keeps the buffers that are in the transmit ring until it is stopped. Sleeps.
    pub fn adopt(&self, orphans: Orphans) {
        *self.orphans.lock() = Some(orphans);
    }

    /// The memory of received frames, by slot.
    pub fn rx_pages(&self) -> &Arc<Pages> {
        &self.rx_pages
    }

    /// Puts a frame into the transmit ring: `len` bytes of one of the wire's buffers.
    ///
    /// `place` counts the frames posted; the one posted [`SIZE`] before is back.
    #[inline]
    pub fn post_buffer(&self, place: u32, buffer: usize, len: usize, tag: Tag) {
        let map = &self.tx_map;
        let Some(address) = map.address(buffer) else {
            return;
        };
        map.give(buffer, len);
        self.post(place, address, len, tag);
    }

    /// The same with memory of a user. Returns what the host router calls it.
    #[inline]
    pub fn post_lent(&self, place: u32, lent: Lent, tag: Tag) -> compat::dma_addr_t {
        // SAFETY: The memory is pinned and mapped in the kernel until the loan ends, which is after
        // `unmap`. The device is there.
        let mapped = unsafe { self.tx_map.map(lent.address(), lent.len()) };
        // Where memory needs no mapping nothing can fail. If it did, the frame must go all the
        // same, for its place is taken: with other bytes, which the receiver refuses.
        let address = mapped
            .or_else(|| self.tx_map.address(0))
            .unwrap_or_default();
        self.post(place, address, lent.len(), tag);
        mapped.unwrap_or(compat::dma_addr_t::MAX)
    }

    /// What was [posted](Self::post_lent) is sent, or will not be.
    #[inline]
    pub fn unmap(&self, lent: Lent, address: compat::dma_addr_t) {
        if address != compat::dma_addr_t::MAX {
            // SAFETY: From `map`.
            unsafe { self.tx_map.unmap(address, lent.len()) };
        }
    }

    /// Whether the host router reads memory without having it mapped, which costs nothing then.
    #[inline]
    pub fn is_direct(&self) -> bool {
        self.tx_map.is_direct()
    }

    #[inline]
    fn post(&self, place: u32, address: compat::dma_addr_t, len: usize, tag: Tag) {
        let Some(frame) = self.tx_frames.get(place as usize % SIZE) else {
            return;
        };
        let frame = frame.get();
        // SAFETY: The frame is not in the ring, as our caller promises, so it is ours; it does not
        // move and lives as long as the ring. It has no callback, for it was zeroed.
        unsafe {
            (*frame).buffer_phy = address;
            // 4096 is coded as 0.
            (*frame).set_size(len as u32 & 0xfff);
            (*frame).set_sof(tag::START.into());
            (*frame).set_eof(tag.bits().into());
            // It fails only when the ring is stopped, which takes all frames back.
            compat::__tb_ring_enqueue(self.tx.get(), frame);
        }
    }

    /// Whether the oldest frame in the transmit ring is sent; if so, it is back.
    #[inline]
    pub fn poll_sent(&self) -> bool {
        // SAFETY: The ring is there.
        !unsafe { compat::tb_ring_poll(self.tx.get()) }.is_null()
    }

    /// The next frame that came in.
    #[inline]
    pub fn poll_arrived(&self) -> Option<Arrived> {
        // SAFETY: The ring is there.
        let frame = unsafe { compat::tb_ring_poll(self.rx.get()) };
        if frame.is_null() {
            return None;
        }
        // SAFETY: The ring gives back what was put in, so the frame is one of `rx_frames`, and now
        // ours.
        let (slot, flags, size, end) = unsafe {
            let slot = frame
                .cast_const()
                .offset_from(self.rx_frames.as_ptr().cast());
            ((slot), (*frame).flags(), (*frame).size(), (*frame).eof())
        };
        let len = if size == 0 { FRAME_SIZE as u32 } else { size };
        let bad = compat::ring_desc_flags_RING_DESC_CRC_ERROR
            | compat::ring_desc_flags_RING_DESC_BUFFER_OVERRUN;
        let tag = if flags & bad == 0 {
            // Four bits.
            Tag::from_bits(end as u8)
        } else {
            None
        };
        self.rx_map.take(slot as usize, len as usize);
        Some(Arrived {
            // There are fewer than 2^16 slots; a frame has at most 4096 bytes.
            slot: slot as u16,
            len: len as u16,
            tag,
        })
    }

    /// Gives a frame back to the receive ring.
    #[inline]
    pub fn repost(&self, slot: u16) {
        let map = &self.rx_map;
        let frame = self.rx_frames.get(usize::from(slot));
        let (Some(frame), Some(address)) = (frame, map.address(slot.into())) else {
            return;
        };
        map.give(slot.into(), FRAME_SIZE);
        let frame = frame.get();
        // SAFETY: The frame is not in the ring, so it is ours; it does not move and lives as long
        // as the ring.
        unsafe {
            (*frame).buffer_phy = address;
            compat::__tb_ring_enqueue(self.rx.get(), frame);
        }
    }

    /// Lets the receive ring interrupt again. Look once more afterwards: a frame that came just
    /// before may not interrupt. Returns whether it did not.
    pub fn listen(&self) -> bool {
        let was_off = self.rx_ear.is_off.xchg(false, ordering::Relaxed);
        if was_off {
            // SAFETY: The ring is there.
            unsafe { compat::tb_ring_poll_complete(self.rx.get()) };
        }
        was_off
    }
}

#[pinned_drop]
impl PinnedDrop for Rings {
    fn drop(self: Pin<&mut Self>) {
        self.stop();
    }
}

/// Switches a ring's interrupt on, to stay on: `tb_ring_stop` complains of one that is off.
///
/// One that is pending comes as soon as it is on. While it masks itself it has to be unmasked again;
/// with nothing to call it does not.
fn unmask(ring: &Ring, ear: &Ear) {
    loop {
        ear.is_off.store(false, ordering::Relaxed);
        // SAFETY: The ring is there, and `ear` longer than it. The interrupt runs under the locks
        // that setting takes: afterwards either it has masked itself and said so, or it will not.
        unsafe {
            compat::usb4_rxe_ring_set_poll(ring.get(), Some(start_poll), ear.raw());
            compat::tb_ring_poll_complete(ring.get());
            compat::usb4_rxe_ring_set_poll(ring.get(), None, null_mut());
        }
        if !ear.is_off.load(ordering::Relaxed) {
            return;
        }
    }
}

/// A ring has frames. Called from its interrupt, which is off now, with locks of the core's held.
///
/// # Safety
///
/// As the core calls it, with what `alloc` handed over.
unsafe extern "C" fn start_poll(ear: *mut c_void) {
    // SAFETY: What `alloc` handed over, kept until the ring is freed.
    let ear = unsafe { &*ear.cast_const().cast::<Ear>() };
    ear.is_off.store(true, ordering::Relaxed);
    if let Some(wire) = &ear.wire {
        wire.counters.interrupts.count();
        Wire::kick(wire.as_arc_borrow());
    }
}
