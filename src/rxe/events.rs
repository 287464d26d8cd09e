// SPDX-License-Identifier: GPL-2.0-only

//! What happens inside the engine, as values: the edge maps them to counters and trace points.
//!
//! Counter names are those of upstream rxe (`rdma statistic`), so that operators recognise them.
//! An [`Event`] is for counting and tracing and may be ignored; an [`AsyncEvent`] is part of the
//! verbs contract and must reach the user.

use super::error::Failure;
use super::psn::Psn;

/// Something worth counting.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Event {
    /// A packet left.
    Sent {
        /// From the IP header to the ICRC.
        bytes: u32,
    },
    /// A packet with a correct ICRC arrived for this queue pair.
    Received {
        /// From the IP header to the ICRC.
        bytes: u32,
    },
    /// The responder got a request it knows.
    DuplicateRequest(Psn),
    /// The responder got a request it does not expect yet.
    OutOfSequence {
        /// What it expects.
        expected: Psn,
        /// What came.
        got: Psn,
    },
    /// The rail reported a certain loss.
    LossReported,
    /// An RNR NAK arrived.
    RnrNakReceived(Psn),
    /// An RNR NAK is due.
    RnrNakSent(Psn),
    /// A sequence NAK arrived.
    SequenceNakReceived(Psn),
    /// A response showed that earlier responses are lost.
    ResponseGap {
        /// What the requester waits for.
        expected: Psn,
        /// What came.
        got: Psn,
    },
    /// The requester starts over from this packet.
    Retry(Psn),
    /// The retry budget is used up.
    RetryExceeded,
    /// The RNR retry budget is used up.
    RnrRetryExceeded,
    /// An answer waits because the link is busy or others come first.
    AnswerDeferred,
    /// The link refused a packet for lack of room.
    LinkBusy,
    /// A SEND is complete.
    SendCompleted,
    /// A message was received.
    ReceiveCompleted,
    /// A packet came that this queue pair does not take.
    Dropped(Drop),
    /// A work request or the queue pair failed.
    Failed(Failure),
}

/// Why a well-formed packet is not taken.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Drop {
    /// The transport service is not the queue pair's.
    Service,
    /// The queue pair's state takes no such packets.
    State,
    /// It does not come from the peer.
    Address,
    /// The partition key does not match.
    Pkey,
    /// The queue key does not match.
    Qkey,
    /// The responder waits for another packet and has said so.
    Waiting,
    /// A request repeated so late that its answer is forgotten.
    Forgotten,
    /// A response nobody waits for.
    Ghost,
    /// An unreliable message that is broken, or has no receive request.
    Unreliable,
}

/// The hardware counters of upstream rxe.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Counter {
    /// Packets sent.
    SentPkts,
    /// Packets received.
    RcvdPkts,
    /// Requests received again.
    DuplicateRequest,
    /// Requests received too early.
    OutOfSeqRequest,
    /// RNR NAKs received.
    RcvdRnrErr,
    /// RNR NAKs sent.
    SendRnrErr,
    /// Sequence NAKs received.
    RcvdSeqErr,
    /// Answers that had to wait.
    AckDeferred,
    /// Retry budgets used up.
    RetryExceededErr,
    /// RNR retry budgets used up.
    RetryRnrExceededErr,
    /// Times the requester started over.
    CompleterRetryErr,
    /// Packets the link took and could not send: counted by the caller.
    SendErr,
    /// Times the port went down: counted by the caller.
    LinkDowned,
    /// SENDs completed.
    RdmaSends,
    /// Messages received.
    RdmaRecvs,
    /// Bytes sent.
    SentBytes,
    /// Bytes received.
    RcvdBytes,
}

impl Counter {
    /// All counters with their names, in upstream's order.
    pub const ALL: [(Self, &'static str); 17] = [
        (Self::SentPkts, "sent_pkts"),
        (Self::RcvdPkts, "rcvd_pkts"),
        (Self::DuplicateRequest, "duplicate_request"),
        (Self::OutOfSeqRequest, "out_of_seq_request"),
        (Self::RcvdRnrErr, "rcvd_rnr_err"),
        (Self::SendRnrErr, "send_rnr_err"),
        (Self::RcvdSeqErr, "rcvd_seq_err"),
        (Self::AckDeferred, "ack_deferred"),
        (Self::RetryExceededErr, "retry_exceeded_err"),
        (Self::RetryRnrExceededErr, "retry_rnr_exceeded_err"),
        (Self::CompleterRetryErr, "completer_retry_err"),
        (Self::SendErr, "send_err"),
        (Self::LinkDowned, "link_downed"),
        (Self::RdmaSends, "rdma_sends"),
        (Self::RdmaRecvs, "rdma_recvs"),
        (Self::SentBytes, "sent_bytes"),
        (Self::RcvdBytes, "rcvd_bytes"),
    ];
}

impl Counter {
    /// Whether it counts what should be rare on a link in order, and what is done about it.
    pub const fn is_trouble(self) -> bool {
        match self {
            Self::SentPkts
            | Self::RcvdPkts
            | Self::AckDeferred
            | Self::RdmaSends
            | Self::RdmaRecvs
            | Self::SentBytes
            | Self::RcvdBytes => false,
            Self::DuplicateRequest
            | Self::OutOfSeqRequest
            | Self::RcvdRnrErr
            | Self::SendRnrErr
            | Self::RcvdSeqErr
            | Self::RetryExceededErr
            | Self::RetryRnrExceededErr
            | Self::CompleterRetryErr
            | Self::SendErr
            | Self::LinkDowned => true,
        }
    }
}

impl Event {
    /// What to add to which counters; the second is for the bytes of a packet.
    pub const fn counts(self) -> (Option<Counter>, Option<(Counter, u32)>) {
        let counter = match self {
            Self::Sent { bytes } => {
                return (Some(Counter::SentPkts), Some((Counter::SentBytes, bytes)))
            }
            Self::Received { bytes } => {
                return (Some(Counter::RcvdPkts), Some((Counter::RcvdBytes, bytes)))
            }
            Self::DuplicateRequest(_) => Counter::DuplicateRequest,
            Self::OutOfSequence { .. } => Counter::OutOfSeqRequest,
            Self::RnrNakReceived(_) => Counter::RcvdRnrErr,
            Self::RnrNakSent(_) => Counter::SendRnrErr,
            Self::SequenceNakReceived(_) => Counter::RcvdSeqErr,
            Self::Retry(_) => Counter::CompleterRetryErr,
            Self::RetryExceeded => Counter::RetryExceededErr,
            Self::RnrRetryExceeded => Counter::RetryRnrExceededErr,
            Self::AnswerDeferred => Counter::AckDeferred,
            Self::SendCompleted => Counter::RdmaSends,
            Self::ReceiveCompleted => Counter::RdmaRecvs,
            // A busy link is no error: the packet leaves later.
            Self::LossReported
            | Self::ResponseGap { .. }
            | Self::LinkBusy
            | Self::Dropped(_)
            | Self::Failed(_) => return (None, None),
        };
        (Some(counter), None)
    }
}

/// What the verbs contract wants the user told (IBTA vol. 1, 11.6.3).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum AsyncEvent {
    /// The queue pair failed and no work request tells why.
    Fatal,
    /// The peer sent a request this queue pair does not take.
    RequestError,
    /// The peer used a key that does not permit it.
    AccessError,
    /// The first packet arrived before the queue pair was ready to send.
    CommunicationEstablished,
    /// The send queue is drained (state SQD).
    SendQueueDrained,
    /// The failed queue pair will take nothing more from its shared receive queue.
    LastReceiveReached,
}
