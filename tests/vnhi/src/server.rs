// SPDX-License-Identifier: GPL-2.0-only

//! The event loop: one thread that owns the fabric, all sockets and the clock.
//!
//! ```text
//!        +--> sockets of machines  --> registers, memory  --+
//!  wait -+--> control socket       --> commands           --+--> Fabric::run --> eventfds, captures --> wait, at most until Fabric::next_timer
//!        +--> timer                -------------------------+
//! ```
//!
//! A turn takes one `recvmsg` from every ready machine, which is usually a whole batch of doorbells, and answers its reads at once: registers reflect all earlier writes of
//! that machine. Frames move after that, in one `run` for all batches. As on real hardware, a driver may see its doorbell write complete before the ring is looked at;
//! the machine, meanwhile, is already running again.
//!
//! The loop does not spin before it waits: the processor belongs to the guests.

use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Instant;

use serde_json::json;

use crate::command::{CableSelector, Command};
use crate::command_line::{self, Line};
use crate::fabric::Fabric;
use crate::line_socket::LineClient;
use crate::poller::{Interest, Poller, Token};
use crate::port::{Machine, Port};
use crate::sink::{Sink, TapFrame};
use crate::socket_path::Listener;
use crate::taps::Taps;
use crate::time::Time;
use crate::topology::{NhiId, Topology};
use crate::vfio_user::{Connection, Device, State};

/// Most clients of the control socket at a time; more wait.
const MAX_CLIENTS: usize = 64;

/// What to serve.
#[derive(Debug)]
pub struct Settings {
    /// Hosts, routers, cables.
    pub topology: Topology,
    /// Seed of everything random.
    pub seed: u64,
    /// Done before the first machine comes.
    pub commands: Vec<Command>,
    /// Captures that are on from the start.
    pub taps: Vec<(CableSelector, PathBuf)>,
    /// Where the sockets are made.
    pub dir: PathBuf,
}

/// A fabric that is served.
pub struct Server {
    poller: Poller,
    /// Kept open: the poller watches it.
    _signals: UnixStream,
    control: Listener,
    clients: Vec<Option<LineClient>>,
    ports: Vec<Port>,
    taps: Taps,
    topology: Topology,
    fabric: Fabric,
    start: Instant,
}

impl Server {
    /// Makes the fabric and its sockets. `signals` becomes readable when it is time to end.
    ///
    /// # Errors
    ///
    /// A sentence that says what is wrong and what to do.
    pub fn new(settings: Settings, signals: UnixStream) -> Result<Self, String> {
        let Settings {
            topology,
            seed,
            commands,
            taps,
            dir,
        } = settings;
        let explain = |error: rustix::io::Errno| format!("cannot set up the event loop: {error}");
        let poller = Poller::new().map_err(explain)?;
        poller
            .add(&signals, Token::Signal, Interest::Input)
            .map_err(explain)?;
        let mut ports = Vec::new();
        for (index, nhi) in (0..).zip(topology.nhis()) {
            let listener = Listener::bind(&dir.join(format!("nhi-{nhi}.sock")))?;
            poller
                .add(&listener, Token::NhiListener(index), Interest::Input)
                .map_err(explain)?;
            ports.push(Port {
                nhi,
                listener,
                machine: None,
                connections: 0,
            });
        }
        let control = Listener::bind(&dir.join("control.sock"))?;
        poller
            .add(&control, Token::ControlListener, Interest::Input)
            .map_err(explain)?;
        let mut server = Self {
            poller,
            _signals: signals,
            control,
            clients: Vec::new(),
            ports,
            taps: Taps::default(),
            fabric: Fabric::new(&topology, seed),
            topology,
            start: Instant::now(),
        };
        for command in commands {
            let done = server.fabric.command(Time::ZERO, command);
            done.map_err(|error| error.to_string())?;
        }
        for (cables, path) in taps {
            server.tap(cables, Some(&path))?;
        }
        Ok(server)
    }

    /// How many host routers and cables there are.
    #[must_use]
    pub fn size(&self) -> (usize, usize) {
        (self.ports.len(), self.topology.cables.len())
    }

    /// Serves until a signal comes.
    ///
    /// # Errors
    ///
    /// When the kernel cannot wait for us any more.
    pub fn run(&mut self) -> Result<(), String> {
        let mut ready = Vec::new();
        loop {
            let timeout = self.fabric.next_timer().map(|due| due - self.now());
            self.poller
                .wait(timeout, &mut ready)
                .map_err(|error| format!("cannot wait for sockets: {error}"))?;
            for &token in &ready {
                match token {
                    Token::Signal => return Ok(()),
                    Token::ControlListener => self.accept_client(),
                    Token::ControlClient(slot) => self.serve_client(slot),
                    Token::NhiListener(index) => self.accept_machine(index),
                    Token::Nhi(index) => self.serve_machine(index),
                }
            }
            let now = self.now();
            let mut outputs = Outputs {
                ports: &mut self.ports,
                taps: &mut self.taps,
            };
            self.fabric.run(now, &mut outputs);
            self.taps.flush();
        }
    }

    fn now(&self) -> Time {
        Time::ZERO + self.start.elapsed()
    }

    fn accept_machine(&mut self, index: u32) {
        let Some(port) = self.ports.get_mut(index as usize) else {
            return;
        };
        let Some(socket) = port.listener.accept() else {
            return;
        };
        let machine = Machine {
            connection: Connection::new(socket),
            device: Device::default(),
        };
        let watched = self
            .poller
            .add(&machine.connection, Token::Nhi(index), Interest::Input)
            // The next machine waits in the listener's queue until this one is gone.
            .and_then(|()| self.poller.remove(&port.listener));
        if let Err(error) = watched {
            eprintln!("router {}: a machine is turned away: {error}", port.nhi);
            return;
        }
        port.connections += 1;
        port.machine = Some(machine);
    }

    fn serve_machine(&mut self, index: u32) {
        let now = self.now();
        let Some(port) = self.ports.get_mut(index as usize) else {
            return;
        };
        let Some(machine) = &mut port.machine else {
            return;
        };
        let before = machine.connection.interest();
        let mut state = machine.serve(now, port.nhi, &mut self.fabric);
        let after = machine.connection.interest();
        if state == State::Open && before != after {
            let changed = self
                .poller
                .change(&machine.connection, Token::Nhi(index), after);
            if let Err(error) = changed {
                state = State::Ended(error.to_string());
            }
        }
        if let State::Ended(reason) = state {
            self.end_machine(index, &reason);
        } else if machine.device.take_signalling_changed() {
            let nhi = port.nhi;
            let mut outputs = Outputs {
                ports: &mut self.ports,
                taps: &mut self.taps,
            };
            self.fabric.resignal(now, nhi, &mut outputs);
        }
    }

    fn end_machine(&mut self, index: u32, reason: &str) {
        let now = self.now();
        let Some(port) = self.ports.get_mut(index as usize) else {
            return;
        };
        if let Some(machine) = port.machine.take() {
            eprintln!("router {}: the machine is gone: {reason}", port.nhi);
            if machine.device.is_attached() {
                self.fabric.detach(now, port.nhi);
            }
        }
        let token = Token::NhiListener(index);
        if let Err(error) = self.poller.add(&port.listener, token, Interest::Input) {
            eprintln!(
                "router {}: no machine can connect any more: {error}",
                port.nhi
            );
        }
    }

    fn accept_client(&mut self) {
        let free = self.clients.iter().position(Option::is_none);
        let slot = match free {
            Some(slot) => slot,
            None if self.clients.len() < MAX_CLIENTS => {
                self.clients.push(None);
                self.clients.len() - 1
            }
            None => {
                // Turned away at once: waiting clients would keep the loop busy.
                drop(self.control.accept());
                return;
            }
        };
        let Some(Ok(client)) = self.control.accept().map(LineClient::new) else {
            return;
        };
        let Ok(number) = u32::try_from(slot) else {
            return;
        };
        let token = Token::ControlClient(number);
        if self.poller.add(&client, token, Interest::Input).is_ok() {
            self.clients[slot] = Some(client);
        }
    }

    fn serve_client(&mut self, slot: u32) {
        let place = slot as usize;
        let Some(mut client) = self.clients.get_mut(place).and_then(Option::take) else {
            return;
        };
        let before = client.interest();
        let mut stays = client.serve(|line| self.answer(line));
        let after = client.interest();
        if stays && before != after {
            let token = Token::ControlClient(slot);
            stays = self.poller.change(&client, token, after).is_ok();
        }
        if stays {
            self.clients[place] = Some(client);
        }
    }

    /// Carries out a line of the control socket.
    fn answer(&mut self, line: &str) -> String {
        let result = command_line::parse(line).and_then(|line| match line {
            Line::Fabric(command) => {
                let done = self.fabric.command(self.now(), command);
                done.map(|()| String::new())
                    .map_err(|error| error.to_string())
            }
            Line::Tap(cables, path) => self.tap(cables, path.as_deref()).map(|()| String::new()),
            Line::Stats => Ok(self.stats().to_string()),
            Line::Topology => Ok(self.describe().to_string()),
            Line::Help => Ok(command_line::HELP.join(" ; ")),
        });
        match result {
            Ok(text) if text.is_empty() => "ok".to_owned(),
            Ok(text) => format!("ok {text}"),
            Err(error) => format!("error: {}", error.replace('\n', " ")),
        }
    }

    fn tap(&mut self, cables: CableSelector, path: Option<&Path>) -> Result<(), String> {
        let count = self.topology.cables.len();
        let numbers = match cables {
            CableSelector::One(number) if number >= count => {
                return Err(crate::command::CommandError::NoSuchCable(number, count).to_string());
            }
            CableSelector::One(number) => number..number + 1,
            CableSelector::All if path.is_some() && count > 1 => {
                return Err("each cable has its own file: give the number of one cable".to_owned());
            }
            CableSelector::All => 0..count,
        };
        for number in numbers {
            match path {
                Some(path) => {
                    self.taps
                        .start(number, &self.topology.cables[number], path)?;
                }
                None => self.taps.stop(number),
            }
            let done = self.fabric.set_tap(number, path.is_some());
            done.map_err(|error| error.to_string())?;
        }
        Ok(())
    }

    /// Counters of the model, and of the connections to machines.
    fn stats(&self) -> serde_json::Value {
        let machines: serde_json::Map<_, _> = self
            .ports
            .iter()
            .map(|port| {
                let machine = port.machine.as_ref();
                let state = json!({
                    "attached": machine.is_some_and(|machine| machine.device.is_attached()),
                    "connections": port.connections,
                    "windows_without_memory": machine.map_or(0, |machine| machine.device.unmapped_windows()),
                });
                (port.nhi.to_string(), state)
            })
            .collect();
        let mut stats = json!(self.fabric.counters());
        if let Some(cables) = stats["cables"].as_array_mut() {
            for (number, cable) in cables.iter_mut().enumerate() {
                cable["tap"] = self.taps.state(number).into();
            }
        }
        if let Some(stats) = stats.as_object_mut() {
            stats.insert("machines".to_owned(), machines.into());
        }
        stats
    }

    fn describe(&self) -> serde_json::Value {
        let hosts: Vec<_> = (1..)
            .zip(&self.topology.hosts)
            .map(|(number, host): (u8, _)| {
                json!({"host": number, "routers": host.routers, "ports": host.ports, "hops": host.hops})
            })
            .collect();
        let cables: Vec<_> = (0..)
            .zip(&self.topology.cables)
            .map(|(number, cable): (usize, _)| {
                json!({
                    "cable": number,
                    "a": cable.a.to_string(),
                    "b": cable.b.to_string(),
                    "gbps": cable.gbps,
                    "lanes": cable.lanes,
                })
            })
            .collect();
        json!({ "hosts": hosts, "cables": cables })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.taps.flush();
    }
}

/// What the fabric's outputs reach.
struct Outputs<'a> {
    ports: &'a mut [Port],
    taps: &'a mut Taps,
}

impl Sink for Outputs<'_> {
    fn interrupt(&mut self, nhi: NhiId, vector: u16) {
        let port = self.ports.iter_mut().find(|port| port.nhi == nhi);
        if let Some(machine) = port.and_then(|port| port.machine.as_mut()) {
            machine.device.vectors.fire(vector);
        }
    }

    fn frame(&mut self, now: Time, frame: &TapFrame<'_>) {
        self.taps.frame(now, frame);
    }
}

/// Ends of a socket pair, of which one becomes readable at SIGTERM and SIGINT.
///
/// # Errors
///
/// When the kernel has no more file descriptors for us.
pub fn end_signals() -> std::io::Result<UnixStream> {
    use signal_hook::consts::{SIGINT, SIGTERM};
    let (ours, theirs) = UnixStream::pair()?;
    signal_hook::low_level::pipe::register(SIGTERM, theirs.try_clone()?)?;
    signal_hook::low_level::pipe::register(SIGINT, theirs)?;
    ours.set_nonblocking(true)?;
    Ok(ours)
}
