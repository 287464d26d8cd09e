// SPDX-License-Identifier: GPL-2.0-only

//! Bytes to packet: no panic, no packet with a wrong ICRC, what is parsed can be said again.

#![no_main]

#[path = "../checks/parse.rs"]
mod parse;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    parse::check(bytes);
});
