//! Our numbers of objects, and the members' objects behind them.
//!
//! A number is of one object wherever it is held. Where it was met is known; on another member it is looked for by its identity
//! when it is first needed there. Two that fit, on either, mean failure.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::RwLock;
use smallvec::SmallVec;

use super::identity::{Fingerprint, Identity, Seen};
use crate::token::*;

/// How long a member is believed not to have an object, in milliseconds.
const BELIEVED: u64 = 2000;

/// What is known of an object.
#[derive(Clone)]
pub struct Entry {
    /// By member: what it calls it.
    places: SmallVec<[Place; 4]>,
    pub identity: Option<Arc<Identity>>,
    pub private: bool,
    pub token: bool,
    pub owner: Option<SessionId>,
    /// As the member told it that the object was met on; the others have their own.
    pub unique_id: Answer,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    Unknown,
    Here(ObjectId),
    /// Not there, as was found at that time.
    Absent(u64),
}

#[derive(Default)]
struct Table {
    entries: HashMap<u64, Entry>,
    by_place: HashMap<(usize, ObjectId), u64>,
    by_identity: HashMap<Fingerprint, SmallVec<[u64; 1]>>,
    last: u64,
}

#[derive(Default)]
pub struct Objects(RwLock<Table>);

impl Table {
    fn drop_entry(&mut self, id: u64) {
        let Some(entry) = self.entries.remove(&id) else { return };
        for (member, place) in entry.places.iter().enumerate() {
            if let Place::Here(object) = place {
                self.by_place.remove(&(member, *object));
            }
        }
        if let Some(identity) = &entry.identity
            && let Some(same) = self.by_identity.get_mut(&identity.fingerprint)
        {
            same.retain(|other| *other != id);
            if same.is_empty() {
                self.by_identity.remove(&identity.fingerprint);
            }
        }
    }

    fn put(&mut self, members: usize, seen: Seen, owner: Option<SessionId>) -> u64 {
        self.last = self.last.saturating_add(1);
        let id = self.last;
        let Seen { token, private, identity, unique_id } = seen;
        let identity = identity.map(Arc::new);
        if let Some(identity) = &identity {
            self.by_identity.entry(identity.fingerprint).or_default().push(id);
        }
        let places = (0..members).map(|_| Place::Unknown).collect();
        self.entries.insert(id, Entry { places, identity, private, token, owner, unique_id });
        id
    }

    fn bind(&mut self, id: u64, member: usize, object: ObjectId) {
        let Some(place) = self.entries.get_mut(&id).and_then(|entry| entry.places.get_mut(member)) else { return };
        if let Place::Here(old) = std::mem::replace(place, Place::Here(object)) {
            self.by_place.remove(&(member, old));
        }
        self.by_place.insert((member, object), id);
    }
}

impl Objects {
    /// The number of an object that a member has shown before.
    pub fn met(&self, member: usize, object: ObjectId) -> Option<ObjectId> {
        self.0.read().by_place.get(&(member, object)).copied().map(ObjectId)
    }

    /// The number of an object that a member shows: the one that it has on another member, where it is the same.
    pub fn meet(&self, members: usize, member: usize, object: ObjectId, seen: Seen) -> ObjectId {
        let mut table = self.0.write();
        if let Some(id) = table.by_place.get(&(member, object)) {
            return ObjectId(*id);
        }
        let same = seen.identity.as_ref().and_then(|identity| table.by_identity.get(&identity.fingerprint));
        if let Some(&[one]) = same.map(SmallVec::as_slice)
            && let Some(place) = table.entries.get(&one).and_then(|entry| entry.places.get(member))
            && !matches!(place, Place::Here(_))
        {
            // It is bound only when it is needed here, by a search that would find a second one.
            return ObjectId(one);
        }
        let id = table.put(members, seen, None);
        table.bind(id, member, object);
        ObjectId(id)
    }

    /// A new object, on these members.
    pub fn made(&self, members: usize, places: &[(usize, ObjectId)], seen: Seen, owner: Option<SessionId>) -> ObjectId {
        let mut table = self.0.write();
        for place in places {
            // Whatever the number meant before, it is gone.
            if let Some(old) = table.by_place.get(place).copied() {
                table.drop_entry(old);
            }
        }
        let id = table.put(members, seen, owner);
        places.iter().for_each(|(member, object)| table.bind(id, *member, *object));
        ObjectId(id)
    }

    pub fn entry(&self, id: ObjectId) -> Option<Entry> {
        self.0.read().entries.get(&id.0).cloned()
    }

    /// What a member calls it; `None`: there is no such object.
    pub fn place(&self, id: ObjectId, member: usize, now: u64) -> Option<Place> {
        let place = *self.0.read().entries.get(&id.0)?.places.get(member)?;
        Some(match place {
            Place::Absent(at) if now.saturating_sub(at) > BELIEVED => Place::Unknown,
            place => place,
        })
    }

    pub fn bind(&self, id: ObjectId, member: usize, object: ObjectId) {
        self.0.write().bind(id.0, member, object);
    }

    /// The member knows it by this number no more; perhaps by another one.
    pub fn let_go(&self, id: ObjectId, member: usize) {
        let mut table = self.0.write();
        let Some(place) = table.entries.get_mut(&id.0).and_then(|entry| entry.places.get_mut(member)) else { return };
        if let Place::Here(old) = std::mem::replace(place, Place::Unknown) {
            table.by_place.remove(&(member, old));
        }
    }

    /// It is not there.
    pub fn unbind(&self, id: ObjectId, member: usize, now: u64) {
        let mut table = self.0.write();
        let Some(place) = table.entries.get_mut(&id.0).and_then(|entry| entry.places.get_mut(member)) else { return };
        if let Place::Here(old) = std::mem::replace(place, Place::Absent(now)) {
            table.by_place.remove(&(member, old));
        }
    }

    /// Whether two objects that were met are of this identity.
    pub fn is_ambiguous(&self, identity: &Identity) -> bool {
        self.0.read().by_identity.get(&identity.fingerprint).is_some_and(|same| same.len() > 1)
    }

    /// Its label, ID or the like have changed.
    pub fn renamed(&self, id: ObjectId, seen: Seen) {
        let mut table = self.0.write();
        let identity = seen.identity.map(Arc::new);
        let Some(entry) = table.entries.get_mut(&id.0) else { return };
        let old = std::mem::replace(&mut entry.identity, identity.clone());
        if let Some(old) = old
            && let Some(same) = table.by_identity.get_mut(&old.fingerprint)
        {
            same.retain(|other| *other != id.0);
        }
        if let Some(identity) = identity {
            table.by_identity.entry(identity.fingerprint).or_default().push(id.0);
        }
    }

    pub fn forget(&self, id: ObjectId) {
        self.0.write().drop_entry(id.0);
    }

    fn drop_all(&self, which: impl Fn(&Entry) -> bool) {
        let mut table = self.0.write();
        let gone: Vec<u64> = table.entries.iter().filter(|(_, entry)| which(entry)).map(|(id, _)| *id).collect();
        gone.into_iter().for_each(|id| table.drop_entry(id));
    }

    /// Nobody is logged in: handles of private objects have ended.
    pub fn end_private(&self) {
        self.drop_all(|entry| entry.private);
    }

    pub fn end_session(&self, session: SessionId) {
        self.drop_all(|entry| entry.owner == Some(session));
    }

    /// A member that was away may have other objects now.
    pub fn look_again(&self, member: usize) {
        let mut table = self.0.write();
        for entry in table.entries.values_mut() {
            if let Some(place @ Place::Absent(_)) = entry.places.get_mut(member) {
                *place = Place::Unknown;
            }
        }
    }
}

impl Entry {
    /// The members that it is known to be on.
    pub fn homes(&self) -> impl Iterator<Item = usize> {
        let here = |(member, place): (usize, &Place)| matches!(place, Place::Here(_)).then_some(member);
        self.places.iter().enumerate().filter_map(here)
    }
}
