// SPDX-License-Identifier: GPL-2.0-only

//! How devices come and go: `rdma link add` and `delete`, the life of the network device, the
//! module's exit, and upstream rdma_rxe's.
//!
//! ```text
//!   rdma link add      --> newlink --------> register: ib_device + Device, one Link in the books
//!   rdma link delete   --> dellink, the core --.
//!   network device gone --> notifier ----------+--> unregistered --> dealloc_driver: ended
//!   module exit        --> Links::close -------'
//!   rmmod rdma_rxe     --> the core unregisters every device of its driver id: ours, too.
//!                          dealloc_driver sees that nobody of us wanted it: register again
//! ```
//!
//! The books hold a reference to each core device, so that it can be waited for after its end: the
//! core's own lock is free only when `dealloc_driver` has returned.


use kernel::error::to_result;
use kernel::prelude::*;
use kernel::sync::atomic::{ordering, Atomic};
use kernel::sync::{global_lock, new_mutex, Arc, Mutex};
use kernel::types::Opaque;
use kernel::workqueue::{self, impl_has_work, new_work, Work, WorkItem};

use super::device::{Device, Netdev, OPS};
use super::object::Object;
use super::{errno, zeroed};
use crate::usb4::netdev;

const NAME_BYTES: usize = compat::IB_DEVICE_NAME_MAX as usize;

/// How a device stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Registered.
    Up,
    /// One of us is about to unregister it.
    Ending,
    /// Unregistered, as we wanted.
    Ended,
    /// Unregistered by somebody else: to be registered again.
    Lost,
}

/// One device in the books.
struct Link {
    /// With a reference of its own, until it is swept out.
    ib: *mut compat::ib_device,
    name: [u8; NAME_BYTES],
    /// Held while the link is not ended.
    netdev: Option<Netdev>,
    /// To compare with, after it is let go.
    netdev_at: *mut compat::net_device,
    stage: Stage,
}

// SAFETY: The pointers are references to objects that belong to no thread, or only compared.
unsafe impl Send for Link {}

/// The books.
#[pin_data]
pub struct Links {
    #[pin]
    list: Mutex<KVec<Link>>,
    #[pin]
    work: Work<Links>,
    closing: Atomic<bool>,
}

impl_has_work! {
    impl HasWork<Self> for Links { self.work }
}

global_lock! {
    // SAFETY: Initialised by `Subsystem::register`, before anything that uses it is registered.
    unsafe(uninit) static LINKS: Mutex<Option<Arc<Links>>> = None;
}

fn links() -> Result<Arc<Links>> {
    LINKS.lock().clone().ok_or(ENODEV)
}

/// Makes and registers a device. Its link is in the books as soon as the core may call back.
///
/// # Safety
///
/// `device` is a network device that is held during the call.
unsafe fn register(
    links: &Links,
    name: &[u8; NAME_BYTES],
    device: *mut compat::net_device,
) -> Result {
    // SAFETY: As our caller promises.
    let ours = unsafe { Device::new(Netdev::hold(device))? };
    let mac = ours.mac();
    // SAFETY: `SIZE` leaves room for ours behind the core's part.
    let ib = unsafe {
        compat::_ib_alloc_device(
            Object::<compat::ib_device, Device>::SIZE,
            compat::dev_net(device),
        )
    };
    if ib.is_null() {
        return Err(ENOMEM);
    }
    // SAFETY: A new device that nobody else knows yet, of our size; the tables are statics.
    unsafe {
        Object::set(ib, ours);
        (*ib).node_type = compat::RDMA_NODE_IB_CA as u8;
        (*ib).phys_port_cnt = 1;
        (*ib).num_comp_vectors = compat::usb4_rxe_cpus() as _;
        (*ib).node_guid = eui64(mac);
        for (place, byte) in (*ib).node_desc.iter_mut().zip(b"usb4_rxe") {
            *place = *byte as _;
        }
        (*ib).uverbs_cmd_mask |= (1 << compat::ib_uverbs_write_cmds_IB_USER_VERBS_CMD_POST_SEND)
            | (1 << compat::ib_uverbs_write_cmds_IB_USER_VERBS_CMD_REQ_NOTIFY_CQ);
        compat::ib_set_device_ops(ib, &OPS.0);
        (*ib).ops.owner = crate::THIS_MODULE.as_ptr().cast();
        compat::usb4_rxe_device_get(ib);
    }
    let entry = Link {
        ib,
        name: *name,
        // SAFETY: As our caller promises.
        netdev: Some(unsafe { Netdev::hold(device) }),
        netdev_at: device,
        stage: Stage::Up,
    };
    if let Err(error) = links.list.lock().push(entry, GFP_KERNEL) {
        // SAFETY: Not registered; both references are ours.
        unsafe {
            compat::usb4_rxe_device_put(ib);
            compat::ib_dealloc_device(ib);
        }
        return Err(error.into());
    }
    // SAFETY: The device is complete, its name a C string. A null DMA device: addresses of kernel
    // users are virtual.
    let registered = to_result(unsafe {
        compat::ib_register_device(ib, name.as_ptr().cast(), core::ptr::null_mut())
    });
    if registered.is_err() {
        links.mark(ib, Stage::Ending);
        // SAFETY: Registration failed, so the device is still ours to deallocate.
        unsafe { compat::ib_dealloc_device(ib) };
    }
    registered
}

/// A GUID from an address (modified EUI-64): stable, and unique as the address is.
fn eui64(mac: [u8; 6]) -> u64 {
    let [a, b, c, d, e, f] = mac;
    u64::from_ne_bytes([a ^ 2, b, c, 0xff, 0xfe, d, e, f])
}

impl Links {
    fn mark(&self, ib: *mut compat::ib_device, stage: Stage) {
        let mut list = self.list.lock();
        if let Some(link) = list.iter_mut().find(|link| link.ib == ib) {
            link.stage = stage;
        }
    }

    /// Takes one link out that is over.
    fn take_over(&self) -> Option<Link> {
        let mut list = self.list.lock();
        let at = list
            .iter()
            .position(|link| matches!(link.stage, Stage::Ended | Stage::Lost))?;
        list.remove(at).ok()
    }

    /// Waits for devices that are over, and registers again what others took away. Sleeps.
    fn sweep(&self) {
        while let Some(link) = self.take_over() {
            // SAFETY: The books' reference keeps the core's device. It is unregistered already, or
            // is right now by somebody else: this waits for the end of that, then does nothing.
            unsafe {
                compat::ib_unregister_device(link.ib);
                compat::usb4_rxe_device_put(link.ib);
            }
            let again = link.stage == Stage::Lost && !self.closing.load(ordering::Acquire);
            let Some(netdev) = link.netdev.filter(|_| again) else {
                continue;
            };
            // SAFETY: Held.
            match unsafe { register(self, &link.name, netdev.raw()) } {
                Ok(()) => pr_info!("registered again after another driver took the device away\n"),
                Err(error) => pr_err!(
                    "could not register again after another driver took the device away: {:?}; use rdma link add\n",
                    error
                ),
            }
        }
    }

    /// Unregisters every device, and waits. Sleeps.
    fn close(&self) {
        self.closing.store(true, ordering::Release);
        loop {
            let ib = {
                let mut list = self.list.lock();
                let Some(link) = list.iter_mut().find(|link| {
                    matches!(link.stage, Stage::Up | Stage::Ending)
                }) else {
                    break;
                };
                link.stage = Stage::Ending;
                link.ib
            };
            // SAFETY: The books' reference keeps the core's device; only `sweep` takes it out, after
            // its end, and `ib_unregister_device` may be called again then.
            unsafe { compat::ib_unregister_device(ib) };
        }
        self.sweep();
    }
}

impl WorkItem for Links {
    type Pointer = Arc<Links>;

    fn run(this: Arc<Links>) {
        this.sweep();
    }
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
    device.settle();
    drop(device);
    let Ok(links) = links() else { return };
    let lost = {
        let mut list = links.list.lock();
        let Some(link) = list.iter_mut().find(|link| link.ib == ib) else {
            return;
        };
        link.stage = match link.stage {
            Stage::Up => Stage::Lost,
            Stage::Ending | Stage::Ended | Stage::Lost => Stage::Ended,
        };
        if link.stage == Stage::Ended {
            link.netdev = None;
        }
        link.stage == Stage::Lost
    };
    if lost {
        pr_warn!("another driver unregistered the device (rmmod rdma_rxe does): registering it again\n");
    }
    // Waits for us, so it cannot be done here.
    let _ = workqueue::system().enqueue(links);
}

/// `rdma_link_ops.newlink`
unsafe extern "C" fn newlink(
    name: *const kernel::ffi::c_char,
    device: *mut compat::net_device,
) -> core::ffi::c_int {
    // SAFETY: The core holds the network device, and hands in a C string.
    errno(unsafe { add(CStr::from_char_ptr(name), device) })
}

/// # Safety
///
/// `device` is a network device that is held during the call.
unsafe fn add(name: &CStr, device: *mut compat::net_device) -> Result {
    // SAFETY: As our caller promises.
    if !unsafe { netdev::is_ours(device) } {
        pr_err!("rdma link add: not a USB4 network device; name a usb4ethN, or make one with: ip link add usb4eth0 type usb4eth\n");
        return Err(EINVAL);
    }
    let links = links()?;
    links.sweep();
    let taken = links
        .list
        .lock()
        .iter()
        .any(|link| link.netdev_at == device && matches!(link.stage, Stage::Up | Stage::Ending));
    if taken {
        pr_err!("rdma link add: the network device has an RDMA device already\n");
        return Err(EEXIST);
    }
    let mut bytes = [0u8; NAME_BYTES];
    let given = name.to_bytes_with_nul();
    bytes
        .get_mut(..given.len())
        .ok_or(EINVAL)?
        .copy_from_slice(given);
    // SAFETY: As our caller promises.
    unsafe { register(&links, &bytes, device) }
}

/// `rdma_link_ops.dellink`: the core unregisters the device next.
unsafe extern "C" fn dellink(ib: *mut compat::ib_device) -> core::ffi::c_int {
    errno(links().map(|links| links.mark(ib, Stage::Ending)))
}

/// Events of network devices.
unsafe extern "C" fn netdev_event(
    _block: *mut compat::notifier_block,
    event: kernel::ffi::c_ulong,
    info: *mut kernel::ffi::c_void,
) -> core::ffi::c_int {
    // SAFETY: The core hands in a network device that is held during the call.
    let (device, ours) = unsafe {
        let device = compat::netdev_notifier_info_to_dev(info.cast());
        (device, netdev::is_ours(device))
    };
    if ours {
        if let Ok(links) = links() {
            // SAFETY: As above.
            unsafe { pass_on(&links, device, event as u32) };
        }
    }
    compat::NOTIFY_DONE as _
}

/// # Safety
///
/// `device` is a network device of ours that is held during the call.
unsafe fn pass_on(links: &Links, device: *mut compat::net_device, event: u32) {
    let mut list = links.list.lock();
    let Some(link) = list
        .iter_mut()
        .find(|link| link.netdev_at == device && link.stage == Stage::Up)
    else {
        return;
    };
    let ib = link.ib;
    // SAFETY: While the stage is `Up` the device is not deallocated: that takes the lock of the list
    // first. So ours is behind it.
    let ours = unsafe { Device::from_ib(ib) };
    match event {
        compat::netdev_cmd_NETDEV_UNREGISTER => {
            link.stage = Stage::Ending;
            link.netdev = None;
            // Whoever asks from now on is told that there is none.
            ours.forget_netdev();
            // SAFETY: Registered, or being unregistered, which it notices. The core takes a
            // reference of its own.
            unsafe { compat::ib_unregister_device_queued(ib) };
        }
        compat::netdev_cmd_NETDEV_UP
        | compat::netdev_cmd_NETDEV_CHANGE
        | compat::netdev_cmd_NETDEV_DOWN => {
            // SAFETY: Both are valid.
            unsafe { compat::ib_dispatch_port_state_event(ib, device) };
        }
        compat::netdev_cmd_NETDEV_CHANGEMTU | compat::netdev_cmd_NETDEV_CHANGEADDR => {
            // SAFETY: The caller holds it.
            unsafe { ours.look(device) };
        }
        _ => {}
    }
}

/// Everything by which the rest of the kernel reaches us.
pub struct Subsystem {
    link_ops: KBox<Opaque<compat::rdma_link_ops>>,
    notifier: KBox<Opaque<compat::notifier_block>>,
    _link_type: netdev::LinkType,
    links: Arc<Links>,
}

// SAFETY: What is inside belongs to no thread.
unsafe impl Send for Subsystem {}
// SAFETY: Nothing can be done with a reference.
unsafe impl Sync for Subsystem {}

impl Subsystem {
    /// Registers everything.
    pub fn register() -> Result<Self> {
        let links = Arc::pin_init(
            pin_init!(Links {
                list <- new_mutex!(KVec::new(), "usb4_rxe links"),
                work <- new_work!("usb4_rxe links"),
                closing: Atomic::new(false),
            }),
            GFP_KERNEL,
        )?;
        // SAFETY: Once per load of the module, before the first use.
        unsafe { LINKS.init() };
        *LINKS.lock() = Some(links.clone());
        let notifier = KBox::new(
            Opaque::new(compat::notifier_block {
                notifier_call: Some(netdev_event),
                ..zeroed()
            }),
            GFP_KERNEL,
        )?;
        let link_ops = KBox::new(
            Opaque::new(compat::rdma_link_ops {
                type_: c"usb4_rxe".as_ptr().cast(),
                newlink: Some(newlink),
                dellink: Some(dellink),
                ..zeroed()
            }),
            GFP_KERNEL,
        )?;
        let link_type = netdev::LinkType::register()?;
        // SAFETY: Both structures stay where they are until `drop` has unregistered them.
        unsafe {
            to_result(compat::register_netdevice_notifier(notifier.get()))?;
            compat::rdma_link_register(link_ops.get());
        }
        Ok(Self {
            link_ops,
            notifier,
            _link_type: link_type,
            links,
        })
    }
}

impl Drop for Subsystem {
    fn drop(&mut self) {
        // No new devices, then none at all, then nothing that could tell of them.
        // SAFETY: All of it was registered by `register`.
        unsafe {
            compat::rdma_link_unregister(self.link_ops.get());
            self.links.close();
            compat::unregister_netdevice_notifier(self.notifier.get());
            kernel::bindings::cancel_work_sync(Work::raw_get(&raw const self.links.work));
        }
        *LINKS.lock() = None;
    }
}
