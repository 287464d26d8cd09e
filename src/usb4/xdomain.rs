// SPDX-License-Identifier: GPL-2.0-only

//! One end of a cable to another host, as the Thunderbolt core sees it: an XDomain.
//!
//! Wraps what the core offers for it: control messages, HopIDs, paths.

use core::cell::UnsafeCell;
use core::ffi::c_void;

use kernel::error::to_result;
use kernel::prelude::*;
use kernel::str::CStr;
use kernel::sync::atomic::{ordering, Atomic};

use super::rail::frame::envelope::{self, Envelope, Uuid};
use super::rail::frame::hello::Message;

/// How long to wait for an answer to a control message. Short: meanwhile the peer's own Login may have
/// begun a life, and answers need not come at all for that.
const TIMEOUT_MS: u32 = 250;

/// A reference to an XDomain.
///
/// # Invariants
///
/// The pointer is to an enumerated XDomain and holds a reference.
///
/// # Domain and host router
///
/// The reference keeps neither, nor does it that a service is bound: a domain that goes leaves its
/// XDomains and their services behind (7.2, 7.3), with pointers to memory that is free. So what needs
/// them is called only while they are sure to be there: **for a cable that is listed and not shut**.
///
/// - A cable is listed (`Service::list`) when its host router is not about to lose its driver, and its
///   domain has not gone: that marks its XDomains as unplugged first. Before that nothing here needs
///   the domain.
/// - A domain goes when its host router loses its driver. [`super::service`] is told before, by the
///   core, which waits until all cables that are listed below it are shut. Under the lock of the list
///   it is settled which is first, a new cable or this.
/// - A domain also goes when the machine shuts down, which nobody is told of. Before, the core calls
///   `shutdown` of each service, and that ends the rail; afterwards the cable says no more than "no" to
///   its peer, in the control worker, which the domain waits for. (A cable that the core finds in
///   between is in nobody's hands. The memory of the host router stays then: it keeps its driver.)
pub struct XDomain {
    raw: *mut compat::tb_xdomain,
    /// The last pair of HopIDs for which old paths were taken down.
    swept: Atomic<u32>,
    /// The last answer, spoiled when it was sent. The core sends a copy, but keeps the pointer until a
    /// work item of its own has run, and compares it meanwhile with answers that arrive, as if it were a
    /// question: one that comes too late for the question it belongs to would be taken for the answer to
    /// ours, and the work item be queued a second time and freed while it is (7.2, 7.3).
    answer: UnsafeCell<[u8; envelope::LEN]>,
}

// SAFETY: References belong to no thread, and the core locks.
unsafe impl Send for XDomain {}
// SAFETY: As above. Who may touch the answer says `answer`.
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
        Ok(Self {
            raw,
            swept: Atomic::new(0),
            answer: UnsafeCell::new([0; envelope::LEN]),
        })
    }

    /// The host router at our end.
    pub fn local(&self) -> Uuid {
        // SAFETY: By the type's invariants; set when it was made, for good.
        unsafe { uuid((*self.raw).local_uuid) }
    }

    /// The host router at the other end.
    pub fn remote(&self) -> Uuid {
        // SAFETY: By the type's invariants; set when it was enumerated, for good.
        unsafe { uuid((*self.raw).remote_uuid) }
    }

    /// Where the core finds it.
    pub fn route(&self) -> u64 {
        // SAFETY: By the type's invariants; it does not change.
        unsafe { (*self.raw).route }
    }

    /// Its name, as in sysfs.
    pub fn name(&self) -> &CStr {
        // SAFETY: By the type's invariants; the name lives as long as the device.
        unsafe { CStr::from_char_ptr(compat::usb4_rxe_xdomain_name(self.raw)) }
    }

    /// The host router. For a cable that is listed and not shut.
    pub fn nhi(&self) -> *mut compat::tb_nhi {
        // SAFETY: By the type's invariants; the domain is there, as the type says.
        unsafe { (*(*self.raw).tb).nhi }
    }

    /// The device that is our host router, a PCI device. For a cable that is listed and not shut.
    pub fn device(&self) -> *mut compat::device {
        // SAFETY: The host router is there, as the type says.
        unsafe { (*self.nhi()).dev.cast() }
    }

    /// Whether our host router is this device, and its domain not removed yet.
    ///
    /// # Safety
    ///
    /// The device stays during the call.
    pub unsafe fn is_below(&self, device: *mut compat::device) -> bool {
        // SAFETY: By the type's invariants; the domain is not looked into. The device stays, as our
        // caller promises.
        unsafe { compat::usb4_rxe_xdomain_is_below(self.raw, device) }
    }

    /// What we can send at, in Gb/s.
    pub fn speed(&self) -> u32 {
        // SAFETY: By the type's invariants.
        unsafe { compat::usb4_rxe_xdomain_speed(self.raw) }
    }

    /// Whether the cable is out, so that nobody hears us any more.
    pub fn is_unplugged(&self) -> bool {
        // SAFETY: By the type's invariants.
        unsafe { compat::usb4_rxe_xdomain_is_unplugged(self.raw) }
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
    /// For a cable that is listed and not shut.
    ///
    /// # Errors
    ///
    /// `ETIMEDOUT` if there is no answer, `EIO` if there is an odd one, or what the core says.
    pub fn ask(&self, number: u32, message: &Message) -> Result<Message> {
        let request = self.envelope(number, false, message).emit();
        let mut response = [0u8; envelope::LEN];
        // SAFETY: By the type's invariants; the domain is there, as the type says; both buffers are
        // valid during the call, which waits until the core has left them.
        to_result(unsafe {
            compat::tb_xdomain_request(
                self.raw,
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

    /// Answers a message. Does not wait. For a cable that is listed and not shut.
    ///
    /// # Safety
    ///
    /// Called by the protocol handler, and by one at a time.
    ///
    /// # Errors
    ///
    /// What the core says.
    pub unsafe fn answer(&self, number: u32, message: &Message) -> Result {
        // SAFETY: The domain is there, as the type says. The core sends a copy before it returns; that
        // is its contract, thunderbolt_net answers from its stack. Nobody else writes the answer now, as our
        // caller promises. What the core reads of it after that, until its work item has run, it reads in the
        // control worker of our domain. That is where we are, unless the peer of another host router writes
        // in the name of this one: then it may see half an answer, and does no more than compare. (It would
        // do so, too, with memory that is free, if the cable went within these microseconds: nothing of the
        // core's says when they are over.)
        unsafe {
            *self.answer.get() = self.envelope(number, true, message).emit();
            let sent = compat::tb_xdomain_response(
                self.raw,
                self.answer.get().cast::<c_void>(),
                envelope::LEN,
                compat::tb_cfg_pkg_type_TB_CFG_PKG_XDOMAIN_RESP,
            );
            // No route has all bits set.
            (*self.answer.get()).fill(0xff);
            to_result(sent)
        }
    }

    /// Takes a HopID to send on.
    pub fn take_tx_hop(&self) -> Result<i32> {
        // SAFETY: By the type's invariants.
        let hop = unsafe { compat::tb_xdomain_alloc_out_hopid(self.raw, -1) };
        to_result(hop)?;
        Ok(hop)
    }

    /// Gives it back.
    pub fn release_tx_hop(&self, hop: i32) {
        // SAFETY: By the type's invariants; `take_tx_hop` gave it.
        unsafe { compat::tb_xdomain_release_out_hopid(self.raw, hop) };
    }

    /// Takes the HopID that the peer sends on: exactly that one.
    ///
    /// # Errors
    ///
    /// `EINVAL` if there is no such HopID, `EBUSY` if it is taken.
    pub fn take_rx_hop(&self, hop: u16) -> Result<i32> {
        let wanted = i32::from(hop);
        // SAFETY: By the type's invariants.
        let taken = unsafe { compat::tb_xdomain_alloc_in_hopid(self.raw, wanted) };
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
        unsafe { compat::tb_xdomain_release_in_hopid(self.raw, hop) };
    }

    /// Joins rings and HopIDs, both ways. Sleeps, takes the domain's lock. For a cable that is listed
    /// and not shut.
    ///
    /// # Errors
    ///
    /// As the core says.
    pub fn enable_paths(&self, paths: &Paths) -> Result {
        let mut joined = self.join(paths);
        // HopIDs have 11 bits.
        let hops = (paths.tx_hop as u32) << 16 | paths.rx_hop as u32;
        if joined != Err(ENOMEM) || self.swept.xchg(hops, ordering::Relaxed) == hops {
            return joined;
        }
        // Paths that were made while the cable was being pulled: the core took down what there was a
        // moment before, and takes nothing down at the end of a cable that is out. They keep our
        // HopIDs, which nobody else has, from us; the cable is in again, so now they can go. One of
        // the two HopIDs may be enough to find them by.
        //
        // The core does not say whether such paths are what is in the way, nor whether it found any:
        // buffers that thunderbolt_net holds, or memory, are the same error. It counts each call as
        // the end of paths of this XDomain, which they never were, and only the connection manager in
        // firmware looks at the count. So it is called once for the same HopIDs, since nothing is left
        // behind as long as this cable is in, and no longer than they are missing.
        const ANY: i32 = -1;
        for (tx_hop, rx_hop) in [(paths.tx_hop, ANY), (ANY, paths.rx_hop)] {
            self.disable_paths(&Paths {
                tx_hop,
                tx_ring: ANY,
                rx_hop,
                rx_ring: ANY,
            })?;
            joined = self.join(paths);
            if joined != Err(ENOMEM) {
                break;
            }
        }
        joined
    }

    fn join(&self, paths: &Paths) -> Result {
        // SAFETY: By the type's invariants; the domain is there, as the type says.
        to_result(unsafe {
            compat::tb_xdomain_enable_paths(
                self.raw,
                paths.tx_hop,
                paths.tx_ring,
                paths.rx_hop,
                paths.rx_ring,
            )
        })
    }

    /// Undoes it. Sleeps, takes the domain's lock unless the cable is out. For a cable that is listed
    /// and not shut.
    pub fn disable_paths(&self, paths: &Paths) -> Result {
        // SAFETY: By the type's invariants; the domain is there, as the type says.
        to_result(unsafe {
            compat::tb_xdomain_disable_paths(
                self.raw,
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
        unsafe { compat::tb_xdomain_put(self.raw) };
    }
}

/// # Safety
///
/// `raw` is a UUID.
unsafe fn uuid(raw: *const compat::uuid_t) -> Uuid {
    // SAFETY: As our caller promises; any sixteen bytes are one.
    unsafe { raw.cast::<Uuid>().read_unaligned() }
}
