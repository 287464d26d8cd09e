// SPDX-License-Identifier: GPL-2.0-only

//! What was counted: a snapshot of the whole fabric, for the control socket and for tests.

use serde::Serialize;

/// All counters of a fabric.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Counters {
    /// One entry per NHI, in the order of the topology.
    pub nhis: Vec<NhiCounters>,
    /// One entry per cable, in the order of the topology.
    pub cables: Vec<CableCounters>,
}

/// Counters of one NHI and its router.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct NhiCounters {
    /// Name, as in `1.0`.
    pub nhi: String,
    /// A machine is connected.
    pub attached: bool,
    /// MSI-X messages.
    pub interrupts: InterruptCounters,
    /// Control packets.
    pub control: ControlCounters,
    /// What the guest did wrong.
    pub errors: GuestErrors,
    /// Rings that were ever used, ring 0 included.
    pub rings: Vec<RingCounters>,
}

/// MSI-X messages of one NHI.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct InterruptCounters {
    /// Sent.
    pub raised: u64,
    /// Put off by throttling.
    pub throttled: u64,
    /// Lost by the fault of that name.
    pub lost: u64,
}

/// Control packets of one router.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct ControlCounters {
    /// Read requests answered with data.
    pub reads: u64,
    /// Write requests carried out.
    pub writes: u64,
    /// Requests answered with an error.
    pub refused: u64,
    /// XDomain packets sent over a cable.
    pub xdomain_sent: u64,
    /// XDomain packets received over a cable.
    pub xdomain_received: u64,
    /// Hot plug events sent to the connection manager.
    pub events: u64,
    /// Packets for the host that found no place in the queue or no running ring.
    pub dropped: u64,
}

/// What a guest did wrong. Each is survived, and the others never notice.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct GuestErrors {
    /// Accesses to registers that were not aligned words.
    pub bad_access: u64,
    /// Rings enabled with a size of zero or a base that is not aligned.
    pub bad_ring: u64,
    /// Indexes outside their ring.
    pub bad_index: u64,
    /// Descriptors outside the mapped memory.
    pub bad_descriptor: u64,
    /// Buffers outside the mapped memory.
    pub bad_buffer: u64,
    /// Frames longer than their kind may be.
    pub bad_length: u64,
    /// Control packets that are malformed or have a wrong CRC.
    pub bad_packet: u64,
}

/// One ring.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct RingCounters {
    /// Its number.
    pub ring: u16,
    /// Frames taken from the transmit ring.
    pub tx_frames: u64,
    /// Bytes of these.
    pub tx_bytes: u64,
    /// Transmitted frames that no path led anywhere.
    pub tx_no_path: u64,
    /// Times that end-to-end flow control began to hold the transmit ring back.
    pub e2e_stalls: u64,
    /// Frames written into the receive ring.
    pub rx_frames: u64,
    /// Bytes of these.
    pub rx_bytes: u64,
    /// Frames that found no buffer.
    pub rx_no_buffer: u64,
    /// Frames whose PDFs the ring does not take.
    pub rx_filtered: u64,
    /// Frames that came while the ring was stopped.
    pub rx_stopped: u64,
    /// Frames marked with a CRC error.
    pub rx_crc_errors: u64,
    /// Frames longer than the buffer.
    pub rx_overruns: u64,
}

/// One cable.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CableCounters {
    /// End a, as in `1.0` or `1.0.2`.
    pub a: String,
    /// End b.
    pub b: String,
    /// It is plugged in.
    pub plugged: bool,
    /// Both routers use it.
    pub up: bool,
    /// Lanes that the link uses; 0 when it is down.
    pub lanes: u8,
    /// Speed of one lane, in Gb/s.
    pub gbps: u8,
    /// From a to b.
    pub forward: DirectionCounters,
    /// From b to a.
    pub back: DirectionCounters,
}

/// One direction of a cable.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct DirectionCounters {
    /// Frames put on the cable, control packets included.
    pub frames: u64,
    /// Bytes of these.
    pub bytes: u64,
    /// Lost by the drop fault.
    pub dropped: u64,
    /// Lost in bursts.
    pub burst_dropped: u64,
    /// Marked with a CRC error by the corrupt fault.
    pub corrupted: u64,
    /// Changed in one bit by the flip fault.
    pub flipped: u64,
    /// Lost because the far end had no path for their HopID.
    pub no_path: u64,
    /// Lost because the cable was pulled while they were on it.
    pub unplugged: u64,
    /// On the cable now.
    pub in_flight: u64,
    /// Times that a stall or the rate limit held a sender back.
    pub held: u64,
}
