// SPDX-License-Identifier: GPL-2.0-only

//! Who is who: the list of the hosts at the other ends of our cables.
//!
//! A cable belongs to the peer that a cable with the same remote UUID belonged to before, or else to the
//! one with the same instance, see [`Identity`].
//!
//! A host whose router was seen alone before, and that now shows by its instance that it is the host of
//! others, too, was two peers by mistake: the younger one ends, and its cables join the older one.
//!
//! A cable between two routers of this host has our own instance at its other end. Its two ends are
//! two peers, each for itself, known by both UUIDs.
//!
//! # Locks
//!
//! Who ends peers, then the list; under it an identity and a peer's rails, for moments, and RTNL. Never
//! the list under a peer's rails.

use kernel::fmt;
use kernel::prelude::*;
use kernel::sync::{global_lock, Arc, Mutex};

use super::cable::Trouble;
use super::peer::deaths::Deaths;
use super::peer::identity::Identity;
use super::peer::wire_name::WireName;
use super::peer::Peer;
use super::rail::frame::envelope::Uuid;
use super::rail::login::Life;
use super::xdomain::XDomain;

/// The most peers that are remembered: each costs some megabytes.
const MAX_PEERS: usize = 16;

global_lock! {
    /// Held by whoever takes a peer off the list, until that has ended: who waits for all peers below
    /// a device waits for those, too.
    // SAFETY: Initialised by `Peers::new`, before anything that uses it.
    unsafe(uninit) static ENDING: Mutex<()> = ();
}

global_lock! {
    // SAFETY: Initialised by `Peers::new`, before anything that uses it.
    unsafe(uninit) static PEERS: Mutex<KVec<Arc<Peer>>> = KVec::new();
}

/// The wire to the host with this router, if it is known.
pub fn wire_to(router: &Uuid) -> Option<Arc<WireName>> {
    let peers = PEERS.lock();
    let mut peers = peers.iter();
    let peer = peers.find(|peer| peer.identity.lock().has(router))?;
    Some(peer.wire_name().clone())
}

/// The peer whose rails' deaths these are, unless it is over.
pub fn of(deaths: &Arc<Deaths>) -> Option<Arc<Peer>> {
    let peers = PEERS.lock();
    let found = peers.iter().find(|peer| peer.is_told_by(deaths));
    found.cloned()
}

/// The peer of a cable that begins a life; a new one if it was never seen. May end another peer, which
/// sleeps and takes RTNL.
///
/// # Errors
///
/// What failed.
pub fn find(xdomain: &XDomain, life: &Life) -> Result<Arc<Peer>, Trouble> {
    let _ending = ENDING.lock();
    let over = {
        let mut peers = PEERS.lock();
        match who(&mut peers, xdomain, life)? {
            Known::Peer(peer) => return Ok(peer),
            Known::Ended(peer) => peer,
            Known::Nobody if peers.len() >= MAX_PEERS => {
                // The youngest: somebody who shows a new face each time does not push out old friends.
                let idle = peers.iter().rposition(|peer| peer.is_idle());
                idle.and_then(|at| peers.remove(at).ok()).ok_or({
                    let what = "remember one more peer: too many are connected";
                    Trouble::Failed(what, EBUSY)
                })?
            }
            Known::Nobody => return add(&mut peers, xdomain, life),
        }
    };
    over.end();
    Err(Trouble::Outdated)
}

/// Who is at the other end of a cable.
enum Known {
    Nobody,
    Peer(Arc<Peer>),
    /// The same host as this other peer, which is off the list and has to be ended.
    Ended(Arc<Peer>),
}

fn who(peers: &mut KVec<Arc<Peer>>, xdomain: &XDomain, life: &Life) -> Result<Known, Trouble> {
    let ends = (xdomain.local(), xdomain.remote());
    let instance = life.theirs.instance;
    let position = |is: &dyn Fn(&Identity) -> bool| {
        let mut peers = peers.iter();
        peers.position(|peer| is(&peer.identity.lock()))
    };
    let at = if instance == life.mine.instance {
        position(&|identity| identity.ourselves == Some(ends))
    } else {
        let by_router = position(&|identity| identity.has(&ends.1));
        let by_instance = position(&|identity| identity.is_instance(instance));
        match (by_router, by_instance) {
            (Some(router), Some(host)) if router != host => {
                if peers[router].identity.lock().gives_up(&ends.1) {
                    Some(host)
                } else {
                    let (older, younger) = (router.min(host), router.max(host));
                    unite(&peers[older], &peers[younger], instance)?;
                    return Ok(peers.remove(younger).map_or(Known::Nobody, Known::Ended));
                }
            }
            (by_router, by_instance) => by_router.or(by_instance),
        }
    };
    let Some(at) = at else {
        return Ok(Known::Nobody);
    };
    let peer = peers[at].clone();
    peer.identity.lock().learn(&ends.1, instance)?;
    Ok(Known::Peer(peer))
}

/// Two peers are one host: the older one takes over by what the younger one is recognised.
fn unite(older: &Peer, younger: &Peer, instance: u64) -> Result<(), Trouble> {
    let failed = |_| Trouble::Failed("remember the peer", ENOMEM);
    let mut routers = KVec::new();
    {
        let identity = younger.identity.lock();
        routers
            .extend_from_slice(&identity.routers, GFP_KERNEL)
            .map_err(failed)?;
    }
    let mut identity = older.identity.lock();
    for router in &routers {
        identity.learn(router, instance)?;
    }
    Ok(())
}

/// A peer that was never seen.
fn add(peers: &mut KVec<Arc<Peer>>, xdomain: &XDomain, life: &Life) -> Result<Arc<Peer>, Trouble> {
    let failed = |error| Trouble::Failed("make a network device for the peer", error);
    let (local, remote) = (xdomain.local(), xdomain.remote());
    let instance = life.theirs.instance;
    let mut identity = Identity {
        ourselves: (instance == life.mine.instance).then_some((local, remote)),
        routers: KVec::new(),
        instance,
    };
    identity.learn(&remote, instance)?;
    peers.reserve(1, GFP_KERNEL).map_err(|_| failed(ENOMEM))?;
    let peer = Peer::new(xdomain, identity).map_err(failed)?;
    // There is room.
    let _ = peers.push(peer.clone(), GFP_KERNEL);
    Ok(peer)
}

/// Shows all peers, as [`super::status`] says.
pub fn show(f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let peers = PEERS.lock();
    peers.iter().try_for_each(|peer| peer.show(f))
}

/// A device is about to lose its driver, or to go: so must what hangs below it. Its cables are shut.
pub fn parent_gone(device: *mut compat::device) {
    let _ending = ENDING.lock();
    loop {
        let peer = {
            let mut peers = PEERS.lock();
            let at = peers.iter().position(|peer| peer.hangs_below(device));
            at.and_then(|at| peers.remove(at).ok())
        };
        let Some(peer) = peer else { return };
        peer.end();
    }
}

/// All peers; they end when this is dropped.
pub struct Peers(());

impl Peers {
    /// Once per load of the module, and first.
    pub fn new() -> Self {
        // SAFETY: As our caller promises.
        unsafe { ENDING.init() };
        // SAFETY: As above.
        unsafe { PEERS.init() };
        Self(())
    }
}

impl Drop for Peers {
    fn drop(&mut self) {
        let peers = core::mem::take(&mut *PEERS.lock());
        for peer in peers {
            peer.end();
        }
    }
}
