//! Looking at objects: reading, matching, and taking their secret part apart.

use cryptoki_sys::*;
use subtle::ConstantTimeEq;

use super::row::Kind;
use super::schema::Schema;
use super::{Attributes, codec, significant};
use crate::error::{Code, Result};
use crate::token::{Answer, Attribute, Value};

/// The answer for one attribute of `C_GetAttributeValue`. Whether a secret attribute may be seen is judged before
/// whether the object has it (5.7.5), so the clear part alone is enough unless [`needs_secret`] says otherwise.
pub fn read(object: &Attributes, ty: CK_ATTRIBUTE_TYPE) -> Answer {
    Sight::of(object).read(object, ty)
}

/// What decides of the reading of an object's attributes, found out once.
#[derive(Clone, Copy)]
pub struct Sight {
    schema: Option<&'static Schema>,
    revealable: bool,
}

impl Sight {
    pub fn of(object: &Attributes) -> Sight {
        Sight { schema: Schema::of(object), revealable: revealable(object) }
    }

    /// [`read`], of the object that this is of: of its clear part, or with its secret part.
    pub fn read(self, object: &Attributes, ty: CK_ATTRIBUTE_TYPE) -> Answer {
        match self.hides(ty) {
            true => Answer::Sensitive,
            false => match object.get(ty) {
                Some(value) => Answer::Value(value.clone()),
                None => implied(self.schema, ty).map_or(Answer::Absent, Answer::Value),
            },
        }
    }

    /// [`needs_secret`].
    pub fn needs_secret(self, ty: CK_ATTRIBUTE_TYPE) -> bool {
        self.revealable && self.schema.and_then(|schema| schema.row(ty)).is_some_and(|row| row.secret())
    }

    fn hides(self, ty: CK_ATTRIBUTE_TYPE) -> bool {
        match self.schema {
            Some(schema) => !self.revealable && schema.row(ty).is_some_and(|row| row.secret()),
            // A record whose class we do not know may hold anything.
            None => !matches!(ty, CKA_CLASS | CKA_UNIQUE_ID | CKA_LABEL),
        }
    }
}

fn implied(schema: Option<&Schema>, ty: CK_ATTRIBUTE_TYPE) -> Option<Value> {
    schema?.row(ty)?.implied()
}

/// Whether [`read`] or [`matches`] of this attribute needs the secret part: it is in there, and it may be seen.
pub fn needs_secret(object: &Attributes, ty: CK_ATTRIBUTE_TYPE) -> bool {
    revealable(object) && Sight::of(object).needs_secret(ty)
}

/// Whether secret attributes of this object may be seen in clear: not sensitive, and extractable.
pub fn revealable(object: &Attributes) -> bool {
    object.bool(CKA_SENSITIVE) == Some(false) && object.is_true(CKA_EXTRACTABLE)
}

/// Whether the object is one that `C_FindObjects` with this template finds. A hidden attribute matches nothing, so
/// that a
/// search is no way to guess it; integers match whatever zeros lead them.
pub fn matches(object: &Attributes, template: &[Attribute]) -> bool {
    let sight = Sight::of(object);
    template.iter().all(|asked| !sight.hides(asked.ty) && holds(sight.schema, object, asked))
}

fn holds(schema: Option<&Schema>, object: &Attributes, asked: &Attribute) -> bool {
    let unsaid = || implied(schema, asked.ty);
    let (kept, meant) = match object.get(asked.ty) {
        Some(kept) => (Some(kept), None),
        None => (None, unsaid()),
    };
    match (kept.or(meant.as_ref()), &asked.value) {
        (Some(Value::Bytes(has)), Value::Bytes(asks)) => {
            let integer = || schema.and_then(|s| s.row(asked.ty)).is_some_and(|row| matches!(row.kind, Kind::Integer));
            bool::from(has.as_slice().ct_eq(asks)) || integer() && bool::from(significant(has).ct_eq(significant(asks)))
        }
        (Some(Value::Template(has)), Value::Template(asks)) => same_template(has, asks),
        _ => false,
    }
}

/// The same attributes, in whatever order.
fn same_template(one: &[Attribute], other: &[Attribute]) -> bool {
    one.len() == other.len() && one.iter().all(|attribute| other.contains(attribute))
}

/// Whether a key may be wrapped, or encapsulated, under a key with this `CKA_WRAP_TEMPLATE`: by the rules of
/// `C_FindObjects`, as the specification has it.
pub fn template_allows(template: &[Attribute], target: &Attributes) -> bool {
    matches(target, template)
}

/// A caller's template together with the `CKA_UNWRAP_TEMPLATE`, `CKA_DERIVE_TEMPLATE` or `CKA_DECAPSULATE_TEMPLATE` of
/// the
/// key in use. `CKR_TEMPLATE_INCONSISTENT` where they say different things.
pub fn impose(mut template: Vec<Attribute>, imposed: &[Attribute]) -> Result<Vec<Attribute>> {
    for attribute in imposed {
        match template.iter().find(|said| said.ty == attribute.ty) {
            Some(said) if said.value != attribute.value => {
                Err(Code::TemplateInconsistent.because("the key in use asks for another value"))?;
            }
            Some(_) => {}
            None => template.push(attribute.clone()),
        }
    }
    Ok(template)
}

/// `CKR_ACTION_PROHIBITED` where `CKA_DESTROYABLE` is false.
pub fn may_destroy(object: &Attributes) -> Result<()> {
    match object.bool(CKA_DESTROYABLE) {
        Some(false) => Err(Code::ActionProhibited.because("CKA_DESTROYABLE is false")),
        _ => Ok(()),
    }
}

/// The clear part, and the part that is sealed by itself: the secret attributes, or all of an object of no known class.
pub fn split(object: &Attributes) -> (Attributes, Attributes) {
    let schema = Schema::of(object);
    let secret = |a: &Attribute| match schema {
        Some(schema) => schema.row(a.ty).is_none_or(|row| row.secret()),
        None => !matches!(a.ty, CKA_CLASS | CKA_UNIQUE_ID | CKA_LABEL),
    };
    let (secret, clear): (Vec<_>, Vec<_>) = object.iter().cloned().partition(secret);
    (Attributes(clear), Attributes(secret))
}

/// What [`split`] took apart.
pub fn join(mut clear: Attributes, secret: Attributes) -> Attributes {
    secret.into_iter().for_each(|attribute| clear.put(attribute));
    clear
}

/// Length in bytes of a key value that its type leaves no choice of.
pub fn fixed_length(object: &Attributes) -> Option<usize> {
    match Schema::of(object)?.row(CKA_VALUE)?.kind {
        Kind::Sized(&[length]) | Kind::Des(length) => Some(length),
        _ => None,
    }
}

/// `C_GetObjectSize`: bytes of its encoding.
pub fn size(object: &Attributes) -> u64 {
    codec::encoded_len(object) as u64
}
