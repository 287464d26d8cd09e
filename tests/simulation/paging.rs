// SPDX-License-Identifier: GPL-2.0-only

//! Memory that is not there (on-demand paging), for a hundred times as long as an answer may take,
//! with a retry count of 0: it costs no retry, on whichever side it is missing.

use usb4_rxe::rxe::cqe::WcStatus;
use usb4_rxe::rxe::events::Event;
use usb4_rxe::rxe::wire::{Feth, Selectivity};
use usb4_rxe::rxe::wqe::{SendOp, SendTail};

use crate::directed::{Lab, GOOD};
use crate::link::Faults;
use crate::pair::Setup;
use crate::world::Happening;

/// How long memory is missing.
const LONG: u64 = 100_000_000;
/// When everything must be over: memory is back, a last look at it, and the last RNR delay.
const END: u64 = LONG + 11_000_000;

fn strict() -> Setup {
    Setup {
        // 1.05 ms.
        timeout: 8,
        retry: 0,
        ..Setup::default()
    }
}

fn lab(setup: Setup) -> Lab {
    let mut lab = Lab::sized(64 << 10, setup, GOOD, 1_000, 40);
    for host in &mut lab.world.hosts {
        host.nodes[0].queues.trace = Some(Vec::new());
    }
    lab
}

/// Memory of a host is missing from `from` on.
fn missing(lab: &mut Lab, host: usize, from: u64) {
    lab.world.at(from, Happening::Absent(host, true));
    lab.world.at(LONG, Happening::Absent(host, false));
}

fn count(lab: &Lab, host: usize, what: fn(&Event) -> bool) -> usize {
    let trace = lab.world.hosts[host].nodes[0].queues.trace.as_ref();
    trace.expect("wanted").iter().filter(|e| what(e)).count()
}

/// Every kind of work that touches memory of the peer.
fn remote_work(lab: &Lab) -> Vec<(SendOp, usize)> {
    let remote = lab.remote(0, 0);
    let fetch_add = SendOp::FetchAdd { remote, add: 1 };
    vec![
        (SendOp::Send(SendTail::Plain), 3000),
        (SendOp::Write { remote, imm: None }, 3000),
        (SendOp::Read(remote), 3000),
        (fetch_add, 8),
        (
            SendOp::AtomicWrite {
                remote,
                data: [7; 8],
            },
            8,
        ),
    ]
}

#[test]
fn the_peers_memory() {
    for kind in 0..5 {
        let mut lab = lab(strict());
        missing(&mut lab, 1, 0);
        let (op, len) = remote_work(&lab)[kind];
        lab.receive(0, 1, 0, 4000);
        lab.send(10, 0, 0, op, len);
        // What comes behind waits as well, and is not harmed.
        lab.receive(0, 1, 0, 4000);
        lab.send(20, 0, 0, SendOp::Send(SendTail::Plain), 100);
        lab.until(LONG - 1);
        assert_eq!(lab.sends(0, 0), [], "{op:?}");
        lab.until(END);
        assert_eq!(lab.sends(0, 0), [WcStatus::Success; 2], "{op:?}");
        let naks = count(&lab, 1, |e| matches!(e, Event::RnrNakSent(_)));
        // At most one every half millisecond for each request, not one per look.
        assert!((50..=400).contains(&naks), "{op:?}: {naks} RNR NAKs");
        assert!(lab.world.frames < 10_000, "{} frames", lab.world.frames);
    }
}

#[test]
fn where_answers_go() {
    for fetch_add in [false, true] {
        let mut lab = lab(strict());
        missing(&mut lab, 0, 500);
        let remote = lab.remote(0, 0);
        let (op, len) = match fetch_add {
            false => (SendOp::Read(remote), 3000),
            true => (SendOp::FetchAdd { remote, add: 1 }, 8),
        };
        lab.send(10, 0, 0, op, len);
        lab.until(LONG - 1);
        assert_eq!(lab.sends(0, 0), [], "{op:?}");
        lab.until(END);
        assert_eq!(lab.sends(0, 0), [WcStatus::Success], "{op:?}");
        assert_eq!(count(&lab, 0, |e| matches!(e, Event::Retry(_))), 0);
        assert_eq!(lab.world.hosts[0].nodes[0].qp.deadline(), None);
    }
}

#[test]
fn answers_that_are_not_kept_are_asked_for_again() {
    for fetch_add in [false, true] {
        let mut lab = lab(Setup {
            retry: 7,
            ..strict()
        });
        lab.world.hasty = true;
        lab.world.at(500, Happening::Absent(0, true));
        lab.world.at(3_000_000, Happening::Absent(0, false));
        let remote = lab.remote(0, 0);
        let (op, len) = match fetch_add {
            false => (SendOp::Read(remote), 3000),
            true => (SendOp::FetchAdd { remote, add: 1 }, 8),
        };
        lab.send(10, 0, 0, op, len);
        lab.until(3_000_000);
        assert_eq!(lab.sends(0, 0), [], "{op:?}");
        lab.until(10_000_000);
        assert_eq!(lab.sends(0, 0), [WcStatus::Success], "{op:?}");
        assert!(count(&lab, 0, |e| matches!(e, Event::Retry(_))) != 0);
    }
}

#[test]
fn what_is_to_be_sent() {
    // The front of the message is sent and asks for no answer, then its memory goes.
    for gone in [0, 1_000] {
        let mut lab = lab(strict());
        missing(&mut lab, 0, gone);
        lab.receive(0, 1, 0, 30_000);
        lab.send(10, 0, 0, SendOp::Send(SendTail::Plain), 30_000);
        lab.until(LONG - 1);
        let sent = lab.world.frames;
        assert_eq!((sent == 0, lab.sends(0, 0)), (gone == 0, vec![]));
        lab.until(END);
        assert_eq!(lab.sends(0, 0), [WcStatus::Success]);
        assert_eq!(lab.receives(1, 0), [WcStatus::Success]);
        assert_eq!(count(&lab, 0, |e| matches!(e, Event::Retry(_))), 0);
    }
}

#[test]
fn answers_and_requests_do_not_wait_for_each_other() {
    let mut lab = lab(strict());
    let (keys, remote) = (lab.keys, lab.remote(0, 0));
    // Host 1 owes READ data from memory that is missing, and sends bytes that lie in the request.
    missing(&mut lab, 1, 0);
    lab.send(10, 0, 0, SendOp::Read(remote), 3000);
    lab.receive(0, 0, 0, 100);
    lab.send(5_000, 1, 0, SendOp::Send(SendTail::Plain), 0);
    lab.until(LONG / 2);
    assert_eq!(lab.sends(1, 0), [WcStatus::Success], "{keys:x?}");
    assert_eq!(lab.sends(0, 0), []);
    lab.until(END);
    assert_eq!(lab.sends(0, 0), [WcStatus::Success]);
}

#[test]
fn the_peers_patience_is_its_own() {
    // Two RNR retries: it gives up after the third RNR NAK, with the status that says why.
    for kind in 0..5 {
        let mut lab = lab(Setup {
            rnr_retry: 2,
            ..strict()
        });
        missing(&mut lab, 1, 0);
        let (op, len) = remote_work(&lab)[kind];
        lab.receive(0, 1, 0, 4000);
        lab.send(10, 0, 0, op, len);
        lab.until(1_400_000);
        assert_eq!(lab.sends(0, 0), [], "{op:?}");
        lab.until(2_000_000);
        assert_eq!(lab.sends(0, 0), [WcStatus::RnrRetryExceeded], "{op:?}");
    }
}

#[test]
fn a_long_flush_goes_on_where_it_was() {
    for selectivity in [Selectivity::Range, Selectivity::Region] {
        for lossy in [false, true] {
            let faults = Faults {
                loss: if lossy { 300 } else { 0 },
                budget: 20,
                ..Faults::default()
            };
            let setup = Setup {
                retry: if lossy { 7 } else { 0 },
                ..strict()
            };
            let mut lab = Lab::sized(64 << 10, setup, [faults; 2], 1_000, 40);
            // 16 pieces, which take more than twice as long as a request waits for memory.
            lab.world.hosts[1].objects.flush_at_once = Some(4096);
            let op = SendOp::Flush {
                remote: lab.remote(0, 0),
                len: 64 << 10,
                what: Feth {
                    global: true,
                    persistent: false,
                    selectivity,
                },
            };
            lab.send(10, 0, 0, op, 0);
            // Another one begins at its own beginning.
            lab.send(20, 0, 0, op, 0);
            lab.receive(0, 1, 0, 4000);
            lab.send(30, 0, 0, SendOp::Send(SendTail::Plain), 100);
            lab.until(1_200_000);
            assert_eq!(lab.sends(0, 0), [], "{op:?}");
            lab.until(END);
            assert_eq!(lab.sends(0, 0), [WcStatus::Success; 3], "{op:?}");
            assert_eq!(lab.world.hosts[1].objects.flushes.len(), 2);
        }
    }
}

#[test]
fn a_dead_link_is_noticed_once_memory_is_there() {
    let dead = Faults {
        loss: 1000,
        burst: 1000,
        budget: u32::MAX,
        ..Faults::default()
    };
    let mut lab = Lab::sized(64 << 10, strict(), [dead, GOOD[1]], 1_000, 40);
    missing(&mut lab, 0, 1_000);
    lab.send(10, 0, 0, SendOp::Send(SendTail::Plain), 30_000);
    lab.until(LONG);
    assert_eq!(lab.sends(0, 0), []);
    lab.until(END + 3_000_000);
    assert_eq!(lab.sends(0, 0), [WcStatus::RetryExceeded]);
}

#[test]
fn a_queue_pair_that_fails_meanwhile_leaves_nothing_behind() {
    for host in 0..2 {
        for kind in 0..5 {
            let mut lab = lab(strict());
            missing(&mut lab, 0, 0);
            missing(&mut lab, 1, 0);
            let (op, len) = remote_work(&lab)[kind];
            lab.receive(0, 1, 0, 4000);
            lab.send(10, 0, 0, op, len);
            lab.world.at(700_000, Happening::Fail(host, 0));
            lab.until(END + 10_000_000);
            if host == 0 {
                assert_eq!(lab.sends(0, 0), [WcStatus::Flushed], "{op:?}");
            } else {
                assert_eq!(lab.sends(0, 0), [WcStatus::RetryExceeded], "{op:?}");
            }
        }
    }
}
