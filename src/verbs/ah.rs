// SPDX-License-Identifier: GPL-2.0-only

//! Address handles: where a datagram goes, resolved when the handle is made.
//!
//! ```text
//!   create_ah  rdma_ah_attr --path--> Path, under a number
//!   send       number in the queue entry --Handles::path--> the Path, if the PD is the same
//! ```
//!
//! Kernel users make and destroy handles in atomic context (CM does), so the table has a lock
//! instead of grace periods, and room for every handle from the beginning.
//!
//! Lock: [`Table`], interrupts off, inside the queue pair's.

use kernel::alloc::Flags;
use kernel::error::to_result;
use kernel::prelude::*;
use kernel::sync::{Arc, ArcBorrow};

use super::device::{limits, Device};
use super::lock::{new_irq_lock, IrqLock};
use super::object::Object;
use super::pd::Pd;
use super::udata::Udata;
use super::{errno, unsupported};
use crate::rxe::access;
use crate::rxe::path::{source_port, Path};
use crate::rxe::qpn::Qpn;
use crate::rxe::user_abi::{self, AhRef, CREATE_AH_RESP_BYTES};
use crate::rxe::wire::ip::embedded_v4;
use crate::rxe::wire::{Ethernet, FlowLabel, Ip, Ipv4, Ipv6, MacAddr, Udp};

/// Numbers begin with 1: 0 means none.
const LOWEST: usize = 1;
/// The highest number.
const HIGHEST: usize = limits::AH as usize;

/// VLAN numbers are below; above means none.
const VLANS: u16 = 4096;

/// An address handle.
pub struct Ah {
    device: Arc<Device>,
    number: u32,
}

impl Ah {
    /// Its number.
    pub fn number(&self) -> u32 {
        self.number
    }
}

/// What a handle stands for.
struct Vector {
    pd: access::Pd,
    path: Path,
    given: Given,
}

/// The attributes that `query_ah` gives back.
#[derive(Clone, Copy)]
struct Given {
    grh: compat::ib_global_route,
    port: u32,
}

// SAFETY: The pointer in `grh` is null, see `Given::of`.
unsafe impl Send for Given {}

impl Given {
    fn of(attr: &compat::rdma_ah_attr) -> Self {
        let mut grh = attr.grh;
        // The caller's reference, not ours.
        grh.sgid_attr = core::ptr::null();
        Self {
            grh,
            port: attr.port_num,
        }
    }
}

/// A device's address handles.
#[pin_data]
pub struct Handles {
    #[pin]
    table: IrqLock<Table>,
}

struct Table {
    /// By number; the first one stays empty.
    vectors: KVVec<Option<KBox<Vector>>>,
    /// Where to look for a free number first: numbers are not used again soon.
    next: usize,
}

impl Table {
    fn new() -> Result<Self> {
        let count = HIGHEST + 1;
        let mut vectors = KVVec::with_capacity(count, GFP_KERNEL)?;
        for _ in 0..count {
            vectors.push(None, GFP_KERNEL)?;
        }
        Ok(Self {
            vectors,
            next: LOWEST,
        })
    }
}

impl Handles {
    /// None yet.
    pub fn new() -> impl PinInit<Self, Error> {
        try_pin_init!(Self {
            table <- new_irq_lock!(Table::new()?, "usb4_rxe address handles"),
        })
    }

    /// Where a handle leads, for a queue pair of protection domain `pd`.
    pub fn path(&self, ah: AhRef, pd: access::Pd) -> Option<Path> {
        let table = self.table.lock();
        let vector = table.vectors.get(ah.0 as usize)?.as_ref()?;
        (vector.pd == pd).then_some(vector.path)
    }

    fn insert(&self, pd: access::Pd, attr: &compat::rdma_ah_attr, flags: Flags) -> Result<u32> {
        // The path says its own number, so it is made in the table.
        let mut vector = KBox::new(
            Vector {
                pd,
                path: path(attr, 0)?,
                given: Given::of(attr),
            },
            flags,
        )?;
        let mut table = self.table.lock();
        let Table { vectors, next } = &mut *table;
        let is_free = |number: &usize| matches!(vectors.get(*number), Some(None));
        let number = (*next..=HIGHEST)
            .find(is_free)
            .or_else(|| (LOWEST..*next).find(is_free))
            .ok_or(EINVAL)?;
        let name = u32::try_from(number).map_err(|_| EINVAL)?;
        vector.path.udp.src_port = port_of(attr, default_port(name));
        if let Some(place) = vectors.get_mut(number) {
            *place = Some(vector);
        }
        *next = if number < HIGHEST {
            number.wrapping_add(1)
        } else {
            LOWEST
        };
        Ok(name)
    }

    fn remove(&self, number: u32) {
        let vector = self
            .table
            .lock()
            .vectors
            .get_mut(number as usize)
            .and_then(Option::take);
        // Freed with the lock free.
        drop(vector);
    }

    fn replace(&self, number: u32, attr: &compat::rdma_ah_attr) -> Result {
        let new = path(attr, default_port(number))?;
        let mut table = self.table.lock();
        let place = table.vectors.get_mut(number as usize);
        let vector = place.and_then(Option::as_mut).ok_or(EINVAL)?;
        vector.path = new;
        vector.given = Given::of(attr);
        Ok(())
    }

    fn given(&self, number: u32) -> Option<Given> {
        let table = self.table.lock();
        let vector = table.vectors.get(number as usize)?.as_ref()?;
        Some(vector.given)
    }
}

/// The source port of a handle's datagrams, without a flow label.
fn default_port(number: u32) -> u16 {
    source_port(Qpn::new(number), Qpn::MULTICAST)
}

/// The source port: what the flow label asks for (RoCEv2 annex A17.4.4), or `otherwise`.
fn port_of(attr: &compat::rdma_ah_attr, otherwise: u16) -> u16 {
    let label = attr.grh.flow_label & 0x000f_ffff;
    if label == 0 {
        return otherwise;
    }
    // The upper bits folded into the lower fourteen.
    let folded = (label ^ (label >> 14)) & 0x3fff;
    0xc000 | folded as u16
}

/// The way to a peer, from attributes whose GID the core has looked up.
///
/// # Errors
///
/// `EINVAL` for what RoCEv2 on our link cannot reach.
pub fn path(attr: &compat::rdma_ah_attr, udp_src: u16) -> Result<Path> {
    let grh = &attr.grh;
    if u32::from(attr.ah_flags) & compat::ib_ah_flags_IB_AH_GRH == 0 || grh.sgid_attr.is_null() {
        return Err(EINVAL);
    }
    let mut vlan = 0;
    let mut mac = [0; 6];
    // SAFETY: Who hands in attributes holds a reference to their GID; the places are as large as
    // the function wants them.
    let (kind, sgid) = unsafe {
        let sgid = &*grh.sgid_attr;
        to_result(compat::rdma_read_gid_l2_fields(
            sgid,
            &mut vlan,
            mac.as_mut_ptr(),
        ))?;
        (sgid.gid_type, sgid.gid.raw)
    };
    // The wire has no tags.
    let tagged = vlan < VLANS;
    if kind != compat::ib_gid_type_IB_GID_TYPE_ROCE_UDP_ENCAP || tagged {
        return Err(EINVAL);
    }
    // SAFETY: All bytes of a GID, and of the part for RoCE, are plain bytes.
    let (dgid, dmac) = unsafe { (grh.dgid.raw, attr.__bindgen_anon_1.roce.dmac) };
    let ip = match embedded_v4(&sgid) {
        Some(src) => Ip::V4(Ipv4 {
            src,
            dst: embedded_v4(&dgid).ok_or(EINVAL)?,
            tos: grh.traffic_class,
            ttl: grh.hop_limit,
            ident: 0,
            dont_fragment: true,
        }),
        None => Ip::V6(Ipv6 {
            src: sgid,
            dst: dgid,
            traffic_class: grh.traffic_class,
            flow_label: FlowLabel::new(grh.flow_label),
            hop_limit: grh.hop_limit,
        }),
    };
    Ok(Path {
        ethernet: Ethernet {
            dst: MacAddr(dmac),
            src: MacAddr(mac),
        },
        ip,
        udp: Udp {
            src_port: port_of(attr, udp_src),
        },
    })
}

/// `ib_device_ops.create_ah` and `create_user_ah`
///
/// # Safety
///
/// As the core calls it: `ib` is a new object of our size with device and PD set.
pub unsafe extern "C" fn create_ah(
    ib: *mut compat::ib_ah,
    init: *mut compat::rdma_ah_init_attr,
    udata: *mut compat::ib_udata,
) -> core::ffi::c_int {
    // SAFETY: As our caller promises.
    errno(unsafe { create(ib, &*init, Udata::new(udata)) })
}

/// # Safety
///
/// `ib` is a new object of our size with device and PD set, `init` holds valid attributes.
unsafe fn create(
    ib: *mut compat::ib_ah,
    init: &compat::rdma_ah_init_attr,
    udata: Option<Udata>,
) -> Result {
    if let Some(udata) = &udata {
        // A provider from before numbers would put addresses of its own choice into requests.
        if udata.out_len() < CREATE_AH_RESP_BYTES {
            return Err(unsupported());
        }
    }
    let flags = if init.flags & compat::rdma_create_ah_flags_RDMA_CREATE_AH_SLEEPABLE != 0 {
        GFP_KERNEL_ACCOUNT
    } else {
        GFP_ATOMIC
    };
    // SAFETY: As our caller promises; device and PD live longer than the handle.
    let (device, pd, attr) = unsafe {
        (
            Device::from_ib((*ib).device),
            Object::<_, Pd>::get((*ib).pd).number(),
            &*init.ah_attr,
        )
    };
    let device = Arc::from(device);
    let number = device.ahs.insert(pd, attr, flags)?;
    // Dropped again by whatever fails below, and with it its entry.
    let ah = Arc::new(Ah { device, number }, flags)?;
    if let Some(udata) = &udata {
        udata.respond(&user_abi::create_ah_response(number))?;
    }
    // SAFETY: `ib` is new and of our size; `destroy_ah` takes back what is set here.
    unsafe { Object::set(ib, ah) };
    Ok(())
}

impl Drop for Ah {
    fn drop(&mut self) {
        self.device.ahs.remove(self.number);
    }
}

/// `ib_device_ops.destroy_ah`
///
/// # Safety
///
/// As the core calls it: `ib` was made by [`create_ah`], nobody uses it any more.
pub unsafe extern "C" fn destroy_ah(ib: *mut compat::ib_ah, _flags: u32) -> core::ffi::c_int {
    // SAFETY: As our caller promises.
    drop(unsafe { Object::<_, Ah>::take(ib) });
    0
}

/// `ib_device_ops.modify_ah`
///
/// # Safety
///
/// As the core calls it.
pub unsafe extern "C" fn modify_ah(
    ib: *mut compat::ib_ah,
    attr: *mut compat::rdma_ah_attr,
) -> core::ffi::c_int {
    // SAFETY: The object was made by `create_ah` and is not destroyed during the call; `attr` is
    // valid.
    let (ah, attr): (ArcBorrow<'_, Ah>, _) = unsafe { (Object::get(ib), &*attr) };
    errno(ah.device.ahs.replace(ah.number, attr))
}

/// `ib_device_ops.query_ah`
///
/// # Safety
///
/// As the core calls it.
pub unsafe extern "C" fn query_ah(
    ib: *mut compat::ib_ah,
    attr: *mut compat::rdma_ah_attr,
) -> core::ffi::c_int {
    // SAFETY: The object was made by `create_ah` and is not destroyed during the call.
    let ah: ArcBorrow<'_, Ah> = unsafe { Object::get(ib) };
    let Some(given) = ah.device.ahs.given(ah.number) else {
        return EINVAL.to_errno();
    };
    let answer = compat::rdma_ah_attr {
        grh: given.grh,
        port_num: given.port,
        ah_flags: compat::ib_ah_flags_IB_AH_GRH as u8,
        type_: compat::rdma_ah_attr_type_RDMA_AH_ATTR_TYPE_ROCE,
        ..pin_init::zeroed()
    };
    // SAFETY: `attr` is a place for attributes, as our caller promises.
    unsafe { attr.write(answer) };
    0
}
