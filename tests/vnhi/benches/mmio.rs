// SPDX-License-Identifier: GPL-2.0-only

//! Cost of register accesses through a vfio-user socket: our server against the one of the `vfio_user` crate.
//!
//! `cargo bench -p vnhi`. The client sends what QEMU sends: posted writes one message each, posted writes collected in REGION_WRITE_MULTI, writes that wait for
//! their reply, and reads. Both servers have a device behind them that does nothing. Figures are those of the best of five rounds: time until done, and processor time of
//! client and server together, which is what counts on a machine whose cores the guests need.

use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::time::{Duration, Instant};

use vfio_user::{DmaMapFlags, DmaUnmapFlags, IrqInfo, Server, ServerBackend, ServerRegion};
use vnhi::poller::{Interest, Poller, Token};
use vnhi::vfio_user::message::{command, Header, RegionAccess, SmallWrite, Version, FLAG_NO_REPLY};
use vnhi::vfio_user::{Backend, Connection, Device, State};
use zerocopy::IntoBytes;

/// Accesses in a round.
const COUNT: usize = 20_000;
const ROUNDS: usize = 5;
/// Writes in a message that QEMU collects, at most.
const COLLECTED: usize = 200;

struct Nothing;

impl Backend for Nothing {
    fn attach(&mut self) {}
    fn read(&mut self, _: u64, _: &mut [u8]) {}
    fn write(&mut self, _: u64, _: &[u8]) {}
    fn map(&mut self, _: vm_memory::GuestRegionMmap, _: bool) -> Result<(), rustix::io::Errno> {
        Ok(())
    }
    fn unmap(&mut self, _: u64, _: u64) {}
    fn reset(&mut self) {}
    fn warn(&mut self, message: &str) {
        panic!("{message}");
    }
}

/// Our server, as `serve` drives it: one thread, epoll.
fn serve_ours(path: &Path) {
    let listener = UnixListener::bind(path).unwrap();
    std::thread::spawn(move || {
        let mut connection = Connection::new(listener.accept().unwrap().0);
        let poller = Poller::new().unwrap();
        poller
            .add(&connection, Token::Nhi(0), Interest::Input)
            .unwrap();
        let mut device = Device::default();
        let mut ready = Vec::new();
        while connection.serve(&mut device, &mut Nothing) == State::Open {
            poller.wait(None, &mut ready).unwrap();
        }
    });
}

impl ServerBackend for Nothing {
    fn region_read(&mut self, _: u32, _: u64, _: &mut [u8]) -> std::io::Result<()> {
        Ok(())
    }
    fn region_write(&mut self, _: u32, _: u64, _: &[u8]) -> std::io::Result<()> {
        Ok(())
    }
    fn dma_map(
        &mut self,
        _: DmaMapFlags,
        _: u64,
        _: u64,
        _: u64,
        _: Option<File>,
    ) -> std::io::Result<()> {
        Ok(())
    }
    fn dma_unmap(&mut self, _: DmaUnmapFlags, _: u64, _: u64) -> std::io::Result<()> {
        Ok(())
    }
    fn reset(&mut self) -> std::io::Result<()> {
        Ok(())
    }
    fn set_irqs(&mut self, _: u32, _: u32, _: u32, _: u32, _: Vec<File>) -> std::io::Result<()> {
        Ok(())
    }
}

/// The crate's server.
fn serve_theirs(path: &Path) {
    let irqs = vec![IrqInfo {
        index: 0,
        flags: 0,
        count: 0,
    }];
    let region = ServerRegion {
        region_info: vfio_bindings::bindings::vfio::vfio_region_info::default(),
        sparse_areas: Vec::new(),
        mmap_fd: None,
    };
    let server = Server::new(path, true, irqs, vec![region]).unwrap();
    std::thread::spawn(move || server.run(&mut Nothing));
}

/// A client that sends ready-made bytes.
struct Client {
    socket: UnixStream,
}

impl Client {
    fn connect(path: &Path) -> Self {
        let socket = UnixStream::connect(path).unwrap();
        let mut client = Self { socket };
        let version = Version {
            major: 0.into(),
            minor: 1.into(),
        };
        let json = b"{\"capabilities\":{}}\0";
        let hello = message(command::VERSION, 0, &[version.as_bytes(), json]);
        client.ask(&hello);
        client
    }

    fn send(&mut self, bytes: &[u8]) {
        self.socket.write_all(bytes).unwrap();
    }

    /// Sends a command and waits for its reply.
    fn ask(&mut self, bytes: &[u8]) {
        self.send(bytes);
        let mut header = [0; 16];
        self.socket.read_exact(&mut header).unwrap();
        let size = u32::from_le_bytes([header[4], header[5], header[6], header[7]]);
        let mut payload = vec![0; size as usize - header.len()];
        self.socket.read_exact(&mut payload).unwrap();
    }

    /// Cost of one access when `round` makes `count` of them and is over when a last read is answered.
    fn best(&mut self, count: usize, mut round: impl FnMut(&mut Self)) -> Cost {
        let last = read_message();
        let rounds = (0..ROUNDS).map(|_| {
            let (begin, processor) = (Instant::now(), processor_time());
            round(self);
            self.ask(&last);
            (begin.elapsed(), processor_time() - processor)
        });
        let (time, processor) = rounds.min().unwrap_or_default();
        let count = u32::try_from(count).unwrap();
        Cost(time / count, processor / count)
    }
}

/// Time and processor time.
struct Cost(Duration, Duration);

impl std::fmt::Display for Cost {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:>10.2?} {:>10.2?}", self.0, self.1)
    }
}

fn processor_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::try_from(time).unwrap()
}

fn message(command: u16, flags: u32, parts: &[&[u8]]) -> Vec<u8> {
    let payload = parts.concat();
    let header = Header {
        id: 1.into(),
        command: command.into(),
        size: u32::try_from(16 + payload.len()).unwrap().into(),
        flags: flags.into(),
        error: 0.into(),
    };
    [header.as_bytes(), &payload].concat()
}

fn access() -> RegionAccess {
    RegionAccess {
        offset: 8.into(),
        region: 0.into(),
        count: 4.into(),
    }
}

fn write_message(flags: u32) -> Vec<u8> {
    let access = access();
    message(command::REGION_WRITE, flags, &[access.as_bytes(), &[0; 4]])
}

fn read_message() -> Vec<u8> {
    message(command::REGION_READ, 0, &[access().as_bytes()])
}

fn collected_message() -> Vec<u8> {
    let one = SmallWrite {
        access: access(),
        data: [0; 8],
    };
    let count = u64::try_from(COLLECTED).unwrap().to_le_bytes();
    let writes = [one; COLLECTED];
    let parts = [&count[..], writes.as_bytes()];
    message(command::REGION_WRITE_MULTI, FLAG_NO_REPLY, &parts)
}

fn measure(name: &str, path: &Path, collects: bool) {
    let mut client = Client::connect(path);
    let posted = write_message(FLAG_NO_REPLY);
    let time = client.best(COUNT, |client| {
        for _ in 0..COUNT {
            client.send(&posted);
        }
    });
    println!("{name:<10} posted write               {time}");
    if collects {
        let collected = collected_message();
        let time = client.best(COUNT, |client| {
            for _ in 0..COUNT / COLLECTED {
                client.send(&collected);
            }
        });
        println!("{name:<10} posted write, collected    {time}");
    }
    let waited = write_message(0);
    let time = client.best(COUNT / 10, |client| {
        for _ in 0..COUNT / 10 {
            client.ask(&waited);
        }
    });
    println!("{name:<10} write that waits           {time}");
    let read = read_message();
    let time = client.best(COUNT / 10, |client| {
        for _ in 0..COUNT / 10 {
            client.ask(&read);
        }
    });
    println!("{name:<10} read                       {time}");
}

fn main() {
    println!("server     access                           time  processor");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ours");
    serve_ours(&path);
    measure("ours", &path, true);
    let path = folder.path().join("theirs");
    serve_theirs(&path);
    measure("vfio_user", &path, false);
}
