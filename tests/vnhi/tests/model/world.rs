// SPDX-License-Identifier: GPL-2.0-only

//! A fabric, its time, what came out of it, and the guests.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use vm_memory::{
    Bytes, GuestAddress, GuestMemoryRegion, GuestRegionMmap, MemoryRegionAddress, MmapRegion,
};
use vnhi::command::{Command, FaultChange};
use vnhi::counters::{Counters, NhiCounters, RingCounters};
use vnhi::fabric::Fabric;
use vnhi::sink::{Fate, Sink, TapFrame};
use vnhi::time::Time;
use vnhi::topology::{NhiId, Topology};

use crate::driver::{Packet, Ring};

/// Memory of a guest.
const MEMORY: usize = 8 << 20;
/// Where it begins: not at zero, so that a forgotten base shows.
const BASE: u64 = 0x4000_0000;

/// A tapped frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tapped {
    pub hop: u16,
    pub sof: u8,
    pub eof: u8,
    pub crc_error: bool,
    pub fate: Fate,
    pub payload: Vec<u8>,
}

/// Keeps what the fabric gives away.
#[derive(Debug, Default)]
pub struct Record {
    pub interrupts: BTreeMap<(NhiId, u16), usize>,
    pub frames: Vec<Tapped>,
}

impl Sink for Record {
    fn interrupt(&mut self, nhi: NhiId, vector: u16) {
        *self.interrupts.entry((nhi, vector)).or_default() += 1;
    }

    fn frame(&mut self, _now: Time, frame: &TapFrame<'_>) {
        self.frames.push(Tapped {
            hop: frame.hop,
            sof: frame.sof,
            eof: frame.eof,
            crc_error: frame.crc_error,
            fate: frame.fate,
            payload: frame.payload.to_vec(),
        });
    }
}

/// One guest: a machine's memory and one NHI of it.
#[derive(Debug)]
pub struct Guest {
    pub id: NhiId,
    memory: GuestRegionMmap,
    free: u64,
    /// Rings that were started, transmit rings first.
    pub rings: BTreeMap<(bool, u16), Ring>,
    /// Control packets that came while an answer was awaited.
    pub events: Vec<Packet>,
}

impl Guest {
    /// Memory that nobody uses yet.
    pub fn allocate(&mut self, size: u64) -> u64 {
        let at = self.free;
        self.free += size.next_multiple_of(16);
        assert!(
            self.free <= BASE + self.memory.len(),
            "guest memory is full"
        );
        at
    }

    pub fn put(&self, address: u64, data: &[u8]) {
        let at = MemoryRegionAddress(address - BASE);
        self.memory.write_slice(data, at).unwrap();
    }

    pub fn get(&self, address: u64, length: usize) -> Vec<u8> {
        let mut data = vec![0; length];
        let at = MemoryRegionAddress(address - BASE);
        self.memory.read_slice(&mut data, at).unwrap();
        data
    }

    pub fn get_u32(&self, address: u64) -> u32 {
        u32::from_le_bytes(self.get(address, 4).try_into().unwrap())
    }
}

/// Everything.
pub struct World {
    pub fabric: Fabric,
    pub now: Time,
    pub record: Record,
    pub guests: Vec<Guest>,
}

impl World {
    /// All machines of the topology, switched on.
    pub fn new(topology: &Topology) -> Self {
        let mut world = Self {
            fabric: Fabric::new(topology, 1),
            now: Time::from_nanos(1_000_000),
            record: Record::default(),
            guests: Vec::new(),
        };
        for id in topology.nhis() {
            let region = Arc::new(MmapRegion::new(MEMORY).unwrap());
            let window = || GuestRegionMmap::with_arc(region.clone(), GuestAddress(BASE)).unwrap();
            world.guests.push(Guest {
                id,
                memory: window(),
                free: BASE,
                rings: BTreeMap::new(),
                events: Vec::new(),
            });
            world.fabric.attach(world.now, id);
            world.fabric.map(id, window(), true).unwrap();
        }
        world
    }

    /// Two machines and a cable.
    pub fn pair() -> Self {
        Self::new(&Topology::mesh(2, 1).unwrap())
    }

    pub fn id(&self, guest: usize) -> NhiId {
        self.guests[guest].id
    }

    pub fn read(&mut self, guest: usize, offset: u64) -> u32 {
        let mut word = [0; 4];
        self.fabric
            .read(self.now, self.guests[guest].id, offset, &mut word);
        u32::from_le_bytes(word)
    }

    pub fn write(&mut self, guest: usize, offset: u64, value: u32) {
        let id = self.guests[guest].id;
        self.fabric
            .write(self.now, id, offset, &value.to_le_bytes());
    }

    /// Runs until nothing can move without time going by.
    pub fn run(&mut self) {
        for _ in 0..10_000 {
            self.fabric.run(self.now, &mut self.record);
            if self.fabric.next_timer().is_none_or(|due| due > self.now) {
                return;
            }
        }
        panic!("the fabric does not come to rest");
    }

    /// Lets time go by, with every timer at its time.
    pub fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        self.run();
        while let Some(due) = self.fabric.next_timer().filter(|due| *due <= end) {
            self.now = self.now.max(due);
            self.run();
        }
        self.now = end;
        self.run();
    }

    pub fn command(&mut self, command: Command) {
        self.fabric.command(self.now, command).unwrap();
        self.run();
    }

    /// Faults for everything.
    pub fn fault(&mut self, change: FaultChange) {
        self.command(Command::Fault {
            cables: vnhi::command::CableSelector::All,
            direction: None,
            change,
        });
    }

    pub fn counters(&self) -> Counters {
        self.fabric.counters()
    }

    pub fn nhi_counters(&self, guest: usize) -> NhiCounters {
        self.counters().nhis[guest].clone()
    }

    pub fn ring_counters(&self, guest: usize, ring: u16) -> RingCounters {
        let counters = self.nhi_counters(guest).rings;
        let found = counters.into_iter().find(|counters| counters.ring == ring);
        found.unwrap_or_default()
    }

    /// Interrupts that a vector has had since the last call.
    pub fn interrupts(&mut self, guest: usize, vector: u16) -> usize {
        let key = (self.guests[guest].id, vector);
        self.record.interrupts.remove(&key).unwrap_or(0)
    }
}
