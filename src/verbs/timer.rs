// SPDX-License-Identifier: GPL-2.0-only

//! The clock, and timers that are part of what they fire for: a queue pair, a wire.
//!
//! The `kernel` crate's `HrTimer` hands its pointer over when it starts and cancels when a handle
//! is dropped. A queue pair re-arms its timer under its own lock, from its own callback too, and
//! must be able to cancel without that lock: hence this small island.

use core::marker::PhantomData;

use kernel::prelude::*;
use kernel::sync::ArcBorrow;
use kernel::types::Opaque;

use crate::rxe::time::Time;

/// Nanoseconds of the monotonic clock.
#[inline]
pub fn now() -> Time {
    // SAFETY: `ktime_get` may be called from any context.
    let ns = unsafe { compat::ktime_get() };
    // The monotonic clock is never negative.
    Time(ns.unsigned_abs())
}

/// What a timer fires for.
///
/// # Safety
///
/// `OFFSET` is where in `Self` its [`Timer`] lies.
pub unsafe trait HasTimer: Sized + Send + Sync {
    /// See above.
    const OFFSET: usize;

    /// The timer fired. In softirq context.
    fn fired(this: ArcBorrow<'_, Self>);
}

/// A timer; fires in softirq context.
#[pin_data(PinnedDrop)]
#[repr(transparent)]
pub struct Timer<T: HasTimer> {
    #[pin]
    timer: Opaque<compat::hrtimer>,
    owner: PhantomData<fn(&T)>,
}

// SAFETY: An hrtimer belongs to no thread; the core locks it.
unsafe impl<T: HasTimer> Send for Timer<T> {}
// SAFETY: As above: it may be started and cancelled from anywhere at once.
unsafe impl<T: HasTimer> Sync for Timer<T> {}

impl<T: HasTimer> Timer<T> {
    /// A timer that is not set.
    ///
    /// # Safety
    ///
    /// The timer must be the field at `OFFSET` of a `T` that lives in an `Arc`.
    pub unsafe fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            timer <- Opaque::ffi_init(|place: *mut compat::hrtimer| {
                // SAFETY: `place` is valid for writes and pinned, as `ffi_init` promises.
                unsafe {
                    compat::hrtimer_setup(
                        place,
                        Some(fired::<T>),
                        compat::CLOCK_MONOTONIC as _,
                        compat::hrtimer_mode_HRTIMER_MODE_ABS_SOFT,
                    );
                }
            }),
            owner: PhantomData,
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
impl<T: HasTimer> PinnedDrop for Timer<T> {
    fn drop(self: Pin<&mut Self>) {
        // Never set again: nobody else has the owner any more.
        self.cancel();
    }
}

unsafe extern "C" fn fired<T: HasTimer>(timer: *mut compat::hrtimer) -> compat::hrtimer_restart {
    // SAFETY: `timer` was set up by `Timer::new`, whose caller promised that it lies at `OFFSET` of a
    // `T` in an `Arc`, and a `Timer` is its hrtimer. The callback runs only while the timer is not
    // cancelled, which `drop` at the latest does before the owner goes away.
    let owner = unsafe {
        let owner = timer.cast::<u8>().sub(T::OFFSET).cast::<T>().cast_const();
        ArcBorrow::from_raw(owner)
    };
    T::fired(owner);
    compat::hrtimer_restart_HRTIMER_NORESTART
}
