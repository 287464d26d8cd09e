// SPDX-License-Identifier: GPL-2.0-only

//! Tests of the rails: frames, and two links joined by simulated cables.
//!
//! ```text
//!   flow     retransmitting traffic, as an RC queue pair would make it
//!   end      a link with its rings and buffers; the oracle of what comes out
//!   cable    one direction of a rail: speed, latency, loss, bursts, stalls, a receive ring
//!   world    two ends, eight cables each way, one queue of events, a virtual clock
//! ```

mod cable;
mod chaos;
mod directed;
mod end;
mod flow;
mod frames;
mod grid;
mod hostile;
#[path = "../simulation/rng.rs"]
mod rng;
mod world;
