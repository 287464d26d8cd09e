// SPDX-License-Identifier: GPL-2.0-only

//! Frames on a cable, as a pcapng file that Wireshark reads (with tests/vnhi/usb4-frame.lua for the fields below).
//!
//! One file per cable, one interface per direction, nanosecond timestamps, link type USER0 (147). Each packet is a pseudo header and the payload of the frame:
//!
//! ```text
//!   0         1         2                   4         5         6         7         8
//!  +---------+---------+-------------------+---------+---------+---------+---------+-----------
//!  | version | flags   | hop (big endian)  | sof     | eof     | fate    | 0       | payload ...
//!  +---------+---------+-------------------+---------+---------+---------+---------+-----------
//!   1         bit 0: CRC error flag         PDF that begins, ends the frame
//!             bit 1: control (hop 0)
//! ```
//!
//! The file is written after each batch, in whole packets, so that a reader of a live file never sees half of one. When the disk is full, what did not fit whole is
//! cut off again.

use std::borrow::Cow;
use std::fs::File;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;

use pcap_file::pcapng::blocks::enhanced_packet::EnhancedPacketBlock;
use pcap_file::pcapng::blocks::interface_description::{
    InterfaceDescriptionBlock, InterfaceDescriptionOption,
};
use pcap_file::pcapng::{PcapNgBlock, PcapNgWriter};
use pcap_file::DataLink;
use rustix::fs::OFlags;

use crate::command::Direction;
use crate::sink::{Fate, TapFrame};

/// Bytes before the payload.
pub const PSEUDO_HEADER: usize = 8;
const VERSION: u8 = 1;
const FLAG_CRC_ERROR: u8 = 1 << 0;
const FLAG_CONTROL: u8 = 1 << 1;

/// Captured bytes that may wait for the end of a batch.
const MAX_WAITING: usize = 1024 * 1024;

/// The number of a fate in the file.
fn fate_number(fate: Fate) -> u8 {
    match fate {
        Fate::Delivered => 0,
        Fate::Lost => 1,
        Fate::NoBuffer => 2,
        Fate::NoPath => 3,
        Fate::Filtered => 4,
    }
}

/// The capture of one cable.
pub struct Tap {
    file: File,
    /// Bytes of whole blocks in the file.
    written: u64,
    /// Whole blocks that are not in the file yet.
    waiting: PcapNgWriter<Vec<u8>>,
    packet: Vec<u8>,
}

impl Tap {
    /// Starts a capture. `a` and `b` name the cable's ends, `bits_per_second` is its speed.
    ///
    /// # Errors
    ///
    /// A sentence that says why the file cannot be written.
    pub fn create(path: &Path, a: &str, b: &str, bits_per_second: u64) -> Result<Self, String> {
        let explain = |error: std::io::Error| format!("cannot write {}: {error}", path.display());
        let file = File::options()
            .write(true)
            .create(true)
            .truncate(true)
            // A pipe that nobody reads, or a terminal, must not stop the fabric.
            .custom_flags(i32::try_from(OFlags::NONBLOCK.bits()).unwrap_or(0))
            .open(path)
            .map_err(explain)?;
        let waiting = PcapNgWriter::new(Vec::new());
        let mut tap = Self {
            file,
            written: 0,
            waiting: waiting.map_err(|error| explain(std::io::Error::other(error)))?,
            packet: Vec::new(),
        };
        for (from, to) in [(a, b), (b, a)] {
            let interface = InterfaceDescriptionBlock {
                linktype: DataLink::USER0,
                snaplen: 0,
                options: vec![
                    InterfaceDescriptionOption::IfName(Cow::Owned(format!("{from} to {to}"))),
                    InterfaceDescriptionOption::IfSpeed(bits_per_second),
                    InterfaceDescriptionOption::IfTsResol(9),
                ],
            };
            tap.write(interface)
                .map_err(|error| explain(std::io::Error::other(error)))?;
        }
        tap.flush().map_err(explain)?;
        Ok(tap)
    }

    /// Adds a frame, seen at this time since 1970.
    ///
    /// # Errors
    ///
    /// When the file cannot be written.
    pub fn frame(&mut self, time: Duration, frame: &TapFrame<'_>) -> std::io::Result<()> {
        let mut packet = std::mem::take(&mut self.packet);
        packet.clear();
        packet.extend_from_slice(&pseudo_header(frame));
        packet.extend_from_slice(frame.payload);
        let block = EnhancedPacketBlock {
            interface_id: match frame.direction {
                Direction::AToB => 0,
                Direction::BToA => 1,
            },
            timestamp: time,
            original_len: u32::try_from(packet.len()).unwrap_or(u32::MAX),
            data: Cow::Borrowed(&packet),
            options: Vec::new(),
        };
        let written = self.write(block);
        self.packet = packet;
        written?;
        if self.waiting.get_ref().len() >= MAX_WAITING {
            self.flush()?;
        }
        Ok(())
    }

    /// Puts what waits into the file.
    ///
    /// # Errors
    ///
    /// When the file cannot be written.
    pub fn flush(&mut self) -> std::io::Result<()> {
        let waiting = self.waiting.get_mut();
        if waiting.is_empty() {
            return Ok(());
        }
        let length = waiting.len();
        let written = self.file.write_all(waiting);
        waiting.clear();
        match &written {
            Ok(()) => self.written += u64::try_from(length).unwrap_or(0),
            // Not possible for a pipe, and not needed there.
            Err(_) => drop(self.file.set_len(self.written)),
        }
        written
    }

    fn write<'a>(&mut self, block: impl PcapNgBlock<'a>) -> std::io::Result<()> {
        self.waiting
            .write_pcapng_block(block)
            .map(|_| ())
            .map_err(std::io::Error::other)
    }
}

fn pseudo_header(frame: &TapFrame<'_>) -> [u8; PSEUDO_HEADER] {
    let mut flags = 0;
    if frame.crc_error {
        flags |= FLAG_CRC_ERROR;
    }
    if frame.hop == 0 {
        flags |= FLAG_CONTROL;
    }
    let [hop_high, hop_low] = frame.hop.to_be_bytes();
    let fate = fate_number(frame.fate);
    [
        VERSION, flags, hop_high, hop_low, frame.sof, frame.eof, fate, 0,
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use pcap_file::pcapng::{Block, PcapNgReader};

    fn frame(payload: &[u8]) -> TapFrame<'_> {
        TapFrame {
            cable: 0,
            direction: Direction::BToA,
            hop: 0x108,
            sof: 1,
            eof: 2,
            crc_error: true,
            fate: Fate::Lost,
            payload,
        }
    }

    #[test]
    fn a_reader_sees_whole_packets_after_each_flush() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("cable.pcapng");
        let mut tap = Tap::create(&path, "1.0", "2.0", 40_000_000_000).unwrap();
        let empty = std::fs::metadata(&path).unwrap().len();
        let time = Duration::new(1_700_000_000, 123_456_789);
        tap.frame(time, &frame(&[7; 100])).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().len(), empty);
        tap.flush().unwrap();

        let mut reader = PcapNgReader::new(File::open(&path).unwrap()).unwrap();
        let mut names = Vec::new();
        let mut packets = Vec::new();
        while let Some(block) = reader.next_block() {
            match block.unwrap() {
                Block::InterfaceDescription(interface) => {
                    assert_eq!(interface.linktype, DataLink::USER0);
                    names.extend(
                        interface
                            .options
                            .into_iter()
                            .find_map(|option| match option {
                                InterfaceDescriptionOption::IfName(name) => Some(name.into_owned()),
                                _ => None,
                            }),
                    );
                }
                Block::EnhancedPacket(packet) => {
                    packets.push((
                        packet.interface_id,
                        packet.timestamp,
                        packet.data.into_owned(),
                    ));
                }
                _ => {}
            }
        }
        assert_eq!(names, ["1.0 to 2.0", "2.0 to 1.0"]);
        let [(interface, seen, data)] = &packets[..] else {
            panic!("{} packets", packets.len());
        };
        assert_eq!((*interface, *seen), (1, time));
        assert_eq!(data[..8], [1, 1, 1, 8, 1, 2, 1, 0]);
        assert_eq!(data[8..], [7; 100]);
    }

    #[test]
    fn control_packets_are_marked() {
        let mut control = frame(&[]);
        control.hop = 0;
        control.crc_error = false;
        control.fate = Fate::Delivered;
        assert_eq!(pseudo_header(&control), [1, 2, 0, 0, 1, 2, 0, 0]);
    }

    #[test]
    fn a_long_batch_does_not_wait_for_ever() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("cable.pcapng");
        let mut tap = Tap::create(&path, "1.0", "2.0", 0).unwrap();
        for _ in 0..300 {
            tap.frame(Duration::ZERO, &frame(&[0; 4096])).unwrap();
        }
        assert!(std::fs::metadata(&path).unwrap().len() > 1_000_000);
    }

    #[test]
    fn a_file_that_cannot_be_made_is_an_error() {
        let error = Tap::create(Path::new("/nowhere/x.pcapng"), "1.0", "2.0", 0);
        assert!(error.err().unwrap().contains("/nowhere/x.pcapng"));
        let full = Tap::create(Path::new("/dev/full"), "1.0", "2.0", 0);
        assert!(full.err().unwrap().contains("No space"));
    }

    #[test]
    fn a_pipe_that_nobody_reads_is_an_error_and_does_not_wait() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pipe");
        let mode = rustix::fs::Mode::from_raw_mode(0o600);
        rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, mode, 0).unwrap();
        assert!(Tap::create(&path, "1.0", "2.0", 0).is_err());
    }

    #[test]
    fn half_a_packet_is_cut_off_again() {
        use rustix::fs::{fcntl_add_seals, ftruncate, memfd_create, MemfdFlags, SealFlags};
        use std::os::fd::AsRawFd;

        let disk = File::from(memfd_create("disk", MemfdFlags::ALLOW_SEALING).unwrap());
        let path = format!("/proc/self/fd/{}", disk.as_raw_fd());
        let mut tap = Tap::create(Path::new(&path), "1.0", "2.0", 0).unwrap();
        tap.frame(Duration::ZERO, &frame(&[1; 100])).unwrap();
        tap.flush().unwrap();
        let whole = disk.metadata().unwrap().len();
        // A disk with one page: a longer write stores what fits, and then fails.
        ftruncate(&disk, 4096).unwrap();
        fcntl_add_seals(&disk, SealFlags::GROW).unwrap();
        tap.frame(Duration::ZERO, &frame(&[2; 4096])).unwrap();
        tap.frame(Duration::ZERO, &frame(&[3; 4096])).unwrap();
        assert!(tap.flush().is_err());
        assert_eq!(disk.metadata().unwrap().len(), whole);
    }
}
