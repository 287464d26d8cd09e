// SPDX-License-Identifier: GPL-2.0-only

//! Puts the rails together again: packets in stripe order, or declared lost.
//!
//! Every rail brings its packets in stripe order, so the next packet is at the front of some rail's
//! queue, or it is not here. It is *lost* if no rail can bring it any more:
//!
//! | the rail | says about packet *e* |
//! |---|---|
//! | queue begins after *e* and its `run` covers *e* | it went over this rail and is lost |
//! | queue begins after *e* | it does not come on this rail |
//! | queue empty, floor after *e* | it does not come on this rail |
//! | queue empty, floor at or before *e*, rail up | it may still come |
//! | queue empty, rail down | it does not come on this rail |

use core::ops::DerefMut;

use super::losses::Losses;
use super::queue::{Head, Item, Slot};
use super::rail::RxRail;
use super::Receiver;
use crate::usb4::rail::config::MAX_TRAIN;
use crate::usb4::rail::frame::record::MAX_FRAMES;
use crate::usb4::rail::frame::{header, Loss, Record};
use crate::usb4::rail::id::RailId;
use crate::usb4::rail::port::{Ingress, Received, Refused};
use crate::usb4::rail::seq::Seq;

/// The head whose packets are being delivered.
#[derive(Clone, Copy, Debug)]
pub(super) struct Current<F> {
    pub rail: RailId,
    frame: F,
    head: Head,
    /// Packets delivered or lost.
    done: u8,
    /// Where its next record begins.
    offset: usize,
    /// Payload frames not yet taken from the queue.
    payload_left: u8,
}

impl<F: Copy> Current<F> {
    /// The frame the packets are in.
    pub fn frame(&self) -> F {
        self.frame
    }
}

/// Heads delivered, dropped or missed in one call: when a rail dies that all others waited for, whole
/// rings of packets can be delivered, and whoever calls must not be kept so long.
const STEPS: usize = 16;
/// Packets after which no other head is begun: a peer's heads may bring more than our longest trains do.
const PACKETS: usize = STEPS * MAX_TRAIN;

/// Packets after which floors are looked after.
const SWEEP: u32 = 1 << 28;

/// What to do next.
enum Next {
    Deliver(RailId),
    DropStale(RailId),
    Declare(u32),
    Wait,
}

impl<F: Copy, Q: DerefMut<Target = [Slot<F>]>> Receiver<F, Q> {
    /// Delivers and declares what can be, up to [`STEPS`] and [`PACKETS`]; never stops in the middle of a head
    /// whose frames are here.
    pub(super) fn run<I: Ingress<Frame = F>>(&mut self, ingress: &mut I) {
        self.more = false;
        let mut steps = 0;
        let mut packets = 0usize;
        loop {
            if let Some(current) = &mut self.current {
                let Some(rail) = self.rails.get_mut(current.rail.index()) else {
                    return;
                };
                if !deliver(current, rail, &mut self.losses, ingress) {
                    return;
                }
                ingress.release(current.frame);
                rail.used = rail.used.saturating_sub(1);
                let delivered = current.head.packets;
                self.expected = current.head.start.plus(u32::from(delivered));
                self.current = None;
                packets = packets.saturating_add(usize::from(delivered));
            }
            if steps == STEPS || packets >= PACKETS {
                self.more = true;
                return;
            }
            steps += 1;
            if self.expected.minus(self.swept.get()).get() > SWEEP {
                self.sweep();
            }
            match self.next() {
                Next::Deliver(id) => self.begin(id),
                Next::DropStale(id) => {
                    ingress.refused(id, Refused::Stale);
                    self.drop_front(id, ingress);
                }
                Next::Declare(count) => {
                    let loss = Loss {
                        first: self.expected,
                        count,
                    };
                    self.losses.push(loss);
                    ingress.lost(loss);
                    self.expected = self.expected.plus(count);
                }
                Next::Wait => return,
            }
        }
    }

    /// Numbers compare by distance: a rail that is silent must not fall behind half of them.
    fn sweep(&mut self) {
        for rail in &mut self.rails {
            if self.expected.is_after(rail.floor) {
                rail.floor = self.expected;
            }
        }
        self.swept = self.expected;
    }

    /// Looks at the front of each rail, see the table above.
    #[inline]
    fn next(&self) -> Next {
        let mut may_come = false;
        let mut nearest = u32::MAX;
        let mut proven = 0;
        for (id, rail) in RailId::all().zip(&self.rails) {
            match rail.queue.peek(0) {
                Some(Item::Head(_, head)) => {
                    let ahead = head.start.distance(self.expected);
                    if ahead == 0 {
                        return Next::Deliver(id);
                    }
                    if ahead < 0 {
                        return Next::DropStale(id);
                    }
                    let ahead = ahead.unsigned_abs();
                    nearest = nearest.min(ahead);
                    if u32::from(head.run) >= ahead {
                        proven = proven.max(ahead);
                    }
                }
                // Payload without a head: its head was stale.
                Some(Item::Payload(..) | Item::Hole) => return Next::DropStale(id),
                None if rail.up => match rail.floor.count_from(self.expected) {
                    0 => may_come = true,
                    ahead => nearest = nearest.min(ahead),
                },
                None => {}
            }
        }
        if proven > 0 {
            Next::Declare(proven)
        } else if may_come || nearest == u32::MAX {
            Next::Wait
        } else {
            Next::Declare(nearest)
        }
    }

    fn begin(&mut self, id: RailId) {
        let Some(rail) = self.rails.get_mut(id.index()) else {
            return;
        };
        // The head stays counted in `used` until it is released.
        if let Some(Item::Head(frame, head)) = rail.queue.pop() {
            self.current = Some(Current {
                rail: id,
                frame,
                head,
                done: 0,
                offset: header::LEN,
                payload_left: head.payload_frames,
            });
        }
    }

    fn drop_front<I: Ingress<Frame = F>>(&mut self, id: RailId, ingress: &mut I) {
        let Some(rail) = self.rails.get_mut(id.index()) else {
            return;
        };
        if let Some(item) = rail.queue.pop() {
            rail.used = rail.used.saturating_sub(1);
            if let Item::Head(frame, _) | Item::Payload(frame, _) = item {
                ingress.release(frame);
            }
        }
    }
}

/// Delivers packets of the current head as far as their payload is here. True: all are done.
#[inline]
fn deliver<F, Q, I>(
    current: &mut Current<F>,
    rail: &mut RxRail<Q>,
    losses: &mut Losses,
    ingress: &mut I,
) -> bool
where
    F: Copy,
    Q: DerefMut<Target = [Slot<F>]>,
    I: Ingress<Frame = F>,
{
    while current.done < current.head.packets {
        // Checked when it arrived; bytes of a frame do not change, and if they did, this sees it.
        let record = Record::read(ingress.bytes(current.frame), current.offset);
        let frames = record.as_ref().map_or(usize::MAX, Record::frames);
        if frames > usize::from(current.payload_left) {
            break;
        }
        if frames > rail.queue.len() {
            return false;
        }
        let Ok(record) = record else { break };
        let mut payload = [None; MAX_FRAMES];
        let mut whole = true;
        for (index, place) in payload.iter_mut().take(frames).enumerate() {
            match rail.queue.peek(index) {
                Some(Item::Payload(frame, len)) => {
                    *place = Some(frame);
                    whole &= usize::from(len) == record.frame_len(index);
                }
                _ => whole = false,
            }
        }
        let stripe = current.head.start.plus(u32::from(current.done));
        let packet = Received::new(current.head.class, stripe, current.frame, record, payload);
        if !whole || !ingress.packet(&packet) {
            lose(losses, ingress, stripe, 1);
        }
        current.done += 1;
        current.offset = record.end();
        for _ in 0..frames {
            drop_payload(current, rail, ingress);
        }
    }
    let rest = u32::from(current.head.packets.saturating_sub(current.done));
    if rest > 0 {
        let stripe = current.head.start.plus(u32::from(current.done));
        lose(losses, ingress, stripe, rest);
        current.done = current.head.packets;
    }
    while current.payload_left > 0 && rail.queue.len() > 0 {
        drop_payload(current, rail, ingress);
    }
    current.payload_left == 0
}

fn lose<I: Ingress>(losses: &mut Losses, ingress: &mut I, first: Seq, count: u32) {
    let loss = Loss { first, count };
    losses.push(loss);
    ingress.lost(loss);
}

#[inline]
fn drop_payload<F, Q, I>(current: &mut Current<F>, rail: &mut RxRail<Q>, ingress: &mut I)
where
    F: Copy,
    Q: DerefMut<Target = [Slot<F>]>,
    I: Ingress<Frame = F>,
{
    if let Some(item) = rail.queue.pop() {
        rail.used = rail.used.saturating_sub(1);
        if let Item::Payload(frame, _) = item {
            ingress.release(frame);
        }
    }
    current.payload_left = current.payload_left.saturating_sub(1);
}
