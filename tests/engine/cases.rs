// SPDX-License-Identifier: GPL-2.0-only

//! Cases the simulation does not reach: a queue pair connected to itself, multicast, the longest
//! message.

use std::collections::VecDeque;

use usb4_rxe::host::HostCrc32;
use usb4_rxe::rxe::cqe::WcStatus;
use usb4_rxe::rxe::events::{Drop, Event};
use usb4_rxe::rxe::inbound::{admit, delivery, pkeys_match, Delivery, Taken};
use usb4_rxe::rxe::mtu::Mtu;
use usb4_rxe::rxe::psn::Psn;
use usb4_rxe::rxe::qp::{Qp, QpType, Ran, State};
use usb4_rxe::rxe::qpn::Qpn;
use usb4_rxe::rxe::time::Time;
use usb4_rxe::rxe::wire::{Body, Bth, Deth, Headers, Ip, Nak, Packet, Rc, Reth, Syndrome, Ud};
use usb4_rxe::rxe::wqe::{Data, Remote, SendOp, SendWr, Sge};

use crate::host::{Objects, Outbox, PostedSend, Queues, VecStorage, View};
use crate::pair::{all_rights, path, ready, End, Setup, PD};

pub const BASE: u64 = 0x1000;

/// One queue pair, without a peer.
pub struct Alone {
    pub qp: Qp<VecStorage>,
    pub objects: Objects,
    pub queues: Queues,
    pub out: Outbox,
    pub key: u32,
    pub now: Time,
}

impl Alone {
    pub fn new(setup: &Setup, me: End, peer: End) -> Self {
        let mut objects = Objects::default();
        let bytes = (0..4096u32).map(|i| i as u8).collect();
        let key = objects.add(PD, all_rights(), BASE, bytes);
        Self {
            qp: ready(setup, me, peer, VecStorage::new(8, 2, 4)),
            objects,
            queues: Queues {
                trace: Some(Vec::new()),
                ..Queues::default()
            },
            out: Outbox::default(),
            key,
            now: Time::ZERO,
        }
    }

    pub fn post(&mut self, op: SendOp, offset: u64, len: u32) {
        let wr_id = self.queues.sq.len() as u64;
        self.queues.sq.push_back(PostedSend {
            wr: Ok(SendWr {
                wr_id,
                signaled: true,
                solicited: false,
                fence: false,
                op,
                data: Data::Gather(1),
            }),
            sges: vec![Sge {
                addr: BASE + offset,
                len,
                lkey: self.key,
            }],
            inline: Vec::new(),
        });
    }

    pub fn run(&mut self) -> Vec<Vec<u8>> {
        let mut view = View {
            objects: &mut self.objects,
            queues: &mut self.queues,
            shared: None,
            out: &mut self.out,
        };
        while self.qp.run(self.now, 16, &mut view) == Ran::More {}
        std::mem::take(&mut self.out.frames)
    }

    /// The rail reports a loss.
    pub fn lose(&mut self) {
        let mut view = View {
            objects: &mut self.objects,
            queues: &mut self.queues,
            shared: None,
            out: &mut self.out,
        };
        self.qp.loss(&mut view);
    }

    /// The clock says so much.
    pub fn look_at_the_clock(&mut self, now: Time) {
        self.now = now;
        if self.qp.deadline().is_some_and(|deadline| deadline <= now) {
            let mut view = View {
                objects: &mut self.objects,
                queues: &mut self.queues,
                shared: None,
                out: &mut self.out,
            };
            self.qp.timeout(now, &mut view);
        }
    }

    pub fn take(&mut self, frame: &[u8]) {
        let _ = self.hand_in(frame);
    }

    /// The same, and whether it is to be handed in again.
    pub fn hand_in(&mut self, frame: &[u8]) -> Taken {
        let packet = Packet::parse::<HostCrc32>(frame).expect("a good packet");
        let mut view = View {
            objects: &mut self.objects,
            queues: &mut self.queues,
            shared: None,
            out: &mut self.out,
        };
        self.qp
            .packet(self.now, &packet.headers, packet.payload, &mut view)
    }
}

/// A peer that is only slow has everything before it already.
#[test]
fn after_a_silence_few_packets_go_and_more_with_every_answer() {
    let ends = [0, 1].map(|host| End {
        host,
        qpn: Qpn::new(0x33),
        psn: Psn::new(100),
    });
    let setup = Setup {
        mtu: Mtu::M256,
        ..Setup::default()
    };
    let [mut me, mut peer] = [(0, 1), (1, 0)].map(|(a, b)| Alone::new(&setup, ends[a], ends[b]));
    let remote = Remote {
        va: BASE,
        rkey: peer.key,
    };
    let write = SendOp::Write { remote, imm: None };
    for _ in 0..2 {
        me.post(write, 0, 4096);
    }
    assert_eq!(me.run().len(), 32, "all is lost");
    let late = me.qp.deadline().expect("it waits for an answer");
    let mut view = View {
        objects: &mut me.objects,
        queues: &mut me.queues,
        shared: None,
        out: &mut me.out,
    };
    me.qp.timeout(late, &mut view);
    let mut bursts = Vec::new();
    loop {
        let frames = me.run();
        if frames.is_empty() {
            break;
        }
        bursts.push(frames.len());
        for frame in frames {
            peer.take(&frame);
        }
        for answer in peer.run() {
            me.take(&answer);
        }
    }
    assert_eq!(bursts, [8, 16, 8]);
    let statuses: Vec<_> = me.queues.scq.iter().map(|cqe| cqe.status).collect();
    assert_eq!(statuses, [WcStatus::Success; 2]);
}

/// A peer that loses nothing and has not done with a message of sixteen packets when the answer timeout is
/// over. What it is sent again because of that it answers, for nothing, before it comes to what is missing.
/// Upstream's rxe on a machine with too much to do is such a one.
#[test]
fn a_peer_that_answers_the_old_first_is_slow_and_not_gone() {
    const MESSAGES: usize = 40;
    const AT_ONCE: usize = 8;
    for packets_per_timeout in 4..16 {
        let ends = [0, 1].map(|host| End {
            host,
            qpn: Qpn::new(0x33),
            psn: Psn::new(100),
        });
        let setup = Setup {
            mtu: Mtu::M256,
            retry: 7,
            ..Setup::default()
        };
        let [mut me, mut peer] =
            [(0, 1), (1, 0)].map(|(a, b)| Alone::new(&setup, ends[a], ends[b]));
        let remote = Remote {
            va: BASE,
            rkey: peer.key,
        };
        let write = SendOp::Write { remote, imm: None };
        let mut posted = 0;
        let mut before_it = VecDeque::new();
        let mut per_packet = None;
        loop {
            while posted < MESSAGES.min(me.queues.scq.len() + AT_ONCE) {
                me.post(write, 0, 16 * 256);
                posted += 1;
            }
            before_it.extend(me.run());
            let Some(frame) = before_it.pop_front() else {
                break;
            };
            let per_packet = *per_packet.get_or_insert_with(|| {
                me.qp.deadline().expect("it waits for an answer").0 / packets_per_timeout
            });
            let now = Time(me.now.0 + per_packet);
            peer.now = now;
            peer.take(&frame);
            for answer in peer.run() {
                me.take(&answer);
            }
            me.look_at_the_clock(now);
        }
        let statuses: Vec<_> = me.queues.scq.iter().map(|cqe| cqe.status).collect();
        assert_eq!(
            statuses,
            [WcStatus::Success; MESSAGES],
            "{packets_per_timeout}"
        );
    }
}

/// NCCL reads one byte from itself to flush what a peer has written.
#[test]
fn a_queue_pair_connected_to_itself() {
    let end = End {
        host: 0,
        qpn: Qpn::new(0x33),
        psn: Psn::new(0xff_ffff),
    };
    let mut alone = Alone::new(&Setup::default(), end, end);
    let rkey = alone.key;
    let at = |offset| Remote {
        va: BASE + offset,
        rkey,
    };
    alone.post(
        SendOp::Write {
            remote: at(2000),
            imm: None,
        },
        0,
        1000,
    );
    alone.post(SendOp::Read(at(2005)), 3000, 1);
    for _ in 0..10 {
        for frame in alone.run() {
            alone.take(&frame);
        }
    }
    let statuses: Vec<_> = alone.queues.scq.iter().map(|cqe| cqe.status).collect();
    assert_eq!(statuses, [WcStatus::Success; 2]);
    let bytes = alone.objects.bytes(alone.key);
    assert_eq!(bytes[..1000], bytes[2000..3000]);
    assert_eq!(bytes[3000], 5);
}

/// What was posted ends even if the last words of the queue pair never leave.
#[test]
fn a_failed_pair_is_flushed_though_the_link_is_dead() {
    let me = End {
        host: 0,
        qpn: Qpn::new(0x33),
        psn: Psn::ZERO,
    };
    let peer = End {
        host: 1,
        qpn: Qpn::new(0x44),
        psn: Psn::ZERO,
    };
    let mut alone = Alone::new(&Setup::default(), me, peer);
    alone.out.room = Some(0);
    for _ in 0..40 {
        alone.post(SendOp::Read(Remote::default()), 0, 8);
    }
    let bad_key = Body::Rc(Rc::ReadRequest(Reth {
        va: 0,
        rkey: 0xdead_0000,
        len: 1,
    }));
    let repr = path(1, 0, false, 9).packet(Bth::new(me.qpn, Psn::ZERO), bad_key);
    let mut frame = vec![0; repr.packet_len(0)];
    repr.emit::<HostCrc32>(&[], &mut frame).expect("it fits");
    alone.take(&frame);
    assert_eq!(alone.qp.state(), State::Err);
    assert!(alone.run().is_empty());
    let statuses: Vec<_> = alone.queues.scq.iter().map(|cqe| cqe.status).collect();
    assert_eq!(statuses, [WcStatus::Flushed; 40]);
    // When the link is back, the peer learns why.
    alone.out.room = None;
    let frames = alone.run();
    assert_eq!(frames.len(), 1);
    let headers = Headers::parse(&frames[0]).expect("a NAK");
    let Body::Rc(Rc::Ack(aeth)) = headers.repr.body else {
        panic!("{:?}", headers.repr.body);
    };
    assert_eq!(aeth.syndrome, Syndrome::Nak(Nak::RemoteAccess));
}

/// The longest message on the smallest MTU takes half of all PSNs.
#[test]
fn the_longest_read_takes_half_of_the_circle() {
    let me = End {
        host: 0,
        qpn: Qpn::new(0x33),
        psn: Psn::new(0x10),
    };
    let peer = End {
        host: 1,
        qpn: Qpn::new(0x44),
        psn: Psn::new(7),
    };
    let mut alone = Alone::new(&Setup::default(), me, peer);
    let remote = Remote { va: 0, rkey: 5 };
    alone.post(SendOp::Read(remote), 0, 1 << 31);
    alone.post(SendOp::Read(remote), 0, 0x8000_0001);
    let frames = alone.run();
    assert_eq!(frames.len(), 1);
    let headers = Headers::parse(&frames[0]).expect("a READ");
    let Body::Rc(Rc::ReadRequest(Reth { len, .. })) = headers.repr.body else {
        panic!("{:?}", headers.repr.body);
    };
    assert_eq!(len, 1 << 31);
    assert_eq!(alone.qp.sq_psn(), Psn::new(0x10 + (1 << 23)));
    // One byte more is too long; it fails when the first has ended.
    assert_eq!(alone.qp.state(), State::Rts);
}

fn datagram(qpn: Qpn, group: [u8; 4], qkey: u32, pkey: u16) -> Headers {
    let mut path = path(1, 0, false, 9);
    if let Ip::V4(v4) = &mut path.ip {
        v4.dst = group;
    }
    let mut bth = Bth::new(qpn, Psn::ZERO);
    bth.pkey = pkey;
    let deth = Deth {
        qkey,
        src_qp: Qpn::new(5),
    };
    let repr = path.packet(bth, Body::Ud(Ud { deth, imm: None }));
    let mut frame = vec![0; repr.packet_len(0)];
    repr.emit::<HostCrc32>(&[], &mut frame).expect("it fits");
    Headers::parse(&frame).expect("it is good")
}

#[test]
fn a_multicast_datagram_is_offered_to_the_group() {
    let group = [239, 1, 2, 3];
    let headers = datagram(Qpn::MULTICAST, group, 0x1111_1111, 0xffff);
    let mut gid = [0; 16];
    gid[10..12].fill(0xff);
    gid[12..].copy_from_slice(&group);
    assert_eq!(delivery(&headers), Delivery::Group(gid));
    let setup = Setup {
        qp_type: QpType::Ud,
        mtu: Mtu::M1024,
        ..Setup::default()
    };
    let end = End {
        host: 0,
        qpn: Qpn::new(0x33),
        psn: Psn::ZERO,
    };
    let member = Alone::new(&setup, end, end);
    let attr = member.qp.attr();
    assert!(admit(&headers, attr, State::Rtr).is_ok());
    assert_eq!(admit(&headers, attr, State::Init), Err(Drop::State));
    let foreign = datagram(Qpn::MULTICAST, group, 0x1111_1112, 0xffff);
    assert_eq!(admit(&foreign, attr, State::Rts), Err(Drop::Qkey));
    let partition = datagram(Qpn::MULTICAST, group, 0x1111_1111, 0x8001);
    assert_eq!(admit(&partition, attr, State::Rts), Err(Drop::Pkey));
    let nobody = datagram(Qpn::SMI, group, 0, 0xffff);
    assert_eq!(delivery(&nobody), Delivery::Nobody);
}

#[test]
fn partition_keys_match_by_base_and_membership() {
    assert!(pkeys_match(0xffff, 0xffff));
    assert!(pkeys_match(0x7fff, 0xffff));
    assert!(!pkeys_match(0x7fff, 0x7fff));
    assert!(!pkeys_match(0x8000, 0x8000));
    assert!(!pkeys_match(0x8001, 0x8002));
}

#[test]
fn a_connection_takes_nothing_from_strangers() {
    let me = End {
        host: 0,
        qpn: Qpn::new(0x33),
        psn: Psn::ZERO,
    };
    let peer = End {
        host: 1,
        qpn: Qpn::new(0x44),
        psn: Psn::ZERO,
    };
    let mut alone = Alone::new(&Setup::default(), me, peer);
    let stranger = path(2, 0, false, 9);
    let body = Body::Rc(Rc::ReadRequest(Reth::default()));
    let repr = stranger.packet(Bth::new(me.qpn, Psn::ZERO), body);
    let mut frame = vec![0; repr.packet_len(0)];
    repr.emit::<HostCrc32>(&[], &mut frame).expect("it fits");
    alone.take(&frame);
    assert!(alone.run().is_empty());
    assert_eq!(
        alone.queues.trace,
        Some(vec![Event::Dropped(Drop::Address)])
    );
}
