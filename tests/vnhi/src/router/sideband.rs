// SPDX-License-Identifier: GPL-2.0-only

//! The sideband of a USB4 port: a few registers of the router itself, and no retimers.
//!
//! ```text
//!  port word 1   31 pending   26 failed   25 no response   24 write   18:16 target   15:8 length   7:0 register
//!  port word 2   data, up to 16 words
//! ```
//!
//! A transaction is over before software can look: with an answer when the target is the router, and with "no response"
//! when it is a retimer or the other end's router. Port operations written to the router's opcode register succeed: it
//! reads back as zero.

use super::register_file::RegisterFile;

const PENDING: u32 = 1 << 31;
const FAILED: u32 = 1 << 26;
const NO_RESPONSE: u32 = 1 << 25;
const WRITE: u32 = 1 << 24;
const TARGET: u32 = 7 << 16;
const TARGET_ROUTER: u32 = 0;
const DATA_WORDS: u16 = 16;

/// Carries out a transaction that is pending in the USB4 port capability at `port`.
pub fn run(registers: &mut RegisterFile, port: u16) {
    let command = registers.get(port + 1);
    if command & PENDING == 0 {
        return;
    }
    let answers = command & TARGET == TARGET_ROUTER;
    let result = if answers { 0 } else { NO_RESPONSE };
    registers.set(port + 1, result, PENDING | FAILED | NO_RESPONSE);
    if answers && command & WRITE == 0 {
        for word in 0..DATA_WORDS {
            registers.set(port + 2 + word, 0, u32::MAX);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(command: u32) -> (u32, u32) {
        let mut registers = RegisterFile::new(20);
        registers.set(2, 0x4d55_4e45, u32::MAX);
        registers.set(1, command, u32::MAX);
        run(&mut registers, 0);
        (registers.get(1), registers.get(2))
    }

    #[test]
    fn the_router_answers_and_retimers_do_not() {
        let write = PENDING | WRITE | 4 << 8 | 8;
        assert_eq!(after(write), (write & !PENDING, 0x4d55_4e45));
        let read = PENDING | 4 << 8 | 8;
        assert_eq!(after(read), (read & !PENDING, 0));
        let retimer = PENDING | 2 << 16 | 1 << 20 | 4 << 8;
        assert_eq!(after(retimer).0, retimer & !PENDING | NO_RESPONSE);
        assert_eq!(after(4 << 8 | 8), (4 << 8 | 8, 0x4d55_4e45));
    }
}
