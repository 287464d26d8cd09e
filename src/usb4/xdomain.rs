// SPDX-License-Identifier: GPL-2.0-only

//! One end of a cable to another host, as the Thunderbolt core sees it: an XDomain.
//!
//! Wraps what the core offers for it: control messages, HopIDs, paths.

use core::ffi::c_void;

use kernel::error::to_result;
use kernel::prelude::*;
use kernel::str::CStr;

use super::rail::frame::envelope::{self, Envelope, Uuid};
use super::rail::frame::hello::Message;

/// How long to wait for an answer to a control message. Short: meanwhile the peer's own Login may have
/// begun a life, and answers need not come at all for that.
const TIMEOUT_MS: u32 = 250;

/// A reference to an XDomain.
///
/// # Invariants
///
/// The pointer is to an enumerated XDomain and holds a reference. What it belongs to, domain and
/// host router, stays while a service of it is bound: [`super::cable`] uses it only until then.
pub struct XDomain(*mut compat::tb_xdomain);

// SAFETY: References belong to no thread, and the core locks.
unsafe impl Send for XDomain {}
// SAFETY: As above.
unsafe impl Sync for XDomain {}

/// Which HopIDs and rings a pair of paths joins.
#[derive(Clone, Copy)]
pub struct Paths {
    /// The HopID we send on.
    pub tx_hop: i32,
    /// The ring we send from.
    pub tx_ring: i32,
    /// The HopID the peer sends on.
    pub rx_hop: i32,
    /// The ring we receive with.
    pub rx_ring: i32,
}

impl XDomain {
    /// The XDomain of a service.
    ///
    /// # Safety
    ///
    /// `service` is one that is bound to our driver.
    pub unsafe fn of(service: *mut compat::tb_service) -> Result<Self> {
        // SAFETY: As our caller promises; the parent of a service is an XDomain.
        let raw = unsafe { compat::tb_xdomain_get(compat::tb_service_parent(service)) };
        if raw.is_null() {
            return Err(ENODEV);
        }
        // INVARIANT: The reference was taken just now; services belong to enumerated XDomains.
        Ok(Self(raw))
    }

    /// The host router at our end.
    pub fn local(&self) -> Uuid {
        // SAFETY: By the type's invariants; set when it was made, for good.
        unsafe { uuid((*self.0).local_uuid) }
    }

    /// The host router at the other end.
    pub fn remote(&self) -> Uuid {
        // SAFETY: By the type's invariants; set when it was enumerated, for good.
        unsafe { uuid((*self.0).remote_uuid) }
    }

    /// Where the core finds it.
    pub fn route(&self) -> u64 {
        // SAFETY: By the type's invariants; it does not change.
        unsafe { (*self.0).route }
    }

    /// Its name, as in sysfs.
    pub fn name(&self) -> &CStr {
        // SAFETY: By the type's invariants; the name lives as long as the device.
        unsafe { CStr::from_char_ptr(compat::usb4_rxe_xdomain_name(self.0)) }
    }

    /// The host router.
    pub fn nhi(&self) -> *mut compat::tb_nhi {
        // SAFETY: By the type's invariants.
        unsafe { (*(*self.0).tb).nhi }
    }

    /// The device that is our host router, a PCI device.
    pub fn device(&self) -> *mut compat::device {
        // SAFETY: By the type's invariants.
        unsafe { (*self.nhi()).dev.cast() }
    }

    /// What we can send at, in Gb/s.
    pub fn speed(&self) -> u32 {
        // SAFETY: By the type's invariants.
        unsafe { compat::usb4_rxe_xdomain_speed(self.0) }
    }

    /// Whether the cable is out, so that nobody hears us any more.
    pub fn is_unplugged(&self) -> bool {
        // SAFETY: By the type's invariants.
        unsafe { compat::usb4_rxe_xdomain_is_unplugged(self.0) }
    }

    /// A message to the other end.
    fn envelope(&self, number: u32, is_answer: bool, message: &Message) -> Envelope {
        Envelope {
            route: self.route(),
            from: self.local(),
            to: self.remote(),
            is_answer,
            number,
            message: *message,
        }
    }

    /// Sends a message and waits for the answer. Not in a protocol handler: answers come there, too.
    ///
    /// # Errors
    ///
    /// `ETIMEDOUT` if there is no answer, `EIO` if there is an odd one, or what the core says.
    pub fn ask(&self, number: u32, message: &Message) -> Result<Message> {
        let request = self.envelope(number, false, message).emit();
        let mut response = [0u8; envelope::LEN];
        // SAFETY: By the type's invariants; both buffers are valid during the call, which waits
        // until the core has left them.
        to_result(unsafe {
            compat::tb_xdomain_request(
                self.0,
                request.as_ptr().cast::<c_void>(),
                request.len(),
                compat::tb_cfg_pkg_type_TB_CFG_PKG_XDOMAIN_REQ,
                response.as_mut_ptr().cast::<c_void>(),
                response.len(),
                compat::tb_cfg_pkg_type_TB_CFG_PKG_XDOMAIN_RESP,
                TIMEOUT_MS,
            )
        })?;
        match Envelope::parse(&response) {
            Ok(answer)
                if answer.is_answer
                    && answer.number == number
                    && answer.from == self.remote()
                    && answer.to == self.local() =>
            {
                Ok(answer.message)
            }
            _ => Err(EIO),
        }
    }

    /// Answers a message. Does not wait.
    ///
    /// # Errors
    ///
    /// What the core says.
    pub fn answer(&self, number: u32, message: &Message) -> Result {
        let response = self.envelope(number, true, message).emit();
        // SAFETY: By the type's invariants; the core copies the message before it returns.
        to_result(unsafe {
            compat::tb_xdomain_response(
                self.0,
                response.as_ptr().cast::<c_void>(),
                response.len(),
                compat::tb_cfg_pkg_type_TB_CFG_PKG_XDOMAIN_RESP,
            )
        })
    }

    /// Takes a HopID to send on.
    pub fn take_tx_hop(&self) -> Result<i32> {
        // SAFETY: By the type's invariants.
        let hop = unsafe { compat::tb_xdomain_alloc_out_hopid(self.0, -1) };
        to_result(hop)?;
        Ok(hop)
    }

    /// Gives it back.
    pub fn release_tx_hop(&self, hop: i32) {
        // SAFETY: By the type's invariants; `take_tx_hop` gave it.
        unsafe { compat::tb_xdomain_release_out_hopid(self.0, hop) };
    }

    /// Takes the HopID that the peer sends on: exactly that one.
    ///
    /// # Errors
    ///
    /// `EINVAL` if there is no such HopID, `EBUSY` if it is taken.
    pub fn take_rx_hop(&self, hop: u16) -> Result<i32> {
        let wanted = i32::from(hop);
        // SAFETY: By the type's invariants.
        let taken = unsafe { compat::tb_xdomain_alloc_in_hopid(self.0, wanted) };
        to_result(taken)?;
        if taken == wanted {
            return Ok(taken);
        }
        self.release_rx_hop(taken);
        Err(EBUSY)
    }

    /// Gives it back.
    pub fn release_rx_hop(&self, hop: i32) {
        // SAFETY: By the type's invariants; `take_rx_hop` gave it.
        unsafe { compat::tb_xdomain_release_in_hopid(self.0, hop) };
    }

    /// Joins rings and HopIDs, both ways. Sleeps, takes the domain's lock.
    ///
    /// # Errors
    ///
    /// As the core says.
    pub fn enable_paths(&self, paths: &Paths) -> Result {
        let joined = self.join(paths);
        if joined != Err(ENOMEM) {
            return joined;
        }
        // Paths that were made while the cable was being pulled: the core took down what there was a
        // moment before, and takes nothing down at the end of a cable that is out. They keep our
        // HopIDs, which nobody else has, from us; the cable is in again, so now they can go.
        const ANY: i32 = -1;
        for (tx_hop, rx_hop) in [(paths.tx_hop, ANY), (ANY, paths.rx_hop)] {
            self.disable_paths(&Paths {
                tx_hop,
                tx_ring: ANY,
                rx_hop,
                rx_ring: ANY,
            })?;
        }
        self.join(paths)
    }

    fn join(&self, paths: &Paths) -> Result {
        // SAFETY: By the type's invariants.
        to_result(unsafe {
            compat::tb_xdomain_enable_paths(
                self.0,
                paths.tx_hop,
                paths.tx_ring,
                paths.rx_hop,
                paths.rx_ring,
            )
        })
    }

    /// Undoes it. Sleeps, takes the domain's lock unless the cable is out.
    pub fn disable_paths(&self, paths: &Paths) -> Result {
        // SAFETY: By the type's invariants.
        to_result(unsafe {
            compat::tb_xdomain_disable_paths(
                self.0,
                paths.tx_hop,
                paths.tx_ring,
                paths.rx_hop,
                paths.rx_ring,
            )
        })
    }
}

impl Drop for XDomain {
    fn drop(&mut self) {
        // SAFETY: By the type's invariants the reference is ours.
        unsafe { compat::tb_xdomain_put(self.0) };
    }
}

/// # Safety
///
/// `raw` is a UUID.
unsafe fn uuid(raw: *const compat::uuid_t) -> Uuid {
    // SAFETY: As our caller promises; any sixteen bytes are one.
    unsafe { raw.cast::<Uuid>().read_unaligned() }
}
