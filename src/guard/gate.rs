//! The verdict on a key's use, kept as long as it holds.

use quick_cache::UnitWeighter;
use quick_cache::sync::{Cache, DefaultLifecycle};

use crate::lifecycle::Verdict;
use crate::lifecycle::policy::Limits;
use crate::numbers::Numbers;
use crate::token::{ObjectId, Stamp};

/// How many verdicts are kept.
const KEPT: usize = 4096;

/// `kind` below tells uses and mechanisms apart.
///
/// The verdicts of one token in this process. One holds while the token's state is the one that it was given in (no
/// object, login or rule has changed, here or in another process) and its time is not over.
pub struct Gate {
    verdicts: Cache<(ObjectId, u64), Held, UnitWeighter, Numbers>,
}

#[derive(Clone, Copy)]
struct Held {
    state: (u64, u64),
    verdict: Verdict,
    limits: Limits,
}

impl Gate {
    pub fn new() -> Gate {
        let (numbers, cycle) = (Numbers::default(), DefaultLifecycle::default());
        Gate { verdicts: Cache::with(KEPT, KEPT as u64, UnitWeighter, numbers, cycle) }
    }

    /// What was said of this key and kind of use. Nanoseconds; nothing is allocated.
    pub fn held(
        &self,
        key: ObjectId,
        kind: u64,
        stamp: &Stamp,
        now: impl FnOnce() -> u64,
    ) -> Option<(Verdict, Limits)> {
        let held = self.verdicts.get(&(key, kind))?;
        // The clock is asked only where a date lies ahead.
        let holds = held.state == stamp.state && (held.verdict.until == u64::MAX || now() < held.verdict.until);
        holds.then_some((held.verdict, held.limits))
    }

    /// Keeps a verdict. A stamp of no state keeps nothing.
    pub fn keep(&self, key: ObjectId, kind: u64, stamp: &Stamp, (verdict, limits): (Verdict, Limits)) {
        if stamp.state != (0, 0) {
            self.verdicts.insert((key, kind), Held { state: stamp.state, verdict, limits });
        }
    }
}
