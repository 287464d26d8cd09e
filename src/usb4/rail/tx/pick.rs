// SPDX-License-Identifier: GPL-2.0-only

//! Which rail: the one that would be done first, of those that have room and credit.

use core::ops::DerefMut;

use super::rail::TxRail;
use super::{Entry, Sender};
use crate::usb4::rail::id::RailId;
use crate::usb4::rail::port::Egress;

/// Whether a rail with `a` frames in its ring is done before one with `b`.
#[inline]
fn is_before(a: (u32, &TxRail), b: (u32, &TxRail)) -> bool {
    u64::from(a.0) * u64::from(b.1.speed) < u64::from(b.0) * u64::from(a.1.speed)
}

impl<E: Egress, L: DerefMut<Target = [Entry]>> Sender<E, L> {
    /// The rail for `frames` frames, of those with at most `busiest` frames in their rings (so many on
    /// the fastest rail; fewer on slower ones, for it is the time that counts) and more than `reserve`
    /// credits left over. Between equals, the rail of the last packets.
    #[inline]
    pub(super) fn pick(&mut self, frames: u32, busiest: u32, reserve: u32) -> Option<RailId> {
        let mut best: Option<(RailId, u32)> = None;
        let fastest = self.fastest;
        for id in RailId::all() {
            let rail = &mut self.rails[id.index()];
            if !rail.takes_packets() || rail.is_busier(busiest, fastest) {
                continue;
            }
            if !rail.has_ring(frames) {
                continue;
            }
            if rail.credit() < frames.saturating_add(reserve) {
                rail.starve();
                continue;
            }
            let load = rail.outstanding.saturating_add(frames);
            let better = best.is_none_or(|(other, other_load)| {
                let this = (load, &self.rails[id.index()]);
                let that = (other_load, &self.rails[other.index()]);
                is_before(this, that) || self.last == Some(id) && !is_before(that, this)
            });
            if better {
                best = Some((id, load));
            }
        }
        best.map(|(id, _)| id)
    }

    /// The rail for a control frame: any that takes one, those without doubt first.
    pub(super) fn pick_control(&self, but: Option<RailId>) -> Option<RailId> {
        let mut best: Option<RailId> = None;
        for id in RailId::all() {
            let rail = &self.rails[id.index()];
            if !rail.takes_control() || but == Some(id) {
                continue;
            }
            let better = best.is_none_or(|other| {
                let that = &self.rails[other.index()];
                let (this_doubt, that_doubt) = (rail.is_doubtful(), that.is_doubtful());
                let this = (rail.outstanding.saturating_add(1), rail);
                let that = (that.outstanding.saturating_add(1), that);
                (this_doubt, is_before(that, this)) < (that_doubt, is_before(this, that))
            });
            if better {
                best = Some(id);
            }
        }
        best
    }
}
