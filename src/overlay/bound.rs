//! Which record belongs to which object of the HSM, and what it says.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use cryptoki_sys::*;
use parking_lot::RwLock;
use quick_cache::sync::Cache;

use super::book::{Book, Record, View};
use super::identity::{Identity, Match, record_of, unclear};
use crate::error::{Code, Error, Result};
use crate::lifecycle::State;
use crate::object::{Attributes, life};
use crate::token::*;

/// How many objects' records are kept read.
const KEPT: usize = 4096;

/// A tombstone has no object in the HSM: it is named by its record.
const TOMBSTONE: u64 = 1 << (ObjectId::BITS - 1);

pub fn tombstone_id(record: u64) -> ObjectId {
    ObjectId(record | TOMBSTONE)
}

/// The record that a tombstone's number names.
pub fn tombstone_of(id: ObjectId) -> Option<u64> {
    (id.0 & TOMBSTONE != 0).then_some(id.0 & !TOMBSTONE)
}

/// What is known of an object.
#[derive(Clone)]
pub enum Bound {
    /// It is no key, and has no life.
    Other,
    Key(Arc<Key>),
    Unclear(Arc<Identity>, Error),
}

pub struct Key {
    pub identity: Identity,
    /// `None`: a session object, or a key that has none.
    pub record: Option<Arc<Record>>,
    /// The record's, or what stands for one: the state is always among them.
    pub attributes: Attributes,
}

impl Key {
    pub fn state(&self) -> State {
        life::state(&self.attributes)
    }

    /// The label that is shown: an own one where it is a version.
    pub fn label(&self) -> &[u8] {
        match self.attributes.bytes(CKA_KEYWARD_LOGICAL_KEY) {
            Some(_) => self.attributes.bytes(CKA_LABEL).unwrap_or_default(),
            None => &self.identity.label,
        }
    }

    pub fn unique_id(&self) -> Vec<u8> {
        match (&self.identity.unique, self.attributes.bytes(CKA_UNIQUE_ID)) {
            (None, Some(own)) => own.to_vec(),
            _ => self.identity.unique_id(),
        }
    }
}

/// The objects of one token in this process.
pub struct Objects {
    known: Cache<ObjectId, (u64, Bound)>,
    /// The life of session objects that were made here.
    session: RwLock<HashMap<ObjectId, (SessionId, Attributes)>>,
    /// Counts what changes without the file: session objects.
    changes: AtomicU64,
}

impl Objects {
    pub fn new() -> Objects {
        Objects { known: Cache::new(KEPT), session: RwLock::default(), changes: AtomicU64::new(1) }
    }

    pub fn changes(&self) -> u64 {
        self.changes.load(Ordering::Acquire)
    }

    pub fn put_session_object(&self, object: ObjectId, owner: SessionId, attributes: Attributes) {
        let before = self.session.write().insert(object, (owner, attributes));
        match before {
            Some(_) => self.read_anew(object),
            None => drop(self.known.remove(&object)),
        }
    }

    pub fn session_object(&self, object: ObjectId) -> Option<Attributes> {
        self.session.read().get(&object).map(|(_, attributes)| attributes.clone())
    }

    pub fn session_owner(&self, object: ObjectId) -> Option<SessionId> {
        self.session.read().get(&object).map(|(owner, _)| *owner)
    }

    pub fn forget(&self, object: ObjectId) {
        self.session.write().remove(&object);
        self.known.remove(&object);
    }

    /// It has changed: it is read anew, and what was made of it is not kept.
    pub fn read_anew(&self, object: ObjectId) {
        self.known.remove(&object);
        self.changes.fetch_add(1, Ordering::AcqRel);
    }

    pub fn end_session(&self, session: SessionId) {
        self.session.write().retain(|_, (owner, _)| *owner != session);
    }

    /// The logins have changed, or the HSM is another connection's.
    pub fn forget_all(&self) {
        self.known.clear();
    }

    /// What an object is. The codes of the HSM for one that is gone.
    pub fn bound(
        &self,
        book: &Book,
        view: &View,
        token: &dyn Token,
        caller: Caller,
        object: ObjectId,
    ) -> Result<Bound> {
        // A number means the same object as long as it means any: what tells it from others need not be asked again.
        let identity = match self.known.get(&object) {
            Some((epoch, bound)) if epoch == view.epoch => return Ok(bound),
            Some((_, Bound::Other)) => return Ok(Bound::Other),
            Some((_, Bound::Key(key))) => Some(key.identity.clone()),
            Some((_, Bound::Unclear(identity, _))) => Some((*identity).clone()),
            None => None,
        };
        let sure = |identity: &Identity| identity.on_token && (identity.print.is_some() || identity.unique.is_some());
        let bound = self.look(book, view, token, caller, object, identity.filter(sure))?;
        self.known.insert(object, (view.epoch, bound.clone()));
        Ok(bound)
    }

    fn look(
        &self,
        book: &Book,
        view: &View,
        token: &dyn Token,
        caller: Caller,
        object: ObjectId,
        identity: Option<Identity>,
    ) -> Result<Bound> {
        let known = self.session_object(object);
        let identity = match (identity, &known) {
            (Some(identity), _) => identity,
            // It was made here: what it is need not be asked.
            (None, Some(_)) => Identity::default(),
            (None, None) => match Identity::of(token, caller, object)? {
                Some(identity) => identity,
                None => return Ok(Bound::Other),
            },
        };
        let mut key = Key { identity, record: None, attributes: known.unwrap_or_default() };
        if key.identity.on_token {
            match record_of(book, view, token, caller, &key.identity)? {
                Match::One(record) => {
                    key.attributes = record.attributes.clone();
                    key.record = Some(record);
                }
                Match::None => {
                    key.attributes.put(Attribute::ulong(CKA_KEYWARD_STATE, book.adopts(view)? as CK_ULONG));
                }
                Match::Unclear(why) => return Ok(Bound::Unclear(Arc::new(key.identity), unclear(&why))),
            }
        }
        if key.attributes.get(CKA_KEYWARD_STATE).is_none() {
            key.attributes.put(Attribute::ulong(CKA_KEYWARD_STATE, State::Active as CK_ULONG));
        }
        Ok(Bound::Key(Arc::new(key)))
    }
}

impl Bound {
    /// The key, of which everything is clear. `CKR_OBJECT_HANDLE_INVALID` for what is none.
    pub fn key(self) -> Result<Arc<Key>> {
        match self {
            Bound::Key(key) => Ok(key),
            Bound::Other => Err(Code::ObjectHandleInvalid.because("only keys have a life to change")),
            Bound::Unclear(_, error) => Err(error),
        }
    }
}
