//! Changes in the life of a key that another token holds, each one durable transaction of the overlay file.

use std::sync::Arc;

use cryptoki_sys::*;

use super::Shared;
use super::book::{BY_PRINT, Entry, Record, View};
use super::bound::{Bound, Key, tombstone_of};
use super::identity::{Identity, found, has_rivals, unclear};
use crate::error::{Code, Result};
use crate::lifecycle::{Event, State};
use crate::log;
use crate::object::{Attributes, build, life};
use crate::token::*;

/// A key whose life is to change: where it is, and what is known of it.
pub struct Subject {
    pub object: ObjectId,
    pub key: Arc<Key>,
}

impl Subject {
    /// The step that writes what the key's record will say; `None`: nothing is left of it.
    pub fn step(&self, next: Option<Attributes>) -> Option<Entry> {
        match (&self.key.record, next) {
            (Some(record), Some(next)) => Some(Entry::Changed(Arc::clone(record), next)),
            (Some(record), None) => Some(Entry::Gone(Arc::clone(record))),
            (None, Some(next)) => Some(Entry::New(next)),
            (None, None) => None,
        }
    }

    /// What its record says, or the record that it gets now.
    pub fn record(&self) -> Attributes {
        let mut record = self.key.attributes.clone();
        self.key.identity.write(&mut record);
        record
    }
}

impl Shared {
    /// May `caller` change the life of this key? As of a software token: the user's login for a private one.
    pub fn may_change(&self, caller: Caller, identity: &Identity) -> Result<()> {
        if identity.private && self.inner.logged_in() != Some(User::User) {
            return Err(Code::UserNotLoggedIn.into());
        }
        if identity.on_token && !caller.read_write {
            return Err(Code::SessionReadOnly.into());
        }
        Ok(())
    }

    /// The key that a change names. It must be clear which one that is.
    pub fn subject(&self, view: &View, caller: Caller, object: ObjectId) -> Result<Subject> {
        let key = self.bound(view, caller, object).and_then(Bound::key)?;
        self.may_change(caller, &key.identity)?;
        if key.identity.on_token && has_rivals(&*self.inner, caller, &key.identity)? {
            let why = "the HSM has another key of its class and ID, and nothing tells them apart: give each its own ID";
            return Err(unclear(why).recode(Code::ActionProhibited));
        }
        Ok(Subject { object, key })
    }

    /// Both halves of a pair, the one that was named first.
    pub fn pair(&self, view: &View, caller: Caller, object: ObjectId) -> Result<Vec<Subject>> {
        let subject = self.subject(view, caller, object)?;
        let half = self.other_half(caller, &subject.key)?;
        let mut pair = vec![subject];
        if let Some(half) = half {
            pair.push(self.subject(view, caller, half)?);
        }
        Ok(pair)
    }

    pub fn change_life(&self, caller: Caller, order: &Order) -> Result<()> {
        let view = self.book.view()?;
        if let Some(record) = tombstone_of(order.key) {
            return self.bury(&view, caller, record, order);
        }
        let subjects = match order.alone {
            true => vec![self.subject(&view, caller, order.key)?],
            false => self.pair(&view, caller, order.key)?,
        };
        if let [one] = subjects.as_slice()
            && !one.key.identity.on_token
        {
            return self.change_session_object(caller, one, order);
        }
        let ends = matches!(order.event, Event::Destroy | Event::Purge);
        let (mut steps, mut back, mut doomed) = (Vec::new(), Vec::new(), Vec::new());
        for subject in &subjects {
            if ends {
                build::may_destroy(&super::identity::ask(&*self.inner, caller, subject.object, &[CKA_DESTROYABLE])?)?;
            }
            match life::ordered(&subject.record(), order) {
                Ok(next) => {
                    let next = next.map(|next| remembered(subject, next));
                    if order.event == Event::Purge {
                        doomed.push(subject);
                    }
                    back.push((subject, next.is_some()));
                    steps.extend(subject.step(next));
                }
                // The half that the order names must go the way; the other may be ahead of it, destroyed by itself.
                Err(error) if subject.object == order.key => return Err(error),
                Err(_) => {}
            }
        }
        // The record first: a key that is destroyed here is used no more, though the HSM be lost before it has destroyed it.
        let made = self.book.commit(&view, steps)?;
        self.objects.forget_all();
        for subject in doomed {
            if let Err(error) = self.inner.destroy(caller, subject.object) {
                self.take_back(&back, &made);
                return Err(error);
            }
            self.objects.forget(subject.object);
        }
        if order.event == Event::Purge { self.book.forget_removed(&view) } else { Ok(()) }
    }

    /// The HSM would not destroy the key: it is what it was.
    fn take_back(&self, subjects: &[(&Subject, bool)], made: &[u64]) {
        let undo = || -> Result<()> {
            let view = self.book.view()?;
            let mut steps = Vec::new();
            let mut made = made.iter();
            for (subject, kept) in subjects {
                let id = match (&subject.key.record, kept) {
                    (Some(record), true) => record.id,
                    (None, true) => *made.next().ok_or(Code::GeneralError)?,
                    (Some(record), false) => {
                        steps.push(Entry::New(record.attributes.clone()));
                        continue;
                    }
                    (None, false) => continue,
                };
                let Some(now) = self.book.read(&view, id)? else { continue };
                steps.push(match &subject.key.record {
                    Some(record) => Entry::Changed(now, record.attributes.clone()),
                    None => Entry::Gone(now),
                });
            }
            self.book.commit(&view, steps).map(drop)
        };
        if let Err(error) = undo() {
            log!(Error, "a key that the HSM would not destroy counts as destroyed: {error}");
        }
        self.objects.forget_all();
    }

    /// What is left to do of a key that is destroyed: the HSM may still, or again, hold it, and the tombstone may go.
    fn bury(&self, view: &View, caller: Caller, record: u64, order: &Order) -> Result<()> {
        let record = self.book.read(view, record)?.ok_or(Code::ObjectHandleInvalid)?;
        let identity = Identity::of_record(&record.attributes);
        self.may_change(caller, &identity)?;
        life::ordered(&record.attributes, order)?;
        let mut records = vec![record];
        if let (Some(print), false) = (identity.print, order.alone) {
            let halves = self.book.find(view, &[(BY_PRINT, &print)])?.into_iter().filter(|half| {
                let of = Identity::of_record(&half.attributes);
                of.class != identity.class && of.id == identity.id && life::state(&half.attributes) == State::Destroyed
            });
            records.extend(halves);
        }
        for record in &records {
            for object in found(&*self.inner, caller, Identity::of_record(&record.attributes).template(), 16)? {
                if let Bound::Key(key) = self.bound(view, caller, object)?
                    && key.record.as_ref().is_some_and(|of| of.id == record.id)
                {
                    self.inner.destroy(caller, object)?;
                    self.objects.forget(object);
                }
            }
        }
        if order.leave_nothing {
            self.book.commit(view, records.into_iter().map(Entry::Gone).collect())?;
            self.objects.forget_all();
        }
        self.book.forget_removed(view)
    }

    fn change_session_object(&self, caller: Caller, subject: &Subject, order: &Order) -> Result<()> {
        let owner = self.objects.session_owner(subject.object).unwrap_or(caller.session);
        match life::ordered(&subject.key.attributes, order)? {
            // A session object has no recovery window: nobody could come back to it.
            Some(next) if !life::state(&next).hidden() => {
                self.objects.put_session_object(subject.object, owner, next);
                Ok(())
            }
            _ => {
                self.inner.destroy(caller, subject.object)?;
                self.objects.forget(subject.object);
                Ok(())
            }
        }
    }

    /// Takes uses out of a key's limit. Another process may be at the same: then once more, with what it has left.
    pub fn reserve_uses(&self, caller: Caller, object: ObjectId, uses: u64, limit: u64) -> Result<u64> {
        const TRIES: usize = 8;
        for last in (0..TRIES).rev() {
            let view = self.book.view()?;
            let key = self.bound(&view, caller, object).and_then(Bound::key)?;
            let subject = Subject { object, key };
            let mut next = subject.record();
            let used = next.ulong(CKA_KEYWARD_USES).unwrap_or(0);
            let granted = uses.min(limit.saturating_sub(used));
            if granted == 0 {
                return Ok(0);
            }
            next.put(Attribute::ulong(CKA_KEYWARD_USES, used.saturating_add(granted)));
            if !subject.key.identity.on_token {
                let owner = self.objects.session_owner(object).unwrap_or(caller.session);
                self.objects.put_session_object(object, owner, next);
                return Ok(granted);
            }
            match self.book.commit(&view, subject.step(Some(next)).into_iter().collect()) {
                Err(error) if error.code() == Code::FunctionFailed && last > 0 => self.objects.forget_all(),
                done => return done.map(|_| granted),
            }
        }
        Ok(0)
    }

    /// Every record of a logical key.
    pub fn versions(&self, view: &View, record: &Attributes) -> Result<Vec<Arc<Record>>> {
        match record.bytes(CKA_KEYWARD_LOGICAL_KEY) {
            Some(family) => self.book.find(view, &[(CKA_KEYWARD_LOGICAL_KEY, family)]),
            None => Ok(Vec::new()),
        }
    }

    /// A staged version takes the label; the one in force so far goes on for the overlap, under its archived label.
    pub fn take_over(&self, caller: Caller, order: &TakeOver) -> Result<()> {
        let view = self.book.view()?;
        let staged = self.subject(&view, caller, order.key)?;
        let attributes = &staged.key.attributes;
        let versions = self.versions(&view, attributes)?;
        let taken = life::take_over(attributes, staged.key.state(), versions, |record| &record.attributes, order)?;
        let steps = taken.versions.into_iter().map(|(record, next)| Entry::Changed(record, next)).collect();
        self.book.commit(&view, steps)?;
        self.objects.forget_all();
        for (id, own) in &taken.certificates {
            if let Err(error) = self.relabel_certificates(caller, id, &taken.label, own) {
                log!(Warn, "a certificate of {} keeps its label in the HSM: {error}", String::from_utf8_lossy(own));
            }
        }
        Ok(())
    }

    /// The certificates of a version under its new label, in the HSM; those that have a label of their own keep it.
    fn relabel_certificates(&self, caller: Caller, id: &[u8], label: &[u8], own: &[u8]) -> Result<()> {
        let template = vec![Attribute::ulong(CKA_CLASS, CKO_CERTIFICATE), Attribute::bytes(CKA_ID, id)];
        for object in found(&*self.inner, caller, template, 16)? {
            let known = super::identity::ask(&*self.inner, caller, object, &[CKA_LABEL])?;
            let has = known.bytes(CKA_LABEL).unwrap_or_default();
            if has != own && life::follows(has, label) {
                self.inner.set(caller, object, vec![Attribute::bytes(CKA_LABEL, own)])?;
            }
        }
        Ok(())
    }
}

/// A tombstone too is found again by what the key was.
fn remembered(subject: &Subject, mut next: Attributes) -> Attributes {
    let labelled = next.bytes(CKA_LABEL).map(<[u8]>::to_vec);
    subject.key.identity.write(&mut next);
    if let Some(label) = labelled {
        next.put(Attribute::bytes(CKA_LABEL, &label));
    }
    if let Some(print) = subject.key.record.as_ref().and_then(|record| Identity::of_record(&record.attributes).print)
        && next.bytes(BY_PRINT).is_none()
    {
        next.put(Attribute::bytes(BY_PRINT, &print));
    }
    next
}
