// SPDX-License-Identifier: GPL-2.0-only

//! A responder and raw packets from its peer: what may go wrong between two packets of a message,
//! and questions that are asked twice, in part, or wrongly.

use usb4_rxe::host::HostCrc32;
use usb4_rxe::rxe::access::{mr, Rights};
use usb4_rxe::rxe::cqe::WcStatus;
use usb4_rxe::rxe::events::AsyncEvent;
use usb4_rxe::rxe::inbound::Taken;
use usb4_rxe::rxe::mtu::Mtu;
use usb4_rxe::rxe::psn::{Msn, Psn};
use usb4_rxe::rxe::qp::{Change, QpType, State};
use usb4_rxe::rxe::qpn::Qpn;
use usb4_rxe::rxe::time::{Nanos, Time};
use usb4_rxe::rxe::wire::{
    Aeth, AtomicEth, AtomicWriteData, Body, Bth, Deth, Feth, Headers, Imm, Nak, Packet, Rc, RcTail,
    ReadResponse, Reth, Send, Syndrome, Ud, Write,
};
use usb4_rxe::rxe::wqe::{Datagram, Remote, SendOp, SendTail, Sge};

use crate::cases::{Alone, BASE};
use crate::host::{Object, PostedReceive};
use crate::pair::{path, End, Setup};

const ME: End = End {
    host: 0,
    qpn: Qpn::new(0x33),
    psn: Psn::ZERO,
};

const PEER: End = End {
    host: 1,
    qpn: Qpn::new(0x44),
    psn: Psn::ZERO,
};

fn responder() -> Alone {
    Alone::new(&Setup::default(), ME, PEER)
}

impl Alone {
    /// Takes a packet of the peer; does not run.
    fn hear(&mut self, psn: u32, ask: bool, body: Rc, payload: &[u8]) {
        let mut bth = Bth::new(ME.qpn, Psn::new(psn));
        bth.ack_request = ask;
        let repr = path(1, 0, false, 9).packet(bth, Body::Rc(body));
        let mut frame = vec![0; repr.packet_len(payload.len())];
        repr.emit::<HostCrc32>(&[payload], &mut frame)
            .expect("it fits");
        self.take(&frame);
    }

    /// What it says: PSN and body.
    fn says(&mut self) -> Vec<(u32, Rc)> {
        self.run()
            .iter()
            .map(|frame| {
                let headers = Headers::parse(frame).expect("good");
                let Body::Rc(rc) = headers.repr.body else {
                    panic!("{:?}", headers.repr.body);
                };
                (headers.repr.bth.psn.get(), rc)
            })
            .collect()
    }

    /// The syndromes it says, by PSN; everything must be an ACK or NAK.
    fn verdicts(&mut self) -> Vec<(u32, Syndrome)> {
        self.says()
            .into_iter()
            .map(|(psn, rc)| match rc {
                Rc::Ack(aeth) => (psn, aeth.syndrome),
                other => panic!("{other:?}"),
            })
            .collect()
    }

    fn region(&mut self) -> &mut mr::Region {
        match &mut self.objects.objects[0] {
            Object::Region(region, _) => region,
            Object::Window(..) => panic!("a window"),
        }
    }

    fn reth(&self, offset: u64, len: u32) -> Reth {
        Reth {
            va: BASE + offset,
            rkey: self.key,
            len,
        }
    }
}

const GONE: Syndrome = Syndrome::Nak(Nak::RemoteAccess);
const MISSING: Syndrome = Syndrome::Nak(Nak::PsnSequence);

#[test]
fn an_atomic_that_failed_is_not_answered_as_done() {
    for plain_write in [false, true] {
        let mut alone = responder();
        alone.objects.no_atomics = true;
        let body = if plain_write {
            Rc::AtomicWrite(alone.reth(8, 8), AtomicWriteData([1; 8]))
        } else {
            Rc::FetchAdd(AtomicEth {
                va: BASE + 8,
                rkey: alone.key,
                swap_add: 1,
                compare: 0,
            })
        };
        alone.hear(0, true, body, &[]);
        assert_eq!(alone.verdicts(), [(0, GONE)], "write {plain_write}");
        assert_eq!(alone.qp.state(), State::Err);
    }
}

#[test]
fn a_write_ends_where_its_key_does() {
    let mut alone = responder();
    let reth = alone.reth(0, 600);
    alone.hear(0, false, Rc::Write(Write::First(reth)), &[0xaa; 256]);
    alone.hear(1, false, Rc::Write(Write::Middle), &[0xbb; 256]);
    alone.region().state = mr::State::Free;
    alone.hear(2, true, Rc::Write(Write::Last(None)), &[0xcc; 88]);
    assert_eq!(alone.verdicts(), [(2, GONE)]);
    let bytes = alone.objects.bytes(alone.key);
    assert_eq!((bytes[0], bytes[511]), (0xaa, 0xbb));
    assert_ne!(bytes[512], 0xcc);
}

#[test]
fn a_write_ends_where_its_region_was_cut() {
    let mut alone = responder();
    let reth = alone.reth(0, 600);
    alone.hear(0, false, Rc::Write(Write::First(reth)), &[0xaa; 256]);
    // Registered anew, shorter, under the same key.
    alone.region().len = 500;
    alone.hear(1, false, Rc::Write(Write::Middle), &[0xbb; 256]);
    assert_eq!(alone.verdicts(), [(1, GONE)]);
    assert_ne!(alone.objects.bytes(alone.key)[256], 0xbb);
}

#[test]
fn a_receive_ends_where_its_local_key_does() {
    let mut alone = responder();
    alone.queues.rq.push_back(PostedReceive {
        wr_id: 5,
        sges: vec![Sge {
            addr: BASE,
            len: 600,
            lkey: alone.key,
        }],
    });
    alone.hear(0, false, Rc::Send(Send::First), &[0xaa; 256]);
    alone.region().state = mr::State::Free;
    alone.hear(1, true, Rc::Send(Send::Last(RcTail::Plain)), &[0xbb; 10]);
    assert_eq!(
        alone.verdicts(),
        [(1, Syndrome::Nak(Nak::RemoteOperational))]
    );
    assert_ne!(alone.objects.bytes(alone.key)[256], 0xbb);
    let ends: Vec<_> = alone.queues.rcq.iter().map(|cqe| cqe.status).collect();
    assert_eq!(ends, [WcStatus::LocalProtection]);
}

/// Addresses at the ends of the address space, for every kind of access.
#[test]
fn nothing_is_reached_around_the_end_of_the_address_space() {
    let top = u64::MAX - 4095;
    // First byte of the region, address asked for, length, whether it is inside.
    let cases = [
        (top, u64::MAX, 1, true),
        (top, u64::MAX, 2, false),
        (top, u64::MAX - 7, 8, true),
        (top, top, 4096, true),
        (top, top - 1, 2, false),
        (top, top, u32::MAX, false),
        (0, u64::MAX, 2, false),
        (0, 0, 4096, true),
        (0, 0, 4097, false),
        (0, 4096, 1, false),
        (BASE, u64::MAX, u32::MAX, false),
        (BASE, BASE.wrapping_sub(1), 1, false),
    ];
    for (start, va, len, inside) in cases {
        let mut alone = responder();
        alone.region().iova = start;
        let rkey = alone.key;
        let reth = Reth { va, rkey, len };
        let case = format!("{start:#x}: {va:#x} + {len:#x}");
        alone.hear(0, true, Rc::ReadRequest(reth), &[]);
        let says = alone.says();
        let answered = matches!(says[0].1, Rc::ReadResponse(_));
        assert_eq!(answered, inside, "READ {case}: {says:?}");

        let mut alone = responder();
        alone.region().iova = start;
        let before = alone.objects.bytes(rkey).to_vec();
        let (write, payload) = match usize::try_from(len).expect("32 bits") {
            len if len <= 256 => (Write::Only(reth, None), len),
            _ => (Write::First(reth), 256),
        };
        alone.hear(0, true, Rc::Write(write), &vec![0x5a; payload]);
        let refused = alone.verdicts().contains(&(0, GONE)) || alone.qp.state() == State::Err;
        assert_eq!(refused, !inside, "WRITE {case}");
        if !inside {
            assert_eq!(alone.objects.bytes(rkey), before, "WRITE {case}");
        }
    }
}

#[test]
fn an_acknowledgement_outlives_the_nak_that_replaced_it() {
    let mut alone = responder();
    let reth = alone.reth(0, 8);
    let only = Rc::Write(Write::Only(reth, None));
    alone.hear(0, true, only, &[1; 8]);
    // 1 seems lost, and comes before anything was said.
    alone.hear(2, false, only, &[3; 8]);
    alone.hear(1, false, only, &[2; 8]);
    assert_eq!(alone.verdicts(), [(0, Syndrome::ACK)]);
}

#[test]
fn a_lost_nak_is_said_again_when_the_requester_asks_again() {
    let mut alone = responder();
    let reth = alone.reth(0, 8);
    let only = Rc::Write(Write::Only(reth, None));
    alone.hear(0, true, only, &[1; 8]);
    assert_eq!(alone.verdicts(), [(0, Syndrome::ACK)]);
    for psn in 2..9 {
        alone.hear(psn, false, only, &[3; 8]);
    }
    assert_eq!(alone.verdicts(), [(1, MISSING)]);
    // More of the same tells nothing new.
    for psn in 9..40 {
        alone.hear(psn, true, only, &[3; 8]);
    }
    assert_eq!(alone.verdicts(), []);
    // The packet sent last, once more; an older one, once more.
    for psn in [39, 12, 0] {
        alone.hear(psn, true, only, &[3; 8]);
        assert_eq!(alone.verdicts(), [(1, MISSING)], "{psn}");
    }
}

#[test]
fn a_part_of_a_read_is_answered_only_where_a_packet_began() {
    let ask = |alone: &mut Alone, psn, reth| {
        alone.hear(psn, true, Rc::ReadRequest(reth), &[]);
        alone.says()
    };
    let mut alone = responder();
    let whole = alone.reth(0, 1000);
    assert_eq!(ask(&mut alone, 0, whole).len(), 4);
    // Packet 2 begins with byte 512.
    let again = alone.reth(512, 488);
    let says = ask(&mut alone, 2, again);
    assert_eq!(says.iter().map(|(psn, _)| *psn).collect::<Vec<_>>(), [2, 3]);
    let wrong = [
        (2, alone.reth(0, 1000)),
        (2, alone.reth(511, 1)),
        (2, alone.reth(512, 489)),
        (2, alone.reth(512, 0)),
        (1, alone.reth(512, 100)),
        (0, alone.reth(0, 1001)),
        (
            2,
            Reth {
                rkey: again.rkey ^ 1,
                ..again
            },
        ),
        (
            2,
            Reth {
                va: BASE - 1,
                ..again
            },
        ),
    ];
    for (psn, reth) in wrong {
        assert_eq!(ask(&mut alone, psn, reth), [], "{psn} {reth:?}");
    }
    assert_eq!(alone.qp.state(), State::Rts);
}

/// The peer lost patience and asked again, then had its answer, and told our user that the key is done with.
#[test]
fn a_read_that_was_answered_ends_nothing_when_its_key_is_gone() {
    let mut alone = responder();
    let whole = alone.reth(0, 1000);
    alone.hear(0, true, Rc::ReadRequest(whole), &[]);
    assert_eq!(alone.says().len(), 4);
    let end = alone.reth(768, 232);
    for (psn, reth) in [(3, end), (0, whole)] {
        alone.hear(psn, true, Rc::ReadRequest(reth), &[]);
        alone.region().state = mr::State::Free;
        assert_eq!(alone.says(), [], "{psn}");
        assert_eq!(alone.qp.state(), State::Rts);
        alone.region().state = mr::State::Valid;
    }
    // What was not answered before is refused.
    alone.hear(4, true, Rc::ReadRequest(whole), &[]);
    alone.region().state = mr::State::Free;
    assert_eq!(alone.verdicts(), [(4, GONE)]);
    assert_eq!(alone.qp.state(), State::Err);
}

#[test]
fn asking_for_the_end_of_a_read_does_not_cut_it_short() {
    let mut alone = responder();
    let whole = alone.reth(0, 1000);
    alone.hear(0, true, Rc::ReadRequest(whole), &[]);
    let end = alone.reth(768, 232);
    alone.hear(3, true, Rc::ReadRequest(end), &[]);
    let says = alone.says();
    let psns: Vec<_> = says.iter().map(|(psn, _)| *psn).collect();
    assert_eq!(psns, [0, 1, 2, 3]);
    assert!(matches!(says[3].1, Rc::ReadResponse(ReadResponse::Last(_))));
}

/// More PSNs under way than half of the circle, and the peer could not tell old from new.
#[test]
fn no_more_than_half_of_the_circle_is_under_way() {
    let setup = Setup {
        mtu: Mtu::M256,
        ..Setup::default()
    };
    let mut alone = Alone::new(&setup, ME, PEER);
    let remote = Remote { va: 0, rkey: 5 };
    alone.post(SendOp::Write { remote, imm: None }, 0, 8);
    alone.post(SendOp::Read(remote), 0, 1 << 31);
    assert_eq!(alone.run().len(), 1, "the READ waits for the WRITE");
    let ack = Aeth {
        syndrome: Syndrome::ACK,
        msn: Msn::ZERO,
    };
    alone.hear(0, false, Rc::Ack(ack), &[]);
    assert_eq!(alone.run().len(), 1, "the READ goes");
}

#[test]
fn a_fence_waits_for_reads_and_atomics() {
    for fence in [false, true] {
        let mut alone = responder();
        let remote = Remote {
            va: BASE,
            rkey: alone.key,
        };
        alone.post(SendOp::Read(remote), 0, 8);
        alone.post(SendOp::Write { remote, imm: None }, 16, 8);
        let last = alone.queues.sq.back_mut().expect("posted");
        last.wr.as_mut().expect("good").fence = fence;
        assert_eq!(alone.run().len(), if fence { 1 } else { 2 });
        let data = ReadResponse::Only(Aeth {
            syndrome: Syndrome::ACK,
            msn: Msn::ZERO,
        });
        alone.hear(0, false, Rc::ReadResponse(data), &[1; 8]);
        assert_eq!(alone.run().len(), usize::from(fence));
    }
}

#[test]
fn only_the_end_of_a_message_with_a_completion_solicits() {
    let remote = Remote {
        va: BASE,
        rkey: responder().key,
    };
    let imm = Some(Imm([0; 4]));
    for (op, expected) in [
        (SendOp::Send(SendTail::Plain), [false, true]),
        (SendOp::Write { remote, imm }, [false, true]),
        (SendOp::Write { remote, imm: None }, [false; 2]),
        (SendOp::Read(remote), [false; 2]),
    ] {
        let mut alone = responder();
        alone.post(op, 0, 300);
        let posted = alone.queues.sq.back_mut().expect("posted");
        posted.wr.as_mut().expect("good").solicited = true;
        for (frame, expected) in alone.run().iter().zip(expected) {
            let headers = Headers::parse(frame).expect("good");
            assert_eq!(headers.repr.bth.solicited, expected, "{op:?}");
        }
    }
}

/// With the high bit set, the key is the queue pair's own, not the one the user asks for.
#[test]
fn a_user_cannot_forge_a_privileged_queue_key() {
    for (qp_type, asked, sent) in [
        (QpType::Ud, 0x1234, 0x1234),
        (QpType::Ud, 0x8001_0000, 0x1111_1111),
        (QpType::Ud, 0xffff_ffff, 0x1111_1111),
        (QpType::Gsi, 0x1234, 0x8001_0000),
    ] {
        let setup = Setup {
            qp_type,
            ..Setup::default()
        };
        let mut alone = Alone::new(&setup, ME, PEER);
        let datagram = Datagram {
            path: path(0, 1, false, 9),
            qpn: PEER.qpn,
            qkey: asked,
            imm: None,
        };
        alone.post(SendOp::Datagram(datagram), 0, 8);
        let frames = alone.run();
        let headers = Headers::parse(&frames[0]).expect("good");
        let Body::Ud(ud) = headers.repr.body else {
            panic!("{:?}", headers.repr.body);
        };
        assert_eq!(ud.deth.qkey, sent, "{asked:#x}");
    }
}

#[test]
fn datagrams_may_be_as_long_as_the_port_now_permits() {
    let setup = Setup {
        qp_type: QpType::Ud,
        mtu: Mtu::M1024,
        ..Setup::default()
    };
    let mut alone = Alone::new(&setup, ME, PEER);
    let datagram = Datagram {
        path: path(0, 1, false, 9),
        qpn: PEER.qpn,
        qkey: 0x1234,
        imm: None,
    };
    for (port, len, frames) in [
        (None, 1024, 1),
        (None, 1025, 0),
        (Some(Mtu::M4096), 4096, 1),
        (Some(Mtu::M512), 513, 0),
    ] {
        if let Some(mtu) = port {
            alone.qp.set_port_mtu(mtu);
        }
        alone.post(SendOp::Datagram(datagram), 0, len);
        assert_eq!(alone.run().len(), frames, "{port:?} {len}");
    }
    // One that the link had no room for is sent whole, though the port's MTU became smaller meanwhile.
    alone.qp.set_port_mtu(Mtu::M4096);
    alone.out.room = Some(0);
    alone.post(SendOp::Datagram(datagram), 0, 4096);
    assert_eq!(alone.run().len(), 0);
    alone.out.room = None;
    alone.qp.set_port_mtu(Mtu::M1024);
    let sent = alone.run();
    let [frame] = &sent[..] else {
        panic!("{} frames", sent.len());
    };
    let packet = Packet::parse::<HostCrc32>(frame).expect("a good packet");
    assert_eq!(packet.payload.len(), 4096);
    // A connection's is agreed between its ends.
    let mut connected = responder();
    let before = connected.qp.attr().mtu;
    connected.qp.set_port_mtu(Mtu::M256);
    assert_eq!(connected.qp.attr().mtu, before);
}

#[test]
fn a_reported_loss_does_not_hide_that_nothing_is_posted() {
    let mut alone = responder();
    alone.hear(0, true, Rc::Send(Send::Only(RcTail::Plain)), &[1; 8]);
    alone.lose();
    let verdicts = alone.verdicts();
    let [(0, Syndrome::RnrNak(_))] = verdicts[..] else {
        panic!("{verdicts:?}");
    };
    // The RNR NAK is out. If it is lost, so that the requester asks again, it hears where we are.
    alone.lose();
    assert_eq!(alone.verdicts(), [(0, MISSING)]);
}

/// A key must not go while requests before it still use it.
#[test]
fn a_local_invalidate_waits_for_everything_before_it() {
    let mut alone = responder();
    alone.region().origin = mr::Origin::FastRegister;
    let (remote, key) = (Remote::default(), alone.key);
    alone.post(SendOp::Write { remote, imm: None }, 0, 300);
    alone.post(SendOp::LocalInvalidate(key), 0, 0);
    assert_eq!(alone.run().len(), 2);
    assert_eq!(alone.region().state, mr::State::Valid, "may be sent again");
    let ack = Aeth {
        syndrome: Syndrome::ACK,
        msn: Msn::ZERO,
    };
    alone.hear(1, false, Rc::Ack(ack), &[]);
    assert_eq!(alone.run().len(), 0);
    assert_eq!(alone.region().state, mr::State::Free);
    let ends: Vec<_> = alone.queues.scq.iter().map(|cqe| cqe.status).collect();
    assert_eq!(ends, [WcStatus::Success; 2]);
}

/// The key would permit it, the queue pair does not.
#[test]
fn a_queue_pair_permits_only_what_it_was_told_to() {
    let all = [
        Rights::REMOTE_READ,
        Rights::REMOTE_WRITE,
        Rights::REMOTE_ATOMIC,
        Rights::FLUSH_GLOBAL,
    ];
    for granted in all {
        let template = responder();
        let reth = template.reth(8, 8);
        let eth = AtomicEth {
            va: BASE + 8,
            rkey: template.key,
            swap_add: 1,
            compare: 0,
        };
        let feth = Feth {
            global: true,
            ..Feth::default()
        };
        let requests: [(Rc, &[u8], Rights); 6] = [
            (Rc::ReadRequest(reth), &[], Rights::REMOTE_READ),
            (
                Rc::Write(Write::Only(reth, None)),
                &[1; 8],
                Rights::REMOTE_WRITE,
            ),
            (
                Rc::AtomicWrite(reth, AtomicWriteData([1; 8])),
                &[],
                Rights::REMOTE_WRITE,
            ),
            (Rc::FetchAdd(eth), &[], Rights::REMOTE_ATOMIC),
            (Rc::CompareSwap(eth), &[], Rights::REMOTE_ATOMIC),
            (Rc::Flush(feth, reth), &[], Rights::FLUSH_GLOBAL),
        ];
        for (body, payload, needed) in requests {
            let mut alone = responder();
            let change = Change {
                rights: Some(granted),
                ..Change::default()
            };
            alone.qp.modify(&change).expect("RTS to RTS");
            alone.hear(0, true, body, payload);
            let refused = Rc::Ack(Aeth {
                syndrome: Syndrome::Nak(Nak::InvalidRequest),
                msn: Msn::ZERO,
            });
            let says = alone.says();
            assert_eq!(
                says == [(0, refused)],
                granted != needed,
                "{body:?} {says:?}"
            );
        }
    }
}

#[test]
fn a_read_ends_where_its_right_does() {
    let mut alone = responder();
    let whole = alone.reth(0, 1000);
    alone.out.room = Some(2);
    alone.hear(0, true, Rc::ReadRequest(whole), &[]);
    assert_eq!(alone.says().len(), 2);
    // Registered anew under the same key, for writing only.
    alone.region().rights = Rights::REMOTE_WRITE;
    alone.out.room = None;
    assert_eq!(alone.verdicts(), [(2, GONE)]);
    assert_eq!(alone.qp.state(), State::Err);
}

#[test]
fn a_drain_ends_with_the_last_answer_and_not_before() {
    let mut alone = responder();
    let remote = Remote::default();
    alone.post(SendOp::Write { remote, imm: None }, 0, 300);
    assert_eq!(alone.run().len(), 2);
    let drain = Change {
        state: Some(State::Sqd),
        ..Change::default()
    };
    alone.qp.modify(&drain).expect("RTS to SQD");
    let ack = |alone: &mut Alone, psn| {
        let aeth = Aeth {
            syndrome: Syndrome::ACK,
            msn: Msn::ZERO,
        };
        alone.hear(psn, false, Rc::Ack(aeth), &[]);
        assert_eq!(alone.run().len(), 0);
    };
    assert_eq!(alone.run().len(), 0);
    ack(&mut alone, 0);
    assert!(alone.qp.is_draining() && alone.queues.events.is_empty());
    ack(&mut alone, 1);
    assert!(!alone.qp.is_draining());
    assert_eq!(alone.queues.events, [AsyncEvent::SendQueueDrained]);
}

#[test]
fn answers_leave_in_the_order_of_the_questions() {
    let mut alone = responder();
    let whole = alone.reth(0, 1000);
    let small = alone.reth(0, 8);
    let feth = Feth {
        global: true,
        ..Feth::default()
    };
    alone.hear(0, true, Rc::ReadRequest(whole), &[]);
    let write = Rc::Write(Write::Only(small, None));
    alone.hear(4, true, write, &[1; 8]);
    alone.hear(5, true, Rc::Flush(feth, small), &[]);
    alone.hear(6, true, Rc::ReadRequest(small), &[]);
    alone.hear(7, true, write, &[1; 8]);
    let psns: Vec<_> = alone.says().iter().map(|(psn, _)| *psn).collect();
    // The ACK of 4 is contained in those that follow it.
    assert_eq!(psns, [0, 1, 2, 3, 5, 6, 7]);
}

/// Upstream takes an ACK with a READ's PSN for the end of the READ, whether or not its data came.
#[test]
fn no_ack_names_an_answer_that_may_be_lost() {
    let mut alone = responder();
    let small = alone.reth(0, 8);
    let write = Rc::Write(Write::Only(small, None));
    alone.hear(0, true, write, &[1; 8]);
    alone.hear(1, true, Rc::ReadRequest(small), &[]);
    assert_eq!(alone.says().len(), 2);
    // Both answers are lost, and the WRITE comes again before the READ does.
    alone.hear(0, true, write, &[1; 8]);
    assert_eq!(alone.verdicts(), [(0, Syndrome::ACK)]);
    alone.hear(1, true, Rc::ReadRequest(small), &[]);
    let says = alone.says();
    assert!(matches!(says[..], [(1, Rc::ReadResponse(_))]), "{says:?}");
    // 3 before 2: the NAK for 2 would have acknowledged the READ.
    alone.hear(3, false, write, &[1; 8]);
    alone.hear(2, false, write, &[1; 8]);
    assert_eq!(alone.verdicts(), []);
}

#[test]
fn a_peer_that_is_not_ready_says_so_once() {
    let mut alone = responder();
    let send = Rc::Send(Send::Only(RcTail::Plain));
    alone.hear(0, true, send, &[1; 8]);
    assert!(matches!(alone.verdicts()[..], [(0, Syndrome::RnrNak(_))]));
    // What was under way behind it, later than the NAK.
    alone.hear(1, true, send, &[1; 8]);
    assert_eq!(alone.verdicts(), []);
    // It was not heard: the requester has started over.
    alone.hear(1, true, send, &[1; 8]);
    assert_eq!(alone.verdicts(), [(0, MISSING)]);
}

/// As upstream says it: with the PSN of the request, of which some data has come.
#[test]
fn a_read_that_ends_in_the_middle_ends_at_once() {
    for (psn, nak, ends) in [
        (0, Nak::RemoteAccess, true),
        (1, Nak::RemoteOperational, true),
        (0, Nak::PsnSequence, false),
        // Of the WRITE before it, which is done.
        (0xff_ffff, Nak::RemoteAccess, false),
    ] {
        let mut alone = Alone::new(
            &Setup::default(),
            End {
                psn: Psn::new(0xff_ffff),
                ..ME
            },
            PEER,
        );
        let remote = Remote::default();
        alone.post(SendOp::Write { remote, imm: None }, 0, 8);
        alone.post(SendOp::Read(remote), 0, 1000);
        assert_eq!(alone.run().len(), 2);
        let aeth = |syndrome| Aeth {
            syndrome,
            msn: Msn::ZERO,
        };
        let first = ReadResponse::First(aeth(Syndrome::ACK));
        alone.hear(0, false, Rc::ReadResponse(first), &[1; 256]);
        alone.hear(1, false, Rc::ReadResponse(ReadResponse::Middle), &[1; 256]);
        alone.hear(psn, false, Rc::Ack(aeth(Syndrome::Nak(nak))), &[]);
        let statuses: Vec<_> = alone.queues.scq.iter().map(|cqe| cqe.status).collect();
        let failed = statuses.get(1).copied();
        assert_eq!(statuses[0], WcStatus::Success);
        let expected = match (ends, nak) {
            (false, _) => None,
            (true, Nak::RemoteAccess) => Some(WcStatus::RemoteAccess),
            (true, _) => Some(WcStatus::RemoteOperation),
        };
        assert_eq!(failed, expected, "{psn:#x} {nak:?}");
    }
}

/// A peer that waits for an answer is told after a while; nobody tells the sender of a datagram.
#[test]
fn looks_at_memory_become_rare_unless_the_peer_is_to_be_told() {
    let long = Nanos::from_millis(1_000);
    let mut alone = responder();
    assert_eq!(alone.qp.look_after(long), Nanos::from_millis(10));
    alone.objects.absent = 1000;
    let write = Rc::Write(Write::Only(alone.reth(0, 8), None));
    alone.hear(0, true, write, &[1; 8]);
    assert_eq!(alone.qp.look_after(long), Nanos::from_micros(100));
    alone.qp.none_waits(Time::ZERO);
    assert_eq!(alone.qp.look_after(long), Nanos::from_millis(10));

    let setup = Setup {
        qp_type: QpType::Ud,
        ..Setup::default()
    };
    let mut alone = Alone::new(&setup, ME, PEER);
    alone.queues.rq.push_back(PostedReceive {
        wr_id: 5,
        sges: vec![Sge {
            addr: BASE,
            len: 600,
            lkey: alone.key,
        }],
    });
    alone.objects.absent = 1000;
    let deth = Deth {
        qkey: alone.qp.attr().qkey,
        src_qp: PEER.qpn,
    };
    let body = Body::Ud(Ud { deth, imm: None });
    let repr = path(1, 0, false, 9).packet(Bth::new(ME.qpn, Psn::ZERO), body);
    let mut frame = vec![0; repr.packet_len(8)];
    repr.emit::<HostCrc32>(&[&[1; 8]], &mut frame)
        .expect("it fits");
    assert_eq!(alone.hand_in(&frame), Taken::Again);
    assert_eq!(alone.qp.look_after(long), Nanos::from_millis(10));
}
