// SPDX-License-Identifier: GPL-2.0-only

//! What a rail reports as lost is never waited out: every choice of up to three lost frames, in
//! either direction, for every kind of work, ends in a few round trips although the answer timeout
//! is that of NCCL (4.3 s).

use usb4_rxe::rxe::cqe::WcStatus;
use usb4_rxe::rxe::qp::State;
use usb4_rxe::rxe::wqe::{Remote, SendOp, SendTail};

use crate::directed::{Lab, GOOD};
use crate::pair::Setup;

/// A few round trips, all retransmissions and all RNR delays. A timeout is 20,000 times this.
const SOON: u64 = 200_000;

/// How many frames of each direction may be lost.
const FRAMES: u64 = 7;

/// Bytes of a region.
const REGION: usize = 64 << 10;

/// Where the counter of the atomics is.
const COUNTER: usize = 48 << 10;

/// What the requester asks for.
#[derive(Clone, Copy, Debug)]
enum Work {
    /// One WRITE of several packets.
    OneWrite,
    /// Several WRITEs of one packet.
    Writes,
    /// SENDs, the receives come too late for the first try.
    LateSends,
    /// One READ.
    OneRead,
    /// READs, WRITEs and atomics by turns.
    Mixed,
    /// Atomics only.
    Atomics,
}

const WORKS: [Work; 6] = [
    Work::OneWrite,
    Work::Writes,
    Work::LateSends,
    Work::OneRead,
    Work::Mixed,
    Work::Atomics,
];

fn post(lab: &mut Lab, work: Work) -> usize {
    let write = |lab: &Lab, i: usize| SendOp::Write {
        remote: lab.remote(0, i * 4096),
        imm: None,
    };
    let add = |lab: &Lab| SendOp::FetchAdd {
        remote: lab.remote(0, COUNTER),
        add: 1,
    };
    let ops: Vec<(SendOp, usize)> = match work {
        Work::OneWrite => vec![(write(lab, 0), 1400)],
        Work::Writes => (0..5).map(|i| (write(lab, i), 100)).collect(),
        Work::LateSends => {
            for i in 0..3 {
                lab.receive(8_000 + i, 1, 0, 600);
            }
            vec![(SendOp::Send(SendTail::Plain), 500); 3]
        }
        Work::OneRead => vec![(SendOp::Read(lab.remote(0, 64)), 1400)],
        Work::Mixed => vec![
            (write(lab, 0), 300),
            (SendOp::Read(lab.remote(0, 64)), 600),
            (add(lab), 8),
            (write(lab, 1), 100),
            (SendOp::Read(lab.remote(0, 64)), 100),
        ],
        Work::Atomics => vec![(add(lab), 8); 4],
    };
    let count = ops.len();
    for (op, len) in ops {
        lab.send(0, 0, 0, op, len);
    }
    count
}

fn counter(lab: &Lab) -> u64 {
    let bytes = &lab.world.hosts[1].objects.bytes(lab.keys[1])[COUNTER..][..8];
    u64::from_ne_bytes(bytes.try_into().expect("eight"))
}

/// Runs `work` with these frames lost; says what went wrong.
fn survive(work: Work, lost: [&[u64]; 2]) -> Result<(), String> {
    let setup = Setup {
        timeout: 20,
        rnr_timer: 1,
        rd_atomic: 4,
        ..Setup::default()
    };
    let mut lab = Lab::sized(REGION, setup, GOOD, 1_000, 40);
    let before = counter(&lab);
    for (host, frames) in lost.into_iter().enumerate() {
        lab.world.links[host].doom(frames);
    }
    let count = post(&mut lab, work);
    lab.until(SOON);
    let ends = lab.sends(0, 0);
    if ends.len() != count || ends.iter().any(|end| *end != WcStatus::Success) {
        return Err(format!(
            "{work:?}, lost {lost:?}: {} of {count} ended: {ends:?}",
            ends.len()
        ));
    }
    let adds = match work {
        Work::Mixed => 1,
        Work::Atomics => 4,
        _ => 0,
    };
    if counter(&lab).wrapping_sub(before) != adds {
        return Err(format!("{work:?}, lost {lost:?}: atomics not exactly once"));
    }
    // Nobody talks for ever.
    if lab.world.frames > 400 {
        return Err(format!("{work:?}: {} frames", lab.world.frames));
    }
    Ok(())
}

/// Every set of at most `n` numbers below [`FRAMES`].
fn choices(n: usize) -> Vec<Vec<u64>> {
    let mut all = vec![Vec::new()];
    let mut last: Vec<Vec<u64>> = all.clone();
    for _ in 0..n {
        last = last
            .iter()
            .flat_map(|set| {
                let from = set.last().map_or(0, |last| last + 1);
                (from..FRAMES).map(move |next| {
                    let mut longer = set.clone();
                    longer.push(next);
                    longer
                })
            })
            .collect();
        all.extend(last.iter().cloned());
    }
    all
}

#[test]
fn any_three_reported_losses_cost_round_trips_and_no_timeout() {
    let mut bad = Vec::new();
    let mut count = 0;
    for work in WORKS {
        for ours in choices(3) {
            for theirs in choices(3 - ours.len()) {
                count += 1;
                bad.extend(survive(work, [&ours, &theirs]).err());
            }
        }
    }
    println!("{count} cases");
    assert!(
        bad.is_empty(),
        "{} of {count} cases, the first of them: {:#?}",
        bad.len(),
        &bad[..bad.len().min(10)]
    );
}

/// The answer budget bounds a peer that is gone, loss reports or not.
#[test]
fn losing_everything_still_ends() {
    let setup = Setup {
        timeout: 4,
        ..Setup::default()
    };
    let mut lab = Lab::sized(REGION, setup, GOOD, 1_000, 40);
    let all: Vec<u64> = (0..100_000).collect();
    lab.world.links[1].doom(&all);
    let remote: Remote = lab.remote(0, 0);
    lab.send(0, 0, 0, SendOp::Write { remote, imm: None }, 5_000);
    lab.until(8 * 65_536 + 100_000);
    assert_eq!(lab.sends(0, 0), [WcStatus::RetryExceeded]);
    assert_eq!(lab.state(0), State::Err);
    assert!(lab.world.frames < 1_000, "{} frames", lab.world.frames);
}
