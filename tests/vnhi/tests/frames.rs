// SPDX-License-Identifier: GPL-2.0-only

//! Frames between two machines, all the way: driver, socket, rings in shared memory, routers, cable, and back.

#![allow(clippy::cast_possible_truncation)]

mod common;

use std::fs::File;
use std::time::Duration;

use common::guest::{join, linked, Frame, Guest};
use common::{Fabric, PATIENCE};
use pcap_file::pcapng::{Block, PcapNgReader};

fn frame(payload: &[u8]) -> Frame {
    Frame {
        sof: 1,
        eof: 2,
        crc_error: false,
        payload: payload.to_vec(),
    }
}

#[test]
fn a_frame_reaches_the_other_machine() {
    let fabric = Fabric::start(&["--hosts", "2"]);
    let (mut one, mut two) = linked(&fabric);
    join(&mut one, &mut two, 1);
    one.send(1, 1, 2, b"over the cable");
    assert!(two.events[3].wait(PATIENCE), "no interrupt");
    assert_eq!(two.receive(1), frame(b"over the cable"));
    assert!(one.events[2].wait(PATIENCE), "no interrupt");
    // Both ways, and every size.
    join(&mut two, &mut one, 2);
    for size in [1, 12, 255, 4095, 4096] {
        let payload: Vec<u8> = (0..size).map(|at| (at * 7 + size) as u8).collect();
        one.send(1, 1, 2, &payload);
        two.send(2, 1, 2, &payload);
        assert_eq!(two.receive(1), frame(&payload));
        assert_eq!(one.receive(2), frame(&payload));
    }
}

#[test]
fn many_frames_stay_in_order() {
    let fabric = Fabric::start(&["--hosts", "2"]);
    let (mut one, mut two) = linked(&fabric);
    join(&mut one, &mut two, 1);
    for round in 0..50u32 {
        for number in 0..10 {
            one.queue(1, 1, 2, &(round * 10 + number).to_le_bytes());
        }
        for number in 0..10 {
            let expected = (round * 10 + number).to_le_bytes();
            assert_eq!(two.receive(1).payload, expected);
        }
    }
}

#[test]
fn a_machine_that_dies_is_an_unplug_for_its_peer() {
    let fabric = Fabric::start(&["--hosts", "2"]);
    let (mut one, mut two) = linked(&fabric);
    join(&mut one, &mut two, 1);
    one.client.shutdown().unwrap();
    drop(one);
    two.wait_for_plug(true);
    // The next machine at the same socket: the link comes up again.
    let mut next = Guest::start(&fabric, "1.0");
    next.configure_router();
    next.wait_for_plug(false);
    two.wait_for_plug(false);
    join(&mut next, &mut two, 2);
    next.send(2, 1, 2, b"again");
    assert_eq!(two.receive(2).payload, b"again");
}

#[test]
fn commands_reach_the_cable() {
    let fabric = Fabric::start(&["--hosts", "2"]);
    let (mut one, mut two) = linked(&fabric);
    join(&mut one, &mut two, 1);
    assert_eq!(fabric.command("fault 0> drop=100%"), "ok");
    one.send(1, 1, 2, b"lost");
    assert_eq!(two.receive_within(1, Duration::from_millis(50)), None);
    assert_eq!(fabric.command("fault 0> drop=0 corrupt=1"), "ok");
    one.send(1, 1, 2, b"bad");
    assert!(two.receive(1).crc_error);
    assert_eq!(fabric.command("fault 0> clear"), "ok");
    one.send(1, 1, 2, b"good");
    assert_eq!(two.receive(1), frame(b"good"));
    assert_eq!(fabric.command("unplug 0"), "ok");
    one.wait_for_plug(true);
    two.wait_for_plug(true);
    assert_eq!(fabric.command("plug 0"), "ok");
    one.wait_for_plug(false);
    two.wait_for_plug(false);
}

#[test]
fn faults_of_the_command_line_are_there_from_the_start() {
    let fabric = Fabric::start(&["--hosts", "2", "--fault", "0> delay=500ms"]);
    let (mut one, mut two) = linked(&fabric);
    join(&mut one, &mut two, 1);
    one.send(1, 1, 2, b"slow");
    assert_eq!(two.receive_within(1, Duration::from_millis(20)), None);
    assert_eq!(two.receive(1).payload, b"slow");
}

#[test]
fn the_tap_sees_what_was_on_the_cable() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("cable.pcapng");
    let tap = format!("0={}", path.display());
    let fabric = Fabric::start(&["--hosts", "2", "--tap", &tap]);
    let (mut one, mut two) = linked(&fabric);
    join(&mut one, &mut two, 1);
    one.send(1, 1, 2, b"captured");
    assert_eq!(two.receive(1).payload, b"captured");
    assert_eq!(fabric.command("fault 0 drop=1"), "ok");
    one.send(1, 3, 4, b"lost");
    assert_eq!(fabric.command("tap 0 off"), "ok");
    one.send(1, 1, 2, b"unseen");
    fabric.command("stats");

    let mut reader = PcapNgReader::new(File::open(&path).unwrap()).unwrap();
    let mut data_frames = Vec::new();
    while let Some(block) = reader.next_block() {
        if let Block::EnhancedPacket(packet) = block.unwrap() {
            let control = packet.data[1] & 2 != 0;
            if !control {
                data_frames.push((packet.interface_id, packet.data.into_owned()));
            }
        }
    }
    let expected = [
        (0, [&[1, 0, 0, 9, 1, 2, 0, 0], &b"captured"[..]].concat()),
        (0, [&[1, 0, 0, 9, 3, 4, 1, 0], &b"lost"[..]].concat()),
    ];
    assert_eq!(data_frames, expected);
}

#[test]
fn what_a_guest_does_wrong_is_counted_and_harms_nobody() {
    let fabric = Fabric::start(&["--hosts", "2"]);
    let (mut one, mut two) = linked(&fabric);
    join(&mut one, &mut two, 1);
    // A ring far outside of memory, started and rung.
    for (register, value) in [
        (0x30, 0xffff_f000),
        (0x34, 0xffff_ffff),
        (0x3c, 0xffff_ffff),
    ] {
        one.write(register, value);
    }
    one.write(0x1_9860, 1 << 31);
    one.write(0x38, 0xffff_0000);
    one.send(1, 1, 2, b"still here");
    assert_eq!(two.receive(1).payload, b"still here");
    let errors = fabric.stats()["nhis"][0]["errors"].clone();
    let total: u64 = errors
        .as_object()
        .unwrap()
        .values()
        .filter_map(serde_json::Value::as_u64)
        .sum();
    assert!(total > 0, "{errors}");
}
