// SPDX-License-Identifier: GPL-2.0-only

//! Two engines, their users and a link that changes packets: see `checks/engine.rs`.

#![no_main]

#[path = "../checks/engine.rs"]
mod engine;
#[path = "../../support/host.rs"]
mod host;
#[path = "../../support/pair.rs"]
mod pair;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    engine::check(bytes);
});
