// SPDX-License-Identifier: GPL-2.0-only

//! How devices are asked for: `rdma link add` and `delete`, and the device that comes by itself.

use kernel::ffi;
use kernel::prelude::*;
use kernel::str::{as_char_ptr_in_const_context, CStrExt};
use kernel::types::Opaque;

use super::books::{links, Stage};
use super::name::name_of;
use crate::usb4::netdev::{self, Netdev};
use crate::verbs::{errno, zeroed};

/// How the core reaches us with links.
pub struct LinkOps(Opaque<compat::rdma_link_ops>);

// SAFETY: Only the core uses what is inside, under its own lock.
unsafe impl Sync for LinkOps {}

impl LinkOps {
    pub fn get(&self) -> *mut compat::rdma_link_ops {
        self.0.get()
    }
}

pub static LINK_OPS: LinkOps = LinkOps(Opaque::new(compat::rdma_link_ops {
    type_: as_char_ptr_in_const_context(c"usb4_rxe"),
    newlink: Some(newlink),
    dellink: Some(dellink),
    ..zeroed()
}));

/// `rdma_link_ops.newlink`
///
/// # Safety
///
/// As the core calls it.
unsafe extern "C" fn newlink(
    name: *const ffi::c_char,
    device: *mut compat::net_device,
) -> ffi::c_int {
    // SAFETY: The core hands in a string that ends with a zero.
    let name = unsafe { CStr::from_char_ptr(name) };
    // SAFETY: The core holds the network device during the call.
    let (netdev, is_ours) = unsafe { (Netdev::hold(device), netdev::is_ours(device)) };
    errno(add(name, &netdev, is_ours))
}

fn add(name: &CStr, netdev: &Netdev, is_ours: bool) -> Result {
    if !is_ours {
        pr_err!("rdma link add {name}: not a USB4 network device; name one that came with a cable ('ip link show' says usb4eth0 ...)\n");
        return Err(EINVAL);
    }
    let added = links()?.register(&name_of(&[name.to_bytes()])?, netdev);
    if added == Err(EEXIST) {
        pr_err!("rdma link add {name}: the network device has an RDMA device already\n");
    }
    added
}

/// Makes the device that comes without a command, unless there is one over this network device.
/// Takes RTNL.
///
/// # Errors
///
/// What the core says.
pub fn add_automatic(netdev: &Netdev) -> Result {
    match links()?.register_automatic(netdev) {
        Err(error) if error == EEXIST => Ok(()),
        added => added,
    }
}

/// `rdma_link_ops.dellink`: the core unregisters the device next. It does not expect us to fail.
///
/// # Safety
///
/// As the core calls it.
unsafe extern "C" fn dellink(ib: *mut compat::ib_device) -> ffi::c_int {
    if let Ok(links) = links() {
        links.with(ib, |link| {
            if link.stage == Stage::Up {
                link.stage = Stage::Ending;
            }
        });
    }
    0
}
