// SPDX-License-Identifier: GPL-2.0-only

//! What one 4 KiB RDMA WRITE packet costs the engine, stage by stage, without payload copy and
//! CRC: post and build, parse, respond (with building the ACK), parse the ACK, complete.

#![allow(clippy::cast_possible_truncation)] // test data is small

use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::{criterion_group, criterion_main, Criterion};
use usb4_rxe::rxe::qp::Qp;
use usb4_rxe::rxe::time::Time;
use usb4_rxe::rxe::wire::Headers;

#[path = "../tests/support/lean.rs"]
mod lean;
#[path = "../tests/support/pair.rs"]
mod pair;

use lean::{Lean, Room, BATCH, LEN};

/// The stages of a packet's life.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Request,
    ParseRequest,
    Respond,
    ParseAck,
    Complete,
}

/// How long it takes to parse all frames.
fn parse_all(side: &Lean) -> Duration {
    let start = Instant::now();
    for frame in &side.frames[..side.count] {
        black_box(&Headers::parse(black_box(&frame.head)).expect("good"));
    }
    start.elapsed()
}

struct Track {
    requester: Qp<Room>,
    responder: Qp<Room>,
    a: Lean,
    b: Lean,
    payload: Vec<u8>,
}

impl Track {
    fn new() -> Self {
        let (requester, responder) = lean::pair();
        Self {
            requester,
            responder,
            a: Lean::new(),
            b: Lean::new(),
            payload: vec![0; LEN],
        }
    }

    /// One batch from post to completion; returns the time of `stage`.
    ///
    /// Headers are parsed right before they are used, as in life; what parsing alone takes is
    /// measured in front and subtracted.
    fn batch(&mut self, stage: Stage) -> Duration {
        let now = Time::ZERO;
        self.a.count = 0;
        self.a.posted = BATCH;
        let start = Instant::now();
        self.requester.run(now, BATCH as u32 * 4, &mut self.a);
        let request = start.elapsed();

        let parse_request = parse_all(&self.a);
        self.b.count = 0;
        let start = Instant::now();
        for frame in &self.a.frames[..self.a.count] {
            let headers = Headers::parse(black_box(&frame.head)).expect("good");
            let _ = self
                .responder
                .packet(now, &headers, &self.payload[..], &mut self.b);
            self.responder.run(now, 8, &mut self.b);
        }
        let respond = start.elapsed().saturating_sub(parse_request);

        let parse_ack = parse_all(&self.b);
        let start = Instant::now();
        for frame in &self.b.frames[..self.b.count] {
            let headers = Headers::parse(black_box(&frame.head)).expect("good");
            let _ = self.requester.packet(now, &headers, &[][..], &mut self.a);
        }
        let complete = start.elapsed().saturating_sub(parse_ack);
        match stage {
            Stage::Request => request,
            Stage::ParseRequest => parse_request,
            Stage::Respond => respond,
            Stage::ParseAck => parse_ack,
            Stage::Complete => complete,
        }
    }

    /// One batch, nothing repeated: what a packet costs from post to completion.
    fn whole(&mut self) {
        let now = Time::ZERO;
        self.a.count = 0;
        self.a.posted = BATCH;
        self.requester.run(now, BATCH as u32 * 4, &mut self.a);
        self.b.count = 0;
        for frame in &self.a.frames[..self.a.count] {
            let headers = Headers::parse(black_box(&frame.head)).expect("good");
            let _ = self
                .responder
                .packet(now, &headers, &self.payload[..], &mut self.b);
            self.responder.run(now, 8, &mut self.b);
        }
        for frame in &self.b.frames[..self.b.count] {
            let headers = Headers::parse(black_box(&frame.head)).expect("good");
            let _ = self.requester.packet(now, &headers, &[][..], &mut self.a);
        }
    }
}

fn packet(c: &mut Criterion) {
    let mut group = c.benchmark_group("write_4k");
    let stages = [
        ("1 post and build", Stage::Request),
        ("2 parse", Stage::ParseRequest),
        ("3 respond, build ACK", Stage::Respond),
        ("4 parse ACK", Stage::ParseAck),
        ("5 complete", Stage::Complete),
    ];
    for (name, stage) in stages {
        group.bench_function(name, |b| {
            let mut track = Track::new();
            b.iter_custom(|iterations| {
                let batches = iterations.div_ceil(BATCH as u64);
                let mut total = Duration::ZERO;
                for _ in 0..batches {
                    total += track.batch(stage);
                }
                let done = batches * BATCH as u64;
                assert!(track.a.completed >= done);
                total.mul_f64(iterations as f64 / done as f64)
            });
        });
    }
    group.bench_function("whole", |b| {
        let mut track = Track::new();
        b.iter_custom(|iterations| {
            let batches = iterations.div_ceil(BATCH as u64);
            let start = Instant::now();
            for _ in 0..batches {
                track.whole();
            }
            let total = start.elapsed();
            let done = batches * BATCH as u64;
            assert!(track.a.completed >= done);
            total.mul_f64(iterations as f64 / done as f64)
        });
    });
    group.finish();
}

/// Everything criterion runs.
mod groups {
    #![allow(missing_docs)] // made by the macro
    use super::*;
    criterion_group!(benches, packet);
}

criterion_main!(groups::benches);
