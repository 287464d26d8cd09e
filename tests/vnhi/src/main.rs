// SPDX-License-Identifier: GPL-2.0-only

//! The command line: `vnhi serve` runs a fabric, `vnhi ctl` talks to one that runs.

#![forbid(unsafe_code)]

use std::process::ExitCode;

use clap::{Parser, Subcommand};

mod ctl;
mod serve_args;

/// Virtual USB4 host routers for QEMU guests, and the cables between them.
#[derive(Parser)]
#[command(name = "vnhi", version)]
struct Arguments {
    #[command(subcommand)]
    command: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Serve host routers until SIGTERM or Ctrl-C
    Serve(serve_args::Serve),
    /// Send one command to a fabric that runs
    Ctl(ctl::Ctl),
}

fn main() -> ExitCode {
    let result = match Arguments::parse().command {
        Action::Serve(arguments) => arguments.run(),
        Action::Ctl(arguments) => arguments.run(),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
