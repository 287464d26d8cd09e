// SPDX-License-Identifier: GPL-2.0-only

//! The clock, and one timer per queue pair.
//!
//! The `kernel` crate's `HrTimer` hands its pointer over when it starts and cancels when a handle
//! is dropped. A queue pair re-arms its timer under its own lock, from its own callback too, and
//! must be able to cancel without that lock: hence this small island.

use core::mem::offset_of;

use kernel::prelude::*;
use kernel::sync::ArcBorrow;
use kernel::types::Opaque;

use super::lock::Bh;
use super::qp::Qp;
use crate::rxe::time::Time;

/// Nanoseconds of the monotonic clock.
#[inline]
pub fn now() -> Time {
    // SAFETY: `ktime_get` may be called from any context.
    let ns = unsafe { compat::ktime_get() };
    // The monotonic clock is never negative.
    Time(ns.unsigned_abs())
}

/// The timer of a queue pair; fires in softirq context.
#[pin_data(PinnedDrop)]
pub struct Timer {
    #[pin]
    timer: Opaque<compat::hrtimer>,
}

// SAFETY: An hrtimer belongs to no thread; the core locks it.
unsafe impl Send for Timer {}
// SAFETY: As above: it may be started and cancelled from anywhere at once.
unsafe impl Sync for Timer {}

impl Timer {
    /// A timer that is not set.
    ///
    /// # Safety
    ///
    /// The timer must be the field `timer` of a [`Qp`] that lives in an `Arc`.
    pub unsafe fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            timer <- Opaque::ffi_init(|place: *mut compat::hrtimer| {
                // SAFETY: `place` is valid for writes and pinned, as `ffi_init` promises.
                unsafe {
                    compat::hrtimer_setup(
                        place,
                        Some(fired),
                        compat::CLOCK_MONOTONIC as compat::clockid_t,
                        compat::hrtimer_mode_HRTIMER_MODE_ABS_SOFT,
                    );
                }
            }),
        })
    }

    /// Sets the timer, or sets it to another time.
    pub fn set(&self, at: Time) {
        let at = i64::try_from(at.0).unwrap_or(i64::MAX);
        // SAFETY: The timer is set up; starting it is safe in any context, from its callback too.
        unsafe {
            compat::hrtimer_start_range_ns(
                self.timer.get(),
                at,
                SLACK_NS,
                compat::hrtimer_mode_HRTIMER_MODE_ABS_SOFT,
            );
        }
    }

    /// Unsets the timer and waits for its callback. Sleeps on some kernels; the caller holds no
    /// lock that the callback takes, and nobody sets the timer again.
    pub fn cancel(&self) {
        // SAFETY: The timer is set up.
        unsafe { compat::hrtimer_cancel(self.timer.get()) };
    }
}

/// How late a timer may fire for the sake of batching. The shortest delay of the IBTA is 10 us.
const SLACK_NS: u64 = 5_000;

#[pinned_drop]
impl PinnedDrop for Timer {
    fn drop(self: Pin<&mut Self>) {
        // Never set again: nobody else has the queue pair any more.
        self.cancel();
    }
}

/// # Safety
///
/// As the kernel calls it: `timer` was set up by [`Timer::new`].
unsafe extern "C" fn fired(timer: *mut compat::hrtimer) -> compat::hrtimer_restart {
    // SAFETY: `timer` was set up by `Timer::new`, whose caller promised that it is the `timer` of a
    // `Qp` in an `Arc`. `Timer` begins with the hrtimer (checked below). The callback runs only
    // while the timer is not cancelled, which `Qp::shut` and `drop` do before the `Qp` goes away.
    let qp = unsafe {
        let qp = timer
            .cast::<u8>()
            .sub(offset_of!(Qp, timer))
            .cast::<Qp>()
            .cast_const();
        ArcBorrow::from_raw(qp)
    };
    let bh = Bh::disable();
    Qp::timer_fired(qp, &bh);
    compat::hrtimer_restart_HRTIMER_NORESTART
}

const _: () = assert!(offset_of!(Timer, timer) == 0);
