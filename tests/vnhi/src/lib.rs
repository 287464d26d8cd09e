// SPDX-License-Identifier: GPL-2.0-only

//! A virtual USB4 fabric: host routers (NHIs) that QEMU guests reach over vfio-user, and the cables between them.
//!
//! The model is [`fabric`] and what it is made of: no sockets, no clock, no threads. Around it, [`server`] has all of these: [`vfio_user`] and [`pci`] towards the machines,
//! [`line_socket`] and [`command_line`] towards people, [`taps`] for captures.

#![forbid(unsafe_code)]

pub mod cable;
pub mod command;
pub mod command_line;
pub mod control;
pub mod counters;
pub mod fabric;
pub mod fault;
pub mod line_socket;
pub mod memory;
pub mod nhi;
pub mod pci;
pub mod poller;
pub mod port;
pub mod router;
pub mod server;
pub mod sink;
pub mod socket_path;
pub mod tap;
pub mod taps;
pub mod time;
pub mod topology;
pub mod values;
pub mod vfio_user;
