// SPDX-License-Identifier: GPL-2.0-only

//! An interactive session: one terminal, shared by the shells of all guests.
//!
//! Each guest runs a shell on its second serial port, which QEMU connects to a socket here. What the current guest
//! writes goes to the terminal; what is typed goes to it; Ctrl-] and a digit changes the guest, Ctrl-] q ends all.
//! A guest that is switched off and on again (`lab kill`, `lab boot`) connects again.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::event::{poll, PollFd, PollFlags, Timespec};
use rustix::io::Errno;
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
    let (stage, fabric) = prepare(cache, setting, &checkout().join("out/lab/shell"), true)?;
    let listeners = (1..=stage.machine.hosts)
        .map(|host| Ok(UnixListener::bind(shell_socket(&stage.machine, host))?))
        .collect::<Result<Vec<_>>>()?;
    let mut session = Session::new(
        cache,
        &stage.machine,
        fabric,
        stage.routers.clone(),
        stage.out.path.clone(),
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
    let (end, until) = UnixStream::pair()?;
    let terminal = std::thread::spawn(move || {
        let outcome = attach(&listeners, &until);
        let _ = sender.send(Event::Interrupt);
        outcome
    });
    session.run(&stage.events, Duration::from_secs(u64::from(u32::MAX)));
    // Guests may have ended before anybody typed: then the terminal's thread still waits.
    drop(end);
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

/// Passes bytes between the terminal and the shells, until the person or the other end of `until` ends it.
fn attach(listeners: &[UnixListener], until: &UnixStream) -> Result<()> {
    let mut keyboard = File::from(std::io::stdin().as_fd().try_clone_to_owned()?);
    let _raw = RawTerminal::new()?;
    let mut shells: Vec<Option<UnixStream>> = listeners.iter().map(|_| None).collect();
    let mut keys = Keys::default();
    let mut buffer = [0; 4096];
    loop {
        let ready = wait(until, &keyboard, listeners, &shells)?;
        if ready.end {
            return Ok(());
        }
        if ready.keyboard {
            let length = keyboard.read(&mut buffer)?;
            if length == 0 {
                return Ok(());
            }
            for &byte in &buffer[..length] {
                let shell = match keys.press(byte, shells.len()) {
                    Key::End => return Ok(()),
                    Key::Nothing => continue,
                    Key::Change => {
                        print!("\r\n[host{}]\r\n", keys.current + 1);
                        std::io::stdout().flush()?;
                        // A new prompt shows where one is.
                        (&mut shells[keys.current], b'\r')
                    }
                    Key::Byte => (&mut shells[keys.current], byte),
                };
                // What is typed into a guest that is off, or has just gone off, is lost.
                if let (Some(shell), byte) = shell {
                    let _ = shell.write_all(&[byte]);
                }
            }
        }
        for index in 0..shells.len() {
            if !ready.shells[index] {
                continue;
            }
            let Some(shell) = &mut shells[index] else {
                shells[index] = Some(listeners[index].accept()?.0);
                continue;
            };
            match shell.read(&mut buffer) {
                Ok(0) | Err(_) => shells[index] = None,
                // The others' output is dropped, as a serial line's is that nobody watches.
                Ok(length) if index == keys.current => {
                    std::io::stdout().write_all(&buffer[..length])?;
                    std::io::stdout().flush()?;
                }
                Ok(_) => {}
            }
        }
    }
}

/// What a key does.
#[derive(Debug, PartialEq, Eq)]
enum Key {
    /// It goes to the current guest.
    Byte,
    /// Another guest is the current one now.
    Change,
    /// Nothing, yet.
    Nothing,
    /// Everything ends.
    End,
}

/// Which guest is typed into, and whether the last key was the escape.
#[derive(Default)]
struct Keys {
    current: usize,
    escaped: bool,
}

impl Keys {
    fn press(&mut self, byte: u8, guests: usize) -> Key {
        let escaped = std::mem::take(&mut self.escaped);
        match (escaped, byte) {
            (true, b'q') => Key::End,
            (true, b'1'..=b'9') if usize::from(byte - b'1') < guests => {
                self.current = usize::from(byte - b'1');
                Key::Change
            }
            (false, ESCAPE) => {
                self.escaped = true;
                Key::Nothing
            }
            // The escape key twice is one for the guest.
            _ => Key::Byte,
        }
    }
}

/// Who has something.
struct Ready {
    end: bool,
    keyboard: bool,
    /// For each host its shell, or its listener while there is none.
    shells: Vec<bool>,
}

fn wait(
    until: &UnixStream,
    keyboard: &File,
    listeners: &[UnixListener],
    shells: &[Option<UnixStream>],
) -> Result<Ready> {
    let mut set: Vec<PollFd<'_>> = vec![
        PollFd::new(until, PollFlags::IN),
        PollFd::new(keyboard, PollFlags::IN),
    ];
    set.extend(
        listeners
            .iter()
            .zip(shells)
            .map(|(listener, shell)| match shell {
                Some(shell) => PollFd::new(shell, PollFlags::IN),
                None => PollFd::new(listener, PollFlags::IN),
            }),
    );
    match poll(&mut set, None::<&Timespec>) {
        Ok(_) | Err(Errno::INTR) => {}
        Err(error) => return Err(error).context("cannot wait for the terminal"),
    }
    let mut ready = set.iter().map(|fd| !fd.revents().is_empty());
    Ok(Ready {
        end: ready.next().unwrap_or(false),
        keyboard: ready.next().unwrap_or(false),
        shells: ready.collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::{Key, Keys, ESCAPE};

    fn type_in(keys: &mut Keys, text: &[u8]) -> Vec<Key> {
        text.iter().map(|&byte| keys.press(byte, 2)).collect()
    }

    #[test]
    fn the_escape_key_changes_guests_and_ends() {
        let mut keys = Keys::default();
        assert_eq!(
            type_in(&mut keys, &[b'1', ESCAPE, b'2', b'q']),
            [Key::Byte, Key::Nothing, Key::Change, Key::Byte]
        );
        assert_eq!(keys.current, 1);
        assert_eq!(
            type_in(&mut keys, &[ESCAPE, b'3', ESCAPE, ESCAPE, b'1']),
            [Key::Nothing, Key::Byte, Key::Nothing, Key::Byte, Key::Byte]
        );
        assert_eq!(keys.current, 1);
        assert_eq!(
            type_in(&mut keys, &[ESCAPE, b'q']),
            [Key::Nothing, Key::End]
        );
    }
}
