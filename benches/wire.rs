// SPDX-License-Identifier: GPL-2.0-only

//! What a packet costs on the wire side: ICRC against the bare CRC, and the headers alone.
//!
//! The payload is 4 KiB. "headers" numbers contain no payload work; the head's share of the ICRC
//! is shown on its own.

#![allow(missing_docs)] // criterion_group! writes a public function.

use core::hint::black_box;
use criterion::{criterion_group, criterion_main, Criterion, Throughput};
use usb4_rxe::host::HostCrc32;
use usb4_rxe::rxe::icrc::{Crc32, Icrc, IpVersion};
use usb4_rxe::rxe::psn::{Msn, Psn};
use usb4_rxe::rxe::qpn::Qpn;
use usb4_rxe::rxe::wire::packet::{MAX_PACKET, MAX_PAYLOAD};
use usb4_rxe::rxe::wire::*;

/// A packet as our device sends it.
fn repr(body: Body) -> PacketRepr {
    PacketRepr {
        ethernet: Ethernet {
            dst: MacAddr([2, 0, 0, 0, 0, 2]),
            src: MacAddr([2, 0, 0, 0, 0, 1]),
        },
        ip: Ip::V4(Ipv4 {
            src: [192, 168, 7, 1],
            dst: [192, 168, 7, 2],
            tos: 0,
            ttl: 64,
            ident: 0,
            dont_fragment: true,
        }),
        udp: Udp { src_port: 0xc123 },
        bth: Bth::new(Qpn::new(0x11), Psn::new(0x123456)),
        body,
    }
}

fn write_only() -> PacketRepr {
    repr(Body::Rc(Rc::Write(Write::Only(
        Reth {
            va: 0x7f00_1234_5000,
            rkey: 0x1234,
            len: 4096,
        },
        None,
    ))))
}

fn ack() -> PacketRepr {
    repr(Body::Rc(Rc::Ack(Aeth {
        syndrome: Syndrome::ACK,
        msn: Msn::new(7),
    })))
}

/// A CRC that costs nothing: what remains is our own work.
struct NoCrc;

impl Crc32 for NoCrc {
    fn update(state: u32, bytes: &[u8]) -> u32 {
        state ^ bytes.first().copied().map_or(0, u32::from)
    }
}

fn icrc(c: &mut Criterion) {
    let mut group = c.benchmark_group("icrc");
    let mut packet = [0u8; MAX_PACKET];
    let payload = [0x5a; MAX_PAYLOAD];
    let len = write_only()
        .emit::<HostCrc32>(&[&payload], &mut packet)
        .expect("fits");
    let header_len = write_only().header_len();
    let covered = &packet[14..len - 4];
    let (head, body) = covered.split_at(header_len - 14);

    group.throughput(Throughput::Bytes(covered.len() as u64));
    group.bench_function("crc32fast over the same bytes", |b| {
        b.iter(|| HostCrc32::update(black_box(0xdebb_20e3), black_box(covered)));
    });
    group.bench_function("crc32fast over head and payload", |b| {
        b.iter(|| {
            let state = HostCrc32::update(black_box(0xdebb_20e3), black_box(head));
            HostCrc32::update(state, black_box(body))
        });
    });
    group.bench_function("icrc of a 4 KiB packet", |b| {
        b.iter(|| {
            Icrc::<HostCrc32>::start(IpVersion::V4, black_box(covered), head.len())
                .map(|icrc| icrc.update(black_box(body)).finish())
        });
    });
    group.bench_function("icrc of a 4 KiB packet in one piece", |b| {
        b.iter(|| Icrc::<HostCrc32>::of(IpVersion::V4, black_box(covered)));
    });
    let mut to = [0u8; MAX_PAYLOAD];
    group.bench_function("icrc fused with the copy", |b| {
        b.iter(|| {
            Icrc::<HostCrc32>::start(IpVersion::V4, black_box(covered), head.len())
                .and_then(|icrc| icrc.copy(black_box(body), black_box(&mut to)))
                .map(Icrc::finish)
        });
    });
    group.bench_function("icrc of the head", |b| {
        b.iter(|| {
            Icrc::<HostCrc32>::start(IpVersion::V4, black_box(covered), head.len())
                .map(Icrc::finish)
        });
    });
    group.finish();
}

fn headers(c: &mut Criterion) {
    let mut group = c.benchmark_group("headers");
    let payload = [0x5a; MAX_PAYLOAD];
    for (name, repr, payload) in [
        ("write only 4 KiB", write_only(), &payload[..]),
        ("ack", ack(), &[]),
    ] {
        let mut packet = [0u8; MAX_PACKET];
        let len = repr
            .emit::<HostCrc32>(&[payload], &mut packet)
            .expect("fits");
        let frame = &packet[..len];
        let mut room = [0u8; MAX_PACKET];
        group.bench_function(format!("build {name}"), |b| {
            b.iter(|| {
                black_box(&repr)
                    .emit_headers::<NoCrc>(payload.len(), black_box(&mut room))
                    .map(|started| started.header_len())
            });
        });
        group.bench_function(format!("build {name}, with the head's ICRC"), |b| {
            b.iter(|| {
                black_box(&repr)
                    .emit_headers::<HostCrc32>(payload.len(), black_box(&mut room))
                    .map(|started| started.header_len())
            });
        });
        group.bench_function(format!("parse {name}"), |b| {
            // All fields are made, in place, as for a handler that takes a reference.
            b.iter(|| {
                let headers = Headers::parse(black_box(frame));
                black_box(&headers);
            });
        });
        group.bench_function(format!("parse {name}, with the head's ICRC"), |b| {
            b.iter(|| {
                let frame = black_box(frame);
                let headers = Headers::parse(frame);
                match black_box(&headers) {
                    Ok(headers) => headers.start::<HostCrc32>(frame).ok(),
                    Err(_) => None,
                }
            });
        });
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .warm_up_time(core::time::Duration::from_millis(300))
        .measurement_time(core::time::Duration::from_secs(1));
    targets = icrc, headers
}
criterion_main!(benches);
