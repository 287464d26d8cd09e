// SPDX-License-Identifier: GPL-2.0-only

//! What `ethtool -S` says of a network device: the counters of the RDMA device over it, under the
//! names of `rdma statistic`, with `rdma_` in front, and those of the wire below it, with `wire_`. They
//! are zero as long as there is none.

use kernel::ffi;

use super::link::device_over;
use super::stats::{COUNTERS, NAMES};
use crate::usb4::netdev::Netdev;
use crate::usb4::wire::COUNTER_NAMES;

/// Bytes of a name.
const NAME_BYTES: usize = compat::ETH_GSTRING_LEN as usize;

const RDMA: &[u8] = b"rdma_";
const WIRE: &[u8] = b"wire_";

/// How many values there are.
const VALUES: usize = COUNTERS + COUNTER_NAMES.len();

/// `ethtool_ops.get_sset_count`
///
/// # Safety
///
/// As the core calls it.
pub unsafe extern "C" fn get_sset_count(
    _netdev: *mut compat::net_device,
    set: ffi::c_int,
) -> ffi::c_int {
    match u32::try_from(set) {
        // A small constant.
        Ok(compat::ethtool_stringset_ETH_SS_STATS) => VALUES as ffi::c_int,
        _ => super::unsupported().to_errno(),
    }
}

/// `ethtool_ops.get_strings`
///
/// # Safety
///
/// As the core calls it.
pub unsafe extern "C" fn get_strings(_netdev: *mut compat::net_device, set: u32, names: *mut u8) {
    if set != compat::ethtool_stringset_ETH_SS_STATS {
        return;
    }
    // SAFETY: The core hands in room for as many names as `get_sset_count` says, zeroed.
    let names = unsafe { core::slice::from_raw_parts_mut(names, VALUES * NAME_BYTES) };
    let rdma = NAMES.iter().map(|name| (RDMA, name.to_bytes()));
    let wire = COUNTER_NAMES.iter().map(|name| (WIRE, name.as_bytes()));
    let all = Iterator::chain(rdma, wire);
    for (place, (prefix, name)) in names.chunks_mut(NAME_BYTES).zip(all) {
        let name = Iterator::chain(prefix.iter(), name);
        for (place, byte) in place.iter_mut().zip(name) {
            *place = *byte;
        }
    }
}

/// `ethtool_ops.get_ethtool_stats`
///
/// # Safety
///
/// As the core calls it.
pub unsafe extern "C" fn get_ethtool_stats(
    netdev: *mut compat::net_device,
    _stats: *mut compat::ethtool_stats,
    values: *mut u64,
) {
    // SAFETY: The core hands in room for as many values as `get_sset_count` says, zeroed.
    let values = unsafe { core::slice::from_raw_parts_mut(values, VALUES) };
    let (rdma, wire) = values.split_at_mut(COUNTERS);
    if let Some(device) = device_over(netdev) {
        for (place, sum) in rdma.iter_mut().zip(device.counters.sums()) {
            *place = sum;
        }
    }
    // SAFETY: The core holds the device during the call.
    if let Some(below) = unsafe { Netdev::hold(netdev) }.wire() {
        let mut places = wire.iter_mut();
        below.each_counter(|value| {
            if let Some(place) = places.next() {
                *place = value;
            }
        });
    }
}

// A name ends with a zero.
const _: () = {
    let mut at = 0;
    while at < COUNTERS {
        assert!(RDMA.len() + NAMES[at].count_bytes() < NAME_BYTES);
        at += 1;
    }
    at = 0;
    while at < COUNTER_NAMES.len() {
        assert!(WIRE.len() + COUNTER_NAMES[at].len() < NAME_BYTES);
        at += 1;
    }
};
