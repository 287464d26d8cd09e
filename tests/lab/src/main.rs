// SPDX-License-Identifier: GPL-2.0-only

//! Runs a script in QEMU guests joined by virtual USB4 cables.

fn main() {}
