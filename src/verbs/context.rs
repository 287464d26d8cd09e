// SPDX-License-Identifier: GPL-2.0-only

//! A process's context: it has nothing of ours. What it maps hangs on the objects, see
//! [`super::mmap`].

/// `ib_device_ops.alloc_ucontext`
///
/// # Safety
///
/// As the core calls it.
pub unsafe extern "C" fn alloc_ucontext(
    _context: *mut compat::ib_ucontext,
    _udata: *mut compat::ib_udata,
) -> core::ffi::c_int {
    0
}

/// `ib_device_ops.dealloc_ucontext`
///
/// # Safety
///
/// As the core calls it.
pub unsafe extern "C" fn dealloc_ucontext(_context: *mut compat::ib_ucontext) {}

/// `ib_device_ops.disassociate_ucontext`: the device goes away, or to another network namespace,
/// under processes that use it. The core destroys their objects; the pages that they have mapped
/// are theirs alone from then on.
///
/// # Safety
///
/// As the core calls it.
pub unsafe extern "C" fn disassociate_ucontext(_context: *mut compat::ib_ucontext) {}
