// SPDX-License-Identifier: GPL-2.0-only

//! Plain Ethernet on its way into frames.
//!
//! A short packet lies in a frame with others. Of a longer one the front part lies there and the
//! rest, in pieces of 4096 bytes, in payload frames.
//!
//! ```text
//!   start_xmit ─> room: into frames                         queue runs
//!                 none: the packet waits                    queue stopped
//!   room       ─> the packet that waits, into frames        queue runs
//!   last rail down, no device: it is dropped                queue runs
//! ```
//!
//! So there is always a place for one more packet while the queue runs, whatever its length and whoever
//! takes the room in the rails before it: RDMA fills the same rings. To ask beforehand whether the longest
//! packet would find room would end frames early, and the answer would not last.

use crate::rxe::time::Time;
use crate::usb4::netdev::Netdev;
use crate::usb4::rail::frame::record::MAX_FRAMES;
use crate::usb4::rail::frame::Class;
use crate::usb4::rail::tx::{NotNow, Shape};
use crate::usb4::rail::FRAME_SIZE;
use crate::usb4::xmit::Packet;
use crate::verbs::lock::Bh;
use crate::verbs::timer::now;

use super::tx::{Buffer, Payload, Tx};
use super::Wire;

/// The longest packet, or front part of one, that lies in a frame with others.
const SHORT: usize = 3072;
/// The front part of a packet holds its headers at least: those of RoCE over IPv6, too, for the peer
/// must find them in one piece.
const HEADERS: usize = 128;

/// How a packet is laid out.
const fn shape(len: usize) -> Shape {
    if len <= SHORT {
        return Shape::inline(len);
    }
    let rest = len % FRAME_SIZE;
    // What payload frames do not hold lies in front, if that is enough for the headers and short.
    let inline = if HEADERS <= rest && rest <= SHORT {
        rest
    } else {
        HEADERS
    };
    Shape {
        inline,
        tail: 0,
        payload: len.saturating_sub(inline),
    }
}

const _: () = {
    let mut len = HEADERS;
    while len <= MAX_FRAMES * FRAME_SIZE {
        let Shape {
            inline, payload, ..
        } = shape(len);
        assert!(inline >= HEADERS && inline + payload == len);
        assert!(payload.div_ceil(FRAME_SIZE) <= MAX_FRAMES);
        len += 1;
    }
};

impl Wire {
    /// Sends a packet. One that finds no room waits, and the network device's queue is stopped until
    /// it has found some, or cannot be sent any more.
    ///
    /// # Errors
    ///
    /// Gives the packet back if one waits already, as it cannot be: the queue is stopped.
    pub fn send_ethernet(&self, packet: Packet) -> Result<(), Packet> {
        if !self.is_up() {
            return Ok(());
        }
        let bh = Bh::disable();
        let mut guard = self.tx.lock(&bh);
        // As in `begin`.
        if !self.is_up() {
            return Ok(());
        }
        let tx = &mut *guard;
        if tx.waiting.is_some() {
            return Err(packet);
        }
        let now = now();
        match self.send_now(tx, &packet, now) {
            Ok(()) => {
                drop(guard);
                packet.sent();
            }
            Err(NotNow::Busy) => {
                if let Some(netdev) = &tx.netdev {
                    netdev.stop_queue();
                    tx.waiting = Some(packet);
                    self.counters.tx_busy.add(1);
                    self.look_soon(tx, now);
                }
            }
            Err(NotNow::Impossible) => {}
        }
        Ok(())
    }

    /// There may be room: the packet that waits goes, and the next may come.
    pub(super) fn send_waiting(&self, bh: &Bh) {
        let mut guard = self.tx.lock(bh);
        let tx = &mut *guard;
        let Some(packet) = tx.waiting.take() else {
            return;
        };
        // An interface that is down sends nothing.
        let is_open = tx.netdev.as_ref().is_some_and(Netdev::is_up);
        let sent = match is_open {
            true => self.send_now(tx, &packet, now()),
            false => Err(NotNow::Impossible),
        };
        if sent == Err(NotNow::Busy) {
            tx.waiting = Some(packet);
            return;
        }
        tx.wake_queue();
        drop(guard);
        if sent.is_ok() {
            packet.sent();
        }
    }

    /// Puts a packet into frames, and sends those that are full or that a rail wants.
    fn send_now(&self, tx: &mut Tx, packet: &Packet, now: Time) -> Result<(), NotNow> {
        let shape = shape(packet.len());
        let mut sent = put(tx, &shape, packet, now);
        if sent == Err(NotNow::Busy) && tx.reap(now) != 0 {
            sent = put(tx, &shape, packet, now);
        }
        if sent.is_ok() {
            self.counters.tx_ethernet.add(1);
            self.flush_locked(tx, now);
        }
        sent
    }
}

/// Puts a packet into the frame being filled.
fn put(tx: &mut Tx, shape: &Shape, packet: &Packet, now: Time) -> Result<(), NotNow> {
    let room = tx
        .sender
        .reserve(now, Class::Ethernet, shape, &mut tx.out)?;
    let front = room.get_mut(..shape.inline).ok_or(NotNow::Impossible)?;
    if !packet.copy(0, front) {
        return Err(NotNow::Impossible);
    }
    let mut buffers: [Option<Buffer>; MAX_FRAMES] = [None, None, None];
    let mut filled = Ok(());
    let mut at = shape.inline;
    let end = shape.inline.saturating_add(shape.payload);
    for place in &mut buffers {
        if at >= end || filled.is_err() {
            break;
        }
        let Some(mut buffer) = tx.out.take() else {
            filled = Err(NotNow::Busy);
            break;
        };
        let len = end.saturating_sub(at).min(FRAME_SIZE);
        let copied = buffer
            .get_mut(..len)
            .is_some_and(|into| packet.copy(at, into));
        if !copied {
            filled = Err(NotNow::Impossible);
        }
        at = at.saturating_add(len);
        *place = Some(buffer);
    }
    let count = buffers.iter().flatten().count();
    let payload = buffers.each_ref().map(|buffer| {
        let index = buffer.as_ref().map_or(0, Buffer::index);
        Payload::Buffer(index)
    });
    let committed = filled.is_ok()
        && tx.sender.commit(
            Class::Ethernet,
            shape.inline,
            &[],
            payload.get(..count).unwrap_or_default(),
            shape.payload,
            super::NOBODY,
        );
    if committed {
        return Ok(());
    }
    for buffer in buffers.iter().flatten() {
        tx.out.put(buffer.index());
    }
    filled.and(Err(NotNow::Impossible))
}
