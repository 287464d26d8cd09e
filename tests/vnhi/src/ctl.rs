// SPDX-License-Identifier: GPL-2.0-only

//! `vnhi ctl`: one command to the control socket of a running fabric, its answer to stdout.

use std::io::{BufRead, BufReader, ErrorKind, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Longer than any command takes.
const ANSWER_TIME: Duration = Duration::from_secs(10);

/// Arguments of `vnhi ctl`.
#[derive(clap::Args)]
#[command(
    after_help = "Commands: see 'vnhi ctl --dir DIR help'. Answers 'ok ...'; for 'error: ...' the exit status is 1."
)]
pub struct Ctl {
    /// The folder that was given to 'vnhi serve'
    #[arg(long, value_name = "DIR")]
    dir: PathBuf,
    /// The command and its arguments, as in: fault 0 drop=1%
    #[arg(required = true, trailing_var_arg = true)]
    command: Vec<String>,
}

impl Ctl {
    /// Sends the command.
    ///
    /// # Errors
    ///
    /// When there is no fabric, or the fabric answers with an error.
    pub fn run(self) -> Result<(), String> {
        let command = self.command.join(" ");
        let answer = ask(&self.dir.join("control.sock"), &command)?;
        if answer.starts_with("error") {
            return Err(answer);
        }
        println!(
            "{}",
            if command == "help" {
                lines(&answer)
            } else {
                answer
            }
        );
        Ok(())
    }
}

/// Help comes as one line, like every answer, and is shown as several.
fn lines(answer: &str) -> String {
    answer.trim_start_matches("ok ").replace(" ; ", "\n")
}

fn ask(socket: &Path, command: &str) -> Result<String, String> {
    let name = socket.display();
    let explain = |error: std::io::Error| match error.kind() {
        ErrorKind::NotFound | ErrorKind::ConnectionRefused => {
            format!("error: no fabric at {name}: start 'vnhi serve', or give its --dir")
        }
        ErrorKind::WouldBlock | ErrorKind::TimedOut => {
            format!("error: the fabric at {name} gives no answer")
        }
        _ => format!("error: cannot talk to {name}: {error}"),
    };
    if command.contains('\n') {
        return Err("error: a command is one line".to_owned());
    }
    let mut stream = UnixStream::connect(socket).map_err(explain)?;
    stream
        .set_read_timeout(Some(ANSWER_TIME))
        .map_err(explain)?;
    stream
        .write_all(format!("{command}\n").as_bytes())
        .map_err(explain)?;
    let mut answer = String::new();
    BufReader::new(stream)
        .read_line(&mut answer)
        .map_err(explain)?;
    match answer.strip_suffix('\n') {
        Some(answer) => Ok(answer.to_owned()),
        None => Err(format!(
            "error: the fabric at {name} ended before it answered"
        )),
    }
}
