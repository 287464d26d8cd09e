// SPDX-License-Identifier: GPL-2.0-only

//! The control channel: packets on ring 0, between connection manager and router, and between two connection managers.
//!
//! ```text
//!  ring 0 --> packet (CRC checked) --> request --> router: read, write --> response --> ring 0
//!                                  '-> XDomain packet --> cable --> ring 0 of the other host
//! ```

pub mod packet;
pub mod request;
