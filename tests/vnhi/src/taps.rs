// SPDX-License-Identifier: GPL-2.0-only

//! The captures that are on, one per cable at most.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::{Duration, SystemTime};

use crate::sink::TapFrame;
use crate::tap::Tap;
use crate::time::Time;
use crate::topology::Cable;

/// Captures by cable.
pub struct Taps {
    open: BTreeMap<usize, Tap>,
    /// Cables whose capture has ended because its file could not be written.
    failed: BTreeSet<usize>,
    /// When the fabric's time began, since 1970.
    origin: Duration,
}

impl Default for Taps {
    fn default() -> Self {
        let origin = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        Self {
            open: BTreeMap::new(),
            failed: BTreeSet::new(),
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
        self.failed.remove(&number);
        Ok(())
    }

    /// Ends the capture of a cable, if one is on.
    pub fn stop(&mut self, number: usize) {
        self.open.remove(&number);
        self.failed.remove(&number);
    }

    /// How the capture of a cable does: `on`, `failed` or `off`.
    #[must_use]
    pub fn state(&self, number: usize) -> &'static str {
        if self.open.contains_key(&number) {
            "on"
        } else if self.failed.contains(&number) {
            "failed"
        } else {
            "off"
        }
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
            self.failed.insert(cable);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::Direction;
    use crate::sink::Fate;
    use rustix::fs::{fcntl_add_seals, memfd_create, MemfdFlags, SealFlags};
    use std::os::fd::AsRawFd;

    #[test]
    fn a_full_disk_ends_a_capture_and_is_told() {
        let cable = Cable {
            a: "1.0".parse().unwrap(),
            b: "2.0".parse().unwrap(),
            gbps: 20,
            lanes: 2,
        };
        let disk = memfd_create("disk", MemfdFlags::ALLOW_SEALING).unwrap();
        let path = format!("/proc/self/fd/{}", disk.as_raw_fd());
        let mut taps = Taps::default();
        taps.start(0, &cable, Path::new(&path)).unwrap();
        assert_eq!((taps.state(0), taps.state(1)), ("on", "off"));
        fcntl_add_seals(&disk, SealFlags::GROW).unwrap();
        let frame = TapFrame {
            cable: 0,
            direction: Direction::AToB,
            hop: 8,
            sof: 1,
            eof: 2,
            crc_error: false,
            fate: Fate::Delivered,
            payload: &[0; 64],
        };
        taps.frame(Time::ZERO, &frame);
        taps.flush();
        assert_eq!(taps.state(0), "failed");
        taps.frame(Time::ZERO, &frame);
        taps.stop(0);
        assert_eq!(taps.state(0), "off");
    }
}
