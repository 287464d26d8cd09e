// SPDX-License-Identifier: GPL-2.0-only

//! The engine in the place of upstream rxe: given the work requests, PSNs and memory of a captured
//! conversation, our requester sends the captured requests and our responder the captured answers,
//! byte for byte with their ICRC.
//!
//! From the capture we take what the environment chooses: addresses, UDP source port, and the
//! identification of each IP packet. Everything else the engine makes.

use std::path::Path as FilePath;

use pcap_file::pcap::PcapReader;
use usb4_rxe::host::HostCrc32;
use usb4_rxe::rxe::access::Rights;
use usb4_rxe::rxe::cqe::WcStatus;
use usb4_rxe::rxe::mtu::Mtu;
use usb4_rxe::rxe::opcode::Direction;
use usb4_rxe::rxe::path::Path;
use usb4_rxe::rxe::psn::Psn;
use usb4_rxe::rxe::qp::{Change, Fields, Init, Qp, QpType, Ran, State};
use usb4_rxe::rxe::qpn::Qpn;
use usb4_rxe::rxe::time::{AckTimeout, RnrTimer, Time};
use usb4_rxe::rxe::wire::{Body, Ip, Packet, Rc, Reth, Send, Write};
use usb4_rxe::rxe::wqe::{Data, Datagram, Remote, SendOp, SendTail, SendWr, Sge};

use crate::host::{Objects, Outbox, PostedReceive, PostedSend, Queues, VecStorage, View};
use crate::pair::{all_rights, PD};

/// Where the local memory of either side begins.
const LOCAL: u64 = 0x10_0000;

/// A captured frame, parsed.
#[derive(Clone)]
struct Captured {
    bytes: Vec<u8>,
    direction: Direction,
}

impl Captured {
    fn packet(&self) -> Packet<'_> {
        Packet::parse::<HostCrc32>(&self.bytes).expect("upstream's packets are good")
    }
}

fn capture(name: &str) -> Vec<Captured> {
    let path = FilePath::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/goldens")
        .join(name);
    let file = std::fs::File::open(&path).expect("a capture");
    let mut reader = PcapReader::new(file).expect("a pcap file");
    let mut frames = Vec::new();
    while let Some(packet) = reader.next_packet() {
        let bytes = packet.expect("a whole record").data.into_owned();
        let packet = Packet::parse::<HostCrc32>(&bytes).expect("upstream's packets are good");
        let direction = packet.headers.opcode().facts().kind.direction();
        frames.push(Captured { bytes, direction });
    }
    assert!(!frames.is_empty());
    frames
}

/// The capture `name`, its requests and its answers.
struct Conversation {
    requests: Vec<Captured>,
    answers: Vec<Captured>,
}

fn conversation(name: &str) -> Conversation {
    let (requests, answers) = capture(name)
        .into_iter()
        .partition(|frame| frame.direction == Direction::Request);
    Conversation { requests, answers }
}

/// One engine with everything around it.
struct Side {
    qp: Qp<VecStorage>,
    objects: Objects,
    queues: Queues,
    out: Outbox,
    local: u32,
}

impl Side {
    /// The end that sends frames like `sent`, to the queue pair it names.
    fn new(qp_type: QpType, sent: &Captured, qpn: Qpn, sq_psn: Psn, rq_psn: Psn) -> Self {
        let repr = sent.packet().headers.repr;
        let path = Path {
            ethernet: repr.ethernet,
            ip: repr.ip,
            udp: repr.udp,
        };
        let init = Init {
            qp_type,
            qpn,
            pd: PD,
            shared_receive: false,
            window: 128,
        };
        let mut qp = Qp::new(init, Mtu::M1024, VecStorage::new(64, 4, 16));
        let connected = qp_type.is_connected();
        let changes = [
            Change {
                state: Some(State::Init),
                pkey: Some(0xffff),
                others: Fields::PORT,
                rights: connected.then(all_rights),
                qkey: (!connected).then_some(0x1111_1111),
                ..Change::default()
            },
            Change {
                state: Some(State::Rtr),
                path: connected.then_some(path),
                mtu: connected.then_some(Mtu::M1024),
                dest_qp: connected.then_some(repr.bth.dst_qp),
                rq_psn: connected.then_some(rq_psn),
                max_dest_rd_atomic: connected.then_some(16),
                min_rnr_timer: connected.then_some(RnrTimer::from_bits(12)),
                ..Change::default()
            },
            Change {
                state: Some(State::Rts),
                sq_psn: Some(sq_psn),
                timeout: connected.then_some(AckTimeout::new(14).expect("below 32")),
                retry_count: connected.then_some(7),
                rnr_retry: connected.then_some(7),
                max_rd_atomic: connected.then_some(16),
                ..Change::default()
            },
        ];
        for change in changes {
            qp.modify(&change).expect("a legal change");
        }
        Self {
            qp,
            objects: Objects::default(),
            queues: Queues::default(),
            out: Outbox::default(),
            local: 0,
        }
    }

    fn add_local(&mut self, bytes: Vec<u8>) {
        self.local = self.objects.add(PD, Rights::LOCAL_WRITE, LOCAL, bytes);
    }

    fn sge(&self, offset: usize, len: usize) -> Vec<Sge> {
        vec![Sge {
            addr: LOCAL + offset as u64,
            len: len as u32,
            lkey: self.local,
        }]
    }

    fn run(&mut self) {
        let mut view = View {
            objects: &mut self.objects,
            queues: &mut self.queues,
            shared: None,
            out: &mut self.out,
        };
        while self.qp.run(Time::ZERO, 64, &mut view) == Ran::More {}
    }

    fn take(&mut self, frame: &Captured) {
        let packet = frame.packet();
        let mut view = View {
            objects: &mut self.objects,
            queues: &mut self.queues,
            shared: None,
            out: &mut self.out,
        };
        let _ = self
            .qp
            .packet(Time::ZERO, &packet.headers, packet.payload, &mut view);
        self.run();
    }
}

/// Gives our frame the IP identification of the captured one, and compares.
fn assert_same(ours: &[u8], captured: &Captured, what: &str) {
    let theirs = captured.packet();
    let packet = Packet::parse::<HostCrc32>(ours).expect("our packets are good");
    let mut repr = packet.headers.repr;
    match (&mut repr.ip, &theirs.headers.repr.ip) {
        (Ip::V4(ours), Ip::V4(theirs)) => ours.ident = theirs.ident,
        _ => panic!("the captures are IPv4"),
    }
    assert_eq!(repr, theirs.headers.repr, "{what}: headers");
    let mut bytes = vec![0; captured.bytes.len()];
    let len = repr
        .emit::<HostCrc32>(&[packet.payload], &mut bytes)
        .expect("it fits");
    assert_eq!(&bytes[..len], captured.bytes, "{what}: bytes");
}

/// All captured frames must come out, in order; the capture may end before we do.
fn assert_same_frames(ours: &[Vec<u8>], captured: &[Captured], what: &str) {
    for (i, frame) in captured.iter().enumerate() {
        let mine = ours
            .get(i)
            .unwrap_or_else(|| panic!("{what}: only {} of {} frames", i, captured.len()));
        assert_same(mine, frame, &format!("{what} {i}"));
    }
}

fn post(side: &mut Side, op: SendOp, offset: usize, len: usize) {
    let wr_id = side.queues.sq.len() as u64;
    let sges = side.sge(offset, len);
    side.queues.sq.push_back(PostedSend {
        wr: Ok(SendWr {
            wr_id,
            signaled: true,
            solicited: false,
            fence: false,
            op,
            data: Data::Gather(1),
        }),
        sges,
        inline: Vec::new(),
    });
}

/// Messages of captured SEND or WRITE packets: the RETH of the first, the bytes of all.
fn messages(requests: &[Captured]) -> Vec<(Option<Reth>, Vec<u8>)> {
    let mut messages: Vec<(Option<Reth>, Vec<u8>)> = Vec::new();
    for frame in requests {
        let packet = frame.packet();
        let facts = packet.headers.opcode().facts();
        if facts.position.starts() {
            let reth = match packet.headers.repr.body {
                Body::Rc(Rc::Write(Write::First(reth) | Write::Only(reth, _))) => Some(reth),
                _ => None,
            };
            messages.push((reth, Vec::new()));
        }
        let (_, bytes) = messages.last_mut().expect("captures begin with a message");
        bytes.extend_from_slice(packet.payload);
    }
    messages
}

fn first_psn(frames: &[Captured]) -> Psn {
    frames[0].packet().headers.repr.bth.psn
}

/// The requester's end, and the responder's, of a captured connection. Both had the same number.
fn ends(talk: &Conversation) -> (Side, Side) {
    let psn = first_psn(&talk.requests);
    let qpn = talk.requests[0].packet().headers.repr.bth.dst_qp;
    let requester = Side::new(QpType::Rc, &talk.requests[0], qpn, psn, Psn::ZERO);
    let responder = Side::new(QpType::Rc, &talk.answers[0], qpn, Psn::ZERO, psn);
    (requester, responder)
}

/// Plays both ends against the capture.
fn play(mut requester: Side, mut responder: Side, talk: &Conversation, what: &str) {
    requester.run();
    for answer in &talk.answers {
        requester.take(answer);
    }
    assert_same_frames(
        &requester.out.frames,
        &talk.requests,
        &format!("{what} request"),
    );
    for request in &talk.requests {
        responder.take(request);
    }
    assert_same_frames(
        &responder.out.frames,
        &talk.answers,
        &format!("{what} answer"),
    );
    assert_eq!(responder.qp.state(), State::Rts);
    let good = requester
        .queues
        .scq
        .iter()
        .all(|cqe| cqe.status == WcStatus::Success);
    assert!(good && !requester.queues.scq.is_empty());
}

#[test]
fn send_as_upstream() {
    let talk = conversation("send_rc.pcap");
    let (mut requester, mut responder) = ends(&talk);
    let messages = messages(&talk.requests);
    let all: Vec<u8> = messages
        .iter()
        .flat_map(|(_, bytes)| bytes.clone())
        .collect();
    requester.add_local([all.clone(), vec![0; 4096]].concat());
    responder.add_local(vec![0; 4096 * (messages.len() + 1)]);
    for i in 0..messages.len() {
        // The last message may be cut off by the end of the capture.
        post(
            &mut requester,
            SendOp::Send(SendTail::Plain),
            i * 4096,
            4096,
        );
        let sges = responder.sge(i * 4096, 4096);
        responder.queues.rq.push_back(PostedReceive {
            wr_id: i as u64,
            sges,
        });
    }
    let is_send = |c: &Captured| {
        matches!(
            c.packet().headers.repr.body,
            Body::Rc(Rc::Send(
                Send::First | Send::Middle | Send::Last(_) | Send::Only(_)
            ))
        )
    };
    assert!(talk.requests.iter().all(is_send));
    play(requester, responder, &talk, "SEND");
}

#[test]
fn write_as_upstream() {
    let talk = conversation("write_rc.pcap");
    let (mut requester, mut responder) = ends(&talk);
    let messages = messages(&talk.requests);
    let all: Vec<u8> = messages
        .iter()
        .flat_map(|(_, bytes)| bytes.clone())
        .collect();
    requester.add_local([all, vec![0; 4096]].concat());
    let reth = messages[0].0.expect("a WRITE");
    responder.objects.add_keyed(
        PD,
        all_rights(),
        reth.va,
        vec![0; reth.len as usize],
        reth.rkey,
    );
    for (i, (reth, _)) in messages.iter().enumerate() {
        let reth = reth.expect("a WRITE");
        let op = SendOp::Write {
            remote: Remote {
                va: reth.va,
                rkey: reth.rkey,
            },
            imm: None,
        };
        post(&mut requester, op, i * 4096, reth.len as usize);
    }
    play(requester, responder, &talk, "WRITE");
}

#[test]
fn read_as_upstream() {
    let talk = conversation("read_rc.pcap");
    let (mut requester, mut responder) = ends(&talk);
    requester.add_local(vec![0; 4096 * talk.requests.len()]);
    let mut reths = talk
        .requests
        .iter()
        .map(|r| match r.packet().headers.repr.body {
            Body::Rc(Rc::ReadRequest(reth)) => reth,
            other => panic!("not a READ: {other:?}"),
        });
    let first = reths.clone().next().expect("a READ");
    // The first answer tells what the memory held; it did not change.
    let bytes: Vec<u8> = talk
        .answers
        .iter()
        .take(4)
        .flat_map(|a| a.packet().payload.to_vec())
        .collect();
    assert_eq!(bytes.len(), first.len as usize);
    responder
        .objects
        .add_keyed(PD, Rights::REMOTE_READ, first.va, bytes, first.rkey);
    for (i, reth) in reths.by_ref().enumerate() {
        let remote = Remote {
            va: reth.va,
            rkey: reth.rkey,
        };
        post(
            &mut requester,
            SendOp::Read(remote),
            i * 4096,
            reth.len as usize,
        );
    }
    play(requester, responder, &talk, "READ");
}

#[test]
fn fetch_add_as_upstream() {
    let talk = conversation("atomic_fadd.pcap");
    let (mut requester, mut responder) = ends(&talk);
    requester.add_local(vec![0; 8 * talk.requests.len()]);
    let originals = talk
        .answers
        .iter()
        .map(|a| match a.packet().headers.repr.body {
            Body::Rc(Rc::AtomicAck(_, value)) => value.original,
            other => panic!("not an atomic ACK: {other:?}"),
        });
    let eths: Vec<_> = talk
        .requests
        .iter()
        .map(|r| match r.packet().headers.repr.body {
            Body::Rc(Rc::FetchAdd(eth)) => eth,
            other => panic!("not a fetch and add: {other:?}"),
        })
        .collect();
    // Each request had its own word: what it held is in the answer.
    let start = eths[0].va;
    let mut bytes = vec![0; (eths[eths.len() - 1].va - start) as usize + 8];
    for (eth, original) in eths.iter().zip(originals) {
        let at = (eth.va - start) as usize;
        bytes[at..at + 8].copy_from_slice(&original.to_ne_bytes());
    }
    responder
        .objects
        .add_keyed(PD, all_rights(), start, bytes, eths[0].rkey);
    for (i, eth) in eths.iter().enumerate() {
        let op = SendOp::FetchAdd {
            remote: Remote {
                va: eth.va,
                rkey: eth.rkey,
            },
            add: eth.swap_add,
        };
        post(&mut requester, op, i * 8, 8);
    }
    play(requester, responder, &talk, "FADD");
}

#[test]
fn datagrams_as_upstream() {
    let talk = conversation("send_ud.pcap");
    let first = talk.requests[0].packet().headers.repr;
    let Body::Ud(ud) = first.body else {
        panic!("not a datagram");
    };
    let psn = first.bth.psn;
    let mut sender = Side::new(
        QpType::Ud,
        &talk.requests[0],
        ud.deth.src_qp,
        psn,
        Psn::ZERO,
    );
    let all: Vec<u8> = talk
        .requests
        .iter()
        .flat_map(|r| r.packet().payload.to_vec())
        .collect();
    sender.add_local(all);
    for (i, request) in talk.requests.iter().enumerate() {
        let repr = request.packet().headers.repr;
        let op = SendOp::Datagram(Datagram {
            path: Path {
                ethernet: repr.ethernet,
                ip: repr.ip,
                udp: repr.udp,
            },
            qpn: repr.bth.dst_qp,
            qkey: ud.deth.qkey,
            imm: None,
        });
        post(&mut sender, op, i * 1024, 1024);
    }
    sender.run();
    assert_same_frames(&sender.out.frames, &talk.requests, "UD");
    assert_eq!(sender.queues.scq.len(), talk.requests.len());

    // And the other end: 40 bytes of network header, then the payload.
    let mut receiver = Side::new(
        QpType::Ud,
        &talk.requests[0],
        first.bth.dst_qp,
        Psn::ZERO,
        Psn::ZERO,
    );
    receiver.add_local(vec![0; 1064]);
    let sges = receiver.sge(0, 1064);
    receiver
        .queues
        .rq
        .push_back(PostedReceive { wr_id: 5, sges });
    receiver.take(&talk.requests[0]);
    let cqe = receiver.queues.rcq[0];
    assert_eq!((cqe.byte_len, cqe.src_qp), (1064, ud.deth.src_qp));
    let memory = receiver.objects.bytes(receiver.local);
    assert_eq!(memory[..20], [0; 20]);
    assert_eq!(memory[20..40], talk.requests[0].bytes[14..34]);
    assert_eq!(memory[40..], *talk.requests[0].packet().payload);
}
