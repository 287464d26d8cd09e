// SPDX-License-Identifier: GPL-2.0-only

//! Goodput over rails, loss and speeds, as a reviewed snapshot.

use usb4_rxe::rxe::time::Nanos;

use crate::cable::Model;
use crate::world::{Traffic, World};

/// Speeds of the rails, in twelfths of a fast one.
fn models(rails: usize, speeds: &[u64], loss_ppb: u64) -> Vec<Model> {
    (0..rails)
        .map(|number| Model {
            frame_ns: 2_730 * speeds[number % speeds.len()],
            loss_ppb,
            ..Model::default()
        })
        .collect()
}

#[test]
fn goodput() {
    for flows in [1u16, 16] {
        for rails in [1, 2, 4, 8] {
            for speeds in [&[1u64][..], &[1, 2], &[1, 4]] {
                if rails == 1 && speeds.len() > 1 { continue; }
                let mut line = format!("{flows} {rails} {speeds:?}");
                for loss in [0, 1_000, 100_000, 1_000_000] {
                    let models = models(rails, speeds, loss);
                    let traffic = Traffic {
                        flows,
                        both_ways: false,
                        message: 256,
                        messages: 256 / u32::from(flows),
                        window: 2048,
                    };
                    let mut world = World::new(&models, traffic, 7);
                    let start = std::time::Instant::now();
                    world.kick();
                    world.finish(Nanos::from_millis(10_000));
                    line += &format!("  {:.2}", 100.0 * world.goodput() / world.capacity());
                    line += &format!(" ({} ms, {} steps)", start.elapsed().as_millis(), world.steps);
                    world.no_overflow();
                }
                println!("{line}");
            }
        }
    }
}
