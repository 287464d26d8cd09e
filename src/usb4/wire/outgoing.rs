// SPDX-License-Identifier: GPL-2.0-only

//! One packet on its way into a frame.
//!
//! ```text
//!   begin    room in the frame being filled; headers written, ICRC begun       none: Busy
//!   append   payload copied, while it is hot: ICRC
//!   lend     or left where it is, if a host router can read it there: ICRC
//!   commit   pad and ICRC; the packet counts
//! ```
//!
//! A short payload lies behind its headers, so that a frame holds many packets. A long one gets a
//! buffer of its own and becomes a payload frame. The sending half is locked from begin to commit.

use kernel::sync::lock::spinlock::SpinLockBackend;
use kernel::sync::lock::Guard;

use crate::rxe::env::{Busy, Fault};
use crate::rxe::icrc;
use crate::rxe::qpn::Qpn;
use crate::rxe::wire::packet::{pad_for, Started};
use crate::rxe::wire::PacketRepr;
use crate::usb4::crc::KernelCrc32;
use crate::usb4::netdev::Netdev;
use crate::usb4::rail::frame::Class;
use crate::usb4::rail::port::Egress;
use crate::usb4::rail::tx::{NotNow, Shape};
use crate::verbs::lend::Lent;
use crate::verbs::lock::Bh;
use crate::verbs::timer::now;

use super::taps;
use super::tx::{Buffer, Payload, Tx};
use super::Wire;

/// The longest payload that lies behind its headers. Of longer ones only one would fit into a frame
/// either way.
const SHORT: usize = 2048;

/// A packet being made.
pub struct Outgoing<'a> {
    wire: &'a Wire,
    tx: Guard<'a, Tx, SpinLockBackend>,
    started: Started<KernelCrc32>,
    shape: Shape,
    payload_len: usize,
    /// How much of the payload is there.
    filled: usize,
    /// Where a long payload goes.
    buffer: Option<Buffer>,
    /// Where it is, if it stays there.
    lent: Option<Lent>,
}

impl Wire {
    /// Begins a packet with `payload_len` bytes of payload. `None`: no rail leads anywhere, the
    /// interface is down, or no packet is like that; it is lost, as on any network.
    #[inline]
    pub fn begin<'a>(
        &'a self,
        bh: &'a Bh,
        packet: &PacketRepr,
        payload_len: usize,
    ) -> Result<Option<Outgoing<'a>>, Busy> {
        if !self.is_up() {
            return Ok(None);
        }
        let header = packet.header_len();
        let trailer = usize::from(pad_for(payload_len)) + icrc::LEN;
        let shape = if payload_len <= SHORT {
            Shape::inline(header + payload_len + trailer)
        } else {
            Shape {
                inline: header,
                tail: trailer,
                payload: payload_len,
            }
        };
        let now = now();
        let mut guard = self.tx.lock(bh);
        // When the last rail goes down what waits is dropped, under this lock: nothing may follow.
        if !self.is_up() {
            return Ok(None);
        }
        let tx = &mut *guard;
        // An interface that is down carries no RDMA either.
        if !tx.netdev.as_ref().is_some_and(Netdev::is_up) {
            return Ok(None);
        }
        let mut buffer = None;
        let mut started = None;
        // A second time when rings have sent something in the meantime.
        for attempt in 0..2 {
            if attempt != 0 && tx.reap(now) == 0 {
                break;
            }
            match tx.sender.reserve(now, Class::Rdma, &shape, &mut tx.out) {
                Ok(room) => started = Some(packet.emit_headers(payload_len, room)),
                Err(NotNow::Impossible) => return Ok(None),
                Err(NotNow::Busy) => continue,
            }
            if shape.payload != 0 && buffer.is_none() {
                buffer = tx.out.take();
                if buffer.is_none() {
                    started = None;
                    continue;
                }
            }
            break;
        }
        match started {
            Some(Ok(started)) => Ok(Some(Outgoing {
                wire: self,
                tx: guard,
                started,
                shape,
                payload_len,
                filled: 0,
                buffer,
                lent: None,
            })),
            // No packet is like that.
            Some(Err(_)) => {
                if let Some(buffer) = buffer {
                    tx.out.put(buffer.index());
                }
                Ok(None)
            }
            None => {
                self.counters.tx_busy.add(1);
                self.want_room(tx, now);
                Err(Busy)
            }
        }
    }
}

impl Outgoing<'_> {
    /// Adds `len` bytes of payload, which `fill` writes.
    #[inline]
    pub fn append(
        &mut self,
        len: usize,
        fill: impl FnOnce(&mut [u8]) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        let from = self.filled;
        let end = from.checked_add(len).ok_or(Fault::Gone)?;
        let place = match &mut self.buffer {
            Some(buffer) => buffer.get_mut(from..end),
            None => {
                let header = self.started.header_len();
                let room = self.tx.sender.room(Class::Rdma, &self.shape);
                room.and_then(|room| room.get_mut(header + from..header + end))
            }
        };
        let place = place.ok_or(Fault::Gone)?;
        fill(place)?;
        self.started.payload(place).map_err(|_| Fault::Gone)?;
        self.filled = end;
        Ok(())
    }

    /// Whether payload of this length may stay where it is: it is all there is, every rail reads
    /// memory without having it mapped, and nobody wants to see the packet.
    #[inline]
    pub fn takes_loan(&self, len: usize) -> bool {
        self.buffer.is_some()
            && self.filled == 0
            && len == self.payload_len
            && self.tx.out.is_direct()
            && !matches!(&self.tx.netdev, Some(netdev) if netdev.has_taps())
    }

    /// Leaves the payload where it is.
    #[inline]
    pub fn lend(&mut self, lent: Lent) -> Result<(), Fault> {
        let folded = self.started.payload_by(lent.len(), |state| lent.crc(state));
        if folded.is_err() {
            // SAFETY: Lent for this packet.
            unsafe { lent.end() };
            return Err(Fault::Gone);
        }
        if let Some(buffer) = self.buffer.take() {
            self.tx.out.put(buffer.index());
        }
        self.filled = lent.len();
        self.lent = Some(lent);
        Ok(())
    }

    /// The packet is complete: it goes with the next frame. `qpn` is told if it is lost.
    #[inline]
    pub fn commit(mut self, qpn: Qpn) {
        let header = self.started.header_len();
        let Ok(trailer) = self.started.finish() else {
            return self.abort();
        };
        let token = u64::from(qpn.get());
        let tx = &mut *self.tx;
        let Some(room) = tx.sender.room(Class::Rdma, &self.shape) else {
            return self.abort();
        };
        let (shape, long, lent) = (&self.shape, self.buffer.take(), self.lent.take());
        // A tap that came since the payload was left where it is sees the next packet.
        let netdev = tx.netdev.as_ref().filter(|_| lent.is_none());
        if let Some(netdev) = netdev {
            if netdev.has_taps() {
                let behind = room.get(header..).unwrap_or_default();
                let payload = match &long {
                    Some(buffer) => buffer.get(..self.payload_len),
                    None => behind.get(..self.payload_len),
                };
                let head = room.get(..header).unwrap_or_default();
                let pieces = [head, payload.unwrap_or_default(), trailer.as_bytes()];
                taps::show_sent(netdev, &pieces);
            }
        }
        let is_lent = lent.is_some();
        let payload = match (long, lent) {
            (_, Some(lent)) => Some(Payload::Lent(lent)),
            (Some(buffer), None) => Some(Payload::Buffer(buffer.index())),
            (None, None) => None,
        };
        let added = match payload {
            Some(payload) => {
                let added = tx.sender.commit(
                    Class::Rdma,
                    header,
                    trailer.as_bytes(),
                    &[payload],
                    self.payload_len,
                    token,
                );
                if !added {
                    tx.out.drop_payload(payload);
                }
                added
            }
            None => {
                if let Some(place) = room.get_mut(header + self.payload_len..shape.inline) {
                    place.copy_from_slice(trailer.as_bytes());
                }
                tx.sender
                    .commit(Class::Rdma, shape.inline, &[], &[], 0, token)
            }
        };
        if added {
            self.wire.counters.tx_rdma.add(1);
            self.wire.counters.tx_lent.add(u64::from(is_lent));
        }
    }

    /// Forgets the packet.
    pub fn abort(mut self) {
        if let Some(buffer) = self.buffer.take() {
            self.tx.out.put(buffer.index());
        }
        if let Some(lent) = self.lent.take() {
            self.tx.out.drop_payload(Payload::Lent(lent));
        }
    }
}
