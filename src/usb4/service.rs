// SPDX-License-Identifier: GPL-2.0-only

//! How the Thunderbolt core finds us: our entry in the property directory, which peers read; the
//! driver of the services that peers offer; the handler of their control messages.
//!
//! ```text
//!   announce ─────> property directory ─ ─ ─ ─ > the peer's core: a service, probe there
//!   peer's entry ─> the core: a service ─ probe ─> Cable ─ resume: logs in
//!                                       ─ remove ─> Cable ─ shut: waits until all is down
//!   peer's message ─> the core's control worker ─ handle ─> the Cable it is for: hear
//! ```
//!
//! # Unloading
//!
//! The core does not wait for a handler that runs when it is unregistered, and it is called without
//! anything that keeps the module. So it counts its calls, `drop` waits until they are over, and then
//! for every task to have been off the CPU of its own accord: by then nobody is on the way in, and
//! nobody in the last instructions on the way out. For that the handler must not sleep outside of what
//! is counted, not even on a lock: it finds the service by a plain pointer.

use core::ptr::null_mut;

use kernel::error::to_result;
use kernel::ffi::{c_int, c_ulong, c_void};
use kernel::prelude::*;
use kernel::sync::{global_lock, new_mutex, Arc, ArcBorrow, Mutex};
use kernel::types::Opaque;

use super::cable::Cable;
use super::peers;
use super::rail::frame::envelope::{self, Envelope, Uuid};
use super::rail::id::RailId;
use super::xdomain::XDomain;
use crate::verbs::errno;
use crate::verbs::lock::Rundown;

/// Our entry in the property directory: 94374f7a-45ad-4923-8e3d-ffb149da81fa.
static DIRECTORY: Uuid = Uuid([
    0x94, 0x37, 0x4f, 0x7a, 0x45, 0xad, 0x49, 0x23, 0x8e, 0x3d, 0xff, 0xb1, 0x49, 0xda, 0x81, 0xfa,
]);

static PROTOCOL: Uuid = envelope::PROTOCOL;

static OPS: compat::usb4_rxe_service_ops = compat::usb4_rxe_service_ops {
    probe: Some(probe),
    remove: Some(remove),
    shutdown: Some(shutdown),
    suspend: Some(suspend),
    resume: Some(resume),
};

/// What callbacks need.
#[pin_data]
struct Service {
    /// Drawn when the module was loaded: peers see by it that we have forgotten everything.
    instance: u64,
    #[pin]
    cables: Mutex<Cables>,
    /// Runs of the protocol handler.
    #[pin]
    calls: Rundown,
    handler: Opaque<compat::tb_protocol_handler>,
    devices: Opaque<compat::notifier_block>,
}

/// The cables, and which may not come any more.
struct Cables {
    listed: KVec<Arc<Cable>>,
    /// Host routers that are about to lose their driver, null where there is none. Cables below them
    /// are found by the core until it is gone, and so must be refused; by then their XDomains say
    /// that they are unplugged.
    leaving: [*mut compat::device; MAX_LEAVING],
}

/// The most host routers that leave at the same moment. With so many no cable is taken at all; one more
/// would not be noted, and a cable below it that comes after the others have left would be taken.
const MAX_LEAVING: usize = 8;

impl Cables {
    /// No cable below this host router is taken any more.
    fn leave(&mut self, router: *mut compat::device) {
        if let Some(free) = self.leaving.iter_mut().find(|place| place.is_null()) {
            *free = router;
        }
    }

    /// Its driver is gone. What comes below it now is of another.
    fn left(&mut self, router: *mut compat::device) {
        for place in &mut self.leaving {
            if *place == router {
                *place = null_mut();
            }
        }
    }

    /// Whether the host router of a new cable stays, as long as this is locked.
    fn stays(&self, xdomain: &XDomain) -> bool {
        let mut leaving = self.leaving.iter().filter(|router| !router.is_null());
        let has_room = leaving.clone().count() < MAX_LEAVING;
        // SAFETY: Host routers are there between the two events, and for the second this is locked.
        let is_below = |router: &*mut _| unsafe { xdomain.is_below(*router) };
        // In this order: a domain says so before it is found below its host router no more.
        has_room && !leaving.any(is_below) && !xdomain.is_unplugged()
    }
}

// SAFETY: The core uses the two structures under locks of its own. Devices belong to no thread.
unsafe impl Send for Service {}
// SAFETY: As above.
unsafe impl Sync for Service {}

global_lock! {
    // SAFETY: Initialised by `Registration::new`, before anything that uses it is registered.
    unsafe(uninit) static SERVICE: Mutex<Option<Arc<Service>>> = None;
}

fn service() -> Option<Arc<Service>> {
    SERVICE.lock().clone()
}

impl Service {
    fn new() -> Result<Arc<Self>> {
        let mut instance = [0u8; 8];
        // SAFETY: The place is valid for its length.
        unsafe { compat::get_random_bytes(instance.as_mut_ptr().cast(), instance.len()) };
        Arc::pin_init(
            pin_init!(Self {
                instance: u64::from_ne_bytes(instance),
                cables <- new_mutex!(
                    Cables {
                        listed: KVec::new(),
                        leaving: [null_mut(); MAX_LEAVING],
                    },
                    "usb4_rxe cables"
                ),
                calls <- Rundown::new(),
                handler: Opaque::new(compat::tb_protocol_handler {
                    uuid: (&raw const PROTOCOL).cast(),
                    callback: Some(handle),
                    ..pin_init::zeroed()
                }),
                devices: Opaque::new(compat::notifier_block {
                    notifier_call: Some(device_event),
                    ..pin_init::zeroed()
                }),
            }),
            GFP_KERNEL,
        )
    }

    fn find(&self, which: impl Fn(&Cable) -> bool) -> Option<Arc<Cable>> {
        let cables = self.cables.lock();
        cables.listed.iter().find(|cable| which(cable)).cloned()
    }

    /// A new cable.
    fn add(&self, xdomain: XDomain) -> Result<Arc<Cable>> {
        let name = xdomain.name();
        if xdomain.local() == xdomain.remote() {
            if compat::may_log() {
                pr_warn!("{name}: both ends of this cable are in the same host router; not used\n");
            }
            return Err(ENODEV);
        }
        let cable = Cable::new(xdomain, self.instance, self.number())?;
        let listed = self.list(&cable);
        if listed.is_err() {
            cable.shut();
        }
        listed.map(|()| cable)
    }

    /// Lists a cable: from here on it is shut when its host router leaves.
    fn list(&self, cable: &Arc<Cable>) -> Result {
        let mut cables = self.cables.lock();
        if !cables.stays(&cable.xdomain) {
            return Err(ENODEV);
        }
        Ok(cables.listed.push(cable.clone(), GFP_KERNEL)?)
    }

    /// A number for the rail of a new cable: one that no other cable has, whoever it leads to. Beyond
    /// eight cables any will do: who finds it taken takes another.
    fn number(&self) -> RailId {
        let cables = self.cables.lock();
        let is_free = |id: &RailId| cables.listed.iter().all(|cable| cable.number() != *id);
        RailId::all().find(is_free).unwrap_or_default()
    }

    fn remove(&self, cable: &Arc<Cable>) {
        // Messages find it until it is shut: what is not answered is asked again and again.
        cable.shut();
        let mut cables = self.cables.lock();
        let mut listed = cables.listed.iter();
        let at = listed.position(|other| Arc::ptr_eq(other, cable));
        if let Some(Ok(last)) = at.map(|at| cables.listed.remove(at)) {
            drop(cables);
            drop(last);
        }
    }

    /// Takes a message. True: it is ours.
    ///
    /// # Safety
    ///
    /// Called by the protocol handler.
    unsafe fn handle(&self, bytes: &[u8]) -> bool {
        let Some(_call) = self.calls.enter() else {
            return false;
        };
        let Ok(envelope) = Envelope::parse(bytes) else {
            return false;
        };
        if envelope.is_answer {
            // The core brings it to who has asked.
            return false;
        }
        match self.find(|cable| cable.is_for_us(&envelope)) {
            Some(cable) => {
                // SAFETY: As our caller promises.
                unsafe { cable.hear(&envelope) };
                true
            }
            None => false,
        }
    }
}

/// The cable of a service.
///
/// # Safety
///
/// `raw` is bound to us.
unsafe fn cable_of<'a>(raw: *mut compat::tb_service) -> ArcBorrow<'a, Cable> {
    // SAFETY: `probe` put the pointer there, from `Arc::into_raw`; `remove` takes it back.
    unsafe { ArcBorrow::from_raw(compat::tb_service_get_drvdata(raw).cast()) }
}

/// A peer offers our service.
///
/// # Safety
///
/// As the core calls it.
unsafe extern "C" fn probe(raw: *mut compat::tb_service) -> c_int {
    // SAFETY: The service is being bound to us.
    let added = unsafe { XDomain::of(raw) }.and_then(|xdomain| {
        let cable = service().ok_or(ENODEV)?.add(xdomain)?;
        cable.resume();
        let data = Arc::into_raw(cable);
        // The core tells a peer of a new entry only if it knows the peer already. If we were loaded while it
        // was getting to know it, for seconds where lanes are bonded, the peer may have read the directory
        // without our entry, and would never read it again. Now it is known.
        // SAFETY: As above; no lock of the core's is held.
        unsafe {
            compat::tb_service_set_drvdata(raw, data.cast_mut().cast());
            compat::tb_service_properties_changed(raw);
        }
        Ok(())
    });
    errno(added)
}

/// The cable is out, the peer does not offer it any more, or we go.
///
/// # Safety
///
/// As the core calls it.
unsafe extern "C" fn remove(raw: *mut compat::tb_service) {
    // SAFETY: `probe` put the pointer there.
    let cable = unsafe { Arc::from_raw(compat::tb_service_get_drvdata(raw).cast::<Cable>()) };
    if let Some(service) = service() {
        service.remove(&cable);
    }
}

/// This host goes down.
///
/// # Safety
///
/// As the core calls it.
unsafe extern "C" fn shutdown(raw: *mut compat::tb_service) {
    // SAFETY: The service is bound to us.
    let cable: Arc<Cable> = unsafe { cable_of(raw) }.into();
    cable.pause();
}

/// This host goes to sleep.
///
/// # Safety
///
/// As the core calls it.
unsafe extern "C" fn suspend(raw: *mut compat::tb_service) {
    // SAFETY: The service is bound to us.
    let cable: Arc<Cable> = unsafe { cable_of(raw) }.into();
    cable.sleep();
}

/// It wakes up.
///
/// # Safety
///
/// As the core calls it.
unsafe extern "C" fn resume(raw: *mut compat::tb_service) {
    // SAFETY: The service is bound to us.
    let cable: Arc<Cable> = unsafe { cable_of(raw) }.into();
    cable.resume();
}

/// `tb_protocol_handler.callback`: a control message with our UUID, in the control worker.
///
/// # Safety
///
/// As the core calls it, with the `data` of a registered [`Handler`].
unsafe extern "C" fn handle(bytes: *const c_void, size: usize, data: *mut c_void) -> c_int {
    // SAFETY: The service that the handler holds, until it has waited for this call.
    let service = unsafe { &*data.cast_const().cast::<Service>() };
    // SAFETY: The core hands in so many bytes, which nobody changes during the call.
    let bytes = unsafe { core::slice::from_raw_parts(bytes.cast::<u8>(), size) };
    // SAFETY: This is the protocol handler.
    unsafe { service.handle(bytes) }.into()
}

/// `notifier_block.notifier_call`: events of PCI devices and their drivers.
///
/// # Safety
///
/// As the core calls it.
unsafe extern "C" fn device_event(
    _block: *mut compat::notifier_block,
    event: c_ulong,
    device: *mut c_void,
) -> c_int {
    let device: *mut compat::device = device.cast();
    // Events are small numbers. Between these two the core holds the device's lock; the second comes
    // whatever happens in between, and also when a device goes for good.
    match event as compat::bus_notifier_event {
        compat::bus_notifier_event_BUS_NOTIFY_UNBIND_DRIVER => {
            // SAFETY: The core hands in a device that stays during the call, and until the event below.
            unsafe { leave(device) };
        }
        compat::bus_notifier_event_BUS_NOTIFY_UNBOUND_DRIVER => {
            if let Some(service) = service() {
                service.cables.lock().left(device);
            }
        }
        _ => {}
    }
    // A small constant.
    compat::NOTIFY_DONE as c_int
}

/// A device is about to lose its driver. If it is a host router, all that hangs below it goes first.
///
/// # Safety
///
/// `device` stays until its driver is gone.
unsafe fn leave(device: *mut compat::device) {
    // SAFETY: As our caller promises.
    if !unsafe { compat::usb4_rxe_is_host_router(device) } {
        return;
    }
    if let Some(service) = service() {
        service.cables.lock().leave(device);
        // SAFETY: As our caller promises.
        let is_below = |cable: &Cable| unsafe { cable.xdomain.is_below(device) };
        while let Some(cable) = service.find(is_below) {
            service.remove(&cable);
        }
    }
    peers::parent_gone(device);
}

/// The core knows us while this lives. Undone in this order.
pub struct Registration {
    _driver: Driver,
    _entry: Entry,
    _handler: Handler,
    _devices: Devices,
    _service: Known,
}

impl Registration {
    /// Registers everything. Once per load of the module. Cables may come before this returns.
    ///
    /// # Errors
    ///
    /// `ENOMEM`, or what the core says.
    pub fn new() -> Result<Self> {
        let service = Service::new()?;
        // SAFETY: Once per load of the module, before the first use.
        unsafe { SERVICE.init() };
        *SERVICE.lock() = Some(service.clone());
        let known = Known;
        let devices = Devices::new(service.clone())?;
        let handler = Handler::new(service)?;
        Ok(Self {
            _driver: Driver::new()?,
            _entry: Entry::new()?,
            _handler: handler,
            _devices: devices,
            _service: known,
        })
    }
}

/// Callbacks find the service.
struct Known;

impl Drop for Known {
    fn drop(&mut self) {
        let service = SERVICE.lock().take();
        drop(service);
    }
}

/// We are told of devices that lose their driver.
struct Devices(Arc<Service>);

impl Devices {
    fn new(service: Arc<Service>) -> Result<Self> {
        // SAFETY: The structure stays where it is until `drop`.
        to_result(unsafe { compat::usb4_rxe_watch_devices(service.devices.get()) })?;
        Ok(Self(service))
    }
}

impl Drop for Devices {
    fn drop(&mut self) {
        // SAFETY: Registered in `new`. The core waits for calls.
        unsafe { compat::usb4_rxe_unwatch_devices(self.0.devices.get()) };
    }
}

/// We get the peers' messages.
struct Handler(Arc<Service>);

impl Handler {
    fn new(service: Arc<Service>) -> Result<Self> {
        // SAFETY: The structure stays where it is until `drop`, and until then is nobody else's.
        to_result(unsafe {
            (*service.handler.get()).data = Arc::as_ptr(&service).cast_mut().cast();
            compat::tb_register_protocol_handler(service.handler.get())
        })?;
        Ok(Self(service))
    }
}

impl Drop for Handler {
    fn drop(&mut self) {
        // SAFETY: Registered in `new`.
        unsafe { compat::tb_unregister_protocol_handler(self.0.handler.get()) };
        self.0.calls.close();
        // SAFETY: We may sleep.
        unsafe { compat::usb4_rxe_synchronize_tasks() };
    }
}

/// Services of peers are ours.
struct Driver;

impl Driver {
    fn new() -> Result<Self> {
        // SAFETY: The table is copied.
        to_result(unsafe { compat::usb4_rxe_service_register(&OPS) })?;
        Ok(Self)
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        // SAFETY: Registered in `new`.
        unsafe { compat::usb4_rxe_service_unregister() };
    }
}

/// Peers see our service.
struct Entry;

impl Entry {
    fn new() -> Result<Self> {
        // SAFETY: The UUID is copied.
        to_result(unsafe { compat::usb4_rxe_service_announce((&raw const DIRECTORY).cast()) })?;
        Ok(Self)
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        // SAFETY: Announced in `new`.
        unsafe { compat::usb4_rxe_service_withdraw() };
    }
}
