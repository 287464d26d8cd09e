// SPDX-License-Identifier: GPL-2.0-only

//! Cables plugged and pulled, machines switched on and off, lanes bonded.

use std::time::Duration;

use vnhi::command::{CableSelector, Command, CommandError};
use vnhi::topology::{NhiId, Topology};

use crate::driver::{Packet, ADAPTER, EVENT, HOST_RESET};
use crate::world::World;

const ALL: CableSelector = CableSelector::All;

/// A plug event.
fn event(adapter: u32, unplug: bool) -> Packet {
    Packet {
        kind: EVENT,
        words: vec![1 << 31, 0, adapter | u32::from(unplug) << 31],
    }
}

/// State, width and speed that a lane reports.
fn lane(world: &mut World, guest: usize, adapter: u32) -> (u32, u32, u32) {
    let at = world.capability(guest, adapter, 1).unwrap() + 1;
    let word = world.config_read(guest, ADAPTER, adapter, at, 1)[0];
    (word >> 26 & 0xf, word >> 20 & 0x3f, word >> 16 & 0xf)
}

fn wait(world: &mut World) {
    world.pass(Duration::from_millis(60));
}

/// What a connection manager writes to bond: target widths at both lanes, then the bit at one end.
fn bond(world: &mut World, guest: usize, initiate: bool) {
    for adapter in [1, 2] {
        let at = world.capability(guest, adapter, 1).unwrap() + 1;
        world.config_modify(guest, ADAPTER, adapter, at, 3 << 4, 3 << 4);
    }
    if initiate {
        let at = world.capability(guest, 1, 1).unwrap() + 1;
        world.config_modify(guest, ADAPTER, 1, at, 0, 1 << 15);
    }
}

#[test]
fn a_link_comes_up_when_both_ends_are_ready() {
    let mut world = World::pair();
    world.probe(0);
    world.enumerate(0);
    wait(&mut world);
    assert!(world.control(0).is_empty());
    assert_eq!(lane(&mut world, 0, 1).0, 7);
    world.probe(1);
    world.enumerate(1);
    assert_eq!(lane(&mut world, 0, 1).0, 1, "training");
    wait(&mut world);
    assert_eq!(world.control(0), [event(1, false)]);
    assert_eq!(world.control(1), [event(1, false)]);
    assert_eq!(lane(&mut world, 0, 1), (2, 1, 4));
    assert_eq!(lane(&mut world, 1, 1), (2, 1, 4));
    assert!(world.counters().cables[0].up);
}

#[test]
fn unplug_and_plug_are_seen_at_both_ends() {
    let mut world = World::pair();
    world.bring_up();
    world.command(Command::Unplug(ALL));
    assert_eq!(world.control(0), [event(1, true)]);
    assert_eq!(world.control(1), [event(1, true)]);
    assert_eq!(lane(&mut world, 0, 1).0, 7);
    world.command(Command::Unplug(ALL));
    assert!(world.control(0).is_empty());
    world.command(Command::Plug(ALL));
    wait(&mut world);
    assert_eq!(world.control(0), [event(1, false)]);
    assert_eq!(world.control(1), [event(1, false)]);
    // Pulled and plugged before anybody looks.
    world
        .fabric
        .command(world.now, Command::Unplug(ALL))
        .unwrap();
    world.command(Command::Plug(ALL));
    wait(&mut world);
    assert_eq!(world.control(0), [event(1, true), event(1, false)]);
}

#[test]
fn a_power_cut_is_an_unplug_for_the_peer() {
    let mut world = World::pair();
    world.bring_up();
    world.fabric.detach(world.now, world.id(1));
    world.run();
    assert_eq!(world.control(0), [event(1, true)]);
    let counters = world.counters();
    assert!(!counters.nhis[1].attached && !counters.cables[0].up);
    assert!(counters.cables[0].plugged);
}

#[test]
fn a_host_reset_is_an_unplug_and_a_plug_for_the_peer() {
    let mut world = World::pair();
    world.bring_up();
    world.write(1, HOST_RESET, 1);
    world.run();
    assert_eq!(world.control(0), [event(1, true)]);
    world.probe(1);
    world.enumerate(1);
    wait(&mut world);
    assert_eq!(world.control(0), [event(1, false)]);
    assert_eq!(world.control(1), [event(1, false)]);
}

#[test]
fn a_port_reset_and_a_lane_disable_take_the_link_down() {
    let mut world = World::pair();
    world.bring_up();
    let port = world.capability(0, 1, 6).unwrap() + 19;
    let lane_word = world.capability(0, 1, 1).unwrap() + 1;
    for (at, bit) in [(port, 1), (lane_word, 1 << 14)] {
        world.config_modify(0, ADAPTER, 1, at, 0, bit);
        wait(&mut world);
        assert_eq!(world.control(1), [event(1, true)]);
        world.control(0);
        world.config_modify(0, ADAPTER, 1, at, bit, 0);
        wait(&mut world);
        assert_eq!(world.control(1), [event(1, false)]);
        world.control(0);
    }
}

#[test]
fn a_reset_router_stays_enumerated_and_its_links_bounce() {
    let mut world = World::pair();
    world.bring_up();
    world.connect(0, 1, 1, 1, 8);
    let nhi = world.id(0);
    world.command(Command::ResetRouter(nhi));
    wait(&mut world);
    for guest in 0..2 {
        assert_eq!(world.control(guest), [event(1, true), event(1, false)]);
    }
    assert_eq!(world.config_read(0, 0, 1, 16, 1), [0], "paths are gone");
    let nowhere = NhiId { host: 9, router: 0 };
    let reset = world
        .fabric
        .command(world.now, Command::ResetRouter(nowhere));
    assert_eq!(reset, Err(CommandError::NoSuchRouter(nowhere)));
}

#[test]
fn lanes_are_bonded_when_both_ends_want_it() {
    let mut world = World::pair();
    world.bring_up();
    bond(&mut world, 1, false);
    assert_eq!(lane(&mut world, 1, 1).1, 1);
    bond(&mut world, 0, true);
    for guest in 0..2 {
        assert_eq!(lane(&mut world, guest, 1), (2, 2, 4));
        assert_eq!(lane(&mut world, guest, 2), (2, 2, 4));
    }
    assert_eq!(world.counters().cables[0].lanes, 2);
    let lanes = |lanes| Command::Lanes { cables: ALL, lanes };
    world.command(lanes(1));
    for guest in 0..2 {
        assert_eq!(lane(&mut world, guest, 1), (2, 1, 4));
        assert_eq!(lane(&mut world, guest, 2).0, 7);
    }
    world.command(lanes(2));
    assert_eq!(lane(&mut world, 0, 1).1, 2);
    // A new link begins with one lane.
    world.command(Command::Unplug(ALL));
    world.command(Command::Plug(ALL));
    wait(&mut world);
    world.control(0);
    assert_eq!(lane(&mut world, 0, 1).1, 1);
    assert_eq!(
        world.fabric.command(world.now, lanes(3)),
        Err(CommandError::BadLanes(3))
    );
}

#[test]
fn speed_and_width_follow_the_cable() {
    for (gbps, lanes, speed, width) in [(10, 2, 8, 1), (20, 1, 4, 1), (40, 2, 2, 2), (40, 1, 4, 1)]
    {
        let text = format!(
            r#"hosts = [{{}}, {{}}]
            cables = [{{ a = "1.0", b = "2.0", gbps = {gbps}, lanes = {lanes} }}]"#
        );
        let mut world = World::new(&Topology::parse(&text).unwrap());
        world.bring_up();
        for guest in 0..2 {
            assert_eq!(lane(&mut world, guest, 1), (2, width, speed), "{text}");
        }
        let port = world.capability(0, 1, 6).unwrap() + 18;
        let bonding = world.config_read(0, ADAPTER, 1, port, 1)[0] >> 8 & 1;
        assert_eq!(bonding, u32::from(lanes == 2));
    }
}

#[test]
fn a_generation_4_link_that_loses_a_lane_trains_anew() {
    let text = r#"hosts = [{}, {}]
        cables = [{ a = "1.0", b = "2.0", gbps = 40 }]"#;
    let mut world = World::new(&Topology::parse(text).unwrap());
    world.bring_up();
    world.command(Command::Lanes {
        cables: ALL,
        lanes: 1,
    });
    wait(&mut world);
    assert_eq!(world.control(0), [event(1, true), event(1, false)]);
    assert_eq!(lane(&mut world, 0, 1), (2, 1, 4));
}

#[test]
fn every_cable_is_a_link_of_its_own() {
    let text = r#"hosts = [{ routers = 2 }, { ports = 2 }, {}]
        cables = [
            { a = "1.0", b = "2.0" },
            { a = "2.0.2", b = "3.0" },
        ]"#;
    let mut world = World::new(&Topology::parse(text).unwrap());
    let events = world.bring_up();
    assert_eq!(events[0], [event(1, false)]);
    assert_eq!(events[1], [], "the second router of host 1 has no cable");
    assert_eq!(events[2], [event(1, false), event(3, false)]);
    assert_eq!(events[3], [event(1, false)]);
    world.command(Command::Unplug(CableSelector::One(1)));
    assert!(world.control(0).is_empty());
    assert_eq!(world.control(2), [event(3, true)]);
    assert_eq!(world.control(3), [event(1, true)]);
    let none = Command::Unplug(CableSelector::One(2));
    let refused = world.fabric.command(world.now, none);
    assert_eq!(refused, Err(CommandError::NoSuchCable(2, 2)));
}
