// SPDX-License-Identifier: GPL-2.0-only

//! Frames on paths: with and without end-to-end flow control, masks, modes, rings stopped and started.

use std::time::Duration;

use vnhi::command::{CableSelector, Command, FaultChange};
use vnhi::topology::Topology;

use crate::driver::{pattern, E2E, ENABLE, EOF, HOP, PATHS, RAW, SOF};
use crate::world::World;

#[test]
fn frames_arrive_as_they_were_sent() {
    let mut world = World::connected(0, 63);
    for length in [1, 2, 255, 256, 257, 4095, 4096] {
        for (from, to) in [(0, 1), (1, 0)] {
            let payload = pattern(length, length);
            world.send(from, 1, &payload);
            let frames = world.receive(to, 1);
            assert_eq!(frames.len(), 1);
            assert_eq!(frames[0].payload, payload);
            assert_eq!((frames[0].sof, frames[0].eof), (SOF, EOF));
            assert!(!frames[0].crc_error && !frames[0].overrun);
        }
    }
    let counters = world.ring_counters(0, 1);
    assert_eq!((counters.tx_frames, counters.rx_frames), (7, 7));
    let errors = world.nhi_counters(0).errors;
    assert_eq!(errors, vnhi::counters::GuestErrors::default());
    let forward = world.counters().cables[0].forward;
    assert_eq!(forward.frames, 7);
}

#[test]
fn many_frames_wrap_around_the_rings_in_order() {
    let mut world = World::connected(0, 63);
    let mut expected = 0;
    for number in 0..1000 {
        world.queue(0, 1, &pattern(number, 100), SOF, EOF);
        if number % 7 == 0 {
            world.run();
            world.reap(0, 1);
            for frame in world.receive(1, 1) {
                assert_eq!(frame.payload, pattern(expected, 100));
                expected += 1;
            }
        }
    }
    world.run();
    expected += world.receive(1, 1).len();
    assert_eq!(expected, 1000);
}

#[test]
fn without_flow_control_a_full_receiver_loses_frames() {
    let mut world = World::connected(0, 3);
    for number in 0..5 {
        world.send(0, 1, &pattern(number, 64));
    }
    let frames = world.take(1, 1);
    assert_eq!(frames.len(), 3);
    assert_eq!(frames[2].payload, pattern(2, 64));
    assert_eq!(world.ring_counters(1, 1).rx_no_buffer, 2);
    // The overflow bit of receive ring 1: 12 transmit bits, 12 receive bits, then these.
    assert_eq!(world.read(1, 0x3_7800) >> 25 & 1, 1);
}

#[test]
fn with_flow_control_the_sender_waits() {
    let mut world = World::connected(E2E, 3);
    for number in 0..5 {
        world.send(0, 1, &pattern(number, 64));
    }
    assert_eq!(world.take(1, 1).len(), 3);
    let counters = world.ring_counters(0, 1);
    assert_eq!((counters.tx_frames, counters.e2e_stalls), (3, 1));
    world.post_buffers(1, 1, 1);
    world.run();
    assert_eq!(world.take(1, 1)[0].payload, pattern(3, 64));
    world.post_buffers(1, 1, 5);
    world.run();
    assert_eq!(world.take(1, 1)[0].payload, pattern(4, 64));
    assert_eq!(world.reap(0, 1), 2);
    assert_eq!(world.ring_counters(1, 1).rx_no_buffer, 0);
}

#[test]
fn flow_control_counts_frames_that_are_on_the_cable() {
    let mut world = World::connected(E2E, 4);
    world.fault(FaultChange {
        delay: Some(Duration::from_micros(100)),
        ..FaultChange::default()
    });
    for number in 0..10 {
        world.queue(0, 1, &pattern(number, 64), SOF, EOF);
    }
    world.pass(Duration::from_millis(1));
    assert_eq!(world.take(1, 1).len(), 4);
    world.post_buffers(1, 1, 10);
    world.pass(Duration::from_millis(1));
    assert_eq!(world.take(1, 1).len(), 6);
    let counters = world.ring_counters(1, 1);
    assert_eq!((counters.rx_frames, counters.rx_no_buffer), (10, 0));
}

#[test]
fn flow_control_needs_both_ends_and_the_way_back() {
    let mut world = World::connected(E2E, 10);
    // The receiver grants over a transmit ring that leads nowhere.
    world.write(1, 0x2_9820, ENABLE | E2E | 5 << 12);
    world.send(0, 1, &[1]);
    assert!(world.take(1, 1).is_empty());
    world.write(1, 0x2_9820, ENABLE | E2E | 1 << 12);
    world.run();
    assert_eq!(world.take(1, 1).len(), 1);
    // The receiver does not take part.
    world.write(1, 0x2_9820, ENABLE);
    world.send(0, 1, &[2]);
    assert!(world.take(1, 1).is_empty());
    world.write(1, 0x2_9820, ENABLE | E2E | 1 << 12);
    world.run();
    assert_eq!(world.take(1, 1).len(), 1);
}

#[test]
fn rings_take_only_their_pdfs_in_frame_mode() {
    let mut world = World::connected(0, 10);
    for (sof, eof) in [(SOF, SOF), (EOF, EOF), (0, EOF), (SOF, EOF)] {
        world.queue(0, 1, &[1, 2, 3], sof, eof);
    }
    world.run();
    assert_eq!(world.reap(0, 1), 4);
    assert_eq!(world.take(1, 1).len(), 1);
    assert_eq!(world.ring_counters(1, 1).rx_filtered, 3);
}

#[test]
fn raw_rings_carry_packets_of_256_bytes_and_know_no_masks() {
    let mut world = World::connected(RAW, 10);
    world.queue(0, 1, &pattern(1, 256), 9, 9);
    world.queue(0, 1, &pattern(2, 257), 9, 9);
    world.run();
    let frames = world.take(1, 1);
    assert_eq!(frames.len(), 1);
    assert_eq!((frames[0].sof, frames[0].eof), (0, 9));
    assert_eq!(frames[0].payload, pattern(1, 256));
    assert_eq!(world.reap(0, 1), 2);
    assert_eq!(world.nhi_counters(0).errors.bad_length, 1);
}

#[test]
fn a_frame_longer_than_the_buffer_is_an_overrun() {
    let mut world = World::connected(0, 10);
    world.stop(1, false, 1);
    world.start(1, false, 1, 64, RAW);
    world.post_buffers(1, 1, 10);
    world.send(0, 1, &pattern(1, 1000));
    let frames = world.take(1, 1);
    assert!(frames[0].overrun);
    assert_eq!(frames[0].payload, pattern(1, 1000)[..256]);
    assert_eq!(world.ring_counters(1, 1).rx_overruns, 1);
}

#[test]
fn a_stopped_ring_can_be_started_again() {
    let mut world = World::connected(0, 10);
    world.send(0, 1, &[1]);
    assert_eq!(world.take(1, 1).len(), 1);
    world.stop(1, false, 1);
    world.send(0, 1, &[2]);
    assert_eq!(world.ring_counters(1, 1).rx_stopped, 1);
    world.stop(0, true, 1);
    world.queue(0, 1, &[3], SOF, EOF);
    world.run();
    assert_eq!(world.reap(0, 1), 0);
    for guest in [0, 1] {
        world.start(guest, true, 1, 64, 0);
        world.start(guest, false, 1, 64, 0);
    }
    world.post_buffers(1, 1, 10);
    world.send(0, 1, &[4]);
    assert_eq!(world.take(1, 1)[0].payload, [4]);
}

#[test]
fn frames_without_a_path_are_dropped() {
    let mut world = World::connected(0, 10);
    // The receiver's side of the path goes.
    world.config_write(1, PATHS, 1, u32::from(HOP) * 2, &[3 << 11 | 1, 0]);
    world.send(0, 1, &[1]);
    assert_eq!(world.counters().cables[0].forward.no_path, 1);
    // The sender's side goes.
    world.config_write(0, PATHS, 3, 2, &[1 << 11 | u32::from(HOP), 0]);
    world.send(0, 1, &[1]);
    assert_eq!(world.ring_counters(0, 1).tx_no_path, 1);
    assert!(world.take(1, 1).is_empty());
    assert_eq!(world.ring_counters(0, 1).tx_frames, 2);
    // Paths that lead astray: into another lane, to a ring that is not there, to ring 0.
    world.connect(0, 1, 1, 1, HOP);
    for entry in [
        1 << 31 | 2 << 11 | 1,
        1 << 31 | 3 << 11 | 12,
        1 << 31 | 3 << 11,
    ] {
        world.config_write(1, PATHS, 1, u32::from(HOP) * 2, &[entry, 0]);
        world.send(0, 1, &[1]);
    }
    assert_eq!(world.counters().cables[0].forward.no_path, 4);
    assert!(world.control(1).is_empty());
}

#[test]
fn a_path_is_pending_while_frames_are_on_their_way() {
    let mut world = World::connected(0, 10);
    world.fault(FaultChange {
        delay: Some(Duration::from_millis(1)),
        ..FaultChange::default()
    });
    world.send(0, 1, &[1]);
    let at = u32::from(HOP) * 2;
    world.config_write(1, PATHS, 1, at, &[3 << 11 | 1, 0]);
    assert_eq!(world.config_read(1, PATHS, 1, at + 1, 1)[0] >> 28 & 1, 1);
    // What comes now finds no path any more.
    world.send(0, 1, &[2]);
    world.pass(Duration::from_millis(2));
    assert_eq!(world.config_read(1, PATHS, 1, at + 1, 1)[0] >> 28 & 1, 0);
    assert_eq!(world.take(1, 1).len(), 1);
    assert_eq!(world.counters().cables[0].forward.no_path, 1);
    // The path of the other side, without frames, is never pending.
    world.config_write(0, PATHS, 3, 2, &[0, 0]);
    assert_eq!(world.config_read(0, PATHS, 3, 2, 2), [0, 0]);
}

#[test]
fn pulling_the_cable_loses_what_is_on_it() {
    let mut world = World::connected(E2E, 10);
    world.fault(FaultChange {
        delay: Some(Duration::from_millis(1)),
        ..FaultChange::default()
    });
    world.send(0, 1, &[1]);
    world.command(Command::Unplug(CableSelector::All));
    world.command(Command::Plug(CableSelector::All));
    world.pass(Duration::from_millis(60));
    assert!(world.take(1, 1).is_empty());
    assert_eq!(world.counters().cables[0].forward.unplugged, 1);
    // The buffer that was set aside is free again: ten frames fit.
    for _ in 0..10 {
        world.queue(0, 1, &[2], SOF, EOF);
    }
    world.pass(Duration::from_millis(2));
    assert_eq!(world.take(1, 1).len(), 10);
}

#[test]
fn two_routers_of_one_host_can_talk() {
    let text = r#"hosts = [{ routers = 2 }]
        cables = [{ a = "1.0", b = "1.1" }]"#;
    let mut world = World::new(&Topology::parse(text).unwrap());
    world.bring_up();
    for guest in 0..2 {
        world.start(guest, true, 2, 64, 0);
        world.start(guest, false, 3, 64, 0);
        world.post_buffers(guest, 3, 10);
        world.connect(guest, 1, 2, 3, 9);
    }
    world.send(0, 2, &pattern(1, 4096));
    assert_eq!(world.take(1, 3)[0].payload, pattern(1, 4096));
}

#[test]
fn both_ports_of_a_router_share_its_rings() {
    let text = r#"hosts = [{}, { ports = 2 }, {}]
        cables = [{ a = "1.0", b = "2.0" }, { a = "2.0.2", b = "3.0" }]"#;
    let mut world = World::new(&Topology::parse(text).unwrap());
    world.bring_up();
    for (guest, rings) in [
        (0, vec![(1, 1)]),
        (1, vec![(1, 1), (3, 2)]),
        (2, vec![(1, 1)]),
    ] {
        for (lane, ring) in rings {
            world.start(guest, true, ring, 64, 0);
            world.start(guest, false, ring, 64, 0);
            world.post_buffers(guest, ring, 10);
            world.connect(guest, lane, ring, ring, HOP);
        }
    }
    world.send(1, 1, &[1]);
    world.send(1, 2, &[2]);
    world.send(0, 1, &[3]);
    world.send(2, 1, &[4]);
    assert_eq!(world.take(0, 1)[0].payload, [1]);
    assert_eq!(world.take(2, 1)[0].payload, [2]);
    assert_eq!(world.take(1, 1)[0].payload, [3]);
    assert_eq!(world.take(1, 2)[0].payload, [4]);
}

#[test]
fn rings_take_turns() {
    let mut world = World::connected(0, 63);
    for guest in 0..2 {
        world.start(guest, true, 2, 64, 0);
        world.start(guest, false, 2, 64, 0);
        world.post_buffers(guest, 2, 63);
        world.connect(guest, 1, 2, 2, HOP + 1);
    }
    // A byte takes a microsecond.
    world.fault(FaultChange {
        cap: Some(8_000_000),
        ..FaultChange::default()
    });
    for _ in 0..40 {
        world.queue(0, 1, &[1; 100], SOF, EOF);
        world.queue(0, 2, &[2; 100], SOF, EOF);
    }
    world.pass(Duration::from_micros(4050));
    let (one, two) = (world.take(1, 1).len(), world.take(1, 2).len());
    assert!(one.abs_diff(two) <= 4, "{one} {two}");
    assert!((40..=48).contains(&(one + two)), "{one} {two}");
}
