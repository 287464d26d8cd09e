// SPDX-License-Identifier: GPL-2.0-only

//! One cable to a peer: carries out what [`Login`] decides.
//!
//! ```text
//!   probe, resume, remove, suspend ──┐
//!   protocol handler: hear ──────────┼─> Login (locked for moments) ── step ──┐
//!   peer: the rail died ─────────────┘                                        v
//!                                             work: Ask, Tell: a request, waits for the answer
//!                                                   Begin, End: Peer::bring_up, take_down
//! ```
//!
//! The work is the only one that carries out steps, in a work queue of its own: what the core calls us
//! with runs in queues and under locks that requests and paths need. [`Cable::shut`] and
//! [`Cable::sleep`] wait for it, and then carry out what is left by themselves.
//!
//! # Locks
//!
//! `carrying`, then a peer's rails, then `login`; the gate last. The domain's lock is taken under the
//! first two. Whoever waits for `carrying` holds none of them, nor the domain's lock, nor RTNL.

use kernel::prelude::*;
use kernel::sync::atomic::{ordering, Atomic};
use kernel::sync::{new_mutex, new_spinlock, Arc, Mutex, SpinLock};
use kernel::time::msecs_to_jiffies;
use kernel::workqueue::{impl_has_delayed_work, new_delayed_work, DelayedWork, WorkItem};

use super::peer::wire_name::{no_wire, WireName};
use super::peer::Peer;
use super::peers;
use super::rail::frame::close::Reason;
use super::rail::frame::envelope::Envelope;
use super::rail::frame::header::VERSION;
use super::rail::frame::hello::{later, Capabilities, Cause, Hello, Message, Refusal};
use super::rail::id::RailId;
use super::rail::login::{Life, Login, News, Step};
use super::ring;
use super::xdomain::XDomain;
use crate::rxe::time::Time;
use crate::verbs::lock::Rundown;
use crate::verbs::timer::now;
use crate::verbs::work;

/// A cable.
#[pin_data]
pub struct Cable {
    /// Our end. Its host router is used by the work and under `calls`, so until the cable is shut.
    pub xdomain: XDomain,
    /// The HopID we send on, until the cable is shut.
    tx_hop: Atomic<i32>,
    #[pin]
    login: Mutex<Login>,
    /// The wire of whom it leads to, as far as is known.
    #[pin]
    wire: Mutex<Option<Arc<WireName>>>,
    /// One at a time carries out steps.
    #[pin]
    carrying: Mutex<Carried>,
    #[pin]
    work: DelayedWork<Cable>,
    /// Whether the work may be started.
    #[pin]
    gate: SpinLock<bool>,
    /// Messages of the peer's being answered.
    #[pin]
    calls: Rundown,
    /// One at a time is answered: the host behind another host router could write in the peer's name, and is
    /// heard by another worker.
    #[pin]
    answering: Mutex<()>,
    #[pin]
    is_shut: Mutex<bool>,
    /// This host sleeps, or is about to.
    is_asleep: Atomic<bool>,
    /// Numbers of our messages.
    number: Atomic<u32>,
}

/// What whoever carries out steps remembers.
struct Carried {
    /// Whose rail the present life is.
    peer: Option<Arc<Peer>>,
    /// It is not the first one: an RDMA device that an administrator deletes stays deleted until the
    /// cable is plugged in again.
    is_known: bool,
    /// The last failure that was logged.
    complaint: Option<Error>,
}

impl_has_delayed_work! {
    impl HasDelayedWork<Self> for Cable { self.work }
}

/// The latest epoch of all rails, see [`Login::new`].
static LATEST: Atomic<u32> = Atomic::new(0);

fn latest() -> u8 {
    // Only such are stored.
    LATEST.load(ordering::Relaxed) as u8
}

/// A life with this epoch begins; others may, at the same moment.
fn note(epoch: u8) {
    let mut known = LATEST.load(ordering::Relaxed);
    loop {
        let latest = later(known as u8, epoch);
        match LATEST.cmpxchg(known, latest.into(), ordering::Relaxed) {
            Ok(_) => return,
            Err(now) => known = now,
        }
    }
}

/// What we say of us at first.
fn hello(instance: u64, tx_hop: i32, rail: RailId) -> Hello {
    // Rings have fewer than 2^16 frames; HopIDs have 11 bits.
    let ring = ring::FRAMES as u16;
    Hello {
        min_version: VERSION,
        max_version: VERSION,
        epoch: latest().wrapping_add(1),
        offers: Capabilities::E2E.with(Capabilities::TRAINS),
        requires: Capabilities::REQUIRED,
        instance,
        wire: no_wire(),
        rx_ring: ring,
        tx_ring: ring,
        hop: tx_hop as u16,
        rail,
    }
}

impl Cable {
    /// The cable of an XDomain. Nothing happens until [`resume`](Self::resume); until then the host
    /// router need not be there. Its rail gets that number if it is ours to choose.
    ///
    /// # Errors
    ///
    /// `ENOMEM`, `ENOSPC` if there is no HopID left.
    pub fn new(xdomain: XDomain, instance: u64, number: RailId) -> Result<Arc<Self>> {
        let carried = Carried {
            peer: None,
            is_known: false,
            complaint: None,
        };
        let login = Login::new(hello(instance, 0, number));
        let wire = peers::wire_to(&xdomain.remote());
        let cable = Arc::pin_init(
            pin_init!(Self {
                xdomain,
                tx_hop: Atomic::new(0),
                login <- new_mutex!(login, "usb4_rxe login"),
                wire <- new_mutex!(wire, "usb4_rxe cable's wire"),
                carrying <- new_mutex!(carried, "usb4_rxe cable"),
                work <- new_delayed_work!("usb4_rxe cable"),
                gate <- new_spinlock!(true, "usb4_rxe cable's gate"),
                calls <- Rundown::new(),
                answering <- new_mutex!((), "usb4_rxe cable's answer"),
                is_shut <- new_mutex!(false, "usb4_rxe cable's end"),
                is_asleep: Atomic::new(false),
                number: Atomic::new(0),
            }),
            GFP_KERNEL,
        )?;
        let tx_hop = cable.xdomain.take_tx_hop()?;
        cable.tx_hop.store(tx_hop, ordering::Relaxed);
        *cable.login.lock() = Login::new(hello(instance, tx_hop, number));
        Ok(cable)
    }

    /// What we would call its rail.
    pub fn number(&self) -> RailId {
        self.login.lock().number()
    }

    /// The HopID we send on.
    pub fn tx_hop(&self) -> i32 {
        self.tx_hop.load(ordering::Relaxed)
    }

    /// Begins to talk, or to talk again, unless it is shut: nobody would end it once more.
    pub fn resume(self: &Arc<Self>) {
        let is_shut = self.is_shut.lock();
        if *is_shut {
            return;
        }
        self.is_asleep.store(false, ordering::Relaxed);
        self.login.lock().open(now());
        self.kick();
    }

    /// Stops talking; the rail is down when this returns. Sleeps, up to some seconds.
    pub fn pause(self: &Arc<Self>) {
        {
            let mut login = self.login.lock();
            if self.xdomain.is_unplugged() {
                login.gone();
            } else {
                login.close();
            }
        }
        self.carry_out();
    }

    /// The same, because this host goes to sleep.
    pub fn sleep(self: &Arc<Self>) {
        self.is_asleep.store(true, ordering::Relaxed);
        self.pause();
    }

    /// The same, for good: nothing of the host router's is used any more when this returns. May be
    /// called again.
    pub fn shut(self: &Arc<Self>) {
        let mut is_shut = self.is_shut.lock();
        if *is_shut {
            return;
        }
        *is_shut = true;
        self.pause();
        *self.gate.lock() = false;
        work::cancel_delayed(self);
        self.calls.close();
        // What a last message of the peer's may have left.
        self.carry_out();
        self.xdomain.release_tx_hop(self.tx_hop());
    }

    /// Whom it leads to is known now.
    pub fn set_wire(&self, wire: &Arc<WireName>) {
        *self.wire.lock() = Some(wire.clone());
    }

    /// Which wire it would be a rail of.
    fn wire(&self) -> u32 {
        let wire = self.wire.lock();
        wire.as_ref().map_or_else(no_wire, |wire| wire.get())
    }

    /// Whether a message is for this cable.
    pub fn is_for_us(&self, envelope: &Envelope) -> bool {
        let end = &self.xdomain;
        envelope.from == end.remote() && envelope.to == end.local() && envelope.route == end.route()
    }

    /// Takes a message of the peer's. Does not wait for anything that control messages are needed for.
    ///
    /// # Safety
    ///
    /// Called by the protocol handler.
    pub unsafe fn hear(self: &Arc<Self>, envelope: &Envelope) {
        let Some(_call) = self.calls.enter() else {
            return;
        };
        let answer = {
            let mut login = self.login.lock();
            login.renew(self.wire());
            login.hear(now(), &envelope.message)
        };
        if let Some(answer) = answer {
            let _one = self.answering.lock();
            // If it is lost the peer asks again.
            // SAFETY: As our caller promises, and with the lock taken.
            let _ = unsafe { self.xdomain.answer(envelope.number, &answer) };
        }
        self.kick();
    }

    /// The rail of a life is down: log in again.
    pub fn died(self: &Arc<Self>, life: &Life) {
        self.login.lock().down(now(), life.agreement.epoch);
        self.kick();
    }

    /// Has the work look at once.
    fn kick(self: &Arc<Self>) {
        self.start(0);
    }

    /// Has the work look when it is time; never if that is what it waits for.
    fn start_at(self: &Arc<Self>, until: Time) {
        if until != Time::NEVER {
            let ms = until.since(now()).get().div_ceil(1_000_000);
            self.start(u32::try_from(ms).unwrap_or(u32::MAX));
        }
    }

    fn start(self: &Arc<Self>, delay_ms: u32) {
        let gate = self.gate.lock();
        if *gate {
            work::start_delayed(self, msecs_to_jiffies(delay_ms));
        }
    }

    /// Does what is to be done now, and sees to it that the rest is done when it is time.
    fn carry_out(self: &Arc<Self>) {
        let mut carried = self.carrying.lock();
        loop {
            let step = {
                let mut login = self.login.lock();
                login.renew(self.wire());
                let step = login.step(now());
                // Before somebody changes the login and kicks: this would take the place of that.
                if let Step::Wait(until) = step {
                    self.start_at(until);
                }
                step
            };
            self.tell_news();
            match step {
                Step::Begin(life) => {
                    let (result, number) = match self.begin(&mut carried, &life) {
                        Ok(()) => (Ok(()), None),
                        Err(Trouble::Refused(refusal)) => (Err(Some(refusal)), None),
                        Err(Trouble::Outdated) => (Err(None), None),
                        Err(Trouble::Taken(number)) => (Err(None), Some(number)),
                        Err(Trouble::Failed(what, error)) => {
                            self.complain(&mut carried, what, error);
                            (Err(None), None)
                        }
                    };
                    let mut login = self.login.lock();
                    login.began(now(), &life, result);
                    if let Some(number) = number {
                        login.renumber(number);
                    }
                }
                Step::End(life) => {
                    if let Some(peer) = carried.peer.take() {
                        peer.take_down(self, &life);
                    }
                }
                Step::Ask(mine) => {
                    let answer = self.request(&Message::Login(mine));
                    self.login.lock().answered(now(), &mine, answer.as_ref());
                }
                Step::Tell { epoch } => {
                    // Once: who does not hear it sees the silence.
                    self.request(&Message::Logout { epoch });
                }
                Step::Wait(_) => return,
            }
        }
    }

    fn request(&self, message: &Message) -> Option<Message> {
        if self.xdomain.is_unplugged() {
            return None;
        }
        let number = self.number.fetch_add(1, ordering::Relaxed) & (u32::MAX >> 1);
        self.xdomain.ask(number, message).ok()
    }

    fn begin(self: &Arc<Self>, carried: &mut Carried, life: &Life) -> Result<(), Trouble> {
        note(life.agreement.epoch);
        let peer = peers::find(&self.xdomain, life)?;
        self.set_wire(peer.wire_name());
        peer.bring_up(self, life)?;
        carried.complaint = None;
        let is_plugged_in = !core::mem::replace(&mut carried.is_known, true);
        let is_new = peer.is_new();
        if is_new || is_plugged_in {
            peer.add_device();
        }
        // Once: who takes it down later wants it down.
        if is_new {
            peer.open();
        }
        carried.peer = Some(peer);
        Ok(())
    }

    fn complain(&self, carried: &mut Carried, what: &str, error: Error) {
        if carried.complaint != Some(error) && compat::may_log() {
            carried.complaint = Some(error);
            let (name, hint) = (self.xdomain.name(), hint(error));
            pr_err!("{name}: cannot {what} ({error:?}){hint}; trying again\n");
        }
    }

    fn tell_news(&self) {
        loop {
            let Some(news) = self.login.lock().news() else {
                return;
            };
            if !compat::may_log() {
                continue;
            }
            let name = self.xdomain.name();
            match news {
                News::WeRefuse(refusal) => {
                    let advice = advice(&refusal);
                    pr_err!("{name}: the peer is refused: {refusal}{advice}\n");
                }
                News::TheyRefuse(refusal) => {
                    let advice = advice(&refusal);
                    pr_err!("{name}: refused by the peer: {refusal}{advice}\n");
                }
            }
        }
    }

    /// What the peer should hear on the rail itself when we take it down.
    pub fn goodbye(&self) -> Option<Reason> {
        if self.login.lock().is_open() || self.xdomain.is_unplugged() {
            None
        } else if self.is_asleep.load(ordering::Relaxed) {
            Some(Reason::Suspend)
        } else {
            Some(Reason::Shutdown)
        }
    }
}

/// Why a rail could not be brought up.
pub enum Trouble {
    /// The peer hears that.
    Refused(Refusal),
    /// The rail's number is taken; this one is not.
    Taken(RailId),
    /// What they agreed on does not hold any more; the next life will do.
    Outdated,
    /// What failed, and how.
    Failed(&'static str, Error),
}

/// What an owner can do about a refusal.
fn advice(refusal: &Refusal) -> &'static str {
    match refusal.cause {
        Cause::Version | Cause::Capability | Cause::Ring | Cause::Other(_) => {
            "; use the same version of usb4_rxe at both ends"
        }
        Cause::Rails => "; unplug a cable to use this one",
        Cause::Shutdown => "",
    }
}

/// What an owner can do about it.
fn hint(error: Error) -> &'static str {
    if error == ENOSPC {
        "; the host router has no rings or HopIDs left: does thunderbolt_net use them?"
    } else if error == EIO || error == ENOMEM {
        "; perhaps thunderbolt_net holds the buffers of this cable: unload it"
    } else {
        ""
    }
}

impl kernel::fmt::Display for Refusal {
    fn fmt(&self, f: &mut kernel::fmt::Formatter<'_>) -> kernel::fmt::Result {
        core::fmt::Display::fmt(self, f)
    }
}

impl WorkItem for Cable {
    type Pointer = Arc<Cable>;

    fn run(this: Arc<Cable>) {
        this.carry_out();
    }
}
