// SPDX-License-Identifier: GPL-2.0-only

//! Two hosts, a link, a clock: one queue of events, processed in order of virtual time.
//!
//! ```text
//!   post, fail  --> [event queue: time, number] --> packet | loss | timeout | post --> run
//!                          ^                                                           |
//!                          '------- link: delay, loss, ... <---- frames sent ----------'
//! ```

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};

use usb4_rxe::host::HostCrc32;
use usb4_rxe::rxe::inbound::{delivery, Delivery, Taken};
use usb4_rxe::rxe::qp::{Change, Qp, Ran, State};
use usb4_rxe::rxe::time::{Nanos, Time};
use usb4_rxe::rxe::wire::Packet;

use crate::host::{Objects, Outbox, PostedReceive, PostedSend, Queues, VecStorage, View};
use crate::link::{Arrival, Direction};
use crate::rng::Rng;

/// One queue pair and its queues.
pub struct Node {
    /// The engine.
    pub qp: Qp<VecStorage>,
    /// Its queues.
    pub queues: Queues,
    /// It takes from the host's shared receive queue.
    pub shared: bool,
    /// A run is scheduled.
    running: bool,
    /// The timer is armed for then.
    armed: Option<u64>,
    /// Frames that wait for memory to be fetched, in order.
    waiting: VecDeque<Vec<u8>>,
}

/// One host.
pub struct Host {
    /// Its memory.
    pub objects: Objects,
    /// Its queue pairs.
    pub nodes: Vec<Node>,
    /// Its shared receive queue.
    pub srq: VecDeque<PostedReceive>,
    by_qpn: BTreeMap<u32, usize>,
    /// Since when all of its memory is missing.
    absent_since: Option<u64>,
}

/// What happens.
#[derive(Debug)]
pub enum Happening {
    /// Something arrives at a host.
    Arrive(usize, Arrival),
    /// A queue pair may go on.
    Run(usize, usize),
    /// The timer of a queue pair.
    Timer(usize, usize),
    /// Memory was fetched: a queue pair takes the frames that wait for it.
    Fetched(usize, usize),
    /// A send request is posted.
    Send(usize, usize, PostedSend),
    /// A receive request is posted.
    Receive(usize, usize, PostedReceive),
    /// The user moves a queue pair to state ERR.
    Fail(usize, usize),
    /// All memory of a host is missing from now on, or there again.
    Absent(usize, bool),
}

struct Event {
    at: u64,
    number: u64,
    what: Happening,
}

impl PartialEq for Event {
    fn eq(&self, other: &Self) -> bool {
        self.number == other.number
    }
}

impl Eq for Event {}

impl PartialOrd for Event {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Event {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.number).cmp(&(other.at, other.number))
    }
}

/// Packets a queue pair may send before others have their turn.
const BUDGET: u32 = 8;

/// How much a link holds, in nanoseconds of its time.
const RING: u64 = 4_000;

/// The world.
pub struct World {
    /// Both hosts.
    pub hosts: [Host; 2],
    /// Both directions: from host 0, from host 1.
    pub links: [Direction; 2],
    out: Outbox,
    events: BinaryHeap<Reverse<Event>>,
    number: u64,
    /// Virtual time.
    pub now: u64,
    rng: Rng,
    /// Frames a host may send per run, at random, so that the engine meets a busy link.
    pub busy: bool,
    /// Frames that cannot be taken now are dropped instead of kept.
    pub hasty: bool,
    /// Frames handed to the link.
    pub frames: u64,
    arrivals: Vec<(u64, Arrival)>,
    /// Frames not delivered yet.
    pub in_flight: u64,
    /// Events that wait for the oracle's sake: posts and failures.
    pub planned: u64,
    /// Print every frame sent.
    pub trace: bool,
}

/// One line about a frame, before the link harms it.
fn print_frame(now: u64, host: usize, frame: &[u8]) {
    let packet = Packet::parse::<HostCrc32>(frame).expect("we made it");
    let bth = packet.headers.repr.bth;
    let len = packet.payload.len();
    let body = packet.headers.repr.body;
    println!(
        "{now:>10} host {host} -> qp {:#x} psn {:#x} ask {} {len} bytes {body:?}",
        bth.dst_qp.get(),
        bth.psn.get(),
        bth.ack_request,
    );
}

impl Host {
    /// Without queue pairs.
    pub fn new() -> Self {
        Self {
            objects: Objects::default(),
            nodes: Vec::new(),
            srq: VecDeque::new(),
            by_qpn: BTreeMap::new(),
            absent_since: None,
        }
    }

    /// Adds a queue pair.
    pub fn add(&mut self, qp: Qp<VecStorage>) {
        let shared = qp.attr().init.shared_receive;
        self.by_qpn
            .insert(qp.attr().init.qpn.get(), self.nodes.len());
        self.nodes.push(Node {
            qp,
            queues: Queues::default(),
            shared,
            running: false,
            armed: None,
            waiting: VecDeque::new(),
        });
    }
}

/// Calls a method of one queue pair with its surroundings.
macro_rules! with_view {
    ($world:expr, $host:expr, $node:expr, |$qp:ident, $view:ident| $body:expr) => {{
        let host = &mut $world.hosts[$host];
        let node = &mut host.nodes[$node];
        let mut view = View {
            objects: &mut host.objects,
            queues: &mut node.queues,
            shared: node.shared.then_some(&mut host.srq),
            out: &mut $world.out,
        };
        let ($qp, $view) = (&mut node.qp, &mut view);
        $body
    }};
}

impl World {
    /// With these links.
    pub fn new(links: [Direction; 2], seed: u64) -> Self {
        Self {
            hosts: [Host::new(), Host::new()],
            links,
            out: Outbox::default(),
            events: BinaryHeap::new(),
            number: 0,
            now: 0,
            rng: Rng::new(seed),
            busy: false,
            hasty: false,
            frames: 0,
            arrivals: Vec::new(),
            in_flight: 0,
            planned: 0,
            trace: false,
        }
    }

    /// Plans something.
    pub fn at(&mut self, at: u64, what: Happening) {
        match what {
            Happening::Arrive(..) | Happening::Fetched(..) => self.in_flight += 1,
            Happening::Send(..) | Happening::Receive(..) | Happening::Fail(..) => {
                self.planned += 1;
            }
            Happening::Run(..) | Happening::Timer(..) | Happening::Absent(..) => {}
        }
        self.number += 1;
        self.events.push(Reverse(Event {
            at,
            number: self.number,
            what,
        }));
    }

    /// Processes the next event, if there is one before `limit`.
    pub fn step(&mut self, limit: u64) -> bool {
        match self.events.peek() {
            Some(Reverse(event)) if event.at <= limit => {}
            _ => return false,
        }
        let Some(Reverse(event)) = self.events.pop() else {
            return false;
        };
        self.now = event.at;
        match event.what {
            Happening::Arrive(host, arrival) => {
                self.in_flight -= 1;
                self.arrive(host, arrival);
            }
            Happening::Run(host, node) => {
                self.hosts[host].nodes[node].running = false;
                self.run(host, node);
            }
            Happening::Timer(host, node) => {
                self.hosts[host].nodes[node].armed = None;
                let now = Time(self.now);
                with_view!(self, host, node, |qp, view| {
                    if qp.deadline().is_some_and(|at| at <= now) {
                        qp.timeout(now, view);
                    }
                });
                self.run(host, node);
            }
            Happening::Fetched(host, node) => {
                self.in_flight -= 1;
                while let Some(frame) = self.hosts[host].nodes[node].waiting.pop_front() {
                    if self.take(host, node, &frame) == Taken::Again {
                        self.hosts[host].nodes[node].waiting.push_front(frame);
                        self.at(self.look_at(host, node), Happening::Fetched(host, node));
                        break;
                    }
                    self.out.spare.push(frame);
                }
                self.run(host, node);
            }
            Happening::Send(host, node, posted) => {
                self.planned -= 1;
                self.hosts[host].nodes[node].queues.sq.push_back(posted);
                self.run(host, node);
            }
            Happening::Receive(host, node, posted) => {
                self.planned -= 1;
                let target = &mut self.hosts[host];
                if target.nodes[node].shared {
                    target.srq.push_back(posted);
                } else {
                    target.nodes[node].queues.rq.push_back(posted);
                }
                // A user posts receives without a system call: nothing runs.
            }
            Happening::Absent(host, missing) => {
                self.hosts[host].objects.absent = if missing { 1000 } else { 0 };
                self.hosts[host].absent_since = missing.then_some(self.now);
            }
            Happening::Fail(host, node) => {
                self.planned -= 1;
                let change = Change {
                    state: Some(State::Err),
                    ..Change::default()
                };
                self.hosts[host].nodes[node]
                    .qp
                    .modify(&change)
                    .expect("any state but RESET may fail");
                self.run(host, node);
            }
        }
        true
    }

    fn arrive(&mut self, host: usize, arrival: Arrival) {
        let frame = match arrival {
            Arrival::Frame(frame) => frame,
            Arrival::Loss => {
                for node in 0..self.hosts[host].nodes.len() {
                    with_view!(self, host, node, |qp, view| qp.loss(view));
                    self.run(host, node);
                }
                return;
            }
        };
        let to = Packet::parse::<HostCrc32>(&frame).ok().and_then(|packet| {
            match delivery(&packet.headers) {
                Delivery::One(qpn) => self.hosts[host].by_qpn.get(&qpn.get()).copied(),
                Delivery::Nobody | Delivery::Group(_) => None,
            }
        });
        let Some(node) = to else {
            self.out.spare.push(frame);
            return;
        };
        if !self.hosts[host].nodes[node].waiting.is_empty() {
            self.hosts[host].nodes[node].waiting.push_back(frame);
            return;
        }
        if self.take(host, node, &frame) == Taken::Again {
            if self.hasty {
                self.hosts[host].nodes[node].qp.none_waits(Time(self.now));
                self.out.spare.push(frame);
                self.run(host, node);
                return;
            }
            self.hosts[host].nodes[node].waiting.push_back(frame);
            self.at(self.look_at(host, node), Happening::Fetched(host, node));
        } else {
            self.out.spare.push(frame);
        }
        self.run(host, node);
    }

    /// When a queue pair looks again for memory that is not there.
    fn look_at(&self, host: usize, node: usize) -> u64 {
        let host = &self.hosts[host];
        let fetched = host.absent_since.map_or(0, |since| self.now - since);
        self.now + host.nodes[node].qp.look_after(Nanos(fetched)).0
    }

    /// Hands a good frame to a queue pair.
    fn take(&mut self, host: usize, node: usize, frame: &[u8]) -> Taken {
        let now = Time(self.now);
        let packet = Packet::parse::<HostCrc32>(frame).expect("it was good before");
        with_view!(self, host, node, |qp, view| qp.packet(
            now,
            &packet.headers,
            packet.payload,
            view
        ))
    }

    /// Lets a queue pair work, sends its frames, sets its timer.
    fn run(&mut self, host: usize, node: usize) {
        let now = Time(self.now);
        // A rail takes no more than its ring holds.
        let backlog = self.links[host].free_at().saturating_sub(self.now);
        let room = if backlog > RING { 0 } else { 16 };
        self.out.room = Some(if self.busy {
            self.rng.below(4).min(room) as usize
        } else {
            room as usize
        });
        let ran = with_view!(self, host, node, |qp, view| qp.run(now, BUDGET, view));
        let mut frames = std::mem::take(&mut self.out.frames);
        for frame in frames.drain(..) {
            self.frames += 1;
            if self.trace {
                print_frame(self.now, host, &frame);
            }
            self.links[host].send(self.now, frame, &mut self.rng, &mut self.arrivals);
        }
        self.out.frames = frames;
        let mut arrivals = std::mem::take(&mut self.arrivals);
        for (at, arrival) in arrivals.drain(..) {
            self.at(at, Happening::Arrive(1 - host, arrival));
        }
        self.arrivals = arrivals;

        let again = match ran {
            Ran::Idle => None,
            // Who has had its turn comes after those who found the link busy.
            Ran::More => Some(self.links[host].free_at().max(self.now) + 1),
            Ran::Busy => Some(self.links[host].free_at().max(self.now + 50)),
            Ran::Absent => Some(self.look_at(host, node)),
        };
        let target = &mut self.hosts[host].nodes[node];
        if let (Some(at), false) = (again, target.running) {
            target.running = true;
            self.at(at, Happening::Run(host, node));
        }
        let target = &mut self.hosts[host].nodes[node];
        if let Some(Time(deadline)) = target.qp.deadline() {
            let at = deadline.max(self.now);
            if target.armed.is_none_or(|armed| at < armed) {
                target.armed = Some(at);
                self.at(at, Happening::Timer(host, node));
            }
        }
    }
}
