// SPDX-License-Identifier: GPL-2.0-only

//! The kernel's CRC-32, which uses carry-less multiplication where the processor has it.

use crate::rxe::icrc::Crc32;

/// `crc32_le`.
#[derive(Clone, Copy)]
pub struct KernelCrc32;

impl Crc32 for KernelCrc32 {
    #[inline]
    fn update(state: u32, bytes: &[u8]) -> u32 {
        // SAFETY: The pointer is valid for reading as many bytes. The function saves the vector
        // registers it uses, in any context.
        unsafe { compat::crc32_le(state, bytes.as_ptr().cast(), bytes.len()) }
    }
}
