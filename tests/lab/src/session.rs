// SPDX-License-Identifier: GPL-2.0-only

//! One run: boots the guests, answers what they ask, watches over them, and says how it ended.
//!
//! Everything that happens arrives as an [`Event`] on one channel and is handled by one loop, so the order of events
//! is the order in which they are seen:
//!
//! ```text
//! guest console ──┐
//! script output ──┤
//! guest requests ─┼─> Event ─> Session::handle ─> answers, barriers, kill/boot, fabric commands
//! QEMU exits ─────┘                └─> Verdict
//! ```

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fs::File;
use std::io::Write;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

use anyhow::Result;

use crate::cache::Cache;
use crate::fabric::Fabric;
use crate::guest::{Event, Guest, Machine};
use crate::kernel_log::is_trouble;
use crate::request::Request;

/// Console lines shown when a guest hangs or dies.
const LAST_LINES: usize = 20;

/// Where a host stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stage {
    /// Powered off on request (or not yet on).
    Off,
    /// From power-on to the script.
    Booting,
    /// The script is at work.
    Running,
    /// The script has ended.
    Done(i32),
    /// The guest ended by itself.
    Dead,
}

struct Host {
    stage: Stage,
    boot: u32,
    guest: Option<Guest>,
    last_lines: VecDeque<String>,
}

/// How a run ended.
#[derive(Default, Debug)]
pub struct Verdict {
    /// The worst exit status of all scripts; 0 when all ended well.
    pub status: i32,
    /// Kernel log lines and mishaps that fail a run whatever the scripts say.
    pub troubles: Vec<String>,
    /// Figures that scripts recorded, in order.
    pub results: Vec<(String, String)>,
    /// Time from power-on to the slowest script's start.
    pub boot_time: Duration,
}

impl Verdict {
    /// The exit status of the whole run.
    pub fn exit_code(&self) -> i32 {
        match (self.status, self.troubles.is_empty()) {
            (0, false) => 1,
            (status, _) => status,
        }
    }
}

/// A run in progress.
pub struct Session<'a> {
    cache: &'a Cache,
    machine: &'a Machine,
    fabric: Fabric,
    /// vfio-user sockets of each host's routers.
    routers: Vec<Vec<PathBuf>>,
    /// Where consoles, outputs and dmesgs are kept.
    out: PathBuf,
    hosts: Vec<Host>,
    barriers: BTreeMap<String, BTreeSet<usize>>,
    verdict: Verdict,
    sender: Sender<Event>,
    started: Instant,
    /// QEMU processes that have ended, over all hosts and boots.
    exits: u32,
    verbose: bool,
}

impl<'a> Session<'a> {
    /// A session with all hosts still powered off.
    pub fn new(
        cache: &'a Cache,
        machine: &'a Machine,
        fabric: Fabric,
        routers: Vec<Vec<PathBuf>>,
        out: PathBuf,
        sender: Sender<Event>,
        verbose: bool,
    ) -> Self {
        let hosts = routers
            .iter()
            .map(|_| Host {
                stage: Stage::Off,
                boot: 0,
                guest: None,
                last_lines: VecDeque::new(),
            })
            .collect();
        Self {
            cache,
            machine,
            fabric,
            routers,
            out,
            hosts,
            barriers: BTreeMap::new(),
            verdict: Verdict::default(),
            sender,
            started: Instant::now(),
            exits: 0,
            verbose,
        }
    }

    /// Boots every host.
    pub fn power_on(&mut self) -> Result<()> {
        self.started = Instant::now();
        (1..=self.hosts.len()).try_for_each(|host| self.boot(host))
    }

    /// Handles events until all scripts have ended, somebody interrupts, or the time limit is over.
    pub fn run(mut self, events: &Receiver<Event>, limit: Duration) -> Verdict {
        let deadline = Instant::now() + limit;
        while !self
            .hosts
            .iter()
            .all(|host| matches!(host.stage, Stage::Off | Stage::Dead | Stage::Done(_)))
        {
            match events.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(Event::Interrupt) => {
                    self.verdict.status = 130;
                    self.verdict.troubles.push("interrupted".into());
                    return self.verdict;
                }
                Ok(event) => self.handle(event),
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                    self.report_hang(limit);
                    break;
                }
            }
        }
        self.finish(events)
    }

    fn boot(&mut self, host: usize) -> Result<()> {
        let entry = &mut self.hosts[host - 1];
        entry.boot += 1;
        let console = self.out.join(format!("console.{host}.{}", entry.boot));
        entry.guest = Some(Guest::boot(
            self.cache,
            self.machine,
            host,
            entry.boot,
            &self.routers[host - 1],
            &console,
            &self.sender,
        )?);
        entry.stage = Stage::Booting;
        Ok(())
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Console { host, line } => self.console(host, line),
            Event::Request {
                host,
                boot,
                line,
                mut answer,
            } => {
                if self.hosts[host - 1].boot == boot {
                    let text = match Request::parse(&line, self.hosts.len()) {
                        Ok(request) => self.answer(host, request),
                        Err(reason) => format!("error: {reason}"),
                    };
                    // A guest that is gone no longer wants the answer.
                    let _ = send_line(&mut answer, &text);
                }
            }
            Event::Output { host, line } => self.output(host, &line),
            Event::Exit { host, boot } => {
                self.exits += 1;
                let entry = &mut self.hosts[host - 1];
                if entry.boot == boot && matches!(entry.stage, Stage::Booting | Stage::Running) {
                    let what = if entry.stage == Stage::Booting {
                        "while booting"
                    } else {
                        "while its script ran"
                    };
                    entry.stage = Stage::Dead;
                    self.trouble(host, format!("the guest ended {what}"));
                    self.show_last_lines(host);
                }
            }
            Event::Interrupt => {}
        }
    }

    fn console(&mut self, host: usize, line: String) {
        if self.verbose {
            println!("host{host}| {line}");
        }
        if is_trouble(&line) {
            self.trouble(host, line.clone());
        }
        let last_lines = &mut self.hosts[host - 1].last_lines;
        if last_lines.len() == LAST_LINES {
            last_lines.pop_front();
        }
        last_lines.push_back(line);
    }

    fn output(&mut self, host: usize, line: &str) {
        println!("host{host}: {line}");
        let path = self.out.join(format!("output.{host}"));
        // The line was shown: a full disk must not end the run.
        let _ = File::options()
            .create(true)
            .append(true)
            .open(path)
            .and_then(|mut file| writeln!(file, "{line}"));
    }

    fn answer(&mut self, host: usize, request: Request) -> String {
        match request {
            Request::Up => {
                self.hosts[host - 1].stage = Stage::Running;
                if self.hosts.iter().all(|host| host.stage != Stage::Booting)
                    && self.verdict.boot_time.is_zero()
                {
                    self.verdict.boot_time = self.started.elapsed();
                }
                "ok".into()
            }
            Request::Done(status) => {
                self.hosts[host - 1].stage = Stage::Done(status);
                if status != 0 {
                    self.verdict.status = self.verdict.status.max(status);
                    println!("host{host}: script ended with status {status}");
                }
                "ok".into()
            }
            Request::Barrier(name) => {
                // Whoever has ended will not come: those who wait should hear that now, not at the time limit.
                if let Some(gone) = self.ended_without(&name) {
                    return format!("error: host {gone} has ended and never came to '{name}'");
                }
                let here = self.barriers.entry(name).or_default();
                here.insert(host);
                if here.len() == self.hosts.len() {
                    "ok open"
                } else {
                    "ok shut"
                }
                .into()
            }
            Request::Fabric(command) => match self.fabric.command(&command) {
                Ok(answer) => answer,
                Err(error) => format!("error: {error:#}"),
            },
            Request::Kill(victim) => {
                let entry = &mut self.hosts[victim - 1];
                if entry.stage == Stage::Off {
                    return format!("error: host {victim} is off already");
                }
                entry.stage = Stage::Off;
                entry.guest = None;
                "ok".into()
            }
            Request::Boot(victim) => {
                if !matches!(self.hosts[victim - 1].stage, Stage::Off | Stage::Dead) {
                    return format!("error: host {victim} is on: 'lab kill {victim}' first");
                }
                match self.boot(victim) {
                    Ok(()) => "ok".into(),
                    Err(error) => format!("error: {error:#}"),
                }
            }
            Request::Result(name, value) => {
                println!("host{host}: {name} = {value}");
                self.verdict.results.push((name, value));
                "ok".into()
            }
            Request::Log(text) => {
                println!("host{host}: {text}");
                "ok".into()
            }
        }
    }

    /// A host whose script has ended (or whose guest has died) without having been at the barrier.
    fn ended_without(&self, barrier: &str) -> Option<usize> {
        let here = self.barriers.get(barrier);
        (1..=self.hosts.len()).find(|host| {
            matches!(self.hosts[host - 1].stage, Stage::Done(_) | Stage::Dead)
                && !here.is_some_and(|here| here.contains(host))
        })
    }

    fn trouble(&mut self, host: usize, what: String) {
        println!("host{host}: TROUBLE: {what}");
        self.verdict.troubles.push(format!("host{host}: {what}"));
    }

    fn show_last_lines(&self, host: usize) {
        println!("host{host}: last lines of its console:");
        for line in &self.hosts[host - 1].last_lines {
            println!("    {line}");
        }
    }

    fn report_hang(&mut self, limit: Duration) {
        for host in 1..=self.hosts.len() {
            let stage = self.hosts[host - 1].stage;
            if matches!(stage, Stage::Booting | Stage::Running) {
                let what = if stage == Stage::Booting {
                    "still booting"
                } else {
                    "script still running"
                };
                self.trouble(
                    host,
                    format!("{what} at the time limit of {} s", limit.as_secs()),
                );
                self.show_last_lines(host);
            }
        }
    }

    /// Switches everything off and reads what consoles still had to say.
    fn finish(mut self, events: &Receiver<Event>) -> Verdict {
        for host in &mut self.hosts {
            host.stage = Stage::Off;
            host.guest = None;
        }
        // QEMU has ended, so each console thread sends what is left and then its Exit.
        let boots: u32 = self.hosts.iter().map(|host| host.boot).sum();
        while self.exits < boots {
            match events.recv_timeout(Duration::from_secs(5)) {
                Ok(Event::Request { .. }) => {}
                Ok(event) => self.handle(event),
                Err(_) => break,
            }
        }
        self.verdict
    }
}

fn send_line(stream: &mut UnixStream, text: &str) -> std::io::Result<()> {
    stream.write_all(text.as_bytes())?;
    stream.write_all(b"\n")
}
