// SPDX-License-Identifier: GPL-2.0-only

//! The RDMA device: verbs on one side, the engine of [`crate::rxe`] on the other.
//!
//! ```text
//!   user space, kernel users                      docs/dataflow.md follows the data,
//!      |  verbs                                   docs/locking.md the locks
//!   ops query port stats pma                      the device's table of verbs, attributes, counters
//!   link device                                   how devices come and go, what their objects share
//!   context pd cq srq qp ah mcast mr mw           one file per object
//!      |                  |
//!   queue mmap udata      keys table umem pages   memory shared with users, memory of users
//!      |                  |
//!   env  <----------------'                       what the engine asks for
//!      |
//!   loopback schedule deliver timer               packets to this host, work left over
//! ```

mod abi;
pub mod ah;
pub mod context;
pub mod cq;
pub mod deliver;
pub mod device;
pub mod env;
pub mod ethtool;
pub mod gids;
pub mod inbound;
pub mod kernel_wr;
pub mod keys;
pub mod lend;
pub mod limits;
pub mod link;
pub mod lock;
pub mod loopback;
pub mod mcast;
pub mod mmap;
pub mod mr;
pub mod mw;
pub mod numbers;
pub mod object;
pub mod odp;
pub mod ops;
pub mod pages;
pub mod pd;
pub mod pieces;
pub mod pma;
pub mod port;
pub mod qp;
pub mod query;
pub mod queue;
pub mod quota;
pub mod schedule;
pub mod srq;
pub mod stats;
pub mod table;
pub mod timer;
pub mod udata;
pub mod umem;
pub mod work;

use kernel::prelude::*;

/// What C callers expect of a verb.
pub fn errno(result: Result) -> core::ffi::c_int {
    match result {
        Ok(()) => 0,
        Err(error) => error.to_errno(),
    }
}

/// `EOPNOTSUPP`, which Linux 7.2 does not name in Rust.
#[cold]
pub fn unsupported() -> Error {
    // A small constant.
    Error::from_errno(-(compat::EOPNOTSUPP as i32))
}

/// A structure of the core with every field zero.
pub const fn zeroed<T: pin_init::Zeroable>() -> T {
    pin_init::zeroed()
}

/// A table that the core reads, with pointers in it.
#[repr(transparent)]
pub struct Shared<T>(pub T);

// SAFETY: Only for statics that nobody writes; their pointers are to other statics or functions.
unsafe impl<T> Sync for Shared<T> {}
