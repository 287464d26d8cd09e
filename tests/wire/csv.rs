// SPDX-License-Identifier: GPL-2.0-only

//! Writes a parsed packet as the line tshark writes for it, see `tests/goldens/decode.sh`.

use std::net::{Ipv4Addr, Ipv6Addr};
use usb4_rxe::rxe::wire::*;

/// One line of the table, without line end.
pub fn line(number: usize, frame_len: usize, headers: &Headers, icrc: [u8; 4]) -> String {
    let repr = &headers.repr;
    let mut fields = vec![number.to_string(), frame_len.to_string()];
    match &repr.ip {
        Ip::V4(v4) => fields.extend([
            Ipv4Addr::from(v4.src).to_string(),
            Ipv4Addr::from(v4.dst).to_string(),
            format!("{:#06x}", v4.ident),
            v4.ttl.to_string(),
            format!("{:#04x}", v4.tos),
        ]),
        Ip::V6(_) => fields.extend(blanks(5)),
    }
    match &repr.ip {
        Ip::V4(_) => fields.extend(blanks(5)),
        Ip::V6(v6) => fields.extend([
            Ipv6Addr::from(v6.src).to_string(),
            Ipv6Addr::from(v6.dst).to_string(),
            format!("{:#010x}", v6.traffic_class),
            format!("{:#08x}", v6.flow_label.get()),
            v6.hop_limit.to_string(),
        ]),
    }
    let truth = |value: bool| if value { "True" } else { "False" }.to_string();
    fields.extend([
        repr.udp.src_port.to_string(),
        headers.opcode().code().to_string(),
        truth(repr.bth.solicited),
        truth(repr.bth.migrated),
        headers.pad_len().to_string(),
        repr.bth.pkey.to_string(),
        format!("{:#08x}", repr.bth.dst_qp.get()),
        truth(repr.bth.ack_request),
        repr.bth.psn.get().to_string(),
    ]);
    fields.extend(extension_fields(&repr.body));
    fields.push(format!("{:#010x}", u32::from_be_bytes(icrc)));
    fields.join(",")
}

fn blanks(count: usize) -> Vec<String> {
    vec![String::new(); count]
}

/// The extension headers of a packet, in no order.
#[derive(Default)]
struct Extensions {
    reth: Option<Reth>,
    aeth: Option<Aeth>,
    deth: Option<Deth>,
    atomic: Option<AtomicEth>,
    ack: Option<AtomicAckEth>,
    imm: Option<Imm>,
    ieth: Option<Ieth>,
    feth: Option<Feth>,
}

impl Extensions {
    fn of(body: &Body) -> Self {
        let none = Self::default();
        let write = |write| match write {
            Write::First(reth) => Self {
                reth: Some(reth),
                ..Self::default()
            },
            Write::Middle => Self::default(),
            Write::Last(imm) => Self {
                imm,
                ..Self::default()
            },
            Write::Only(reth, imm) => Self {
                reth: Some(reth),
                imm,
                ..Self::default()
            },
        };
        match *body {
            Body::Rc(rc) => match rc {
                Rc::Send(Send::First | Send::Middle) => none,
                Rc::Send(Send::Last(tail) | Send::Only(tail)) => match tail {
                    RcTail::Plain => none,
                    RcTail::Imm(imm) => Self {
                        imm: Some(imm),
                        ..none
                    },
                    RcTail::Invalidate(ieth) => Self {
                        ieth: Some(ieth),
                        ..none
                    },
                },
                Rc::Write(w) => write(w),
                Rc::ReadRequest(reth) | Rc::AtomicWrite(reth, _) => Self {
                    reth: Some(reth),
                    ..none
                },
                Rc::ReadResponse(ReadResponse::Middle) => none,
                Rc::ReadResponse(
                    ReadResponse::First(aeth) | ReadResponse::Last(aeth) | ReadResponse::Only(aeth),
                )
                | Rc::Ack(aeth) => Self {
                    aeth: Some(aeth),
                    ..none
                },
                Rc::AtomicAck(aeth, ack) => Self {
                    aeth: Some(aeth),
                    ack: Some(ack),
                    ..none
                },
                Rc::CompareSwap(atomic) | Rc::FetchAdd(atomic) => Self {
                    atomic: Some(atomic),
                    ..none
                },
                Rc::Flush(feth, reth) => Self {
                    feth: Some(feth),
                    reth: Some(reth),
                    ..none
                },
            },
            Body::Uc(Uc::Send(Send::First | Send::Middle)) => none,
            Body::Uc(Uc::Send(Send::Last(imm) | Send::Only(imm))) => Self { imm, ..none },
            Body::Uc(Uc::Write(w)) => write(w),
            Body::Ud(Ud { deth, imm }) => Self {
                deth: Some(deth),
                imm,
                ..none
            },
        }
    }
}

fn extension_fields(body: &Body) -> Vec<String> {
    let e = Extensions::of(body);
    let text = |value: Option<String>| value.unwrap_or_default();
    // tshark shows an AtomicETH's address and key under the names of the RETH.
    let va = e.reth.map(|r| r.va).or(e.atomic.map(|a| a.va));
    let rkey = e.reth.map(|r| r.rkey).or(e.atomic.map(|a| a.rkey));
    vec![
        text(va.map(|va| format!("{va:#018x}"))),
        text(rkey.map(|rkey| format!("{rkey:#010x}"))),
        text(e.reth.map(|r| r.len.to_string())),
        text(e.aeth.map(|a| a.syndrome.code().to_string())),
        text(e.aeth.map(|a| a.msn.get().to_string())),
        text(e.deth.map(|d| format!("{:#018x}", d.qkey))),
        text(e.deth.map(|d| format!("{:#010x}", d.src_qp.get()))),
        text(e.atomic.map(|a| a.swap_add.to_string())),
        text(e.atomic.map(|a| a.compare.to_string())),
        text(e.ack.map(|a| a.original.to_string())),
        text(e.imm.map(|i| format!("{:08x}", u32::from_be_bytes(i.0)))),
        text(e.ieth.map(|i| format!("{:08x}", i.rkey))),
        text(e.feth.map(|f| match f.selectivity {
            Selectivity::Range => "0".into(),
            Selectivity::Region => "1".into(),
        })),
        text(
            e.feth
                .map(|f| (u8::from(f.global) | (u8::from(f.persistent) << 1)).to_string()),
        ),
    ]
}
