// SPDX-License-Identifier: GPL-2.0-only
//! compat
#![allow(missing_docs, non_camel_case_types, non_upper_case_globals, non_snake_case, clippy::all, improper_ctypes, unreachable_pub, dead_code, unsafe_op_in_unsafe_fn)]
use pin_init::MaybeZeroable;
type __kernel_size_t = usize; type __kernel_ssize_t = isize; type __kernel_ptrdiff_t = isize;
mod ffi { pub use kernel::ffi::*; }
include!("bindings.rs");
