// SPDX-License-Identifier: GPL-2.0-only

//! Completions as librxe copies them to the application (`struct ibv_wc`), and answers.

use usb4_rxe::rxe::cqe::{Cqe, WcOpcode, WcStatus};
use usb4_rxe::rxe::icrc::IpVersion;
use usb4_rxe::rxe::qpn::Qpn;
use usb4_rxe::rxe::user_abi::{
    create_ah_response, create_qp_response, create_srq_response, encode_wc, map_info, MapInfo, Wc,
};
use usb4_rxe::rxe::wire::Imm;

use crate::user_abi_check::Reader;

const GRH: u32 = 1;
const WITH_IMM: u32 = 2;
const WITH_INVALIDATE: u32 = 4;
const WITH_NETWORK_HDR_TYPE: u32 = 64;

fn received() -> Cqe {
    Cqe {
        byte_len: 77,
        src_qp: Qpn::new(0x123),
        network: IpVersion::V6,
        ..Cqe::new(0xdead_beef_0000_0001, WcOpcode::Receive, WcStatus::Success)
    }
}

#[test]
fn a_message_received() {
    let bytes = encode_wc(&received(), Qpn::new(0x456));
    let read = Reader(&bytes);
    assert_eq!(read.u64(0), 0xdead_beef_0000_0001);
    let expected = [0, 128, 0, 77, 0, 0x456, 0x123, GRH, 0, 0x1_0009];
    for (i, word) in expected.into_iter().enumerate() {
        assert_eq!(read.u32(8 + 4 * i), word, "word {i}");
    }
}

#[test]
fn the_service_level_tells_users_the_network() {
    let sl = |network| {
        let cqe = Cqe {
            network,
            ..received()
        };
        encode_wc(&cqe, Qpn::new(1))[44]
    };
    assert_eq!((sl(IpVersion::V4), sl(IpVersion::V6)), (10, 9));
}

#[test]
fn immediate_data_is_not_swapped() {
    let cqe = Cqe {
        imm: Some(Imm([1, 2, 3, 4])),
        ..received()
    };
    let bytes = encode_wc(&cqe, Qpn::new(1));
    assert_eq!(bytes[24..28], [1, 2, 3, 4]);
    assert_eq!(Reader(&bytes).u32(36), GRH | WITH_IMM);
}

#[test]
fn an_invalidated_key_is_a_number() {
    let cqe = Cqe {
        invalidated: Some(0x0102_0304),
        ..received()
    };
    let bytes = encode_wc(&cqe, Qpn::new(1));
    assert_eq!(Reader(&bytes).u32(24), 0x0102_0304);
    assert_eq!(Reader(&bytes).u32(36), GRH | WITH_INVALIDATE);
}

#[test]
fn a_request_done() {
    let cqe = Cqe {
        byte_len: 8,
        ..Cqe::new(5, WcOpcode::FetchAdd, WcStatus::Success)
    };
    let bytes = encode_wc(&cqe, Qpn::new(0x456));
    let read = Reader(&bytes);
    assert_eq!((read.u32(8), read.u32(12), read.u32(20)), (0, 4, 8));
    assert_eq!(read.u32(36), 0);
    assert_eq!(read.u8(46), 0);
}

#[test]
fn without_success_there_is_a_name_and_a_status() {
    let cqe = Cqe {
        status: WcStatus::Flushed,
        imm: Some(Imm([9; 4])),
        ..received()
    };
    let bytes = encode_wc(&cqe, Qpn::new(0x456));
    let read = Reader(&bytes);
    assert_eq!((read.u64(0), read.u32(8)), (0xdead_beef_0000_0001, 5));
    assert_eq!((read.u32(20), read.u32(24), read.u32(36)), (0, 0, 0));
    assert_eq!(read.u32(28), 0x456);
}

#[test]
fn kernel_users_learn_the_network() {
    for (network, number) in [(IpVersion::V4, 2), (IpVersion::V6, 3)] {
        let wc = Wc::new(&Cqe {
            network,
            ..received()
        });
        assert_eq!((wc.network, wc.port), (number, 1));
        assert_eq!(wc.flags, GRH | WITH_NETWORK_HDR_TYPE);
    }
}

#[test]
fn answers() {
    let info = MapInfo {
        offset: 0x1_0000_2000,
        size: 0x3000,
    };
    let other = MapInfo {
        offset: 0x5000,
        size: 0x1000,
    };
    let mut expected = Vec::new();
    expected.extend(0x1_0000_2000u64.to_ne_bytes());
    expected.extend(0x3000u32.to_ne_bytes());
    expected.extend([0; 4]);
    assert_eq!(map_info(info).to_vec(), expected);

    // The receive queue first.
    let answer = create_qp_response(Some(info), other);
    assert_eq!(answer[..16], expected);
    assert_eq!(answer[16..], map_info(other));
    assert_eq!(create_qp_response(None, other)[..16], [0; 16]);

    let answer = create_srq_response(info, 0x2_0001);
    assert_eq!(answer[..16], expected);
    assert_eq!(Reader(&answer).u32(16), 0x2_0001);
    assert_eq!(Reader(&create_ah_response(9)).u32(0), 9);
}
