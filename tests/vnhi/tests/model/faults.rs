// SPDX-License-Identifier: GPL-2.0-only

//! Faults on cables, and the tap that shows them.

use std::time::Duration;

use vnhi::command::{Burst, CableSelector, Command, Direction, FaultChange};
use vnhi::sink::Fate;

use crate::driver::{pattern, Frame, EOF, SOF, XDOMAIN_REQUEST};
use crate::world::World;

const FRAMES: usize = 400;

/// What arrives of so many frames.
fn send_many(world: &mut World, change: FaultChange) -> Vec<Frame> {
    world.fault(change);
    let mut frames = Vec::new();
    for number in 0..FRAMES {
        world.send(0, 1, &pattern(number, 200));
        frames.extend(world.receive(1, 1));
    }
    frames
}

#[test]
fn dropped_frames_are_gone_and_counted() {
    let mut world = World::connected(0, 63);
    let drop = FaultChange {
        drop: Some(0.25),
        ..FaultChange::default()
    };
    let frames = send_many(&mut world, drop);
    let forward = world.counters().cables[0].forward;
    assert_eq!(
        frames.len() + usize::try_from(forward.dropped).unwrap(),
        FRAMES
    );
    assert!((60..140).contains(&forward.dropped), "{}", forward.dropped);
    // The same seed, the same losses.
    let mut again = World::connected(0, 63);
    assert_eq!(send_many(&mut again, drop), frames);
}

#[test]
fn bursts_lose_neighbours() {
    let mut world = World::connected(0, 63);
    let change = FaultChange {
        burst: Some(Burst {
            enter: 0.02,
            exit: 0.2,
        }),
        ..FaultChange::default()
    };
    let frames = send_many(&mut world, change);
    let forward = world.counters().cables[0].forward;
    assert!(forward.burst_dropped > 5);
    assert_eq!(
        frames.len() + usize::try_from(forward.burst_dropped).unwrap(),
        FRAMES
    );
}

#[test]
fn corrupt_frames_carry_the_flag() {
    let mut world = World::connected(0, 63);
    let change = FaultChange {
        corrupt: Some(0.1),
        ..FaultChange::default()
    };
    let frames = send_many(&mut world, change);
    assert_eq!(frames.len(), FRAMES);
    let flagged = frames.iter().filter(|frame| frame.crc_error).count();
    assert!((20..65).contains(&flagged), "{flagged}");
    let flagged = u64::try_from(flagged).unwrap();
    assert_eq!(world.counters().cables[0].forward.corrupted, flagged);
    assert_eq!(world.ring_counters(1, 1).rx_crc_errors, flagged);
}

#[test]
fn flipped_bits_are_silent() {
    let mut world = World::connected(0, 63);
    let change = FaultChange {
        flip: Some(0.1),
        ..FaultChange::default()
    };
    let frames = send_many(&mut world, change);
    let mut flipped = 0;
    for (number, frame) in frames.iter().enumerate() {
        assert!(!frame.crc_error);
        let wrong: u32 = frame
            .payload
            .iter()
            .zip(pattern(number, 200))
            .map(|(got, sent)| (got ^ sent).count_ones())
            .sum();
        assert!(wrong <= 1);
        flipped += u64::from(wrong);
    }
    assert!(flipped > 10);
    assert_eq!(world.counters().cables[0].forward.flipped, flipped);
}

#[test]
fn faults_are_for_one_direction_if_asked() {
    let mut world = World::connected(0, 63);
    world.command(Command::Fault {
        cables: CableSelector::One(0),
        direction: Some(Direction::BToA),
        change: FaultChange {
            drop: Some(1.0),
            ..FaultChange::default()
        },
    });
    world.send(0, 1, &[1]);
    world.send(1, 1, &[2]);
    assert_eq!(world.receive(1, 1).len(), 1);
    assert!(world.receive(0, 1).is_empty());
    // Control packets are spared.
    world.send_control(1, XDOMAIN_REQUEST, &[0, 1, 1, 2]);
    assert_eq!(world.control(0).len(), 1);
    world.command(Command::ClearFaults {
        cables: CableSelector::All,
        direction: None,
    });
    world.send(1, 1, &[3]);
    assert_eq!(world.receive(0, 1)[0].payload, [3]);
}

#[test]
fn a_delay_keeps_the_order_and_hides_nothing() {
    let mut world = World::connected(0, 63);
    let delay = |micros| FaultChange {
        delay: Some(Duration::from_micros(micros)),
        ..FaultChange::default()
    };
    world.fault(delay(100));
    for number in 0..10 {
        world.send(0, 1, &pattern(number, 50));
        world.now = world.now + Duration::from_micros(1);
    }
    world.send_control(0, XDOMAIN_REQUEST, &[0, 1, 1, 2]);
    world.fault(delay(0));
    world.send(0, 1, &pattern(10, 50));
    assert!(world.take(1, 1).is_empty());
    assert_eq!(world.counters().cables[0].forward.in_flight, 12);
    world.pass(Duration::from_micros(90));
    assert_eq!(world.take(1, 1).len(), 1);
    world.pass(Duration::from_micros(10));
    let frames = world.take(1, 1);
    assert_eq!(frames.len(), 10);
    for (number, frame) in (1..).zip(&frames) {
        assert_eq!(frame.payload, pattern(number, 50));
    }
    assert_eq!(world.control(1).len(), 1, "control packets are delayed too");
}

#[test]
fn a_stall_holds_the_sender_until_it_ends() {
    let mut world = World::connected(0, 63);
    let stall = |on| FaultChange {
        stall: Some(on),
        ..FaultChange::default()
    };
    world.fault(stall(true));
    for number in 0..3 {
        world.queue(0, 1, &pattern(number, 50), SOF, EOF);
    }
    world.send_control(0, XDOMAIN_REQUEST, &[0, 1, 1, 2]);
    world.pass(Duration::from_secs(1));
    assert_eq!(world.reap(0, 1), 0);
    assert!(world.control(1).is_empty());
    world.fault(stall(false));
    assert_eq!(world.reap(0, 1), 3);
    assert_eq!(world.take(1, 1).len(), 3);
    assert_eq!(world.control(1).len(), 1);
}

#[test]
fn a_rate_limit_is_kept() {
    let mut world = World::connected(0, 63);
    world.fault(FaultChange {
        cap: Some(1_000_000_000),
        ..FaultChange::default()
    });
    let start = world.now;
    let mut received = 0;
    while received < 1000 {
        while world.ring_counters(0, 1).tx_frames > received {
            received += u64::try_from(world.receive(1, 1).len()).unwrap();
        }
        for _ in 0..20 {
            world.queue(0, 1, &[0; 4096], SOF, EOF);
        }
        world.pass(Duration::from_micros(20 * 33));
        world.reap(0, 1);
    }
    let seconds = (world.now - start).as_secs_f64();
    #[allow(clippy::cast_precision_loss)]
    let rate = received as f64 * 4096.0 * 8.0 / seconds;
    assert!((0.95e9..1.02e9).contains(&rate), "{rate:.3e} bit/s");
}

#[test]
fn the_tap_sees_every_frame_and_its_fate() {
    let mut world = World::connected(0, 1);
    world.send(0, 1, &[0]);
    assert!(world.record.frames.is_empty());
    world.receive(1, 1);
    world.fabric.set_tap(0, true).unwrap();
    world.send(0, 1, &[1, 2, 3]);
    world.send(0, 1, &[4]);
    world.queue(0, 1, &[5], 1, 1);
    world.run();
    world.stop(1, false, 1);
    world.send(0, 1, &[6]);
    world.fault(FaultChange {
        drop: Some(1.0),
        ..FaultChange::default()
    });
    world.send(0, 1, &[7]);
    world.send_control(0, XDOMAIN_REQUEST, &[0, 1, 0xaabb_ccdd]);
    let seen: Vec<_> = world
        .record
        .frames
        .iter()
        .map(|frame| {
            (
                frame.hop,
                frame.sof,
                frame.eof,
                frame.fate,
                frame.payload[0],
            )
        })
        .collect();
    assert_eq!(
        seen,
        [
            (8, 2, 3, Fate::Delivered, 1),
            (8, 2, 3, Fate::NoBuffer, 4),
            (8, 1, 1, Fate::Filtered, 5),
            (8, 2, 3, Fate::NoPath, 6),
            (8, 2, 3, Fate::Lost, 7),
            (0, 0, 6, Fate::Delivered, 0x80),
        ]
    );
    assert_eq!(world.record.frames[0].payload, [1, 2, 3]);
    assert!(world.fabric.set_tap(1, true).is_err());
}

#[test]
fn tapped_frames_show_damage() {
    let mut world = World::connected(0, 10);
    world.fabric.set_tap(0, true).unwrap();
    world.fault(FaultChange {
        corrupt: Some(1.0),
        flip: Some(1.0),
        delay: Some(Duration::from_micros(1)),
        ..FaultChange::default()
    });
    world.send(0, 1, &[0; 64]);
    world.pass(Duration::from_micros(2));
    let frame = &world.record.frames[0];
    assert!(frame.crc_error);
    assert_eq!(
        frame
            .payload
            .iter()
            .map(|byte| byte.count_ones())
            .sum::<u32>(),
        1
    );
    assert_eq!(world.take(1, 1)[0].payload, world.record.frames[0].payload);
}
