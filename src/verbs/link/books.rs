// SPDX-License-Identifier: GPL-2.0-only

//! The books: which devices there are, and how each stands.

use core::ptr::null_mut;

use kernel::error::to_result;
use kernel::prelude::*;
use kernel::sync::atomic::{ordering, Atomic};
use kernel::sync::{global_lock, new_mutex, Arc, Mutex};
use kernel::time::msecs_to_jiffies;
use kernel::workqueue::{impl_has_delayed_work, impl_has_work, new_delayed_work, new_work};
use kernel::workqueue::{DelayedWork, Queue, Work, WorkItem};

use super::core_device::{allocate, CoreDevice, Namespace};
use super::name::{is_pattern, name_of, numbered_as, Name, PREFIX};
use crate::usb4::netdev::Netdev;
use crate::verbs::device::Device;
use crate::verbs::lock::Rtnl;
use crate::verbs::work;

/// How long to wait before registering again what somebody else took away: `ib_unregister_driver`
/// goes on as long as it finds devices, new ones too.
const AGAIN_MS: u32 = 500;

/// How a device stands.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Stage {
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
pub struct Link {
    /// With a reference of its own, until it is taken out.
    pub ib: CoreDevice,
    pub device: Arc<Device>,
    pub stage: Stage,
    /// The work shall unregister it.
    pub is_due: bool,
}

/// The books.
#[pin_data]
pub struct Links {
    #[pin]
    pub list: Mutex<KVec<Link>>,
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
    pub unsafe(uninit) static LINKS: Mutex<Option<Arc<Links>>> = None;
}

/// The books, as long as the module is in use.
pub fn links() -> Result<Arc<Links>> {
    LINKS.lock().clone().ok_or(ENODEV)
}

impl Links {
    pub fn new() -> Result<Arc<Self>> {
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
    pub fn start_cleaning(self: &Arc<Self>) {
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
    pub fn with<R>(
        &self,
        ib: *mut compat::ib_device,
        act: impl FnOnce(&mut Link) -> R,
    ) -> Option<R> {
        let mut list = self.list.lock();
        list.iter_mut().find(|link| link.ib.is(ib)).map(act)
    }

    /// Makes and registers a device. Takes RTNL.
    pub fn register(&self, name: &Name, netdev: &Netdev) -> Result {
        let device = Device::new(netdev)?;
        // Until it is in the books nobody would tell it that its network device has moved on to another
        // namespace.
        let rtnl = Rtnl::lock();
        // The core does not hold it, and looks at it until the device is registered, or gone again.
        let namespace = Namespace::of(netdev, &rtnl)?;
        let ib = allocate(&device, netdev, &namespace)?;
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

    /// Makes and registers a device with a name of our own choice. It has the number of its network
    /// device, `usb4_rxe1` over `usb4eth1`: peers that come at the same time do not mix theirs up.
    /// Where that cannot be, as the name is taken or the network device was renamed, it has the first
    /// number that is free. Takes RTNL.
    pub fn register_automatic(&self, netdev: &Netdev) -> Result {
        if let Some(name) = numbered_as(netdev) {
            match self.register(&name, netdev) {
                // So the core says that a name is taken.
                Err(error) if error == ENFILE => {}
                registered => return registered,
            }
        }
        self.register(&name_of(&[PREFIX, b"%d"])?, netdev)
    }

    /// Unregisters what is due, then takes out what is over and registers again what was lost.
    pub fn clean_up(self: &Arc<Self>) {
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
            let registered = if is_pattern(&name) {
                self.register_automatic(&netdev)
            } else {
                self.register(&name, &netdev)
            };
            match registered {
                Ok(()) => pr_info!("the device is registered again\n"),
                Err(error) => pr_err!(
                    "the device could not be registered again ({error:?}): use rdma link add\n"
                ),
            }
        }
    }

    /// Unregisters every device, and waits for the end of all. Nobody adds new ones any more.
    pub fn close(self: &Arc<Self>) {
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

/// Waits until devices whose network device is gone are gone, too. Sleeps, takes RTNL.
pub fn settle() {
    if let Ok(links) = links() {
        links.clean_up();
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
