// SPDX-License-Identifier: GPL-2.0-only

//! Entries of shared queues to requests: no panic, nothing out of bounds, nothing made up.

#![no_main]

#[path = "../checks/user_abi.rs"]
mod user_abi;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    user_abi::check(bytes);
});
