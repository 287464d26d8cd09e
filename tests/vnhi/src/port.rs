// SPDX-License-Identifier: GPL-2.0-only

//! One host router's connection to a machine: the vfio-user device in front of the NHI in the fabric.

use rustix::io::Errno;
use vm_memory::GuestRegionMmap;

use crate::fabric::Fabric;
use crate::socket_path::Listener;
use crate::time::Time;
use crate::topology::NhiId;
use crate::vfio_user::{Backend, Connection, Device, State};

/// A host router, and the machine that uses it.
pub struct Port {
    /// Which.
    pub nhi: NhiId,
    /// Where a machine connects; one at a time, the next one waits.
    pub listener: Listener,
    /// The machine that is there.
    pub machine: Option<Machine>,
    /// Machines that were there so far.
    pub connections: u64,
}

/// A machine at a host router.
#[derive(Debug)]
pub struct Machine {
    /// Its socket.
    pub connection: Connection,
    /// What it sees.
    pub device: Device,
}

impl Machine {
    /// Serves what the machine sent.
    pub fn serve(&mut self, now: Time, nhi: NhiId, fabric: &mut Fabric) -> State {
        let mut backend = FabricPort { fabric, now, nhi };
        self.connection.serve(&mut self.device, &mut backend)
    }
}

/// The NHI in the fabric as the backend of a vfio-user device.
struct FabricPort<'a> {
    fabric: &'a mut Fabric,
    now: Time,
    nhi: NhiId,
}

impl Backend for FabricPort<'_> {
    fn attach(&mut self) {
        self.fabric.attach(self.now, self.nhi);
    }

    fn read(&mut self, offset: u64, data: &mut [u8]) {
        self.fabric.read(self.now, self.nhi, offset, data);
    }

    fn write(&mut self, offset: u64, data: &[u8]) {
        self.fabric.write(self.now, self.nhi, offset, data);
    }

    fn map(&mut self, region: GuestRegionMmap, writable: bool) -> Result<(), Errno> {
        self.fabric
            .map(self.nhi, region, writable)
            .map_err(|error| {
                self.warn(&format!("guest memory is refused: {error}"));
                Errno::INVAL
            })
    }

    fn unmap(&mut self, address: u64, size: u64) {
        // Windows without memory were never mapped: nothing to do for those.
        let _ = self.fabric.unmap(self.nhi, address, size);
    }

    fn reset(&mut self) {
        self.fabric.reset(self.now, self.nhi);
    }

    fn warn(&mut self, message: &str) {
        eprintln!("router {}: {message}", self.nhi);
    }
}
