// SPDX-License-Identifier: GPL-2.0-only

//! Performance management (IBTA vol. 1, 16.1): what a datagram to queue pair 1 may ask for. The core asks
//! in the same way for the counters below `ports/1/counters` in sysfs. [`super::stats`] counts.

use kernel::ffi;

use super::device::Device;
use crate::rxe::events::Counter;

/// Where the attribute begins in the data of a management datagram.
const ATTRIBUTE: usize = 40;

/// `ClassPortInfo`: what this class can do.
const CLASS_PORT_INFO: u16 = 0x0001;
/// `PortCounters`: they stop at all ones.
const PORT_COUNTERS: u16 = 0x0012;
/// `PortCountersExtended`: 64 bits wide.
const PORT_COUNTERS_EXTENDED: u16 = 0x001d;

/// `ClassPortInfo:CapabilityMask`, "extended width supported".
const EXTENDED_WIDTH: u16 = 0x0200;

/// `ib_device_ops.process_mad`
///
/// # Safety
///
/// As the core calls it.
pub unsafe extern "C" fn process_mad(
    ib: *mut compat::ib_device,
    _flags: ffi::c_int,
    port: u32,
    _wc: *const compat::ib_wc,
    _grh: *const compat::ib_grh,
    question: *const compat::ib_mad,
    answer: *mut compat::ib_mad,
    _len: *mut usize,
    _pkey_index: *mut u16,
) -> ffi::c_int {
    // SAFETY: The device is ours; both datagrams are valid.
    let (device, question, answer) = unsafe { (Device::from_ib(ib), &*question, &mut *answer) };
    let header = &question.mad_hdr;
    let is_ours = port == 1
        && u32::from(header.mgmt_class) == compat::IB_MGMT_CLASS_PERF_MGMT
        && u32::from(header.method) == compat::IB_MGMT_METHOD_GET;
    // What is not ours is for the kernel's other agents: connection management, say.
    let mut result = compat::ib_mad_result_IB_MAD_RESULT_SUCCESS;
    if is_ours {
        answer.mad_hdr = question.mad_hdr;
        // A constant of one byte.
        answer.mad_hdr.method = compat::IB_MGMT_METHOD_GET_RESP as u8;
        answer.data = [0; 232];
        let attribute = answer.data.get_mut(ATTRIBUTE..).unwrap_or(&mut []);
        if get(&device, u16::from_be(header.attr_id), attribute) {
            result |= compat::ib_mad_result_IB_MAD_RESULT_REPLY;
        }
    }
    // Two small bits.
    result as ffi::c_int
}

/// Fills in an attribute; `false` if we have none of this kind.
fn get(device: &Device, id: u16, attribute: &mut [u8]) -> bool {
    let mut put = |at: usize, bytes: &[u8]| {
        let place = attribute
            .get_mut(at..)
            .and_then(|place| place.get_mut(..bytes.len()));
        if let Some(place) = place {
            place.copy_from_slice(bytes);
        }
    };
    let sum = |counter| device.counters.sum(counter);
    // Data is counted in words of 32 bits.
    let words = |counter| (sum(counter) / 4).to_be_bytes();
    match id {
        CLASS_PORT_INFO => put(2, &EXTENDED_WIDTH.to_be_bytes()),
        PORT_COUNTERS => {
            let downs = u8::try_from(sum(Counter::LinkDowned)).unwrap_or(u8::MAX);
            put(7, &[downs]);
        }
        PORT_COUNTERS_EXTENDED => {
            put(8, &words(Counter::SentBytes));
            put(16, &words(Counter::RcvdBytes));
            put(24, &sum(Counter::SentPkts).to_be_bytes());
            put(32, &sum(Counter::RcvdPkts).to_be_bytes());
        }
        _ => return false,
    }
    true
}
