// SPDX-License-Identifier: GPL-2.0-only

//! Goodput over rails, loss and speeds, as a reviewed snapshot.
//!
//! A cell is the payload that arrived in order, in percent of what the rails could carry if every
//! frame were 4096 bytes of payload. Flows write messages of 1 MiB without pause.

use std::fmt::Write;
use std::thread;

use usb4_rxe::rxe::time::Nanos;

use crate::cable::Model;
use crate::world::{Traffic, World};

/// Frames lost of 10^9.
const LOSSES: [u64; 4] = [0, 1_000, 100_000, 1_000_000];
const RAILS: [usize; 4] = [1, 2, 4, 8];
/// How many times slower than a fast rail the rails are, in turn.
const SPEEDS: [&[u64]; 3] = [&[1], &[1, 2], &[1, 4]];

/// One cell: goodput and frames per packet.
#[derive(Clone, Copy)]
struct Cell {
    goodput: f64,
    frames: f64,
}

fn cell(flows: u16, rails: usize, slower: &[u64], loss_ppb: u64) -> Cell {
    let models: Vec<Model> = (0..rails)
        .map(|number| Model {
            frame_ns: 2_730 * slower[number % slower.len()],
            loss_ppb,
            ..Model::default()
        })
        .collect();
    let traffic = Traffic {
        flows,
        both_ways: false,
        message: 256,
        messages: 256 / u32::from(flows),
        window: 2048,
    };
    let mut world = World::new(&models, traffic, 7);
    world.kick();
    world.finish(Nanos::from_millis(1_000));
    world.no_overflow();
    assert_eq!(world.misbound(), 0, "payload bound to its header");
    Cell {
        goodput: 100.0 * world.goodput(),
        frames: world.frames_per_packet(),
    }
}

/// One row for each number of rails and each mix of speeds.
fn rows(flows: u16) -> (String, Vec<[Cell; 4]>) {
    let mut text = format!(
        "{flows} flow(s), 1 MiB writes: goodput in % of the rails, frames per packet without loss\n\
         rails  slower by  no loss    1e-6    1e-4    1e-3  frames\n"
    );
    let mut all = Vec::new();
    for rails in RAILS {
        for slower in SPEEDS {
            if rails == 1 && slower.len() > 1 {
                continue;
            }
            let row = LOSSES.map(|loss| cell(flows, rails, slower, loss));
            let mix = slower.iter().map(u64::to_string).collect::<Vec<_>>();
            write!(text, "{rails:>5}  {:>9}", mix.join(":")).unwrap();
            for cell in row {
                write!(text, "  {:>6.2}", cell.goodput).unwrap();
            }
            writeln!(text, "  {:>6.3}", row[0].frames).unwrap();
            all.push(row);
        }
    }
    (text, all)
}

#[test]
fn goodput() {
    let many = thread::spawn(|| rows(16));
    let (one_text, one) = rows(1);
    let (many_text, many) = many.join().expect("the other half");
    insta::assert_snapshot!("goodput", format!("{one_text}\n{many_text}"));
    for row in one.iter().chain(&many) {
        let [none, _, rare, _] = *row;
        assert!(none.goodput >= 97.0, "{} % without loss", none.goodput);
        assert!(rare.goodput >= 90.0, "{} % at 1e-4", rare.goodput);
        assert!(none.frames <= 1.05, "{} frames a packet", none.frames);
    }
}
