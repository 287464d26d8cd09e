// SPDX-License-Identifier: GPL-2.0-only

//! Memory access: who may touch which bytes (IBTA vol. 1, 10.6).
//!
//! A key names a region or a window. The caller looks it up ([`Memory::region`]) and hands back
//! the object's [`Facts`]; the decision is made here, for every packet anew, so that an
//! invalidated key stops a message in its middle:
//!
//! ```text
//!   key from packet or SGE --Memory::region--> (handle, Facts) --check--> address in the region
//!                                                   |                      or AccessError
//!                   valid? key equal? PD? window's QP? rights? range?
//! ```
//!
//! [`mr`] and [`mw`] hold the rules for objects that change: fast registration, invalidation,
//! binding. The caller's objects embed their state and call them under its own lock.
//!
//! [`Memory::region`]: super::env::Memory::region

pub mod blocks;
pub mod mr;
pub mod mw;
pub mod paging;
mod rights;

pub use rights::Rights;

use super::qpn::Qpn;

/// A protection domain, by the caller's number.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Pd(pub u32);

/// Who asks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Identity {
    /// The queue pair's protection domain.
    pub pd: Pd,
    /// The queue pair.
    pub qpn: Qpn,
}

/// What kind of object a key names.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// All memory, kernel users only: no bounds.
    Dma,
    /// A memory region.
    Region,
    /// A memory window of type 1: belongs to a protection domain.
    WindowType1,
    /// A memory window of type 2B: belongs to one queue pair.
    WindowType2 {
        /// That queue pair.
        qpn: Qpn,
    },
}

/// What the caller knows about a key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Facts {
    /// The kind of object.
    pub kind: Kind,
    /// In the valid state (and, for a window, its region too).
    pub valid: bool,
    /// The whole local key; `None` if there is none (windows).
    pub lkey: Option<u32>,
    /// The whole remote key.
    pub rkey: u32,
    /// The object's protection domain.
    pub pd: Pd,
    /// The object's rights.
    pub rights: Rights,
    /// Start address.
    pub start: u64,
    /// Length in bytes.
    pub len: u64,
    /// Addresses count from zero, not from `start`.
    pub zero_based: bool,
}

/// Which of the two keys an access came with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Side {
    /// From a work request of our own user.
    Local,
    /// From a packet.
    Remote,
}

/// An access somebody wants.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Access {
    /// The key.
    pub key: u32,
    /// Which key it is.
    pub side: Side,
    /// The rights it takes.
    pub rights: Rights,
    /// First byte.
    pub va: u64,
    /// Number of bytes.
    pub len: u64,
}

/// Why an access or a change of an object is refused.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum AccessError {
    /// No object has this key, or not any more.
    Key,
    /// The object is not in the state this takes.
    State,
    /// The object belongs to another protection domain.
    Domain,
    /// The window is bound to another queue pair.
    QueuePair,
    /// The object does not permit this.
    Rights,
    /// Bytes outside of the object.
    Range,
}

/// Decides about an access; the result is the address of the first byte in the terms of the region
/// (a zero-based window is translated).
pub fn check(facts: &Facts, who: Identity, want: &Access) -> Result<u64, AccessError> {
    let key_matches = match want.side {
        Side::Local => facts.lkey == Some(want.key),
        Side::Remote => facts.rkey == want.key,
    };
    if !key_matches {
        return Err(AccessError::Key);
    }
    if !facts.valid {
        return Err(AccessError::State);
    }
    if facts.pd != who.pd {
        return Err(AccessError::Domain);
    }
    if let Kind::WindowType2 { qpn } = facts.kind {
        if qpn != who.qpn {
            return Err(AccessError::QueuePair);
        }
    }
    if !facts.rights.contains(want.rights) {
        return Err(AccessError::Rights);
    }
    if facts.kind == Kind::Dma {
        return match want.va.checked_add(want.len) {
            Some(_) => Ok(want.va),
            None => Err(AccessError::Range),
        };
    }
    let offset = if facts.zero_based {
        want.va
    } else {
        want.va.checked_sub(facts.start).ok_or(AccessError::Range)?
    };
    match facts.len.checked_sub(want.len) {
        Some(room) if offset <= room => facts.start.checked_add(offset).ok_or(AccessError::Range),
        _ => Err(AccessError::Range),
    }
}

#[cfg(test)]
mod tests;
