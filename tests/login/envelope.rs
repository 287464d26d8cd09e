// SPDX-License-Identifier: GPL-2.0-only

//! Messages as the Thunderbolt core carries them.

use proptest::prelude::*;
use usb4_rxe::usb4::rail::frame::envelope::{Envelope, Uuid, LEN, PROTOCOL};
use usb4_rxe::usb4::rail::frame::hello::Message;

use crate::world::hello;

fn envelope() -> Envelope {
    Envelope {
        route: 0x1_0000_0003,
        from: Uuid([1; 16]),
        to: Uuid([2; 16]),
        is_answer: false,
        number: 7,
        message: Message::Login(hello(0x0102_0304_0506_0708)),
    }
}

#[test]
fn the_core_finds_what_it_looks_for() {
    let bytes = envelope().emit();
    let dword = |at: usize| u32::from_ne_bytes(bytes[at * 4..at * 4 + 4].try_into().unwrap());
    assert_eq!([dword(0), dword(1)], [1, 3]);
    // What follows the first three, in dwords; the core compares it with the packet's size.
    assert_eq!(dword(2) as usize, LEN / 4 - 3);
    assert_eq!(bytes[12..28], PROTOCOL.0);
    assert_eq!(dword(15), 7);
    // A control packet has at most 256 bytes, with its checksum.
    const { assert!(LEN <= 252) };
    // The core swaps dwords on little-endian machines: on the wire the message is in network order.
    assert_eq!(dword(16).to_be_bytes(), *b"U4RX");
}

#[test]
fn what_is_not_ours_is_refused() {
    let good = envelope().emit();
    assert!(Envelope::parse(&good).is_ok());
    assert!(Envelope::parse(&good[..LEN - 4]).is_err());
    assert!(Envelope::parse(&[good.as_slice(), &[0; 4]].concat()).is_err());
    for at in [8, 12, 27, 64] {
        let mut bad = good;
        bad[at] ^= 1;
        assert!(Envelope::parse(&bad).is_err(), "byte {at}");
    }
}

#[test]
fn the_bit_that_the_core_sets_in_a_route_does_not_count() {
    let mut bytes = envelope().emit();
    let high = u32::from_ne_bytes(bytes[..4].try_into().unwrap()) | 1 << 31;
    bytes[..4].copy_from_slice(&high.to_ne_bytes());
    assert_eq!(Envelope::parse(&bytes), Ok(envelope()));
}

proptest! {
    #[test]
    fn what_goes_in_comes_out(
        route in 0..1u64 << 63, from: [u8; 16], to: [u8; 16], is_answer: bool, number in 0..1u32 << 31, epoch: u8,
    ) {
        let sent = Envelope {
            route, from: Uuid(from), to: Uuid(to), is_answer, number, message: Message::Logout { epoch },
        };
        prop_assert_eq!(Envelope::parse(&sent.emit()), Ok(sent));
    }

    #[test]
    fn anything_is_read_without_a_panic(bytes: Vec<u8>) {
        let _ = Envelope::parse(&bytes);
    }
}
