// SPDX-License-Identifier: GPL-2.0-only

//! The receiving half of a link.
//!
//! ```text
//!   receive(rail, tag, frame)
//!     header   version, epoch, records        refused: counted, released
//!     rail     rail sequence, credit, place in the train      -> what is certainly missing
//!     queue    one per rail, as long as its ring
//!     merge    the next packet in stripe order, or its loss   -> Ingress::packet, Ingress::lost
//!   returns what the frame said to the sending half
//! ```

mod losses;
mod merge;
mod queue;
mod rail;

pub use losses::Losses;
pub use queue::Slot;

use core::ops::DerefMut;

use self::merge::Current;
use self::rail::RxRail;
use super::config::MAX_AHEAD;
use super::frame::close::Reason;
use super::frame::{header, record, Credit, FrameError, Header, Kind, RailStatus, Status, Tag};
use super::id::RailId;
use super::port::{Ingress, Refused};
use super::seq::Seq;
use super::tally::RxView;
use super::{FRAME_SIZE, MAX_RAILS};

/// What a frame said to the sending half.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Heard {
    /// A credit, with the epoch of the rail it came on.
    pub credit: Option<Credit>,
    /// A status, and whether it asks for one.
    pub status: Option<(Status, bool)>,
    /// The rail was closed.
    pub closed: Option<Reason>,
    /// The peer broke the rules in a way that no loss explains.
    pub violation: bool,
}

impl Heard {
    /// Whether there is anything to pass on.
    #[inline]
    pub fn is_something(&self) -> bool {
        self.credit.is_some() || self.status.is_some() || self.closed.is_some() || self.violation
    }
}

/// The receiving half.
#[derive(Debug)]
pub struct Receiver<F, Q> {
    rails: [RxRail<Q>; MAX_RAILS],
    /// The next packet to deliver or to declare lost.
    expected: Seq,
    /// No floor was far behind this packet.
    swept: Seq,
    /// The last call did as much as a call may, see [`go_on`](Self::go_on).
    more: bool,
    current: Option<Current<F>>,
    losses: Losses,
    /// As many losses the sending half knows of.
    told: u64,
}

impl<F: Copy, Q: DerefMut<Target = [Slot<F>]>> Receiver<F, Q> {
    /// A receiver without rails. Each queue has a slot for each frame of its rail's ring.
    pub fn new(queues: [Q; MAX_RAILS]) -> Self {
        Self {
            rails: queues.map(RxRail::new),
            expected: Seq::ZERO,
            swept: Seq::ZERO,
            more: false,
            current: None,
            losses: Losses::default(),
            told: 0,
        }
    }

    /// A rail begins a new life; its receive ring holds `ring` frames.
    pub fn rail_up<I: Ingress<Frame = F>>(
        &mut self,
        id: RailId,
        epoch: u8,
        ring: u32,
        ingress: &mut I,
    ) {
        self.rail_down(id, ingress);
        let floor = self.expected;
        if let Some(rail) = self.rails.get_mut(id.index()) {
            rail.start(epoch, ring, floor, ingress);
        }
    }

    /// A rail is dead: what has not come on it will not come.
    pub fn rail_down<I: Ingress<Frame = F>>(&mut self, id: RailId, ingress: &mut I) {
        if let Some(rail) = self.rails.get_mut(id.index()) {
            rail.stop();
        }
        self.run(ingress);
    }

    /// Takes a frame off a rail. The caller has checked that the ring saw no CRC error or overrun:
    /// such a frame is as good as lost and is not shown here, see
    /// [`damaged`](Self::damaged).
    #[inline]
    pub fn receive<I: Ingress<Frame = F>>(
        &mut self,
        id: RailId,
        tag: Tag,
        frame: F,
        ingress: &mut I,
    ) -> Heard {
        let mut heard = Heard::default();
        let taken = match tag {
            Tag::Payload(place) => self.payload(id, place, frame, ingress.bytes(frame).len()),
            Tag::Header => self.header(id, frame, ingress.bytes(frame), &mut heard),
        };
        match taken {
            Ok(true) => {}
            Ok(false) => ingress.release(frame),
            Err(why) => {
                if let Some(rail) = self.rails.get_mut(id.index()) {
                    rail.tally.refused = rail.tally.refused.wrapping_add(1);
                }
                heard.violation = matches!(why, Refused::NoCredit | Refused::Ahead);
                ingress.refused(id, why);
                ingress.release(frame);
            }
        }
        // Nothing changes while another rail's packets are being waited for.
        if self.current.is_none_or(|current| current.rail == id) {
            self.run(ingress);
        }
        heard
    }

    /// A ring gave back a damaged frame. That is for counting: the next frame shows what is missing.
    pub fn damaged(&mut self, id: RailId) {
        if let Some(rail) = self.rails.get_mut(id.index()) {
            rail.tally.damaged = rail.tally.damaged.wrapping_add(1);
        }
    }

    /// How a rail is and what came on it, for people.
    pub fn view(&self, id: RailId) -> Option<RxView> {
        self.rails.get(id.index()).map(RxRail::view)
    }

    #[inline]
    fn payload(&mut self, id: RailId, place: u8, frame: F, len: usize) -> Result<bool, Refused> {
        let rail = self.rails.get_mut(id.index()).ok_or(Refused::Down)?;
        if !rail.up {
            return Err(Refused::Down);
        }
        if len > FRAME_SIZE {
            return Err(Refused::Frame(FrameError::Length));
        }
        let len = u16::try_from(len).map_err(|_| Refused::Frame(FrameError::Length))?;
        rail.payload(frame, len, place).map(|()| true)
    }

    /// True: the frame is kept.
    #[inline]
    fn header(
        &mut self,
        id: RailId,
        frame: F,
        bytes: &[u8],
        heard: &mut Heard,
    ) -> Result<bool, Refused> {
        let (header, body) = Header::parse(bytes).map_err(Refused::Frame)?;
        let rail = self.rails.get_mut(id.index()).ok_or(Refused::Down)?;
        if !rail.up {
            return Err(Refused::Down);
        }
        if header.epoch != rail.epoch {
            return Err(Refused::Epoch);
        }
        match header.kind {
            Kind::Packets | Kind::Train => {
                let check =
                    record::check(bytes, header::LEN, header.packets, header.payload_frames);
                check.map_err(Refused::Frame)?;
                let ahead = header.stripe.distance(self.expected);
                if ahead < 0 {
                    return Err(Refused::Stale);
                }
                if ahead.unsigned_abs() > MAX_AHEAD {
                    return Err(Refused::Ahead);
                }
                // Packets of one rail are in order.
                if rail.floor.is_after(header.stripe) {
                    return Err(Refused::Stale);
                }
                rail.header(&header)?;
                rail.push_head(frame, &header);
                heard.credit = header.credit;
                Ok(true)
            }
            Kind::Credit | Kind::Probe | Kind::ProbeAck => {
                let status = Status::parse(body).map_err(Refused::Frame)?;
                rail.header(&header)?;
                self.floors(id, header.stripe, &status);
                heard.credit = header.credit;
                heard.status = Some((status, header.kind == Kind::Probe));
                Ok(false)
            }
            Kind::Close => {
                let reason = Reason::parse(body).map_err(Refused::Frame)?;
                rail.header(&header)?;
                heard.closed = Some(reason);
                Ok(false)
            }
        }
    }

    /// The peer will send no packet before `next` any more; which rails have brought all theirs?
    fn floors(&mut self, came_on: RailId, next: Seq, status: &Status) {
        let ahead = next.distance(self.expected);
        if ahead < 0 || ahead.unsigned_abs() > MAX_AHEAD {
            return;
        }
        for ((id, rail), said) in RailId::all().zip(&mut self.rails).zip(&status.rails) {
            // A rail is first in, first out: what was sent before the status is here or lost.
            // A rail the peer does not send on yet will begin with a later packet.
            let all_seen = id == came_on
                || !said.sending
                || said.epoch == rail.epoch && !said.sent.is_after(rail.expected());
            if rail.up && all_seen && next.is_after(rail.floor) {
                rail.floor = next;
            }
        }
    }

    /// What the peer is told about a rail: its limit and window.
    pub fn grant(&self, id: RailId) -> RailStatus {
        self.rails
            .get(id.index())
            .map_or_else(RailStatus::default, |rail| RailStatus {
                epoch: rail.epoch,
                limit: rail.limit(),
                // A ring has at most 4096 frames.
                window: u16::try_from(rail.window()).unwrap_or(u16::MAX),
                ..RailStatus::default()
            })
    }

    /// Whether packets can be delivered that were more than one call should do. The next call of
    /// any kind goes on.
    pub fn has_more(&self) -> bool {
        self.more
    }

    /// Delivers what the last call left.
    pub fn go_on<I: Ingress<Frame = F>>(&mut self, ingress: &mut I) {
        if self.more {
            self.run(ingress);
        }
    }

    /// The peer has heard of all losses before `heard`.
    pub fn heard_losses(&mut self, heard: Seq) {
        self.losses.heard(heard);
    }

    /// The losses the peer has not heard of.
    pub fn losses(&self) -> &Losses {
        &self.losses
    }

    /// The next packet to deliver or to declare lost.
    pub fn expected(&self) -> Seq {
        self.expected
    }

    /// Forgets all: the peer has begun anew. The rails must be down.
    pub fn reset<I: Ingress<Frame = F>>(&mut self, ingress: &mut I) {
        for id in RailId::all() {
            self.rail_down(id, ingress);
        }
        for rail in &mut self.rails {
            rail.start(0, 0, Seq::ZERO, ingress);
            rail.up = false;
        }
        if let Some(current) = self.current.take() {
            ingress.release(current.frame());
        }
        self.expected = Seq::ZERO;
        self.swept = Seq::ZERO;
        self.more = false;
        self.losses = Losses::default();
        self.told = 0;
    }

    /// The sending half knows of this many losses.
    pub(super) fn told(&mut self, serial: u64) {
        self.told = serial;
    }

    /// Whether it knew of this many.
    pub(super) fn is_told(&self, serial: u64) -> bool {
        self.told == serial
    }
}
