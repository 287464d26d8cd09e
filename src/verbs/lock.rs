// SPDX-License-Identifier: GPL-2.0-only

//! Locks for softirq and interrupt context, which the `kernel` crate has none of yet.
//!
//! | lock | holds off | taken by |
//! |---|---|---|
//! | [`BhLock`] | other CPUs, softirqs here | the data path: processes and softirqs |
//! | [`IrqLock`] | other CPUs, interrupts here | what kernel users of verbs call from any context |
//!
//! A [`Bh`] is the proof that softirqs are off. It is needed to take a [`BhLock`], so that one
//! switch covers any number of them, and it is a read-side section of RCU: what
//! [`Table`](super::table::Table) lends lives as long as it does.
//!
//! [`Rundown`] counts calls in flight to something that is about to go away.

use core::marker::PhantomData;

use kernel::prelude::*;
use kernel::sync::atomic::{ordering, Atomic};
use kernel::sync::lock::spinlock::SpinLockBackend;
use kernel::sync::lock::{Backend, Lock};
use kernel::sync::{Completion, LockClassKey, SpinLock, SpinLockGuard};

/// Softirqs are off on this CPU, and stay off until this is dropped.
///
/// Nests. Not `Send`: it is about this CPU.
pub struct Bh(PhantomData<*mut ()>);

impl Bh {
    /// Switches softirqs off. In softirq context they are off already, and stay so.
    ///
    /// Not for hard interrupts.
    #[inline]
    pub fn disable() -> Self {
        // SAFETY: Has no requirements outside of hard interrupts; paired with `drop`.
        unsafe { compat::local_bh_disable() };
        Self(PhantomData)
    }
}

impl Drop for Bh {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: Pairs with the `local_bh_disable` of `disable`, on the same CPU: with softirqs
        // off the task does not migrate, and `Bh` is not `Send`.
        unsafe { compat::local_bh_enable() };
    }
}

/// The networking core's big lock, until this is dropped. Sleeps.
pub struct Rtnl(PhantomData<*mut ()>);

impl Rtnl {
    /// Takes it. For whoever does not have it.
    pub fn lock() -> Self {
        // SAFETY: Has no requirements outside of atomic context; paired with `drop`.
        unsafe { compat::rtnl_lock() };
        Self(PhantomData)
    }
}

impl Drop for Rtnl {
    fn drop(&mut self) {
        // SAFETY: Pairs with `lock`, in the same task: `Rtnl` is not `Send`.
        unsafe { compat::rtnl_unlock() };
    }
}

/// A spin lock taken with softirqs off.
#[pin_data]
pub struct BhLock<T> {
    #[pin]
    inner: SpinLock<T>,
}

impl<T> BhLock<T> {
    /// A new lock; `key` names its class for lockdep.
    pub fn new(
        value: T,
        name: &'static CStr,
        key: Pin<&'static LockClassKey>,
    ) -> impl PinInit<Self> {
        pin_init!(Self { inner <- SpinLock::new(value, name, key) })
    }

    /// Takes the lock.
    #[inline]
    pub fn lock<'a>(&'a self, _bh: &'a Bh) -> SpinLockGuard<'a, T> {
        self.inner.lock()
    }
}

/// A spin lock that also holds off interrupts on this CPU. Drop nested guards in reverse order.
pub type IrqLock<T> = Lock<T, IrqBackend>;

/// `spin_lock_irqsave`.
pub struct IrqBackend;

// SAFETY: `spin_lock_irqsave` excludes all other owners; `relock` is the default, which locks the
// same way.
unsafe impl Backend for IrqBackend {
    type State = compat::spinlock_t;
    type GuardState = kernel::ffi::c_ulong;

    unsafe fn init(
        ptr: *mut Self::State,
        name: *const kernel::ffi::c_char,
        key: *mut kernel::bindings::lock_class_key,
    ) {
        // SAFETY: `ptr` is valid for writes, `name` and `key` for ever, as our caller promises. A
        // `spinlock_t` is the same C type in both sets of bindings.
        unsafe { SpinLockBackend::init(ptr.cast(), name, key) };
    }

    #[inline]
    unsafe fn lock(ptr: *mut Self::State) -> Self::GuardState {
        // SAFETY: The lock is initialised, as our caller promises.
        unsafe { compat::spin_lock_irqsave(ptr) }
    }

    #[inline]
    unsafe fn unlock(ptr: *mut Self::State, flags: &Self::GuardState) {
        // SAFETY: Our caller owns the lock; `flags` come from taking it.
        unsafe { compat::spin_unlock_irqrestore(ptr, *flags) };
    }

    unsafe fn try_lock(_ptr: *mut Self::State) -> Option<Self::GuardState> {
        // Nobody needs it; failing is always allowed.
        None
    }

    unsafe fn assert_is_held(_ptr: *mut Self::State) {}
}

/// Makes a [`BhLock`]; each place is a lock class of its own.
macro_rules! new_bh_lock {
    ($value:expr, $name:literal) => {
        $crate::verbs::lock::BhLock::new(
            $value,
            ::kernel::c_str!($name),
            ::kernel::static_lock_class!(),
        )
    };
}
pub(crate) use new_bh_lock;

/// Makes an [`IrqLock`]; each place is a lock class of its own.
macro_rules! new_irq_lock {
    ($value:expr, $name:literal) => {
        $crate::verbs::lock::IrqLock::new(
            $value,
            ::kernel::c_str!($name),
            ::kernel::static_lock_class!(),
        )
    };
}
pub(crate) use new_irq_lock;

/// Calls in flight to something that goes away: who calls [`enter`](Self::enter)s first, who takes
/// it away waits until all have left.
#[pin_data]
pub struct Rundown {
    /// One for each call in flight, one until closing has begun to wait, and [`CLOSED`].
    users: Atomic<u32>,
    #[pin]
    gone: Completion,
}

/// Nobody is let in. (There are never that many calls.)
const CLOSED: u32 = 1 << 31;

/// One call in flight.
pub struct InFlight<'a>(&'a Rundown);

impl Rundown {
    /// Open, nobody inside.
    pub fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            users: Atomic::new(1),
            gone <- Completion::new(),
        })
    }

    /// Begins a call, unless closed.
    #[inline]
    pub fn enter(&self) -> Option<InFlight<'_>> {
        let mut users = self.users.load(ordering::Relaxed);
        while users & CLOSED == 0 {
            match self
                .users
                .cmpxchg(users, users.wrapping_add(1), ordering::Acquire)
            {
                Ok(_) => return Some(InFlight(self)),
                Err(now) => users = now,
            }
        }
        None
    }

    /// Ends a call whose guard was forgotten.
    pub fn leave(&self) {
        if self.users.fetch_sub(1, ordering::Full) == CLOSED | 1 {
            self.gone.complete_all();
        }
    }

    fn shut(&self) {
        self.users.add(CLOSED, ordering::Relaxed);
        self.leave();
    }

    /// The same as [`close`](Self::close), with `wait` while somebody is inside: it sleeps, and may
    /// do something about it.
    pub fn close_and(&self, mut wait: impl FnMut()) {
        self.shut();
        while self.users.load(ordering::Relaxed) != CLOSED {
            wait();
        }
        // Who left last may still be about to say so.
        self.gone.wait_for_completion();
    }

    /// Lets nobody in any more and waits for those inside. Sleeps. Call once.
    pub fn close(&self) {
        self.shut();
        self.gone.wait_for_completion();
    }
}

impl Drop for InFlight<'_> {
    #[inline]
    fn drop(&mut self) {
        self.0.leave();
    }
}
