//! `C_FindObjects`: session objects first, then the slot file's, by index where the template allows, streamed.

use std::sync::Arc;

use cryptoki_sys::*;

use super::Soft;
use super::access::View;
use super::handle::{Number, Place};
use super::manage::{COARSE, SELECTIVE};
use super::object::Object;
use crate::error::Result;
use crate::object::{Attributes, build, codec, life};
use crate::store::Record;
use crate::token::{Attribute, CKA_KEYWARD_STATE, CKO_KEYWARD_POLICY, ObjectId, Search};

/// Index entries read from the slot file at a time.
const BATCH: usize = 64;

/// What of a logical key a search means (docs/lifecycle.md, "The search rule").
#[derive(Clone, Copy, Debug)]
struct Rule {
    /// It names the state: also keys that are to be destroyed, and tombstones.
    hidden: bool,
    /// It names the class: also the policy, which no other search shows.
    class: bool,
    /// It names an ID or a unique ID: that version, by the label of the logical key too.
    version: bool,
}

impl Rule {
    fn of(wanted: &Attributes) -> Rule {
        let said = |ty| wanted.bytes(ty).is_some_and(|value| !value.is_empty());
        let names = |ty| wanted.get(ty).is_some();
        Rule { hidden: names(CKA_KEYWARD_STATE), class: names(CKA_CLASS), version: said(CKA_ID) || said(CKA_UNIQUE_ID) }
    }

    fn finds(self, object: &Attributes, template: &[Attribute]) -> bool {
        let policy = object.ulong(CKA_CLASS) == Some(CKO_KEYWARD_POLICY);
        if life::state(object).hidden() && !self.hidden || policy && !self.class {
            return false;
        }
        if build::matches(object, template) {
            return true;
        }
        let label = life::logical_label(object);
        let archived = self.version && Some(label.len()) < object.bytes(CKA_LABEL).map(<[u8]>::len);
        archived && {
            let mut as_logical = object.clone();
            as_logical.put(Attribute::bytes(CKA_LABEL, label));
            build::matches(&as_logical, template)
        }
    }
}

struct Running {
    view: View,
    template: Vec<Attribute>,
    rule: Rule,
    /// And those that the token itself shows.
    session_objects: std::vec::IntoIter<Arc<Object>>,
    /// The template's values that the slot file's index holds; the most selective kind only.
    index: Vec<(u64, Vec<u8>)>,
    /// The last row seen; `None`: the slot file is done with, or not asked for.
    after: Option<u64>,
    entries: std::vec::IntoIter<(u64, Option<Record>)>,
    /// The epoch before those were read.
    epoch: u64,
}

impl Soft {
    pub(super) fn search(&self, template: Vec<Attribute>) -> Result<Box<dyn Search>> {
        let view = self.view()?;
        let wanted: Attributes = template.iter().cloned().collect();
        let on_token = wanted.bool(CKA_TOKEN);
        let mut session_objects = if on_token == Some(true) { Vec::new() } else { self.objects.session_objects() };
        session_objects.extend(self.environment.built_in_of(wanted.ulong(CKA_CLASS))?);
        Ok(Box::new(Running {
            view,
            index: by_index(&wanted),
            rule: Rule::of(&wanted),
            template,
            session_objects: session_objects.into_iter(),
            after: (on_token != Some(false)).then_some(0),
            entries: Vec::new().into_iter(),
            epoch: 0,
        }))
    }
}

/// The given values to look up: all the selective ones, else the coarse ones. An empty value is in no index.
fn by_index(wanted: &Attributes) -> Vec<(u64, Vec<u8>)> {
    let given = |types: &[CK_ATTRIBUTE_TYPE]| -> Vec<(u64, Vec<u8>)> {
        let values = types.iter().filter_map(|&ty| Some((ty, wanted.bytes(ty)?.to_vec())));
        values.filter(|(_, value)| !value.is_empty()).collect()
    };
    let mut selective = given(&SELECTIVE);
    if Rule::of(wanted).version {
        // The label may be that of the logical key, and the version's own another.
        selective.retain(|(ty, _)| *ty != CKA_LABEL);
    }
    if selective.is_empty() { given(&COARSE) } else { selective }
}

impl Running {
    fn next_session_object(&mut self) -> Result<Option<ObjectId>> {
        for object in self.session_objects.by_ref() {
            if object.private && !self.view.sees_private() {
                continue;
            }
            let found = if asks_for_secret(&self.template, &object.attributes) {
                self.rule.finds(&object.whole(&self.view)?, &self.template)
            } else {
                self.rule.finds(&object.attributes, &self.template)
            };
            if found {
                return self.view.handle(&object).map(Some);
            }
        }
        Ok(None)
    }

    fn next_token_object(&mut self) -> Result<Option<ObjectId>> {
        while let Some((number, record)) = self.next_row()? {
            // What changed since is read again. A record that cannot be read costs itself only: the store has said so in the log.
            let record = match self.view.file.epoch() == self.epoch {
                true => record,
                false => self.view.file.read(&self.view.keys, number).ok().flatten(),
            };
            let Some(record) = record else { continue };
            let Ok(mut attributes) = codec::decode(&record.attrs) else { continue };
            if asks_for_secret(&self.template, &attributes)
                && let Ok(Some(secret)) = self.view.file.secret(&self.view.keys, &record)
            {
                attributes = build::join(attributes, codec::decode(secret.expose())?);
            }
            if self.rule.finds(&attributes, &self.template) {
                return self.view.handle_of(Number { place: Place::Token, number }, record.private).map(Some);
            }
        }
        Ok(None)
    }

    fn next_row(&mut self) -> Result<Option<(u64, Option<Record>)>> {
        if let Some(row) = self.entries.next() {
            return Ok(Some(row));
        }
        let Some(after) = self.after else { return Ok(None) };
        let index: Vec<(u64, &[u8])> = self.index.iter().map(|(ty, value)| (*ty, value.as_slice())).collect();
        self.epoch = self.view.file.epoch();
        let entries = self.view.file.find_read(&self.view.keys, &index, after, BATCH)?;
        self.after = if entries.len() < BATCH { None } else { entries.last().map(|(id, _)| *id) };
        self.entries = entries.into_iter();
        Ok(self.entries.next())
    }
}

/// Whether the template names an attribute that this object holds sealed and may reveal.
fn asks_for_secret(template: &[Attribute], attributes: &Attributes) -> bool {
    template.iter().any(|wanted| build::needs_secret(attributes, wanted.ty))
}

impl Search for Running {
    fn next(&mut self, max: usize) -> Result<Vec<ObjectId>> {
        let mut found = Vec::with_capacity(max.min(BATCH));
        while found.len() < max {
            let next = match self.next_session_object()? {
                Some(id) => Some(id),
                None => self.next_token_object()?,
            };
            match next {
                Some(id) => found.push(id),
                None => break,
            }
        }
        Ok(found)
    }
}
