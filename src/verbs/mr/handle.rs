// SPDX-License-Identifier: GPL-2.0-only

//! One access to a region: checked once, copied once.
//!
//! Between the engine's check and the copy another CPU may invalidate the region, bind the window
//! anew, register other pages. A handle remembers which registration was checked (its epoch) and
//! copies under the lock that guards it, if it is still that one:
//!
//! ```text
//!   open: epoch, Facts ──check──> store, load, atomic: lock, same epoch? copy, unlock
//!                                                           no: Fault
//! ```
//!
//! So an invalidation that is done has no access under way. Regions that do not change need neither
//! lock nor epoch: they go away by way of the table, after a grace period.

use compat::smp_wmb;

use super::{Backing, Mr};
use crate::rxe::env::{AtomicOp, Fault};
use crate::rxe::time::Nanos;
use crate::rxe::wire::Feth;
use crate::verbs::lend::Lent;
use crate::verbs::lock::Bh;
use crate::verbs::mw::Mw;
use crate::verbs::pages::{direct_span, Span};

/// An access to a region.
#[derive(Clone, Copy)]
pub struct Handle<'a> {
    mr: &'a Mr,
    bh: &'a Bh,
    epoch: u32,
    /// The window it goes through, and its epoch.
    window: Option<(&'a Mw, u32)>,
}

/// What an access does.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    Read,
    Write,
}

impl<'a> Handle<'a> {
    #[inline]
    pub(super) fn new(mr: &'a Mr, bh: &'a Bh, epoch: u32) -> Self {
        Self {
            mr,
            bh,
            epoch,
            window: None,
        }
    }

    /// The same access by way of a window.
    #[inline]
    pub fn through(self, window: &'a Mw, epoch: u32) -> Self {
        Self {
            window: Some((window, epoch)),
            ..self
        }
    }

    /// Hands the spans of a range, in the region's addresses, to `each`.
    #[inline]
    fn spans(
        &self,
        at: u64,
        len: usize,
        mode: Mode,
        each: impl FnMut(Span<'_>) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        match self.window {
            None => self.region_spans(at, len, mode, each),
            Some((window, epoch)) => {
                window.while_bound(self.bh, epoch, || self.region_spans(at, len, mode, each))
            }
        }
    }

    #[inline]
    fn region_spans(
        &self,
        at: u64,
        len: usize,
        mode: Mode,
        each: impl FnMut(Span<'_>) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        let mr = self.mr;
        match &mr.backing {
            Backing::Pinned(pinned) => {
                if mode == Mode::Write && !pinned.is_writable() {
                    return Err(Fault::Gone);
                }
                let offset = at.checked_sub(mr.facts.start).ok_or(Fault::Gone)?;
                pinned.pages().spans(offset, len, each)
            }
            Backing::OnDemand(memory) => {
                let offset = at.checked_sub(mr.facts.start).ok_or(Fault::Gone)?;
                let write = mode == Mode::Write;
                memory.spans(self.bh, offset, len, write, each)
            }
            // SAFETY: Only the kernel has keys of such regions: it hands them, with addresses of
            // its own memory, to its own queue pairs, or to peers it trusts with all of it.
            Backing::Dma => unsafe { direct_span(at, len, each) },
            Backing::Fast(_) => {
                let state = mr.lock(self.bh);
                if state.epoch != self.epoch {
                    return Err(Fault::Gone);
                }
                let offset = at.checked_sub(state.region.iova).ok_or(Fault::Gone)?;
                state.pages.spans(offset, len, each)
            }
        }
    }

    /// For how long pages have been fetched, by the fetch under way.
    #[cold]
    pub fn fetched_for(&self) -> Nanos {
        match &self.mr.backing {
            Backing::OnDemand(memory) => memory.fetched_for(self.bh),
            Backing::Pinned(_) | Backing::Dma | Backing::Fast(_) => Nanos(0),
        }
    }

    /// Stores bytes. `at` is in the region's addresses.
    #[inline]
    pub fn store(&self, at: u64, bytes: &[u8]) -> Result<(), Fault> {
        let mut rest = bytes;
        self.spans(at, bytes.len(), Mode::Write, |span| {
            let (now, later) = rest.split_at_checked(span.len()).ok_or(Fault::Gone)?;
            span.write(now);
            rest = later;
            Ok(())
        })
    }

    /// Lends out bytes for a host router to read where they are: pinned memory, in one piece.
    #[inline]
    pub fn lend(&self, at: u64, len: usize) -> Option<Lent> {
        match (&self.mr.backing, self.window) {
            (Backing::Pinned(pinned), None) => {
                pinned.lend(at.checked_sub(self.mr.facts.start)?, len)
            }
            _ => None,
        }
    }

    /// Loads bytes.
    #[inline]
    pub fn load(&self, at: u64, into: &mut [u8]) -> Result<(), Fault> {
        let len = into.len();
        let mut rest = into;
        self.spans(at, len, Mode::Read, |span| {
            let (now, later) = core::mem::take(&mut rest)
                .split_at_mut_checked(span.len())
                .ok_or(Fault::Gone)?;
            span.read(now);
            rest = later;
            Ok(())
        })
    }

    /// Executes an atomic operation; returns the value before it.
    pub fn atomic(&self, at: u64, op: AtomicOp) -> Result<u64, Fault> {
        let mut before = Err(Fault::Gone);
        self.spans(at, size_of::<u64>(), Mode::Write, |span| {
            before = span.atomic(op);
            before.map(drop)
        })?;
        before
    }

    /// Stores eight bytes in one access, after everything stored before.
    pub fn store_atomic(&self, at: u64, bytes: [u8; 8]) -> Result<(), Fault> {
        self.spans(at, bytes.len(), Mode::Write, |span| span.store_word(bytes))
    }

    /// Makes earlier stores visible or persistent; `range` is `None` for the whole region. Goes on behind the
    /// first `done` bytes and writes back at most `left`, which it counts down. Returns how many are
    /// done if there are more.
    pub fn flush(
        &self,
        range: Option<(u64, u64)>,
        what: Feth,
        done: u64,
        left: &mut u64,
    ) -> Result<Option<u64>, Fault> {
        if what.persistent {
            let (at, len) = match (range, &self.mr.backing) {
                (Some(range), _) => range,
                // All of the kernel's memory has no bounds.
                (None, Backing::Dma) => return Err(Fault::Gone),
                (None, Backing::Pinned(_) | Backing::OnDemand(_)) => {
                    (self.mr.facts.start, self.mr.facts.len)
                }
                (None, Backing::Fast(_)) => {
                    let state = self.mr.lock(self.bh);
                    (state.region.iova, state.region.len)
                }
            };
            let rest = len.saturating_sub(done);
            let now = rest.min(*left);
            let bytes = usize::try_from(now).map_err(|_| Fault::Gone)?;
            self.spans(at.saturating_add(done), bytes, Mode::Read, |span| {
                span.write_back();
                Ok(())
            })?;
            *left = left.saturating_sub(now);
            if now < rest {
                return Ok(Some(done.saturating_add(now)));
            }
        }
        if what.global {
            smp_wmb();
        }
        Ok(None)
    }
}
