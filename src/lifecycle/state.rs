//! The states of a key, the one table of how it passes from one to the next, and what each allows
//! (NIST SP 800-57 Part 1, 7; the names of KMIP).

use crate::error::{Code, Result};

/// The numbers are those of `CKA_KEYWARD_STATE`; 1 to 5 are KMIP's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum State {
    PreActive = 1,
    #[default]
    Active = 2,
    Deactivated = 3,
    Compromised = 4,
    /// Only its tombstone is left: what the audit needs to know of it.
    Destroyed = 5,
    Suspended = 6,
    /// Hidden; within its recovery window it can come back.
    PendingDestroy = 7,
}

impl State {
    pub const ALL: [State; 7] = [
        State::PreActive,
        State::Active,
        State::Deactivated,
        State::Compromised,
        State::Destroyed,
        State::Suspended,
        State::PendingDestroy,
    ];

    pub fn of(number: u64) -> Option<State> {
        State::ALL.into_iter().find(|state| *state as u64 == number)
    }

    pub const fn name(self) -> &'static str {
        match self {
            State::PreActive => "pre-active",
            State::Active => "active",
            State::Deactivated => "deactivated",
            State::Compromised => "compromised",
            State::Destroyed => "destroyed",
            State::Suspended => "suspended",
            State::PendingDestroy => "pending-destroy",
        }
    }

    /// Not found by a search, and no handle leads to it.
    pub const fn hidden(self) -> bool {
        matches!(self, State::PendingDestroy | State::Destroyed)
    }

    /// Whether a key in this state does that, dates aside.
    pub const fn allows(self, purpose: Purpose, lenience: Lenience) -> bool {
        match (self, purpose) {
            (State::Active, _) => true,
            (State::Suspended | State::Deactivated, Purpose::Process) => true,
            (State::Compromised, Purpose::Process) => lenience.compromised_may_process,
            _ => false,
        }
    }
}

/// Which side of a cryptoperiod a use is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Purpose {
    /// Sign, encrypt, wrap, encapsulate, derive: the originator's.
    Protect,
    /// Verify, decrypt, unwrap, decapsulate: the recipient's.
    Process,
}

/// What a policy adds to the table of uses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lenience {
    pub compromised_may_process: bool,
}

/// What happens to a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Event {
    Activate,
    Suspend,
    Resume,
    Deactivate,
    Compromise,
    /// Into the recovery window.
    Destroy,
    /// Out of it, back to the state before.
    Recover,
    /// For good.
    Purge,
    /// New dates, the same state.
    Schedule,
}

impl Event {
    pub const fn name(self) -> &'static str {
        match self {
            Event::Activate => "be activated",
            Event::Suspend => "be suspended",
            Event::Resume => "be resumed",
            Event::Deactivate => "be deactivated",
            Event::Compromise => "be revoked as compromised",
            Event::Destroy => "be destroyed",
            Event::Recover => "be recovered",
            Event::Purge => "be purged",
            Event::Schedule => "be given new dates",
        }
    }
}

/// Where an event leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum To {
    State(State),
    /// The state that the key was in before it was to be destroyed.
    Before,
}

use Event::*;
use State::*;

/// Every transition there is. A key that was compromised or deactivated is never active again.
const TRANSITIONS: &[(State, Event, To)] = &[
    (PreActive, Activate, To::State(Active)),
    (PreActive, Deactivate, To::State(Deactivated)),
    (PreActive, Compromise, To::State(Compromised)),
    (PreActive, Destroy, To::State(PendingDestroy)),
    (PreActive, Purge, To::State(Destroyed)),
    (Active, Suspend, To::State(Suspended)),
    (Active, Deactivate, To::State(Deactivated)),
    (Active, Compromise, To::State(Compromised)),
    (Active, Destroy, To::State(PendingDestroy)),
    (Active, Purge, To::State(Destroyed)),
    (Suspended, Resume, To::State(Active)),
    (Suspended, Deactivate, To::State(Deactivated)),
    (Suspended, Compromise, To::State(Compromised)),
    (Suspended, Destroy, To::State(PendingDestroy)),
    (Suspended, Purge, To::State(Destroyed)),
    (Deactivated, Compromise, To::State(Compromised)),
    (Deactivated, Destroy, To::State(PendingDestroy)),
    (Deactivated, Purge, To::State(Destroyed)),
    (Compromised, Destroy, To::State(PendingDestroy)),
    (Compromised, Purge, To::State(Destroyed)),
    (PendingDestroy, Recover, To::Before),
    (PendingDestroy, Purge, To::State(Destroyed)),
    (PreActive, Schedule, To::State(PreActive)),
    (Active, Schedule, To::State(Active)),
    (Suspended, Schedule, To::State(Suspended)),
    (Deactivated, Schedule, To::State(Deactivated)),
];

/// The state that `event` leads to; `before` is the one ahead of a pending destruction.
/// `CKR_ACTION_PROHIBITED` where the table has no such way.
pub fn next(state: State, event: Event, before: State) -> Result<State> {
    match TRANSITIONS.iter().find(|(from, by, _)| (*from, *by) == (state, event)) {
        Some((_, _, To::State(to))) => Ok(*to),
        Some((_, _, To::Before)) => Ok(before),
        None => {
            let from = TRANSITIONS.iter().filter(|(_, by, _)| *by == event).map(|(from, ..)| from.name());
            Err(Code::ActionProhibited.because(format!(
                "a key that is {} cannot {}; only one that is {}",
                state.name(),
                event.name(),
                from.collect::<Vec<_>>().join(", ")
            )))
        }
    }
}

/// Seconds since 1970, UTC.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Dates {
    /// A pre-active key becomes active. Without it only `activate` does that.
    pub activation: Option<u64>,
    /// The end of the originator's use.
    pub protect_stop: Option<u64>,
    /// The end of the recipient's use.
    pub process_stop: Option<u64>,
    pub deactivation: Option<u64>,
    /// From when on the key must be thought of as known to others.
    pub compromise: Option<u64>,
    /// When it was destroyed, or the recovery window ends.
    pub destruction: Option<u64>,
}

/// What decides whether a key may be used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Life {
    /// As it was last written down; see [`Life::state_at`].
    pub state: State,
    pub dates: Dates,
}

/// A verdict, and the second from which on it must be asked for again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict {
    pub allowed: bool,
    pub until: u64,
}

fn reached(date: Option<u64>, now: u64) -> bool {
    date.is_some_and(|date| date <= now)
}

impl Life {
    /// The state with what the dates have brought since.
    pub fn state_at(&self, now: u64) -> State {
        let state = match self.state {
            PreActive if reached(self.dates.activation, now) => Active,
            state => state,
        };
        match state {
            Active | Suspended if reached(self.dates.deactivation, now) => Deactivated,
            state => state,
        }
    }

    /// May the key be used so at `now`?
    pub fn judge(&self, purpose: Purpose, lenience: Lenience, now: u64) -> Verdict {
        let stop = match purpose {
            Purpose::Protect => self.dates.protect_stop,
            Purpose::Process => self.dates.process_stop,
        };
        let allowed = self.state_at(now).allows(purpose, lenience) && !reached(stop, now);
        let ahead = [self.dates.activation, self.dates.deactivation, stop];
        let until = ahead.into_iter().flatten().filter(|date| *date > now).min().unwrap_or(u64::MAX);
        Verdict { allowed, until }
    }

    /// `CKR_ARGUMENTS_BAD` where the dates contradict each other.
    pub fn check(&self) -> Result<()> {
        let Dates { activation, protect_stop, process_stop, deactivation, .. } = self.dates;
        let order = [
            ("activation", activation, "protect-stop", protect_stop),
            ("activation", activation, "process-stop", process_stop),
            ("activation", activation, "deactivation", deactivation),
            ("protect-stop", protect_stop, "process-stop", process_stop),
        ];
        for (first, one, second, other) in order {
            if let (Some(one), Some(other)) = (one, other)
                && one > other
            {
                return Err(Code::ArgumentsBad.because(format!("the {first} date lies after the {second} date")));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_has_each_way_once_and_nothing_leads_out_of_destroyed_or_back_from_the_end() {
        for (at, (from, event, to)) in TRANSITIONS.iter().enumerate() {
            assert!(TRANSITIONS[at + 1..].iter().all(|(f, e, _)| (f, e) != (from, event)), "{from:?} {event:?}");
            assert_ne!(*from, Destroyed);
            let ended = matches!(from, Deactivated | Compromised);
            assert!(!(ended && *to == To::State(Active)), "{from:?}");
        }
        assert_eq!(next(PendingDestroy, Recover, Compromised).unwrap(), Compromised);
        let refused = next(Deactivated, Activate, Active).unwrap_err();
        assert_eq!(refused.code(), Code::ActionProhibited);
        assert!(refused.why().unwrap().contains("only one that is pre-active"), "{refused}");
    }

    #[test]
    fn each_state_allows_what_the_table_of_the_documentation_says() {
        let strict = Lenience::default();
        let allowed: Vec<(bool, bool)> = State::ALL
            .iter()
            .map(|s| (s.allows(Purpose::Protect, strict), s.allows(Purpose::Process, strict)))
            .collect();
        let (no, half, all) = ((false, false), (false, true), (true, true));
        assert_eq!(allowed, [no, all, half, no, no, half, no]);
        assert!(Compromised.allows(Purpose::Process, Lenience { compromised_may_process: true }));
        for state in State::ALL {
            assert_eq!(State::of(state as u64), Some(state));
        }
    }

    #[test]
    fn dates_act_by_themselves_and_a_verdict_says_how_long_it_holds() {
        let dates = Dates { activation: Some(10), protect_stop: Some(20), deactivation: Some(30), ..Dates::default() };
        let life = Life { state: PreActive, dates };
        let judge = |purpose, now| {
            let verdict = life.judge(purpose, Lenience::default(), now);
            (verdict.allowed, verdict.until)
        };
        assert_eq!(judge(Purpose::Protect, 9), (false, 10));
        assert_eq!(judge(Purpose::Protect, 10), (true, 20));
        assert_eq!(judge(Purpose::Protect, 20), (false, 30));
        assert_eq!(judge(Purpose::Process, 20), (true, 30));
        assert_eq!(judge(Purpose::Process, 30), (true, u64::MAX));
        assert_eq!((life.state_at(9), life.state_at(10), life.state_at(30)), (PreActive, Active, Deactivated));
        let staged = Life { state: PreActive, dates: Dates::default() };
        assert_eq!(staged.state_at(u64::MAX), PreActive);
        assert!(Life { dates: Dates { deactivation: Some(5), ..dates }, ..life }.check().is_err());
    }
}
