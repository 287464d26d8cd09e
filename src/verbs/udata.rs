// SPDX-License-Identifier: GPL-2.0-only

//! What a process sends along with a verb, and gets back: the provider's private part.

use core::ptr::NonNull;

use kernel::error::to_result;
use kernel::prelude::*;

/// The private part of a verb that a process called. Kernel users' verbs have none.
pub struct Udata(NonNull<compat::ib_udata>);

impl Udata {
    /// Wraps what the core handed in, if it is anything.
    ///
    /// # Safety
    ///
    /// `raw` is null, or the driver's part of a `uverbs_attr_bundle` that lives at least as long as
    /// the result.
    pub unsafe fn new(raw: *mut compat::ib_udata) -> Option<Self> {
        NonNull::new(raw).map(Self)
    }

    /// Wraps the part of a whole bundle of attributes.
    ///
    /// # Safety
    ///
    /// `bundle` is null, or lives at least as long as the result.
    pub unsafe fn of(bundle: *mut compat::uverbs_attr_bundle) -> Option<Self> {
        if bundle.is_null() {
            return None;
        }
        // SAFETY: The bundle is valid, as our caller promises, and so is its part.
        unsafe { Self::new(compat::usb4_rxe_driver_udata(bundle)) }
    }

    fn raw(&self) -> *mut compat::ib_udata {
        self.0.as_ptr()
    }

    /// Bytes the process sent.
    pub fn in_len(&self) -> usize {
        // SAFETY: Valid as long as `self`, see `new`.
        unsafe { (*self.raw()).inlen }
    }

    /// Bytes the process has room for.
    pub fn out_len(&self) -> usize {
        // SAFETY: Valid as long as `self`, see `new`.
        unsafe { (*self.raw()).outlen }
    }

    /// The process's context.
    pub fn context(&self) -> *mut compat::ib_ucontext {
        // SAFETY: Part of a bundle, see `new`.
        unsafe { compat::rdma_udata_to_ucontext(self.raw()) }
    }

    /// Reads what the process sent.
    ///
    /// # Errors
    ///
    /// `EINVAL` if that is too short, `EOPNOTSUPP` if it is longer and not zero there, `EFAULT`.
    pub fn read<const N: usize>(&self) -> Result<[u8; N]> {
        let mut bytes = [0u8; N];
        // SAFETY: Part of a bundle, see `new`; `bytes` has room for `N` bytes.
        to_result(unsafe {
            compat::_ib_copy_validate_udata_in(self.raw(), bytes.as_mut_ptr().cast(), N, N)
        })?;
        Ok(bytes)
    }

    /// Answers, as much as the process has room for.
    ///
    /// # Errors
    ///
    /// `EFAULT`.
    pub fn respond(&self, bytes: &[u8]) -> Result {
        // SAFETY: Part of a bundle, see `new`; `bytes` are as many as said.
        to_result(unsafe {
            compat::_ib_respond_udata(self.raw(), bytes.as_ptr().cast(), bytes.len())
        })
    }
}
