// SPDX-License-Identifier: GPL-2.0-only

//! The virtual USB4 fabric of a run: one `vnhi serve` process and a connection to its control socket.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{bail, Context, Result};

/// How long the fabric may take for a command before the lab gives up on it.
const ANSWER_TIME: Duration = Duration::from_secs(10);

/// A running fabric. Dropping it ends the process.
pub struct Fabric {
    child: Child,
    sockets: PathBuf,
    control: BufReader<UnixStream>,
}

impl Fabric {
    /// Starts the fabric described by the topology file, with its sockets in `sockets` and its messages in `log`.
    ///
    /// # Errors
    ///
    /// When vnhi refuses its arguments: the error carries what it said.
    pub fn start(
        topology: &Path,
        sockets: &Path,
        faults: &[String],
        seed: u64,
        log: &Path,
    ) -> Result<Self> {
        let program = std::env::current_exe()?.with_file_name("vnhi");
        let mut command = Command::new(&program);
        command
            .args(["serve", "--topology"])
            .arg(topology)
            .arg("--dir")
            .arg(sockets)
            .arg("--exit-with-parent");
        command.args(["--seed", &seed.to_string()]);
        for fault in faults {
            command.args(["--fault", fault]);
        }
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(File::create(log)?)
            // Ctrl-C is for the lab, which ends guests and fabric in good order.
            .process_group(0)
            .spawn()
            .with_context(|| {
                format!(
                    "cannot start {}: build it with 'cargo build --release'",
                    program.display()
                )
            })?;
        let mut ready = String::new();
        let stdout = child.stdout.take().context("vnhi has no stdout")?;
        BufReader::new(stdout).read_line(&mut ready)?;
        if ready.is_empty() {
            let _ = child.wait();
            bail!(
                "the fabric did not start: {}",
                one_line(&std::fs::read_to_string(log)?)
            );
        }
        let control = UnixStream::connect(sockets.join("control.sock"))
            .context("cannot reach the fabric's control socket")?;
        control.set_read_timeout(Some(ANSWER_TIME))?;
        Ok(Self {
            child,
            sockets: sockets.to_owned(),
            control: BufReader::new(control),
        })
    }

    /// The vfio-user socket of a host router.
    pub fn router_socket(&self, host: usize, router: usize) -> PathBuf {
        self.sockets.join(format!("nhi-{host}.{router}.sock"))
    }

    /// Sends one command and returns the answer line as it came: `ok ...` or `error: ...`.
    pub fn command(&mut self, command: &str) -> Result<String> {
        writeln!(self.control.get_mut(), "{command}")?;
        let mut answer = String::new();
        self.control
            .read_line(&mut answer)
            .with_context(|| format!("the fabric gave no answer to '{command}'"))?;
        Ok(answer.trim_end().to_owned())
    }
}

/// What vnhi said, its lines joined.
fn one_line(said: &str) -> String {
    let words: Vec<&str> = said.split_whitespace().collect();
    words.join(" ")
}

impl Drop for Fabric {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
