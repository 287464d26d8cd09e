// SPDX-License-Identifier: GPL-2.0-only

//! The tables, written out for review.

use core::fmt::Write;
use usb4_rxe::rxe::mtu::Mtu;
use usb4_rxe::rxe::opcode::Opcode;
use usb4_rxe::rxe::time::{AckTimeout, Nanos, RnrTimer, Time};

#[test]
fn opcode_table() {
    let mut table = String::new();
    for opcode in Opcode::all() {
        let f = opcode.facts();
        writeln!(
            table,
            "{:#04x} {:<32} {:?} {:<12} {:<6} {:<15} {:<7} {:<17} {:?}",
            f.code,
            f.name,
            f.service,
            format!("{:?}", f.kind),
            format!("{:?}", f.position),
            format!("{:?}", f.chain),
            format!("{:?}", f.payload),
            format!("{:?}", f.receive),
            f.kind.direction(),
        )
        .expect("strings grow");
        assert_eq!(Opcode::from_code(f.code), Some(opcode));
    }
    insta::assert_snapshot!(table);
    let known = (0..=255).filter_map(Opcode::from_code).count();
    assert_eq!(known, Opcode::all().count());
}

#[test]
fn time_tables() {
    let mut table = String::from("code  RNR delay        ACK timeout\n");
    for code in 0..32 {
        let rnr = RnrTimer::new(code).expect("five bits").delay();
        let ack = AckTimeout::new(code).expect("five bits").span();
        let ack = ack.map_or("infinite".into(), |ns| format!("{} ns", ns.get()));
        writeln!(table, "{code:>4}  {:>12} ns  {ack}", rnr.get()).expect("strings grow");
    }
    insta::assert_snapshot!(table);
    assert_eq!(RnrTimer::new(32), None);
    assert_eq!(AckTimeout::new(32), None);
}

#[test]
fn time_saturates() {
    assert_eq!(Time::NEVER.after(Nanos(1)), Time::NEVER);
    assert_eq!(Time(5).since(Time(7)), Nanos::ZERO);
    assert_eq!(Time(7).since(Time(5)), Nanos(2));
    assert_eq!(Nanos(u64::MAX).saturating_add(Nanos(1)), Nanos(u64::MAX));
    assert_eq!(Nanos::from_millis(u64::MAX), Nanos(u64::MAX));
    assert_eq!(Time(3).earlier_of(Time(2)), Time(2));
}

#[test]
fn mtu_counts_packets() {
    for mtu in Mtu::ALL {
        let bytes = mtu.bytes();
        assert_eq!(Mtu::from_code(mtu.code()), Some(mtu));
        assert_eq!(mtu.packets(0), 1);
        assert_eq!(mtu.packets(1), 1);
        assert_eq!(mtu.packets(bytes), 1);
        assert_eq!(mtu.packets(bytes + 1), 2);
        assert_eq!(
            u64::from(mtu.packets(u32::MAX)),
            (1u64 << 32) / u64::from(bytes)
        );
    }
    assert_eq!(Mtu::from_code(0), None);
    assert_eq!(Mtu::from_code(6), None);
}
