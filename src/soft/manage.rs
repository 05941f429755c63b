//! Making, reading, changing and destroying objects.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use cryptoki_sys::*;
use smallvec::SmallVec;

use super::Soft;
use super::access::View;
use super::handle::{Number, Place};
use super::object::Object;
use crate::error::{Code, Result};
use crate::lifecycle::{Dates, State};
use crate::mechanism::key;
use crate::object::build::{self, Draft, Given, Maker, Origin};
use crate::object::{Attributes, codec, life};
use crate::secret::SecretBytes;
use crate::store::{Change, SecretChange};
use crate::token::{
    Answer, Answers, Attribute, CKA_KEYWARD_LOGICAL_KEY, CKA_KEYWARD_STATE, CKO_KEYWARD_POLICY, Caller, ObjectId,
};

/// The attributes by which the slot file finds objects without reading them; the selective ones first.
pub(super) const SELECTIVE: [CK_ATTRIBUTE_TYPE; 7] =
    [CKA_UNIQUE_ID, CKA_ID, CKA_LABEL, CKA_KEYWARD_LOGICAL_KEY, CKA_SERIAL_NUMBER, CKA_SUBJECT, CKA_ISSUER];
pub(super) const COARSE: [CK_ATTRIBUTE_TYPE; 2] = [CKA_KEY_TYPE, CKA_CLASS];

impl View {
    pub(super) fn maker(&self) -> Maker {
        Maker { security_officer: self.security_officer() }
    }
}

impl Soft {
    pub(super) fn create_object(&self, caller: Caller, template: Vec<Attribute>) -> Result<ObjectId> {
        let view = self.view()?;
        self.keep_one(&view, caller, created(&view, caller, template)?)
    }

    pub(super) fn create_objects(&self, caller: Caller, templates: Vec<Vec<Attribute>>) -> Result<Vec<ObjectId>> {
        let view = self.view()?;
        let all = templates.into_iter().map(|template| created(&view, caller, template)).collect::<Result<Vec<_>>>()?;
        self.keep(&view, caller, &all)
    }

    pub(super) fn copy_object(&self, caller: Caller, id: ObjectId, template: Vec<Attribute>) -> Result<ObjectId> {
        let view = self.view()?;
        let original = self.object(&view, id)?.whole(&view)?;
        let attributes = build::copy(&view.maker(), &original, template)?;
        self.keep_one(&view, caller, attributes)
    }

    pub(super) fn destroy_object(&self, caller: Caller, id: ObjectId) -> Result<()> {
        let view = self.view()?;
        let object = self.object(&view, id)?;
        view.may_write(caller, object.on_token(), object.private).map_err(|error| match error.code() {
            // The one code of C_DestroyObject for it.
            Code::UserNotLoggedIn => error.recode(Code::ActionProhibited),
            _ => error,
        })?;
        build::may_destroy(&object.attributes)?;
        if object.on_token() {
            view.file.commit_together(&view.keys, vec![Change::Delete { id: object.at.number }])?;
        }
        self.objects.remove(object.at);
        self.changed();
        Ok(())
    }

    pub(super) fn object_size(&self, id: ObjectId) -> Result<u64> {
        let view = self.view()?;
        Ok(build::size(&self.object(&view, id)?.whole(&view)?))
    }

    pub(super) fn attributes(&self, id: ObjectId, types: &[CK_ATTRIBUTE_TYPE]) -> Result<Answers> {
        // Who asks for the state may also look at what is to be destroyed, and at tombstones.
        let any_state = types.contains(&CKA_KEYWARD_STATE);
        let changes = || self.changes.load(Ordering::Acquire).wrapping_add(self.objects.exchanges());
        let now = |view: &View| (changes(), view.file.epoch());
        if !any_state && let Some(answers) = self.views.read(id, types, now) {
            return Ok(answers);
        }
        let view = self.view()?;
        let stamp = now(&view);
        let object = if any_state { self.object_in_any_state(&view, id)? } else { self.object(&view, id)? };
        if !any_state {
            self.views.was_read(&view, id, stamp, &object);
        }
        // Opened once, and only when a secret attribute that may leave is asked for.
        let mut whole: Option<Attributes> = None;
        let mut answers = SmallVec::with_capacity(types.len());
        for &ty in types {
            if whole.is_none() && object.sight.needs_secret(ty) {
                if view.may_use(&object).is_err() {
                    answers.push(Answer::Sensitive);
                    continue;
                }
                whole = Some(object.whole(&view)?);
            }
            answers.push(object.sight.read(whole.as_ref().unwrap_or(&object.attributes), ty));
        }
        Ok(answers)
    }

    pub(super) fn set_attributes(&self, caller: Caller, id: ObjectId, template: Vec<Attribute>) -> Result<()> {
        let view = self.view()?;
        let object = self.object(&view, id)?;
        view.may_write(caller, object.on_token(), object.private)?;
        if template.iter().any(|a| a.ty == CKA_LABEL)
            && life::logical_label(&object.attributes).len() < label_len(&object)
        {
            return Err(Code::ActionProhibited
                .because("the label of an older or staged version follows that of the logical key"));
        }
        let attributes = build::set(&view.maker(), &object.whole(&view)?, template)?;
        match object.at.place {
            Place::Session => {
                if !self.objects.replace_session_object(object.at.number, &attributes) {
                    return Err(Code::ObjectHandleInvalid.into());
                }
            }
            Place::Token => {
                let change = update(object.at.number, object.version(), &attributes);
                view.file.commit_together(&view.keys, vec![change])?;
                self.objects.remove(object.at);
            }
        }
        self.changed();
        Ok(())
    }

    /// Keeps what an operation has made.
    pub(super) fn keep_made(&self, view: &View, caller: Caller, mut attributes: Attributes) -> Result<ObjectId> {
        self.environment.mark(&mut attributes);
        self.keep_one(view, caller, attributes)
    }

    pub(super) fn keep_one(&self, view: &View, caller: Caller, attributes: Attributes) -> Result<ObjectId> {
        self.keep(view, caller, &[attributes])?.pop().ok_or(Code::GeneralError.into())
    }

    /// Keeps new objects, all or none: those of the token in one durable transaction.
    pub(super) fn keep(&self, view: &View, caller: Caller, objects: &[Attributes]) -> Result<Vec<ObjectId>> {
        for attributes in objects {
            view.may_write(caller, attributes.is_true(CKA_TOKEN), attributes.is_true(CKA_PRIVATE))?;
            life::life(attributes).check().map_err(|error| error.recode(Code::TemplateInconsistent))?;
        }
        let mirrored: Vec<Attributes>;
        let objects = match objects.iter().any(|a| life::life(a).dates != Dates::default()) {
            true => {
                mirrored = objects.iter().cloned().map(mirror).collect();
                &mirrored
            }
            false => objects,
        };
        let inserts: Vec<Change> = objects.iter().filter(|a| a.is_true(CKA_TOKEN)).map(insert).collect();
        let mut rows =
            if inserts.is_empty() { Vec::new() } else { view.file.commit_together(&view.keys, inserts)? }.into_iter();
        let mut ids = Vec::with_capacity(objects.len());
        for attributes in objects {
            let private = attributes.is_true(CKA_PRIVATE);
            ids.push(if attributes.is_true(CKA_TOKEN) {
                let number = rows.next().ok_or(Code::GeneralError)?;
                view.handle_of(Number { place: Place::Token, number }, private)?
            } else {
                view.handle(&self.objects.add_session_object(caller.session, attributes))?
            });
        }
        self.changed();
        Ok(ids)
    }
}

/// What `C_CreateObject` makes of a template.
fn created(view: &View, caller: Caller, template: Vec<Attribute>) -> Result<Attributes> {
    let draft = build::draft(Origin::Create, &view.maker(), None, None, template)?;
    may_keep(view, caller, &draft)?;
    let given = Given { attributes: standard_form(draft.attributes())?, ..Given::default() };
    draft.finish(given)
}

/// The session states forbid it before any work is done, and before a key is made in vain.
pub(super) fn may_keep(view: &View, caller: Caller, draft: &Draft) -> Result<()> {
    let attributes = draft.attributes();
    view.may_write(caller, attributes.is_true(CKA_TOKEN), attributes.is_true(CKA_PRIVATE))
}

/// A key's own attributes in their standard form, and what follows from them; nothing for other objects.
pub(super) fn standard_form(wanted: &Attributes) -> Result<Vec<Attribute>> {
    if !matches!(wanted.ulong(CKA_CLASS), Some(CKO_PUBLIC_KEY | CKO_PRIVATE_KEY)) {
        return Ok(Vec::new());
    }
    let mut attributes = wanted.clone();
    match key::normalise(&mut attributes) {
        Ok(()) => {}
        // A key type without cryptography here is kept as it comes.
        Err(error) if error.code() == Code::KeyTypeInconsistent => return Ok(Vec::new()),
        Err(error) => return Err(error),
    }
    let changed = attributes.iter().filter(|a| wanted.get(a.ty) != Some(&a.value)).cloned();
    let mut own: Vec<Attribute> = changed.collect();
    own.push(Attribute::bytes(CKA_PUBLIC_KEY_INFO, &key::public_key_info(&attributes)?));
    Ok(own)
}

fn mirror(mut attributes: Attributes) -> Attributes {
    life::mirror(&mut attributes);
    attributes
}

fn label_len(object: &Object) -> usize {
    object.attributes.bytes(CKA_LABEL).map_or(0, <[u8]>::len)
}

pub(super) fn insert(attributes: &Attributes) -> Change {
    let (clear, secret) = build::split(attributes);
    Change::Insert {
        private: attributes.is_true(CKA_PRIVATE),
        attrs: codec::encode(&clear).expose().clone(),
        secret: sealed(&secret),
        index: index(&clear),
    }
}

/// The change of a token object, from the version that it was read at.
pub(super) fn update(id: u64, version: u64, attributes: &Attributes) -> Change {
    let (clear, secret) = build::split(attributes);
    Change::Update {
        id,
        version,
        private: attributes.is_true(CKA_PRIVATE),
        attrs: codec::encode(&clear).expose().clone(),
        secret: SecretChange::Set(sealed(&secret)),
        index: index(&clear),
    }
}

/// A change of the clear attributes alone. A tombstone has no secret any more.
pub(super) fn update_clear(object: &Arc<Object>, attributes: &Attributes) -> Change {
    let destroyed = life::state(attributes) == State::Destroyed;
    Change::Update {
        id: object.at.number,
        version: object.version(),
        private: object.private,
        attrs: codec::encode(attributes).expose().clone(),
        secret: if destroyed { SecretChange::Set(None) } else { SecretChange::Keep },
        index: index(attributes),
    }
}

fn sealed(secret: &Attributes) -> Option<SecretBytes> {
    (!secret.is_empty()).then(|| codec::encode(secret))
}

/// What the slot file finds an object by, from its attributes as they are kept there.
pub fn index_of(attrs: &[u8]) -> Result<Vec<(u64, Vec<u8>)>> {
    Ok(index(&codec::decode(attrs)?))
}

/// Whether an object, by its attributes as they are kept, is the token's policy.
pub fn is_policy(attrs: &[u8]) -> Result<bool> {
    Ok(codec::decode(attrs)?.ulong(CKA_CLASS) == Some(CKO_KEYWARD_POLICY))
}

/// The text of the token's policy, where these attributes are those of the policy.
pub fn policy_text(attrs: &[u8]) -> Result<Option<String>> {
    let object = codec::decode(attrs)?;
    let policy = object.ulong(CKA_CLASS) == Some(CKO_KEYWARD_POLICY);
    let text = object.bytes(CKA_VALUE).filter(|_| policy);
    Ok(text.map(|text| String::from_utf8_lossy(text).into_owned()))
}

/// What the slot file finds an object by.
fn index(attributes: &Attributes) -> Vec<(u64, Vec<u8>)> {
    let indexed = SELECTIVE.iter().chain(&COARSE);
    indexed
        .filter_map(|&ty| Some((ty, attributes.bytes(ty)?.to_vec())))
        .filter(|(_, value)| !value.is_empty())
        .collect()
}
