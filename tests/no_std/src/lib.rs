// SPDX-License-Identifier: GPL-2.0-only

//! Uses the pure modules without the standard library, as the kernel does.

#![no_std]

use usb4_rxe::rxe::icrc::Crc32;
use usb4_rxe::rxe::psn::Psn;
use usb4_rxe::rxe::qpn::Qpn;
use usb4_rxe::rxe::wire::packet::MAX_PACKET;
use usb4_rxe::rxe::wire::*;

/// Would be a second panic handler if the standard library were there.
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

/// CRC-32, bit by bit.
struct Bitwise;

impl Crc32 for Bitwise {
    fn update(state: u32, bytes: &[u8]) -> u32 {
        let mut state = state;
        for byte in bytes {
            state ^= u32::from(*byte);
            for _ in 0..8 {
                state = (state >> 1) ^ (0xedb8_8320 & 0u32.wrapping_sub(state & 1));
            }
        }
        state
    }
}

/// Writes a packet and reads it back; the code of every layer is generated for this.
#[no_mangle]
pub extern "C" fn usb4_rxe_round_trip(psn: u32, byte: u8) -> bool {
    let repr = PacketRepr {
        ethernet: Ethernet::default(),
        ip: Ip::V4(Ipv4::default()),
        udp: Udp::default(),
        bth: Bth::new(Qpn::GSI, Psn::new(psn)),
        body: Body::Rc(Rc::Write(Write::Only(Reth::default(), None))),
    };
    let mut room = [0; MAX_PACKET];
    let Ok(len) = repr.emit::<Bitwise>(&[&[byte; 100], &[byte; 3]], &mut room) else {
        return false;
    };
    room.get(..len)
        .and_then(|frame| Packet::parse::<Bitwise>(frame).ok())
        .is_some_and(|packet| packet.headers.repr == repr)
}
