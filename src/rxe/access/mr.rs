// SPDX-License-Identifier: GPL-2.0-only

//! Memory regions that change: fast registration and invalidation (IBTA vol. 1, 10.6.4, 10.6.5).
//!
//! ```text
//!                 allocate            REG_MR
//!   fast-register ---------> Free -----------------> Valid      lkey, rkey, range, rights change
//!                              ^                       |
//!                              '---- LOCAL_INV, -------'
//!                                    SEND with invalidate
//!   pinned or DMA ---------------------------------> Valid      for ever
//! ```

use super::{AccessError, Facts, Identity, Kind, Pd, Rights};
use crate::rxe::wqe::RegMr;

/// How a region came to be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Origin {
    /// All memory, for kernel users.
    Dma,
    /// Pinned (or paged in on demand) user memory.
    User,
    /// Allocated for fast registration.
    FastRegister,
}

/// The state of a region.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum State {
    /// Has no memory yet.
    Free,
    /// In use.
    Valid,
}

/// The changing part of a memory region. The caller's object embeds it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Region {
    /// How it came to be.
    pub origin: Origin,
    /// Its state.
    pub state: State,
    /// Its protection domain.
    pub pd: Pd,
    /// Local and remote key.
    pub key: u32,
    /// Its rights.
    pub rights: Rights,
    /// First byte.
    pub iova: u64,
    /// Number of bytes.
    pub len: u64,
    /// Windows bound to it.
    pub windows: u32,
}

/// The part of a key that names the object; the low byte is the user's to vary.
pub const KEY_INDEX: u32 = 0xffff_ff00;

impl Region {
    /// What an access check needs.
    pub fn facts(&self) -> Facts {
        Facts {
            kind: match self.origin {
                Origin::Dma => Kind::Dma,
                Origin::User | Origin::FastRegister => Kind::Region,
            },
            valid: self.state == State::Valid,
            lkey: Some(self.key),
            rkey: self.key,
            pd: self.pd,
            rights: self.rights,
            start: self.iova,
            len: self.len,
            zero_based: self.rights.contains(Rights::ZERO_BASED),
        }
    }

    /// Executes REG_MR. `room` is how many bytes the page list can hold.
    pub fn register(&mut self, who: Identity, wr: &RegMr, room: u64) -> Result<(), AccessError> {
        if self.origin != Origin::FastRegister || self.state != State::Free {
            return Err(AccessError::State);
        }
        if self.pd != who.pd {
            return Err(AccessError::Domain);
        }
        if (self.key ^ wr.key) & KEY_INDEX != 0 {
            return Err(AccessError::Key);
        }
        if wr.len > room || wr.iova.checked_add(wr.len).is_none() {
            return Err(AccessError::Range);
        }
        self.key = wr.key;
        self.rights = wr.rights;
        self.iova = wr.iova;
        self.len = wr.len;
        self.state = State::Valid;
        Ok(())
    }

    /// Executes LOCAL_INV, or the invalidation a peer asked for.
    pub fn invalidate(&mut self, who: Identity, key: u32) -> Result<(), AccessError> {
        if self.key != key {
            return Err(AccessError::Key);
        }
        if self.pd != who.pd {
            return Err(AccessError::Domain);
        }
        if self.origin != Origin::FastRegister || self.windows != 0 {
            return Err(AccessError::State);
        }
        self.state = State::Free;
        Ok(())
    }
}
