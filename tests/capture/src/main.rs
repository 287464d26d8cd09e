// SPDX-License-Identifier: GPL-2.0-only

//! Checks every RoCEv2 packet of a capture: `capture FILE.pcap`.
//!
//! ```text
//!   pcap -> Ethernet frames -> UDP to port 4791 -> ICRC computed anew (icrc.rs)
//!                                               -> the engine's own parser
//!                                               -> counts by sender and opcode
//! ```
//!
//! Ends with status 1 when a packet is wrong or there is none.

mod icrc;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::BufReader;
use std::process::ExitCode;

use anyhow::{ensure, Context, Result};
use pcap_file::pcap::PcapReader;
use pcap_file::DataLink;
use usb4_rxe::host::HostCrc32;
use usb4_rxe::rxe::wire::{Ip, Packet};

const ETHERNET_LEN: usize = 14;
const ROCE_PORT: [u8; 2] = [0x12, 0xb7];
/// So many wrong packets are shown one by one.
const SHOWN: u32 = 10;

/// A UDP packet to RoCE's port, from its IP header to the last byte that the IP header counts. What is behind it is
/// padding of Ethernet.
fn roce(frame: &[u8]) -> Option<&[u8]> {
    let ip = frame.get(ETHERNET_LEN..)?;
    let (header_len, protocol, len) = match frame.get(12..14)? {
        [0x08, 0x00] => {
            let len = usize::from(u16::from_be_bytes([*ip.get(2)?, *ip.get(3)?]));
            (usize::from(ip[0] & 0x0f) * 4, *ip.get(9)?, len)
        }
        [0x86, 0xdd] => {
            let len = usize::from(u16::from_be_bytes([*ip.get(4)?, *ip.get(5)?]));
            (40, *ip.get(6)?, 40 + len)
        }
        _ => return None,
    };
    let port = ip.get(header_len + 2..header_len + 4)?;
    (protocol == 17 && port == ROCE_PORT)
        .then(|| ip.get(..len))
        .flatten()
}

/// What is wrong with the packet; otherwise who sent it and what it is.
fn check(packet: &[u8], frame: &[u8]) -> Result<String> {
    let (body, trailer) = packet.split_last_chunk::<4>().context("too short")?;
    let computed = icrc::icrc(body).context("no IP header of RoCEv2")?;
    ensure!(
        computed == *trailer,
        "the ICRC is {trailer:02x?} and should be {computed:02x?}"
    );
    let whole = &frame[..ETHERNET_LEN + packet.len()];
    let parsed = Packet::parse::<HostCrc32>(whole).map_err(|error| anyhow::anyhow!("{error}"))?;
    let sender = match parsed.headers.repr.ip {
        Ip::V4(v4) => std::net::IpAddr::from(v4.src),
        Ip::V6(v6) => std::net::IpAddr::from(v6.src),
    };
    Ok(format!("{sender} {:?}", parsed.headers.opcode()))
}

fn run(path: &str) -> Result<bool> {
    let file = File::open(path).with_context(|| format!("cannot open {path}"))?;
    let mut reader = PcapReader::new(BufReader::new(file)).context("no pcap file")?;
    ensure!(
        reader.header().datalink == DataLink::ETHERNET,
        "a capture of Ethernet frames is wanted"
    );
    let mut counts = BTreeMap::<String, u64>::new();
    let (mut frames, mut good, mut wrong) = (0_u64, 0_u64, 0_u32);
    while let Some(record) = reader.next_packet() {
        let record = record.context("the capture is damaged")?;
        frames += 1;
        let Some(packet) = roce(&record.data) else {
            continue;
        };
        match check(packet, &record.data) {
            Ok(what) => {
                good += 1;
                *counts.entry(what).or_default() += 1;
            }
            Err(error) => {
                wrong += 1;
                if wrong <= SHOWN {
                    println!("frame {frames}: {error:#}");
                }
            }
        }
    }
    for (what, count) in &counts {
        println!("{count:8}  {what}");
    }
    println!("capture: {frames} frames, {good} RoCEv2 packets with the right ICRC, {wrong} wrong");
    Ok(good > 0 && wrong == 0)
}

fn main() -> ExitCode {
    let Some(path) = std::env::args().nth(1) else {
        eprintln!("usage: capture FILE.pcap");
        return ExitCode::from(2);
    };
    match run(&path) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("capture: {error:#}");
            ExitCode::from(2)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{check, roce, run};

    fn golden(name: &str) -> String {
        format!("{}/../goldens/{name}.pcap", env!("CARGO_MANIFEST_DIR"))
    }

    #[test]
    fn captures_of_upstream_are_right() {
        for name in ["send_rc", "write_rc", "read_rc", "send_ud", "atomic_fadd"] {
            assert!(run(&golden(name)).unwrap(), "{name}");
        }
    }

    #[test]
    fn what_routers_may_not_change_is_noticed() {
        let file = std::fs::read(golden("send_ud")).unwrap();
        let mut reader = pcap_file::pcap::PcapReader::new(&file[..]).unwrap();
        let frame = reader.next_packet().unwrap().unwrap().data.into_owned();
        let len = roce(&frame).unwrap().len();
        for at in 14..14 + len {
            let mut changed = frame.clone();
            changed[at] ^= 0x10;
            let packet = &changed[14..14 + len];
            // FECN, BECN and reserved bits. Changes of the IP header show in its own checksum.
            let is_free = at == 14 + 20 + 8 + 4;
            assert_eq!(check(packet, &changed).is_ok(), is_free, "byte {at}");
        }
        assert!(check(&frame[14..14 + len], &frame).is_ok());
    }
}
