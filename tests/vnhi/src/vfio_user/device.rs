// SPDX-License-Identifier: GPL-2.0-only

//! One device as its client sees it: answers every command, and passes to the [`Backend`] what concerns the host router itself.

use std::os::fd::OwnedFd;

use rustix::io::Errno;
use vm_memory::GuestRegionMmap;
use zerocopy::IntoBytes;

use super::dma::{self, Windows};
use super::irq::Vectors;
use super::message::{
    DeviceInfo, DmaMap, DmaUnmap, Header, IrqInfo, RegionAccess, RegionInfo, Request, SetIrqs,
    FLAG_TYPE_MASK, UNMAP_ALL,
};
use super::receive::{Fds, Message};
use super::reply::Outbox;
use super::version;
use crate::pci;

/// The device behind the protocol.
pub trait Backend {
    /// A client is there: the machine is powered on.
    fn attach(&mut self);
    /// Reads registers in BAR 0; the range is inside the BAR.
    fn read(&mut self, offset: u64, data: &mut [u8]);
    /// Writes registers in BAR 0; the range is inside the BAR.
    fn write(&mut self, offset: u64, data: &[u8]);
    /// Guest memory comes; it overlaps none that is there.
    ///
    /// # Errors
    ///
    /// When the device cannot use it.
    fn map(&mut self, region: GuestRegionMmap, writable: bool) -> Result<(), Errno>;
    /// Guest memory goes; it was mapped with exactly these values.
    fn unmap(&mut self, address: u64, size: u64);
    /// Reset of the PCI function.
    fn reset(&mut self);
    /// Something for the person who runs the fabric.
    fn warn(&mut self, message: &str);
}

/// Where the reply to a command goes.
struct Answer<'a> {
    header: &'a Header,
    out: &'a mut Outbox,
}

impl Answer<'_> {
    /// Replies, if a reply is wanted.
    fn send(self, parts: &[&[u8]]) {
        if !self.header.no_reply() {
            self.out.reply(self.header, parts);
        }
    }
}

const BAR0: u32 = 0;
const BAR2: u32 = 2;
const CONFIG: u32 = 7;
/// BARs, ROM, configuration space, VGA: as VFIO numbers them.
const REGIONS: u32 = 9;
const MSIX: u32 = 2;
/// INTx, MSI, MSI-X, error, request: as VFIO numbers them.
const IRQ_KINDS: u32 = 5;

/// State of a device and its connection.
#[derive(Debug)]
pub struct Device {
    function: pci::Function,
    /// Its interrupts.
    pub vectors: Vectors,
    windows: Windows,
    negotiated: bool,
    signalling_changed: bool,
    unmapped_windows: u64,
}

impl Default for Device {
    fn default() -> Self {
        Self {
            function: pci::Function::default(),
            vectors: Vectors::new(pci::VECTORS),
            windows: Windows::default(),
            negotiated: false,
            signalling_changed: false,
            unmapped_windows: 0,
        }
    }
}

impl Device {
    /// Serves one command; replies go to `out`.
    pub fn handle(&mut self, message: Message<'_>, backend: &mut dyn Backend, out: &mut Outbox) {
        let Message {
            header,
            payload,
            fds,
        } = message;
        if header.flags.get() & FLAG_TYPE_MASK != 0 {
            // A reply, and we ask for nothing.
            return;
        }
        let answer = Answer {
            header: &header,
            out,
        };
        let result = match Request::parse(header.command.get(), payload) {
            _ if fds.truncated => Err(Errno::MFILE),
            Ok(request) => self.serve(request, fds, backend, answer),
            Err(error) => Err(error),
        };
        if let Err(error) = result {
            if !header.no_reply() {
                out.error(&header, error);
            }
        }
    }

    /// Whether a client has introduced itself.
    #[must_use]
    pub fn is_attached(&self) -> bool {
        self.negotiated
    }

    /// Guest memory windows without a file so far.
    #[must_use]
    pub fn unmapped_windows(&self) -> u64 {
        self.unmapped_windows
    }

    /// Whether eventfds were set since the last call: then interrupts that are still pending in the device must be fired again, as their first signal may
    /// have gone to an eventfd that nobody reads any more.
    pub fn take_signalling_changed(&mut self) -> bool {
        std::mem::take(&mut self.signalling_changed)
    }

    fn serve(
        &mut self,
        request: Request<'_>,
        fds: Fds,
        backend: &mut dyn Backend,
        answer: Answer<'_>,
    ) -> Result<(), Errno> {
        if !self.negotiated && !matches!(request, Request::Version(..)) {
            return Err(Errno::PROTO);
        }
        match request {
            Request::Version(proposed, json) => {
                if self.negotiated {
                    return Err(Errno::PROTO);
                }
                let accepted = version::negotiate(&proposed, json)?;
                self.negotiated = true;
                backend.attach();
                answer.send(&[&accepted]);
            }
            Request::DmaMap(map) => {
                self.map(&map, fds.list, backend)?;
                answer.send(&[]);
            }
            Request::DmaUnmap(unmap) => {
                self.unmap(&unmap, backend)?;
                answer.send(&[unmap.as_bytes()]);
            }
            Request::DeviceInfo => answer.send(&[device_info().as_bytes()]),
            Request::RegionInfo(asked) => {
                answer.send(&[region_info(asked.index.get())?.as_bytes()])
            }
            Request::IrqInfo(asked) => answer.send(&[irq_info(asked.index.get())?.as_bytes()]),
            Request::SetIrqs(set, data) => {
                self.set_irqs(&set, data, fds.list)?;
                answer.send(&[]);
            }
            Request::Read(access) => {
                let mut data = vec![0; access.count.get() as usize];
                self.read(&access, &mut data, backend)?;
                answer.send(&[access.as_bytes(), &data]);
            }
            Request::Write(access, data) => {
                self.write(&access, data, backend)?;
                answer.send(&[access.as_bytes()]);
            }
            Request::WriteMulti(writes) => {
                for write in writes {
                    let data = write.bytes().ok_or(Errno::INVAL)?;
                    self.write(&write.access, data, backend)?;
                }
                let count = u64::try_from(writes.len()).unwrap_or(u64::MAX);
                answer.send(&[&count.to_le_bytes()]);
            }
            Request::Reset => {
                self.function = pci::Function::default();
                self.vectors.reset();
                backend.reset();
                answer.send(&[]);
            }
        }
        Ok(())
    }

    fn map(
        &mut self,
        map: &DmaMap,
        mut fds: Vec<OwnedFd>,
        backend: &mut dyn Backend,
    ) -> Result<(), Errno> {
        let (address, size) = (map.address.get(), map.size.get());
        let fd = fds.pop();
        if !fds.is_empty() {
            return Err(Errno::INVAL);
        }
        self.windows.insert(address, size)?;
        let Some(fd) = fd else {
            self.unmapped_windows += 1;
            return Ok(());
        };
        let mapped = dma::map(map, fd)
            .inspect_err(|error| {
                let hint = match *error {
                    Errno::PERM => ": memory must be a memfd sealed against shrinking (QEMU: -object memory-backend-memfd,share=on,...)",
                    _ => "",
                };
                backend.warn(&format!("guest memory at {address:#x}, {size:#x} bytes, cannot be mapped, {error}{hint}"));
            })
            .and_then(|mapping| backend.map(mapping.region, mapping.writable));
        if let Err(error) = mapped {
            self.windows.remove(address, size)?;
            return Err(error);
        }
        Ok(())
    }

    fn unmap(&mut self, unmap: &DmaUnmap, backend: &mut dyn Backend) -> Result<(), Errno> {
        let (address, size) = (unmap.address.get(), unmap.size.get());
        match unmap.flags.get() {
            0 => {
                self.windows.remove(address, size)?;
                backend.unmap(address, size);
                Ok(())
            }
            UNMAP_ALL if address == 0 && size == 0 => {
                for (address, size) in self.windows.take() {
                    backend.unmap(address, size);
                }
                Ok(())
            }
            _ => Err(Errno::INVAL),
        }
    }

    fn set_irqs(&mut self, set: &SetIrqs, data: &[u8], fds: Vec<OwnedFd>) -> Result<(), Errno> {
        match set.index.get() {
            MSIX => {
                self.signalling_changed |= !fds.is_empty();
                self.vectors.set(set, data, fds)
            }
            // Kinds that have no vectors: there is nothing to take away.
            index if index < IRQ_KINDS && set.count.get() == 0 => Ok(()),
            _ => Err(Errno::INVAL),
        }
    }

    fn read(
        &mut self,
        access: &RegionAccess,
        data: &mut [u8],
        backend: &mut dyn Backend,
    ) -> Result<(), Errno> {
        let offset = access.offset.get();
        let inside = match access.region.get() {
            BAR0 if in_bar0(offset, data.len()) => {
                backend.read(offset, data);
                true
            }
            BAR2 => {
                let pending = self.vectors.pending_bits();
                self.function.read_msix(offset, data, pending)
            }
            CONFIG => self.function.read_config(offset, data),
            _ => false,
        };
        inside.then_some(()).ok_or(Errno::INVAL)
    }

    fn write(
        &mut self,
        access: &RegionAccess,
        data: &[u8],
        backend: &mut dyn Backend,
    ) -> Result<(), Errno> {
        let offset = access.offset.get();
        let inside = match access.region.get() {
            BAR0 if in_bar0(offset, data.len()) => {
                backend.write(offset, data);
                true
            }
            BAR2 => self.function.write_msix(offset, data),
            CONFIG => self.function.write_config(offset, data),
            _ => false,
        };
        inside.then_some(()).ok_or(Errno::INVAL)
    }
}

fn in_bar0(offset: u64, length: usize) -> bool {
    let end = u64::try_from(length)
        .ok()
        .and_then(|length| offset.checked_add(length));
    end.is_some_and(|end| end <= pci::NHI_BAR_SIZE)
}

fn device_info() -> DeviceInfo {
    DeviceInfo {
        argsz: 16.into(),
        flags: 3.into(),
        num_regions: REGIONS.into(),
        num_irqs: IRQ_KINDS.into(),
    }
}

fn region_info(index: u32) -> Result<RegionInfo, Errno> {
    let size = match index {
        BAR0 => pci::NHI_BAR_SIZE,
        BAR2 => pci::MSIX_BAR_SIZE,
        CONFIG => pci::CONFIG_SIZE as u64,
        _ if index < REGIONS => 0,
        _ => return Err(Errno::INVAL),
    };
    Ok(RegionInfo {
        argsz: 32.into(),
        flags: if size == 0 { 0 } else { 3 }.into(),
        index: index.into(),
        cap_offset: 0.into(),
        size: size.into(),
        offset: 0.into(),
    })
}

fn irq_info(index: u32) -> Result<IrqInfo, Errno> {
    let (flags, count) = match index {
        MSIX => (1, u32::from(pci::VECTORS)),
        // INTx and MSI: none.
        0 | 1 => (0, 0),
        // Errors and requests for removal are refused, as VFIO in the kernel does for a function that cannot report them: QEMU would warn about a count of 0.
        _ => return Err(Errno::INVAL),
    };
    Ok(IrqInfo {
        argsz: 16.into(),
        flags: flags.into(),
        index: index.into(),
        count: count.into(),
    })
}

#[cfg(test)]
#[path = "device_tests.rs"]
mod tests;
