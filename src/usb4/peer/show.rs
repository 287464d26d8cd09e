// SPDX-License-Identifier: GPL-2.0-only

//! A peer as debugfs shows it, see [`crate::usb4::status`].

use core::fmt::Write;

use kernel::fmt;
use kernel::prelude::*;

use super::Peer;
use crate::rxe::events::Counter;
use crate::usb4::rail::tally::Table;
use crate::usb4::wire;

impl Peer {
    /// Identity, rails, counters.
    ///
    /// # Errors
    ///
    /// No more room, or no memory for it.
    pub fn show(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
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
}

fn show_counter(f: &mut fmt::Formatter<'_>, name: &str, value: u64) -> fmt::Result {
    f.write_fmt(core::format_args!("    {name:<24}{value:>14}\n"))
}
