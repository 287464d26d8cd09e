// SPDX-License-Identifier: GPL-2.0-only

//! What devices are called.

use kernel::ffi;
use kernel::prelude::*;

use crate::usb4::netdev::Netdev;
use crate::verbs::lock::Rtnl;

const NAME_BYTES: usize = compat::IB_DEVICE_NAME_MAX as usize;

/// A name, as the core wants it: ends with a zero.
pub type Name = [ffi::c_char; NAME_BYTES];

/// What devices that come without a command are called, with a number behind.
pub const PREFIX: &[u8] = b"usb4_rxe";

/// The name with the number that a network device has in its own, if that is `usb4ethN`.
pub fn numbered_as(netdev: &Netdev) -> Option<Name> {
    let rtnl = Rtnl::lock();
    let number = netdev.name(&rtnl).to_bytes().strip_prefix(b"usb4eth")?;
    if number.is_empty() || !number.iter().all(u8::is_ascii_digit) {
        return None;
    }
    name_of(&[PREFIX, number]).ok()
}

/// A name of these parts.
///
/// # Errors
///
/// `EINVAL`: too long.
pub fn name_of(parts: &[&[u8]]) -> Result<Name> {
    let mut name: Name = [0; NAME_BYTES];
    let bytes = parts.iter().copied().flatten();
    // The last byte stays zero.
    if bytes.clone().count() >= NAME_BYTES {
        return Err(EINVAL);
    }
    for (place, byte) in name.iter_mut().zip(bytes) {
        *place = *byte as ffi::c_char;
    }
    Ok(name)
}

/// Whether the core would take this name for a pattern, and read other devices' names by it: only
/// one of our own may be one. `rdma dev set NAME name ...` lets any name pass.
pub fn is_pattern(name: &Name) -> bool {
    name.contains(&(b'%' as ffi::c_char))
}
