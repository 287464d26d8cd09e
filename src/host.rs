// SPDX-License-Identifier: GPL-2.0-only

//! What the kernel gives the pure modules, made from host libraries.
//!
//! This file belongs to the host root alone; the kernel root has its own counterpart.

use crate::rxe::icrc::Crc32;

/// CRC-32 from `crc32fast`, which uses carry-less multiplication where the processor has it.
#[derive(Clone, Copy, Debug)]
pub struct HostCrc32;

impl Crc32 for HostCrc32 {
    #[inline]
    fn update(state: u32, bytes: &[u8]) -> u32 {
        // crc32fast inverts at both ends, the contract does not.
        let mut hasher = crc32fast::Hasher::new_with_initial(!state);
        hasher.update(bytes);
        !hasher.finalize()
    }
}
