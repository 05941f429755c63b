//! The life of a key, as its attributes keep it.

use cryptoki_sys::*;

use super::Attributes;
use crate::lifecycle::{Dates, Life, State, clock, version};
use crate::token::*;

/// What [`life`] reads.
pub const DECIDING: [CK_ATTRIBUTE_TYPE; 5] = [
    CKA_KEYWARD_STATE,
    CKA_KEYWARD_ACTIVATION_DATE,
    CKA_KEYWARD_PROTECT_STOP_DATE,
    CKA_KEYWARD_PROCESS_STOP_DATE,
    CKA_KEYWARD_DEACTIVATION_DATE,
];

/// What is left of a key that is destroyed, for those who ask later what it was.
const TOMBSTONE: &[CK_ATTRIBUTE_TYPE] = &[
    CKA_CLASS,
    CKA_TOKEN,
    CKA_PRIVATE,
    CKA_LABEL,
    CKA_UNIQUE_ID,
    CKA_KEY_TYPE,
    CKA_ID,
    CKA_START_DATE,
    CKA_END_DATE,
    CKA_LOCAL,
    CKA_KEY_GEN_MECHANISM,
    CKA_SENSITIVE,
    CKA_EXTRACTABLE,
    CKA_ALWAYS_SENSITIVE,
    CKA_NEVER_EXTRACTABLE,
];

pub fn is_key(object: &Attributes) -> bool {
    matches!(object.ulong(CKA_CLASS), Some(CKO_PUBLIC_KEY | CKO_PRIVATE_KEY | CKO_SECRET_KEY | CKO_OTP_KEY))
}

/// The state as it was last written down. What is no key, and what says nothing, is active.
pub fn state(object: &Attributes) -> State {
    object.ulong(CKA_KEYWARD_STATE).and_then(State::of).unwrap_or_default()
}

pub fn life(object: &Attributes) -> Life {
    Life {
        state: state(object),
        dates: Dates {
            activation: object.ulong(CKA_KEYWARD_ACTIVATION_DATE),
            protect_stop: object.ulong(CKA_KEYWARD_PROTECT_STOP_DATE),
            process_stop: object.ulong(CKA_KEYWARD_PROCESS_STOP_DATE),
            deactivation: object.ulong(CKA_KEYWARD_DEACTIVATION_DATE),
            compromise: object.ulong(CKA_KEYWARD_COMPROMISE_DATE),
            destruction: object.ulong(CKA_KEYWARD_DESTRUCTION_DATE),
        },
    }
}

pub fn version_of(object: &Attributes) -> u64 {
    object.ulong(CKA_KEYWARD_VERSION).unwrap_or(1)
}

/// The label of the logical key.
pub fn logical_label(object: &Attributes) -> &[u8] {
    version::logical(object.bytes(CKA_LABEL).unwrap_or_default(), version_of(object))
}

/// Sets the dates given; the others stay. The standard dates follow, to the day.
pub fn set_dates(object: &mut Attributes, dates: &Dates) {
    let given = [
        (CKA_KEYWARD_ACTIVATION_DATE, dates.activation),
        (CKA_KEYWARD_PROTECT_STOP_DATE, dates.protect_stop),
        (CKA_KEYWARD_PROCESS_STOP_DATE, dates.process_stop),
        (CKA_KEYWARD_DEACTIVATION_DATE, dates.deactivation),
        (CKA_KEYWARD_COMPROMISE_DATE, dates.compromise),
        (CKA_KEYWARD_DESTRUCTION_DATE, dates.destruction),
    ];
    for (ty, date) in given {
        date.into_iter().for_each(|date| object.put(Attribute::ulong(ty, date)));
    }
    for (standard, date) in [(CKA_START_DATE, dates.activation), (CKA_END_DATE, dates.deactivation)] {
        date.into_iter().for_each(|date| object.put(Attribute::bytes(standard, clock::day(date).as_bytes())));
    }
}

/// A new key with dates of its own shows them in the standard attributes too, unless its maker said otherwise.
pub fn mirror(object: &mut Attributes) {
    let dates = life(object).dates;
    for (standard, date) in [(CKA_START_DATE, dates.activation), (CKA_END_DATE, dates.deactivation)] {
        if let Some(date) = date
            && object.bytes(standard).is_none_or(<[u8]>::is_empty)
        {
            object.put(Attribute::bytes(standard, clock::day(date).as_bytes()));
        }
    }
}

/// Writes a new state down, with when, why and by whom.
pub fn enter(object: &mut Attributes, state: State, by: &Authority) {
    if state == State::PendingDestroy {
        object.put(Attribute::ulong(CKA_KEYWARD_STATE_BEFORE, self::state(object) as CK_ULONG));
    } else {
        object.remove(CKA_KEYWARD_STATE_BEFORE);
    }
    object.put(Attribute::ulong(CKA_KEYWARD_STATE, state as CK_ULONG));
    object.put(Attribute::ulong(CKA_KEYWARD_STATE_DATE, by.at));
    object.put(Attribute::bytes(CKA_KEYWARD_STATE_REASON, by.reason.as_bytes()));
    object.put(Attribute::bytes(CKA_KEYWARD_STATE_ACTOR, by.actor.as_bytes()));
}

/// What stays of a destroyed key.
pub fn tombstone(object: &Attributes) -> Attributes {
    let life = |ty| VENDOR_ATTRIBUTES.iter().any(|(vendor, _)| *vendor == ty);
    object.iter().filter(|a| TOMBSTONE.contains(&a.ty) || life(a.ty)).cloned().collect()
}
