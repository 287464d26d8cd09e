// SPDX-License-Identifier: GPL-2.0-only

//! What is counted for people agrees with what happened: at both ends, and with the cables.

use usb4_rxe::rxe::time::{Nanos, Time};
use usb4_rxe::usb4::rail::id::RailId;
use usb4_rxe::usb4::rail::port::Down;
use usb4_rxe::usb4::rail::tally::{RailView, RxView, State, Table, TxView};

use crate::cable::{Fault, Model};
use crate::world::{rail, Traffic, World};

const BOTH_WAYS: Traffic = Traffic {
    flows: 2,
    both_ways: true,
    message: 64,
    messages: 8,
    window: 512,
};

fn tx(world: &World, end: usize, number: usize) -> TxView {
    world.ends[end].link.tx.view(rail(number))
}

fn rx(world: &World, end: usize, number: usize) -> RxView {
    world.ends[end].link.rx.view(rail(number)).expect("a rail")
}

fn run(models: &[Model], seed: u64) -> World {
    let mut world = World::new(models, BOTH_WAYS, seed);
    world.kick();
    world.finish(Nanos::from_millis(500));
    world.rest();
    world
}

/// Both ends of both directions of a rail in its first life, at rest: each frame came, or is missed.
fn agree(world: &World, number: usize) {
    for end in 0..2 {
        let (tx, rx) = (tx(world, end, number), rx(world, 1 - end, number));
        assert_eq!(tx.tally.posted, world.cables[end][number].sent);
        assert_eq!(tx.tally.completed, tx.tally.posted);
        assert_eq!((tx.in_flight, tx.room), (0, 1024));
        assert_eq!((rx.held, rx.room), (0, 1024));
        // What was lost behind the last frame that counts nobody asks for.
        let known = rx.tally.frames + rx.tally.missing;
        assert!(known <= tx.tally.posted);
        assert!(u64::from(tx.unseen) >= tx.tally.posted - known);
    }
}

#[test]
fn without_faults_each_frame_comes_and_no_rail_has_a_gap() {
    for count in [1, 4] {
        let world = run(&vec![Model::default(); count], 1);
        for number in 0..count {
            agree(&world, number);
            for end in 0..2 {
                let (tx, rx) = (tx(&world, end, number), rx(&world, 1 - end, number));
                assert_eq!(rx.tally.frames, tx.tally.posted);
                assert!(tx.tally.control > 0 && tx.tally.control < tx.tally.posted);
                assert_eq!((rx.tally.gaps, rx.tally.missing), (0, 0));
                assert_eq!((rx.tally.damaged, rx.tally.refused), (0, 0));
                assert_eq!((tx.tally.lives, tx.tally.given_up), (1, 0));
                assert_eq!(tx.state, State::Up);
            }
        }
    }
}

#[test]
fn what_a_cable_loses_is_missed_at_the_other_end() {
    let model = Model {
        loss_ppb: 5_000_000,
        ..Model::default()
    };
    for seed in 1..5 {
        let world = run(&[model; 2], seed);
        for number in 0..2 {
            agree(&world, number);
            for end in 0..2 {
                let (tx, rx) = (
                    tx(&world, end, number).tally,
                    rx(&world, 1 - end, number).tally,
                );
                assert!(rx.gaps > 0 && rx.gaps <= rx.missing, "seed {seed}: {rx:?}");
                assert!(tx.posted - rx.frames >= rx.missing, "seed {seed}: {rx:?}");
            }
        }
    }
}

#[test]
fn a_receiver_that_holds_everything_back_starves_the_sender() {
    let more = Traffic {
        messages: 64,
        window: 2048,
        ..BOTH_WAYS
    };
    let mut world = World::new(&[Model::default()], more, 1);
    world.run_until(Time::ZERO.after(Nanos::from_millis(1)));
    let before = tx(&world, 0, 0).tally.starved;
    world.pause(1);
    world.kick();
    world.run_until(world.now.after(Nanos::from_millis(20)));
    let now = tx(&world, 0, 0);
    assert!(now.tally.starved > before && now.credit < 64, "{now:?}");
    assert!(now.unseen > 900, "{now:?}");
}

#[test]
fn lives_and_their_ends_are_counted() {
    let mut world = World::new(&[Model::default(); 2], BOTH_WAYS, 3);
    world.kick();
    world.run_until(Time::ZERO.after(Nanos::from_millis(1)));
    for end in 0..2 {
        world.set_fault(end, 0, Fault::Swallow);
    }
    world.run_until(world.now.after(Nanos::from_millis(20)));
    let down = tx(&world, 0, 0);
    assert_eq!((down.state, down.credit, down.room), (State::Down, 0, 0));
    // One end found out; the other one too, or was told.
    let ends = [0, 1].map(|end| tx(&world, end, 0).tally);
    assert!(ends[0].given_up + ends[1].given_up > 0, "{ends:?}");
    for tally in &ends {
        assert_eq!(tally.given_up + tally.by_peer, 1, "{tally:?}");
    }
    for end in 0..2 {
        world.set_fault(end, 0, Fault::None);
    }
    world.rail_up(0);
    world.finish(Nanos::from_millis(500));
    world.rest();
    world.pull(0);
    world.rail_up(0);
    world.rest();
    world.down(0, 1, Down::Violation);
    for (end, before) in ends.iter().enumerate() {
        let now = tx(&world, end, 0);
        assert_eq!((now.state, now.tally.lives), (State::Up, 3));
        assert_eq!(
            now.tally.given_up + now.tally.by_peer,
            1,
            "a pull is neither"
        );
        assert!(now.tally.posted > before.posted, "counts go on");
    }
    assert_eq!(tx(&world, 0, 1).tally.violations, 1);
}

#[test]
fn the_table_is_aligned() {
    let model = Model {
        loss_ppb: 5_000_000,
        ..Model::default()
    };
    let mut world = run(&[Model::default(), model], 1);
    world.pull(1);
    let view = |number: usize, ended| RailView {
        id: RailId::new(number as u8).unwrap(),
        tx: tx(&world, 0, number),
        rx: rx(&world, 0, number),
        ended,
    };
    let mut long = view(1, Some("frames did not arrive"));
    long.tx.tally.posted = 1 << 40;
    long.tx.tally.completed = 1 << 39;
    long.rx.tally.frames = 1 << 40;
    insta::assert_snapshot!(Table(&[view(0, None), view(1, Some("unplugged")), long]).to_string());
}
