// SPDX-License-Identifier: GPL-2.0-only

//! Kernel users' requests: what we write we read.

use proptest::prelude::*;

use usb4_rxe::rxe::access::Rights;
use usb4_rxe::rxe::qp::QpType;
use usb4_rxe::rxe::qpn::Qpn;
use usb4_rxe::rxe::user_abi::{
    decode_recv, decode_send, encode_recv, encode_send, AhRef, Posted, PostedData, PostedOp,
    Poster, TooLong, SEND_WQE_BYTES,
};
use usb4_rxe::rxe::wire::Imm;
use usb4_rxe::rxe::wqe::{Data, Datagram, RegMr, Remote, SendOp, SendTail, SendWr, Sge};

use crate::user_abi_check::{blank, some_path};

fn imm() -> impl Strategy<Value = Imm> {
    any::<[u8; 4]>().prop_map(Imm)
}

fn remote() -> impl Strategy<Value = Remote> {
    any::<(u64, u32)>().prop_map(|(va, rkey)| Remote { va, rkey })
}

/// An operation, and what the engine has to see.
fn operation() -> impl Strategy<Value = (QpType, PostedOp, SendOp)> {
    let rc = QpType::Rc;
    prop_oneof![
        prop_oneof![
            Just(SendTail::Plain),
            imm().prop_map(SendTail::Imm),
            any::<u32>().prop_map(SendTail::Invalidate),
        ]
        .prop_map(move |tail| (rc, PostedOp::Send(tail), SendOp::Send(tail))),
        (remote(), prop::option::of(imm())).prop_map(move |(remote, imm)| {
            let posted = PostedOp::Write { remote, imm };
            (rc, posted, SendOp::Write { remote, imm })
        }),
        remote().prop_map(move |remote| (rc, PostedOp::Read(remote), SendOp::Read(remote))),
        (remote(), any::<u64>(), any::<u64>()).prop_map(move |(remote, compare, swap)| {
            let posted = PostedOp::CompareSwap {
                remote,
                compare,
                swap,
            };
            let op = SendOp::CompareSwap {
                remote,
                compare,
                swap,
            };
            (rc, posted, op)
        }),
        (remote(), any::<u64>()).prop_map(move |(remote, add)| {
            let posted = PostedOp::FetchAdd { remote, add };
            (rc, posted, SendOp::FetchAdd { remote, add })
        }),
        any::<u32>().prop_map(move |key| {
            let posted = PostedOp::LocalInvalidate(key);
            (rc, posted, SendOp::LocalInvalidate(key))
        }),
        any::<(u32, u32, u64, u64, u32)>().prop_map(move |(mr_lkey, key, iova, len, rights)| {
            let wr = RegMr {
                mr_lkey,
                key,
                iova,
                len,
                rights: Rights::from_bits(rights),
            };
            (rc, PostedOp::RegMr(wr), SendOp::RegMr(wr))
        }),
        (any::<bool>(), any::<(u32, u32)>(), prop::option::of(imm())).prop_map(
            |(gsi, (qpn, qkey), imm)| {
                let qpn = Qpn::new(qpn);
                let ah = AhRef(77);
                let posted = PostedOp::Datagram { ah, qpn, qkey, imm };
                let op = SendOp::Datagram(Datagram {
                    path: some_path(),
                    qpn,
                    qkey,
                    imm,
                });
                let qp_type = if gsi { QpType::Gsi } else { QpType::Ud };
                (qp_type, posted, op)
            }
        ),
    ]
}

fn sges() -> impl Strategy<Value = Vec<Sge>> {
    let sge = (any::<u64>(), 0..1u32 << 20, any::<u32>()).prop_map(|(addr, len, lkey)| Sge {
        addr,
        len,
        lkey,
    });
    prop::collection::vec(sge, 0..=32)
}

fn takes_pieces(op: &SendOp) -> bool {
    !op.is_local()
}

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn sends((qp_type, posted, op) in operation(), sges in sges(), flags in any::<[bool; 3]>(), wr_id: u64) {
        let [signaled, solicited, fence] = flags;
        let posted = Posted { wr_id, signaled, solicited, fence, op: posted, data: PostedData::Gather(&sges) };
        let mut entry = vec![0xee; SEND_WQE_BYTES + 16 * sges.len()];
        encode_send(&posted, &mut entry).expect("it fits");
        let mut wr = blank();
        let mut room = [Sge::default(); 32];
        let path = |ah| (ah == AhRef(77)).then(some_path);
        decode_send(&entry, Poster::Kernel, qp_type, &mut room, path, &mut wr).expect("ours");
        let count = if takes_pieces(&op) { sges.len() } else { 0 };
        prop_assert_eq!(
            wr,
            SendWr { wr_id, signaled, solicited, fence, op, data: Data::Gather(count as u8) }
        );
        prop_assert_eq!(&room[..count], &sges[..count]);
        // One byte less, and the last piece has no place.
        if !sges.is_empty() {
            let short = entry.len() - 1;
            prop_assert_eq!(encode_send(&posted, &mut entry[..short]), Err(TooLong));
        }
    }

    #[test]
    fn inline(text in prop::collection::vec(any::<u8>(), 0..=512)) {
        let posted = Posted {
            wr_id: 1,
            signaled: true,
            solicited: false,
            fence: false,
            op: PostedOp::Send(SendTail::Plain),
            data: PostedData::Inline(text.len() as u32),
        };
        let mut entry = vec![0; SEND_WQE_BYTES + text.len()];
        encode_send(&posted, &mut entry).expect("it fits");
        entry[SEND_WQE_BYTES..].copy_from_slice(&text);
        let mut wr = blank();
        let mut room = [Sge::default(); 32];
        decode_send(&entry, Poster::Kernel, QpType::Rc, &mut room, |_| None, &mut wr).expect("ours");
        prop_assert_eq!(wr.data, Data::Inline(text.len() as u16));
        prop_assert_eq!(&zerocopy::IntoBytes::as_bytes(&room[..])[..text.len()], &text[..]);
    }

    #[test]
    fn receives(sges in sges(), wr_id: u64) {
        let mut entry = vec![0xee; 40 + 16 * 32];
        encode_recv(wr_id, &sges, &mut entry).expect("it fits");
        let mut room = [Sge::default(); 32];
        let wr = decode_recv(&entry, 32, &mut room).expect("ours");
        prop_assert_eq!((wr.wr_id, usize::from(wr.sges)), (wr_id, sges.len()));
        prop_assert_eq!(&room[..sges.len()], &sges[..]);
    }
}

#[test]
fn lists_too_long_to_count_are_refused() {
    let huge = [Sge {
        len: u32::MAX,
        ..Sge::default()
    }; 2];
    let mut entry = [0; 512];
    assert_eq!(encode_recv(0, &huge, &mut entry), Err(TooLong));
    assert_eq!(
        encode_recv(0, &[Sge::default(); 256], &mut vec![0; 8192]),
        Err(TooLong)
    );
}
