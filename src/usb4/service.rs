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
    cables: Mutex<KVec<Arc<Cable>>>,
    /// Runs of the protocol handler.
    #[pin]
    calls: Rundown,
    handler: Opaque<compat::tb_protocol_handler>,
    devices: Opaque<compat::notifier_block>,
}

// SAFETY: The core uses the two structures under locks of its own.
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
                cables <- new_mutex!(KVec::new(), "usb4_rxe cables"),
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
        cables.iter().find(|cable| which(cable)).cloned()
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
        let listed = self.cables.lock().push(cable.clone(), GFP_KERNEL);
        if let Err(error) = listed {
            cable.shut();
            return Err(error.into());
        }
        Ok(cable)
    }

    /// A number for the rail of a new cable: one that no other cable has, whoever it leads to. Beyond
    /// eight cables any will do: who finds it taken takes another.
    fn number(&self) -> RailId {
        let cables = self.cables.lock();
        let is_free = |id: &RailId| cables.iter().all(|cable| cable.number() != *id);
        RailId::all().find(is_free).unwrap_or_default()
    }

    fn remove(&self, cable: &Arc<Cable>) {
        // Messages find it until it is shut: what is not answered is asked again and again.
        cable.shut();
        let mut cables = self.cables.lock();
        let at = cables.iter().position(|other| Arc::ptr_eq(other, cable));
        if let Some(Ok(last)) = at.map(|at| cables.remove(at)) {
            drop(cables);
            drop(last);
        }
    }

    /// Takes a message. True: it is ours.
    fn handle(&self, bytes: &[u8]) -> bool {
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
                cable.hear(&envelope);
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
        // SAFETY: As above.
        unsafe { compat::tb_service_set_drvdata(raw, data.cast_mut().cast()) };
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
    service.handle(bytes).into()
}

/// `notifier_block.notifier_call`: events of PCI devices.
///
/// # Safety
///
/// As the core calls it.
unsafe extern "C" fn device_event(
    _block: *mut compat::notifier_block,
    event: c_ulong,
    device: *mut c_void,
) -> c_int {
    // Events are small numbers.
    let is_end = matches!(
        event as compat::bus_notifier_event,
        compat::bus_notifier_event_BUS_NOTIFY_UNBIND_DRIVER
            | compat::bus_notifier_event_BUS_NOTIFY_DEL_DEVICE
    );
    let device: *mut compat::device = device.cast();
    // SAFETY: The core hands in a device that stays during the call.
    if is_end && unsafe { compat::usb4_rxe_is_host_router(device) } {
        if let Some(service) = service() {
            while let Some(cable) = service.find(|cable| cable.is_below(device)) {
                cable.shut();
            }
        }
        peers::parent_gone(device);
    }
    // A small constant.
    compat::NOTIFY_DONE as c_int
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

/// We are told of devices that go.
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
