// SPDX-License-Identifier: GPL-2.0-only

//! The hosts at the other ends of our cables: for each of them one wire, one network device, one RDMA
//! device, however many cables there are.
//!
//! ```text
//!   Cable 0-1 ──┐                                  ┌── Wire: rails 0, 1
//!   Cable 1-1 ──┴── find ── Peer ── bring_up ──────┤
//!                            |      take_down      ├── Ethernet   usb4eth0     carrier, speed: of all rails
//!                            '── add_device ───────┴── verbs      usb4_rxe0
//!
//!   Wire: a rail died ── Deaths: note ── work ── Cable::died ── logs in again
//! ```
//!
//! # Who is who
//!
//! A host may have several host routers, each with a UUID of its own, so a UUID says less than who
//! answers: *instance*, a number that each load of the module draws. A cable belongs to the peer that a
//! cable with the same remote UUID belonged to before, or else to the one with the same instance. What
//! is learned is kept: when the host reboots, its instance is new and its UUIDs are not.
//!
//! A host whose router was seen alone before, and that now shows by its instance that it is the host of
//! others, too, was two peers by mistake: the younger one ends, and its cables join the older one.
//!
//! # Which numbers go on
//!
//! The numbers of a wire go on while rails come and go, so both ends must begin anew together. Each
//! wire has a name, made of what both said when it began, and a Login says the name of the wire it
//! would go on with. An end that has forgotten the other (its module was loaded anew, its host router
//! went, it knew too many) has none: [`Life::numbers`].
//!
//! A cable between two routers of this host has our own instance at its other end. Its two ends are
//! two peers, each for itself, known by both UUIDs.
//!
//! # Locks
//!
//! Who ends peers, then the list of peers, then RTNL. A peer's rails, then what [`super::cable`] says.
//! Never the list under a peer's rails.

use kernel::fmt;
use kernel::prelude::*;
use kernel::str::CStr;
use kernel::sync::atomic::{ordering, Atomic};
use kernel::sync::{global_lock, new_mutex, Arc, ArcBorrow, Mutex};
use kernel::time::{delay::fsleep, Delta};
use kernel::workqueue::{impl_has_work, new_work, Queue, Work, WorkItem};

use super::cable::{Cable, Trouble};
use super::ethernet::{self, Ethernet};
use super::rail::frame::close::Reason;
use super::rail::frame::envelope::Uuid;
use super::rail::frame::hello::{Capabilities, Cause, Refusal, NO_WIRE};
use super::rail::id::RailId;
use super::rail::login::{Life, Numbers};
use super::rail::port::Down;
use super::rail::tally::Table;
use super::rail::tx::RailUp;
use super::rail::MAX_RAILS;
use super::ring::{self, Rings};
use super::wire::{self, Watcher, Wire};
use super::xdomain::{Paths, XDomain};
use crate::rxe::events::Counter;
use crate::verbs::lock::{new_irq_lock, IrqLock};
use crate::verbs::{link, work};

/// The most peers that are remembered: each costs some megabytes.
const MAX_PEERS: usize = 16;

/// The most host routers of one peer that are remembered.
const MAX_ROUTERS: usize = 16;

/// How long a goodbye may take to leave.
const GOODBYE_MS: i64 = 5;

/// A host at the other end of some cables.
#[pin_data]
pub struct Peer {
    wire: Arc<Wire>,
    /// Changed under the rails.
    wire_name: Arc<WireName>,
    deaths: Arc<Deaths>,
    /// It never had an RDMA device.
    is_new: Atomic<bool>,
    /// The parent of both devices. It stays until `parent_gone`.
    parent: *mut compat::device,
    #[pin]
    identity: Mutex<Identity>,
    #[pin]
    rails: Mutex<Rails>,
}

// SAFETY: The pointer is only compared.
unsafe impl Send for Peer {}
// SAFETY: As above.
unsafe impl Sync for Peer {}

/// By what a peer is recognised.
struct Identity {
    /// The host routers at both ends, if the peer is this host.
    ourselves: Option<(Uuid, Uuid)>,
    /// Host routers it was seen with.
    routers: KVec<Uuid>,
    instance: u64,
}

/// The rails to a peer, and the network device over them.
struct Rails {
    /// `None`: the peer is over.
    ethernet: Option<Ethernet>,
    slots: [Option<Rail>; MAX_RAILS],
    /// Why each number's last rail ended.
    ended: [Option<&'static str>; MAX_RAILS],
    /// Which load of the peer's module the wire began with.
    instance: u64,
}

/// A rail that is up.
struct Rail {
    cable: Arc<Cable>,
    life: Life,
    rings: Arc<Rings>,
    paths: Paths,
    /// In Gb/s.
    speed: u32,
    why: Option<Down>,
}

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

/// The name of a peer's wire; 0: it has none.
pub struct WireName(Atomic<u32>);

impl WireName {
    /// What a Login says of it.
    pub fn get(&self) -> u32 {
        match self.0.load(ordering::Relaxed) {
            0 => no_wire(),
            name => name,
        }
    }
}

/// How often a peer was forgotten while this module was loaded.
static FORGOTTEN: Atomic<u32> = Atomic::new(0);

/// What a Login says on a cable to a peer without a wire, or as long as it is not known whom it leads to.
pub fn no_wire() -> u32 {
    FORGOTTEN.load(ordering::Relaxed) | NO_WIRE
}

/// The wire to the host with this router, if it is known.
pub fn wire_to(router: &Uuid) -> Option<Arc<WireName>> {
    let peers = PEERS.lock();
    let mut peers = peers.iter();
    let peer = peers.find(|peer| peer.identity.lock().has(router))?;
    Some(peer.wire_name.clone())
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
                let idle = peers.iter().rposition(|peer| peer.rails.lock().is_idle());
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

impl Identity {
    fn has(&self, router: &Uuid) -> bool {
        self.ourselves.is_none() && self.routers.contains(router)
    }

    fn is_instance(&self, instance: u64) -> bool {
        self.ourselves.is_none() && self.instance == instance
    }

    /// A router is in another host now, so this host is recognised by its others. False: it has no
    /// others, so this host is that other one.
    fn gives_up(&mut self, router: &Uuid) -> bool {
        if self.routers.len() > 1 {
            self.routers.retain(|other| other != router);
            true
        } else {
            false
        }
    }

    fn learn(&mut self, router: &Uuid, instance: u64) -> Result<(), Trouble> {
        self.instance = instance;
        if !self.routers.contains(router) {
            if self.routers.len() >= MAX_ROUTERS {
                let _ = self.routers.remove(0);
            }
            self.routers
                .push(*router, GFP_KERNEL)
                .map_err(|_| Trouble::Failed("remember the peer", ENOMEM))?;
        }
        Ok(())
    }
}

impl Rails {
    fn is_idle(&self) -> bool {
        self.slots.iter().all(Option::is_none)
    }

    fn speed(&self) -> u32 {
        let up = self.slots.iter().flatten();
        up.fold(0, |sum, rail| sum.saturating_add(rail.speed))
    }

    /// A number that is not taken, if there is one.
    fn free(&self) -> Trouble {
        let mut numbers = RailId::all();
        match numbers.find(|id| self.slots[id.index()].is_none()) {
            Some(id) => Trouble::Taken(id),
            None => Trouble::Refused(Refusal {
                cause: Cause::Rails,
                // A small constant.
                ours: MAX_RAILS as u32,
                theirs: 0,
            }),
        }
    }

    /// Tells the network device what the rails are now.
    fn update(&self) {
        if let Some(ethernet) = &self.ethernet {
            ethernet.set_carrier(self.speed());
        }
    }

    /// What the log calls the peer.
    fn name(&self) -> &CStr {
        self.ethernet.as_ref().map_or(c"peer", Ethernet::name)
    }
}

impl Peer {
    fn new(xdomain: &XDomain, identity: Identity) -> Result<Arc<Self>> {
        let deaths = Deaths::new()?;
        let wire = Wire::new(deaths.clone())?;
        let wire_name = Arc::new(WireName(Atomic::new(0)), GFP_KERNEL)?;
        let parent = xdomain.device();
        let rails = Rails {
            ethernet: None,
            slots: [const { None }; MAX_RAILS],
            ended: [None; MAX_RAILS],
            instance: 0,
        };
        let peer = Arc::pin_init(
            pin_init!(Self {
                wire,
                wire_name,
                deaths,
                is_new: Atomic::new(true),
                parent,
                identity <- new_mutex!(identity, "usb4_rxe identity"),
                rails <- new_mutex!(rails, "usb4_rxe rails"),
            }),
            GFP_KERNEL,
        )?;
        let address = ethernet::address(&xdomain.local(), &xdomain.remote());
        // SAFETY: The host router's device is there while one of its cables is, and `parent_gone`
        // ends the peer before it goes.
        let made = unsafe { Ethernet::new(parent, address, xdomain.speed(), &peer.wire) };
        match made {
            Ok(ethernet) => {
                peer.wire.set_netdev(Some(ethernet.netdev()));
                peer.rails.lock().ethernet = Some(ethernet);
                Ok(peer)
            }
            Err(error) => {
                peer.wire.shut();
                Err(error)
            }
        }
    }

    /// The name of its wire.
    pub fn wire_name(&self) -> &Arc<WireName> {
        &self.wire_name
    }

    /// Whether this is the first time that somebody asks.
    pub fn is_new(&self) -> bool {
        self.is_new.xchg(false, ordering::Relaxed)
    }

    /// Makes the RDMA device, unless there is one. Takes RTNL.
    pub fn add_device(&self) {
        let netdev = self.rails.lock().ethernet.as_ref().map(Ethernet::netdev);
        let Some(netdev) = netdev else { return };
        if let Err(error) = link::add_automatic(&netdev) {
            let rails = self.rails.lock();
            let name = rails.name();
            pr_err!("{name}: no RDMA device ({error:?}); try 'rdma link add usb4_rxe0 type usb4_rxe netdev {name}'\n");
        }
    }

    /// Brings the network device up, so that the RDMA device works without a command. Takes RTNL.
    pub fn open(&self) {
        let netdev = self.rails.lock().ethernet.as_ref().map(Ethernet::netdev);
        let Some(netdev) = netdev else { return };
        if let Err(error) = Ethernet::open(&netdev) {
            let rails = self.rails.lock();
            let name = rails.name();
            pr_warn!("{name}: cannot bring it up ({error:?}); try 'ip link set {name} up'\n");
        }
    }

    /// Brings a rail up as agreed.
    ///
    /// # Errors
    ///
    /// What failed; nothing is left of it.
    pub fn bring_up(&self, cable: &Arc<Cable>, life: &Life) -> Result<(), Trouble> {
        let mut rails = self.rails.lock();
        if rails.ethernet.is_none() {
            // It has ended since it was found.
            return Err(Trouble::Outdated);
        }
        self.meet(&mut rails, life)?;
        let id = life.agreement.rail;
        if rails.slots[id.index()].is_some() {
            return Err(if id != life.mine.rail {
                // The peer's other cable by that number is no more, and soon we shall see that, too.
                Trouble::Failed(
                    "use the number that the peer wants: another cable still has it",
                    EBUSY,
                )
            } else {
                rails.free()
            });
        }
        let rail = self.build(cable, life)?;
        // What was noted of an earlier rail of this number.
        self.deaths.forget(id);
        let up = RailUp {
            epoch: life.agreement.epoch,
            speed: rail.speed,
            tx_ring: ring::FRAMES,
            rx_ring: ring::FRAMES,
            peer_ring: life.agreement.peer_rx_ring.into(),
        };
        if let Err(error) = self.wire.rail_up(id, &up, &rail.rings) {
            rail.undo();
            return Err(Trouble::Failed(
                "begin a rail: earlier ones still end",
                error,
            ));
        }
        let speed = rail.speed;
        rails.slots[id.index()] = Some(rail);
        rails.update();
        if compat::may_log() {
            let (name, cable) = (rails.name(), cable.xdomain.name());
            let (rail, sum) = (id.get(), rails.speed());
            pr_info!("{name}: rail {rail} is up, cable {cable}, {speed} Gb/s; {sum} Gb/s in all\n");
        }
        Ok(())
    }

    /// Sees to it that the wire's numbers are those that both ends mean.
    fn meet(&self, rails: &mut Rails, life: &Life) -> Result<(), Trouble> {
        let instance = life.theirs.instance;
        match life.numbers(self.wire_name.get(), rails.instance == instance) {
            Numbers::GoOn => return Ok(()),
            Numbers::AskAgain => return Err(Trouble::Outdated),
            Numbers::BeginAnew => {}
        }
        self.end_rails(rails);
        self.wire.reset();
        rails.instance = instance;
        let name = &self.wire_name.0;
        name.store(life.agreement.wire, ordering::Relaxed);
        Ok(())
    }

    /// Ends all rails.
    fn end_rails(&self, rails: &mut Rails) {
        for id in RailId::all() {
            if let Some(rail) = rails.slots[id.index()].take() {
                rail.cable.died(&rail.life);
                self.end_rail(rails, id, rail);
            }
        }
        rails.update();
    }

    /// Rings and paths.
    fn build(&self, cable: &Arc<Cable>, life: &Life) -> Result<Rail, Trouble> {
        let end = &cable.xdomain;
        let has_e2e = life.agreement.capabilities.contains(Capabilities::E2E);
        let rx_hop = end
            .take_rx_hop(life.theirs.hop)
            .map_err(|error| Trouble::Failed("get the HopID that the peer asks for", error))?;
        // SAFETY: The cable is there, and the rail ends before it does.
        let rings = unsafe { Rings::alloc(end.nhi(), has_e2e, &self.wire) };
        let rings = rings.map_err(|error| {
            end.release_rx_hop(rx_hop);
            Trouble::Failed("get rings", error)
        })?;
        let paths = Paths {
            tx_hop: cable.tx_hop(),
            tx_ring: rings.tx_hop(),
            rx_hop,
            rx_ring: rings.rx_hop(),
        };
        rings.start();
        if let Err(error) = end.enable_paths(&paths) {
            rings.stop();
            end.release_rx_hop(rx_hop);
            return Err(Trouble::Failed("set up paths", error));
        }
        Ok(Rail {
            cable: cable.clone(),
            life: *life,
            rings,
            paths,
            speed: end.speed(),
            why: None,
        })
    }

    /// Takes a rail down, if it still is this one.
    pub fn take_down(&self, cable: &Arc<Cable>, life: &Life) {
        let id = life.agreement.rail;
        let mut rails = self.rails.lock();
        let slot = &mut rails.slots[id.index()];
        let is_this = |rail: &Rail| Arc::ptr_eq(&rail.cable, cable) && rail.life == *life;
        if !slot.as_ref().is_some_and(is_this) {
            return;
        }
        let Some(rail) = slot.take() else { return };
        rails.update();
        self.end_rail(&mut rails, id, rail);
    }

    fn end_rail(&self, rails: &mut Rails, id: RailId, mut rail: Rail) {
        // What the wire knows, if it was quicker than the work that is told of it.
        rail.why = rail.why.or(self.deaths.noted(id));
        if let (None, Some(reason)) = (rail.why, rail.cable.goodbye()) {
            self.wire.close_rail(id, reason);
            fsleep(Delta::from_millis(GOODBYE_MS));
        }
        self.wire.rail_down(id, rail.why.unwrap_or(Down::Local));
        let (why, advice) = rail.reason();
        rails.ended[id.index()] = Some(why);
        if compat::may_log() {
            let (name, cable) = (rails.name(), rail.cable.xdomain.name());
            let id = id.get();
            pr_info!("{name}: rail {id} is down, cable {cable}: {why}{advice}\n");
        }
        rail.undo();
    }

    fn show(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut views;
        {
            let identity = self.identity.lock();
            let rails = self.rails.lock();
            // No rail comes or goes now, so that state and reason belong together.
            views = self.wire.rails().map_err(|_| fmt::Error)?;
            let (name, speed) = (rails.name(), rails.speed());
            f.write_fmt(fmt!("{name}: {speed} Gb/s\n"))?;
            for router in &identity.routers {
                writeln!(f, "  host router {router}")?;
            }
            for (id, rail) in rails.slots.iter().enumerate() {
                if let Some(rail) = rail {
                    write!(f, "  rail {id}: ")?;
                    rail.show(f)?;
                }
            }
            for view in &mut views {
                view.ended = rails.ended[view.id.index()];
            }
        }
        core::fmt::Display::fmt(&Table(&views), f)?;

        let mut shown = Ok(());
        f.write_str("  all rails\n")?;
        let mut names = wire::COUNTER_NAMES.iter();
        self.wire.each_counter(|value| {
            let name = names.next().copied().unwrap_or_default();
            shown = shown.and_then(|()| show_counter(f, name, value));
        });
        shown?;

        let mut names = Counter::ALL.iter();
        let mut shown = f.write_str("  RDMA, of rdma statistic\n");
        let has_device = self.wire.each_rdma_counter(|value| {
            if let Some((counter, name)) = names.next() {
                if counter.is_trouble() {
                    shown = shown.and_then(|()| show_counter(f, name, value));
                }
            }
        });
        shown?;
        if !has_device {
            f.write_str("    there is no RDMA device\n")?;
        }
        Ok(())
    }

    /// The wire says that rails died.
    fn bury(&self) {
        let mut rails = self.rails.lock();
        // Not before: a rail that begins anew under this lock forgets what was noted of its last life.
        let dead = self.deaths.take();
        for (slot, why) in rails.slots.iter_mut().zip(dead) {
            if let (Some(rail), Some(why)) = (slot, why) {
                rail.why = Some(why);
                rail.cable.died(&rail.life);
            }
        }
    }

    /// Ends the peer: rails, RDMA device, network device. Sleeps, takes RTNL.
    fn end(&self) {
        let ethernet = {
            let mut rails = self.rails.lock();
            self.end_rails(&mut rails);
            FORGOTTEN.fetch_add(1, ordering::Relaxed);
            self.wire_name.0.store(0, ordering::Relaxed);
            rails.ethernet.take()
        };
        self.wire.set_netdev(None);
        // Takes the RDMA device along: the books hear of it, and their work unregisters it.
        drop(ethernet);
        link::settle();
        self.wire.shut();
        work::cancel(&self.deaths);
    }
}

impl Rail {
    /// Undoes what [`Peer::build`] did. The wire does not use the rings any more.
    fn undo(self) {
        let end = &self.cable.xdomain;
        if end.disable_paths(&self.paths).is_err() {
            if compat::may_log() {
                let name = end.name();
                pr_warn!("{name}: the thunderbolt driver could not take the paths down; if the cable stays unused, plug it in again\n");
            }
        }
        self.rings.stop();
        end.release_rx_hop(self.paths.rx_hop);
    }

    fn show(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, speed, epoch) = (
            self.cable.xdomain.name(),
            self.speed,
            self.life.agreement.epoch,
        );
        let agreed = &self.life.agreement;
        let flow = match agreed.capabilities.contains(Capabilities::E2E) {
            true => "e2e",
            false => "no e2e",
        };
        let Paths {
            tx_hop,
            tx_ring,
            rx_hop,
            rx_ring,
        } = self.paths;
        let peer_ring = agreed.peer_rx_ring;
        f.write_fmt(fmt!("cable {name}, {speed} Gb/s, life {epoch}, {flow}, "))?;
        writeln!(
            f,
            "HopIDs out {tx_hop} in {rx_hop}, rings out {tx_ring} in {rx_ring}, peer's ring {peer_ring}"
        )
    }

    /// Why it is down, and what an owner can do about it.
    fn reason(&self) -> (&'static str, &'static str) {
        // However it showed.
        if self.cable.xdomain.is_unplugged() {
            return ("unplugged", "");
        }
        match self.why {
            Some(Down::Stalled | Down::Silent) => (
                "frames do not arrive",
                "; trying again; if it happens often, try another cable or port",
            ),
            Some(Down::Starved) => (
                "the peer takes no frames",
                "; trying again; if it happens often, the peer is too busy, or its log says why",
            ),
            Some(Down::Peer) => (
                "the peer does not use it any more",
                "; trying again; it is pulled there, or the peer's log says why",
            ),
            Some(Down::Closed(Reason::Suspend)) => ("the peer sleeps", ""),
            Some(Down::Closed(_)) => ("the peer closed it", ""),
            Some(Down::Violation) => (
                "the peer broke the rules",
                "; trying again; use the same version of usb4_rxe at both ends",
            ),
            Some(Down::Local) | None => match self.cable.goodbye() {
                Some(Reason::Suspend) => ("this host sleeps", ""),
                Some(_) => ("closed", ""),
                None => ("the peer begins anew", ""),
            },
        }
    }
}

fn show_counter(f: &mut fmt::Formatter<'_>, name: &str, value: u64) -> fmt::Result {
    f.write_fmt(core::format_args!("    {name:<24}{value:>14}\n"))
}

/// Which rails died by themselves: noted with locks held, told later.
#[pin_data]
struct Deaths {
    #[pin]
    dead: IrqLock<[Option<Down>; MAX_RAILS]>,
    #[pin]
    work: Work<Deaths>,
}

impl_has_work! {
    impl HasWork<Self> for Deaths { self.work }
}

impl Deaths {
    /// # Invariants
    ///
    /// There are none but in an `Arc`.
    fn new() -> Result<Arc<Self>> {
        Arc::pin_init(
            pin_init!(Self {
                dead <- new_irq_lock!([None; MAX_RAILS], "usb4_rxe dead rails"),
                work <- new_work!("usb4_rxe dead rails"),
            }),
            GFP_KERNEL,
        )
    }

    fn take(&self) -> [Option<Down>; MAX_RAILS] {
        core::mem::replace(&mut *self.dead.lock(), [None; MAX_RAILS])
    }

    fn noted(&self, id: RailId) -> Option<Down> {
        self.dead.lock()[id.index()]
    }

    fn forget(&self, id: RailId) {
        self.dead.lock()[id.index()] = None;
    }
}

impl Watcher for Deaths {
    fn rail_died(&self, id: RailId, why: Down) {
        self.dead.lock()[id.index()] = Some(why);
        // SAFETY: All are made in an `Arc`, see `new`.
        let this: Arc<Self> = unsafe { ArcBorrow::from_raw(self) }.into();
        // SAFETY: A work queue of the kernel's, made at boot, for good.
        let queue = unsafe { Queue::from_raw(compat::system_dfl_long_wq.cast()) };
        // Enqueued twice is enqueued once.
        let _ = queue.enqueue(this);
    }
}

impl WorkItem for Deaths {
    type Pointer = Arc<Deaths>;

    fn run(this: Arc<Deaths>) {
        let peer = {
            let peers = PEERS.lock();
            let found = peers.iter().find(|peer| Arc::ptr_eq(&peer.deaths, &this));
            found.cloned()
        };
        if let Some(peer) = peer {
            peer.bury();
        }
    }
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
            let at = peers.iter().position(|peer| peer.parent == device);
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
