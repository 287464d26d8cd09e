// SPDX-License-Identifier: GPL-2.0-only

//! What the peer has yet to be told: credits and losses of our receiving half.
//!
//! Credits ride along in every header. A control frame is sent only when much is untold, when
//! something is untold for long, when a loss must be known at once, or when the peer asks.

use crate::rxe::time::Time;
use crate::usb4::rail::config::Times;
use crate::usb4::rail::frame::{Credit, RailStatus};
use crate::usb4::rail::id::RailId;
use crate::usb4::rail::rx::Losses;
use crate::usb4::rail::seq::Seq;
use crate::usb4::rail::MAX_RAILS;

/// Fewer untold frames than this are not worth a control frame: the control frames themselves take
/// credit, and two ends at rest must come to rest. A peer that is short of credit asks.
const WORTH_TELLING: u32 = 8;

/// The state of our receiving half, as of the last [`flush`](super::link::Halves::flush).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Report {
    /// What each rail may be sent.
    pub rails: [RailStatus; MAX_RAILS],
    /// The losses the peer has not heard of.
    pub losses: Losses,
}

/// What is to be told, and by when.
#[derive(Clone, Copy, Debug)]
pub(super) struct Untold {
    pub report: Report,
    /// The limit told last, and what was seen by then.
    told: [Seq; MAX_RAILS],
    told_seen: [Seq; MAX_RAILS],
    rings: [u32; MAX_RAILS],
    due: Time,
    /// There is more to tell than credits, which other headers could tell.
    urgent: bool,
    /// The peer asked, on this rail.
    pub asked: Option<RailId>,
}

impl Untold {
    pub fn new() -> Self {
        Self {
            report: Report {
                rails: [RailStatus::default(); MAX_RAILS],
                losses: Losses::default(),
            },
            told: [Seq::ZERO; MAX_RAILS],
            told_seen: [Seq::ZERO; MAX_RAILS],
            rings: [0; MAX_RAILS],
            due: Time::NEVER,
            urgent: false,
            asked: None,
        }
    }

    /// A rail begins a new life; the peer knows the size of its ring from the handshake.
    pub fn rail_up(&mut self, id: RailId, epoch: u8, ring: u32) {
        let full = Seq::ZERO.plus(ring);
        self.told[id.index()] = full;
        self.told_seen[id.index()] = Seq::ZERO;
        self.rings[id.index()] = ring;
        self.report.rails[id.index()] = RailStatus {
            epoch,
            limit: full,
            window: u16::try_from(ring).unwrap_or(u16::MAX),
            ..RailStatus::default()
        };
    }

    /// Takes note of the receiving half.
    pub fn learn(&mut self, report: &Report, now: Time, times: &Times) {
        if report.losses.serial != self.report.losses.serial {
            self.due = now;
        }
        self.report = *report;
        for id in RailId::all() {
            self.plan(id, now, times);
        }
    }

    /// Takes note of one rail.
    #[inline]
    pub fn learn_rail(&mut self, id: RailId, grant: RailStatus, now: Time, times: &Times) {
        self.report.rails[id.index()] = grant;
        self.plan(id, now, times);
    }

    #[inline]
    fn plan(&mut self, id: RailId, now: Time, times: &Times) {
        if self.untold(id) >= WORTH_TELLING {
            let at = if self.free(id) >= self.rings[id.index()] / 4 {
                now
            } else {
                now.after(times.status)
            };
            self.due = self.due.earlier_of(at);
        }
    }

    /// Frames that came free and that the peer does not know of.
    fn free(&self, id: RailId) -> u32 {
        self.report.rails[id.index()]
            .limit
            .count_from(self.told[id.index()])
    }

    /// Frames that came free, or that arrived and are held: the peer must not take a rail that waits
    /// for another one for a dead one.
    fn untold(&self, id: RailId) -> u32 {
        let seen = self.report.rails[id.index()].seen();
        self.free(id)
            .max(seen.count_from(self.told_seen[id.index()]))
    }

    fn told(&mut self, id: RailId) {
        let rail = self.report.rails[id.index()];
        self.told[id.index()] = rail.limit;
        self.told_seen[id.index()] = rail.seen();
    }

    /// Whether a control frame must go now.
    pub fn is_due(&self, now: Time) -> bool {
        self.asked.is_some() || self.due <= now
    }

    /// When a control frame must go.
    pub fn due(&self) -> Time {
        if self.asked.is_some() {
            Time::ZERO
        } else {
            self.due
        }
    }

    /// Asks for a control frame now.
    pub fn hurry(&mut self, now: Time) {
        self.due = self.due.earlier_of(now);
        self.urgent = true;
    }

    /// The credit most worth telling in the next header.
    #[inline]
    pub fn credit(&mut self) -> Option<Credit> {
        let mut best = None;
        let mut most = 0;
        let mut all = 0u32;
        for id in RailId::all() {
            let untold = self.untold(id);
            all = all.saturating_add(untold);
            if untold > most {
                most = untold;
                best = Some(id);
            }
        }
        let id = best?;
        let rail = self.report.rails[id.index()];
        self.told(id);
        if all == most && !self.urgent && self.report.losses.latest().is_empty() {
            self.due = Time::NEVER;
        }
        Some(Credit {
            rail: id,
            epoch: rail.epoch & 0xf,
            limit: rail.limit,
            window: rail.window,
        })
    }

    /// No rail took the control frame: later.
    pub fn postpone(&mut self, now: Time, times: &Times) {
        self.asked = None;
        self.due = now.after(times.probe);
    }

    /// A control frame went: all is told.
    pub fn all_told(&mut self, now: Time, times: &Times) {
        for id in RailId::all() {
            self.told(id);
        }
        self.asked = None;
        self.urgent = false;
        // A loss is told until the peer has heard of it.
        self.due = if self.report.losses.latest().is_empty() {
            Time::NEVER
        } else {
            now.after(times.probe)
        };
    }
}
