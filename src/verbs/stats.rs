// SPDX-License-Identifier: GPL-2.0-only

//! Counters: what `rdma statistic` shows, with upstream rxe's names.
//!
//! Every CPU counts for itself, without atomic operations; reading adds up.

use core::ptr;

use kernel::ffi;
use kernel::prelude::*;
use kernel::str::as_char_ptr_in_const_context;
use kernel::sync::atomic::{ordering, Atomic};

use super::device::Device;
use super::lock::Bh;
use super::Shared;
use crate::rxe::events::{Counter, Event};

/// How many there are.
pub const COUNTERS: usize = Counter::ALL.len();

/// The counters of one CPU, in cache lines of their own.
#[repr(align(64))]
struct Slot([Atomic<u64>; COUNTERS]);

/// The counters of a device.
pub struct Counters {
    slots: KVVec<Slot>,
}

impl Counters {
    /// All zero.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub fn new() -> Result<Self> {
        // SAFETY: Set at boot, for good.
        let cpus = unsafe { compat::nr_cpu_ids } as usize;
        let mut slots = KVVec::with_capacity(cpus, GFP_KERNEL)?;
        for _ in 0..cpus {
            slots.push(Slot([const { Atomic::new(0) }; COUNTERS]), GFP_KERNEL)?;
        }
        Ok(Self { slots })
    }

    /// Adds to a counter.
    #[inline]
    pub fn add(&self, _bh: &Bh, counter: Counter, amount: u32) {
        // SAFETY: Has no requirements.
        let cpu = unsafe { compat::raw_smp_processor_id() } as usize;
        let slot = self.slots.get(cpu);
        if let Some(value) = slot.and_then(|slot| slot.0.get(counter as usize)) {
            // With softirqs off nobody else runs here who would write this CPU's counters.
            let sum = value.load(ordering::Relaxed).wrapping_add(amount.into());
            value.store(sum, ordering::Relaxed);
        }
    }

    /// Counts an event of the engine.
    #[inline]
    pub fn count(&self, bh: &Bh, event: Event) {
        let (once, bytes) = event.counts();
        if let Some(counter) = once {
            self.add(bh, counter, 1);
        }
        if let Some((counter, amount)) = bytes {
            self.add(bh, counter, amount);
        }
    }

    /// What all counters have come to, in the order of [`Counter::ALL`].
    pub fn sums(&self) -> impl Iterator<Item = u64> + '_ {
        Counter::ALL.iter().map(|(counter, _)| self.sum(*counter))
    }

    /// What a counter has come to.
    pub fn sum(&self, counter: Counter) -> u64 {
        self.slots.iter().fold(0, |sum: u64, slot| {
            let value = slot.0.get(counter as usize);
            sum.wrapping_add(value.map_or(0, |value| value.load(ordering::Relaxed)))
        })
    }
}

/// The names, in the order of [`Counter::ALL`].
pub const NAMES: [&CStr; COUNTERS] = [
    c"sent_pkts",
    c"rcvd_pkts",
    c"duplicate_request",
    c"out_of_seq_request",
    c"rcvd_rnr_err",
    c"send_rnr_err",
    c"rcvd_seq_err",
    c"ack_deferred",
    c"retry_exceeded_err",
    c"retry_rnr_exceeded_err",
    c"completer_retry_err",
    c"send_err",
    c"link_downed",
    c"rdma_sends",
    c"rdma_recvs",
    c"sent_bytes",
    c"rcvd_bytes",
];

/// The counters as the core describes them.
static DESCRIPTIONS: Shared<[compat::rdma_stat_desc; COUNTERS]> = {
    let mut all = [const { pin_init::zeroed::<compat::rdma_stat_desc>() }; COUNTERS];
    let mut at = 0;
    while at < COUNTERS {
        all[at].name = as_char_ptr_in_const_context(NAMES[at]);
        at += 1;
    }
    Shared(all)
};

// A counter's number is its place in `Counter::ALL`.
const _: () = {
    let mut at = 0;
    while at < COUNTERS {
        assert!(Counter::ALL[at].0 as usize == at);
        at += 1;
    }
};

/// `ib_device_ops.alloc_hw_port_stats`
///
/// # Safety
///
/// As the core calls it.
pub unsafe extern "C" fn alloc_hw_port_stats(
    _ib: *mut compat::ib_device,
    _port: u32,
) -> *mut compat::rdma_hw_stats {
    // SAFETY: The descriptions are a static of `COUNTERS` entries.
    unsafe {
        compat::rdma_alloc_hw_stats_struct(
            DESCRIPTIONS.0.as_ptr(),
            // A small constant.
            COUNTERS as ffi::c_int,
            compat::RDMA_HW_STATS_DEFAULT_LIFESPAN as ffi::c_ulong,
        )
    }
}

/// `ib_device_ops.get_hw_stats`
///
/// # Safety
///
/// As the core calls it.
pub unsafe extern "C" fn get_hw_stats(
    ib: *mut compat::ib_device,
    stats: *mut compat::rdma_hw_stats,
    port: u32,
    _index: ffi::c_int,
) -> ffi::c_int {
    if port == 0 || stats.is_null() {
        return EINVAL.to_errno();
    }
    // SAFETY: The device is ours.
    let device = unsafe { Device::from_ib(ib) };
    for (at, sum) in device.counters.sums().enumerate() {
        // SAFETY: `stats` comes from `alloc_hw_port_stats`, so it has `COUNTERS` values behind it;
        // the core lets nobody else write them meanwhile.
        unsafe {
            let values = (&raw mut (*stats).value).cast::<u64>();
            ptr::write(values.add(at), sum);
        }
    }
    // A small constant.
    COUNTERS as ffi::c_int
}
