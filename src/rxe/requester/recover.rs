// SPDX-License-Identifier: GPL-2.0-only

//! Going back: what is sent again, and why.
//!
//! | sign | what the requester does | charged to |
//! |---|---|---|
//! | NAK, gap in the answers | starts over at the missing packet | the retry budget, once per place |
//! | the same place again | asks with a probe, then starts over | [`RESTARTS`] |
//! | answers go back, the same is missing | starts over | [`RESTARTS`] |
//! | the rail reports a loss | sends a probe | [`LOSS_SIGNS`] |
//! | no answer in time | starts over | the retry budget |
//! | an answer to what is answered | waits longer: the peer is slow | packets sent again |
//!
//! Every bound but the retry budget is only about haste: the answer timeout goes on meanwhile.

use super::segment::{segment_again, Segment};
use super::slot::{Phase, Window};
use super::transmit::{transmit, SendError};
use super::{Requester, Step};
use crate::rxe::env::Env;
use crate::rxe::events::Event;
use crate::rxe::psn::Psn;
use crate::rxe::qp::Attr;
use crate::rxe::retry::{Exhausted, LOSS_SIGNS};
use crate::rxe::time::Time;
use crate::rxe::wqe::SendOp;

/// How often the requester starts over from one place because the peer says that the packet there
/// was lost again, on top of what the retry budget is charged for. After that, the timer is left.
pub(super) const RESTARTS: u8 = 7;

/// Packets sent after a silence, until there is an answer. A peer that is only slow has all of them
/// before it already: a whole window again, with every timeout, would keep it from ever getting to
/// the end.
const AFTER_SILENCE: u32 = 8;

impl Requester {
    /// Repeats the packet sent last. Whatever came before it has arrived by then or never will: the
    /// peer, who takes packets in order, answers with all it has done, or says what it misses.
    pub(super) fn send_probe<E: Env>(
        &mut self,
        window: &mut Window<'_>,
        attr: &Attr,
        now: Time,
        env: &mut E,
    ) -> Step {
        if let Some((number, segment)) = self.newest(window, attr) {
            match transmit(window, number, &segment, true, attr, env) {
                Ok(()) => {
                    env.count(Event::Retry(segment.psn));
                    self.retry.sent(now);
                }
                Err(SendError::Busy) => return Step::Busy,
                Err(SendError::Absent) => return Step::Absent,
                // The memory is gone; sending it the regular way will say so.
                Err(SendError::Failed(_)) => {}
            }
        }
        self.probe = false;
        Step::Worked
    }

    /// The packet sent last, if it is not answered yet; of a READ, the question for its end.
    fn newest(&self, window: &Window<'_>, attr: &Attr) -> Option<(u32, Segment)> {
        let (number, k) = self.sent_last?;
        let under_way = number.wrapping_sub(self.head) < self.tail.wrapping_sub(self.head);
        let slot = window.slot(number).filter(|_| under_way)?;
        let segment = match slot.phase {
            Phase::Begun => segment_again(slot, k, attr)?,
            Phase::Posted | Phase::Done | Phase::Failed(_) => return None,
        };
        let unanswered = segment.psn.offset_from(self.una) < self.outstanding();
        unanswered.then_some((number, segment))
    }

    /// A loss is certain: whatever was lost, the answer to the packet sent last tells.
    pub fn lost(&mut self) {
        // Having just started over, the requester sends all there is anyway.
        let quiet = self.outstanding() == 0 || self.sent_last.is_none();
        if quiet || self.retry.is_not_ready() {
            return;
        }
        if let Some(left) = self.signs_left.checked_sub(1) {
            self.signs_left = left;
            self.probe = true;
        }
    }

    /// The peer can be reached again. What it took to know that it could not does not count.
    pub fn reconnected(&mut self) {
        self.signs_left = LOSS_SIGNS;
        self.lost();
    }

    /// Starts over from the oldest unanswered packet.
    pub fn restart<E: Env>(&mut self, window: &Window<'_>, env: &mut E) {
        env.count(Event::Retry(self.una));
        self.restarted = Some(self.una);
        self.cursor = self.head;
        self.packet = self.answered_of_head(window);
        self.sent_last = None;
        self.in_doubt = false;
        self.unasked = 0;
        self.probe = false;
    }

    /// Starts over because no answer came: what the peer says about this place counts again.
    pub fn restart_unanswered<E: Env>(&mut self, window: &Window<'_>, env: &mut E) {
        self.restart(window, env);
        self.limit = AFTER_SILENCE;
        self.hope();
    }

    /// Starts over because the peer said so. The budget is charged once per place; what is lost
    /// there again and again is left to the answer timeout, which goes on meanwhile.
    pub fn restart_charged<E: Env>(
        &mut self,
        window: &Window<'_>,
        env: &mut E,
    ) -> Result<(), Exhausted> {
        if self.restarted != Some(self.una) {
            self.retry.charge()?;
        } else if let Some(left) = self.restarts_left.checked_sub(1) {
            self.restarts_left = left;
        } else {
            return Ok(());
        }
        self.restart(window, env);
        Ok(())
    }

    /// The peer says that something is missing, perhaps what was sent again: if it says so before
    /// that arrived, the answer to a probe corrects it, else confirms it.
    pub fn restart_if_sure<E: Env>(
        &mut self,
        window: &Window<'_>,
        env: &mut E,
    ) -> Result<(), Exhausted> {
        if self.restarted == Some(self.una) && !self.in_doubt {
            self.in_doubt = self.sent_last.is_some();
            self.probe = self.in_doubt;
            return Ok(());
        }
        self.restart_charged(window, env)
    }

    /// A response to what is answered already: to a packet sent again, if the peer is honest. It is slow,
    /// and still on its way to what is missing.
    #[cold]
    pub fn echo(&mut self, now: Time) {
        if let Some(left) = self.echoes_due.checked_sub(1) {
            self.echoes_due = left;
            self.retry.echo(now);
        }
    }

    /// Whether a response with this PSN, ahead of the one that is missing, tells something new: it
    /// is the first one, or PSNs go back, for the peer has started over and the same was lost.
    pub fn is_new_gap(&mut self, got: Psn) -> bool {
        let back = self
            .last_gap
            .replace(got)
            .is_some_and(|last| !last.is_before(got));
        back || self.restarted != Some(self.una)
    }

    /// After progress, or a silence: whatever was given up may be tried again.
    pub fn hope(&mut self) {
        self.restarted = None;
        self.last_gap = None;
        self.restarts_left = RESTARTS;
        self.signs_left = LOSS_SIGNS;
    }

    /// After progress: nothing before `una` is sent again.
    pub fn skip_answered(&mut self, window: &Window<'_>) {
        if self.cursor == self.head {
            self.packet = self.packet.max(self.answered_of_head(window));
        }
    }

    /// How many packets of the oldest request are answered.
    fn answered_of_head(&self, window: &Window<'_>) -> u32 {
        match window.slot(self.head) {
            Some(slot) if self.head != self.tail && slot.phase == Phase::Begun => {
                let answered = self.una.offset_from(slot.first_psn);
                // A READ is one packet, whatever part of its answer is here.
                if answered < slot.packets && !matches!(slot.wr.op, SendOp::Read(_)) {
                    answered
                } else {
                    0
                }
            }
            _ => 0,
        }
    }
}
