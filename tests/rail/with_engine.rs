// SPDX-License-Identifier: GPL-2.0-only

//! The engine on the rails: writes of 1 MiB complete, in order and with their bytes, whatever the
//! cables do.

use usb4_rxe::rxe::time::{Nanos, Time};

use crate::cable::{Fault, Model};
use crate::engines::Engines;
use crate::world::{Traffic, World};

const NONE: Traffic = Traffic {
    flows: 0,
    both_ways: false,
    message: 1,
    messages: 1,
    window: 1,
};

fn world(rails: usize, loss_ppb: u64, queue_pairs: u16, messages: usize) -> World {
    let model = Model {
        loss_ppb,
        ..Model::default()
    };
    let mut world = World::new(&vec![model; rails], NONE, 21);
    world.engines = Some(Engines::new(queue_pairs, messages));
    world.kick();
    world
}

fn finish(world: &mut World) {
    world.finish(Nanos::from_millis(2_000));
    world.engines.as_ref().expect("engines").check();
    world.no_overflow();
}

#[test]
fn killing_one_of_two_rails_loses_no_completion() {
    for fault in [None, Some(Fault::Swallow), Some(Fault::Stall)] {
        let mut world = world(2, 0, 1, 32);
        world.run_until(Time::ZERO.after(Nanos::from_millis(4)));
        world.longest_pause = Nanos::ZERO;
        match fault {
            None => world.pull(0),
            Some(fault) => {
                for end in 0..2 {
                    world.set_fault(end, 0, fault);
                }
            }
        }
        finish(&mut world);
        let pause = world.longest_pause;
        assert!(pause < Nanos::from_millis(2), "{fault:?}: {pause:?}");
    }
}

#[test]
fn a_rail_comes_back_within_the_retry_budget() {
    let mut world = world(1, 0, 1, 8);
    world.run_until(Time::ZERO.after(Nanos::from_millis(2)));
    world.pull(0);
    world.run_until(Time::ZERO.after(Nanos::from_millis(50)));
    world.rail_up(0);
    world.kick();
    finish(&mut world);
}
