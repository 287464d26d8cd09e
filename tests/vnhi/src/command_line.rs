// SPDX-License-Identifier: GPL-2.0-only

//! Commands as text: what the control socket and `--fault` take.

use std::path::PathBuf;

use crate::command::{Burst, CableSelector, Command, Direction, FaultChange};
use crate::topology::NhiId;
use crate::values;

/// A command line, understood.
#[derive(Clone, Debug, PartialEq)]
pub enum Line {
    /// Something for the fabric.
    Fabric(Command),
    /// Frames of cables to a file, or no longer.
    Tap(CableSelector, Option<PathBuf>),
    /// Counters as JSON.
    Stats,
    /// Hosts, routers and cables as JSON.
    Topology,
    /// What there is.
    Help,
}

/// All commands, for people.
pub const HELP: &[&str] = &[
    "fault CABLE[>|<] SETTING...     faults of a cable, > from its end a to b, < back, else both ways; settings that are not given stay",
    "      drop=P corrupt=P flip=P   lose frames, flag them with a CRC error, or change a bit silently; P as 0.01 or 1%",
    "      burst=ENTER/EXIT          lose frames in bursts: probabilities to begin and to end one; 0/0 ends it",
    "      delay=TIME stall=on|off   let frames take time, as 10us or 1ms; let nothing move",
    "      cap=RATE                  limit the speed, as 100Mbit, 1Gbit or 50MB; 0 lifts it",
    "fault CABLE[>|<] clear          end all of these",
    "unplug CABLE                    pull a cable",
    "plug CABLE                      plug it in again",
    "lanes CABLE 1|2                 let one or both lanes work",
    "reset HOST.ROUTER               reset a host router",
    "lose-interrupts HOST.ROUTER N|P lose the next N interrupts (a whole number), or each with probability P (1%, 0.01); 0 ends both",
    "throttle HOST.ROUTER TIME       least time between two interrupts of a vector; 0 leaves it to the driver",
    "tap CABLE FILE|off              frames to a pcapng file",
    "stats                           counters as JSON",
    "topology                        hosts, routers and cables as JSON",
    "help                            this; CABLE is a number from 0, or 'all'",
];

/// Understands a line.
///
/// # Errors
///
/// A sentence that says what is wrong and what to do.
pub fn parse(line: &str) -> Result<Line, String> {
    let line = line.trim();
    let (name, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
    let rest = rest.trim();
    let words: Vec<&str> = rest.split_whitespace().collect();
    Ok(match (name, &words[..]) {
        ("fault", _) => Line::Fabric(fault(rest)?),
        ("unplug", [cable]) => Line::Fabric(Command::Unplug(selector(cable)?)),
        ("plug", [cable]) => Line::Fabric(Command::Plug(selector(cable)?)),
        ("lanes", [cable, lanes]) => Line::Fabric(Command::Lanes {
            cables: selector(cable)?,
            lanes: match *lanes {
                "1" => 1,
                "2" => 2,
                other => return Err(format!("{other} lanes: give 1 or 2")),
            },
        }),
        ("reset", [nhi]) => Line::Fabric(Command::ResetRouter(router(nhi)?)),
        ("lose-interrupts", [nhi, amount]) => Line::Fabric(lose_interrupts(router(nhi)?, amount)?),
        ("throttle", [nhi, gap]) => Line::Fabric(Command::ThrottleInterrupts {
            nhi: router(nhi)?,
            gap: values::time(gap)?,
        }),
        ("tap", [cable, "off"]) => Line::Tap(selector(cable)?, None),
        ("tap", [cable, _, ..]) => {
            // The rest of the line as it is: a file name may hold spaces.
            let file = rest[cable.len()..].trim();
            Line::Tap(selector(cable)?, Some(PathBuf::from(file)))
        }
        ("stats", []) => Line::Stats,
        ("topology", []) => Line::Topology,
        ("help", _) => Line::Help,
        _ => return Err(usage(name)),
    })
}

/// What to say about a line that is no command, or not whole.
fn usage(name: &str) -> String {
    let form = HELP
        .iter()
        .find(|line| !name.is_empty() && line.split(' ').next() == Some(name));
    match form {
        Some(form) => {
            let form = form.split("   ").next().unwrap_or(form);
            format!("'{name}' needs other arguments: {form} (see 'help')")
        }
        None => format!("there is no command '{name}': 'help' lists all"),
    }
}

/// Understands `CABLE[>|<] key=value ...` or `CABLE[>|<] clear`.
///
/// # Errors
///
/// A sentence that says what is wrong and what to do.
pub fn fault(text: &str) -> Result<Command, String> {
    let mut words = text.split_whitespace();
    let cable = words.next().ok_or_else(|| usage("fault"))?;
    let (cable, direction) = if let Some(cable) = cable.strip_suffix('>') {
        (cable, Some(Direction::AToB))
    } else if let Some(cable) = cable.strip_suffix('<') {
        (cable, Some(Direction::BToA))
    } else {
        (cable, None)
    };
    let cables = selector(cable)?;
    let settings: Vec<&str> = words.collect();
    match settings[..] {
        [] => Err(usage("fault")),
        ["clear"] => Ok(Command::ClearFaults { cables, direction }),
        _ => {
            let mut change = FaultChange::default();
            for setting in settings {
                set(&mut change, setting)?;
            }
            Ok(Command::Fault {
                cables,
                direction,
                change,
            })
        }
    }
}

fn set(change: &mut FaultChange, setting: &str) -> Result<(), String> {
    let (key, value) = setting
        .split_once('=')
        .ok_or_else(|| format!("'{setting}' is no setting: give key=value, as in drop=1%"))?;
    match key {
        "drop" => change.drop = Some(values::probability(value)?),
        "corrupt" => change.corrupt = Some(values::probability(value)?),
        "flip" => change.flip = Some(values::probability(value)?),
        "burst" => {
            let (enter, exit) = value.split_once('/').ok_or_else(|| {
                format!("'{value}' is no burst: give enter/exit, as in 0.1%/20%")
            })?;
            change.burst = Some(Burst {
                enter: values::probability(enter)?,
                exit: values::probability(exit)?,
            });
        }
        "delay" => change.delay = Some(values::time(value)?),
        "stall" => {
            change.stall = Some(match value {
                "on" => true,
                "off" => false,
                other => return Err(format!("stall={other}: give on or off")),
            });
        }
        "cap" => change.cap = Some(values::rate(value)?),
        other => {
            return Err(format!(
                "there is no fault '{other}': drop, corrupt, flip, burst, delay, stall and cap are there"
            ))
        }
    }
    Ok(())
}

fn lose_interrupts(nhi: NhiId, amount: &str) -> Result<Command, String> {
    if let Ok(count) = amount.parse() {
        return Ok(Command::LoseInterrupts { nhi, count });
    }
    match values::probability(amount) {
        Ok(probability) => Ok(Command::LoseInterruptsAtRandom { nhi, probability }),
        Err(_) => Err(format!(
            "'{amount}' is neither a whole number nor a probability: give 3, or 1%"
        )),
    }
}

/// A cable by its number, or all of them.
///
/// # Errors
///
/// When it is neither.
pub fn selector(text: &str) -> Result<CableSelector, String> {
    if text == "all" {
        return Ok(CableSelector::All);
    }
    match text.parse() {
        Ok(number) => Ok(CableSelector::One(number)),
        Err(_) => Err(format!(
            "'{text}' is no cable: give its number from 0, or 'all'"
        )),
    }
}

fn router(text: &str) -> Result<NhiId, String> {
    text.parse()
        .map_err(|error: crate::topology::TopologyError| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::time::Duration;

    fn command(line: &str) -> Command {
        match parse(line) {
            Ok(Line::Fabric(command)) => command,
            other => panic!("{line}: {other:?}"),
        }
    }

    const NHI: NhiId = NhiId { host: 2, router: 1 };

    #[test]
    fn faults() {
        let expected = FaultChange {
            drop: Some(0.01),
            corrupt: Some(0.5),
            flip: Some(0.0),
            burst: Some(Burst {
                enter: 0.001,
                exit: 0.2,
            }),
            delay: Some(Duration::from_micros(10)),
            stall: Some(true),
            cap: Some(100_000_000),
        };
        let line =
            "fault 3> drop=1% corrupt=0.5 flip=0 burst=0.1%/20% delay=10us stall=on cap=100Mbit";
        assert_eq!(
            command(line),
            Command::Fault {
                cables: CableSelector::One(3),
                direction: Some(Direction::AToB),
                change: expected,
            }
        );
        let Command::Fault {
            cables,
            direction,
            change,
        } = command("fault all stall=off")
        else {
            panic!("no fault");
        };
        assert_eq!((cables, direction), (CableSelector::All, None));
        assert_eq!((change.stall, change.drop), (Some(false), None));
        assert_eq!(
            command("fault 0< clear"),
            Command::ClearFaults {
                cables: CableSelector::One(0),
                direction: Some(Direction::BToA),
            }
        );
    }

    #[test]
    fn cables_and_routers() {
        let one = CableSelector::One(1);
        assert_eq!(command(" unplug  1 "), Command::Unplug(one));
        assert_eq!(command("plug all"), Command::Plug(CableSelector::All));
        assert_eq!(
            command("lanes 1 2"),
            Command::Lanes {
                cables: one,
                lanes: 2
            }
        );
        assert_eq!(command("reset 2.1"), Command::ResetRouter(NHI));
        assert_eq!(
            command("throttle 2.1 50us"),
            Command::ThrottleInterrupts {
                nhi: NHI,
                gap: Duration::from_micros(50)
            }
        );
    }

    #[test]
    fn lost_interrupts_by_number_or_probability() {
        assert_eq!(
            command("lose-interrupts 2.1 3"),
            Command::LoseInterrupts { nhi: NHI, count: 3 }
        );
        assert_eq!(
            command("lose-interrupts 2.1 1%"),
            Command::LoseInterruptsAtRandom {
                nhi: NHI,
                probability: 0.01
            }
        );
        assert_eq!(
            command("lose-interrupts 2.1 0.5"),
            Command::LoseInterruptsAtRandom {
                nhi: NHI,
                probability: 0.5
            }
        );
    }

    #[test]
    fn what_is_not_for_the_fabric() {
        let tap = |file: Option<&str>| Line::Tap(CableSelector::One(0), file.map(PathBuf::from));
        assert_eq!(parse("tap 0 off"), Ok(tap(None)));
        assert_eq!(parse("tap 0 a file.pcapng"), Ok(tap(Some("a file.pcapng"))));
        assert_eq!(parse("stats"), Ok(Line::Stats));
        assert_eq!(parse("topology"), Ok(Line::Topology));
        assert_eq!(parse("help fault"), Ok(Line::Help));
    }

    #[test]
    fn errors_say_what_to_do() {
        for (line, hint) in [
            ("", "'help' lists all"),
            ("frobnicate 1", "'help' lists all"),
            ("unplug", "unplug CABLE"),
            ("unplug 1 2", "unplug CABLE"),
            ("unplug x", "give its number"),
            ("lanes 0 3", "give 1 or 2"),
            ("fault", "fault CABLE"),
            ("fault 0", "fault CABLE"),
            ("fault 0 drop", "key=value"),
            ("fault 0 drop=2", "probability"),
            ("fault 0 speed=1", "no fault 'speed'"),
            ("fault 0 burst=1%", "enter/exit"),
            ("fault 0 stall=yes", "on or off"),
            ("reset 1", "host.router"),
            ("lose-interrupts 1.0 x", "whole number"),
            ("throttle 1.0 5", "10us"),
            ("tap 0", "tap CABLE FILE"),
            ("stats now", "stats"),
        ] {
            let error = parse(line).unwrap_err();
            assert!(error.contains(hint), "{line}: {error}");
        }
    }

    #[test]
    fn every_command_is_in_the_help() {
        for name in [
            "fault",
            "unplug",
            "plug",
            "lanes",
            "reset",
            "lose-interrupts",
            "throttle",
            "tap",
            "stats",
            "topology",
            "help",
        ] {
            let listed = HELP.iter().any(|line| line.split(' ').next() == Some(name));
            assert!(listed, "{name}");
        }
    }

    proptest! {
        #[test]
        fn nothing_panics(line in "(fault|tap|lanes|lose-interrupts|\\PC{0,5}) ?\\PC{0,30}") {
            let _ = parse(&line);
        }
    }
}
