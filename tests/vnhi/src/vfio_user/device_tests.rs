// SPDX-License-Identifier: GPL-2.0-only

//! Tests of a device with a backend that only notes what reached it.

use rustix::fs::{fcntl_add_seals, ftruncate, memfd_create, MemfdFlags, SealFlags};
use zerocopy::byteorder::little_endian::U64;
use zerocopy::FromBytes;

use super::*;
use crate::vfio_user::message::{command, SmallWrite, Version, FLAG_NO_REPLY, FLAG_REPLY};

/// Notes every call; register reads answer with the low byte of the offset.
#[derive(Default)]
struct Recorder {
    calls: Vec<String>,
}

impl Backend for Recorder {
    fn attach(&mut self) {
        self.calls.push("attach".into());
    }
    fn read(&mut self, offset: u64, data: &mut [u8]) {
        data.fill(offset.to_le_bytes()[0]);
        self.calls.push(format!("read {offset:#x}+{}", data.len()));
    }
    fn write(&mut self, offset: u64, data: &[u8]) {
        self.calls.push(format!("write {offset:#x} {data:?}"));
    }
    fn map(&mut self, region: GuestRegionMmap, writable: bool) -> Result<(), Errno> {
        let size = vm_memory::GuestMemoryRegion::len(&region);
        self.calls.push(format!("map {size:#x} {writable}"));
        Ok(())
    }
    fn unmap(&mut self, address: u64, size: u64) {
        self.calls.push(format!("unmap {address:#x}+{size:#x}"));
    }
    fn reset(&mut self) {
        self.calls.push("reset".into());
    }
    fn warn(&mut self, message: &str) {
        self.calls.push(format!("warn {message}"));
    }
}

#[derive(Default)]
struct Bench {
    device: Device,
    backend: Recorder,
}

impl Bench {
    fn attached() -> Self {
        let mut bench = Self::default();
        let version = Version {
            major: 0.into(),
            minor: 1.into(),
        };
        bench.ask(command::VERSION, version.as_bytes()).unwrap();
        bench.backend.calls.clear();
        bench
    }

    fn ask(&mut self, command: u16, payload: &[u8]) -> Result<Vec<u8>, u32> {
        self.ask_with(command, payload, Fds::default(), 0)
            .expect("no reply")
    }

    fn ask_with(
        &mut self,
        command: u16,
        payload: &[u8],
        fds: Fds,
        flags: u32,
    ) -> Option<Result<Vec<u8>, u32>> {
        let header = Header {
            id: 5.into(),
            command: command.into(),
            size: 0.into(),
            flags: flags.into(),
            error: 0.into(),
        };
        let message = Message {
            header,
            payload,
            fds,
        };
        let mut out = Outbox::default();
        self.device.handle(message, &mut self.backend, &mut out);
        let (reply, payload) = Header::read_from_prefix(out.bytes()).ok()?;
        assert_eq!((reply.id.get(), reply.command.get()), (5, command));
        assert_eq!(reply.size.get() as usize, out.bytes().len());
        Some(match reply.flags.get() {
            FLAG_REPLY => Ok(payload.to_vec()),
            _ => Err(reply.error.get()),
        })
    }

    fn calls(&mut self) -> Vec<String> {
        std::mem::take(&mut self.backend.calls)
    }
}

fn access(region: u32, offset: u64, count: u32) -> RegionAccess {
    RegionAccess {
        offset: offset.into(),
        region: region.into(),
        count: count.into(),
    }
}

fn small_write(offset: u64, count: u32, data: u64) -> SmallWrite {
    SmallWrite {
        access: access(0, offset, count),
        data: data.to_le_bytes(),
    }
}

fn memory(size: u64) -> Fds {
    let fd = memfd_create("guest", MemfdFlags::ALLOW_SEALING).unwrap();
    ftruncate(&fd, size).unwrap();
    fcntl_add_seals(&fd, SealFlags::SHRINK).unwrap();
    Fds {
        list: vec![fd],
        truncated: false,
    }
}

fn dma_map(address: u64, size: u64, flags: u32) -> DmaMap {
    DmaMap {
        argsz: 32.into(),
        flags: flags.into(),
        offset: 0.into(),
        address: address.into(),
        size: size.into(),
    }
}

fn dma_unmap(address: u64, size: u64, flags: u32) -> DmaUnmap {
    DmaUnmap {
        argsz: 24.into(),
        flags: flags.into(),
        address: address.into(),
        size: size.into(),
    }
}

const EINVAL: u32 = 22;

#[test]
fn nothing_works_before_the_version() {
    let mut bench = Bench::default();
    assert_eq!(bench.ask(command::DEVICE_GET_INFO, &[0; 16]), Err(71));
    assert!(!bench.device.is_attached());
    let version = [0, 0, 1, 0, b'{', b'}', 0];
    assert!(bench.ask(command::VERSION, &version).is_ok());
    assert!(bench.device.is_attached());
    assert_eq!(bench.ask(command::VERSION, &version), Err(71));
    assert_eq!(bench.calls(), ["attach"]);
}

#[test]
fn it_describes_itself() {
    let mut bench = Bench::attached();
    let info = bench.ask(command::DEVICE_GET_INFO, &[0; 16]).unwrap();
    let info = DeviceInfo::read_from_bytes(&info).unwrap();
    assert_eq!((info.flags.get(), info.num_regions.get()), (3, 9));
    assert_eq!(info.num_irqs.get(), 5);
    let mut sizes = Vec::new();
    for index in 0..9 {
        let mut asked = region_info(0).unwrap();
        asked.index.set(index);
        let reply = bench.ask(command::DEVICE_GET_REGION_INFO, asked.as_bytes());
        sizes.push(
            RegionInfo::read_from_bytes(&reply.unwrap())
                .unwrap()
                .size
                .get(),
        );
    }
    assert_eq!(sizes, [0x40000, 0, 0x1000, 0, 0, 0, 0, 256, 0]);
    let mut asked = irq_info(2).unwrap();
    let reply = bench.ask(command::DEVICE_GET_IRQ_INFO, asked.as_bytes());
    let reply = IrqInfo::read_from_bytes(&reply.unwrap()).unwrap();
    assert_eq!((reply.flags.get(), reply.count.get()), (1, 16));
    asked.index.set(3);
    let refused = bench.ask(command::DEVICE_GET_IRQ_INFO, asked.as_bytes());
    assert_eq!(refused, Err(EINVAL));
}

#[test]
fn registers_are_read_and_written() {
    let mut bench = Bench::attached();
    let read = bench.ask(command::REGION_READ, access(0, 0x3_9640, 4).as_bytes());
    assert_eq!(read.unwrap()[16..], [0x40; 4]);
    let write = [access(0, 8, 4).as_bytes(), &[1, 2, 3, 4]].concat();
    assert_eq!(bench.ask(command::REGION_WRITE, &write).unwrap().len(), 16);
    let expected = ["read 0x39640+4", "write 0x8 [1, 2, 3, 4]"];
    assert_eq!(bench.calls(), expected);
}

#[test]
fn many_writes_come_in_order() {
    let mut bench = Bench::attached();
    let writes = [small_write(0x08, 4, 7), small_write(0x18, 2, 9)];
    let payload = [U64::new(2).as_bytes(), writes.as_bytes()].concat();
    let reply = bench.ask_with(
        command::REGION_WRITE_MULTI,
        &payload,
        Fds::default(),
        FLAG_NO_REPLY,
    );
    assert!(reply.is_none());
    assert_eq!(
        bench.calls(),
        ["write 0x8 [7, 0, 0, 0]", "write 0x18 [9, 0]"]
    );
    let wide = [U64::new(1).as_bytes(), small_write(0, 9, 0).as_bytes()].concat();
    assert_eq!(bench.ask(command::REGION_WRITE_MULTI, &wide), Err(EINVAL));
}

#[test]
fn accesses_outside_regions_are_refused() {
    let mut bench = Bench::attached();
    for (region, offset, count) in [
        (0, 0x3_fffd, 4),
        (0, u64::MAX, 4),
        (1, 0, 4),
        (2, 0x1000, 1),
        (6, 0, 4),
        (7, 254, 4),
        (9, 0, 4),
        (u32::MAX, 0, 4),
    ] {
        let asked = access(region, offset, count);
        let read = bench.ask(command::REGION_READ, asked.as_bytes());
        assert_eq!(read, Err(EINVAL), "{region} {offset:#x}");
        let write = [asked.as_bytes(), &vec![0; count as usize]].concat();
        let write = bench.ask(command::REGION_WRITE, &write);
        assert_eq!(write, Err(EINVAL), "{region} {offset:#x}");
    }
    assert!(bench.calls().is_empty());
}

#[test]
fn memory_comes_and_goes() {
    let mut bench = Bench::attached();
    let map = |bench: &mut Bench, map: DmaMap, fds| {
        let reply = bench.ask_with(command::DMA_MAP, map.as_bytes(), fds, 0);
        reply.expect("no reply")
    };
    let (low, high) = (dma_map(0, 0x1000, 3), dma_map(1 << 32, 0x2000, 1));
    assert_eq!(map(&mut bench, low, memory(0x1000)), Ok(vec![]));
    assert_eq!(map(&mut bench, high, memory(0x2000)), Ok(vec![]));
    assert_eq!(map(&mut bench, low, memory(0x1000)), Err(17));
    let rom = dma_map(0xc_0000, 0x2_0000, 1);
    assert_eq!(map(&mut bench, rom, Fds::default()), Ok(vec![]));
    assert_eq!(bench.device.unmapped_windows(), 1);
    assert_eq!(bench.calls(), ["map 0x1000 true", "map 0x2000 false"]);

    let part = dma_unmap(1 << 32, 0x1000, 0);
    assert_eq!(bench.ask(command::DMA_UNMAP, part.as_bytes()), Err(2));
    let whole = dma_unmap(0, 0x1000, 0);
    let reply = bench.ask(command::DMA_UNMAP, whole.as_bytes());
    assert_eq!(reply, Ok(whole.as_bytes().to_vec()));
    let all = dma_unmap(0, 0, UNMAP_ALL);
    assert!(bench.ask(command::DMA_UNMAP, all.as_bytes()).is_ok());
    let expected = [
        "unmap 0x0+0x1000",
        "unmap 0xc0000+0x20000",
        "unmap 0x100000000+0x2000",
    ];
    assert_eq!(bench.calls(), expected);
}

#[test]
fn a_map_that_fails_leaves_nothing() {
    let mut bench = Bench::attached();
    let request = dma_map(0, 0x1000, 3);
    let unsealed = Fds {
        list: vec![memfd_create("guest", MemfdFlags::empty()).unwrap()],
        truncated: false,
    };
    let reply = bench.ask_with(command::DMA_MAP, request.as_bytes(), unsealed, 0);
    assert_eq!(reply, Some(Err(1)));
    let warning = bench.calls().pop().unwrap();
    assert!(warning.contains("memory-backend-memfd"), "{warning}");
    let reply = bench.ask_with(command::DMA_MAP, request.as_bytes(), memory(0x1000), 0);
    assert_eq!(reply, Some(Ok(vec![])));
}

#[test]
fn too_many_fds_are_refused() {
    let mut bench = Bench::attached();
    let request = dma_map(0, 0x1000, 3);
    let mut fds = memory(0x1000);
    fds.list.extend(memory(0x1000).list);
    let reply = bench.ask_with(command::DMA_MAP, request.as_bytes(), fds, 0);
    assert_eq!(reply, Some(Err(EINVAL)));
    let mut fds = memory(0x1000);
    fds.truncated = true;
    let reply = bench.ask_with(command::DMA_MAP, request.as_bytes(), fds, 0);
    assert_eq!(reply, Some(Err(24)));
}

#[test]
fn interrupts_of_other_kinds_do_not_exist() {
    let mut bench = Bench::attached();
    let mut set = SetIrqs {
        argsz: 20.into(),
        flags: 0x21.into(),
        index: 0.into(),
        start: 0.into(),
        count: 0.into(),
    };
    assert!(bench.ask(command::DEVICE_SET_IRQS, set.as_bytes()).is_ok());
    set.count.set(1);
    let refused = bench.ask(command::DEVICE_SET_IRQS, set.as_bytes());
    assert_eq!(refused, Err(EINVAL));
    assert!(!bench.device.take_signalling_changed());
}

#[test]
fn setting_eventfds_asks_for_pending_interrupts_again() {
    let mut bench = Bench::attached();
    let set = SetIrqs {
        argsz: 20.into(),
        flags: 0x24.into(),
        index: 2.into(),
        start: 0.into(),
        count: 1.into(),
    };
    let fd = rustix::event::eventfd(0, rustix::event::EventfdFlags::empty()).unwrap();
    let fds = Fds {
        list: vec![fd],
        truncated: false,
    };
    let reply = bench.ask_with(command::DEVICE_SET_IRQS, set.as_bytes(), fds, 0);
    assert_eq!(reply, Some(Ok(vec![])));
    assert!(bench.device.take_signalling_changed());
    assert!(!bench.device.take_signalling_changed());
}

#[test]
fn reset_restores_configuration_space() {
    let mut bench = Bench::attached();
    let command_register = [access(7, 4, 2).as_bytes(), &[6, 0]].concat();
    bench.ask(command::REGION_WRITE, &command_register).unwrap();
    bench.device.vectors.fire(3);
    assert_eq!(bench.ask(command::DEVICE_RESET, &[]), Ok(vec![]));
    let asked = access(7, 4, 2);
    let read = bench.ask(command::REGION_READ, asked.as_bytes()).unwrap();
    assert_eq!(read[16..], [0, 0]);
    assert_eq!(bench.device.vectors.pending_bits(), 0);
    assert_eq!(bench.calls(), ["reset"]);
}

#[test]
fn unknown_commands_get_an_error_and_replies_get_nothing() {
    let mut bench = Bench::attached();
    for unknown in [0, 6, 11, 12, 14, 16, 999] {
        assert_eq!(bench.ask(unknown, &[]), Err(38));
    }
    let silent = bench.ask_with(999, &[], Fds::default(), FLAG_NO_REPLY);
    assert!(silent.is_none());
    let reply = bench.ask_with(command::DEVICE_RESET, &[], Fds::default(), FLAG_REPLY);
    assert!(reply.is_none());
    assert!(bench.calls().is_empty());
}
