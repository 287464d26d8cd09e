// SPDX-License-Identifier: GPL-2.0-only

//! The limit of a shared receive queue (IBTA vol. 1, 10.2.9.3, 11.2.9).
//!
//! The queue itself is the caller's; a queue pair takes from it through
//! [`WorkQueues::next_receive`](super::env::WorkQueues::next_receive). What is left to decide is
//! when to tell the user that it runs low: once per arming.

/// The armed limit of a shared receive queue.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Limit(u32);

impl Limit {
    /// Fires when fewer than `entries` are left; 0 never does.
    pub const fn armed(entries: u32) -> Self {
        Self(entries)
    }

    /// The limit; 0 once it has fired.
    pub const fn entries(self) -> u32 {
        self.0
    }

    /// An entry was taken and `left` remain: whether the user must be told.
    pub fn taken(&mut self, left: u32) -> bool {
        let fires = self.0 != 0 && left < self.0;
        if fires {
            self.0 = 0;
        }
        fires
    }
}

#[cfg(test)]
mod tests {
    use super::Limit;

    #[test]
    fn fires_once_per_arming() {
        let mut limit = Limit::armed(2);
        assert!(!limit.taken(2));
        assert!(limit.taken(1));
        assert!(!limit.taken(0));
        assert_eq!(limit.entries(), 0);
        assert!(!Limit::armed(0).taken(0));
    }
}
