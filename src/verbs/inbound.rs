// SPDX-License-Identifier: GPL-2.0-only

//! From rails to queue pairs.
//!
//! ```text
//!   packet ─ headers ─ for this device? ─ ICRC ─ queue pair's number ─> Qp::take_in
//!              |no          |no              |wrong    |unknown            '- later, once: Qp::settle
//!              '------------'----------------|---------'─> the network device: IP, forwarding,
//!                                         damaged            upstream rxe beside us
//! ```
//!
//! A queue pair that got packets answers once, after the last of them.

use kernel::sync::ArcBorrow;

use super::device::Device;
use super::env::Later;
use super::lock::Bh;
use super::qp::Qp;
use crate::rxe::inbound::{delivery, Delivery};
use crate::rxe::qpn::Qpn;
use crate::rxe::wire::packet::MAX_TRAILER;
use crate::rxe::wire::{Headers, ParseError};
use crate::usb4::crc::KernelCrc32;

pub use super::pieces::Pieces;

/// What became of a packet.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It was for this device.
    Taken,
    /// It was, and its ICRC is wrong.
    Damaged,
    /// It was, and may be for others, too: a multicast datagram.
    Shared,
    /// It is not for this device.
    NotRdma,
}

/// Packets of one pass on their way to queue pairs.
pub struct Inbound<'a> {
    device: Option<&'a Device>,
    bh: &'a Bh,
    /// The queue pair that got the last ones, and what it has yet to do.
    current: Option<ArcBorrow<'a, Qp>>,
    later: Later,
}

impl<'a> Inbound<'a> {
    /// For packets to a device, if there is one.
    pub fn new(device: Option<&'a Device>, bh: &'a Bh) -> Self {
        Self {
            device,
            bh,
            current: None,
            later: Later::default(),
        }
    }

    /// Takes a packet.
    #[inline]
    pub fn take(&mut self, packet: &Pieces<'_>) -> Verdict {
        let Some(device) = self.device else {
            return Verdict::NotRdma;
        };
        let Ok(headers) = Headers::parse(packet.first()) else {
            return Verdict::NotRdma;
        };
        if !device.takes(self.bh, &headers) {
            return Verdict::NotRdma;
        }
        let start = headers.header_len();
        let end = start.saturating_add(headers.payload_len());
        let Some(payload) = packet.range(start..end) else {
            return Verdict::Damaged;
        };
        if check(&headers, packet, &payload, end).is_err() {
            return Verdict::Damaged;
        }
        match delivery(&headers) {
            Delivery::One(qpn) => self.hand_to_one(device, qpn, &headers, packet, &payload),
            Delivery::Group(gid) => {
                let mut verdict = Verdict::NotRdma;
                device.groups.for_each(self.bh, &gid, |qp| {
                    Qp::receive_one(qp, self.bh, &headers, &payload);
                    verdict = Verdict::Shared;
                });
                verdict
            }
            Delivery::Nobody => Verdict::Taken,
        }
    }

    #[inline]
    fn hand_to_one(
        &mut self,
        device: &'a Device,
        qpn: Qpn,
        headers: &Headers,
        packet: &Pieces<'_>,
        payload: &Pieces<'_>,
    ) -> Verdict {
        let qp = match self.current {
            Some(qp) if qp.name.qpn == qpn => qp,
            _ => {
                self.settle();
                let Some(qp) = device.qps.get(self.bh, qpn.get()) else {
                    return Verdict::NotRdma;
                };
                self.current = Some(qp);
                qp
            }
        };
        let head = packet.first().get(..headers.header_len());
        Qp::take_in(
            qp,
            self.bh,
            headers,
            head.unwrap_or_default(),
            payload,
            &mut self.later,
        );
        Verdict::Taken
    }

    /// A packet that a queue pair sent is lost for certain.
    pub fn lost(&mut self, qpn: Qpn) {
        self.settle();
        if let Some(device) = self.device {
            if let Some(qp) = device.qps.get(self.bh, qpn.get()) {
                Qp::loss(qp, self.bh);
            }
        }
    }

    /// Lets the last queue pair answer.
    pub fn finish(mut self) {
        self.settle();
    }

    fn settle(&mut self) {
        if let Some(qp) = self.current.take() {
            Qp::settle(qp, self.bh, self.later.take());
        }
    }
}

/// Checks the ICRC.
#[inline]
fn check(
    headers: &Headers,
    packet: &Pieces<'_>,
    payload: &Pieces<'_>,
    end: usize,
) -> Result<(), ParseError> {
    if let [whole] = packet.as_slice() {
        return headers.verify_in_place::<KernelCrc32>(whole);
    }
    let mut trailer = [0; MAX_TRAILER];
    let behind = packet.range(end..end.saturating_add(headers.trailer_len()));
    let len = behind.and_then(|behind| behind.copy_to(&mut trailer));
    let trailer = trailer.get(..len.ok_or(ParseError::TooShort)?);
    headers.verify::<KernelCrc32>(
        packet.first(),
        payload.as_slice(),
        trailer.unwrap_or_default(),
    )
}
