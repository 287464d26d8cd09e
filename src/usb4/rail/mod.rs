// SPDX-License-Identifier: GPL-2.0-only

//! Several cables as one link: framing, striping, resequencing, credits, health.
//!
//! A *rail* is one cable: a pair of DMA rings, first in first out, that carries frames of up to
//! 4096 bytes and may lose some. A [`Link`](link::Link) is all rails to one peer. Packets go in at
//! one end and come out at the other in the order they went in, each once or *declared lost*.
//! Nothing is sent again here: the engine above does that, and this module tells it at once.
//!
//! ```text
//!   reserve, commit                                              Port::packet, Port::lost
//!        |                                                              ^
//!   tx::open      one frame being filled per class              rx::merge    by stripe sequence
//!        |                                                              |
//!   tx::turn      which class is next                           rx::queue    per rail, in order
//!        |                                                              |
//!   tx::pick      which rail has room, credit, and is first     rx::rail     by rail sequence
//!        |            done                                              |
//!   Port::post_head, Port::post_payload  ====== rail ======>    receive(rail, tag, frame)
//!
//!   control       credits, probes, their answers: made from both halves, sent on any live rail
//!   health        who is silent, and for how long
//! ```
//!
//! Nothing here knows a kernel, a clock, a lock or an allocator. Buffers, queues and the log are
//! the caller's, see [`link::Memory`]; time is an argument.

pub mod config;
pub mod control;
pub mod frame;
pub mod health;
pub mod id;
pub mod link;
pub mod login;
pub mod port;
pub mod rx;
pub mod seq;
pub mod tally;
pub mod tx;

/// The most rails of a link.
pub const MAX_RAILS: usize = 8;

/// The most bytes of a frame.
pub const FRAME_SIZE: usize = 4096;
