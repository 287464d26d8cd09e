// SPDX-License-Identifier: GPL-2.0-only

//! The engine of `src/rxe` on top of the rails: real queue pairs, real packets, real ICRC.
//!
//! The cables of the simulation carry names instead of payload, and the oracle checks that names
//! and headers belong together. So the bytes of a packet wait here until its name comes out.

use std::collections::{HashMap, VecDeque};

use usb4_rxe::host::HostCrc32;
use usb4_rxe::rxe::cqe::WcStatus;
use usb4_rxe::rxe::mtu::Mtu;
use usb4_rxe::rxe::psn::Psn;
use usb4_rxe::rxe::qp::{Qp, Ran};
use usb4_rxe::rxe::qpn::Qpn;
use usb4_rxe::rxe::time::Time;
use usb4_rxe::rxe::wire::Packet;
use usb4_rxe::rxe::wqe::{Data, Remote, SendOp, SendWr, Sge};

use crate::host::{Objects, Outbox, PostedSend, Queues, VecStorage, View};
use crate::pair::{all_rights, ready, End, Setup, PD};

/// Bytes of every write.
pub const MESSAGE: usize = 1 << 20;
/// Packets a queue pair sends before another has its turn.
const BUDGET: u32 = 16;

struct Node {
    qp: Qp<VecStorage>,
    queues: Queues,
}

struct Host {
    objects: Objects,
    nodes: Vec<Node>,
    out: Outbox,
    /// Packets the rails did not take yet, each with its queue pair.
    pending: VecDeque<(u16, Vec<u8>)>,
    turn: usize,
    keys: Vec<u32>,
}

/// Two hosts with queue pairs; those of host 0 write to host 1.
pub struct Engines {
    hosts: [Host; 2],
    packets: HashMap<(usize, u64), Vec<u8>>,
    messages: usize,
    depth: usize,
    /// Writes posted, by connection.
    posted: Vec<usize>,
}

macro_rules! with_view {
    ($host:expr, $node:expr, |$qp:ident, $view:ident| $body:expr) => {{
        let host = &mut *$host;
        let node = &mut host.nodes[$node];
        let mut view = View {
            objects: &mut host.objects,
            queues: &mut node.queues,
            shared: None,
            out: &mut host.out,
        };
        let ($qp, $view) = (&mut node.qp, &mut view);
        $body
    }};
}

impl Engines {
    /// `count` connections, each with `messages` writes of 1 MiB posted.
    pub fn new(count: u16, messages: usize) -> Self {
        Self::with_depth(count, messages, messages)
    }

    /// `count` connections, each with `messages` writes of 1 MiB, and `depth` of them posted at a
    /// time.
    pub fn with_depth(count: u16, messages: usize, depth: usize) -> Self {
        let setup = Setup {
            mtu: Mtu::M4096,
            window: 2048,
            // 67 ms: whoever waits for it fails the tests of time.
            timeout: 14,
            ..Setup::default()
        };
        let hosts = [0u8, 1].map(|number| {
            let mut host = Host {
                objects: Objects::default(),
                nodes: Vec::new(),
                out: Outbox::default(),
                pending: VecDeque::new(),
                turn: 0,
                keys: Vec::new(),
            };
            for node in 0..count {
                let end = |host: u8| End {
                    host,
                    qpn: Qpn::new(0x100 + u32::from(node)),
                    psn: Psn::new(0x00ff_ff00 + u32::from(host)),
                };
                let storage = VecStorage::new(64, 1, 4);
                let qp = ready(&setup, end(number), end(1 - number), storage);
                host.nodes.push(Node {
                    qp,
                    queues: Queues::default(),
                });
                let bytes = if number == 0 {
                    pattern(node)
                } else {
                    vec![0; MESSAGE]
                };
                let key = host.objects.add(PD, all_rights(), 0x10_0000, bytes);
                host.keys.push(key);
            }
            host
        });
        Self {
            hosts,
            packets: HashMap::new(),
            messages,
            depth,
            posted: vec![0; usize::from(count)],
        }
    }

    /// Posts writes while there are fewer than `depth` under way.
    fn post(&mut self) {
        for node in 0..self.posted.len() {
            let (lkey, rkey) = (self.hosts[0].keys[node], self.hosts[1].keys[node]);
            let queues = &mut self.hosts[0].nodes[node].queues;
            let most = (queues.scq.len() + self.depth).min(self.messages);
            for wr_id in self.posted[node]..most {
                queues.sq.push_back(write(wr_id as u64, lkey, rkey));
            }
            self.posted[node] = self.posted[node].max(most);
        }
    }

    /// The next packet an end wants to send.
    pub fn next(&mut self, now: Time, end: usize) -> Option<(u16, Vec<u8>)> {
        if end == 0 {
            self.post();
        }
        let host = &mut self.hosts[end];
        let count = host.nodes.len();
        let mut idle = 0;
        while host.pending.is_empty() && idle < count {
            let node = host.turn % count;
            host.turn += 1;
            host.out.room = Some(BUDGET as usize);
            let ran = with_view!(host, node, |qp, view| qp.run(now, BUDGET, view));
            for frame in host.out.frames.drain(..) {
                host.pending.push_back((node as u16, frame));
            }
            idle = if ran == Ran::Idle { idle + 1 } else { 0 };
        }
        host.pending.pop_front()
    }

    /// The rails did not take it.
    pub fn put_back(&mut self, end: usize, packet: (u16, Vec<u8>)) {
        self.hosts[end].pending.push_front(packet);
    }

    /// The rails took it under this name.
    pub fn sent(&mut self, end: usize, serial: u64, frame: Vec<u8>) {
        self.packets.insert((end, serial), frame);
    }

    /// A packet came out at an end. Returns how many packets the queue pair got further.
    pub fn arrived(&mut self, now: Time, end: usize, node: u16, serial: u64) -> u64 {
        let frame = self.packets.remove(&(1 - end, serial)).expect("sent once");
        let packet = Packet::parse::<HostCrc32>(&frame).expect("as it was sent");
        let host = &mut self.hosts[end];
        let before = host.nodes[usize::from(node)].qp.rq_psn();
        with_view!(host, usize::from(node), |qp, view| {
            let _ = qp.packet(now, &packet.headers, packet.payload, view);
        });
        let after = host.nodes[usize::from(node)].qp.rq_psn();
        u64::from(after.offset_from(before))
    }

    /// A packet that an end sent is lost.
    pub fn lost(&mut self, end: usize, node: Option<u16>) {
        let host = &mut self.hosts[end];
        for index in 0..host.nodes.len() {
            if node.is_none_or(|node| usize::from(node) == index) {
                with_view!(host, index, |qp, view| qp.loss(view));
            }
        }
    }

    /// When a queue pair of an end wants to look at the clock.
    pub fn deadline(&self, end: usize) -> Time {
        let deadlines = self.hosts[end].nodes.iter().filter_map(|n| n.qp.deadline());
        deadlines.min().unwrap_or(Time::NEVER)
    }

    pub fn timeout(&mut self, now: Time, end: usize) {
        let host = &mut self.hosts[end];
        for node in 0..host.nodes.len() {
            with_view!(host, node, |qp, view| {
                if qp.deadline().is_some_and(|at| at <= now) {
                    qp.timeout(now, view);
                }
            });
        }
    }

    /// How many writes there are.
    pub fn total(&self) -> usize {
        self.messages * self.hosts[0].nodes.len()
    }

    pub fn is_done(&self) -> bool {
        let nodes = self.hosts[0].nodes.iter();
        nodes.map(|n| n.queues.scq.len()).sum::<usize>() == self.total()
    }

    /// All writes succeeded, in order, and the bytes are there.
    pub fn check(&self) {
        for (node, queues) in self.hosts[0].nodes.iter().map(|n| &n.queues).enumerate() {
            for (index, cqe) in queues.scq.iter().enumerate() {
                assert_eq!(cqe.status, WcStatus::Success);
                assert_eq!(cqe.wr_id, index as u64);
            }
            let there = self.hosts[1].objects.bytes(self.hosts[1].keys[node]);
            assert!(
                there == pattern(node as u16),
                "the bytes of connection {node}"
            );
        }
    }
}

fn write(wr_id: u64, lkey: u32, rkey: u32) -> PostedSend {
    let wr = SendWr {
        wr_id,
        signaled: true,
        solicited: false,
        fence: false,
        op: SendOp::Write {
            remote: Remote {
                va: 0x10_0000,
                rkey,
            },
            imm: None,
        },
        data: Data::Gather(1),
    };
    let sge = Sge {
        addr: 0x10_0000,
        len: MESSAGE as u32,
        lkey,
    };
    PostedSend {
        wr: Ok(wr),
        sges: vec![sge],
        inline: Vec::new(),
    }
}

fn pattern(node: u16) -> Vec<u8> {
    let mut rng = crate::rng::Rng::new(u64::from(node));
    (0..MESSAGE / 8)
        .flat_map(|_| rng.next().to_le_bytes())
        .collect()
}
