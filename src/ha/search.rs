//! A search over all members that are there; what several of them hold is found once.

use std::collections::HashSet;
use std::sync::Arc;

use super::group::Group;
use super::identity;
use super::member::is_trouble;
use crate::error::{Code, Result};
use crate::token::*;

pub struct Merged {
    group: Arc<Group>,
    caller: Caller,
    template: Vec<Attribute>,
    /// The members that are still to be searched, the next one last.
    left: Vec<usize>,
    current: Option<(usize, Box<dyn Search>)>,
    given: HashSet<ObjectId>,
}

/// Of a search that can find nothing.
pub struct Nothing;

impl Search for Nothing {
    fn next(&mut self, _max: usize) -> Result<Vec<ObjectId>> {
        Ok(Vec::new())
    }
}

impl Merged {
    /// `C_FindObjectsInit`. What is wrong with the template the first member says that is there; without any,
    /// `CKR_DEVICE_REMOVED`.
    pub fn begin(group: &Arc<Group>, caller: Caller, template: Vec<Attribute>) -> Result<Box<dyn Search>> {
        group.state.refresh()?;
        let all = 0..group.members.len();
        let (at, search) =
            group.among(all.clone().collect(), true, caller, &[], |token, _| token.find(caller, template.clone()))?;
        let left = all.filter(|other| *other > at).rev().collect();
        let (group, given) = (Arc::clone(group), HashSet::new());
        Ok(Box::new(Merged { group, caller, template, left, current: Some((at, search)), given }))
    }

    /// The search on the next member that is there.
    fn turn(&mut self) -> bool {
        self.current = None;
        while let Some(at) = self.left.pop() {
            let (caller, template) = (self.caller, &self.template);
            if let Ok(Some(search)) = self.group.once(at, caller, &[], |token, _| token.find(caller, template.clone()))
            {
                self.current = Some((at, search));
                return true;
            }
        }
        false
    }

    /// Our number of what a member has found; `None` for what was destroyed.
    fn meet(&self, at: usize, object: ObjectId) -> Result<Option<ObjectId>> {
        let group = &self.group;
        let member = group.member(at)?;
        if let Some(id) = group.objects.met(at, object) {
            // Another process may have destroyed it meanwhile.
            let identity = group.objects.entry(id).and_then(|entry| entry.identity);
            let dead = identity.is_some_and(|identity| group.state.is_dead(&member.name, &identity.fingerprint));
            return Ok(Some(id).filter(|_| !dead));
        }
        let seen = identity::look(&**member.token()?, self.caller, object)?;
        if let Some(identity) = &seen.identity
            && group.state.is_dead(&member.name, &identity.fingerprint)
        {
            return Ok(None);
        }
        Ok(Some(group.objects.meet(group.members.len(), at, object, seen)))
    }
}

impl Search for Merged {
    fn next(&mut self, max: usize) -> Result<Vec<ObjectId>> {
        let mut found = Vec::new();
        while found.len() < max {
            let Some((at, search)) = &mut self.current else { break };
            let at = *at;
            let objects = match search.next(max.saturating_sub(found.len())) {
                Ok(objects) => objects,
                // The others have what it had, or it cannot be had.
                Err(error) if is_trouble(error.code()) => {
                    self.group.failed(at, &error);
                    Vec::new()
                }
                Err(error) => return Err(error),
            };
            if objects.is_empty() && !self.turn() {
                break;
            }
            for object in objects {
                match self.meet(at, object) {
                    Ok(Some(id)) if self.given.insert(id) => found.push(id),
                    Ok(_) => {}
                    // Destroyed by another since it was found.
                    Err(error) if error.code() == Code::ObjectHandleInvalid => {}
                    Err(error) if is_trouble(error.code()) => self.group.failed(at, &error),
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(found)
    }
}
