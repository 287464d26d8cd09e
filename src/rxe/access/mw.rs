// SPDX-License-Identifier: GPL-2.0-only

//! Memory windows, types 1 and 2B (IBTA vol. 1, 10.6.7).
//!
//! ```text
//!   type 1    --allocate--> Valid, empty <--BIND_MW--> Valid, bound    (verb or send queue)
//!   type 2B   --allocate--> Free --BIND_MW--> Valid, bound to this QP
//!                             ^                  |
//!                             '-- LOCAL_INV, SEND with invalidate
//! ```

use super::mr::{self, KEY_INDEX};
use super::{AccessError, Facts, Identity, Kind, Pd, Rights};
use crate::rxe::qpn::Qpn;
use crate::rxe::wqe::BindMw;

/// The two kinds of windows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Type {
    /// Belongs to a protection domain; rebound at will.
    One,
    /// Belongs to the queue pair that bound it; must be invalidated before it is bound again.
    TwoB,
}

/// The state of a window.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum State {
    /// Type 2B, not bound.
    Free,
    /// Type 1, or type 2B when bound.
    Valid,
}

/// A memory window. The caller's object embeds it and knows the region it is bound to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Window {
    /// Its kind.
    pub kind: Type,
    /// Its state.
    pub state: State,
    /// Its protection domain.
    pub pd: Pd,
    /// Its key.
    pub rkey: u32,
    /// Its rights.
    pub rights: Rights,
    /// First byte, in the region's addresses.
    pub addr: u64,
    /// Number of bytes; 0 when bound to nothing.
    pub len: u64,
    /// The queue pair that bound it (type 2B).
    pub qpn: Qpn,
}

/// What a bind did to the window's tie to regions.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Bound {
    /// Now tied to the region of the request.
    ToRegion,
    /// Now tied to nothing.
    ToNothing,
}

impl Window {
    /// A new window.
    pub const fn new(kind: Type, pd: Pd, rkey: u32) -> Self {
        Self {
            kind,
            state: match kind {
                Type::One => State::Valid,
                Type::TwoB => State::Free,
            },
            pd,
            rkey,
            rights: Rights::NONE,
            addr: 0,
            len: 0,
            qpn: Qpn::new(0),
        }
    }

    /// What an access check needs; `region_valid` tells about the region it is bound to.
    pub fn facts(&self, region_valid: bool) -> Facts {
        Facts {
            kind: match self.kind {
                Type::One => Kind::WindowType1,
                Type::TwoB => Kind::WindowType2 { qpn: self.qpn },
            },
            valid: self.state == State::Valid && self.len != 0 && region_valid,
            lkey: None,
            rkey: self.rkey,
            pd: self.pd,
            rights: self.rights,
            start: self.addr,
            len: self.len,
            zero_based: self.rights.contains(Rights::ZERO_BASED),
        }
    }

    /// Executes BIND_MW. `region` is what `wr.mr_lkey` names, if `wr.len` is not 0.
    ///
    /// The caller counts windows per region: after success it unties the old region and ties the
    /// new one as told.
    pub fn bind(
        &mut self,
        who: Identity,
        region: Option<&mr::Region>,
        wr: &BindMw,
    ) -> Result<Bound, AccessError> {
        if self.rkey != wr.mw_rkey {
            return Err(AccessError::Key);
        }
        if self.pd != who.pd {
            return Err(AccessError::Domain);
        }
        match self.kind {
            Type::One => {
                // o10-36.2.2
                if wr.rights.contains(Rights::ZERO_BASED) {
                    return Err(AccessError::Rights);
                }
            }
            Type::TwoB => {
                // o10-37.2.30, o10-37.2.40
                if self.state != State::Free || wr.len == 0 {
                    return Err(AccessError::State);
                }
            }
        }
        let bound = match region {
            Some(region) if wr.len != 0 => {
                permits(region, who, wr)?;
                Bound::ToRegion
            }
            _ if wr.len == 0 => Bound::ToNothing,
            _ => return Err(AccessError::Key),
        };
        self.rkey = (self.rkey & KEY_INDEX) | (wr.new_rkey & !KEY_INDEX);
        self.rights = wr.rights;
        self.state = State::Valid;
        self.addr = wr.addr;
        self.len = wr.len;
        self.qpn = who.qpn;
        Ok(bound)
    }

    /// Executes LOCAL_INV, or the invalidation a peer asked for. The caller unties the region.
    pub fn invalidate(&mut self, who: Identity, key: u32) -> Result<(), AccessError> {
        if self.rkey != key {
            return Err(AccessError::Key);
        }
        if self.pd != who.pd {
            return Err(AccessError::Domain);
        }
        // o10-37.2.26: a type 1 window is unbound by binding it to nothing.
        if self.kind == Type::One || self.state != State::Valid {
            return Err(AccessError::State);
        }
        if self.qpn != who.qpn {
            return Err(AccessError::QueuePair);
        }
        self.state = State::Free;
        self.rights = Rights::NONE;
        self.addr = 0;
        self.len = 0;
        Ok(())
    }
}

/// Whether `region` may carry the window `wr` asks for.
fn permits(region: &mr::Region, who: Identity, wr: &BindMw) -> Result<(), AccessError> {
    if region.key != wr.mr_lkey {
        return Err(AccessError::Key);
    }
    if region.state != mr::State::Valid || region.origin == mr::Origin::Dma {
        return Err(AccessError::State);
    }
    if region.pd != who.pd {
        return Err(AccessError::Domain);
    }
    // C10-73; windows on zero-based regions are not defined.
    if !region.rights.contains(Rights::MW_BIND) || region.rights.contains(Rights::ZERO_BASED) {
        return Err(AccessError::Rights);
    }
    // C10-74
    let writes = Rights::REMOTE_WRITE | Rights::REMOTE_ATOMIC;
    if wr.rights.intersects(writes) && !region.rights.contains(Rights::LOCAL_WRITE) {
        return Err(AccessError::Rights);
    }
    // What FLUSH promises depends on the memory: a window cannot promise more than its region does.
    let flushes = wr.rights.intersection(Rights::FLUSHES);
    if !region.rights.contains(flushes) {
        return Err(AccessError::Rights);
    }
    // C10-75
    let offset = wr.addr.checked_sub(region.iova).ok_or(AccessError::Range)?;
    match region.len.checked_sub(wr.len) {
        Some(room) if offset <= room => Ok(()),
        _ => Err(AccessError::Range),
    }
}
