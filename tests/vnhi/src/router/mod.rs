// SPDX-License-Identifier: GPL-2.0-only

//! The router of a host: configuration spaces of the router and its adapters.
//!
//! ```text
//!  adapters   one port:   1, 2 lanes                 3 host interface
//!             two ports:  1, 2 lanes   3, 4 lanes    5 host interface
//!
//!  router space
//!  00  identity, first capability, upstream adapter, last adapter; route and "valid" (word 3 bit 31); version; state
//!  07  unique id             09  data of a router operation       19  its metadata       1a  its opcode and status
//!  20  time management       words 0 to 26, kept and without effect
//! ```

pub mod adapter;
pub mod path;
pub mod register_file;
pub mod sideband;

use self::adapter::Adapter;
use self::path::{Hop, PathTable};
use self::register_file::RegisterFile;
use crate::control::request::{Refusal, Request, Space};
use crate::topology::{Cable, NhiId};

/// Vendor and device id of router and adapters.
pub const IDENTITY: u32 = 0x4e48_1b36;

const TMU: u16 = 0x20;
const TMU_LEN: u16 = 27;
const CAPABILITY_TMU: u32 = 0x03;
/// USB4 version 1.
const VERSION: u32 = 0x20 << 24;

const WORD_1: u16 = 0x01;
const WORD_2: u16 = 0x02;
const WORD_3: u16 = 0x03;
const VALID: u32 = 1 << 31;
const WORD_4: u16 = 0x04;
const WORD_5: u16 = 0x05;
const SLEEP: u32 = 1 << 0;
const WORD_6: u16 = 0x06;
const SLEEP_READY: u32 = 1 << 0;
const NO_THUNDERBOLT_3: u32 = 1 << 1;
const ROUTER_READY: u32 = 1 << 24;
const CONFIGURATION_READY: u32 = 1 << 25;
const UNIQUE_ID: u16 = 0x07;
const DATA: u16 = 0x09;
const DATA_WORDS: u16 = 16;
const METADATA: u16 = 0x19;
const OPERATION: u16 = 0x1a;
const OPERATION_VALID: u32 = 1 << 31;
const NOT_SUPPORTED: u32 = 1 << 30;
const OPERATION_STATUS: u32 = 0x3f << 24;
const BUFFER_ALLOCATION: u32 = 0x33;

/// Preferred buffers: for a DisplayPort AUX path, a DisplayPort main path, and one host interface path.
const BUFFERS: [(u32, u32); 3] = [(0x2, 1), (0x3, 9), (0x5, 14)];

/// One router.
#[derive(Debug)]
pub struct Router {
    id: NhiId,
    rings: u16,
    /// The cable in each port.
    cables: Vec<Option<Cable>>,
    registers: RegisterFile,
    /// Adapter 1 first.
    adapters: Vec<Adapter>,
}

impl Router {
    /// A router after reset; `cables` has an entry for each of its ports.
    #[must_use]
    pub fn new(id: NhiId, rings: u16, cables: Vec<Option<Cable>>) -> Self {
        let mut adapters = Vec::new();
        let mut number = 1;
        for cable in &cables {
            for lane in 0..2 {
                adapters.push(Adapter::lane(number, lane, cable.as_ref()));
                number += 1;
            }
        }
        adapters.push(Adapter::host_interface(number, rings));
        Self {
            id,
            rings,
            cables,
            registers: registers(id, number),
            adapters,
        }
    }

    /// Back to the state after power-on.
    pub fn reset(&mut self) {
        *self = Self::new(self.id, self.rings, std::mem::take(&mut self.cables));
    }

    /// A fault: all paths are gone; the router stays enumerated.
    pub fn lose_paths(&mut self) {
        let tables = self.adapters.iter_mut().filter_map(|a| a.paths.as_mut());
        tables.for_each(PathTable::reset);
    }

    /// USB4 ports.
    #[must_use]
    pub fn ports(&self) -> u8 {
        u8::try_from(self.cables.len()).unwrap_or(u8::MAX)
    }

    /// The number of the adapter of the host interface, which leads to the connection manager.
    #[must_use]
    pub fn upstream(&self) -> u8 {
        u8::try_from(self.adapters.len()).unwrap_or(u8::MAX)
    }

    /// The number of the lane 0 adapter of a port, counted from 1.
    #[must_use]
    pub fn lane0(port: u8) -> u8 {
        port.saturating_sub(1).saturating_mul(2).saturating_add(1)
    }

    /// The port that a lane 0 adapter belongs to.
    #[must_use]
    pub fn port_of(&self, adapter: u8) -> Option<u8> {
        (1..=self.ports()).find(|&port| Self::lane0(port) == adapter)
    }

    fn adapter(&self, number: u8) -> Option<&Adapter> {
        self.adapters.get(usize::from(number).checked_sub(1)?)
    }

    fn adapter_mut(&mut self, number: u8) -> Option<&mut Adapter> {
        self.adapters.get_mut(usize::from(number).checked_sub(1)?)
    }

    /// The lane adapters of a port.
    #[must_use]
    pub fn lanes(&self, port: u8) -> Option<(&Adapter, &Adapter)> {
        let lane0 = Self::lane0(port);
        Some((self.adapter(lane0)?, self.adapter(lane0.checked_add(1)?)?))
    }

    /// The lane adapters of a port, to tell them about the link.
    pub fn lanes_mut(&mut self, port: u8) -> &mut [Adapter] {
        let start = usize::from(Self::lane0(port)) - 1;
        self.adapters.get_mut(start..start + 2).unwrap_or_default()
    }

    /// A connection manager has enumerated it.
    #[must_use]
    pub fn valid(&self) -> bool {
        self.registers.get(WORD_3) & VALID != 0
    }

    /// Where frames of a transmit ring go.
    #[must_use]
    pub fn path_from_ring(&self, ring: u16) -> Option<Hop> {
        self.adapters.last()?.paths.as_ref()?.lookup(ring)
    }

    /// The ring for frames that a port receives with this HopID. `draining` is for frames that were on the cable before.
    #[must_use]
    pub fn path_to_ring(&self, port: u8, hop: u16, draining: bool) -> Option<u16> {
        let table = self.adapter(Self::lane0(port))?.paths.as_ref()?;
        let hop = if draining {
            table.lookup_draining(hop)?
        } else {
            table.lookup(hop)?
        };
        // Ring 0 belongs to the control channel, and paths from lane to lane lead nowhere here.
        (hop.adapter == self.upstream() && hop.next != 0).then_some(hop.next)
    }

    /// Ends the pending state of disabled paths of a port that no frame is under way to.
    pub fn settle_paths(&mut self, port: u8, under_way: impl Fn(u16) -> bool) {
        if let Some(table) = self
            .adapter_mut(Self::lane0(port))
            .and_then(|adapter| adapter.paths.as_mut())
        {
            table.settle(under_way);
        }
        // Frames leave a ring for the cable at once.
        if let Some(table) = self.adapters.last_mut().and_then(|a| a.paths.as_mut()) {
            table.settle(|_| false);
        }
    }

    /// Carries out a read or write that is for this router.
    ///
    /// # Errors
    ///
    /// What the error packet says.
    pub fn serve(&mut self, request: &Request<'_>) -> Result<Vec<u32>, Refusal> {
        if request.space != Space::Router && request.adapter > self.upstream() {
            return Err(Refusal::NoSuchAdapter);
        }
        let served = match request.data {
            None => self.read(request),
            Some(data) => self.write(request, data).map(|()| Vec::new()),
        };
        served.ok_or(Refusal::BadSpace)
    }

    fn read(&self, request: &Request<'_>) -> Option<Vec<u32>> {
        let (offset, length) = (request.offset, request.length);
        match request.space {
            Space::Router => self.registers.read(offset, length).map(<[u32]>::to_vec),
            Space::Adapter => Some(
                self.adapter(request.adapter)?
                    .read(offset, length)?
                    .to_vec(),
            ),
            Space::Path => self
                .adapter(request.adapter)?
                .paths
                .as_ref()?
                .read(offset, length),
            Space::Counters => None,
        }
    }

    fn write(&mut self, request: &Request<'_>, data: &[u32]) -> Option<()> {
        let offset = request.offset;
        match request.space {
            Space::Router => {
                self.registers.write(offset, data)?;
                self.follow_up();
                Some(())
            }
            Space::Adapter => self.adapter_mut(request.adapter)?.write(offset, data),
            Space::Path => {
                let adapter = self.adapter_mut(request.adapter)?;
                adapter.paths.as_mut()?.write(offset, data)
            }
            Space::Counters => None,
        }
    }

    /// What a write to router space leads to.
    fn follow_up(&mut self) {
        let sleeps = if self.registers.get(WORD_5) & SLEEP != 0 {
            u32::MAX
        } else {
            0
        };
        self.registers.set(WORD_6, sleeps, SLEEP_READY);
        let operation = self.registers.get(OPERATION);
        if operation & OPERATION_VALID == 0 {
            return;
        }
        let result = if operation & 0xffff == BUFFER_ALLOCATION {
            for (at, (index, buffers)) in (DATA..).zip(BUFFERS) {
                self.registers.set(at, index | buffers << 16, u32::MAX);
            }
            let length = u32::try_from(BUFFERS.len()).unwrap_or(0);
            self.registers.set(METADATA, length, u32::MAX);
            0
        } else {
            NOT_SUPPORTED
        };
        let flags = OPERATION_VALID | NOT_SUPPORTED | OPERATION_STATUS;
        self.registers.set(OPERATION, result, flags);
    }
}

/// Router space after reset.
fn registers(id: NhiId, last_adapter: u8) -> RegisterFile {
    let mut registers = RegisterFile::new(TMU + TMU_LEN);
    registers.define(0, IDENTITY, 0);
    let adapter = u32::from(last_adapter);
    registers.define(
        WORD_1,
        adapter << 14 | adapter << 8 | u32::from(TMU),
        7 << 20,
    );
    registers.define(WORD_2, 0, u32::MAX);
    registers.define(WORD_3, 0, u32::MAX);
    registers.define(WORD_4, VERSION, 0xffff);
    registers.define(WORD_5, 0, u32::MAX);
    let state = ROUTER_READY | CONFIGURATION_READY | NO_THUNDERBOLT_3;
    registers.define(WORD_6, state, 0);
    registers.define(UNIQUE_ID, u32::from(id.host) << 8 | u32::from(id.router), 0);
    registers.define(UNIQUE_ID + 1, IDENTITY, 0);
    for word in DATA..DATA + DATA_WORDS {
        registers.define(word, 0, u32::MAX);
    }
    registers.define(METADATA, 0, u32::MAX);
    registers.define(OPERATION, 0, OPERATION_VALID | 0xffff);
    registers.define(TMU, CAPABILITY_TMU << 8, 1 << 27 | 0x7ff << 16);
    for word in 1..TMU_LEN {
        registers.define(TMU + word, 0, u32::MAX);
    }
    registers
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::packet::{Kind, Packet};

    fn router(ports: usize) -> Router {
        let id = NhiId { host: 2, router: 1 };
        Router::new(id, 12, vec![None; ports])
    }

    fn ask(router: &mut Router, address: u32, data: Option<&[u32]>) -> Result<Vec<u32>, Refusal> {
        let mut rest = vec![address];
        rest.extend_from_slice(data.unwrap_or_default());
        let kind = if data.is_some() {
            Kind::Write
        } else {
            Kind::Read
        };
        let packet = Packet::new(kind, false, 0, &rest);
        router.serve(&Request::parse(&packet).unwrap())
    }

    fn address(space: u32, adapter: u32, length: u32, offset: u32) -> u32 {
        space << 25 | adapter << 19 | length << 13 | offset
    }

    #[test]
    fn it_describes_itself() {
        for (ports, last) in [(1, 3), (2, 5)] {
            let mut router = router(ports);
            let words = ask(&mut router, address(2, 0, 9, 0), None).unwrap();
            assert_eq!(words[0], IDENTITY);
            assert_eq!(words[1] >> 8 & 0x3f, last);
            assert_eq!(words[1] >> 14 & 0x3f, last);
            assert_eq!(words[4] >> 24, 0x20);
            assert_eq!(words[6], 3 << 24 | 2);
            assert_eq!(words[7], 0x201);
            let capability = ask(&mut router, address(2, 0, 2, words[1] & 0xff), None).unwrap();
            assert_eq!(capability[0] & 0xffff, 0x0300);
            assert_eq!(u32::from(router.upstream()), last);
        }
        assert_eq!(router(2).port_of(3), Some(2));
        assert_eq!(router(2).port_of(2), None);
        assert_eq!(router(1).port_of(3), None);
    }

    #[test]
    fn enumeration_makes_it_valid_and_reset_ends_that() {
        let mut router = router(1);
        assert!(!router.valid());
        let written = ask(
            &mut router,
            address(2, 0, 4, 1),
            Some(&[0, 0, VALID, 0x10ff]),
        );
        assert_eq!(written, Ok(vec![]));
        assert!(router.valid());
        assert_eq!(
            ask(&mut router, address(2, 0, 1, 4), None),
            Ok(vec![VERSION | 0x10ff])
        );
        router.reset();
        assert!(!router.valid());
    }

    #[test]
    fn router_operations_are_over_at_once() {
        let mut router = router(1);
        ask(&mut router, address(2, 0, 1, 0x1a), Some(&[1 << 31 | 0x33])).unwrap();
        let words = ask(&mut router, address(2, 0, 18, 9), None).unwrap();
        assert_eq!(words[17], 0x33);
        assert_eq!(words[16], 3);
        assert_eq!(words[..3], [2 | 1 << 16, 3 | 9 << 16, 5 | 14 << 16]);
        ask(&mut router, address(2, 0, 1, 0x1a), Some(&[1 << 31 | 0x24])).unwrap();
        let word = ask(&mut router, address(2, 0, 1, 0x1a), None).unwrap()[0];
        assert_eq!(word, 1 << 30 | 0x24);
        ask(&mut router, address(2, 0, 1, 5), Some(&[SLEEP])).unwrap();
        let word = ask(&mut router, address(2, 0, 1, 6), None).unwrap()[0];
        assert_eq!(word & SLEEP_READY, SLEEP_READY);
    }

    #[test]
    fn requests_that_lead_nowhere_are_refused() {
        let mut router = router(1);
        for (address, refusal) in [
            (address(2, 0, 1, 0x1fff), Refusal::BadSpace),
            (address(2, 0, 60, 0x10), Refusal::BadSpace),
            (address(1, 0, 1, 0), Refusal::BadSpace),
            (address(1, 4, 1, 0), Refusal::NoSuchAdapter),
            (address(1, 63, 1, 0), Refusal::NoSuchAdapter),
            (address(0, 2, 2, 0), Refusal::BadSpace),
            (address(0, 3, 2, 24), Refusal::BadSpace),
            (address(3, 1, 3, 0), Refusal::BadSpace),
        ] {
            assert_eq!(
                ask(&mut router, address, None),
                Err(refusal),
                "{address:#x}"
            );
            let length = (address >> 13 & 0x3f) as usize;
            let written = ask(&mut router, address, Some(&vec![u32::MAX; length]));
            assert_eq!(written, Err(refusal), "{address:#x}");
        }
    }

    #[test]
    fn paths_lead_from_rings_to_cables_and_back() {
        let mut router = router(1);
        ask(
            &mut router,
            address(0, 3, 2, 2),
            Some(&[1 << 31 | 1 << 11 | 9, 0]),
        )
        .unwrap();
        assert_eq!(
            router.path_from_ring(1),
            Some(Hop {
                adapter: 1,
                next: 9
            })
        );
        ask(
            &mut router,
            address(0, 1, 2, 16),
            Some(&[1 << 31 | 3 << 11 | 2, 0]),
        )
        .unwrap();
        assert_eq!(router.path_to_ring(1, 8, false), Some(2));
        // Not to ring 0, and not to another lane.
        for word in [1 << 31 | 3 << 11, 1 << 31 | 1 << 11 | 2] {
            ask(&mut router, address(0, 1, 2, 16), Some(&[word, 0])).unwrap();
            assert_eq!(router.path_to_ring(1, 8, false), None);
        }
        router.lose_paths();
        assert_eq!(router.path_from_ring(1), None);
    }
}
