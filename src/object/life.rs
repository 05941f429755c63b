//! The life of a key, as its attributes keep it.

use cryptoki_sys::*;

use super::Attributes;
use crate::error::{Code, Result};
use crate::lifecycle::state as lifecycle_state;
use crate::lifecycle::{Dates, Event, Life, State, clock, version};
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

/// When a key was made or changed, where that is yet to come: the clock was set back since. Clocks of machines that share a token may
/// differ by some minutes.
pub fn ahead_of(attributes: &Attributes, now: u64) -> Option<u64> {
    const APART: u64 = 600;
    let dates = [CKA_KEYWARD_CREATION_DATE, CKA_KEYWARD_STATE_DATE].into_iter().filter_map(|ty| attributes.ulong(ty));
    dates.max().filter(|date| *date > now.saturating_add(APART))
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

/// A version that another one follows: it no longer protects, at once or when the overlap is over.
pub fn supersede(object: &mut Attributes, overlap: u64, by: &Authority) {
    let end = by.at.saturating_add(overlap);
    let end = life(object).dates.deactivation.map_or(end, |date| date.min(end));
    set_dates(object, &Dates { deactivation: Some(end), ..Default::default() });
    let next = if overlap == 0 { State::Deactivated } else { state(object) };
    enter(object, next, by);
}

/// The clear attributes after an order; `None`: nothing is left. `CKR_ACTION_PROHIBITED`, `CKR_ARGUMENTS_BAD`.
pub fn ordered(attributes: &Attributes, order: &Order) -> Result<Option<Attributes>> {
    let now = life(attributes);
    let before = attributes.ulong(CKA_KEYWARD_STATE_BEFORE).and_then(State::of).unwrap_or_default();
    let to = match (now.state, order.event) {
        (State::Destroyed, Event::Purge) => State::Destroyed,
        _ => {
            let by_date = now.state_at(order.by.at);
            // What a date has brought already may be written down as the event that it was.
            match lifecycle_state::next(now.state, order.event, before) {
                Ok(to) if to == by_date => to,
                _ => lifecycle_state::next(by_date, order.event, before)?,
            }
        }
    };
    if order.leave_nothing && to == State::Destroyed {
        return Ok(None);
    }
    let mut next = attributes.clone();
    enter(&mut next, to, &order.by);
    set_dates(&mut next, &order.dates);
    if order.event == Event::Recover {
        next.remove(CKA_KEYWARD_DESTRUCTION_DATE);
    }
    if to != State::Destroyed {
        Life { state: to, ..life(&next) }.check()?;
        return Ok(Some(next));
    }
    let destroyed = Dates { destruction: Some(order.by.at), ..Default::default() };
    set_dates(&mut next, &destroyed);
    Ok(Some(tombstone(&next)))
}

/// What [`Token::take_over`] makes of the versions of a key.
pub struct TakenOver<T> {
    /// Those that change, and what of them.
    pub versions: Vec<(T, Attributes)>,
    /// The label of the logical key.
    pub label: Vec<u8>,
    /// What their certificates have in common with them (`CKA_ID`), and the label that these take in the place of the logical key's.
    pub certificates: Vec<(Vec<u8>, Vec<u8>)>,
}

/// A staged version takes the label; the one in force so far goes on for the overlap, under its archived label.
/// `CKR_ACTION_PROHIBITED` for what is no staged version.
pub fn take_over<T>(
    staged: &Attributes,
    state: State,
    versions: Vec<T>,
    attributes: impl Fn(&T) -> &Attributes,
    order: &TakeOver,
) -> Result<TakenOver<T>> {
    if state != State::PreActive || staged.bytes(CKA_KEYWARD_LOGICAL_KEY).is_none() {
        return Err(Code::ActionProhibited.because("this is no staged version: stage one with `key rotate --stage`"));
    }
    let label = logical_label(staged).to_vec();
    let (mut changed, mut certificates) = (Vec::new(), Vec::new());
    for version in versions {
        let mut next = attributes(&version).clone();
        let of = version_of(&next);
        let own = match (of == version_of(staged), life(&next).state_at(order.by.at)) {
            (true, State::PreActive) => {
                enter(&mut next, State::Active, &order.by);
                set_dates(&mut next, &Dates { activation: Some(order.by.at), ..Dates::default() });
                label.clone()
            }
            (false, State::Active | State::Suspended) => {
                supersede(&mut next, order.overlap, &order.by);
                version::archived(&label, of)
            }
            _ => continue,
        };
        next.put(Attribute::bytes(CKA_LABEL, &own));
        certificates.extend(next.bytes(CKA_ID).filter(|id| !id.is_empty()).map(|id| (id.to_vec(), own)));
        changed.push((version, next));
    }
    certificates.sort();
    certificates.dedup();
    Ok(TakenOver { versions: changed, label, certificates })
}

/// Whether a certificate that has this label follows its version: those that have a label of their own keep it.
pub fn follows(has: &[u8], label: &[u8]) -> bool {
    has.is_empty() || has.starts_with(label)
}

/// The dates of the old version, moved to a new beginning.
pub fn period(old: &Attributes, begin: u64) -> Dates {
    let dates = life(old).dates;
    let started = dates.activation.or(old.ulong(CKA_KEYWARD_CREATION_DATE));
    let moved = |date: Option<u64>| Some(begin.saturating_add(date?.checked_sub(started?)?));
    Dates {
        protect_stop: moved(dates.protect_stop),
        process_stop: moved(dates.process_stop),
        deactivation: moved(dates.deactivation),
        ..Dates::default()
    }
}
