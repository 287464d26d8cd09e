// SPDX-License-Identifier: GPL-2.0-only

//! Tests of the handshake: two ends of a cable, with owners that do what they are told, a control
//! channel that loses and delays, and everything that may happen to a cable and its hosts.
//!
//! ```text
//!   world      the two ends, the channel, a queue of events, a virtual clock
//!   directed   what is told in the module's docs, case by case
//!   chaos      anything at any time; then quiet, and both ends must have the same life
//!   envelope   messages as bytes
//! ```

#![allow(clippy::cast_possible_truncation)] // test data is small

mod chaos;
mod directed;
mod envelope;
mod numbers;
#[path = "../simulation/rng.rs"]
mod rng;
mod world;
