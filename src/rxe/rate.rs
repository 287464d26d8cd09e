// SPDX-License-Identifier: GPL-2.0-only

//! A port's rate as InfiniBand says it: a number of lanes, and the speed of each (IBTA vol. 1, 14.2.5.6).
//!
//! The sum of several cables is no rate of any Ethernet card, and the kernel's `ib_get_eth_speed` knows
//! those alone: it makes 100 Gb/s of two cables with 40, and of four as well. NCCL divides its channels
//! by what the port says.

/// Lanes, and `enum ib_port_width`.
const WIDTHS: [(u32, u8); 5] = [(1, 1), (2, 16), (4, 2), (8, 4), (12, 8)];

/// Mb/s of a lane, and `enum ib_port_speed`. FDR10, not QDR: what the kernel calls a lane of an Ethernet
/// port with 10 Gb/s. FDR's 14.0625 is 14 everywhere else, too.
const SPEEDS: [(u32, u16); 7] = [
    (2_500, 1),
    (5_000, 2),
    (10_000, 8),
    (14_000, 16),
    (25_000, 32),
    (50_000, 64),
    (100_000, 128),
];

/// A rate in InfiniBand's terms.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Rate {
    /// `enum ib_port_width`.
    pub width: u8,
    /// `enum ib_port_speed`, of one lane.
    pub speed: u16,
}

impl Rate {
    /// The nearest one to so many Mb/s; of several, that with the fewest lanes.
    pub fn nearest(mbps: u32) -> Self {
        let mut best = Self { width: 1, speed: 1 };
        let mut distance = u32::MAX;
        for (lanes, width) in WIDTHS {
            for (lane, speed) in SPEEDS {
                let off = mbps.abs_diff(lane.saturating_mul(lanes));
                if off < distance {
                    distance = off;
                    best = Self { width, speed };
                }
            }
        }
        best
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// In Mb/s.
    fn said(rate: Rate) -> u32 {
        let lanes = WIDTHS.iter().find(|(_, width)| *width == rate.width);
        let lane = SPEEDS.iter().find(|(_, speed)| *speed == rate.speed);
        lanes.map_or(0, |(lanes, _)| *lanes) * lane.map_or(0, |(lane, _)| *lane)
    }

    #[test]
    fn cables_add_up() {
        for cables in 1..=3 {
            for speed in [10_000, 20_000, 40_000] {
                assert_eq!(said(Rate::nearest(cables * speed)), cables * speed);
            }
        }
        // There is no nearer one.
        assert_eq!(said(Rate::nearest(160_000)), 168_000);
        assert_eq!(said(Rate::nearest(320_000)), 300_000);
    }

    #[test]
    fn one_cable_is_what_the_kernel_calls_it() {
        // 4X FDR10.
        assert_eq!(Rate::nearest(40_000), Rate { width: 2, speed: 8 });
    }

    #[test]
    fn nothing_is_too_slow_or_too_fast() {
        assert_eq!(said(Rate::nearest(0)), 2_500);
        assert_eq!(said(Rate::nearest(u32::MAX)), 1_200_000);
    }
}
