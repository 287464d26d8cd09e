// SPDX-License-Identifier: GPL-2.0-only

//! Interrupts of rings, from register to vector.

use std::time::Duration;

use vnhi::command::Command;

use crate::driver::{
    EOF, INTERRUPT_DISABLE, INTERRUPT_ENABLE, SOF, STATUS, STATUS_CLEAR, THROTTLE, VECTOR_MAP,
};
use crate::world::World;

/// Enable bits of transmit and receive ring 1.
const TX_1: u32 = 1 << 1;
const RX_1: u32 = 1 << 13;

/// Rings 1 connected; at guest 1, receive ring 1 on vector 5 and enabled.
fn world() -> World {
    let mut world = World::connected(0, 63);
    let map = world.read(1, VECTOR_MAP + 4);
    world.write(1, VECTOR_MAP + 4, map & !(0xf << 20) | 5 << 20);
    world.write(1, INTERRUPT_ENABLE, RX_1);
    world.write(1, STATUS_CLEAR, u32::MAX);
    world.run();
    world.record.interrupts.clear();
    world
}

#[test]
fn one_interrupt_for_a_batch_until_it_is_handled() {
    let mut world = world();
    for _ in 0..3 {
        world.queue(0, 1, &[1], SOF, EOF);
    }
    world.run();
    assert_eq!(world.interrupts(1, 5), 1);
    world.send(0, 1, &[2]);
    assert_eq!(world.interrupts(1, 5), 0);
    assert_eq!(world.read(1, STATUS) & RX_1, RX_1);
    world.write(1, STATUS_CLEAR, RX_1);
    world.send(0, 1, &[3]);
    assert_eq!(world.interrupts(1, 5), 1);
}

#[test]
fn what_came_while_masked_is_signalled_on_unmasking() {
    let mut world = world();
    world.send(0, 1, &[1]);
    assert_eq!(world.interrupts(1, 5), 1);
    world.write(1, STATUS_CLEAR, RX_1);
    let enabled = world.read(1, INTERRUPT_ENABLE);
    world.write(1, INTERRUPT_ENABLE, enabled & !RX_1);
    world.send(0, 1, &[2]);
    assert_eq!(world.interrupts(1, 5), 0);
    world.write(1, INTERRUPT_ENABLE, enabled);
    world.run();
    assert_eq!(world.interrupts(1, 5), 1);
    world.write(1, INTERRUPT_DISABLE, RX_1);
    assert_eq!(world.read(1, INTERRUPT_ENABLE) & RX_1, 0);
}

#[test]
fn transmit_completions_have_their_own_bit() {
    let mut world = world();
    world.write(0, STATUS_CLEAR, u32::MAX);
    world.write(0, VECTOR_MAP, 2 << 4);
    world.write(0, INTERRUPT_ENABLE, TX_1);
    world.send(0, 1, &[1]);
    assert_eq!(world.interrupts(0, 2), 1);
    assert_eq!(world.read(0, STATUS) & TX_1, TX_1);
}

#[test]
fn throttled_interrupts_come_later() {
    let mut world = world();
    // 128 us, as thunderbolt_net asks for.
    world.write(1, THROTTLE + 5 * 4, 500);
    world.send(0, 1, &[1]);
    assert_eq!(world.interrupts(1, 5), 1);
    world.write(1, STATUS_CLEAR, RX_1);
    world.send(0, 1, &[2]);
    assert_eq!(world.interrupts(1, 5), 0);
    world.pass(Duration::from_micros(127));
    assert_eq!(world.interrupts(1, 5), 0);
    world.pass(Duration::from_micros(1));
    assert_eq!(world.interrupts(1, 5), 1);
    assert_eq!(world.nhi_counters(1).interrupts.throttled, 1);
    let nhi = world.id(1);
    world.command(Command::ThrottleInterrupts {
        nhi,
        gap: Duration::from_millis(5),
    });
    world.write(1, STATUS_CLEAR, RX_1);
    world.send(0, 1, &[3]);
    world.pass(Duration::from_millis(4));
    assert_eq!(world.interrupts(1, 5), 0);
    world.pass(Duration::from_millis(1));
    assert_eq!(world.interrupts(1, 5), 1);
}

#[test]
fn lost_interrupts_stay_pending() {
    let mut world = world();
    let nhi = world.id(1);
    world.command(Command::LoseInterrupts { nhi, count: 1 });
    world.send(0, 1, &[1]);
    assert_eq!(world.interrupts(1, 5), 0);
    assert_eq!(world.nhi_counters(1).interrupts.lost, 1);
    // The status is there for a driver that looks, and for a machine that asks for what is pending.
    assert_eq!(world.read(1, STATUS) & RX_1, RX_1);
    let now = world.now;
    world.fabric.resignal(now, nhi, &mut world.record);
    assert_eq!(world.interrupts(1, 5), 1);
    world.command(Command::LoseInterruptsAtRandom {
        nhi,
        probability: 1.0,
    });
    world.write(1, STATUS_CLEAR, RX_1);
    world.send(0, 1, &[2]);
    assert_eq!(world.interrupts(1, 5), 0);
}
