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

use std::borrow::Cow;
use std::collections::VecDeque;
use std::fs::File;
use std::io::{ErrorKind, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender};
use std::time::{Duration, Instant};

use anyhow::{ensure, Result};

use crate::barrier::{Answer, Barriers};
use crate::cache::Cache;
use crate::excuse::{self, Excuse};
use crate::fabric::Fabric;
use crate::guest::{Event, Guest, Machine};
use crate::interrupt::interrupted;
use crate::kernel_log::is_trouble;
use crate::request::Request;

/// Console lines shown when a guest hangs or dies.
const LAST_LINES: usize = 20;
/// Troubles that are shown and kept; one loop of warnings can make any number.
pub const MOST_TROUBLES: usize = 200;
/// How long guests may take from power-on to the script, at least; they need seconds, but not on a machine in trouble.
const BOOT_TIME: Duration = Duration::from_secs(120);
/// How much of a script's output is shown and kept.
const MOST_OUTPUT: usize = 64 << 20;
/// What a script's reason begins with: see `fail` in `tests/lab/guest/lib.sh`.
const FAIL: &str = "FAIL: ";

/// Where a host stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stage {
    /// Powered off on request, or by itself as it had said, or not yet on.
    Off,
    /// From power-on to the script.
    Booting,
    /// The script is at work.
    Running,
    /// The guest is about to switch itself off, as it said.
    Leaving,
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
    output_bytes: usize,
}

/// How a run ended.
#[derive(Default, Debug)]
pub struct Verdict {
    /// The worst exit status of all scripts; 0 when all ended well.
    pub status: i32,
    /// Kernel log lines and mishaps that fail a run whatever the scripts say.
    pub troubles: Vec<String>,
    /// What went wrong first: a trouble, or what a script gave as its reason.
    pub reason: Option<String>,
    /// Figures that scripts recorded, in order.
    pub results: Vec<(String, String)>,
    /// Time from power-on to the slowest script's start.
    pub boot_time: Duration,
    /// Why the run says nothing, if it does not.
    pub excuse: Option<Excuse>,
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
    barriers: Barriers,
    verdict: Verdict,
    sender: SyncSender<Event>,
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
        sender: SyncSender<Event>,
        verbose: bool,
    ) -> Self {
        let hosts = routers
            .iter()
            .map(|_| Host {
                stage: Stage::Off,
                boot: 0,
                guest: None,
                last_lines: VecDeque::new(),
                output_bytes: 0,
            })
            .collect();
        Self {
            cache,
            machine,
            fabric,
            routers,
            out,
            hosts,
            barriers: Barriers::default(),
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

    /// Handles events until all scripts have ended, somebody interrupts, or the time limit is over. The limit is for the
    /// scripts and begins when all guests are up.
    pub fn run(mut self, events: &Receiver<Event>, limit: Duration) -> Verdict {
        let mut deadline = Instant::now() + BOOT_TIME.max(limit);
        let mut up = false;
        while !self
            .hosts
            .iter()
            .all(|host| matches!(host.stage, Stage::Off | Stage::Dead | Stage::Done(_)))
        {
            // Looked at after each event, too: a guest that talks without end must not hold up the end.
            if interrupted() {
                return self.interrupted();
            }
            if !up && !self.verdict.boot_time.is_zero() {
                up = true;
                deadline = Instant::now() + limit;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                self.report_hang(limit);
                break;
            }
            match events.recv_timeout(left) {
                Ok(Event::Interrupt) => return self.interrupted(),
                Ok(event) => self.handle(event),
                // Time is up, as the next look at it shows: the session itself holds a sender.
                Err(_) => {}
            }
        }
        self.finish(events)
    }

    fn interrupted(mut self) -> Verdict {
        self.verdict.status = 130;
        self.verdict.troubles.push("interrupted".into());
        self.verdict
    }

    fn boot(&mut self, host: usize) -> Result<()> {
        self.barriers.forget(host);
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
                    let (tag, line) = split_tag(&line);
                    let text = match Request::parse(line, self.hosts.len()) {
                        Ok(request) => self.answer(host, request),
                        Err(reason) => format!("error: {reason}"),
                    };
                    if let Err(error) = send_line(&mut answer, &format!("{tag}{text}")) {
                        let _ = answer.shutdown(Shutdown::Both);
                        // Otherwise the guest has just gone, and needs no answer.
                        if error.kind() == ErrorKind::WouldBlock {
                            self.trouble(host, "the guest asks the lab and does not read its answers: it gets no more of them".into());
                        }
                    }
                }
            }
            Event::Output { host, line } => self.output(host, &line),
            Event::Exit { host, boot } => {
                self.exits += 1;
                let entry = &mut self.hosts[host - 1];
                if entry.boot == boot && entry.stage == Stage::Leaving {
                    entry.stage = Stage::Off;
                    entry.guest = None;
                }
                if entry.boot == boot && matches!(entry.stage, Stage::Booting | Stage::Running) {
                    let what = if entry.stage == Stage::Booting {
                        "while booting"
                    } else {
                        "while its script ran"
                    };
                    entry.stage = Stage::Dead;
                    let complaint = self.complaint_of_qemu(host);
                    self.trouble(host, format!("the guest ended {what}{complaint}"));
                    self.show_last_lines(host);
                }
            }
            Event::Interrupt => {}
        }
    }

    fn console(&mut self, host: usize, line: String) {
        if self.verbose {
            println!("host{host}| {}", printable(&line));
        }
        if is_trouble(&line) {
            if self.verdict.troubles.is_empty() {
                let is_booting = self.hosts[host - 1].stage == Stage::Booting;
                if excuse::is_emulations(&line, is_booting, self.machine.accelerator) {
                    self.verdict.excuse = Some(Excuse::Emulation);
                }
            }
            self.trouble(host, line.clone());
        }
        let last_lines = &mut self.hosts[host - 1].last_lines;
        if last_lines.len() == LAST_LINES {
            last_lines.pop_front();
        }
        last_lines.push_back(line);
    }

    fn output(&mut self, host: usize, line: &str) {
        let before = self.hosts[host - 1].output_bytes;
        if before > MOST_OUTPUT {
            return;
        }
        let now = before + line.len() + 1;
        self.hosts[host - 1].output_bytes = now;
        let line = if now > MOST_OUTPUT {
            "[the lab shows and keeps no more of this script's output]"
        } else {
            line
        };
        println!("host{host}: {}", printable(line));
        if line.starts_with(FAIL) {
            self.verdict
                .reason
                .get_or_insert_with(|| format!("host{host}: {line}"));
        }
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
                    // A shell knows 0 to 255; anything else is no success either.
                    let status = if (1..=255).contains(&status) {
                        status
                    } else {
                        255
                    };
                    self.verdict.status = self.verdict.status.max(status);
                    println!("host{host}: script ended with status {status}");
                }
                "ok".into()
            }
            Request::Barrier(name) => {
                let hosts = &self.hosts;
                let has_ended =
                    |host: usize| matches!(hosts[host - 1].stage, Stage::Done(_) | Stage::Dead);
                match self.barriers.ask(&name, host, hosts.len(), has_ended) {
                    Answer::Open => "ok open".into(),
                    Answer::Shut => "ok shut".into(),
                    // Those who wait hear that now, not at the time limit.
                    Answer::Never(gone) => {
                        format!("error: host {gone} has ended and never came to '{name}'")
                    }
                }
            }
            Request::Fabric(command) => {
                let outcome = beside_consoles(&command, &self.out)
                    .and_then(|command| self.fabric.command(&command));
                outcome.unwrap_or_else(|error| format!("error: {error:#}"))
            }
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
            Request::Leave => {
                self.hosts[host - 1].stage = Stage::Leaving;
                "ok".into()
            }
            Request::Result(name, value) => {
                println!("host{host}: {} = {}", printable(&name), printable(&value));
                self.verdict.results.push((name, value));
                "ok".into()
            }
            Request::Log(text) => {
                println!("host{host}: {}", printable(&text));
                "ok".into()
            }
        }
    }

    fn trouble(&mut self, host: usize, what: String) {
        if self.verdict.troubles.len() >= MOST_TROUBLES {
            return;
        }
        println!("host{host}: TROUBLE: {}", printable(&what));
        let what = format!("host{host}: {what}");
        self.verdict.reason.get_or_insert_with(|| what.clone());
        self.verdict.troubles.push(what);
    }

    fn show_last_lines(&self, host: usize) {
        println!("host{host}: last lines of its console:");
        for line in &self.hosts[host - 1].last_lines {
            println!("    {}", printable(line));
        }
    }

    /// What QEMU itself said before it ended, if anything: then the guest is not to blame.
    fn complaint_of_qemu(&self, host: usize) -> String {
        let said = std::fs::read_to_string(self.out.join(format!("console.{host}.qemu")));
        match said.unwrap_or_default().lines().last() {
            Some(line) => format!("; QEMU: {line}"),
            None => String::new(),
        }
    }

    fn report_hang(&mut self, limit: Duration) {
        for host in 1..=self.hosts.len() {
            let stage = self.hosts[host - 1].stage;
            if matches!(stage, Stage::Booting | Stage::Running | Stage::Leaving) {
                let (what, limit) = match stage {
                    Stage::Booting => ("still booting", BOOT_TIME.max(limit)),
                    Stage::Leaving => ("still switching itself off", limit),
                    _ => ("script still running", limit),
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
        if self.has_cores_answer_only() {
            self.verdict.excuse = Some(Excuse::CoresAnswer);
        }
        self.verdict
    }

    /// Whether all that went wrong is what the core does with its answers.
    fn has_cores_answer_only(&self) -> bool {
        let troubles = &self.verdict.troubles;
        let mut logs = self.hosts.iter().zip(1..).flat_map(|(entry, host)| {
            (1..=entry.boot).map(move |boot| self.out.join(format!("console.{host}.{boot}")))
        });
        self.verdict.status == 0
            && !troubles.is_empty()
            && troubles
                .iter()
                .all(|line| excuse::begins_cores_answer(line))
            && logs.all(|path| {
                let log = std::fs::read(path).unwrap_or_default();
                let log = String::from_utf8_lossy(&log);
                !excuse::begins_cores_answer(&log) || excuse::is_cores_answer(&log)
            })
    }
}

/// A request may begin with a tag, `@` and a word, which its answer repeats: so whoever asks can tell it from the
/// answer to somebody who was ended while waiting for it.
fn split_tag(line: &str) -> (String, &str) {
    match line.split_once(' ') {
        Some((tag, rest)) if tag.starts_with('@') => (format!("{tag} "), rest),
        _ => (String::new(), line),
    }
}

/// The command for the fabric, with the file of a tap where consoles are: a guest names a file, not a place on the host.
fn beside_consoles(command: &str, out: &Path) -> Result<String> {
    let mut words = command.splitn(3, ' ').map(str::trim);
    let (Some("tap"), Some(cable), Some(file)) = (words.next(), words.next(), words.next()) else {
        return Ok(command.to_owned());
    };
    if file == "off" {
        return Ok(command.to_owned());
    }
    ensure!(
        !file.contains('/') && !file.starts_with('.') && file.ends_with(".pcapng"),
        "a tap's file is named without folder, as in cable0.pcapng: it is kept beside the consoles"
    );
    Ok(format!("tap {cable} {}", out.join(file).display()))
}

/// Text of a guest for the terminal: control characters could do anything there.
pub fn printable(text: &str) -> Cow<'_, str> {
    let harmful = |letter: char| letter.is_control() && letter != '\t';
    if text.contains(harmful) {
        text.replace(harmful, "\u{fffd}").into()
    } else {
        text.into()
    }
}

fn send_line(stream: &mut UnixStream, text: &str) -> std::io::Result<()> {
    stream.write_all(format!("{text}\n").as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn taps_stay_beside_the_consoles() {
        let out = Path::new("/out");
        let ask = |command| beside_consoles(command, out).ok();
        assert_eq!(ask("stats").unwrap(), "stats");
        assert_eq!(ask("tap 0 off").unwrap(), "tap 0 off");
        assert_eq!(ask("tap 0 my x.pcapng").unwrap(), "tap 0 /out/my x.pcapng");
        for wrong in [
            "tap 0 /etc/passwd",
            "tap 0 ../x.pcapng",
            "tap 0 .lock",
            "tap 0 shared/x.pcapng",
            "tap 0 console.1.1",
            "tap 0   /x.pcapng",
        ] {
            assert_eq!(ask(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn tags_are_repeated() {
        assert_eq!(split_tag("@7.1 up"), ("@7.1 ".to_owned(), "up"));
        assert_eq!(split_tag("barrier @x"), (String::new(), "barrier @x"));
    }

    #[test]
    fn guests_do_not_drive_the_terminal() {
        assert_eq!(printable("a\tb\u{e4}"), "a\tb\u{e4}");
        assert_eq!(printable("\u{1b}[2Jx\u{9b}"), "\u{fffd}[2Jx\u{fffd}");
    }
}
