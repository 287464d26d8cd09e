// SPDX-License-Identifier: GPL-2.0-only

//! The receiving half, and the frames of receive rings that it holds.
//!
//! A frame may be held longer than its rail lives: it waits for packets of another rail. So what
//! names a frame is the *life* of the rings it came from, and the memory of a life stays until its
//! last frame is released.

use core::slice;

use kernel::prelude::*;
use kernel::sync::Arc;

use crate::usb4::buffers::Pages;
use crate::usb4::netdev::Netdev;
use crate::usb4::rail::id::RailId;
use crate::usb4::rail::rx::{Receiver, Slot};
use crate::usb4::rail::{FRAME_SIZE, MAX_RAILS};
use crate::usb4::ring::{self, Arrived, Rings};
use crate::verbs::device::Device;

use super::Watcher;

/// Lives that are remembered: of each rail the present one and the one before.
const LIVES: usize = 2 * MAX_RAILS;

/// A frame that came in and is held.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Frame {
    life: u8,
    slot: u16,
    len: u16,
}

/// What the lock protects.
pub struct Rx {
    pub receiver: Receiver<Frame, KVVec<Slot<Frame>>>,
    pub frames: Frames,
    pub device: Option<Arc<Device>>,
    pub netdev: Option<Netdev>,
    pub watcher: Option<Arc<dyn Watcher>>,
    pub pace: super::poll::Pace,
    pub news: super::poll::News,
}

impl Rx {
    pub fn new(watcher: Arc<dyn Watcher>) -> Result<Self> {
        let mut queues = [const { KVVec::new() }; MAX_RAILS];
        for queue in &mut queues {
            *queue = KVVec::with_capacity(ring::FRAMES as usize, GFP_KERNEL)?;
            queue.extend_with(ring::FRAMES as usize, Slot::EMPTY, GFP_KERNEL)?;
        }
        Ok(Self {
            receiver: Receiver::new(queues),
            frames: Frames([const { None }; LIVES]),
            device: None,
            netdev: None,
            watcher: Some(watcher),
            pace: Default::default(),
            news: Default::default(),
        })
    }
}

/// One life of a rail's receive ring.
struct Life {
    rail: RailId,
    /// Until the rail goes down.
    rings: Option<Arc<Rings>>,
    pages: Arc<Pages>,
    /// Frames held.
    held: u32,
}

/// The frames of all receive rings.
///
/// # Invariants
///
/// A frame that is held has been given back by its ring, and is not in it.
pub struct Frames([Option<Life>; LIVES]);

impl Frames {
    /// A rail begins a life. Returns the rings of an earlier one, to be dropped where one may sleep.
    pub fn begin(&mut self, rail: RailId, rings: &Arc<Rings>) -> Result<Option<Arc<Rings>>> {
        let earlier = self.end(rail);
        let place = self.0.iter_mut().find(|life| life.is_none());
        *place.ok_or(EBUSY)? = Some(Life {
            rail,
            rings: Some(rings.clone()),
            pages: rings.rx_pages().clone(),
            held: 0,
        });
        Ok(earlier)
    }

    /// A rail's life ends. Returns its rings, to be dropped where one may sleep.
    pub fn end(&mut self, rail: RailId) -> Option<Arc<Rings>> {
        let mut lives = self.0.iter_mut();
        let place = lives
            .find(|life| matches!(life, Some(life) if life.rail == rail && life.rings.is_some()))?;
        let life = place.as_mut()?;
        let rings = life.rings.take();
        if life.held == 0 {
            *place = None;
        }
        rings
    }

    /// The rings of life number `index`, with their rail.
    pub fn rings(&self, index: usize) -> Option<(RailId, &Arc<Rings>)> {
        let life = self.0.get(index)?.as_ref()?;
        Some((life.rail, life.rings.as_ref()?))
    }

    /// How many lives there can be.
    pub const fn count() -> usize {
        LIVES
    }

    /// Holds a frame that a ring of life number `index` gave back.
    #[inline]
    pub fn hold(&mut self, index: usize, arrived: &Arrived) -> Option<Frame> {
        let life = self.0.get_mut(index)?.as_mut()?;
        life.held = life.held.wrapping_add(1);
        Some(Frame {
            // There are sixteen.
            life: index as u8,
            slot: arrived.slot,
            len: arrived.len,
        })
    }

    /// The bytes of a frame that is held.
    #[inline]
    pub fn bytes(&self, frame: Frame) -> &[u8] {
        let Some(Some(life)) = self.0.get(usize::from(frame.life)) else {
            return &[];
        };
        let Some(page) = life.pages.get(frame.slot.into()) else {
            return &[];
        };
        let len = usize::from(frame.len).min(FRAME_SIZE);
        // SAFETY: A page has as many bytes and lives as long as `life.pages`. By the invariants
        // the frame is not in the ring, so the device does not write it; it goes back there by
        // `release`, which nobody can call while the bytes are borrowed.
        unsafe { slice::from_raw_parts(page.as_ptr(), len) }
    }

    /// Gives a frame back to its ring, if that still is in use.
    #[inline]
    pub fn release(&mut self, frame: Frame) {
        let Some(place) = self.0.get_mut(usize::from(frame.life)) else {
            return;
        };
        let Some(life) = place else { return };
        life.held = life.held.saturating_sub(1);
        match &life.rings {
            Some(rings) => rings.repost(frame.slot),
            None if life.held == 0 => *place = None,
            None => {}
        }
    }
}
