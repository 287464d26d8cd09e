// SPDX-License-Identifier: GPL-2.0-only

//! What must hold for two engines whatever their users and the link between them do: bytes are
//! taken as a sequence of operations, among them packets nobody honest would send, with a correct
//! ICRC. Used by the fuzz target and by the ordinary tests.

use std::collections::VecDeque;

use usb4_rxe::host::HostCrc32;
use usb4_rxe::rxe::access::{Pd, Rights};
use usb4_rxe::rxe::opcode;
use usb4_rxe::rxe::psn::{Msn, Psn};
use usb4_rxe::rxe::qp::{Change, Qp, QpType, Ran, State};
use usb4_rxe::rxe::qpn::Qpn;
use usb4_rxe::rxe::time::Time;
use usb4_rxe::rxe::wire::{
    Aeth, AtomicAckEth, AtomicEth, AtomicWriteData, Body, Feth, Ieth, Imm, Packet, Rc, RcTail,
    ReadResponse, Reth, Send, Syndrome, Uc, Write,
};
use usb4_rxe::rxe::wqe::{BadWr, BindMw, Data, RegMr, Remote, SendOp, SendTail, SendWr, Sge};

use crate::host::{Objects, Outbox, PostedReceive, PostedSend, Queues, VecStorage, View};
use crate::pair::{all_rights, ready, End, Setup, PD};

/// Where regions begin, and how long they are.
const BASE: u64 = 0x1000;
const LEN: usize = 2048;

/// The bytes of an input, one after the other; zeros at its end.
struct Input<'a>(&'a [u8]);

impl Input<'_> {
    fn byte(&mut self) -> u8 {
        match self.0.split_first() {
            Some((first, rest)) => {
                self.0 = rest;
                *first
            }
            None => 0,
        }
    }

    fn u16(&mut self) -> u16 {
        u16::from_le_bytes([self.byte(), self.byte()])
    }

    /// Mostly small or around the edges, sometimes anything.
    fn len(&mut self) -> u32 {
        match self.byte() {
            0 => u32::MAX,
            1 => 1 << 31,
            2 => (1 << 31) + 1,
            3 => 256,
            4 => 257,
            n if n < 100 => u32::from(self.u16()) % (LEN as u32 + 64),
            n => u32::from(n) % 9,
        }
    }

    fn va(&mut self) -> u64 {
        match self.byte() {
            0 => u64::MAX,
            1 => u64::MAX - 7,
            2 => 0,
            n if n < 128 => BASE + u64::from(self.u16()) % (LEN as u64 + 8),
            _ => BASE + 8 * u64::from(self.byte() % 16),
        }
    }
}

struct Side {
    qp: Qp<VecStorage>,
    objects: Objects,
    queues: Queues,
    out: Outbox,
    sent: VecDeque<Vec<u8>>,
    keys: Vec<u32>,
    posted_sends: u64,
    posted_receives: u64,
}

/// Kinds of objects by their place in `keys`.
const OPEN: usize = 0;
const READ_ONLY: usize = 1;
const FOREIGN: usize = 2;

impl Side {
    fn new(setup: &Setup, me: End, peer: End) -> Self {
        let mut objects = Objects::default();
        let fill = |salt: u8| (0..LEN).map(|i| i as u8 ^ salt).collect::<Vec<u8>>();
        let keys = vec![
            objects.add(PD, all_rights(), BASE, fill(1)),
            objects.add(PD, Rights::REMOTE_READ | Rights::MW_BIND, BASE, fill(2)),
            objects.add(Pd(77), all_rights(), BASE, fill(3)),
            objects.add_fast(PD, 256),
            objects.add_window(PD, usb4_rxe::rxe::access::mw::Type::TwoB),
            objects.add_window(PD, usb4_rxe::rxe::access::mw::Type::One),
        ];
        Self {
            qp: ready(setup, me, peer, VecStorage::new(4, 4, 3)),
            objects,
            queues: Queues::default(),
            out: Outbox::default(),
            sent: VecDeque::new(),
            keys,
            posted_sends: 0,
            posted_receives: 0,
        }
    }

    fn key(&self, input: &mut Input<'_>) -> u32 {
        let choice = input.byte();
        let key = self.keys[usize::from(choice & 15) % self.keys.len()];
        if choice & 0x80 != 0 {
            key ^ u32::from(input.byte())
        } else {
            key
        }
    }
}

/// Calls into the engine of one side.
macro_rules! call {
    ($side:expr, |$qp:ident, $view:ident| $body:expr) => {{
        let side = $side;
        let mut view = View {
            objects: &mut side.objects,
            queues: &mut side.queues,
            shared: None,
            out: &mut side.out,
        };
        let ($qp, $view) = (&mut side.qp, &mut view);
        $body
    }};
}

/// Executes the operations in `bytes`; panics if something that must hold does not.
pub fn check(bytes: &[u8]) {
    let mut input = Input(bytes);
    let kind = input.byte();
    let setup = Setup {
        qp_type: match kind & 7 {
            0 => QpType::Uc,
            1 => QpType::Ud,
            _ => QpType::Rc,
        },
        window: if kind & 8 == 0 { 4 } else { 1024 },
        rd_atomic: 2,
        ..Setup::default()
    };
    let end = |host: u8| End {
        host,
        qpn: Qpn::new(16 + u32::from(host)),
        psn: Psn::new(0xff_fffe),
    };
    let mut sides = [0u8, 1].map(|me| Side::new(&setup, end(me), end(1 - me)));
    let mut now = Time::ZERO;
    while !input.0.is_empty() {
        let op = input.byte();
        let me = usize::from(op >> 7);
        match op & 15 {
            0..=2 => post_send(&mut sides, me, &mut input),
            3 => post_receive(&mut sides[me], &mut input),
            4 | 5 => run(&mut sides[me], now, u32::from(input.byte() % 8)),
            6..=8 => deliver(&mut sides, me, now, None, &mut input),
            9 => {
                let place = usize::from(input.byte());
                deliver(&mut sides, me, now, Some(place), &mut input);
            }
            10 => {
                sides[me].sent.pop_front();
            }
            11 => {
                if let Some(deadline) = sides[me].qp.deadline() {
                    now = now.max(deadline);
                }
                call!(&mut sides[me], |qp, view| qp.timeout(now, view));
            }
            12 => call!(&mut sides[me], |qp, view| qp.loss(view)),
            13 => {
                let states = [State::Rts, State::Sqd, State::Err, State::Sqe];
                let change = Change {
                    state: Some(states[usize::from(input.byte() % 4)]),
                    ..Change::default()
                };
                // Most are refused, rightly.
                let _ = sides[me].qp.modify(&change);
            }
            14 => {
                let room = input.byte();
                sides[me].out.room = (room & 1 == 1).then_some(usize::from(room >> 5));
            }
            _ => inject(&mut sides, me, now, &mut input),
        }
        for side in &sides {
            hold(side);
        }
    }
    for side in &mut sides {
        end_all(side, now);
    }
}

/// Whatever happened, these hold.
fn hold(side: &Side) {
    let intact = |place: usize, salt: u8| {
        let bytes = side.objects.bytes(side.keys[place]);
        bytes.iter().enumerate().all(|(i, b)| *b == i as u8 ^ salt)
    };
    assert!(intact(READ_ONLY, 2), "a read-only region was written");
    assert!(intact(FOREIGN, 3), "a foreign region was written");
    assert!(side.queues.released <= side.posted_sends);
    assert!(side.queues.scq.len() as u64 <= side.posted_sends);
    assert!(side.queues.rcq.len() as u64 <= side.posted_receives);
}

/// In state ERR everything posted ends, each request once.
fn end_all(side: &mut Side, now: Time) {
    side.out.room = None;
    let to_err = Change {
        state: Some(State::Err),
        ..Change::default()
    };
    side.qp.modify(&to_err).expect("any state may fail");
    while call!(&mut *side, |qp, view| qp.run(now, 64, view)) == Ran::More {}
    assert_eq!(side.queues.released, side.posted_sends);
    assert_eq!(side.queues.rcq.len() as u64, side.posted_receives);
    assert!(side.queues.sq.is_empty() && side.queues.rq.is_empty());
    hold(side);
}

fn run(side: &mut Side, now: Time, budget: u32) {
    call!(&mut *side, |qp, view| qp.run(now, budget, view));
    let frames = side.out.frames.len();
    assert!(frames <= 2 * budget as usize, "more than the budget");
    side.sent.extend(side.out.frames.drain(..));
}

fn post_receive(side: &mut Side, input: &mut Input<'_>) {
    side.posted_receives += 1;
    let sges = sges(side, input);
    side.queues.rq.push_back(PostedReceive {
        wr_id: side.posted_receives,
        sges,
    });
}

fn sges(side: &Side, input: &mut Input<'_>) -> Vec<Sge> {
    let count = input.byte() % 6;
    (0..count)
        .map(|_| {
            // Mostly memory that works.
            let (lkey, addr) = match input.byte() {
                n if n < 200 => (side.keys[OPEN], BASE + u64::from(n)),
                _ => (side.key(input), input.va()),
            };
            Sge {
                addr,
                len: input.len(),
                lkey,
            }
        })
        .collect()
}

fn post_send(sides: &mut [Side; 2], me: usize, input: &mut Input<'_>) {
    let remote = Remote {
        va: input.va(),
        rkey: sides[1 - me].key(input),
    };
    let local = sides[me].key(input);
    let op = match input.byte() % 14 {
        0 | 1 => SendOp::Send(SendTail::Plain),
        2 => SendOp::Send(SendTail::Imm(Imm([1, 2, 3, 4]))),
        3 => SendOp::Send(SendTail::Invalidate(remote.rkey)),
        4 | 5 => SendOp::Write { remote, imm: None },
        6 => SendOp::Write {
            remote,
            imm: Some(Imm([0; 4])),
        },
        7 | 8 => SendOp::Read(remote),
        9 => SendOp::FetchAdd { remote, add: 1 },
        10 => SendOp::AtomicWrite {
            remote,
            data: [5; 8],
        },
        11 => SendOp::Flush {
            remote,
            len: input.len(),
            what: Feth {
                global: true,
                ..Feth::default()
            },
        },
        12 => SendOp::BindMw(BindMw {
            mw_rkey: local,
            new_rkey: u32::from(input.byte()),
            mr_lkey: sides[me].keys[usize::from(input.byte() % 3)],
            addr: input.va(),
            len: u64::from(input.len()),
            rights: Rights::from_bits(u32::from(input.byte())),
        }),
        _ if input.byte() & 1 == 0 => SendOp::LocalInvalidate(local),
        _ => SendOp::RegMr(RegMr {
            mr_lkey: local,
            key: local ^ 1,
            iova: input.va(),
            len: u64::from(input.len()),
            rights: Rights::from_bits(u32::from(input.byte())),
        }),
    };
    let flags = input.byte();
    let side = &mut sides[me];
    side.posted_sends += 1;
    let wr_id = side.posted_sends;
    let sges = sges(side, input);
    let data = if flags & 4 == 0 {
        Data::Gather(sges.len() as u8)
    } else {
        Data::Inline(u16::from(input.byte()))
    };
    let wr = SendWr {
        wr_id,
        signaled: flags & 1 != 0,
        solicited: flags & 2 != 0,
        fence: flags & 8 != 0,
        op,
        data,
    };
    let bad = flags & 0xf0 == 0xf0;
    side.queues.sq.push_back(PostedSend {
        wr: if bad { Err(BadWr { wr_id }) } else { Ok(wr) },
        sges,
        inline: vec![7; 64],
    });
}

/// Hands the oldest frame of side `from` to the other; changed if `change` is set.
fn deliver(
    sides: &mut [Side; 2],
    from: usize,
    now: Time,
    change: Option<usize>,
    input: &mut Input<'_>,
) {
    let Some(frame) = sides[from].sent.pop_front() else {
        return;
    };
    let packet = Packet::parse::<HostCrc32>(&frame).expect("an engine sends good packets");
    match change {
        None => {
            let _ = call!(&mut sides[1 - from], |qp, view| qp.packet(
                now,
                &packet.headers,
                packet.payload,
                view
            ));
        }
        Some(what) => {
            let mut repr = packet.headers.repr;
            match what % 4 {
                0 => repr.bth.psn = repr.bth.psn.wrapping_add(u32::from(input.byte())),
                1 => repr.bth.psn = repr.bth.psn.wrapping_sub(u32::from(input.byte())),
                2 => repr.body = body(&sides[1 - from], input),
                _ => repr.bth.ack_request = !repr.bth.ack_request,
            }
            let keep = usize::from(input.u16()) % (packet.payload.len() + 1);
            arrive(&mut sides[1 - from], now, &repr, &packet.payload[..keep]);
        }
    }
}

/// Sends a packet nobody made, from the address of the peer.
fn inject(sides: &mut [Side; 2], to: usize, now: Time, input: &mut Input<'_>) {
    let side = &mut sides[to];
    let Some(path) = side.qp.attr().path else {
        return;
    };
    let near = if input.byte() & 1 == 0 {
        side.qp.rq_psn()
    } else {
        side.qp.sq_psn()
    };
    let psn = match input.byte() {
        n if n < 128 => near.wrapping_add(u32::from(n % 4)),
        n if n < 250 => near.wrapping_sub(u32::from(n % 16)),
        n => near.wrapping_add(u32::from(n) << 15),
    };
    let mut bth = usb4_rxe::rxe::wire::Bth::new(side.qp.attr().init.qpn, psn);
    bth.ack_request = input.byte() & 1 == 0;
    let body = body(side, input);
    // The path back: ours, turned around.
    let reverse = crate::pair::path(1 - to as u8, to as u8, false, path.udp.src_port);
    let repr = reverse.packet(bth, body);
    let lens = [0, 1, 8, 255, 256, 257, 4096];
    let len = lens[usize::from(input.byte()) % lens.len()];
    arrive(side, now, &repr, &[0xaa; 4096][..len]);
}

/// Delivers a packet made here, if it can be written at all.
fn arrive(side: &mut Side, now: Time, repr: &usb4_rxe::rxe::wire::PacketRepr, payload: &[u8]) {
    let mut frame = vec![0; repr.packet_len(payload.len())];
    if repr.emit::<HostCrc32>(&[payload], &mut frame).is_err() {
        return;
    }
    let packet = Packet::parse::<HostCrc32>(&frame).expect("just made");
    let _ = call!(side, |qp, view| qp.packet(
        now,
        &packet.headers,
        packet.payload,
        view
    ));
}

/// Any body.
fn body(side: &Side, input: &mut Input<'_>) -> Body {
    let reth = Reth {
        va: input.va(),
        rkey: side.key(input),
        len: input.len(),
    };
    let aeth = Aeth {
        syndrome: Syndrome::from_code(input.byte()).unwrap_or(Syndrome::ACK),
        msn: Msn::new(u32::from(input.byte())),
    };
    let eth = AtomicEth {
        va: reth.va,
        rkey: reth.rkey,
        swap_add: 1,
        compare: 0,
    };
    let imm = (input.byte() & 1 == 0).then_some(Imm([9; 4]));
    let tail = match input.byte() % 3 {
        0 => RcTail::Plain,
        1 => RcTail::Imm(Imm([8; 4])),
        _ => RcTail::Invalidate(Ieth { rkey: reth.rkey }),
    };
    let rc = match usize::from(input.byte()) % opcode::COUNT {
        0 => Rc::Send(Send::First),
        1 => Rc::Send(Send::Middle),
        2 => Rc::Send(Send::Last(tail)),
        3 => Rc::Send(Send::Only(tail)),
        4 => Rc::Write(Write::First(reth)),
        5 => Rc::Write(Write::Middle),
        6 => Rc::Write(Write::Last(imm)),
        7 => Rc::Write(Write::Only(reth, imm)),
        8 | 9 => Rc::ReadRequest(reth),
        10 => Rc::ReadResponse(ReadResponse::First(aeth)),
        11 => Rc::ReadResponse(ReadResponse::Middle),
        12 => Rc::ReadResponse(ReadResponse::Last(aeth)),
        13 => Rc::ReadResponse(ReadResponse::Only(aeth)),
        14..=17 => Rc::Ack(aeth),
        18 => Rc::AtomicAck(aeth, AtomicAckEth { original: 3 }),
        19 => Rc::CompareSwap(eth),
        20 => Rc::FetchAdd(eth),
        21 => Rc::AtomicWrite(reth, AtomicWriteData([6; 8])),
        22 => Rc::Flush(Feth::default(), reth),
        23 => return Body::Uc(Uc::Send(Send::First)),
        24 => return Body::Uc(Uc::Send(Send::Middle)),
        25 => return Body::Uc(Uc::Send(Send::Last(imm))),
        26 => return Body::Uc(Uc::Send(Send::Only(imm))),
        27 => return Body::Uc(Uc::Write(Write::First(reth))),
        28 => return Body::Uc(Uc::Write(Write::Middle)),
        29 => return Body::Uc(Uc::Write(Write::Last(imm))),
        _ => return Body::Uc(Uc::Write(Write::Only(reth, imm))),
    };
    Body::Rc(rc)
}
