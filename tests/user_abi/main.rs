// SPDX-License-Identifier: GPL-2.0-only

//! What we share with librxe: entries as it writes them, as a hostile process writes them, and as
//! we write them for kernel users; completions as it reads them.

#![allow(clippy::cast_possible_truncation)] // test data is small

#[path = "../fuzz/checks/user_abi.rs"]
mod user_abi_check;

mod completions;
mod hostile;
mod kernel;
mod librxe;
