// SPDX-License-Identifier: GPL-2.0-only

//! Adapters: two lane adapters for each USB4 port, and one for the host interface.
//!
//! ```text
//!  00  basic registers: kind, number, buffers, last HopIDs, hot plug events on or off
//!  10  time management (lane 0)           words 0 to 9, kept and without effect
//!  20  lane                               speed, width, state, bonding
//!  30  USB4 port (lane 0)                 words 0 to 19: sideband, port reset
//! ```

use super::path::PathTable;
use super::register_file::RegisterFile;
use super::sideband;
use crate::topology::Cable;

/// Last HopID of a lane adapter: 16 paths for data from HopID 8 on.
pub const LAST_HOP: u16 = 23;

const KIND_LANE: u32 = 0x00_0001;
const KIND_HOST_INTERFACE: u32 = 0x00_0002;
/// Buffers of a lane adapter, shared by all paths through it.
const TOTAL_BUFFERS: u32 = 60;

const BASIC_1: u16 = 0x01;
const BASIC_2: u16 = 0x02;
const BASIC_3: u16 = 0x03;
const BASIC_4: u16 = 0x04;
const BASIC_5: u16 = 0x05;
const DISABLE_HOT_PLUG: u32 = 1 << 31;

const TMU: u16 = 0x10;
const TMU_LEN: u16 = 10;
const CAPABILITY_TMU: u32 = 0x03;

const LANE: u16 = 0x20;
const LANE_1: u16 = LANE + 1;
const CAPABILITY_LANE: u32 = 0x01;
const TARGET_SPEED_GEN3: u32 = 0xc;
const TARGET_WIDTH: u32 = 3 << 4;
const TARGET_SINGLE: u32 = 1 << 4;
const TARGET_DUAL: u32 = 3 << 4;
const LANE_DISABLE: u32 = 1 << 14;
const LANE_BONDING: u32 = 1 << 15;
/// Current speed, width and state.
const LANE_STATUS: u32 = 0xf << 16 | 0x3f << 20 | 0xf << 26;

const PORT: u16 = 0x30;
const PORT_LEN: u16 = 20;
const CAPABILITY_PORT: u32 = 0x06;
const PORT_18: u16 = PORT + 18;
const BONDING_POSSIBLE: u32 = 1 << 8;
const PORT_19: u16 = PORT + 19;
const PORT_RESET: u32 = 1 << 0;

/// State of a lane.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LaneState {
    /// Disabled by software.
    Disabled,
    /// The link is being trained.
    Training,
    /// It carries frames.
    Up,
    /// Nothing there.
    Unplugged,
}

/// What a lane adapter reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LaneStatus {
    /// State of this lane.
    pub state: LaneState,
    /// Gb/s of each lane of the link.
    pub gbps: u8,
    /// Lanes that the link uses.
    pub width: u8,
}

/// What an adapter is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Lane0,
    Lane1,
    HostInterface,
}

/// One adapter.
#[derive(Debug, Clone)]
pub struct Adapter {
    kind: Kind,
    registers: RegisterFile,
    /// Paths that enter here; lane 1 has none.
    pub paths: Option<PathTable>,
}

impl Adapter {
    /// A lane adapter, 0 or 1 of a port into which `cable` is plugged.
    #[must_use]
    pub fn lane(number: u8, lane: u8, cable: Option<&Cable>) -> Self {
        let first = lane == 0;
        let mut registers = RegisterFile::new(PORT + PORT_LEN);
        let capabilities = if first { TMU } else { LANE };
        registers.define(BASIC_1, u32::from(capabilities), 0);
        basic(&mut registers, number, KIND_LANE, LAST_HOP);
        if first {
            registers.define(TMU, CAPABILITY_TMU << 8 | u32::from(LANE), 0);
            for word in 1..TMU_LEN {
                registers.define(TMU + word, 0, u32::MAX);
            }
        }
        // Generations 2 and 3, and 4 where the topology has such a cable; one and two lanes.
        let gen4 = cable.is_some_and(|cable| cable.gbps > 20);
        let speeds = 0xc | if gen4 { 0x2 } else { 0 };
        let next = if first { u32::from(PORT) } else { 0 };
        registers.define(
            LANE,
            0x3 << 20 | speeds << 16 | CAPABILITY_LANE << 8 | next,
            0,
        );
        registers.define(LANE_1, TARGET_SPEED_GEN3 | TARGET_SINGLE, !LANE_STATUS);
        if first {
            registers.define(PORT, CAPABILITY_PORT << 8, 0);
            for word in 1..18 {
                registers.define(PORT + word, 0, u32::MAX);
            }
            registers.define(PORT_18, 0, 0);
            registers.define(PORT_19, 0, u32::MAX);
        }
        let mut adapter = Self {
            kind: if first { Kind::Lane0 } else { Kind::Lane1 },
            registers,
            paths: first.then(|| PathTable::new(LAST_HOP, true)),
        };
        adapter.link_down();
        adapter
    }

    /// The adapter of a host interface with so many rings.
    #[must_use]
    pub fn host_interface(number: u8, rings: u16) -> Self {
        let last = rings.saturating_sub(1);
        let mut registers = RegisterFile::new(8);
        basic(&mut registers, number, KIND_HOST_INTERFACE, last);
        Self {
            kind: Kind::HostInterface,
            registers,
            paths: Some(PathTable::new(last, false)),
        }
    }

    /// It sends hot plug events.
    #[must_use]
    pub fn sends_events(&self) -> bool {
        self.registers.get(BASIC_5) & DISABLE_HOT_PLUG == 0
    }

    /// Software holds the port in reset.
    #[must_use]
    pub fn in_reset(&self) -> bool {
        self.kind == Kind::Lane0 && self.registers.get(PORT_19) & PORT_RESET != 0
    }

    /// Software has disabled the lane.
    #[must_use]
    pub fn disabled(&self) -> bool {
        self.registers.get(LANE_1) & LANE_DISABLE != 0
    }

    /// Software wants two lanes.
    #[must_use]
    pub fn wants_dual(&self) -> bool {
        self.registers.get(LANE_1) & TARGET_WIDTH == TARGET_DUAL
    }

    /// Software has told this end to bond.
    #[must_use]
    pub fn bonds(&self) -> bool {
        self.registers.get(LANE_1) & LANE_BONDING != 0
    }

    /// The link changed: what software reads from now on.
    pub fn set_status(&mut self, status: LaneStatus, bonding_possible: bool) {
        let state = match status.state {
            LaneState::Disabled => 0,
            LaneState::Training => 1,
            LaneState::Up => 2,
            LaneState::Unplugged => 7,
        };
        let speed = match status.gbps {
            40 => 0x2,
            20 => 0x4,
            _ => 0x8,
        };
        let word = state << 26 | u32::from(status.width) << 20 | speed << 16;
        self.registers.set(LANE_1, word, LANE_STATUS);
        if self.kind == Kind::Lane0 {
            let possible = if bonding_possible { u32::MAX } else { 0 };
            self.registers.set(PORT_18, possible, BONDING_POSSIBLE);
        }
    }

    /// The link went down: the width is negotiated anew when it comes back.
    pub fn link_down(&mut self) {
        self.registers
            .set(LANE_1, TARGET_SINGLE, TARGET_WIDTH | LANE_BONDING);
        let status = LaneStatus {
            state: LaneState::Unplugged,
            gbps: 10,
            width: 1,
        };
        self.set_status(status, false);
    }

    /// Software reads adapter space.
    #[must_use]
    pub fn read(&self, offset: u16, length: u16) -> Option<&[u32]> {
        self.registers.read(offset, length)
    }

    /// Software writes adapter space.
    #[must_use]
    pub fn write(&mut self, offset: u16, data: &[u32]) -> Option<()> {
        self.registers.write(offset, data)?;
        if self.kind == Kind::Lane0 {
            sideband::run(&mut self.registers, PORT);
        }
        Some(())
    }
}

/// The registers that every adapter has.
fn basic(registers: &mut RegisterFile, number: u8, kind: u32, last_hop: u16) {
    registers.define(0, super::IDENTITY, 0);
    registers.define(BASIC_2, kind, 0);
    registers.define(BASIC_3, u32::from(number) << 20, 0);
    // Buffers without flow control, and the lock that software clears.
    registers.define(BASIC_4, TOTAL_BUFFERS << 20, 0x3ff | 1 << 31);
    let hops = u32::from(last_hop) << 11 | u32::from(last_hop);
    registers.define(
        BASIC_5,
        hops | DISABLE_HOT_PLUG,
        DISABLE_HOT_PLUG | 0x7f << 22,
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Finds a capability the way a driver does.
    fn capability(adapter: &Adapter, id: u32) -> Option<u16> {
        let mut at = u16::try_from(adapter.read(1, 1)?[0] & 0xff).ok()?;
        while at != 0 {
            let header = adapter.read(at, 1)?[0];
            if header >> 8 & 0xff == id {
                return Some(at);
            }
            at = u16::try_from(header & 0xff).ok()?;
        }
        None
    }

    #[test]
    fn capabilities_can_be_walked() {
        let lane0 = Adapter::lane(1, 0, None);
        assert_eq!(capability(&lane0, 3), Some(TMU));
        assert_eq!(capability(&lane0, 1), Some(LANE));
        assert_eq!(capability(&lane0, 6), Some(PORT));
        let lane1 = Adapter::lane(2, 1, None);
        assert_eq!(capability(&lane1, 1), Some(LANE));
        assert_eq!(capability(&lane1, 6), None);
        assert!(lane1.paths.is_none());
        let host = Adapter::host_interface(3, 12);
        assert_eq!(capability(&host, 1), None);
        assert_eq!(host.read(2, 1), Some(&[2][..]));
        assert_eq!(host.read(5, 1).unwrap()[0] & 0x7ff, 11);
        assert_eq!(host.read(3, 1), Some(&[3 << 20][..]));
    }

    #[test]
    fn the_lane_reports_the_link() {
        let mut lane = Adapter::lane(1, 0, None);
        let word = |lane: &Adapter| lane.read(LANE_1, 1).unwrap()[0];
        assert_eq!(word(&lane) >> 26 & 0xf, 7);
        let up = LaneStatus {
            state: LaneState::Up,
            gbps: 20,
            width: 2,
        };
        lane.set_status(up, true);
        assert_eq!(word(&lane) >> 16 & 0xf, 4);
        assert_eq!(word(&lane) >> 20 & 0x3f, 2);
        assert_eq!(word(&lane) >> 26 & 0xf, 2);
        assert_eq!(lane.read(PORT_18, 1), Some(&[1 << 8][..]));
        // Software cannot write what the lane reports.
        lane.write(LANE_1, &[TARGET_DUAL | LANE_BONDING | LANE_DISABLE])
            .unwrap();
        assert_eq!(word(&lane) >> 26 & 0xf, 2);
        assert!(lane.wants_dual() && lane.bonds() && lane.disabled());
        lane.link_down();
        assert!(!lane.wants_dual() && !lane.bonds() && lane.disabled());
        assert_eq!(word(&lane) >> 20 & 0x3f, 1);
    }

    #[test]
    fn events_and_reset_are_for_software_to_switch() {
        let mut lane = Adapter::lane(1, 0, None);
        assert!(!lane.sends_events());
        let word = lane.read(BASIC_5, 1).unwrap()[0];
        lane.write(BASIC_5, &[word & !DISABLE_HOT_PLUG]).unwrap();
        assert!(lane.sends_events());
        lane.write(PORT_19, &[PORT_RESET]).unwrap();
        assert!(lane.in_reset());
        assert_eq!(lane.write(PORT_19, &[0, 0]), None);
    }
}
