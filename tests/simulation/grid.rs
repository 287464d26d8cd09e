// SPDX-License-Identifier: GPL-2.0-only

//! Throughput of one connection by loss, round trip and window: a reviewed snapshot.
//!
//! RDMA WRITEs of 64 KiB at 4 KiB MTU over a 48 Gb/s link, for 4 ms of virtual time. "rail" means
//! that the link reports what it loses, "plain" that only later packets and timeouts show it.

use std::fmt::Write as _;

use usb4_rxe::rxe::mtu::Mtu;
use usb4_rxe::rxe::wqe::SendOp;

use crate::directed::Lab;
use crate::link::Faults;
use crate::pair::Setup;

/// Virtual time of one cell.
const TIME: u64 = 4_000_000;
/// Bytes of one request.
const LEN: usize = 64 << 10;
/// Speed of the link.
const GBPS: u64 = 48;

fn gbps(loss: u64, round_trip: u64, window: u32, rail: bool) -> f64 {
    let faults = Faults {
        loss,
        burst: loss,
        rail,
        budget: u32::MAX,
        ..Faults::default()
    };
    let setup = Setup {
        mtu: Mtu::M4096,
        window,
        // 524 us.
        timeout: 7,
        ..Setup::default()
    };
    let mut lab = Lab::new(setup, [faults; 2], round_trip / 2, GBPS);
    for _ in 0..(TIME * GBPS / 8) / LEN as u64 + 1 {
        let remote = lab.remote(0, 0);
        lab.send(0, 0, 0, SendOp::Write { remote, imm: None }, LEN);
    }
    lab.until(TIME);
    let done = lab.world.hosts[0].nodes[0].queues.scq.len();
    (done * LEN * 8) as f64 / TIME as f64
}

#[test]
fn throughput() {
    let mut table = String::from("Gb/s of 48; loss per 1000 packets, each way\n");
    for rail in [true, false] {
        for window in [128, 512, 1024] {
            for round_trip in [4_000, 20_000, 100_000] {
                let cells: Vec<String> = [0, 1, 5, 20, 100]
                    .iter()
                    .map(|&loss| {
                        let gbps = gbps(loss, round_trip, window, rail);
                        format!("{loss:>3}: {gbps:>5.1}")
                    })
                    .collect();
                let kind = if rail { "rail " } else { "plain" };
                writeln!(
                    table,
                    "{kind} window {window:>4} RTT {:>3} us | {}",
                    round_trip / 1000,
                    cells.join(" | ")
                )
                .expect("a string");
            }
        }
    }
    insta::assert_snapshot!(table);
}
