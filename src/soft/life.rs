//! Changes in the life of keys, each one durable transaction (docs/lifecycle.md).

use std::sync::Arc;

use cryptoki_sys::*;

use super::Soft;
use super::access::View;
use super::handle::{self, Number, Place};
use super::manage::update_clear;
use super::object::Object;
use crate::error::{Code, Result};
use crate::lifecycle::{Event, State};
use crate::object::build::{self};
use crate::object::{Attributes, life};
use crate::store::Change;
use crate::token::{Attribute, CKA_KEYWARD_LOGICAL_KEY, CKA_KEYWARD_USES, Caller, ObjectId, Order, TakeOver};

/// Index entries read at a time.
const BATCH: usize = 64;

/// An object, and what its clear attributes will be; `None`: it goes and leaves nothing.
type Changed = (Arc<Object>, Option<Attributes>);

impl Soft {
    /// The key that `id` names, hidden or not.
    pub(super) fn key_in_any_state(&self, view: &View, id: ObjectId) -> Result<Arc<Object>> {
        let object = self.object_in_any_state(view, id)?;
        match life::is_key(&object.attributes) {
            true => Ok(object),
            false => Err(Code::ObjectHandleInvalid.because("only keys have a life to change")),
        }
    }

    pub(super) fn change_key_life(&self, caller: Caller, order: &Order) -> Result<()> {
        let view = self.view()?;
        let key = self.key_in_any_state(&view, order.key)?;
        let whole_life = life::life(&key.attributes);
        if (whole_life.state, order.event) == (State::Destroyed, Event::Purge) && !order.leave_nothing {
            // It is destroyed already; what a crash may have left undone is done now.
            return view.file.forget_removed();
        }
        let mut keys = vec![key.clone()];
        if !order.alone {
            keys.extend(self.other_halves(&view, &key)?);
        }
        let ends = matches!(order.event, Event::Destroy | Event::Purge);
        let mut changed = Vec::with_capacity(keys.len());
        for object in keys {
            view.may_write(caller, object.on_token(), object.private)?;
            if ends {
                build::may_destroy(&object.attributes)?;
            }
            match life::ordered(&object.attributes, order) {
                Ok(attributes) => changed.push((object, attributes)),
                // The half that the order names must go the way; the other may be ahead of it, destroyed by itself.
                Err(error) if object.at == key.at => return Err(error),
                Err(_) => {}
            }
        }
        self.write_life(&view, changed)?;
        if order.event == Event::Purge { view.file.forget_removed() } else { Ok(()) }
    }

    /// Takes uses out of a key's limit. Another process may be at the same: then once more, with what it has left.
    pub(super) fn reserve_key_uses(&self, id: ObjectId, uses: u64, limit: u64) -> Result<u64> {
        const TRIES: usize = 8;
        let view = self.view()?;
        for last in (0..TRIES).rev() {
            let object = self.object(&view, id)?;
            let used = object.attributes.ulong(CKA_KEYWARD_USES).unwrap_or(0);
            let granted = uses.min(limit.saturating_sub(used));
            if granted == 0 {
                return Ok(0);
            }
            let mut next = object.attributes.clone();
            next.put(Attribute::ulong(CKA_KEYWARD_USES, used.saturating_add(granted)));
            match self.write_life(&view, vec![(object, Some(next))]) {
                Err(error) if error.code() == Code::FunctionFailed && last > 0 => continue,
                done => return done.map(|()| granted),
            }
        }
        Ok(0)
    }

    /// The keys of the same pair, whatever number of copies.
    pub(super) fn other_halves(&self, view: &View, key: &Object) -> Result<Vec<Arc<Object>>> {
        let attributes = &key.attributes;
        let other = match key.class() {
            Some(CKO_PRIVATE_KEY) => CKO_PUBLIC_KEY,
            Some(CKO_PUBLIC_KEY) => CKO_PRIVATE_KEY,
            _ => return Ok(Vec::new()),
        };
        let Some(info) = attributes.bytes(CKA_PUBLIC_KEY_INFO).filter(|info| !info.is_empty()) else {
            return Ok(Vec::new());
        };
        let same = |object: &Object| {
            object.class() == Some(other) && object.attributes.bytes(CKA_PUBLIC_KEY_INFO) == Some(info)
        };
        if key.at.place == Place::Session {
            let all = self.objects.session_objects();
            return Ok(all.into_iter().filter(|object| same(object)).collect());
        }
        let named = [CKA_ID, CKA_LABEL].into_iter().find_map(|ty| {
            let value = attributes.bytes(ty).filter(|value| !value.is_empty())?;
            Some((ty, value.to_vec()))
        });
        let index = named.unwrap_or((CKA_CLASS, other.to_ne_bytes().to_vec()));
        let found = self.token_objects(view, &[index])?;
        Ok(found.into_iter().filter(|object| same(object)).collect())
    }

    /// The token objects that the index finds under these values, hidden ones too.
    pub(super) fn token_objects(&self, view: &View, index: &[(u64, Vec<u8>)]) -> Result<Vec<Arc<Object>>> {
        let index: Vec<(u64, &[u8])> = index.iter().map(|(ty, value)| (*ty, value.as_slice())).collect();
        let (mut found, mut after) = (Vec::new(), 0);
        loop {
            let entries = view.file.find(&view.keys, &index, after, BATCH)?;
            for entry in &entries {
                found.extend(self.object_at(view, Number { place: Place::Token, number: entry.id })?);
            }
            match entries.last() {
                Some(last) if entries.len() == BATCH => after = last.id,
                _ => return Ok(found),
            }
        }
    }

    /// Every version of a logical key: secret keys, or both halves of pairs. The key itself is among them.
    pub(super) fn versions(&self, view: &View, key: &Arc<Object>) -> Result<Vec<Arc<Object>>> {
        match key.attributes.bytes(CKA_KEYWARD_LOGICAL_KEY) {
            Some(family) => self.token_objects(view, &[(CKA_KEYWARD_LOGICAL_KEY, family.to_vec())]),
            None => {
                let mut only = vec![key.clone()];
                only.extend(self.other_halves(view, key)?);
                Ok(only)
            }
        }
    }

    /// Writes all of it in one durable transaction.
    pub(super) fn write_life(&self, view: &View, changed: Vec<Changed>) -> Result<()> {
        let on_token = changed.iter().filter(|(object, _)| object.on_token());
        let changes: Vec<Change> = on_token
            .map(|(object, attributes)| match attributes {
                Some(attributes) => update_clear(object, attributes),
                None => Change::Delete { id: object.at.number },
            })
            .collect();
        if !changes.is_empty() {
            view.file.commit_together(&view.keys, changes)?;
        }
        for (object, attributes) in &changed {
            match (object.at.place, attributes) {
                (Place::Session, Some(attributes)) if !life::state(attributes).hidden() => {
                    let whole = build::join(attributes.clone(), object.secret(view)?);
                    self.objects.replace_session_object(object.at.number, &whole);
                }
                // A session object has no recovery window: nobody could come back to it.
                _ => {
                    self.objects.remove(object.at);
                }
            }
        }
        self.changed();
        Ok(())
    }

    /// A staged version takes the label; the one in force so far goes on for the overlap, under its archived label.
    pub(super) fn take_over_label(&self, caller: Caller, order: &TakeOver) -> Result<()> {
        let view = self.view()?;
        let staged = self.key_in_any_state(&view, order.key)?;
        let (state, versions) = (life::state(&staged.attributes), self.versions(&view, &staged)?);
        let taken = life::take_over(&staged.attributes, state, versions, |object| &object.attributes, order)?;
        let mut changed = Vec::new();
        for (object, next) in taken.versions {
            view.may_write(caller, object.on_token(), object.private)?;
            changed.push((object, Some(next)));
        }
        for (id, own) in &taken.certificates {
            changed.extend(self.relabelled_certificates(&view, id, &taken.label, own)?);
        }
        self.write_life(&view, changed)
    }

    /// The certificates of a version under its new label; those that have a label of their own keep it.
    fn relabelled_certificates(&self, view: &View, id: &[u8], label: &[u8], own: &[u8]) -> Result<Vec<Changed>> {
        let class = CKO_CERTIFICATE.to_ne_bytes().to_vec();
        let found = self.token_objects(view, &[(CKA_ID, id.to_vec()), (CKA_CLASS, class)])?;
        let belongs =
            |object: &Arc<Object>| object.attributes.bytes(CKA_LABEL).is_some_and(|has| life::follows(has, label));
        let relabel = |object: Arc<Object>| {
            let mut next = object.attributes.clone();
            next.put(Attribute::bytes(CKA_LABEL, own));
            (object, Some(next))
        };
        Ok(found.into_iter().filter(belongs).map(relabel).collect())
    }

    pub(super) fn object_in_any_state(&self, view: &View, id: ObjectId) -> Result<Arc<Object>> {
        let (at, count) = handle::decode(id);
        let object = self.object_at(view, at)?.ok_or(Code::ObjectHandleInvalid)?;
        if view.honours(&object, count) { Ok(object) } else { Err(Code::ObjectHandleInvalid.into()) }
    }
}
