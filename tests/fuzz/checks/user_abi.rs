// SPDX-License-Identifier: GPL-2.0-only

//! What must hold for entries of shared queues, whatever a process wrote into them. The reader
//! below knows the layout by its numbers alone, not from the code it checks. Used by the fuzz target
//! and by the ordinary tests.

use usb4_rxe::rxe::path::Path;
use usb4_rxe::rxe::qp::QpType;
use usb4_rxe::rxe::qpn::Qpn;
use usb4_rxe::rxe::user_abi::{
    copy_recv, copy_send, decode_recv, decode_send, AhRef, Poster, RECV_WQE_BYTES, SEND_WQE_BYTES,
};
use usb4_rxe::rxe::wire::{Ethernet, Imm, Ip, Ipv4, Udp};
use usb4_rxe::rxe::wqe::{BadWr, Data, Remote, SendOp, SendTail, SendWr, Sge};

/// A path that leads somewhere.
pub fn some_path() -> Path {
    Path {
        ethernet: Ethernet::default(),
        ip: Ip::V4(Ipv4::default()),
        udp: Udp { src_port: 0xc001 },
    }
}

/// A request that says nothing.
pub fn blank() -> SendWr {
    SendWr {
        wr_id: 0,
        signaled: false,
        solicited: false,
        fence: false,
        op: SendOp::Send(SendTail::Plain),
        data: Data::Gather(0),
    }
}

/// Numbers in an entry, in the machine's byte order; zero behind its end.
#[derive(Clone, Copy)]
pub struct Reader<'a>(pub &'a [u8]);

impl Reader<'_> {
    fn bytes<const N: usize>(self, at: usize) -> [u8; N] {
        self.0
            .get(at..at + N)
            .map_or([0; N], |bytes| bytes.try_into().expect("as many"))
    }

    pub fn u8(self, at: usize) -> u8 {
        self.bytes::<1>(at)[0]
    }

    pub fn u32(self, at: usize) -> u32 {
        u32::from_ne_bytes(self.bytes(at))
    }

    pub fn u64(self, at: usize) -> u64 {
        u64::from_ne_bytes(self.bytes(at))
    }

    pub fn sge(self, at: usize) -> Sge {
        Sge {
            addr: self.u64(at),
            len: self.u32(at + 8),
            lkey: self.u32(at + 12),
        }
    }
}

/// Takes the first byte of an input for how to look at the rest. Returns whether it is a request.
pub fn check(input: &[u8]) -> bool {
    let Some((&how, entry)) = input.split_first() else {
        return false;
    };
    let poster = if how & 1 == 0 {
        Poster::User
    } else {
        Poster::Kernel
    };
    let qp_type = match how >> 1 & 3 {
        0 => QpType::Rc,
        1 => QpType::Uc,
        2 => QpType::Ud,
        _ => QpType::Gsi,
    };
    let pieces = [0, 1, 3, 32][usize::from(how >> 3 & 3)];
    if how & 0x80 == 0 {
        check_send(entry, poster, qp_type, pieces)
    } else {
        check_receive(entry, u32::from(how >> 5 & 3) * 9, pieces)
    }
}

/// Bytes that no code may change.
const UNTOUCHED: Sge = Sge {
    addr: 0x5555_5555_5555_5555,
    len: 0x5555_5555,
    lkey: 0x5555_5555,
};

/// Copies an entry out of shared memory, as the driver does, and sees to it that no byte is read
/// twice. What was not copied is garbage.
fn copied(
    entry: &[u8],
    copy: impl for<'a> Fn(&'a mut [u8], &dyn Fn(usize, &mut [u8])) -> &'a [u8],
) -> Vec<u8> {
    let seen = std::cell::RefCell::new(vec![false; entry.len()]);
    let mut room = vec![0xa5; entry.len()];
    let read = |at: usize, into: &mut [u8]| {
        assert_eq!(at % 8, 0);
        into.copy_from_slice(&entry[at..at + into.len()]);
        for seen in &mut seen.borrow_mut()[at..at + into.len()] {
            assert!(!std::mem::replace(seen, true), "read twice");
        }
    };
    copy(&mut room, &read).to_vec()
}

fn check_send(entry: &[u8], poster: Poster, qp_type: QpType, pieces: usize) -> bool {
    let copy = copied(entry, |room, read| copy_send(room, read));
    let whole = decodes_send(entry, entry, poster, qp_type, pieces);
    // What is not copied does not count.
    assert_eq!(decodes_send(entry, &copy, poster, qp_type, pieces), whole);
    whole
}

/// Whether `copy`, made of `entry`, is a request: then what `entry` says.
fn decodes_send(entry: &[u8], copy: &[u8], poster: Poster, qp_type: QpType, pieces: usize) -> bool {
    let mut room = vec![UNTOUCHED; pieces];
    let mut wr = blank();
    let mut asked = None;
    let path = |ah: AhRef| {
        asked = Some(ah.0);
        // Every second handle exists.
        (ah.0 & 1 == 0).then(some_path)
    };
    let decoded = decode_send(copy, poster, qp_type, &mut room, path, &mut wr);
    let read = Reader(entry);
    let is_whole = entry.len() >= SEND_WQE_BYTES;
    if let Err(bad) = decoded {
        let wr_id = if is_whole { read.u64(0) } else { 0 };
        assert_eq!(bad, BadWr { wr_id });
        return false;
    }
    assert!(is_whole);
    assert_eq!(wr.wr_id, read.u64(0));
    let flags = read.u32(16);
    assert_eq!(
        (wr.fence, wr.signaled, wr.solicited),
        (flags & 1 != 0, flags & 2 != 0, flags & 4 != 0)
    );
    check_operation(read, poster, qp_type, &wr.op);
    if let SendOp::Datagram(_) = wr.op {
        assert_eq!(asked, Some(read.u32(24 + 12)));
    } else {
        assert_eq!(asked, None);
    }
    check_data(read, &wr, &room);
    true
}

fn check_operation(read: Reader<'_>, poster: Poster, qp_type: QpType, op: &SendOp) {
    let rdma = Remote {
        va: read.u64(24),
        rkey: read.u32(32),
    };
    let atomic = Remote {
        va: read.u64(24),
        rkey: read.u32(48),
    };
    let imm = Imm(read.bytes(20));
    let key = read.u32(20);
    let datagrams = matches!(qp_type, QpType::Ud | QpType::Gsi);
    match (read.u32(12), op) {
        (0, SendOp::Write { remote, imm: None }) | (4, SendOp::Read(remote)) => {
            assert_eq!(*remote, rdma);
        }
        (1, SendOp::Write { remote, imm: got }) => {
            assert_eq!((*remote, *got), (rdma, Some(imm)));
        }
        (2, SendOp::Send(SendTail::Plain)) => assert!(!datagrams),
        (3, SendOp::Send(SendTail::Imm(got))) => {
            assert!(!datagrams);
            assert_eq!(*got, imm);
        }
        (2 | 3, SendOp::Datagram(datagram)) => {
            assert!(datagrams);
            assert_eq!(datagram.path, some_path());
            assert_eq!(datagram.qpn, Qpn::new(read.u32(24)));
            assert_eq!(datagram.qkey, read.u32(28));
            assert_eq!(datagram.imm, (read.u32(12) == 3).then_some(imm));
        }
        (
            5,
            SendOp::CompareSwap {
                remote,
                compare,
                swap,
            },
        ) => {
            assert_eq!(*remote, atomic);
            assert_eq!((*compare, *swap), (read.u64(32), read.u64(40)));
        }
        (6, SendOp::FetchAdd { remote, add }) => {
            assert_eq!((*remote, *add), (atomic, read.u64(32)));
        }
        (7, SendOp::LocalInvalidate(got)) | (9, SendOp::Send(SendTail::Invalidate(got))) => {
            assert_eq!(*got, key);
        }
        (8, SendOp::BindMw(bind)) => {
            assert_eq!((bind.addr, bind.len), (read.u64(24), read.u64(32)));
            assert_eq!((bind.mr_lkey, bind.mw_rkey), (read.u32(40), read.u32(44)));
            assert_eq!(bind.new_rkey, read.u32(48));
            // Of the rights only those there are.
            assert_eq!(bind.rights.bits() & !read.u32(52), 0);
        }
        (14, SendOp::Flush { remote, len, what }) => {
            assert_eq!((remote.va, remote.rkey), (read.u64(24), read.u32(36)));
            assert_eq!(*len, read.u32(184));
            let placement = u8::from(what.global) | u8::from(what.persistent) << 1;
            assert_eq!(placement, read.u8(40));
            assert_eq!(what.selectivity as u8, read.u8(41));
        }
        (15, SendOp::AtomicWrite { remote, data }) => {
            assert_eq!(*remote, rdma);
            assert_eq!(*data, read.bytes(208));
            assert_eq!(read.u32(184), 8);
        }
        (0x20, SendOp::RegMr(_)) => assert_eq!(poster, Poster::Kernel),
        (opcode, op) => panic!("{opcode:#x} is not {op:?}"),
    }
}

fn check_data(read: Reader<'_>, wr: &SendWr, room: &[Sge]) {
    let behind = read.0.get(SEND_WQE_BYTES..).unwrap_or_default();
    let used = match wr.data {
        Data::Gather(count) => {
            let count = usize::from(count);
            for (i, sge) in room[..count].iter().enumerate() {
                assert_eq!(*sge, read.sge(208 + 16 * i));
            }
            count
        }
        Data::Inline(len) => {
            assert!(matches!(
                wr.op,
                SendOp::Send(_) | SendOp::Write { .. } | SendOp::Datagram(_)
            ));
            let len = usize::from(len);
            assert_eq!(len, read.u32(184) as usize);
            let bytes = zerocopy::IntoBytes::as_bytes(room);
            assert_eq!(bytes[..len], behind[..len]);
            assert!(bytes[len..].iter().all(|byte| *byte == 0x55));
            len.div_ceil(16)
        }
    };
    assert!(room[used..].iter().all(|sge| *sge == UNTOUCHED));
}

fn check_receive(entry: &[u8], max_sge: u32, pieces: usize) -> bool {
    let copy = copied(entry, |room, read| copy_recv(room, read));
    let whole = decodes_receive(entry, entry, max_sge, pieces);
    assert_eq!(decodes_receive(entry, &copy, max_sge, pieces), whole);
    whole
}

fn decodes_receive(entry: &[u8], copy: &[u8], max_sge: u32, pieces: usize) -> bool {
    let mut room = vec![UNTOUCHED; pieces];
    let read = Reader(entry);
    let is_whole = entry.len() >= RECV_WQE_BYTES;
    match decode_recv(copy, max_sge, &mut room) {
        Err(bad) => {
            let wr_id = if is_whole { read.u64(0) } else { 0 };
            assert_eq!(bad, BadWr { wr_id });
            assert!(room.iter().all(|sge| *sge == UNTOUCHED));
            false
        }
        Ok(wr) => {
            assert!(is_whole);
            assert_eq!(wr.wr_id, read.u64(0));
            assert_eq!(u32::from(wr.sges), read.u32(28));
            assert!(u32::from(wr.sges) <= max_sge);
            let count = usize::from(wr.sges);
            for (i, sge) in room[..count].iter().enumerate() {
                assert_eq!(*sge, read.sge(40 + 16 * i));
            }
            assert!(room[count..].iter().all(|sge| *sge == UNTOUCHED));
            true
        }
    }
}
