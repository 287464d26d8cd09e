// SPDX-License-Identifier: GPL-2.0-only

//! Scenarios: scripts in `tests/lab/scenarios` that say in their header how they want to be run.
//!
//! ```text
//! # lab: --hosts 3 --rails 1 --timeout 120        options of tests/lab/run; several such lines: it runs once for each
//! # lab: --rails 4 -- quick                       behind -- are the script's arguments
//! # lab@7.3: --rails 2                             the same, but on this kernel only when all are run, to save time
//! # lab-long: --rails 4 -- thorough               the same, but only with --long, or by the scenario's whole name
//! # lab-kernels: 7.3                              only on these; all kernels without the line
//! # lab-rdma: usb4_rxe                             only with these RDMA drivers (--rdma)
//! # lab-expects: BUG:                             the run must fail, and say this
//! ```
//!
//! `lab-expects` is for scenarios that test the lab itself: that it notices what it promises to notice.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{bail, Context, Result};
use clap::Parser;

use crate::cache::{Cache, DEBUG};
use crate::cli::{Cli, Command, Run, Test, OURS};
use crate::interrupt::interrupted;
use crate::run::{checkout, run};
use crate::session::{printable, Verdict};

/// As much of a reason is shown behind a scenario that failed; all of it is in its output.
const LONGEST_REASON: usize = 240;

/// A script with what its header asks for.
#[derive(Debug, PartialEq, Eq)]
struct Scenario {
    name: String,
    path: PathBuf,
    /// Which of the `# lab:` lines this is, from 1.
    variant: usize,
    options: Vec<String>,
    args: Vec<String>,
    kernels: Option<Vec<String>>,
    drivers: Option<Vec<String>>,
    when: When,
    expects: Option<String>,
}

/// When a line of a header counts.
#[derive(Clone, Debug, PartialEq, Eq)]
enum When {
    Always,
    /// When everything is run on all kernels, on this one only.
    On(String),
    /// With `--long`, or when its whole name is given.
    Long,
}

impl When {
    /// Of a header's line, with its words; `None` for lines of other kinds.
    fn parse(line: &str) -> Option<(Self, Vec<String>)> {
        let (tag, words) = line.strip_prefix("# lab")?.split_once(':')?;
        let when = match tag {
            "" => Self::Always,
            "-long" => Self::Long,
            _ => Self::On(tag.strip_prefix('@')?.to_owned()),
        };
        Some((when, split(words)))
    }
}

impl Scenario {
    /// One for each `# lab:` line of the script.
    fn parse(path: &Path, text: &str) -> Vec<Self> {
        let mut lines: Vec<(When, Vec<String>)> = text
            .lines()
            .take_while(|line| line.starts_with('#'))
            .filter_map(When::parse)
            .collect();
        if lines.is_empty() {
            lines.push((When::Always, Vec::new()));
        }
        (1..)
            .zip(lines)
            .map(|(variant, (when, words))| Self {
                when,
                ..Self::parse_variant(path, text, variant, words)
            })
            .collect()
    }

    fn parse_variant(path: &Path, text: &str, variant: usize, mut options: Vec<String>) -> Self {
        let mut args = Vec::new();
        if let Some(end) = options.iter().position(|word| word == "--") {
            args = options.split_off(end + 1);
            options.pop();
        }
        let header = |tag: &str| {
            text.lines()
                .take_while(|line| line.starts_with('#'))
                .find_map(|line| line.strip_prefix(tag))
        };
        let words = |tag: &str| header(tag).map(split);
        Self {
            name: path
                .file_stem()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned(),
            path: path.to_owned(),
            variant,
            options,
            args,
            kernels: words("# lab-kernels:"),
            drivers: words("# lab-rdma:"),
            when: When::Always,
            expects: header("# lab-expects:").map(|text| text.trim().to_owned()),
        }
    }

    /// Its name, and what tells this variant from the others of the same name.
    fn label(&self) -> String {
        match (self.variant, self.args.as_slice()) {
            (1, []) => self.name.clone(),
            (_, []) => self.numbered(),
            (_, args) => format!("{} {}", self.numbered(), args.join(" ")),
        }
    }

    /// Its name with its number among the variants, from 1.
    fn numbered(&self) -> String {
        format!("{}.{}", self.name, self.variant)
    }

    /// True when somebody who says this on the command line asks for it.
    fn is_asked_for(&self, options: &Test) -> bool {
        let in_turn = options.long || self.when != When::Long;
        options.names.is_empty() && in_turn
            || options.names.iter().any(|name| {
                *name == self.name
                    || *name == self.numbered()
                    || in_turn && self.name.contains(name.as_str())
            })
    }

    /// True when it is this kernel's turn, if nobody asks for more.
    fn is_in_turn(&self, kernel: &str, options: &Test) -> bool {
        let everything = options.names.is_empty() && options.kernel.is_empty() && !options.long;
        match &self.when {
            When::On(turn) => turn == kernel || !everything,
            When::Always | When::Long => true,
        }
    }

    /// True when it is meant for this kernel and RDMA driver.
    fn is_for(&self, kernel: &str, rdma: Option<&str>) -> bool {
        let wants = |list: &Option<Vec<String>>, name: &str| {
            list.as_ref()
                .is_none_or(|list| list.iter().any(|entry| entry == name))
        };
        wants(&self.kernels, kernel) && wants(&self.drivers, rdma.unwrap_or(OURS))
    }

    fn is_passed_by(&self, verdict: &Verdict) -> bool {
        match &self.expects {
            None => verdict.exit_code() == 0,
            Some(text) => {
                verdict.exit_code() != 0 && verdict.troubles.iter().any(|line| line.contains(text))
            }
        }
    }

    /// Why it has not passed, in one line.
    fn reason(&self, verdict: &Verdict) -> String {
        let first = match &verdict.reason {
            Some(reason) => printable(reason).into_owned(),
            None => format!("a script ended with status {}", verdict.status),
        };
        let reason = match &self.expects {
            Some(text) => format!("nothing said '{text}', but: {first}"),
            None => first,
        };
        reason.chars().take(LONGEST_REASON).collect()
    }

    /// The command line that runs it on a kernel, the way a person would type it.
    fn command(&self, kernel: &str, options: &Test) -> Vec<String> {
        let mut words = vec!["run".to_owned(), "--kernel".to_owned(), kernel.to_owned()];
        if let Some(driver) = &options.rdma {
            words.extend(["--rdma".to_owned(), driver.to_owned()]);
        }
        if options.long {
            // A guest finds it as LAB_LONG.
            words.extend(["--append".to_owned(), "lab.long=1".to_owned()]);
        }
        words.extend(self.options.iter().cloned());
        words.push("--script".to_owned());
        let path = self.path.strip_prefix(checkout()).unwrap_or(&self.path);
        words.push(path.display().to_string());
        words.extend(self.args.iter().cloned());
        words
    }

    fn options(&self, kernel: &str, options: &Test) -> Result<Run> {
        let mut words = self.command(kernel, options);
        let script = words.len() - 1 - self.args.len();
        words[script] = self.path.display().to_string();
        let cli = Cli::try_parse_from(std::iter::once("lab".to_owned()).chain(words))
            .with_context(|| format!("the '# lab:' line of {} is wrong", self.path.display()))?;
        match cli.command {
            Command::Run(mut options) => {
                // In a header, paths are those of the checkout, wherever the test is started.
                if let Some(topology) = &mut options.setting.topology {
                    *topology = checkout().join(&*topology);
                }
                if self.variant > 1 {
                    let folder = format!("out/lab/{}.{}-{kernel}", self.name, self.variant);
                    options.out = Some(checkout().join(folder));
                }
                Ok(options)
            }
            _ => bail!(
                "the '# lab:' line of {} holds more than options",
                self.path.display()
            ),
        }
    }
}

/// Splits like a shell does for plain words and double quotes, which is all that headers need.
fn split(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    for (index, part) in text.split('"').enumerate() {
        if index % 2 == 1 {
            words.push(part.to_owned());
        } else {
            words.extend(part.split_whitespace().map(str::to_owned));
        }
    }
    words
}

fn all_scenarios() -> Result<Vec<Scenario>> {
    let dir = checkout().join("tests/lab/scenarios");
    let mut paths: Vec<PathBuf> = fs::read_dir(&dir)
        .with_context(|| format!("cannot read {}", dir.display()))?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|extension| extension == "sh"))
        .collect();
    paths.sort();
    let mut all = Vec::new();
    for path in paths {
        all.extend(Scenario::parse(&path, &fs::read_to_string(&path)?));
    }
    Ok(all)
}

/// What a run has measured, in one line.
fn figures(verdict: &Verdict) -> String {
    let figures: Vec<String> = verdict
        .results
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    figures.join(" ")
}

/// Runs the chosen scenarios one after the other and closes with `N passed, N failed`.
pub fn test(cache: &Cache, options: &Test) -> Result<ExitCode> {
    let rdma = options.rdma.as_deref();
    let mut chosen = all_scenarios()?;
    chosen.retain(|scenario| scenario.is_asked_for(options));
    let mut jobs = Vec::new();
    for kernel in cache.kernel_names()? {
        // The debug kernel takes its time: it is tested where somebody asks for it.
        let wanted = match options.kernel.as_slice() {
            [] => kernel != DEBUG,
            names => names.contains(&kernel),
        };
        if !wanted {
            continue;
        }
        for scenario in &chosen {
            if scenario.is_for(&kernel, rdma) && scenario.is_in_turn(&kernel, options) {
                jobs.push((scenario, kernel.clone()));
            }
        }
    }
    if jobs.is_empty() {
        bail!("no scenario matches: 'tests/lab/test --list' shows all");
    }
    if options.list {
        for (scenario, kernel) in &jobs {
            println!(
                "{:24} {kernel}   {} {}",
                scenario.name,
                scenario.options.join(" "),
                scenario.args.join(" ")
            );
        }
        return Ok(ExitCode::SUCCESS);
    }
    let total = jobs.len() * options.repeat as usize;
    let mut lines = Vec::new();
    let mut failed = Vec::new();
    for (number, (scenario, kernel)) in (0..options.repeat).flat_map(|_| &jobs).enumerate() {
        println!(
            "==== {} on {kernel} ({} of {total})",
            scenario.label(),
            number + 1
        );
        let start = Instant::now();
        let outcome = run(cache, &scenario.options(kernel, options)?);
        let (passed, what) = match &outcome {
            Ok(verdict) if scenario.is_passed_by(verdict) => (true, figures(verdict)),
            Ok(verdict) => (false, scenario.reason(verdict)),
            Err(error) => (false, format!("{error:#}")),
        };
        let word = if passed { "ok" } else { "FAILED" };
        let line = format!(
            "{word:6} {:5.1} s  {:24} {kernel}  {what}",
            start.elapsed().as_secs_f64(),
            scenario.label()
        );
        println!("{line}");
        lines.push(line);
        if interrupted() {
            println!("lab: interrupted in {}", scenario.name);
            return Ok(ExitCode::from(130));
        }
        if !passed {
            failed.push(format!(
                "tests/lab/{}",
                scenario.command(kernel, options).join(" ")
            ));
        }
    }
    println!("==== scenarios");
    for line in lines {
        println!("{line}");
    }
    for command in &failed {
        println!("repeat alone: {command}");
    }
    println!("{} passed, {} failed", total - failed.len(), failed.len());
    Ok(if failed.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

#[cfg(test)]
mod tests {
    use super::{all_scenarios, Scenario, When, LONGEST_REASON};
    use crate::cache::DEBUG;
    use crate::cli::Test;
    use crate::session::Verdict;
    use std::path::Path;

    fn first(path: &Path, text: &str) -> Scenario {
        Scenario::parse(path, text).remove(0)
    }

    #[test]
    fn several_lines_are_several_runs() {
        let text = "# lab: --rails 1\n# lab: --rails 2 -- pull 60\n# lab: -- crc\n";
        let scenarios = Scenario::parse(Path::new("/x/soak.sh"), text);
        let rails: Vec<u8> = scenarios
            .iter()
            .map(|scenario| {
                scenario
                    .options("7.2", &Test::default())
                    .unwrap()
                    .setting
                    .rails
            })
            .collect();
        assert_eq!(rails, [1, 2, 1]);
        let run = scenarios[1].options("7.2", &Test::default()).unwrap();
        assert_eq!(run.args, ["pull", "60"]);
        assert!(run.script.ends_with("x/soak.sh"));
        assert!(run.out.unwrap().ends_with("out/lab/soak.2-7.2"));
        assert_eq!(scenarios[0].label(), "soak");
        assert_eq!(scenarios[1].label(), "soak.2 pull 60");
    }

    #[test]
    fn some_runs_are_for_those_who_have_the_time() {
        let text = "# lab: --rails 1\n# lab-long: --rails 2 -- thorough\n";
        let scenarios = Scenario::parse(Path::new("/x/soak.sh"), text);
        let when: Vec<&When> = scenarios.iter().map(|scenario| &scenario.when).collect();
        assert_eq!(when, [&When::Always, &When::Long]);
        assert_eq!(scenarios[1].label(), "soak.2 thorough");
        assert_eq!(scenarios[1].options, ["--rails", "2"]);
    }

    #[test]
    fn header_lines_are_options_of_run() {
        let text = "#!/bin/bash\n# SPDX\n# lab: --hosts 3 --fault \"0 corrupt=1%\"\n# lab-kernels: 7.3\n\n# lab: --hosts 9\n";
        let scenarios = Scenario::parse(Path::new("/x/chain.sh"), text);
        let [scenario] = scenarios.as_slice() else {
            panic!("one line, one run");
        };
        assert_eq!(scenario.name, "chain");
        assert_eq!(
            scenario.options,
            ["--hosts", "3", "--fault", "0 corrupt=1%"]
        );
        assert_eq!(scenario.kernels, Some(vec!["7.3".to_owned()]));
        let options = scenario.options("7.3", &Test::default()).unwrap();
        assert_eq!(
            (options.setting.hosts, options.setting.fault),
            (3, vec!["0 corrupt=1%".to_owned()])
        );
    }

    #[test]
    fn a_scenario_that_expects_trouble_passes_only_with_it() {
        let scenario = first(
            Path::new("/x/warn.sh"),
            "# lab-expects: WARNING: on purpose\n",
        );
        let mut verdict = Verdict::default();
        assert!(!scenario.is_passed_by(&verdict));
        verdict.troubles.push("host1: the guest ended".into());
        assert!(!scenario.is_passed_by(&verdict));
        verdict
            .troubles
            .push("host1: [ 1.0] WARNING: on purpose".into());
        assert!(scenario.is_passed_by(&verdict));
    }

    #[test]
    fn a_failure_says_why_in_one_line() {
        let scenario = first(Path::new("/x/a.sh"), "# lab: --hosts 1\n");
        let mut verdict = Verdict {
            status: 3,
            ..Verdict::default()
        };
        assert_eq!(scenario.reason(&verdict), "a script ended with status 3");
        verdict.reason = Some("host1: FAIL: no\u{1b}carrier".into());
        assert_eq!(scenario.reason(&verdict), "host1: FAIL: no\u{fffd}carrier");
        verdict.reason = Some("x".repeat(1000));
        assert_eq!(scenario.reason(&verdict).len(), LONGEST_REASON);
    }

    #[test]
    fn a_scenario_may_be_for_some_kernels_and_drivers_only() {
        let everywhere = first(Path::new("/x/a.sh"), "# lab: --hosts 1\n");
        assert!(everywhere.is_for("7.2", Some("rxe")));
        let text = "# lab-kernels: 7.3\n# lab-rdma: usb4_rxe\n";
        let ours = first(Path::new("/x/b.sh"), text);
        assert!(ours.is_for("7.3", None));
        assert!(!ours.is_for("7.2", None));
        assert!(!ours.is_for("7.3", Some("rxe")));
    }

    #[test]
    fn one_kernel_is_enough_when_everything_is_run() {
        let once = first(Path::new("/x/a.sh"), "# lab@7.3: --rails 2\n");
        assert_eq!(once.options, ["--rails", "2"]);
        let everything = Test::default();
        assert!(once.is_in_turn("7.3", &everything));
        assert!(!once.is_in_turn("7.2", &everything));
        let long = Test {
            long: true,
            ..Test::default()
        };
        let named = Test {
            names: vec!["a".to_owned()],
            ..Test::default()
        };
        let one_kernel = Test {
            kernel: vec!["7.2".to_owned()],
            ..Test::default()
        };
        for options in [long, named, one_kernel] {
            assert!(once.is_in_turn("7.2", &options));
        }
    }

    #[test]
    fn long_ones_run_by_their_whole_name_or_number() {
        let text = "# lab: --rails 1\n# lab-long: --rails 2\n";
        let scenarios = Scenario::parse(Path::new("usb4-soak.sh"), text);
        let asked = |long: bool, names: &[&str]| -> Vec<usize> {
            let options = Test {
                long,
                names: names.iter().map(|name| (*name).to_owned()).collect(),
                ..Test::default()
            };
            let chosen = scenarios.iter().filter(|one| one.is_asked_for(&options));
            chosen.map(|one| one.variant).collect()
        };
        assert_eq!(asked(false, &[]), [1]);
        assert_eq!(asked(true, &[]), [1, 2]);
        assert_eq!(asked(false, &["usb4-"]), [1]);
        assert_eq!(asked(true, &["usb4-"]), [1, 2]);
        assert_eq!(asked(false, &["usb4-soak"]), [1, 2]);
        assert_eq!(asked(false, &["rdma-", "usb4-soak.2"]), [2]);
        assert!(asked(true, &["rdma-"]).is_empty());
    }

    #[test]
    fn guests_learn_that_they_may_take_longer() {
        let scenario = first(Path::new("/x/a.sh"), "# lab: --hosts 1\n");
        let long = Test {
            long: true,
            rdma: Some("rxe".to_owned()),
            ..Test::default()
        };
        let setting = scenario.options("7.2", &long).unwrap().setting;
        assert_eq!(
            (setting.append.as_str(), setting.rdma.as_str()),
            ("lab.long=1", "rxe")
        );
    }

    #[test]
    fn a_wrong_header_names_the_file() {
        let scenario = first(Path::new("/x/typo.sh"), "# lab: --host 3\n");
        assert!(format!(
            "{:#}",
            scenario.options("7.2", &Test::default()).unwrap_err()
        )
        .contains("typo.sh"));
    }

    /// Names of all kernels that the lab can have. One that it has not would never run its scenarios.
    fn kernels_of_the_lab() -> Vec<String> {
        let setup = include_str!("../setup.d/common.sh");
        let series = setup
            .lines()
            .find_map(|line| line.strip_prefix("series_all="));
        let series = series.unwrap().trim_matches('"').split(' ');
        series.chain([DEBUG]).map(str::to_owned).collect()
    }

    #[test]
    fn every_scenario_of_the_checkout_has_a_good_header() {
        let scenarios = all_scenarios().unwrap();
        assert!(!scenarios.is_empty());
        let kernels = kernels_of_the_lab();
        for scenario in scenarios {
            let turn = match &scenario.when {
                When::On(kernel) => vec![kernel.clone()],
                When::Always | When::Long => Vec::new(),
            };
            for kernel in turn.iter().chain(scenario.kernels.iter().flatten()) {
                assert!(
                    kernels.contains(kernel),
                    "{}: no kernel '{kernel}'",
                    scenario.name
                );
            }
            let options = scenario.options("7.2", &Test::default()).unwrap();
            if let Some(topology) = options.setting.topology {
                assert!(topology.is_absolute() && topology.exists(), "{topology:?}");
            }
        }
    }
}
