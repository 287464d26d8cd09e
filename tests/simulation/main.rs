// SPDX-License-Identifier: GPL-2.0-only

//! Deterministic simulation: two hosts, random work, every fault a link can have, one seed.
//!
//! ```text
//!   cargo test --test simulation                        the ordinary run: 100000 short scenarios
//!   SIM_SCENARIOS=5000000 cargo test --test simulation  a longer one
//!   SIM_SEED=17 cargo test --test simulation one        one scenario again; SIM_TRACE=1 shows
//!                                                       its frames (with -- --nocapture)
//! ```
//!
//! A failure prints the seed and the smallest size at which it still fails.

#![allow(clippy::cast_possible_truncation)] // test data is small

#[path = "../support/host.rs"]
mod host;
#[path = "../support/pair.rs"]
mod pair;

mod directed;
mod grid;
mod link;
mod oracle;
mod paging;
mod recovery;
mod rng;
mod scenario;
mod world;

use std::panic::{catch_unwind, AssertUnwindSafe};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use scenario::Size;

/// Virtual time a scenario may take: far more than all retries together.
const LIMIT: u64 = 4_000_000_000;

/// Events a scenario may take.
const STEPS: u64 = 400_000;

/// Runs one scenario; returns frames sent.
fn run(seed: u64, size: Size) -> Result<u64, String> {
    let mut scenario = scenario::build(seed, size);
    scenario.world.trace = std::env::var_os("SIM_TRACE").is_some();
    let start: Vec<Vec<u8>> = scenario
        .flows
        .iter()
        .map(|flow| {
            let host = &scenario.world.hosts[1 - flow.from];
            host.objects.bytes(flow.target).to_vec()
        })
        .collect();
    let mut steps = 0;
    while !oracle::finished(&scenario) {
        steps += 1;
        if steps > STEPS || !scenario.world.step(LIMIT) {
            return Err(format!(
                "no progress at {} ns after {steps} steps ({}); {}",
                scenario.world.now,
                scenario.summary,
                oracle::unfinished(&scenario)
            ));
        }
    }
    // What comes late must change nothing.
    let quiet = scenario.world.now + 300_000;
    while steps < STEPS && scenario.world.step(quiet) {
        steps += 1;
    }
    oracle::judge(&scenario, &start).map_err(|what| format!("{what} ({})", scenario.summary))?;
    Ok(scenario.world.frames)
}

/// Runs one scenario, panics and all.
fn guarded(seed: u64, size: Size) -> Result<u64, String> {
    catch_unwind(AssertUnwindSafe(|| run(seed, size))).unwrap_or_else(|panic| {
        let what = panic
            .downcast_ref::<String>()
            .cloned()
            .or_else(|| panic.downcast_ref::<&str>().map(|s| (*s).to_string()))
            .unwrap_or_default();
        Err(format!("panic: {what}"))
    })
}

/// Fails the test with the smallest size that still fails.
fn report(seed: u64, size: Size, what: &str) -> ! {
    let mut smallest = (size, what.to_string());
    for smaller in 1..size.0 {
        if let Err(what) = guarded(seed, Size(smaller)) {
            smallest = (Size(smaller), what);
            break;
        }
    }
    let (Size(size), what) = smallest;
    panic!(
        "seed {seed}, size {size}: {what}\n\
         again: SIM_SEED={seed} SIM_SIZE={size} cargo test --test simulation one -- --nocapture"
    );
}

fn variable(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

#[test]
fn many_short_scenarios() {
    let count = variable("SIM_SCENARIOS").unwrap_or(100_000);
    let first = variable("SIM_FIRST").unwrap_or(0);
    let size = Size(variable("SIM_SIZE").unwrap_or(6));
    let next = AtomicU64::new(first);
    let stop = AtomicBool::new(false);
    let frames = AtomicU64::new(0);
    let failed = std::sync::Mutex::new(None);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= first + count {
                        return;
                    }
                    match guarded(seed, size) {
                        Ok(n) => {
                            frames.fetch_add(n, Ordering::Relaxed);
                        }
                        Err(what) => {
                            stop.store(true, Ordering::Relaxed);
                            *failed.lock().expect("no panic inside") = Some((seed, what));
                        }
                    }
                }
            });
        }
    });
    if let Some((seed, what)) = failed.into_inner().expect("no panic inside") {
        report(seed, size, &what);
    }
    let frames = frames.into_inner();
    println!("{count} scenarios, {frames} frames");
    assert!(frames > count, "scenarios must do something");
}

#[test]
fn some_longer_scenarios() {
    let count = variable("SIM_LONG").unwrap_or(500);
    for seed in 0..count {
        let size = Size(60);
        if let Err(what) = guarded(1_000_000_000 + seed, size) {
            report(1_000_000_000 + seed, size, &what);
        }
    }
}

/// The scenario named in the environment, or the first one.
#[test]
fn one() {
    let seed = variable("SIM_SEED").unwrap_or(0);
    let size = Size(variable("SIM_SIZE").unwrap_or(6));
    println!("{}", scenario::build(seed, size).summary);
    if let Err(what) = run(seed, size) {
        panic!("seed {seed}: {what}");
    }
}
