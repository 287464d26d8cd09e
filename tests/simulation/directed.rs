// SPDX-License-Identifier: GPL-2.0-only

//! Scenarios written out by hand: one promise each.

use usb4_rxe::rxe::access::mw::Type;
use usb4_rxe::rxe::access::Rights;
use usb4_rxe::rxe::cqe::WcStatus;
use usb4_rxe::rxe::events::AsyncEvent;
use usb4_rxe::rxe::mtu::Mtu;
use usb4_rxe::rxe::psn::Psn;
use usb4_rxe::rxe::qp::{Change, QpType, State};
use usb4_rxe::rxe::qpn::Qpn;
use usb4_rxe::rxe::wire::Imm;
use usb4_rxe::rxe::wqe::{BindMw, Data, RegMr, Remote, SendOp, SendTail, SendWr, Sge};

use crate::host::{PostedReceive, PostedSend, VecStorage};
use crate::link::{Direction, Faults};
use crate::pair::{all_rights, ready, End, Setup, PD};
use crate::world::{Happening, World};

/// Where regions begin.
const BASE: u64 = 0x4000_0000;

/// Two hosts with one region each, and a pair of queue pairs.
pub struct Lab {
    pub world: World,
    /// The region of each host.
    pub keys: [u32; 2],
    region: usize,
    posted: u64,
}

pub const REGION: usize = 8 << 20;

impl Lab {
    pub fn new(setup: Setup, faults: [Faults; 2], delay: u64, gbps: u64) -> Self {
        Self::sized(REGION, setup, faults, delay, gbps)
    }

    /// With regions of this size.
    pub fn sized(region: usize, setup: Setup, faults: [Faults; 2], delay: u64, gbps: u64) -> Self {
        let links = faults.map(|faults| Direction::new(faults, delay, gbps));
        let mut world = World::new(links, 1);
        let mut keys = [0; 2];
        for (host, key) in keys.iter_mut().enumerate() {
            let bytes = (0..region).map(|i| (i * 31 + host) as u8).collect();
            *key = world.hosts[host].objects.add(PD, all_rights(), BASE, bytes);
        }
        let mut lab = Self {
            world,
            keys,
            region,
            posted: 0,
        };
        lab.add_pair(setup);
        lab
    }

    pub fn add_pair(&mut self, setup: Setup) {
        let pair = self.world.hosts[0].nodes.len() as u32;
        let end = |host: u8| End {
            host,
            qpn: Qpn::new(0x20 + 2 * pair + u32::from(host)),
            psn: Psn::new(0xff_fff0),
        };
        for (me, peer) in [(0, 1), (1, 0)] {
            let storage = VecStorage::new(256, 2, usize::from(setup.rd_atomic).max(1));
            let qp = ready(&setup, end(me), end(peer), storage);
            self.world.hosts[usize::from(me)].add(qp);
        }
    }

    fn sge(&self, host: usize, offset: usize, len: usize) -> Vec<Sge> {
        vec![Sge {
            addr: BASE + offset as u64,
            len: len as u32,
            lkey: self.keys[host],
        }]
    }

    pub fn remote(&self, host: usize, offset: usize) -> Remote {
        Remote {
            va: BASE + offset as u64,
            rkey: self.keys[1 - host],
        }
    }

    /// Posts a signaled request; returns its name.
    pub fn send(&mut self, at: u64, host: usize, pair: usize, op: SendOp, len: usize) -> u64 {
        let wr_id = self.posted;
        self.posted += 1;
        let posted = PostedSend {
            wr: Ok(SendWr {
                wr_id,
                signaled: true,
                solicited: false,
                fence: false,
                op,
                data: Data::Gather(1),
            }),
            sges: self.sge(host, 0, len),
            inline: Vec::new(),
        };
        self.world.at(at, Happening::Send(host, pair, posted));
        wr_id
    }

    pub fn receive(&mut self, at: u64, host: usize, pair: usize, len: usize) {
        let posted = PostedReceive {
            wr_id: 1000 + at,
            sges: self.sge(host, self.region / 2, len),
        };
        self.world.at(at, Happening::Receive(host, pair, posted));
    }

    /// Lets the world go on until then.
    pub fn until(&mut self, limit: u64) {
        while self.world.step(limit) {}
    }

    /// Status of all send completions.
    pub fn sends(&self, host: usize, pair: usize) -> Vec<WcStatus> {
        let node = &self.world.hosts[host].nodes[pair];
        node.queues.scq.iter().map(|cqe| cqe.status).collect()
    }

    /// Status of all receive completions.
    pub fn receives(&self, host: usize, pair: usize) -> Vec<WcStatus> {
        let node = &self.world.hosts[host].nodes[pair];
        node.queues.rcq.iter().map(|cqe| cqe.status).collect()
    }

    pub fn state(&self, host: usize) -> State {
        self.world.hosts[host].nodes[0].qp.state()
    }

    fn events(&self, host: usize) -> &[AsyncEvent] {
        &self.world.hosts[host].nodes[0].queues.events
    }
}

pub const GOOD: [Faults; 2] = [
    Faults {
        loss: 0,
        burst: 0,
        duplicate: 0,
        corrupt: 0,
        reorder: 0,
        late: 0,
        rail: false,
        budget: 0,
    },
    Faults {
        loss: 0,
        burst: 0,
        duplicate: 0,
        corrupt: 0,
        reorder: 0,
        late: 0,
        rail: false,
        budget: 0,
    },
];

fn lab(setup: Setup) -> Lab {
    Lab::new(setup, GOOD, 1_000, 40)
}

fn write(lab: &Lab, offset: usize) -> SendOp {
    SendOp::Write {
        remote: lab.remote(0, offset),
        imm: None,
    }
}

use WcStatus::{Flushed, Success};

#[test]
fn a_peer_that_is_never_ready_costs_the_rnr_budget_and_no_more() {
    let mut lab = lab(Setup {
        rnr_retry: 2,
        ..Setup::default()
    });
    for _ in 0..2 {
        lab.send(0, 0, 0, SendOp::Send(SendTail::Plain), 8);
    }
    lab.until(1_000_000);
    assert_eq!(lab.sends(0, 0), [WcStatus::RnrRetryExceeded, Flushed]);
    // The first try and two more, 10 us apart.
    let (end, delay) = (lab.world.now, 10_000);
    assert!((2 * delay..20 * delay).contains(&end), "{end}");
}

#[test]
fn a_late_receive_is_waited_for_without_end() {
    let mut lab = lab(Setup::default());
    lab.send(0, 0, 0, SendOp::Send(SendTail::Plain), 700);
    lab.receive(2_000_000, 1, 0, 700);
    lab.until(10_000_000);
    assert_eq!(lab.sends(0, 0), [Success]);
    assert_eq!(lab.receives(1, 0), [Success]);
}

#[test]
fn a_dead_link_ends_after_eight_timeouts() {
    let dead = Faults {
        loss: 1000,
        burst: 1000,
        budget: u32::MAX,
        ..Faults::default()
    };
    let mut lab = Lab::new(Setup::default(), [dead, GOOD[1]], 1_000, 40);
    for _ in 0..3 {
        let op = write(&lab, 0);
        lab.send(0, 0, 0, op, 5000);
    }
    lab.until(8 * 65_536 - 1);
    assert_eq!(lab.sends(0, 0), []);
    lab.until(8 * 65_536 + 10_000);
    assert_eq!(lab.sends(0, 0), [WcStatus::RetryExceeded, Flushed, Flushed]);
    assert_eq!(lab.state(0), State::Err);
}

/// Loses one frame of host 0; returns when everything was done.
fn one_loss(rail: bool) -> u64 {
    let lossy = Faults {
        loss: 1000,
        burst: 1000,
        rail,
        budget: 1,
        ..Faults::default()
    };
    // A timeout like NCCL's is long: 4.3 s.
    let setup = Setup {
        timeout: 20,
        ..Setup::default()
    };
    let mut lab = Lab::new(setup, [lossy, GOOD[1]], 1_000, 40);
    let op = write(&lab, 64);
    lab.send(0, 0, 0, op, 200);
    while lab.sends(0, 0).is_empty() {
        assert!(lab.world.step(10_000_000_000), "the write must end");
    }
    assert_eq!(lab.sends(0, 0), [Success]);
    lab.world.now
}

#[test]
fn a_reported_loss_costs_a_round_trip_and_an_unreported_one_a_timeout() {
    assert!(one_loss(true) < 10_000);
    assert!(one_loss(false) > 4_000_000_000);
}

#[test]
fn a_lost_answer_is_asked_for_at_once() {
    let lossy = Faults {
        loss: 1000,
        burst: 1000,
        rail: true,
        budget: 1,
        ..Faults::default()
    };
    for read in [false, true] {
        let setup = Setup {
            timeout: 20,
            ..Setup::default()
        };
        let mut lab = Lab::new(setup, [GOOD[0], lossy], 1_000, 40);
        let op = match read {
            true => SendOp::Read(lab.remote(0, 100)),
            false => write(&lab, 100),
        };
        lab.send(0, 0, 0, op, 1000);
        lab.until(20_000);
        assert_eq!(lab.sends(0, 0), [Success], "read {read}");
    }
}

#[test]
fn an_idle_pair_answers_few_of_many_reported_losses() {
    let mut lab = lab(Setup::default());
    for i in 0..1000 {
        let loss = crate::link::Arrival::Loss;
        lab.world.at(i * 10, Happening::Arrive(1, loss));
    }
    lab.until(1_000_000);
    assert!(lab.world.frames <= 3, "{} frames", lab.world.frames);
}

#[test]
fn a_drain_finishes_what_is_begun_and_holds_the_rest() {
    let mut lab = lab(Setup {
        window: 4,
        ..Setup::default()
    });
    for _ in 0..10 {
        let op = write(&lab, 0);
        lab.send(0, 0, 0, op, 2000);
    }
    lab.until(3_000);
    let to = |state| Change {
        state: Some(state),
        ..Change::default()
    };
    let qp = &mut lab.world.hosts[0].nodes[0].qp;
    qp.modify(&to(State::Sqd)).expect("RTS to SQD");
    assert!(qp.modify(&to(State::Rts)).is_err(), "not drained yet");
    lab.until(500_000);
    let drained = lab.sends(0, 0).len();
    assert!((1..10).contains(&drained), "{drained} were begun");
    assert_eq!(lab.events(0), [AsyncEvent::SendQueueDrained]);
    lab.until(900_000);
    assert_eq!(lab.sends(0, 0).len(), drained);
    lab.world.hosts[0].nodes[0]
        .qp
        .modify(&to(State::Rts))
        .expect("SQD to RTS");
    let op = write(&lab, 0);
    lab.send(900_000, 0, 0, op, 1);
    lab.until(2_000_000);
    assert_eq!(lab.sends(0, 0), [Success; 11]);
}

#[test]
fn receives_posted_after_the_failure_are_flushed_without_a_system_call() {
    let mut lab = lab(Setup::default());
    lab.receive(0, 0, 0, 64);
    lab.world.at(10, Happening::Fail(0, 0));
    lab.until(20);
    assert_eq!(lab.receives(0, 0), [Flushed]);
    lab.receive(500_000_000, 0, 0, 64);
    lab.until(500_000_000 + 128_000_000);
    assert_eq!(lab.receives(0, 0), [Flushed; 2]);
}

#[test]
fn a_shared_queue_is_left_alone_and_the_user_is_told() {
    let mut lab = lab(Setup {
        shared: true,
        ..Setup::default()
    });
    for i in 0..3 {
        lab.receive(i, 1, 0, 1024);
    }
    // The first packet of two: the receive request is taken and never filled.
    lab.send(10, 0, 0, SendOp::Send(SendTail::Plain), 8);
    lab.world.at(1_000_000, Happening::Fail(1, 0));
    lab.until(2_000_000);
    assert_eq!(lab.receives(1, 0), [Success]);
    assert_eq!(lab.world.hosts[1].srq.len(), 2);
    assert_eq!(lab.events(1), [AsyncEvent::LastReceiveReached]);
}

#[test]
fn a_full_completion_queue_ends_the_pair() {
    let mut lab = lab(Setup::default());
    lab.world.hosts[0].nodes[0].queues.cq_room = 1;
    for _ in 0..3 {
        let op = write(&lab, 0);
        lab.send(0, 0, 0, op, 8);
    }
    lab.until(1_000_000);
    assert_eq!(lab.sends(0, 0), [Success]);
    assert_eq!(lab.state(0), State::Err);
    assert_eq!(lab.events(0), [AsyncEvent::Fatal]);
}

#[test]
fn a_window_lets_the_peer_in_until_it_is_invalidated() {
    let mut lab = lab(Setup::default());
    let window = lab.world.hosts[1].objects.add_window(PD, Type::TwoB);
    let bind = SendOp::BindMw(BindMw {
        mw_rkey: window,
        new_rkey: 0x42,
        mr_lkey: lab.keys[1],
        addr: BASE + 4096,
        len: 1024,
        rights: Rights::REMOTE_WRITE,
    });
    lab.send(0, 1, 0, bind, 0);
    let rkey = (window & !0xff) | 0x42;
    let inside = |va| SendOp::Write {
        remote: Remote { va, rkey },
        imm: None,
    };
    lab.send(10_000, 0, 0, inside(BASE + 4096), 1024);
    lab.until(50_000);
    assert_eq!(lab.sends(1, 0), [Success]);
    assert_eq!(lab.sends(0, 0), [Success]);
    // Invalidated by the peer itself, with a SEND; then it is shut out.
    lab.receive(50_000, 1, 0, 64);
    lab.send(60_000, 0, 0, SendOp::Send(SendTail::Invalidate(rkey)), 4);
    lab.send(70_000, 0, 0, inside(BASE + 4096), 1);
    lab.until(200_000);
    let cqe = lab.world.hosts[1].nodes[0].queues.rcq[0];
    assert_eq!((cqe.status, cqe.invalidated), (Success, Some(rkey)));
    assert_eq!(lab.sends(0, 0), [Success, Success, WcStatus::RemoteAccess]);
    assert_eq!(lab.events(1), [AsyncEvent::AccessError]);
    assert_eq!((lab.state(0), lab.state(1)), (State::Err, State::Err));
}

#[test]
fn a_fast_region_serves_reads_under_its_new_key() {
    let mut lab = lab(Setup::default());
    let fast = lab.world.hosts[1].objects.add_fast(PD, 4096);
    lab.world.hosts[1].objects.bytes_mut(fast).fill(0x5b);
    let key = (fast & !0xff) | 0x99;
    let register = SendOp::RegMr(RegMr {
        mr_lkey: fast,
        key,
        iova: 0x9000,
        len: 4096,
        rights: Rights::REMOTE_READ,
    });
    lab.send(0, 1, 0, register, 0);
    let read = SendOp::Read(Remote {
        va: 0x9000,
        rkey: key,
    });
    lab.send(5_000, 0, 0, read, 4096);
    lab.until(100_000);
    assert_eq!(lab.sends(0, 0), [Success]);
    let bytes = lab.world.hosts[0].objects.bytes(lab.keys[0]);
    assert!(bytes[..4096].iter().all(|byte| *byte == 0x5b));
    lab.send(100_000, 1, 0, SendOp::LocalInvalidate(key), 0);
    lab.send(200_000, 0, 0, read, 1);
    lab.until(300_000);
    assert_eq!(lab.sends(1, 0), [Success; 2]);
    assert_eq!(lab.sends(0, 0), [Success, WcStatus::RemoteAccess]);
}

#[test]
fn a_key_invalidated_in_the_middle_stops_a_long_read() {
    let mut lab = lab(Setup::default());
    let fast = lab.world.hosts[1].objects.add_fast(PD, 1 << 20);
    let key = (fast & !0xff) | 1;
    let register = SendOp::RegMr(RegMr {
        mr_lkey: fast,
        key,
        iova: 0,
        len: 1 << 20,
        rights: Rights::REMOTE_READ,
    });
    lab.send(0, 1, 0, register, 0);
    lab.send(
        1_000,
        0,
        0,
        SendOp::Read(Remote { va: 0, rkey: key }),
        1 << 20,
    );
    // A megabyte takes 210 us on this link.
    lab.send(50_000, 1, 0, SendOp::LocalInvalidate(key), 0);
    lab.until(1_000_000);
    assert_eq!(lab.sends(0, 0), [WcStatus::RemoteAccess]);
    assert_eq!(lab.state(1), State::Err);
}

#[test]
fn a_long_read_does_not_hold_up_others() {
    let setup = Setup {
        mtu: Mtu::M4096,
        timeout: 12,
        ..Setup::default()
    };
    let mut lab = lab(setup);
    lab.add_pair(setup);
    let long = SendOp::Read(lab.remote(0, 0));
    lab.send(0, 0, 0, long, REGION);
    // Writes of the same responder, and of another pair, go out between its answers.
    for i in 1..20 {
        let back = SendOp::Write {
            remote: lab.remote(1, 64),
            imm: None,
        };
        lab.send(i * 20_000, 1, 0, back, 64);
        let other = SendOp::Write {
            remote: lab.remote(1, 64),
            imm: None,
        };
        lab.send(i * 20_000, 1, 1, other, 64);
    }
    lab.until(600_000);
    assert_eq!(lab.sends(0, 0), [], "8 MiB take 1.7 ms");
    assert_eq!(lab.sends(1, 0), [Success; 19]);
    assert_eq!(lab.sends(1, 1), [Success; 19]);
    lab.until(10_000_000);
    assert_eq!(lab.sends(0, 0), [Success]);
    let [a, b] = [0, 1].map(|host: usize| lab.world.hosts[host].objects.bytes(lab.keys[host]));
    assert!(a[1000..] == b[1000..], "the read brought the bytes");
}

#[test]
fn empty_messages_and_immediate_data() {
    for qp_type in [QpType::Rc, QpType::Uc] {
        let mut lab = lab(Setup {
            qp_type,
            ..Setup::default()
        });
        let imm = Some(Imm(*b"NCCL"));
        for i in 0..2 {
            lab.receive(i, 1, 0, 0);
        }
        // No key is looked at for no bytes.
        let nowhere = Remote { va: 0, rkey: 0 };
        let empty = SendOp::Write {
            remote: nowhere,
            imm,
        };
        lab.send(10, 0, 0, empty, 0);
        let remote = lab.remote(0, 0);
        lab.send(20, 0, 0, SendOp::Write { remote, imm }, 3000);
        lab.until(100_000);
        assert_eq!(lab.sends(0, 0), [Success; 2]);
        let lens: Vec<_> = lab.world.hosts[1].nodes[0]
            .queues
            .rcq
            .iter()
            .map(|cqe| (cqe.imm, cqe.byte_len))
            .collect();
        assert_eq!(lens, [(imm, 0), (imm, 3000)]);
    }
}

#[test]
fn an_unreliable_send_queue_fails_alone() {
    let mut lab = lab(Setup {
        qp_type: QpType::Uc,
        ..Setup::default()
    });
    let remote = lab.remote(0, 0);
    lab.send(0, 0, 0, SendOp::Read(remote), 8);
    lab.send(0, 0, 0, SendOp::Send(SendTail::Plain), 8);
    lab.receive(0, 0, 0, 64);
    lab.send(1_000, 1, 0, SendOp::Send(SendTail::Plain), 8);
    lab.until(100_000);
    assert_eq!(lab.sends(0, 0), [WcStatus::LocalQpOperation, Flushed]);
    assert_eq!(lab.state(0), State::Sqe);
    assert_eq!(lab.receives(0, 0), [Success]);
    let back = Change {
        state: Some(State::Rts),
        ..Change::default()
    };
    lab.world.hosts[0].nodes[0]
        .qp
        .modify(&back)
        .expect("SQE to RTS");
    lab.receive(100_000, 1, 0, 64);
    lab.send(110_000, 0, 0, SendOp::Send(SendTail::Plain), 8);
    lab.until(200_000);
    assert_eq!(lab.receives(1, 0), [Success]);
}
