// SPDX-License-Identifier: GPL-2.0-only

//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

/// Runs scripts in QEMU guests that boot stock Debian kernels and are joined by virtual USB4 cables.
#[derive(Parser)]
#[command(name = "lab")]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What the lab can do.
#[derive(Subcommand)]
pub enum Command {
    /// Run a script in every guest
    #[command(after_help = RUN_HELP, override_usage = "tests/lab/run [OPTIONS] --script FILE [ARGS]")]
    Run(Run),
    /// Run the lab's scenarios, each on every kernel it is meant for
    #[command(override_usage = "tests/lab/test [OPTIONS] [NAME...]")]
    Test(Test),
    /// Boot guests and work in them by hand
    #[command(override_usage = "tests/lab/shell [OPTIONS]")]
    Shell(Setting),
}

/// What a guest script finds; shown by `tests/lab/run --help`.
const RUN_HELP: &str = "\
FILE is run as root in every guest, at the same time, with the folder /lab as its working directory:

  LAB_HOST=1..N LAB_HOSTS=N     which host this is, and how many there are
  LAB_KERNEL LAB_BOOT LAB_RDMA  the kernel's name; 1, or more after 'lab boot'; what --rdma says
  LAB_PATIENCE                  how many times longer things take on this kernel: 1, or 4 on 'debug'
  LAB_LONG                      1 when 'tests/lab/test --long' runs it: take your time
  /lab                          a folder shared by all guests, empty at the start
  /checkout                     this checkout, read-only
  host1 host2 ...               10.0.0.1 10.0.0.2 ..., for a script that gives out addresses so
  lab COMMAND                   barriers, faults, unplugging, killing a guest, results: 'lab help'

Nothing is loaded at the start: 'modprobe thunderbolt' finds the cables. Example, ping over one cable:

  #!/bin/bash
  . /checkout/tests/lab/guest/lib.sh        # tbnet_up, barrier, fail, ...
  tbnet_up                                  # loads thunderbolt_net, gives hostN the address 10.0.0.N
  barrier up
  [ $LAB_HOST = 2 ] || ping -c 3 host2
  barrier end

lib.sh has more: tb_load and tb_peers (cables without network), tbnet_devices, answers; 'lab wait 30 COMMAND' waits for anything.

The exit status is the worst of all guests', 1 when only a kernel log has a WARN, BUG, Oops, lockdep or KASAN report or a guest
hangs, 130 after Ctrl-C. Consoles, kernel logs, outputs and results are kept in the folder named at the end.";

/// Options of `run`.
#[derive(Args, Debug)]
pub struct Run {
    #[command(flatten)]
    pub setting: Setting,
    /// The script (or any program) to run in every guest
    #[arg(long, value_name = "FILE")]
    pub script: PathBuf,
    /// End scripts that take longer than this many seconds, counted from when all guests are up
    #[arg(long, value_name = "S", default_value_t = 180, value_parser = clap::value_parser!(u64).range(1..=604_800))]
    pub timeout: u64,
    /// Show the consoles as well
    #[arg(short, long)]
    pub verbose: bool,
    /// Where to keep consoles, logs and results [default: out/lab/<script>-<kernel>]
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Arguments for the script
    #[arg(
        value_name = "ARGS",
        trailing_var_arg = true,
        allow_hyphen_values = true
    )]
    pub args: Vec<String>,
}

/// The RDMA driver that scripts use unless `--rdma` says otherwise.
pub const OURS: &str = "usb4_rxe";

/// The guests and the cables between them.
#[derive(Args, Clone, Debug)]
pub struct Setting {
    /// Kernel that the guests boot: a stock series, or 'debug' (see docs/lab.md)
    #[arg(long, value_name = "NAME", default_value = "7.2")]
    pub kernel: String,
    /// Number of guests
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..=8))]
    pub hosts: u8,
    /// Cables between each two guests
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u8).range(0..=8))]
    pub rails: u8,
    /// Hosts, routers and cables from a file instead (see tests/vnhi/README.md)
    #[arg(long, value_name = "FILE", conflicts_with_all = ["hosts", "rails"])]
    pub topology: Option<PathBuf>,
    /// Join two guests by an ordinary network card (virtio) too, such as 2-3; may be given more than once
    #[arg(long, value_name = "A-B", value_parser = lan)]
    pub lan: Vec<Lan>,
    /// A fault from the start, such as "0 corrupt=1%" or "all cap=100Mbit"; may be given more than once
    #[arg(long, value_name = "FAULT", value_parser = fault)]
    pub fault: Vec<String>,
    /// Seed of the faults' random numbers
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub seed: u64,
    /// Do not load usb4_rxe; otherwise it is loaded before the script starts, as 'make module' built it
    #[arg(long)]
    pub no_module: bool,
    /// Driver that tests/lab/guest/rdma.sh makes RDMA devices with: ours, or upstream's to compare with
    #[arg(long, value_name = "DRIVER", default_value = OURS, value_parser = [OURS, "rxe"])]
    pub rdma: String,
    /// Memory of a guest, in MiB
    #[arg(long, value_name = "M", default_value_t = 512, value_parser = clap::value_parser!(u32).range(192..=1_048_576))]
    pub mem: u32,
    /// Virtual CPUs of a guest
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=64))]
    pub smp: u32,
    /// More words for the guests' kernel command line
    #[arg(long, value_name = "WORDS", default_value = "")]
    pub append: String,
}

/// The fault as it was given, once the fabric's own parser has understood it.
fn fault(text: &str) -> Result<String, String> {
    vnhi::command_line::fault(text).map(|_| text.to_owned())
}

/// Two hosts with a network card each, joined by a wire.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Lan(pub [usize; 2]);

fn lan(text: &str) -> Result<Lan, String> {
    let hosts: Vec<usize> = text.split('-').flat_map(str::parse).collect();
    match hosts[..] {
        [a, b] if a != b && a > 0 && b > 0 && text.matches('-').count() == 1 => Ok(Lan([a, b])),
        _ => Err(format!("two hosts are wanted, as in 2-3, not '{text}'")),
    }
}

/// Options of `test`.
#[derive(Args, Default)]
pub struct Test {
    /// Only scenarios whose name contains one of these; by its whole name also a scenario's long variants, by NAME.2 its second
    #[arg(value_name = "NAME")]
    pub names: Vec<String>,
    /// Only on these kernels [default: all stock ones]
    #[arg(long, value_name = "NAME")]
    pub kernel: Vec<String>,
    /// RDMA driver instead of usb4_rxe: see 'tests/lab/run --help'
    #[arg(long, value_name = "DRIVER")]
    pub rdma: Option<String>,
    /// Scenarios that count to something count further: their scripts find LAB_LONG=1
    #[arg(long)]
    pub long: bool,
    /// Run all of them so many times
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    pub repeat: u32,
    /// List the scenarios and do nothing
    #[arg(long)]
    pub list: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn impossible_values_are_refused_before_anything_starts() {
        for wrong in [
            "--timeout 0",
            "--timeout 18446744073709551615",
            "--mem 0",
            "--smp 0",
            "--hosts 0",
            "--hosts 9",
            "--fault 0",
            "--fault x.drop=1%",
            "--lan 2",
            "--lan 2-2",
            "--lan 0-1",
            "--lan 1-2-3",
        ] {
            let words = "lab run --script x.sh"
                .split(' ')
                .chain(wrong.split_whitespace());
            assert!(Cli::try_parse_from(words).is_err(), "{wrong}");
        }
    }

    #[test]
    fn two_hosts_make_a_lan() {
        let words = "lab run --lan 2-3 --lan 3-1 --script x.sh".split(' ');
        let Command::Run(run) = Cli::try_parse_from(words).unwrap().command else {
            panic!("not a run");
        };
        assert_eq!(run.setting.lan, [Lan([2, 3]), Lan([3, 1])]);
    }

    #[test]
    fn what_follows_the_script_is_the_scripts() {
        let words = "lab run --rails 2 --script x.sh --verbose 3".split(' ');
        let Command::Run(run) = Cli::try_parse_from(words).unwrap().command else {
            panic!("not a run");
        };
        assert_eq!((run.setting.rails, run.verbose), (2, true));
        assert_eq!(run.args, ["3"]);
        let words = "lab run --script x.sh first --verbose".split(' ');
        let Command::Run(run) = Cli::try_parse_from(words).unwrap().command else {
            panic!("not a run");
        };
        assert_eq!(run.args, ["first", "--verbose"]);
    }
}
