// SPDX-License-Identifier: GPL-2.0-only

//! All rails to one peer, with the locks, the clock and the rings that [`rail`](super::rail) leaves
//! to its owner.
//!
//! ```text
//!   post_send ─ Env::begin ─> Wire::begin ─> Outgoing: headers and payload into buffers ─> commit
//!                                                                                       |
//!   netdev ─ start_xmit ─────────────────────────────────────────────────────────> tx: Sender ─> Rings::post
//!
//!   ring's interrupt, timer ─> kick ─> poll: rx: Receiver ─> Inbound ─> queue pair | netdev
//!                                       '- answers, credits, what waited ─> tx
//! ```
//!
//! | file | what |
//! |---|---|
//! | `mod.rs` | the object; rails come and go |
//! | `tx.rs` | the sending half, its buffers and rings |
//! | `rx.rs` | the receiving half and the frames it holds |
//! | `poll.rs` | the softirq work: takes in what came, sees what went, keeps the timer |
//! | `outgoing.rs` | one RDMA packet on its way into a frame |
//! | `ethernet.rs` | one of plain Ethernet |
//! | `taps.rs` | packets for the network device, and copies for who listens |
//!
//! # Locks
//!
//! `rx`, then a queue pair's, then `tx`: an acknowledgement leaves while its packet is delivered.

mod ethernet;
mod outgoing;
mod poll;
mod rx;
mod taps;
mod tx;

pub use outgoing::Outgoing;
pub use tx::Orphans;

use kernel::prelude::*;
use kernel::sync::atomic::{ordering, Atomic};
use kernel::sync::{Arc, ArcBorrow};
use kernel::workqueue::{self, impl_has_work, new_work, Work};

use self::poll::Port;
use self::rx::Rx;
use self::tx::{Locked, Tx};
use super::buffers::Pages;
use super::netdev::Netdev;
use super::rail::frame::close::Reason;
use super::rail::id::RailId;
use super::rail::link::Halves;
use super::rail::port::Down;
use super::rail::tally::RailView;
use super::rail::tx::RailUp;
use super::rail::MAX_RAILS;
use super::ring::Rings;
use crate::verbs::device::Device;
use crate::verbs::lend::Lent;
use crate::verbs::lock::{new_bh_lock, Bh, BhLock};
use crate::verbs::timer::{now, Timer};
use crate::verbs::work;

/// Buffers to send from: all that a full link of eight rails has in its rings, and some to fill.
const BUFFERS: usize = 1024;

/// The token of packets whose loss nobody is told: no queue pair has the number.
const NOBODY: u64 = 0;

/// Who is told that a rail went down by itself.
pub trait Watcher: Send + Sync {
    /// The rail is dead: take it down, and log in again. Softirqs are off and locks are held: make a
    /// note and start a work.
    fn rail_died(&self, rail: RailId, why: Down);
}

/// All rails to one peer.
#[pin_data]
pub struct Wire {
    #[pin]
    rx: BhLock<Rx>,
    #[pin]
    tx: BhLock<Tx>,
    /// What frames are sent from.
    buffers: Arc<Pages>,
    #[pin]
    work: Work<Wire>,
    #[pin]
    timer: Timer<Wire>,
    /// Rails that are up, a bit each: readable without a lock.
    up: Atomic<u32>,
    /// Somebody was told that there is no room.
    wanted: Atomic<bool>,
    /// The counters.
    pub counters: Counters,
}

impl_has_work! {
    impl HasWork<Self> for Wire { self.work }
}

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// What happened on the wire, since it was made.
        #[derive(Default)]
        pub struct Counters {
            $($(#[$doc])* pub $name: Count,)*
        }

        impl Counters {
            fn each(&self, mut show: impl FnMut(u64)) {
                $(show(self.$name.get());)*
            }
        }

        /// What [`Wire::each_counter`] counts, in its order.
        pub const COUNTER_NAMES: &[&str] = &["tx_frames", $(stringify!($name),)*];
    };
}

counters! {
    /// Frames of receive rings.
    rx_frames,
    /// RDMA packets sent.
    tx_rdma,
    /// Those of them whose payload the host routers read where the user has it.
    tx_lent,
    /// RDMA packets received for our device.
    rx_rdma,
    /// Ethernet frames sent.
    tx_ethernet,
    /// Ethernet frames received.
    rx_ethernet,
    /// Frames that a cable damaged.
    rx_damaged,
    /// Frames refused: out of order, without credit, malformed.
    rx_refused,
    /// Packets that the peer sent and that will never come.
    rx_lost,
    /// Packets with a wrong ICRC.
    rx_icrc_errors,
    /// Packets that no memory was left for.
    rx_no_memory,
    /// Packets we sent that the peer will never get.
    tx_lost,
    /// Times that a packet found no room.
    tx_busy,
    /// Interrupts of receive rings.
    interrupts,
    /// Passes of the work.
    polls,
    /// Passes that found nothing.
    polls_idle,
}

/// A counter. [`add`](Self::add) under a lock or from one CPU only, or else [`count`](Self::count).
pub struct Count(Atomic<u64>);

impl Default for Count {
    fn default() -> Self {
        Self(Atomic::new(0))
    }
}

impl Count {
    /// Adds.
    #[inline]
    pub fn add(&self, more: u64) {
        let sum = self.0.load(ordering::Relaxed).wrapping_add(more);
        self.0.store(sum, ordering::Relaxed);
    }

    /// Adds one, from anywhere.
    #[inline]
    pub fn count(&self) {
        self.0.fetch_add(1, ordering::Relaxed);
    }

    /// Its value.
    pub fn get(&self) -> u64 {
        self.0.load(ordering::Relaxed)
    }
}

impl Wire {
    /// Without rails.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub fn new(watcher: Arc<dyn Watcher>) -> Result<Arc<Self>> {
        let buffers = Pages::alloc(BUFFERS)?;
        let (rx, tx) = (Rx::new(watcher)?, Tx::new(buffers.clone())?);
        Arc::pin_init(
            pin_init!(Self {
                rx <- new_bh_lock!(rx, "usb4_rxe wire rx"),
                tx <- new_bh_lock!(tx, "usb4_rxe wire tx"),
                buffers,
                work <- new_work!("usb4_rxe wire"),
                // SAFETY: It is the field `timer` of a `Wire`, in an `Arc`.
                timer <- unsafe { Timer::new() },
                up: Atomic::new(0),
                wanted: Atomic::new(false),
                counters: Counters::default(),
            }),
            GFP_KERNEL,
        )
    }

    /// What happened since it was made: values in the order of [`COUNTER_NAMES`].
    pub fn each_counter(&self, mut show: impl FnMut(u64)) {
        let bh = Bh::disable();
        let posted = self.tx.lock(&bh).out.posted;
        drop(bh);
        show(posted);
        self.counters.each(show);
    }

    /// How the rails are, those that ever were up. Why lives ended is not known here.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub fn rails(&self) -> Result<KVec<RailView<'static>>> {
        let mut views = KVec::with_capacity(MAX_RAILS, GFP_KERNEL)?;
        for id in RailId::all() {
            let bh = Bh::disable();
            let rx = self.rx.lock(&bh);
            let tx = self.tx.lock(&bh).sender.view(id);
            let Some(rx) = rx.receiver.view(id) else {
                continue;
            };
            if tx.tally.lives != 0 {
                let ended = None;
                // There is room.
                let _ = views.push_within_capacity(RailView { id, tx, rx, ended });
            }
        }
        Ok(views)
    }

    /// What the counters of the RDMA device come to, in the order of
    /// [`Counter::ALL`](crate::rxe::events::Counter::ALL), if there is one.
    pub fn each_rdma_counter(&self, show: impl FnMut(u64)) -> bool {
        let bh = Bh::disable();
        let device = self.rx.lock(&bh).device.clone();
        drop(bh);
        let is_there = device.is_some();
        if let Some(device) = device {
            device.counters.sums().for_each(show);
        }
        is_there
    }

    /// What frames are sent from.
    pub fn buffers(&self) -> &Arc<Pages> {
        &self.buffers
    }

    /// Whether there is a rail.
    #[inline]
    pub fn is_up(&self) -> bool {
        self.up.load(ordering::Relaxed) != 0
    }

    /// Where plain Ethernet goes, and whose queue wakes up when there is room.
    pub fn set_netdev(&self, netdev: Option<Netdev>) {
        let bh = Bh::disable();
        let mut rx = self.rx.lock(&bh);
        let before = core::mem::replace(&mut rx.netdev, netdev.clone());
        let (waiting, held) = {
            let mut tx = self.tx.lock(&bh);
            let waiting = tx.give_up_waiting();
            (waiting, core::mem::replace(&mut tx.netdev, netdev))
        };
        drop(rx);
        // The packet goes out of the device.
        drop(waiting);
        drop(bh);
        drop((before, held));
    }

    /// Where RDMA goes.
    pub fn set_device(&self, device: Arc<Device>) {
        let bh = Bh::disable();
        let before = self.rx.lock(&bh).device.replace(device);
        drop(bh);
        drop(before);
    }

    /// RDMA goes nowhere any more, if it went to this device.
    pub fn forget_device(&self, device: &Arc<Device>) {
        let bh = Bh::disable();
        let before = {
            let mut rx = self.rx.lock(&bh);
            rx.device.take_if(|known| Arc::ptr_eq(known, device))
        };
        drop(bh);
        drop(before);
    }

    /// A rail begins a life: its rings run, its paths are on.
    ///
    /// # Errors
    ///
    /// `EBUSY` if frames of its last two lives are still waited with: try again.
    pub fn rail_up(self: &Arc<Self>, rail: RailId, up: &RailUp, rings: &Arc<Rings>) -> Result {
        let fresh = tx::Ring::new(rings.clone())?;
        let bh = Bh::disable();
        let (old, ended) = {
            let mut rx = self.rx.lock(&bh);
            let rx = &mut *rx;
            let ended = rx.frames.begin(rail, rings)?;
            let mut port = Port::new(self, &bh, &mut rx.frames, &rx.device, &rx.netdev);
            let mut halves = Halves {
                tx: Locked::new(self, &bh),
                rx: &mut rx.receiver,
            };
            let old = self.tx.lock(&bh).out.replace(rail, Some(fresh));
            halves.rail_up(now(), rail, up, &mut port);
            port.forget_down(rail);
            if !self.is_up() {
                port.reconnected();
            }
            self.mark(rail, true);
            port.finish(&mut rx.news, &rx.watcher);
            (old, ended)
        };
        drop(bh);
        if let Some(old) = old {
            old.orphan();
        }
        drop(ended);
        Self::kick(self.as_arc_borrow());
        Ok(())
    }

    /// The interface is up again.
    pub fn reconnected(self: &Arc<Self>) {
        let bh = Bh::disable();
        self.rx.lock(&bh).news.reconnected();
        drop(bh);
        Self::kick(self.as_arc_borrow());
    }

    /// A rail is dead, or is to be. After this its rings are used no more.
    pub fn rail_down(self: &Arc<Self>, rail: RailId, why: Down) {
        let bh = Bh::disable();
        let (old, ended, waiting) = {
            let mut rx = self.rx.lock(&bh);
            let rx = &mut *rx;
            let ended = rx.frames.end(rail);
            self.mark(rail, false);
            let mut port = Port::new(self, &bh, &mut rx.frames, &rx.device, &rx.netdev);
            let mut halves = Halves {
                tx: Locked::new(self, &bh),
                rx: &mut rx.receiver,
            };
            halves.rail_down(now(), rail, why, &mut port);
            let (old, waiting) = {
                let mut tx = self.tx.lock(&bh);
                let tx = &mut *tx;
                let mut waiting = None;
                if !self.is_up() {
                    tx.sender.abandon(&mut tx.out, &mut port);
                    waiting = tx.give_up_waiting();
                }
                (tx.out.replace(rail, None), waiting)
            };
            port.forget_down(rail);
            port.finish(&mut rx.news, &rx.watcher);
            (old, ended, waiting)
        };
        drop(waiting);
        drop(bh);
        if let Some(old) = old {
            old.orphan();
        }
        drop(ended);
        Self::kick(self.as_arc_borrow());
    }

    /// Says goodbye on a rail, if it can.
    pub fn close_rail(&self, rail: RailId, why: Reason) {
        let bh = Bh::disable();
        let mut tx = self.tx.lock(&bh);
        let tx = &mut *tx;
        tx.sender.close(now(), rail, why, &mut tx.out);
    }

    /// Whether the host router has taken all that was put into the ring of a rail.
    pub fn has_left(&self, rail: RailId) -> bool {
        let bh = Bh::disable();
        let mut tx = self.tx.lock(&bh);
        tx.reap(now());
        tx.sender.outstanding(rail) == 0
    }

    /// The peer has forgotten everything: all rails are down, all numbers begin anew.
    pub fn reset(self: &Arc<Self>) {
        for rail in RailId::all() {
            self.rail_down(rail, Down::Peer);
        }
        let bh = Bh::disable();
        let mut rx = self.rx.lock(&bh);
        let rx = &mut *rx;
        let mut port = Port::new(self, &bh, &mut rx.frames, &rx.device, &rx.netdev);
        let mut halves = Halves {
            tx: Locked::new(self, &bh),
            rx: &mut rx.receiver,
        };
        halves.reset(now(), &mut port);
        port.finish(&mut rx.news, &None);
        Self::kick(self.as_arc_borrow());
    }

    /// Marks a rail as up or not. The receiving half is locked.
    fn mark(&self, rail: RailId, is_up: bool) {
        let bit = 1 << rail.get();
        let up = self.up.load(ordering::Relaxed);
        let up = if is_up { up | bit } else { up & !bit };
        self.up.store(up, ordering::Relaxed);
    }

    /// Starts the work, unless it is about to run anyway. From any context.
    #[inline]
    pub fn kick(this: ArcBorrow<'_, Self>) {
        // Enqueued twice is enqueued once.
        let _ = workqueue::system_bh().enqueue(Arc::from(this));
    }

    /// Ends timer and work. There are no rails, and will be none. Sleeps.
    pub fn shut(self: &Arc<Self>) {
        let bh = Bh::disable();
        let ended = {
            let mut rx = self.rx.lock(&bh);
            (rx.watcher.take(), rx.device.take())
        };
        // From here on nobody sets the timer, so that after this nothing starts the work any more.
        self.tx.lock(&bh).is_over = true;
        drop(bh);
        drop(ended);
        self.timer.cancel();
        work::cancel(self);
    }

    /// Buffers of a stopped ring.
    pub(super) fn take_back(&self, rings: &Rings, orphans: &Orphans) {
        let bh = Bh::disable();
        self.tx.lock(&bh).out.take_back(rings, orphans);
    }

    /// Drops what waits for a rail, as if it had been lost on the way, if such memory is among it.
    pub fn abandon(self: &Arc<Self>, is_wanted: impl Fn(Lent) -> bool) {
        let bh = Bh::disable();
        let mut rx = self.rx.lock(&bh);
        let rx = &mut *rx;
        let mut port = Port::new(self, &bh, &mut rx.frames, &rx.device, &rx.netdev);
        {
            let mut tx = self.tx.lock(&bh);
            let tx = &mut *tx;
            if tx
                .sender
                .is_waiting_with(|payload| payload.is_lent(&is_wanted))
            {
                tx.sender.abandon(&mut tx.out, &mut port);
            }
        }
        port.finish(&mut rx.news, &None);
        Self::kick(self.as_arc_borrow());
    }

    /// Such memory should have been sent long ago: has the rails taken down whose rings still have it,
    /// to begin anew.
    pub fn give_up(&self, is_wanted: impl Fn(Lent) -> bool) {
        let bh = Bh::disable();
        let rx = self.rx.lock(&bh);
        let Some(watcher) = &rx.watcher else { return };
        // It may be sent, and nobody has looked yet.
        self.tx.lock(&bh).reap(now());
        for rail in RailId::all() {
            let is_stuck = self.tx.lock(&bh).out.holds(rail, &is_wanted);
            if is_stuck {
                watcher.rail_died(rail, Down::Silent);
            }
        }
    }
}
