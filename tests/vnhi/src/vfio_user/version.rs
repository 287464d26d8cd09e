// SPDX-License-Identifier: GPL-2.0-only

//! Negotiation of version and capabilities: the first message on a connection.

use rustix::io::Errno;
use serde_json::json;
use zerocopy::IntoBytes;

use super::dma::MAX_WINDOWS;
use super::message::{Version, MAX_DATA, MAX_FDS};

/// Version 0.1 is the only one there is.
const MAJOR: u16 = 0;
const MINOR: u16 = 1;

/// Checks what the client proposes and makes the payload of the reply.
///
/// The reply offers REGION_WRITE_MULTI (`write_multiple`): QEMU then collects posted register writes into one message when its queue is long.
///
/// # Errors
///
/// `EPROTONOSUPPORT` for another major version, `EINVAL` when the capabilities are not JSON.
pub fn negotiate(proposed: &Version, json: &[u8]) -> Result<Vec<u8>, Errno> {
    if proposed.major.get() != MAJOR {
        return Err(Errno::PROTONOSUPPORT);
    }
    let text = json.strip_suffix(&[0]).unwrap_or(json);
    if !text.is_empty() {
        // Nothing in it changes what is sent to the client: no file descriptors, no requests of our own.
        serde_json::from_slice::<serde_json::Value>(text).map_err(|_| Errno::INVAL)?;
    }
    let version = Version {
        major: MAJOR.into(),
        minor: proposed.minor.get().min(MINOR).into(),
    };
    let capabilities = json!({ "capabilities": {
        "max_msg_fds": MAX_FDS,
        "max_data_xfer_size": MAX_DATA,
        "max_dma_maps": MAX_WINDOWS,
        "write_multiple": true,
    }});
    let mut reply = version.as_bytes().to_vec();
    reply.extend_from_slice(capabilities.to_string().as_bytes());
    reply.push(0);
    Ok(reply)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(major: u16, minor: u16) -> Version {
        Version {
            major: major.into(),
            minor: minor.into(),
        }
    }

    #[test]
    fn the_lower_minor_version_wins() {
        let reply = negotiate(&version(0, 9), b"{}\0").unwrap();
        assert_eq!(reply[..4], [0, 0, 1, 0]);
        let reply = negotiate(&version(0, 0), b"").unwrap();
        assert_eq!(reply[..4], [0, 0, 0, 0]);
    }

    #[test]
    fn capabilities_are_json_with_a_nul() {
        let reply = negotiate(&version(0, 1), b"{\"capabilities\":{}}\0").unwrap();
        let (nul, text) = reply[4..].split_last().unwrap();
        assert_eq!(*nul, 0);
        let value: serde_json::Value = serde_json::from_slice(text).unwrap();
        assert_eq!(value["capabilities"]["write_multiple"], true);
        assert_eq!(value["capabilities"]["max_msg_fds"], 16);
    }

    #[test]
    fn other_majors_and_garbage_are_refused() {
        assert_eq!(
            negotiate(&version(1, 0), b"{}\0"),
            Err(Errno::PROTONOSUPPORT)
        );
        assert_eq!(negotiate(&version(0, 1), b"{]\0"), Err(Errno::INVAL));
        assert_eq!(negotiate(&version(0, 1), b"\xff\xfe\0"), Err(Errno::INVAL));
    }

    #[test]
    fn deep_nesting_is_refused_and_does_not_overflow_the_stack() {
        let deep = vec![b'['; 60_000];
        assert_eq!(negotiate(&version(0, 1), &deep), Err(Errno::INVAL));
    }
}
