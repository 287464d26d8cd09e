// SPDX-License-Identifier: GPL-2.0-only

//! The structures of `rdma_user_rxe.h` and `struct ib_uverbs_wc`.
//!
//! ```text
//!   queue            0 log2 of an entry's size   4 index mask   128 producer   256 consumer
//!                  384 entries
//!   send entry       0 wr_id   12 opcode   16 flags   20 immediate | key   24 by operation
//!                  144 the driver's own        184 length   196 pieces   208 pieces | bytes
//!   receive entry    0 wr_id   16 length   28 pieces   40 pieces
//! ```

use core::mem::{offset_of, size_of};

use zerocopy::byteorder::native_endian::{U16, U32, U64};
use zerocopy_derive::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// The front of a queue. Producer and consumer have cache lines of their own.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned, Clone, Copy, Debug)]
#[repr(C)]
pub struct QueueHeader {
    /// Binary logarithm of the size of an entry.
    pub log2_element: U32,
    /// Number of entries less one.
    pub index_mask: U32,
    pad_1: [U32; 30],
    /// Next entry to be written.
    pub producer: U32,
    pad_2: [U32; 31],
    /// Next entry to be read.
    pub consumer: U32,
    pad_3: [U32; 31],
}

/// Where the size of an entry lies.
pub const QUEUE_ELEMENT_AT: usize = offset_of!(QueueHeader, log2_element);
/// Where the index mask lies.
pub const QUEUE_MASK_AT: usize = offset_of!(QueueHeader, index_mask);
/// Where the producer index lies.
pub const QUEUE_PRODUCER_AT: usize = offset_of!(QueueHeader, producer);
/// Where the consumer index lies.
pub const QUEUE_CONSUMER_AT: usize = offset_of!(QueueHeader, consumer);
/// Where the entries begin.
pub const QUEUE_DATA_AT: usize = size_of::<QueueHeader>();

/// `struct rxe_dma_info`, without the pieces behind it.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned, Clone, Copy, Debug, Default)]
#[repr(C)]
pub(super) struct DmaInfo {
    /// Bytes of the message.
    pub length: U32,
    /// The driver's: we keep no state in shared memory.
    pub resid: U32,
    pub cur_sge: U32,
    /// Pieces behind.
    pub num_sge: U32,
    pub sge_offset: U32,
    pub reserved: U32,
}

/// Bytes of the part that depends on the operation.
pub(super) const BODY_BYTES: usize = 120;

/// `struct rxe_send_wqe`, without the pieces behind it.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned, Clone, Copy, Debug)]
#[repr(C)]
pub(super) struct SendHeader {
    pub wr_id: U64,
    pub reserved: U32,
    pub opcode: U32,
    pub flags: U32,
    /// Immediate data, or a key in the machine's byte order.
    pub ex: [u8; 4],
    /// One of the structures below.
    pub body: [u8; BODY_BYTES],
    /// The driver's: we keep no state in shared memory.
    pub private: [U32; 10],
    pub dma: DmaInfo,
}

/// `wr.rdma`: WRITE, READ, ATOMIC WRITE.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned, Clone, Copy, Debug)]
#[repr(C)]
pub(super) struct RdmaBody {
    pub remote_addr: U64,
    pub rkey: U32,
    pub reserved: U32,
}

/// `wr.atomic`: compare and swap, fetch and add.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned, Clone, Copy, Debug)]
#[repr(C)]
pub(super) struct AtomicBody {
    pub remote_addr: U64,
    pub compare_add: U64,
    pub swap: U64,
    pub rkey: U32,
    pub reserved: U32,
}

/// `wr.flush`.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned, Clone, Copy, Debug)]
#[repr(C)]
pub(super) struct FlushBody {
    pub remote_addr: U64,
    /// Not filled in by librxe, which puts the length where messages have theirs.
    pub length: U32,
    pub rkey: U32,
    /// What to flush to: a set.
    pub placement: u8,
    /// How much to flush.
    pub selectivity: u8,
    pub reserved: [u8; 6],
}

/// `wr.ud`, without the address vector behind it: that is for drivers without address handles.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned, Clone, Copy, Debug)]
#[repr(C)]
pub(super) struct DatagramBody {
    pub remote_qpn: U32,
    pub remote_qkey: U32,
    pub pkey_index: U16,
    pub reserved: U16,
    pub ah_num: U32,
    pub pad: [U32; 4],
}

/// `wr.mw`.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned, Clone, Copy, Debug)]
#[repr(C)]
pub(super) struct BindBody {
    pub addr: U64,
    pub length: U64,
    pub mr_lkey: U32,
    pub mw_rkey: U32,
    pub rkey: U32,
    pub access: U32,
}

/// Registration, from kernel users only: our own layout, no user space has it.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned, Clone, Copy, Debug)]
#[repr(C)]
pub(super) struct RegisterBody {
    pub iova: U64,
    pub length: U64,
    pub mr_lkey: U32,
    pub key: U32,
    pub access: U32,
    pub reserved: U32,
}

/// `struct rxe_recv_wqe`, without the pieces behind it.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned, Clone, Copy, Debug)]
#[repr(C)]
pub(super) struct RecvHeader {
    pub wr_id: U64,
    pub reserved: U32,
    pub padding: U32,
    pub dma: DmaInfo,
}

/// `struct ib_uverbs_wc`; librxe copies it to the application as it is.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned, Clone, Copy, Debug)]
#[repr(C)]
pub(super) struct UserWc {
    pub wr_id: U64,
    pub status: U32,
    pub opcode: U32,
    pub vendor_err: U32,
    pub byte_len: U32,
    /// Immediate data, or a key in the machine's byte order.
    pub ex: [u8; 4],
    pub qp_num: U32,
    pub src_qp: U32,
    pub flags: U32,
    pub pkey_index: U16,
    pub slid: U16,
    pub sl: u8,
    pub dlid_path_bits: u8,
    pub port_num: u8,
    pub reserved: u8,
}

/// Bytes of a send entry in front of its pieces or inline data.
pub const SEND_WQE_BYTES: usize = size_of::<SendHeader>();
/// The front of a send entry: as far as the longest of the bodies goes. Behind it is a gap.
pub(super) const FRONT_BYTES: usize = 64;
/// Where the length and the number of pieces are.
pub(super) const DMA_AT: usize = offset_of!(SendHeader, dma);
/// Bytes of a receive entry in front of its pieces.
pub const RECV_WQE_BYTES: usize = size_of::<RecvHeader>();
/// Bytes of a piece.
pub const SGE_BYTES: usize = size_of::<crate::rxe::wqe::Sge>();
/// Bytes of a completion.
pub const WC_BYTES: usize = size_of::<UserWc>();

/// A structure as bytes.
pub(super) fn bytes_of<T, const N: usize>(value: &T) -> [u8; N]
where
    T: zerocopy::IntoBytes + zerocopy::Immutable,
{
    const { assert!(size_of::<T>() == N) };
    let mut bytes = [0; N];
    bytes.copy_from_slice(value.as_bytes());
    bytes
}

// The numbers below are those of a C compiler on a 64-bit machine.
const _: () = assert!(size_of::<QueueHeader>() == 384);
const _: () = assert!(QUEUE_ELEMENT_AT == 0 && QUEUE_MASK_AT == 4);
const _: () = assert!(QUEUE_PRODUCER_AT == 128 && QUEUE_CONSUMER_AT == 256);

const _: () = assert!(SEND_WQE_BYTES == 208);
const _: () = assert!(offset_of!(SendHeader, opcode) == 12);
const _: () = assert!(offset_of!(SendHeader, flags) == 16);
const _: () = assert!(offset_of!(SendHeader, ex) == 20);
const _: () = assert!(offset_of!(SendHeader, body) == 24);
const _: () = assert!(offset_of!(SendHeader, private) == 144);
const _: () = assert!(offset_of!(SendHeader, dma) == 184);
const _: () = assert!(offset_of!(DmaInfo, num_sge) == 12);

const _: () = assert!(offset_of!(RdmaBody, rkey) == 8);
const _: () = assert!(offset_of!(AtomicBody, compare_add) == 8);
const _: () = assert!(offset_of!(AtomicBody, swap) == 16);
const _: () = assert!(offset_of!(AtomicBody, rkey) == 24);
const _: () = assert!(offset_of!(FlushBody, rkey) == 12);
const _: () = assert!(offset_of!(FlushBody, placement) == 16);
const _: () = assert!(offset_of!(FlushBody, selectivity) == 17);
const _: () = assert!(offset_of!(DatagramBody, remote_qkey) == 4);
const _: () = assert!(offset_of!(DatagramBody, ah_num) == 12);
const _: () = assert!(size_of::<DatagramBody>() == 32);
const _: () = assert!(offset_of!(BindBody, mr_lkey) == 16);
const _: () = assert!(offset_of!(BindBody, mw_rkey) == 20);
const _: () = assert!(offset_of!(BindBody, rkey) == 24);
const _: () = assert!(offset_of!(BindBody, access) == 28);
const _: () = assert!(size_of::<RegisterBody>() <= BODY_BYTES);

/// Bytes of the body that are copied.
const BODY_COPIED: usize = FRONT_BYTES - offset_of!(SendHeader, body);
const _: () = assert!(size_of::<RdmaBody>() <= BODY_COPIED);
const _: () = assert!(size_of::<AtomicBody>() <= BODY_COPIED);
const _: () = assert!(size_of::<FlushBody>() <= BODY_COPIED);
const _: () = assert!(size_of::<DatagramBody>() <= BODY_COPIED);
const _: () = assert!(size_of::<BindBody>() <= BODY_COPIED);
const _: () = assert!(size_of::<RegisterBody>() <= BODY_COPIED);
// Copies go by words of eight bytes.
const _: () = assert!(FRONT_BYTES % 8 == 0 && DMA_AT % 8 == 0 && SEND_WQE_BYTES % 8 == 0);
const _: () = assert!(RECV_WQE_BYTES % 8 == 0);

const _: () = assert!(RECV_WQE_BYTES == 40);
const _: () = assert!(offset_of!(RecvHeader, dma) == 16);
const _: () = assert!(SGE_BYTES == 16);

const _: () = assert!(WC_BYTES == 48);
const _: () = assert!(offset_of!(UserWc, ex) == 24);
const _: () = assert!(offset_of!(UserWc, flags) == 36);
const _: () = assert!(offset_of!(UserWc, port_num) == 46);
