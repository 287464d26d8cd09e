// SPDX-License-Identifier: GPL-2.0-only

//! A virtual USB4 fabric.

pub mod pci;
pub mod vfio_user;
