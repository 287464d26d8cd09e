// SPDX-License-Identifier: GPL-2.0-only

//! Guests that do what no driver does. The fabric survives, counts, and everybody else goes on.

use std::time::Duration;

use proptest::prelude::*;
use vnhi::topology::Topology;

use crate::driver::{pattern, E2E, ENABLE, HOST_RESET, RAW};
use crate::world::World;

#[test]
fn descriptors_outside_memory_stop_their_ring() {
    let mut world = World::connected(0, 10);
    for base in [0, 0xffff_fff0] {
        world.stop(0, true, 1);
        world.start(0, true, 1, 64, 0);
        world.write(0, 0x10, base);
        world.write(0, 0x14, base);
        world.write(0, 0x18, 5 << 16);
        world.run();
    }
    assert_eq!(world.nhi_counters(0).errors.bad_descriptor, 2);
    world.stop(0, true, 1);
    world.start(0, true, 1, 64, 0);
    world.send(0, 1, &[7]);
    assert_eq!(world.take(1, 1)[0].payload, [7]);
}

#[test]
fn buffers_outside_memory_hurt_only_their_owner() {
    let mut world = World::connected(0, 2);
    // A frame from nowhere: the receiver never hears of it.
    world.queue(0, 1, &[1], 2, 3);
    let ring = world.read(0, 0x10);
    world.guests[0].put(ring.into(), &u64::MAX.to_le_bytes());
    world.run();
    assert_eq!(world.reap(0, 1), 1);
    assert!(world.take(1, 1).is_empty());
    assert_eq!(world.nhi_counters(0).errors.bad_buffer, 1);
    // A buffer nowhere: the frame is marked, and the next one is fine.
    let ring = world.read(1, 0x8010);
    world.guests[1].put(ring.into(), &0x10_u64.to_le_bytes());
    world.send(0, 1, &[2]);
    world.send(0, 1, &[3]);
    let frames = world.take(1, 1);
    assert!(frames[0].crc_error);
    assert!(!frames[1].crc_error);
    assert_eq!(frames[1].payload, [3]);
    assert_eq!(world.nhi_counters(1).errors.bad_buffer, 1);
}

#[test]
fn a_ring_of_65535_descriptors_does_bounded_work() {
    let mut world = World::connected(0, 10);
    world.stop(0, true, 1);
    world.start(0, true, 1, 64, 0);
    world.write(0, 0x1c, 0xffff);
    world.write(0, 0x18, 0xfffe << 16);
    let now = world.now;
    world.fabric.run(now, &mut world.record);
    let sent = world.ring_counters(0, 1).tx_frames;
    assert!((1..=1024).contains(&sent), "{sent}");
    assert!(
        world.fabric.next_timer().is_some_and(|due| due <= now),
        "and goes on"
    );
    world.run();
    assert!(world.ring_counters(0, 1).tx_frames > sent);
}

#[test]
fn memory_that_goes_away_is_survived() {
    let mut world = World::connected(0, 10);
    let id = world.id(1);
    world.fabric.unmap(id, 0x4000_0000, 8 << 20).unwrap();
    world.send(0, 1, &[1]);
    assert_eq!(world.nhi_counters(1).errors.bad_descriptor, 1);
    assert_eq!(world.reap(0, 1), 0, "send has taken it back");
}

/// One thing that a bad guest does.
#[derive(Debug, Clone)]
enum Act {
    Write(u64, u32),
    Bytes(u64, Vec<u8>),
    Read(u64),
    Memory(u64, Vec<u8>),
    /// A descriptor of ring 0 or 1, and the index after it.
    Descriptor(bool, u16, u16, u64, u32),
    Reset,
    Power,
    Pass(u64),
}

/// Offsets that mean something, mostly.
fn offset() -> impl Strategy<Value = u64> {
    prop_oneof![
        (0_u64..16, 0_u64..4).prop_map(|(ring, word)| ring * 16 + word * 4),
        (0_u64..16, 0_u64..4).prop_map(|(ring, word)| 0x8000 + ring * 16 + word * 4),
        (0_u64..16, 0_u64..8).prop_map(|(ring, word)| 0x1_9800 + ring * 32 + word * 4),
        (0_u64..16, 0_u64..8).prop_map(|(ring, word)| 0x2_9800 + ring * 32 + word * 4),
        (0_u64..8).prop_map(|word| 0x3_7800 + word * 4),
        (0_u64..8).prop_map(|word| 0x3_8200 + word * 4),
        (0_u64..32).prop_map(|word| 0x3_8c00 + word * 4),
        Just(0x3_9864),
        0_u64..0x4_0000,
        any::<u64>(),
    ]
}

/// Values that turn things on, mostly.
fn value() -> impl Strategy<Value = u32> {
    prop_oneof![
        any::<u32>(),
        Just(ENABLE),
        Just(ENABLE | RAW),
        Just(ENABLE | E2E | 1 << 12),
        0_u32..64,
        (0_u32..64).prop_map(|index| index << 16),
        Just(0x4000_0000),
        (0_u32..0x800).prop_map(|page| 0x4000_0000 + page * 4096),
    ]
}

/// Buffers in memory, mostly.
fn buffer() -> impl Strategy<Value = u64> {
    let end = 0x4080_0000_u64;
    prop_oneof![
        4 => 0x4000_0000..end,
        1 => end - 4100..end + 10,
        1 => any::<u64>(),
        1 => Just(u64::MAX),
    ]
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        20 => (offset(), value()).prop_map(|(at, value)| Act::Write(at, value)),
        2 => (offset(), prop::collection::vec(any::<u8>(), 0..20)).prop_map(|(at, bytes)| Act::Bytes(at, bytes)),
        2 => offset().prop_map(Act::Read),
        10 => (0_u64..(8 << 20) - 4096, prop::collection::vec(any::<u8>(), 0..256))
            .prop_map(|(at, bytes)| Act::Memory(0x4000_0000 + at, bytes)),
        20 => (any::<bool>(), 0_u16..2, 0_u16..10, buffer(), any::<u32>())
            .prop_map(|(tx, ring, slot, buffer, word)| Act::Descriptor(tx, ring, slot, buffer, word)),
        1 => Just(Act::Reset),
        1 => Just(Act::Power),
        3 => (0_u64..200_000_000).prop_map(Act::Pass),
    ]
}

fn perform(world: &mut World, act: Act) {
    let id = world.id(2);
    match act {
        Act::Write(at, value) => world.write(2, at, value),
        Act::Bytes(at, bytes) => world.fabric.write(world.now, id, at, &bytes),
        Act::Read(at) => {
            world.read(2, at);
        }
        Act::Memory(at, bytes) => world.guests[2].put(at, &bytes),
        Act::Descriptor(tx, ring, slot, buffer, word) => {
            let base = if tx { 0 } else { 0x8000 } + u64::from(ring) * 16;
            let descriptors = world.read(2, base);
            let at = u64::from(descriptors) + u64::from(slot) * 16;
            if (0x4000_0000..0x407f_f000).contains(&at) {
                world.guests[2].put(at, &buffer.to_le_bytes());
                world.guests[2].put(at + 8, &word.to_le_bytes());
            }
            let index = u32::from(slot + 1);
            world.write(2, base + 8, if tx { index << 16 } else { index });
        }
        Act::Reset => world.write(2, HOST_RESET, 1),
        Act::Power => {
            world.fabric.reset(world.now, id);
        }
        Act::Pass(nanos) => {
            // A throttled vector or a training link may be due at any time.
            world.pass(Duration::from_nanos(nanos));
        }
    }
}

/// Hosts 1 and 2 with a good path between them; host 3 is bad and has a cable to both.
fn three() -> World {
    let text = r#"hosts = [{ ports = 2 }, { ports = 2 }, { ports = 2 }]
        cables = [
            { a = "1.0", b = "2.0" },
            { a = "1.0.2", b = "3.0" },
            { a = "2.0.2", b = "3.0.2" },
        ]"#;
    let mut world = World::new(&Topology::parse(text).unwrap());
    world.bring_up();
    for guest in 0..2 {
        world.start(guest, true, 1, 64, 0);
        world.start(guest, false, 1, 64, 0);
        world.post_buffers(guest, 1, 63);
        world.connect(guest, 1, 1, 1, 8);
    }
    // Host 3 begins with a good path to host 1, too.
    for (guest, lane, ring) in [(2, 1, 1), (0, 3, 2)] {
        world.start(guest, true, ring, 64, 0);
        world.start(guest, false, ring, 64, 0);
        world.post_buffers(guest, ring, 63);
        world.connect(guest, lane, ring, ring, 8);
    }
    world
}

fn others_still_work(world: &mut World) {
    world.receive(0, 0);
    world.receive(1, 0);
    world.send(0, 1, &pattern(1, 4096));
    world.send(1, 1, &pattern(2, 4096));
    assert_eq!(world.receive(1, 1)[0].payload, pattern(1, 4096));
    assert_eq!(world.receive(0, 1)[0].payload, pattern(2, 4096));
}

/// A control packet with any content and a right CRC.
fn packet() -> impl Strategy<Value = (u8, Vec<u32>)> {
    let address = (0_u32..4, 0_u32..8, 0_u32..0x50, 0_u32..64)
        .prop_map(|(space, adapter, at, n)| crate::driver::address(space, adapter, at, n));
    let word = prop_oneof![any::<u32>(), 0_u32..8, Just(1 << 31)];
    (
        prop_oneof![1_u8..8, 0_u8..16],
        prop_oneof![3 => Just(0_u32), 1 => 0_u32..8, 1 => any::<u32>()],
        prop_oneof![3 => address, 1 => any::<u32>()],
        prop::collection::vec(word, 0..61),
        any::<bool>(),
    )
        .prop_map(|(kind, route, address, mut data, fitting)| {
            if fitting {
                data.truncate((address >> 13 & 0x3f) as usize);
                data.resize((address >> 13 & 0x3f).min(60) as usize, 0);
            }
            let mut words = vec![0, route, address];
            if kind != 1 {
                words.extend(data);
            }
            words.truncate(63);
            (kind, words)
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn random_registers_and_memory_harm_nobody_else(acts in prop::collection::vec(act(), 1..200)) {
        let mut world = three();
        for act in acts {
            perform(&mut world, act);
            world.fabric.run(world.now, &mut world.record);
        }
        others_still_work(&mut world);
    }

    #[test]
    fn random_control_packets_harm_nobody_else(packets in prop::collection::vec(packet(), 1..60)) {
        let mut world = three();
        for (kind, words) in packets {
            world.send_control(2, kind, &words);
            world.pass(Duration::from_millis(20));
            // Whatever came of it, there is room for more.
            let count = world.take(2, 0).len();
            world.post_buffers(2, 0, u16::try_from(count).unwrap());
        }
        others_still_work(&mut world);
    }
}
