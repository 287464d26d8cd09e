// SPDX-License-Identifier: GPL-2.0-only

//! The attributes of a queue pair: what `ib_modify_qp` sets, decoded and in range by type.

use crate::rxe::access::{Identity, Pd, Rights};
use crate::rxe::mtu::Mtu;
use crate::rxe::opcode::Service;
use crate::rxe::path::Path;
use crate::rxe::psn::Psn;
use crate::rxe::qpn::Qpn;
use crate::rxe::time::{AckTimeout, RnrTimer};
use crate::rxe::wire::bth::DEFAULT_PKEY;

/// The transport type of a queue pair.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum QpType {
    /// Reliable connection.
    Rc,
    /// Unreliable connection.
    Uc,
    /// Unreliable datagram.
    Ud,
    /// General services: QP1.
    Gsi,
}

impl QpType {
    /// All types.
    pub const ALL: [Self; 4] = [Self::Rc, Self::Uc, Self::Ud, Self::Gsi];

    /// The transport service of its packets.
    pub const fn service(self) -> Service {
        match self {
            Self::Rc => Service::Rc,
            Self::Uc => Service::Uc,
            Self::Ud | Self::Gsi => Service::Ud,
        }
    }

    /// Whether it has one peer.
    pub const fn is_connected(self) -> bool {
        matches!(self, Self::Rc | Self::Uc)
    }
}

/// What is fixed when the queue pair is created.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Init {
    /// Transport type.
    pub qp_type: QpType,
    /// Number.
    pub qpn: Qpn,
    /// Protection domain.
    pub pd: Pd,
    /// Receives come from a shared receive queue.
    pub shared_receive: bool,
    /// How many packets may be under way without an answer, at least 1. Upstream has 128.
    pub window: u32,
}

/// Packets under way by default: at 4 KiB and 48 Gb/s, 700 us of a silent peer.
pub const DEFAULT_WINDOW: u32 = 1024;

/// Everything a queue pair knows about itself and its peer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Attr {
    /// What never changes.
    pub init: Init,
    /// Addresses of the peer (connections).
    pub path: Option<Path>,
    /// The peer's queue pair (connections).
    pub dest_qp: Qpn,
    /// Path MTU; for datagrams the port's.
    pub mtu: Mtu,
    /// What the peer may do here at all.
    pub rights: Rights,
    /// Partition key.
    pub pkey: u16,
    /// Queue key (datagrams).
    pub qkey: u32,
    /// First PSN we send.
    pub sq_psn: Psn,
    /// First PSN we expect.
    pub rq_psn: Psn,
    /// Reads and atomics we may have under way.
    pub max_rd_atomic: u8,
    /// Reads and atomics we remember for the peer.
    pub max_dest_rd_atomic: u8,
    /// How long to wait for an answer.
    pub timeout: AckTimeout,
    /// How often to ask again.
    pub retry_count: u8,
    /// How often to ask again when the peer was not ready; 7 is for ever.
    pub rnr_retry: u8,
    /// How long we ask the peer to wait when we are not ready.
    pub min_rnr_timer: RnrTimer,
}

impl Attr {
    /// The attributes of a new queue pair.
    pub const fn new(init: Init) -> Self {
        Self {
            init,
            path: None,
            dest_qp: Qpn::new(0),
            mtu: Mtu::M1024,
            rights: Rights::NONE,
            pkey: DEFAULT_PKEY,
            qkey: 0,
            sq_psn: Psn::ZERO,
            rq_psn: Psn::ZERO,
            max_rd_atomic: 0,
            max_dest_rd_atomic: 0,
            timeout: AckTimeout::INFINITE,
            retry_count: 0,
            rnr_retry: 0,
            min_rnr_timer: RnrTimer::from_bits(0),
        }
    }

    /// Who the queue pair is in access checks.
    pub const fn identity(&self) -> Identity {
        Identity {
            pd: self.init.pd,
            qpn: self.init.qpn,
        }
    }
}
