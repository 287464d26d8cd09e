// SPDX-License-Identifier: GPL-2.0-only

//! Two ends that do not do things at the same time.

use usb4_rxe::rxe::time::{Nanos, Time};
use usb4_rxe::usb4::rail::port::Down;

use crate::cable::Model;
use crate::world::{rail, Traffic, World};

fn world(rails: usize, messages: u32) -> World {
    let traffic = Traffic {
        flows: 1,
        both_ways: true,
        message: 256,
        messages,
        window: 2048,
    };
    World::new(&vec![Model::default(); rails], traffic, 5)
}

#[test]
fn a_rail_joins_that_one_end_sees_earlier() {
    for first in 0..2 {
        for skew in [10, 300, 5_000, 80_000] {
            let mut world = world(2, 400);
            world.pull(1);
            world.kick();
            world.run_until(Time::ZERO.after(Nanos::from_millis(2)));
            world.downs.clear();
            world.rail_restart(1);
            world.rail_up_at(first, 1);
            world.run_until(world.now.after(Nanos::from_micros(skew)));
            world.rail_up_at(1 - first, 1);
            let sent = |world: &World| world.cables.each_ref().map(|all| all[1].sent);
            // Twice the skew, at most: probes come ever less often.
            world.run_until(world.now.after(Nanos::from_micros(skew + 300)));
            let before = sent(&world);
            world.run_until(world.now.after(Nanos::from_millis(2)));
            let after = sent(&world);
            for end in 0..2 {
                assert!(world.ends[end].link.tx.is_up(rail(1)), "{skew} us");
                assert!(
                    after[end] - before[end] > 600,
                    "end {end} uses it after {skew} us"
                );
                assert_eq!(world.ends[end].upper.lost, 0, "nothing was lost");
            }
            world.finish(Nanos::from_millis(500));
            assert_eq!(world.downs, [], "{skew} us");
            world.rest();
        }
    }
}

#[test]
fn a_rail_that_the_other_end_never_sees_is_given_up() {
    let mut world = world(2, 16);
    world.pull(1);
    world.downs.clear();
    world.rail_restart(1);
    world.rail_up_at(0, 1);
    world.kick();
    world.finish(Nanos::from_millis(500));
    world.rest();
    let [(at, 0, id, Down::Silent)] = world.downs[..] else {
        panic!("{:?}", world.downs);
    };
    assert_eq!(id, rail(1));
    assert!(at >= Time::ZERO.after(Nanos::from_millis(900)));
    assert_eq!(world.ends[0].upper.lost + world.ends[1].upper.lost, 0);
}

#[test]
fn a_peer_that_was_busy_does_not_have_a_stalled_rail() {
    for order in [[0, 1, 2], [2, 1, 0], [1, 2, 0]] {
        let mut world = world(3, 60);
        world.kick();
        world.run_until(Time::ZERO.after(Nanos::from_millis(5)));
        assert!(!world.is_done());
        world.pause(1);
        world.run_until(world.now.after(Nanos::from_millis(20)));
        // It looks at one ring after the other, and answers in between.
        for number in order {
            world.resume(1, number);
            world.run_until(world.now.after(Nanos::from_micros(40)));
        }
        world.finish(Nanos::from_millis(500));
        assert_eq!(world.downs, [], "{order:?}");
        world.rest();
    }
}

#[test]
fn time_may_jump() {
    let mut world = world(2, 16);
    world.kick();
    world.run_until(Time::ZERO.after(Nanos::from_millis(3)));
    assert!(!world.is_done());
    for number in 0..2 {
        world.cables[0][number].fault = crate::cable::Fault::Stall;
        world.cables[1][number].fault = crate::cable::Fault::Stall;
    }
    // To the end of time and back.
    let now = world.now;
    for jump in [Time(1 << 62), Time::NEVER, Time::ZERO, now] {
        for end in &mut world.ends {
            end.link.tick(jump, &mut end.rings, &mut end.upper);
            let _ = end.link.next_timeout();
        }
    }
    world.kick();
    for end in 0..2 {
        for number in 0..2 {
            assert!(!world.ends[end].link.tx.is_up(rail(number)), "long silent");
        }
    }
    for number in 0..2 {
        world.rail_up(number);
    }
    world.kick();
    world.finish(Nanos::from_millis(500));
    world.rest();
}
