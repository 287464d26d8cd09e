// SPDX-License-Identifier: GPL-2.0-only

//! The states of a queue pair and what each permits (IBTA vol. 1, 10.3.1).
//!
//! ```text
//!   RESET --> INIT --> RTR --> RTS <--> SQD        any --> RESET
//!                               ^                  any but RESET --> ERR
//!                               '----- SQE
//! ```
//!
//! Two tables: [`PERMITS`], what happens to work and packets in a state, and the transitions in
//! [`modify`](super::modify). A failure moves to ERR, on unreliable services to SQE if only the
//! send queue failed.

/// The state of a queue pair; the numbers are those of `enum ib_qp_state`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[repr(u8)]
pub enum State {
    /// Just created, or reset.
    Reset = 0,
    /// Receives may be posted.
    Init = 1,
    /// Ready to receive.
    Rtr = 2,
    /// Ready to send.
    Rts = 3,
    /// Send queue draining or drained.
    Sqd = 4,
    /// Send queue failed (unreliable services).
    Sqe = 5,
    /// Failed.
    Err = 6,
}

impl State {
    /// All states.
    pub const ALL: [Self; 7] = [
        Self::Reset,
        Self::Init,
        Self::Rtr,
        Self::Rts,
        Self::Sqd,
        Self::Sqe,
        Self::Err,
    ];
}

/// What happens to the work requests of a queue.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Work {
    /// They wait.
    Held,
    /// They are executed.
    Executed,
    /// Those begun are finished, the others wait.
    Finished,
    /// They end with status "flushed".
    Flushed,
}

/// What a state permits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Permits {
    /// The send queue.
    pub sends: Work,
    /// The receive queue.
    pub receives: Work,
    /// Requests from the peer are taken.
    pub requests: bool,
    /// Responses from the peer are taken.
    pub responses: bool,
}

/// The table, by state.
#[rustfmt::skip]
pub const PERMITS: [(State, Permits); 7] = [
    (State::Reset, Permits { sends: Work::Held, receives: Work::Held, requests: false, responses: false }),
    (State::Init, Permits { sends: Work::Held, receives: Work::Held, requests: false, responses: false }),
    (State::Rtr, Permits { sends: Work::Held, receives: Work::Executed, requests: true, responses: false }),
    (State::Rts, Permits { sends: Work::Executed, receives: Work::Executed, requests: true, responses: true }),
    (State::Sqd, Permits { sends: Work::Finished, receives: Work::Executed, requests: true, responses: true }),
    (State::Sqe, Permits { sends: Work::Flushed, receives: Work::Executed, requests: true, responses: false }),
    (State::Err, Permits { sends: Work::Flushed, receives: Work::Flushed, requests: false, responses: false }),
];

impl State {
    /// What this state permits.
    pub const fn permits(self) -> Permits {
        // The discriminant is the row, checked below.
        PERMITS[self as usize].1
    }
}

const _: () = {
    let mut i = 0;
    while i < PERMITS.len() {
        assert!(PERMITS[i].0 as usize == i);
        i += 1;
    }
};
