// SPDX-License-Identifier: GPL-2.0-only

//! Configuration words, of which software may change some bits.

use std::ops::Range;

/// Words and the bits of them that software may write. What was never defined reads as zero.
#[derive(Debug, Clone)]
pub struct RegisterFile {
    words: Vec<u32>,
    writable: Vec<u32>,
}

impl RegisterFile {
    /// So many words.
    #[must_use]
    pub fn new(length: u16) -> Self {
        Self {
            words: vec![0; usize::from(length)],
            writable: vec![0; usize::from(length)],
        }
    }

    /// Gives a word its value and says which bits software may write.
    pub fn define(&mut self, offset: u16, value: u32, writable: u32) {
        self.set(offset, value, u32::MAX);
        if let Some(mask) = self.writable.get_mut(usize::from(offset)) {
            *mask = writable;
        }
    }

    /// A word.
    #[must_use]
    pub fn get(&self, offset: u16) -> u32 {
        self.words.get(usize::from(offset)).copied().unwrap_or(0)
    }

    /// Changes the bits of a word that are in `mask`, as the hardware does.
    pub fn set(&mut self, offset: u16, value: u32, mask: u32) {
        if let Some(word) = self.words.get_mut(usize::from(offset)) {
            *word = *word & !mask | value & mask;
        }
    }

    /// Software reads words; `None` when not all are there.
    #[must_use]
    pub fn read(&self, offset: u16, length: u16) -> Option<&[u32]> {
        self.words.get(range(offset, usize::from(length)))
    }

    /// Software writes words, as far as it may; `None` when not all are there.
    #[must_use]
    pub fn write(&mut self, offset: u16, data: &[u32]) -> Option<()> {
        let range = range(offset, data.len());
        let words = self.words.get_mut(range.clone())?;
        let masks = self.writable.get(range)?;
        for ((word, mask), new) in words.iter_mut().zip(masks).zip(data) {
            *word = *word & !mask | new & mask;
        }
        Some(())
    }
}

fn range(offset: u16, length: usize) -> Range<usize> {
    let start = usize::from(offset);
    start..start.saturating_add(length)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn software_changes_only_what_it_may() {
        let mut file = RegisterFile::new(4);
        file.define(1, 0x1234, 0xff00);
        assert_eq!(file.write(0, &[u32::MAX; 3]), Some(()));
        assert_eq!(file.read(0, 4), Some(&[0, 0xff34, 0, 0][..]));
        file.set(1, 0, 0xf);
        assert_eq!(file.get(1), 0xff30);
    }

    #[test]
    fn nothing_is_outside() {
        let mut file = RegisterFile::new(4);
        assert_eq!(file.read(3, 2), None);
        assert_eq!(file.write(4, &[0]), None);
        assert_eq!(file.read(u16::MAX, 60), None);
        assert_eq!(file.get(4), 0);
    }
}
