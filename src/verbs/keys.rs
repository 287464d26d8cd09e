// SPDX-License-Identifier: GPL-2.0-only

//! Keys of memory: one table for regions and windows.
//!
//! ```text
//!   key  | 24 bits: number in the table | 8 bits: the user's to vary |
//!
//!   engine ──region(key)──> region ──────────────> Handle, Facts
//!                           window ──> its region ──> Handle, Facts (the window's)
//! ```
//!
//! Both parts of a new key are random: what a peer was not told it has to guess. Whether the whole
//! key is right, and permits the access, is the engine's decision ([`crate::rxe::access`]); what an
//! object may become is decided by the rules there, under the object's lock.
//!
//! Order of locks: a window's, then a region's.

use kernel::prelude::*;
use kernel::sync::Arc;

use super::limits;
use super::lock::Bh;
use super::mr::{Handle, Mr};
use super::mw::Mw;
use super::quota::{Quota, Taken};
use super::table::{Reserved, Table};
use crate::rxe::access::{AccessError, Facts, Identity};
use crate::rxe::wqe::{BindMw, RegMr};

/// The lowest number: a key is not 0.
const LOWEST: u32 = 1;
/// The highest number.
const HIGHEST: u32 = (1 << 24) - 1;

/// What a key names.
pub enum Keyed {
    /// A memory region.
    Region(Mr),
    /// A memory window.
    Window(Mw),
}

/// A device's regions and windows.
#[pin_data]
pub struct Keys {
    #[pin]
    table: Table<Keyed>,
    regions: Quota,
    windows: Quota,
}

/// A key without an object yet. Dropping it gives the key back.
pub struct NewKey<'a> {
    number: Reserved<'a, Keyed>,
    low: u8,
    taken: Taken<'a>,
}

/// What is to get a key.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A memory region.
    Region,
    /// A memory window.
    Window,
}

/// The number in a key.
#[inline]
const fn number(key: u32) -> u32 {
    key >> 8
}

impl Keys {
    /// No keys.
    pub fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            table <- Table::new(),
            regions: Quota::new(limits::MR),
            windows: Quota::new(limits::MW),
        })
    }

    /// A new key. Sleeps.
    ///
    /// # Errors
    ///
    /// `ENOMEM`, also if there are as many as there may be.
    pub fn reserve(&self, kind: Kind) -> Result<NewKey<'_>> {
        let taken = self.quota(kind).take()?;
        // SAFETY: Has no requirements.
        let random = unsafe { compat::get_random_u32() };
        let start = number(random).max(LOWEST);
        Ok(NewKey {
            number: self.table.reserve_from(start, LOWEST, HIGHEST)?,
            low: random as u8,
            taken,
        })
    }

    fn quota(&self, kind: Kind) -> &Quota {
        match kind {
            Kind::Region => &self.regions,
            Kind::Window => &self.windows,
        }
    }

    /// Takes out what `key` names; after this nobody uses it any more. Sleeps.
    pub fn remove(&self, key: u32) -> Option<Arc<Keyed>> {
        let object = self.table.remove(number(key))?;
        self.quota(object.kind()).put();
        Some(object)
    }

    /// Puts another object in place of the one that `key` names; after this nobody uses the old one
    /// any more. Sleeps.
    ///
    /// # Errors
    ///
    /// `ENOMEM`, with everything as it was.
    pub fn replace(&self, key: u32, object: Arc<Keyed>) -> Result {
        self.table.replace(number(key), object).map(drop)
    }

    /// What `key` names.
    pub fn get<'a>(&'a self, bh: &'a Bh, key: u32) -> Option<&'a Keyed> {
        self.table.get_ref(bh, number(key))
    }

    /// Looks up a region, or a window's region.
    #[inline]
    pub fn region<'a>(&'a self, bh: &'a Bh, key: u32) -> Option<(Handle<'a>, Facts)> {
        match self.table.get_ref(bh, number(key))? {
            Keyed::Region(mr) => Some(mr.open(bh)),
            Keyed::Window(mw) => mw.open(bh),
        }
    }

    /// Invalidates a region or a window.
    pub fn invalidate(&self, bh: &Bh, who: Identity, key: u32) -> Result<(), AccessError> {
        let object = self.table.get_ref(bh, number(key));
        match object.ok_or(AccessError::Key)? {
            Keyed::Region(mr) => mr.invalidate(bh, who, key),
            Keyed::Window(mw) => mw.invalidate(bh, who, key),
        }
    }

    /// Binds a window.
    pub fn bind(&self, bh: &Bh, who: Identity, wr: &BindMw) -> Result<(), AccessError> {
        let window = self.table.get_ref(bh, number(wr.mw_rkey));
        let Some(Keyed::Window(mw)) = window else {
            return Err(AccessError::Key);
        };
        let region = match wr.len {
            0 => None,
            _ => Some(
                self.table
                    .get(bh, number(wr.mr_lkey))
                    .ok_or(AccessError::Key)?,
            ),
        };
        mw.bind(bh, who, region, wr)
    }

    /// Registers the pages of a fast-register region.
    pub fn register(&self, bh: &Bh, who: Identity, wr: &RegMr) -> Result<(), AccessError> {
        let region = self.table.get_ref(bh, number(wr.mr_lkey));
        let Some(Keyed::Region(mr)) = region else {
            return Err(AccessError::Key);
        };
        mr.register(bh, who, wr)
    }
}

impl Keyed {
    fn kind(&self) -> Kind {
        match self {
            Self::Region(_) => Kind::Region,
            Self::Window(_) => Kind::Window,
        }
    }
}

impl NewKey<'_> {
    /// The key.
    pub fn get(&self) -> u32 {
        self.number.get() << 8 | u32::from(self.low)
    }

    /// Lets the key name `object`, of the kind it was reserved for. Sleeps.
    ///
    /// # Errors
    ///
    /// `ENOMEM`, with the key given back.
    pub fn publish(self, object: Arc<Keyed>) -> Result {
        self.number.publish(object)?;
        // The object's, until it is removed.
        self.taken.keep();
        Ok(())
    }
}
