// SPDX-License-Identifier: GPL-2.0-only

//! Entries as librxe of rdma-core 56 writes them. The writer here follows what that library does,
//! by the numbers of the layout.

use usb4_rxe::rxe::access::Rights;
use usb4_rxe::rxe::qp::QpType;
use usb4_rxe::rxe::qpn::Qpn;
use usb4_rxe::rxe::user_abi::{decode_recv, decode_send, AhRef, Poster};
use usb4_rxe::rxe::wire::{Feth, Imm, Selectivity};
use usb4_rxe::rxe::wqe::{BadWr, BindMw, Data, Datagram, Remote, SendOp, SendTail, SendWr, Sge};

use crate::user_abi_check::{blank, some_path};

/// A slot of the queue; what was there before is still there.
pub struct Slot(pub Vec<u8>);

impl Slot {
    pub fn new(len: usize) -> Self {
        // librxe clears what it uses, not what it does not.
        Self(vec![0xee; len])
    }

    pub fn put(&mut self, at: usize, bytes: &[u8]) -> &mut Self {
        self.0[at..at + bytes.len()].copy_from_slice(bytes);
        self
    }

    pub fn u32(&mut self, at: usize, value: u32) -> &mut Self {
        self.put(at, &value.to_ne_bytes())
    }

    pub fn u64(&mut self, at: usize, value: u64) -> &mut Self {
        self.put(at, &value.to_ne_bytes())
    }

    pub fn sges(&mut self, at: usize, sges: &[Sge]) -> &mut Self {
        for (i, sge) in sges.iter().enumerate() {
            self.u64(at + 16 * i, sge.addr)
                .u32(at + 16 * i + 8, sge.len)
                .u32(at + 16 * i + 12, sge.lkey);
        }
        self
    }
}

/// `ibv_post_send`: clears the request's part, fills in lengths and pieces.
fn post_send(opcode: u32, flags: u32, sges: &[Sge]) -> Slot {
    let mut slot = Slot::new(1024);
    slot.put(0, &[0; 144]);
    slot.u64(0, 0x1122_3344_5566_7788)
        .u32(12, opcode)
        .u32(16, flags)
        .u32(184, sges.iter().map(|sge| sge.len).sum())
        .u32(196, sges.len() as u32)
        .sges(208, sges);
    slot
}

/// `ibv_wr_*`: clears the whole header first.
fn build(opcode: u32, flags: u32) -> Slot {
    let mut slot = Slot::new(1024);
    slot.put(0, &[0; 208]);
    slot.u64(0, 0x1122_3344_5566_7788)
        .u32(12, opcode)
        .u32(16, flags);
    slot
}

fn decode(slot: &Slot, qp_type: QpType) -> (Result<SendWr, BadWr>, Vec<Sge>) {
    let mut room = vec![Sge::default(); 32];
    let mut wr = blank();
    let decoded = decode_send(
        &slot.0,
        Poster::User,
        qp_type,
        &mut room,
        |ah| (ah == AhRef(77)).then(some_path),
        &mut wr,
    );
    (decoded.map(|()| wr), room)
}

fn request(op: SendOp, flags: u32, data: Data) -> SendWr {
    SendWr {
        wr_id: 0x1122_3344_5566_7788,
        signaled: flags & SIGNALED != 0,
        solicited: flags & SOLICITED != 0,
        fence: flags & FENCE != 0,
        op,
        data,
    }
}

const FENCE: u32 = 1;
const SIGNALED: u32 = 2;
const SOLICITED: u32 = 4;
const INLINE: u32 = 8;

const SGES: [Sge; 3] = [
    Sge {
        addr: 0x7fff_0000_1000,
        len: 4096,
        lkey: 0x1234_5678,
    },
    Sge {
        addr: 0x7fff_0000_3001,
        len: 17,
        lkey: 0x1234_5679,
    },
    Sge {
        addr: 0x7fff_0000_5002,
        len: 1,
        lkey: 0x1234_567a,
    },
];

#[test]
fn sends() {
    for flags in 0..8 {
        let (wr, room) = decode(&post_send(2, flags, &SGES), QpType::Rc);
        let op = SendOp::Send(SendTail::Plain);
        assert_eq!(wr, Ok(request(op, flags, Data::Gather(3))));
        assert_eq!(room[..3], SGES);
    }
    let mut slot = post_send(3, SIGNALED, &SGES[..1]);
    slot.put(20, &[1, 2, 3, 4]);
    let op = SendOp::Send(SendTail::Imm(Imm([1, 2, 3, 4])));
    assert_eq!(
        decode(&slot, QpType::Uc).0,
        Ok(request(op, SIGNALED, Data::Gather(1)))
    );
    let mut slot = post_send(9, 0, &[]);
    slot.u32(20, 0xabcd_ef01);
    let op = SendOp::Send(SendTail::Invalidate(0xabcd_ef01));
    assert_eq!(
        decode(&slot, QpType::Rc).0,
        Ok(request(op, 0, Data::Gather(0)))
    );
}

#[test]
fn rdma_and_atomics() {
    let remote = Remote {
        va: 0x1_0000_2000,
        rkey: 0x9876_5432,
    };
    let rdma = |opcode: u32| {
        let mut slot = post_send(opcode, 0, &SGES[..2]);
        slot.u64(24, remote.va)
            .u32(32, remote.rkey)
            .put(20, &[9, 8, 7, 6]);
        decode(&slot, QpType::Rc).0
    };
    let gathered = |op| Ok(request(op, 0, Data::Gather(2)));
    assert_eq!(rdma(0), gathered(SendOp::Write { remote, imm: None }));
    let imm = Some(Imm([9, 8, 7, 6]));
    assert_eq!(rdma(1), gathered(SendOp::Write { remote, imm }));
    assert_eq!(rdma(4), gathered(SendOp::Read(remote)));

    let atomic = |opcode: u32| {
        let mut slot = post_send(opcode, SIGNALED, &[Sge { len: 8, ..SGES[0] }]);
        slot.u64(24, remote.va)
            .u64(32, 5)
            .u64(40, 6)
            .u32(48, remote.rkey);
        decode(&slot, QpType::Rc).0
    };
    let one = |op| Ok(request(op, SIGNALED, Data::Gather(1)));
    let (compare, swap) = (5, 6);
    let compare_swap = SendOp::CompareSwap {
        remote,
        compare,
        swap,
    };
    assert_eq!(atomic(5), one(compare_swap));
    assert_eq!(atomic(6), one(SendOp::FetchAdd { remote, add: 5 }));
}

#[test]
fn what_only_the_new_calls_can_do() {
    let remote = Remote {
        va: 0x1_0000_2008,
        rkey: 0x9876_5432,
    };
    let mut slot = build(15, FENCE);
    slot.u64(24, remote.va)
        .u32(32, remote.rkey)
        .put(208, &[1, 2, 3, 4, 5, 6, 7, 8])
        .u32(184, 8);
    let data = [1, 2, 3, 4, 5, 6, 7, 8];
    let op = SendOp::AtomicWrite { remote, data };
    assert_eq!(
        decode(&slot, QpType::Rc).0,
        Ok(request(op, FENCE, Data::Gather(0)))
    );
    // Not eight bytes: no ATOMIC WRITE.
    slot.u32(184, 7);
    assert!(decode(&slot, QpType::Rc).0.is_err());

    for (placement, selectivity, what) in [
        (1, 0, Some((true, false, Selectivity::Range))),
        (2, 1, Some((false, true, Selectivity::Region))),
        (3, 0, Some((true, true, Selectivity::Range))),
        (4, 0, None),
        (1, 2, None),
    ] {
        let mut slot = build(14, 0);
        slot.u64(24, remote.va)
            .u32(36, remote.rkey)
            .put(40, &[placement, selectivity])
            .u32(184, 300);
        let (wr, _) = decode(&slot, QpType::Rc);
        let expected = what.map(|(global, persistent, selectivity)| {
            let what = Feth {
                global,
                persistent,
                selectivity,
            };
            let len = 300;
            request(SendOp::Flush { remote, len, what }, 0, Data::Gather(0))
        });
        assert_eq!(wr.ok(), expected);
    }
}

#[test]
fn local_operations() {
    let mut slot = build(7, 0);
    slot.u32(20, 0x55aa);
    let op = SendOp::LocalInvalidate(0x55aa);
    assert_eq!(
        decode(&slot, QpType::Rc).0,
        Ok(request(op, 0, Data::Gather(0)))
    );
    let mut slot = build(8, SIGNALED);
    slot.u64(24, 0x10_0000)
        .u64(32, 0x2000)
        .u32(40, 0x111)
        .u32(44, 0x222)
        .u32(48, 0x2aa)
        .u32(52, 0b1111);
    let op = SendOp::BindMw(BindMw {
        mw_rkey: 0x222,
        new_rkey: 0x2aa,
        mr_lkey: 0x111,
        addr: 0x10_0000,
        len: 0x2000,
        rights: Rights::from_bits(0b1111),
    });
    assert_eq!(
        decode(&slot, QpType::Rc).0,
        Ok(request(op, SIGNALED, Data::Gather(0)))
    );
    // Kernel users alone register regions.
    assert!(decode(&build(0x20, 0), QpType::Rc).0.is_err());
}

#[test]
fn datagrams() {
    for (qp_type, opcode) in [(QpType::Ud, 2), (QpType::Ud, 3), (QpType::Gsi, 2)] {
        let mut slot = post_send(opcode, SOLICITED, &SGES[..1]);
        slot.u32(24, 0x123)
            .u32(28, 0x8001_0000)
            .u32(36, 77)
            .put(20, &[4, 3, 2, 1]);
        let op = SendOp::Datagram(Datagram {
            path: some_path(),
            qpn: Qpn::new(0x123),
            qkey: 0x8001_0000,
            imm: (opcode == 3).then_some(Imm([4, 3, 2, 1])),
        });
        assert_eq!(
            decode(&slot, qp_type).0,
            Ok(request(op, SOLICITED, Data::Gather(1)))
        );
        // No such handle; none at all.
        for number in [78, 0] {
            slot.u32(36, number);
            let wr_id = 0x1122_3344_5566_7788;
            assert_eq!(decode(&slot, qp_type).0, Err(BadWr { wr_id }));
        }
    }
}

#[test]
fn inline_data() {
    let text = b"sixteen bytes and some more of them";
    let send = |data| Ok(request(SendOp::Send(SendTail::Plain), 0, data));
    let inline = Data::Inline(text.len() as u16);
    let bytes = |room: &[Sge]| zerocopy::IntoBytes::as_bytes(room)[..text.len()].to_vec();

    // ibv_post_send: the pieces are counted, but their bytes are there.
    let mut slot = post_send(2, INLINE, &[]);
    slot.u32(184, text.len() as u32).u32(196, 3).put(208, text);
    let (wr, room) = decode(&slot, QpType::Rc);
    assert_eq!(wr, send(inline));
    assert_eq!(bytes(&room), text);

    // ibv_wr_set_inline_data sets no flag.
    let mut slot = build(2, 0);
    slot.u32(184, text.len() as u32).put(208, text);
    let (wr, room) = decode(&slot, QpType::Rc);
    assert_eq!(wr, send(inline));
    assert_eq!(bytes(&room), text);

    // Nothing inline is nothing.
    let slot = post_send(2, INLINE, &[]);
    assert_eq!(decode(&slot, QpType::Rc).0, send(Data::Inline(0)));

    // More than the room that the queue pair has.
    let mut slot = post_send(2, INLINE, &[]);
    slot.u32(184, 32 * 16 + 1);
    assert!(decode(&slot, QpType::Rc).0.is_err());

    // What reads cannot be inline: the flag does not count.
    let mut slot = post_send(4, INLINE, &SGES[..2]);
    slot.u64(24, 1).u32(32, 2);
    let (wr, room) = decode(&slot, QpType::Rc);
    assert_eq!(wr.expect("a read").data, Data::Gather(2));
    assert_eq!(room[..2], SGES[..2]);
}

#[test]
fn the_sum_of_the_pieces_counts() {
    // ibv_wr_set_sge_list adds the first piece up as often as there are pieces.
    let mut slot = build(2, 0);
    slot.u32(196, 3).sges(208, &SGES).u32(184, 3 * SGES[0].len);
    let (wr, room) = decode(&slot, QpType::Rc);
    assert_eq!(wr.expect("a send").data, Data::Gather(3));
    assert_eq!(usb4_rxe::rxe::sge::total(&room[..3]), Some(4096 + 17 + 1));
}

#[test]
fn receives() {
    let mut slot = Slot::new(512);
    slot.u64(0, 0xfeed).u32(16, 4114).u32(28, 3).sges(40, &SGES);
    let mut room = [Sge::default(); 4];
    let wr = decode_recv(&slot.0, 3, &mut room).expect("a request");
    assert_eq!((wr.wr_id, wr.sges), (0xfeed, 3));
    assert_eq!(room[..3], SGES);
    // More than the queue allows, more than there is room for, more than the entry holds.
    let bad = Err(BadWr { wr_id: 0xfeed });
    assert_eq!(decode_recv(&slot.0, 2, &mut room), bad);
    assert_eq!(decode_recv(&slot.0, 3, &mut room[..2]), bad);
    assert_eq!(decode_recv(&slot.0[..40 + 47], 3, &mut room), bad);
    slot.u32(28, u32::MAX);
    assert_eq!(decode_recv(&slot.0, u32::MAX, &mut room), bad);
    assert_eq!(
        decode_recv(&slot.0[..39], 3, &mut room),
        Err(BadWr { wr_id: 0 })
    );
}
