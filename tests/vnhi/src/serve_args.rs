// SPDX-License-Identifier: GPL-2.0-only

//! `vnhi serve`: its arguments.

use std::io::Write;
use std::path::PathBuf;

use vnhi::command::{CableSelector, Command};
use vnhi::command_line;
use vnhi::server::{self, Server, Settings};
use vnhi::topology::Topology;

/// Arguments of `vnhi serve`.
#[derive(clap::Args)]
#[command(after_help = "\
Makes DIR/nhi-<host>.<router>.sock for each host router (connect QEMU's vfio-user-pci there) and DIR/control.sock (see 'vnhi ctl'), \
and prints one line 'vnhi: ready, ...' when all are there. Machines may come and go for ever, one at a time per router.

Examples:
  vnhi serve --hosts 2 --dir /tmp/usb4
  vnhi serve --hosts 2 --cables 2 --fault '0> drop=1%' --tap 0=/tmp/cable0.pcapng --dir /tmp/usb4
  vnhi serve --topology three-hosts.toml --dir /tmp/usb4")]
pub struct Serve {
    /// Hosts, routers and cables from a file (TOML, see tests/vnhi/README.md)
    #[arg(long, value_name = "FILE", conflicts_with_all = ["cables", "chain"])]
    topology: Option<PathBuf>,
    /// This many hosts, each joined with every other
    #[arg(long, value_name = "N", conflicts_with = "topology")]
    hosts: Option<u8>,
    /// Cables between two hosts that are joined
    #[arg(long, value_name = "N", default_value_t = 1)]
    cables: u8,
    /// Join each host only with the next
    #[arg(long)]
    chain: bool,
    /// Rings of every NHI: 12 (Intel-like) or 3 (Strix-Halo-like)
    #[arg(long, value_name = "12|3")]
    hops: Option<u16>,
    /// Seed of faults, so that a run can be repeated
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// A fault from the start, as in '0> drop=1%' or 'all delay=10us'
    #[arg(long, value_name = "CABLE[>|<] KEY=VALUE...", value_parser = command_line::fault)]
    fault: Vec<Command>,
    /// Frames of a cable to a pcapng file from the start
    #[arg(long, value_name = "CABLE=FILE", value_parser = tap)]
    tap: Vec<(CableSelector, PathBuf)>,
    /// End when the process that started this one ends, however it does
    #[arg(long)]
    exit_with_parent: bool,
    /// The folder for the sockets; it must exist
    #[arg(long, value_name = "DIR")]
    dir: PathBuf,
}

impl Serve {
    /// Serves until a signal comes.
    ///
    /// # Errors
    ///
    /// When the arguments do not fit or the sockets cannot be made: a sentence that says what to do.
    pub fn run(self) -> Result<(), String> {
        if self.exit_with_parent {
            end_with_parent()?;
        }
        let settings = Settings {
            topology: self.topology()?,
            seed: self.seed,
            commands: self.fault,
            taps: self.tap,
            dir: self.dir,
        };
        let dir = settings.dir.display().to_string();
        let signals = server::end_signals().map_err(|error| format!("no signals: {error}"))?;
        let mut server = Server::new(settings, signals)?;
        let (routers, cables) = server.size();
        // Whoever started us may have gone on without reading.
        let _ = writeln!(
            std::io::stdout(),
            "vnhi: ready, {routers} routers and {cables} cables in {dir}"
        );
        server.run()
    }

    fn topology(&self) -> Result<Topology, String> {
        let topology = match (&self.topology, self.hosts) {
            (Some(path), _) => {
                let name = path.display();
                let text = std::fs::read_to_string(path)
                    .map_err(|error| format!("cannot read the topology {name}: {error}"))?;
                Topology::parse(&text).map_err(|error| format!("{name}: {error}"))?
            }
            (None, None) => {
                return Err("give --hosts N or --topology FILE: see 'vnhi serve --help'".to_owned())
            }
            (None, Some(hosts)) => {
                let made = if self.chain {
                    Topology::chain(hosts, self.cables)
                } else {
                    Topology::mesh(hosts, self.cables)
                };
                made.map_err(|error| error.to_string())?
            }
        };
        match self.hops {
            Some(hops) => topology.with_hops(hops).map_err(|error| error.to_string()),
            None => Ok(topology),
        }
    }
}

/// Asks the kernel for SIGTERM at the end of the parent.
fn end_with_parent() -> Result<(), String> {
    use rustix::process::{getppid, set_parent_process_death_signal, Signal};
    let parent = getppid();
    set_parent_process_death_signal(Some(Signal::TERM))
        .map_err(|error| format!("cannot watch the parent process: {error}"))?;
    // It may have ended just before: then somebody else is the parent now.
    if getppid() != parent {
        return Err("the parent process has ended".to_owned());
    }
    Ok(())
}

/// Understands `CABLE=FILE`.
fn tap(text: &str) -> Result<(CableSelector, PathBuf), String> {
    let (cable, file) = text
        .split_once('=')
        .ok_or_else(|| format!("'{text}' is no tap: give CABLE=FILE, as in 0=cable0.pcapng"))?;
    Ok((command_line::selector(cable)?, PathBuf::from(file)))
}
