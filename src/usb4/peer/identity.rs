// SPDX-License-Identifier: GPL-2.0-only

//! By what a peer is recognised.
//!
//! A host may have several host routers, each with a UUID of its own, so a UUID says less than who
//! answers: *instance*, a number that each load of the module draws. What is learned is kept: when the
//! host reboots, its instance is new and its UUIDs are not.

use kernel::prelude::*;

use crate::usb4::cable::Trouble;
use crate::usb4::rail::frame::envelope::Uuid;

/// The most host routers of one peer that are remembered.
const MAX_ROUTERS: usize = 16;

/// By what a peer is recognised.
pub struct Identity {
    /// The host routers at both ends, if the peer is this host.
    pub ourselves: Option<(Uuid, Uuid)>,
    /// Host routers it was seen with.
    pub routers: KVec<Uuid>,
    pub instance: u64,
}

impl Identity {
    pub fn has(&self, router: &Uuid) -> bool {
        self.ourselves.is_none() && self.routers.contains(router)
    }

    pub fn is_instance(&self, instance: u64) -> bool {
        self.ourselves.is_none() && self.instance == instance
    }

    /// A router is in another host now, so this host is recognised by its others. False: it has no
    /// others, so this host is that other one.
    pub fn gives_up(&mut self, router: &Uuid) -> bool {
        if self.routers.len() > 1 {
            self.routers.retain(|other| other != router);
            true
        } else {
            false
        }
    }

    pub fn learn(&mut self, router: &Uuid, instance: u64) -> Result<(), Trouble> {
        self.instance = instance;
        if !self.routers.contains(router) {
            if self.routers.len() >= MAX_ROUTERS {
                let _ = self.routers.remove(0);
            }
            self.routers
                .push(*router, GFP_KERNEL)
                .map_err(|_| Trouble::Failed("remember the peer", ENOMEM))?;
        }
        Ok(())
    }
}
