// SPDX-License-Identifier: GPL-2.0-only

//! BTH opcodes: one table of facts, read by everybody (IBTA vol. 1, 9.2.1 and table 38; FLUSH and
//! ATOMIC WRITE from release 1.6).
//!
//! A fact that is a *property of the number* stands in [`TABLE`]; what to *do* with a packet is an
//! exhaustive `match` over [`Opcode`], [`Kind`] or `wire::Body` at the place that does it.
//!
//! ```text
//!   opcode byte:  | service (3 bits) | operation (5 bits) |
//!                   000 RC  001 UC  011 UD
//! ```
//!
//! Not here, because neither upstream rxe nor we speak them: RD (010), XRC (101), CNP (0x81).

/// The transport service of a packet: the upper three bits of its opcode.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Service {
    /// Reliable connection.
    Rc,
    /// Unreliable connection.
    Uc,
    /// Unreliable datagram, also used by the GSI QP.
    Ud,
}

/// Who handles a packet.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Direction {
    /// From requester to responder.
    Request,
    /// From responder to requester: the completer's.
    Response,
}

/// The operation a packet is part of.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Kind {
    /// SEND, plain, with immediate or with invalidate.
    Send,
    /// RDMA WRITE, plain or with immediate.
    Write,
    /// RDMA READ request.
    ReadRequest,
    /// Data of an RDMA READ; an empty ONLY also answers FLUSH and ATOMIC WRITE.
    ReadResponse,
    /// ACK, NAK or RNR NAK.
    Ack,
    /// The answer to an atomic.
    AtomicAck,
    /// Atomic compare and swap.
    CompareSwap,
    /// Atomic fetch and add.
    FetchAdd,
    /// Memory placement extension: FLUSH.
    Flush,
    /// Memory placement extension: ATOMIC WRITE.
    AtomicWrite,
}

impl Kind {
    /// Who handles packets of this operation.
    pub const fn direction(self) -> Direction {
        match self {
            Self::ReadResponse | Self::Ack | Self::AtomicAck => Direction::Response,
            Self::Send
            | Self::Write
            | Self::ReadRequest
            | Self::CompareSwap
            | Self::FetchAdd
            | Self::Flush
            | Self::AtomicWrite => Direction::Request,
        }
    }
}

/// The place of a packet in its message.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Position {
    /// First of several.
    First,
    /// Neither first nor last.
    Middle,
    /// Last of several.
    Last,
    /// The whole message.
    Only,
}

impl Position {
    /// Whether a message begins here.
    pub const fn starts(self) -> bool {
        matches!(self, Self::First | Self::Only)
    }

    /// Whether a message ends here.
    pub const fn ends(self) -> bool {
        matches!(self, Self::Last | Self::Only)
    }
}

/// The extension headers behind the BTH, in wire order.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Chain {
    /// Nothing.
    Bare,
    /// Immediate data.
    Imm,
    /// Key to invalidate.
    Ieth,
    /// Remote address.
    Reth,
    /// Remote address, immediate data.
    RethImm,
    /// Remote address, eight bytes to store.
    RethAtomicWrite,
    /// What to flush, remote address.
    FethReth,
    /// Atomic operands.
    AtomicEth,
    /// Acknowledge.
    Aeth,
    /// Acknowledge, value before the atomic.
    AethAtomicAck,
    /// Datagram addressing.
    Deth,
    /// Datagram addressing, immediate data.
    DethImm,
}

impl Chain {
    /// The length in bytes of the extension headers.
    pub const fn len(self) -> usize {
        match self {
            Self::Bare => 0,
            Self::Imm | Self::Ieth | Self::Aeth => 4,
            Self::Deth => 8,
            Self::DethImm | Self::AethAtomicAck => 12,
            Self::Reth => 16,
            Self::RethImm | Self::FethReth => 20,
            Self::RethAtomicWrite => 24,
            Self::AtomicEth => 28,
        }
    }

    /// Whether there are no extension headers.
    pub const fn is_empty(self) -> bool {
        matches!(self, Self::Bare)
    }
}

/// What payload a packet may carry.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum PayloadRule {
    /// None at all.
    None,
    /// Exactly one path MTU: more packets follow.
    FullMtu,
    /// At least one byte, at most one path MTU: the end of a longer message.
    Tail,
    /// Anything from nothing to one path MTU: a whole message.
    Any,
}

impl PayloadRule {
    /// Whether `len` bytes are legal on a path of `mtu` bytes.
    pub const fn permits(self, len: usize, mtu: usize) -> bool {
        match self {
            Self::None => len == 0,
            Self::FullMtu => len == mtu,
            Self::Tail => len >= 1 && len <= mtu,
            Self::Any => len <= mtu,
        }
    }
}

/// What a packet does to the receive queue of the responder.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum ReceiveUse {
    /// Nothing: one-sided, or the middle of a message.
    None,
    /// Takes a receive request, does not complete it yet.
    Takes,
    /// Completes the receive request taken by an earlier packet.
    Completes,
    /// Takes a receive request and completes it.
    TakesAndCompletes,
}

impl ReceiveUse {
    /// Whether a receive request must be there (or the answer is RNR).
    pub const fn takes(self) -> bool {
        matches!(self, Self::Takes | Self::TakesAndCompletes)
    }

    /// Whether the packet ends in a receive completion.
    pub const fn completes(self) -> bool {
        matches!(self, Self::Completes | Self::TakesAndCompletes)
    }
}

/// Every opcode we speak. The discriminant is the row in [`TABLE`], not the number on the wire.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[repr(u8)]
pub enum Opcode {
    /// `RC_SEND_FIRST`, 0x00.
    RcSendFirst,
    /// `RC_SEND_MIDDLE`, 0x01.
    RcSendMiddle,
    /// `RC_SEND_LAST`, 0x02.
    RcSendLast,
    /// `RC_SEND_LAST_WITH_IMMEDIATE`, 0x03.
    RcSendLastImm,
    /// `RC_SEND_ONLY`, 0x04.
    RcSendOnly,
    /// `RC_SEND_ONLY_WITH_IMMEDIATE`, 0x05.
    RcSendOnlyImm,
    /// `RC_RDMA_WRITE_FIRST`, 0x06.
    RcWriteFirst,
    /// `RC_RDMA_WRITE_MIDDLE`, 0x07.
    RcWriteMiddle,
    /// `RC_RDMA_WRITE_LAST`, 0x08.
    RcWriteLast,
    /// `RC_RDMA_WRITE_LAST_WITH_IMMEDIATE`, 0x09.
    RcWriteLastImm,
    /// `RC_RDMA_WRITE_ONLY`, 0x0a.
    RcWriteOnly,
    /// `RC_RDMA_WRITE_ONLY_WITH_IMMEDIATE`, 0x0b.
    RcWriteOnlyImm,
    /// `RC_RDMA_READ_REQUEST`, 0x0c.
    RcReadRequest,
    /// `RC_RDMA_READ_RESPONSE_FIRST`, 0x0d.
    RcReadResponseFirst,
    /// `RC_RDMA_READ_RESPONSE_MIDDLE`, 0x0e.
    RcReadResponseMiddle,
    /// `RC_RDMA_READ_RESPONSE_LAST`, 0x0f.
    RcReadResponseLast,
    /// `RC_RDMA_READ_RESPONSE_ONLY`, 0x10.
    RcReadResponseOnly,
    /// `RC_ACKNOWLEDGE`, 0x11.
    RcAck,
    /// `RC_ATOMIC_ACKNOWLEDGE`, 0x12.
    RcAtomicAck,
    /// `RC_COMPARE_SWAP`, 0x13.
    RcCompareSwap,
    /// `RC_FETCH_ADD`, 0x14.
    RcFetchAdd,
    /// `RC_SEND_LAST_WITH_INVALIDATE`, 0x16.
    RcSendLastInv,
    /// `RC_SEND_ONLY_WITH_INVALIDATE`, 0x17.
    RcSendOnlyInv,
    /// `RC_FLUSH`, 0x1c.
    RcFlush,
    /// `RC_ATOMIC_WRITE`, 0x1d.
    RcAtomicWrite,
    /// `UC_SEND_FIRST`, 0x20.
    UcSendFirst,
    /// `UC_SEND_MIDDLE`, 0x21.
    UcSendMiddle,
    /// `UC_SEND_LAST`, 0x22.
    UcSendLast,
    /// `UC_SEND_LAST_WITH_IMMEDIATE`, 0x23.
    UcSendLastImm,
    /// `UC_SEND_ONLY`, 0x24.
    UcSendOnly,
    /// `UC_SEND_ONLY_WITH_IMMEDIATE`, 0x25.
    UcSendOnlyImm,
    /// `UC_RDMA_WRITE_FIRST`, 0x26.
    UcWriteFirst,
    /// `UC_RDMA_WRITE_MIDDLE`, 0x27.
    UcWriteMiddle,
    /// `UC_RDMA_WRITE_LAST`, 0x28.
    UcWriteLast,
    /// `UC_RDMA_WRITE_LAST_WITH_IMMEDIATE`, 0x29.
    UcWriteLastImm,
    /// `UC_RDMA_WRITE_ONLY`, 0x2a.
    UcWriteOnly,
    /// `UC_RDMA_WRITE_ONLY_WITH_IMMEDIATE`, 0x2b.
    UcWriteOnlyImm,
    /// `UD_SEND_ONLY`, 0x64.
    UdSendOnly,
    /// `UD_SEND_ONLY_WITH_IMMEDIATE`, 0x65.
    UdSendOnlyImm,
}

/// The facts about one opcode.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Facts {
    /// The opcode described.
    pub opcode: Opcode,
    /// The number on the wire.
    pub code: u8,
    /// The name in the IBTA's spelling.
    pub name: &'static str,
    /// The transport service.
    pub service: Service,
    /// The operation.
    pub kind: Kind,
    /// The place in the message.
    pub position: Position,
    /// The extension headers.
    pub chain: Chain,
    /// The payload allowed.
    pub payload: PayloadRule,
    /// The use of the receive queue.
    pub receive: ReceiveUse,
}

/// Writes one row of [`TABLE`].
macro_rules! row {
    ($opcode:ident, $code:literal, $name:literal, $service:ident, $kind:ident, $position:ident,
     $chain:ident, $payload:ident, $receive:ident) => {
        Facts {
            opcode: Opcode::$opcode,
            code: $code,
            name: $name,
            service: Service::$service,
            kind: Kind::$kind,
            position: Position::$position,
            chain: Chain::$chain,
            payload: PayloadRule::$payload,
            receive: ReceiveUse::$receive,
        }
    };
}

/// How many opcodes there are.
pub const COUNT: usize = 39;

/// The facts about every opcode, in the order of [`Opcode`].
#[rustfmt::skip]
pub static TABLE: [Facts; COUNT] = [
    //   opcode, number, name, service, kind, position, extension headers, payload, receive queue
    row!(RcSendFirst, 0x00, "RC_SEND_FIRST", Rc, Send, First, Bare, FullMtu, Takes),
    row!(RcSendMiddle, 0x01, "RC_SEND_MIDDLE", Rc, Send, Middle, Bare, FullMtu, None),
    row!(RcSendLast, 0x02, "RC_SEND_LAST", Rc, Send, Last, Bare, Tail, Completes),
    row!(RcSendLastImm, 0x03, "RC_SEND_LAST_WITH_IMMEDIATE", Rc, Send, Last, Imm, Tail, Completes),
    row!(RcSendOnly, 0x04, "RC_SEND_ONLY", Rc, Send, Only, Bare, Any, TakesAndCompletes),
    row!(RcSendOnlyImm, 0x05, "RC_SEND_ONLY_WITH_IMMEDIATE", Rc, Send, Only, Imm, Any, TakesAndCompletes),
    row!(RcWriteFirst, 0x06, "RC_RDMA_WRITE_FIRST", Rc, Write, First, Reth, FullMtu, None),
    row!(RcWriteMiddle, 0x07, "RC_RDMA_WRITE_MIDDLE", Rc, Write, Middle, Bare, FullMtu, None),
    row!(RcWriteLast, 0x08, "RC_RDMA_WRITE_LAST", Rc, Write, Last, Bare, Tail, None),
    row!(RcWriteLastImm, 0x09, "RC_RDMA_WRITE_LAST_WITH_IMMEDIATE", Rc, Write, Last, Imm, Tail, TakesAndCompletes),
    row!(RcWriteOnly, 0x0a, "RC_RDMA_WRITE_ONLY", Rc, Write, Only, Reth, Any, None),
    row!(RcWriteOnlyImm, 0x0b, "RC_RDMA_WRITE_ONLY_WITH_IMMEDIATE", Rc, Write, Only, RethImm, Any, TakesAndCompletes),
    row!(RcReadRequest, 0x0c, "RC_RDMA_READ_REQUEST", Rc, ReadRequest, Only, Reth, None, None),
    row!(RcReadResponseFirst, 0x0d, "RC_RDMA_READ_RESPONSE_FIRST", Rc, ReadResponse, First, Aeth, FullMtu, None),
    row!(RcReadResponseMiddle, 0x0e, "RC_RDMA_READ_RESPONSE_MIDDLE", Rc, ReadResponse, Middle, Bare, FullMtu, None),
    row!(RcReadResponseLast, 0x0f, "RC_RDMA_READ_RESPONSE_LAST", Rc, ReadResponse, Last, Aeth, Tail, None),
    row!(RcReadResponseOnly, 0x10, "RC_RDMA_READ_RESPONSE_ONLY", Rc, ReadResponse, Only, Aeth, Any, None),
    row!(RcAck, 0x11, "RC_ACKNOWLEDGE", Rc, Ack, Only, Aeth, None, None),
    row!(RcAtomicAck, 0x12, "RC_ATOMIC_ACKNOWLEDGE", Rc, AtomicAck, Only, AethAtomicAck, None, None),
    row!(RcCompareSwap, 0x13, "RC_COMPARE_SWAP", Rc, CompareSwap, Only, AtomicEth, None, None),
    row!(RcFetchAdd, 0x14, "RC_FETCH_ADD", Rc, FetchAdd, Only, AtomicEth, None, None),
    row!(RcSendLastInv, 0x16, "RC_SEND_LAST_WITH_INVALIDATE", Rc, Send, Last, Ieth, Tail, Completes),
    row!(RcSendOnlyInv, 0x17, "RC_SEND_ONLY_WITH_INVALIDATE", Rc, Send, Only, Ieth, Any, TakesAndCompletes),
    row!(RcFlush, 0x1c, "RC_FLUSH", Rc, Flush, Only, FethReth, None, None),
    row!(RcAtomicWrite, 0x1d, "RC_ATOMIC_WRITE", Rc, AtomicWrite, Only, RethAtomicWrite, None, None),
    row!(UcSendFirst, 0x20, "UC_SEND_FIRST", Uc, Send, First, Bare, FullMtu, Takes),
    row!(UcSendMiddle, 0x21, "UC_SEND_MIDDLE", Uc, Send, Middle, Bare, FullMtu, None),
    row!(UcSendLast, 0x22, "UC_SEND_LAST", Uc, Send, Last, Bare, Tail, Completes),
    row!(UcSendLastImm, 0x23, "UC_SEND_LAST_WITH_IMMEDIATE", Uc, Send, Last, Imm, Tail, Completes),
    row!(UcSendOnly, 0x24, "UC_SEND_ONLY", Uc, Send, Only, Bare, Any, TakesAndCompletes),
    row!(UcSendOnlyImm, 0x25, "UC_SEND_ONLY_WITH_IMMEDIATE", Uc, Send, Only, Imm, Any, TakesAndCompletes),
    row!(UcWriteFirst, 0x26, "UC_RDMA_WRITE_FIRST", Uc, Write, First, Reth, FullMtu, None),
    row!(UcWriteMiddle, 0x27, "UC_RDMA_WRITE_MIDDLE", Uc, Write, Middle, Bare, FullMtu, None),
    row!(UcWriteLast, 0x28, "UC_RDMA_WRITE_LAST", Uc, Write, Last, Bare, Tail, None),
    row!(UcWriteLastImm, 0x29, "UC_RDMA_WRITE_LAST_WITH_IMMEDIATE", Uc, Write, Last, Imm, Tail, TakesAndCompletes),
    row!(UcWriteOnly, 0x2a, "UC_RDMA_WRITE_ONLY", Uc, Write, Only, Reth, Any, None),
    row!(UcWriteOnlyImm, 0x2b, "UC_RDMA_WRITE_ONLY_WITH_IMMEDIATE", Uc, Write, Only, RethImm, Any, TakesAndCompletes),
    row!(UdSendOnly, 0x64, "UD_SEND_ONLY", Ud, Send, Only, Deth, Any, TakesAndCompletes),
    row!(UdSendOnlyImm, 0x65, "UD_SEND_ONLY_WITH_IMMEDIATE", Ud, Send, Only, DethImm, Any, TakesAndCompletes),
];

/// From the number on the wire to the opcode.
static DECODE: [Option<Opcode>; 256] = {
    let mut decode = [None; 256];
    let mut i = 0;
    while i < COUNT {
        let facts = &TABLE[i];
        // A row out of place or a number used twice does not compile.
        assert!(facts.opcode as usize == i);
        assert!(decode[facts.code as usize].is_none());
        decode[facts.code as usize] = Some(facts.opcode);
        i += 1;
    }
    decode
};

impl Opcode {
    /// Decodes the number on the wire.
    #[inline]
    pub fn from_code(code: u8) -> Option<Self> {
        DECODE[usize::from(code)]
    }

    /// The facts about this opcode.
    #[inline]
    pub fn facts(self) -> &'static Facts {
        &TABLE[self as usize]
    }

    /// The number on the wire.
    #[inline]
    pub fn code(self) -> u8 {
        self.facts().code
    }

    /// All opcodes, in table order.
    pub fn all() -> impl Iterator<Item = Self> {
        TABLE.iter().map(|facts| facts.opcode)
    }
}
