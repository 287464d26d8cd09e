// SPDX-License-Identifier: GPL-2.0-only

//! An interactive session: one terminal, shared by the shells of all guests.
//!
//! Each guest runs a shell on its second serial port, which QEMU connects to a socket here. What the current guest
//! writes goes to the terminal; what is typed goes to it; Ctrl-] and a digit changes the guest, Ctrl-] q ends all.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::event::{poll, PollFd, PollFlags, Timespec};
use rustix::termios::{isatty, tcgetattr, tcsetattr, OptionalActions, Termios};

use crate::cache::Cache;
use crate::cli::Setting;
use crate::guest::{shell_socket, Event};
use crate::run::{checkout, prepare};
use crate::session::Session;

/// Ctrl-], as telnet has it.
const ESCAPE: u8 = 0x1d;

/// Boots the guests and hands the terminal to their shells.
pub fn shell(cache: &Cache, setting: &Setting) -> Result<ExitCode> {
    anyhow::ensure!(
        isatty(std::io::stdin()),
        "a shell needs a terminal: for scripts use tests/lab/run"
    );
    let out = checkout().join("out/lab/shell");
    let (stage, fabric) = prepare(cache, setting, &out, true)?;
    let listeners = (1..=stage.machine.hosts)
        .map(|host| Ok(UnixListener::bind(shell_socket(&stage.machine, host))?))
        .collect::<Result<Vec<_>>>()?;
    let mut session = Session::new(
        cache,
        &stage.machine,
        fabric,
        stage.routers.clone(),
        out,
        stage.sender.clone(),
        false,
    );
    session.power_on()?;
    println!(
        "lab: booting {} guests; Ctrl-] then 1..{} changes the guest, Ctrl-] q ends all",
        stage.machine.hosts, stage.machine.hosts
    );
    println!("lab: inside, 'lab help' shows faults and cables; consoles and kernel logs are in out/lab/shell");
    let sender = stage.sender.clone();
    let terminal = std::thread::spawn(move || {
        let outcome = attach(&listeners);
        let _ = sender.send(Event::Interrupt);
        outcome
    });
    session.run(&stage.events, Duration::from_secs(u64::from(u32::MAX)));
    terminal
        .join()
        .map_err(|_| anyhow::anyhow!("the terminal's thread failed"))??;
    Ok(ExitCode::SUCCESS)
}

/// Puts the terminal back as it was, however the session ends.
struct RawTerminal(Termios);

impl RawTerminal {
    fn new() -> Result<Self> {
        let saved = tcgetattr(std::io::stdin()).context("cannot read the terminal's settings")?;
        let mut raw = saved.clone();
        raw.make_raw();
        tcsetattr(std::io::stdin(), OptionalActions::Now, &raw)?;
        Ok(Self(saved))
    }
}

impl Drop for RawTerminal {
    fn drop(&mut self) {
        let _ = tcsetattr(std::io::stdin(), OptionalActions::Now, &self.0);
        println!();
    }
}

fn attach(listeners: &[UnixListener]) -> Result<()> {
    let mut shells = listeners
        .iter()
        .map(|listener| Ok(listener.accept().context("a guest did not start")?.0))
        .collect::<Result<Vec<UnixStream>>>()?;
    let mut keyboard = File::from(std::io::stdin().as_fd().try_clone_to_owned()?);
    let _raw = RawTerminal::new()?;
    let mut current = 0;
    let mut escaped = false;
    let mut buffer = [0; 4096];
    loop {
        let ready = wait(&keyboard, &shells)?;
        if ready[0] {
            let length = keyboard.read(&mut buffer)?;
            if length == 0 {
                return Ok(());
            }
            for &byte in &buffer[..length] {
                match (escaped, byte) {
                    (true, b'q') => return Ok(()),
                    (true, b'1'..=b'9') if usize::from(byte - b'1') < shells.len() => {
                        current = usize::from(byte - b'1');
                        print!("\r\n[host{}]\r\n", current + 1);
                        std::io::stdout().flush()?;
                        // A new prompt shows where one is.
                        shells[current].write_all(b"\r")?;
                    }
                    (false, ESCAPE) => {
                        escaped = true;
                        continue;
                    }
                    _ => shells[current].write_all(&[byte])?,
                }
                escaped = false;
            }
        }
        for (index, shell) in shells.iter_mut().enumerate() {
            if ready[index + 1] {
                let length = shell.read(&mut buffer)?;
                if length == 0 {
                    return Ok(());
                }
                // The others' output is dropped, as a serial line's is that nobody watches.
                if index == current {
                    std::io::stdout().write_all(&buffer[..length])?;
                    std::io::stdout().flush()?;
                }
            }
        }
    }
}

/// Waits for input; element 0 is the keyboard, the others are the shells in order.
fn wait(keyboard: &File, shells: &[UnixStream]) -> Result<Vec<bool>> {
    let mut set: Vec<PollFd<'_>> = vec![PollFd::new(keyboard, PollFlags::IN)];
    set.extend(shells.iter().map(|shell| PollFd::new(shell, PollFlags::IN)));
    poll(&mut set, None::<&Timespec>)?;
    Ok(set.iter().map(|fd| !fd.revents().is_empty()).collect())
}
