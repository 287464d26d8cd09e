// SPDX-License-Identifier: GPL-2.0-only

//! A round: all objects of a table are told something, some at a time.
//!
//! ```text
//!   0 ......... at ............ highest number
//!   '-- then ---'  '-- first --'              begun: from where the last one ended, once around
//! ```
//!
//! One that is begun again while it is under way goes once around from where it is: everybody is told after the
//! last beginning, and nobody waits longer because of it.

/// A round.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Round {
    /// The next number to look at.
    at: u32,
    /// Where it ends, if one is under way.
    end: Option<End>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct End {
    /// Before this number,
    before: u32,
    /// when the highest one has been passed.
    passed: bool,
}

impl Round {
    /// Everybody is to be told.
    pub fn begin(&mut self) {
        self.end = Some(End {
            before: self.at,
            passed: false,
        });
    }

    /// Whether somebody is still to be told.
    pub fn is_under_way(&self) -> bool {
        self.end.is_some()
    }

    /// Nobody is to be told any more.
    pub fn stop(&mut self) {
        self.end = None;
    }

    /// The next one to be told. `find`: the first number in use from one on; all are below 2^32 - 1.
    pub fn next(&mut self, mut find: impl FnMut(u32) -> Option<u32>) -> Option<u32> {
        let mut end = self.end?;
        let mut found = find(self.at);
        if found.is_none() && !end.passed {
            end.passed = true;
            found = find(0);
        }
        self.end = Some(end);
        match found {
            Some(number) if !end.passed || number < end.before => {
                self.at = number.saturating_add(1);
                Some(number)
            }
            _ => {
                self.stop();
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whom `most` steps tell, of those in a sorted table.
    fn told(round: &mut Round, table: &[u32], most: usize) -> Vec<u32> {
        let find = |from| table.iter().copied().find(|number| *number >= from);
        (0..most).map_while(|_| round.next(find)).collect()
    }

    #[test]
    fn everybody_is_told_once() {
        let table = [0, 1, 5, 0x00ff_ffff];
        let mut round = Round::default();
        assert_eq!(told(&mut round, &table, 9), []);
        for _ in 0..3 {
            round.begin();
            assert_eq!(told(&mut round, &table, 9), table);
            assert!(!round.is_under_way());
        }
        round.begin();
        assert_eq!(told(&mut round, &[], 9), []);
        assert!(!round.is_under_way());
    }

    #[test]
    fn one_that_is_begun_again_goes_once_around_from_where_it_is() {
        let table = [3, 4, 7, 9];
        let mut round = Round::default();
        round.begin();
        assert_eq!(told(&mut round, &table, 2), [3, 4]);
        round.begin();
        assert_eq!(told(&mut round, &table, 3), [7, 9, 3]);
        round.begin();
        assert_eq!(told(&mut round, &table, 9), [4, 7, 9, 3]);
    }

    #[test]
    fn who_comes_and_goes_meanwhile_stops_nothing() {
        let mut round = Round::default();
        round.begin();
        assert_eq!(told(&mut round, &[10, 20, 30], 2), [10, 20]);
        round.begin();
        assert_eq!(told(&mut round, &[25, 30], 9), [25, 30]);
        assert!(!round.is_under_way());
        round.begin();
        round.stop();
        assert_eq!(told(&mut round, &[25, 30], 9), []);
    }
}
