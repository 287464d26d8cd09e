// SPDX-License-Identifier: GPL-2.0-only

//! What verbs answer to librxe, beyond what every provider gets: where to map queues, and numbers.

use zerocopy::byteorder::native_endian::{U32, U64};
use zerocopy_derive::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::layout::bytes_of;

/// Where and how much to map.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct MapInfo {
    /// Offset for `mmap`.
    pub offset: u64,
    /// Bytes, whole pages.
    pub size: u32,
}

/// `struct mminfo`
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned, Clone, Copy)]
#[repr(C)]
struct MmInfo {
    offset: U64,
    size: U32,
    pad: U32,
}

/// `struct rxe_create_qp_resp`
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned, Clone, Copy)]
#[repr(C)]
struct CreateQp {
    rq: MmInfo,
    sq: MmInfo,
}

/// `struct rxe_create_srq_resp`
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned, Clone, Copy)]
#[repr(C)]
struct CreateSrq {
    queue: MmInfo,
    number: U32,
    reserved: U32,
}

/// `struct rxe_create_ah_resp`
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned, Clone, Copy)]
#[repr(C)]
struct CreateAh {
    number: U32,
    reserved: U32,
}

/// Bytes of `struct mminfo`.
pub const MAP_INFO_BYTES: usize = size_of::<MmInfo>();
/// Bytes of the answer to creating (and resizing) a completion queue.
pub const CREATE_CQ_RESP_BYTES: usize = size_of::<MmInfo>();
/// Bytes of the answer to creating a queue pair.
pub const CREATE_QP_RESP_BYTES: usize = size_of::<CreateQp>();
/// Bytes of the answer to creating a shared receive queue.
pub const CREATE_SRQ_RESP_BYTES: usize = size_of::<CreateSrq>();
/// Bytes of the answer to creating an address handle.
pub const CREATE_AH_RESP_BYTES: usize = size_of::<CreateAh>();
/// Bytes of the command that resizes a shared receive queue: a pointer to a `struct mminfo`.
pub const MODIFY_SRQ_CMD_BYTES: usize = 8;

const _: () = assert!(MAP_INFO_BYTES == 16);
const _: () = assert!(CREATE_QP_RESP_BYTES == 32);
const _: () = assert!(CREATE_SRQ_RESP_BYTES == 24);
const _: () = assert!(CREATE_AH_RESP_BYTES == 8);

impl From<MapInfo> for MmInfo {
    fn from(info: MapInfo) -> Self {
        Self {
            offset: U64::new(info.offset),
            size: U32::new(info.size),
            pad: U32::new(0),
        }
    }
}

/// One queue.
pub fn map_info(queue: MapInfo) -> [u8; MAP_INFO_BYTES] {
    bytes_of(&MmInfo::from(queue))
}

/// A completion queue.
pub fn create_cq_response(queue: MapInfo) -> [u8; CREATE_CQ_RESP_BYTES] {
    map_info(queue)
}

/// A queue pair, with its receive queue unless that is a shared one.
pub fn create_qp_response(receive: Option<MapInfo>, send: MapInfo) -> [u8; CREATE_QP_RESP_BYTES] {
    bytes_of(&CreateQp {
        rq: receive.unwrap_or_default().into(),
        sq: send.into(),
    })
}

/// A shared receive queue.
pub fn create_srq_response(queue: MapInfo, number: u32) -> [u8; CREATE_SRQ_RESP_BYTES] {
    bytes_of(&CreateSrq {
        queue: queue.into(),
        number: U32::new(number),
        reserved: U32::new(0),
    })
}

/// An address handle.
pub fn create_ah_response(number: u32) -> [u8; CREATE_AH_RESP_BYTES] {
    bytes_of(&CreateAh {
        number: U32::new(number),
        reserved: U32::new(0),
    })
}
