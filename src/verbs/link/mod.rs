// SPDX-License-Identifier: GPL-2.0-only

//! How devices come and go: `rdma link add` and `delete`, the life of the network device, the
//! module's exit, and upstream rdma_rxe's.
//!
//! ```text
//!   rdma link add      --> newlink --> register: in the books, then known to the core     Up
//!   a peer is new      --> add_automatic ----^
//!   rdma link delete   --> dellink, then the core unregisters ---.                        Ending
//!   network device gone --> notifier --> work unregisters -------+--> dealloc_driver      Ended
//!   module exit        --> Links::close unregisters -------------'        |
//!   rmmod rdma_rxe     --> the core unregisters all of its driver id -----'               Lost
//!                                                                         |
//!   work: takes what has Ended out of the books; registers again what was Lost
//! ```
//!
//! | | |
//! |---|---|
//! | [`books`] | which devices there are, and how each stands: the stages above |
//! | [`core_device`] | a device as the core knows it: allocated, held, unregistered, deallocated |
//! | [`commands`] | `rdma link add` and `delete`, and the device that comes by itself |
//! | [`name`] | what that one is called |
//! | [`notifier`] | what a device hears of its network device |
//!
//! # Locks
//!
//! The books are locked under RTNL (by the notifier), so nobody takes RTNL with them locked, and
//! nobody registers or unregisters then: that takes RTNL.
//!
//! # Why the books keep a reference to each core device
//!
//! `dealloc_driver` is our last code that runs for a device, and others may run it: whoever unloads
//! the module has to wait for its end. The core's registration lock is held around it, so calling
//! `ib_unregister_device` once more waits, and does nothing else.

mod books;
mod commands;
mod core_device;
mod name;
mod notifier;

use kernel::error::to_result;
use kernel::prelude::*;
use kernel::sync::Arc;
use kernel::types::{Opaque, ScopeGuard};

use super::{odp, zeroed};
use crate::usb4::netdev;
use books::{Links, LINKS};
use commands::LINK_OPS;
use notifier::netdev_event;

pub use books::{device_over, settle};
pub use commands::add_automatic;
pub use core_device::dealloc_driver;

/// Everything by which the rest of the kernel reaches us.
pub struct Subsystem {
    links: Arc<Links>,
    notifier: KBox<Opaque<compat::notifier_block>>,
    // The network devices go when all else has; then no device is left that fetches pages.
    _link_type: netdev::LinkType,
    _fetches: odp::Fetches,
}

// SAFETY: What is inside belongs to no thread.
unsafe impl Send for Subsystem {}
// SAFETY: Nothing can be done with a reference.
unsafe impl Sync for Subsystem {}

impl Subsystem {
    /// Registers everything.
    ///
    /// # Errors
    ///
    /// `ENOMEM`, or what the core says.
    pub fn register() -> Result<Self> {
        let fetches = odp::Fetches::new()?;
        let links = Links::new()?;
        // SAFETY: Once per load of the module, before the first use.
        unsafe { LINKS.init() };
        *LINKS.lock() = Some(links.clone());
        let forget = ScopeGuard::new(|| *LINKS.lock() = None);
        let notifier = KBox::new(
            Opaque::new(compat::notifier_block {
                notifier_call: Some(netdev_event),
                ..zeroed()
            }),
            GFP_KERNEL,
        )?;
        let link_type = netdev::LinkType::register()?;
        // SAFETY: Both structures stay where they are until `drop` has unregistered them.
        unsafe {
            to_result(compat::register_netdevice_notifier(notifier.get()))?;
            compat::rdma_link_register(LINK_OPS.get());
        }
        forget.dismiss();
        Ok(Self {
            links,
            notifier,
            _link_type: link_type,
            _fetches: fetches,
        })
    }
}

impl Drop for Subsystem {
    fn drop(&mut self) {
        // SAFETY: Registered by `register`. From now on there are no new devices.
        unsafe { compat::rdma_link_unregister(LINK_OPS.get()) };
        self.links.close();
        // SAFETY: Registered by `register`. It tells us once more that all network devices go.
        unsafe { compat::unregister_netdevice_notifier(self.notifier.get()) };
        *LINKS.lock() = None;
    }
}
