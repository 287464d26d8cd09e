// SPDX-License-Identifier: GPL-2.0-only

//! One host router in the fabric: NHI and router, what waits for its host, and where its ports lead.

use std::collections::VecDeque;

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use crate::control::packet::Packet;
use crate::counters::{ControlCounters, NhiCounters, RingCounters};
use crate::nhi::ring::Ring;
use crate::nhi::Nhi;
use crate::router::Router;
use crate::topology::{NhiId, Topology};

/// Most control packets that wait for the host to post buffers.
const MAX_INBOX: usize = 256;
/// While so many wait, the router takes no more requests.
const BUSY_INBOX: usize = 64;
/// Most that wait while more come over cables: what other hosts send must not keep this one from its router.
const FULL_FOR_OTHERS: usize = 32;
/// Streams of random numbers from here on are for interrupts; cables have those below.
const INTERRUPT_STREAMS: u64 = 1 << 32;

/// A host router.
#[derive(Debug)]
pub struct Node {
    /// Its name.
    pub id: NhiId,
    /// A machine is there.
    pub attached: bool,
    /// Registers, rings, interrupts.
    pub nhi: Nhi,
    /// Configuration spaces.
    pub router: Router,
    /// The cable at each port.
    pub cables: Vec<Option<usize>>,
    /// Control packets for the host, with their PDF.
    pub inbox: VecDeque<(u8, Vec<u8>)>,
    /// What was counted.
    pub control: ControlCounters,
    /// A transmit ring may have something to send.
    pub active: bool,
    /// The ring that is served first next time.
    pub next_ring: u16,
}

impl Node {
    /// A host router of the topology, switched off.
    #[must_use]
    pub fn new(topology: &Topology, id: NhiId, place: usize, seed: u64) -> Self {
        let host = topology.hosts[usize::from(id.host) - 1];
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        random.set_stream(INTERRUPT_STREAMS + u64::try_from(place).unwrap_or(0));
        let cable_at = |port| {
            topology.cables.iter().position(|cable| {
                [cable.a, cable.b]
                    .iter()
                    .any(|end| end.nhi == id && end.port == port)
            })
        };
        let cables: Vec<_> = (1..=host.ports).map(cable_at).collect();
        let ports = cables
            .iter()
            .map(|cable| cable.map(|cable| topology.cables[cable]))
            .collect();
        Self {
            id,
            attached: false,
            nhi: Nhi::new(host.hops, random),
            router: Router::new(id, host.hops, ports),
            cables,
            inbox: VecDeque::new(),
            control: ControlCounters::default(),
            active: false,
            next_ring: 0,
        }
    }

    /// Everything goes back to its state after power-on; counters and faults stay.
    pub fn reset(&mut self) {
        self.nhi.reset();
        self.router.reset();
        self.inbox.clear();
        self.active = false;
    }

    /// A connection manager has enumerated the router and takes control packets.
    #[must_use]
    pub fn listens(&self) -> bool {
        self.attached && self.router.valid() && self.nhi.control_runs()
    }

    /// The cable at a port.
    #[must_use]
    pub fn cable(&self, port: u8) -> Option<usize> {
        *self.cables.get(usize::from(port).checked_sub(1)?)?
    }

    /// The host is slow to take answers: it has to wait with requests.
    #[must_use]
    pub fn busy(&self) -> bool {
        self.inbox.len() >= BUSY_INBOX
    }

    /// The host has posted control packets that were not taken.
    #[must_use]
    pub fn control_waits(&self) -> bool {
        self.nhi.tx.first().is_some_and(|ring| ring.posted() > 0)
    }

    /// A control packet for the host from its router.
    pub fn receive(&mut self, packet: &Packet) {
        self.queue(packet.kind.pdf(), packet.to_bytes(), MAX_INBOX);
    }

    /// A control packet for the host, as it came over a cable.
    pub fn receive_from_cable(&mut self, pdf: u8, bytes: Vec<u8>) {
        self.control.xdomain_received += 1;
        self.queue(pdf, bytes, FULL_FOR_OTHERS);
    }

    fn queue(&mut self, pdf: u8, bytes: Vec<u8>, most: usize) {
        let runs = self.nhi.rx.first().is_some_and(Ring::enabled);
        if runs && self.inbox.len() < most {
            self.inbox.push_back((pdf, bytes));
        } else {
            self.control.dropped += 1;
        }
    }

    /// Sets a buffer of a receive ring aside for a frame on a cable.
    pub fn reserve(&mut self, ring: u16) {
        if let Some(rx) = self.nhi.rx.get_mut(usize::from(ring)) {
            rx.reserved = rx.reserved.saturating_add(1);
        }
    }

    /// Such a frame has arrived or is lost.
    pub fn unreserve(&mut self, ring: u16) {
        if let Some(rx) = self.nhi.rx.get_mut(usize::from(ring)) {
            rx.reserved = rx.reserved.saturating_sub(1);
        }
    }

    /// A snapshot of its counters.
    #[must_use]
    pub fn counters(&self) -> NhiCounters {
        let rings = self.nhi.tx.iter().zip(&self.nhi.rx);
        let rings = rings
            .map(|(tx, rx)| RingCounters {
                ring: tx.counters.ring,
                tx_frames: tx.counters.tx_frames,
                tx_bytes: tx.counters.tx_bytes,
                tx_no_path: tx.counters.tx_no_path,
                e2e_stalls: tx.counters.e2e_stalls,
                ..rx.counters
            })
            .filter(|counters| {
                let unused = RingCounters {
                    ring: counters.ring,
                    ..RingCounters::default()
                };
                *counters != unused
            })
            .collect();
        NhiCounters {
            nhi: self.id.to_string(),
            attached: self.attached,
            interrupts: self.nhi.interrupts.counters,
            control: self.control,
            errors: self.nhi.errors,
            rings,
        }
    }
}
