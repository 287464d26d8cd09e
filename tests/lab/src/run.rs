// SPDX-License-Identifier: GPL-2.0-only

//! Puts a run together: folders, fabric, machine, session.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{channel, Receiver, Sender};
use std::time::Duration;

use anyhow::{Context, Result};
use tempfile::TempDir;
use vnhi::topology::Topology;

use crate::accel::Accelerator;
use crate::cache::Cache;
use crate::cli::{Run, Setting, OURS};
use crate::fabric::Fabric;
use crate::guest::{Event, Machine};
use crate::session::{Session, Verdict};

/// Everything of a run that must outlive its session.
pub struct Stage {
    pub machine: Machine,
    pub routers: Vec<Vec<PathBuf>>,
    pub sender: Sender<Event>,
    pub events: Receiver<Event>,
    _sockets: TempDir,
}

/// The checkout that this lab was built from.
pub fn checkout() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .nth(2)
        .map(Path::to_owned)
        .unwrap_or_default()
}

/// Prepares folders and starts the fabric. `out` is emptied first, so that it holds this run and nothing older.
pub fn prepare(
    cache: &Cache,
    setting: &Setting,
    out: &Path,
    interactive: bool,
) -> Result<(Stage, Fabric)> {
    let kernel = cache.kernel(&setting.kernel)?;
    let topology = match &setting.topology {
        Some(file) => {
            let text = fs::read_to_string(file)
                .with_context(|| format!("cannot read {}", file.display()))?;
            Topology::parse(&text).with_context(|| format!("topology {}", file.display()))?
        }
        None => Topology::mesh(setting.hosts, setting.rails)?,
    };
    if out.exists() {
        fs::remove_dir_all(out).with_context(|| format!("cannot empty {}", out.display()))?;
    }
    let shared = out.join("shared");
    fs::create_dir_all(shared.join(".lab"))
        .with_context(|| format!("cannot make {}", out.display()))?;
    let file = out.join("topology.toml");
    fs::write(&file, topology.to_toml())?;
    // Socket paths are limited to 107 bytes, so they do not live below `out`.
    let sockets = tempfile::Builder::new().prefix("usb4-lab-").tempdir()?;
    let fabric = Fabric::start(
        &file,
        sockets.path(),
        &setting.fault,
        setting.seed,
        &out.join("vnhi.log"),
    )?;
    let hosts = topology.hosts.len();
    let routers = (1..=hosts)
        .map(|host| {
            (0..topology.hosts[host - 1].routers)
                .map(|router| fabric.router_socket(host, router.into()))
                .collect()
        })
        .collect();
    let (sender, events) = channel();
    let machine = Machine {
        memory: setting.mem,
        cpus: setting.smp,
        accelerator: Accelerator::detect(cache, &kernel)?,
        kernel,
        hosts,
        checkout: checkout(),
        shared,
        sockets: sockets.path().to_owned(),
        interactive,
        rdma: setting.rdma.clone(),
        append: setting.append.clone(),
    };
    Ok((
        Stage {
            machine,
            routers,
            sender,
            events,
            _sockets: sockets,
        },
        fabric,
    ))
}

/// Runs a script in every guest.
pub fn run(cache: &Cache, options: &Run) -> Result<Verdict> {
    let out = match &options.out {
        Some(out) => out.clone(),
        None => {
            let name = options
                .script
                .file_stem()
                .context("--script names no file")?
                .to_string_lossy()
                .into_owned();
            checkout()
                .join("out/lab")
                .join(format!("{name}-{}", options.setting.kernel))
        }
    };
    let (stage, fabric) = prepare(cache, &options.setting, &out, false)?;
    let job = stage.machine.shared.join(".lab");
    write_job(&job, &options.script, &options.args)?;
    // Where upstream's driver is under test, ours need not even be built.
    if !options.setting.no_module && options.setting.rdma == OURS {
        add_module(&job, &options.setting.kernel)?;
    }
    let sender = stage.sender.clone();
    // Only the first run of a process can set it; a run of scenarios keeps the first one's handler.
    let _ = ctrlc::set_handler(move || {
        let _ = sender.send(Event::Interrupt);
    });
    println!(
        "lab: {} hosts, kernel {}, {:?}, {} MiB each",
        stage.machine.hosts,
        stage.machine.kernel.release,
        stage.machine.accelerator,
        stage.machine.memory
    );
    let mut session = Session::new(
        cache,
        &stage.machine,
        fabric,
        stage.routers.clone(),
        out.clone(),
        stage.sender.clone(),
        options.verbose,
    );
    session.power_on()?;
    let verdict = session.run(&stage.events, Duration::from_secs(options.timeout));
    keep(&stage.machine.shared, &out, &verdict)?;
    println!(
        "lab: booted in {:.1} s; kept in {}",
        verdict.boot_time.as_secs_f64(),
        out.display()
    );
    Ok(verdict)
}

/// What `tests/lab/guest/start` reads: the script itself, as the file may lie outside the checkout, and its arguments.
fn write_job(dir: &Path, script: &Path, args: &[String]) -> Result<()> {
    let copy = dir.join("script");
    fs::copy(script, &copy)
        .with_context(|| format!("cannot read the script {}", script.display()))?;
    fs::set_permissions(&copy, fs::Permissions::from_mode(0o755))?;
    let args: String = args.iter().flat_map(|arg| [arg.as_str(), "\0"]).collect();
    fs::write(dir.join("args"), args)?;
    Ok(())
}

/// Puts the module where `tests/lab/guest/start` loads it from. A copy, so that the run's folder tells what ran, whatever is
/// built meanwhile.
fn add_module(dir: &Path, kernel: &str) -> Result<()> {
    let built = checkout().join(format!("out/module/{kernel}/usb4_rxe.ko"));
    fs::copy(&built, dir.join("usb4_rxe.ko")).with_context(|| {
        format!(
            "there is no {}: 'make module' builds it, --no-module does without",
            built.display()
        )
    })?;
    Ok(())
}

/// Moves the guests' kernel logs next to their consoles, and writes the figures.
fn keep(shared: &Path, out: &Path, verdict: &Verdict) -> Result<()> {
    for entry in fs::read_dir(shared.join(".lab"))? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with("dmesg.") {
            fs::rename(entry.path(), out.join(entry.file_name()))?;
        }
    }
    let results: String = verdict
        .results
        .iter()
        .map(|(name, value)| format!("{name} {value}\n"))
        .collect();
    fs::write(out.join("results.txt"), results)?;
    Ok(())
}
