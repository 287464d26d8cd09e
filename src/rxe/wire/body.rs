// SPDX-License-Identifier: GPL-2.0-only

//! What a packet means: opcode and extension headers as one value.
//!
//! Only combinations that exist can be written down. UC has no READ, UD no WRITE, an ACK always has
//! its AETH, invalidate exists on RC alone. The opcode is a function of the value.
//!
//! ```text
//!   Body
//!    |- Rc   Send(First | Middle | Last(RcTail) | Only(RcTail))    RcTail: plain, Imm, Ieth
//!    |       Write(First(Reth) | Middle | Last(imm?) | Only(Reth, imm?))
//!    |       ReadRequest(Reth)  ReadResponse(First(Aeth) | Middle | Last(Aeth) | Only(Aeth))
//!    |       Ack(Aeth)  AtomicAck(Aeth, original)  CompareSwap / FetchAdd(AtomicEth)
//!    |       Flush(Feth, Reth)  AtomicWrite(Reth, data)
//!    |- Uc   Send(First | Middle | Last(imm?) | Only(imm?))    Write(as above)
//!    '- Ud   Deth, imm?
//! ```

use super::cursor::{put, take};
use super::error::{EmitError, ParseError};
use super::{aeth, atomic, atomic_write, deth, feth, ieth, immdt, reth};
use super::{Aeth, AtomicAckEth, AtomicEth, AtomicWriteData, Deth, Feth, Ieth, Imm, Reth};
use crate::rxe::opcode::Opcode;

/// The end of an RC SEND.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RcTail {
    /// Nothing more.
    Plain,
    /// Immediate data for the receiver.
    Imm(Imm),
    /// A key the receiver shall invalidate.
    Invalidate(Ieth),
}

/// A packet of a SEND whose end carries a `T`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Send<T> {
    /// First of several.
    First,
    /// In between.
    Middle,
    /// Last of several.
    Last(T),
    /// The whole message.
    Only(T),
}

/// A packet of an RDMA WRITE.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Write {
    /// First of several.
    First(Reth),
    /// In between.
    Middle,
    /// Last of several.
    Last(Option<Imm>),
    /// The whole message.
    Only(Reth, Option<Imm>),
}

/// A packet of RDMA READ data.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ReadResponse {
    /// First of several.
    First(Aeth),
    /// In between.
    Middle,
    /// Last of several.
    Last(Aeth),
    /// The whole answer.
    Only(Aeth),
}

/// A packet of a reliable connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Rc {
    /// SEND.
    Send(Send<RcTail>),
    /// RDMA WRITE.
    Write(Write),
    /// RDMA READ request.
    ReadRequest(Reth),
    /// RDMA READ data.
    ReadResponse(ReadResponse),
    /// ACK, NAK or RNR NAK.
    Ack(Aeth),
    /// The result of an atomic.
    AtomicAck(Aeth, AtomicAckEth),
    /// Compare and swap.
    CompareSwap(AtomicEth),
    /// Fetch and add.
    FetchAdd(AtomicEth),
    /// FLUSH.
    Flush(Feth, Reth),
    /// ATOMIC WRITE.
    AtomicWrite(Reth, AtomicWriteData),
}

/// A packet of an unreliable connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Uc {
    /// SEND.
    Send(Send<Option<Imm>>),
    /// RDMA WRITE.
    Write(Write),
}

/// A datagram.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ud {
    /// Sender and key.
    pub deth: Deth,
    /// Immediate data.
    pub imm: Option<Imm>,
}

/// Opcode and extension headers of a packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Body {
    /// Reliable connection.
    Rc(Rc),
    /// Unreliable connection.
    Uc(Uc),
    /// Unreliable datagram.
    Ud(Ud),
}

impl Body {
    /// The opcode of this packet.
    pub const fn opcode(&self) -> Opcode {
        match self {
            Self::Rc(rc) => rc.opcode(),
            Self::Uc(uc) => uc.opcode(),
            Self::Ud(Ud { imm: None, .. }) => Opcode::UdSendOnly,
            Self::Ud(Ud { imm: Some(_), .. }) => Opcode::UdSendOnlyImm,
        }
    }

    /// Reads the extension headers of `opcode` off the front of `bytes`.
    // Always: a `Body` returned through memory is copied at once, and that copy waits for its
    // stores (10 ns).
    #[inline(always)]
    pub(super) fn parse(opcode: Opcode, bytes: &mut &[u8]) -> Result<Self, ParseError> {
        use Opcode as O;
        let rc = |rc| Ok(Self::Rc(rc));
        let uc = |uc| Ok(Self::Uc(uc));
        match opcode {
            O::RcSendFirst => rc(Rc::Send(Send::First)),
            O::RcSendMiddle => rc(Rc::Send(Send::Middle)),
            O::RcSendLast => rc(Rc::Send(Send::Last(RcTail::Plain))),
            O::RcSendLastImm => rc(Rc::Send(Send::Last(RcTail::Imm(imm(bytes)?)))),
            O::RcSendLastInv => rc(Rc::Send(Send::Last(RcTail::Invalidate(ieth(bytes)?)))),
            O::RcSendOnly => rc(Rc::Send(Send::Only(RcTail::Plain))),
            O::RcSendOnlyImm => rc(Rc::Send(Send::Only(RcTail::Imm(imm(bytes)?)))),
            O::RcSendOnlyInv => rc(Rc::Send(Send::Only(RcTail::Invalidate(ieth(bytes)?)))),
            O::RcWriteFirst => rc(Rc::Write(Write::First(reth(bytes)?))),
            O::RcWriteMiddle => rc(Rc::Write(Write::Middle)),
            O::RcWriteLast => rc(Rc::Write(Write::Last(None))),
            O::RcWriteLastImm => rc(Rc::Write(Write::Last(Some(imm(bytes)?)))),
            O::RcWriteOnly => rc(Rc::Write(Write::Only(reth(bytes)?, None))),
            O::RcWriteOnlyImm => rc(Rc::Write(Write::Only(reth(bytes)?, Some(imm(bytes)?)))),
            O::RcReadRequest => rc(Rc::ReadRequest(reth(bytes)?)),
            O::RcReadResponseFirst => rc(Rc::ReadResponse(ReadResponse::First(aeth(bytes)?))),
            O::RcReadResponseMiddle => rc(Rc::ReadResponse(ReadResponse::Middle)),
            O::RcReadResponseLast => rc(Rc::ReadResponse(ReadResponse::Last(aeth(bytes)?))),
            O::RcReadResponseOnly => rc(Rc::ReadResponse(ReadResponse::Only(aeth(bytes)?))),
            O::RcAck => rc(Rc::Ack(aeth(bytes)?)),
            O::RcAtomicAck => rc(Rc::AtomicAck(aeth(bytes)?, atomic_ack(bytes)?)),
            O::RcCompareSwap => rc(Rc::CompareSwap(atomic_eth(bytes)?)),
            O::RcFetchAdd => rc(Rc::FetchAdd(atomic_eth(bytes)?)),
            O::RcFlush => rc(Rc::Flush(feth(bytes)?, reth(bytes)?)),
            O::RcAtomicWrite => rc(Rc::AtomicWrite(reth(bytes)?, atomic_write(bytes)?)),
            O::UcSendFirst => uc(Uc::Send(Send::First)),
            O::UcSendMiddle => uc(Uc::Send(Send::Middle)),
            O::UcSendLast => uc(Uc::Send(Send::Last(None))),
            O::UcSendLastImm => uc(Uc::Send(Send::Last(Some(imm(bytes)?)))),
            O::UcSendOnly => uc(Uc::Send(Send::Only(None))),
            O::UcSendOnlyImm => uc(Uc::Send(Send::Only(Some(imm(bytes)?)))),
            O::UcWriteFirst => uc(Uc::Write(Write::First(reth(bytes)?))),
            O::UcWriteMiddle => uc(Uc::Write(Write::Middle)),
            O::UcWriteLast => uc(Uc::Write(Write::Last(None))),
            O::UcWriteLastImm => uc(Uc::Write(Write::Last(Some(imm(bytes)?)))),
            O::UcWriteOnly => uc(Uc::Write(Write::Only(reth(bytes)?, None))),
            O::UcWriteOnlyImm => uc(Uc::Write(Write::Only(reth(bytes)?, Some(imm(bytes)?)))),
            O::UdSendOnly => Ok(Self::Ud(Ud {
                deth: deth(bytes)?,
                imm: None,
            })),
            O::UdSendOnlyImm => Ok(Self::Ud(Ud {
                deth: deth(bytes)?,
                imm: Some(imm(bytes)?),
            })),
        }
    }

    /// Writes the extension headers into the front of `room`.
    #[inline]
    pub(super) fn emit(&self, room: &mut &mut [u8]) -> Result<(), EmitError> {
        match self {
            Self::Rc(rc) => rc.emit(room),
            Self::Uc(Uc::Send(Send::First | Send::Middle)) => Ok(()),
            Self::Uc(Uc::Send(Send::Last(imm) | Send::Only(imm))) => put_imm(room, imm),
            Self::Uc(Uc::Write(write)) => write.emit(room),
            Self::Ud(Ud { deth, imm }) => {
                put(room, &deth.header())?;
                put_imm(room, imm)
            }
        }
    }
}

impl Rc {
    const fn opcode(&self) -> Opcode {
        match self {
            Self::Send(Send::First) => Opcode::RcSendFirst,
            Self::Send(Send::Middle) => Opcode::RcSendMiddle,
            Self::Send(Send::Last(RcTail::Plain)) => Opcode::RcSendLast,
            Self::Send(Send::Last(RcTail::Imm(_))) => Opcode::RcSendLastImm,
            Self::Send(Send::Last(RcTail::Invalidate(_))) => Opcode::RcSendLastInv,
            Self::Send(Send::Only(RcTail::Plain)) => Opcode::RcSendOnly,
            Self::Send(Send::Only(RcTail::Imm(_))) => Opcode::RcSendOnlyImm,
            Self::Send(Send::Only(RcTail::Invalidate(_))) => Opcode::RcSendOnlyInv,
            Self::Write(Write::First(_)) => Opcode::RcWriteFirst,
            Self::Write(Write::Middle) => Opcode::RcWriteMiddle,
            Self::Write(Write::Last(None)) => Opcode::RcWriteLast,
            Self::Write(Write::Last(Some(_))) => Opcode::RcWriteLastImm,
            Self::Write(Write::Only(_, None)) => Opcode::RcWriteOnly,
            Self::Write(Write::Only(_, Some(_))) => Opcode::RcWriteOnlyImm,
            Self::ReadRequest(_) => Opcode::RcReadRequest,
            Self::ReadResponse(ReadResponse::First(_)) => Opcode::RcReadResponseFirst,
            Self::ReadResponse(ReadResponse::Middle) => Opcode::RcReadResponseMiddle,
            Self::ReadResponse(ReadResponse::Last(_)) => Opcode::RcReadResponseLast,
            Self::ReadResponse(ReadResponse::Only(_)) => Opcode::RcReadResponseOnly,
            Self::Ack(_) => Opcode::RcAck,
            Self::AtomicAck(..) => Opcode::RcAtomicAck,
            Self::CompareSwap(_) => Opcode::RcCompareSwap,
            Self::FetchAdd(_) => Opcode::RcFetchAdd,
            Self::Flush(..) => Opcode::RcFlush,
            Self::AtomicWrite(..) => Opcode::RcAtomicWrite,
        }
    }

    #[inline]
    fn emit(&self, room: &mut &mut [u8]) -> Result<(), EmitError> {
        match self {
            Self::Send(Send::First | Send::Middle) => Ok(()),
            Self::Send(Send::Last(tail) | Send::Only(tail)) => match tail {
                RcTail::Plain => Ok(()),
                RcTail::Imm(imm) => put(room, imm),
                RcTail::Invalidate(ieth) => put(room, &ieth.header()),
            },
            Self::Write(write) => write.emit(room),
            Self::ReadRequest(reth) => put(room, &reth.header()),
            Self::ReadResponse(ReadResponse::Middle) => Ok(()),
            Self::ReadResponse(
                ReadResponse::First(aeth) | ReadResponse::Last(aeth) | ReadResponse::Only(aeth),
            )
            | Self::Ack(aeth) => put(room, &aeth.header()),
            Self::AtomicAck(aeth, ack) => {
                put(room, &aeth.header())?;
                put(room, &ack.header())
            }
            Self::CompareSwap(atomic) | Self::FetchAdd(atomic) => put(room, &atomic.header()),
            Self::Flush(feth, reth) => {
                put(room, &feth.header())?;
                put(room, &reth.header())
            }
            Self::AtomicWrite(reth, data) => {
                put(room, &reth.header())?;
                put(room, data)
            }
        }
    }
}

impl Uc {
    const fn opcode(&self) -> Opcode {
        match self {
            Self::Send(Send::First) => Opcode::UcSendFirst,
            Self::Send(Send::Middle) => Opcode::UcSendMiddle,
            Self::Send(Send::Last(None)) => Opcode::UcSendLast,
            Self::Send(Send::Last(Some(_))) => Opcode::UcSendLastImm,
            Self::Send(Send::Only(None)) => Opcode::UcSendOnly,
            Self::Send(Send::Only(Some(_))) => Opcode::UcSendOnlyImm,
            Self::Write(Write::First(_)) => Opcode::UcWriteFirst,
            Self::Write(Write::Middle) => Opcode::UcWriteMiddle,
            Self::Write(Write::Last(None)) => Opcode::UcWriteLast,
            Self::Write(Write::Last(Some(_))) => Opcode::UcWriteLastImm,
            Self::Write(Write::Only(_, None)) => Opcode::UcWriteOnly,
            Self::Write(Write::Only(_, Some(_))) => Opcode::UcWriteOnlyImm,
        }
    }
}

impl Write {
    #[inline]
    fn emit(&self, room: &mut &mut [u8]) -> Result<(), EmitError> {
        match self {
            Self::First(reth) => put(room, &reth.header()),
            Self::Middle => Ok(()),
            Self::Last(imm) => put_imm(room, imm),
            Self::Only(reth, imm) => {
                put(room, &reth.header())?;
                put_imm(room, imm)
            }
        }
    }
}

#[inline]
fn put_imm(room: &mut &mut [u8], imm: &Option<Imm>) -> Result<(), EmitError> {
    match imm {
        Some(imm) => put(room, imm),
        None => Ok(()),
    }
}

#[inline]
fn imm(bytes: &mut &[u8]) -> Result<Imm, ParseError> {
    take::<immdt::Imm>(bytes).copied()
}

#[inline]
fn ieth(bytes: &mut &[u8]) -> Result<Ieth, ParseError> {
    take(bytes).map(ieth::Repr::parse)
}

#[inline]
fn reth(bytes: &mut &[u8]) -> Result<Reth, ParseError> {
    take(bytes).map(reth::Repr::parse)
}

#[inline]
fn aeth(bytes: &mut &[u8]) -> Result<Aeth, ParseError> {
    take(bytes).and_then(aeth::Repr::parse)
}

#[inline]
fn feth(bytes: &mut &[u8]) -> Result<Feth, ParseError> {
    take(bytes).and_then(feth::Repr::parse)
}

#[inline]
fn deth(bytes: &mut &[u8]) -> Result<Deth, ParseError> {
    take(bytes).map(deth::Repr::parse)
}

#[inline]
fn atomic_eth(bytes: &mut &[u8]) -> Result<AtomicEth, ParseError> {
    take(bytes).map(atomic::Repr::parse)
}

#[inline]
fn atomic_ack(bytes: &mut &[u8]) -> Result<AtomicAckEth, ParseError> {
    take(bytes).map(atomic::AckRepr::parse)
}

#[inline]
fn atomic_write(bytes: &mut &[u8]) -> Result<AtomicWriteData, ParseError> {
    take::<atomic_write::Data>(bytes).copied()
}
