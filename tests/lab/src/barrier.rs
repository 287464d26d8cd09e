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

/// What a host at a barrier hears.
#[derive(Debug, PartialEq, Eq)]
pub enum Answer {
    /// All are here: go on.
    Open,
    /// Ask again.
    Shut,
    /// This host has ended without having come, so waiting is of no use.
    Never(usize),
}

/// All barriers of a run, by name.
#[derive(Default, Debug)]
pub struct Barriers {
    all: BTreeMap<String, Barrier>,
}

impl Barriers {
    /// Host `host` of `hosts` asks to pass; `has_ended` tells the hosts that will come to no barrier any more.
    pub fn ask(
        &mut self,
        name: &str,
        host: usize,
        hosts: usize,
        has_ended: impl Fn(usize) -> bool,
    ) -> Answer {
        let barrier = self.all.entry(name.to_owned()).or_default();
        // First of all: those who have passed may have ended since.
        if barrier.may_pass.remove(&host) {
            return Answer::Open;
        }
        barrier.arrived.insert(host);
        if barrier.arrived.len() == hosts {
            barrier.may_pass = std::mem::take(&mut barrier.arrived);
            barrier.may_pass.remove(&host);
            return Answer::Open;
        }
        let missing = (1..=hosts).find(|host| has_ended(*host) && !barrier.arrived.contains(host));
        missing.map_or(Answer::Shut, Answer::Never)
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
    use super::{Answer, Barriers};

    fn ask(barriers: &mut Barriers, name: &str, host: usize, hosts: usize) -> bool {
        match barriers.ask(name, host, hosts, |_| false) {
            Answer::Open => true,
            Answer::Shut => false,
            Answer::Never(host) => panic!("nobody has ended, not {host} either"),
        }
    }

    #[test]
    fn it_opens_for_all_when_the_last_one_comes() {
        let mut barriers = Barriers::default();
        assert!(!ask(&mut barriers, "up", 1, 3));
        assert!(!ask(&mut barriers, "up", 1, 3));
        assert!(!ask(&mut barriers, "up", 3, 3));
        assert!(!ask(&mut barriers, "other", 2, 3));
        assert!(ask(&mut barriers, "up", 2, 3));
        assert!(ask(&mut barriers, "up", 1, 3));
        assert!(ask(&mut barriers, "up", 3, 3));
    }

    #[test]
    fn a_name_can_be_used_again() {
        let mut barriers = Barriers::default();
        for _ in 0..3 {
            assert!(!ask(&mut barriers, "round", 1, 2));
            assert!(ask(&mut barriers, "round", 2, 2));
            // Host 2 is at the next round before host 1 has left this one.
            assert!(!ask(&mut barriers, "round", 2, 2));
            assert!(ask(&mut barriers, "round", 1, 2));
            assert!(ask(&mut barriers, "round", 1, 2));
            assert!(ask(&mut barriers, "round", 2, 2));
        }
    }

    #[test]
    fn who_passed_and_ended_holds_up_nobody() {
        let mut barriers = Barriers::default();
        assert_eq!(barriers.ask("end", 1, 2, |_| false), Answer::Shut);
        assert_eq!(barriers.ask("end", 2, 2, |_| false), Answer::Open);
        assert_eq!(barriers.ask("end", 1, 2, |host| host == 2), Answer::Open);
    }

    #[test]
    fn who_ended_without_coming_is_named() {
        let mut barriers = Barriers::default();
        let ended = |host| host == 2;
        assert_eq!(barriers.ask("end", 1, 3, ended), Answer::Never(2));
        assert_eq!(barriers.ask("end", 3, 3, ended), Answer::Never(2));
        // Who arrived before ending does not hold up those who still come.
        let ended = |host| host == 1;
        assert_eq!(barriers.ask("end", 2, 3, ended), Answer::Open);
    }

    #[test]
    fn a_new_life_has_arrived_nowhere() {
        let mut barriers = Barriers::default();
        assert!(!ask(&mut barriers, "end", 2, 2));
        barriers.forget(2);
        assert!(!ask(&mut barriers, "end", 1, 2));
        assert!(ask(&mut barriers, "end", 2, 2));
    }
}
