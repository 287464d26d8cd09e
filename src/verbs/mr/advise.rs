// SPDX-License-Identifier: GPL-2.0-only

//! Advice about memory that is paged on demand: fetch it before it is needed.

use core::ffi::c_int;
use core::slice;

use kernel::prelude::*;
use kernel::sync::Arc;

use super::verbs::region;
use super::Backing;
use crate::rxe::access::{check, Access, Identity, Rights, Side};
use crate::rxe::qpn::Qpn;
use crate::verbs::device::Device;
use crate::verbs::lock::Bh;
use crate::verbs::object::Object;
use crate::verbs::odp::OnDemand;
use crate::verbs::pd::Pd;
use crate::verbs::{errno, unsupported};

/// `ib_device_ops.advise_mr`
///
/// Fetches before it returns, whether or not the caller wants to wait.
///
/// # Safety
///
/// As the core calls it: `pd` is ours, `list` has `count` entries.
pub unsafe extern "C" fn advise_mr(
    pd: *mut compat::ib_pd,
    advice: compat::ib_uverbs_advise_mr_advice,
    _flags: u32,
    list: *mut compat::ib_sge,
    count: u32,
    _attrs: *mut compat::uverbs_attr_bundle,
) -> c_int {
    let list = match count {
        0 => &[],
        // SAFETY: As our caller promises.
        _ => unsafe { slice::from_raw_parts(list, count as usize) },
    };
    // SAFETY: As our caller promises; the device lives longer than the PD.
    let (device, pd) = unsafe { (Device::from_ib((*pd).device), Object::<_, Pd>::get(pd)) };
    let who = Identity {
        pd: pd.number(),
        // No queue pair: it matters for windows only.
        qpn: Qpn::new(0),
    };
    errno(
        list.iter()
            .try_for_each(|piece| advise(&device, who, advice, piece)),
    )
}

/// # Errors
///
/// `EINVAL` for memory that is not the PD's, or not paged on demand; `EPERM` to write what may not
/// be written; `EFAULT` if there is nothing to fetch.
fn advise(
    device: &Device,
    who: Identity,
    advice: compat::ib_uverbs_advise_mr_advice,
    piece: &compat::ib_sge,
) -> Result {
    let (write, fault) = match advice {
        compat::ib_uverbs_advise_mr_advice_IB_UVERBS_ADVISE_MR_ADVICE_PREFETCH => (false, true),
        compat::ib_uverbs_advise_mr_advice_IB_UVERBS_ADVISE_MR_ADVICE_PREFETCH_WRITE => {
            (true, true)
        }
        compat::ib_uverbs_advise_mr_advice_IB_UVERBS_ADVISE_MR_ADVICE_PREFETCH_NO_FAULT => {
            (false, false)
        }
        _ => return Err(unsupported()),
    };
    let (memory, offset) = find(device, who, piece)?;
    memory.prefetch(offset, piece.length as usize, write, fault)
}

/// The memory that a piece lies in, and where. Only this is held while pages are fetched: other
/// regions, and other processes', must not outlive their deregistration because they were named here.
fn find(device: &Device, who: Identity, piece: &compat::ib_sge) -> Result<(Arc<OnDemand>, u64)> {
    let bh = Bh::disable();
    let mr = region(device.keys.get(&bh, piece.lkey).ok_or(EINVAL)?)?;
    let Backing::OnDemand(memory) = &mr.backing else {
        return Err(EINVAL);
    };
    let want = Access {
        key: piece.lkey,
        side: Side::Local,
        rights: Rights::NONE,
        va: piece.addr,
        len: u64::from(piece.length),
    };
    let at = check(&mr.facts, who, &want).map_err(|_| EINVAL)?;
    let offset = at.checked_sub(mr.facts.start).ok_or(EINVAL)?;
    Ok((memory.clone(), offset))
}
