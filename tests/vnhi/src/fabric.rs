// SPDX-License-Identifier: GPL-2.0-only

//! The fabric: all host routers and cables, and the one loop that moves frames between them.
//!
//! ```text
//!  register writes ---.                                     .--> guest memory
//!  commands ----------+--> recorded --> run(now, sink) -----+--> sink: interrupts, tapped frames
//!  power on and off --'                                     '--> next_timer()
//! ```
//!
//! Nothing in here knows a clock, a socket or a thread: time is an argument, and what comes out goes into guest memory or
//! into the [`Sink`]. A run does a bounded amount of work for each host; what is left is due at once.

mod control;
mod links;
mod node;
mod transfer;

use vm_memory::GuestRegionMmap;

use self::node::Node;
use crate::cable::{Cable, End};
use crate::command::{CableSelector, Command, CommandError, Direction};
use crate::counters::{CableCounters, Counters};
use crate::memory::{MapError, Memory};
use crate::nhi::Effect;
use crate::sink::Sink;
use crate::time::Time;
use crate::topology::{NhiId, PortId, Topology};

/// Most delayed frames of one direction that arrive in one run.
const ARRIVALS: usize = 1024;

/// All host routers and cables of a topology.
#[derive(Debug)]
pub struct Fabric {
    nodes: Vec<Node>,
    /// Memory of each node, apart from it because a frame takes two.
    memories: Vec<Memory>,
    cables: Vec<Cable>,
    links_changed: bool,
    work_left: bool,
}

impl Fabric {
    /// Everything powered off, every cable plugged in, no faults. The seed decides what random faults do.
    #[must_use]
    pub fn new(topology: &Topology, seed: u64) -> Self {
        let ids: Vec<NhiId> = topology.nhis().collect();
        let end = |port: PortId| End {
            // A topology has only cables between its routers.
            node: ids.iter().position(|id| *id == port.nhi).unwrap_or(0),
            port: port.port,
        };
        let cables = (0..).zip(&topology.cables);
        let cables = cables
            .map(|(number, cable)| Cable::new(cable, [end(cable.a), end(cable.b)], number, seed))
            .collect();
        let nodes: Vec<Node> = (0..)
            .zip(&ids)
            .map(|(place, id)| Node::new(topology, *id, place, seed))
            .collect();
        Self {
            memories: nodes.iter().map(|_| Memory::default()).collect(),
            nodes,
            cables,
            links_changed: true,
            work_left: false,
        }
    }

    /// All NHIs, in the order of the topology.
    pub fn nhis(&self) -> impl Iterator<Item = NhiId> + '_ {
        self.nodes.iter().map(|node| node.id)
    }

    fn place(&self, nhi: NhiId) -> Option<usize> {
        self.nodes.iter().position(|node| node.id == nhi)
    }

    /// A machine is powered on.
    pub fn attach(&mut self, _now: Time, nhi: NhiId) {
        if let Some(place) = self.place(nhi) {
            self.reset_node(place);
            self.nodes[place].attached = true;
        }
    }

    /// Its power is cut: peers see an unplug, and its memory is gone.
    pub fn detach(&mut self, _now: Time, nhi: NhiId) {
        if let Some(place) = self.place(nhi) {
            self.nodes[place].attached = false;
            self.reset_node(place);
            self.memories[place].clear();
        }
    }

    /// Guest memory comes.
    ///
    /// # Errors
    ///
    /// When it overlaps what is there.
    pub fn map(
        &mut self,
        nhi: NhiId,
        region: GuestRegionMmap,
        writable: bool,
    ) -> Result<(), MapError> {
        let place = self.place(nhi).ok_or(MapError::NoSuchNhi)?;
        self.memories[place].map(region, writable)
    }

    /// Guest memory goes.
    ///
    /// # Errors
    ///
    /// When it was not mapped with exactly these values.
    pub fn unmap(&mut self, nhi: NhiId, address: u64, size: u64) -> Result<(), MapError> {
        let place = self.place(nhi).ok_or(MapError::NoSuchNhi)?;
        self.memories[place].unmap(address, size)
    }

    /// Reads registers in BAR 0.
    pub fn read(&mut self, _now: Time, nhi: NhiId, offset: u64, data: &mut [u8]) {
        match self.place(nhi) {
            Some(place) => self.nodes[place].nhi.read(offset, data),
            None => data.fill(0),
        }
    }

    /// Writes registers in BAR 0. What follows from it happens in [`Fabric::run`].
    pub fn write(&mut self, _now: Time, nhi: NhiId, offset: u64, data: &[u8]) {
        let Some(place) = self.place(nhi) else {
            return;
        };
        if offset % 4 != 0 || data.len() % 4 != 0 {
            self.nodes[place].nhi.errors.bad_access += 1;
            return;
        }
        let mut at = offset;
        for word in data.chunks_exact(4) {
            let value = word.try_into().map_or(0, u32::from_le_bytes);
            match self.nodes[place].nhi.write_word(at, value) {
                Effect::None => {}
                Effect::Transmit => self.nodes[place].active = true,
                Effect::ControlRing => {
                    self.nodes[place].active = true;
                    self.links_changed = true;
                }
                Effect::HostReset => self.reset_node(place),
            }
            at = at.wrapping_add(4);
        }
    }

    /// Reset of the PCI function.
    pub fn reset(&mut self, _now: Time, nhi: NhiId) {
        if let Some(place) = self.place(nhi) {
            self.reset_node(place);
        }
    }

    fn reset_node(&mut self, place: usize) {
        self.nodes[place].reset();
        self.take_down_all(place);
    }

    fn take_down_all(&mut self, place: usize) {
        for number in self.nodes[place].cables.clone().into_iter().flatten() {
            self.take_down(number);
        }
    }

    /// Moves everything that can move now. Call it after each batch of accesses, and when [`Fabric::next_timer`] is due.
    pub fn run(&mut self, now: Time, sink: &mut dyn Sink) {
        self.work_left = false;
        for cable in &mut self.cables {
            cable.wake(now);
        }
        self.links(now);
        for number in 0..self.cables.len() {
            for direction in Direction::BOTH {
                self.arrivals(now, number, direction, sink);
            }
        }
        for place in 0..self.nodes.len() {
            if self.nodes[place].active {
                self.work_left |= self.take_control(now, place, sink);
            }
        }
        for place in 0..self.nodes.len() {
            if self.nodes[place].active {
                self.work_left |= self.transmit(now, place, sink);
            }
        }
        // Requests may have changed links.
        self.links(now);
        for place in 0..self.nodes.len() {
            self.deliver_control(place);
            let node = &mut self.nodes[place];
            self.work_left |= node.control_waits() && !node.busy();
            let id = node.id;
            node.nhi
                .interrupts
                .send(now, |vector| sink.interrupt(id, vector));
        }
    }

    fn links(&mut self, now: Time) {
        let trained = self.cables.iter().any(|cable| cable.trained(now));
        if trained || std::mem::take(&mut self.links_changed) {
            self.update_links(now);
        }
    }

    fn arrivals(&mut self, now: Time, number: usize, direction: Direction, sink: &mut dyn Sink) {
        for _ in 0..ARRIVALS {
            let Some(frame) = self.cables[number].pipe_mut(direction).pop(now) else {
                return;
            };
            self.land(now, number, direction, frame, sink);
        }
        self.work_left = true;
    }

    /// When [`Fabric::run`] has something to do without being asked to.
    #[must_use]
    pub fn next_timer(&self) -> Option<Time> {
        if self.work_left || self.links_changed {
            return Some(Time::ZERO);
        }
        let cables = self.cables.iter().filter_map(Cable::next_timer);
        let interrupts = self
            .nodes
            .iter()
            .filter_map(|node| node.nhi.interrupts.next_timer());
        cables.chain(interrupts).min()
    }

    /// Signals every vector again that has an enabled interrupt pending: for a machine that has just replaced the places
    /// its vectors are signalled at.
    pub fn resignal(&mut self, _now: Time, nhi: NhiId, sink: &mut dyn Sink) {
        if let Some(place) = self.place(nhi) {
            for vector in self.nodes[place].nhi.interrupts.pending_vectors() {
                sink.interrupt(nhi, vector);
            }
        }
    }

    /// Changes something while the fabric runs.
    ///
    /// # Errors
    ///
    /// When the cable or router is not there.
    pub fn command(&mut self, _now: Time, command: Command) -> Result<(), CommandError> {
        match command {
            Command::Fault {
                cables,
                direction,
                change,
            } => {
                for number in self.select(cables)? {
                    for way in directions(direction) {
                        self.cables[number].pipe_mut(way).faults.change(&change);
                    }
                }
            }
            Command::ClearFaults { cables, direction } => {
                for number in self.select(cables)? {
                    for way in directions(direction) {
                        self.cables[number].pipe_mut(way).faults.clear();
                    }
                }
            }
            Command::Unplug(cables) => {
                for number in self.select(cables)? {
                    self.cables[number].plugged = false;
                    self.take_down(number);
                }
            }
            Command::Plug(cables) => {
                for number in self.select(cables)? {
                    self.cables[number].plugged = true;
                    self.links_changed = true;
                }
            }
            Command::Lanes { cables, lanes } => self.set_lanes(cables, lanes)?,
            Command::ResetRouter(nhi) => {
                let place = self.place(nhi).ok_or(CommandError::NoSuchRouter(nhi))?;
                self.nodes[place].router.lose_paths();
                self.take_down_all(place);
            }
            Command::LoseInterrupts { nhi, count } => {
                self.interrupts(nhi)?.lose(count);
            }
            Command::LoseInterruptsAtRandom { nhi, probability } => {
                self.interrupts(nhi)?.lose_at_random(probability);
            }
            Command::ThrottleInterrupts { nhi, gap } => {
                self.interrupts(nhi)?.override_throttle(gap);
            }
        }
        self.work_left = true;
        Ok(())
    }

    fn set_lanes(&mut self, cables: CableSelector, lanes: u8) -> Result<(), CommandError> {
        if !(1..=2).contains(&lanes) {
            return Err(CommandError::BadLanes(lanes));
        }
        for number in self.select(cables)? {
            let speed = self.cables[number].gbps();
            self.cables[number].lanes = lanes;
            self.links_changed = true;
            if self.cables[number].gbps() != speed {
                // A generation 4 link cannot go on with one lane: it trains anew.
                self.take_down(number);
            }
        }
        Ok(())
    }

    fn interrupts(
        &mut self,
        nhi: NhiId,
    ) -> Result<&mut crate::nhi::interrupt::Interrupts, CommandError> {
        let place = self.place(nhi).ok_or(CommandError::NoSuchRouter(nhi))?;
        Ok(&mut self.nodes[place].nhi.interrupts)
    }

    fn select(&self, cables: CableSelector) -> Result<std::ops::Range<usize>, CommandError> {
        let count = self.cables.len();
        match cables {
            CableSelector::All => Ok(0..count),
            CableSelector::One(number) if number < count => Ok(number..number + 1),
            CableSelector::One(number) => Err(CommandError::NoSuchCable(number, count)),
        }
    }

    /// Turns the tap of a cable on or off.
    ///
    /// # Errors
    ///
    /// When there is no such cable.
    pub fn set_tap(&mut self, cable: usize, on: bool) -> Result<(), CommandError> {
        for number in self.select(CableSelector::One(cable))? {
            self.cables[number].tap = on;
        }
        Ok(())
    }

    /// A snapshot of all counters.
    #[must_use]
    pub fn counters(&self) -> Counters {
        let cables = self.cables.iter().map(|cable| CableCounters {
            a: cable.names[0].to_string(),
            b: cable.names[1].to_string(),
            plugged: cable.plugged,
            up: cable.is_up(),
            lanes: if cable.is_up() { cable.width() } else { 0 },
            gbps: cable.gbps(),
            forward: cable.pipe(Direction::AToB).counters,
            back: cable.pipe(Direction::BToA).counters,
        });
        Counters {
            nhis: self.nodes.iter().map(Node::counters).collect(),
            cables: cables.collect(),
        }
    }
}

/// One direction, or both.
fn directions(direction: Option<Direction>) -> impl Iterator<Item = Direction> {
    Direction::BOTH
        .into_iter()
        .filter(move |way| direction.is_none_or(|only| only == *way))
}
