// SPDX-License-Identifier: GPL-2.0-only

//! What must be true in the end, computed without the engine.
//!
//! For every flow: completions in order, each at most once, with the status the plan allows; bytes
//! equal; each atomic executed exactly once; memory as after some number of whole requests, not
//! fewer than were completed. If nothing may fail, everything must have succeeded.

use usb4_rxe::rxe::cqe::{Cqe, WcOpcode, WcStatus};
use usb4_rxe::rxe::qp::{QpType, State};

use crate::scenario::{brings_message, Effect, Flow, Plan, Scenario, RECEIVE, TARGET};

/// A reason to fail the test.
pub type Verdict = Result<(), String>;

macro_rules! ensure {
    ($condition:expr, $($what:tt)*) => {
        if !$condition {
            return Err(format!($($what)*));
        }
    };
}

/// Whether everything that must happen has happened.
pub fn finished(scenario: &Scenario) -> bool {
    let world = &scenario.world;
    if world.planned != 0 || world.in_flight != 0 {
        return false;
    }
    let sent = scenario.flows.iter().all(|flow| {
        let node = &world.hosts[flow.from].nodes[flow.pair];
        node.queues.released == flow.plans.len() as u64
    });
    let flushed = world
        .hosts
        .iter()
        .flat_map(|host| &host.nodes)
        .all(|node| node.qp.state() != State::Err || node.shared || node.queues.rq.is_empty());
    sent && flushed
}

/// What has not happened yet, for people.
pub fn unfinished(scenario: &Scenario) -> String {
    let world = &scenario.world;
    let mut text = format!("planned {}, in flight {}", world.planned, world.in_flight);
    for (number, flow) in scenario.flows.iter().enumerate() {
        let node = &world.hosts[flow.from].nodes[flow.pair];
        let released = node.queues.released as usize;
        if let Some(plan) = flow.plans.get(released) {
            let state = node.qp.state();
            text += &format!(
                "; flow {number} ({state:?}): {released} of {} released, next {}, receives {}",
                flow.plans.len(),
                plan.effect.name(),
                world.hosts[1 - flow.from].nodes[flow.pair].queues.rq.len(),
            );
        }
    }
    text
}

/// Judges a finished scenario.
pub fn judge(scenario: &Scenario, start: &[Vec<u8>]) -> Verdict {
    for (number, flow) in scenario.flows.iter().enumerate() {
        judge_flow(scenario, number, flow, &start[number])
            .map_err(|what| format!("flow {number} from host {}: {what}", flow.from))?;
    }
    Ok(())
}

fn judge_flow(scenario: &Scenario, number: usize, flow: &Flow, start: &[u8]) -> Verdict {
    let world = &scenario.world;
    let sender = &world.hosts[flow.from].nodes[flow.pair];
    let receiver = &world.hosts[1 - flow.from].nodes[flow.pair];
    if scenario.overrun[flow.pair] {
        return overrun(flow, sender.queues.cq_room, &sender.queues.scq);
    }
    let may_fail = scenario.may_fail[flow.pair];
    let done = sends(flow, &sender.queues.scq, |status, plan| {
        allowed(scenario, flow, status, plan)
    })?;
    if !may_fail {
        ensure!(
            done == flow.plans.len(),
            "only {done} of {} succeeded",
            flow.plans.len()
        );
    }
    let rcq = &receiver.queues.rcq;
    let setup = &scenario.setups[flow.pair];
    if setup.qp_type != QpType::Rc {
        return unreliable(scenario, flow, rcq);
    }
    local_results(scenario, flow, done)?;
    memory(scenario, flow, done, start)?;
    receives(scenario, number, flow, done, rcq)?;
    if receiver.qp.state() == State::Err && !setup.shared {
        ensure!(
            rcq.len() == flow.receives,
            "{} of {} receives completed in state ERR",
            rcq.len(),
            flow.receives
        );
    }
    Ok(())
}

/// With a completion queue too small: what it holds is in order, and a request is there once.
fn overrun(flow: &Flow, room: usize, cqes: &[Cqe]) -> Verdict {
    ensure!(room == 0 || cqes.len() <= room, "more than it holds");
    let ordered = cqes.windows(2).all(|two| two[0].wr_id < two[1].wr_id);
    ensure!(ordered, "completions out of order: {cqes:?}");
    let good = cqes
        .iter()
        .take_while(|cqe| cqe.status == WcStatus::Success)
        .count();
    let late = cqes[good..]
        .iter()
        .find(|cqe| cqe.status == WcStatus::Success);
    ensure!(late.is_none(), "success after a failure: {late:?}");
    for cqe in &cqes[..good] {
        ensure!(
            flow.plans[cqe.wr_id as usize].signaled,
            "request {} completed though unsignaled",
            cqe.wr_id
        );
    }
    Ok(())
}

/// Walks through requests and completions; returns how many requests succeeded.
fn sends(
    flow: &Flow,
    cqes: &[Cqe],
    allowed: impl Fn(WcStatus, &Plan) -> bool,
) -> Result<usize, String> {
    let mut cqes = cqes.iter().peekable();
    let mut done = None;
    for (i, plan) in flow.plans.iter().enumerate() {
        let cqe = cqes.next_if(|cqe| cqe.wr_id == i as u64);
        match (done, cqe) {
            (None, None) => ensure!(!plan.signaled, "no completion for request {i}"),
            (None, Some(cqe)) if cqe.status == WcStatus::Success => {
                ensure!(plan.signaled, "request {i} completed though unsignaled");
                ensure!(
                    !matches!(plan.effect, Effect::Poison(_)),
                    "wrong request {i} succeeded"
                );
            }
            (None, Some(cqe)) => {
                ensure!(
                    allowed(cqe.status, plan),
                    "request {i} {} ended with {:?}",
                    plan.effect.name(),
                    cqe.status
                );
                done = Some(i);
            }
            (Some(_), cqe) => ensure!(
                cqe.is_some_and(|cqe| cqe.status == WcStatus::Flushed),
                "request {i} not flushed: {cqe:?}"
            ),
        }
    }
    ensure!(
        cqes.peek().is_none(),
        "completion out of order or twice: {:?}",
        cqes.peek()
    );
    Ok(done.unwrap_or(flow.plans.len()))
}

/// Which status the first failed request may have.
fn allowed(scenario: &Scenario, flow: &Flow, status: WcStatus, plan: &Plan) -> bool {
    if let Effect::Poison(expected) = plan.effect {
        if status == expected {
            return true;
        }
    }
    if !scenario.may_fail[flow.pair] {
        return false;
    }
    // The other direction, the user or a dead link may have ended the connection.
    let poisoned = flow
        .plans
        .iter()
        .any(|plan| matches!(plan.effect, Effect::Poison(_)));
    match status {
        WcStatus::Flushed | WcStatus::RetryExceeded => true,
        WcStatus::RemoteAborted => poisoned,
        _ => false,
    }
}

/// READ data and atomic results of the requests that succeeded.
fn local_results(scenario: &Scenario, flow: &Flow, done: usize) -> Verdict {
    let world = &scenario.world;
    let local = world.hosts[flow.from].objects.bytes(flow.local);
    let source = world.hosts[1 - flow.from].objects.bytes(flow.source);
    let mut counter = 0u64;
    for (i, plan) in flow.plans.iter().take(done).enumerate() {
        match &plan.effect {
            Effect::Read { offset, len } => ensure!(
                local[plan.local..plan.local + len] == source[*offset..offset + len],
                "READ {i} brought wrong bytes"
            ),
            Effect::FetchAdd(_) | Effect::CompareSwap { .. } => {
                let got = local[plan.local..plan.local + 8].try_into().expect("eight");
                let got = u64::from_ne_bytes(got);
                ensure!(
                    got == counter,
                    "atomic {i} returned {got:#x}, not {counter:#x}"
                );
                counter = after(&plan.effect, counter);
            }
            _ => {}
        }
    }
    // At the peer: as after some number of atomics, at least those that succeeded.
    let bytes = &world.hosts[1 - flow.from].objects.bytes(flow.counter)[8..16];
    let got = u64::from_ne_bytes(bytes.try_into().expect("eight"));
    let mut possible = vec![counter];
    for plan in flow.plans.iter().skip(done) {
        counter = after(&plan.effect, counter);
        possible.push(counter);
    }
    ensure!(
        possible.contains(&got),
        "the counter is {got:#x}, possible {possible:x?}"
    );
    Ok(())
}

fn after(effect: &Effect, counter: u64) -> u64 {
    match effect {
        Effect::FetchAdd(add) => counter.wrapping_add(*add),
        Effect::CompareSwap { compare, swap } if counter == *compare => *swap,
        _ => counter,
    }
}

/// The target as after `done` writes, or more, the last one perhaps in part.
fn memory(scenario: &Scenario, flow: &Flow, done: usize, start: &[u8]) -> Verdict {
    let got = scenario.world.hosts[1 - flow.from]
        .objects
        .bytes(flow.target);
    let mtu = scenario.setups[flow.pair].mtu.bytes() as usize;
    let mut model = start.to_vec();
    assert_eq!(model.len(), TARGET);
    for plan in &flow.plans[..done] {
        if let Effect::Write { offset, bytes, .. } = &plan.effect {
            model[*offset..offset + bytes.len()].copy_from_slice(bytes);
        }
    }
    if model == got {
        return Ok(());
    }
    for plan in &flow.plans[done..] {
        if let Effect::Write { offset, bytes, .. } = &plan.effect {
            for (i, chunk) in bytes.chunks(mtu).enumerate() {
                let at = offset + i * mtu;
                model[at..at + chunk.len()].copy_from_slice(chunk);
                if model == got {
                    return Ok(());
                }
            }
        }
    }
    Err(format!(
        "the target is not as after {done} or more requests"
    ))
}

/// Receive completions: the messages, in order, then flushes.
fn receives(scenario: &Scenario, number: usize, flow: &Flow, done: usize, cqes: &[Cqe]) -> Verdict {
    let shared = scenario.setups[flow.pair].shared;
    let messages: Vec<(usize, &Plan)> = flow
        .plans
        .iter()
        .enumerate()
        .filter(|(_, plan)| brings_message(plan))
        .collect();
    let must = messages.iter().filter(|(i, _)| *i < done).count();
    let good = cqes
        .iter()
        .take_while(|cqe| cqe.status == WcStatus::Success)
        .count();
    ensure!(
        good >= must,
        "{must} messages were acknowledged, {good} arrived"
    );
    ensure!(
        good <= messages.len(),
        "{good} messages arrived, {} were sent",
        messages.len()
    );
    for (i, cqe) in cqes.iter().enumerate() {
        if !shared {
            ensure!(
                cqe.wr_id == (number as u64) << 32 | i as u64,
                "receive {i} completed as {:#x}",
                cqe.wr_id
            );
        }
        if i >= good {
            // A message may have been under way in the first of them.
            ensure!(
                cqe.status == WcStatus::Flushed || (i == good && cqe.status != WcStatus::Success),
                "receive {i} ended with {:?}",
                cqe.status
            );
            continue;
        }
        let (request, plan) = messages[i];
        let (bytes, imm, invalidated, opcode, len): (&[u8], _, _, _, _) = match &plan.effect {
            Effect::Message {
                bytes,
                imm,
                invalidate,
            } => (bytes, *imm, *invalidate, WcOpcode::Receive, bytes.len()),
            Effect::Write { bytes, imm, .. } => {
                (&[], *imm, None, WcOpcode::ReceiveWriteImm, bytes.len())
            }
            _ => unreachable!("filtered"),
        };
        ensure!(
            cqe.invalidated == invalidated,
            "message {i} of request {request} invalidated {:x?}",
            cqe.invalidated
        );
        if let Some(key) = invalidated {
            let objects = &scenario.world.hosts[1 - flow.from].objects;
            ensure!(
                objects.is_free(key),
                "request {request} invalidated nothing"
            );
        }
        ensure!(
            cqe.opcode == opcode && cqe.imm == imm && cqe.byte_len as usize == len,
            "message {i} of request {request} is {cqe:?}"
        );
        ensure!(
            received(scenario, flow, cqe)[..bytes.len()] == *bytes,
            "message {i} of request {request} has wrong bytes"
        );
    }
    Ok(())
}

/// The buffer of a receive request; one from a shared queue may have been posted for another flow.
fn received<'a>(scenario: &'a Scenario, flow: &Flow, cqe: &Cqe) -> &'a [u8] {
    let poster = &scenario.flows[(cqe.wr_id >> 32) as usize];
    assert_eq!(poster.from, flow.from, "posted on the receiving host");
    let at = (cqe.wr_id & 0xffff_ffff) as usize * RECEIVE;
    let area = scenario.world.hosts[1 - flow.from]
        .objects
        .bytes(poster.receive);
    &area[at..at + RECEIVE]
}

/// Unreliable services: what arrives is whole and was sent.
fn unreliable(scenario: &Scenario, flow: &Flow, cqes: &[Cqe]) -> Verdict {
    let setup = &scenario.setups[flow.pair];
    let head = if setup.qp_type == QpType::Uc { 0 } else { 40 };
    for cqe in cqes.iter().filter(|cqe| cqe.status == WcStatus::Success) {
        let got = &received(scenario, flow, cqe)[head..cqe.byte_len as usize];
        let known = flow.plans.iter().any(|plan| match &plan.effect {
            Effect::Message { bytes, imm, .. } => bytes == got && *imm == cqe.imm,
            _ => false,
        });
        ensure!(known, "a message arrived that nobody sent: {cqe:?}");
    }
    let harmless = scenario.faults.budget == 0 && !scenario.may_fail[flow.pair];
    let late_receives = !harmless;
    if !late_receives {
        // Nothing harms this link: only a missing receive request loses a message.
        let arrived = cqes
            .iter()
            .filter(|c| c.status == WcStatus::Success)
            .count();
        ensure!(arrived <= flow.plans.len(), "{arrived} messages arrived");
    }
    Ok(())
}
