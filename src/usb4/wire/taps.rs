// SPDX-License-Identifier: GPL-2.0-only

//! Packets for the network device: those of plain Ethernet, and copies for taps (tcpdump).

use core::ptr::null_mut;
use core::slice;

use crate::usb4::netdev::Netdev;

/// How long a packet is.
fn length(pieces: &[&[u8]]) -> usize {
    let lengths = pieces.iter().map(|piece| piece.len());
    lengths.fold(0, usize::saturating_add)
}

/// A packet of the kernel's, with the bytes of `pieces`.
fn copy(netdev: &Netdev, pieces: &[&[u8]]) -> Option<*mut compat::sk_buff> {
    let len = length(pieces);
    let mut data = null_mut();
    // SAFETY: The device is held.
    let skb =
        unsafe { compat::usb4_rxe_skb_alloc(netdev.raw(), u32::try_from(len).ok()?, &mut data) };
    if skb.is_null() {
        return None;
    }
    // SAFETY: `len` new bytes at `data`, which nobody else has.
    let mut rest = unsafe { slice::from_raw_parts_mut(data, len) };
    for piece in pieces {
        let (place, behind) = rest.split_at_mut_checked(piece.len())?;
        place.copy_from_slice(piece);
        rest = behind;
    }
    Some(skb)
}

/// Hands a packet to the network stack, if it may have it. `false`: there is no memory.
pub fn receive(netdev: &Netdev, pieces: &[&[u8]]) -> bool {
    if !netdev.may_receive(length(pieces)) {
        return true;
    }
    let Some(skb) = copy(netdev, pieces) else {
        return false;
    };
    // SAFETY: The packet is ours to give away; the device is held; softirqs are off.
    unsafe { compat::usb4_rxe_skb_receive(skb, netdev.raw()) };
    true
}

/// Shows a packet that the RDMA device received.
#[cold]
pub fn show_received(netdev: &Netdev, pieces: &[&[u8]]) {
    if let Some(skb) = copy(netdev, pieces) {
        // SAFETY: As in `receive`.
        unsafe { compat::usb4_rxe_skb_show_received(skb, netdev.raw()) };
    }
}

/// Shows a packet that the RDMA device sends.
#[cold]
pub fn show_sent(netdev: &Netdev, pieces: &[&[u8]]) {
    if let Some(skb) = copy(netdev, pieces) {
        // SAFETY: As in `receive`.
        unsafe { compat::usb4_rxe_skb_show_sent(skb, netdev.raw()) };
    }
}
