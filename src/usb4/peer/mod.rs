// SPDX-License-Identifier: GPL-2.0-only

//! A host at the other end of our cables: one wire, one network device, one RDMA device, however many
//! cables there are.
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
//! [`crate::usb4::peers`] finds the peer of a cable. [`wire_name`] says when both ends' numbers go on.
//!
//! # Locks
//!
//! Identity, then a peer's rails, then what [`crate::usb4::cable`] says.

pub mod deaths;
pub mod identity;
mod rail;
mod show;
pub mod wire_name;

use kernel::prelude::*;
use kernel::str::CStr;
use kernel::sync::atomic::{ordering, Atomic};
use kernel::sync::{new_mutex, Arc, Mutex};
use kernel::time::{delay::fsleep, Delta};

use self::deaths::Deaths;
use self::identity::Identity;
use self::rail::Rail;
use self::wire_name::WireName;
use super::cable::{Cable, Trouble};
use super::ethernet::{self, Ethernet};
use super::rail::frame::hello::{Cause, Refusal};
use super::rail::id::RailId;
use super::rail::login::{Life, Numbers};
use super::rail::port::Down;
use super::rail::tx::RailUp;
use super::rail::MAX_RAILS;
use super::ring;
use super::wire::Wire;
use super::xdomain::XDomain;
use crate::verbs::{link, work};

/// How long a goodbye may wait behind what is in the ring.
const GOODBYE_TRIES: u32 = 20;
/// How long one that has left takes to be heard.
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
    /// By what it is recognised.
    #[pin]
    pub identity: Mutex<Identity>,
    #[pin]
    rails: Mutex<Rails>,
}

// SAFETY: The pointer is only compared.
unsafe impl Send for Peer {}
// SAFETY: As above.
unsafe impl Sync for Peer {}

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
    /// A peer that was never seen, and its network device. Takes RTNL. The XDomain is that of a cable
    /// that is listed and not shut.
    ///
    /// # Errors
    ///
    /// No memory, or what the network device says.
    pub fn new(xdomain: &XDomain, identity: Identity) -> Result<Arc<Self>> {
        let deaths = Deaths::new()?;
        let wire = Wire::new(deaths.clone())?;
        let wire_name = Arc::new(WireName::new(), GFP_KERNEL)?;
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
        // SAFETY: Called for a cable that is not shut, so the host router is there. Before it goes,
        // and when all cables below it are shut, `parent_gone` ends the peer.
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

    /// It has no rail.
    pub fn is_idle(&self) -> bool {
        self.rails.lock().is_idle()
    }

    /// Whether its devices hang below this one.
    pub fn hangs_below(&self, device: *mut compat::device) -> bool {
        self.parent == device
    }

    /// Whether these are what it learns of its rails' deaths by.
    pub fn is_told_by(&self, deaths: &Arc<Deaths>) -> bool {
        Arc::ptr_eq(&self.deaths, deaths)
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
            pr_err!("{name}: no RDMA device ({error:?}); try 'rdma link add NAME type usb4_rxe netdev {name}'\n");
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
        let rail = Rail::build(cable, life, &self.wire, rails.slots.iter().flatten())?;
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
        self.wire_name.begin(life.agreement.wire);
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
            for _ in 0..GOODBYE_TRIES {
                let has_left = self.wire.has_left(id);
                fsleep(Delta::from_millis(GOODBYE_MS));
                if has_left {
                    break;
                }
            }
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

    /// The wire says that rails died.
    pub fn bury(&self) {
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
    pub fn end(&self) {
        let ethernet = {
            let mut rails = self.rails.lock();
            self.end_rails(&mut rails);
            self.wire_name.forget();
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
