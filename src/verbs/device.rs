// SPDX-License-Identifier: GPL-2.0-only

//! The RDMA device: what is shared by all of its objects.
//!
//! ```text
//!   ib_device (the core's) --> Arc<Device>: tables, keys, groups, loop-back, schedule, counters
//!                                  |
//!                                  '--> network device, until it is unregistered
//! ```
//!
//! [`super::link`] makes devices and lets them go.

use core::mem::offset_of;

use kernel::prelude::*;
use kernel::sync::atomic::{ordering, Atomic};
use kernel::sync::{Arc, ArcBorrow};
use kernel::workqueue::{impl_has_work, new_work, Work};

use super::ah::Handles;
use super::keys::Keys;
use super::lock::{new_irq_lock, IrqLock};
use super::loopback::Loopback;
use super::mcast::Groups;
use super::numbers::Numbers;
use super::object::{Inner, Object};
use super::qp::Qp;
use super::schedule::Schedule;
use super::stats::Counters;
use super::table::Table;
use super::{ah, context, cq, mcast, mmap, mr, mw, pd, port, qp, srq, stats, zeroed, Shared};
use crate::rxe::events::Event;
use crate::rxe::mtu::Mtu;
use crate::rxe::wire::PacketRepr;

/// What the device offers. At least what upstream rxe does, or a program that runs there might not
/// run here.
pub mod limits {
    /// Objects of a kind of which there is no other limit.
    pub const OBJECTS: u32 = 1 << 20;
    /// Queue pairs.
    pub const QP: u32 = OBJECTS - 16;
    /// Entries of a send or receive queue.
    pub const QP_WR: u32 = 1 << 20;
    /// Pieces of a request.
    pub const SGE: u32 = 32;
    /// Inline bytes of a request.
    pub const INLINE_DATA: u32 = 512;
    /// Entries of a completion queue.
    pub const CQE: u32 = (1 << 15) - 1;
    /// Memory regions.
    pub const MR: u32 = (OBJECTS >> 1) - 1;
    /// Memory windows.
    pub const MW: u32 = (OBJECTS >> 1) - 1;
    /// Reads and atomics under way on a queue pair, either way.
    pub const RD_ATOMIC: u32 = 128;
    /// The same over all queue pairs: no limit of its own.
    pub const RESPONDER_RESOURCES: u32 = 0x3_f000;
    /// Multicast groups.
    pub const MCAST_GROUPS: u32 = 8192;
    /// Queue pairs in a group.
    pub const MCAST_ATTACH: u32 = 56;
    /// Queue pairs in all groups.
    pub const MCAST_TOTAL: u32 = 0x7_0000;
    /// Address handles.
    pub const AH: u32 = (1 << 15) - 1;
    /// Shared receive queues.
    pub const SRQ: u32 = OBJECTS - 0x2_0001;
    /// Entries of a shared receive queue.
    pub const SRQ_WR: u32 = 1 << 20;
    /// Pieces of its requests.
    pub const SRQ_SGE: u32 = 27;
    /// Pages of a fast-register region.
    pub const FAST_REGISTER_PAGES: u32 = 512;
    /// How long we may take to answer, as 4.096 us times two to the power of this.
    pub const ACK_DELAY: u8 = 15;

    /// What user space is told.
    pub const CAPABILITIES: u64 = (compat::ib_device_cap_flags_IB_DEVICE_BAD_PKEY_CNTR as u64)
        | (compat::ib_device_cap_flags_IB_DEVICE_BAD_QKEY_CNTR as u64)
        | (compat::ib_device_cap_flags_IB_DEVICE_UD_AV_PORT_ENFORCE as u64)
        | (compat::ib_device_cap_flags_IB_DEVICE_PORT_ACTIVE_EVENT as u64)
        | (compat::ib_device_cap_flags_IB_DEVICE_SYS_IMAGE_GUID as u64)
        | (compat::ib_device_cap_flags_IB_DEVICE_RC_RNR_NAK_GEN as u64)
        | (compat::ib_device_cap_flags_IB_DEVICE_SRQ_RESIZE as u64)
        | (compat::ib_device_cap_flags_IB_DEVICE_MEM_MGT_EXTENSIONS as u64)
        | (compat::ib_device_cap_flags_IB_DEVICE_MEM_WINDOW as u64)
        | (compat::ib_device_cap_flags_IB_DEVICE_MEM_WINDOW_TYPE_2B as u64)
        | (compat::ib_device_cap_flags_IB_DEVICE_FLUSH_GLOBAL as u64)
        | (compat::ib_device_cap_flags_IB_DEVICE_FLUSH_PERSISTENT as u64)
        | (compat::ib_device_cap_flags_IB_DEVICE_ATOMIC_WRITE as u64);
    /// What the core is told.
    pub const KERNEL_CAPABILITIES: u64 =
        compat::ib_kernel_cap_flags_IBK_ALLOW_USER_UNREG as u64;
}

/// Version of the user ABI (`RXE_UVERBS_ABI_VERSION`).
const ABI_VERSION: u32 = 2;

/// Bytes of a packet that are not payload, at most: IPv6, UDP, BTH, the longest extension headers,
/// ICRC.
const OVERHEAD: u32 = 40 + 8 + 12 + 28 + 4;

/// A network device, held.
pub struct Netdev(*mut compat::net_device);

// SAFETY: A reference to a network device belongs to no thread.
unsafe impl Send for Netdev {}
// SAFETY: As above.
unsafe impl Sync for Netdev {}

impl Netdev {
    /// Takes a reference.
    ///
    /// # Safety
    ///
    /// `raw` is a network device that is held by somebody during the call.
    pub unsafe fn hold(raw: *mut compat::net_device) -> Self {
        // SAFETY: As our caller promises.
        unsafe { compat::dev_hold(raw) };
        Self(raw)
    }

    /// The device, valid as long as `self`.
    pub fn raw(&self) -> *mut compat::net_device {
        self.0
    }

    /// The device, with the reference.
    pub fn into_raw(self) -> *mut compat::net_device {
        let raw = self.0;
        core::mem::forget(self);
        raw
    }
}

impl Drop for Netdev {
    fn drop(&mut self) {
        // SAFETY: The reference is ours.
        unsafe { compat::dev_put(self.0) };
    }
}

/// A device.
#[pin_data]
pub struct Device {
    /// Queue pairs by number.
    #[pin]
    pub qps: Table<Qp>,
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
    /// The way to this host.
    #[pin]
    pub loopback: Loopback,
    /// Work left over.
    #[pin]
    pub schedule: Schedule,
    /// What `rdma statistic` shows.
    pub counters: Counters,
    #[pin]
    work: Work<Device>,
    /// Until it is unregistered.
    #[pin]
    netdev: IrqLock<Option<Netdev>>,
    /// Its address, as the low bytes of a number.
    mac: Atomic<u64>,
    /// Path MTU of the port, coded as verbs do.
    mtu: Atomic<u32>,
}

impl_has_work! {
    impl HasWork<Self> for Device { self.work }
}

impl Inner for Device {
    type Base = compat::ib_device;
}

/// The bytes of an address as a number.
fn mac_number(mac: [u8; 6]) -> u64 {
    let [a, b, c, d, e, f] = mac;
    u64::from_be_bytes([0, 0, a, b, c, d, e, f])
}

impl Device {
    /// A device over a network device.
    pub fn new(netdev: Netdev) -> Result<Arc<Self>> {
        let loopback = Loopback::new()?;
        let counters = Counters::new()?;
        let raw = netdev.raw();
        let device = Arc::pin_init(
            try_pin_init!(Self {
                qps <- Table::new(),
                keys <- Keys::new(),
                ahs <- Handles::new(),
                groups <- Groups::new(),
                pd_numbers <- Numbers::new(1, limits::OBJECTS as usize),
                srq_numbers <- Numbers::new(0x2_0001, limits::SRQ as usize),
                loopback <- loopback,
                schedule <- Schedule::new(),
                counters,
                work <- new_work!("usb4_rxe port"),
                netdev <- new_irq_lock!(Some(netdev), "usb4_rxe network device"),
                mac: Atomic::new(0),
                mtu: Atomic::new(u32::from(Mtu::M1024.code())),
            }),
            GFP_KERNEL,
        )?;
        // SAFETY: Held by the device.
        unsafe { device.look(raw) };
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
        let netdev = self.netdev.lock();
        // SAFETY: The device holds it.
        netdev.as_ref().map(|held| unsafe { Netdev::hold(held.raw()) })
    }

    /// Lets go of the network device: it is being unregistered.
    pub fn forget_netdev(&self) {
        let held = self.netdev.lock().take();
        drop(held);
    }

    /// Takes over address and MTU of the network device.
    ///
    /// # Safety
    ///
    /// `netdev` is held.
    pub unsafe fn look(&self, netdev: *mut compat::net_device) {
        let mut mac = [0u8; 6];
        // SAFETY: As our caller promises; addresses of Ethernet devices have six bytes.
        let mtu = unsafe {
            compat::usb4_rxe_netdev_address(netdev, mac.as_mut_ptr());
            compat::usb4_rxe_netdev_mtu(netdev)
        };
        self.mac.store(mac_number(mac), ordering::Relaxed);
        let payload = mtu.saturating_sub(OVERHEAD);
        let fits = Mtu::ALL
            .into_iter()
            .rev()
            .find(|mtu| mtu.bytes() <= payload);
        let code = fits.unwrap_or(Mtu::M256).code();
        self.mtu.store(u32::from(code), ordering::Relaxed);
    }

    /// The largest path MTU.
    pub fn mtu(&self) -> Mtu {
        // Only codes are stored.
        let code = self.mtu.load(ordering::Relaxed);
        u8::try_from(code)
            .ok()
            .and_then(Mtu::from_code)
            .unwrap_or(Mtu::M256)
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
        let to_group = to[0] & 1 != 0;
        to_group || mac_number(to) == self.mac.load(ordering::Relaxed)
    }

    /// Counts an event of the engine.
    #[inline]
    pub fn count(&self, event: Event) {
        self.counters.count(event);
    }

    /// Waits until the port's work is done. All queue pairs are gone, so it does not come again.
    /// Sleeps.
    pub fn settle(&self) {
        // SAFETY: The work item is initialised and stays where it is.
        unsafe {
            let work = Work::raw_get(&raw const self.work);
            kernel::bindings::cancel_work_sync(work);
        }
    }
}

// `Work` is the core's `work_struct` and nothing else in front of it.
const _: () = assert!(offset_of!(Device, work) % 8 == 0);

/// The verbs.
pub static OPS: Shared<compat::ib_device_ops> = Shared(compat::ib_device_ops {
    driver_id: compat::rdma_driver_id_RDMA_DRIVER_RXE,
    uverbs_abi_ver: ABI_VERSION,

    alloc_hw_port_stats: Some(stats::alloc_hw_port_stats),
    alloc_mr: Some(mr::alloc_mr),
    alloc_mw: Some(mw::alloc_mw),
    alloc_pd: Some(pd::alloc_pd),
    alloc_ucontext: Some(context::alloc_ucontext),
    attach_mcast: Some(mcast::attach_mcast),
    create_ah: Some(ah::create_ah),
    create_user_ah: Some(ah::create_ah),
    create_cq: Some(cq::create_cq),
    create_qp: Some(qp::create_qp),
    create_srq: Some(srq::create_srq),
    dealloc_driver: Some(super::link::dealloc_driver),
    dealloc_mw: Some(mw::dealloc_mw),
    dealloc_pd: Some(pd::dealloc_pd),
    dealloc_ucontext: Some(context::dealloc_ucontext),
    dereg_mr: Some(mr::dereg_mr),
    destroy_ah: Some(ah::destroy_ah),
    destroy_cq: Some(cq::destroy_cq),
    destroy_qp: Some(qp::destroy_qp),
    destroy_srq: Some(srq::destroy_srq),
    detach_mcast: Some(mcast::detach_mcast),
    disassociate_ucontext: Some(context::disassociate_ucontext),
    get_dma_mr: Some(mr::get_dma_mr),
    get_hw_stats: Some(stats::get_hw_stats),
    get_link_layer: Some(port::get_link_layer),
    get_netdev: Some(port::get_netdev),
    get_port_immutable: Some(port::get_port_immutable),
    map_mr_sg: Some(mr::map_mr_sg),
    mmap: Some(mmap::mmap),
    mmap_free: Some(mmap::mmap_free),
    modify_ah: Some(ah::modify_ah),
    modify_port: Some(port::modify_port),
    modify_qp: Some(qp::modify_qp),
    modify_srq: Some(srq::modify_srq),
    peek_cq: Some(cq::peek_cq),
    poll_cq: Some(cq::poll_cq),
    post_recv: Some(qp::post_recv),
    post_send: Some(qp::post_send),
    post_srq_recv: Some(srq::post_srq_recv),
    query_ah: Some(ah::query_ah),
    query_device: Some(port::query_device),
    query_gid: Some(port::query_gid),
    query_pkey: Some(port::query_pkey),
    query_port: Some(port::query_port),
    query_qp: Some(qp::query_qp),
    query_srq: Some(srq::query_srq),
    reg_user_mr: Some(mr::reg_user_mr),
    req_notify_cq: Some(cq::req_notify_cq),
    rereg_user_mr: Some(mr::rereg_user_mr),
    resize_user_cq: Some(cq::resize_user_cq),

    size_ib_ah: Object::<compat::ib_ah, ah::Ah>::SIZE,
    size_ib_cq: Object::<compat::ib_cq, cq::Cq>::SIZE,
    size_ib_mw: mw::SIZE,
    size_ib_pd: Object::<compat::ib_pd, pd::Pd>::SIZE,
    size_ib_qp: Object::<compat::ib_qp, qp::Qp>::SIZE,
    size_ib_srq: Object::<compat::ib_srq, srq::Srq>::SIZE,
    size_ib_ucontext: size_of::<compat::ib_ucontext>(),
    ..zeroed()
});
