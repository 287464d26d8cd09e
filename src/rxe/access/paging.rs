// SPDX-License-Identifier: GPL-2.0-only

//! Pages that come and go: what is known about each, and which ones somebody waits for.
//!
//! ```text
//!                 fetched (readable, or writable too)
//!      Absent ------------------------------------------> Here (or here, and cannot be written)
//!       ^  ^ \                                            /  |
//!       |  |  '--- cannot be fetched ---> Failed         /   | a write marks it Written,
//!       |  |                               |            /    | which needs a writable page
//!       |  '------ told once --------------'           /
//!       '------------- taken away --------------------'
//! ```

/// What is known about a page. The lowest bits of its address are free to say it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Page(u64);

/// What an access finds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Found {
    /// The page, at this kernel address.
    Here(u64),
    /// It has to be fetched, for writing if the access writes.
    Absent,
    /// It cannot be fetched.
    Failed,
}

const HERE: u64 = 1;
const WRITABLE: u64 = 1 << 1;
const WRITTEN: u64 = 1 << 2;
const FAILED: u64 = 1 << 3;
const WRITE_FAILED: u64 = 1 << 4;
const FLAGS: u64 = HERE | WRITABLE | WRITTEN | FAILED | WRITE_FAILED;

impl Page {
    /// Nothing is known.
    pub const ABSENT: Self = Self(0);

    /// A page was fetched to a kernel address. It keeps the mark of having been written.
    pub fn fetched(&mut self, addr: u64, writable: bool) {
        let flags = HERE | if writable { WRITABLE } else { 0 } | (self.0 & WRITTEN);
        self.0 = (addr & !FLAGS) | flags;
    }

    /// It could not be fetched: the next access that looks for it shall know, unless it is here.
    pub fn failed(&mut self) {
        if self.0 & HERE == 0 {
            self.0 = FAILED;
        }
    }

    /// It could not be made writable: the next access that is to write it shall know. Who only reads it asks
    /// for less, and may get it.
    pub fn write_failed(&mut self) {
        if self.0 & WRITABLE == 0 {
            self.0 |= WRITE_FAILED;
        }
    }

    /// What an access finds.
    #[inline]
    pub fn find(self, write: bool) -> Found {
        let (need, bad) = match write {
            true => (HERE | WRITABLE, FAILED | WRITE_FAILED),
            false => (HERE, FAILED),
        };
        if self.0 & need == need {
            Found::Here(self.0 & !FLAGS)
        } else if self.0 & bad != 0 {
            Found::Failed
        } else {
            Found::Absent
        }
    }

    /// An access was told that it failed: the next one may try again.
    pub fn told(&mut self) {
        self.0 &= !(FAILED | WRITE_FAILED);
    }

    /// It is being written.
    #[inline]
    pub fn written(&mut self) {
        self.0 |= WRITTEN;
    }

    /// Takes it away. Returns its address if it was written.
    pub fn take(&mut self) -> Option<u64> {
        let was = core::mem::replace(self, Self::ABSENT).0;
        (was & (HERE | WRITTEN) == HERE | WRITTEN).then_some(was & !FLAGS)
    }
}

/// Pages that somebody waits for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Want {
    /// The first one.
    pub first: usize,
    /// How many.
    pub count: usize,
    /// For writing.
    pub write: bool,
}

impl Want {
    fn covers(&self, other: &Self) -> bool {
        let starts = other.first.checked_sub(self.first);
        (self.write || !other.write)
            && starts.is_some_and(|start| start.saturating_add(other.count) <= self.count)
    }
}

/// How many wants are remembered. Who finds no room asks again, as it does for every absent page.
const ROOM: usize = 8;

/// What is to be fetched.
#[derive(Clone, Copy, Debug)]
pub struct Wanted {
    wants: [Option<Want>; ROOM],
}

impl Wanted {
    /// Nothing.
    pub const NOTHING: Self = Self {
        wants: [None; ROOM],
    };

    /// Remembers a want, if there is room and none covers it.
    pub fn add(&mut self, want: Want) {
        if self.wants.iter().flatten().any(|other| other.covers(&want)) {
            return;
        }
        if let Some(free) = self.wants.iter_mut().find(|place| place.is_none()) {
            *free = Some(want);
        }
    }

    /// The next one.
    pub fn take(&mut self) -> Option<Want> {
        self.wants.iter_mut().find_map(Option::take)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ADDR: u64 = 0xffff_8880_0123_4000;

    #[test]
    fn a_page_comes_and_goes() {
        let mut page = Page::ABSENT;
        assert_eq!(page.find(false), Found::Absent);
        page.fetched(ADDR, false);
        assert_eq!(page.find(false), Found::Here(ADDR));
        assert_eq!(page.find(true), Found::Absent, "not writable yet");
        page.fetched(ADDR, true);
        assert_eq!(page.find(true), Found::Here(ADDR));
        assert_eq!(page.take(), None, "nobody wrote");
        assert_eq!(page, Page::ABSENT);
    }

    #[test]
    fn a_written_page_is_known_as_such_until_it_is_taken_away() {
        let mut page = Page::ABSENT;
        page.fetched(ADDR, true);
        page.written();
        // Somebody else wanted it for reading.
        page.fetched(ADDR, false);
        assert_eq!(page.find(false), Found::Here(ADDR));
        assert_eq!(page.take(), Some(ADDR));
        assert_eq!(page.take(), None);
    }

    #[test]
    fn a_failure_is_told_once() {
        let mut page = Page::ABSENT;
        page.failed();
        assert_eq!(page.find(false), Found::Failed);
        assert_eq!(page.find(true), Found::Failed);
        assert_eq!(page.take(), None);

        page.failed();
        page.told();
        assert_eq!(page.find(false), Found::Absent);

        page.failed();
        page.fetched(ADDR, false);
        assert_eq!(page.find(false), Found::Here(ADDR), "it came after all");
        page.failed();
        assert_eq!(page.find(false), Found::Here(ADDR), "others can read it");
        page.write_failed();
        assert_eq!(page.find(false), Found::Here(ADDR));
        assert_eq!(page.find(true), Found::Failed);
        page.told();
        assert_eq!(page.find(true), Found::Absent);
        assert_eq!(page.find(false), Found::Here(ADDR));
    }

    #[test]
    fn who_reads_is_not_told_that_writing_failed() {
        let mut page = Page::ABSENT;
        page.write_failed();
        assert_eq!(page.find(false), Found::Absent);
        assert_eq!(page.find(true), Found::Failed);
        page.fetched(ADDR, false);
        assert_eq!(page.find(false), Found::Here(ADDR));
        assert_eq!(page.find(true), Found::Absent, "to be asked for again");
    }

    fn want(first: usize, count: usize, write: bool) -> Want {
        Want {
            first,
            count,
            write,
        }
    }

    #[test]
    fn wants_are_taken_once_and_covered_ones_not_kept() {
        let mut wanted = Wanted::NOTHING;
        assert_eq!(wanted.take(), None);
        wanted.add(want(10, 4, true));
        wanted.add(want(10, 4, true));
        wanted.add(want(11, 3, false));
        wanted.add(want(13, 2, false));
        wanted.add(want(9, 1, false));
        wanted.add(want(9, 1, true));
        let mut all = Vec::new();
        while let Some(want) = wanted.take() {
            all.push(want);
        }
        assert_eq!(
            all,
            [
                want(10, 4, true),
                want(13, 2, false),
                want(9, 1, false),
                want(9, 1, true)
            ]
        );
    }

    #[test]
    fn more_wants_than_room_are_forgotten() {
        let mut wanted = Wanted::NOTHING;
        for page in 0..100 {
            wanted.add(want(page, 1, false));
        }
        for page in 0..ROOM {
            assert_eq!(wanted.take(), Some(want(page, 1, false)));
        }
        assert_eq!(wanted.take(), None);
        wanted.add(want(usize::MAX, usize::MAX, false));
        wanted.add(want(usize::MAX, 1, false));
        assert!(wanted.take().is_some());
        assert_eq!(wanted.take(), None);
    }
}
