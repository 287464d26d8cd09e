// SPDX-License-Identifier: GPL-2.0-only

//! The tables of the engine, as reviewed snapshots; and what it really does, state by event.

use std::fmt::Write as _;

use usb4_rxe::host::HostCrc32;
use usb4_rxe::rxe::access::Rights;
use usb4_rxe::rxe::cqe::WcStatus;
use usb4_rxe::rxe::error::Failure;
use usb4_rxe::rxe::events::Counter;
use usb4_rxe::rxe::psn::{Msn, Psn};
use usb4_rxe::rxe::qp::{rule, Change, Qp, QpType, Ran, State, PERMITS};
use usb4_rxe::rxe::qpn::Qpn;
use usb4_rxe::rxe::time::Time;
use usb4_rxe::rxe::wire::{Aeth, Body, Bth, Imm, Packet, Rc, RcTail, Send, Syndrome, Uc};
use usb4_rxe::rxe::wqe::{BadWr, Data, SendOp, SendTail, SendWr, Sge};

use crate::host::{Objects, Outbox, PostedReceive, PostedSend, Queues, VecStorage, View};
use crate::pair::{path, ready, End, Setup, PD};

#[test]
fn states() {
    let mut table = String::new();
    for (state, permits) in PERMITS {
        writeln!(
            table,
            "{state:?}: sends {:?}, receives {:?}, requests {}, responses {}",
            permits.sends, permits.receives, permits.requests, permits.responses
        )
        .expect("a string");
    }
    insta::assert_snapshot!(table);
}

#[test]
fn transitions() {
    let mut table = String::new();
    for qp_type in QpType::ALL {
        for from in State::ALL {
            for to in State::ALL {
                if let Some(rule) = rule(from, to, qp_type) {
                    writeln!(
                        table,
                        "{qp_type:?} {from:?} -> {to:?}: required {:?}, optional {:?}",
                        rule.required, rule.optional
                    )
                    .expect("a string");
                }
            }
        }
    }
    insta::assert_snapshot!(table);
}

#[test]
fn failures() {
    let mut table = String::new();
    for failure in Failure::ALL {
        let c = failure.consequence();
        writeln!(
            table,
            "{failure:?}: {:?}, NAK {:?}, event {:?}, ends {:?}",
            c.status, c.nak, c.event, c.scope
        )
        .expect("a string");
    }
    insta::assert_snapshot!(table);
}

#[test]
fn counters() {
    let names: Vec<&str> = Counter::ALL.iter().map(|(_, name)| *name).collect();
    insta::assert_snapshot!(names.join("\n"));
}

/// A queue pair in some state, with a receive request posted.
struct Bench {
    qp: Qp<VecStorage>,
    objects: Objects,
    queues: Queues,
    out: Outbox,
    key: u32,
    now: Time,
}

const ME: End = End {
    host: 0,
    qpn: Qpn::new(0x11),
    psn: Psn::new(100),
};
const PEER: End = End {
    host: 1,
    qpn: Qpn::new(0x22),
    psn: Psn::new(200),
};

impl Bench {
    fn new(qp_type: QpType, state: State) -> Self {
        let setup = Setup {
            qp_type,
            ..Setup::default()
        };
        let mut bench = Self {
            qp: ready(&setup, ME, PEER, VecStorage::new(4, 2, 4)),
            objects: Objects::default(),
            queues: Queues::default(),
            out: Outbox::default(),
            key: 0,
            now: Time::ZERO,
        };
        bench.key = bench
            .objects
            .add(PD, Rights::LOCAL_WRITE, 0x1000, vec![0; 4096]);
        let to = |state| Change {
            state: Some(state),
            ..Change::default()
        };
        match state {
            State::Rts => {}
            State::Sqe => {
                bench.queues.sq.push_back(PostedSend {
                    wr: Err(BadWr { wr_id: 99 }),
                    sges: Vec::new(),
                    inline: Vec::new(),
                });
                bench.run();
            }
            State::Sqd | State::Err | State::Reset => {
                bench.qp.modify(&to(state)).expect("a legal change");
                bench.run();
            }
            State::Init | State::Rtr => {
                // From the start, only as far as that.
                bench.qp.modify(&to(State::Reset)).expect("any state");
                let full = ready(&setup, ME, PEER, VecStorage::new(4, 2, 4));
                let attr = *full.attr();
                let init = Change {
                    state: Some(State::Init),
                    pkey: Some(0xffff),
                    others: usb4_rxe::rxe::qp::Fields::PORT,
                    rights: Some(attr.rights),
                    ..Change::default()
                };
                bench.qp.modify(&init).expect("INIT");
                if state == State::Rtr {
                    let reliable = qp_type == QpType::Rc;
                    let rtr = Change {
                        state: Some(State::Rtr),
                        path: attr.path,
                        mtu: Some(attr.mtu),
                        dest_qp: Some(attr.dest_qp),
                        rq_psn: Some(attr.rq_psn),
                        max_dest_rd_atomic: reliable.then_some(attr.max_dest_rd_atomic),
                        min_rnr_timer: reliable.then_some(attr.min_rnr_timer),
                        ..Change::default()
                    };
                    bench.qp.modify(&rtr).expect("RTR");
                }
            }
        }
        assert_eq!(bench.qp.state(), state);
        bench.queues.events.clear();
        bench.queues.scq.clear();
        bench.out.frames.clear();
        bench
    }

    fn run(&mut self) {
        let mut view = View {
            objects: &mut self.objects,
            queues: &mut self.queues,
            shared: None,
            out: &mut self.out,
        };
        while self.qp.run(self.now, 16, &mut view) == Ran::More {}
    }

    /// The rail reports a loss.
    fn lose(&mut self) {
        let mut view = View {
            objects: &mut self.objects,
            queues: &mut self.queues,
            shared: None,
            out: &mut self.out,
        };
        self.qp.loss(&mut view);
    }

    fn receive(&mut self) {
        self.queues.rq.push_back(PostedReceive {
            wr_id: 7,
            sges: vec![Sge {
                addr: 0x1000,
                len: 64,
                lkey: self.key,
            }],
        });
    }

    fn send(&mut self) {
        self.queues.sq.push_back(PostedSend {
            wr: Ok(SendWr {
                wr_id: 3,
                signaled: true,
                solicited: false,
                fence: false,
                op: SendOp::Send(SendTail::Plain),
                data: Data::Gather(1),
            }),
            sges: vec![Sge {
                addr: 0x1000,
                len: 8,
                lkey: self.key,
            }],
            inline: Vec::new(),
        });
    }

    fn packet(&mut self, psn: Psn, body: Body, payload: &[u8]) {
        let mut bth = Bth::new(ME.qpn, psn);
        bth.ack_request = true;
        let repr = path(1, 0, false, 1).packet(bth, body);
        let mut frame = vec![0; repr.packet_len(payload.len())];
        repr.emit::<HostCrc32>(&[payload], &mut frame)
            .expect("a legal packet");
        let packet = Packet::parse::<HostCrc32>(&frame).expect("we made it");
        let mut view = View {
            objects: &mut self.objects,
            queues: &mut self.queues,
            shared: None,
            out: &mut self.out,
        };
        let _ = self
            .qp
            .packet(self.now, &packet.headers, packet.payload, &mut view);
    }

    /// What came of it, in one line.
    fn outcome(&self) -> String {
        let sent: Vec<String> = self
            .out
            .frames
            .iter()
            .map(|frame| {
                let packet = Packet::parse::<HostCrc32>(frame).expect("we made it");
                let name = packet.headers.opcode().facts().name;
                let verdict = match packet.headers.repr.body {
                    Body::Rc(Rc::Ack(aeth)) => format!(" {:?}", aeth.syndrome),
                    _ => String::new(),
                };
                format!("{name}{verdict}")
            })
            .collect();
        let statuses = |cqes: &[usb4_rxe::rxe::cqe::Cqe]| -> Vec<WcStatus> {
            cqes.iter().map(|cqe| cqe.status).collect()
        };
        format!(
            "{:?}, sent {sent:?}, sends {:?}, receives {:?}, events {:?}",
            self.qp.state(),
            statuses(&self.queues.scq),
            statuses(&self.queues.rcq),
            self.queues.events
        )
    }
}

/// What happens to a queue pair.
type Happening = (&'static str, fn(&mut Bench, QpType));

fn send_only(qp_type: QpType, imm: Option<Imm>) -> Body {
    match qp_type {
        QpType::Uc => Body::Uc(Uc::Send(Send::Only(imm))),
        _ => Body::Rc(Rc::Send(Send::Only(imm.map_or(RcTail::Plain, RcTail::Imm)))),
    }
}

fn ack(syndrome: Syndrome) -> Body {
    Body::Rc(Rc::Ack(Aeth {
        syndrome,
        msn: Msn::ZERO,
    }))
}

const HAPPENINGS: [Happening; 12] = [
    ("nothing", |_, _| {}),
    ("post send", |b, _| b.send()),
    ("post receive", |b, _| b.receive()),
    ("send arrives", |b, t| {
        b.receive();
        b.packet(PEER.psn, send_only(t, None), &[1; 8]);
    }),
    ("send arrives, no receive", |b, t| {
        b.packet(PEER.psn, send_only(t, None), &[1; 8]);
    }),
    ("send too long arrives", |b, t| {
        b.receive();
        b.packet(PEER.psn, send_only(t, None), &[1; 65]);
    }),
    ("packet ahead arrives", |b, t| {
        b.receive();
        b.packet(PEER.psn.wrapping_add(5), send_only(t, None), &[1; 8]);
    }),
    ("old packet arrives", |b, t| {
        b.receive();
        b.packet(PEER.psn.prev(), send_only(t, None), &[1; 8]);
    }),
    ("send, ACK arrives", |b, t| {
        b.send();
        b.run();
        if t == QpType::Rc {
            b.packet(ME.psn, ack(Syndrome::ACK), &[]);
        }
    }),
    ("send, eight timeouts", |b, _| {
        b.send();
        for _ in 0..8 {
            b.run();
            let Some(deadline) = b.qp.deadline() else {
                break;
            };
            b.now = deadline;
            let mut view = View {
                objects: &mut b.objects,
                queues: &mut b.queues,
                shared: None,
                out: &mut b.out,
            };
            b.qp.timeout(deadline, &mut view);
        }
    }),
    ("send, loss reported", |b, _| {
        b.send();
        b.run();
        b.lose();
    }),
    ("send, losses reported, reconnected", |b, _| {
        b.send();
        b.run();
        for _ in 0..5 {
            b.lose();
            b.run();
        }
        b.qp.reconnected();
    }),
];

#[test]
fn state_by_event() {
    let mut table = String::new();
    for qp_type in [QpType::Rc, QpType::Uc] {
        for state in State::ALL {
            if state == State::Sqe && qp_type == QpType::Rc {
                continue;
            }
            for (name, happen) in HAPPENINGS {
                let mut bench = Bench::new(qp_type, state);
                happen(&mut bench, qp_type);
                bench.run();
                writeln!(table, "{qp_type:?} {state:?}, {name}: {}", bench.outcome())
                    .expect("a string");
            }
        }
    }
    insta::assert_snapshot!(table);
}
