// SPDX-License-Identifier: GPL-2.0-only

//! How devices come and go: `rdma link add` and `delete`, the life of the network device, the
//! module's exit, and upstream rdma_rxe's.
//!
//! ```text
//!   rdma link add      --> newlink --> register: in the books, then known to the core     Up
//!   a peer is new      --> add_automatic ----^
//!   rdma link delete   --> dellink, then the core unregisters ---.                        Ending
//!   network device gone --> notifier --> work unregisters -------+--> dealloc_driver      Ended
//!   module exit        --> Links::close unregisters -------------'        |
//!   rmmod rdma_rxe     --> the core unregisters all of its driver id -----'               Lost
//!                                                                         |
//!   work: takes what has Ended out of the books; registers again what was Lost
//! ```
//!
//! # Locks
//!
//! The books are locked under RTNL (by the notifier), so nobody takes RTNL with them locked, and
//! nobody registers or unregisters then: that takes RTNL.
//!
//! # Why the books keep a reference to each core device
//!
//! `dealloc_driver` is our last code that runs for a device, and others may run it: whoever unloads
//! the module has to wait for its end. The core's registration lock is held around it, so calling
//! `ib_unregister_device` once more waits, and does nothing else.

use core::ptr::null_mut;

use kernel::error::to_result;
use kernel::ffi;
use kernel::prelude::*;
use kernel::str::{as_char_ptr_in_const_context, CStrExt};
use kernel::sync::atomic::{ordering, Atomic};
use kernel::sync::{global_lock, new_mutex, Arc, Mutex};
use kernel::time::msecs_to_jiffies;
use kernel::types::{Opaque, ScopeGuard};
use kernel::workqueue::{impl_has_delayed_work, impl_has_work, new_delayed_work, new_work};
use kernel::workqueue::{DelayedWork, Queue, Work, WorkItem};

use super::device::Device;
use super::lock::Rtnl;
use super::object::Object;
use super::ops::OPS;
use super::{errno, odp, work, zeroed};
use crate::usb4::netdev::{self, Netdev};

const NAME_BYTES: usize = compat::IB_DEVICE_NAME_MAX as usize;

/// How long to wait before registering again what somebody else took away: `ib_unregister_driver`
/// goes on as long as it finds devices, new ones too.
const AGAIN_MS: u32 = 500;

/// A name, as the core wants it: ends with a zero.
type Name = [ffi::c_char; NAME_BYTES];

/// What devices that come without a command are called, with a number behind.
const PREFIX: &[u8] = b"usb4_rxe";

/// How a device stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// In the books, and registered or about to be.
    Up,
    /// One of us wants it unregistered.
    Ending,
    /// Unregistered, as we wanted.
    Ended,
    /// Unregistered by somebody else: to be registered again.
    Lost,
}

/// One device in the books.
struct Link {
    /// With a reference of its own, until it is taken out.
    ib: CoreDevice,
    device: Arc<Device>,
    stage: Stage,
    /// The work shall unregister it.
    is_due: bool,
}

/// A reference to a device of the core's.
///
/// # Invariants
///
/// The pointer is to an `ib_device` and holds a reference.
struct CoreDevice(*mut compat::ib_device);

// SAFETY: References to the core's devices belong to no thread.
unsafe impl Send for CoreDevice {}

impl CoreDevice {
    /// Takes a reference.
    ///
    /// # Safety
    ///
    /// `ib` is a device of the core's, and somebody holds it.
    unsafe fn hold(ib: *mut compat::ib_device) -> Self {
        // SAFETY: As our caller promises.
        unsafe { compat::usb4_rxe_device_get(ib) };
        // INVARIANT: Taken just now.
        Self(ib)
    }

    /// Unregisters the device if it is registered; waits for whoever is about to. Sleeps, takes
    /// RTNL.
    fn unregister(&self) {
        // SAFETY: By the type's invariants the device is there. The call may be repeated: the core
        // looks, under its lock, whether there is anything left to do.
        unsafe { compat::ib_unregister_device(self.0) };
    }

    /// Tells users of the device when the port has gone up or down.
    fn pass_state(&self, netdev: &Netdev) {
        // SAFETY: By the type's invariants the device is there. While we have a use count it is
        // registered and stays so; the network device is held.
        unsafe {
            if compat::ib_device_try_get(self.0) {
                compat::ib_dispatch_port_state_event(self.0, netdev.raw());
                compat::ib_device_put(self.0);
            }
        }
    }

    /// The device's name now: an administrator may have changed it.
    fn name(&self) -> Name {
        // SAFETY: By the type's invariants the device is there. The core changes the name under a
        // lock that is not ours; renaming a device while it is unregistered fails.
        unsafe { (*self.0).name }
    }
}

impl Clone for CoreDevice {
    fn clone(&self) -> Self {
        // SAFETY: By the type's invariants `self` holds it.
        unsafe { Self::hold(self.0) }
    }
}

impl Drop for CoreDevice {
    fn drop(&mut self) {
        // SAFETY: By the type's invariants the reference is ours.
        unsafe { compat::usb4_rxe_device_put(self.0) };
    }
}

/// The books.
#[pin_data]
pub struct Links {
    #[pin]
    list: Mutex<KVec<Link>>,
    /// Only one cleans up at a time. Outside of RTNL and the list.
    #[pin]
    cleaning: Mutex<()>,
    #[pin]
    clean: Work<Links, 0>,
    #[pin]
    again: DelayedWork<Links, 1>,
    closing: Atomic<bool>,
}

impl_has_work! {
    impl HasWork<Self, 0> for Links { self.clean }
}
impl_has_delayed_work! {
    impl HasDelayedWork<Self, 1> for Links { self.again }
}

global_lock! {
    // SAFETY: Initialised by `Subsystem::register`, before anything that uses it is registered.
    unsafe(uninit) static LINKS: Mutex<Option<Arc<Links>>> = None;
}

/// The books, as long as the module is in use.
fn links() -> Result<Arc<Links>> {
    LINKS.lock().clone().ok_or(ENODEV)
}

impl Links {
    fn new() -> Result<Arc<Self>> {
        Arc::pin_init(
            pin_init!(Self {
                list <- new_mutex!(KVec::new(), "usb4_rxe links"),
                cleaning <- new_mutex!((), "usb4_rxe cleaning"),
                clean <- new_work!("usb4_rxe links"),
                again <- new_delayed_work!("usb4_rxe links again"),
                closing: Atomic::new(false),
            }),
            GFP_KERNEL,
        )
    }

    /// Has the work done, soon.
    fn start_cleaning(self: &Arc<Self>) {
        // Enqueued twice is enqueued once.
        let _ = queue().enqueue::<Arc<Self>, 0>(self.clone());
    }

    /// Enters a new device, unless its network device is gone or has one already. Under RTNL.
    fn enter(&self, link: Link, netdev: &Netdev) -> Result {
        let mut list = self.list.lock();
        let is_taken = list
            .iter()
            .any(|other| other.stage != Stage::Ended && other.device.is_over(netdev.raw()));
        if is_taken {
            return Err(EEXIST);
        }
        // RTNL is held: the notifier comes before, and then it is not registered any more, or after.
        if !netdev.is_registered() {
            return Err(ENODEV);
        }
        // What changed before now found no link in the books.
        link.device.look(netdev);
        list.push(link, GFP_KERNEL)?;
        Ok(())
    }

    /// The link of a device.
    fn with<R>(&self, ib: *mut compat::ib_device, act: impl FnOnce(&mut Link) -> R) -> Option<R> {
        let mut list = self.list.lock();
        list.iter_mut().find(|link| link.ib.0 == ib).map(act)
    }

    /// Makes and registers a device. Takes RTNL.
    fn register(&self, name: &Name, netdev: &Netdev) -> Result {
        let device = Device::new(netdev)?;
        // Until it is in the books nobody would tell it that its network device has moved on to another
        // namespace.
        let rtnl = Rtnl::lock();
        let ib = allocate(&device, netdev)?;
        // SAFETY: New, and held by us until it is deallocated below or by the core.
        let core = unsafe { CoreDevice::hold(ib) };
        let link = Link {
            ib: core.clone(),
            device: device.clone(),
            stage: Stage::Up,
            is_due: false,
        };
        let entered = self.enter(link, netdev);
        drop(rtnl);
        if let Err(error) = entered {
            // SAFETY: Not registered; nobody else knows it.
            unsafe { compat::ib_dealloc_device(ib) };
            return Err(error);
        }
        // Before anybody can take the device away again: that takes it out of the wire.
        if let Some(wire) = device.wire() {
            wire.set_device(device.clone());
        }
        // No DMA device: addresses of kernel users are virtual.
        // SAFETY: The device is complete, its name ends with a zero.
        let registered = unsafe { compat::ib_register_device(ib, name.as_ptr(), null_mut()) };
        let registered = to_result(registered);
        if registered.is_err() {
            self.with(ib, |link| link.stage = Stage::Ending);
            // SAFETY: Registration failed, so it is still ours to deallocate.
            unsafe { compat::ib_dealloc_device(ib) };
            return registered;
        }
        // While it was not registered yet there was nobody to tell, and nothing to unregister.
        let is_wanted = self.with(ib, |link| link.stage == Stage::Up);
        if is_wanted == Some(true) {
            device.note_state(netdev);
            core.pass_state(netdev);
        } else {
            core.unregister();
        }
        Ok(())
    }

    /// Unregisters what is due, then takes out what is over and registers again what was lost.
    fn clean_up(self: &Arc<Self>) {
        let _cleaning = self.cleaning.lock();
        while let Some(ib) = self.next_due() {
            ib.unregister();
        }
        let mut is_lost = false;
        self.take_out(|link| match link.stage {
            Stage::Up | Stage::Ending => false,
            Stage::Ended => true,
            Stage::Lost => {
                is_lost = true;
                false
            }
        });
        if is_lost && !self.closing.load(ordering::Acquire) {
            let delay = msecs_to_jiffies(AGAIN_MS);
            // Enqueued twice is enqueued once.
            let _ = queue().enqueue_delayed::<Arc<Self>, 1>(self.clone(), delay);
        }
    }

    fn next_due(&self) -> Option<CoreDevice> {
        let mut list = self.list.lock();
        let link = list.iter_mut().find(|link| link.is_due)?;
        link.is_due = false;
        Some(link.ib.clone())
    }

    /// Takes links out of the books, one by one, and waits for the end of their devices.
    fn take_out(&self, mut which: impl FnMut(&Link) -> bool) -> KVec<Link> {
        let mut taken = KVec::new();
        loop {
            let link = {
                let mut list = self.list.lock();
                let Some(at) = list.iter().position(&mut which) else {
                    return taken;
                };
                match list.remove(at) {
                    Ok(link) => link,
                    Err(_) => return taken,
                }
            };
            // `dealloc_driver` has been called; now it has also returned.
            link.ib.unregister();
            if link.stage == Stage::Lost {
                // Without memory to remember it the administrator has to add it again.
                let _ = taken.push(link, GFP_KERNEL);
            }
        }
    }

    /// Registers again what somebody else took away.
    fn register_lost(&self) {
        let _cleaning = self.cleaning.lock();
        for link in self.take_out(|link| link.stage == Stage::Lost) {
            if self.closing.load(ordering::Acquire) {
                return;
            }
            // Unless it is gone as well by now.
            let Some(netdev) = link.device.netdev() else {
                continue;
            };
            let name = link.ib.name();
            match self.register(&name, &netdev) {
                Ok(()) => pr_info!("the device is registered again\n"),
                Err(error) => pr_err!(
                    "the device could not be registered again ({error:?}): use rdma link add\n"
                ),
            }
        }
    }

    /// Unregisters every device, and waits for the end of all. Nobody adds new ones any more.
    fn close(self: &Arc<Self>) {
        self.closing.store(true, ordering::Release);
        {
            let _cleaning = self.cleaning.lock();
            for link in self.list.lock().iter_mut() {
                if link.stage == Stage::Up {
                    link.stage = Stage::Ending;
                }
                link.is_due = link.stage == Stage::Ending;
            }
        }
        self.clean_up();
        // Lost ones are over, too.
        self.take_out(|_| true);
        // Each end had the work done once more.
        work::cancel::<_, 0>(self);
        work::cancel_delayed::<_, 1>(self);
    }
}

/// Where unregistering may take its time.
fn queue() -> &'static Queue {
    // SAFETY: A work queue of the kernel's, made at boot, for good. The `kernel` crate of 7.2 has
    // only names that the kernel calls deprecated.
    unsafe { Queue::from_raw(compat::system_dfl_long_wq.cast()) }
}

impl WorkItem<0> for Links {
    type Pointer = Arc<Links>;

    fn run(this: Arc<Links>) {
        this.clean_up();
    }
}

impl WorkItem<1> for Links {
    type Pointer = Arc<Links>;

    fn run(this: Arc<Links>) {
        this.register_lost();
    }
}

/// Makes a device that the core does not know yet.
fn allocate(device: &Arc<Device>, netdev: &Netdev) -> Result<*mut compat::ib_device> {
    // SAFETY: `SIZE` leaves room for ours behind the core's part; the network device is held, and
    // with it its namespace.
    let ib = unsafe {
        let net = compat::dev_net(netdev.raw());
        compat::_ib_alloc_device(Object::<compat::ib_device, Device>::SIZE, net)
    };
    if ib.is_null() {
        return Err(ENOMEM);
    }
    // SAFETY: A new device that nobody else knows yet, of our size; the tables live as long as the
    // module, which waits for the end of the device.
    unsafe {
        Object::set(ib, device.clone());
        // The host router, or nothing. It outlives the network device, and that outlives us.
        (*ib).__bindgen_anon_1.dev.parent = compat::usb4_rxe_netdev_parent(netdev.raw());
        // A small constant.
        (*ib).node_type = compat::RDMA_NODE_IB_CA as u8;
        (*ib).phys_port_cnt = 1;
        // At most as many as the kernel was built for.
        (*ib).num_comp_vectors = compat::nr_cpu_ids as ffi::c_int;
        (*ib).node_guid = guid(device.mac());
        for (place, byte) in (*ib).node_desc.iter_mut().zip(b"usb4_rxe") {
            *place = *byte as ffi::c_char;
        }
        (*ib).uverbs_cmd_mask |= (1 << compat::ib_uverbs_write_cmds_IB_USER_VERBS_CMD_POST_SEND)
            | (1 << compat::ib_uverbs_write_cmds_IB_USER_VERBS_CMD_REQ_NOTIFY_CQ);
        compat::ib_set_device_ops(ib, &OPS.0);
        (*ib).ops.owner = compat::usb4_rxe_this_module();
        (*ib).link_ops = LINK_OPS.get();
        compat::ib_mark_name_assigned_by_user(ib);
    }
    Ok(ib)
}

/// A GUID from an address (modified EUI-64): as stable, and as unique.
fn guid(mac: [u8; 6]) -> u64 {
    let [a, b, c, d, e, f] = mac;
    u64::from_ne_bytes([a ^ 2, b, c, 0xff, 0xfe, d, e, f])
}

/// `ib_device_ops.dealloc_driver`: the device is unregistered, or never was. All its objects are
/// gone.
///
/// # Safety
///
/// As the core calls it.
pub unsafe extern "C" fn dealloc_driver(ib: *mut compat::ib_device) {
    // SAFETY: The device is ours, and nobody uses it any more.
    let device = unsafe { Object::<compat::ib_device, Device>::take(ib) };
    if let Some(wire) = device.wire() {
        wire.forget_device(&device);
    }
    Device::settle(&device);
    let Ok(links) = links() else { return };
    let stage = links.with(ib, |link| {
        link.stage = match link.stage {
            Stage::Up => Stage::Lost,
            Stage::Ending | Stage::Ended | Stage::Lost => Stage::Ended,
        };
        link.stage
    });
    match stage {
        Some(Stage::Lost) => pr_warn!(
            "another driver took our device away (rmmod rdma_rxe does that): it will be registered again\n"
        ),
        // Nobody may wait for a network device that only the books still hold.
        Some(_) => device.forget_netdev(),
        // It did not make it into the books.
        None => return,
    }
    // Taking it out waits for our return.
    links.start_cleaning();
}

/// How the core reaches us with links.
struct LinkOps(Opaque<compat::rdma_link_ops>);

// SAFETY: Only the core uses what is inside, under its own lock.
unsafe impl Sync for LinkOps {}

impl LinkOps {
    fn get(&self) -> *mut compat::rdma_link_ops {
        self.0.get()
    }
}

static LINK_OPS: LinkOps = LinkOps(Opaque::new(compat::rdma_link_ops {
    type_: as_char_ptr_in_const_context(c"usb4_rxe"),
    newlink: Some(newlink),
    dellink: Some(dellink),
    ..zeroed()
}));

/// `rdma_link_ops.newlink`
///
/// # Safety
///
/// As the core calls it.
unsafe extern "C" fn newlink(
    name: *const ffi::c_char,
    device: *mut compat::net_device,
) -> ffi::c_int {
    // SAFETY: The core hands in a string that ends with a zero.
    let name = unsafe { CStr::from_char_ptr(name) };
    // SAFETY: The core holds the network device during the call.
    let (netdev, is_ours) = unsafe { (Netdev::hold(device), netdev::is_ours(device)) };
    errno(add(name, &netdev, is_ours))
}

fn add(name: &CStr, netdev: &Netdev, is_ours: bool) -> Result {
    if !is_ours {
        pr_err!("rdma link add {name}: not a USB4 network device; name one that came with a cable ('ip link show' says usb4eth0 ...)\n");
        return Err(EINVAL);
    }
    let added = links()?.register(&name_of(&[name.to_bytes()])?, netdev);
    if added == Err(EEXIST) {
        pr_err!("rdma link add {name}: the network device has an RDMA device already\n");
    }
    added
}

/// Makes the device that comes without a command, unless there is one over this network device.
/// It has the number of its network device, `usb4_rxe1` over `usb4eth1`: peers that come at the same
/// time do not mix theirs up. Where that cannot be, as the name is taken or the network device was
/// renamed, it has the first number that is free. Takes RTNL.
///
/// # Errors
///
/// What the core says.
pub fn add_automatic(netdev: &Netdev) -> Result {
    let links = links()?;
    let mut added = match numbered_as(netdev) {
        Some(name) => links.register(&name, netdev),
        None => Err(ENFILE),
    };
    // So the core says that a name is taken.
    if added == Err(ENFILE) {
        added = links.register(&name_of(&[PREFIX, b"%d"])?, netdev);
    }
    match added {
        Err(error) if error == EEXIST => Ok(()),
        added => added,
    }
}

/// The name with the number that a network device has in its own, if that is still its first one.
fn numbered_as(netdev: &Netdev) -> Option<Name> {
    let rtnl = Rtnl::lock();
    let number = netdev.name(&rtnl).to_bytes().strip_prefix(b"usb4eth")?;
    if number.is_empty() || !number.iter().all(u8::is_ascii_digit) {
        return None;
    }
    name_of(&[PREFIX, number]).ok()
}

/// A name of these parts.
///
/// # Errors
///
/// `EINVAL`: too long.
fn name_of(parts: &[&[u8]]) -> Result<Name> {
    let mut name: Name = [0; NAME_BYTES];
    let bytes = parts.iter().copied().flatten();
    // The last byte stays zero.
    if bytes.clone().count() >= NAME_BYTES {
        return Err(EINVAL);
    }
    for (place, byte) in name.iter_mut().zip(bytes) {
        *place = *byte as ffi::c_char;
    }
    Ok(name)
}

/// Waits until devices whose network device is gone are gone, too. Sleeps, takes RTNL.
pub fn settle() {
    if let Ok(links) = links() {
        links.clean_up();
    }
}

/// `rdma_link_ops.dellink`: the core unregisters the device next. It does not expect us to fail.
///
/// # Safety
///
/// As the core calls it.
unsafe extern "C" fn dellink(ib: *mut compat::ib_device) -> ffi::c_int {
    if let Ok(links) = links() {
        links.with(ib, |link| {
            if link.stage == Stage::Up {
                link.stage = Stage::Ending;
            }
        });
    }
    0
}

/// `notifier_block.notifier_call`: events of network devices. RTNL is held.
///
/// # Safety
///
/// As the core calls it.
unsafe extern "C" fn netdev_event(
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

/// The device over a network device, if there is one.
pub fn device_over(netdev: *mut compat::net_device) -> Option<Arc<Device>> {
    let links = links().ok()?;
    let list = links.list.lock();
    let mut all = list.iter();
    let link = all.find(|link| link.stage != Stage::Ended && link.device.is_over(netdev))?;
    Some(link.device.clone())
}

/// Everything by which the rest of the kernel reaches us.
pub struct Subsystem {
    links: Arc<Links>,
    notifier: KBox<Opaque<compat::notifier_block>>,
    // The network devices go when all else has; then no device is left that fetches pages.
    _link_type: netdev::LinkType,
    _fetches: odp::Fetches,
}

// SAFETY: What is inside belongs to no thread.
unsafe impl Send for Subsystem {}
// SAFETY: Nothing can be done with a reference.
unsafe impl Sync for Subsystem {}

impl Subsystem {
    /// Registers everything.
    ///
    /// # Errors
    ///
    /// `ENOMEM`, or what the core says.
    pub fn register() -> Result<Self> {
        let fetches = odp::Fetches::new()?;
        let links = Links::new()?;
        // SAFETY: Once per load of the module, before the first use.
        unsafe { LINKS.init() };
        *LINKS.lock() = Some(links.clone());
        let forget = ScopeGuard::new(|| *LINKS.lock() = None);
        let notifier = KBox::new(
            Opaque::new(compat::notifier_block {
                notifier_call: Some(netdev_event),
                ..zeroed()
            }),
            GFP_KERNEL,
        )?;
        let link_type = netdev::LinkType::register()?;
        // SAFETY: Both structures stay where they are until `drop` has unregistered them.
        unsafe {
            to_result(compat::register_netdevice_notifier(notifier.get()))?;
            compat::rdma_link_register(LINK_OPS.get());
        }
        forget.dismiss();
        Ok(Self {
            links,
            notifier,
            _link_type: link_type,
            _fetches: fetches,
        })
    }
}

impl Drop for Subsystem {
    fn drop(&mut self) {
        // SAFETY: Registered by `register`. From now on there are no new devices.
        unsafe { compat::rdma_link_unregister(LINK_OPS.get()) };
        self.links.close();
        // SAFETY: Registered by `register`. It tells us once more that all network devices go.
        unsafe { compat::unregister_netdevice_notifier(self.notifier.get()) };
        *LINKS.lock() = None;
    }
}
