//! The slots of the configuration that lead to HSMs, to one or to several.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::config::{Config, FilterRules, HaRules, MemberRules, PinSource, SlotRules};
use crate::error::{Code, Result};
use crate::forward::{self, Forward, Modules, Threads};
use crate::ha::{self, Ha, Part};
use crate::log;
use crate::overlay::{Overlay, Place};
use crate::soft::Shelved;
use crate::token::{Token, TokenInfo};

pub(super) struct Elsewhere {
    slots: Vec<Leading>,
}

struct Leading {
    id: u64,
    /// What is shown: the HSM's token, an overlay over it, or several as one.
    token: Arc<dyn Token>,
    /// The HSM at its end, or several of them.
    ends: Vec<Arc<Forward>>,
    /// Was reached once: listed from then on, so that its handles live through a loss.
    met: AtomicBool,
    /// That it cannot be reached has been logged.
    missed: AtomicBool,
}

impl Elsewhere {
    /// A module that cannot be loaded costs its slot, with a line in the log, and not the other tokens. What the configuration
    /// says wrongly is an error, and so is a module that needs the `threads` which the application forbids
    /// (`CKR_NEED_TO_CREATE_THREADS`): it may call again and allow them.
    pub(super) fn open(config: &Config, threads: Threads) -> Result<Elsewhere> {
        let modules = Modules::new(threads);
        let mut slots: Vec<Leading> = Vec::new();
        let ids = ids(config);
        let mut overlays: Vec<&String> = filters(config).filter_map(|filter| filter.overlay.as_ref()).collect();
        overlays.sort();
        if overlays.windows(2).any(|two| two.first() == two.last()) {
            let why = "two slots of the configuration have the same overlay: each needs one of its own";
            return Err(Code::GeneralError.because(why));
        }
        for (rules, id) in config.slots.iter().zip(&ids) {
            match end(&modules, &rules.member, &rules.filter, rules.label.clone()) {
                Ok(token) => {
                    let shown = with_overlay(config, &rules.filter, Arc::clone(&token) as _);
                    slots.push(Leading::new(*id, shown, vec![token]));
                }
                Err(error) if error.code() == Code::GeneralError => return Err(error),
                Err(error) => log!(Error, "a slot of the configuration is left out: {error}"),
            }
        }
        for (rules, id) in config.ha.iter().zip(ids.into_iter().skip(config.slots.len())) {
            let (token, ends) = several(&modules, rules, id)?;
            slots.push(Leading::new(id, with_overlay(config, &rules.filter, Arc::new(token)), ends));
        }
        modules.agree().inspect_err(|error| log!(Error, "{error}"))?;
        Ok(Elsewhere { slots })
    }

    /// Two slots on one token would share its login, and each undo what the other does: the later one is left out.
    pub(super) fn list(&self) -> Vec<Shelved> {
        let mut listed: Vec<&Leading> = Vec::new();
        for slot in self.slots.iter().filter(|slot| slot.reached()) {
            match listed.iter().any(|other| other.shares_a_token_with(slot)) {
                true => slot.miss("another slot of the configuration leads to the same token"),
                false => listed.push(slot),
            }
        }
        listed.into_iter().map(Leading::shelved).collect()
    }
}

/// What is shown of a token: an overlay over it where the configuration names one.
fn with_overlay(config: &Config, rules: &FilterRules, token: Arc<dyn Token>) -> Arc<dyn Token> {
    match &rules.overlay {
        Some(name) => Arc::new(Overlay::around(token, Place::of(config, name))),
        None => token,
    }
}

/// The overlay of a slot, if it has one.
pub fn overlay_of(config: &Config, slot: u64) -> Option<Place> {
    let at = ids(config).into_iter().position(|id| id == slot)?;
    filters(config).nth(at)?.overlay.as_ref().map(|name| Place::of(config, name))
}

/// The overlay of a slot over its HSM, or over each of its HSMs by itself, without what stands before them otherwise, and without the
/// slot's filter: for the care of the overlay. All of them must be there. Empty: the slot has none.
pub fn open_overlay(config: &Config, slot: u64) -> Result<Vec<Overlay>> {
    let Some(place) = overlay_of(config, slot) else { return Ok(Vec::new()) };
    let Some(at) = ids(config).into_iter().position(|id| id == slot) else { return Ok(Vec::new()) };
    let members: Vec<&MemberRules> = match at.checked_sub(config.slots.len()) {
        None => config.slots.get(at).map(|rules| &rules.member).into_iter().collect(),
        Some(at) => config.ha.get(at).into_iter().flat_map(|ha| &ha.members).map(|member| &member.rules).collect(),
    };
    let modules = Modules::default();
    let filter = filters(config).nth(at).ok_or(Code::GeneralError)?;
    let unfiltered = FilterRules { objects: Vec::new(), ..filter.clone() };
    let over = |rules: &MemberRules| -> Result<Overlay> {
        let token = end(&modules, rules, &unfiltered, None)?;
        token.connected()?;
        Ok(Overlay::around(token, place.clone()))
    };
    members.into_iter().map(over).collect()
}

/// What is seen of each slot, in the order of [`ids`].
fn filters(config: &Config) -> impl Iterator<Item = &FilterRules> {
    config.slots.iter().map(|rules| &rules.filter).chain(config.ha.iter().map(|rules| &rules.filter))
}

/// The IDs of the slots, those over several HSMs last: whether or not each can be loaded, so that they are the same in every process.
fn ids(config: &Config) -> Vec<u64> {
    let mut ids = Vec::new();
    for rules in &config.slots {
        ids.push(free_id(&ids, |count| forward::slot_id(&rules.member, count)));
    }
    for rules in &config.ha {
        ids.push(free_id(&ids, |count| ha::slot_id(&rules.label, count)));
    }
    ids
}

/// An ID that no slot before it has.
fn free_id(taken: &[u64], id: impl Fn(u32) -> u64) -> u64 {
    (0..).map(id).find(|id| *id != 0 && !taken.contains(id)).unwrap_or(1)
}

/// A slot over several HSMs. A member whose module cannot be loaded is away as long as this process lives.
fn several(modules: &Modules, rules: &HaRules, id: u64) -> Result<(Ha, Vec<Arc<Forward>>)> {
    let (mut parts, mut ends) = (Vec::new(), Vec::new());
    for member in &rules.members {
        let token = end(modules, &member.rules, &rules.filter, None);
        match &token {
            Ok(token) => ends.push(Arc::clone(token)),
            // What the configuration says wrongly.
            Err(error) if error.code() == Code::GeneralError => return Err(error.clone()),
            Err(error) => log!(Error, "member {} of HA slot {:?} is left out: {error}", member.name, rules.label),
        }
        let refused = token.as_ref().ok().cloned();
        parts.push(Part {
            name: member.name.clone(),
            own_pin: member.rules.pin != PinSource::Caller,
            refused: Box::new(move |pin| refused.as_ref().is_some_and(|token| token.has_refused(pin))),
            token: token.map(|token| token as _),
        });
    }
    Ok((Ha::new(rules.clone(), id, parts), ends))
}

fn end(modules: &Modules, rules: &MemberRules, filter: &FilterRules, label: Option<String>) -> Result<Arc<Forward>> {
    Forward::new(modules, rules, filter, label).map(Arc::new)
}

/// The slots over several HSMs, each with its ID, without what stands before them otherwise: for `keyward ha`.
pub fn open_ha(config: &Config) -> Result<Vec<Ha>> {
    let modules = Modules::default();
    let id = |rules: &HaRules| ha::slot_id(&rules.label, 0);
    config.ha.iter().map(|rules| several(&modules, rules, id(rules)).map(|(ha, _)| ha)).collect()
}

impl Leading {
    fn new(id: u64, token: Arc<dyn Token>, ends: Vec<Arc<Forward>>) -> Leading {
        Leading { id, token, ends, met: AtomicBool::new(false), missed: AtomicBool::new(false) }
    }

    /// Of several HSMs one is enough.
    fn reached(&self) -> bool {
        if self.met.load(Ordering::Acquire) {
            return true;
        }
        let mut failure = None;
        for end in &self.ends {
            match end.connected() {
                Ok(()) => {
                    self.met.store(true, Ordering::Release);
                    return true;
                }
                Err(error) => failure = Some(error),
            }
        }
        self.miss(&failure.map(|error| error.to_string()).unwrap_or_default());
        false
    }

    fn shares_a_token_with(&self, other: &Leading) -> bool {
        self.ends.iter().any(|one| other.ends.iter().any(|end| one.is_on_the_token_of(end)))
    }

    /// Says once that the slot is not there.
    fn miss(&self, why: &str) {
        if !self.missed.swap(true, Ordering::AcqRel) {
            log!(Error, "a slot of the configuration is not there: {why}");
        }
    }

    fn shelved(&self) -> Shelved {
        // Several are initialised one by one, elsewhere.
        let blank = matches!(self.ends.as_slice(), [end] if end.blank());
        Shelved { slot: self.id, token: Arc::clone(&self.token), blank }
    }
}

/// What is at the end of a slot, without opening the others: for `keyward doctor`. The codes of loading a module and of
/// reaching its token.
pub fn look(rules: &SlotRules) -> Result<TokenInfo> {
    let token = Forward::new(&Modules::default(), &rules.member, &rules.filter, rules.label.clone())?;
    token.connected()?;
    token.info()
}
