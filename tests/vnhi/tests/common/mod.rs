// SPDX-License-Identifier: GPL-2.0-only

//! A real `vnhi serve` for tests, and ways to talk to it.

#![allow(dead_code, clippy::cast_possible_truncation)]

pub mod guest;

use std::io::{BufRead, BufReader, Read, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{eventfd, poll, EventfdFlags, PollFd, PollFlags, Timespec};
use rustix::fs::{fcntl_add_seals, ftruncate, memfd_create, MemfdFlags, SealFlags};
use vnhi::vfio_user::message::{command, Header, Version};
use zerocopy::{FromBytes, IntoBytes};

/// Longer than anything here takes, even on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// A fabric in a process of its own.
pub struct Fabric {
    child: Child,
    pub folder: tempfile::TempDir,
}

impl Fabric {
    /// Starts one and waits until its sockets are there.
    pub fn start(arguments: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut child = Command::new(env!("CARGO_BIN_EXE_vnhi"))
            .arg("serve")
            .args(arguments)
            .arg("--dir")
            .arg(folder.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut ready = String::new();
        let stdout = child.stdout.take().unwrap();
        BufReader::new(stdout).read_line(&mut ready).unwrap();
        assert!(ready.starts_with("vnhi: ready"), "{ready}");
        Self { child, folder }
    }

    /// Socket of a host router.
    pub fn socket(&self, nhi: &str) -> PathBuf {
        self.folder.path().join(format!("nhi-{nhi}.sock"))
    }

    /// Sends a command and returns the answer.
    pub fn command(&self, line: &str) -> String {
        let mut stream = UnixStream::connect(self.folder.path().join("control.sock")).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(format!("{line}\n").as_bytes()).unwrap();
        let mut answer = String::new();
        BufReader::new(stream).read_line(&mut answer).unwrap();
        answer.trim_end().to_owned()
    }

    /// The counters.
    pub fn stats(&self) -> serde_json::Value {
        let answer = self.command("stats");
        serde_json::from_str(answer.strip_prefix("ok ").unwrap()).unwrap()
    }

    /// Waits until the counters are as they should be.
    pub fn wait_for(&self, what: &str, mut is_so: impl FnMut(&serde_json::Value) -> bool) {
        wait_for(what, || is_so(&self.stats()));
    }

    /// Ends it the way a person does, and says whether it ended well.
    pub fn stop(&mut self) -> bool {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        self.child.wait().unwrap().success()
    }

    /// Open file descriptors of the process.
    pub fn open_files(&self) -> usize {
        let folder = format!("/proc/{}/fd", self.child.id());
        std::fs::read_dir(folder).unwrap().count()
    }

    /// Waits until so many file descriptors are open, and no more: nothing leaks.
    pub fn wait_for_open_files(&self, count: usize) {
        wait_for("files are closed", || self.open_files() == count);
    }

    /// Whether it still runs and answers.
    pub fn is_well(&self) -> bool {
        self.command("topology").starts_with("ok ")
    }
}

impl Drop for Fabric {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Waits until something is so.
pub fn wait_for(what: &str, mut is_so: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !is_so() {
        assert!(begin.elapsed() < PATIENCE, "in vain: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Guest memory as QEMU makes it.
pub fn guest_memory(size: u64) -> OwnedFd {
    let fd = memfd_create("guest", MemfdFlags::ALLOW_SEALING | MemfdFlags::CLOEXEC).unwrap();
    ftruncate(&fd, size).unwrap();
    fcntl_add_seals(&fd, SealFlags::SHRINK | SealFlags::GROW).unwrap();
    fd
}

/// An eventfd to wait on.
pub struct Event(pub OwnedFd);

impl Event {
    pub fn new() -> Self {
        Self(eventfd(0, EventfdFlags::CLOEXEC).unwrap())
    }

    pub fn raw(&self) -> i32 {
        self.0.as_raw_fd()
    }

    /// Waits for a signal; false when none comes in time.
    pub fn wait(&self, time: Duration) -> bool {
        let timeout = Timespec::try_from(time).unwrap();
        let mut fds = [PollFd::new(&self.0, PollFlags::IN)];
        if poll(&mut fds, Some(&timeout)).unwrap() == 0 {
            return false;
        }
        rustix::io::read(self.0.as_fd(), &mut [0; 8]).unwrap() == 8
    }
}

/// A client that sends whatever bytes it likes.
pub struct RawClient {
    pub socket: UnixStream,
}

impl RawClient {
    /// Connects, and says nothing yet.
    pub fn connect(fabric: &Fabric, nhi: &str) -> Self {
        let socket = UnixStream::connect(fabric.socket(nhi)).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Self { socket }
    }

    /// Connects and agrees on the version.
    pub fn attach(fabric: &Fabric, nhi: &str) -> Self {
        let mut client = Self::connect(fabric, nhi);
        let version = Version {
            major: 0.into(),
            minor: 1.into(),
        };
        let hello = [version.as_bytes(), b"{\"capabilities\":{}}\0"].concat();
        client.ask(command::VERSION, &hello).unwrap();
        client
    }

    /// Sends a command and returns the payload of its reply, or the errno.
    pub fn ask(&mut self, command: u16, payload: &[u8]) -> Result<Vec<u8>, u32> {
        let message = message(command, 0, payload);
        self.socket.write_all(&message).unwrap();
        self.reply()
    }

    /// Receives a reply.
    pub fn reply(&mut self) -> Result<Vec<u8>, u32> {
        let mut header = [0; 16];
        self.socket.read_exact(&mut header).unwrap();
        let header = Header::read_from_bytes(&header).unwrap();
        let mut payload = vec![0; header.size.get() as usize - 16];
        self.socket.read_exact(&mut payload).unwrap();
        match header.flags.get() & 0x20 {
            0 => Ok(payload),
            _ => Err(header.error.get()),
        }
    }

    /// Whether the server ends the connection; whatever comes before that is skipped.
    pub fn is_ended(&mut self) -> bool {
        let mut rest = Vec::new();
        match self.socket.read_to_end(&mut rest) {
            Ok(_) => true,
            Err(error) => error.kind() == std::io::ErrorKind::ConnectionReset,
        }
    }
}

/// The bytes of a message.
pub fn message(command: u16, flags: u32, payload: &[u8]) -> Vec<u8> {
    let header = Header {
        id: 1.into(),
        command: command.into(),
        size: u32::try_from(16 + payload.len()).unwrap().into(),
        flags: flags.into(),
        error: 0.into(),
    };
    [header.as_bytes(), payload].concat()
}
