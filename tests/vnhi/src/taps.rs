// SPDX-License-Identifier: GPL-2.0-only

//! The captures that are on, one per cable at most.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, SystemTime};

use crate::sink::TapFrame;
use crate::tap::Tap;
use crate::time::Time;
use crate::topology::Cable;

/// Captures by cable.
pub struct Taps {
    open: BTreeMap<usize, Tap>,
    /// When the fabric's time began, since 1970.
    origin: Duration,
}

impl Default for Taps {
    fn default() -> Self {
        let origin = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        Self {
            open: BTreeMap::new(),
            origin: origin.unwrap_or_default(),
        }
    }
}

impl Taps {
    /// Begins the capture of a cable, in place of one that is on.
    ///
    /// # Errors
    ///
    /// A sentence that says why the file cannot be written.
    pub fn start(&mut self, number: usize, cable: &Cable, path: &Path) -> Result<(), String> {
        let lanes = u64::from(cable.gbps) * u64::from(cable.lanes);
        let (a, b) = (cable.a.to_string(), cable.b.to_string());
        let tap = Tap::create(path, &a, &b, lanes * 1_000_000_000)?;
        self.open.insert(number, tap);
        Ok(())
    }

    /// Ends the capture of a cable, if one is on.
    pub fn stop(&mut self, number: usize) {
        self.open.remove(&number);
    }

    /// Adds a frame to the capture of its cable.
    pub fn frame(&mut self, now: Time, frame: &TapFrame<'_>) {
        let time = self.origin + Duration::from_nanos(now.as_nanos());
        self.attempt(frame.cable, |tap| tap.frame(time, frame));
    }

    /// Puts everything into the files.
    pub fn flush(&mut self) {
        let cables: Vec<usize> = self.open.keys().copied().collect();
        for cable in cables {
            self.attempt(cable, Tap::flush);
        }
    }

    /// Does something with a capture, and ends it when its file cannot be written: the fabric goes on.
    fn attempt(&mut self, cable: usize, act: impl FnOnce(&mut Tap) -> std::io::Result<()>) {
        let Some(tap) = self.open.get_mut(&cable) else {
            return;
        };
        if let Err(error) = act(tap) {
            eprintln!("the tap of cable {cable} ends, its file cannot be written: {error}");
            self.open.remove(&cable);
        }
    }
}
