// SPDX-License-Identifier: GPL-2.0-only

//! Packets to test with: one of every opcode, and arbitrary ones.

use proptest::prelude::*;
use usb4_rxe::rxe::opcode::{Opcode, PayloadRule};
use usb4_rxe::rxe::psn::{Msn, Psn};
use usb4_rxe::rxe::qpn::Qpn;
use usb4_rxe::rxe::time::RnrTimer;
use usb4_rxe::rxe::wire::packet::MAX_PAYLOAD;
use usb4_rxe::rxe::wire::*;

/// The raw material of a body.
#[derive(Clone, Copy, Debug)]
pub struct Fields {
    pub reth: Reth,
    pub aeth: Aeth,
    pub atomic: AtomicEth,
    pub ack: AtomicAckEth,
    pub imm: Imm,
    pub ieth: Ieth,
    pub feth: Feth,
    pub deth: Deth,
    pub data: AtomicWriteData,
}

/// The body of `opcode`, made from `f`. Written out apart from the library's own tables.
pub fn body(opcode: Opcode, f: &Fields) -> Body {
    use Opcode as O;
    let (reth, aeth, imm) = (f.reth, f.aeth, f.imm);
    let rc = Body::Rc;
    let uc = Body::Uc;
    match opcode {
        O::RcSendFirst => rc(Rc::Send(Send::First)),
        O::RcSendMiddle => rc(Rc::Send(Send::Middle)),
        O::RcSendLast => rc(Rc::Send(Send::Last(RcTail::Plain))),
        O::RcSendLastImm => rc(Rc::Send(Send::Last(RcTail::Imm(imm)))),
        O::RcSendOnly => rc(Rc::Send(Send::Only(RcTail::Plain))),
        O::RcSendOnlyImm => rc(Rc::Send(Send::Only(RcTail::Imm(imm)))),
        O::RcSendLastInv => rc(Rc::Send(Send::Last(RcTail::Invalidate(f.ieth)))),
        O::RcSendOnlyInv => rc(Rc::Send(Send::Only(RcTail::Invalidate(f.ieth)))),
        O::RcWriteFirst => rc(Rc::Write(Write::First(reth))),
        O::RcWriteMiddle => rc(Rc::Write(Write::Middle)),
        O::RcWriteLast => rc(Rc::Write(Write::Last(None))),
        O::RcWriteLastImm => rc(Rc::Write(Write::Last(Some(imm)))),
        O::RcWriteOnly => rc(Rc::Write(Write::Only(reth, None))),
        O::RcWriteOnlyImm => rc(Rc::Write(Write::Only(reth, Some(imm)))),
        O::RcReadRequest => rc(Rc::ReadRequest(reth)),
        O::RcReadResponseFirst => rc(Rc::ReadResponse(ReadResponse::First(aeth))),
        O::RcReadResponseMiddle => rc(Rc::ReadResponse(ReadResponse::Middle)),
        O::RcReadResponseLast => rc(Rc::ReadResponse(ReadResponse::Last(aeth))),
        O::RcReadResponseOnly => rc(Rc::ReadResponse(ReadResponse::Only(aeth))),
        O::RcAck => rc(Rc::Ack(aeth)),
        O::RcAtomicAck => rc(Rc::AtomicAck(aeth, f.ack)),
        O::RcCompareSwap => rc(Rc::CompareSwap(f.atomic)),
        O::RcFetchAdd => rc(Rc::FetchAdd(f.atomic)),
        O::RcFlush => rc(Rc::Flush(f.feth, reth)),
        O::RcAtomicWrite => rc(Rc::AtomicWrite(reth, f.data)),
        O::UcSendFirst => uc(Uc::Send(Send::First)),
        O::UcSendMiddle => uc(Uc::Send(Send::Middle)),
        O::UcSendLast => uc(Uc::Send(Send::Last(None))),
        O::UcSendLastImm => uc(Uc::Send(Send::Last(Some(imm)))),
        O::UcSendOnly => uc(Uc::Send(Send::Only(None))),
        O::UcSendOnlyImm => uc(Uc::Send(Send::Only(Some(imm)))),
        O::UcWriteFirst => uc(Uc::Write(Write::First(reth))),
        O::UcWriteMiddle => uc(Uc::Write(Write::Middle)),
        O::UcWriteLast => uc(Uc::Write(Write::Last(None))),
        O::UcWriteLastImm => uc(Uc::Write(Write::Last(Some(imm)))),
        O::UcWriteOnly => uc(Uc::Write(Write::Only(reth, None))),
        O::UcWriteOnlyImm => uc(Uc::Write(Write::Only(reth, Some(imm)))),
        O::UdSendOnly => Body::Ud(Ud {
            deth: f.deth,
            imm: None,
        }),
        O::UdSendOnlyImm => Body::Ud(Ud {
            deth: f.deth,
            imm: Some(imm),
        }),
    }
}

fn fields() -> impl Strategy<Value = Fields> {
    let syndrome = prop_oneof![
        (0u8..32).prop_map(|c| Syndrome::Ack(Credits::from_bits(c))),
        (0u8..32).prop_map(|c| Syndrome::RnrNak(RnrTimer::from_bits(c))),
        prop_oneof![
            Just(Nak::PsnSequence),
            Just(Nak::InvalidRequest),
            Just(Nak::RemoteAccess),
            Just(Nak::RemoteOperational),
        ]
        .prop_map(Syndrome::Nak),
    ];
    let selectivity = prop_oneof![Just(Selectivity::Range), Just(Selectivity::Region)];
    (
        any::<(u64, u32, u32, u64, u64, u64)>(),
        (syndrome, any::<u32>()),
        any::<([u8; 4], u32, u32, u32, [u8; 8])>(),
        (any::<bool>(), any::<bool>(), selectivity),
    )
        .prop_map(
            |(
                (va, rkey, len, swap_add, compare, original),
                (syndrome, msn),
                (imm, inv, qkey, src_qp, data),
                (global, persistent, selectivity),
            )| Fields {
                reth: Reth { va, rkey, len },
                aeth: Aeth {
                    syndrome,
                    msn: Msn::new(msn),
                },
                atomic: AtomicEth {
                    va,
                    rkey,
                    swap_add,
                    compare,
                },
                ack: AtomicAckEth { original },
                imm: Imm(imm),
                ieth: Ieth { rkey: inv },
                feth: Feth {
                    global,
                    persistent,
                    selectivity,
                },
                deth: Deth {
                    qkey,
                    src_qp: Qpn::new(src_qp),
                },
                data: AtomicWriteData(data),
            },
        )
}

fn ip() -> impl Strategy<Value = Ip> {
    let v4 = any::<([u8; 4], [u8; 4], u8, u8, u16, bool)>().prop_map(
        |(src, dst, tos, ttl, ident, dont_fragment)| {
            Ip::V4(Ipv4 {
                src,
                dst,
                tos,
                ttl,
                ident,
                dont_fragment,
            })
        },
    );
    let v6 = any::<([u8; 16], [u8; 16], u8, u32, u8)>().prop_map(
        |(src, dst, traffic_class, flow_label, hop_limit)| {
            Ip::V6(Ipv6 {
                src,
                dst,
                traffic_class,
                flow_label: FlowLabel::new(flow_label),
                hop_limit,
            })
        },
    );
    prop_oneof![v4, v6]
}

fn bth() -> impl Strategy<Value = Bth> {
    any::<(bool, bool, u16, bool, bool, u32, bool, u32)>().prop_map(
        |(solicited, migrated, pkey, fecn, becn, dst_qp, ack_request, psn)| Bth {
            solicited,
            migrated,
            pkey,
            fecn,
            becn,
            dst_qp: Qpn::new(dst_qp),
            ack_request,
            psn: Psn::new(psn),
        },
    )
}

/// Any packet of `opcode` over either IP.
pub fn packet_of(opcode: Opcode) -> impl Strategy<Value = (PacketRepr, Vec<u8>)> {
    let payload = match opcode.facts().payload {
        PayloadRule::None => proptest::collection::vec(any::<u8>(), 0..=0).boxed(),
        _ => prop_oneof![
            proptest::collection::vec(any::<u8>(), 0..=16),
            proptest::collection::vec(any::<u8>(), 0..=600),
            (any::<u8>(), 0..=MAX_PAYLOAD).prop_map(|(byte, len)| vec![byte; len]),
        ]
        .boxed(),
    };
    (
        any::<([u8; 6], [u8; 6], u16)>(),
        ip(),
        bth(),
        fields(),
        payload,
    )
        .prop_map(move |((dst, src, src_port), ip, bth, fields, payload)| {
            let repr = PacketRepr {
                ethernet: Ethernet {
                    dst: MacAddr(dst),
                    src: MacAddr(src),
                },
                ip,
                udp: Udp { src_port },
                bth,
                body: body(opcode, &fields),
            };
            (repr, payload)
        })
}

/// Any packet.
pub fn packet() -> impl Strategy<Value = (PacketRepr, Vec<u8>)> {
    proptest::sample::select(Opcode::all().collect::<Vec<_>>()).prop_flat_map(packet_of)
}

/// One packet of every opcode over both versions of IP, with telling values.
pub fn one_of_each() -> Vec<(PacketRepr, Vec<u8>)> {
    let fields = Fields {
        reth: Reth {
            va: 0x1122_3344_5566_7788,
            rkey: 0x99aa_bbcc,
            len: 0x0001_0002,
        },
        aeth: Aeth {
            syndrome: Syndrome::RnrNak(RnrTimer::from_bits(12)),
            msn: Msn::new(0x00ab_cdef),
        },
        atomic: AtomicEth {
            va: 0x0102_0304_0506_0708,
            rkey: 0x1112_1314,
            swap_add: 0x2122_2324_2526_2728,
            compare: 0x3132_3334_3536_3738,
        },
        ack: AtomicAckEth {
            original: 0x4142_4344_4546_4748,
        },
        imm: Imm([0xde, 0xad, 0xbe, 0xef]),
        ieth: Ieth { rkey: 0x5152_5354 },
        feth: Feth {
            global: true,
            persistent: true,
            // tshark 4.4 reads the selectivity one bit lower than upstream rxe writes it (see
            // `wire::feth`); zero is the same for both.
            selectivity: Selectivity::Range,
        },
        deth: Deth {
            qkey: 0x6162_6364,
            src_qp: Qpn::new(0x0071_7273),
        },
        data: AtomicWriteData([1, 2, 3, 4, 5, 6, 7, 8]),
    };
    let mut v6_src = [0; 16];
    let mut v6_dst = [0; 16];
    v6_src[..2].copy_from_slice(&[0xfe, 0x80]);
    v6_dst[..2].copy_from_slice(&[0xfe, 0x80]);
    v6_src[15] = 1;
    v6_dst[15] = 2;
    let ips = [
        Ip::V4(Ipv4 {
            src: [10, 1, 2, 3],
            dst: [10, 1, 2, 4],
            tos: 0x6a,
            ttl: 63,
            ident: 0xabcd,
            dont_fragment: true,
        }),
        Ip::V6(Ipv6 {
            src: v6_src,
            dst: v6_dst,
            traffic_class: 0x6a,
            flow_label: FlowLabel::new(0x000a_bcde),
            hop_limit: 62,
        }),
    ];
    let mut packets = Vec::new();
    for ip in ips {
        for (opcode, psn_step) in Opcode::all().zip(1..) {
            let number = packets.len();
            let facts = opcode.facts();
            let payload_len = match facts.payload {
                PayloadRule::None => 0,
                PayloadRule::FullMtu => 256,
                // Every pad count comes along.
                PayloadRule::Tail | PayloadRule::Any => 9 + number % 4,
            };
            let payload = (0u8..=255)
                .cycle()
                .step_by(7)
                .skip(number)
                .take(payload_len)
                .collect();
            let mut bth = Bth::new(Qpn::new(0x0012_3456), Psn::ZERO.wrapping_sub(psn_step));
            bth.solicited = facts.receive.completes();
            bth.ack_request = facts.position.ends();
            packets.push((
                PacketRepr {
                    ethernet: Ethernet {
                        dst: MacAddr([2, 0, 0, 0, 0, 2]),
                        src: MacAddr([2, 0, 0, 0, 0, 1]),
                    },
                    ip,
                    udp: Udp { src_port: 0xd00d },
                    bth,
                    body: body(opcode, &fields),
                },
                payload,
            ));
        }
    }
    packets
}
