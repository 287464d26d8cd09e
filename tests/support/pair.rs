// SPDX-License-Identifier: GPL-2.0-only

//! Queue pairs in working state, and the addresses of two hosts.

#![allow(dead_code)] // each test crate uses its part

use usb4_rxe::rxe::access::{Pd, Rights};
use usb4_rxe::rxe::mtu::Mtu;
use usb4_rxe::rxe::path::{source_port, Path};
use usb4_rxe::rxe::psn::Psn;
use usb4_rxe::rxe::qp::{Change, Fields, Init, Qp, QpType, State};
use usb4_rxe::rxe::qpn::Qpn;
use usb4_rxe::rxe::storage::Storage;
use usb4_rxe::rxe::time::{AckTimeout, RnrTimer};
use usb4_rxe::rxe::wire::{Ethernet, Ip, Ipv4, Ipv6, MacAddr, Udp};

/// The protection domain of every test object.
pub const PD: Pd = Pd(1);

/// Everything a peer may be allowed.
pub fn all_rights() -> Rights {
    Rights::LOCAL_WRITE
        | Rights::REMOTE
        | Rights::MW_BIND
        | Rights::FLUSH_GLOBAL
        | Rights::FLUSH_PERSISTENT
}

/// What differs between queue pairs of a test.
#[derive(Clone, Copy, Debug)]
pub struct Setup {
    /// Type.
    pub qp_type: QpType,
    /// Path MTU.
    pub mtu: Mtu,
    /// Window in packets.
    pub window: u32,
    /// Reads and atomics, both ways.
    pub rd_atomic: u8,
    /// Answer timeout.
    pub timeout: u8,
    /// Retry count.
    pub retry: u8,
    /// RNR retry count.
    pub rnr_retry: u8,
    /// RNR delay.
    pub rnr_timer: u8,
    /// IPv6 instead of IPv4.
    pub v6: bool,
    /// Receives come from a shared receive queue.
    pub shared: bool,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            qp_type: QpType::Rc,
            mtu: Mtu::M256,
            window: 1024,
            rd_atomic: 4,
            timeout: 4,
            retry: 7,
            rnr_retry: 7,
            rnr_timer: 1,
            v6: false,
            shared: false,
        }
    }
}

/// The path from host `from` to host `to` (0 or 1).
pub fn path(from: u8, to: u8, v6: bool, port: u16) -> Path {
    let ip = if v6 {
        let gid = |host: u8| [0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, host + 1];
        Ip::V6(Ipv6 {
            src: gid(from),
            dst: gid(to),
            hop_limit: 64,
            ..Ipv6::default()
        })
    } else {
        Ip::V4(Ipv4 {
            src: [192, 168, 7, from + 1],
            dst: [192, 168, 7, to + 1],
            tos: 0,
            ttl: 64,
            ident: 0,
            dont_fragment: true,
        })
    };
    Path {
        ethernet: Ethernet {
            dst: MacAddr([2, 0, 0, 0, 0, to + 1]),
            src: MacAddr([2, 0, 0, 0, 0, from + 1]),
        },
        ip,
        udp: Udp { src_port: port },
    }
}

/// One end of a connection.
#[derive(Clone, Copy, Debug)]
pub struct End {
    /// Host, 0 or 1.
    pub host: u8,
    /// Queue pair number.
    pub qpn: Qpn,
    /// First PSN sent.
    pub psn: Psn,
}

/// Brings a queue pair to RTS.
pub fn ready<S: Storage>(setup: &Setup, me: End, peer: End, storage: S) -> Qp<S> {
    let init = Init {
        qp_type: setup.qp_type,
        qpn: me.qpn,
        pd: PD,
        shared_receive: setup.shared,
        window: setup.window,
    };
    let mut qp = Qp::new(init, setup.mtu, storage);
    let connected = setup.qp_type.is_connected();
    let reliable = setup.qp_type == QpType::Rc;
    let port = if setup.qp_type == QpType::Gsi {
        Fields::NONE
    } else {
        Fields::PORT
    };
    let to_init = Change {
        state: Some(State::Init),
        pkey: Some(0xffff),
        others: port,
        rights: connected.then(all_rights),
        qkey: (!connected).then_some(0x1111_1111),
        ..Change::default()
    };
    qp.modify(&to_init).expect("INIT");
    let to_rtr = Change {
        state: Some(State::Rtr),
        path: connected.then(|| path(me.host, peer.host, setup.v6, source_port(me.qpn, peer.qpn))),
        mtu: connected.then_some(setup.mtu),
        dest_qp: connected.then_some(peer.qpn),
        rq_psn: connected.then_some(peer.psn),
        max_dest_rd_atomic: reliable.then_some(setup.rd_atomic),
        min_rnr_timer: reliable.then_some(RnrTimer::from_bits(setup.rnr_timer)),
        ..Change::default()
    };
    qp.modify(&to_rtr).expect("RTR");
    let to_rts = Change {
        state: Some(State::Rts),
        sq_psn: Some(me.psn),
        timeout: reliable.then_some(AckTimeout::new(setup.timeout).expect("below 32")),
        retry_count: reliable.then_some(setup.retry),
        rnr_retry: reliable.then_some(setup.rnr_retry),
        max_rd_atomic: reliable.then_some(setup.rd_atomic),
        ..Change::default()
    };
    qp.modify(&to_rts).expect("RTS");
    qp
}
