// SPDX-License-Identifier: GPL-2.0-only

//! The RDMA device: what all of its objects share.
//!
//! ```text
//!   ib_device (the core's) --> Arc<Device>: tables, keys, groups, loop-back, schedule, counters
//!                                  |
//!                                  '--> network device, until that is unregistered
//! ```
//!
//! [`super::link`] makes devices and lets them go; [`super::ops`] tells the core which verb is where.

use kernel::prelude::*;
use kernel::sync::atomic::{ordering, Atomic};
use kernel::sync::{Arc, ArcBorrow};
use kernel::workqueue::{impl_has_work, new_work, Work};

use super::ah::Handles;
use super::gids::Addresses;
use super::keys::Keys;
use super::lock::{new_irq_lock, Bh, IrqLock};
use super::loopback::Loopback;
use super::mcast::Groups;
use super::numbers::Numbers;
use super::object::{Inner, Object};
use super::qp::Qp;
use super::quota::Quota;
use super::schedule::Schedule;
use super::stats::Counters;
use super::table::{self, Table};
use super::work;
use crate::rxe::events::{Counter, Event};
use crate::rxe::mtu::Mtu;
use crate::rxe::qp::Attr;
use crate::rxe::wire::{Headers, PacketRepr};
use crate::usb4::netdev::Netdev;
use crate::usb4::wire::Wire;

pub use super::limits;

/// Bytes of a packet that are not payload, at most: IPv6, UDP, BTH, the longest extension headers,
/// ICRC.
const OVERHEAD: u32 = 40 + 8 + 12 + 28 + 4;

/// Numbers of shared receive queues begin here, as upstream's do.
const LOWEST_SRQ: u32 = 0x2_0001;

/// A device.
#[pin_data]
pub struct Device {
    /// Queue pairs by number.
    #[pin]
    pub qps: Table<Qp>,
    /// How many there may be.
    pub qp_quota: Quota,
    /// How many completion queues there may be.
    pub cq_quota: Quota,
    /// Memory regions and windows by key.
    #[pin]
    pub keys: Keys,
    /// Address handles by number.
    #[pin]
    pub ahs: Handles,
    /// Multicast groups.
    #[pin]
    pub groups: Groups,
    /// Numbers of protection domains.
    #[pin]
    pub pd_numbers: Numbers,
    /// Numbers of shared receive queues.
    #[pin]
    pub srq_numbers: Numbers,
    /// Our own IP addresses.
    #[pin]
    pub addresses: Addresses,
    /// The way to this host.
    #[pin]
    pub loopback: Loopback,
    /// The way to the peer.
    wire: Option<Arc<Wire>>,
    /// Work left over.
    #[pin]
    pub schedule: Schedule,
    /// What `rdma statistic` shows.
    pub counters: Counters,
    /// The port's work, see [`super::deliver`].
    #[pin]
    work: Work<Device>,
    /// Until it is unregistered.
    #[pin]
    netdev: IrqLock<Option<Netdev>>,
    /// Its address, as the low bytes of a number.
    mac: Atomic<u64>,
    /// Path MTU of the port, coded as verbs do.
    mtu: Atomic<u32>,
    /// Whether the port was active when we looked last.
    active: Atomic<bool>,
}

impl_has_work! {
    impl HasWork<Self> for Device { self.work }
}

impl Inner for Device {
    type Base = compat::ib_device;
}

impl Device {
    /// A device over a network device.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub fn new(netdev: &Netdev) -> Result<Arc<Self>> {
        let loopback = Loopback::new()?;
        let counters = Counters::new()?;
        let (held, wire) = (netdev.clone(), netdev.wire());
        let device = Arc::pin_init(
            try_pin_init!(Self {
                qps <- Table::new(),
                qp_quota: Quota::new(limits::QP),
                cq_quota: Quota::new(limits::OBJECTS),
                keys <- Keys::new(),
                ahs <- Handles::new(),
                groups <- Groups::new(),
                pd_numbers <- Numbers::new(1, limits::OBJECTS as usize),
                srq_numbers <- Numbers::new(LOWEST_SRQ, limits::SRQ as usize),
                addresses <- Addresses::new(),
                loopback <- loopback,
                wire,
                schedule <- Schedule::new(),
                counters,
                work <- new_work!("usb4_rxe port"),
                netdev <- new_irq_lock!(Some(held), "usb4_rxe network device"),
                mac: Atomic::new(0),
                mtu: Atomic::new(0),
                active: Atomic::new(false),
            }),
            GFP_KERNEL,
        )?;
        device.look(netdev);
        Ok(device)
    }

    /// What stands behind a device of ours.
    ///
    /// # Safety
    ///
    /// `ib` was made by [`super::link`] and is not deallocated during `'a`.
    #[inline]
    pub unsafe fn from_ib<'a>(ib: *mut compat::ib_device) -> ArcBorrow<'a, Self> {
        // SAFETY: As our caller promises.
        unsafe { Object::<compat::ib_device, Self>::get(ib) }
    }

    /// The network device, unless it is gone.
    pub fn netdev(&self) -> Option<Netdev> {
        self.netdev.lock().clone()
    }

    /// Whether this is the network device.
    pub fn is_over(&self, netdev: *mut compat::net_device) -> bool {
        let ours = self.netdev.lock();
        ours.as_ref().is_some_and(|ours| ours.raw() == netdev)
    }

    /// Lets go of the network device: it is being unregistered.
    pub fn forget_netdev(&self) {
        let held = self.netdev.lock().take();
        drop(held);
    }

    /// Takes over address and MTU of the network device.
    pub fn look(&self, netdev: &Netdev) {
        let mac = mac_number(netdev.address());
        self.mac.store(mac, ordering::Relaxed);
        let payload = netdev.mtu().saturating_sub(OVERHEAD);
        let mut sizes = Mtu::ALL.into_iter().rev();
        let mtu = sizes
            .find(|mtu| mtu.bytes() <= payload)
            .unwrap_or(Mtu::M256);
        self.mtu.store(mtu.code().into(), ordering::Relaxed);
    }

    /// Counts how often the port goes down. Call it when it may have gone up or down.
    pub fn note_state(&self, netdev: &Netdev) {
        let active = netdev.port_state() == compat::ib_port_state_IB_PORT_ACTIVE;
        let was_active = self.active.xchg(active, ordering::Relaxed);
        if was_active && !active {
            self.counters.add(&Bh::disable(), Counter::LinkDowned, 1);
        }
    }

    /// The largest path MTU.
    pub fn mtu(&self) -> Mtu {
        let code = self.mtu.load(ordering::Relaxed);
        // Only codes are stored.
        let code = u8::try_from(code).unwrap_or_default();
        Mtu::from_code(code).unwrap_or(Mtu::M256)
    }

    /// Our link-layer address.
    pub fn mac(&self) -> [u8; 6] {
        let [_, _, a, b, c, d, e, f] = self.mac.load(ordering::Relaxed).to_be_bytes();
        [a, b, c, d, e, f]
    }

    /// Whether a packet is for this host: its own address, or a group's.
    #[inline]
    pub fn is_for_us(&self, packet: &PacketRepr) -> bool {
        let to = packet.ethernet.dst.0;
        let is_group = to[0] & 1 != 0;
        is_group || mac_number(to) == self.mac.load(ordering::Relaxed)
    }

    /// Whether a queue pair is connected to one of this host.
    pub fn is_local(&self, attr: &Attr) -> bool {
        let mac = self.mac.load(ordering::Relaxed);
        let path = attr.path.as_ref();
        path.is_some_and(|path| mac_number(path.ethernet.dst.0) == mac)
    }

    /// Whether a packet is for a group.
    #[inline]
    pub fn is_group(&self, packet: &PacketRepr) -> bool {
        packet.ethernet.dst.0[0] & 1 != 0
    }

    /// Whether a received packet is for this device: by its link address and its IP address. What
    /// is only ours to forward has our link address alone.
    #[inline]
    pub fn takes(&self, bh: &Bh, headers: &Headers) -> bool {
        let packet = &headers.repr;
        self.is_group(packet)
            || self.is_for_us(packet) && self.addresses.contains(bh, &packet.ip.dst_gid())
    }

    /// The rails to the peer, if there is one.
    #[inline]
    pub fn wire(&self) -> Option<&Arc<Wire>> {
        self.wire.as_ref()
    }

    /// Whether who found no room may find some now; if not, there will be a word.
    pub fn may_have_room(&self) -> bool {
        // Without a rail nobody waits for the wire, and nobody would say that it has room.
        let on_wire = |wire: &Arc<Wire>| !wire.is_up() || wire.may_have_room();
        self.wire.as_ref().is_none_or(on_wire) && self.loopback.has_room()
    }

    /// Counts an event of the engine.
    #[inline]
    pub fn count(&self, bh: &Bh, event: Event) {
        self.counters.count(bh, event);
    }

    /// Ends the port's work. All queue pairs are gone, and no wire knows the device any more. Sleeps.
    pub fn settle(this: &Arc<Self>) {
        // A pass of the wire's may have found it just before.
        table::wait_for_readers();
        work::cancel(this);
        // What was cancelled would have dropped them: each keeps the device.
        this.schedule.room();
        while this.schedule.next().is_some() {}
    }
}

/// The bytes of an address as a number.
#[inline]
fn mac_number(mac: [u8; 6]) -> u64 {
    let [a, b, c, d, e, f] = mac;
    u64::from_be_bytes([0, 0, a, b, c, d, e, f])
}
