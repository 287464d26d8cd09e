// SPDX-License-Identifier: GPL-2.0-only

//! Shared receive queues.
//!
//! ```text
//!   process, or post_srq_recv --> ring --take--> queue pairs of any number
//!                                   '--> fewer left than the limit: one event per arming
//! ```
//!
//! Resizing moves nothing: requests in the old ring are taken before those in the new one.
//!
//! Lock: [`State`], interrupts off, inside the queue pair's.

use kernel::prelude::*;
use kernel::sync::{Arc, ArcBorrow};
use kernel::types::ScopeGuard;
use kernel::uaccess::{UserPtr, UserSlice};

use super::device::{limits, Device};
use super::kernel_wr;
use super::lock::{new_irq_lock, IrqLock, Rundown};
use super::object::Object;
use super::queue::Queue;
use super::udata::Udata;
use super::{errno, unsupported};
use crate::rxe::srq::Limit;
use crate::rxe::user_abi::{
    self, CREATE_SRQ_RESP_BYTES, MODIFY_SRQ_CMD_BYTES, RECV_WQE_BYTES, SGE_BYTES,
};
use crate::rxe::wqe::{BadWr, RecvWr, Sge};

/// Rings that may still hold requests, the newest among them.
const MAX_PARTS: usize = 8;

/// A shared receive queue.
#[pin_data]
pub struct Srq {
    /// The core's object; only followed inside [`Srq::callers`].
    ib: *mut compat::ib_srq,
    device: Arc<Device>,
    number: u32,
    max_sge: u32,
    #[pin]
    state: IrqLock<State>,
    /// Calls of the event handler in flight.
    #[pin]
    callers: Rundown,
}

// SAFETY: `ib` is only followed where the field says; the core's object may be used from any thread.
unsafe impl Send for Srq {}
// SAFETY: As above.
unsafe impl Sync for Srq {}

struct State {
    /// Not empty; the last one is where users post.
    parts: KVec<Part>,
    /// Kernel users' requests written to the last part, a running number.
    produced: u32,
    limit: Limit,
    /// Room for the copy of an entry.
    copy: KVec<u8>,
}

/// A ring to take from.
struct Part {
    ring: Arc<Queue>,
    /// Requests taken, a running number.
    taken: u32,
    /// Where it ends; the newest one has no end.
    end: Option<u32>,
}

impl Part {
    fn new(ring: Arc<Queue>) -> Self {
        Self {
            ring,
            taken: 0,
            end: None,
        }
    }

    /// Requests left.
    fn left(&self) -> u32 {
        let end = self.end.unwrap_or_else(|| self.ring.shared_producer());
        self.ring.distance(end, self.taken)
    }
}

impl State {
    /// Requests left.
    fn left(&self) -> u32 {
        self.parts
            .iter()
            .fold(0, |sum, part| part.left().saturating_add(sum))
    }

    /// The ring users post to.
    fn ring(&self) -> Result<&Arc<Queue>> {
        Ok(&self.parts.last().ok_or(EINVAL)?.ring)
    }

    /// Takes the next request.
    fn take(&mut self, max_sge: u32, room: &mut [Sge]) -> Option<Result<RecvWr, BadWr>> {
        while let Some(part) = self.parts.first_mut() {
            if part.left() != 0 {
                let entry = user_abi::copy_recv(&mut self.copy, |at, into| {
                    part.ring.read(part.taken, at, into);
                });
                part.taken = part.taken.wrapping_add(1);
                // Its entry is free at once: we have a copy.
                part.ring.publish_consumer(part.taken);
                return Some(user_abi::decode_recv(entry, max_sge, room));
            }
            // Softirqs are off, so that pages that go away with it are freed later.
            drop(self.remove_drained()?);
        }
        None
    }

    /// Takes out the oldest ring, if nothing will come out of it any more.
    fn remove_drained(&mut self) -> Option<Part> {
        let part = self.parts.first()?;
        // The newest ring stays, however empty.
        part.end?;
        if part.left() != 0 {
            return None;
        }
        self.parts.remove(0).ok()
    }
}

impl Srq {
    /// Pieces of a request.
    pub fn max_sge(&self) -> u32 {
        self.max_sge
    }

    /// Takes the next request; with it whether [`limit_event`](Self::limit_event) is due.
    pub fn take(&self, room: &mut [Sge]) -> (Option<Result<RecvWr, BadWr>>, bool) {
        let mut state = self.state.lock();
        let taken = state.take(self.max_sge, room);
        let mut limit_reached = false;
        if taken.is_some() && state.limit.entries() != 0 {
            let left = state.left();
            limit_reached = state.limit.taken(left);
        }
        (taken, limit_reached)
    }

    /// Tells the user that the queue runs low. No lock is held.
    pub fn limit_event(&self) {
        // Destroyed: nobody is left to be told.
        let Some(_call) = self.callers.enter() else {
            return;
        };
        // SAFETY: `destroy_srq` waits for `callers` before it returns, so the core's object is
        // there.
        unsafe {
            compat::usb4_rxe_srq_event(self.ib, compat::ib_event_type_IB_EVENT_SRQ_LIMIT_REACHED);
        }
    }

    /// Lets users post to another ring. Returns the ring they posted to.
    fn replace(&self, new: Arc<Queue>) -> Result<Arc<Queue>> {
        // Freeing a ring may sleep: declared before the lock is taken, so dropped after it is free.
        let mut drained = [const { None }; MAX_PARTS];
        let mut state = self.state.lock();
        // An idle queue has nobody who takes, and so nobody else who finds that they are empty.
        for place in &mut drained {
            *place = state.remove_drained();
        }
        if state.left() > new.capacity() {
            return Err(EINVAL);
        }
        if state.parts.len() == MAX_PARTS {
            // Resized again and again while nothing is received.
            return Err(EBUSY);
        }
        let last = state.parts.last_mut().ok_or(EINVAL)?;
        last.end = Some(last.ring.shared_producer());
        let old = last.ring.clone();
        // Never beyond the capacity, see above and `create`.
        state
            .parts
            .push_within_capacity(Part::new(new))
            .map_err(|_| ENOMEM)?;
        state.produced = 0;
        Ok(old)
    }
}

/// `ib_device_ops.create_srq`
///
/// # Safety
///
/// As the core calls it: `ib` is a new object of our size with device and PD set.
pub unsafe extern "C" fn create_srq(
    ib: *mut compat::ib_srq,
    init: *mut compat::ib_srq_init_attr,
    udata: *mut compat::ib_udata,
) -> core::ffi::c_int {
    // SAFETY: As our caller promises.
    errno(unsafe { create(ib, &mut *init, Udata::new(udata)) })
}

/// # Safety
///
/// `ib` is a new object of our size with its device set.
unsafe fn create(
    ib: *mut compat::ib_srq,
    init: &mut compat::ib_srq_init_attr,
    udata: Option<Udata>,
) -> Result {
    if let Some(udata) = &udata {
        if udata.out_len() < CREATE_SRQ_RESP_BYTES {
            return Err(EINVAL);
        }
    }
    if init.srq_type != compat::ib_srq_type_IB_SRQT_BASIC {
        return Err(unsupported());
    }
    let attr = &mut init.attr;
    if attr.max_wr == 0 || attr.max_wr > limits::SRQ_WR || attr.max_sge > limits::SRQ_SGE {
        return Err(EINVAL);
    }
    attr.max_sge = attr.max_sge.max(1);
    // SAFETY: The core has set the device, which lives longer than its objects.
    let device = Arc::from(unsafe { Device::from_ib((*ib).device) });

    let ring = Queue::create(attr.max_wr, entry_bytes(attr.max_sge), udata.as_ref())?;
    attr.max_wr = ring.capacity();
    let info = ring.map_info();
    let mut parts = KVec::with_capacity(MAX_PARTS, GFP_KERNEL_ACCOUNT)?;
    parts.push(Part::new(ring), GFP_KERNEL_ACCOUNT)?;
    let state = State {
        parts,
        produced: 0,
        limit: Limit::armed(attr.srq_limit),
        copy: KVec::from_elem(0, entry_bytes(attr.max_sge), GFP_KERNEL_ACCOUNT)?,
    };
    let number = device.srq_numbers.take()?;
    let give_back = ScopeGuard::new_with_data(device.clone(), |device| {
        device.srq_numbers.put(number);
    });
    let max_sge = attr.max_sge;
    let srq = Arc::pin_init(
        pin_init!(Srq {
            ib,
            device,
            number,
            max_sge,
            state <- new_irq_lock!(state, "usb4_rxe shared receive queue"),
            callers <- Rundown::new(),
        }),
        GFP_KERNEL_ACCOUNT,
    )?;
    if let Some(udata) = &udata {
        udata.respond(&user_abi::create_srq_response(info, number))?;
    }
    give_back.dismiss();
    // SAFETY: `ib` is new and of our size; `destroy_srq` takes back what is set here.
    unsafe { Object::set(ib, srq) };
    Ok(())
}

/// Bytes of an entry with this many pieces.
fn entry_bytes(max_sge: u32) -> usize {
    (max_sge as usize)
        .saturating_mul(SGE_BYTES)
        .saturating_add(RECV_WQE_BYTES)
}

/// `ib_device_ops.destroy_srq`
///
/// # Safety
///
/// As the core calls it: `ib` was made by [`create_srq`], no queue pair uses it any more.
pub unsafe extern "C" fn destroy_srq(
    ib: *mut compat::ib_srq,
    _udata: *mut compat::ib_udata,
) -> core::ffi::c_int {
    // SAFETY: As our caller promises; we always succeed, so the core does not use it again.
    let srq: Arc<Srq> = unsafe { Object::take(ib) };
    srq.callers.close();
    // Older rings were unmapped when they were replaced.
    let ring = srq.state.lock().ring().cloned();
    if let Ok(ring) = ring {
        ring.unmap();
    }
    srq.device.srq_numbers.put(srq.number);
    0
}

/// `ib_device_ops.modify_srq`
///
/// # Safety
///
/// As the core calls it.
pub unsafe extern "C" fn modify_srq(
    ib: *mut compat::ib_srq,
    attr: *mut compat::ib_srq_attr,
    mask: compat::ib_srq_attr_mask,
    udata: *mut compat::ib_udata,
) -> core::ffi::c_int {
    // SAFETY: The object was made by `create_srq` and is not destroyed during the call; `attr` is
    // valid.
    let (srq, attr, udata) = unsafe { (Object::get(ib), &mut *attr, Udata::new(udata)) };
    errno(modify(srq, attr, mask, udata))
}

fn modify(
    srq: ArcBorrow<'_, Srq>,
    attr: &mut compat::ib_srq_attr,
    mask: compat::ib_srq_attr_mask,
    udata: Option<Udata>,
) -> Result {
    let resizes = mask & compat::ib_srq_attr_mask_IB_SRQ_MAX_WR != 0;
    let limits = mask & compat::ib_srq_attr_mask_IB_SRQ_LIMIT != 0;
    // A process sends the address at which it wants to know where its new ring is.
    let answer = match &udata {
        Some(udata) => Some(u64::from_ne_bytes(udata.read::<MODIFY_SRQ_CMD_BYTES>()?)),
        None => None,
    };
    {
        let state = srq.state.lock();
        let limit = state.limit.entries();
        if resizes && (attr.max_wr == 0 || attr.max_wr > limits::SRQ_WR || attr.max_wr < limit) {
            return Err(EINVAL);
        }
        if limits && attr.srq_limit > state.ring()?.capacity() {
            return Err(EINVAL);
        }
    }
    if resizes {
        let new = Queue::create(attr.max_wr, entry_bytes(srq.max_sge), udata.as_ref())?;
        let capacity = new.capacity();
        if let Some(address) = answer {
            let address = UserPtr::from_addr(address as usize);
            let info = user_abi::map_info(new.map_info());
            UserSlice::new(address, info.len())
                .writer()
                .write_slice(&info)?;
        }
        srq.replace(new)?.unmap();
        attr.max_wr = capacity;
    }
    if limits {
        srq.state.lock().limit = Limit::armed(attr.srq_limit);
    }
    Ok(())
}

/// `ib_device_ops.query_srq`
///
/// # Safety
///
/// As the core calls it.
pub unsafe extern "C" fn query_srq(
    ib: *mut compat::ib_srq,
    attr: *mut compat::ib_srq_attr,
) -> core::ffi::c_int {
    // SAFETY: The object was made by `create_srq` and is not destroyed during the call; `attr` is
    // valid.
    let (srq, attr): (ArcBorrow<'_, Srq>, _) = unsafe { (Object::get(ib), &mut *attr) };
    let state = srq.state.lock();
    attr.max_wr = state.ring().map_or(0, |ring| ring.capacity());
    attr.max_sge = srq.max_sge;
    attr.srq_limit = state.limit.entries();
    0
}

/// `ib_device_ops.post_srq_recv`: kernel users only; a process writes its ring itself.
///
/// # Safety
///
/// As the core calls it.
pub unsafe extern "C" fn post_srq_recv(
    ib: *mut compat::ib_srq,
    mut wr: *const compat::ib_recv_wr,
    bad: *mut *const compat::ib_recv_wr,
) -> core::ffi::c_int {
    // SAFETY: The object was made by `create_srq` and is not destroyed during the call.
    let srq: ArcBorrow<'_, Srq> = unsafe { Object::get(ib) };
    let mut state = srq.state.lock();
    while !wr.is_null() {
        let State {
            parts, produced, ..
        } = &mut *state;
        // SAFETY: `wr` is a valid request, as our caller promises.
        let written = parts.last().ok_or(EINVAL).and_then(|part| unsafe {
            kernel_wr::write_recv(&part.ring, srq.max_sge, *produced, &*wr)?;
            *produced = produced.wrapping_add(1);
            part.ring.publish_producer(*produced);
            Ok(())
        });
        if let Err(error) = written {
            // SAFETY: `bad` is a place for a pointer, as our caller promises.
            unsafe { *bad = wr };
            return error.to_errno();
        }
        // SAFETY: As above.
        wr = unsafe { (*wr).next };
    }
    0
}
