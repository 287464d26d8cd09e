// SPDX-License-Identifier: GPL-2.0-only

//! The control channel as a connection manager uses it.

use vnhi::topology::Topology;

use crate::driver::{
    address, ADAPTER, ENABLE, ERROR, EVENT, PATHS, READ, ROUTER, WRITE, XDOMAIN_REQUEST,
};
use crate::world::World;

#[test]
fn a_router_can_be_enumerated() {
    let mut world = World::pair();
    world.probe(0);
    assert_eq!(world.read(0, 0x3_9640) & 0x3ff, 12);
    let words = world.config_read(0, ROUTER, 0, 0, 9);
    let upstream = words[1] >> 8 & 0x3f;
    assert_eq!(upstream, 3);
    assert_eq!(words[1] >> 14 & 0x3f, 3, "last adapter");
    assert_eq!(words[3] >> 31, 0, "not enumerated yet");
    assert_eq!(
        world.upstream(0),
        upstream,
        "answers carry the upstream adapter"
    );
    // Time management is there, and nothing after it.
    let header = world.config_read(0, ROUTER, 0, words[1] & 0xff, 2)[0];
    assert_eq!(header & 0xffff, 0x0300);
    // Adapters: two lanes and the host interface.
    for (adapter, kind, capabilities) in [(1, 1, vec![3, 1, 6]), (2, 1, vec![1]), (3, 2, vec![])] {
        let words = world.config_read(0, ADAPTER, adapter, 0, 8);
        assert_eq!(words[2] & 0xff_ffff, kind);
        assert_eq!(words[3] >> 20 & 0x3f, adapter);
        for capability in 1..=6 {
            let found = world.capability(0, adapter, capability).is_some();
            assert_eq!(
                found,
                capabilities.contains(&capability),
                "{adapter} {capability}"
            );
        }
    }
    assert_eq!(
        world.config_read(0, ADAPTER, 3, 5, 1)[0] & 0x7ff,
        11,
        "rings"
    );
    world.enumerate(0);
    assert_eq!(world.config_read(0, ROUTER, 0, 3, 1)[0] >> 31, 1);
}

#[test]
fn unique_ids_differ() {
    let mut world = World::new(&Topology::mesh(3, 2).unwrap());
    let mut ids = Vec::new();
    for guest in 0..world.guests.len() {
        world.probe(guest);
        ids.push(world.config_read(guest, ROUTER, 0, 7, 2));
    }
    let count = ids.len();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), count);
}

#[test]
fn three_rings_are_three_rings() {
    let topology = Topology::mesh(2, 1).unwrap().with_hops(3).unwrap();
    let mut world = World::new(&topology);
    assert_eq!(world.read(0, 0x3_9640) & 0x3ff, 3);
    world.probe(0);
    assert_eq!(world.config_read(0, ADAPTER, 3, 5, 1)[0] & 0x7ff, 2);
    // Ring 3 is not there.
    world.write(0, 0x1_9800 + 3 * 32, ENABLE);
    assert_eq!(world.read(0, 0x1_9800 + 3 * 32), 0);
    let refused = world.ask(0, READ, &[0, 0, address(PATHS, 3, 6, 2)]);
    assert_eq!((refused.kind, refused.words[2] & 0xff), (ERROR, 2));
}

#[test]
fn wrong_requests_are_refused_with_the_right_error() {
    let mut world = World::pair();
    world.bring_up();
    for (route, asked, code) in [
        (0, address(ADAPTER, 9, 0, 1), 4),
        (0, address(ADAPTER, 0, 0, 1), 2),
        (0, address(ADAPTER, 1, 0x7f, 1), 2),
        (0, address(ROUTER, 0, 0x1fff, 1), 2),
        (0, address(PATHS, 2, 0, 2), 2),
        (0, address(3, 1, 0, 3), 2),
        // Beyond the cable another domain begins; beyond an adapter that is no lane, nothing.
        (1, address(ROUTER, 0, 0, 1), 15),
        (0x0301, address(ROUTER, 0, 0, 1), 15),
        (2, address(ROUTER, 0, 0, 1), 4),
        (7, address(ROUTER, 0, 0, 1), 4),
    ] {
        let answer = world.ask(0, READ, &[0, route, asked]);
        assert_eq!(answer.kind, ERROR, "{route:x} {asked:x}");
        assert_eq!(answer.words.len(), 3);
        assert_eq!(answer.words[0], 1 << 31);
        assert_eq!(answer.words[1], route);
        assert_eq!(answer.words[2] & 0xff, code, "{route:x} {asked:x}");
    }
    let answer = world.ask(0, WRITE, &[0, 1, address(ROUTER, 0, 5, 1), 0]);
    assert_eq!(answer.kind, ERROR);
    world.fabric.detach(world.now, world.id(1));
    world.run();
    world.control(0);
    let answer = world.ask(0, READ, &[0, 1, address(ROUTER, 0, 0, 1)]);
    assert_eq!((answer.kind, answer.words[2] & 0xff), (ERROR, 0));
}

#[test]
fn packets_with_a_wrong_crc_get_no_answer() {
    let mut world = World::pair();
    world.probe(0);
    world.queue(0, 0, &[0; 16], READ, READ);
    world.queue(0, 0, &[0; 4096], READ, READ);
    world.queue(0, 0, &[0; 2], READ, READ);
    world.run();
    assert_eq!(world.reap(0, 0), 3);
    assert!(world.control(0).is_empty());
    let errors = world.nhi_counters(0).errors;
    assert_eq!((errors.bad_packet, errors.bad_length), (2, 1));
    assert_eq!(world.upstream(0), 3, "and the next one does");
}

#[test]
fn xdomain_packets_reach_the_other_host() {
    let topology = r#"hosts = [{}, { ports = 2 }]
        cables = [{ a = "1.0", b = "2.0.2" }]"#;
    let mut world = World::new(&Topology::parse(topology).unwrap());
    world.bring_up();
    let body = [5 << 27 | 4, 0xdead_beef, 1, 2, 3];
    let mut words = vec![0, 1];
    words.extend(body);
    world.send_control(0, XDOMAIN_REQUEST, &words);
    let got = world.control(1);
    assert_eq!(got.len(), 1);
    assert_eq!(got[0].kind, XDOMAIN_REQUEST);
    assert_eq!(
        got[0].words[..2],
        [1 << 31, 3],
        "the receiver's own adapter"
    );
    assert_eq!(got[0].words[2..], body);
    // And back, as response.
    words[1] = 3;
    world.send_control(1, 7, &words);
    let got = world.control(0);
    assert_eq!((got[0].kind, got[0].words[1]), (7, 1));
    // There is nobody at the other port, and two steps away.
    for route in [1, 5, 0x0103] {
        words[1] = route;
        world.send_control(1, XDOMAIN_REQUEST, &words);
        assert!(world.control(0).is_empty());
    }
    let counters = world.nhi_counters(1).control;
    assert_eq!((counters.xdomain_sent, counters.dropped), (1, 3));
}

#[test]
fn a_host_that_posts_no_buffers_is_not_answered_for_ever() {
    let mut world = World::pair();
    world.bring_up();
    world.stop(0, false, 0);
    world.start(0, false, 0, 10, 1 << 30);
    for _ in 0..1000 {
        let words = [0, 0, address(ROUTER, 0, 0, 60 - 33)];
        let mut bytes: Vec<u8> = words
            .iter()
            .flat_map(|word: &u32| word.to_be_bytes())
            .collect();
        bytes.extend(crc32c::crc32c(&bytes).to_be_bytes());
        world.queue(0, 0, &bytes, READ, READ);
        world.run();
        if world.reap(0, 0) == 0 {
            // The router waits now. With buffers, it goes on.
            world.post_buffers(0, 0, 9);
            world.run();
            assert_eq!(world.take(0, 0).len(), 9);
            assert_eq!(world.reap(0, 0), 1);
            return;
        }
    }
    panic!("a thousand answers wait in the router");
}

#[test]
fn events_can_be_acknowledged() {
    let mut world = World::pair();
    let events = world.bring_up();
    assert_eq!(events[0].len(), 1);
    assert_eq!((events[0][0].kind, events[0][0].words[2]), (EVENT, 1));
    world.send_control(0, ERROR, &[0, 0, 7 | 1 << 8 | 2 << 30]);
    assert!(world.control(0).is_empty());
    assert_eq!(world.nhi_counters(0).errors.bad_packet, 0);
}

#[test]
fn a_flood_from_another_host_leaves_room_for_answers() {
    let mut world = World::pair();
    world.bring_up();
    for _ in 0..1000 {
        world.send_control(0, XDOMAIN_REQUEST, &[0, 1, 1, 2]);
    }
    // Nine buffers are posted; the answer comes after what waits before it.
    world.send_control(1, READ, &[0, 0, address(ROUTER, 0, 0, 1)]);
    let mut kinds = Vec::new();
    for _ in 0..10 {
        kinds.extend(world.control(1).iter().map(|packet| packet.kind));
    }
    assert!(kinds.contains(&READ), "{kinds:?}");
    assert!(kinds.len() < 60);
    assert!(world.nhi_counters(1).control.dropped > 900);
}
