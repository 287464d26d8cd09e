// SPDX-License-Identifier: GPL-2.0-only

//! Fields taken as ones, without touching the packet.
//!
//! A CRC is linear: turning over bits of the data turns over bits of the state, whatever the rest
//! of the data is. And a step of the CRC can be undone. So for every byte that does not count,
//! there is a change of the state *in front of the packet* that has the same effect as making the
//! byte ones:
//!
//! ```text
//!   start ----- .. ttl .. checksum .. payload -----> the same state at the end
//!   start' ---- .. ff  .. ff    ff .. payload ----->
//!
//!   start = SEED ^ change(place of ttl, ttl ^ ff) ^ change(place of checksum, ..) ^ ..
//! ```
//!
//! The changes come from tables, one per such byte. The packet itself is read where it lies, in
//! one call of the CRC function if it lies in one piece.

use super::{IpVersion, SEED};

/// The polynomial, low bit first.
const POLYNOMIAL: u32 = 0xedb8_8320;

/// A byte of the packet, and the bits of it that do not count.
type Place = (usize, u8);

/// The bytes of IPv4 + UDP + BTH that do not count.
const PLACES_V4: [Place; 7] = [
    (1, 0xff),  // TOS
    (8, 0xff),  // TTL
    (10, 0xff), // header checksum
    (11, 0xff),
    (20 + 6, 0xff), // UDP checksum
    (20 + 7, 0xff),
    (20 + 8 + 4, 0xff), // FECN, BECN, resv6a
];

/// The bytes of IPv6 + UDP + BTH that do not count.
const PLACES_V6: [Place; 8] = [
    (0, 0x0f), // traffic class, flow label
    (1, 0xff),
    (2, 0xff),
    (3, 0xff),
    (7, 0xff),      // hop limit
    (40 + 6, 0xff), // UDP checksum
    (40 + 7, 0xff),
    (40 + 8 + 4, 0xff), // FECN, BECN, resv6a
];

/// The longest part of a packet that is looked at.
const LAST_V4: usize = 20 + 8 + 5;
const LAST_V6: usize = 40 + 8 + 5;

static CHANGES_V4: [[u32; 256]; PLACES_V4.len()] = changes(&PLACES_V4);
static CHANGES_V6: [[u32; 256]; PLACES_V6.len()] = changes(&PLACES_V6);

/// The state to start with, so that the packet can be taken as it is; `None` if it ends before the
/// last byte that does not count.
#[inline]
pub(super) fn start(ip: IpVersion, packet: &[u8]) -> Option<u32> {
    Some(match ip {
        IpVersion::V4 => {
            let head: &[u8; LAST_V4] = packet.first_chunk()?;
            changed(head, &PLACES_V4, &CHANGES_V4)
        }
        IpVersion::V6 => {
            let head: &[u8; LAST_V6] = packet.first_chunk()?;
            changed(head, &PLACES_V6, &CHANGES_V6)
        }
    })
}

#[inline(always)]
fn changed<const LEN: usize, const N: usize>(
    head: &[u8; LEN],
    places: &[Place; N],
    changes: &'static [[u32; 256]; N],
) -> u32 {
    let mut state = SEED;
    for ((at, _), changes) in places.iter().zip(changes) {
        // Every place is in the head, and a table has an entry for every byte.
        let change = head
            .get(*at)
            .and_then(|byte| changes.get(usize::from(*byte)));
        state ^= change.copied().unwrap_or(0);
    }
    state
}

/// For every place and every byte there: the change of the state in front of the packet.
const fn changes<const N: usize>(places: &[Place; N]) -> [[u32; 256]; N] {
    let mut tables = [[0; 256]; N];
    let mut i = 0;
    while i < N {
        let (at, mask) = places[i];
        // The change by each single bit; the others are sums of those.
        let mut bits = [0; 8];
        let mut bit = 0;
        while bit < 8 {
            bits[bit] = undo(1 << bit, at);
            bit += 1;
        }
        let mut byte = 0;
        while byte < 256 {
            let turned = !byte & mask as usize;
            let mut bit = 0;
            while bit < 8 {
                if turned >> bit & 1 == 1 {
                    tables[i][byte] ^= bits[bit];
                }
                bit += 1;
            }
            byte += 1;
        }
        i += 1;
    }
    tables
}

/// The state from which `bytes` bytes of zeros lead to `state`.
const fn undo(mut state: u32, bytes: usize) -> u32 {
    let mut bit = 0;
    while bit < 8 * bytes {
        state = if state >> 31 == 1 {
            ((state ^ POLYNOMIAL) << 1) | 1
        } else {
            state << 1
        };
        bit += 1;
    }
    state
}
