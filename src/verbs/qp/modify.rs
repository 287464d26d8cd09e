// SPDX-License-Identifier: GPL-2.0-only

//! Changing and reading the attributes of a queue pair: between `ib_qp_attr` with its mask and the
//! engine's [`Change`].

use kernel::prelude::*;
use kernel::sync::ArcBorrow;

use super::Qp;
use crate::rxe::access::Rights;
use crate::rxe::mtu::Mtu;
use crate::rxe::path::source_port;
use crate::rxe::psn::Psn;
use crate::rxe::qp::{Change, Fields, QpType, State};
use crate::rxe::qpn::Qpn;
use crate::rxe::time::{AckTimeout, RnrTimer};
use crate::verbs::ah;
use crate::verbs::deliver;
use crate::verbs::device::limits;
use crate::verbs::lock::Bh;
use crate::verbs::object::Object;
use crate::verbs::{errno, unsupported};

/// Bits of the mask that every transport knows (`IB_QP_ATTR_STANDARD_BITS`).
const STANDARD: u32 = (1 << 21) - 1;

/// Access flags that `modify_qp` takes, as upstream does: those of memory regions, of which only
/// the peer's rights mean anything here.
const ACCESS: u32 = Rights::LOCAL_WRITE
    .union(Rights::REMOTE)
    .union(Rights::MW_BIND)
    .union(Rights::FLUSH_GLOBAL)
    .union(Rights::FLUSH_PERSISTENT)
    .bits()
    | compat::ib_access_flags_IB_ACCESS_ON_DEMAND
    | compat::ib_access_flags_IB_ACCESS_OPTIONAL;

/// The state as the core counts them: the engine's numbers are the same.
fn state(code: compat::ib_qp_state) -> Result<State> {
    State::ALL
        .into_iter()
        .find(|state| *state as u32 == code)
        .ok_or(EINVAL)
}

/// The mask bit `field`.
const fn has(mask: u32, field: Fields) -> bool {
    mask & field.bits() != 0
}

/// What `modify_qp` was given, for `query_qp` to give back. No references inside.
pub struct Given(compat::ib_qp_attr);

// SAFETY: Its pointers are null, see `Given::take`.
unsafe impl Send for Given {}

impl Given {
    /// Nothing yet.
    pub fn new() -> Self {
        // SAFETY: `ib_qp_attr` is plain C data: all zeros are a valid value.
        Self(unsafe { core::mem::zeroed() })
    }

    /// Whether the user wants to know when the send queue is drained.
    pub fn wants_drained(&self) -> bool {
        self.0.en_sqd_async_notify != 0
    }

    /// The user does not want to know, unless it says so again.
    fn forget_drained(&mut self) {
        self.0.en_sqd_async_notify = 0;
    }

    /// Takes over what `mask` names.
    fn take(&mut self, attr: &compat::ib_qp_attr, mask: u32) {
        let ours = &mut self.0;
        /// Copies `$field` if its mask bit is set.
        macro_rules! take {
            ($($bit:ident: $($field:ident)*;)*) => {
                $(if has(mask, Fields::$bit) { $(ours.$field = attr.$field;)* })*
            };
        }
        take! {
            SQD_NOTIFY: en_sqd_async_notify;
            ACCESS: qp_access_flags;
            PKEY: pkey_index;
            PORT: port_num;
            QKEY: qkey;
            PATH: ah_attr;
            MTU: path_mtu;
            TIMEOUT: timeout;
            RETRY: retry_cnt;
            RNR_RETRY: rnr_retry;
            RD_ATOMIC: max_rd_atomic;
            ALT_PATH: alt_ah_attr alt_port_num alt_pkey_index alt_timeout;
            MIN_RNR: min_rnr_timer;
            DEST_RD_ATOMIC: max_dest_rd_atomic;
            MIGRATION: path_mig_state;
            DEST_QP: dest_qp_num;
        }
        // The caller's reference to the GID, not ours.
        ours.ah_attr.grh.sgid_attr = core::ptr::null();
        ours.alt_ah_attr.grh.sgid_attr = core::ptr::null();
    }
}

/// `ib_device_ops.modify_qp`
///
/// # Safety
///
/// As the core calls it.
pub unsafe extern "C" fn modify_qp(
    ib: *mut compat::ib_qp,
    attr: *mut compat::ib_qp_attr,
    mask: core::ffi::c_int,
    _udata: *mut compat::ib_udata,
) -> core::ffi::c_int {
    // SAFETY: The object was made by `create_qp` and is not destroyed during the call; `attr` is
    // valid.
    let (qp, attr) = unsafe { (Object::<_, Qp>::get(ib), &*attr) };
    // The mask is a set of bits.
    errno(modify(qp, attr, mask as u32))
}

fn modify(qp: ArcBorrow<'_, Qp>, attr: &compat::ib_qp_attr, mask: u32) -> Result {
    if mask & !STANDARD != 0 {
        return Err(unsupported());
    }
    let change = decode(&qp, attr, mask)?;
    let mut modified = Err(EINVAL);
    let bh = Bh::disable();
    {
        let mut inner = qp.inner.lock(&bh);
        let from = inner.engine.state();
        if inner.alive {
            modified = inner.engine.modify(&change).map_err(|_| EINVAL);
        }
        if modified.is_ok() {
            if change.state == Some(State::Sqd) && from != State::Sqd {
                // It is asked for with each drain.
                inner.given.forget_drained();
            }
            inner.given.take(attr, mask);
            if change.state == Some(State::Reset) {
                // They were sent to its last life.
                inner.drop_waiting(&qp.device.loopback);
                qp.sq.forget(&mut inner.ends);
                if let Some(rq) = &qp.rq {
                    rq.forget(&mut inner.ends);
                }
            }
        }
    }
    // The new state may be one in which there is something to do: send, flush, drain.
    Qp::run(qp, &bh);
    if change.state == Some(State::Reset) {
        qp.device.schedule.room();
    }
    deliver::deliver(qp.device.as_arc_borrow(), &bh);
    modified
}

/// Checks the values and puts them in the engine's terms.
fn decode(qp: &Qp, attr: &compat::ib_qp_attr, mask: u32) -> Result<Change> {
    let mut change = Change {
        others: Fields::from_bits(
            mask & (Fields::PORT
                .or(Fields::SQD_NOTIFY)
                .or(Fields::ALT_PATH)
                .or(Fields::MIGRATION)
                .bits()),
        ),
        ..Change::default()
    };
    if mask & 1 != 0 {
        change.state = Some(state(attr.qp_state)?);
    }
    if has(mask, Fields::CUR_STATE) {
        change.cur_state = Some(state(attr.cur_qp_state)?);
    }
    if has(mask, Fields::PORT) && attr.port_num != 1 {
        return Err(EINVAL);
    }
    if has(mask, Fields::ACCESS) {
        let bits = attr.qp_access_flags as u32;
        let connected = matches!(qp.sq.qp_type, QpType::Rc | QpType::Uc);
        if !connected || bits & !ACCESS != 0 {
            return Err(EINVAL);
        }
        change.rights = Some(Rights::from_bits(bits));
    }
    if has(mask, Fields::PKEY) {
        if attr.pkey_index != 0 {
            return Err(EINVAL);
        }
        change.pkey = Some(crate::rxe::wire::bth::DEFAULT_PKEY);
    }
    if has(mask, Fields::QKEY) {
        change.qkey = Some(attr.qkey);
    }
    if has(mask, Fields::DEST_QP) {
        change.dest_qp = Some(Qpn::try_new(attr.dest_qp_num).ok_or(EINVAL)?);
    }
    if has(mask, Fields::PATH) {
        let remote = change.dest_qp.unwrap_or_else(|| qp.dest_qp());
        let port = source_port(qp.name.qpn, remote);
        change.path = Some(ah::path(&attr.ah_attr, port)?);
    }
    if has(mask, Fields::ALT_PATH) && (attr.alt_port_num != 1 || attr.alt_timeout > 31) {
        return Err(EINVAL);
    }
    if has(mask, Fields::MTU) {
        let code = u8::try_from(attr.path_mtu).map_err(|_| EINVAL)?;
        let mtu = Mtu::from_code(code).ok_or(EINVAL)?;
        if mtu > qp.device().mtu() {
            return Err(EINVAL);
        }
        change.mtu = Some(mtu);
    }
    if has(mask, Fields::TIMEOUT) {
        change.timeout = Some(AckTimeout::new(attr.timeout).ok_or(EINVAL)?);
    }
    if has(mask, Fields::MIN_RNR) {
        change.min_rnr_timer = Some(RnrTimer::new(attr.min_rnr_timer).ok_or(EINVAL)?);
    }
    if has(mask, Fields::RETRY) {
        change.retry_count = Some(attr.retry_cnt);
    }
    if has(mask, Fields::RNR_RETRY) {
        change.rnr_retry = Some(attr.rnr_retry);
    }
    if has(mask, Fields::RQ_PSN) {
        change.rq_psn = Some(Psn::new(attr.rq_psn));
    }
    if has(mask, Fields::SQ_PSN) {
        change.sq_psn = Some(Psn::new(attr.sq_psn));
    }
    if has(mask, Fields::RD_ATOMIC) {
        change.max_rd_atomic = Some(depth(attr.max_rd_atomic)?);
    }
    if has(mask, Fields::DEST_RD_ATOMIC) {
        change.max_dest_rd_atomic = Some(depth(attr.max_dest_rd_atomic)?);
    }
    Ok(change)
}

/// A number of reads and atomics, as the device permits.
fn depth(count: u8) -> Result<u8> {
    if u32::from(count) > limits::RD_ATOMIC {
        return Err(EINVAL);
    }
    Ok(count)
}

/// `ib_device_ops.query_qp`
///
/// # Safety
///
/// As the core calls it.
pub unsafe extern "C" fn query_qp(
    ib: *mut compat::ib_qp,
    attr: *mut compat::ib_qp_attr,
    _mask: core::ffi::c_int,
    init: *mut compat::ib_qp_init_attr,
) -> core::ffi::c_int {
    // SAFETY: The object was made by `create_qp` and is not destroyed during the call; `attr` and
    // `init` are valid.
    let (qp, attr, init) = unsafe { (Object::<_, Qp>::get(ib), &mut *attr, &mut *init) };
    let cap = compat::ib_qp_cap {
        max_send_wr: qp.sq.ring.capacity(),
        max_send_sge: qp.sq.max_sge,
        max_inline_data: qp.sq.max_inline,
        max_recv_wr: qp.rq.as_ref().map_or(0, |rq| rq.ring.capacity()),
        max_recv_sge: qp.rq.as_ref().map_or(0, |rq| rq.max_sge),
        max_rdma_ctxs: 0,
    };
    {
        let bh = Bh::disable();
        let inner = qp.inner.lock(&bh);
        *attr = inner.given.0;
        // The engine's numbers are the core's.
        attr.qp_state = inner.engine.state() as u32;
        attr.cur_qp_state = attr.qp_state;
        attr.sq_psn = inner.engine.sq_psn().get();
        attr.rq_psn = inner.engine.rq_psn().get();
        attr.sq_draining = inner.engine.is_draining().into();
    }
    attr.cap = cap;
    init.cap = cap;
    init.sq_sig_type = if qp.sq.signal_all {
        compat::ib_sig_type_IB_SIGNAL_ALL_WR
    } else {
        compat::ib_sig_type_IB_SIGNAL_REQ_WR
    };
    init.port_num = 1;
    // SAFETY: The core's object is valid during the call; these fields do not change.
    unsafe {
        init.event_handler = (*ib).event_handler;
        init.qp_context = (*ib).qp_context;
        init.send_cq = (*ib).send_cq;
        init.recv_cq = (*ib).recv_cq;
        init.srq = (*ib).srq;
        init.qp_type = (*ib).qp_type;
    }
    0
}
