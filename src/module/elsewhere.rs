//! The slots of the configuration that lead to HSMs.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::config::{Config, SlotRules};
use crate::error::Result;
use crate::forward::{self, Forward, Modules};
use crate::log;
use crate::overlay::{Overlay, Place};
use crate::soft::Shelved;
use crate::token::{Token, TokenInfo};

pub(super) struct Elsewhere {
    slots: Vec<Leading>,
}

struct Leading {
    id: u64,
    token: Arc<Forward>,
    /// What is shown: the token, or an overlay over it.
    shown: Arc<dyn Token>,
    /// Was reached once: listed from then on, so that its handles live through a loss.
    met: AtomicBool,
    /// That it cannot be reached has been logged.
    missed: AtomicBool,
}

impl Elsewhere {
    /// A module that cannot be loaded costs its slot, with a line in the log, and not the other tokens. What the configuration
    /// says wrongly is an error.
    pub(super) fn open(config: &Config) -> Result<Elsewhere> {
        let modules = Modules::default();
        let mut slots: Vec<Leading> = Vec::new();
        for (at, rules) in config.slots.iter().enumerate() {
            let overlay = &rules.filter.overlay;
            if overlay.is_some() && config.slots.iter().take(at).any(|other| other.filter.overlay == *overlay) {
                let why = "two slots of the configuration have the same overlay: each needs one of its own";
                return Err(crate::error::Code::GeneralError.because(why));
            }
            let id = free_id(rules, &slots);
            match Forward::new(&modules, &rules.member, &rules.filter, rules.label.clone()).map(Arc::new) {
                Ok(token) => slots.push(Leading {
                    id,
                    shown: with_overlay(config, rules, &token),
                    token,
                    met: AtomicBool::new(false),
                    missed: AtomicBool::new(false),
                }),
                Err(error) if error.code() == crate::error::Code::GeneralError => return Err(error),
                Err(error) => log!(Error, "a slot of the configuration is left out: {error}"),
            }
        }
        Ok(Elsewhere { slots })
    }

    /// Two slots on one token would share its login, and each undo what the other does: the later one is left out.
    pub(super) fn list(&self) -> Vec<Shelved> {
        let mut listed: Vec<&Leading> = Vec::new();
        for slot in self.slots.iter().filter(|slot| slot.reached()) {
            match listed.iter().any(|other| other.token.is_on_the_token_of(&slot.token)) {
                true => slot.miss("another slot of the configuration leads to the same token"),
                false => listed.push(slot),
            }
        }
        listed.into_iter().map(Leading::shelved).collect()
    }
}

fn with_overlay(config: &Config, rules: &SlotRules, token: &Arc<Forward>) -> Arc<dyn Token> {
    match &rules.filter.overlay {
        Some(name) => Arc::new(Overlay::around(Arc::clone(token) as _, Place::of(config, name))),
        None => Arc::clone(token) as _,
    }
}

/// The overlay of a slot, if it has one.
pub fn overlay_of(config: &Config, slot: u64) -> Option<Place> {
    let rules = config.slots.iter().find(|rules| (0..4).any(|count| forward::slot_id(&rules.member, count) == slot))?;
    rules.filter.overlay.as_ref().map(|name| Place::of(config, name))
}

/// An ID that no slot before it has.
fn free_id(rules: &SlotRules, taken: &[Leading]) -> u64 {
    let ids = (0..).map(|count| forward::slot_id(&rules.member, count));
    ids.into_iter().find(|id| *id != 0 && !taken.iter().any(|slot| slot.id == *id)).unwrap_or(1)
}

impl Leading {
    fn reached(&self) -> bool {
        if self.met.load(Ordering::Acquire) {
            return true;
        }
        match self.token.connected() {
            Ok(()) => {
                self.met.store(true, Ordering::Release);
                true
            }
            Err(error) => {
                self.miss(&error.to_string());
                false
            }
        }
    }

    /// Says once that the slot is not there.
    fn miss(&self, why: &str) {
        if !self.missed.swap(true, Ordering::AcqRel) {
            log!(Error, "a slot of the configuration is not there: {why}");
        }
    }

    fn shelved(&self) -> Shelved {
        Shelved { slot: self.id, token: Arc::clone(&self.shown), blank: self.token.blank() }
    }
}

/// What is at the end of a slot, without opening the others: for `keyward doctor`. The codes of loading a module and of
/// reaching its token.
pub fn look(rules: &SlotRules) -> Result<TokenInfo> {
    let token = Forward::new(&Modules::default(), &rules.member, &rules.filter, rules.label.clone())?;
    token.connected()?;
    token.info()
}
