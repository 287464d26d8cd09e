// SPDX-License-Identifier: GPL-2.0-only

//! Two ends, the cables between them, one queue of events and a virtual clock.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use usb4_rxe::rxe::time::{Nanos, Time};
use usb4_rxe::usb4::rail::config::Times;
use usb4_rxe::usb4::rail::frame::{Class, Tag};
use usb4_rxe::usb4::rail::id::RailId;
use usb4_rxe::usb4::rail::port::Down;
use usb4_rxe::usb4::rail::tx::{NotNow, RailUp};

use crate::cable::{Cable, Fault, Frame, Model};
use crate::end::End;
use crate::engines::{Engines, MESSAGE};
use crate::flow::{Receiving, Sending, Word};
use crate::rng::Rng;

/// Header bytes of a RoCE WRITE, middle.
const WRITE_HEAD: usize = 54;
/// Bytes of an acknowledgement.
const ACK_LEN: usize = 62;
/// How soon transmit rings are looked at that something waits for.
const SOON: Nanos = Nanos::from_micros(25);

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Event {
    /// The frame at the front of a ring has been sent. End, rail, life.
    Sent(u8, u8, u32),
    /// A frame arrives at an end: slot of `flying`.
    Arrive(u8, u8, u32, u32),
    Tick(u8),
    /// An end looks at its transmit rings.
    Look(u8),
    Hint,
    /// The timer of the engines of an end.
    Engine(u8),
}

/// What traffic there is, from end 0 to end 1 unless both ways.
#[derive(Clone, Copy, Debug)]
pub struct Traffic {
    pub flows: u16,
    pub both_ways: bool,
    /// Packets of 4 KiB per message, messages per flow.
    pub message: u32,
    pub messages: u32,
    /// Packets a flow may have under way.
    pub window: u32,
}

impl Traffic {
    fn total(&self) -> u32 {
        self.message * self.messages
    }
}

pub struct World {
    pub now: Time,
    pub ends: [End; 2],
    /// By the end that sends, by rail.
    pub cables: [Vec<Cable>; 2],
    pub sending: [Vec<Sending>; 2],
    pub receiving: [Vec<Receiving>; 2],
    pub traffic: Traffic,
    /// Queue pairs, instead of flows.
    pub engines: Option<Engines>,
    pub rng: Rng,
    /// Log of rails that went down, by end.
    pub downs: Vec<(Time, u8, RailId, Down)>,
    /// When data arrived last, and the longest pause between two arrivals of fresh data.
    pub last_fresh: Time,
    pub longest_pause: Nanos,
    /// Fresh packets at end 1, and when a tenth and nine tenths of all had come.
    pub fresh: u64,
    marks: [Option<(Time, u64)>; 2],
    events: BinaryHeap<Reverse<(u64, u64, Event)>>,
    order: u64,
    flying: Vec<Option<Frame>>,
    free: Vec<u32>,
    tick_at: [Time; 2],
    hint_at: Time,
    engine_at: [Time; 2],
    turn: usize,
    pub steps: u64,
    epochs: u8,
    drained: Vec<crate::end::Arrived>,
    /// Nobody is told that rings have sent something: they are looked at when a frame comes, when a timer fires,
    /// and soon after something had to wait for them, as the kernel does.
    pub is_silent: bool,
    /// Frames sent since the last look, by end and rail.
    unseen: [Vec<u32>; 2],
    look_at: [Time; 2],
    /// Frames in the receive rings of an end that has no time, by rail: life and slot.
    waiting: [Vec<Option<Waiting>>; 2],
}

type Waiting = Vec<(u32, u32)>;

pub fn rail(number: usize) -> RailId {
    RailId::new(u8::try_from(number).unwrap()).expect("a rail")
}

impl World {
    pub fn new(models: &[Model], traffic: Traffic, seed: u64) -> Self {
        Self::with_times(models, traffic, seed, Times::default())
    }

    pub fn with_times(models: &[Model], traffic: Traffic, seed: u64, times: Times) -> Self {
        let ring = models.iter().map(|model| model.ring).max().unwrap_or(128);
        let cables = || models.iter().map(|model| Cable::new(*model)).collect();
        let flows = usize::from(traffic.flows);
        let sending = |end| {
            if end == 0 || traffic.both_ways {
                vec![Sending::new(traffic.window, traffic.total()); flows]
            } else {
                Vec::new()
            }
        };
        let mut world = Self {
            now: Time::ZERO,
            ends: [End::new(ring, times), End::new(ring, times)],
            cables: [cables(), cables()],
            sending: [sending(0), sending(1)],
            receiving: [
                vec![Receiving::default(); flows],
                vec![Receiving::default(); flows],
            ],
            traffic,
            engines: None,
            engine_at: [Time::NEVER; 2],
            rng: Rng::new(seed),
            downs: Vec::new(),
            last_fresh: Time::ZERO,
            longest_pause: Nanos::ZERO,
            fresh: 0,
            marks: [None; 2],
            events: BinaryHeap::new(),
            order: 0,
            flying: Vec::new(),
            free: Vec::new(),
            tick_at: [Time::NEVER; 2],
            hint_at: Time::NEVER,
            turn: 0,
            steps: 0,
            epochs: 0,
            drained: Vec::new(),
            is_silent: false,
            unseen: [vec![0; models.len()], vec![0; models.len()]],
            look_at: [Time::NEVER; 2],
            waiting: [Vec::new(), Vec::new()],
        };
        for number in 0..models.len() {
            world.rail_up(number);
        }
        world
    }

    /// Frames per second of all cables, times 4096.
    pub fn capacity(&self) -> f64 {
        self.cables[0]
            .iter()
            .map(|cable| 4096.0e9 / cable.model.frame_ns as f64)
            .sum()
    }

    /// Both ends log in to a rail again.
    pub fn rail_up(&mut self, number: usize) {
        self.rail_restart(number);
        for end in 0..2 {
            self.rail_up_at(end, number);
        }
    }

    /// A cable is plugged in: its next life can begin.
    pub fn rail_restart(&mut self, number: usize) {
        self.epochs = self.epochs.wrapping_add(1);
        for end in 0..2 {
            self.down(end, number, Down::Local);
            self.cables[end][number].restart();
            self.unseen[end][number] = 0;
        }
    }

    /// One end is through with the handshake.
    pub fn rail_up_at(&mut self, end: usize, number: usize) {
        let model = self.cables[end][number].model;
        let config = RailUp {
            epoch: self.epochs,
            speed: u32::try_from(32_768_000 / model.frame_ns).unwrap(),
            tx_ring: model.ring,
            rx_ring: model.ring,
            peer_ring: model.ring,
        };
        let this = &mut self.ends[end];
        this.link.rail_up(
            self.now,
            rail(number),
            &config,
            &mut this.rings,
            &mut this.upper,
        );
        // What was left of the last life goes to nobody: the ring is primed anew.
        this.upper.released.clear();
        self.settle(end);
    }

    /// An end has no time for anything: frames wait in its receive rings.
    pub fn pause(&mut self, end: usize) {
        self.waiting[end] = vec![Some(Vec::new()); self.cables[end].len()];
    }

    /// An end finds time for one receive ring.
    pub fn resume(&mut self, end: usize, number: usize) {
        for (life, slot) in self.waiting[end][number].take().unwrap_or_default() {
            self.arrive(end, number, life, slot);
        }
        self.settle(end);
    }

    /// An end learns that a cable is unplugged.
    pub fn down(&mut self, end: usize, number: usize, why: Down) {
        let this = &mut self.ends[end];
        this.link
            .rail_down(self.now, rail(number), why, &mut this.upper);
        self.settle(end);
    }

    /// A cable is pulled: both ends learn it.
    pub fn pull(&mut self, number: usize) {
        for end in 0..2 {
            self.cables[end][number].restart();
            self.cables[end][number].posted = 0;
        }
        for end in 0..2 {
            self.down(end, number, Down::Local);
        }
    }

    pub fn set_fault(&mut self, end: usize, number: usize, fault: Fault) {
        self.cables[end][number].fault = fault;
        if fault != Fault::Stall {
            self.start(end, number);
        }
    }

    fn at(&mut self, time: Time, event: Event) {
        self.order += 1;
        self.events.push(Reverse((time.0, self.order, event)));
    }

    /// The ring of a cable sends its next frame, if it can.
    fn start(&mut self, end: usize, number: usize) {
        let cable = &mut self.cables[end][number];
        if !cable.busy && cable.fault != Fault::Stall && !cable.ring.is_empty() {
            cable.busy = true;
            let done = self.now.after(Nanos(cable.model.frame_ns));
            let life = cable.life;
            self.at(done, Event::Sent(end as u8, number as u8, life));
        }
    }

    /// Lets traffic send what it can, then moves what an end posted, freed and noticed.
    fn settle(&mut self, end: usize) {
        self.notice(end);
        self.push(end);
        self.push_engines(end);
        let now = self.now;
        self.flush(end);
        let this = &mut self.ends[end];
        for (id, frame) in std::mem::take(&mut this.rings.posted) {
            let cable = &mut self.cables[end][id.index()];
            cable.ring.push_back(frame);
            assert!(
                cable.ring.len() <= cable.model.ring as usize,
                "the ring holds what is posted"
            );
            self.start(end, id.index());
        }
        let this = &mut self.ends[end];
        for (id, frame) in this.upper.released.drain(..) {
            if let Frame::Head(buffer, _) = frame {
                this.rings.spare.push(buffer);
            }
            if let Some(cable) = self.cables[1 - end].get_mut(id.index()) {
                cable.posted = (cable.posted + 1).min(cable.model.ring);
            }
        }
        let due = self.ends[end].link.next_timeout();
        if due < self.tick_at[end] {
            self.tick_at[end] = due.max(now);
            self.at(due.max(now), Event::Tick(end as u8));
        }
    }

    fn flush(&mut self, end: usize) {
        let now = self.now;
        let this = &mut self.ends[end];
        this.link.flush(now, &mut this.rings);
        if !self.is_silent || !this.link.tx.waits_for_rings() {
            return;
        }
        self.look(end);
        let this = &mut self.ends[end];
        this.link.flush(now, &mut this.rings);
        if this.link.tx.waits_for_rings() && self.look_at[end] == Time::NEVER {
            self.look_at[end] = now.after(SOON);
            self.at(now.after(SOON), Event::Look(end as u8));
        }
    }

    /// An end looks at what its transmit rings have sent.
    fn look(&mut self, end: usize) {
        for (number, unseen) in self.unseen[end].iter_mut().enumerate() {
            let sent = std::mem::take(unseen);
            if sent != 0 {
                self.ends[end]
                    .link
                    .tx
                    .completed(self.now, rail(number), sent);
            }
        }
    }

    /// What came out of an end: packets, losses, rails gone.
    fn notice(&mut self, end: usize) {
        let now = self.now;
        let mut fresh = 0;
        let mut arrived = std::mem::take(&mut self.drained);
        std::mem::swap(&mut arrived, &mut self.ends[end].upper.arrived);
        for packet in arrived.drain(..) {
            if packet.class == Class::Ethernet {
                continue;
            }
            match Word::unpack(packet.word) {
                Word::Data { flow, psn } => {
                    let (message, total) = (self.traffic.message, self.traffic.total());
                    let receiving = &mut self.receiving[end][usize::from(flow)];
                    if psn == receiving.expected && end == 1 {
                        fresh += 1;
                    }
                    receiving.data(psn, message, total);
                }
                Word::Ack { flow, psn } => self.sending[end][usize::from(flow)].ack(psn),
                Word::Nak { flow, psn } => self.sending[end][usize::from(flow)].nak(psn),
                Word::Packet { node } => {
                    let engines = self.engines.as_mut().expect("engines");
                    fresh += engines.arrived(now, end, node, packet.serial);
                }
            }
        }
        self.drained = arrived;
        self.note_fresh(fresh);
        for token in std::mem::take(&mut self.ends[end].upper.sent_lost) {
            // Plain Ethernet is not sent again.
            if token == Some(0) {
                continue;
            }
            match token.map(Word::unpack) {
                Some(Word::Data { flow, psn }) => {
                    self.sending[end][usize::from(flow)].lost(psn, now);
                }
                Some(Word::Ack { flow, .. } | Word::Nak { flow, .. }) => {
                    self.receiving[end][usize::from(flow)].answer_lost();
                }
                Some(Word::Packet { node }) => {
                    let engines = self.engines.as_mut().expect("engines");
                    engines.lost(end, Some(node));
                }
                None => {
                    if let Some(engines) = &mut self.engines {
                        engines.lost(end, None);
                    }
                    for flow in &mut self.sending[end] {
                        flow.lost(flow.una, now);
                    }
                    for flow in &mut self.receiving[end] {
                        flow.answer_lost();
                    }
                }
            }
        }
        let hints = self.sending.iter().flatten().filter_map(|flow| flow.hint);
        if let Some((at, _)) = hints.min_by_key(|(at, _)| at.0) {
            if at < self.hint_at {
                self.hint_at = at;
                self.at(at, Event::Hint);
            }
        }
        for (id, why) in std::mem::take(&mut self.ends[end].upper.downs) {
            self.downs.push((now, end as u8, id, why));
            // The owner of the ring takes back what is in it.
            let cable = &mut self.cables[end][id.index()];
            cable.ring.clear();
            cable.busy = false;
            cable.life += 1;
        }
    }

    /// Packets that are new came through.
    fn note_fresh(&mut self, count: u64) {
        if count == 0 {
            return;
        }
        let pause = self.now.since(self.last_fresh);
        self.longest_pause = self.longest_pause.max(pause);
        self.last_fresh = self.now;
        self.fresh += count;
        let all = match &self.engines {
            Some(engines) => (engines.total() * MESSAGE / 4096) as u64,
            None => u64::from(self.traffic.total()) * u64::from(self.traffic.flows),
        };
        for (mark, share) in self.marks.iter_mut().zip([1, 9]) {
            if mark.is_none() && self.fresh >= all * share / 10 {
                *mark = Some((self.now, self.fresh));
            }
        }
    }

    /// Queue pairs send what they may.
    fn push_engines(&mut self, end: usize) {
        let now = self.now;
        let Some(engines) = &mut self.engines else {
            return;
        };
        let this = &mut self.ends[end];
        while let Some((node, frame)) = engines.next(now, end) {
            let word = Word::Packet { node }.pack();
            let serial = this.committed[0];
            // Full payloads go straight from memory, the rest is copied into the frame.
            let (inline, payload) = if frame.len() > 4096 {
                (frame.len() - 4100, 4096)
            } else {
                (frame.len(), 0)
            };
            match this.send(now, Class::Rdma, inline, payload, word) {
                Ok(()) => engines.sent(end, serial, frame),
                Err(NotNow::Busy) => {
                    engines.put_back(end, (node, frame));
                    break;
                }
                Err(NotNow::Impossible) => panic!("a packet is possible"),
            }
        }
        let at = engines.deadline(end);
        if at < self.engine_at[end] {
            self.engine_at[end] = at;
            self.at(at.max(now), Event::Engine(end as u8));
        }
    }

    /// Traffic sends what it may.
    fn push(&mut self, end: usize) {
        let now = self.now;
        let this = &mut self.ends[end];
        for (flow, receiving) in (0u16..).zip(&mut self.receiving[end]) {
            if let Some(word) = receiving.answer(flow) {
                if this.send(now, Class::Rdma, ACK_LEN, 0, word.pack()).is_ok() {
                    receiving.answered();
                }
            }
        }
        let flows = self.sending[end].len();
        let mut idle = 0;
        while idle < flows {
            let index = self.turn % flows;
            let flow = &mut self.sending[end][index];
            let mut some = false;
            // A queue pair has its turn for some packets, as an engine gives it.
            for _ in 0..16 {
                if !flow.wants() {
                    break;
                }
                let word = Word::Data {
                    flow: index as u16,
                    psn: flow.next,
                };
                match this.send(now, Class::Rdma, WRITE_HEAD, 4096, word.pack()) {
                    Ok(()) => flow.sent_one(),
                    Err(NotNow::Busy) => return,
                    Err(NotNow::Impossible) => panic!("a packet of 4 KiB is possible"),
                }
                some = true;
            }
            idle = if some { 0 } else { idle + 1 };
            self.turn += 1;
        }
    }

    /// Sends a plain Ethernet frame, or any packet that is not part of a flow.
    pub fn send_ethernet(&mut self, end: usize, len: usize) -> Result<(), NotNow> {
        let payload = if len > 4000 { len / 4096 * 4096 } else { 0 };
        let result = self.ends[end].send(self.now, Class::Ethernet, len - payload, payload, 0);
        self.settle(end);
        result
    }

    /// Runs everything that an end wants now.
    pub fn kick(&mut self) {
        for end in 0..2 {
            self.settle(end);
        }
    }

    /// One event. False: there is none.
    pub fn step(&mut self) -> bool {
        let Some(Reverse((time, _, event))) = self.events.pop() else {
            return false;
        };
        if matches!(event, Event::Tick(end) if self.tick_at[usize::from(end)].0 != time) {
            // Set anew since.
            return true;
        }
        self.now = Time(time);
        self.steps += 1;
        match event {
            Event::Sent(end, number, life) => {
                self.sent(usize::from(end), usize::from(number), life)
            }
            Event::Arrive(end, number, life, slot) => {
                self.arrive(usize::from(end), usize::from(number), life, slot);
            }
            Event::Tick(end) => {
                let end = usize::from(end);
                self.tick_at[end] = Time::NEVER;
                if self.waiting[end].iter().any(Option::is_some) {
                    // No time for timers either; whoever resumes it looks at them.
                    return true;
                }
                self.look(end);
                let this = &mut self.ends[end];
                this.link.tick(self.now, &mut this.rings, &mut this.upper);
                self.settle(end);
            }
            Event::Look(end) => {
                let end = usize::from(end);
                self.look_at[end] = Time::NEVER;
                self.look(end);
                self.settle(end);
            }
            Event::Engine(end) => {
                let end = usize::from(end);
                self.engine_at[end] = Time::NEVER;
                if let Some(engines) = &mut self.engines {
                    engines.timeout(self.now, end);
                }
                self.settle(end);
            }
            Event::Hint => {
                self.hint_at = Time::NEVER;
                for flow in self.sending.iter_mut().flatten() {
                    flow.expire(self.now);
                }
                self.kick();
            }
        }
        true
    }

    fn sent(&mut self, end: usize, number: usize, life: u32) {
        let cable = &mut self.cables[end][number];
        if cable.life != life {
            return;
        }
        cable.busy = false;
        if cable.fault == Fault::Stall {
            return;
        }
        let Some(frame) = cable.ring.pop_front() else {
            return;
        };
        let latency = Nanos(cable.model.latency_ns);
        if cable.loses(&mut self.rng) {
            if let Frame::Head(buffer, _) = frame {
                self.ends[end].rings.spare.push(buffer);
            }
        } else {
            let slot = match self.free.pop() {
                Some(slot) => {
                    self.flying[slot as usize] = Some(frame);
                    slot
                }
                None => {
                    self.flying.push(Some(frame));
                    u32::try_from(self.flying.len() - 1).unwrap()
                }
            };
            let event = Event::Arrive(1 - end as u8, number as u8, life, slot);
            self.at(self.now.after(latency), event);
        }
        self.start(end, number);
        self.unseen[end][number] += 1;
        if !self.is_silent {
            self.look(end);
            self.settle(end);
        }
    }

    fn arrive(&mut self, end: usize, number: usize, life: u32, slot: u32) {
        if let Some(Some(waiting)) = self.waiting[end].get_mut(number) {
            waiting.push((life, slot));
            return;
        }
        let frame = self.flying[slot as usize].take().expect("it flies");
        self.free.push(slot);
        let cable = &mut self.cables[1 - end][number];
        if cable.life != life {
            return;
        }
        if cable.posted == 0 {
            cable.overflows += 1;
            return;
        }
        cable.posted -= 1;
        let tag = match &frame {
            Frame::Head(..) => Tag::Header,
            Frame::Payload(_, _, tag) => *tag,
        };
        let this = &mut self.ends[end];
        let held = this.upper.hold(rail(number), frame);
        this.link
            .receive(self.now, rail(number), tag, held, &mut this.upper);
        self.look(end);
        self.settle(end);
    }

    /// Runs until `time`.
    pub fn run_until(&mut self, time: Time) {
        while let Some(Reverse((next, _, _))) = self.events.peek() {
            if *next > time.0 {
                break;
            }
            self.step();
        }
        self.now = time;
    }

    /// Packets that came with the payload of others.
    pub fn misbound(&self) -> u64 {
        self.ends.iter().map(|end| end.upper.misbound).sum()
    }

    /// Runs until all traffic is through; panics if it takes longer than `limit`.
    pub fn finish(&mut self, limit: Nanos) {
        let end = self.now.after(limit);
        while !self.is_done() {
            assert!(
                self.step(),
                "a deadlock: nothing will happen any more: {}",
                self.state()
            );
            assert!(self.now < end, "not done in time: {}", self.state());
        }
    }

    pub fn is_done(&self) -> bool {
        self.sending.iter().flatten().all(Sending::is_done)
            && self.engines.as_ref().is_none_or(Engines::is_done)
    }

    /// Lets everything come to rest, and checks that it does: no timer, no frame held, each packet
    /// delivered or declared lost.
    pub fn rest(&mut self) {
        let end = self.now.after(Nanos::from_millis(1_000));
        while self.step() {
            assert!(self.now < end, "it does not come to rest: {}", self.state());
        }
        for end in 0..2 {
            let (from, to) = (&self.ends[end], &self.ends[1 - end]);
            assert_eq!(to.upper.held(), 0, "frames held: {}", self.state());
            assert_eq!(
                from.total_committed(),
                to.upper.delivered + to.upper.lost,
                "each packet came or was declared lost: {}",
                self.state()
            );
        }
        self.no_overflow();
    }

    /// No receive ring was ever full.
    pub fn no_overflow(&self) {
        for cable in self.cables.iter().flatten() {
            assert_eq!(
                cable.overflows, 0,
                "credits keep the rings from overflowing"
            );
        }
    }

    /// Bytes of payload a second that came to end 1 in order, between a tenth and nine tenths of
    /// the traffic, as a part of what the cables could carry if all of every frame were payload.
    pub fn goodput(&self) -> f64 {
        let [Some((from, first)), Some((to, last))] = self.marks else {
            return 0.0;
        };
        let seconds = to.since(from).get() as f64 / 1e9;
        (last - first) as f64 * 4096.0 / seconds / self.capacity()
    }

    /// Frames on the cables from end 0 for each fresh packet at end 1.
    pub fn frames_per_packet(&self) -> f64 {
        let frames: u64 = self.cables[0].iter().map(|cable| cable.sent).sum();
        frames as f64 / self.fresh as f64
    }

    pub fn state(&self) -> String {
        let mut text = format!("at {} ns;", self.now.0);
        for end in 0..2 {
            let this = &self.ends[end];
            text += &format!(
                " end {end}: committed {:?} stripe {:?} waiting {} delivered {} lost {} expects {:?} timeout {:?} held {};",
                this.committed,
                this.link.tx.next_stripe(),
                this.link.tx.is_waiting(),
                this.upper.delivered,
                this.upper.lost,
                this.link.rx.expected(),
                this.link.next_timeout(),
                this.upper.held(),
            );
            for (number, cable) in self.cables[end].iter().enumerate() {
                text += &format!(
                    " rail {number}: up {} ring {} posted {} out {}",
                    this.link.tx.is_up(rail(number)),
                    cable.ring.len(),
                    cable.posted,
                    this.link.tx.outstanding(rail(number)),
                );
            }
            let flows: Vec<_> = self.sending[end]
                .iter()
                .map(|f| (f.una, f.next, f.hint))
                .take(4)
                .collect();
            text += &format!(" flows {flows:?}");
        }
        text + &format!(" downs {:?}", self.downs)
    }
}
