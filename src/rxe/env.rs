// SPDX-License-Identifier: GPL-2.0-only

//! What the engine needs of the world around it: five small traits, dispatched statically.
//!
//! The engine calls these from inside its own calls, so every answer is there at once: a key that
//! does not permit an access fails the very packet that used it, and a busy link leaves the engine
//! where it was. Nothing here may call back into the same queue pair.
//!
//! ```text
//!              WorkQueues  next_send, next_receive, release_send      snapshots of requests
//!              Completions complete_send, complete_receive
//!   engine --> Memory      region, store, atomic, flush, ...          by key, address, length
//!              Link        begin, append*, commit | abort             one packet at a time
//!              Notices     count, notify                              events
//! ```

use core::ops::Range;

use super::access::{AccessError, Facts, Identity};
use super::cqe::Cqe;
use super::events::{AsyncEvent, Event};
use super::wire::{Feth, PacketRepr};
use super::wqe::{BadWr, BindMw, RecvWr, RegMr, SendWr, Sge};

/// The user's queues. Entries are copied out once: the copy is bounded by the caller to `room`.
pub trait WorkQueues {
    /// Copies the next send request to `wr`, its pieces or inline bytes to the front of `room`.
    fn next_send(&mut self, wr: &mut SendWr, room: &mut [Sge]) -> Option<Result<(), BadWr>>;

    /// The oldest send request not yet released is done: the user may use its place again.
    fn release_send(&mut self);

    /// Takes the next receive request, from the QP's own queue or the shared one.
    fn next_receive(&mut self, room: &mut [Sge]) -> Option<Result<RecvWr, BadWr>>;
}

/// A completion queue has no room.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CqOverrun;

/// The completion queues.
pub trait Completions {
    /// Reports the end of a send request.
    fn complete_send(&mut self, cqe: &Cqe) -> Result<(), CqOverrun>;

    /// Reports the end of a receive request.
    fn complete_receive(&mut self, cqe: &Cqe) -> Result<(), CqOverrun>;
}

/// An access that passed [`check`](super::access::check) and failed all the same.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// The object changed in between, or no page will ever be there.
    Gone,
    /// A page is not there now and is being fetched (on-demand paging): the same access will
    /// succeed soon. An atomic was not executed; a store may have stored a front part.
    Absent,
}

/// An atomic operation on eight bytes of memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AtomicOp {
    /// Stores `swap` if the value is `compare`.
    CompareSwap {
        /// Value to compare with.
        compare: u64,
        /// Value to store.
        swap: u64,
    },
    /// Adds, modulo 2^64.
    FetchAdd {
        /// Value to add.
        add: u64,
    },
}

/// Memory regions and windows.
///
/// Addresses (`at`) are those of the region behind the key, as
/// [`check`](super::access::check) translated them.
pub trait Memory {
    /// The payload of a received packet, wherever it lies.
    type Payload<'a>: ?Sized;

    /// A region, kept alive while this is held; the engine holds it within one call only.
    type Region;

    /// Looks up a key, local or remote.
    fn region(&mut self, key: u32) -> Option<(Self::Region, Facts)>;

    /// Stores the bytes `range` of a payload.
    fn store(
        &mut self,
        region: &Self::Region,
        at: u64,
        payload: &Self::Payload<'_>,
        range: Range<usize>,
    ) -> Result<(), Fault>;

    /// Stores a few bytes.
    fn store_bytes(&mut self, region: &Self::Region, at: u64, bytes: &[u8]) -> Result<(), Fault>;

    /// Executes an atomic operation, atomic towards everything on this host; returns the value
    /// before it. `at` is a multiple of eight.
    fn atomic(&mut self, region: &Self::Region, at: u64, op: AtomicOp) -> Result<u64, Fault>;

    /// Stores eight bytes in one access, after everything stored before. `at` is a multiple of
    /// eight.
    fn store_atomic(&mut self, region: &Self::Region, at: u64, bytes: [u8; 8])
        -> Result<(), Fault>;

    /// Makes earlier stores visible or persistent; `range` is `None` for the whole region. The first
    /// `done` bytes of it have been dealt with. `Some` if that much is done and there is more, which
    /// would take too long now: the same call follows soon, from there.
    fn flush(
        &mut self,
        region: &Self::Region,
        range: Option<(u64, u64)>,
        what: Feth,
        done: u64,
    ) -> Result<Option<u64>, Fault>;

    /// Invalidates a key: [`mr::Region::invalidate`](super::access::mr::Region::invalidate) or
    /// [`mw::Window::invalidate`](super::access::mw::Window::invalidate).
    fn invalidate(&mut self, who: Identity, key: u32) -> Result<(), AccessError>;

    /// Binds a window: [`mw::Window::bind`](super::access::mw::Window::bind).
    fn bind(&mut self, who: Identity, wr: &BindMw) -> Result<(), AccessError>;

    /// Registers a region: [`mr::Region::register`](super::access::mr::Region::register).
    fn register(&mut self, who: Identity, wr: &RegMr) -> Result<(), AccessError>;
}

/// The link has no room now. Call [`Qp::run`](super::qp::Qp::run) again when it has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Busy;

/// The way out. Packets go in order.
pub trait Link: Memory {
    /// Begins a packet with `payload_len` bytes of payload.
    fn begin(&mut self, packet: &PacketRepr, payload_len: usize) -> Result<(), Busy>;

    /// Adds payload from memory.
    fn append(&mut self, region: &Self::Region, at: u64, len: usize) -> Result<(), Fault>;

    /// Adds payload from a snapshot.
    fn append_bytes(&mut self, bytes: &[u8]);

    /// Sends the packet begun: all of its payload is there.
    fn commit(&mut self);

    /// Forgets the packet begun.
    fn abort(&mut self);
}

/// Where events go.
pub trait Notices {
    /// Counts or traces; may do nothing.
    fn count(&mut self, event: Event);

    /// Tells the user.
    fn notify(&mut self, event: AsyncEvent);
}

/// Everything together.
pub trait Env: WorkQueues + Completions + Memory + Link + Notices {}

impl<T: WorkQueues + Completions + Memory + Link + Notices> Env for T {}
