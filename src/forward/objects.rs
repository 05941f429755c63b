//! Our numbers of objects, and the HSM's handles behind them.
//!
//! A handle is good for one connection. What an object is, is taken down when it is first met, also in a search for many, so that it can be found again
//! after a loss: by its unique ID, else by class, ID, label and public key. More than one that fits means failure.
//!
//! Attributes that cannot change are kept with the object, refusals included. They are given without asking the HSM only
//! while it has confirmed the object (by any successful call with its handle) within the last second: what may become untrue
//! is that the object exists, and for no longer than that is it believed.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use cryptoki_sys::*;
use parking_lot::RwLock;
use smallvec::SmallVec;

use super::call::{Call, Reply};
use super::fault::Outcome;
use super::filter::{self, is_true, named};
use super::hsm::Hsm;
use super::pool::{Active, Lease};
use crate::error::Code;
use crate::os::coarse_millis;
use crate::token::{Answer, Answers, Attribute, ObjectId, SessionId, Value};

/// How long an object is believed to exist without a word of the HSM, in milliseconds.
const BELIEVED: u64 = 1000;

/// What is known of an object for good.
#[derive(Debug, Default)]
pub struct Known {
    pub token: bool,
    pub private: bool,
    pub always_authenticate: bool,
    /// A template that means this object; empty where it has nothing of its own.
    identity: Vec<Attribute>,
}

struct Entry {
    handle: CK_OBJECT_HANDLE,
    epoch: u64,
    /// Of a session object.
    owner: Option<SessionId>,
    known: Option<Arc<Known>>,
    confirmed: u64,
    kept: SmallVec<[(CK_ATTRIBUTE_TYPE, Answer); 4]>,
}

#[derive(Default)]
struct Table {
    by_handle: HashMap<CK_OBJECT_HANDLE, u64>,
    entries: HashMap<u64, Entry>,
    last: u64,
}

#[derive(Default)]
pub struct Objects(RwLock<Table>);

/// Attributes that the specification lets nobody change once the object exists.
fn unchanging(ty: CK_ATTRIBUTE_TYPE) -> bool {
    matches!(
        ty,
        CKA_CLASS
            | CKA_TOKEN
            | CKA_PRIVATE
            | CKA_UNIQUE_ID
            | CKA_KEY_TYPE
            | CKA_CERTIFICATE_TYPE
            | CKA_MODULUS
            | CKA_MODULUS_BITS
            | CKA_PUBLIC_EXPONENT
            | CKA_EC_PARAMS
            | CKA_EC_POINT
            | CKA_PARAMETER_SET
            | CKA_VALUE_LEN
            | CKA_LOCAL
            | CKA_KEY_GEN_MECHANISM
            | CKA_ALWAYS_AUTHENTICATE
            | CKA_MODIFIABLE
    )
}

/// Whether the answer stays true as long as the object exists. A secret value is never kept; that it is refused is, since
/// `CKA_SENSITIVE` and `CKA_EXTRACTABLE` go one way only.
fn lasts(ty: CK_ATTRIBUTE_TYPE, answer: &Answer) -> bool {
    match answer {
        Answer::Value(_) | Answer::Absent => unchanging(ty),
        Answer::Sensitive => true,
    }
}

impl Objects {
    /// The number of an object that the HSM has shown.
    pub fn meet(&self, handle: CK_OBJECT_HANDLE, epoch: u64, owner: Option<SessionId>) -> ObjectId {
        if let Some(id) = self.0.read().by_handle.get(&handle) {
            return ObjectId(*id);
        }
        let mut table = self.0.write();
        if let Some(id) = table.by_handle.get(&handle) {
            return ObjectId(*id);
        }
        table.last = table.last.saturating_add(1);
        let id = table.last;
        table.by_handle.insert(handle, id);
        let entry = Entry { handle, epoch, owner, known: None, confirmed: coarse_millis(), kept: SmallVec::new() };
        table.entries.insert(id, entry);
        ObjectId(id)
    }

    /// A new object: whatever the handle meant before, it is gone.
    pub fn made(&self, handle: CK_OBJECT_HANDLE, epoch: u64, owner: Option<SessionId>) -> ObjectId {
        let old = self.0.read().by_handle.get(&handle).copied();
        if let Some(old) = old {
            self.forget(ObjectId(old));
        }
        self.meet(handle, epoch, owner)
    }

    /// The handle, if it is one of this connection. `CKR_OBJECT_HANDLE_INVALID` for what is gone.
    fn handle(&self, id: ObjectId, epoch: u64) -> Outcome<Option<CK_OBJECT_HANDLE>> {
        let table = self.0.read();
        let entry = table.entries.get(&id.0).ok_or(Code::ObjectHandleInvalid)?;
        Ok((entry.epoch == epoch).then_some(entry.handle))
    }

    fn known(&self, id: ObjectId) -> Option<Arc<Known>> {
        self.0.read().entries.get(&id.0)?.known.clone()
    }

    fn bind(&self, id: ObjectId, handle: CK_OBJECT_HANDLE, epoch: u64) {
        let mut table = self.0.write();
        table.by_handle.insert(handle, id.0);
        if let Some(entry) = table.entries.get_mut(&id.0) {
            entry.handle = handle;
            entry.epoch = epoch;
            entry.confirmed = coarse_millis();
        }
    }

    pub fn forget(&self, id: ObjectId) {
        let mut table = self.0.write();
        if let Some(entry) = table.entries.remove(&id.0)
            && table.by_handle.get(&entry.handle) == Some(&id.0)
        {
            table.by_handle.remove(&entry.handle);
        }
    }

    fn retain(&self, keep: impl Fn(&Entry) -> bool) {
        let mut table = self.0.write();
        let Table { by_handle, entries, .. } = &mut *table;
        entries.retain(|_, entry| keep(entry));
        by_handle.retain(|_, id| entries.contains_key(id));
    }

    /// The connection is another one: session objects are gone, and handles mean nothing.
    pub fn lost(&self) {
        self.retain(|entry| entry.owner.is_none() && entry.known.as_ref().is_none_or(|known| known.token));
        self.0.write().by_handle.clear();
    }

    /// Nobody is logged in: handles of private objects have ended.
    pub fn end_private(&self) {
        self.retain(|entry| !entry.known.as_ref().is_some_and(|known| known.private));
    }

    /// The HSM has logged out by itself and in again: its handles of private objects have ended, and the private session objects
    /// with them. The others are to be found again.
    pub fn doubt_private(&self) {
        let private = |entry: &Entry| entry.known.as_ref().is_some_and(|known| known.private);
        self.retain(|entry| !private(entry) || entry.known.as_ref().is_some_and(|known| known.token));
        let mut table = self.0.write();
        let Table { by_handle, entries, .. } = &mut *table;
        // No connection has the number 0.
        entries.values_mut().filter(|entry| private(entry)).for_each(|entry| entry.epoch = 0);
        by_handle.retain(|_, id| entries.get(id).is_some_and(|entry| entry.epoch != 0));
    }

    /// The session objects of a session, for destroying.
    pub fn owned(&self, session: SessionId) -> Vec<ObjectId> {
        let table = self.0.read();
        table.entries.iter().filter(|(_, entry)| entry.owner == Some(session)).map(|(id, _)| ObjectId(*id)).collect()
    }

    /// Every answer, where all are kept and the object is believed to exist.
    pub fn kept(&self, id: ObjectId, types: &[CK_ATTRIBUTE_TYPE]) -> Option<Answers> {
        let table = self.0.read();
        let entry = table.entries.get(&id.0)?;
        if coarse_millis().saturating_sub(entry.confirmed) > BELIEVED {
            return None;
        }
        let kept =
            |ty: &CK_ATTRIBUTE_TYPE| entry.kept.iter().find(|(kept, _)| kept == ty).map(|(_, answer)| answer.clone());
        types.iter().map(kept).collect()
    }

    pub fn keep(&self, id: ObjectId, types: &[CK_ATTRIBUTE_TYPE], answers: &[Answer]) {
        let mut table = self.0.write();
        let Some(entry) = table.entries.get_mut(&id.0) else { return };
        entry.confirmed = coarse_millis();
        for (ty, answer) in types.iter().zip(answers).filter(|(ty, answer)| lasts(**ty, answer)) {
            if !entry.kept.iter().any(|(kept, _)| kept == ty) {
                entry.kept.push((*ty, answer.clone()));
            }
        }
    }

    /// A change may have made a refusal out of date: a key's value is refused now that was not, never the other way. And it may
    /// be called otherwise now.
    pub fn altered(&self, id: ObjectId) {
        if let Some(entry) = self.0.write().entries.get_mut(&id.0) {
            entry.kept.clear();
            entry.known = None;
        }
    }
}

impl Hsm {
    /// The HSM's handle of an object; after a loss the object is looked for. `CKR_OBJECT_HANDLE_INVALID` where it is gone, or
    /// where more than one could be meant.
    pub fn resolve(&self, lease: &mut Lease, id: ObjectId) -> Outcome<CK_OBJECT_HANDLE> {
        if let Some(handle) = self.objects.handle(id, lease.epoch())? {
            return Ok(handle);
        }
        let known = self.objects.known(id).filter(|known| !known.identity.is_empty());
        let gone = |why: &str| {
            self.objects.forget(id);
            Code::ObjectHandleInvalid.because(format!("{}: an object of before the loss {why}", self.name))
        };
        let known = known.ok_or_else(|| gone("has no ID, label or public key to be found by"))?;
        let session = lease.session();
        lease.call(&Call::Find { session, template: Cow::Borrowed(&known.identity) })?;
        lease.set_active(Some(Active::Search));
        let found = lease.call(&Call::Found { session, max: 2 }).and_then(Reply::numbers);
        lease.set_active(None);
        lease.call(&Call::FindEnd { session })?;
        match found?.as_slice() {
            [handle] => {
                self.objects.bind(id, *handle, lease.epoch());
                Ok(*handle)
            }
            [] => Err(gone("is there no more").into()),
            _ => Err(Code::ObjectHandleInvalid
                .because(format!(
                    "{}: two objects have the class, ID and label of one of before the loss; give each its own ID",
                    self.name
                ))
                .into()),
        }
    }

    /// What an object is; asked of the HSM once.
    pub fn describe(&self, lease: &Lease, id: ObjectId, handle: CK_OBJECT_HANDLE) -> Outcome<Arc<Known>> {
        if let Some(known) = self.objects.known(id) {
            return Ok(known);
        }
        let ask = |types: &[CK_ATTRIBUTE_TYPE]| -> Outcome<Vec<Attribute>> {
            let call = Call::Get { session: lease.session(), object: handle, types: Cow::Borrowed(types) };
            let answers = lease.call(&call)?.answers()?;
            self.objects.keep(id, types, &answers);
            let found = types.iter().zip(answers).filter_map(|(ty, answer)| match answer {
                Answer::Value(Value::Bytes(bytes)) => Some(Attribute { ty: *ty, value: Value::Bytes(bytes) }),
                _ => None,
            });
            Ok(found.collect())
        };
        // One call for an object that has an ID of its own, and two for a private key; else up to three.
        let mut all = ask(&[CKA_CLASS, CKA_TOKEN, CKA_PRIVATE, CKA_LABEL, CKA_UNIQUE_ID])?;
        let class = number(named(&all, CKA_CLASS));
        let unique = named(&all, CKA_UNIQUE_ID).is_some_and(|id| !id.is_empty());
        match class {
            Some(CKO_PRIVATE_KEY) if unique => all.extend(ask(&[CKA_ALWAYS_AUTHENTICATE])?),
            _ if unique => {}
            Some(CKO_PRIVATE_KEY) => all.extend(ask(&[CKA_KEY_TYPE, CKA_ID, CKA_ALWAYS_AUTHENTICATE])?),
            Some(CKO_PUBLIC_KEY | CKO_SECRET_KEY) => all.extend(ask(&[CKA_KEY_TYPE, CKA_ID])?),
            Some(CKO_CERTIFICATE) => all.extend(ask(&[CKA_ID, CKA_VALUE])?),
            _ => {}
        }
        match (class, number(named(&all, CKA_KEY_TYPE))) {
            (Some(CKO_PUBLIC_KEY | CKO_PRIVATE_KEY), Some(CKK_RSA)) => all.extend(ask(&[CKA_MODULUS])?),
            (Some(CKO_PUBLIC_KEY), Some(CKK_EC | CKK_EC_EDWARDS | CKK_EC_MONTGOMERY)) => {
                all.extend(ask(&[CKA_EC_POINT])?)
            }
            _ => {}
        }
        let known = Arc::new(Known {
            token: is_true(named(&all, CKA_TOKEN)),
            private: is_true(named(&all, CKA_PRIVATE)),
            always_authenticate: is_true(named(&all, CKA_ALWAYS_AUTHENTICATE)),
            identity: identity(all),
        });
        if let Some(entry) = self.objects.0.write().entries.get_mut(&id.0) {
            entry.known = Some(Arc::clone(&known));
        }
        Ok(known)
    }

    /// Whether the configuration shows an object.
    pub fn shows(&self, lease: &Lease, handle: CK_OBJECT_HANDLE) -> Outcome<bool> {
        if self.filter.shows_all() {
            return Ok(true);
        }
        let call = Call::Get { session: lease.session(), object: handle, types: Cow::Borrowed(&filter::NAMING) };
        Ok(self.filter.shows(&lease.call(&call)?.answers()?))
    }

    /// Whether an object, or a copy of it, is still one that the configuration shows with these attributes. `CKR_TEMPLATE_INCONSISTENT`
    /// for one that would not be.
    pub fn stays_in_sight(&self, lease: &Lease, handle: CK_OBJECT_HANDLE, template: &[Attribute]) -> Outcome<()> {
        let renames = filter::NAMING.iter().any(|ty| named(template, *ty).is_some());
        if self.filter.shows_all() || !renames {
            return Ok(());
        }
        let call = Call::Get { session: lease.session(), object: handle, types: Cow::Borrowed(&filter::NAMING) };
        let mut answers = lease.call(&call)?.answers()?;
        for (ty, answer) in filter::NAMING.iter().zip(&mut answers) {
            if let Some(new) = template.iter().find(|attribute| attribute.ty == *ty) {
                *answer = Answer::Value(new.value.clone());
            }
        }
        match self.filter.shows(&answers) {
            true => Ok(()),
            false => Err(filter::out_of_sight().into()),
        }
    }
}

fn number(bytes: Option<&[u8]>) -> Option<u64> {
    bytes.and_then(|bytes| bytes.try_into().ok()).map(u64::from_ne_bytes)
}

/// The template that means an object with these attributes.
fn identity(mut all: Vec<Attribute>) -> Vec<Attribute> {
    let empty = |attribute: &Attribute| matches!(&attribute.value, Value::Bytes(bytes) if bytes.is_empty());
    all.retain(|attribute| !empty(attribute));
    if let Some(at) = all.iter().position(|attribute| attribute.ty == CKA_UNIQUE_ID) {
        return vec![all.swap_remove(at)];
    }
    let own =
        |attribute: &Attribute| matches!(attribute.ty, CKA_ID | CKA_LABEL | CKA_MODULUS | CKA_EC_POINT | CKA_VALUE);
    if !all.iter().any(own) {
        return Vec::new();
    }
    all.retain(|attribute| own(attribute) || matches!(attribute.ty, CKA_CLASS | CKA_KEY_TYPE));
    all
}
