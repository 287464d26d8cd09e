// SPDX-License-Identifier: GPL-2.0-only

//! What can go wrong on a queue pair, and what follows from it.
//!
//! Two steps: the engine names a [`Failure`]; [`Failure::consequence`], one exhaustive table, says
//! which NAK the peer gets, which status our user gets and whether the queue pair survives.

use super::cqe::WcStatus;
use super::events::AsyncEvent;
use super::wire::Nak;

/// A reason to end a work request or a queue pair.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Failure {
    // The requester's own mistakes, found before anything was sent.
    /// A send request is malformed or illegal on this QP.
    BadRequest,
    /// The data of a send request is too long, or too short for its kind.
    RequestLength,
    /// A local key of a send request does not permit the access.
    RequestProtection,
    /// BIND_MW was refused.
    Bind,
    /// LOCAL_INV or REG_MR was refused.
    KeyChange,

    // What the requester learns from the peer.
    /// The peer answered with something else than the request asks for.
    BadResponse,
    /// NAK: invalid request.
    PeerInvalidRequest,
    /// NAK: remote access error.
    PeerAccess,
    /// NAK: remote operational error.
    PeerOperation,
    /// The peer gave up the connection at a later request, so this one's data will never come.
    PeerGone,
    /// No answer within the retry budget.
    RetryExceeded,
    /// The peer was not ready within the RNR retry budget.
    RnrRetryExceeded,

    // What the responder finds wrong with a request.
    /// A packet that does not continue the message before it.
    OpcodeSequence,
    /// The QP does not permit this operation.
    OperationNotPermitted,
    /// Reads or atomics, of which this QP accepts none.
    ReadDepth,
    /// Lengths in the packet contradict each other, or the message is too long.
    MessageLength,
    /// The address of an atomic is not a multiple of eight.
    Misaligned,
    /// A remote key does not permit the access.
    RemoteAccess,
    /// The key to invalidate does not permit it.
    RemoteInvalidate,

    // What the responder finds wrong with its own receive request.
    /// A receive request is malformed.
    BadReceive,
    /// The message does not fit in the receive request.
    ReceiveLength,
    /// A local key of a receive request does not permit the access.
    ReceiveProtection,

    // Both sides.
    /// A completion queue has no room.
    CqOverrun,
}

/// What follows from a failure.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Consequence {
    /// What the peer is told (reliable connections only).
    pub nak: Option<Nak>,
    /// How the work request ends that the failure belongs to.
    pub status: WcStatus,
    /// What the user is told if no work request can carry the status.
    pub event: Option<AsyncEvent>,
    /// Which queue fails: the whole pair, or on unreliable services the send queue alone.
    pub scope: Scope,
}

/// How much of a queue pair a failure takes down.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Scope {
    /// The send queue: state SQE on UC, UD and GSI; ERR on RC.
    SendQueue,
    /// The queue pair: state ERR. Unreliable services drop the message instead.
    Message,
    /// The queue pair: state ERR on every service.
    QueuePair,
}

impl Failure {
    /// Every failure, in order of declaration.
    pub const ALL: [Self; 23] = [
        Self::BadRequest,
        Self::RequestLength,
        Self::RequestProtection,
        Self::Bind,
        Self::KeyChange,
        Self::BadResponse,
        Self::PeerInvalidRequest,
        Self::PeerAccess,
        Self::PeerOperation,
        Self::PeerGone,
        Self::RetryExceeded,
        Self::RnrRetryExceeded,
        Self::OpcodeSequence,
        Self::OperationNotPermitted,
        Self::ReadDepth,
        Self::MessageLength,
        Self::Misaligned,
        Self::RemoteAccess,
        Self::RemoteInvalidate,
        Self::BadReceive,
        Self::ReceiveLength,
        Self::ReceiveProtection,
        Self::CqOverrun,
    ];

    /// The table.
    pub const fn consequence(self) -> Consequence {
        use AsyncEvent as E;
        use Scope::{Message, QueuePair, SendQueue};
        use WcStatus as S;
        let (nak, status, event, scope) = match self {
            Self::BadRequest => (None, S::LocalQpOperation, None, SendQueue),
            Self::RequestLength => (None, S::LocalLength, None, SendQueue),
            Self::RequestProtection => (None, S::LocalProtection, None, SendQueue),
            Self::Bind => (None, S::MwBind, None, SendQueue),
            Self::KeyChange => (None, S::LocalQpOperation, None, SendQueue),

            Self::BadResponse => (None, S::BadResponse, None, SendQueue),
            Self::PeerInvalidRequest => (None, S::RemoteInvalidRequest, None, SendQueue),
            Self::PeerAccess => (None, S::RemoteAccess, None, SendQueue),
            Self::PeerOperation => (None, S::RemoteOperation, None, SendQueue),
            Self::PeerGone => (None, S::RemoteAborted, None, SendQueue),
            Self::RetryExceeded => (None, S::RetryExceeded, None, SendQueue),
            Self::RnrRetryExceeded => (None, S::RnrRetryExceeded, None, SendQueue),

            Self::OpcodeSequence
            | Self::OperationNotPermitted
            | Self::ReadDepth
            | Self::MessageLength
            | Self::Misaligned => (
                Some(Nak::InvalidRequest),
                S::RemoteInvalidRequest,
                Some(E::RequestError),
                Message,
            ),
            Self::RemoteAccess => (
                Some(Nak::RemoteAccess),
                S::RemoteAccess,
                Some(E::AccessError),
                Message,
            ),
            Self::RemoteInvalidate => (
                Some(Nak::RemoteAccess),
                S::RemoteInvalidRequest,
                Some(E::AccessError),
                Message,
            ),

            Self::BadReceive => (
                Some(Nak::RemoteOperational),
                S::LocalQpOperation,
                None,
                QueuePair,
            ),
            Self::ReceiveLength => (Some(Nak::InvalidRequest), S::LocalLength, None, Message),
            Self::ReceiveProtection => (
                Some(Nak::RemoteOperational),
                S::LocalProtection,
                None,
                QueuePair,
            ),

            Self::CqOverrun => (
                Some(Nak::RemoteOperational),
                S::LocalQpOperation,
                Some(E::Fatal),
                QueuePair,
            ),
        };
        Consequence {
            nak,
            status,
            event,
            scope,
        }
    }
}
