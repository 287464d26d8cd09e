// SPDX-License-Identifier: GPL-2.0-only

//! Multicast groups: which queue pairs take what is sent to a GID.
//!
//! ```text
//!   attach     allocate a node, insert it
//!   detach     take the node out, wait for readers, free it. Allocates nothing: it must not fail for
//!              a process that ends because memory is short
//!   a packet   references to the members, as they are now; no lock while they take the packet
//! ```
//!
//! Lock: [`Groups::changes`], sleeping, outside all others; [`Groups::members`], softirqs off, never
//! together with a queue pair's.

use kernel::error::to_result;
use kernel::prelude::*;
use kernel::rbtree::{RBTree, RBTreeNode};
use kernel::sync::{new_mutex, Arc, ArcBorrow, Mutex};

use super::device::{limits, Device};
use super::errno;
use super::lock::{new_bh_lock, Bh, BhLock};
use super::object::Object;
use super::qp::Qp;
use super::table::wait_for_readers;
use crate::rxe::wire::ip::embedded_v4;

/// A device's groups.
#[pin_data]
pub struct Groups {
    /// How many there are, and the right to change anything.
    #[pin]
    changes: Mutex<Count>,
    #[pin]
    members: BhLock<RBTree<Member, Arc<Qp>>>,
}

struct Count {
    groups: u32,
    members: u32,
}

/// One membership. Those of a group are neighbours.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Member {
    gid: [u8; 16],
    qpn: u32,
}

/// The members of one group, as many as there are.
type Group = [Option<Arc<Qp>>; limits::MCAST_ATTACH as usize];

impl Groups {
    /// None yet.
    pub fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            changes <- new_mutex!(Count { groups: 0, members: 0 }),
            members <- new_bh_lock!(RBTree::new(), "usb4_rxe multicast groups"),
        })
    }

    /// Hands every queue pair of a group to `take`.
    pub fn for_each(&self, bh: &Bh, gid: &[u8; 16], mut take: impl FnMut(ArcBorrow<'_, Qp>)) {
        for qp in self.group(bh, gid).iter().flatten() {
            take(qp.as_arc_borrow());
        }
        // Not the last reference to a queue pair: who detaches it waits for a grace period, and
        // softirqs are off here.
    }

    /// The members of a group.
    fn group(&self, bh: &Bh, gid: &[u8; 16]) -> Group {
        let mut group = [const { None }; limits::MCAST_ATTACH as usize];
        let mut next = Member { gid: *gid, qpn: 0 };
        let members = self.members.lock(bh);
        for place in &mut group {
            let Some(cursor) = members.cursor_lower_bound(&next) else {
                break;
            };
            let (member, qp) = cursor.current();
            if member.gid != *gid {
                break;
            }
            *place = Some(qp.clone());
            // Numbers have 24 bits.
            next.qpn = member.qpn.wrapping_add(1);
        }
        group
    }

    /// Joins; once is as good as twice. Sleeps.
    fn attach(&self, gid: &[u8; 16], qp: Arc<Qp>) -> Result {
        let mut count = self.changes.lock();
        let group = self.group(&Bh::disable(), gid);
        if group.iter().flatten().any(|one| Arc::ptr_eq(one, &qp)) {
            return Ok(());
        }
        let is_new = group.iter().all(Option::is_none);
        if group.iter().all(Option::is_some)
            || count.members >= limits::MCAST_TOTAL
            || (is_new && count.groups >= limits::MCAST_GROUPS)
        {
            return Err(ENOMEM);
        }
        let node = RBTreeNode::new(Member::new(gid, &qp), qp.clone(), GFP_KERNEL_ACCOUNT)?;
        if is_new {
            listen(qp.device(), gid)?;
        }
        qp.attach();
        count.groups = count.groups.saturating_add(is_new.into());
        count.members = count.members.saturating_add(1);
        let bh = Bh::disable();
        // There is none in its place, see above.
        let _ = self.members.lock(&bh).insert(node);
        Ok(())
    }

    /// Leaves. Sleeps.
    ///
    /// # Errors
    ///
    /// `EINVAL` if it is not a member.
    fn detach(&self, gid: &[u8; 16], qp: ArcBorrow<'_, Qp>) -> Result {
        let mut count = self.changes.lock();
        let (node, is_empty) = {
            let bh = Bh::disable();
            let node = self.members.lock(&bh).remove_node(&Member::new(gid, &qp));
            (node, self.group(&bh, gid).iter().all(Option::is_none))
        };
        let node = node.ok_or(EINVAL)?;
        wait_for_readers();
        drop(node);
        count.members = count.members.saturating_sub(1);
        qp.detach();
        if is_empty {
            count.groups = count.groups.saturating_sub(1);
            unlisten(qp.device(), gid);
        }
        Ok(())
    }
}

impl Member {
    fn new(gid: &[u8; 16], qp: &Qp) -> Self {
        Self {
            gid: *gid,
            qpn: qp.name.qpn.get(),
        }
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
