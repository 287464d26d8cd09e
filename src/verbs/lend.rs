// SPDX-License-Identifier: GPL-2.0-only

//! Memory of users that host routers read: a payload frame is sent from where the user has it.
//!
//! ```text
//!   Handle::lend ─> Lent ─ in the frame being filled ─ in a transmit ring ─ sent: end
//!                                                                            |
//!   dereg_mr, rereg_mr: settle waits for the last one <──────────────────────'
//! ```
//!
//! The memory stays pinned until every loan is over. A loan ends when the ring has sent the frame or
//! is stopped, or the frame is dropped because no rail is left. A peer that grants no credit, or takes
//! a frame now and then, could delay that for ever: who waits for long has the frame that waits
//! dropped, or the rail taken down whose ring has it. Those of others go on
//! (`docs/decisions/0042-payload-stays-where-mapping-is-free.md`).

use core::ptr::NonNull;

use kernel::prelude::*;
use kernel::sync::Arc;
use kernel::time::{delay::fsleep, Delta};

use super::lock::Rundown;
use super::pages::Span;
use crate::rxe::psn::Psn;
use crate::rxe::wire::{Body, PacketRepr, Rc};
use crate::usb4::wire::Wire;

/// What a host router's descriptors are known to take: whole cache lines.
const ALIGNMENT: usize = 64;
/// How often to look for the end of loans.
const LOOK_MS: i64 = 1;
/// How many looks until what waits for a rail is dropped, and until a rail is. A look takes no less
/// than it should, so a rail is left longer than it may be silent.
const LOOKS_UNTIL_DROP: u32 = 50;
const LOOKS_UNTIL_DOWN: u32 = 3_000;

/// Behind the newest request that a queue pair has sent, for [`may_lend`](Self::may_lend).
#[derive(Default)]
pub struct Sent(Option<Psn>);

impl Sent {
    /// Whether the payload of a packet may be read later than its ICRC is computed; call it once for
    /// each packet. If the memory changes in between, the packet counts as lost. So:
    ///
    /// | payload | |
    /// |---|---|
    /// | of SEND, WRITE on a reliable connection | it must not change before the completion, which comes after the ACK |
    /// | of SEND, WRITE on others | copied: it may change when the packet is on its way, and nobody sends it again |
    /// | of the answer to a READ | copied: it may change, and the reader's retries are not ours to use up |
    /// | of what is sent again | copied: it may change all the time |
    #[inline]
    pub fn may_lend(&mut self, packet: &PacketRepr) -> bool {
        let is_safe = match &packet.body {
            Body::Rc(Rc::Send(_) | Rc::Write(_)) => true,
            Body::Rc(
                Rc::ReadRequest(_)
                | Rc::CompareSwap(_)
                | Rc::FetchAdd(_)
                | Rc::Flush(..)
                | Rc::AtomicWrite(..),
            ) => false,
            Body::Rc(Rc::ReadResponse(_) | Rc::Ack(_) | Rc::AtomicAck(..))
            | Body::Uc(_)
            | Body::Ud(_) => return false,
        };
        let psn = packet.bth.psn;
        if self.0.is_some_and(|next| psn.is_before(next)) {
            return false;
        }
        self.0 = Some(psn.next());
        is_safe
    }
}

/// The loans of one region's memory.
#[pin_data]
pub struct Lender {
    #[pin]
    loans: Rundown,
    wire: Arc<Wire>,
}

impl Lender {
    /// Nothing is lent.
    pub fn new(wire: Arc<Wire>) -> impl PinInit<Self> {
        pin_init!(Self {
            loans <- Rundown::new(),
            wire,
        })
    }

    /// Lends out memory of the region, if a host router can read it there.
    #[inline]
    pub fn lend(&self, span: Span<'_>) -> Option<Lent> {
        if span.address() % ALIGNMENT != 0 {
            return None;
        }
        let len = u16::try_from(span.len()).ok()?;
        let loan = self.loans.enter()?;
        // `Lent::end` leaves instead.
        core::mem::forget(loan);
        // INVARIANT: Entered just now.
        Some(Lent {
            address: span.address(),
            len,
            loans: NonNull::from(&self.loans),
        })
    }

    /// Waits until nothing is lent any more; call it once, last. Sleeps.
    pub fn settle(&self) {
        let mut looks = 0u32;
        self.loans.close_and(|| {
            fsleep(Delta::from_millis(LOOK_MS));
            looks = looks.saturating_add(1);
            let is_ours = |lent: Lent| core::ptr::eq(lent.loans.as_ptr(), &self.loans);
            if looks % LOOKS_UNTIL_DROP == 0 {
                self.wire.abandon(is_ours);
            }
            if looks % LOOKS_UNTIL_DOWN == 0 {
                self.wire.give_up(is_ours);
            }
        });
    }
}

/// Memory that is lent.
///
/// # Invariants
///
/// `len` bytes at `address` are pinned and mapped, until `end`. `loans` is entered for it.
#[derive(Clone, Copy)]
pub struct Lent {
    address: usize,
    len: u16,
    loans: NonNull<Rundown>,
}

// SAFETY: A loan belongs to no thread.
unsafe impl Send for Lent {}

impl Lent {
    /// Where it is.
    #[inline]
    pub fn address(self) -> usize {
        self.address
    }

    /// How many bytes there are.
    #[inline]
    pub fn len(self) -> usize {
        self.len.into()
    }

    /// Folds the bytes, as they are now, into a CRC.
    #[inline]
    pub fn crc(self, state: u32) -> u32 {
        // SAFETY: Mapped by the type's invariants. That others write meanwhile is none of the
        // compiler's business: it does not see into C. The receiver finds out.
        unsafe { compat::crc32_le(state, self.address as *const _, self.len()) }
    }

    /// The loan is over.
    ///
    /// # Safety
    ///
    /// Call it once for each `lend`, whatever copies there are; none is used after it.
    #[inline]
    pub unsafe fn end(self) {
        // SAFETY: By the type's invariants this call is inside, so the lender is there.
        unsafe { self.loans.as_ref().leave() };
    }
}
