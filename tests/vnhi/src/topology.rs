// SPDX-License-Identifier: GPL-2.0-only

//! Which hosts there are, how many host routers each has, and which cables join them.
//!
//! ```toml
//! hops = 12                                    # rings of every NHI: 12 (Intel-like) or 3 (Strix-Halo-like)
//! hosts = [{ routers = 2 }, { routers = 1, ports = 2, hops = 3 }]
//! cables = [
//!     { a = "1.0", b = "2.0" },                # "host.router", or "host.router.port" for a second USB4 port
//!     { a = "1.1", b = "2.0.2", gbps = 10, lanes = 1 },
//! ]
//! ```
//!
//! Hosts, like people, count from 1, routers from 0 (as the kernel numbers domains), ports from 1; cables are
//! numbered from 0 in the order of the file.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Most hosts in a topology.
pub const MAX_HOSTS: usize = 16;
/// Most host routers in a host.
pub const MAX_ROUTERS: u8 = 8;
/// Most USB4 ports of a host router.
pub const MAX_PORTS: u8 = 2;
/// Ring counts of an NHI that drivers meet: Intel's and Strix Halo's.
pub const HOP_COUNTS: [u16; 2] = [12, 3];

/// A topology that does not work, with the place and what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopologyError(String);

impl fmt::Display for TopologyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for TopologyError {}

fn error<T>(text: impl Into<String>) -> Result<T, TopologyError> {
    Err(TopologyError(text.into()))
}

/// Names one host router, and so one NHI: `1.0` is the first router of host 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NhiId {
    /// Host, from 1.
    pub host: u8,
    /// Router of the host, from 0.
    pub router: u8,
}

impl fmt::Display for NhiId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.host, self.router)
    }
}

impl FromStr for NhiId {
    type Err = TopologyError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let id = text.split_once('.').and_then(|(host, router)| {
            Some(Self {
                host: host.parse().ok()?,
                router: router.parse().ok()?,
            })
        });
        match id {
            Some(id) => Ok(id),
            None => error(format!(
                "'{text}' names no router: give host.router, as in 1.0"
            )),
        }
    }
}

/// Where a cable is plugged in: a USB4 port of a router.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PortId {
    /// The router.
    pub nhi: NhiId,
    /// Its USB4 port, from 1.
    pub port: u8,
}

impl fmt::Display for PortId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.port {
            1 => write!(f, "{}", self.nhi),
            port => write!(f, "{}.{port}", self.nhi),
        }
    }
}

impl FromStr for PortId {
    type Err = TopologyError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (nhi, port) = match text.match_indices('.').nth(1) {
            Some((dot, _)) => (&text[..dot], text[dot + 1..].parse().ok()),
            None => (text, Some(1)),
        };
        match (nhi.parse(), port) {
            (Ok(nhi), Some(port)) => Ok(Self { nhi, port }),
            _ => error(format!(
                "'{text}' names no port: give host.router or host.router.port, as in 1.0 or 1.0.2"
            )),
        }
    }
}

/// One host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Host {
    /// Host routers, each with an NHI of its own.
    pub routers: u8,
    /// USB4 ports of each router.
    pub ports: u8,
    /// Rings of each direction that each NHI has, ring 0 included.
    pub hops: u16,
}

/// One cable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cable {
    /// One end.
    pub a: PortId,
    /// The other end.
    pub b: PortId,
    /// Speed of one lane, in Gb/s: 10, 20 or 40.
    pub gbps: u8,
    /// Lanes that work: 1 or 2.
    pub lanes: u8,
}

/// Hosts and cables.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Topology {
    /// Hosts; the first is host 1.
    pub hosts: Vec<Host>,
    /// Cables; the first is cable 0.
    pub cables: Vec<Cable>,
}

/// The file format. Kept apart from [`Topology`], which holds only checked values.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default = "default_hops")]
    hops: u16,
    hosts: Vec<FileHost>,
    #[serde(default)]
    cables: Vec<FileCable>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct FileHost {
    #[serde(default = "one")]
    routers: u8,
    #[serde(default = "one")]
    ports: u8,
    hops: Option<u16>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct FileCable {
    a: String,
    b: String,
    #[serde(default = "default_gbps")]
    gbps: u8,
    #[serde(default = "default_lanes")]
    lanes: u8,
}

fn default_hops() -> u16 {
    HOP_COUNTS[0]
}
fn one() -> u8 {
    1
}
fn default_gbps() -> u8 {
    20
}
fn default_lanes() -> u8 {
    2
}

impl Topology {
    /// Reads the file format.
    ///
    /// # Errors
    ///
    /// When it is no such file, or hosts and cables in it do not fit together; the text names the line or the cable.
    pub fn parse(text: &str) -> Result<Self, TopologyError> {
        let file: File = match toml::from_str(text) {
            Ok(file) => file,
            Err(wrong) => {
                let start = wrong.span().map_or(0, |span| span.start);
                let line = 1 + text
                    .bytes()
                    .take(start)
                    .filter(|&byte| byte == b'\n')
                    .count();
                return error(format!(
                    "line {line}: {}; see tests/vnhi/README.md for the format",
                    wrong.message().replace('\n', " ")
                ));
            }
        };
        let hosts = file
            .hosts
            .iter()
            .map(|host| Host {
                routers: host.routers,
                ports: host.ports,
                hops: host.hops.unwrap_or(file.hops),
            })
            .collect();
        let cables = file
            .cables
            .iter()
            .map(|cable| {
                Ok(Cable {
                    a: cable.a.parse()?,
                    b: cable.b.parse()?,
                    gbps: cable.gbps,
                    lanes: cable.lanes,
                })
            })
            .collect::<Result<_, _>>()?;
        Self { hosts, cables }.checked()
    }

    /// The file that [`Topology::parse`] reads as this topology.
    pub fn to_toml(&self) -> String {
        let file = File {
            hops: default_hops(),
            hosts: self
                .hosts
                .iter()
                .map(|host| FileHost {
                    routers: host.routers,
                    ports: host.ports,
                    hops: Some(host.hops),
                })
                .collect(),
            cables: self
                .cables
                .iter()
                .map(|cable| FileCable {
                    a: cable.a.to_string(),
                    b: cable.b.to_string(),
                    gbps: cable.gbps,
                    lanes: cable.lanes,
                })
                .collect(),
        };
        // Plain tables of numbers and strings always have a TOML form.
        toml::to_string(&file).unwrap_or_default()
    }

    /// `hosts` hosts, and `cables` cables between each two of them, a router for every cable end.
    ///
    /// # Errors
    ///
    /// When that takes more routers than a host may have.
    pub fn mesh(hosts: u8, cables: u8) -> Result<Self, TopologyError> {
        let pairs = (1..=hosts).flat_map(|a| (a + 1..=hosts).map(move |b| (a, b)));
        Self::join(hosts, pairs.flat_map(|pair| (0..cables).map(move |_| pair)))
    }

    /// `hosts` hosts in a row, `cables` cables from each to the next, a router for every cable end.
    ///
    /// # Errors
    ///
    /// When that takes more routers than a host may have.
    pub fn chain(hosts: u8, cables: u8) -> Result<Self, TopologyError> {
        let pairs = (1..hosts).map(|a| (a, a + 1));
        Self::join(hosts, pairs.flat_map(|pair| (0..cables).map(move |_| pair)))
    }

    fn join(hosts: u8, pairs: impl Iterator<Item = (u8, u8)>) -> Result<Self, TopologyError> {
        let mut used = vec![0_u8; usize::from(hosts)];
        let mut end = |host: u8| {
            let router = used[usize::from(host) - 1];
            used[usize::from(host) - 1] = router.saturating_add(1);
            PortId {
                nhi: NhiId { host, router },
                port: 1,
            }
        };
        let cables = pairs
            .map(|(a, b)| Cable {
                a: end(a),
                b: end(b),
                gbps: default_gbps(),
                lanes: default_lanes(),
            })
            .collect();
        // A host without a cable still has a router: USB4 machines do.
        let hosts = used
            .iter()
            .map(|&routers| Host {
                routers: routers.max(1),
                ports: 1,
                hops: default_hops(),
            })
            .collect();
        Self { hosts, cables }.checked()
    }

    /// The same topology with this number of rings in every NHI.
    ///
    /// # Errors
    ///
    /// When no NHI has so many.
    pub fn with_hops(mut self, hops: u16) -> Result<Self, TopologyError> {
        for host in &mut self.hosts {
            host.hops = hops;
        }
        self.checked()
    }

    /// All NHIs, in the order of hosts and routers.
    pub fn nhis(&self) -> impl Iterator<Item = NhiId> + '_ {
        (1_u8..).zip(&self.hosts).flat_map(|(number, host)| {
            (0..host.routers).map(move |router| NhiId {
                host: number,
                router,
            })
        })
    }

    fn checked(self) -> Result<Self, TopologyError> {
        if self.hosts.is_empty() || self.hosts.len() > MAX_HOSTS {
            return error(format!("{} hosts: give 1 to {MAX_HOSTS}", self.hosts.len()));
        }
        for (number, host) in (1..).zip(&self.hosts) {
            if !(1..=MAX_ROUTERS).contains(&host.routers) {
                return error(format!(
                    "host {number} has {} routers: give 1 to {MAX_ROUTERS} (every cable end takes one)",
                    host.routers
                ));
            }
            if !(1..=MAX_PORTS).contains(&host.ports) {
                return error(format!(
                    "host {number}: {} ports per router: give 1 or 2",
                    host.ports
                ));
            }
            if !HOP_COUNTS.contains(&host.hops) {
                return error(format!("host {number}: {} hops: give 12 or 3", host.hops));
            }
        }
        let mut taken = Vec::new();
        for (number, cable) in self.cables.iter().enumerate() {
            for end in [cable.a, cable.b] {
                let host = self.hosts.get(usize::from(end.nhi.host).wrapping_sub(1));
                if !host.is_some_and(|host| {
                    end.nhi.router < host.routers && (1..=host.ports).contains(&end.port)
                }) {
                    return error(format!(
                        "cable {number}: there is no port {end}: hosts count from 1, routers from 0, ports from 1"
                    ));
                }
                if taken.contains(&end) {
                    return error(format!(
                        "cable {number}: port {end} has a cable already: one cable per port"
                    ));
                }
                taken.push(end);
            }
            if cable.a.nhi == cable.b.nhi {
                return error(format!(
                    "cable {number} joins router {} with itself: use two routers",
                    cable.a.nhi
                ));
            }
            if ![10, 20, 40].contains(&cable.gbps) {
                return error(format!(
                    "cable {number}: {} Gb/s per lane: give 10, 20 or 40",
                    cable.gbps
                ));
            }
            if ![1, 2].contains(&cable.lanes) {
                return error(format!(
                    "cable {number}: {} lanes: give 1 or 2",
                    cable.lanes
                ));
            }
        }
        Ok(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documented_file_is_read() {
        let topology = Topology::parse(
            r#"
            hosts = [{ routers = 2 }, { routers = 1, ports = 2, hops = 3 }]
            cables = [
                { a = "1.0", b = "2.0" },
                { a = "1.1", b = "2.0.2", gbps = 10, lanes = 1 },
            ]"#,
        )
        .unwrap();
        assert_eq!(
            topology.hosts[0],
            Host {
                routers: 2,
                ports: 1,
                hops: 12
            }
        );
        assert_eq!(
            topology.hosts[1],
            Host {
                routers: 1,
                ports: 2,
                hops: 3
            }
        );
        assert_eq!(topology.cables[1].b, "2.0.2".parse().unwrap());
        assert_eq!((topology.cables[1].gbps, topology.cables[1].lanes), (10, 1));
        assert_eq!(Topology::parse(&topology.to_toml()), Ok(topology));
    }

    #[test]
    fn meshes_and_chains_use_a_router_per_cable_end() {
        let mesh = Topology::mesh(3, 2).unwrap();
        assert_eq!(mesh.cables.len(), 6);
        assert!(mesh.hosts.iter().all(|host| host.routers == 4));
        let chain = Topology::chain(3, 1).unwrap();
        assert_eq!(
            chain
                .hosts
                .iter()
                .map(|host| host.routers)
                .collect::<Vec<_>>(),
            [1, 2, 1]
        );
        assert_eq!(
            chain.nhis().map(|nhi| nhi.to_string()).collect::<Vec<_>>(),
            ["1.0", "2.0", "2.1", "3.0"]
        );
        assert_eq!(Topology::mesh(1, 1).unwrap().hosts[0].routers, 1);
    }

    #[test]
    fn two_routers_of_one_host_may_be_joined() {
        let text = r#"hosts = [{ routers = 2 }]
            cables = [{ a = "1.0", b = "1.1" }]"#;
        assert_eq!(Topology::parse(text).unwrap().cables.len(), 1);
    }

    #[test]
    fn what_does_not_fit_is_refused_with_its_place() {
        let wrong = |text: &str| Topology::parse(text).unwrap_err().to_string();
        assert!(wrong("hosts = []").contains("0 hosts"));
        let open = wrong("hosts = [{}]\n\ncables = [");
        assert!(
            open.starts_with("line 3: ") && open.lines().count() == 1,
            "{open}"
        );
        assert!(wrong("hosts = [{ router = 1 }]").contains("router"));
        assert!(
            wrong("hosts = [{}]\ncables = [{ a = \"1.0\", b = \"2.0\" }]").contains("no port 2.0")
        );
        assert!(
            wrong("hosts = [{}]\ncables = [{ a = \"1.0\", b = \"1.0\" }]")
                .contains("cable already")
        );
        assert!(
            wrong("hosts = [{}, {}]\ncables = [{ a = \"1.0\", b = \"2.0\", lanes = 3 }]")
                .contains("3 lanes")
        );
        assert!(wrong("hosts = [{ hops = 5 }]").contains("12 or 3"));
        assert!(wrong("hosts = [{}]\ncables = [{ a = \"x\", b = \"2.0\" }]").contains("'x'"));
        assert!(Topology::mesh(8, 2)
            .unwrap_err()
            .to_string()
            .contains("14 routers"));
    }
}
