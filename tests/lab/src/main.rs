// SPDX-License-Identifier: GPL-2.0-only

//! Runs scripts in QEMU guests that boot stock kernels and are joined by virtual USB4 cables.
//!
//! `run` boots guests and runs one script in each ([`run`], [`session`]); `test` does so for every scenario in
//! `tests/lab/scenarios` ([`scenario`]); `shell` gives a person a terminal on the guests ([`shell`]).
//! docs/lab.md has the picture.

mod accel;
mod barrier;
mod cache;
mod cli;
mod cpus;
mod excuse;
mod fabric;
mod guest;
mod interrupt;
mod kernel_log;
mod out;
mod request;
mod run;
mod scenario;
mod session;
mod shell;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    match dispatch(cli::Cli::parse().command) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("lab: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn dispatch(command: cli::Command) -> anyhow::Result<ExitCode> {
    let cache = cache::Cache::find()?;
    interrupt::install()?;
    match command {
        cli::Command::Run(options) => {
            let verdict = run::run(&cache, &options)?;
            let code = verdict.exit_code();
            match (verdict.status, verdict.troubles.len()) {
                (0, 0) => println!("lab: PASS"),
                (status, troubles) => {
                    println!("lab: FAIL: worst status {status}, {troubles} trouble(s)")
                }
            }
            Ok(ExitCode::from(u8::try_from(code).unwrap_or(1)))
        }
        cli::Command::Test(options) => scenario::test(&cache, &options),
        cli::Command::Shell(setting) => shell::shell(&cache, &setting),
    }
}
