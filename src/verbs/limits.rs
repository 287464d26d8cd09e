// SPDX-License-Identifier: GPL-2.0-only

//! What the device offers: at least what upstream rxe does, or a program that runs there might not
//! run here.

/// Objects of a kind of which there is no other limit.
pub const OBJECTS: u32 = 1 << 20;
/// Queue pairs.
pub const QP: u32 = OBJECTS - 16;
/// Entries of a send or receive queue.
pub const QP_WR: u32 = 1 << 20;
/// Pieces of a request.
pub const SGE: u32 = 32;
/// Inline bytes of a request.
pub const INLINE_DATA: u32 = 512;
/// Entries of a completion queue: 32 MiB of them. Upstream has 2^15, which is too few for what
/// libfabric's reliable datagrams ask for, 1024 for each of 256 peers.
pub const CQE: u32 = (1 << 19) - 1;
/// Memory regions.
pub const MR: u32 = (OBJECTS >> 1) - 1;
/// Memory windows.
pub const MW: u32 = (OBJECTS >> 1) - 1;
/// Reads and atomics under way on a queue pair, either way.
pub const RD_ATOMIC: u32 = 128;
/// The same over all queue pairs: no limit of its own.
pub const RESPONDER_RESOURCES: u32 = 0x3_f000;
/// Multicast groups.
pub const MCAST_GROUPS: u32 = 8192;
/// Queue pairs in a group.
pub const MCAST_ATTACH: u32 = 56;
/// Queue pairs in all groups.
pub const MCAST_TOTAL: u32 = 0x7_0000;
/// Address handles.
pub const AH: u32 = (1 << 15) - 1;
/// Shared receive queues.
pub const SRQ: u32 = OBJECTS - 0x2_0001;
/// Entries of a shared receive queue.
pub const SRQ_WR: u32 = 1 << 20;
/// Pieces of its requests.
pub const SRQ_SGE: u32 = 27;
/// Pages of a fast-register region.
pub const FAST_REGISTER_PAGES: u32 = 512;
/// How long we may take to answer, as 4.096 us times two to the power of this.
pub const ACK_DELAY: u8 = 15;
/// Entries of the GID table: NCCL scans all of it at start.
pub const GIDS: u32 = 128;
/// Entries of the P_Key table: RoCE has one partition.
pub const PKEYS: u16 = 1;
/// The longest message.
pub const MESSAGE: u32 = 1 << 31;
/// Page sizes that regions may have: all from 4 KiB on.
pub const PAGE_SIZES: u64 = 0xffff_f000;
/// "No vendor" of the IEEE.
pub const VENDOR: u32 = 0x00ff_ffff;

/// What user space is told. Upstream's, but for automatic path migration and changing the physical
/// port, which neither does.
pub const CAPABILITIES: u64 = (compat::ib_device_cap_flags_IB_DEVICE_BAD_PKEY_CNTR as u64)
    | (compat::ib_device_cap_flags_IB_DEVICE_BAD_QKEY_CNTR as u64)
    | (compat::ib_device_cap_flags_IB_DEVICE_UD_AV_PORT_ENFORCE as u64)
    | (compat::ib_device_cap_flags_IB_DEVICE_PORT_ACTIVE_EVENT as u64)
    | (compat::ib_device_cap_flags_IB_DEVICE_SYS_IMAGE_GUID as u64)
    | (compat::ib_device_cap_flags_IB_DEVICE_RC_RNR_NAK_GEN as u64)
    | (compat::ib_device_cap_flags_IB_DEVICE_SRQ_RESIZE as u64)
    | (compat::ib_device_cap_flags_IB_DEVICE_MEM_MGT_EXTENSIONS as u64)
    | (compat::ib_device_cap_flags_IB_DEVICE_MEM_WINDOW as u64)
    | (compat::ib_device_cap_flags_IB_DEVICE_MEM_WINDOW_TYPE_2B as u64)
    | (compat::ib_device_cap_flags_IB_DEVICE_FLUSH_GLOBAL as u64)
    | (compat::ib_device_cap_flags_IB_DEVICE_FLUSH_PERSISTENT as u64)
    | (compat::ib_device_cap_flags_IB_DEVICE_ATOMIC_WRITE as u64);

/// What the core is told: `rdma link delete` may take the device away.
pub const KERNEL_CAPABILITIES: u64 = compat::ib_kernel_cap_flags_IBK_ALLOW_USER_UNREG as u64;

/// What datagrams do with memory that is paged in on demand.
pub const ODP_DATAGRAM: u32 = compat::ib_odp_transport_cap_bits_IB_ODP_SUPPORT_SEND
    | compat::ib_odp_transport_cap_bits_IB_ODP_SUPPORT_RECV
    | compat::ib_odp_transport_cap_bits_IB_ODP_SUPPORT_SRQ_RECV;
/// What reliable connections do with it.
pub const ODP_CONNECTION: u32 = ODP_DATAGRAM
    | compat::ib_odp_transport_cap_bits_IB_ODP_SUPPORT_WRITE
    | compat::ib_odp_transport_cap_bits_IB_ODP_SUPPORT_READ
    | compat::ib_odp_transport_cap_bits_IB_ODP_SUPPORT_ATOMIC
    | compat::ib_odp_transport_cap_bits_IB_ODP_SUPPORT_FLUSH
    | compat::ib_odp_transport_cap_bits_IB_ODP_SUPPORT_ATOMIC_WRITE;
