// SPDX-License-Identifier: GPL-2.0-only

//! Surroundings that cost almost nothing: fixed arrays, no copy of payload, no CRC. What is left
//! is the engine.

#![allow(dead_code)] // each user takes its part

use std::ops::Range;

use usb4_rxe::rxe::access::{AccessError, Facts, Identity, Kind};
use usb4_rxe::rxe::cqe::Cqe;
use usb4_rxe::rxe::env::{
    AtomicOp, Busy, Completions, CqOverrun, Fault, Link, Memory, Notices, WorkQueues,
};
use usb4_rxe::rxe::events::{AsyncEvent, Event};
use usb4_rxe::rxe::icrc::Crc32;
use usb4_rxe::rxe::mtu::Mtu;
use usb4_rxe::rxe::qp::Qp;
use usb4_rxe::rxe::qpn::Qpn;
use usb4_rxe::rxe::storage::Inline;
use usb4_rxe::rxe::wire::packet::MAX_HEADERS;
use usb4_rxe::rxe::wire::{Feth, PacketRepr};
use usb4_rxe::rxe::wqe::{BadWr, BindMw, Data, RecvWr, RegMr, Remote, SendOp, SendWr, Sge};

use super::pair::{all_rights, ready, End, Setup, PD};

/// A CRC that is not computed: headers cost what headers cost.
pub struct NoCrc;

impl Crc32 for NoCrc {
    fn update(state: u32, _: &[u8]) -> u32 {
        state
    }
}

/// Packets of one batch.
pub const BATCH: usize = 64;

/// Bytes of every message.
pub const LEN: usize = 4096;

/// The key of the only region.
pub const KEY: u32 = 0x1234_5600;

/// One frame: headers only; where its payload is does not matter here.
#[derive(Clone, Copy)]
pub struct Frame {
    /// The headers.
    pub head: [u8; MAX_HEADERS],
}

/// The surroundings of one engine.
pub struct Lean {
    /// Send requests posted.
    pub posted: usize,
    /// Frames out.
    pub frames: [Frame; BATCH],
    /// How many.
    pub count: usize,
    /// Successful completions.
    pub completed: u64,
    /// Bytes stored.
    pub stored: u64,
}

impl Lean {
    /// With nothing posted.
    pub fn new() -> Self {
        Self {
            posted: 0,
            frames: [Frame {
                head: [0; MAX_HEADERS],
            }; BATCH],
            count: 0,
            completed: 0,
            stored: 0,
        }
    }
}

impl WorkQueues for Lean {
    #[inline]
    fn next_send(&mut self, wr: &mut SendWr, room: &mut [Sge]) -> Option<Result<(), BadWr>> {
        self.posted = self.posted.checked_sub(1)?;
        *room.first_mut()? = Sge {
            addr: 0x10_0000,
            len: LEN as u32,
            lkey: KEY,
        };
        *wr = SendWr {
            wr_id: 1,
            signaled: true,
            solicited: false,
            fence: false,
            op: SendOp::Write {
                remote: Remote {
                    va: 0x20_0000,
                    rkey: KEY,
                },
                imm: None,
            },
            data: Data::Gather(1),
        };
        Some(Ok(()))
    }

    fn release_send(&mut self) {}

    fn next_receive(&mut self, _: &mut [Sge]) -> Option<Result<RecvWr, BadWr>> {
        None
    }
}

impl Completions for Lean {
    #[inline]
    fn complete_send(&mut self, cqe: &Cqe) -> Result<(), CqOverrun> {
        self.completed += u64::from(cqe.status == usb4_rxe::rxe::cqe::WcStatus::Success);
        Ok(())
    }

    fn complete_receive(&mut self, _: &Cqe) -> Result<(), CqOverrun> {
        Ok(())
    }
}

impl Memory for Lean {
    type Payload<'p> = [u8];
    type Region = ();

    #[inline]
    fn region(&mut self, key: u32) -> Option<((), Facts)> {
        (key == KEY).then_some((
            (),
            Facts {
                kind: Kind::Region,
                valid: true,
                lkey: Some(KEY),
                rkey: KEY,
                pd: PD,
                rights: all_rights(),
                start: 0x1_0000,
                len: 0x100_0000,
                zero_based: false,
            },
        ))
    }

    #[inline]
    fn store(&mut self, (): &(), _: u64, _: &[u8], range: Range<usize>) -> Result<(), Fault> {
        self.stored += range.len() as u64;
        Ok(())
    }

    fn store_bytes(&mut self, (): &(), _: u64, _: &[u8]) -> Result<(), Fault> {
        Err(Fault::Gone)
    }

    fn atomic(&mut self, (): &(), _: u64, _: AtomicOp) -> Result<u64, Fault> {
        Err(Fault::Gone)
    }

    fn store_atomic(&mut self, (): &(), _: u64, _: [u8; 8]) -> Result<(), Fault> {
        Err(Fault::Gone)
    }

    fn flush(
        &mut self,
        (): &(),
        _: Option<(u64, u64)>,
        _: Feth,
        _: u64,
    ) -> Result<Option<u64>, Fault> {
        Err(Fault::Gone)
    }

    fn invalidate(&mut self, _: Identity, _: u32) -> Result<(), AccessError> {
        Err(AccessError::Key)
    }

    fn bind(&mut self, _: Identity, _: &BindMw) -> Result<(), AccessError> {
        Err(AccessError::Key)
    }

    fn register(&mut self, _: Identity, _: &RegMr) -> Result<(), AccessError> {
        Err(AccessError::Key)
    }
}

impl Link for Lean {
    #[inline]
    fn begin(&mut self, packet: &PacketRepr, payload_len: usize) -> Result<(), Busy> {
        let frame = self.frames.get_mut(self.count).ok_or(Busy)?;
        packet
            .emit_headers::<NoCrc>(payload_len, &mut frame.head)
            .expect("a legal packet");
        Ok(())
    }

    #[inline]
    fn append(&mut self, (): &(), _: u64, _: usize) -> Result<(), Fault> {
        Ok(())
    }

    fn append_bytes(&mut self, _: &[u8]) {}

    #[inline]
    fn commit(&mut self) {
        self.count += 1;
    }

    fn abort(&mut self) {}
}

impl Notices for Lean {
    #[inline]
    fn count(&mut self, _: Event) {}

    fn notify(&mut self, _: AsyncEvent) {}
}

/// Storage for a batch, in place.
pub type Room = Inline<BATCH, BATCH, 1, 4>;

/// Two connected queue pairs.
pub fn pair() -> (Qp<Room>, Qp<Room>) {
    let setup = Setup {
        mtu: Mtu::M4096,
        ..Setup::default()
    };
    let end = |host: u8| End {
        host,
        qpn: Qpn::new(0x100 + u32::from(host)),
        psn: usb4_rxe::rxe::psn::Psn::new(0xff_ff00),
    };
    (
        ready(&setup, end(0), end(1), Room::default()),
        ready(&setup, end(1), end(0), Room::default()),
    )
}
