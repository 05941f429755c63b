//! The life of keys (docs/lifecycle.md): nothing that an application sets later, but for what it may say when it makes a key.

use cryptoki_sys::CK_ULONG;

use crate::lifecycle::State;
use crate::object::row::{Compute, Kind, Row, Source};
use crate::token::*;

const STATES: &[(CK_ULONG, &str)] = &[
    (State::PreActive as CK_ULONG, State::PreActive.name()),
    (State::Active as CK_ULONG, State::Active.name()),
    (State::Deactivated as CK_ULONG, State::Deactivated.name()),
    (State::Compromised as CK_ULONG, State::Compromised.name()),
    (State::Destroyed as CK_ULONG, State::Destroyed.name()),
    (State::Suspended as CK_ULONG, State::Suspended.name()),
    (State::PendingDestroy as CK_ULONG, State::PendingDestroy.name()),
];

/// Set by the token alone: neither when creating, generating nor unwrapping.
const TOKENS: &[u8] = &[2, 4, 6];
/// May be said when the key is made.
const MAKERS: &[u8] = &[];

macro_rules! row {
    ($name:ident, $kind:expr, $notes:expr, $source:expr) => {
        Row::new($name, stringify!($name), $kind, $notes, $source)
    };
}

/// The policy's own object.
pub const POLICY: &[Row] = &[
    Row::new(cryptoki_sys::CKA_VALUE, "CKA_VALUE", Kind::Bytes, &[1], Source::Nobody),
    row!(CKA_KEYWARD_POLICY_NUMBER, Kind::Ulong, &[1], Source::Nobody),
    row!(CKA_KEYWARD_STATE_DATE, Kind::Ulong, &[1], Source::Nobody),
    row!(CKA_KEYWARD_POLICY_KEY, Kind::Bytes, &[1], Source::Nobody),
    row!(CKA_KEYWARD_POLICY_SIGNATURE, Kind::Bytes, &[1], Source::Nobody),
];

pub const LIFE: &[Row] = &[
    row!(CKA_KEYWARD_STATE, Kind::OneOf(STATES), TOKENS, Source::Computed(Compute::State)),
    row!(CKA_KEYWARD_VERSION, Kind::Ulong, TOKENS, Source::Implied(1)),
    row!(CKA_KEYWARD_LOGICAL_KEY, Kind::Text, TOKENS, Source::Nobody),
    row!(CKA_KEYWARD_CLASS, Kind::Text, MAKERS, Source::Nobody),
    row!(CKA_KEYWARD_ACTIVATION_DATE, Kind::Ulong, MAKERS, Source::Nobody),
    row!(CKA_KEYWARD_PROTECT_STOP_DATE, Kind::Ulong, MAKERS, Source::Nobody),
    row!(CKA_KEYWARD_PROCESS_STOP_DATE, Kind::Ulong, MAKERS, Source::Nobody),
    row!(CKA_KEYWARD_DEACTIVATION_DATE, Kind::Ulong, MAKERS, Source::Nobody),
    row!(CKA_KEYWARD_COMPROMISE_DATE, Kind::Ulong, TOKENS, Source::Nobody),
    row!(CKA_KEYWARD_DESTRUCTION_DATE, Kind::Ulong, TOKENS, Source::Nobody),
    row!(CKA_KEYWARD_CREATION_DATE, Kind::Ulong, TOKENS, Source::Computed(Compute::Now)),
    row!(CKA_KEYWARD_STATE_DATE, Kind::Ulong, TOKENS, Source::Nobody),
    row!(CKA_KEYWARD_STATE_REASON, Kind::Text, TOKENS, Source::Nobody),
    row!(CKA_KEYWARD_STATE_ACTOR, Kind::Text, TOKENS, Source::Nobody),
    row!(CKA_KEYWARD_USES, Kind::Ulong, TOKENS, Source::Nobody),
    row!(CKA_KEYWARD_STATE_BEFORE, Kind::OneOf(STATES), TOKENS, Source::Nobody),
];
