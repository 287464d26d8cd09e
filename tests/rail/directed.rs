// SPDX-License-Identifier: GPL-2.0-only

//! Scenarios, one property each.

use usb4_rxe::rxe::time::Nanos;

use crate::cable::Model;
use crate::world::{Traffic, World};

const ONE: Traffic = Traffic {
    flows: 1,
    both_ways: false,
    message: 256,
    messages: 16,
    window: 2048,
};

#[test]
fn one_rail_carries_all() {
    let mut world = World::new(&[Model::default()], ONE, 1);
    world.kick();
    world.finish(Nanos::from_millis(100));
    let part = world.goodput() / world.capacity();
    println!("{part} {} sent {} back", world.cables[0][0].sent, world.cables[1][0].sent);
    world.rest();
}
