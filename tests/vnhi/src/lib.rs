// SPDX-License-Identifier: GPL-2.0-only

//! A virtual USB4 fabric.

pub mod command;
pub mod line_socket;
pub mod pci;
pub mod poller;
pub mod sink;
pub mod socket_path;
pub mod time;
pub mod topology;
pub mod values;
pub mod vfio_user;
