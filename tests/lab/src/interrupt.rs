// SPDX-License-Identifier: GPL-2.0-only

//! Ctrl-C (and SIGTERM, SIGHUP): ends the run that is on and keeps the next one from starting.
//!
//! A process has one handler for its life, while `lab test` has many runs: each run says where it wants to hear of it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::SyncSender;
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result};

use crate::guest::Event;

static INTERRUPTED: AtomicBool = AtomicBool::new(false);
static LISTENER: Mutex<Option<SyncSender<Event>>> = Mutex::new(None);

/// Sets the handler; once, at the start of the process.
pub fn install() -> Result<()> {
    ctrlc::set_handler(handle).context("cannot handle Ctrl-C")
}

/// From now on this run hears of it, and hears at once if it has happened already.
pub fn listen(events: &SyncSender<Event>) {
    let mut listener = LISTENER.lock().unwrap_or_else(PoisonError::into_inner);
    *listener = Some(events.clone());
    if interrupted() {
        let _ = events.try_send(Event::Interrupt);
    }
}

/// Whether somebody wants everything to end.
pub fn interrupted() -> bool {
    INTERRUPTED.load(Ordering::SeqCst)
}

fn handle() {
    INTERRUPTED.store(true, Ordering::SeqCst);
    let listener = LISTENER.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(events) = listener.as_ref() {
        // A full channel has a session behind it that reads, and looks at the flag after each event.
        let _ = events.try_send(Event::Interrupt);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::sync_channel;

    #[test]
    fn every_run_hears_of_it_also_one_that_begins_later() {
        let (first, first_events) = sync_channel(4);
        let (second, second_events) = sync_channel(4);
        listen(&first);
        listen(&second);
        handle();
        assert!(first_events.try_recv().is_err());
        assert!(matches!(second_events.try_recv(), Ok(Event::Interrupt)));
        let (third, third_events) = sync_channel(4);
        listen(&third);
        assert!(matches!(third_events.try_recv(), Ok(Event::Interrupt)));
        assert!(interrupted());
    }
}
