// SPDX-License-Identifier: GPL-2.0-only

//! Reading and writing one header after the other, with bounds checked.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::error::{EmitError, ParseError};

/// Takes one header off the front of `bytes`.
#[inline]
pub(super) fn take<'a, T>(bytes: &mut &'a [u8]) -> Result<&'a T, ParseError>
where
    T: FromBytes + KnownLayout + Immutable + Unaligned,
{
    match T::ref_from_prefix(bytes) {
        Ok((header, rest)) => {
            *bytes = rest;
            Ok(header)
        }
        Err(_) => Err(ParseError::TooShort),
    }
}

/// Puts one header into the front of `room`.
#[inline]
pub(super) fn put<T>(room: &mut &mut [u8], header: &T) -> Result<(), EmitError>
where
    T: IntoBytes + Immutable + Unaligned,
{
    put_bytes(room, header.as_bytes())
}

/// Puts bytes into the front of `room`.
#[inline]
pub(super) fn put_bytes(room: &mut &mut [u8], bytes: &[u8]) -> Result<(), EmitError> {
    let (place, rest) = core::mem::take(room)
        .split_at_mut_checked(bytes.len())
        .ok_or(EmitError::NoRoom)?;
    place.copy_from_slice(bytes);
    *room = rest;
    Ok(())
}
