// SPDX-License-Identifier: GPL-2.0-only

//! One guest: its QEMU process, its console and its line to the lab.
//!
//! Three threads per guest turn what it says into [`Event`]s for the session: one reads the console (QEMU's stdout),
//! two read virtio-serial ports, for requests and for the script's output. All end when QEMU does, and `Exit` is the
//! last event of a guest. Lines are cut at [`LONGEST_LINE`] and few events wait at a time, so a guest that writes
//! without end waits for the lab instead of filling its memory.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::mpsc::SyncSender;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::accel::Accelerator;
use crate::cache::{Cache, Kernel};
use crate::cli::Lan;
use crate::cpus;

/// Longest line of a guest; what is longer comes as several.
const LONGEST_LINE: u64 = 16 * 1024;
/// How long a guest may take to read an answer.
const ANSWER_TIME: Duration = Duration::from_secs(1);

/// What all guests of a run have in common.
pub struct Machine {
    /// Memory, in MiB.
    pub memory: u32,
    /// Virtual CPUs.
    pub cpus: u32,
    /// How they execute.
    pub accelerator: Accelerator,
    /// What they boot.
    pub kernel: Kernel,
    /// Number of hosts in the run.
    pub hosts: usize,
    /// The checkout, seen read-only at `/checkout`.
    pub checkout: PathBuf,
    /// The folder shared by all guests at `/lab`.
    pub shared: PathBuf,
    /// Where sockets live (a short path).
    pub sockets: PathBuf,
    /// Guests run a shell on their second serial port instead of a script.
    pub interactive: bool,
    /// RDMA driver under test, by name.
    pub rdma: String,
    /// Hosts that are joined by ordinary network cards.
    pub lans: Vec<Lan>,
    /// More words for the kernel command line.
    pub append: String,
}

/// What a guest's threads report; `boot` tells a restarted guest from its predecessor.
pub enum Event {
    /// A console line.
    Console { host: usize, line: String },
    /// A line that the script wrote.
    Output { host: usize, line: String },
    /// A request line, and where the answer goes.
    Request {
        host: usize,
        boot: u32,
        line: String,
        answer: UnixStream,
    },
    /// QEMU has ended.
    Exit { host: usize, boot: u32 },
    /// Somebody wants the whole run to end.
    Interrupt,
}

/// A guest whose QEMU was started. Dropping it ends QEMU.
pub struct Guest {
    child: Child,
}

impl Guest {
    /// Boots host `host` (1..) for the `boot`th time, with one NHI for each of the given vfio-user sockets.
    pub fn boot(
        cache: &Cache,
        machine: &Machine,
        host: usize,
        boot: u32,
        routers: &[PathBuf],
        console: &Path,
        events: &SyncSender<Event>,
    ) -> Result<Self> {
        let ports = ["request", "output"]
            .map(|name| machine.sockets.join(format!("{name}-{host}.{boot}.sock")));
        let requests = UnixListener::bind(&ports[0])?;
        let output = UnixListener::bind(&ports[1])?;
        let mut qemu = cache.qemu();
        qemu.args(machine.accelerator.arguments())
            .args(arguments(cache, machine, host, boot, &ports, routers))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            // Ctrl-C is for the lab, which ends its guests in good order.
            .process_group(0)
            // QEMU's own complaints belong with the console they explain.
            .stderr(
                File::options()
                    .create(true)
                    .append(true)
                    .open(console.with_extension("qemu"))?,
            );
        let mut child = qemu
            .spawn()
            .context("cannot start QEMU from the lab root: run 'make lab'")?;
        let stdout = child.stdout.take().context("QEMU has no stdout")?;
        let log = File::options().create(true).append(true).open(console)?;
        let events = events.clone();
        let qemu = child.id();
        std::thread::spawn(move || {
            let events = &events;
            std::thread::scope(|scope| {
                scope.spawn(|| {
                    read_requests(&requests, host, boot, events, || cpus::give_way(qemu));
                });
                scope.spawn(|| read_output(&output, host, events));
                read_console(BufReader::new(stdout), log, host, events);
                // A QEMU that ended before it connected must not leave its readers waiting for it.
                for port in &ports {
                    let _ = UnixStream::connect(port);
                }
            });
            let _ = events.send(Event::Exit { host, boot });
        });
        Ok(Self { child })
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// An emulated CPU on a busy machine may not see its timer tick in the few milliseconds that the kernel's test allows
/// for, and its time stamp counter is the host's: neither deserves suspicion.
const EMULATION: &str = "no_timer_check tsc=reliable";

/// QEMU's arguments for one guest. Guest memory is a shared memfd, since the fabric reads and writes it by itself.
fn arguments(
    cache: &Cache,
    machine: &Machine,
    host: usize,
    boot: u32,
    ports: &[PathBuf; 2],
    routers: &[PathBuf],
) -> Vec<String> {
    let kernel = &machine.kernel;
    let append = format!(
        "console=ttyS0 panic=-1 {EMULATION} lab.host={host} lab.hosts={} lab.kernel={} lab.boot={boot} lab.rdma={} lab.patience={} lab.shell={} {} {}",
        machine.hosts,
        kernel.name,
        machine.rdma,
        kernel.patience(),
        u8::from(machine.interactive),
        kernel.words(),
        machine.append
    );
    let mut list: Vec<String> = Vec::new();
    let mut add = |words: &[&str]| list.extend(words.iter().map(|&word| word.to_owned()));
    add(&[
        "-name",
        &format!("host{host}"),
        "-nodefaults",
        "-display",
        "none",
        "-no-reboot",
        // A lab that is killed outright leaves no guests behind.
        "-run-with",
        "exit-with-parent=on",
    ]);
    add(&[
        "-machine",
        "q35,memory-backend=memory,vmport=off,hpet=off",
        "-smp",
        &machine.cpus.to_string(),
    ]);
    add(&["-m", &format!("{}M", machine.memory)]);
    add(&[
        "-object",
        &format!(
            "memory-backend-memfd,id=memory,size={}M,share=on",
            machine.memory
        ),
    ]);
    add(&["-kernel", &kernel.dir.join("vmlinuz").display().to_string()]);
    add(&["-initrd", &kernel.dir.join("initrd").display().to_string()]);
    add(&["-append", &append]);
    for image in [cache.root_image(), kernel.dir.join("modules.erofs")] {
        add(&[
            "-drive",
            &format!("file={},format=raw,readonly=on,if=virtio", value(&image)),
        ]);
    }
    add(&[
        "-virtfs",
        &format!(
            "local,path={},mount_tag=checkout,security_model=none,readonly=on,multidevs=remap",
            value(&machine.checkout)
        ),
    ]);
    add(&[
        "-virtfs",
        &format!(
            "local,path={},mount_tag=lab,security_model=none",
            value(&machine.shared)
        ),
    ]);
    add(&[
        "-chardev",
        "stdio,id=console,signal=off",
        "-serial",
        "chardev:console",
    ]);
    if machine.interactive {
        add(&[
            "-chardev",
            &format!(
                "socket,id=shell,path={}",
                value(&shell_socket(machine, host))
            ),
        ]);
        add(&["-serial", "chardev:shell"]);
    }
    add(&["-device", "virtio-serial-pci"]);
    for (port, name) in ports.iter().zip(["request", "output"]) {
        add(&[
            "-chardev",
            &format!("socket,id={name},path={}", value(port)),
        ]);
        add(&[
            "-device",
            &format!("virtserialport,chardev={name},name={name}"),
        ]);
    }
    for (number, Lan(ends)) in machine.lans.iter().enumerate() {
        let [near, far] = match ends {
            [a, b] if *a == host => [a, b],
            [a, b] if *b == host => [b, a],
            _ => continue,
        };
        let socket = |end| value(&machine.sockets.join(format!("lan{number}-{end}.sock")));
        add(&[
            "-netdev",
            &format!(
                "dgram,id=lan{number},local.type=unix,local.path={},remote.type=unix,remote.path={}",
                socket(near),
                socket(far)
            ),
            "-device",
            &format!(
                "virtio-net-pci,netdev=lan{number},romfile=,mac=52:54:00:00:{number:02x}:{host:02x}"
            ),
        ]);
    }
    for router in routers {
        add(&[
            "-device",
            // rombar off: the firmware would otherwise look for an option ROM in every router.
            &format!(
                r#"{{"driver":"vfio-user-pci","rombar":0,"socket":{{"type":"unix","path":"{}"}}}}"#,
                router.display()
            ),
        ]);
    }
    list
}

/// A path as the value of a QEMU option: a comma in it is doubled.
fn value(path: &Path) -> String {
    path.display().to_string().replace(',', ",,")
}

/// Where the interactive shell of a host is found.
pub fn shell_socket(machine: &Machine, host: usize) -> PathBuf {
    machine.sockets.join(format!("shell-{host}.sock"))
}

/// The next line, without its end; `None` at the end of all.
fn next_line(reader: &mut impl BufRead) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    match reader.take(LONGEST_LINE).read_until(b'\n', &mut bytes) {
        Ok(length) if length > 0 => Some(bytes),
        _ => None,
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).trim_end().to_owned()
}

fn read_console(mut console: impl BufRead, mut log: File, host: usize, events: &SyncSender<Event>) {
    while let Some(bytes) = next_line(&mut console) {
        let _ = log.write_all(&bytes);
        let line = text(&bytes);
        if events.send(Event::Console { host, line }).is_err() {
            return;
        }
    }
}

fn read_output(port: &UnixListener, host: usize, events: &SyncSender<Event>) {
    let Ok((stream, _)) = port.accept() else {
        return;
    };
    let mut reader = BufReader::new(stream);
    while let Some(bytes) = next_line(&mut reader) {
        let line = text(&bytes);
        if events.send(Event::Output { host, line }).is_err() {
            return;
        }
    }
}

/// `first` is called with the first one: the guest runs.
fn read_requests(
    port: &UnixListener,
    host: usize,
    boot: u32,
    events: &SyncSender<Event>,
    first: impl FnOnce(),
) {
    let mut first = Some(first);
    let Ok((stream, _)) = port.accept() else {
        return;
    };
    let (Ok(reader), Ok(())) = (
        stream.try_clone(),
        stream.set_write_timeout(Some(ANSWER_TIME)),
    ) else {
        return;
    };
    let mut reader = BufReader::new(reader);
    while let Some(bytes) = next_line(&mut reader) {
        let line = text(&bytes);
        if line.is_empty() {
            continue;
        }
        if let Some(first) = first.take() {
            first();
        }
        let Ok(answer) = stream.try_clone() else {
            return;
        };
        let request = Event::Request {
            host,
            boot,
            line,
            answer,
        };
        if events.send(request).is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{next_line, text, value, LONGEST_LINE};
    use std::io::Cursor;
    use std::path::Path;

    #[test]
    fn lines_are_bounded_and_need_not_be_text() {
        let long = usize::try_from(LONGEST_LINE).unwrap();
        let mut bytes = vec![b'x'; 2 * long + 5];
        bytes.extend(b"\n\xff\xfe\r\n\nlast");
        let mut reader = Cursor::new(bytes);
        for length in [long, long, 6] {
            assert_eq!(next_line(&mut reader).unwrap().len(), length);
        }
        assert_eq!(text(&next_line(&mut reader).unwrap()), "\u{fffd}\u{fffd}");
        assert_eq!(text(&next_line(&mut reader).unwrap()), "");
        assert_eq!(text(&next_line(&mut reader).unwrap()), "last");
        assert_eq!(next_line(&mut reader), None);
    }

    #[test]
    fn commas_do_not_end_a_value() {
        assert_eq!(value(Path::new("/a b/c,d")), "/a b/c,,d");
    }
}
