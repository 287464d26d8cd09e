// SPDX-License-Identifier: GPL-2.0-only

//! What a frame costs in the fabric, without machines and sockets: from a posted descriptor in one guest's memory to a
//! completed one in another's.
//!
//! `cargo bench -p vnhi --bench frames`. The best of several rounds counts.

#[allow(dead_code, reason = "the tests use more of it")]
#[path = "../tests/model/driver.rs"]
mod driver;
#[allow(dead_code, reason = "the tests use more of it")]
#[path = "../tests/model/world.rs"]
mod world;

use std::time::{Duration, Instant};

use driver::{pattern, E2E, EOF, SOF};
use vnhi::command::FaultChange;
use world::World;

const FRAMES: u32 = 50_000;
const ROUNDS: u32 = 5;

fn main() {
    println!(
        "{:<34} {:>12} {:>12}",
        "one batch is 32 frames", "ns/frame", "MB/s"
    );
    for length in [64, 4096] {
        measure("plain", &mut World::connected(0, 63), length);
        measure("flow control", &mut World::connected(E2E, 63), length);
        let mut delayed = World::connected(0, 63);
        delayed.fault(FaultChange {
            delay: Some(Duration::from_nanos(1)),
            ..FaultChange::default()
        });
        measure("delayed", &mut delayed, length);
        let mut damaged = World::connected(0, 63);
        damaged.fault(FaultChange {
            corrupt: Some(0.01),
            ..FaultChange::default()
        });
        measure("1 % CRC errors", &mut damaged, length);
    }
}

/// Time of the fabric alone: the guests' own work is not counted.
fn measure(name: &str, world: &mut World, length: usize) {
    let payload = pattern(1, length);
    let mut best = Duration::MAX;
    for _ in 0..ROUNDS {
        let mut taken = Duration::ZERO;
        for _ in 0..FRAMES / 32 {
            for _ in 0..32 {
                world.queue(0, 1, &payload, SOF, EOF);
            }
            let start = Instant::now();
            world.pass(Duration::from_nanos(2));
            taken += start.elapsed();
            assert_eq!(world.receive(1, 1).len(), 32);
            assert_eq!(world.reap(0, 1), 32);
        }
        best = best.min(taken);
    }
    let nanos = best.as_secs_f64() * 1e9 / f64::from(FRAMES / 32 * 32);
    let length = f64::from(u32::try_from(length).unwrap_or(0));
    println!(
        "{:<34} {nanos:>12.0} {:>12.0}",
        format!("{name}, {length} bytes"),
        length * 1e3 / nanos
    );
}
