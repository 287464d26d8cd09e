// SPDX-License-Identifier: GPL-2.0-only

//! From the core's objects to ours.
//!
//! The core allocates most verbs objects, zeroed, in the size we tell it, and hands us a pointer to
//! its own part, which comes first. Behind it is one pointer of ours, to what may outlive it:
//!
//! ```text
//!   *mut ib_cq --> | ib_cq (the core's) | inner |--> Arc<Cq>
//!                  '----- Object<ib_cq, Cq> ----'
//! ```

use kernel::sync::{Arc, ArcBorrow};

/// Ours behind one of the core's objects.
///
/// # Invariants
///
/// Once [`set`](Object::set), and until [`taken`](Object::take), `inner` is a pointer from
/// [`Arc::into_raw`] and owns that reference.
#[repr(C)]
pub struct Object<B, T> {
    base: B,
    inner: *const T,
}

/// What stands behind an object of the core.
pub trait Inner: Sized {
    /// The core's object.
    type Base;
}

impl Inner for super::pd::Pd {
    type Base = compat::ib_pd;
}
impl Inner for super::ah::Ah {
    type Base = compat::ib_ah;
}
impl Inner for super::cq::Cq {
    type Base = compat::ib_cq;
}
impl Inner for super::srq::Srq {
    type Base = compat::ib_srq;
}
impl Inner for super::qp::Qp {
    type Base = compat::ib_qp;
}

impl<T: Inner> Object<T::Base, T> {
    /// What the core has to allocate.
    pub const SIZE: usize = size_of::<Self>();

    /// Completes a new object.
    ///
    /// # Safety
    ///
    /// The core allocated `base` with [`SIZE`](Self::SIZE) bytes and nobody else uses it yet.
    pub unsafe fn set(base: *mut T::Base, inner: Arc<T>) {
        let this = base.cast::<Self>();
        // SAFETY: `base` is the front of `SIZE` bytes, as our caller promises, and ours alone.
        // INVARIANT: From `Arc::into_raw`.
        unsafe { (&raw mut (*this).inner).write(Arc::into_raw(inner)) };
    }

    /// What stands behind a complete object.
    ///
    /// # Safety
    ///
    /// The object is [`set`](Self::set), and is not taken apart during `'a`.
    #[inline]
    pub unsafe fn get<'a>(base: *mut T::Base) -> ArcBorrow<'a, T> {
        let this = base.cast::<Self>();
        // SAFETY: The object is set: by the type's invariants this is the pointer of a reference
        // that lives at least as long as the object is not taken apart.
        unsafe { ArcBorrow::from_raw((*this).inner) }
    }

    /// Takes an object apart.
    ///
    /// # Safety
    ///
    /// The object is [`set`](Self::set), nobody else uses it any more, and neither does the caller.
    pub unsafe fn take(base: *mut T::Base) -> Arc<T> {
        let this = base.cast::<Self>();
        // SAFETY: The object is set: by the type's invariants this is the pointer of a reference,
        // which is now the caller's.
        unsafe { Arc::from_raw((*this).inner) }
    }
}
