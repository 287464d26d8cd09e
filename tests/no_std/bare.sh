#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
# Builds the pure modules for x86_64-unknown-none, a machine without operating system, with a `core`
# compiled on the spot as the kernel does. Needs the sources of the standard library (Debian:
# rust-src) and fetched dependencies. Usage: tests/no_std/bare.sh SCRATCH-DIRECTORY
set -e
target=x86_64-unknown-none
scratch=$(mkdir -p "$1" && cd "$1" && pwd)
sources=$(rustc --print sysroot)/lib/rustlib/src/rust/library
sysroot=$scratch/sysroot
libraries=$sysroot/lib/rustlib/$target/lib
mkdir -p "$libraries"

# `core` uses unstable features by nature.
RUSTC_BOOTSTRAP=1 rustc --crate-name core --crate-type rlib --edition 2021 --target $target \
    -C opt-level=1 -C panic=abort --cap-lints allow \
    "$sources/core/src/lib.rs" --out-dir "$libraries"
echo '#![feature(compiler_builtins)] #![compiler_builtins] #![no_builtins] #![no_std]' \
    > "$scratch/compiler_builtins.rs"
RUSTC_BOOTSTRAP=1 rustc --crate-name compiler_builtins --crate-type rlib --target $target \
    -C panic=abort --cap-lints allow --sysroot "$sysroot" \
    "$scratch/compiler_builtins.rs" --out-dir "$libraries"

cd "$(dirname "$0")/../.."
RUSTFLAGS="--sysroot $sysroot" cargo build --locked --offline --lib --release \
    --no-default-features --target $target --target-dir "$scratch/target"
