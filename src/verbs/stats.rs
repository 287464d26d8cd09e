// SPDX-License-Identifier: GPL-2.0-only

//! Counters: what `rdma statistic` shows, with upstream rxe's names.
//!
//! Every CPU counts for itself; reading adds up.

use kernel::prelude::*;
use kernel::sync::atomic::{ordering, Atomic};

use super::device::Device;
use super::Shared;
use crate::rxe::events::{Counter, Event};

const COUNTERS: usize = Counter::ALL.len();

/// The counters of one CPU, in cache lines of their own.
#[repr(align(64))]
struct Slot([Atomic<u64>; COUNTERS]);

/// The counters of a device.
pub struct Counters {
    slots: KVVec<Slot>,
}

impl Counters {
    /// All zero.
    pub fn new() -> Result<Self> {
        // SAFETY: Has no requirements.
        let cpus = unsafe { compat::usb4_rxe_cpus() } as usize;
        let mut slots = KVVec::with_capacity(cpus.max(1), GFP_KERNEL)?;
        for _ in 0..cpus.max(1) {
            slots.push(Slot([const { Atomic::new(0) }; COUNTERS]), GFP_KERNEL)?;
        }
        Ok(Self { slots })
    }

    /// Adds to a counter.
    #[inline]
    pub fn add(&self, counter: Counter, amount: u32) {
        // SAFETY: Has no requirements; a number that is stale at once only costs a cache miss.
        let cpu = unsafe { compat::usb4_rxe_this_cpu() } as usize;
        if let Some(slot) = self.slots.get(cpu) {
            if let Some(value) = slot.0.get(counter as usize) {
                value.fetch_add(u64::from(amount), ordering::Relaxed);
            }
        }
    }

    /// Counts an event of the engine.
    #[inline]
    pub fn count(&self, event: Event) {
        let (once, bytes) = event.counts();
        if let Some(counter) = once {
            self.add(counter, 1);
        }
        if let Some((counter, amount)) = bytes {
            self.add(counter, amount);
        }
    }

    fn sum(&self, counter: Counter) -> u64 {
        self.slots.iter().fold(0u64, |sum, slot| {
            let value = slot.0.get(counter as usize);
            sum.wrapping_add(value.map_or(0, |value| value.load(ordering::Relaxed)))
        })
    }
}

// A counter's number is its place in `Counter::ALL`.
const _: () = {
    let mut i = 0;
    while i < COUNTERS {
        assert!(Counter::ALL[i].0 as usize == i);
        i += 1;
    }
};

macro_rules! descriptions {
    ($($name:literal)*) => {
        [$(compat::rdma_stat_desc {
            name: $name.as_ptr().cast(),
            ..pin_init::zeroed()
        }),*]
    };
}

/// The names, as C strings; checked against [`Counter::ALL`] below.
static DESCRIPTIONS: Shared<[compat::rdma_stat_desc; COUNTERS]> = Shared(descriptions! {
    c"sent_pkts" c"rcvd_pkts" c"duplicate_request" c"out_of_seq_request" c"rcvd_rnr_err"
    c"send_rnr_err" c"rcvd_seq_err" c"ack_deferred" c"retry_exceeded_err"
    c"retry_rnr_exceeded_err" c"completer_retry_err" c"send_err" c"link_downed" c"rdma_sends"
    c"rdma_recvs" c"sent_bytes" c"rcvd_bytes"
});

/// `ib_device_ops.alloc_hw_port_stats`
///
/// # Safety
///
/// As the core calls it.
pub unsafe extern "C" fn alloc_hw_port_stats(
    _ib: *mut compat::ib_device,
    _port: u32,
) -> *mut compat::rdma_hw_stats {
    // SAFETY: The descriptions are a static.
    unsafe {
        compat::rdma_alloc_hw_stats_struct(
            DESCRIPTIONS.0.as_ptr(),
            COUNTERS as _,
            compat::RDMA_HW_STATS_DEFAULT_LIFESPAN as _,
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
    _index: kernel::ffi::c_int,
) -> kernel::ffi::c_int {
    if port == 0 || stats.is_null() {
        return EINVAL.to_errno();
    }
    // SAFETY: The device is ours and registered; `stats` was made by `alloc_hw_port_stats`, so it
    // has `COUNTERS` values.
    unsafe {
        let device = Device::from_ib(ib);
        let values = (*stats).value.as_mut_ptr();
        for (at, (counter, _)) in Counter::ALL.iter().enumerate() {
            *values.add(at) = device.counters.sum(*counter);
        }
    }
    COUNTERS as _
}
