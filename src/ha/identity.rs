//! What makes objects of several members one object.
//!
//! An HSM's unique IDs are its own, so the rest decides, as after a loss of a single one: class, key type, ID, label and public
//! key. What has none of ID, label and public key is no member's but its own.

use cryptoki_sys::*;

use crate::crypto::digest::{Digest, hash};
use crate::error::{Code, Result};
use crate::token::*;

/// Of the same object on any member.
pub type Fingerprint = [u8; 32];

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The template that means it.
    pub template: Vec<Attribute>,
    pub fingerprint: Fingerprint,
}

/// What a member says of an object.
#[derive(Debug)]
pub struct Seen {
    pub token: bool,
    pub private: bool,
    /// `None` for session objects, and for what has nothing of its own.
    pub identity: Option<Identity>,
    pub unique_id: Answer,
}

const FIRST: [CK_ATTRIBUTE_TYPE; 10] = [
    CKA_CLASS,
    CKA_TOKEN,
    CKA_PRIVATE,
    CKA_KEY_TYPE,
    CKA_LABEL,
    CKA_ID,
    CKA_MODULUS,
    CKA_EC_POINT,
    CKA_APPLICATION,
    CKA_UNIQUE_ID,
];

/// What an identity may be made of.
pub const PARTS: [CK_ATTRIBUTE_TYPE; 8] =
    [CKA_CLASS, CKA_KEY_TYPE, CKA_LABEL, CKA_ID, CKA_MODULUS, CKA_EC_POINT, CKA_APPLICATION, CKA_VALUE];

pub fn bytes(template: &[Attribute], ty: CK_ATTRIBUTE_TYPE) -> Option<&[u8]> {
    template.iter().find(|attribute| attribute.ty == ty).and_then(|attribute| match &attribute.value {
        Value::Bytes(bytes) => Some(bytes.as_slice()),
        Value::Template(_) => None,
    })
}

pub fn number(template: &[Attribute], ty: CK_ATTRIBUTE_TYPE) -> Option<CK_ULONG> {
    bytes(template, ty).and_then(|bytes| bytes.try_into().ok()).map(CK_ULONG::from_ne_bytes)
}

pub fn is_true(template: &[Attribute], ty: CK_ATTRIBUTE_TYPE) -> bool {
    bytes(template, ty) == Some(&[CK_TRUE])
}

/// The attributes that the object has, and that are not empty.
pub fn read(
    token: &dyn Token,
    caller: Caller,
    object: ObjectId,
    types: &[CK_ATTRIBUTE_TYPE],
) -> Result<Vec<Attribute>> {
    let answers = token.get(caller, object, types)?;
    let value = |(ty, answer): (&CK_ATTRIBUTE_TYPE, Answer)| match answer {
        Answer::Value(Value::Bytes(value)) if !value.is_empty() => {
            Some(Attribute { ty: *ty, value: Value::Bytes(value) })
        }
        _ => None,
    };
    Ok(types.iter().zip(answers).filter_map(value).collect())
}

impl Identity {
    /// Of an object with these attributes.
    pub fn of(all: &[Attribute]) -> Option<Identity> {
        let named =
            |ty: &CK_ATTRIBUTE_TYPE| bytes(all, *ty).filter(|value| !value.is_empty()).map(|value| (*ty, value));
        let parts: Vec<(CK_ATTRIBUTE_TYPE, &[u8])> = PARTS.iter().filter_map(named).collect();
        if !parts.iter().any(|(ty, _)| !matches!(*ty, CKA_CLASS | CKA_KEY_TYPE)) {
            return None;
        }
        let mut text = b"keyward ha identity\0".to_vec();
        for (ty, value) in &parts {
            text.extend_from_slice(&ty.to_be_bytes());
            text.extend_from_slice(&(value.len() as u64).to_be_bytes());
            text.extend_from_slice(value);
        }
        let digest = hash(Digest::Sha256, &text);
        let fingerprint = digest.get(..32)?.try_into().ok()?;
        Some(Identity { template: parts.iter().map(|(ty, value)| Attribute::bytes(*ty, value)).collect(), fingerprint })
    }

    /// For people.
    pub fn name(&self) -> String {
        let class = match number(&self.template, CKA_CLASS) {
            Some(CKO_PRIVATE_KEY) => "private key",
            Some(CKO_PUBLIC_KEY) => "public key",
            Some(CKO_SECRET_KEY) => "secret key",
            Some(CKO_CERTIFICATE) => "certificate",
            Some(CKO_DATA) => "data object",
            _ => "object",
        };
        let label = bytes(&self.template, CKA_LABEL).map(String::from_utf8_lossy);
        let id: String =
            bytes(&self.template, CKA_ID).unwrap_or_default().iter().map(|byte| format!("{byte:02x}")).collect();
        match (label, id.is_empty()) {
            (Some(label), true) => format!("{class} {label:?}"),
            (Some(label), false) => format!("{class} {label:?}, ID {id}"),
            (None, _) => format!("{class} with ID {id}"),
        }
    }
}

/// Looks at an object of a member. The value is asked for only where it is public.
pub fn look(token: &dyn Token, caller: Caller, object: ObjectId) -> Result<Seen> {
    let mut all = read(token, caller, object, &FIRST)?;
    let at = all.iter().position(|attribute| attribute.ty == CKA_UNIQUE_ID);
    let unique_id = at.map_or(Answer::Absent, |at| Answer::Value(all.swap_remove(at).value));
    let class = number(&all, CKA_CLASS);
    let public = class == Some(CKO_PUBLIC_KEY) && bytes(&all, CKA_MODULUS).or(bytes(&all, CKA_EC_POINT)).is_none();
    if public || matches!(class, Some(CKO_CERTIFICATE)) {
        all.extend(read(token, caller, object, &[CKA_VALUE])?);
    }
    let token = is_true(&all, CKA_TOKEN);
    let identity = if token { Identity::of(&all) } else { None };
    Ok(Seen { token, private: is_true(&all, CKA_PRIVATE), identity, unique_id })
}

/// What a member has of an identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Held {
    No,
    One(ObjectId),
    /// More than one fits: which is meant nobody can say.
    Several,
}

pub fn held(token: &dyn Token, caller: Caller, identity: &Identity) -> Result<Held> {
    // An attribute that this object lacks may tell it from one that has it, so those found are looked at.
    let mut template = identity.template.clone();
    template.push(Attribute::bool(CKA_TOKEN, true));
    let found = token.find(caller, template)?.next(16)?;
    let mut fitting = Vec::new();
    for object in found {
        match look(token, caller, object) {
            Ok(seen) if seen.identity.as_ref().is_some_and(|seen| seen.fingerprint == identity.fingerprint) => {
                fitting.push(object)
            }
            Ok(_) => {}
            Err(error) if error.code() == Code::ObjectHandleInvalid => {}
            Err(error) => return Err(error),
        }
    }
    Ok(match fitting.as_slice() {
        [] => Held::No,
        [one] => Held::One(*one),
        _ => Held::Several,
    })
}
