// SPDX-License-Identifier: GPL-2.0-only

//! Plain Ethernet on its way out: from the network stack into frames. [`Wire::send_ethernet`] does the work.

use kernel::sync::ArcBorrow;

use super::netdev;
use super::rail::tx::NotNow;
use super::wire::Wire;

/// `net_device_ops.ndo_start_xmit`
///
/// # Safety
///
/// As the core calls it.
pub unsafe extern "C" fn start_xmit(
    packet: *mut compat::sk_buff,
    device: *mut compat::net_device,
) -> compat::netdev_tx_t {
    // SAFETY: The device is registered during the call, so its private part is there, and what that
    // points to. The packet is ours.
    unsafe {
        let wire = netdev::private(device).read();
        if wire.is_null() {
            // No rail leads anywhere.
            compat::usb4_rxe_drop(packet, device);
            return compat::netdev_tx_NETDEV_TX_OK;
        }
        let wire = ArcBorrow::from_raw(wire);
        let len = compat::usb4_rxe_skb_len(packet) as usize;
        let sent = wire.send_ethernet(len, |at, into| {
            // Lengths of at most 4096, within the packet.
            let copied = compat::usb4_rxe_skb_copy(
                packet,
                at as i32,
                into.as_mut_ptr().cast(),
                into.len() as i32,
            );
            copied == 0
        });
        match sent {
            Ok(()) => compat::usb4_rxe_skb_sent(packet, device),
            Err(NotNow::Impossible) => compat::usb4_rxe_drop(packet, device),
            Err(NotNow::Busy) => return compat::netdev_tx_NETDEV_TX_BUSY,
        }
    }
    compat::netdev_tx_NETDEV_TX_OK
}
