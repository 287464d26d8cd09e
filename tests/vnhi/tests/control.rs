// SPDX-License-Identifier: GPL-2.0-only

//! The control socket and the command line of a served fabric.

mod common;

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use common::Fabric;

/// Runs the program, which must end by itself.
fn vnhi(arguments: &[&str]) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_vnhi"))
        .args(arguments)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let begin = Instant::now();
    while child.try_wait().unwrap().is_none() {
        if begin.elapsed() > common::PATIENCE {
            let _ = child.kill();
            panic!("it does not end: {arguments:?}");
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    child.wait_with_output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[test]
fn commands_are_answered_with_ok_or_error() {
    let fabric = Fabric::start(&["--hosts", "3", "--chain"]);
    for command in [
        "fault 0> drop=1% corrupt=0.5 delay=10us cap=100Mbit",
        "fault all clear",
        "unplug 1",
        "plug 1",
        "lanes 0 1",
        "reset 2.1",
        "lose-interrupts 1.0 3",
        "lose-interrupts 1.0 1%",
        "throttle 1.0 50us",
        "tap all off",
    ] {
        assert_eq!(fabric.command(command), "ok", "{command}");
    }
    for (command, hint) in [
        ("unplug 2", "give 0 to 1"),
        ("reset 4.0", "no router 4.0"),
        ("tap 7 x", "no cable 7"),
        ("tap all x", "one cable"),
        ("tap 0 /nowhere/x", "/nowhere/x"),
        ("fly", "'help' lists all"),
    ] {
        let answer = fabric.command(command);
        assert!(answer.starts_with("error: "), "{command}: {answer}");
        assert!(answer.contains(hint), "{command}: {answer}");
    }
}

#[test]
fn stats_and_topology_are_json_in_a_line() {
    let fabric = Fabric::start(&["--hosts", "2", "--cables", "2"]);
    let stats = fabric.stats();
    assert_eq!(stats["nhis"].as_array().unwrap().len(), 4);
    assert_eq!(stats["cables"].as_array().unwrap().len(), 2);
    assert_eq!(stats["cables"][0]["tap"], "off");
    assert_eq!(stats["machines"]["2.1"]["attached"], false);
    let answer = fabric.command("topology");
    let topology: serde_json::Value =
        serde_json::from_str(answer.strip_prefix("ok ").unwrap()).unwrap();
    assert_eq!(topology["cables"][1]["b"], "2.1");
    assert_eq!(topology["hosts"][0]["hops"], 12);
}

#[test]
fn many_people_talk_at_once() {
    let fabric = Fabric::start(&["--hosts", "2"]);
    let socket = fabric.folder.path().join("control.sock");
    let mut people: Vec<_> = (0..20)
        .map(|_| BufReader::new(UnixStream::connect(&socket).unwrap()))
        .collect();
    for round in 0..5 {
        for person in &mut people {
            person.get_mut().write_all(b"help\nnonsense\n").unwrap();
        }
        for person in &mut people {
            let mut line = String::new();
            person.read_line(&mut line).unwrap();
            assert!(line.starts_with("ok fault CABLE"), "{round}: {line}");
            line.clear();
            person.read_line(&mut line).unwrap();
            assert!(line.starts_with("error: "), "{round}: {line}");
        }
    }
}

#[test]
fn people_that_flood_or_crowd_are_turned_away() {
    let fabric = Fabric::start(&["--hosts", "2"]);
    let socket = fabric.folder.path().join("control.sock");
    let mut flood = UnixStream::connect(&socket).unwrap();
    let _ = flood.write_all(&vec![b'x'; 1 << 20]);
    assert!(
        flood
            .read_to_end(&mut Vec::new())
            .is_ok_and(|count| count == 0)
            || flood.take_error().is_ok()
    );
    let mut crowd: Vec<_> = (0..80)
        .map(|_| UnixStream::connect(&socket).unwrap())
        .collect();
    let mut last = crowd.pop().unwrap();
    last.set_read_timeout(Some(common::PATIENCE)).unwrap();
    assert_eq!(last.read(&mut [0; 1]).unwrap_or(0), 0);
    drop(crowd);
    common::wait_for("there is room again", || {
        let mut person = UnixStream::connect(&socket).unwrap();
        let mut line = String::new();
        person.write_all(b"topology\n").is_ok()
            && BufReader::new(person).read_line(&mut line).is_ok()
            && line.starts_with("ok ")
    });
}

#[test]
fn ctl_prints_the_answer_and_exits_by_it() {
    let fabric = Fabric::start(&["--hosts", "2"]);
    let dir = fabric.folder.path().to_str().unwrap();
    let done = vnhi(&["ctl", "--dir", dir, "unplug", "0"]);
    assert!(done.status.success());
    assert_eq!(text(&done.stdout), "ok\n");
    let help = vnhi(&["ctl", "--dir", dir, "help"]);
    assert!(text(&help.stdout).lines().count() > 10);
    let refused = vnhi(&["ctl", "--dir", dir, "unplug", "7"]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(text(&refused.stderr).starts_with("error: there is no cable 7"));
    let nobody = vnhi(&["ctl", "--dir", "/nowhere", "stats"]);
    assert_eq!(nobody.status.code(), Some(1));
    assert!(text(&nobody.stderr).contains("start 'vnhi serve'"));
}

#[test]
fn serve_refuses_with_a_sentence() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().to_str().unwrap();
    let file = folder.path().join("topology.toml");
    std::fs::write(&file, "hosts = [{ routers = 99 }]").unwrap();
    let file = file.to_str().unwrap();
    for (arguments, hint) in [
        (&["--hosts", "2", "--dir", "/nowhere"][..], "make it first"),
        (&["--hosts", "0", "--dir", dir], "0 hosts"),
        (&["--hosts", "2", "--hops", "5", "--dir", dir], "12 or 3"),
        (
            &["--topology", "/nowhere.toml", "--dir", dir],
            "/nowhere.toml",
        ),
        (&["--topology", file, "--dir", dir], "99 routers"),
        (
            &["--hosts", "2", "--fault", "9 drop=1%", "--dir", dir],
            "no cable 9",
        ),
        (
            &["--hosts", "2", "--fault", "0 drop", "--dir", dir],
            "key=value",
        ),
        (&["--hosts", "2", "--tap", "0", "--dir", dir], "CABLE=FILE"),
        (&["--dir", dir], "--hosts"),
    ] {
        let refused = vnhi(&[&["serve"], arguments].concat());
        assert!(!refused.status.success(), "{arguments:?}");
        let said = text(&refused.stderr);
        assert!(said.contains(hint), "{arguments:?}: {said}");
    }
}

#[test]
fn two_fabrics_do_not_share_a_folder() {
    let fabric = Fabric::start(&["--hosts", "2"]);
    let dir = fabric.folder.path().to_str().unwrap();
    let second = vnhi(&["serve", "--hosts", "2", "--dir", dir]);
    assert!(!second.status.success());
    assert!(text(&second.stderr).contains("in use by another process"));
    assert!(fabric.is_well());
}

#[test]
fn it_ends_with_its_parent_if_asked() {
    let folder = tempfile::tempdir().unwrap();
    let mut parent = std::process::Command::new("sh")
        .arg("-c")
        .arg("\"$0\" serve --hosts 2 --exit-with-parent --dir \"$1\" & wait")
        .arg(env!("CARGO_BIN_EXE_vnhi"))
        .arg(folder.path())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut ready = String::new();
    let stdout = parent.stdout.take().unwrap();
    BufReader::new(stdout).read_line(&mut ready).unwrap();
    assert!(ready.starts_with("vnhi: ready"), "{ready}");
    assert!(folder.path().join("control.sock").exists());
    // SIGKILL: the parent has no chance to tell anybody.
    parent.kill().unwrap();
    parent.wait().unwrap();
    common::wait_for("the sockets are removed", || {
        std::fs::read_dir(folder.path()).unwrap().count() == 0
    });
}
