//! Keys that are made through the overlay: what their template says of their life goes into their record.

use cryptoki_sys::*;

use super::Shared;
use super::book::Entry;
use super::bound::Bound;
use super::identity::{Identity, has_rivals};
use super::search::is_own;
use crate::error::{Code, Result};
use crate::lifecycle::{State, clock};
use crate::object::schema::any_row;
use crate::object::{Attributes, life};
use crate::token::*;

/// A template for the token below, and what of it is the overlay's.
pub struct Wish {
    pub theirs: Vec<Attribute>,
    own: Attributes,
    /// A key of the session, as far as the template says: then nobody need be asked what was made.
    of_session: bool,
}

/// Only the token itself sets it (footnote 2 of the rows).
const TOKENS_OWN: u8 = 2;

impl Wish {
    /// `CKR_ATTRIBUTE_READ_ONLY`, `CKR_ATTRIBUTE_VALUE_INVALID`, `CKR_TEMPLATE_INCONSISTENT`.
    pub fn of(template: Vec<Attribute>) -> Result<Wish> {
        let (own, theirs): (Vec<Attribute>, Vec<Attribute>) = template.into_iter().partition(|a| is_own(a.ty));
        for attribute in &own {
            let row = any_row(attribute.ty).ok_or(Code::AttributeTypeInvalid)?;
            if row.has(TOKENS_OWN) {
                return Err(Code::AttributeReadOnly.because(format!("{} is not for the template to say", row.name)));
            }
            row.check(&attribute.value, None)?;
        }
        let mut own = Attributes::once_each(own)?;
        life::life(&own).check().map_err(|error| error.recode(Code::TemplateInconsistent))?;
        for standard in theirs.iter().filter(|a| matches!(a.ty, CKA_START_DATE | CKA_END_DATE)) {
            own.put(standard.clone());
        }
        Ok(Wish { theirs, own, of_session: false })
    }

    /// For what makes keys, and session objects unless it is told otherwise.
    pub fn of_key(template: Vec<Attribute>) -> Result<Wish> {
        let wish = Wish::of(template)?;
        let token = wish.theirs.iter().find(|attribute| attribute.ty == CKA_TOKEN);
        let on_token = token.is_some_and(|token| token.value != Attribute::bool(CKA_TOKEN, false).value);
        Ok(Wish { of_session: !on_token, ..wish })
    }

    /// The record of a key that is made now.
    fn record(&self) -> Attributes {
        let (mut record, now) = (self.own.clone(), clock::now());
        life::mirror(&mut record);
        [CKA_START_DATE, CKA_END_DATE].into_iter().for_each(|ty| {
            if record.bytes(ty).is_some_and(<[u8]>::is_empty) {
                record.remove(ty);
            }
        });
        record.put(Attribute::ulong(CKA_KEYWARD_CREATION_DATE, now));
        let ahead = record.ulong(CKA_KEYWARD_ACTIVATION_DATE).is_some_and(|date| date > now);
        let state = if ahead { State::PreActive } else { State::Active };
        record.put(Attribute::ulong(CKA_KEYWARD_STATE, state as CK_ULONG));
        record
    }
}

impl Shared {
    /// Makes objects below, and keeps what is to be known of them: all of it, or the objects go again.
    pub fn making<T>(
        &self,
        caller: Caller,
        wishes: &[&Wish],
        make: impl FnOnce() -> Result<T>,
        objects: impl Fn(&T) -> Vec<ObjectId>,
    ) -> Result<T> {
        // What cannot be kept is not made.
        self.book.view()?;
        let made = make()?;
        let objects = objects(&made);
        match self.keep(caller, wishes, &objects) {
            Ok(()) => Ok(made),
            Err(error) => {
                for object in objects {
                    let _ = self.inner.destroy(caller, object);
                    self.objects.forget(object);
                }
                Err(error)
            }
        }
    }

    fn keep(&self, caller: Caller, wishes: &[&Wish], objects: &[ObjectId]) -> Result<()> {
        let view = self.book.view()?;
        let mut steps = Vec::new();
        for (at, object) in objects.iter().enumerate() {
            let Some(wish) = wishes.get(at).or(wishes.last()) else { continue };
            // Further keys of a derivation have templates of their own.
            if wish.of_session && at < wishes.len() {
                self.objects.put_session_object(*object, caller.session, wish.record());
                continue;
            }
            let Some(identity) = Identity::of(&*self.inner, caller, *object)? else {
                match wish.own.iter().any(|a| is_own(a.ty)) {
                    true => return Err(Code::TemplateInconsistent.because("only keys have a life to speak of")),
                    false => continue,
                }
            };
            let mut record = wish.record();
            if !identity.on_token {
                self.objects.put_session_object(*object, caller.session, record);
                continue;
            }
            // A key that came back is what it was.
            match self.bound(&view, caller, *object)? {
                Bound::Key(known) if known.state() == State::Destroyed => {
                    return Err(Code::AttributeValueInvalid.because("this key is one that was destroyed"));
                }
                Bound::Key(known) if known.record.is_some() && known.identity.print.is_some() => continue,
                // Of a key that is gone without a word, there or here.
                Bound::Key(known) if !has_rivals(&*self.inner, caller, &identity)? => {
                    steps.extend(known.record.clone().map(Entry::Gone));
                }
                Bound::Key(_) => {}
                Bound::Other | Bound::Unclear(..) => {}
            }
            identity.write(&mut record);
            steps.push(Entry::New(record));
        }
        if !steps.is_empty() {
            self.book.commit(&view, steps)?;
        }
        Ok(())
    }

    /// `C_CopyObject`: the copy takes the life of the original over, as far as the template says nothing else.
    pub fn copy_wish(&self, caller: Caller, object: ObjectId, template: Vec<Attribute>) -> Result<Wish> {
        let mut wish = Wish::of(template)?;
        let view = self.book.view()?;
        if let Bound::Key(original) = self.bound(&view, caller, object)? {
            let takes = [
                CKA_KEYWARD_CLASS,
                CKA_KEYWARD_ACTIVATION_DATE,
                CKA_KEYWARD_PROTECT_STOP_DATE,
                CKA_KEYWARD_PROCESS_STOP_DATE,
                CKA_KEYWARD_DEACTIVATION_DATE,
            ];
            for ty in takes.into_iter().filter(|ty| wish.own.get(*ty).is_none()).collect::<Vec<_>>() {
                original
                    .attributes
                    .get(ty)
                    .into_iter()
                    .for_each(|value| wish.own.put(Attribute { ty, value: value.clone() }));
            }
        }
        Ok(wish)
    }
}
