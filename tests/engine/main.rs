// SPDX-License-Identifier: GPL-2.0-only

//! The engine by itself: against captures of upstream rxe, as tables, without allocation.

#![allow(clippy::cast_possible_truncation)] // test data is small

#[path = "../support/host.rs"]
mod host;
#[path = "../support/pair.rs"]
mod pair;

#[path = "../fuzz/checks/engine.rs"]
mod operations;

mod adversary;
mod cases;
mod goldens;
mod hostile;
mod tables;
