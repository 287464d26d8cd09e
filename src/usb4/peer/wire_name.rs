// SPDX-License-Identifier: GPL-2.0-only

//! Which numbers go on.
//!
//! The numbers of a wire go on while rails come and go, so both ends must begin anew together. Each
//! wire has a name, made of what both said when it began, and a Login says the name of the wire it
//! would go on with. An end that has forgotten the other (its module was loaded anew, its host router
//! went, it knew too many) has none: [`Life::numbers`](crate::usb4::rail::login::Life::numbers).

use kernel::sync::atomic::{ordering, Atomic};

use crate::usb4::rail::frame::hello::NO_WIRE;

/// The name of a peer's wire; 0: it has none.
pub struct WireName(Atomic<u32>);

impl WireName {
    /// Of a wire that has yet to begin.
    pub fn new() -> Self {
        Self(Atomic::new(0))
    }

    /// The wire begins anew.
    pub(super) fn begin(&self, name: u32) {
        self.0.store(name, ordering::Relaxed);
    }

    /// The wire is over, and what it counted is forgotten.
    pub(super) fn forget(&self) {
        FORGOTTEN.fetch_add(1, ordering::Relaxed);
        self.0.store(0, ordering::Relaxed);
    }

    /// What a Login says of it.
    pub fn get(&self) -> u32 {
        match self.0.load(ordering::Relaxed) {
            0 => no_wire(),
            name => name,
        }
    }
}

/// How often a peer was forgotten while this module was loaded.
static FORGOTTEN: Atomic<u32> = Atomic::new(0);

/// What a Login says on a cable to a peer without a wire, or as long as it is not known whom it leads to.
pub fn no_wire() -> u32 {
    FORGOTTEN.load(ordering::Relaxed) | NO_WIRE
}
