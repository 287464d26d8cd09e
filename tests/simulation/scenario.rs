// SPDX-License-Identifier: GPL-2.0-only

//! A random scenario: queue pairs, work for both directions, faults, all from one seed.

use usb4_rxe::rxe::access::mw::Type;
use usb4_rxe::rxe::access::{Identity, Pd, Rights};
use usb4_rxe::rxe::cqe::WcStatus;
use usb4_rxe::rxe::mtu::Mtu;
use usb4_rxe::rxe::psn::Psn;
use usb4_rxe::rxe::qp::QpType;
use usb4_rxe::rxe::qpn::Qpn;
use usb4_rxe::rxe::wire::{Feth, Imm, Selectivity};
use usb4_rxe::rxe::wqe::{
    BadWr, BindMw, Data, Datagram, RegMr, Remote, SendOp, SendTail, SendWr, Sge,
};

use crate::host::{PostedReceive, PostedSend, VecStorage};
use crate::link::{Direction, Faults};
use crate::pair::{all_rights, path, ready, End, Setup, PD};
use crate::rng::Rng;
use crate::world::{Happening, World};

/// Bytes a peer may write.
pub const TARGET: usize = 16 << 10;
/// Bytes a peer may read.
pub const SOURCE: usize = 16 << 10;
/// Bytes of one receive request.
pub const RECEIVE: usize = 5 << 10;
/// Where regions begin.
pub const BASE: u64 = 0x7f00_0000_0000;

/// What a send request does, in terms of the model.
#[derive(Clone, Debug)]
pub enum Effect {
    /// Nothing the peer sees.
    Local,
    /// A message.
    Message {
        /// Its bytes.
        bytes: Vec<u8>,
        /// Immediate data.
        imm: Option<Imm>,
        /// A key of the peer to invalidate.
        invalidate: Option<u32>,
    },
    /// Bytes in the target, and a message without bytes if there is immediate data.
    Write {
        /// Where.
        offset: usize,
        /// What.
        bytes: Vec<u8>,
        /// Immediate data.
        imm: Option<Imm>,
    },
    /// Bytes of the source, to the local buffer.
    Read {
        /// Where.
        offset: usize,
        /// How many.
        len: usize,
    },
    /// Addition to the counter.
    FetchAdd(u64),
    /// Compare and swap of the counter.
    CompareSwap {
        /// Expected value.
        compare: u64,
        /// New value.
        swap: u64,
    },
    /// The request is wrong in a way that ends the queue pair with this status.
    Poison(WcStatus),
}

impl Effect {
    /// In a few words.
    pub fn name(&self) -> String {
        match self {
            Self::Message {
                bytes,
                imm,
                invalidate,
            } => format!("SEND {} {imm:?} {invalidate:x?}", bytes.len()),
            Self::Write { bytes, imm, .. } => format!("WRITE {} {imm:?}", bytes.len()),
            other => format!("{other:?}"),
        }
    }
}

/// A planned send request.
#[derive(Clone, Debug)]
pub struct Plan {
    /// What it does.
    pub effect: Effect,
    /// It asks for a completion.
    pub signaled: bool,
    /// Where its local bytes are in the local region.
    pub local: usize,
}

/// One direction of one pair: requester and responder.
#[derive(Clone, Debug)]
pub struct Flow {
    /// Host of the requester.
    pub from: usize,
    /// Number of the pair.
    pub pair: usize,
    /// Its requests, in order.
    pub plans: Vec<Plan>,
    /// Keys on the requester's host.
    pub local: u32,
    /// Keys on the responder's host.
    pub target: u32,
    /// Keys on the responder's host.
    pub source: u32,
    /// Keys on the responder's host.
    pub counter: u32,
    /// Where the responder's receives go.
    pub receive: u32,
    /// Receives posted.
    pub receives: usize,
}

/// A scenario, ready to run.
pub struct Scenario {
    /// The world.
    pub world: World,
    /// Settings by pair.
    pub setups: Vec<Setup>,
    /// All flows.
    pub flows: Vec<Flow>,
    /// What the link does.
    pub faults: Faults,
    /// By pair: something in it may fail.
    pub may_fail: Vec<bool>,
    /// By pair: a completion queue is too small.
    pub overrun: Vec<bool>,
    /// By pair: the user fails one end.
    pub failed_by_user: Vec<bool>,
    /// A line for people.
    pub summary: String,
}

/// How much to do: requests per flow at most.
#[derive(Clone, Copy, Debug)]
pub struct Size(pub u64);

/// Bytes that tell from which flow and request they are.
fn pattern(flow: usize, request: usize, len: usize) -> Vec<u8> {
    let mut rng = Rng::new((flow as u64) << 32 | request as u64);
    let mut bytes: Vec<u8> = (0..len.div_ceil(8))
        .flat_map(|_| rng.next().to_le_bytes())
        .collect();
    bytes.truncate(len);
    bytes
}

/// Splits a buffer into pieces of one region.
fn pieces(rng: &mut Rng, lkey: u32, start: usize, len: usize) -> Vec<Sge> {
    let cuts = rng.below(3) as usize;
    let mut sges = Vec::new();
    let mut at = 0;
    for _ in 0..cuts {
        let piece = rng.below((len - at) as u64 + 1) as usize;
        sges.push((at, piece));
        at += piece;
    }
    sges.push((at, len - at));
    sges.iter()
        .map(|&(at, len)| Sge {
            addr: BASE + (start + at) as u64,
            len: len as u32,
            lkey,
        })
        .collect()
}

/// Builds the scenario of a seed.
pub fn build(seed: u64, size: Size) -> Scenario {
    let mut rng = Rng::new(seed);
    let rng = &mut rng;
    let faults = faults(rng);
    let delay = rng.pick(&[500, 2_000, 8_000]);
    let gbps = rng.pick(&[10, 40]);
    let link = || Direction::new(faults, delay, gbps);
    let mut world = World::new([link(), link()], seed);
    world.busy = rng.chance(200);
    if rng.chance(150) {
        // On-demand paging: now and then memory is not there at first.
        for host in &mut world.hosts {
            host.objects.absent = 1 + rng.below(300);
            host.objects.absent_seed = rng.next();
            host.objects.flush_at_once = Some((64 * host.objects.absent).max(TARGET as u64 / 8));
        }
    }
    let pairs = 1 + rng.below(3) as usize;
    let mut scenario = Scenario {
        world,
        setups: Vec::new(),
        flows: Vec::new(),
        faults,
        may_fail: Vec::new(),
        overrun: Vec::new(),
        failed_by_user: Vec::new(),
        summary: String::new(),
    };
    for pair in 0..pairs {
        add_pair(&mut scenario, pair, size, rng);
    }
    let types: Vec<_> = scenario.setups.iter().map(|s| (s.qp_type, s.mtu)).collect();
    let requests: Vec<_> = scenario.flows.iter().map(|f| f.plans.len()).collect();
    scenario.summary = format!("{types:?}, requests {requests:?}, {faults:?}, delay {delay}");
    scenario
}

/// Most scenarios are harmed so little that everything must succeed.
fn faults(rng: &mut Rng) -> Faults {
    let kind = rng.below(10);
    if kind < 2 {
        return Faults::default();
    }
    let many = kind >= 8;
    let mut faults = Faults {
        late: 1 + rng.below(30_000),
        rail: rng.chance(500),
        // Both directions together stay below one retry budget.
        budget: if many {
            u32::MAX
        } else {
            1 + rng.below(3) as u32
        },
        ..Faults::default()
    };
    let rates = [0, 0, 20, 100, 300];
    faults.loss = rng.pick(&rates);
    faults.burst = rng.pick(&rates).max(faults.loss);
    faults.corrupt = rng.pick(&rates) / 4;
    if !faults.rail {
        // A rail keeps packets in order, and brings each once.
        faults.duplicate = rng.pick(&rates);
        faults.reorder = rng.pick(&rates);
    }
    faults
}

fn add_pair(scenario: &mut Scenario, pair: usize, size: Size, rng: &mut Rng) {
    let qp_type = match rng.below(10) {
        0 => QpType::Uc,
        1 if rng.chance(300) => QpType::Gsi,
        1 => QpType::Ud,
        _ => QpType::Rc,
    };
    let setup = Setup {
        qp_type,
        mtu: rng.pick(&[Mtu::M256, Mtu::M256, Mtu::M512, Mtu::M1024]),
        window: rng.pick(&[1, 3, 16, 1024]),
        rd_atomic: rng.pick(&[1, 2, 16]),
        timeout: rng.pick(&[5, 6, 7]),
        retry: 7,
        rnr_retry: 7,
        rnr_timer: rng.pick(&[1, 2, 4]),
        v6: rng.chance(300),
        shared: rng.chance(100),
    };
    let end = |host: u8, rng: &mut Rng| End {
        host,
        qpn: Qpn::new(0x10 + (pair as u32) * 2 + u32::from(host)),
        psn: Psn::new(rng.pick(&[0, 0xff_fffe, 0x7f_ffff, 0x12_3456])),
    };
    let ends = [end(0, rng), end(1, rng)];
    for (me, peer) in [(0, 1), (1, 0)] {
        let slots = rng.pick(&[1, 2, 16]);
        let resources = usize::from(setup.rd_atomic) + rng.below(3) as usize;
        let storage = VecStorage::new(slots, 32, resources);
        let qp = ready(&setup, ends[me], ends[peer], storage);
        scenario.world.hosts[me].add(qp);
    }
    let poisoned = qp_type == QpType::Rc && rng.chance(150);
    let failed_by_user = rng.chance(60);
    let overrun = rng.chance(30);
    if overrun {
        let host = rng.below(2) as usize;
        let node = scenario.world.hosts[host].nodes.last_mut();
        node.expect("just added").queues.cq_room = 1 + rng.below(4) as usize;
    }
    scenario.overrun.push(overrun);
    scenario.setups.push(setup);
    let harsh = scenario.faults.budget == u32::MAX;
    scenario
        .may_fail
        .push(poisoned || failed_by_user || overrun || harsh);
    scenario.failed_by_user.push(failed_by_user);
    for from in 0..2 {
        let poison = poisoned && rng.chance(600);
        add_flow(scenario, pair, from, &ends, poison, size, rng);
    }
    if failed_by_user {
        let at = rng.below(80_000);
        let host = rng.below(2) as usize;
        scenario.world.at(at, Happening::Fail(host, pair));
    }
}

#[allow(clippy::too_many_arguments)]
fn add_flow(
    scenario: &mut Scenario,
    pair: usize,
    from: usize,
    ends: &[End; 2],
    poison: bool,
    size: Size,
    rng: &mut Rng,
) {
    let setup = scenario.setups[pair];
    let number = scenario.flows.len();
    let count = rng.below(size.0 + 1) as usize;
    let to = 1 - from;
    let longest = (4 * setup.mtu.bytes() as usize).min(RECEIVE - 64);
    let hosts = &mut scenario.world.hosts;
    let fill = |len, salt: usize| pattern(number, 1000 + salt, len);
    let local_len = count * longest + 8;
    let local = hosts[from]
        .objects
        .add(PD, Rights::LOCAL_WRITE, BASE, vec![0; local_len]);
    let fast = hosts[from].objects.add_fast(PD, 64);
    let target = hosts[to]
        .objects
        .add(PD, all_rights(), BASE, fill(TARGET, 1));
    let source = hosts[to]
        .objects
        .add(PD, Rights::REMOTE_READ, BASE, fill(SOURCE, 2));
    let counter = hosts[to].objects.add(PD, all_rights(), BASE, vec![0; 64]);
    let foreign = hosts[to]
        .objects
        .add(Pd(9), all_rights(), BASE, vec![0; 64]);
    let who = Identity {
        pd: PD,
        qpn: ends[to].qpn,
    };
    let writes = Rights::REMOTE_WRITE | Rights::FLUSH_GLOBAL;
    let window = hosts[to].objects.add_bound(who, target, writes);
    let based = writes | Rights::ZERO_BASED;
    let zero_based = hosts[to].objects.add_bound(who, target, based);
    let invalidated = (0..count)
        .map(|_| hosts[to].objects.add_registered(PD, Rights::REMOTE, 64))
        .collect();
    let own = hosts[from].objects.add(PD, all_rights(), BASE, vec![0; 64]);
    let own_window = hosts[from].objects.add_window(PD, Type::One);
    let keys = Keys {
        local,
        fast,
        target,
        window,
        zero_based,
        invalidated,
        own,
        own_window,
        source,
        counter,
        foreign,
    };
    let poison_at = poison.then(|| rng.below(count as u64) as usize);
    let mut plans = Vec::new();
    let mut at = rng.below(5_000);
    let mut registered = None;
    let mut fast_key = fast;
    let mut window_key = own_window;
    for i in 0..count {
        let start = i * longest;
        let poison = poison_at == Some(i);
        let (plan, posted) = request(
            rng,
            &setup,
            ends,
            from,
            number,
            i,
            start,
            longest,
            &keys,
            poison,
            &mut registered,
            &mut fast_key,
            &mut window_key,
        );
        if let Effect::Message { bytes, .. } | Effect::Write { bytes, .. } = &plan.effect {
            let place = &mut scenario.world.hosts[from].objects.bytes_mut(local)[start..];
            place[..bytes.len()].copy_from_slice(bytes);
        }
        plans.push(plan);
        scenario.world.at(at, Happening::Send(from, pair, posted));
        if rng.chance(300) {
            at += rng.below(8_000);
        }
    }
    // Receives: enough for everything, some of them late.
    let messages = plans.iter().filter(|p| brings_message(p)).count();
    let spare = rng.below(3) as usize;
    let harm = if setup.qp_type == QpType::Rc { 0 } else { 8 };
    let receives = messages + spare + harm;
    let receive = scenario.world.hosts[to].objects.add(
        PD,
        Rights::LOCAL_WRITE,
        BASE,
        vec![0; receives * RECEIVE],
    );
    let late = rng.chance(300);
    let mut at = 0;
    for i in 0..receives {
        if late {
            at += rng.below(40_000);
        }
        let posted = PostedReceive {
            wr_id: receive_id(number, i),
            sges: pieces(rng, receive, i * RECEIVE, RECEIVE),
        };
        scenario.world.at(at, Happening::Receive(to, pair, posted));
    }
    scenario.flows.push(Flow {
        from,
        pair,
        plans,
        local,
        target,
        source,
        counter,
        receive,
        receives,
    });
}

/// The name of a receive request; tells its place in the receive region.
pub fn receive_id(flow: usize, i: usize) -> u64 {
    (flow as u64) << 32 | i as u64
}

/// Whether a request ends in a receive completion.
pub fn brings_message(plan: &Plan) -> bool {
    match &plan.effect {
        Effect::Message { .. } => true,
        Effect::Write { imm, .. } => imm.is_some(),
        Effect::Poison(_)
        | Effect::Local
        | Effect::Read { .. }
        | Effect::FetchAdd(_)
        | Effect::CompareSwap { .. } => false,
    }
}

struct Keys {
    local: u32,
    fast: u32,
    target: u32,
    /// A window on the target.
    window: u32,
    /// Another one, whose addresses count from zero.
    zero_based: u32,
    /// For each request, a region of the peer to invalidate.
    invalidated: Vec<u32>,
    /// A region of the requester, and a window to bind to it.
    own: u32,
    own_window: u32,
    source: u32,
    counter: u32,
    foreign: u32,
}

#[allow(clippy::too_many_arguments)]
fn request(
    rng: &mut Rng,
    setup: &Setup,
    ends: &[End; 2],
    from: usize,
    flow: usize,
    i: usize,
    start: usize,
    longest: usize,
    keys: &Keys,
    poison: bool,
    registered: &mut Option<u32>,
    fast_key: &mut u32,
    window_key: &mut u32,
) -> (Plan, PostedSend) {
    let mtu = setup.mtu.bytes() as u64;
    let any_len = match rng.below(6) {
        0 => 0,
        1 => rng.below(64),
        2 => mtu,
        3 => mtu + 1,
        _ => rng.below(longest as u64 + 1),
    } as usize;
    let len = any_len.min(longest);
    let imm = rng
        .chance(300)
        .then(|| Imm((rng.next() as u32).to_be_bytes()));
    let bytes = pattern(flow, i, len);
    let mut sges = pieces(rng, keys.local, start, len);
    let mut inline = Vec::new();
    let remote = |key, offset: usize| Remote {
        va: BASE + offset as u64,
        rkey: key,
    };
    let place = |rng: &mut Rng, room: usize| rng.below((room - len) as u64 + 1) as usize;
    let (op, effect) = match setup.qp_type {
        QpType::Ud | QpType::Gsi => {
            let to = 1 - from;
            let datagram = Datagram {
                path: path(ends[from].host, ends[to].host, setup.v6, 0xc123),
                qpn: ends[to].qpn,
                qkey: 0x1111_1111,
                imm,
            };
            let len = len.min(mtu as usize);
            sges = pieces(rng, keys.local, start, len);
            let bytes = bytes[..len].to_vec();
            (
                SendOp::Datagram(datagram),
                Effect::Message {
                    bytes,
                    imm,
                    invalidate: None,
                },
            )
        }
        QpType::Uc => {
            let tail = imm.map_or(SendTail::Plain, SendTail::Imm);
            (
                SendOp::Send(tail),
                Effect::Message {
                    bytes,
                    imm,
                    invalidate: None,
                },
            )
        }
        QpType::Rc if poison => poisoned(rng, keys, &mut sges),
        QpType::Rc => match rng.below(15) {
            0..=2 => {
                let tail = imm.map_or(SendTail::Plain, SendTail::Imm);
                (
                    SendOp::Send(tail),
                    Effect::Message {
                        bytes,
                        imm,
                        invalidate: None,
                    },
                )
            }
            3..=5 => {
                let offset = place(rng, TARGET);
                let remote = match rng.below(4) {
                    0 => remote(keys.window, offset),
                    1 => Remote {
                        va: offset as u64,
                        rkey: keys.zero_based,
                    },
                    _ => remote(keys.target, offset),
                };
                let op = SendOp::Write { remote, imm };
                (op, Effect::Write { offset, bytes, imm })
            }
            6..=7 => {
                let offset = place(rng, SOURCE);
                (
                    SendOp::Read(remote(keys.source, offset)),
                    Effect::Read { offset, len },
                )
            }
            8 => {
                sges = pieces(rng, keys.local, start, 8);
                let add = rng.next();
                let remote = remote(keys.counter, 8);
                (SendOp::FetchAdd { remote, add }, Effect::FetchAdd(add))
            }
            9 => {
                sges = pieces(rng, keys.local, start, 8);
                let (compare, swap) = (rng.below(2), rng.next());
                let remote = remote(keys.counter, 8);
                let op = SendOp::CompareSwap {
                    remote,
                    compare,
                    swap,
                };
                (op, Effect::CompareSwap { compare, swap })
            }
            10 => {
                sges.clear();
                let offset = 8 * rng.below(TARGET as u64 / 8) as usize;
                let data = rng.next().to_le_bytes();
                let op = SendOp::AtomicWrite {
                    remote: remote(keys.target, offset),
                    data,
                };
                let effect = Effect::Write {
                    offset,
                    bytes: data.to_vec(),
                    imm: None,
                };
                (op, effect)
            }
            11 => {
                sges.clear();
                let op = SendOp::Flush {
                    remote: remote(keys.target, 0),
                    len: len as u32,
                    what: Feth {
                        global: true,
                        persistent: false,
                        selectivity: rng.pick(&[Selectivity::Range, Selectivity::Region]),
                    },
                };
                (op, Effect::Local)
            }
            12 => {
                let key = keys.invalidated[i];
                let effect = Effect::Message {
                    bytes,
                    imm: None,
                    invalidate: Some(key),
                };
                (SendOp::Send(SendTail::Invalidate(key)), effect)
            }
            13 => {
                sges.clear();
                let new = (keys.own_window & !0xff) | (i as u32 & 0xff);
                let mw_rkey = std::mem::replace(window_key, new);
                let bind = BindMw {
                    mw_rkey,
                    new_rkey: new,
                    mr_lkey: keys.own,
                    addr: BASE,
                    len: rng.pick(&[0, 1, 64]),
                    rights: Rights::REMOTE_READ,
                };
                (SendOp::BindMw(bind), Effect::Local)
            }
            _ => {
                sges.clear();
                let op = match registered.take() {
                    Some(key) => SendOp::LocalInvalidate(key),
                    None => {
                        // The key the region will have after this; it has `fast_key` now.
                        let key = (keys.fast & !0xff) | (i as u32 & 0xff);
                        let mr_lkey = std::mem::replace(fast_key, key);
                        *registered = Some(key);
                        SendOp::RegMr(RegMr {
                            mr_lkey,
                            key,
                            iova: 0,
                            len: 64,
                            rights: Rights::NONE,
                        })
                    }
                };
                (op, Effect::Local)
            }
        },
    };
    let is_data = matches!(
        op,
        SendOp::Send(_) | SendOp::Write { .. } | SendOp::Datagram(_)
    );
    let effect_len = match &effect {
        Effect::Message { bytes, .. } | Effect::Write { bytes, .. } => bytes.len(),
        _ => 0,
    };
    let data = if is_data && !poison && effect_len <= 512 && rng.chance(250) {
        if let Effect::Message { bytes, .. } | Effect::Write { bytes, .. } = &effect {
            inline.clone_from(bytes);
        }
        sges.clear();
        Data::Inline(inline.len() as u16)
    } else {
        Data::Gather(sges.len() as u8)
    };
    let signaled = rng.chance(700);
    let wr = SendWr {
        wr_id: i as u64,
        signaled,
        solicited: rng.chance(200),
        fence: rng.chance(150),
        op,
        data,
    };
    let bad = matches!(effect, Effect::Poison(WcStatus::LocalQpOperation));
    let wr = if bad {
        Err(BadWr { wr_id: i as u64 })
    } else {
        Ok(wr)
    };
    let plan = Plan {
        effect,
        signaled: signaled && !bad,
        local: start,
    };
    (plan, PostedSend { wr, sges, inline })
}

/// A request that ends the queue pair.
fn poisoned(rng: &mut Rng, keys: &Keys, sges: &mut Vec<Sge>) -> (SendOp, Effect) {
    let at = |rkey, va| Remote { va, rkey };
    match rng.below(8) {
        0 => {
            *sges = vec![sge(keys.local, 8)];
            (
                SendOp::Write {
                    remote: at(keys.target ^ 1, BASE),
                    imm: None,
                },
                Effect::Poison(WcStatus::RemoteAccess),
            )
        }
        1 => {
            *sges = vec![sge(keys.local, 8)];
            (
                SendOp::Read(at(keys.foreign, BASE)),
                Effect::Poison(WcStatus::RemoteAccess),
            )
        }
        2 => {
            *sges = vec![sge(keys.local, 8)];
            (
                SendOp::FetchAdd {
                    remote: at(keys.counter, BASE + 4),
                    add: 1,
                },
                Effect::Poison(WcStatus::RemoteInvalidRequest),
            )
        }
        3 => {
            *sges = vec![sge(keys.local ^ 1, 8)];
            (
                SendOp::Send(SendTail::Plain),
                Effect::Poison(WcStatus::LocalProtection),
            )
        }
        4 => {
            // One byte behind the end.
            *sges = vec![sge(keys.local, 8)];
            (
                SendOp::Write {
                    remote: at(keys.target, BASE + TARGET as u64 - 7),
                    imm: None,
                },
                Effect::Poison(WcStatus::RemoteAccess),
            )
        }
        5 => {
            *sges = vec![sge(keys.local, 4)];
            (
                SendOp::FetchAdd {
                    remote: at(keys.counter, BASE),
                    add: 1,
                },
                Effect::Poison(WcStatus::LocalLength),
            )
        }
        6 => {
            sges.clear();
            (
                SendOp::LocalInvalidate(keys.local),
                Effect::Poison(WcStatus::LocalQpOperation),
            )
        }
        _ => {
            sges.clear();
            (
                SendOp::Send(SendTail::Plain),
                Effect::Poison(WcStatus::LocalQpOperation),
            )
        }
    }
}

fn sge(lkey: u32, len: u32) -> Sge {
    Sge {
        addr: BASE,
        len,
        lkey,
    }
}
