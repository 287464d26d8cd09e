// SPDX-License-Identifier: GPL-2.0-only

//! What a packet costs in the rails: into frames, and out of them again.
//!
//! Headers are copied as the engine would write them; payload is not touched, here as in the kernel.

#![allow(missing_docs)] // criterion_group! writes a public function.
#![allow(clippy::cast_possible_truncation)] // test data is small

#[path = "../tests/support/rails.rs"]
mod rails;

use core::hint::black_box;
use criterion::{criterion_group, criterion_main, Criterion, Throughput};
use rails::{Rails, BATCH, HEAD};

fn bulk(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("rail");
    group.throughput(Throughput::Elements(BATCH as u64));
    let mut rails = Rails::new();
    group.bench_function(
        "frame and deframe packets of 4 KiB (elements: packets)",
        |bench| {
            bench.iter(|| rails.batch(black_box(&[7; HEAD])));
        },
    );
    group.throughput(Throughput::Elements(1));
    group.bench_function("frame and deframe a write of 64 bytes", |bench| {
        bench.iter(|| rails.small(black_box(&[7; 142])));
    });
    group.finish();
}

criterion_group!(benches, bulk);
criterion_main!(benches);
