// SPDX-License-Identifier: GPL-2.0-only

//! Root of the kernel module: soft RoCE over USB4 rings.
//!
//! ```text
//!   verbs      the ib_device and its objects, user memory, shared queues      kernel
//!     |
//!    rxe       the RoCEv2 engine                                              pure
//!     |
//!   usb4       the network device, rails                                      kernel, rail/ is pure
//! ```
//!
//! The pure modules are compiled by the host's tests from the same files, see `lib.rs`.

// On the host the pure modules are a library, whose items others may use.
#![allow(unreachable_pub)]

use kernel::prelude::*;

// The host's tests use more of the pure modules than the kernel does. A slice to be consumed is a
// `&mut &mut [u8]`.
#[allow(dead_code, unused_imports, clippy::mut_mut)]
mod rxe;
#[allow(dead_code, unused_imports)]
mod usb4;
mod verbs;

module! {
    type: Usb4Rxe,
    name: "usb4_rxe",
    authors: ["usb4_rxe developers"],
    description: "Soft RoCE over USB4 rings",
    license: "GPL v2",
    alias: ["rdma-link-usb4_rxe", "rtnl-link-usb4eth"],
}

/// The loaded module.
///
/// It goes in this order: no cable is left, then no RDMA device, then no peer and no network device.
struct Usb4Rxe {
    _status: usb4::status::Status,
    _service: usb4::service::Registration,
    _subsystem: verbs::link::Subsystem,
    _peers: usb4::peers::Peers,
}

impl kernel::Module for Usb4Rxe {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        check_layout()?;
        let peers = usb4::peers::Peers::new();
        let subsystem = verbs::link::Subsystem::register()?;
        let status = usb4::status::Status::new();
        Ok(Self {
            _status: status,
            _service: usb4::service::Registration::new()?,
            _subsystem: subsystem,
            _peers: peers,
        })
    }
}

/// Refuses to run with structures that the C compiler sees differently.
fn check_layout() -> Result {
    let mut agreed = Ok(());
    compat::check_layout(|field| {
        pr_err!("not loaded: gcc and bindgen lay out {field} differently; this kernel and its headers do not fit together\n");
        agreed = Err(EINVAL);
    });
    agreed
}
