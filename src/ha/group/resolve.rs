//! What a member calls an object of ours.

use std::sync::Arc;

use cryptoki_sys::CKA_LABEL;
use smallvec::SmallVec;

use super::Group;
use crate::error::{Code, Result};
use crate::ha::identity::{self, Held};
use crate::ha::objects::Place;
use crate::os::coarse_millis;
use crate::token::*;

impl Group {
    /// What a member calls an object. `None`: it is not there. `CKR_OBJECT_HANDLE_INVALID` where nobody can say which of several
    /// is meant, or there is no such object.
    pub fn resolve(&self, at: usize, token: &Arc<dyn Token>, caller: Caller, id: ObjectId) -> Result<Option<ObjectId>> {
        let now = coarse_millis();
        match self.objects.place(id, at, now) {
            None => return Err(Code::ObjectHandleInvalid.into()),
            Some(Place::Here(object)) => return Ok(Some(object)),
            Some(Place::Absent(_)) => return Ok(None),
            Some(Place::Unknown) => {}
        }
        let entry = self.objects.entry(id).ok_or(Code::ObjectHandleInvalid)?;
        let Some(identity) = entry.identity else { return Ok(None) };
        let member = self.member(at)?;
        if self.state.is_dead(&member.name, &identity.fingerprint) {
            return Ok(None);
        }
        let several = |where_: &str| {
            Code::ObjectHandleInvalid.because(format!(
                "{}: {where_} has several of {}; give each its own ID: none is taken on a guess",
                self.name,
                identity.name()
            ))
        };
        if self.objects.is_ambiguous(&identity) {
            return Err(several("a member"));
        }
        match identity::held(&**token, caller, &identity)? {
            Held::One(object) => {
                self.objects.bind(id, at, object);
                Ok(Some(object))
            }
            Held::No => {
                self.objects.unbind(id, at, now);
                Ok(None)
            }
            Held::Several => Err(several(&format!("member {}", member.name))),
        }
    }

    /// As [`Group::resolve`], and it has been seen there just now.
    pub fn find_now(
        &self,
        at: usize,
        token: &Arc<dyn Token>,
        caller: Caller,
        id: ObjectId,
    ) -> Result<Option<ObjectId>> {
        match self.resolve(at, token, caller, id)? {
            Some(object) if self.lost_track(at, token, caller, &[id], &[object]) => self.resolve(at, token, caller, id),
            found => Ok(found),
        }
    }

    pub(super) fn resolve_all(
        &self,
        at: usize,
        token: &Arc<dyn Token>,
        caller: Caller,
        ids: &[ObjectId],
    ) -> Result<Option<SmallVec<[ObjectId; 4]>>> {
        let mut found = SmallVec::new();
        for id in ids {
            match self.resolve(at, token, caller, *id)? {
                Some(object) => found.push(object),
                None => return Ok(None),
            }
        }
        Ok(Some(found))
    }

    /// Whether one of them is gone from the member behind our back, or is called otherwise there now.
    pub(super) fn lost_track(
        &self,
        at: usize,
        token: &Arc<dyn Token>,
        caller: Caller,
        ids: &[ObjectId],
        own: &[ObjectId],
    ) -> bool {
        let mut lost = false;
        for (id, object) in ids.iter().zip(own) {
            // An attribute that may change, so that the HSM itself is asked.
            let there = token.get(caller, *object, &[CKA_LABEL]);
            if there.is_err_and(|error| error.code() == Code::ObjectHandleInvalid) {
                self.objects.let_go(*id, at);
                lost = true;
            }
        }
        lost
    }
}
