// SPDX-License-Identifier: GPL-2.0-only

//! The fabric: all host routers and cables, and the one loop that moves frames between them.

use vm_memory::GuestRegionMmap;

use crate::command::{Command, CommandError};
use crate::counters::Counters;
use crate::memory::{MapError, Memory};
use crate::sink::Sink;
use crate::time::Time;
use crate::topology::{NhiId, Topology};

/// All host routers and cables of a topology.
#[derive(Debug)]
pub struct Fabric {
    nodes: Vec<(NhiId, Memory)>,
}

impl Fabric {
    /// Everything powered off, every cable plugged in, no faults. The seed decides what random faults do.
    #[must_use]
    pub fn new(topology: &Topology, seed: u64) -> Self {
        let _ = seed;
        Self {
            nodes: topology.nhis().map(|id| (id, Memory::default())).collect(),
        }
    }

    /// All NHIs, in the order of the topology.
    pub fn nhis(&self) -> impl Iterator<Item = NhiId> + '_ {
        self.nodes.iter().map(|(id, _)| *id)
    }

    fn memory(&mut self, nhi: NhiId) -> Option<&mut Memory> {
        self.nodes
            .iter_mut()
            .find(|(id, _)| *id == nhi)
            .map(|(_, memory)| memory)
    }

    /// A machine is powered on.
    pub fn attach(&mut self, _now: Time, _nhi: NhiId) {}

    /// Its power is cut: peers see an unplug, and its memory is gone.
    pub fn detach(&mut self, _now: Time, nhi: NhiId) {
        if let Some(memory) = self.memory(nhi) {
            memory.clear();
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
        self.memory(nhi)
            .ok_or(MapError::NoSuchNhi)?
            .map(region, writable)
    }

    /// Guest memory goes.
    ///
    /// # Errors
    ///
    /// When it was not mapped with exactly these values.
    pub fn unmap(&mut self, nhi: NhiId, address: u64, size: u64) -> Result<(), MapError> {
        self.memory(nhi)
            .ok_or(MapError::NoSuchNhi)?
            .unmap(address, size)
    }

    /// Reads registers in BAR 0.
    pub fn read(&mut self, _now: Time, _nhi: NhiId, _offset: u64, data: &mut [u8]) {
        data.fill(0);
    }

    /// Writes registers in BAR 0. What follows from it happens in [`Fabric::run`].
    pub fn write(&mut self, _now: Time, _nhi: NhiId, _offset: u64, _data: &[u8]) {}

    /// Reset of the PCI function.
    pub fn reset(&mut self, _now: Time, _nhi: NhiId) {}

    /// Moves everything that can move now. Call it after each batch of accesses, and when [`Fabric::next_timer`] is due.
    pub fn run(&mut self, _now: Time, _sink: &mut dyn Sink) {}

    /// When [`Fabric::run`] has something to do without being asked to.
    #[must_use]
    pub fn next_timer(&self) -> Option<Time> {
        None
    }

    /// Signals every vector again that has an enabled interrupt pending: for a machine that has just replaced the places its vectors are signalled at.
    pub fn resignal(&mut self, _now: Time, _nhi: NhiId, _sink: &mut dyn Sink) {}

    /// Changes something while the fabric runs.
    ///
    /// # Errors
    ///
    /// When the cable or router is not there.
    pub fn command(&mut self, _now: Time, _command: Command) -> Result<(), CommandError> {
        Ok(())
    }

    /// Turns the tap of a cable on or off.
    ///
    /// # Errors
    ///
    /// When there is no such cable.
    pub fn set_tap(&mut self, _cable: usize, _on: bool) -> Result<(), CommandError> {
        Ok(())
    }

    /// A snapshot of all counters.
    #[must_use]
    pub fn counters(&self) -> Counters {
        Counters {
            nhis: Vec::new(),
            cables: Vec::new(),
        }
    }
}
