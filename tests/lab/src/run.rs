// SPDX-License-Identifier: GPL-2.0-only

//! Puts a run together: folders, fabric, machine, session.

use std::fs;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{sync_channel, Receiver, SyncSender};
use std::time::Duration;

use anyhow::{ensure, Context, Result};
use tempfile::TempDir;
use vnhi::topology::Topology;

use crate::accel::Accelerator;
use crate::cache::Cache;
use crate::cli::{Lan, Run, Setting, OURS};
use crate::fabric::Fabric;
use crate::guest::{Event, Machine};
use crate::interrupt;
use crate::kernel_log::is_trouble;
use crate::out::Out;
use crate::session::{printable, Session, Verdict, MOST_TROUBLES};

/// Everything of a run that must outlive its session.
pub struct Stage {
    pub machine: Machine,
    pub routers: Vec<Vec<PathBuf>>,
    pub sender: SyncSender<Event>,
    pub events: Receiver<Event>,
    /// Where everything of the run is kept.
    pub out: Out,
    _sockets: TempDir,
}

/// Events that wait for the session; whoever has more waits.
const EVENTS: usize = 1024;
/// Longest folder name in which every socket path still fits (107 bytes).
const LONGEST_SOCKETS: usize = 60;
/// As much of a kernel log is looked at.
const LONGEST_LOG: u64 = 16 << 20;

/// The checkout that this lab was built from.
pub fn checkout() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .nth(2)
        .map(Path::to_owned)
        .unwrap_or_default()
}

/// Prepares folders and starts the fabric.
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
    let (needed, there) = (
        u64::from(kernel.memory(setting.mem)) * topology.hosts.len() as u64,
        memory(),
    );
    ensure!(
        needed <= there,
        "{} guests of {} MiB are more than this machine's {there} MiB: give a smaller --mem",
        topology.hosts.len(),
        kernel.memory(setting.mem)
    );
    for Lan(hosts) in &setting.lan {
        ensure!(
            hosts.iter().all(|host| *host <= topology.hosts.len()),
            "--lan {}-{}: there are {} hosts",
            hosts[0],
            hosts[1],
            topology.hosts.len()
        );
    }
    let out = Out::take(out)?;
    let shared = out.path.join("shared");
    fs::create_dir_all(shared.join(".lab"))
        .with_context(|| format!("cannot make {}", shared.display()))?;
    let file = out.path.join("topology.toml");
    fs::write(&file, topology.to_toml())?;
    let sockets = sockets_folder()?;
    let fabric = Fabric::start(
        &file,
        sockets.path(),
        &setting.fault,
        setting.seed,
        &out.path.join("vnhi.log"),
    )?;
    let hosts = topology.hosts.len();
    let routers = (1..=hosts)
        .map(|host| {
            (0..topology.hosts[host - 1].routers)
                .map(|router| fabric.router_socket(host, router.into()))
                .collect()
        })
        .collect();
    let (sender, events) = sync_channel(EVENTS);
    interrupt::listen(&sender);
    let machine = Machine {
        memory: kernel.memory(setting.mem),
        cpus: setting.smp,
        accelerator: Accelerator::detect(cache, &kernel)?,
        kernel,
        hosts,
        checkout: checkout(),
        shared,
        sockets: sockets.path().to_owned(),
        interactive,
        rdma: setting.rdma.clone(),
        lans: setting.lan.clone(),
        append: setting.append.clone(),
    };
    Ok((
        Stage {
            machine,
            routers,
            sender,
            events,
            out,
            _sockets: sockets,
        },
        fabric,
    ))
}

/// Memory of this machine, in MiB. Guests take theirs bit by bit, so nobody else would refuse more.
fn memory() -> u64 {
    let facts = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let total = facts
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:")?.split_whitespace().next())
        .and_then(|kib| kib.parse::<u64>().ok());
    total.map_or(u64::MAX, |kib| kib / 1024)
}

/// A folder for sockets. Their paths are limited, so it is neither below `out` nor where a long TMPDIR points.
fn sockets_folder() -> Result<TempDir> {
    let parent = match std::env::temp_dir() {
        parent if parent.as_os_str().len() <= LONGEST_SOCKETS => parent,
        _ => PathBuf::from("/tmp"),
    };
    tempfile::Builder::new()
        .prefix("usb4-lab-")
        .tempdir_in(&parent)
        .with_context(|| format!("cannot make a folder for sockets in {}", parent.display()))
}

/// Runs a script in every guest; once more where nothing here is to blame.
pub fn run(cache: &Cache, options: &Run) -> Result<Verdict> {
    let verdict = run_once(cache, options)?;
    let Some(excuse) = verdict.excuse else {
        return Ok(verdict);
    };
    println!("lab: that was {excuse} (docs/lab.md): once more");
    run_once(cache, options)
}

fn run_once(cache: &Cache, options: &Run) -> Result<Verdict> {
    let script = &options.script;
    let kind = fs::metadata(script)
        .with_context(|| format!("cannot read the script {}", script.display()))?;
    ensure!(kind.is_file(), "the script {} is no file", script.display());
    let out = match &options.out {
        Some(out) => out.clone(),
        None => {
            let name = script
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
        stage.out.path.clone(),
        stage.sender.clone(),
        options.verbose,
    );
    session.power_on()?;
    let patience = u64::from(stage.machine.kernel.patience());
    let limit = Duration::from_secs(options.timeout * patience);
    let mut verdict = session.run(&stage.events, limit);
    keep(&stage.machine.shared, &stage.out.path, &mut verdict)?;
    println!(
        "lab: booted in {:.1} s; kept in {}",
        verdict.boot_time.as_secs_f64(),
        stage.out.path.display()
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

/// Moves the guests' kernel logs next to their consoles, looks for trouble that a quiet console did not show, and
/// writes the figures.
fn keep(shared: &Path, out: &Path, verdict: &mut Verdict) -> Result<()> {
    for entry in fs::read_dir(shared.join(".lab"))? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let Some(host) = name
            .strip_prefix("dmesg.")
            .and_then(|rest| rest.split('.').next())
        else {
            continue;
        };
        // Guests write this folder: what looks like a log may be a link to anything.
        if !entry.file_type()?.is_file() {
            continue;
        }
        let kept = out.join(&name);
        fs::rename(entry.path(), &kept)?;
        let mut log = Vec::new();
        fs::File::open(&kept)?
            .take(LONGEST_LOG)
            .read_to_end(&mut log)?;
        for trouble in unseen(host, &String::from_utf8_lossy(&log), &verdict.troubles) {
            println!("TROUBLE (in {name}): {}", printable(&trouble));
            verdict.reason.get_or_insert_with(|| trouble.clone());
            verdict.troubles.push(trouble);
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

/// Troubles in a kernel log that are not known from the console: a script or `--append quiet` may have silenced that.
fn unseen(host: &str, log: &str, known: &[String]) -> Vec<String> {
    log.lines()
        .map(str::trim_end)
        .filter(|line| is_trouble(line))
        .map(|line| format!("host{host}: {line}"))
        .filter(|line| !known.contains(line))
        .take(MOST_TROUBLES)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::unseen;

    #[test]
    fn a_quiet_console_hides_no_trouble() {
        let log = "[ 1.0] fine\n[ 2.0] WARNING: one\n[ 3.0] WARNING: two\n";
        let known = ["host1: [ 2.0] WARNING: one".to_owned()];
        assert_eq!(unseen("1", log, &known), ["host1: [ 3.0] WARNING: two"]);
        assert_eq!(unseen("2", log, &known).len(), 2);
    }
}
