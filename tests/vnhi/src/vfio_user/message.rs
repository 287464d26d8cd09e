// SPDX-License-Identifier: GPL-2.0-only

//! Messages of the vfio-user protocol 0.1, as checked views over received bytes.
//!
//! ```text
//!   0        2        4                8                12               16
//!  +--------+--------+----------------+----------------+----------------+-------------
//!  |   id   |command | size of all    | flags          | error (reply)  | payload ...
//!  +--------+--------+----------------+----------------+----------------+-------------
//!                                       3:0 type (0 command, 1 reply), 4 no reply wanted, 5 error
//! ```
//!
//! The payload of most commands is the structure of the VFIO ioctl of the same name. All fields are in the byte order of the host, which for the guests
//! served here is little endian.

use rustix::io::Errno;
use zerocopy::byteorder::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Most bytes of data in one region access; told to the client as `max_data_xfer_size`.
pub const MAX_DATA: usize = 64 * 1024;
/// Most file descriptors with one message; told to the client as `max_msg_fds`.
pub const MAX_FDS: usize = 16;
/// A message that claims to be longer ends the connection.
pub const MAX_MESSAGE: usize = size_of::<Header>() + size_of::<RegionAccess>() + MAX_DATA;

/// What every message begins with.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct Header {
    /// Chosen by the sender of a command, repeated in its reply.
    pub id: U16,
    /// One of [`Command`].
    pub command: U16,
    /// Bytes of the message, this header included.
    pub size: U32,
    /// See the `FLAG_` constants.
    pub flags: U32,
    /// errno of a failed command, in its reply.
    pub error: U32,
}

/// Bits of [`Header::flags`] that hold the type of a message.
pub const FLAG_TYPE_MASK: u32 = 0xf;
/// Type of a reply; 0 is a command.
pub const FLAG_REPLY: u32 = 1;
/// On a command: do not reply, not even with an error.
pub const FLAG_NO_REPLY: u32 = 1 << 4;
/// On a reply: the command failed.
pub const FLAG_ERROR: u32 = 1 << 5;

impl Header {
    /// Bytes of the message that `bytes` begins with, or nothing while there is not even a header.
    ///
    /// # Errors
    ///
    /// When the size cannot be that of a message: the stream is lost.
    pub fn peek_size(bytes: &[u8]) -> Result<Option<usize>, Unframeable> {
        let Ok((header, _)) = Header::ref_from_prefix(bytes) else {
            return Ok(None);
        };
        let size = header.size.get();
        match usize::try_from(size) {
            Ok(size) if (size_of::<Header>()..=MAX_MESSAGE).contains(&size) => Ok(Some(size)),
            _ => Err(Unframeable { size }),
        }
    }

    /// Whether the sender wants no reply.
    #[must_use]
    pub fn no_reply(&self) -> bool {
        self.flags.get() & FLAG_NO_REPLY != 0
    }
}

/// The size field of a message is impossible, so nobody knows where the next one begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unframeable {
    /// The size it claims.
    pub size: u32,
}

impl std::fmt::Display for Unframeable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (least, most) = (size_of::<Header>(), MAX_MESSAGE);
        write!(
            f,
            "a message of {} bytes ({least} to {most} are possible)",
            self.size
        )
    }
}

impl std::error::Error for Unframeable {}

/// Command numbers.
#[allow(missing_docs)]
pub mod command {
    pub const VERSION: u16 = 1;
    pub const DMA_MAP: u16 = 2;
    pub const DMA_UNMAP: u16 = 3;
    pub const DEVICE_GET_INFO: u16 = 4;
    pub const DEVICE_GET_REGION_INFO: u16 = 5;
    pub const DEVICE_GET_IRQ_INFO: u16 = 7;
    pub const DEVICE_SET_IRQS: u16 = 8;
    pub const REGION_READ: u16 = 9;
    pub const REGION_WRITE: u16 = 10;
    pub const DEVICE_RESET: u16 = 13;
    pub const REGION_WRITE_MULTI: u16 = 15;
}

/// Protocol version at the start of a VERSION message; capabilities in JSON follow.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct Version {
    /// Must be equal on both sides.
    pub major: U16,
    /// The lower one of both sides is used.
    pub minor: U16,
}

/// Payload of DMA_MAP.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct DmaMap {
    /// Size of this structure.
    pub argsz: U32,
    /// [`DMA_READ`] and [`DMA_WRITE`].
    pub flags: U32,
    /// Where the region begins in the file that came along.
    pub offset: U64,
    /// Where the device sees it.
    pub address: U64,
    /// Its bytes.
    pub size: U64,
}

/// [`DmaMap::flags`]: the device may read.
pub const DMA_READ: u32 = 1 << 0;
/// [`DmaMap::flags`]: the device may write.
pub const DMA_WRITE: u32 = 1 << 1;

/// Payload of DMA_UNMAP and of its reply.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct DmaUnmap {
    /// Most bytes the reply's payload may have.
    pub argsz: U32,
    /// [`UNMAP_ALL`] or nothing.
    pub flags: U32,
    /// As it was mapped.
    pub address: U64,
    /// As it was mapped.
    pub size: U64,
}

/// [`DmaUnmap::flags`]: everything; address and size must be 0.
pub const UNMAP_ALL: u32 = 1 << 1;

/// Payload of DEVICE_GET_INFO and of its reply.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct DeviceInfo {
    /// Size of this structure.
    pub argsz: U32,
    /// Bit 0 can be reset, bit 1 is a PCI function.
    pub flags: U32,
    /// Regions, present or not.
    pub num_regions: U32,
    /// Interrupt kinds, present or not.
    pub num_irqs: U32,
}

/// Payload of DEVICE_GET_REGION_INFO and of its reply.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct RegionInfo {
    /// Size of this structure.
    pub argsz: U32,
    /// Bit 0 readable, bit 1 writable.
    pub flags: U32,
    /// Which region.
    pub index: U32,
    /// Offset of capabilities in this structure; none here.
    pub cap_offset: U32,
    /// Bytes; 0 when the region does not exist.
    pub size: U64,
    /// For mmap of the region; unused.
    pub offset: U64,
}

/// Payload of DEVICE_GET_IRQ_INFO and of its reply.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct IrqInfo {
    /// Size of this structure.
    pub argsz: U32,
    /// Bit 0: signalled through eventfds.
    pub flags: U32,
    /// Which kind of interrupt.
    pub index: U32,
    /// Vectors.
    pub count: U32,
}

/// Payload of DEVICE_SET_IRQS; data bytes or file descriptors go with it.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct SetIrqs {
    /// Size of this structure and its data.
    pub argsz: U32,
    /// One `IRQ_DATA_` and one `IRQ_ACTION_` bit.
    pub flags: U32,
    /// Which kind of interrupt.
    pub index: U32,
    /// First vector.
    pub start: U32,
    /// Vectors.
    pub count: U32,
}

/// [`SetIrqs::flags`]: no data, all vectors alike.
pub const IRQ_DATA_NONE: u32 = 1 << 0;
/// [`SetIrqs::flags`]: one byte for each vector, those with 0 are left alone.
pub const IRQ_DATA_BOOL: u32 = 1 << 1;
/// [`SetIrqs::flags`]: one eventfd for each vector, or none at all to take them away.
pub const IRQ_DATA_EVENTFD: u32 = 1 << 2;
/// [`SetIrqs::flags`]: mask.
pub const IRQ_ACTION_MASK: u32 = 1 << 3;
/// [`SetIrqs::flags`]: unmask.
pub const IRQ_ACTION_UNMASK: u32 = 1 << 4;
/// [`SetIrqs::flags`]: set up signalling, or signal at once.
pub const IRQ_ACTION_TRIGGER: u32 = 1 << 5;

/// Start of the payload of REGION_READ and REGION_WRITE, and of their replies.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct RegionAccess {
    /// In the region.
    pub offset: U64,
    /// Which region.
    pub region: U32,
    /// Bytes of data.
    pub count: U32,
}

/// One of the writes of REGION_WRITE_MULTI.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct SmallWrite {
    /// Where; at most 8 bytes.
    pub access: RegionAccess,
    /// The first `count` of these.
    pub data: [u8; 8],
}

impl SmallWrite {
    /// The bytes to write, or nothing when it claims more than it can hold.
    #[must_use]
    pub fn bytes(&self) -> Option<&[u8]> {
        self.data
            .get(..usize::try_from(self.access.count.get()).ok()?)
    }
}

/// A command, with its payload checked for size.
#[derive(Clone, Copy, Debug)]
pub enum Request<'a> {
    /// First message on a connection: version and capabilities (JSON, NUL at its end).
    Version(Version, &'a [u8]),
    /// Guest memory comes.
    DmaMap(DmaMap),
    /// Guest memory goes.
    DmaUnmap(DmaUnmap),
    /// What the device is.
    DeviceInfo,
    /// What one region is.
    RegionInfo(RegionInfo),
    /// What one interrupt kind is.
    IrqInfo(IrqInfo),
    /// Set-up of interrupts, with the bytes of `IRQ_DATA_BOOL`.
    SetIrqs(SetIrqs, &'a [u8]),
    /// Read of a region.
    Read(RegionAccess),
    /// Write to a region.
    Write(RegionAccess, &'a [u8]),
    /// Small writes, in this order.
    WriteMulti(&'a [SmallWrite]),
    /// Reset of the device.
    Reset,
}

impl<'a> Request<'a> {
    /// Checks the payload of a command.
    ///
    /// # Errors
    ///
    /// `ENOSYS` for a command that is unknown or not served, `EINVAL` when the payload does not fit the command, `E2BIG` when it wants too much.
    pub fn parse(command: u16, payload: &'a [u8]) -> Result<Self, Errno> {
        Ok(match command {
            command::VERSION => {
                let (version, json) = prefix(payload)?;
                Request::Version(version, json)
            }
            command::DMA_MAP => Request::DmaMap(whole(payload)?),
            command::DMA_UNMAP => Request::DmaUnmap(whole(payload)?),
            command::DEVICE_GET_INFO => {
                whole::<DeviceInfo>(payload)?;
                Request::DeviceInfo
            }
            command::DEVICE_GET_REGION_INFO => Request::RegionInfo(whole(payload)?),
            command::DEVICE_GET_IRQ_INFO => Request::IrqInfo(whole(payload)?),
            command::DEVICE_SET_IRQS => {
                let (set, data) = prefix(payload)?;
                Request::SetIrqs(set, data)
            }
            command::REGION_READ => {
                let access: RegionAccess = whole(payload)?;
                data_length(&access)?;
                Request::Read(access)
            }
            command::REGION_WRITE => {
                let (access, data): (RegionAccess, _) = prefix(payload)?;
                if data_length(&access)? != data.len() {
                    return Err(Errno::INVAL);
                }
                Request::Write(access, data)
            }
            command::REGION_WRITE_MULTI => {
                let (count, rest): (U64, _) = prefix(payload)?;
                let writes = <[SmallWrite]>::ref_from_bytes(rest).map_err(|_| Errno::INVAL)?;
                if u64::try_from(writes.len()) != Ok(count.get()) {
                    return Err(Errno::INVAL);
                }
                Request::WriteMulti(writes)
            }
            command::DEVICE_RESET => Request::Reset,
            _ => return Err(Errno::NOSYS),
        })
    }
}

/// The payload as a structure of exactly its size.
fn whole<T: FromBytes>(payload: &[u8]) -> Result<T, Errno> {
    T::read_from_bytes(payload).map_err(|_| Errno::INVAL)
}

/// The payload as a structure and the bytes that follow it.
fn prefix<T: FromBytes>(payload: &[u8]) -> Result<(T, &[u8]), Errno> {
    T::read_from_prefix(payload).map_err(|_| Errno::INVAL)
}

/// Bytes of data of a region access.
fn data_length(access: &RegionAccess) -> Result<usize, Errno> {
    match usize::try_from(access.count.get()) {
        Ok(count) if count <= MAX_DATA => Ok(count),
        _ => Err(Errno::TOOBIG),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn header(size: u32) -> Vec<u8> {
        let header = Header {
            size: size.into(),
            ..Header::default()
        };
        header.as_bytes().to_vec()
    }

    #[test]
    fn structures_have_the_sizes_of_the_protocol() {
        assert_eq!(size_of::<Header>(), 16);
        assert_eq!(size_of::<DmaMap>(), 32);
        assert_eq!(size_of::<DmaUnmap>(), 24);
        assert_eq!(size_of::<DeviceInfo>(), 16);
        assert_eq!(size_of::<RegionInfo>(), 32);
        assert_eq!(size_of::<IrqInfo>(), 16);
        assert_eq!(size_of::<SetIrqs>(), 20);
        assert_eq!(size_of::<RegionAccess>(), 16);
        assert_eq!(size_of::<SmallWrite>(), 24);
    }

    #[test]
    fn sizes_outside_the_bounds_cannot_be_framed() {
        assert_eq!(Header::peek_size(&header(16)[..15]), Ok(None));
        assert_eq!(Header::peek_size(&header(16)), Ok(Some(16)));
        assert_eq!(
            Header::peek_size(&header(15)),
            Err(Unframeable { size: 15 })
        );
        let most = u32::try_from(MAX_MESSAGE).unwrap();
        assert_eq!(Header::peek_size(&header(most)), Ok(Some(MAX_MESSAGE)));
        assert!(Header::peek_size(&header(most + 1)).is_err());
        assert!(Header::peek_size(&header(u32::MAX)).is_err());
    }

    #[test]
    fn a_write_must_bring_the_bytes_it_announces() {
        let access = RegionAccess {
            offset: 8.into(),
            region: 0.into(),
            count: 4.into(),
        };
        let mut payload = access.as_bytes().to_vec();
        payload.extend([1, 2, 3, 4]);
        let Ok(Request::Write(parsed, data)) = Request::parse(command::REGION_WRITE, &payload)
        else {
            panic!("a good write was refused");
        };
        assert_eq!((parsed.offset.get(), data), (8, &[1, 2, 3, 4][..]));
        payload.pop();
        let refused = Request::parse(command::REGION_WRITE, &payload);
        assert_eq!(refused.err(), Some(Errno::INVAL));
    }

    #[test]
    fn a_read_of_too_much_is_refused() {
        let access = RegionAccess {
            offset: 0.into(),
            region: 0.into(),
            count: u32::MAX.into(),
        };
        let refused = Request::parse(command::REGION_READ, access.as_bytes());
        assert_eq!(refused.err(), Some(Errno::TOOBIG));
    }

    #[test]
    fn multiple_writes_are_counted() {
        let one = SmallWrite {
            access: RegionAccess {
                offset: 4.into(),
                region: 0.into(),
                count: 4.into(),
            },
            data: [9; 8],
        };
        let mut payload = U64::new(2).as_bytes().to_vec();
        payload.extend(one.as_bytes());
        let refused = Request::parse(command::REGION_WRITE_MULTI, &payload);
        assert_eq!(refused.err(), Some(Errno::INVAL));
        payload.extend(one.as_bytes());
        let Ok(Request::WriteMulti(writes)) = Request::parse(command::REGION_WRITE_MULTI, &payload)
        else {
            panic!("two good writes were refused");
        };
        assert_eq!(writes.len(), 2);
        assert_eq!(writes[1].bytes(), Some(&[9; 4][..]));
        let mut wide = one;
        wide.access.count = 9.into();
        assert_eq!(wide.bytes(), None);
    }

    proptest! {
        #[test]
        fn any_payload_is_parsed_or_refused(command in 0u16..20, payload in prop::collection::vec(any::<u8>(), 0..200)) {
            match Request::parse(command, &payload) {
                Ok(Request::Write(access, data)) => prop_assert_eq!(access.count.get() as usize, data.len()),
                Ok(Request::Read(access)) => prop_assert!(access.count.get() as usize <= MAX_DATA),
                Ok(Request::WriteMulti(writes)) => prop_assert_eq!(8 + 24 * writes.len(), payload.len()),
                Ok(_) => {}
                Err(error) => prop_assert!([Errno::INVAL, Errno::NOSYS, Errno::TOOBIG].contains(&error)),
            }
        }
    }
}
