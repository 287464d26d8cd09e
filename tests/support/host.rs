// SPDX-License-Identifier: GPL-2.0-only

//! A host for engines under test: memory, queues and completion queues in plain vectors, and an
//! outbox of finished frames.

#![allow(dead_code)] // each test crate uses its part

use std::collections::VecDeque;
use std::ops::Range;

use usb4_rxe::host::HostCrc32;
use usb4_rxe::rxe::access::{mr, mw, AccessError, Facts, Identity, Pd, Rights};
use usb4_rxe::rxe::cqe::Cqe;
use usb4_rxe::rxe::env::{
    AtomicOp, Busy, Completions, CqOverrun, Fault, Link, Memory, Notices, WorkQueues,
};
use usb4_rxe::rxe::events::{AsyncEvent, Event};
use usb4_rxe::rxe::requester::Slot;
use usb4_rxe::rxe::responder::Resource;
use usb4_rxe::rxe::storage::{Parts, Storage};
use usb4_rxe::rxe::wire::{Feth, PacketRepr};
use usb4_rxe::rxe::wqe::{BadWr, BindMw, Data, RecvWr, RegMr, SendWr, Sge};
use zerocopy::IntoBytes;

/// A memory object.
#[derive(Clone, Debug)]
pub enum Object {
    /// A region and its bytes.
    Region(mr::Region, Vec<u8>),
    /// A window and the object number of its region.
    Window(mw::Window, Option<usize>),
}

/// All memory objects of a host. Object `i` has the key `(i + 1) << 8 | variant`.
#[derive(Clone, Debug, Default)]
pub struct Objects {
    /// By number.
    pub objects: Vec<Object>,
    /// FLUSHes executed.
    pub flushes: Vec<Feth>,
    /// Bytes that a FLUSH deals with at once, if it is not all.
    pub flush_at_once: Option<u64>,
    /// Atomics fail, as when a page cannot be had.
    pub no_atomics: bool,
    /// How often memory is not there at first, in 1/1000 of all accesses; and a seed.
    pub absent: u64,
    /// State of the random numbers that decide it.
    pub absent_seed: u64,
}

impl Objects {
    /// Adds a region; returns its key.
    pub fn add(&mut self, pd: Pd, rights: Rights, iova: u64, bytes: Vec<u8>) -> u32 {
        let key = self.next_key();
        let region = mr::Region {
            origin: mr::Origin::User,
            state: mr::State::Valid,
            pd,
            key,
            rights,
            iova,
            len: bytes.len() as u64,
            windows: 0,
        };
        self.objects.push(Object::Region(region, bytes));
        key
    }

    /// Adds a fast-register region with room for `len` bytes; returns its key.
    pub fn add_fast(&mut self, pd: Pd, len: usize) -> u32 {
        let key = self.add(pd, Rights::NONE, 0, vec![0; len]);
        let Some(Object::Region(region, _)) = self.objects.last_mut() else {
            unreachable!("just pushed");
        };
        region.origin = mr::Origin::FastRegister;
        region.state = mr::State::Free;
        key
    }

    /// Adds a fast-register region already registered; returns its key.
    pub fn add_registered(&mut self, pd: Pd, rights: Rights, len: usize) -> u32 {
        let key = self.add_fast(pd, len);
        let Some(Object::Region(region, _)) = self.objects.last_mut() else {
            unreachable!("just pushed");
        };
        region.state = mr::State::Valid;
        region.rights = rights;
        region.len = len as u64;
        key
    }

    /// Adds a window of type 2B on all of a region, bound already; returns its key.
    pub fn add_bound(&mut self, who: Identity, mr_lkey: u32, rights: Rights) -> u32 {
        let mw_rkey = self.add_window(who.pd, mw::Type::TwoB);
        let target = self.index(mr_lkey).expect("a region");
        let Object::Region(region, _) = &mut self.objects[target] else {
            panic!("key {mr_lkey:#x} is a window");
        };
        region.windows += 1;
        let region = *region;
        let wr = BindMw {
            mw_rkey,
            new_rkey: mw_rkey,
            mr_lkey,
            addr: region.iova,
            len: region.len,
            rights,
        };
        let Some(Object::Window(window, tied)) = self.objects.last_mut() else {
            unreachable!("just pushed");
        };
        window.bind(who, Some(&region), &wr).expect("it permits it");
        *tied = Some(target);
        mw_rkey
    }

    /// Whether a fast-register region is free.
    pub fn is_free(&self, key: u32) -> bool {
        let index = self.index(key).expect("a key");
        matches!(&self.objects[index], Object::Region(region, _) if region.state == mr::State::Free)
    }

    /// Adds a window; returns its key.
    pub fn add_window(&mut self, pd: Pd, kind: mw::Type) -> u32 {
        let key = self.next_key();
        self.objects
            .push(Object::Window(mw::Window::new(kind, pd, key), None));
        key
    }

    /// Adds a region under a key somebody else chose.
    pub fn add_keyed(&mut self, pd: Pd, rights: Rights, iova: u64, bytes: Vec<u8>, key: u32) {
        while self.objects.len() as u32 + 1 < key >> 8 {
            self.add(Pd(u32::MAX), Rights::NONE, 0, Vec::new());
        }
        self.add(pd, rights, iova, bytes);
        let Some(Object::Region(region, _)) = self.objects.last_mut() else {
            unreachable!("just pushed");
        };
        assert_eq!(region.key >> 8, key >> 8, "keys in rising order");
        region.key = key;
    }

    fn next_key(&self) -> u32 {
        ((self.objects.len() as u32 + 1) << 8) | 0x5a
    }

    fn index(&self, key: u32) -> Option<usize> {
        let index = (key >> 8).checked_sub(1)? as usize;
        (index < self.objects.len()).then_some(index)
    }

    /// The bytes of a region.
    pub fn bytes(&self, key: u32) -> &[u8] {
        match self.index(key).map(|i| &self.objects[i]) {
            Some(Object::Region(_, bytes)) => bytes,
            _ => panic!("no region has key {key:#x}"),
        }
    }

    /// The bytes of a region.
    pub fn bytes_mut(&mut self, key: u32) -> &mut [u8] {
        let index = self.index(key).expect("a key");
        match &mut self.objects[index] {
            Object::Region(_, bytes) => bytes,
            Object::Window(..) => panic!("key {key:#x} is a window"),
        }
    }

    fn slice(&mut self, region: usize, at: u64, len: usize) -> Result<&mut [u8], Fault> {
        if self.absent != 0 {
            // Knuth's generator; its high bits are good enough.
            self.absent_seed = self
                .absent_seed
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            if (self.absent_seed >> 33) % 1000 < self.absent {
                return Err(Fault::Absent);
            }
        }
        let Object::Region(region, bytes) = &mut self.objects[region] else {
            return Err(Fault::Gone);
        };
        let start = usize::try_from(at.wrapping_sub(region.iova)).map_err(|_| Fault::Gone)?;
        let end = start.checked_add(len).ok_or(Fault::Gone)?;
        bytes.get_mut(start..end).ok_or(Fault::Gone)
    }

    fn find(&self, key: u32) -> Option<(usize, Facts)> {
        let index = self.index(key)?;
        match &self.objects[index] {
            Object::Region(region, _) => Some((index, region.facts())),
            Object::Window(window, region) => {
                let (target, valid) = match region {
                    Some(i) => match &self.objects[*i] {
                        Object::Region(r, _) => (*i, r.state == mr::State::Valid),
                        Object::Window(..) => (*i, false),
                    },
                    None => (index, false),
                };
                Some((target, window.facts(valid)))
            }
        }
    }

    fn untie(&mut self, region: Option<usize>) {
        if let Some(Object::Region(region, _)) = region.map(|i| &mut self.objects[i]) {
            region.windows -= 1;
        }
    }
}

/// A posted send request: the request, its pieces, its inline bytes.
#[derive(Clone, Debug)]
pub struct PostedSend {
    /// The request, or its name if malformed.
    pub wr: Result<SendWr, BadWr>,
    /// Pieces.
    pub sges: Vec<Sge>,
    /// Inline bytes.
    pub inline: Vec<u8>,
}

/// A posted receive request.
#[derive(Clone, Debug)]
pub struct PostedReceive {
    /// Name.
    pub wr_id: u64,
    /// Pieces.
    pub sges: Vec<Sge>,
}

/// The queues of one queue pair.
#[derive(Clone, Debug, Default)]
pub struct Queues {
    /// Send requests.
    pub sq: VecDeque<PostedSend>,
    /// Receive requests.
    pub rq: VecDeque<PostedReceive>,
    /// Send completions.
    pub scq: Vec<Cqe>,
    /// Receive completions.
    pub rcq: Vec<Cqe>,
    /// Room in each completion queue; 0 is no limit.
    pub cq_room: usize,
    /// Send requests released.
    pub released: u64,
    /// Asynchronous events.
    pub events: Vec<AsyncEvent>,
    /// Counted events, if wanted.
    pub trace: Option<Vec<Event>>,
}

/// Frames on their way out.
#[derive(Clone, Debug, Default)]
pub struct Outbox {
    /// Finished frames.
    pub frames: Vec<Vec<u8>>,
    /// How many more frames the link takes; `None` is no limit.
    pub room: Option<usize>,
    current: Option<(PacketRepr, usize)>,
    payload: Vec<u8>,
    /// Recycled buffers.
    pub spare: Vec<Vec<u8>>,
}

/// Everything an engine sees during one call.
#[derive(Debug)]
pub struct View<'a> {
    /// Memory of the host.
    pub objects: &'a mut Objects,
    /// Queues of this queue pair.
    pub queues: &'a mut Queues,
    /// Shared receive queue, if this queue pair uses one.
    pub shared: Option<&'a mut VecDeque<PostedReceive>>,
    /// The way out.
    pub out: &'a mut Outbox,
}

impl WorkQueues for View<'_> {
    fn next_send(&mut self, out: &mut SendWr, room: &mut [Sge]) -> Option<Result<(), BadWr>> {
        let posted = self.queues.sq.pop_front()?;
        Some(posted.wr.and_then(|wr| {
            *out = wr;
            let fits = match wr.data {
                Data::Gather(n) => posted
                    .sges
                    .get(..usize::from(n))
                    .zip(room.get_mut(..usize::from(n)))
                    .map(|(from, to)| to.copy_from_slice(from)),
                Data::Inline(n) => posted
                    .inline
                    .get(..usize::from(n))
                    .zip(room.as_mut_bytes().get_mut(..usize::from(n)))
                    .map(|(from, to)| to.copy_from_slice(from)),
            };
            fits.ok_or(BadWr { wr_id: wr.wr_id })
        }))
    }

    fn release_send(&mut self) {
        self.queues.released += 1;
    }

    fn next_receive(&mut self, room: &mut [Sge]) -> Option<Result<RecvWr, BadWr>> {
        let queue = match &mut self.shared {
            Some(shared) => shared,
            None => &mut self.queues.rq,
        };
        let posted = queue.pop_front()?;
        let Some(to) = room.get_mut(..posted.sges.len()) else {
            return Some(Err(BadWr {
                wr_id: posted.wr_id,
            }));
        };
        to.copy_from_slice(&posted.sges);
        Some(Ok(RecvWr {
            wr_id: posted.wr_id,
            sges: posted.sges.len() as u8,
        }))
    }
}

impl Completions for View<'_> {
    fn complete_send(&mut self, cqe: &Cqe) -> Result<(), CqOverrun> {
        if self.queues.cq_room != 0 && self.queues.scq.len() >= self.queues.cq_room {
            return Err(CqOverrun);
        }
        self.queues.scq.push(*cqe);
        Ok(())
    }

    fn complete_receive(&mut self, cqe: &Cqe) -> Result<(), CqOverrun> {
        if self.queues.cq_room != 0 && self.queues.rcq.len() >= self.queues.cq_room {
            return Err(CqOverrun);
        }
        self.queues.rcq.push(*cqe);
        Ok(())
    }
}

impl Memory for View<'_> {
    type Payload<'p> = [u8];
    type Region = usize;

    fn region(&mut self, key: u32) -> Option<(usize, Facts)> {
        self.objects.find(key)
    }

    fn store(
        &mut self,
        region: &usize,
        at: u64,
        payload: &[u8],
        range: Range<usize>,
    ) -> Result<(), Fault> {
        let bytes = payload.get(range).expect("the engine knows the length");
        self.objects
            .slice(*region, at, bytes.len())?
            .copy_from_slice(bytes);
        Ok(())
    }

    fn store_bytes(&mut self, region: &usize, at: u64, bytes: &[u8]) -> Result<(), Fault> {
        self.objects
            .slice(*region, at, bytes.len())?
            .copy_from_slice(bytes);
        Ok(())
    }

    fn atomic(&mut self, region: &usize, at: u64, op: AtomicOp) -> Result<u64, Fault> {
        assert_eq!(at % 8, 0, "the engine checks alignment");
        if self.objects.no_atomics {
            return Err(Fault::Gone);
        }
        let place = self.objects.slice(*region, at, 8)?;
        let before = u64::from_ne_bytes(place.try_into().expect("eight bytes"));
        let after = match op {
            AtomicOp::CompareSwap { compare, swap } if before == compare => swap,
            AtomicOp::CompareSwap { .. } => before,
            AtomicOp::FetchAdd { add } => before.wrapping_add(add),
        };
        place.copy_from_slice(&after.to_ne_bytes());
        Ok(before)
    }

    fn store_atomic(&mut self, region: &usize, at: u64, bytes: [u8; 8]) -> Result<(), Fault> {
        assert_eq!(at % 8, 0, "the engine checks alignment");
        if self.objects.no_atomics {
            return Err(Fault::Gone);
        }
        self.objects.slice(*region, at, 8)?.copy_from_slice(&bytes);
        Ok(())
    }

    fn flush(
        &mut self,
        region: &usize,
        range: Option<(u64, u64)>,
        what: Feth,
        done: u64,
    ) -> Result<Option<u64>, Fault> {
        let (at, len) = match (range, &self.objects.objects[*region]) {
            (Some(range), _) => range,
            (None, Object::Region(region, _)) => (region.iova, region.len),
            (None, Object::Window(..)) => return Err(Fault::Gone),
        };
        self.objects.slice(*region, at, len as usize)?;
        let end = self.objects.flush_at_once.map_or(len, |most| done + most);
        if end < len {
            return Ok(Some(end));
        }
        self.objects.flushes.push(what);
        Ok(None)
    }

    fn invalidate(&mut self, who: Identity, key: u32) -> Result<(), AccessError> {
        let index = self.objects.index(key).ok_or(AccessError::Key)?;
        let untied = match &mut self.objects.objects[index] {
            Object::Region(region, _) => {
                region.invalidate(who, key)?;
                None
            }
            Object::Window(window, region) => {
                window.invalidate(who, key)?;
                region.take()
            }
        };
        self.objects.untie(untied);
        Ok(())
    }

    fn bind(&mut self, who: Identity, wr: &BindMw) -> Result<(), AccessError> {
        let index = self.objects.index(wr.mw_rkey).ok_or(AccessError::Key)?;
        let target = self.objects.index(wr.mr_lkey);
        let region = match target.map(|i| &self.objects.objects[i]) {
            Some(Object::Region(region, _)) => Some(*region),
            _ => None,
        };
        let Object::Window(window, tied) = &mut self.objects.objects[index] else {
            return Err(AccessError::Key);
        };
        let bound = window.bind(who, region.as_ref(), wr)?;
        let old = tied.take();
        if bound == mw::Bound::ToRegion {
            *tied = target;
            if let Some(Object::Region(region, _)) = target.map(|i| &mut self.objects.objects[i]) {
                region.windows += 1;
            }
        }
        self.objects.untie(old);
        Ok(())
    }

    fn register(&mut self, who: Identity, wr: &RegMr) -> Result<(), AccessError> {
        let index = self.objects.index(wr.mr_lkey).ok_or(AccessError::Key)?;
        match &mut self.objects.objects[index] {
            Object::Region(region, bytes) if region.key == wr.mr_lkey => {
                region.register(who, wr, bytes.len() as u64)
            }
            _ => Err(AccessError::Key),
        }
    }
}

impl Link for View<'_> {
    fn begin(&mut self, packet: &PacketRepr, payload_len: usize) -> Result<(), Busy> {
        assert!(self.out.current.is_none(), "one packet at a time");
        if let Some(room) = &mut self.out.room {
            *room = room.checked_sub(1).ok_or(Busy)?;
        }
        self.out.current = Some((*packet, payload_len));
        self.out.payload.clear();
        Ok(())
    }

    fn append(&mut self, region: &usize, at: u64, len: usize) -> Result<(), Fault> {
        let bytes = self.objects.slice(*region, at, len)?;
        self.out.payload.extend_from_slice(bytes);
        Ok(())
    }

    fn append_bytes(&mut self, bytes: &[u8]) {
        self.out.payload.extend_from_slice(bytes);
    }

    fn commit(&mut self) {
        let (packet, len) = self.out.current.take().expect("a packet begun");
        assert_eq!(self.out.payload.len(), len, "payload as announced");
        let mut frame = self.out.spare.pop().unwrap_or_default();
        frame.resize(packet.packet_len(len), 0);
        let written = packet
            .emit::<HostCrc32>(&[&self.out.payload], &mut frame)
            .expect("a legal packet");
        assert_eq!(written, frame.len());
        self.out.frames.push(frame);
    }

    fn abort(&mut self) {
        self.out.current.take().expect("a packet begun");
    }
}

impl Notices for View<'_> {
    fn count(&mut self, event: Event) {
        if let Some(trace) = &mut self.queues.trace {
            trace.push(event);
        }
    }

    fn notify(&mut self, event: AsyncEvent) {
        self.queues.events.push(event);
    }
}

/// Storage in vectors.
#[derive(Debug)]
pub struct VecStorage {
    slots: Vec<Slot>,
    send_room: Vec<Sge>,
    recv_room: Vec<Sge>,
    resources: Vec<Resource>,
}

impl VecStorage {
    /// With room for `slots` send requests of `sges` pieces, and `resources` answers.
    pub fn new(slots: usize, sges: usize, resources: usize) -> Self {
        Self {
            slots: vec![Slot::EMPTY; slots],
            send_room: vec![Sge::default(); slots * sges],
            recv_room: vec![Sge::default(); sges],
            resources: vec![Resource::EMPTY; resources],
        }
    }
}

impl Storage for VecStorage {
    fn parts(&mut self) -> Parts<'_> {
        Parts {
            slots: &mut self.slots,
            send_room: &mut self.send_room,
            recv_room: &mut self.recv_room,
            resources: &mut self.resources,
        }
    }
}
