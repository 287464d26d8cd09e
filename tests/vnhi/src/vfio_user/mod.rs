// SPDX-License-Identifier: GPL-2.0-only

//! The server side of vfio-user: how a QEMU guest reaches a device that lives in this process.
//!
//! ```text
//!  socket bytes + fds                                     fabric
//!        |                                                   ^
//!        v                                                   |
//!  receive::Inbox -> message::Request -> device::Device -> device::Backend
//!   (many messages      (checked           |  |  |
//!    per recvmsg)        views)            |  |  +- irq::Vectors   eventfds, masks, pending bits
//!                                          |  +---- dma::Windows   guest memory, mmapped
//!  socket <- Connection <- reply::Outbox <-+------- pci::Function  config space, MSI-X table
//!   (one send per batch)
//! ```
//!
//! Everything a client sends is checked before use: sizes, counts, offsets, the kind of every file descriptor. A message that cannot be served gets an
//! error reply with an errno; a stream that cannot be framed any more ends that connection, and nothing else.
//!
//! Why not the `vfio_user` crate's server: docs/decisions/0002-own-vfio-user-server.md. Its client is the counterpart in our tests.

pub mod connection;
pub mod device;
pub mod dma;
pub mod irq;
pub mod message;
pub mod receive;
pub mod reply;
pub mod version;

pub use connection::{Connection, State};
pub use device::{Backend, Device};
