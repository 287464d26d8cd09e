// SPDX-License-Identifier: GPL-2.0-only

//! Goodput over rails, loss and speeds, as reviewed snapshots: flows, and the engine with its queue
//! pairs.
//!
//! A cell is the payload that arrived in order, in percent of what the rails could carry if every
//! frame were 4096 bytes of payload. Messages of 1 MiB are written without pause.
//!
//! No run here is long enough for a frame loss of 1e-6. That column takes what four losses cost in
//! a run that has just those, and spreads the cost of one over a million frames.

use std::fmt::Write;
use std::thread;

use usb4_rxe::rxe::time::Nanos;

use crate::cable::Model;
use crate::engines::Engines;
use crate::world::{Traffic, World};

/// Frames lost of 10^9: the columns.
const LOSSES: [u64; 4] = [0, RARE, 100_000, 1_000_000];
/// One in a million, see above.
const RARE: u64 = 1_000;
/// Losses of a run that stands for it.
const SINGLE: u64 = 4;
const RAILS: [usize; 4] = [1, 2, 4, 8];
/// How many times slower than a fast rail the rails are, in turn.
const SPEEDS: [&[u64]; 3] = [&[1], &[1, 2], &[1, 4]];

/// Who writes.
#[derive(Clone, Copy)]
enum Writer {
    Flows(u16),
    QueuePairs(u16),
}

impl Writer {
    fn count(self) -> u16 {
        match self {
            Self::Flows(count) | Self::QueuePairs(count) => count,
        }
    }

    /// Messages of one run, by loss: more where losses are few.
    fn messages(self, loss_ppb: u64) -> u32 {
        match (self, loss_ppb) {
            (Self::Flows(_), 100_000) => 512,
            (Self::Flows(_), _) => 256,
            (Self::QueuePairs(_), 100_000) => 512,
            (Self::QueuePairs(_), 1_000_000) => 128,
            (Self::QueuePairs(_), _) => 256,
        }
    }
}

/// One cell: goodput in percent, and frames per packet.
#[derive(Clone, Copy)]
struct Cell {
    goodput: f64,
    frames: f64,
}

/// Packets of a message.
const MESSAGE: u32 = 256;

fn models(rails: usize, slower: &[u64], loss_ppb: u64) -> Vec<Model> {
    let model = |number: usize| Model {
        frame_ns: 2_730 * slower[number % slower.len()],
        loss_ppb,
        ..Model::default()
    };
    (0..rails).map(model).collect()
}

/// Runs `messages` writes, with single losses if asked for.
fn run(writer: Writer, models: &[Model], messages: u32, losses: u64) -> Cell {
    let count = writer.count();
    let traffic = Traffic {
        flows: if matches!(writer, Writer::Flows(_)) {
            count
        } else {
            0
        },
        both_ways: false,
        message: MESSAGE,
        messages: messages / u32::from(count),
        window: 2048,
    };
    let mut world = World::new(models, traffic, 7);
    if matches!(writer, Writer::QueuePairs(_)) {
        world.engines = Some(Engines::new(count, traffic.messages as usize));
    }
    let packets = f64::from(messages * MESSAGE);
    for number in 0..losses {
        // Between a fifth and four fifths of the run, on one rail after the other.
        let rail = number as usize % models.len();
        let share = 4096.0e9 / models[rail].frame_ns as f64 / world.capacity();
        let at = packets * share * (0.23 + 0.6 * number as f64 / losses as f64);
        world.cables[0][rail].doomed.push(at as u64);
    }
    world.kick();
    world.finish(Nanos::from_millis(10_000));
    if let Some(engines) = &world.engines {
        engines.check();
    }
    world.no_overflow();
    assert_eq!(world.misbound(), 0, "payload bound to its header");
    let lost: u64 = world.cables[0].iter().map(|cable| cable.lost).sum();
    assert!(losses == 0 || lost == losses, "{lost} frames lost");
    Cell {
        goodput: 100.0 * world.goodput(),
        frames: world.frames_per_packet(),
    }
}

fn row(writer: Writer, rails: usize, slower: &[u64]) -> [Cell; 4] {
    let none = run(writer, &models(rails, slower, 0), writer.messages(0), 0);
    LOSSES.map(|loss| match loss {
        0 => none,
        RARE => {
            let messages = writer.messages(RARE);
            let some = run(writer, &models(rails, slower, 0), messages, SINGLE);
            // All in times of one frame on all rails together. Goodput counts nine tenths less one.
            let packets = 0.8 * f64::from(messages * MESSAGE);
            let cost = packets * (100.0 / some.goodput - 100.0 / none.goodput) / SINGLE as f64;
            let time = 100.0 / none.goodput + cost * none.frames / 1e6;
            Cell {
                goodput: 100.0 / time,
                ..none
            }
        }
        _ => run(
            writer,
            &models(rails, slower, loss),
            writer.messages(loss),
            0,
        ),
    })
}

/// One row for each number of rails and each mix of speeds.
fn rows(name: &str, writer: Writer) -> (String, Vec<[Cell; 4]>) {
    let mut text = format!(
        "{} {name}, 1 MiB writes: goodput in % of the rails, frames per packet without loss\n\
         rails  slower by  no loss    1e-6    1e-4    1e-3  frames\n",
        writer.count(),
    );
    let mut all = Vec::new();
    for rails in RAILS {
        for slower in SPEEDS {
            if rails == 1 && slower.len() > 1 {
                continue;
            }
            let row = row(writer, rails, slower);
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

/// The grid of one and of sixteen writers, and what is expected of every cell.
fn grid(name: &'static str, writers: fn(u16) -> Writer) -> String {
    let many = thread::spawn(move || rows(name, writers(16)));
    let (one_text, one) = rows(name, writers(1));
    let (many_text, many) = many.join().expect("the other half");
    let text = format!("{one_text}\n{many_text}");
    for (writers, rows) in [(1, &one), (16, &many)] {
        for row in rows {
            let [none, single, rare, often] = *row;
            assert!(
                none.goodput >= 97.0,
                "{} % without loss\n{text}",
                none.goodput
            );
            assert!(
                single.goodput >= 97.0,
                "{} % at 1e-6\n{text}",
                single.goodput
            );
            assert!(single.goodput <= none.goodput + 0.01, "losses cost\n{text}");
            assert!(rare.goodput >= 90.0, "{} % at 1e-4\n{text}", rare.goodput);
            // Go-back-N of one writer repeats what is under way on all rails.
            let least = if writers == 1 { 40.0 } else { 90.0 };
            assert!(
                often.goodput >= least,
                "{} % at 1e-3\n{text}",
                often.goodput
            );
            assert!(none.frames <= 1.03, "{} frames a packet", none.frames);
        }
    }
    text
}

#[test]
fn goodput() {
    insta::assert_snapshot!("goodput", grid("flow(s)", Writer::Flows));
}

#[test]
fn goodput_of_the_engine() {
    insta::assert_snapshot!("engine", grid("queue pair(s)", Writer::QueuePairs));
}

/// Writes of 1 MiB, so many at a time, on rails that have nothing else to do.
#[test]
fn goodput_of_few_writes_at_a_time() {
    let mut text = String::from(
        "1 queue pair, so many writes of 1 MiB at a time: goodput in % of the rails;\n\
         time of a lone write in us, and that of its frames on the rails alone\n\
         rails      1      2      4     16    lone  frames\n",
    );
    for rails in RAILS {
        write!(text, "{rails:>5}").unwrap();
        let mut lone = 0.0;
        let mut row = Vec::new();
        for depth in [1, 2, 4, 16] {
            let total = 64;
            let none = Traffic {
                flows: 0,
                both_ways: false,
                message: 1,
                messages: 0,
                window: 1,
            };
            let mut world = World::new(&models(rails, &[1], 0), none, 7);
            world.rest();
            let start = world.now;
            world.engines = Some(Engines::with_depth(1, total, depth));
            world.kick();
            world.finish(Nanos::from_millis(1_000));
            world.engines.as_ref().expect("engines").check();
            let seconds = world.now.since(start).get() as f64 / 1e9;
            let goodput = 100.0 * (total << 20) as f64 / seconds / world.capacity();
            if depth == 1 {
                lone = seconds * 1e6 / total as f64;
            }
            write!(text, "  {goodput:>5.2}").unwrap();
            row.push(goodput);
        }
        let frames = 261.0 * 2.730 / rails as f64;
        writeln!(text, "  {lone:>6.1}  {frames:>6.1}").unwrap();
        // What a message cannot have of the rails is the way there and back, and the end of its last
        // train; the next message fills that.
        assert!(
            row[0] >= [90.0, 85.0, 65.0, 70.0][rails.ilog2() as usize],
            "{text}"
        );
        assert!(
            row.windows(2).all(|pair| pair[0] <= pair[1] + 0.5),
            "{text}"
        );
        assert!(row[3] >= 97.0, "{text}");
    }
    insta::assert_snapshot!("few", text);
}
