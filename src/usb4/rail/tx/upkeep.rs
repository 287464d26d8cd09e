// SPDX-License-Identifier: GPL-2.0-only

//! Rails come and go; control frames, timers, and what the peer says.

use core::ops::DerefMut;

use super::rail::TxRail;
use super::{Entry, RailUp, Sender};
use crate::rxe::time::Time;
use crate::usb4::rail::frame::close::{self, Reason};
use crate::usb4::rail::frame::{header, Class, Header, Kind, RailStatus, Status};
use crate::usb4::rail::health::Want;
use crate::usb4::rail::id::RailId;
use crate::usb4::rail::port::{Down, Egress, Notices};
use crate::usb4::rail::rx::Heard;

impl<E: Egress, L: DerefMut<Target = [Entry]>> Sender<E, L> {
    /// A rail begins a new life. It says so at once: a probe is its first frame.
    pub fn rail_up(&mut self, now: Time, id: RailId, config: &RailUp, egress: &mut E) {
        let rail = &mut self.rails[id.index()];
        *rail = TxRail::start(config, rail.tally, now);
        self.rate();
        self.untold.rail_up(id, config.epoch, config.rx_ring);
        self.stuck = None;
        self.downs &= !(1 << id.get());
        if self.last == Some(id) {
            self.last = None;
        }
        self.control(now, id, Kind::Probe, egress);
    }

    /// A rail is dead. What the peer was not seen to receive is lost, at once.
    pub fn rail_down<N: Notices>(&mut self, now: Time, id: RailId, why: Down, notices: &mut N) {
        let rail = &mut self.rails[id.index()];
        if !rail.up {
            return;
        }
        rail.up = false;
        rail.tally.ended(why);
        rail.outstanding = 0;
        rail.starved = false;
        let (epoch, confirmed) = (rail.epoch, rail.confirmed);
        self.rate();
        if self.last == Some(id) {
            self.last = None;
        }
        self.downs |= 1 << id.get();
        // The other end learns it on another rail, and need not wait either.
        self.untold.hurry(now);
        self.log
            .rail_died(id, epoch, confirmed, self.stripe, notices);
        notices.rail_down(id, why);
    }

    /// Which of the rails is the fastest?
    fn rate(&mut self) {
        let speeds = self
            .rails
            .iter()
            .filter(|rail| rail.up)
            .map(|rail| rail.speed);
        self.fastest = speeds.max().unwrap_or(1);
    }

    /// A rail that went down and that the receiving half must be told of.
    pub fn take_down(&mut self) -> Option<RailId> {
        let id = RailId::all().find(|id| self.downs >> id.get() & 1 != 0)?;
        self.downs &= !(1 << id.get());
        Some(id)
    }

    /// Whether the receiving half must be told of a rail.
    pub fn has_downs(&self) -> bool {
        self.downs != 0
    }

    /// Says goodbye on a rail. It stays up until [`rail_down`](Self::rail_down), but takes no more packets: the
    /// goodbye has left when nothing is [`outstanding`](Self::outstanding).
    pub fn close(&mut self, now: Time, id: RailId, reason: Reason, egress: &mut E) {
        self.rails[id.index()].closing = true;
        if !self.rails[id.index()].takes_control() {
            return;
        }
        let Some(mut buffer) = egress.buffer() else {
            return;
        };
        let body = reason.emit();
        let Some(place) = buffer.get_mut(header::LEN..header::LEN + close::LEN) else {
            return;
        };
        place.copy_from_slice(&body);
        self.post_control(now, id, Kind::Close, close::LEN, buffer, egress);
    }

    /// Takes note of what a frame on rail `id` said.
    pub fn hear<N: Notices>(&mut self, now: Time, id: RailId, heard: &Heard, notices: &mut N) {
        if let Some(credit) = heard.credit {
            let rail = &mut self.rails[credit.rail.index()];
            if rail.up && rail.epoch & 0xf == credit.epoch {
                rail.hear(credit.limit, credit.window, now);
            }
        }
        if let Some((status, asks)) = &heard.status {
            if *asks {
                self.untold.asked = Some(id);
            }
            self.status(now, status, notices);
        }
        if let Some(reason) = heard.closed {
            self.rail_down(now, id, Down::Closed(reason), notices);
        }
    }

    fn status<N: Notices>(&mut self, now: Time, status: &Status, notices: &mut N) {
        for (id, said) in RailId::all().zip(&status.rails) {
            let rail = &mut self.rails[id.index()];
            if !rail.up || said.epoch != rail.epoch {
                continue;
            }
            rail.hear(said.limit, said.window, now);
            if !said.sending {
                self.rail_down(now, id, Down::Peer, notices);
            }
        }
        if !status.losses().is_empty() {
            // The peer tells them until it is told that they were heard of.
            self.untold.hurry(now);
        }
        for loss in status.losses() {
            self.log.lost(*loss, self.stripe, notices);
        }
        self.witnesses(now, notices);
    }

    /// Two questions sent later on another rail were answered, and a rail is still silent: it stalls.
    fn witnesses<N: Notices>(&mut self, now: Time, notices: &mut N) {
        for id in RailId::all() {
            let rail = &self.rails[id.index()];
            let Some((witness, asked)) = rail.watch.witness else {
                continue;
            };
            let answered = self.rails[witness.index()].confirmed.is_after(asked);
            let watch = &mut self.rails[id.index()].watch;
            if answered && watch.answered(now) {
                self.rail_down(now, id, Down::Stalled, notices);
            }
        }
    }

    /// When [`tick`](Self::tick) is to be called.
    pub fn next_timeout(&self) -> Time {
        let waiting = self.is_waiting();
        let mut next = Time::NEVER;
        for rail in self.rails.iter().filter(|rail| rail.up) {
            let at = rail.watch.next(rail.doubt(waiting), &self.times);
            // Without a rail nobody can be told anything.
            next = next.earlier_of(at).earlier_of(self.untold.due());
            if rail.holds_up() {
                next = next.earlier_of(self.starved_at());
            }
        }
        next
    }

    /// When rails that take nothing are given up: packets wait, and none has moved.
    fn starved_at(&self) -> Time {
        match self.stuck {
            Some(since) if self.is_waiting() => since.after(self.times.starved),
            _ => Time::NEVER,
        }
    }

    /// Does what is due: probes, questions, deaths, statuses.
    pub fn tick<N: Notices>(&mut self, now: Time, egress: &mut E, notices: &mut N) {
        let waiting = self.is_waiting();
        let starved = now >= self.starved_at();
        for id in RailId::all() {
            let rail = &self.rails[id.index()];
            if !rail.up {
                continue;
            }
            if starved && rail.holds_up() {
                self.rail_down(now, id, Down::Starved, notices);
                continue;
            }
            match rail.watch.want(rail.doubt(waiting), now, &self.times) {
                Want::Nothing => {}
                Want::Probe => {
                    self.control(now, id, Kind::Probe, egress);
                    // Sent or not, the next one is due later.
                    let watch = &mut self.rails[id.index()].watch;
                    watch.probed();
                    watch.sent(now);
                }
                Want::Witness => {
                    let witness = self.pick_control(Some(id));
                    let question = witness.map(|other| (other, self.rails[other.index()].next));
                    self.rails[id.index()].watch.ask(question, now);
                    if let Some(other) = witness {
                        self.control(now, other, Kind::Probe, egress);
                    }
                    self.control(now, id, Kind::Probe, egress);
                }
                Want::Dead => self.rail_down(now, id, Down::Silent, notices),
            }
        }
        self.tell_if_due(now, egress);
    }

    /// Sends a status if one is due.
    pub(super) fn tell_if_due(&mut self, now: Time, egress: &mut E) {
        if !self.untold.is_due(now) {
            return;
        }
        // An answer goes back on the rail of the question: who asks about a silent rail asks on
        // another one. All else goes where it is fastest.
        let asked = self.untold.asked;
        let kind = match asked {
            None => Kind::Credit,
            // The peer is there, so it can answer as well.
            Some(id) if !self.rails[id.index()].joined => Kind::Probe,
            Some(_) => Kind::ProbeAck,
        };
        let sent = asked
            .filter(|id| !self.rails[id.index()].watch.is_asked_about())
            .is_some_and(|id| self.control(now, id, kind, egress))
            || self
                .pick_control(None)
                .is_some_and(|id| self.control(now, id, kind, egress));
        if !sent {
            // No rail takes it: with the next completion or credit one may.
            self.untold.postpone(now, &self.times);
        }
    }

    /// Sends a status on a rail. False: it does not take one.
    fn control(&mut self, now: Time, id: RailId, kind: Kind, egress: &mut E) -> bool {
        if !self.rails[id.index()].takes_control() {
            return false;
        }
        let Some(mut buffer) = egress.buffer() else {
            return false;
        };
        let mut status = Status::default();
        status.heard = self.log.heard();
        for other in RailId::all() {
            let rail = &self.rails[other.index()];
            let grant = self.untold.report.rails[other.index()];
            status.rails[other.index()] = RailStatus {
                sending: rail.up,
                epoch: rail.epoch,
                sent: rail.packets_end,
                ..grant
            };
        }
        for loss in self.untold.report.losses.latest() {
            status.add_loss(*loss);
        }
        let body = buffer.get_mut(header::LEN..).unwrap_or_default();
        let Ok(len) = status.emit(body) else {
            return false;
        };
        self.post_control(now, id, kind, len, buffer, egress);
        self.untold.all_told(now, &self.times);
        true
    }

    fn post_control(
        &mut self,
        now: Time,
        id: RailId,
        kind: Kind,
        body: usize,
        mut buffer: E::Buffer,
        egress: &mut E,
    ) {
        let rail = &mut self.rails[id.index()];
        let len = header::LEN + body;
        let header = Header {
            kind,
            class: Class::Rdma,
            epoch: rail.epoch,
            packets: 0,
            rail_seq: rail.next,
            stripe: self.stripe,
            run: 0,
            payload_frames: 0,
            length: u16::try_from(len).unwrap_or(u16::MAX),
            credit: None,
        };
        if header.emit(&mut buffer).is_ok() {
            rail.take(1, false, now);
            egress.post_head(id, buffer, len);
        }
    }
}
