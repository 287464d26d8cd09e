// SPDX-License-Identifier: GPL-2.0-only

//! Completion queues.
//!
//! ```text
//!   queue pair, locked  --push--> ring: mapped by a process, or ours and read by poll_cq
//!                          '----> Wake: the handler is due
//!   queue pair, unlocked --wake--> handler, once per arming; the error event, once for ever
//! ```
//!
//! A completion that finds no room is lost, and with it the queue: what overruns stays overrun, and
//! its queue pairs end in errors (IBTA vol. 1, 10.8.3.1, C11-39).
//!
//! Lock: [`State`], interrupts off, inside the queue pair's.

use kernel::prelude::*;
use kernel::sync::atomic::{ordering, Atomic};
use kernel::sync::{Arc, ArcBorrow};

use super::device::{limits, Device};
use super::lock::{new_irq_lock, IrqLock, Rundown};
use super::object::Object;
use super::qp::QpName;
use super::queue::Queue;
use super::udata::Udata;
use super::{errno, unsupported};
use crate::rxe::cqe::{Cqe, WcStatus};
use crate::rxe::env::CqOverrun;
use crate::rxe::user_abi::{self, Wc, WC_BYTES};

/// Arming: `enum ib_cq_notify_flags`.
const SOLICITED: u32 = compat::ib_cq_notify_flags_IB_CQ_SOLICITED;
const NEXT: u32 = compat::ib_cq_notify_flags_IB_CQ_NEXT_COMP;
const REPORT_MISSED: u32 = compat::ib_cq_notify_flags_IB_CQ_REPORT_MISSED_EVENTS;

/// The most unread completions that a resize copies, with interrupts off: what upstream's largest
/// queue holds.
const MOST_COPIED: u32 = (1 << 15) - 1;

/// A completion queue.
#[pin_data]
pub struct Cq {
    /// The core's object; only followed inside [`Cq::callers`].
    ib: *mut compat::ib_cq,
    /// Whether a process reads it.
    is_user: bool,
    #[pin]
    state: IrqLock<State>,
    /// It overran, and nobody was told.
    untold: Atomic<bool>,
    /// Calls of handlers in flight.
    #[pin]
    callers: Rundown,
}

// SAFETY: `ib` is only followed where the field says; the core's object may be used from any thread.
unsafe impl Send for Cq {}
// SAFETY: As above.
unsafe impl Sync for Cq {}

struct State {
    ring: Ring,
    /// What the handler waits for, as a set.
    armed: u32,
    overrun: bool,
}

enum Ring {
    /// Mapped by a process.
    User {
        queue: Arc<Queue>,
        /// Completions written, a running number.
        produced: u32,
    },
    /// Read by `poll_cq`.
    Kernel {
        /// A power of two of them; one stays free, as in the other kind.
        slots: KVVec<Entry>,
        produced: u32,
        consumed: u32,
    },
}

/// A completion for a kernel user.
#[derive(Clone, Copy)]
struct Entry {
    wc: Wc,
    /// Handed out, never followed.
    qp: *mut compat::ib_qp,
}

// SAFETY: The pointer is only a value here.
unsafe impl Send for Entry {}

/// What is due once no lock is held.
#[derive(Clone, Copy, Default)]
pub struct Wake {
    handler: bool,
}

impl Wake {
    /// Both together.
    pub fn merge(&mut self, other: Self) {
        self.handler |= other.handler;
    }
}

impl Ring {
    fn kernel(cqe: u32) -> Result<Self> {
        let slots = cqe
            .checked_add(1)
            .and_then(u32::checked_next_power_of_two)
            .ok_or(EINVAL)?;
        let empty = Entry {
            wc: Wc::EMPTY,
            qp: core::ptr::null_mut(),
        };
        Ok(Self::Kernel {
            slots: KVVec::from_elem(empty, slots as usize, GFP_KERNEL_ACCOUNT)?,
            produced: 0,
            consumed: 0,
        })
    }

    fn capacity(&self) -> u32 {
        match self {
            Self::User { queue, .. } => queue.capacity(),
            // There are at most 2^32 of them, and at least one.
            Self::Kernel { slots, .. } => slots.len().wrapping_sub(1) as u32,
        }
    }

    /// Completions not read yet; what a process says about that is its own affair.
    fn count(&self) -> u32 {
        match self {
            Self::User { queue, produced } => queue.distance(*produced, queue.shared_consumer()),
            Self::Kernel {
                produced, consumed, ..
            } => produced.wrapping_sub(*consumed),
        }
    }

    fn put_user(&mut self, bytes: &[u8; WC_BYTES]) {
        if let Self::User { queue, produced } = self {
            queue.write(*produced, bytes);
            *produced = produced.wrapping_add(1);
            queue.publish_producer(*produced);
        }
    }

    fn put_kernel(&mut self, entry: Entry) {
        if let Self::Kernel {
            slots, produced, ..
        } = self
        {
            let slot = *produced as usize & slots.len().wrapping_sub(1);
            if let Some(slot) = slots.get_mut(slot) {
                *slot = entry;
                *produced = produced.wrapping_add(1);
            }
        }
    }

    fn take_kernel(&mut self) -> Option<Entry> {
        match self {
            Self::Kernel {
                slots,
                produced,
                consumed,
            } if produced != consumed => {
                let slot = *consumed as usize & slots.len().wrapping_sub(1);
                let entry = slots.get(slot).copied()?;
                *consumed = consumed.wrapping_add(1);
                Some(entry)
            }
            Self::Kernel { .. } | Self::User { .. } => None,
        }
    }
}

impl Cq {
    /// Reports a completion of a queue pair. Call [`wake`](Self::wake) once no lock is held, in any
    /// case.
    ///
    /// # Errors
    ///
    /// The queue has no room, or once had none.
    #[inline]
    pub fn push(&self, cqe: &Cqe, qp: &QpName) -> Result<Wake, CqOverrun> {
        let solicited = cqe.solicited || cqe.status != WcStatus::Success;
        if self.is_user {
            let bytes = user_abi::encode_wc(cqe, qp.qpn);
            self.put(solicited, |ring| ring.put_user(&bytes))
        } else {
            let entry = Entry {
                wc: Wc::new(cqe),
                qp: qp.ib,
            };
            self.put(solicited, |ring| ring.put_kernel(entry))
        }
    }

    #[inline]
    fn put(&self, solicited: bool, put: impl FnOnce(&mut Ring)) -> Result<Wake, CqOverrun> {
        let mut state = self.state.lock();
        if state.overrun {
            return Err(CqOverrun);
        }
        if state.ring.count() == state.ring.capacity() {
            state.overrun = true;
            self.untold.store(true, ordering::Relaxed);
            return Err(CqOverrun);
        }
        put(&mut state.ring);
        let handler = state.armed & NEXT != 0 || (state.armed & SOLICITED != 0 && solicited);
        if handler {
            state.armed = 0;
        }
        Ok(Wake { handler })
    }

    /// Calls the handlers that are due. No lock is held.
    #[inline]
    pub fn wake(&self, wake: Wake) {
        if wake.handler || self.untold.load(ordering::Relaxed) {
            self.call(wake);
        }
    }

    fn call(&self, wake: Wake) {
        // Destroyed: nobody is left to be told.
        let Some(_call) = self.callers.enter() else {
            return;
        };
        if wake.handler {
            // SAFETY: `destroy_cq` waits for `callers` before it returns, so the core's object is
            // there; handler and context do not change.
            unsafe {
                if let Some(handler) = (*self.ib).comp_handler {
                    handler(self.ib, (*self.ib).cq_context);
                }
            }
        }
        if self.untold.xchg(false, ordering::Relaxed) {
            // SAFETY: As above.
            unsafe { compat::usb4_rxe_cq_event(self.ib, compat::ib_event_type_IB_EVENT_CQ_ERR) };
        }
    }

    /// Moves a process's unread completions to a larger or smaller ring.
    fn replace(&self, new: Arc<Queue>) -> Result<Arc<Queue>> {
        let mut state = self.state.lock();
        let count = state.ring.count();
        let Ring::User { queue, produced } = &mut state.ring else {
            return Err(EINVAL);
        };
        if count > new.capacity() {
            return Err(EINVAL);
        }
        if count > MOST_COPIED {
            return Err(EBUSY);
        }
        let mut entry = [0; WC_BYTES];
        for to in 0..count {
            queue.read(produced.wrapping_sub(count).wrapping_add(to), 0, &mut entry);
            new.write(to, &entry);
        }
        new.publish_producer(count);
        *produced = count;
        let old = core::mem::replace(queue, new);
        let capacity = state.ring.capacity();
        // SAFETY: We are called by `resize_user_cq`, so the core's object is there; under the lock,
        // so that the number is that of the ring.
        unsafe { (*self.ib).cqe = capacity as i32 };
        Ok(old)
    }
}

/// `ib_device_ops.create_cq`, for processes and kernel users.
///
/// # Safety
///
/// As the core calls it: `ib` is a new object of our size, `bundle` null for kernel users.
pub unsafe extern "C" fn create_cq(
    ib: *mut compat::ib_cq,
    attr: *const compat::ib_cq_init_attr,
    bundle: *mut compat::uverbs_attr_bundle,
) -> core::ffi::c_int {
    // SAFETY: As our caller promises.
    errno(unsafe { create(ib, &*attr, Udata::of(bundle)) })
}

/// # Safety
///
/// `ib` is a new object of our size.
unsafe fn create(
    ib: *mut compat::ib_cq,
    attr: &compat::ib_cq_init_attr,
    udata: Option<Udata>,
) -> Result {
    if let Some(udata) = &udata {
        if udata.out_len() < user_abi::CREATE_CQ_RESP_BYTES {
            return Err(EINVAL);
        }
    }
    if attr.flags != 0 {
        return Err(unsupported());
    }
    let cqe = attr.cqe;
    if cqe > limits::CQE {
        return Err(EINVAL);
    }
    // SAFETY: The core has set the device, which lives longer than its objects.
    let device = unsafe { Device::from_ib((*ib).device) };
    let place = device.cq_quota.take()?;
    let ring = match &udata {
        Some(udata) => {
            let queue = Queue::create(cqe, WC_BYTES, Some(udata))?;
            udata.respond(&user_abi::create_cq_response(queue.map_info()))?;
            Ring::User { queue, produced: 0 }
        }
        None => Ring::kernel(cqe)?,
    };
    let capacity = ring.capacity();
    let is_user = udata.is_some();
    let state = State {
        ring,
        armed: 0,
        overrun: false,
    };
    let cq = Arc::pin_init(
        pin_init!(Cq {
            ib,
            is_user,
            state <- new_irq_lock!(state, "usb4_rxe completion queue"),
            untold: Atomic::new(false),
            callers <- Rundown::new(),
        }),
        GFP_KERNEL_ACCOUNT,
    )?;
    // SAFETY: `ib` is new and of our size; `destroy_cq` takes back what is set here.
    unsafe {
        (*ib).cqe = capacity as i32;
        Object::set(ib, cq);
    }
    place.keep();
    Ok(())
}

/// `ib_device_ops.destroy_cq`
///
/// # Safety
///
/// As the core calls it: `ib` was made by [`create_cq`], no queue pair uses it any more.
pub unsafe extern "C" fn destroy_cq(
    ib: *mut compat::ib_cq,
    _udata: *mut compat::ib_udata,
) -> core::ffi::c_int {
    // SAFETY: As our caller promises; we always succeed, so the core does not use it again.
    let (cq, device): (Arc<Cq>, _) = unsafe { (Object::take(ib), Device::from_ib((*ib).device)) };
    cq.callers.close();
    let queue = match &cq.state.lock().ring {
        Ring::User { queue, .. } => Some(queue.clone()),
        Ring::Kernel { .. } => None,
    };
    if let Some(queue) = queue {
        queue.unmap();
    }
    device.cq_quota.put();
    0
}

/// `ib_device_ops.resize_user_cq`
///
/// # Safety
///
/// As the core calls it: `ib` was made by [`create_cq`] for a process.
pub unsafe extern "C" fn resize_user_cq(
    ib: *mut compat::ib_cq,
    cqe: core::ffi::c_uint,
    udata: *mut compat::ib_udata,
) -> core::ffi::c_int {
    // SAFETY: As our caller promises; the object is not destroyed during the call.
    let (cq, udata) = unsafe { (Object::get(ib), Udata::new(udata)) };
    errno(resize(cq, cqe, udata))
}

fn resize(cq: ArcBorrow<'_, Cq>, cqe: u32, udata: Option<Udata>) -> Result {
    let udata = udata.ok_or(EINVAL)?;
    if udata.out_len() < user_abi::CREATE_CQ_RESP_BYTES {
        return Err(EINVAL);
    }
    if cqe > limits::CQE || cqe < cq.state.lock().ring.count() {
        return Err(EINVAL);
    }
    let new = Queue::create(cqe, WC_BYTES, Some(&udata))?;
    udata.respond(&user_abi::create_cq_response(new.map_info()))?;
    let old = cq.replace(new)?;
    old.unmap();
    Ok(())
}

/// `ib_device_ops.poll_cq`: kernel users only; a process reads its ring itself.
///
/// # Safety
///
/// As the core calls it: `wcs` has room for `room` completions.
pub unsafe extern "C" fn poll_cq(
    ib: *mut compat::ib_cq,
    room: core::ffi::c_int,
    wcs: *mut compat::ib_wc,
) -> core::ffi::c_int {
    // SAFETY: The object was made by `create_cq` and is not destroyed during the call.
    let cq: ArcBorrow<'_, Cq> = unsafe { Object::get(ib) };
    let mut state = cq.state.lock();
    let mut polled = 0;
    while polled < room {
        let Some(entry) = state.ring.take_kernel() else {
            break;
        };
        // SAFETY: `polled` is below `room`.
        unsafe { wcs.offset(polled as isize).write(kernel_wc(&entry)) };
        polled = polled.wrapping_add(1);
    }
    polled
}

/// A completion as the core has it.
fn kernel_wc(entry: &Entry) -> compat::ib_wc {
    let wc = &entry.wc;
    compat::ib_wc {
        __bindgen_anon_1: compat::ib_wc__bindgen_ty_1 { wr_id: wc.wr_id },
        status: wc.status,
        opcode: wc.opcode,
        byte_len: wc.byte_len,
        qp: entry.qp,
        ex: compat::ib_wc__bindgen_ty_2 {
            imm_data: u32::from_ne_bytes(wc.ex),
        },
        src_qp: wc.src_qp,
        wc_flags: wc.flags as i32,
        port_num: wc.port.into(),
        network_hdr_type: wc.network,
        ..pin_init::zeroed()
    }
}

/// `ib_device_ops.peek_cq`
///
/// # Safety
///
/// As the core calls it.
pub unsafe extern "C" fn peek_cq(
    ib: *mut compat::ib_cq,
    most: core::ffi::c_int,
) -> core::ffi::c_int {
    // SAFETY: The object was made by `create_cq` and is not destroyed during the call.
    let cq: ArcBorrow<'_, Cq> = unsafe { Object::get(ib) };
    let count = cq.state.lock().ring.count();
    i32::try_from(count).unwrap_or(i32::MAX).min(most)
}

/// `ib_device_ops.req_notify_cq`
///
/// # Safety
///
/// As the core calls it.
pub unsafe extern "C" fn req_notify_cq(
    ib: *mut compat::ib_cq,
    flags: compat::ib_cq_notify_flags,
) -> core::ffi::c_int {
    // SAFETY: The object was made by `create_cq` and is not destroyed during the call.
    let cq: ArcBorrow<'_, Cq> = unsafe { Object::get(ib) };
    let mut state = cq.state.lock();
    // Waiting for any completion and for a solicited one is waiting for any.
    state.armed |= flags & (SOLICITED | NEXT);
    (flags & REPORT_MISSED != 0 && state.ring.count() != 0).into()
}
