//! The objects at hand: session objects, and those of the slot file that were read.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use cryptoki_sys::*;
use parking_lot::RwLock;
use quick_cache::Weighter;
use quick_cache::sync::{Cache, DefaultLifecycle};

use super::Soft;
use super::access::View;
use super::handle::{Number, Place};
use crate::error::{Code, Result};
use crate::lifecycle::State;
use crate::mechanism::key::Key;
use crate::numbers::{NumberMap, Numbers};
use crate::object::build::Sight;
use crate::object::{Attributes, build, codec, life};
use crate::store::Record;
use crate::token::{ObjectId, SessionId};

/// Bytes of memory for objects of the slot file that are kept read: some ten thousand elliptic curve or AES keys, or three
/// thousand of RSA.
const KEPT: u64 = 32 << 20;

/// How many they are, about.
const ABOUT: usize = 8192;

/// An object as this process holds it. Its attributes never change: a change makes a new one.
pub struct Object {
    pub at: Number,
    pub private: bool,
    /// All but the secret attributes.
    pub attributes: Attributes,
    /// What every reading of an attribute asks first.
    pub sight: Sight,
    pub state: State,
    secret: Secret,
    key: OnceLock<Arc<Key>>,
    /// Bytes of memory, about, with the key prepared.
    weight: u64,
}

/// By what an object is held against [`KEPT`].
#[derive(Clone)]
struct Weight;

impl Weighter<u64, Arc<Object>> for Weight {
    fn weight(&self, _number: &u64, object: &Arc<Object>) -> u64 {
        object.weight
    }
}

/// Bytes of memory that a key takes once it is prepared, about.
fn prepared(attributes: &Attributes) -> usize {
    match (attributes.ulong(CKA_CLASS), attributes.ulong(CKA_KEY_TYPE)) {
        (Some(CKO_PRIVATE_KEY | CKO_PUBLIC_KEY), Some(CKK_RSA | CKK_DSA | CKK_DH | CKK_X9_42_DH)) => 8192,
        (Some(CKO_PRIVATE_KEY | CKO_PUBLIC_KEY), Some(CKK_ML_DSA | CKK_ML_KEM | CKK_SLH_DSA)) => 4096,
        (Some(CKO_PRIVATE_KEY | CKO_PUBLIC_KEY | CKO_SECRET_KEY), _) => 512,
        _ => 0,
    }
}

enum Secret {
    /// A session object's, in memory.
    Here(Attributes),
    /// A token object's, sealed in the slot file; `checked` is the epoch at which this version was last known current.
    Stored { record: Record, checked: AtomicU64 },
}

/// The session objects of one token, by number and by the session that each dies with.
#[derive(Default)]
struct SessionObjects {
    all: NumberMap<u64, (SessionId, Arc<Object>)>,
    /// Session and number of each: few sessions have any, and one's end must not look at those of all.
    owned: BTreeSet<(u64, u64)>,
}

impl SessionObjects {
    fn add(&mut self, owner: SessionId, object: Arc<Object>) {
        let number = object.at.number;
        self.owned.insert((owner.0, number));
        self.all.insert(number, (owner, object));
    }

    fn get_mut(&mut self, number: u64) -> Option<&mut Arc<Object>> {
        self.all.get_mut(&number).map(|(_, object)| object)
    }

    fn remove(&mut self, number: u64) -> bool {
        let Some((owner, _)) = self.all.remove(&number) else { return false };
        self.owned.remove(&(owner.0, number))
    }

    fn of(&self, session: SessionId) -> Vec<u64> {
        self.owned.range((session.0, 0)..=(session.0, u64::MAX)).map(|(_, number)| *number).collect()
    }

    fn forget_private(&mut self) {
        self.all.retain(|_, (_, object)| !object.private);
        self.owned.retain(|(_, number)| self.all.contains_key(number));
    }
}

/// The objects of one token in this process.
pub struct Objects {
    session: RwLock<SessionObjects>,
    next: AtomicU64,
    exchanged: AtomicU64,
    token: Cache<u64, Arc<Object>, Weight, Numbers>,
}

impl Object {
    fn new(at: Number, private: bool, attributes: Attributes, secret: Secret) -> Object {
        let (sight, state) = (Sight::of(&attributes), life::state(&attributes));
        let bytes = [size_of::<Object>(), attributes.memory(), prepared(&attributes)].iter().sum::<usize>();
        let weight = u64::try_from(bytes).unwrap_or(u64::MAX);
        Object { at, private, attributes, sight, state, secret, key: OnceLock::new(), weight }
    }

    pub fn on_token(&self) -> bool {
        self.at.place == Place::Token
    }

    pub fn class(&self) -> Option<CK_OBJECT_CLASS> {
        self.attributes.ulong(CKA_CLASS)
    }

    /// The version that a change of a token object must name.
    pub fn version(&self) -> u64 {
        match &self.secret {
            Secret::Stored { record, .. } => record.version,
            Secret::Here(_) => 0,
        }
    }

    /// The secret attributes, opened for this use.
    pub fn secret(&self, view: &View) -> Result<Attributes> {
        match &self.secret {
            Secret::Here(attributes) => Ok(attributes.clone()),
            Secret::Stored { record, .. } => match view.file.secret(&view.keys, record)? {
                Some(sealed) => codec::decode(sealed.expose()),
                None => Ok(Attributes::new()),
            },
        }
    }

    /// The secret attributes of a session object.
    pub fn secret_here(&self) -> Option<&Attributes> {
        match &self.secret {
            Secret::Here(attributes) => Some(attributes),
            Secret::Stored { .. } => None,
        }
    }

    /// Every attribute, secret ones too.
    pub fn whole(&self, view: &View) -> Result<Attributes> {
        Ok(build::join(self.attributes.clone(), self.secret(view)?))
    }

    /// The prepared key, parsed at its first use.
    pub fn key(&self, view: &View) -> Result<Arc<Key>> {
        if let Some(key) = self.key.get() {
            return Ok(key.clone());
        }
        let key = Arc::new(Key::prepare(&self.whole(view)?)?);
        Ok(self.key.get_or_init(|| key).clone())
    }
}

impl Objects {
    pub fn new() -> Objects {
        let token = Cache::with(ABOUT, KEPT, Weight, Numbers::default(), DefaultLifecycle::default());
        Objects { session: RwLock::default(), next: AtomicU64::new(1), exchanged: AtomicU64::new(0), token }
    }

    pub fn add_session_object(&self, owner: SessionId, attributes: &Attributes) -> Arc<Object> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let object = Arc::new(session_object(Number { place: Place::Session, number }, attributes));
        self.session.write().add(owner, object.clone());
        object
    }

    /// `false`: it is gone.
    pub fn replace_session_object(&self, number: u64, attributes: &Attributes) -> bool {
        match self.session.write().get_mut(number) {
            Some(object) => {
                *object = Arc::new(session_object(Number { place: Place::Session, number }, attributes));
                true
            }
            None => false,
        }
    }

    pub fn session_object(&self, number: u64) -> Option<Arc<Object>> {
        self.session.read().all.get(&number).map(|(_, object)| object.clone())
    }

    /// As [`Objects::replace_session_object`], if it still is `old`: `Some(false)` where it is another by now; `None`: it is gone.
    pub fn exchange_session_object(&self, old: &Arc<Object>, attributes: &Attributes) -> Option<bool> {
        let mut objects = self.session.write();
        let object = objects.get_mut(old.at.number)?;
        let same = Arc::ptr_eq(object, old);
        if same {
            *object = Arc::new(session_object(old.at, attributes));
            self.exchanged.fetch_add(1, Ordering::AcqRel);
        }
        Some(same)
    }

    /// How often that was done, by keys that are used up, whose owner does not count these changes.
    pub fn exchanges(&self) -> u64 {
        self.exchanged.load(Ordering::Acquire)
    }

    /// `false`: it was gone.
    pub fn remove(&self, at: Number) -> bool {
        match at.place {
            Place::Token => self.token.remove(&at.number).is_some(),
            Place::Session => self.session.write().remove(at.number),
        }
    }

    /// The session objects now, in the order of their making.
    pub fn session_objects(&self) -> Vec<Arc<Object>> {
        let mut all: Vec<_> = self.session.read().all.values().map(|(_, object)| object.clone()).collect();
        all.sort_by_key(|object| object.at.number);
        all
    }

    /// Whether any object went.
    pub fn end_session(&self, session: SessionId) -> bool {
        let own = self.session.read().of(session);
        if own.is_empty() {
            return false;
        }
        let mut objects = self.session.write();
        own.iter().filter(|number| objects.remove(**number)).count() > 0
    }

    /// At the end of a login: private session objects die, and no key of a private object stays prepared.
    pub fn forget_private(&self) {
        self.session.write().forget_private();
        self.token.retain(|_, object| !object.private);
    }

    pub fn forget_all(&self) {
        *self.session.write() = SessionObjects::default();
        self.token.clear();
    }
}

/// An object that lives in this process's memory.
pub(super) fn session_object(at: Number, attributes: &Attributes) -> Object {
    let (clear, secret) = build::split(attributes);
    Object::new(at, attributes.is_true(CKA_PRIVATE), clear, Secret::Here(secret))
}

impl Soft {
    /// The object that `id` names, if this application may see it now; `CKR_OBJECT_HANDLE_INVALID`.
    pub(super) fn object(&self, view: &View, id: ObjectId) -> Result<Arc<Object>> {
        let object = self.object_in_any_state(view, id)?;
        if object.state.hidden() { Err(Code::ObjectHandleInvalid.into()) } else { Ok(object) }
    }

    /// The object with this number; `None`: there is none, or it is private and the user is not logged in.
    pub(super) fn object_at(&self, view: &View, at: Number) -> Result<Option<Arc<Object>>> {
        if at.place == Place::Session {
            let found = self.objects.session_object(at.number);
            let found = if found.is_none() { self.environment.built_in_at(at.number)? } else { found };
            return Ok(found.filter(|object| !object.private || view.sees_private()));
        }
        // The epoch is sampled before reading: a change that comes between is seen at the next use.
        let epoch = view.file.epoch();
        let kept = self.objects.token.get(&at.number).filter(|object| !object.private || view.sees_private());
        if let Some(object) = &kept
            && let Secret::Stored { checked, .. } = &object.secret
            && checked.load(Ordering::Acquire) == epoch
        {
            return Ok(kept);
        }
        self.read_object(view, at, epoch, kept)
    }

    /// Reads a token object, or confirms the one kept.
    fn read_object(
        &self,
        view: &View,
        at: Number,
        epoch: u64,
        kept: Option<Arc<Object>>,
    ) -> Result<Option<Arc<Object>>> {
        let Some(mut record) = view.file.read(&view.keys, at.number)? else {
            self.objects.token.remove(&at.number);
            return Ok(None);
        };
        if let Some(object) = kept
            && let Secret::Stored { record: old, checked } = &object.secret
            && old.version == record.version
        {
            checked.store(epoch, Ordering::Release);
            return Ok(Some(object));
        }
        let attributes = codec::decode(&std::mem::take(&mut record.attrs))?;
        let (private, checked) = (record.private, AtomicU64::new(epoch));
        let object = Arc::new(Object::new(at, private, attributes, Secret::Stored { record, checked }));
        self.objects.token.insert(at.number, object.clone());
        Ok(Some(object))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::token::Attribute;

    #[test]
    fn session_objects_die_with_their_session_or_login_and_leave_nothing() {
        let objects = Objects::new();
        let (one, two) = (SessionId(1), SessionId(u64::MAX));
        let make = |owner, private| {
            let attributes = [Attribute::bool(CKA_PRIVATE, private)].into_iter().collect();
            objects.add_session_object(owner, &attributes).at
        };
        let (first, second, third) = (make(one, false), make(one, true), make(two, false));
        assert!(objects.remove(first) && !objects.remove(first));
        objects.forget_private();
        assert!(objects.session_object(second.number).is_none());
        let fourth = make(one, true);
        assert!(objects.replace_session_object(fourth.number, &Attributes::new()));
        assert!(objects.end_session(one) && !objects.end_session(one) && !objects.end_session(SessionId(7)));
        let left: Vec<u64> = objects.session_objects().iter().map(|object| object.at.number).collect();
        assert_eq!((left, objects.session.read().owned.len()), (vec![third.number], 1));
        assert!(objects.end_session(two));
        assert!(objects.session_objects().is_empty() && objects.session.read().owned.is_empty());
    }

    /// As many objects as a token's applications are at home with stay read; large ones never take more than their due.
    #[test]
    fn what_is_kept_is_bounded_by_its_size() {
        let kept = |count: u64, fields: Vec<Attribute>| {
            let objects = Objects::new();
            for number in 1..=count {
                let at = Number { place: Place::Token, number };
                objects.token.insert(number, Arc::new(session_object(at, &fields.iter().cloned().collect())));
            }
            assert!(objects.token.weight() <= KEPT);
            objects.token.len()
        };
        let of = |class, ty| vec![Attribute::ulong(CKA_CLASS, class), Attribute::ulong(CKA_KEY_TYPE, ty)];
        // Some thirty attributes of a few bytes.
        let mut usual = of(CKO_SECRET_KEY, CKK_AES);
        usual.push(Attribute::bytes(CKA_LABEL, &[b'x'; 2000]));
        assert_eq!(kept(10_000, usual.clone()), 10_000);
        assert!(kept(20_000, usual) < 15_000);
        let rsa = kept(10_000, of(CKO_PRIVATE_KEY, CKK_RSA));
        assert!((2_000..4_096).contains(&rsa), "{rsa}");
        let large = kept(100, vec![Attribute::bytes(CKA_LABEL, &vec![0; 1 << 20])]);
        assert!((8..=32).contains(&large), "{large}");
    }
}
