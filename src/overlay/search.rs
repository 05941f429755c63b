//! `C_FindObjects`: the HSM's own search, less what is hidden, and with labels and states as the overlay has them
//! (docs/lifecycle.md, "The search rule").

use std::collections::HashSet;
use std::sync::Arc;

use cryptoki_sys::*;

use super::Shared;
use super::book::{Trait, View};
use super::bound::{Bound, Key, tombstone_id};
use super::identity::{Identity, MADE, ask};
use crate::error::{Code, Result};
use crate::lifecycle::{State, version};
use crate::object::{Attributes, life};
use crate::token::*;

/// Objects taken from the HSM's search at a time.
const BATCH: usize = 256;

/// Everything that a template means in the HSM. The search is over when this returns, and its session free.
pub fn all(token: &dyn Token, caller: Caller, template: Vec<Attribute>) -> Result<Vec<ObjectId>> {
    let (mut search, mut objects) = (token.find(caller, template)?, Vec::new());
    loop {
        let batch = search.next(BATCH)?;
        let ended = batch.len() < BATCH;
        objects.extend(batch);
        if ended {
            return Ok(objects);
        }
    }
}

/// Whether an attribute is the overlay's and not the HSM's.
pub fn is_own(ty: CK_ATTRIBUTE_TYPE) -> bool {
    VENDOR_ATTRIBUTES.iter().any(|(vendor, _)| *vendor == ty)
}

/// What a search asks of the overlay.
struct Asked {
    own: Vec<Attribute>,
    label: Option<Vec<u8>>,
    /// It names an ID or a unique ID: that version, by the label of the logical key too.
    version: bool,
    /// A unique ID that was made up here.
    unique: Option<Vec<u8>>,
    /// Also keys that are to be destroyed, and tombstones.
    hidden: bool,
}

fn said(template: &[Attribute], ty: CK_ATTRIBUTE_TYPE) -> Option<Vec<u8>> {
    let found = template.iter().find(|attribute| attribute.ty == ty)?;
    match &found.value {
        Value::Bytes(bytes) if !bytes.is_empty() => Some(bytes.to_vec()),
        _ => None,
    }
}

impl Asked {
    fn of(template: &[Attribute]) -> Asked {
        let unique = said(template, CKA_UNIQUE_ID);
        Asked {
            own: template.iter().filter(|a| is_own(a.ty)).cloned().collect(),
            label: said(template, CKA_LABEL),
            version: unique.is_some() || said(template, CKA_ID).is_some(),
            unique: unique.filter(|id| id.starts_with(MADE.as_bytes())),
            hidden: template.iter().any(|a| a.ty == CKA_KEYWARD_STATE),
        }
    }

    fn label_fits(&self, shown: &[u8], version: u64) -> bool {
        self.label
            .as_deref()
            .is_none_or(|label| label == shown || self.version && label == version::logical(shown, version))
    }

    fn finds(&self, key: &Key) -> bool {
        let fits = |wanted: &Attribute| answer(&key.attributes, wanted.ty).as_ref() == Some(&wanted.value);
        // For a key that was destroyed and is there all the same stands its tombstone.
        let seen = if self.hidden { key.state() != State::Destroyed } else { !key.state().hidden() };
        seen && self.own.iter().all(fits)
            && (!key.identity.on_token || self.label_fits(key.label(), life::version_of(&key.attributes)))
            && self.unique.as_ref().is_none_or(|unique| *unique == key.unique_id())
    }

    fn finds_tombstone(&self, record: &Attributes, template: &[Attribute]) -> bool {
        let version = life::version_of(record);
        let fits = |wanted: &Attribute| match wanted.ty {
            CKA_LABEL => self.label_fits(record.bytes(CKA_LABEL).unwrap_or_default(), version),
            ty => answer(record, ty).as_ref() == Some(&wanted.value),
        };
        template.iter().all(fits)
    }
}

/// What a record answers for an attribute; what it implies is among it.
pub fn answer(record: &Attributes, ty: CK_ATTRIBUTE_TYPE) -> Option<Value> {
    record.get(ty).cloned().or_else(|| (ty == CKA_KEYWARD_VERSION).then(|| Attribute::ulong(ty, 1).value))
}

struct Finding {
    shared: Arc<Shared>,
    caller: Caller,
    asked: Asked,
    /// What the HSM has found. It is all taken down first: to look at an object may take the session that a search holds.
    objects: std::vec::IntoIter<ObjectId>,
    seen: HashSet<ObjectId>,
    tombstones: std::vec::IntoIter<ObjectId>,
}

impl Shared {
    pub(super) fn search(self: &Arc<Self>, caller: Caller, template: Vec<Attribute>) -> Result<Box<dyn Search>> {
        let view = self.book.view()?;
        let asked = Asked::of(&template);
        let (hides, versions) = (self.book.has(&view, Trait::Hidden)?, self.book.has(&view, Trait::Version)?);
        let relabelled = versions && asked.label.is_some();
        if asked.own.is_empty() && asked.unique.is_none() && !hides && !relabelled {
            return self.inner.find(caller, template);
        }
        let made_up = asked.unique.is_some();
        let theirs = |a: &&Attribute| !(is_own(a.ty) || a.ty == CKA_UNIQUE_ID && made_up);
        let rest: Vec<Attribute> = template.iter().filter(theirs).cloned().collect();
        let unlabelled = || rest.iter().filter(|a| a.ty != CKA_LABEL).cloned().collect::<Vec<_>>();
        let (first, further) = match relabelled {
            false => (rest.clone(), Vec::new()),
            // The ID is selective enough.
            true if asked.version && !made_up => (unlabelled(), Vec::new()),
            true => (rest.clone(), self.versions_called(&view, &asked, &unlabelled())?),
        };
        let tombstones = match asked.hidden {
            true => self.tombstones(&view, &asked, &template)?,
            false => Vec::new(),
        };
        let mut objects = Vec::new();
        for template in std::iter::once(first).chain(further) {
            objects.extend(all(&*self.inner, caller, template)?);
        }
        Ok(Box::new(Finding {
            shared: Arc::clone(self),
            caller,
            asked,
            objects: objects.into_iter(),
            seen: HashSet::new(),
            tombstones: tombstones.into_iter(),
        }))
    }

    /// Searches for the versions that are shown under the label asked for.
    fn versions_called(&self, view: &View, asked: &Asked, rest: &[Attribute]) -> Result<Vec<Vec<Attribute>>> {
        let label = asked.label.as_deref().unwrap_or_default();
        let mut searches = Vec::new();
        for record in self.book.find(view, &[(CKA_LABEL, label)])? {
            let mut template = Identity::of_record(&record.attributes).template();
            let fits = rest.iter().all(|wanted| match template.iter().find(|own| own.ty == wanted.ty) {
                Some(own) => own.value == wanted.value,
                None => true,
            });
            if fits {
                let named: Vec<CK_ATTRIBUTE_TYPE> = template.iter().map(|own| own.ty).collect();
                template.extend(rest.iter().filter(|wanted| !named.contains(&wanted.ty)).cloned());
                searches.push(template);
            }
        }
        Ok(searches)
    }

    fn tombstones(&self, view: &View, asked: &Asked, template: &[Attribute]) -> Result<Vec<ObjectId>> {
        let destroyed = (State::Destroyed as CK_ULONG).to_ne_bytes();
        let records = self.book.find(view, &[(CKA_KEYWARD_STATE, &destroyed)])?;
        let found = records.iter().filter(|record| asked.finds_tombstone(&record.attributes, template));
        Ok(found.map(|record| tombstone_id(record.id)).collect())
    }
}

impl Finding {
    /// Whether the HSM's label is the one asked for; its search may have been for more.
    fn has_label(&self, object: ObjectId) -> Result<bool> {
        let Some(label) = &self.asked.label else { return Ok(true) };
        let known = ask(&*self.shared.inner, self.caller, object, &[CKA_LABEL])?;
        Ok(known.bytes(CKA_LABEL) == Some(label))
    }

    fn finds(&mut self, view: &View, object: ObjectId) -> Result<bool> {
        match self.shared.bound(view, self.caller, object) {
            Ok(Bound::Key(key)) if key.identity.on_token => Ok(self.asked.finds(&key)),
            Ok(Bound::Key(key)) => Ok(self.asked.finds(&key) && self.has_label(object)?),
            // What is no key, and what is not clear, is found by what the HSM says of it alone.
            Ok(_) => Ok(self.asked.own.is_empty() && self.asked.unique.is_none() && self.has_label(object)?),
            // Destroyed by another since it was found.
            Err(error) if error.code() == Code::ObjectHandleInvalid => Ok(false),
            Err(error) => Err(error),
        }
    }
}

impl Search for Finding {
    fn next(&mut self, max: usize) -> Result<Vec<ObjectId>> {
        let view = self.shared.book.view()?;
        let mut found = Vec::new();
        while found.len() < max {
            let Some(object) = self.objects.next() else { break };
            if self.finds(&view, object)? && self.seen.insert(object) {
                found.push(object);
            }
        }
        let room = max.saturating_sub(found.len());
        found.extend(self.tombstones.by_ref().take(room));
        Ok(found)
    }
}
