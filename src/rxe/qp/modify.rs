// SPDX-License-Identifier: GPL-2.0-only

//! Changing attributes and state: which change is legal when (IBTA vol. 1, 11.2.5.2, table 91).
//!
//! A [`Change`] names new values; what it names is a [`Fields`] set. [`RULES`] says for every
//! transition which fields are required and which are optional, by transport type.

use super::attr::{Attr, QpType};
use super::state::State;
use crate::rxe::access::Rights;
use crate::rxe::mtu::Mtu;
use crate::rxe::path::Path;
use crate::rxe::psn::Psn;
use crate::rxe::qpn::Qpn;
use crate::rxe::time::{AckTimeout, RnrTimer};

/// A set of attributes; the bits are those of `enum ib_qp_attr_mask`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Fields(u32);

impl Fields {
    /// Nothing.
    pub const NONE: Self = Self(0);
    /// The state the caller believes the QP is in.
    pub const CUR_STATE: Self = Self(1 << 1);
    /// The caller wants an event when the send queue is drained.
    pub const SQD_NOTIFY: Self = Self(1 << 2);
    /// Rights of the peer.
    pub const ACCESS: Self = Self(1 << 3);
    /// Partition key.
    pub const PKEY: Self = Self(1 << 4);
    /// Port.
    pub const PORT: Self = Self(1 << 5);
    /// Queue key.
    pub const QKEY: Self = Self(1 << 6);
    /// Addresses of the peer.
    pub const PATH: Self = Self(1 << 7);
    /// Path MTU.
    pub const MTU: Self = Self(1 << 8);
    /// Answer timeout.
    pub const TIMEOUT: Self = Self(1 << 9);
    /// Retry count.
    pub const RETRY: Self = Self(1 << 10);
    /// RNR retry count.
    pub const RNR_RETRY: Self = Self(1 << 11);
    /// First PSN expected.
    pub const RQ_PSN: Self = Self(1 << 12);
    /// Reads and atomics under way.
    pub const RD_ATOMIC: Self = Self(1 << 13);
    /// Alternate path: accepted, never used.
    pub const ALT_PATH: Self = Self(1 << 14);
    /// RNR delay.
    pub const MIN_RNR: Self = Self(1 << 15);
    /// First PSN sent.
    pub const SQ_PSN: Self = Self(1 << 16);
    /// Reads and atomics remembered.
    pub const DEST_RD_ATOMIC: Self = Self(1 << 17);
    /// Path migration state: accepted, never used.
    pub const MIGRATION: Self = Self(1 << 18);
    /// Destination queue pair.
    pub const DEST_QP: Self = Self(1 << 20);

    /// Takes the bits of a mask; the state bit itself does not count.
    pub const fn from_bits(bits: u32) -> Self {
        Self(bits & !1)
    }

    /// The bits.
    pub const fn bits(self) -> u32 {
        self.0
    }

    /// Both sets together.
    #[must_use]
    pub const fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether all of `other` is in this set.
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

impl core::fmt::Debug for Fields {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        const NAMES: [(Fields, &str); 19] = [
            (Fields::CUR_STATE, "cur_state"),
            (Fields::SQD_NOTIFY, "sqd_notify"),
            (Fields::ACCESS, "access"),
            (Fields::PKEY, "pkey"),
            (Fields::PORT, "port"),
            (Fields::QKEY, "qkey"),
            (Fields::PATH, "path"),
            (Fields::MTU, "mtu"),
            (Fields::TIMEOUT, "timeout"),
            (Fields::RETRY, "retry"),
            (Fields::RNR_RETRY, "rnr_retry"),
            (Fields::RQ_PSN, "rq_psn"),
            (Fields::RD_ATOMIC, "rd_atomic"),
            (Fields::ALT_PATH, "alt_path"),
            (Fields::MIN_RNR, "min_rnr"),
            (Fields::SQ_PSN, "sq_psn"),
            (Fields::DEST_RD_ATOMIC, "dest_rd_atomic"),
            (Fields::MIGRATION, "migration"),
            (Fields::DEST_QP, "dest_qp"),
        ];
        let mut set = f.debug_set();
        for (field, name) in NAMES {
            if self.contains(field) {
                set.entry(&format_args!("{name}"));
            }
        }
        set.finish()
    }
}

/// What a transition takes, for one transport type.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Rule {
    /// Must be given.
    pub required: Fields,
    /// May be given.
    pub optional: Fields,
}

const ANY: Rule = Rule {
    required: Fields::NONE,
    optional: Fields::NONE,
};

/// Joins fields in const context.
macro_rules! fields {
    ($($name:ident)*) => { Fields::NONE$(.or(Fields::$name))* };
}

/// The rule for a transition, or `None` if there is no such transition.
pub const fn rule(from: State, to: State, qp_type: QpType) -> Option<Rule> {
    use QpType as T;
    use State as S;
    let (required, optional) = match (from, to) {
        (_, S::Reset) => return Some(ANY),
        (S::Reset, S::Init) => match qp_type {
            T::Rc | T::Uc => (fields!(PKEY PORT ACCESS), fields!()),
            T::Ud => (fields!(PKEY PORT QKEY), fields!()),
            T::Gsi => (fields!(PKEY QKEY), fields!()),
        },
        (S::Init | S::Rtr | S::Rts | S::Sqd | S::Sqe | S::Err, S::Err) => return Some(ANY),
        (S::Init, S::Init) => match qp_type {
            T::Rc | T::Uc => (fields!(), fields!(PKEY PORT ACCESS)),
            T::Ud => (fields!(), fields!(PKEY PORT QKEY)),
            T::Gsi => (fields!(), fields!(PKEY QKEY)),
        },
        (S::Init, S::Rtr) => match qp_type {
            T::Rc => (
                fields!(PATH MTU DEST_QP RQ_PSN DEST_RD_ATOMIC MIN_RNR),
                fields!(ALT_PATH ACCESS PKEY),
            ),
            T::Uc => (
                fields!(PATH MTU DEST_QP RQ_PSN),
                fields!(ALT_PATH ACCESS PKEY),
            ),
            T::Ud | T::Gsi => (fields!(), fields!(PKEY QKEY)),
        },
        (S::Rtr, S::Rts) => match qp_type {
            T::Rc => (
                fields!(TIMEOUT RETRY RNR_RETRY SQ_PSN RD_ATOMIC),
                fields!(CUR_STATE ALT_PATH ACCESS MIN_RNR MIGRATION),
            ),
            T::Uc => (
                fields!(SQ_PSN),
                fields!(CUR_STATE ALT_PATH ACCESS MIGRATION),
            ),
            T::Ud | T::Gsi => (fields!(SQ_PSN), fields!(CUR_STATE QKEY)),
        },
        (S::Rts, S::Rts) | (S::Sqd, S::Rts) => match qp_type {
            T::Rc => (
                fields!(),
                fields!(CUR_STATE ALT_PATH ACCESS MIN_RNR MIGRATION),
            ),
            T::Uc => (fields!(), fields!(CUR_STATE ALT_PATH ACCESS MIGRATION)),
            T::Ud | T::Gsi => (fields!(), fields!(CUR_STATE QKEY)),
        },
        (S::Rts, S::Sqd) => (fields!(), fields!(SQD_NOTIFY)),
        (S::Sqd, S::Sqd) => match qp_type {
            T::Rc => (
                fields!(),
                fields!(PORT PATH TIMEOUT RETRY RNR_RETRY RD_ATOMIC DEST_RD_ATOMIC ALT_PATH ACCESS
                    PKEY MIN_RNR MIGRATION),
            ),
            T::Uc => (fields!(), fields!(PATH ALT_PATH ACCESS PKEY MIGRATION)),
            T::Ud | T::Gsi => (fields!(), fields!(PKEY QKEY)),
        },
        (S::Sqe, S::Rts) => match qp_type {
            // A reliable connection is never in SQE.
            T::Rc => (fields!(), fields!()),
            T::Uc => (fields!(), fields!(CUR_STATE ACCESS)),
            T::Ud | T::Gsi => (fields!(), fields!(CUR_STATE QKEY)),
        },
        _ => return None,
    };
    Some(Rule { required, optional })
}

/// New values. `None` leaves what is there.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Change {
    /// The state to go to.
    pub state: Option<State>,
    /// The state the caller believes the QP is in.
    pub cur_state: Option<State>,
    /// Fields given that have no value here: port, SQD notification, alternate path, migration.
    pub others: Fields,
    /// Partition key.
    pub pkey: Option<u16>,
    /// Queue key.
    pub qkey: Option<u32>,
    /// Rights of the peer.
    pub rights: Option<Rights>,
    /// Addresses of the peer.
    pub path: Option<Path>,
    /// Path MTU.
    pub mtu: Option<Mtu>,
    /// Destination queue pair.
    pub dest_qp: Option<Qpn>,
    /// First PSN expected.
    pub rq_psn: Option<Psn>,
    /// First PSN sent.
    pub sq_psn: Option<Psn>,
    /// Reads and atomics under way.
    pub max_rd_atomic: Option<u8>,
    /// Reads and atomics remembered.
    pub max_dest_rd_atomic: Option<u8>,
    /// Answer timeout.
    pub timeout: Option<AckTimeout>,
    /// Retry count.
    pub retry_count: Option<u8>,
    /// RNR retry count.
    pub rnr_retry: Option<u8>,
    /// RNR delay.
    pub min_rnr_timer: Option<RnrTimer>,
}

/// Why a change is refused.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum ModifyError {
    /// The QP is not in the state the caller believes.
    CurrentState,
    /// There is no such transition.
    Transition,
    /// Required fields are missing.
    Missing(Fields),
    /// Fields that this transition does not take.
    Excess(Fields),
    /// The send queue is not drained yet.
    Draining,
    /// A value out of range.
    Value(Fields),
}

impl Change {
    /// What is given.
    pub fn fields(&self) -> Fields {
        let given = [
            (self.cur_state.is_some(), Fields::CUR_STATE),
            (self.pkey.is_some(), Fields::PKEY),
            (self.qkey.is_some(), Fields::QKEY),
            (self.rights.is_some(), Fields::ACCESS),
            (self.path.is_some(), Fields::PATH),
            (self.mtu.is_some(), Fields::MTU),
            (self.dest_qp.is_some(), Fields::DEST_QP),
            (self.rq_psn.is_some(), Fields::RQ_PSN),
            (self.sq_psn.is_some(), Fields::SQ_PSN),
            (self.max_rd_atomic.is_some(), Fields::RD_ATOMIC),
            (self.max_dest_rd_atomic.is_some(), Fields::DEST_RD_ATOMIC),
            (self.timeout.is_some(), Fields::TIMEOUT),
            (self.retry_count.is_some(), Fields::RETRY),
            (self.rnr_retry.is_some(), Fields::RNR_RETRY),
            (self.min_rnr_timer.is_some(), Fields::MIN_RNR),
        ];
        given
            .iter()
            .filter(|(is_given, _)| *is_given)
            .fold(self.others, |all, (_, field)| all.or(*field))
    }

    /// Whether a QP of this type may go this way; the result is the state to go to.
    pub fn check(&self, from: State, qp_type: QpType) -> Result<State, ModifyError> {
        if self.cur_state.is_some_and(|believed| believed != from) {
            return Err(ModifyError::CurrentState);
        }
        let to = self.state.unwrap_or(from);
        let rule = rule(from, to, qp_type).ok_or(ModifyError::Transition)?;
        let given = self.fields();
        if !given.contains(rule.required) {
            return Err(ModifyError::Missing(Fields(rule.required.0 & !given.0)));
        }
        let excess = given.0 & !rule.required.0 & !rule.optional.0;
        if excess != 0 {
            return Err(ModifyError::Excess(Fields(excess)));
        }
        if self.retry_count.is_some_and(|count| count > 7) {
            return Err(ModifyError::Value(Fields::RETRY));
        }
        if self.rnr_retry.is_some_and(|count| count > 7) {
            return Err(ModifyError::Value(Fields::RNR_RETRY));
        }
        Ok(to)
    }

    /// Writes the new values.
    pub fn apply(&self, attr: &mut Attr) {
        /// Sets `place` if there is a value.
        fn set<T: Copy>(place: &mut T, value: Option<T>) {
            if let Some(value) = value {
                *place = value;
            }
        }
        set(&mut attr.pkey, self.pkey);
        set(&mut attr.qkey, self.qkey);
        set(&mut attr.rights, self.rights);
        set(&mut attr.mtu, self.mtu);
        set(&mut attr.dest_qp, self.dest_qp);
        set(&mut attr.rq_psn, self.rq_psn);
        set(&mut attr.sq_psn, self.sq_psn);
        set(&mut attr.max_rd_atomic, self.max_rd_atomic);
        set(&mut attr.max_dest_rd_atomic, self.max_dest_rd_atomic);
        set(&mut attr.timeout, self.timeout);
        set(&mut attr.retry_count, self.retry_count);
        set(&mut attr.rnr_retry, self.rnr_retry);
        set(&mut attr.min_rnr_timer, self.min_rnr_timer);
        if self.path.is_some() {
            attr.path = self.path;
        }
    }
}
