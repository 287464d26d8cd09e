// SPDX-License-Identifier: GPL-2.0-only

//! Plain Ethernet on its way out: from the network stack into frames. [`Wire::send_ethernet`] does the work.
//!
//! A packet that finds no room is kept, and the device's queue stopped until it has found some: the
//! network stack never offers one twice, for it would show taps each attempt.

use core::mem::ManuallyDrop;

use kernel::sync::ArcBorrow;

use super::netdev;
use super::wire::Wire;

/// A packet that the network stack gave away. Dropped, it counts as such.
///
/// # Invariants
///
/// The pointer is to a packet that is ours; the device it goes out of is there.
pub struct Packet(*mut compat::sk_buff);

// SAFETY: Packets belong to no thread.
unsafe impl Send for Packet {}

impl Packet {
    /// # Safety
    ///
    /// The packet is the caller's to give away, and its device stays for as long as it lives.
    unsafe fn new(raw: *mut compat::sk_buff) -> Self {
        // INVARIANT: As our caller promises.
        Self(raw)
    }

    /// The packet goes back to where it came from.
    fn into_raw(self) -> *mut compat::sk_buff {
        ManuallyDrop::new(self).0
    }

    /// How many bytes it has.
    #[inline]
    pub fn len(&self) -> usize {
        // SAFETY: By the type's invariants the packet is there.
        unsafe { compat::usb4_rxe_skb_len(self.0) as usize }
    }

    /// Copies bytes from an offset on. False: it has not so many.
    #[inline]
    pub fn copy(&self, at: usize, into: &mut [u8]) -> bool {
        let (Ok(at), Ok(len)) = (i32::try_from(at), i32::try_from(into.len())) else {
            return false;
        };
        // SAFETY: By the type's invariants the packet is there; neither number is negative, and the
        // function compares them with the packet's length. That pages of a file may change meanwhile
        // is for C to bear, which copies them.
        let copied =
            unsafe { compat::usb4_rxe_skb_copy(self.0, at, into.as_mut_ptr().cast(), len) };
        copied == 0
    }

    /// It is sent.
    #[inline]
    pub fn sent(self) {
        // SAFETY: By the type's invariants the packet is ours, and is so no more; its device is there.
        unsafe { compat::usb4_rxe_skb_sent(self.into_raw()) };
    }
}

impl Drop for Packet {
    fn drop(&mut self) {
        // SAFETY: As in `sent`.
        unsafe { compat::usb4_rxe_drop(self.0) };
    }
}

/// `net_device_ops.ndo_start_xmit`
///
/// # Safety
///
/// As the core calls it.
pub unsafe extern "C" fn start_xmit(
    packet: *mut compat::sk_buff,
    device: *mut compat::net_device,
) -> compat::netdev_tx_t {
    // SAFETY: The packet is ours. The device is registered during the call. A wire that keeps the packet
    // for longer has a reference to the device; it gives that away when it has let go of the packet. Who
    // has taken the packet from it just before has softirqs off until the packet is gone, which
    // unregistering the device waits for.
    let packet = unsafe { Packet::new(packet) };
    // SAFETY: The device is registered during the call, so its private part is there, and what that
    // points to.
    let wire = unsafe {
        let wire = netdev::private(device).read();
        if wire.is_null() {
            // No rail leads anywhere.
            return compat::netdev_tx_NETDEV_TX_OK;
        }
        ArcBorrow::from_raw(wire)
    };
    match wire.send_ethernet(packet) {
        Ok(()) => compat::netdev_tx_NETDEV_TX_OK,
        Err(packet) => {
            // The core's again.
            packet.into_raw();
            compat::netdev_tx_NETDEV_TX_BUSY
        }
    }
}
