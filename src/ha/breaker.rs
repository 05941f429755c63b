//! When a member that fails is left alone, and when it is tried again.
//!
//! There is no thread: a pause that is over lets the next call through as a trial, and only that one. What it finds closes the
//! breaker, or makes the next pause twice as long.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;

use crate::config::Patience;

pub struct Breaker {
    rules: Patience,
    /// Nothing has failed since the last success: no lock is taken then.
    clean: AtomicBool,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// In a row.
    failures: u32,
    /// Open until then; `None`: closed.
    until: Option<u64>,
    pause: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    Closed,
    Open,
    /// The pause is over: the next call is a trial.
    HalfOpen,
}

impl Standing {
    pub const fn name(self) -> &'static str {
        match self {
            Standing::Closed => "closed",
            Standing::Open => "open",
            Standing::HalfOpen => "half-open",
        }
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

impl Breaker {
    pub fn new(rules: Patience) -> Breaker {
        Breaker { rules, clean: AtomicBool::new(true), state: Mutex::default() }
    }

    /// Whether a call may be tried, `now` in milliseconds. At the end of a pause one caller is let through; the others are,
    /// once it has been answered or another pause has gone by.
    pub fn admits(&self, now: u64) -> bool {
        if self.clean.load(Ordering::Acquire) {
            return true;
        }
        let mut state = self.state.lock();
        match state.until {
            None => true,
            Some(until) if now < until => false,
            Some(_) => {
                state.until = Some(now.saturating_add(millis(state.pause).max(1)));
                true
            }
        }
    }

    /// Whether nothing has failed since the last success.
    pub fn is_clean(&self) -> bool {
        self.clean.load(Ordering::Acquire)
    }

    /// Whether it was open.
    pub fn succeeded(&self) -> bool {
        if self.clean.load(Ordering::Acquire) {
            return false;
        }
        let mut state = self.state.lock();
        let was = state.until.is_some();
        *state = State::default();
        self.clean.store(true, Ordering::Release);
        was
    }

    /// Whether it opens by this.
    pub fn failed(&self, now: u64) -> bool {
        let mut state = self.state.lock();
        self.clean.store(false, Ordering::Release);
        state.failures = state.failures.saturating_add(1);
        if state.failures < self.rules.failures {
            return false;
        }
        let first = state.until.is_none();
        state.pause = match first {
            true => self.rules.retry,
            false => state.pause.saturating_mul(2).min(self.rules.most),
        };
        state.until = Some(now.saturating_add(millis(state.pause)));
        first
    }

    pub fn standing(&self, now: u64) -> Standing {
        match self.state.lock().until {
            None => Standing::Closed,
            Some(until) if now < until => Standing::Open,
            Some(_) => Standing::HalfOpen,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn breaker() -> Breaker {
        let (retry, most) = (Duration::from_millis(100), Duration::from_millis(300));
        Breaker::new(Patience { failures: 2, retry, most, ..Patience::default() })
    }

    #[test]
    fn it_opens_after_so_many_failures_in_a_row() {
        let breaker = breaker();
        assert!(!breaker.failed(0) && breaker.admits(0));
        breaker.succeeded();
        assert!(!breaker.failed(1), "a success begins the count anew");
        assert!(breaker.failed(2));
        assert!(!breaker.admits(50));
        assert_eq!(breaker.standing(50), Standing::Open);
    }

    #[test]
    fn one_trial_at_the_end_of_a_pause_and_the_pauses_grow() {
        let breaker = breaker();
        breaker.failed(0);
        breaker.failed(0);
        assert_eq!(breaker.standing(100), Standing::HalfOpen);
        assert!(breaker.admits(100) && !breaker.admits(101), "the others wait for the trial");
        breaker.failed(110);
        assert!(!breaker.admits(309) && breaker.admits(310), "200 now");
        breaker.failed(310);
        breaker.failed(310);
        assert!(!breaker.admits(609) && breaker.admits(610), "300 at most");
        assert!(breaker.succeeded());
        assert!(breaker.admits(611) && breaker.admits(611));
        assert_eq!(breaker.standing(611), Standing::Closed);
    }
}
