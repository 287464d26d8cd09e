// SPDX-License-Identifier: GPL-2.0-only

//! The kernel's C interface as far as this module needs it and the `kernel` crate does not have it.
//!
//! Generated from the headers of the very kernel that the module is built for, see `bindings.h`,
//! `bindgen_allow` and `helpers.c`. All types are our own, none is the `bindings` crate's: cast
//! pointers where both meet.

// `unnecessary_transmutes` is younger than the oldest compiler we take.
#![allow(unknown_lints)]
#![allow(
    clippy::all,
    clippy::as_underscore,
    clippy::cast_lossless,
    clippy::ptr_as_ptr,
    clippy::ref_as_ptr,
    clippy::undocumented_unsafe_blocks,
    dead_code,
    improper_ctypes,
    missing_docs,
    non_camel_case_types,
    non_snake_case,
    non_upper_case_globals,
    unnecessary_transmutes,
    unreachable_pub,
    unsafe_op_in_unsafe_fn
)]

use kernel::ffi;
use pin_init::{MaybeZeroable, Zeroable};

// The types that the kernel's options of bindgen leave out.
type __kernel_size_t = usize;
type __kernel_ssize_t = isize;
type __kernel_ptrdiff_t = isize;

// SAFETY: It is a newtype around `Storage`.
unsafe impl<Storage> Zeroable for __BindgenBitfieldUnit<Storage> where Storage: Zeroable {}

include!(concat!(env!("COMPAT_GENERATED"), "/bindings.rs"));

/// Orders the stores before it before the stores behind it, for other CPUs.
///
/// `kernel::sync::barrier` has it in 7.2, and spells it differently in 7.3.
#[inline]
pub fn smp_wmb() {
    // SAFETY: Has no requirements.
    unsafe { usb4_rxe_smp_wmb() };
}

/// Whether one more line in the log is bearable, for lines that a peer can cause.
pub fn may_log() -> bool {
    // SAFETY: Has no requirements.
    unsafe { usb4_rxe_may_log() }
}

mod layout;
pub use layout::check_layout;
