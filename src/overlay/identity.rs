//! What tells one key of an HSM from another: its unique ID; else its class, type and ID with its public key, or for a secret
//! key its check value. Where that leaves a doubt, a key is not guessed.

use std::sync::Arc;

use cryptoki_sys::*;

use super::book::{BY_PLACE, BY_PRINT, Book, HSM_LABEL, HSM_UNIQUE, Record, View};
use crate::crypto::digest::{Digest, hash};
use crate::error::{Code, Result};
use crate::lifecycle::{Dates, State};
use crate::object::{Attributes, life};
use crate::token::*;

/// SHA-256 of a public key, or of a check value.
pub type Print = [u8; 32];

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    pub class: CK_OBJECT_CLASS,
    pub key_type: CK_KEY_TYPE,
    pub id: Vec<u8>,
    /// The HSM's.
    pub label: Vec<u8>,
    /// The HSM's; most have none.
    pub unique: Option<Vec<u8>>,
    pub print: Option<Print>,
    pub on_token: bool,
    pub private: bool,
}

/// The record that a key has.
pub enum Match {
    None,
    One(Arc<Record>),
    /// More than one could be meant, or more than one key: why.
    Unclear(String),
}

/// What an object answers.
pub fn ask(token: &dyn Token, caller: Caller, object: ObjectId, types: &[CK_ATTRIBUTE_TYPE]) -> Result<Attributes> {
    let answers = token.get(caller, object, types)?;
    let known = types.iter().zip(answers).filter_map(|(ty, answer)| match answer {
        Answer::Value(value) => Some(Attribute { ty: *ty, value }),
        _ => None,
    });
    Ok(known.collect())
}

/// The objects that a template means, at most `max`.
pub fn found(token: &dyn Token, caller: Caller, template: Vec<Attribute>, max: usize) -> Result<Vec<ObjectId>> {
    token.find(caller, template)?.next(max)
}

fn print_of(kind: &[u8], value: Option<&[u8]>) -> Option<Print> {
    let value = value.filter(|value| !value.is_empty())?;
    hash(Digest::Sha256, &[b"keyward key print\0".as_slice(), kind, b"\0", value].concat()).first_chunk().copied()
}

/// The public key of such a type stands in this attribute of its public half.
const fn public_value(key_type: CK_KEY_TYPE) -> CK_ATTRIBUTE_TYPE {
    match key_type {
        CKK_RSA => CKA_MODULUS,
        CKK_EC | CKK_EC_EDWARDS | CKK_EC_MONTGOMERY => CKA_EC_POINT,
        _ => CKA_VALUE,
    }
}

/// Halves of pairs that share an ID, at most so many are looked at.
const HALVES: usize = 16;

impl Identity {
    /// Of an object of the HSM; `None`: it is no key. The codes of `C_GetAttributeValue`.
    pub fn of(token: &dyn Token, caller: Caller, object: ObjectId) -> Result<Option<Identity>> {
        let types = [CKA_CLASS, CKA_KEY_TYPE, CKA_ID, CKA_LABEL, CKA_TOKEN, CKA_PRIVATE];
        let known = ask(token, caller, object, &[CKA_CLASS])?;
        if !life::is_key(&known) {
            return Ok(None);
        }
        let known = ask(token, caller, object, &types)?;
        let bytes = |ty| known.bytes(ty).unwrap_or_default().to_vec();
        let unique = ask(token, caller, object, &[CKA_UNIQUE_ID])?;
        let mut identity = Identity {
            class: known.ulong(CKA_CLASS).unwrap_or_default(),
            key_type: known.ulong(CKA_KEY_TYPE).unwrap_or_default(),
            id: bytes(CKA_ID),
            label: bytes(CKA_LABEL),
            unique: unique.bytes(CKA_UNIQUE_ID).filter(|id| !id.is_empty()).map(<[u8]>::to_vec),
            print: None,
            on_token: known.is_true(CKA_TOKEN),
            private: known.is_true(CKA_PRIVATE),
        };
        if identity.on_token {
            identity.print = identity.find_print(token, caller, object)?;
        }
        Ok(Some(identity))
    }

    fn find_print(&self, token: &dyn Token, caller: Caller, object: ObjectId) -> Result<Option<Print>> {
        let value = public_value(self.key_type);
        let own =
            |ty| -> Result<Option<Print>> { Ok(print_of(b"public", ask(token, caller, object, &[ty])?.bytes(ty))) };
        match self.class {
            CKO_PUBLIC_KEY => own(value),
            CKO_PRIVATE_KEY if self.key_type == CKK_RSA => own(value),
            CKO_PRIVATE_KEY if !self.id.is_empty() => {
                let halves = found(token, caller, self.half_template(CKO_PUBLIC_KEY), HALVES)?;
                let mut prints = Vec::new();
                for half in halves {
                    prints.extend(print_of(b"public", ask(token, caller, half, &[value])?.bytes(value)));
                }
                prints.dedup();
                Ok(if let [only] = prints.as_slice() { Some(*only) } else { None })
            }
            CKO_SECRET_KEY => {
                let checked = ask(token, caller, object, &[CKA_CHECK_VALUE])?;
                Ok(print_of(b"secret", checked.bytes(CKA_CHECK_VALUE)))
            }
            _ => Ok(None),
        }
    }

    pub fn of_record(record: &Attributes) -> Identity {
        let bytes = |ty| record.bytes(ty).unwrap_or_default().to_vec();
        Identity {
            class: record.ulong(CKA_CLASS).unwrap_or_default(),
            key_type: record.ulong(CKA_KEY_TYPE).unwrap_or_default(),
            id: bytes(CKA_ID),
            label: bytes(HSM_LABEL),
            unique: record.bytes(HSM_UNIQUE).map(<[u8]>::to_vec),
            print: record.bytes(BY_PRINT).and_then(|print| print.try_into().ok()),
            on_token: true,
            private: record.is_true(CKA_PRIVATE),
        }
    }

    /// Into a record: what it is known again by.
    pub fn write(&self, record: &mut Attributes) {
        record.put(Attribute::ulong(CKA_CLASS, self.class));
        record.put(Attribute::ulong(CKA_KEY_TYPE, self.key_type));
        record.put(Attribute::bytes(CKA_ID, &self.id));
        record.put(Attribute::bool(CKA_PRIVATE, self.private));
        record.put(Attribute::bool(CKA_TOKEN, true));
        record.put(Attribute::bytes(HSM_LABEL, &self.label));
        match &self.unique {
            Some(unique) => record.put(Attribute::bytes(HSM_UNIQUE, unique)),
            None => drop(record.remove(HSM_UNIQUE)),
        }
        // A public half that is gone makes nobody forget the key.
        if let Some(print) = &self.print {
            record.put(Attribute::bytes(BY_PRINT, print));
        }
        if record.bytes(CKA_KEYWARD_LOGICAL_KEY).is_none() {
            record.put(Attribute::bytes(CKA_LABEL, &self.label));
        }
        if record.bytes(CKA_UNIQUE_ID).is_none() {
            record.put(Attribute::bytes(CKA_UNIQUE_ID, &self.unique_id()));
        }
    }

    /// Where a key stands in the HSM: class, type, and ID, or without an ID the label.
    pub fn place(&self) -> Vec<u8> {
        let (kind, name) = if self.id.is_empty() { (b"label", &self.label) } else { (b"id\0\0\0", &self.id) };
        [&self.class.to_be_bytes(), &self.key_type.to_be_bytes(), kind.as_slice(), name].concat()
    }

    /// The HSM's, or one made of what the key is: the same in every process, and known without a record.
    pub fn unique_id(&self) -> Vec<u8> {
        if let Some(unique) = &self.unique {
            return unique.clone();
        }
        let parts = [b"keyward unique id\0".as_slice(), &self.place(), b"\0", self.print.as_ref().map_or(&[], |p| p)];
        let digest = hash(Digest::Sha256, &parts.concat());
        let digits: String = digest.iter().take(16).map(|byte| format!("{byte:02x}")).collect();
        format!("{MADE}{digits}").into_bytes()
    }

    /// A template for the keys of this place.
    pub fn template(&self) -> Vec<Attribute> {
        match (&self.unique, self.id.is_empty()) {
            (Some(unique), _) => vec![Attribute::bytes(CKA_UNIQUE_ID, unique)],
            (None, false) => self.half_template(self.class),
            (None, true) => vec![
                Attribute::ulong(CKA_CLASS, self.class),
                Attribute::ulong(CKA_KEY_TYPE, self.key_type),
                Attribute::bytes(CKA_LABEL, &self.label),
            ],
        }
    }

    /// For the key of this ID, and its other half.
    pub fn half_template(&self, class: CK_OBJECT_CLASS) -> Vec<Attribute> {
        vec![
            Attribute::ulong(CKA_CLASS, class),
            Attribute::ulong(CKA_KEY_TYPE, self.key_type),
            Attribute::bytes(CKA_ID, &self.id),
        ]
    }

    /// The same key material; `None`: that cannot be told.
    fn same_print(&self, other: &Identity) -> Option<bool> {
        Some(self.print? == other.print?)
    }
}

/// How the unique IDs begin that are made up here.
pub const MADE: &str = "kw-";

/// A record that says no more than that the key is active: nothing depends on whose it is.
fn is_plain(record: &Record) -> bool {
    let life = life::life(&record.attributes);
    let own = [CKA_KEYWARD_CLASS, CKA_KEYWARD_USES, CKA_KEYWARD_LOGICAL_KEY];
    life.state == State::Active
        && life.dates == Dates::default()
        && own.iter().all(|ty| record.attributes.get(*ty).is_none())
}

/// Which record is this key's?
pub fn record_of(book: &Book, view: &View, token: &dyn Token, caller: Caller, key: &Identity) -> Result<Match> {
    if let Some(unique) = &key.unique {
        let records = book.find(view, &[(HSM_UNIQUE, unique)])?;
        match records.as_slice() {
            [one] => return Ok(Match::One(Arc::clone(one))),
            [] => {}
            _ => return Ok(Match::Unclear("two records of the overlay have its unique ID".into())),
        }
    }
    let place = book.find(view, &[(BY_PLACE, &key.place())])?;
    let of = |record: &Arc<Record>| Identity::of_record(&record.attributes);
    // What has another unique ID is another key.
    let others = |record: &Arc<Record>| key.unique.is_some() && of(record).unique.is_some();
    let place: Vec<_> = place.into_iter().filter(|record| !others(record)).collect();
    let strong: Vec<_> = place.iter().filter(|record| key.same_print(&of(record)) == Some(true)).collect();
    match strong.as_slice() {
        [one] => return Ok(Match::One(Arc::clone(one))),
        [] => {}
        _ => return Ok(Match::Unclear("two records of the overlay are of its ID and public key".into())),
    }
    // The place of a key that was destroyed is free for another.
    let gone = |record: &Arc<Record>| life::state(&record.attributes) == State::Destroyed;
    let weak = place.iter().filter(|record| key.same_print(&of(record)).is_none() && !gone(record));
    let weak: Vec<_> = weak.collect();
    match weak.as_slice() {
        [] => {}
        [one] if is_plain(one) || !has_rivals(token, caller, key)? => return Ok(Match::One(Arc::clone(one))),
        // They all say the same, but for how old the key is: the oldest is taken.
        [..] if weak.iter().all(|record| is_plain(record)) => {
            let oldest = weak.iter().min_by_key(|record| record.attributes.ulong(CKA_KEYWARD_CREATION_DATE));
            return Ok(oldest.map_or(Match::None, |record| Match::One(Arc::clone(record))));
        }
        _ => {
            return Ok(Match::Unclear(
                "several keys, or several records, have its class and ID, and nothing tells them apart: give each its own ID"
                    .into(),
            ));
        }
    }
    moved(book, view, token, caller, key)
}

/// Whether another key stands in the same place, and nothing tells the two apart.
pub fn has_rivals(token: &dyn Token, caller: Caller, key: &Identity) -> Result<bool> {
    Ok(key.unique.is_none() && key.print.is_none() && found(token, caller, key.template(), 2)?.len() > 1)
}

/// The record of the same public key under another ID: the key was given another, or this is a copy of it.
fn moved(book: &Book, view: &View, token: &dyn Token, caller: Caller, key: &Identity) -> Result<Match> {
    let Some(print) = key.print.filter(|_| key.class != CKO_SECRET_KEY) else { return Ok(Match::None) };
    let records = book.find(view, &[(BY_PRINT, &print)])?;
    let records: Vec<_> = records.iter().filter(|r| r.attributes.ulong(CKA_CLASS) == Some(key.class)).collect();
    if let [one] = records.as_slice()
        && found(token, caller, Identity::of_record(&one.attributes).template(), 1)?.is_empty()
    {
        return Ok(Match::One(Arc::clone(one)));
    }
    match records.iter().all(|record| is_plain(record)) {
        true => Ok(Match::None),
        false => Ok(Match::Unclear("another key of the same public key, with another ID, has a record".into())),
    }
}

/// The code for a key of which it is not clear what it may do.
pub fn unclear(why: &str) -> crate::error::Error {
    Code::KeyFunctionNotPermitted.because(format!("it is not clear which key this is: {why}"))
}
