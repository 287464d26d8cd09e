// SPDX-License-Identifier: GPL-2.0-only

//! Seeded random worlds: any rails, any traffic, anything may happen to a cable at any time.

use std::ops::Range;
use std::panic::{catch_unwind, resume_unwind};

use usb4_rxe::rxe::time::Nanos;

use crate::cable::{Fault, Model};
use crate::engines::Engines;
use crate::rng::Rng;
use crate::world::{Traffic, World};

fn models(rng: &mut Rng) -> Vec<Model> {
    let count = rng.pick(&[1usize, 2, 2, 3, 4, 8]);
    let ring = rng.pick(&[128, 256, 1024]);
    let loss_ppb = rng.pick(&[0, 10_000, 1_000_000, 10_000_000]);
    (0..count)
        .map(|_| Model {
            frame_ns: 2_730 * rng.pick(&[1, 1, 2, 4]),
            latency_ns: rng.pick(&[1_000, 10_000, 10_000, 200_000]),
            loss_ppb,
            burst: rng.pick(&[1, 1, 5, 30]),
            ring,
        })
        .collect()
}

fn run(seed: u64, with_engine: bool) {
    let mut rng = Rng::new(seed);
    let models = models(&mut rng);
    let traffic = Traffic {
        flows: rng.pick(&[1, 1, 4]),
        both_ways: rng.chance(500),
        message: rng.pick(&[1, 16, 256]),
        messages: 2 + rng.below(4) as u32,
        window: rng.pick(&[64, 512, 2048]),
    };
    let none = Traffic {
        flows: 0,
        ..traffic
    };
    let traffic = if with_engine { none } else { traffic };
    let mut world = World::new(&models, traffic, seed);
    if with_engine {
        let queue_pairs = rng.pick(&[1, 3]);
        world.engines = Some(Engines::new(queue_pairs, 2));
    }
    world.kick();
    let mut swallowed = false;
    for _ in 0..rng.below(12) {
        world.run_until(world.now.after(Nanos::from_micros(rng.below(2_000))));
        let number = rng.below(models.len() as u64) as usize;
        match rng.below(5) {
            0 => world.pull(number),
            1 | 2 => world.rail_up(number),
            3 => {
                world.set_fault(rng.below(2) as usize, number, Fault::Swallow);
                swallowed = true;
            }
            _ => world.set_fault(rng.below(2) as usize, number, Fault::Stall),
        }
        let _ = world.send_ethernet(rng.below(2) as usize, 60 + rng.below(8_940) as usize);
    }
    // In the end all is well, and all that was lost is found without a timer of the flows.
    for (number, model) in models.iter().enumerate() {
        world.rail_up(number);
        for end in 0..2 {
            world.cables[end][number].model = Model {
                loss_ppb: 0,
                ..*model
            };
        }
    }
    world.kick();
    world.finish(Nanos::from_millis(1_000));
    if let Some(engines) = &world.engines {
        engines.check();
    }
    world.rest();
    if !swallowed && models.iter().all(|model| model.burst < 5) {
        assert_eq!(world.misbound(), 0, "payload bound to its header");
    }
}

fn run_all(seeds: Range<u64>, with_engine: bool) {
    for seed in seeds {
        if let Err(panic) = catch_unwind(|| run(seed, with_engine)) {
            eprintln!("seed {seed}");
            resume_unwind(panic);
        }
    }
}

#[test]
fn random_worlds() {
    run_all(0..300, false);
}

#[test]
fn random_worlds_with_the_engine() {
    run_all(0..60, true);
}
