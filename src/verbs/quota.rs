// SPDX-License-Identifier: GPL-2.0-only

//! How many objects of a kind there may be: as many as [`limits`](super::limits) says, and users are told.

use kernel::prelude::*;
use kernel::sync::atomic::{ordering, Atomic};

/// How many objects there are, of how many there may be.
pub struct Quota {
    used: Atomic<u32>,
    most: u32,
}

/// A place of a quota. Dropping it gives it back.
pub struct Taken<'a>(&'a Quota);

impl Quota {
    /// At most `most`.
    pub fn new(most: u32) -> Self {
        Self {
            used: Atomic::new(0),
            most,
        }
    }

    /// Takes a place.
    ///
    /// # Errors
    ///
    /// `ENOMEM` if there are as many as there may be.
    pub fn take(&self) -> Result<Taken<'_>> {
        let before = self.used.fetch_add(1, ordering::Relaxed);
        // Dropped, and so given back, if it is one too many.
        let taken = Taken(self);
        if before >= self.most {
            return Err(ENOMEM);
        }
        Ok(taken)
    }

    /// Gives a place back that was kept.
    pub fn put(&self) {
        self.used.fetch_sub(1, ordering::Relaxed);
    }
}

impl Taken<'_> {
    /// Keeps the place, until [`Quota::put`].
    pub fn keep(self) {
        core::mem::forget(self);
    }
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        self.0.put();
    }
}
