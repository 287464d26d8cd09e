// SPDX-License-Identifier: GPL-2.0-only

//! Multicast groups: which queue pairs take what is sent to a GID.
//!
//! ```text
//!   attach, detach   copy the table, change the copy, exchange, wait for readers, drop the old one
//!   a packet         the table as it is now, without a lock while queue pairs take the packet
//! ```
//!
//! Lock: [`Groups::changes`], sleeping, outside all others; [`Groups::table`], softirqs off, held to
//! take or exchange one pointer.

use kernel::error::to_result;
use kernel::prelude::*;
use kernel::sync::{new_mutex, Arc, ArcBorrow, Mutex};

use super::device::{limits, Device};
use super::errno;
use super::lock::{new_bh_lock, Bh, BhLock};
use super::object::Object;
use super::qp::Qp;
use crate::rxe::wire::ip::embedded_v4;

/// A device's groups.
#[pin_data]
pub struct Groups {
    /// Memberships, and the right to change anything.
    #[pin]
    changes: Mutex<u32>,
    #[pin]
    table: BhLock<Arc<Table>>,
}

/// Sorted by GID; never changed.
type Table = KVec<Group>;

#[derive(Clone)]
struct Group {
    gid: [u8; 16],
    /// Never changed, never empty.
    members: Arc<KVec<Arc<Qp>>>,
}

/// Where a group is, or belongs.
fn find(table: &[Group], gid: &[u8; 16]) -> Result<usize, usize> {
    table.binary_search_by(|group| group.gid.cmp(gid))
}

/// A copy with room for one more.
fn copy<T: Clone>(of: &[T]) -> Result<KVec<T>> {
    let mut copy = KVec::with_capacity(of.len().saturating_add(1), GFP_KERNEL)?;
    for one in of {
        copy.push(one.clone(), GFP_KERNEL)?;
    }
    Ok(copy)
}

impl Groups {
    /// None yet.
    pub fn new() -> impl PinInit<Self, Error> {
        try_pin_init!(Self {
            changes <- new_mutex!(0),
            table <- new_bh_lock!(
                Arc::new(Table::new(), GFP_KERNEL)?,
                "usb4_rxe multicast groups"
            ),
        })
    }

    /// Hands every queue pair of a group to `take`.
    pub fn for_each(&self, bh: &Bh, gid: &[u8; 16], mut take: impl FnMut(ArcBorrow<'_, Qp>)) {
        let table = self.table.lock(bh).clone();
        let Some(group) = find(&table, gid).ok().and_then(|at| table.get(at)) else {
            return;
        };
        for qp in group.members.iter() {
            take(qp.as_arc_borrow());
        }
        // Not the last reference to the table, nor to a queue pair: who exchanged the table keeps
        // the old one for a grace period, and softirqs are off here.
    }

    /// The table, for who holds `changes`.
    fn current(&self) -> Arc<Table> {
        let bh = Bh::disable();
        let table = self.table.lock(&bh).clone();
        table
    }

    /// Exchanges the table, for who holds `changes`. Sleeps.
    fn exchange(&self, new: Arc<Table>) {
        let old = {
            let bh = Bh::disable();
            let old = core::mem::replace(&mut *self.table.lock(&bh), new);
            old
        };
        // SAFETY: We may sleep: our callers are verbs.
        unsafe { compat::synchronize_rcu_expedited() };
        drop(old);
    }

    /// Joins; once is as good as twice.
    fn attach(&self, gid: &[u8; 16], qp: Arc<Qp>) -> Result {
        let mut memberships = self.changes.lock();
        let table = self.current();
        let place = find(&table, gid);
        let here: &[Arc<Qp>] = match place {
            Ok(at) => table.get(at).map_or(&[], |group| &group.members),
            Err(_) => &[],
        };
        if here.iter().any(|member| Arc::ptr_eq(member, &qp)) {
            return Ok(());
        }
        let is_new = place.is_err();
        if here.len() >= limits::MCAST_ATTACH as usize
            || *memberships >= limits::MCAST_TOTAL
            || (is_new && table.len() >= limits::MCAST_GROUPS as usize)
        {
            return Err(ENOMEM);
        }
        let mut members = copy(here)?;
        members.push(qp.clone(), GFP_KERNEL)?;
        let members = Arc::new(members, GFP_KERNEL)?;
        let mut new = copy(&table)?;
        match place {
            Ok(at) => {
                if let Some(group) = new.get_mut(at) {
                    group.members = members;
                }
            }
            Err(at) => {
                let group = Group { gid: *gid, members };
                // There is room for it, see `copy`.
                new.insert_within_capacity(at, group).map_err(|_| ENOMEM)?;
            }
        }
        let new = Arc::new(new, GFP_KERNEL)?;
        if is_new {
            listen(qp.device(), gid)?;
        }
        qp.attach();
        *memberships = memberships.saturating_add(1);
        self.exchange(new);
        Ok(())
    }

    /// Leaves.
    fn detach(&self, gid: &[u8; 16], qp: ArcBorrow<'_, Qp>) -> Result {
        let mut memberships = self.changes.lock();
        let table = self.current();
        let at = find(&table, gid).map_err(|_| EINVAL)?;
        let members = &table.get(at).ok_or(EINVAL)?.members;
        let us = core::ptr::from_ref::<Qp>(&qp);
        let member = members
            .iter()
            .position(|member| core::ptr::eq(Arc::as_ptr(member), us))
            .ok_or(EINVAL)?;
        let mut new = copy(&table)?;
        let is_last = members.len() == 1;
        if is_last {
            drop(new.remove(at));
        } else {
            let mut rest = copy(members)?;
            drop(rest.remove(member));
            if let Some(group) = new.get_mut(at) {
                group.members = Arc::new(rest, GFP_KERNEL)?;
            }
        }
        let new = Arc::new(new, GFP_KERNEL)?;
        drop(table);
        self.exchange(new);
        *memberships = memberships.saturating_sub(1);
        qp.detach();
        if is_last {
            unlisten(qp.device(), gid);
        }
        Ok(())
    }
}

/// The link's address of a group: RFC 1112 for IPv4, RFC 2464 for IPv6.
fn link_address(gid: &[u8; 16]) -> [u8; 6] {
    match embedded_v4(gid) {
        Some([_, b, c, d]) => [0x01, 0x00, 0x5e, b & 0x7f, c, d],
        None => {
            let [.., a, b, c, d] = *gid;
            [0x33, 0x33, a, b, c, d]
        }
    }
}

/// Has the network device take packets to a group.
///
/// # Errors
///
/// `ENODEV` if it is gone; its own.
fn listen(device: &Device, gid: &[u8; 16]) -> Result {
    let netdev = device.netdev().ok_or(ENODEV)?;
    let address = link_address(gid);
    // SAFETY: The device is held; addresses of Ethernet devices have six bytes.
    to_result(unsafe { compat::dev_mc_add(netdev.raw(), address.as_ptr()) })
}

/// The opposite.
fn unlisten(device: &Device, gid: &[u8; 16]) {
    let Some(netdev) = device.netdev() else {
        return;
    };
    let address = link_address(gid);
    // SAFETY: As above. It can only fail to find the address, which nobody can help.
    let _ = unsafe { compat::dev_mc_del(netdev.raw(), address.as_ptr()) };
}

/// `ib_device_ops.attach_mcast`
///
/// # Safety
///
/// As the core calls it.
pub unsafe extern "C" fn attach_mcast(
    ib: *mut compat::ib_qp,
    gid: *mut compat::ib_gid,
    _lid: u16,
) -> core::ffi::c_int {
    // SAFETY: The object was made by `create_qp` and is not destroyed during the call; a GID is
    // plain bytes.
    let (qp, gid): (ArcBorrow<'_, Qp>, _) = unsafe { (Object::get(ib), (*gid).raw) };
    let qp = Arc::from(qp);
    errno(qp.clone().device().groups.attach(&gid, qp))
}

/// `ib_device_ops.detach_mcast`
///
/// # Safety
///
/// As the core calls it.
pub unsafe extern "C" fn detach_mcast(
    ib: *mut compat::ib_qp,
    gid: *mut compat::ib_gid,
    _lid: u16,
) -> core::ffi::c_int {
    // SAFETY: As above.
    let (qp, gid): (ArcBorrow<'_, Qp>, _) = unsafe { (Object::get(ib), (*gid).raw) };
    errno(qp.device().groups.detach(&gid, qp))
}
