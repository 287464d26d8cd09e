// SPDX-License-Identifier: GPL-2.0-only

//! Work requests as the engine sees them: snapshots, taken once, never re-read.
//!
//! The queues of a user's QP lie in memory the user can write. The caller copies an entry, bounds
//! it and hands the copy in; the mapping from the user ABI is the caller's.
//!
//! ```text
//!   shared queue entry --copy, bound--> SendWr + [Sge] or inline bytes --> send window
//!                                       RecvWr + [Sge]                 --> responder
//! ```

use zerocopy_derive::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::access::Rights;
use super::path::Path;
use super::qpn::Qpn;
use super::wire::{Feth, Imm};

/// A piece of local memory. Also the unit in which a caller reserves room for snapshots: inline
/// data uses the same room as bytes.
#[derive(
    FromBytes, IntoBytes, KnownLayout, Immutable, Clone, Copy, PartialEq, Eq, Hash, Debug, Default,
)]
#[repr(C)]
pub struct Sge {
    /// Virtual address.
    pub addr: u64,
    /// Length in bytes.
    pub len: u32,
    /// Local key.
    pub lkey: u32,
}

/// Where the local data of a send request is; the room it was copied to holds the rest.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Data {
    /// In memory: this many pieces.
    Gather(u8),
    /// In the request itself: this many bytes.
    Inline(u16),
}

/// A place in the peer's memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Remote {
    /// Virtual address.
    pub va: u64,
    /// Remote key.
    pub rkey: u32,
}

/// What ends a SEND.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SendTail {
    /// Nothing more.
    Plain,
    /// Immediate data.
    Imm(Imm),
    /// A key for the peer to invalidate.
    Invalidate(u32),
}

/// Where a datagram goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Datagram {
    /// Link and network addresses, resolved from the address handle.
    pub path: Path,
    /// Destination queue pair.
    pub qpn: Qpn,
    /// Queue key, as posted.
    pub qkey: u32,
    /// Immediate data.
    pub imm: Option<Imm>,
}

/// Binds a memory window to a part of a memory region, or unbinds it (`len` 0).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BindMw {
    /// Current key of the window.
    pub mw_rkey: u32,
    /// The new key; only its low byte counts.
    pub new_rkey: u32,
    /// The region.
    pub mr_lkey: u32,
    /// Start of the window.
    pub addr: u64,
    /// Length of the window.
    pub len: u64,
    /// Rights of the window.
    pub rights: Rights,
}

/// Registers the page list of a fast-register region under a new key. Kernel users only.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RegMr {
    /// The region, by its current local key.
    pub mr_lkey: u32,
    /// The new key; only its low byte may differ.
    pub key: u32,
    /// New start address.
    pub iova: u64,
    /// New length.
    pub len: u64,
    /// New rights.
    pub rights: Rights,
}

/// What a send request asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SendOp {
    /// SEND on a connection.
    Send(SendTail),
    /// RDMA WRITE.
    Write {
        /// Destination.
        remote: Remote,
        /// Immediate data.
        imm: Option<Imm>,
    },
    /// RDMA READ.
    Read(Remote),
    /// Compare and swap.
    CompareSwap {
        /// The eight bytes.
        remote: Remote,
        /// Value to compare with.
        compare: u64,
        /// Value to store.
        swap: u64,
    },
    /// Fetch and add.
    FetchAdd {
        /// The eight bytes.
        remote: Remote,
        /// Value to add.
        add: u64,
    },
    /// ATOMIC WRITE.
    AtomicWrite {
        /// The eight bytes.
        remote: Remote,
        /// What to store, in memory order.
        data: [u8; 8],
    },
    /// FLUSH.
    Flush {
        /// Start of the range.
        remote: Remote,
        /// Length of the range.
        len: u32,
        /// What to flush, how far.
        what: Feth,
    },
    /// Invalidates a local key.
    LocalInvalidate(u32),
    /// Binds a memory window.
    BindMw(BindMw),
    /// Registers a fast-register region.
    RegMr(RegMr),
    /// SEND of a datagram.
    Datagram(Datagram),
}

impl SendOp {
    /// Whether the operation never leaves this host.
    pub const fn is_local(&self) -> bool {
        matches!(
            self,
            Self::LocalInvalidate(_) | Self::BindMw(_) | Self::RegMr(_)
        )
    }

    /// Whether the peer's answer carries data: an ACK of a later packet does not complete it.
    pub const fn needs_response(&self) -> bool {
        matches!(
            self,
            Self::Read(_) | Self::CompareSwap { .. } | Self::FetchAdd { .. }
        )
    }

    /// Whether the operation counts against `max_rd_atomic`.
    pub const fn takes_rd_atomic(&self) -> bool {
        self.needs_response() || matches!(self, Self::AtomicWrite { .. })
    }
}

/// A send request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SendWr {
    /// The user's name for it.
    pub wr_id: u64,
    /// Report success too. (Failure always is.)
    pub signaled: bool,
    /// Wake the receiver's completion handler.
    pub solicited: bool,
    /// Wait for all earlier reads and atomics.
    pub fence: bool,
    /// The operation.
    pub op: SendOp,
    /// The local data.
    pub data: Data,
}

/// A receive request; the room it was copied to holds the pieces.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RecvWr {
    /// The user's name for it.
    pub wr_id: u64,
    /// How many pieces.
    pub sges: u8,
}

/// A queue entry that makes no sense. It is completed in error.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BadWr {
    /// The user's name for it.
    pub wr_id: u64,
}
