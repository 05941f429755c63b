//! Records whose key is no longer in the HSM: others have deleted it there, past Keyward.

use std::collections::HashSet;
use std::sync::Arc;

use cryptoki_sys::*;

use super::Overlay;
use super::book::{Entry, Record};
use super::identity::{Identity, Match, record_of};
use super::search::all;
use crate::error::{Code, Result};
use crate::lifecycle::{State, clock};
use crate::object::life;
use crate::token::*;

/// A record that no key of the HSM has.
pub struct Orphan {
    record: Arc<Record>,
    /// A key of the HSM could be the one it means, and nothing tells: such a record stays.
    pub unclear: bool,
}

impl Orphan {
    pub fn unique_id(&self) -> String {
        self.text(CKA_UNIQUE_ID)
    }

    pub fn label(&self) -> String {
        self.text(CKA_LABEL)
    }

    pub fn class(&self) -> CK_OBJECT_CLASS {
        self.record.attributes.ulong(CKA_CLASS).unwrap_or_default()
    }

    /// As of now: what its dates have brought counts.
    pub fn state(&self) -> State {
        life::life(&self.record.attributes).state_at(clock::now())
    }

    fn text(&self, ty: CK_ATTRIBUTE_TYPE) -> String {
        String::from_utf8_lossy(self.record.attributes.bytes(ty).unwrap_or_default()).into_owned()
    }
}

/// Of several HSMs as one: what none of them has.
pub fn of_none(each: Vec<Vec<Orphan>>) -> Vec<Orphan> {
    let mut each = each.into_iter();
    let first = each.next().unwrap_or_default();
    each.fold(first, |known, other| {
        let also = |mut orphan: Orphan| {
            let other = other.iter().find(|other| other.record == orphan.record)?;
            orphan.unclear |= other.unclear;
            Some(orphan)
        };
        known.into_iter().filter_map(also).collect()
    })
}

impl Overlay {
    /// The records that no key of the HSM has. Tombstones are none of them: they are there for keys that are gone. Needs the
    /// user's login, without which private keys seem to be gone (`CKR_USER_NOT_LOGGED_IN`); an HSM that does not answer is an error,
    /// never an empty one.
    pub fn orphans(&self, caller: Caller) -> Result<Vec<Orphan>> {
        let shared = &self.shared;
        if shared.inner.logged_in() != Some(User::User) {
            return Err(Code::UserNotLoggedIn.into());
        }
        let (book, token) = (&shared.book, &*shared.inner);
        // The records first: a key is made in the HSM before it is recorded.
        let view = book.view()?;
        let records = book.find(&view, &[])?;
        let (mut held, mut unsure) = (HashSet::new(), Vec::new());
        for class in [CKO_PRIVATE_KEY, CKO_PUBLIC_KEY, CKO_SECRET_KEY] {
            let template = vec![Attribute::ulong(CKA_CLASS, class), Attribute::bool(CKA_TOKEN, true)];
            for object in all(token, caller, template)? {
                // Deleted meanwhile: the next look tells.
                let Some(identity) = Identity::of(token, caller, object)? else { continue };
                match record_of(book, &view, token, caller, &identity)? {
                    Match::One(record) => drop(held.insert(record.id)),
                    Match::Unclear(_) => unsure.push(identity),
                    Match::None => {}
                }
            }
        }
        let gone =
            |record: &Arc<Record>| !held.contains(&record.id) && life::state(&record.attributes) != State::Destroyed;
        let orphan = |record: Arc<Record>| {
            let of = Identity::of_record(&record.attributes);
            let meant = |key: &Identity| {
                key.place() == of.place()
                    || key.print.is_some() && key.print == of.print
                    || key.unique.is_some() && key.unique == of.unique
            };
            Orphan { unclear: unsure.iter().any(meant), record }
        };
        Ok(records.into_iter().filter(gone).map(orphan).collect())
    }

    /// Removes such records, all in one durable transaction, and leaves nothing of them in the file. What another process has
    /// changed since they were found stays. How many were removed. A key that comes back, from a backup of the HSM, is a new one to
    /// the overlay then, whatever its state was.
    pub fn forget(&self, orphans: &[Orphan]) -> Result<usize> {
        let shared = &self.shared;
        let view = shared.book.view()?;
        let mut steps = Vec::new();
        for orphan in orphans.iter().filter(|orphan| !orphan.unclear) {
            let now = shared.book.read(&view, orphan.record.id)?;
            steps.extend(now.filter(|now| *now == orphan.record).map(Entry::Gone));
        }
        let removed = steps.len();
        shared.book.commit(&view, steps)?;
        shared.objects.forget_all();
        shared.book.forget_removed(&view)?;
        Ok(removed)
    }
}
