// SPDX-License-Identifier: GPL-2.0-only

//! Barriers: hosts that arrive wait until all have.
//!
//! A guest asks again and again until it is let through, so each barrier remembers who has arrived, and who may pass
//! but has not asked since. A name can be used as often as wanted: who has passed and comes again waits again.

use std::collections::{BTreeMap, BTreeSet};

/// One barrier.
#[derive(Default, Debug)]
struct Barrier {
    arrived: BTreeSet<usize>,
    may_pass: BTreeSet<usize>,
}

/// All barriers of a run, by name.
#[derive(Default, Debug)]
pub struct Barriers {
    all: BTreeMap<String, Barrier>,
}

impl Barriers {
    /// Host `host` of `hosts` asks to pass; says whether it may.
    pub fn ask(&mut self, name: &str, host: usize, hosts: usize) -> bool {
        let barrier = self.all.entry(name.to_owned()).or_default();
        if barrier.may_pass.remove(&host) {
            return true;
        }
        barrier.arrived.insert(host);
        if barrier.arrived.len() < hosts {
            return false;
        }
        barrier.may_pass = std::mem::take(&mut barrier.arrived);
        barrier.may_pass.remove(&host)
    }

    /// Whether `host` stands at the barrier, or may pass it.
    pub fn has(&self, name: &str, host: usize) -> bool {
        self.all.get(name).is_some_and(|barrier| {
            barrier.arrived.contains(&host) || barrier.may_pass.contains(&host)
        })
    }

    /// The host starts anew: what its former life arrived at counts no more.
    pub fn forget(&mut self, host: usize) {
        for barrier in self.all.values_mut() {
            barrier.arrived.remove(&host);
            barrier.may_pass.remove(&host);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Barriers;

    #[test]
    fn it_opens_for_all_when_the_last_one_comes() {
        let mut barriers = Barriers::default();
        assert!(!barriers.ask("up", 1, 3));
        assert!(!barriers.ask("up", 1, 3));
        assert!(!barriers.ask("up", 3, 3));
        assert!(!barriers.ask("other", 2, 3));
        assert!(barriers.ask("up", 2, 3));
        assert!(barriers.ask("up", 1, 3));
        assert!(barriers.ask("up", 3, 3));
    }

    #[test]
    fn a_name_can_be_used_again() {
        let mut barriers = Barriers::default();
        for _ in 0..3 {
            assert!(!barriers.ask("round", 1, 2));
            assert!(barriers.ask("round", 2, 2));
            // Host 2 is at the next round before host 1 has left this one.
            assert!(!barriers.ask("round", 2, 2));
            assert!(barriers.ask("round", 1, 2));
            assert!(barriers.ask("round", 1, 2));
            assert!(barriers.ask("round", 2, 2));
        }
    }

    #[test]
    fn a_new_life_has_arrived_nowhere() {
        let mut barriers = Barriers::default();
        assert!(!barriers.ask("end", 2, 2));
        assert!(barriers.has("end", 2));
        barriers.forget(2);
        assert!(!barriers.has("end", 2));
        assert!(!barriers.ask("end", 1, 2));
        assert!(barriers.ask("end", 2, 2));
    }
}
