// SPDX-License-Identifier: GPL-2.0-only

//! What a device hears of its network device.

use kernel::ffi;
use kernel::sync::Arc;

use super::books::{links, Link, Links, Stage};
use crate::usb4::netdev::{self, Netdev};

/// `notifier_block.notifier_call`: events of network devices. RTNL is held.
///
/// # Safety
///
/// As the core calls it.
pub unsafe extern "C" fn netdev_event(
    _block: *mut compat::notifier_block,
    event: ffi::c_ulong,
    info: *mut ffi::c_void,
) -> ffi::c_int {
    // SAFETY: The core hands in a network device that is held during the call.
    let netdev = unsafe {
        let device = compat::netdev_notifier_info_to_dev(info.cast());
        netdev::is_ours(device).then(|| Netdev::hold(device))
    };
    if let (Some(netdev), Ok(links)) = (netdev, links()) {
        pass_on(&links, &netdev, event);
    }
    // A small constant.
    compat::NOTIFY_DONE as ffi::c_int
}

fn pass_on(links: &Arc<Links>, netdev: &Netdev, event: ffi::c_ulong) {
    let mut list = links.list.lock();
    // One that is about to go may be there beside a new one.
    for link in list.iter_mut() {
        if link.device.is_over(netdev.raw()) {
            link.hear(links, netdev, event);
        }
    }
}

impl Link {
    /// Something happened to its network device.
    fn hear(&mut self, links: &Arc<Links>, netdev: &Netdev, event: ffi::c_ulong) {
        // Events are small numbers.
        match event as compat::netdev_cmd {
            compat::netdev_cmd_NETDEV_UNREGISTER => {
                // Whoever asks from now on is told that there is none.
                self.device.forget_netdev();
                self.stage = match self.stage {
                    Stage::Up | Stage::Ending => Stage::Ending,
                    Stage::Ended | Stage::Lost => Stage::Ended,
                };
                self.is_due = self.stage == Stage::Ending;
                links.start_cleaning();
            }
            event @ (compat::netdev_cmd_NETDEV_UP
            | compat::netdev_cmd_NETDEV_CHANGE
            | compat::netdev_cmd_NETDEV_DOWN)
                if self.stage == Stage::Up =>
            {
                self.device.note_state(netdev);
                self.ib.pass_state(netdev);
                if let (compat::netdev_cmd_NETDEV_UP, Some(wire)) = (event, self.device.wire()) {
                    wire.reconnected();
                }
            }
            compat::netdev_cmd_NETDEV_CHANGEMTU | compat::netdev_cmd_NETDEV_CHANGEADDR => {
                self.device.look(netdev);
            }
            _ => {}
        }
    }
}
