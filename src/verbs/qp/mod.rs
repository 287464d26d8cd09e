// SPDX-License-Identifier: GPL-2.0-only

//! Queue pairs: the engine's [`Qp`](crate::rxe::qp::Qp) with a lock, queues, a timer and a name.
//!
//! ```text
//!   post_send (user)  ──> doorbell ──┐
//!   deliver           ──> receive  ──┼──> with_engine: lock, call the engine, run it, set the timer
//!   timer             ──> fired    ──┤         │
//!   port's work       ──> run      ──┘         '──> Later: wake completion queues, tell events
//!   post_send (kernel) ─> schedule, the port's work runs it: its caller may hold any lock
//! ```
//!
//! | file | what |
//! |---|---|
//! | `mod.rs` | the object and every way into the engine |
//! | `queues.rs` | send and receive queue: from shared memory to the engine's requests |
//! | `memory.rs` | the engine's storage |
//! | `create.rs`, `modify.rs`, `post.rs` | the verbs |

mod create;
mod memory;
mod modify;
mod post;
mod queues;

pub use create::{create_qp, destroy_qp};
pub use modify::{modify_qp, query_qp};
pub use post::{post_recv, post_send};
pub use queues::{Ends, RecvQueue, SendQueue};

use kernel::alloc::kvec::PushError;
use kernel::list::{impl_list_arc_safe, impl_list_item, AtomicTracker, ListLinks, TryNewListArc};
use kernel::prelude::*;
use kernel::sync::atomic::{ordering, Atomic};
use kernel::sync::{Arc, ArcBorrow};

use super::cq::Cq;
use super::deliver;
use super::device::Device;
use super::env::{bit, Env, Later};
use super::lock::{Bh, BhLock, IrqLock, Rundown};
use super::loopback::{Loopback, Packet};
use super::pieces::Pieces;
use super::srq::Srq;
use super::table;
use super::timer::{self, HasTimer, Timer};
use crate::rxe::access::Pd;
use crate::rxe::events::AsyncEvent;
use crate::rxe::inbound::Taken;
use crate::rxe::qp::{self as engine, Ran, State};
use crate::rxe::qpn::Qpn;
use crate::rxe::time::Time;
use crate::rxe::user_abi::Poster;
use crate::rxe::wire::Headers;
use memory::Memory;

/// Packets the engine sends before others get the lock.
const SEND_AT_ONCE: u32 = 64;
/// Packets that may wait for memory; further ones are dropped.
const WAITING: usize = 32;

/// What names a queue pair towards the core and in completions.
pub struct QpName {
    /// Its number.
    pub qpn: Qpn,
    /// The core's object. Completions for kernel users carry it; we follow it only to call the
    /// event handler, inside [`Qp::callers`].
    pub ib: *mut compat::ib_qp,
}

// SAFETY: The pointer is only followed where `QpName::ib` says, and the core's object may be used
// from any thread.
unsafe impl Send for QpName {}
// SAFETY: As above.
unsafe impl Sync for QpName {}

/// A queue pair.
#[pin_data]
pub struct Qp {
    device: Arc<Device>,
    /// Its protection domain.
    pub pd: Pd,
    /// Its names.
    pub name: QpName,
    /// Whose it is.
    pub poster: Poster,
    /// Where send completions go.
    pub send_cq: Arc<Cq>,
    /// Where receive completions go.
    pub recv_cq: Arc<Cq>,
    /// Send requests.
    pub sq: SendQueue,
    /// Receive requests, unless they come from a shared receive queue.
    pub rq: Option<RecvQueue>,
    /// The shared receive queue.
    pub srq: Option<Arc<Srq>>,
    /// Kernel users only: the next entry they write, by queue.
    #[pin]
    sq_producer: IrqLock<u32>,
    #[pin]
    rq_producer: IrqLock<u32>,
    /// The engine's state after the last call, for those who must not take the lock.
    state_seen: Atomic<u32>,
    /// Multicast groups it is in.
    groups: Atomic<i32>,
    #[pin]
    inner: BhLock<Inner>,
    #[pin]
    pub(super) timer: Timer<Qp>,
    /// Calls of the event handler in flight.
    #[pin]
    callers: Rundown,
    #[pin]
    links: ListLinks,
    #[pin]
    tracker: AtomicTracker,
}

/// What the lock protects.
struct Inner {
    engine: engine::Qp<Memory>,
    ends: Ends,
    /// Not destroyed yet.
    alive: bool,
    /// When the timer fires.
    timer_at: Option<Time>,
    /// Packets that wait for memory to be fetched (on-demand paging), in order. Has room for
    /// [`WAITING`].
    waiting: KVec<KBox<Packet>>,
    /// What `modify_qp` was given and the engine has no use for.
    given: modify::Given,
}

impl Inner {
    /// Gives up the packets that wait for memory. Call [`Schedule::room`] once the lock is free.
    ///
    /// [`Schedule::room`]: super::schedule::Schedule::room
    fn drop_waiting(&mut self, loopback: &Loopback) {
        while let Some(packet) = self.waiting.pop() {
            loopback.put(packet);
        }
    }
}

/// One call of the engine.
struct Turn<'a, 'e> {
    engine: &'a mut engine::Qp<Memory>,
    env: &'a mut Env<'e>,
    now: Time,
    timer_at: &'a mut Option<Time>,
    waiting: &'a mut KVec<KBox<Packet>>,
}

impl Turn<'_, '_> {
    /// Hands a packet to the engine, or keeps it until memory that it needs, or one before it, is
    /// there.
    #[inline]
    fn take(&mut self, packet: KBox<Packet>, loopback: &Loopback) {
        if self.waiting.is_empty() && self.hand_in(&packet) == Taken::Done {
            loopback.put(packet);
            return;
        }
        let kept = match loopback.may_wait() {
            true => self.waiting.push_within_capacity(packet),
            false => Err(PushError(packet)),
        };
        // Too many: as if it had been lost on the way.
        if let Err(PushError(packet)) = kept {
            loopback.put(packet);
            if self.waiting.is_empty() {
                self.engine.none_waits(self.now);
            }
        }
    }

    /// Hands in what waits, as far as it goes now. Whether that gave buffers back.
    fn take_waiting(&mut self, loopback: &Loopback) -> bool {
        let mut freed = false;
        while let Some(first) = self.waiting.first() {
            if hand_in(self.engine, self.now, first, self.env) == Taken::Again {
                break;
            }
            if let Ok(packet) = self.waiting.remove(0) {
                loopback.put(packet);
                freed = true;
            }
        }
        freed
    }

    fn hand_in(&mut self, packet: &Packet) -> Taken {
        hand_in(self.engine, self.now, packet, self.env)
    }
}

fn hand_in(
    engine: &mut engine::Qp<Memory>,
    now: Time,
    packet: &Packet,
    env: &mut Env<'_>,
) -> Taken {
    match Headers::parse(packet.head()) {
        Ok(headers) => engine.packet(now, &headers, &Pieces::new(packet.payload()), env),
        // We have made them.
        Err(_) => Taken::Done,
    }
}

// SAFETY: That is where it lies.
unsafe impl HasTimer for Qp {
    const OFFSET: usize = core::mem::offset_of!(Qp, timer);

    fn fired(this: ArcBorrow<'_, Self>) {
        Self::timer_fired(this, &Bh::disable());
    }
}

impl_list_arc_safe! {
    impl ListArcSafe<0> for Qp { tracked_by tracker: AtomicTracker; }
}
impl_list_item! {
    impl ListItem<0> for Qp { using ListLinks { self.links }; }
}

impl Qp {
    /// The device.
    #[inline]
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// Calls the engine under the lock, runs it, and does what had to wait for the lock.
    #[inline]
    fn with_engine(qp: ArcBorrow<'_, Self>, bh: &Bh, call: impl FnOnce(&mut Turn<'_, '_>)) {
        Self::with_engine_and(qp, bh, Later::default(), call);
    }

    /// The same, with what earlier calls left to do.
    #[inline]
    fn with_engine_and(
        qp: ArcBorrow<'_, Self>,
        bh: &Bh,
        mut later: Later,
        call: impl FnOnce(&mut Turn<'_, '_>),
    ) {
        let this: &Self = &qp;
        let mut inner = this.inner.lock(bh);
        if !inner.alive {
            return;
        }
        let now = timer::now();
        let Inner {
            engine,
            ends,
            timer_at,
            waiting,
            given,
            ..
        } = &mut *inner;
        if !engine.attr().init.qp_type.is_connected() {
            engine.set_port_mtu(this.device.mtu());
        }
        let mut env = Env::new(this, bh, ends, &mut later);
        let mut turn = Turn {
            engine,
            env: &mut env,
            now,
            timer_at,
            waiting,
        };
        call(&mut turn);
        let ran = engine.run(now, SEND_AT_ONCE, &mut env);
        drop(env);
        let fetched = later
            .absent
            .map(|fetched| now.after(engine.look_after(fetched)));
        let wanted = match (engine.deadline(), fetched) {
            (Some(deadline), Some(fetched)) => Some(deadline.earlier_of(fetched)),
            (deadline, fetched) => deadline.or(fetched),
        };
        if let Some(wanted) = wanted {
            // A timer that fires too early finds out and is set again: cheaper than moving it with
            // every packet.
            if timer_at.is_none_or(|at| wanted < at) {
                *timer_at = Some(wanted);
                this.timer.set(wanted);
            }
        }
        // The state's number is its place in `State::ALL`.
        this.state_seen
            .store(engine.state() as u32, ordering::Relaxed);
        if !given.wants_drained() {
            later.events &= !bit(AsyncEvent::SendQueueDrained);
        }
        match ran {
            Ran::Idle => {}
            Ran::More => this.device.schedule.ready(qp),
            // The timer is set.
            Ran::Absent => {}
            Ran::Busy => {
                this.device.schedule.wait(qp);
                // The last buffer may have come back just before.
                if this.device.may_have_room() && this.device.schedule.room() {
                    deliver::start_work(this.device.as_arc_borrow());
                }
            }
        }
        drop(inner);
        if later.flush {
            if let Some(wire) = this.device.wire() {
                wire.flush(bh);
            }
        }
        this.finish(&later);
    }

    /// The state it was in a moment ago.
    #[inline]
    pub fn state(&self) -> State {
        let code = self.state_seen.load(ordering::Relaxed);
        // Only states are stored; the first one stands for what cannot be.
        let found = State::ALL.get(code as usize);
        found.copied().unwrap_or(State::Reset)
    }

    /// The peer's queue pair.
    fn dest_qp(&self) -> Qpn {
        let bh = Bh::disable();
        let dest = self.inner.lock(&bh).engine.attr().dest_qp;
        dest
    }

    /// Joins a multicast group, in the books of [`super::mcast`].
    pub fn attach(&self) {
        self.groups.add(1, ordering::Relaxed);
    }

    /// Leaves a multicast group.
    pub fn detach(&self) {
        self.groups.add(-1, ordering::Relaxed);
    }

    /// Whether it is in a multicast group.
    fn is_attached(&self) -> bool {
        self.groups.load(ordering::Relaxed) != 0
    }

    /// Calls handlers. No lock is held.
    #[inline]
    fn finish(&self, later: &Later) {
        self.send_cq.wake(later.send);
        self.recv_cq.wake(later.receive);
        if later.srq_limit {
            if let Some(srq) = &self.srq {
                srq.limit_event();
            }
        }
        if later.events != 0 {
            self.tell(later.events);
        }
    }

    /// Tells the user about events.
    #[cold]
    fn tell(&self, events: u8) {
        const EVENTS: [(AsyncEvent, compat::ib_event_type); 6] = [
            (AsyncEvent::Fatal, compat::ib_event_type_IB_EVENT_QP_FATAL),
            (
                AsyncEvent::RequestError,
                compat::ib_event_type_IB_EVENT_QP_REQ_ERR,
            ),
            (
                AsyncEvent::AccessError,
                compat::ib_event_type_IB_EVENT_QP_ACCESS_ERR,
            ),
            (
                AsyncEvent::CommunicationEstablished,
                compat::ib_event_type_IB_EVENT_COMM_EST,
            ),
            (
                AsyncEvent::SendQueueDrained,
                compat::ib_event_type_IB_EVENT_SQ_DRAINED,
            ),
            (
                AsyncEvent::LastReceiveReached,
                compat::ib_event_type_IB_EVENT_QP_LAST_WQE_REACHED,
            ),
        ];
        let Some(_call) = self.callers.enter() else {
            return;
        };
        for (event, code) in EVENTS {
            if events & bit(event) != 0 {
                // SAFETY: `destroy_qp` waits for `callers` before it returns, so the core's object
                // is there, and no lock of ours is held.
                unsafe { compat::usb4_rxe_qp_event(self.name.ib, code) };
            }
        }
    }

    /// Runs the engine: a request was posted, or its turn has come.
    pub fn run(qp: ArcBorrow<'_, Self>, bh: &Bh) {
        Self::with_engine(qp, bh, |_| {});
    }

    /// The timer fired.
    pub(super) fn timer_fired(qp: ArcBorrow<'_, Self>, bh: &Bh) {
        let mut freed = false;
        Self::with_engine(qp, bh, |turn| {
            *turn.timer_at = None;
            freed = turn.take_waiting(&qp.device.loopback);
            turn.engine.timeout(turn.now, turn.env);
        });
        if freed {
            qp.device.schedule.room();
        }
        deliver::deliver(qp.device.as_arc_borrow(), bh);
    }

    /// Takes a packet of the loop-back queue and those behind it for the same queue pair, at most
    /// `left`.
    pub fn receive(qp: ArcBorrow<'_, Self>, bh: &Bh, first: KBox<Packet>, left: &mut u32) {
        let loopback = &qp.device.loopback;
        let mut next = Some(first);
        Self::with_engine(qp, bh, |turn| {
            while let Some(packet) = next.take() {
                turn.take(packet, loopback);
                if *left > 0 {
                    next = loopback.next_for(qp.name.qpn);
                    *left = left.saturating_sub(u32::from(next.is_some()));
                }
            }
        });
        // The queue pair was dead.
        if let Some(packet) = next {
            loopback.put(packet);
        }
    }

    /// Takes a packet off a wire, its ICRC checked. Call [`settle`](Self::settle) with `later` after
    /// it, or after a few.
    #[inline]
    pub fn take_in(
        qp: ArcBorrow<'_, Self>,
        bh: &Bh,
        headers: &Headers,
        head: &[u8],
        payload: &Pieces<'_>,
        later: &mut Later,
    ) {
        let this: &Self = &qp;
        let mut inner = this.inner.lock(bh);
        if !inner.alive {
            return;
        }
        let Inner {
            engine,
            ends,
            waiting,
            ..
        } = &mut *inner;
        let mut env = Env::new(this, bh, ends, later);
        if waiting.is_empty()
            && engine.packet(timer::now(), headers, payload, &mut env) == Taken::Done
        {
            return;
        }
        // It waits for memory, or behind one that does. The frame cannot wait: a copy does, and if
        // there is no room for one it is as if it had been lost on the way.
        let loopback = &this.device.loopback;
        let place = match loopback.may_wait() {
            true => loopback.take(),
            false => None,
        };
        if let Some(mut copy) = place {
            let kept = match copy.fill(this.name.qpn, head, payload) {
                true => waiting.push_within_capacity(copy),
                false => Err(PushError(copy)),
            };
            if let Err(PushError(copy)) = kept {
                loopback.put(copy);
            }
        }
        if waiting.is_empty() {
            engine.none_waits(timer::now());
        }
    }

    /// Answers what [`take_in`](Self::take_in) took, and does what it left to do.
    #[inline]
    pub fn settle(qp: ArcBorrow<'_, Self>, bh: &Bh, later: Later) {
        Self::with_engine_and(qp, bh, later, |_| {});
    }

    /// A packet between this host and the peer is lost for certain.
    pub fn loss(qp: ArcBorrow<'_, Self>, bh: &Bh) {
        Self::with_engine(qp, bh, |turn| {
            // Nothing is lost within this host.
            if !qp.device.is_local(turn.engine.attr()) {
                turn.engine.loss(turn.env);
            }
        });
    }

    /// The peer can be reached again.
    pub fn reconnected(qp: ArcBorrow<'_, Self>, bh: &Bh) {
        Self::with_engine(qp, bh, |turn| {
            if !qp.device.is_local(turn.engine.attr()) {
                turn.engine.reconnected();
            }
        });
    }

    /// Takes one packet that others take, too.
    pub fn receive_one(qp: ArcBorrow<'_, Self>, bh: &Bh, headers: &Headers, payload: &Pieces<'_>) {
        Self::with_engine(qp, bh, |turn| {
            // Whose memory is not there misses it: datagrams may be lost.
            let _ = turn.engine.packet(turn.now, headers, payload, turn.env);
        });
    }

    /// Ends everything: after this nothing of ours touches what the user handed in for it. Sleeps.
    fn shut(&self) {
        {
            let bh = Bh::disable();
            let mut inner = self.inner.lock(&bh);
            inner.alive = false;
            inner.drop_waiting(&self.device.loopback);
        }
        // Who saw it alive, found in the schedule maybe, has softirqs off until all is told that it had to tell
        // (`finish`): to a completion queue, too, that our caller may free next.
        table::wait_for_readers();
        self.timer.cancel();
        self.callers.close();
        // If it waits for room it must not wait for ever: whoever finds it finds it dead.
        if self.device.schedule.room() {
            deliver::start_work(self.device.as_arc_borrow());
        }
    }
}
