//! How the members stand, and what one has that another lacks: `keyward ha status` and `keyward ha sync`.

use std::collections::BTreeMap;

use cryptoki_sys::*;

use super::Ha;
use super::breaker::Standing;
use super::identity::{self, Fingerprint, Identity, is_true, number};
use super::state::Note;
use crate::error::{Code, Error, Result};
use crate::os::coarse_millis;
use crate::token::*;

/// How a member stands.
#[derive(Debug)]
pub struct MemberReport {
    pub name: String,
    /// Or why it cannot be reached.
    pub reached: Result<TokenInfo>,
    /// Whether the login counts there; `None`: nobody is logged in.
    pub logged_in: Option<bool>,
    /// In this process.
    pub breaker: Standing,
    /// Of any process, when it last left the member alone or took it back.
    pub note: Option<(bool, u64, String)>,
    /// Names of what it still has to destroy.
    pub tombstones: Vec<String>,
}

/// An object, and which members have how many of it.
#[derive(Debug)]
pub struct Object {
    pub name: String,
    pub class: Option<CK_OBJECT_CLASS>,
    pub extractable: bool,
    /// By member; `None`: it is not there to be asked.
    pub copies: Vec<Option<usize>>,
    /// One of them.
    found: (usize, ObjectId),
}

impl Object {
    pub fn everywhere(&self) -> bool {
        self.copies.iter().all(|count| count.is_none_or(|count| count > 0))
    }

    /// A member has two of it: it cannot be told which is meant.
    pub fn ambiguous(&self) -> bool {
        self.copies.iter().flatten().any(|count| *count > 1)
    }
}

#[derive(Debug)]
pub struct Survey {
    pub members: Vec<MemberReport>,
    pub objects: Vec<Object>,
}

/// What [`Ha::sync`] did, or would do.
#[derive(Debug)]
pub struct Step {
    pub object: String,
    pub member: String,
    /// Or why it cannot be done. In a dry run it has not been tried.
    pub result: Result<()>,
}

impl Ha {
    /// Asks every member, whatever its breaker says of it.
    pub fn survey(&self, caller: Caller) -> Survey {
        let group = &self.0;
        let notes = group.state.notes();
        let _ = group.state.refresh();
        let mut members = Vec::new();
        let mut objects: BTreeMap<Fingerprint, (Identity, Object)> = BTreeMap::new();
        for (at, member) in group.members.iter().enumerate() {
            let reached = member.token().and_then(|token| token.info());
            // Opens, logs in, and destroys what is still to be destroyed.
            let reached = reached.and_then(|info| group.ready(at, caller).map(|_| info));
            let note = |note: &Note| (note.open, note.at, note.why.clone());
            let all = reached.as_ref().map_err(Error::clone).and_then(|_| self.list(at, caller));
            members.push(MemberReport {
                name: member.name.clone(),
                logged_in: group
                    .logged_in()
                    .map(|user| member.token().is_ok_and(|token| token.logged_in() == Some(user))),
                breaker: member.breaker.standing(coarse_millis()),
                note: notes.iter().find(|note| note.member == member.name).map(note),
                tombstones: group.state.pending(&member.name).iter().map(|stone| stone.identity.name()).collect(),
                reached: all.as_ref().map_err(Error::clone).and(reached),
            });
            for (object, identity, extractable) in all.unwrap_or_default() {
                let new = || {
                    let class = number(&identity.template, CKA_CLASS);
                    let object =
                        Object { name: identity.name(), class, extractable, copies: Vec::new(), found: (at, object) };
                    (identity.clone(), object)
                };
                let (_, entry) = objects.entry(identity.fingerprint).or_insert_with(new);
                entry.copies.resize(entry.copies.len().max(at.saturating_add(1)), Some(0));
                if !entry.extractable && extractable {
                    (entry.extractable, entry.found) = (true, (at, object));
                }
                if let Some(Some(count)) = entry.copies.get_mut(at) {
                    *count = count.saturating_add(1);
                }
            }
        }
        let there: Vec<bool> = members.iter().map(|member| member.reached.is_ok()).collect();
        let mut objects: Vec<Object> = objects.into_values().map(|(_, object)| object).collect();
        for object in &mut objects {
            object.copies.resize(there.len(), Some(0));
            let away = object.copies.iter_mut().zip(&there).filter(|(_, there)| !**there);
            away.for_each(|(count, _)| *count = None);
        }
        objects.sort_by(|one, other| one.name.cmp(&other.name));
        Survey { members, objects }
    }

    /// The token objects of a member that have an identity, but for the key that all hold to wrap under.
    fn list(&self, at: usize, caller: Caller) -> Result<Vec<(ObjectId, Identity, bool)>> {
        let token = self.0.member(at)?.token()?;
        let mut search = token.find(caller, vec![Attribute::bool(CKA_TOKEN, true)])?;
        let mut all = Vec::new();
        loop {
            let found = search.next(256)?;
            if found.is_empty() {
                return Ok(all);
            }
            for object in found {
                let seen = match identity::look(&**token, caller, object) {
                    Err(error) if error.code() == Code::ObjectHandleInvalid => continue,
                    seen => seen?,
                };
                let Some(identity) = seen.identity else { continue };
                let extractable =
                    is_true(&identity::read(&**token, caller, object, &[CKA_EXTRACTABLE])?, CKA_EXTRACTABLE);
                all.push((object, identity, extractable));
            }
        }
    }

    /// Carries what only some members have to those that are there and lack it. What is ambiguous is left alone.
    pub fn sync(&self, caller: Caller, survey: &Survey, dry_run: bool) -> Vec<Step> {
        let mut steps = Vec::new();
        let missing = survey.objects.iter().filter(|object| !object.ambiguous() && !object.everywhere());
        for object in missing {
            for (to, _) in object.copies.iter().enumerate().filter(|(_, count)| **count == Some(0)) {
                let key = matches!(object.class, Some(CKO_PRIVATE_KEY | CKO_SECRET_KEY));
                let result = if key && !object.extractable {
                    Err(Code::KeyUnextractable.because("it may not leave its HSM (CKA_EXTRACTABLE is false)"))
                } else if key && self.0.rules.wrapping_key.is_none() {
                    Err(Code::KeyUnextractable.because("the configuration names no wrapping_key to carry keys under"))
                } else if dry_run {
                    Ok(())
                } else {
                    let (from, found) = object.found;
                    self.0.carry_to(caller, (from, found), to, None).map(drop)
                };
                let member = self.0.members.get(to).map(|member| member.name.clone()).unwrap_or_default();
                steps.push(Step { object: object.name.clone(), member, result });
            }
        }
        steps
    }
}
