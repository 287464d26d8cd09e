// SPDX-License-Identifier: GPL-2.0-only

//! A rail that is up: a cable, a life that both ends agreed on, rings and paths.

use core::fmt::Write;

use kernel::fmt;
use kernel::prelude::*;
use kernel::sync::Arc;

use crate::usb4::buffers::Mapping;
use crate::usb4::cable::{Cable, Trouble};
use crate::usb4::rail::frame::close::Reason;
use crate::usb4::rail::frame::hello::Capabilities;
use crate::usb4::rail::login::Life;
use crate::usb4::rail::port::Down;
use crate::usb4::ring::Rings;
use crate::usb4::wire::Wire;
use crate::usb4::xdomain::Paths;

/// A rail that is up.
pub struct Rail {
    pub cable: Arc<Cable>,
    /// As both ends agreed on it.
    pub life: Life,
    pub rings: Arc<Rings>,
    paths: Paths,
    /// In Gb/s.
    pub speed: u32,
    /// Why the wire gave it up, if it did.
    pub why: Option<Down>,
}

impl Rail {
    /// Rings and paths, on which nothing travels yet. `others` are all that this peer has.
    ///
    /// # Errors
    ///
    /// What failed; nothing is left of it.
    pub fn build<'a>(
        cable: &Arc<Cable>,
        life: &Life,
        wire: &Arc<Wire>,
        mut others: impl Iterator<Item = &'a Self>,
    ) -> Result<Self, Trouble> {
        let end = &cable.xdomain;
        let has_e2e = life.agreement.capabilities.contains(Capabilities::E2E);
        let shared = others.find_map(|other| other.rings.buffers_of(end.nhi()).cloned());
        let tx_map = match shared {
            Some(map) => map,
            // SAFETY: The cable is listed and not shut, so the host router is there. It goes when all its
            // cables are shut, and with the last of their rails goes this.
            None => unsafe { Rings::map_buffers(end.nhi(), wire) }
                .map_err(|error| Trouble::Failed("map the buffers", error))?,
        };
        let rx_hop = end
            .take_rx_hop(life.theirs.hop)
            .map_err(|error| Trouble::Failed("get the HopID that the peer asks for", error))?;
        let joined = Self::join(cable, rx_hop, has_e2e, wire, &tx_map);
        let (rings, paths) = joined.inspect_err(|_| end.release_rx_hop(rx_hop))?;
        Ok(Self {
            cable: cable.clone(),
            life: *life,
            rings,
            paths,
            speed: end.speed(),
            why: None,
        })
    }

    /// Rings with paths.
    ///
    /// Paths that were made while another cable of the host router was being pulled may have stayed
    /// (`XDomain::enable_paths` says how), and only its own XDomain can take them down. They keep the
    /// numbers of their rings, which the core hands out again: so a second pair is tried, while the
    /// first one still has its numbers.
    fn join(
        cable: &Arc<Cable>,
        rx_hop: i32,
        has_e2e: bool,
        wire: &Arc<Wire>,
        tx_map: &Arc<Mapping>,
    ) -> Result<(Arc<Rings>, Paths), Trouble> {
        let end = &cable.xdomain;
        let mut first: Option<(Arc<Rings>, Error)> = None;
        loop {
            // SAFETY: The cable is listed and not shut, so the host router is there, and stays until it
            // is shut. The rail ends before that, and so do rings that it does not get.
            let rings = match unsafe { Rings::alloc(end.nhi(), has_e2e, wire, tx_map) } {
                Ok(rings) => rings,
                Err(error) => {
                    return Err(match first {
                        Some((_, error)) => Trouble::Failed("set up paths", error),
                        None => Trouble::Failed("get rings", error),
                    })
                }
            };
            let paths = Paths {
                tx_hop: cable.tx_hop(),
                tx_ring: rings.tx_hop(),
                rx_hop,
                rx_ring: rings.rx_hop(),
            };
            rings.start();
            let Err(error) = end.enable_paths(&paths) else {
                return Ok((rings, paths));
            };
            rings.stop();
            if first.is_some() || error != ENOMEM {
                return Err(Trouble::Failed("set up paths", error));
            }
            first = Some((rings, error));
        }
    }

    /// Undoes what [`Self::build`] did. The wire does not use the rings any more.
    pub fn undo(self) {
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

    /// A line of it for debugfs.
    pub fn show(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
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
    pub fn reason(&self) -> (&'static str, &'static str) {
        match self.why {
            // Before it was unplugged, if it was: a host that sleeps shuts its host router off.
            Some(Down::Closed(Reason::Suspend)) => ("the peer sleeps", ""),
            Some(Down::Closed(_)) => ("the peer closed it", ""),
            // However it showed.
            _ if self.cable.xdomain.is_unplugged() => ("unplugged", ""),
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
