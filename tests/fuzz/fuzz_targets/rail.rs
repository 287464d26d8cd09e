// SPDX-License-Identifier: GPL-2.0-only

//! A hostile peer on three rails: no panic, packets in order and once, rings never overrun.

#![no_main]

#[path = "../checks/rail.rs"]
mod rail;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    rail::check(bytes);
});
