// SPDX-License-Identifier: GPL-2.0-only

//! Creating and destroying queue pairs.

use kernel::prelude::*;
use kernel::sync::atomic::Atomic;
use kernel::sync::Arc;

use super::memory::Memory;
use super::modify::Given;
use super::queues::{Ends, RecvQueue, SendQueue};
use super::{Inner, Qp, QpName, WAITING};
use crate::rxe::qp::{self as engine, Init, QpType, DEFAULT_WINDOW};
use crate::rxe::qpn::Qpn;
use crate::rxe::user_abi::{self, Poster};
use crate::verbs::cq::Cq;
use crate::verbs::device::{limits, Device};
use crate::verbs::lock::{new_bh_lock, new_irq_lock, Rundown};
use crate::verbs::object::Object;
use crate::verbs::pd::Pd;
use crate::verbs::queue::Queue;
use crate::verbs::srq::Srq;
use crate::verbs::timer::Timer;
use crate::verbs::udata::Udata;
use crate::verbs::{errno, unsupported};

/// Numbers of ordinary queue pairs: 0 and 1 are taken, 2 to 15 kept free as upstream does.
const LOWEST_QPN: u32 = 0x2_0010;
/// The highest number: the all-ones one means multicast.
const HIGHEST_QPN: u32 = 0x00ff_fffe;

/// Bytes of a piece in a queue entry.
const PIECE: u32 = 16;

/// `ib_device_ops.create_qp`
///
/// # Safety
///
/// As the core calls it: `ib` is a new object of our size with device, PD and queues set.
pub unsafe extern "C" fn create_qp(
    ib: *mut compat::ib_qp,
    init: *mut compat::ib_qp_init_attr,
    udata: *mut compat::ib_udata,
) -> core::ffi::c_int {
    // SAFETY: As our caller promises.
    errno(unsafe { create(ib, &mut *init, Udata::new(udata)) })
}

/// The transport type, if it is one of ours.
fn qp_type(code: compat::ib_qp_type) -> Result<QpType> {
    match code {
        compat::ib_qp_type_IB_QPT_RC => Ok(QpType::Rc),
        compat::ib_qp_type_IB_QPT_UC => Ok(QpType::Uc),
        compat::ib_qp_type_IB_QPT_UD => Ok(QpType::Ud),
        compat::ib_qp_type_IB_QPT_GSI => Ok(QpType::Gsi),
        _ => Err(unsupported()),
    }
}

/// Refuses capacities above the device's limits.
fn check(cap: &compat::ib_qp_cap, has_srq: bool) -> Result {
    let too_much = cap.max_send_wr > limits::QP_WR
        || cap.max_send_sge > limits::SGE
        || cap.max_inline_data > limits::INLINE_DATA
        || (!has_srq && (cap.max_recv_wr > limits::QP_WR || cap.max_recv_sge > limits::SGE));
    if too_much {
        return Err(EINVAL);
    }
    Ok(())
}

/// # Safety
///
/// `ib` is a new object of our size with device, PD and queues set.
unsafe fn create(
    ib: *mut compat::ib_qp,
    init: &mut compat::ib_qp_init_attr,
    udata: Option<Udata>,
) -> Result {
    if let Some(udata) = &udata {
        if udata.in_len() != 0 || udata.out_len() < user_abi::CREATE_QP_RESP_BYTES {
            return Err(EINVAL);
        }
    }
    if init.create_flags != 0 {
        return Err(unsupported());
    }
    let qp_type = qp_type(init.qp_type)?;
    if init.send_cq.is_null() || init.recv_cq.is_null() {
        return Err(EINVAL);
    }
    check(&init.cap, !init.srq.is_null())?;

    // SAFETY: The core has set `device`, `pd` and the queues are live objects of this device, for
    // as long as the queue pair lives.
    let (device, pd, send_cq, recv_cq, srq) = unsafe {
        (
            Device::from_ib((*ib).device),
            Object::<_, Pd>::get((*ib).pd),
            Arc::from(Object::<_, Cq>::get(init.send_cq)),
            Arc::from(Object::<_, Cq>::get(init.recv_cq)),
            match init.srq.is_null() {
                true => None,
                false => Some(Arc::from(Object::<_, Srq>::get(init.srq))),
            },
        )
    };
    let device = Arc::from(device);

    let (low, high) = match qp_type {
        QpType::Gsi => (Qpn::GSI.get(), Qpn::GSI.get()),
        QpType::Rc | QpType::Uc | QpType::Ud => (LOWEST_QPN, HIGHEST_QPN),
    };
    let place = device.qp_quota.take()?;
    let number = device.qps.reserve(low, high)?;
    let qpn = Qpn::new(number.get());

    // Pieces and inline data share their place in an entry, so both grow to the larger one.
    let cap = &mut init.cap;
    let send_bytes = (cap.max_send_sge.saturating_mul(PIECE))
        .max(cap.max_inline_data.next_multiple_of(PIECE))
        .max(PIECE);
    let send_entry = user_abi::SEND_WQE_BYTES.saturating_add(send_bytes as usize);
    let sq_ring = Queue::create(cap.max_send_wr, send_entry, udata.as_ref())?;
    cap.max_send_wr = sq_ring.capacity();
    cap.max_send_sge = (send_bytes / PIECE).min(limits::SGE);
    cap.max_inline_data = send_bytes;

    let (rq, recv_sge) = match &srq {
        Some(srq) => (None, srq.max_sge()),
        None => {
            let entry = user_abi::RECV_WQE_BYTES
                .saturating_add(cap.max_recv_sge.saturating_mul(PIECE) as usize);
            // Without receive requests there is still a queue to map: librxe maps what it gets.
            let ring = Queue::create(cap.max_recv_wr, entry, udata.as_ref())?;
            cap.max_recv_wr = ring.capacity();
            let max_sge = cap.max_recv_sge;
            (Some(RecvQueue { ring, max_sge }), max_sge)
        }
    };

    let entry = sq_ring
        .element()
        .max(rq.as_ref().map_or(0, |rq| rq.ring.element()));
    let engine = engine::Qp::new(
        Init {
            qp_type,
            qpn,
            pd: pd.number(),
            shared_receive: srq.is_some(),
            window: DEFAULT_WINDOW,
        },
        device.mtu(),
        Memory::new(
            sq_ring.capacity() as usize,
            (send_bytes / PIECE) as usize,
            recv_sge as usize,
        )?,
    );
    let poster = match udata {
        Some(_) => Poster::User,
        None => Poster::Kernel,
    };
    let inner = Inner {
        engine,
        ends: Ends::new(entry)?,
        alive: true,
        timer_at: None,
        waiting: KVec::with_capacity(WAITING, GFP_KERNEL_ACCOUNT)?,
        given: Given::new(),
    };
    let sq = SendQueue {
        ring: sq_ring,
        max_sge: cap.max_send_sge,
        max_inline: cap.max_inline_data,
        signal_all: init.sq_sig_type == compat::ib_sig_type_IB_SIGNAL_ALL_WR,
        qp_type,
    };
    let pd = pd.number();
    let qp_device = device.clone();
    let qp = Arc::pin_init(
        pin_init!(Qp {
            device: qp_device,
            pd,
            name: QpName { qpn, ib },
            poster,
            send_cq,
            recv_cq,
            sq,
            rq,
            srq,
            sq_producer <- new_irq_lock!(0, "usb4_rxe send producer"),
            rq_producer <- new_irq_lock!(0, "usb4_rxe receive producer"),
            state_seen: Atomic::new(engine::State::Reset as u32),
            groups: Atomic::new(0),
            inner <- new_bh_lock!(inner, "usb4_rxe queue pair"),
            // SAFETY: This is the field `timer` of a `Qp` in an `Arc`.
            timer <- unsafe { Timer::new() },
            callers <- Rundown::new(),
            links <- kernel::list::ListLinks::new(),
            tracker <- kernel::list::AtomicTracker::new(),
        }),
        GFP_KERNEL_ACCOUNT,
    )?;

    if let Some(udata) = &udata {
        let receive = qp.rq.as_ref().map(|rq| rq.ring.map_info());
        let response = user_abi::create_qp_response(receive, qp.sq.ring.map_info());
        udata.respond(&response)?;
    }
    // From here on packets find it.
    number.publish(qp.clone())?;
    place.keep();
    // SAFETY: `ib` is a new object of our size; `destroy_qp` takes back what is set here.
    unsafe {
        (*ib).qp_num = qpn.get();
        Object::set(ib, qp);
    }
    Ok(())
}

/// `ib_device_ops.destroy_qp`
///
/// # Safety
///
/// As the core calls it: `ib` was made by [`create_qp`], nobody uses it any more.
pub unsafe extern "C" fn destroy_qp(
    ib: *mut compat::ib_qp,
    _udata: *mut compat::ib_udata,
) -> core::ffi::c_int {
    // SAFETY: As our caller promises.
    let attached = unsafe { Object::<_, Qp>::get(ib) }.is_attached();
    if attached {
        return EBUSY.to_errno();
    }
    // SAFETY: As above; the core does not use the object after we succeed.
    let qp = unsafe { Object::<_, Qp>::take(ib) };
    // Packets no longer find it, and whoever had found it is done.
    drop(qp.device.qps.remove(qp.name.qpn.get()));
    qp.shut();
    qp.sq.ring.unmap();
    if let Some(rq) = &qp.rq {
        rq.ring.unmap();
    }
    qp.device.qp_quota.put();
    0
}
