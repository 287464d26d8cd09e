// SPDX-License-Identifier: GPL-2.0-only

//! Posting: the doorbell of user space, and the queues of kernel users.
//!
//! A user writes its entries itself and rings with an empty list: the requester runs right here,
//! in the caller's context. A kernel user hands a list over and may hold any lock, with interrupts
//! off: its entries are written in the same format, and the port's work runs the requester.

use kernel::prelude::*;
use kernel::sync::ArcBorrow;

use super::Qp;
use crate::rxe::qp::State;
use crate::rxe::user_abi::Poster;
use crate::verbs::deliver;
use crate::verbs::errno;
use crate::verbs::kernel_wr;
use crate::verbs::lock::Bh;
use crate::verbs::object::Object;

/// `ib_device_ops.post_send`
///
/// # Safety
///
/// As the core calls it: `bad` is a place for a pointer.
pub unsafe extern "C" fn post_send(
    ib: *mut compat::ib_qp,
    wr: *const compat::ib_send_wr,
    bad: *mut *const compat::ib_send_wr,
) -> core::ffi::c_int {
    // SAFETY: The object was made by `create_qp` and is not destroyed during the call.
    let qp = unsafe { Object::<_, Qp>::get(ib) };
    let posted = match qp.poster {
        Poster::User => ring(qp).inspect_err(|_| {
            // SAFETY: As our caller promises; the core reads it after an error.
            unsafe { *bad = wr };
        }),
        // SAFETY: As our caller promises.
        Poster::Kernel => unsafe { queue_sends(qp, wr, bad) },
    };
    errno(posted)
}

/// The doorbell.
fn ring(qp: ArcBorrow<'_, Qp>) -> Result {
    let bh = Bh::disable();
    // Too early is the user's mistake; the requests stay where they are.
    if too_early(&qp) {
        return Err(EINVAL);
    }
    Qp::run(qp, &bh);
    deliver::deliver(qp.device.as_arc_borrow(), &bh);
    Ok(())
}

/// Whether send requests are not accepted yet.
fn too_early(qp: &Qp) -> bool {
    matches!(qp.state(), State::Reset | State::Init | State::Rtr)
}

/// # Safety
///
/// `wr` is a list of valid requests, `bad` a place for a pointer.
unsafe fn queue_sends(
    qp: ArcBorrow<'_, Qp>,
    mut wr: *const compat::ib_send_wr,
    bad: *mut *const compat::ib_send_wr,
) -> Result {
    if too_early(&qp) {
        // SAFETY: `bad` is a valid place, as our caller promises.
        unsafe { *bad = wr };
        return Err(EINVAL);
    }
    let mut queued = Ok(());
    {
        let mut producer = qp.sq_producer.lock();
        while !wr.is_null() {
            // SAFETY: `wr` is a valid request, as our caller promises.
            queued = unsafe { kernel_wr::write_send(&qp.sq, *producer, &*wr) };
            if queued.is_err() {
                // SAFETY: `bad` is a valid place, as our caller promises.
                unsafe { *bad = wr };
                break;
            }
            *producer = producer.wrapping_add(1);
            qp.sq.ring.publish_producer(*producer);
            // SAFETY: As above.
            wr = unsafe { (*wr).next };
        }
    }
    qp.device.schedule.ready(qp);
    deliver::start_work(qp.device.as_arc_borrow());
    queued
}

/// `ib_device_ops.post_recv`: kernel users only; user space writes its queue itself.
///
/// # Safety
///
/// As the core calls it.
pub unsafe extern "C" fn post_recv(
    ib: *mut compat::ib_qp,
    mut wr: *const compat::ib_recv_wr,
    bad: *mut *const compat::ib_recv_wr,
) -> core::ffi::c_int {
    // SAFETY: The object was made by `create_qp` and is not destroyed during the call.
    let qp = unsafe { Object::<_, Qp>::get(ib) };
    let mut queued = match qp.state() {
        // C10-97.2.1
        State::Reset => Err(EINVAL),
        _ => Ok(()),
    };
    match &qp.rq {
        // SAFETY: `bad` is a valid place.
        None => unsafe {
            *bad = wr;
            queued = Err(EINVAL);
        },
        // SAFETY: As above.
        Some(_) if queued.is_err() => unsafe { *bad = wr },
        Some(rq) => {
            let mut producer = qp.rq_producer.lock();
            while !wr.is_null() {
                // SAFETY: `wr` is a valid request, `bad` a valid place.
                unsafe {
                    queued = kernel_wr::write_recv(&rq.ring, rq.max_sge, *producer, &*wr);
                    if queued.is_err() {
                        *bad = wr;
                        break;
                    }
                    wr = (*wr).next;
                }
                *producer = producer.wrapping_add(1);
                rq.ring.publish_producer(*producer);
            }
        }
    }
    if qp.state() == State::Err {
        // The engine looks for late requests by itself, but not at once.
        qp.device.schedule.ready(qp);
        deliver::start_work(qp.device.as_arc_borrow());
    }
    errno(queued)
}
