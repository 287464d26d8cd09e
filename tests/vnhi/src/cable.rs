// SPDX-License-Identifier: GPL-2.0-only

//! A cable: its link, and the frames that are on it.
//!
//! ```text
//!           both ends ready and plugged          training time over
//!   down  -------------------------->  training  ------------------>  up
//!    ^                                    |                            |
//!    '------------- one end not ready, or unplugged -------------------'
//! ```
//!
//! Each direction is a pipe: frames leave it in the order in which they entered, after the delay. Without delay nothing
//! waits in it, and the fabric moves frames past it.

use std::collections::VecDeque;
use std::time::Duration;

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use crate::command::Direction;
use crate::counters::DirectionCounters;
use crate::fault::Faults;
use crate::time::Time;
use crate::topology::{self, PortId};

/// How long the lanes train until the link is up.
pub const TRAINING: Duration = Duration::from_millis(50);
/// Most bytes that a delayed direction holds; beyond, senders wait.
const MAX_BYTES: usize = 16 << 20;
/// How far a rate limit looks back, so that a sender that is a little late loses no bandwidth.
const LATENESS: Duration = Duration::from_micros(500);
/// How late our own timer may be without a loss of bandwidth to a sender that waits: where two guests keep
/// two CPUs busy it is late by milliseconds.
const TIMER_LATENESS: Duration = Duration::from_millis(20);
/// A frame that waits costs memory besides its payload.
const FRAME_OVERHEAD: usize = 64;
/// HopIDs have eleven bits.
const HOPS: usize = 1 << 11;

/// What a frame on a cable carries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// A control packet for ring 0 of the other end.
    Control {
        /// Its kind.
        pdf: u8,
    },
    /// A frame on a path.
    Data {
        /// HopID on the cable.
        hop: u16,
        /// Protocol field of its start.
        sof: u8,
        /// Protocol field of its end.
        eof: u8,
        /// Its CRC is wrong.
        crc_error: bool,
        /// The receive ring that has a buffer set aside for it.
        reserved: Option<u16>,
    },
}

/// A frame on its way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InFlight {
    /// What it is.
    pub content: Content,
    /// Its bytes.
    pub payload: Vec<u8>,
    due: Time,
}

/// Whether a frame may enter a direction now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gate {
    /// Yes.
    Open,
    /// No, until something changes.
    Closed,
    /// No, until then.
    ClosedUntil(Time),
}

/// One direction.
#[derive(Debug)]
pub struct Pipe {
    /// Its faults.
    pub faults: Faults,
    /// What was counted.
    pub counters: DirectionCounters,
    queue: VecDeque<InFlight>,
    bytes: usize,
    /// Frames in the queue, by HopID.
    by_hop: Vec<u32>,
    /// When the last frame has left the sender, under a rate limit.
    busy_until: Time,
    /// A sender was sent away because of the rate limit, and may come back then.
    wake: Option<Time>,
    /// By how much the timer was late that let it come back.
    late: Duration,
    held: bool,
}

impl Pipe {
    fn new(random: ChaCha8Rng) -> Self {
        Self {
            faults: Faults::new(random),
            counters: DirectionCounters::default(),
            queue: VecDeque::new(),
            bytes: 0,
            by_hop: vec![0; HOPS],
            busy_until: Time::ZERO,
            wake: None,
            late: Duration::ZERO,
            held: false,
        }
    }

    /// Whether a frame on a path may enter.
    pub fn gate(&mut self, now: Time) -> Gate {
        let gate = if self.faults.stall || self.bytes > MAX_BYTES {
            Gate::Closed
        } else if self.faults.cap.is_some() && self.busy_until > now {
            self.wake = Some(self.busy_until);
            self.late = Duration::ZERO;
            Gate::ClosedUntil(self.busy_until)
        } else {
            Gate::Open
        };
        let held = gate != Gate::Open;
        if held && !self.held {
            self.counters.held += 1;
        }
        self.held = held;
        gate
    }

    /// Counts a frame of so many bytes that enters.
    pub fn count(&mut self, length: usize) {
        self.counters.frames += 1;
        self.counters.bytes += u64::try_from(length).unwrap_or(0);
    }

    /// A frame of so many bytes enters: counts it, and takes its time under a rate limit.
    pub fn enter(&mut self, now: Time, length: usize) {
        self.count(length);
        if let Some(cap) = self.faults.cap {
            let back = LATENESS.max(self.late);
            let earliest = Time::ZERO + (now - (Time::ZERO + back));
            let bits = u128::try_from(length).unwrap_or(0) * 8;
            let nanos = bits * 1_000_000_000 / u128::from(cap.max(1));
            let time = Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX));
            self.busy_until = self.busy_until.max(earliest) + time;
        }
    }

    /// Frames pass without waiting: no delay, and none is waiting that they would overtake.
    #[must_use]
    pub fn is_direct(&self) -> bool {
        self.queue.is_empty() && self.faults.delay.is_zero() && !self.faults.stall
    }

    /// Puts a frame on the way, if there is room for it.
    pub fn push(&mut self, now: Time, content: Content, payload: Vec<u8>) -> bool {
        if self.bytes > MAX_BYTES {
            return false;
        }
        // The delay may have become shorter: only the first of the queue ever leaves, so order is kept.
        let due = now + self.faults.delay;
        self.bytes += payload.len() + FRAME_OVERHEAD;
        self.counters.in_flight += 1;
        if let Some(count) = self.hop_count(&content) {
            *count += 1;
        }
        self.queue.push_back(InFlight {
            content,
            payload,
            due,
        });
        true
    }

    /// Takes the next frame that has arrived.
    pub fn pop(&mut self, now: Time) -> Option<InFlight> {
        if self.faults.stall || self.queue.front()?.due > now {
            return None;
        }
        let frame = self.queue.pop_front()?;
        self.bytes = self
            .bytes
            .saturating_sub(frame.payload.len() + FRAME_OVERHEAD);
        self.counters.in_flight = self.counters.in_flight.saturating_sub(1);
        if let Some(count) = self.hop_count(&frame.content) {
            *count = count.saturating_sub(1);
        }
        Some(frame)
    }

    fn hop_count(&mut self, content: &Content) -> Option<&mut u32> {
        match content {
            Content::Data { hop, .. } => self.by_hop.get_mut(usize::from(*hop)),
            Content::Control { .. } => None,
        }
    }

    /// A frame with this HopID is on its way.
    #[must_use]
    pub fn under_way(&self, hop: u16) -> bool {
        self.by_hop
            .get(usize::from(hop))
            .is_some_and(|count| *count > 0)
    }

    /// The cable is dead: everything on it is lost.
    pub fn lose_all(&mut self) -> impl Iterator<Item = InFlight> + '_ {
        self.counters.unplugged += self.counters.in_flight;
        self.counters.in_flight = 0;
        self.bytes = 0;
        self.by_hop.fill(0);
        self.busy_until = Time::ZERO;
        self.wake = None;
        self.late = Duration::ZERO;
        self.queue.drain(..)
    }

    /// When something can move.
    fn next_timer(&self) -> Option<Time> {
        if self.faults.stall {
            return None;
        }
        let arrival = self.queue.front().map(|frame| frame.due);
        arrival.into_iter().chain(self.wake).min()
    }
}

/// State of the link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Link {
    /// Nothing goes.
    Down,
    /// Will be up then, if nothing happens.
    Training(Time),
    /// Frames go.
    Up,
}

/// An end of a cable: the node and its port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct End {
    /// Place of the node in the fabric.
    pub node: usize,
    /// Its USB4 port, from 1.
    pub port: u8,
}

/// A cable.
#[derive(Debug)]
pub struct Cable {
    /// Names of the ends.
    pub names: [PortId; 2],
    /// The ends: a, b.
    pub ends: [End; 2],
    /// Speed of a lane when the cable is as the topology says, in Gb/s.
    gbps: u8,
    /// Lanes that work.
    pub lanes: u8,
    /// It is plugged in.
    pub plugged: bool,
    /// The link.
    pub link: Link,
    /// Both ends use both lanes.
    pub bonded: bool,
    /// From a to b, from b to a.
    pub pipes: [Pipe; 2],
    /// Somebody wants to see its frames.
    pub tap: bool,
}

impl Cable {
    /// A cable, plugged in. The seed and the number decide its faults.
    #[must_use]
    pub fn new(cable: &topology::Cable, ends: [End; 2], number: usize, seed: u64) -> Self {
        let pipe = |direction: Direction| {
            let mut random = ChaCha8Rng::seed_from_u64(seed);
            let stream = number * 2 + direction.index();
            random.set_stream(u64::try_from(stream).unwrap_or(u64::MAX));
            Pipe::new(random)
        };
        Self {
            names: [cable.a, cable.b],
            ends,
            gbps: cable.gbps,
            lanes: cable.lanes,
            plugged: true,
            link: Link::Down,
            bonded: false,
            pipes: Direction::BOTH.map(pipe),
            tap: false,
        }
    }

    /// Frames can go.
    #[must_use]
    pub fn is_up(&self) -> bool {
        self.link == Link::Up
    }

    /// The training time is over.
    #[must_use]
    pub fn trained(&self, now: Time) -> bool {
        matches!(self.link, Link::Training(until) if until <= now)
    }

    /// Speed of a lane. A generation 4 link has two lanes or is none.
    #[must_use]
    pub fn gbps(&self) -> u8 {
        if self.lanes < 2 {
            self.gbps.min(20)
        } else {
            self.gbps
        }
    }

    /// A generation 4 link, which comes up bonded.
    #[must_use]
    pub fn is_gen4(&self) -> bool {
        self.gbps() > 20
    }

    /// Lanes that the link uses.
    #[must_use]
    pub fn width(&self) -> u8 {
        if self.bonded {
            2
        } else {
            1
        }
    }

    /// The direction in which frames of an end go.
    #[must_use]
    pub fn direction_from(&self, end: End) -> Option<Direction> {
        Direction::BOTH
            .into_iter()
            .find(|direction| self.ends[direction.index()] == end)
    }

    /// The end that frames of this direction go to.
    #[must_use]
    pub fn end_of(&self, direction: Direction) -> End {
        self.ends[direction.opposite().index()]
    }

    /// The pipe of a direction.
    #[must_use]
    pub fn pipe(&self, direction: Direction) -> &Pipe {
        &self.pipes[direction.index()]
    }

    /// The pipe of a direction, to use it.
    pub fn pipe_mut(&mut self, direction: Direction) -> &mut Pipe {
        &mut self.pipes[direction.index()]
    }

    /// When something can move or the link is trained.
    #[must_use]
    pub fn next_timer(&self) -> Option<Time> {
        let trained = match self.link {
            Link::Training(time) => Some(time),
            Link::Up | Link::Down => None,
        };
        let pipes = self.pipes.iter().filter_map(Pipe::next_timer);
        trained.into_iter().chain(pipes).min()
    }

    /// Forgets who was sent away by a rate limit; who still waits will ask again.
    pub fn wake(&mut self, now: Time) {
        for pipe in &mut self.pipes {
            if let Some(wake) = pipe.wake.take_if(|wake| *wake <= now) {
                pipe.late = (now - wake).min(TIMER_LATENESS);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::FaultChange;

    const A: End = End { node: 0, port: 1 };
    const B: End = End { node: 1, port: 2 };

    fn cable() -> Cable {
        let topology = topology::Topology::mesh(2, 1).unwrap();
        Cable::new(&topology.cables[0], [A, B], 0, 1)
    }

    fn at(nanos: u64) -> Time {
        Time::from_nanos(nanos)
    }

    fn data(hop: u16) -> Content {
        Content::Data {
            hop,
            sof: 1,
            eof: 2,
            crc_error: false,
            reserved: None,
        }
    }

    #[test]
    fn ends_know_their_direction() {
        let cable = cable();
        assert_eq!(cable.direction_from(A), Some(Direction::AToB));
        assert_eq!(cable.direction_from(B), Some(Direction::BToA));
        assert_eq!(cable.direction_from(End { node: 1, port: 1 }), None);
        assert_eq!(cable.end_of(Direction::AToB), B);
    }

    #[test]
    fn delayed_frames_keep_their_order() {
        let mut cable = cable();
        let pipe = cable.pipe_mut(Direction::AToB);
        assert!(pipe.is_direct());
        let delay = |micros| FaultChange {
            delay: Some(Duration::from_micros(micros)),
            ..FaultChange::default()
        };
        pipe.faults.change(&delay(10));
        assert!(!pipe.is_direct());
        pipe.push(at(0), data(8), vec![1]);
        pipe.faults.change(&delay(1));
        pipe.push(at(0), data(9), vec![2]);
        assert!(pipe.under_way(8) && pipe.under_way(9) && !pipe.under_way(10));
        assert_eq!(pipe.pop(at(9_999)), None);
        assert_eq!(pipe.next_timer(), Some(at(10_000)));
        assert_eq!(pipe.pop(at(10_000)).unwrap().payload, [1]);
        assert_eq!(pipe.pop(at(10_000)).unwrap().payload, [2]);
        assert_eq!((pipe.counters.in_flight, pipe.bytes), (0, 0));
    }

    #[test]
    fn a_rate_limit_takes_the_time_of_each_frame() {
        let mut cable = cable();
        let pipe = cable.pipe_mut(Direction::BToA);
        pipe.faults.change(&FaultChange {
            cap: Some(8_000_000),
            ..FaultChange::default()
        });
        // A byte takes a microsecond. Any timer, early or late by less than the lateness, gives the same rate.
        let mut now = at(1_000_000);
        for late in [0, 100_000, 300_000, 0, 50_000]
            .into_iter()
            .cycle()
            .take(50)
        {
            assert_eq!(pipe.gate(now), Gate::Open);
            pipe.enter(now, 1000);
            while let Gate::ClosedUntil(time) = pipe.gate(now) {
                now = time + Duration::from_nanos(late);
            }
        }
        let taken = now - at(1_000_000);
        assert!((49_000..=51_000).contains(&taken.as_micros()), "{taken:?}");
        assert!(pipe.counters.held >= 49);
    }

    #[test]
    fn a_late_timer_costs_a_waiting_sender_nothing_and_gives_an_idle_one_nothing() {
        let mut cable = cable();
        cable.pipe_mut(Direction::AToB).faults.change(&FaultChange {
            cap: Some(8_000_000),
            ..FaultChange::default()
        });
        // A byte takes a microsecond. The timer is five milliseconds late, each time.
        let mut now = at(1_000_000);
        let mut sent = 0;
        while now < at(1_000_000_000) {
            cable.wake(now);
            let pipe = cable.pipe_mut(Direction::AToB);
            while pipe.gate(now) == Gate::Open {
                pipe.enter(now, 1000);
                sent += 1;
            }
            now = now + Duration::from_micros(5_000);
        }
        assert!((990..=1010).contains(&sent), "{sent}");
        // A second of nothing.
        now = now + Duration::from_secs(1);
        let mut burst = 0;
        cable.wake(now);
        let pipe = cable.pipe_mut(Direction::AToB);
        while pipe.gate(now) == Gate::Open {
            pipe.enter(now, 1000);
            burst += 1;
        }
        assert!(burst <= 21, "{burst}");
    }

    #[test]
    fn a_stall_holds_everything() {
        let mut cable = cable();
        let stall = |on| FaultChange {
            stall: Some(on),
            ..FaultChange::default()
        };
        let pipe = cable.pipe_mut(Direction::AToB);
        pipe.push(at(0), data(8), vec![0]);
        pipe.faults.change(&stall(true));
        assert_eq!(pipe.gate(at(5)), Gate::Closed);
        assert_eq!(pipe.pop(at(5)), None);
        assert_eq!(pipe.next_timer(), None);
        pipe.faults.change(&stall(false));
        assert!(pipe.pop(at(5)).is_some());
        assert_eq!(pipe.gate(at(5)), Gate::Open);
    }

    #[test]
    fn what_is_on_a_dead_cable_is_lost() {
        let mut cable = cable();
        let pipe = cable.pipe_mut(Direction::AToB);
        pipe.push(at(0), data(8), vec![0; 10]);
        pipe.push(at(0), Content::Control { pdf: 6 }, vec![0; 10]);
        assert_eq!(pipe.lose_all().count(), 2);
        assert_eq!((pipe.counters.unplugged, pipe.bytes), (2, 0));
        assert_eq!(pipe.pop(at(1)), None);
        assert!(!pipe.under_way(8));
    }

    #[test]
    fn a_generation_4_link_needs_both_lanes() {
        let mut cable = cable();
        cable.gbps = 40;
        assert!(cable.is_gen4());
        cable.lanes = 1;
        assert!(!cable.is_gen4());
        assert_eq!(cable.gbps(), 20);
    }
}
