// SPDX-License-Identifier: GPL-2.0-only

//! Tests of the rails: frames, and two links joined by simulated cables.
//!
//! ```text
//!   flow     retransmitting traffic, as an RC queue pair would make it
//!   engines  queue pairs of `src/rxe` instead of flows
//!   end      a link with its rings and buffers; the oracle of what comes out
//!   cable    one direction of a rail: speed, latency, loss, bursts, stalls, a receive ring
//!   world    two ends, eight cables each way, one queue of events, a virtual clock
//! ```

#![allow(clippy::cast_possible_truncation)] // test data is small

mod cable;
mod chaos;
mod directed;
mod end;
mod engines;
mod flow;
mod frames;
mod grid;
#[path = "../support/host.rs"]
mod host;
mod hostile;
mod lies;
#[path = "../support/pair.rs"]
mod pair;
#[path = "../simulation/rng.rs"]
mod rng;
mod skew;
mod tallies;
mod with_engine;
mod world;
