// SPDX-License-Identifier: GPL-2.0-only

//! The wire's softirq work: one pass after another while there is something to do.
//!
//! ```text
//!   kick ─> pass: frames that came ─> Receiver ─> Inbound ─> queue pairs ─> answers
//!                 frames that went ─> buffers free, Sender goes on
//!                 what is due      ─> probes, credits
//!            '─ something came: again, soon
//!            '─ nothing came, but is due soon, going by the last ones: again (no interrupt is needed)
//!            '─ nothing for a while: interrupts on, one more look, rest until one or the timer
//! ```
//!
//! The one more look closes the gap between the last look and the interrupt. The timer also looks
//! when nothing is due: seldom, for interrupts that got lost on the way.

use kernel::prelude::*;
use kernel::sync::atomic::ordering;
use kernel::sync::{Arc, ArcBorrow};
use kernel::workqueue::WorkItem;

use crate::rxe::qpn::Qpn;
use crate::rxe::round::Round;
use crate::rxe::time::{Nanos, Time};
use crate::usb4::netdev::Netdev;
use crate::usb4::rail::frame::{Class, Loss};
use crate::usb4::rail::id::RailId;
use crate::usb4::rail::link::Halves;
use crate::usb4::rail::port::{Down, Ingress, Notices, Received, Refused};
use crate::verbs::deliver;
use crate::verbs::device::Device;
use crate::verbs::inbound::{Inbound, Pieces, Verdict};
use crate::verbs::lock::Bh;
use crate::verbs::qp::Qp;
use crate::verbs::timer::{self, now, HasTimer};

use super::rx::{Frame, Frames, Rx};
use super::taps;
use super::tx::{Locked, Tx};
use super::Wire;

/// Frames of a rail before another has its turn.
const TURN: u32 = 16;
/// Frames of a pass.
const PASS: u32 = 256;
/// How long a pass takes in frames, about: a frame may bring one packet or two hundred, and set free many that
/// had to wait for it.
const SPELL: Nanos = Nanos::from_millis(1);
/// How long a pass tells queue pairs what all are to be told.
const TELL: Nanos = Nanos::from_micros(250);
/// Frames that come at most this far apart are waited for without an interrupt, for twice as long as
/// they usually take; others are not worth the CPU.
const CLOSE: Nanos = Nanos::from_micros(50);
/// A gap that is longer says no more than one of this length.
const FAR: Nanos = Nanos::from_micros(400);
/// How soon to look for lost interrupts, and how seldom when nothing comes.
const WATCH_FIRST: Nanos = Nanos::from_millis(4);
const WATCH_LAST: Nanos = Nanos::from_millis(64);
/// Queue pairs remembered that lost a packet; with more, all are told.
const LOSERS: usize = 16;

/// What all queue pairs are to be told.
#[derive(Default)]
pub struct News {
    /// Packets are lost, and nobody knows whose.
    lost: Round,
    /// The peer can be reached again.
    reconnected: Round,
}

impl News {
    /// The peer can be reached again.
    pub fn reconnected(&mut self) {
        self.reconnected.begin();
    }
}

impl Rx {
    /// Tells queue pairs what all are to be told, for a while. Returns whether there are more.
    fn tell_all(&mut self, bh: &Bh) -> bool {
        let Some(device) = &self.device else {
            self.news = News::default();
            return false;
        };
        let News { lost, reconnected } = &mut self.news;
        if !lost.is_under_way() && !reconnected.is_under_way() {
            return false;
        }
        let begun = timer::now();
        // A cable that loses much begins the other round again and again: this one goes first.
        let reconnected = (reconnected, Qp::reconnected as fn(ArcBorrow<'_, Qp>, &Bh));
        for (round, tell) in [reconnected, (lost, Qp::loss)] {
            while let Some(qpn) = round.next(|from| device.qps.first_from(from)) {
                // It may be gone by now.
                if let Some(qp) = device.qps.get(bh, qpn) {
                    tell(qp, bh);
                }
                if timer::now().since(begun) >= TELL {
                    return true;
                }
            }
        }
        false
    }
}

/// How busy the wire is.
#[derive(Default)]
pub struct Pace {
    /// When the last frame had been taken in.
    last: Time,
    /// How long it usually takes from there until the next is found: a moving average.
    gap: Nanos,
    /// Until the next look for lost interrupts.
    watch: Nanos,
    /// When something is due, as the last pass saw it: while one pass follows the other the timer is
    /// not set for it.
    due_at: Time,
    /// Frames came since the timer fired last.
    moved: bool,
    /// The life of rings that is looked at first, behind the one that took the last of a pass's time.
    first: usize,
}

impl Pace {
    /// Frames had come when somebody looked, and are taken in now: that takes its time, too, and says nothing
    /// of how fast they come.
    fn came(&mut self, looked: Time, now: Time) {
        let gap = looked.since(self.last).min(FAR);
        self.gap = Nanos((self.gap.0.saturating_mul(7).saturating_add(gap.0)) / 8);
        self.last = now;
        self.moved = true;
    }

    /// How long until the next look for lost interrupts. `fired`: this is one.
    fn watch(&mut self, fired: bool) -> Nanos {
        if self.moved {
            self.watch = WATCH_FIRST;
            self.moved = !fired;
        } else if fired {
            self.watch = self.watch.saturating_mul(2).clamp(WATCH_FIRST, WATCH_LAST);
        }
        self.watch
    }

    /// How long after the last one to look for the next.
    fn patience(&self) -> Nanos {
        if self.gap <= CLOSE {
            self.gap.saturating_mul(2)
        } else {
            Nanos(0)
        }
    }
}

impl WorkItem for Wire {
    type Pointer = Arc<Wire>;

    fn run(this: Arc<Wire>) {
        let bh = Bh::disable();
        let wire = this.as_arc_borrow();
        if wire.pass(&bh) {
            Wire::kick(wire);
        }
    }
}

// SAFETY: That is where it lies.
unsafe impl HasTimer for Wire {
    const OFFSET: usize = core::mem::offset_of!(Wire, timer);

    fn fired(this: ArcBorrow<'_, Self>) {
        Self::kick(this);
    }
}

impl Wire {
    /// One pass. Returns whether another one is to follow.
    fn pass(&self, bh: &Bh) -> bool {
        let mut guard = self.rx.lock(bh);
        let rx = &mut *guard;
        let now = now();
        self.counters.polls.add(1);

        let (mut came, mut more) = self.take_in(bh, rx, now);
        if came != 0 {
            rx.pace.came(now, timer::now());
        }
        let (fired, due, sent) = {
            let mut tx = self.tx.lock(bh);
            let (fired, sent) = (tx.timer_at <= now, tx.reap(now));
            (fired, fired || rx.pace.due_at <= now, sent)
        };
        let next = self.go_on(bh, rx, now, due);
        rx.pace.due_at = next;
        more |= next == Time::ZERO;
        more |= rx.tell_all(bh);

        if !more && now.since(rx.pace.last) >= rx.pace.patience() {
            if self.listen(rx) {
                let (late, _) = self.take_in(bh, rx, now);
                came = came.saturating_add(late);
                more = late != 0;
            }
            if came == 0 {
                self.counters.polls_idle.add(1);
            }
        } else {
            more = true;
        }
        if !more {
            self.set_timer(bh, &mut rx.pace, now, fired, sent);
        }
        let device = rx.device.clone();
        drop(guard);

        if came != 0 || sent != 0 || due {
            self.room(bh, device.as_deref());
        }
        if let Some(device) = &device {
            deliver::deliver(device.as_arc_borrow(), bh);
        }
        more
    }

    /// Takes in frames, as many as a pass that began at `now` may. Returns how many, and whether there may be more.
    fn take_in(&self, bh: &Bh, rx: &mut Rx, now: Time) -> (u32, bool) {
        let mut came = 0u32;
        let mut found = true;
        let mut is_over = false;
        let mut halves = Halves {
            tx: Locked::new(self, bh),
            rx: &mut rx.receiver,
        };
        let mut port = Port::new(self, bh, &mut rx.frames, &rx.device, &rx.netdev);
        let first = core::mem::take(&mut rx.pace.first);
        'spell: while found && came < PASS {
            found = false;
            for turn in 0..Frames::count() {
                let life = first.wrapping_add(turn) % Frames::count();
                for _ in 0..TURN {
                    let Some((rail, rings)) = port.frames.rings(life) else {
                        break;
                    };
                    let Some(arrived) = rings.poll_arrived() else {
                        break;
                    };
                    came = came.wrapping_add(1);
                    found = true;
                    let Some(tag) = arrived.tag else {
                        self.counters.rx_damaged.add(1);
                        halves.rx.damaged(rail);
                        rings.repost(arrived.slot);
                        continue;
                    };
                    if let Some(frame) = port.frames.hold(life, &arrived) {
                        halves.receive(now, rail, tag, frame, &mut port);
                    }
                    is_over = timer::now().since(now) >= SPELL;
                    if is_over {
                        rx.pace.first = life.wrapping_add(1);
                        break 'spell;
                    }
                }
            }
        }
        if came != 0 {
            // Answers tell what came, and save the peer the question.
            halves.learn(now);
        }
        port.finish(&mut rx.news, &rx.watcher);
        self.counters.rx_frames.add(came.into());
        (came, is_over || came >= PASS)
    }

    /// Does what is due, and sends what waits. Returns when to look again.
    fn go_on(&self, bh: &Bh, rx: &mut Rx, now: Time, due: bool) -> Time {
        let mut halves = Halves {
            tx: Locked::new(self, bh),
            rx: &mut rx.receiver,
        };
        if !due {
            return halves.flush(now);
        }
        let mut port = Port::new(self, bh, &mut rx.frames, &rx.device, &rx.netdev);
        halves.tick(now, &mut port);
        port.finish(&mut rx.news, &rx.watcher);
        // What queue pairs answered.
        halves.flush(now)
    }

    /// Interrupts on. Returns whether any was off.
    fn listen(&self, rx: &Rx) -> bool {
        let mut some = false;
        for life in 0..Frames::count() {
            if let Some((_, rings)) = rx.frames.rings(life) {
                some |= rings.listen();
            }
        }
        some
    }

    /// Sets the timer for what is due next, and for lost interrupts. `fired`: it is not set. Until then
    /// nobody else sets it either, for its time is over already. `sent`: frames that the rings have sent.
    fn set_timer(&self, bh: &Bh, pace: &mut Pace, now: Time, fired: bool, sent: u32) {
        let mut tx = self.tx.lock(bh);
        let mut at = tx.sender.next_timeout();
        if self.is_up() {
            at = at.earlier_of(now.after(pace.watch(fired)));
        }
        if self.somebody_waits(&tx) {
            if fired && sent == 0 {
                tx.be_patient();
            }
            at = at.earlier_of(now.after(tx.patience));
        }
        if fired {
            tx.timer_at = Time::NEVER;
        }
        self.set_timer_at(&mut tx, at);
    }

    /// Sends what was committed, where a rail has little to do. No lock is held.
    #[inline]
    pub fn flush(&self, bh: &Bh) {
        let now = now();
        self.flush_locked(&mut self.tx.lock(bh), now);
    }

    pub(super) fn flush_locked(&self, tx: &mut Tx, now: Time) {
        tx.sender.flush(now, &mut tx.out);
        // What it waits behind may have been sent long since: nobody has looked.
        if tx.sender.waits_for_rings() && tx.reap(now) != 0 {
            tx.sender.flush(now, &mut tx.out);
        }
        if tx.sender.waits_for_rings() {
            self.look_soon(tx, now);
        }
        self.set_timer_at(tx, tx.sender.next_timeout());
    }

    /// Whether the transmit rings are to be looked at soon.
    fn somebody_waits(&self, tx: &Tx) -> bool {
        self.wanted.load(ordering::Relaxed) || tx.waiting.is_some() || tx.sender.waits_for_rings()
    }

    /// Somebody found no room: looks at the transmit rings soon.
    #[cold]
    pub(super) fn want_room(&self, tx: &mut Tx, now: Time) {
        self.wanted.store(true, ordering::Relaxed);
        self.look_soon(tx, now);
    }

    /// Somebody waits for room.
    pub(super) fn look_soon(&self, tx: &mut Tx, now: Time) {
        self.set_timer_at(tx, now.after(tx.patience));
    }

    /// Sets the timer, unless it fires earlier anyway.
    #[inline]
    fn set_timer_at(&self, tx: &mut Tx, at: Time) {
        if at < tx.timer_at && !tx.is_over {
            tx.timer_at = at;
            self.timer.set(at);
        }
    }

    /// Whether there may be room again since somebody was told that there is none; if not, who
    /// waits will be told.
    pub fn may_have_room(&self) -> bool {
        // A full barrier on both sides: who waits is listed before this, and found after that.
        !self.wanted.xchg(true, ordering::Full)
    }

    /// There may be room: those who wait try again.
    fn room(&self, bh: &Bh, device: Option<&Device>) {
        if self.wanted.xchg(false, ordering::Full) {
            if let Some(device) = device {
                device.schedule.room();
            }
        }
        self.send_waiting(bh);
    }
}

/// Where the halves put what they have to say, for one pass.
pub struct Port<'a> {
    wire: &'a Wire,
    bh: &'a Bh,
    pub frames: &'a mut Frames,
    inbound: Inbound<'a>,
    netdev: Option<&'a Netdev>,
    /// The network device is up.
    is_open: bool,
    /// Queue pairs that lost packets on the way to the peer.
    losers: [Qpn; LOSERS],
    loser_count: usize,
    all_lost: bool,
    reconnected: bool,
    /// Rails that went down.
    downs: [Option<Down>; crate::usb4::rail::MAX_RAILS],
}

impl<'a> Port<'a> {
    pub fn new(
        wire: &'a Wire,
        bh: &'a Bh,
        frames: &'a mut Frames,
        device: &'a Option<Arc<Device>>,
        netdev: &'a Option<Netdev>,
    ) -> Self {
        let netdev = netdev.as_ref();
        Self {
            wire,
            bh,
            frames,
            inbound: Inbound::new(device.as_deref(), bh),
            netdev,
            is_open: netdev.is_some_and(Netdev::is_up),
            losers: [Qpn::new(0); LOSERS],
            loser_count: 0,
            all_lost: false,
            reconnected: false,
            downs: [None; crate::usb4::rail::MAX_RAILS],
        }
    }

    /// What the owner of the rail knows already.
    pub fn forget_down(&mut self, rail: RailId) {
        if let Some(place) = self.downs.get_mut(rail.index()) {
            *place = None;
        }
    }

    /// The peer can be reached again: passed on in [`Self::finish`].
    pub fn reconnected(&mut self) {
        self.reconnected = true;
    }

    /// Lets queue pairs answer and passes on what was noted: what all are to be told, one pass after the other
    /// does, so the work is to be kicked. The sending half is not locked.
    pub fn finish(mut self, news: &mut News, watcher: &Option<Arc<dyn super::Watcher>>) {
        if self.all_lost {
            news.lost.begin();
        } else {
            for qpn in self.losers.iter().take(self.loser_count) {
                self.inbound.lost(*qpn);
            }
        }
        if self.reconnected {
            news.reconnected();
        }
        self.inbound.finish();
        let Some(watcher) = watcher else { return };
        for (rail, why) in RailId::all().zip(self.downs) {
            if let Some(why) = why {
                watcher.rail_died(rail, why);
            }
        }
    }
}

impl Ingress for Port<'_> {
    type Frame = Frame;

    #[inline]
    fn bytes(&self, frame: Frame) -> &[u8] {
        self.frames.bytes(frame)
    }

    #[inline]
    fn packet(&mut self, packet: &Received<Frame>) -> bool {
        let Self {
            wire,
            frames,
            inbound,
            netdev,
            is_open,
            ..
        } = self;
        let head = frames.bytes(packet.head);
        let mut pieces = Pieces::new(packet.record.inline_bytes(head));
        for (frame, len) in packet.payload() {
            pieces.push(frames.bytes(frame).get(..len).unwrap_or_default());
        }
        pieces.push(packet.record.tail_bytes(head));
        // An interface that is down carries no RDMA either.
        let verdict = match *is_open {
            true => inbound.take(&pieces),
            false => Verdict::NotRdma,
        };
        let counters = &wire.counters;
        match verdict {
            Verdict::Taken => {
                counters.rx_rdma.add(1);
                if let Some(netdev) = netdev.filter(|netdev| netdev.has_receive_taps()) {
                    taps::show_received(netdev, pieces.as_slice());
                }
                true
            }
            Verdict::Damaged => {
                counters.rx_icrc_errors.add(1);
                // Damaged before it came to the rails: that is no loss of theirs.
                packet.class != Class::Rdma
            }
            Verdict::Shared | Verdict::NotRdma => {
                match verdict {
                    Verdict::Shared => counters.rx_rdma.add(1),
                    _ => counters.rx_ethernet.add(1),
                }
                if let Some(netdev) = netdev {
                    if !taps::receive(netdev, pieces.as_slice()) {
                        counters.rx_no_memory.add(1);
                    }
                }
                true
            }
        }
    }

    fn lost(&mut self, loss: Loss) {
        self.wire.counters.rx_lost.add(loss.count.into());
    }

    #[inline]
    fn release(&mut self, frame: Frame) {
        self.frames.release(frame);
    }

    fn refused(&mut self, _rail: RailId, _why: Refused) {
        self.wire.counters.rx_refused.add(1);
    }
}

impl Notices for Port<'_> {
    /// The sending half is locked: made good in [`Port::finish`].
    fn sent_lost(&mut self, token: Option<u64>) {
        self.wire.counters.tx_lost.add(1);
        let Some(qpn) = token.and_then(|token| u32::try_from(token).ok()) else {
            self.all_lost = true;
            return;
        };
        let qpn = Qpn::new(qpn);
        if self
            .losers
            .iter()
            .take(self.loser_count)
            .any(|known| *known == qpn)
        {
            return;
        }
        match self.losers.get_mut(self.loser_count) {
            Some(place) => {
                *place = qpn;
                self.loser_count = self.loser_count.wrapping_add(1);
            }
            None => self.all_lost = true,
        }
    }

    fn rail_down(&mut self, rail: RailId, why: Down) {
        if let Some(place) = self.downs.get_mut(rail.index()) {
            *place = Some(why);
        }
    }
}
