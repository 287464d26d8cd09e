// SPDX-License-Identifier: GPL-2.0-only

//! The Internet checksum (RFC 1071).

/// A running ones' complement sum over bytes that may come in pieces.
#[derive(Clone, Copy, Default)]
pub struct Sum {
    total: u64,
    /// Whether an odd number of bytes came so far: the next one is a low byte.
    odd: bool,
}

impl Sum {
    /// Adds `bytes`.
    #[must_use]
    pub fn add(mut self, bytes: &[u8]) -> Self {
        let mut rest = bytes;
        if self.odd {
            let Some((&low, tail)) = rest.split_first() else {
                return self;
            };
            self.total = self.total.wrapping_add(u64::from(low));
            self.odd = false;
            rest = tail;
        }
        let mut pairs = rest.chunks_exact(2);
        for pair in &mut pairs {
            if let &[high, low] = pair {
                let word = u16::from_be_bytes([high, low]);
                self.total = self.total.wrapping_add(u64::from(word));
            }
        }
        if let &[high] = pairs.remainder() {
            self.total = self.total.wrapping_add(u64::from(high) << 8);
            self.odd = true;
        }
        self
    }

    /// The checksum: zero over data that contains its own correct checksum.
    pub fn finish(self) -> u16 {
        let mut sum = self.total;
        // Four folds bring any 64-bit sum below 2^16.
        let mut i = 0;
        while i < 4 {
            sum = (sum & 0xffff).wrapping_add(sum >> 16);
            i += 1;
        }
        let [.., high, low] = sum.to_be_bytes();
        !u16::from_be_bytes([high, low])
    }
}

/// The checksum of bytes and one more word; zero over data that contains its own correct checksum.
///
/// For short, whole data, where [`Sum`] is slower.
#[inline]
pub fn of(bytes: &[u8], word: u16) -> u16 {
    // The sum does not care about byte order or word size as long as carries come back in: take
    // native words of four bytes, fold, and swap only the result.
    let mut sum = u64::from(word.to_be());
    let mut words = bytes.chunks_exact(4);
    for word in &mut words {
        if let &[a, b, c, d] = word {
            sum = sum.wrapping_add(u64::from(u32::from_ne_bytes([a, b, c, d])));
        }
    }
    let mut last = [0; 4];
    for (place, byte) in last.iter_mut().zip(words.remainder()) {
        *place = *byte;
    }
    sum = sum.wrapping_add(u64::from(u32::from_ne_bytes(last)));
    sum = (sum & 0xffff_ffff).wrapping_add(sum >> 32);
    sum = (sum & 0xffff).wrapping_add(sum >> 16);
    sum = (sum & 0xffff).wrapping_add(sum >> 16);
    sum = (sum & 0xffff).wrapping_add(sum >> 16);
    #[allow(clippy::cast_possible_truncation)]
    let folded = sum as u16;
    !u16::from_be_bytes(folded.to_ne_bytes())
}

/// The checksum of an IPv4 header.
#[inline]
pub fn of_ipv4(header: &[u8; 20]) -> u16 {
    of(header, 0)
}
