//! The one interpreter of the rows: making, changing and copying objects.

use cryptoki_sys::*;

use super::compute::{self, Circumstances};
use super::row::{Compute, Kind, Row, Source, note, numbers};
use super::schema::{self, Rule, Schema};
use super::{Attributes, row};
use crate::error::{Code, Error, Result};
use crate::token::{Attribute, CKA_KEYWARD_LOGICAL_KEY, CKA_KEYWARD_VERSION, Value};

pub use super::compute::Heritage;
pub use super::schema::Origin;
pub use super::view::{
    Sight, fixed_length, impose, join, matches, may_destroy, needs_secret, read, revealable, size, split,
    template_allows,
};

/// Who asks, as far as the rows depend on it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Maker {
    /// May set `CKA_TRUSTED`.
    pub security_officer: bool,
}

/// What the mechanism, or the token, knows of a new object.
#[derive(Clone, Debug, Default)]
pub struct Given {
    /// Its own attributes: the key's value, parameters in their standard form, `CKA_PUBLIC_KEY_INFO`. They stand in for
    /// those of the template, but where a row is verified (`CKA_PUBLIC_KEY_INFO`): there both must agree.
    pub attributes: Vec<Attribute>,
    /// What generated the key.
    pub mechanism: Option<CK_MECHANISM_TYPE>,
    /// For derived keys; `None` also for those that `C_EncapsulateKey` and `C_DecapsulateKey` make.
    pub heritage: Option<Heritage>,
}

/// A new object of which the template has been judged; [`Draft::finish`] makes it whole.
///
/// In two steps so that a bad template, and `CKA_TOKEN` and `CKA_PRIVATE`, are known before a key is generated.
#[derive(Debug)]
pub struct Draft {
    origin: Origin,
    schema: &'static Schema,
    /// What the template says.
    wanted: Attributes,
    /// That, with the defaults.
    object: Attributes,
}

/// Judges a template. `class` and `key_type` are what the function and the mechanism imply; the template may repeat but
/// not contradict them.
///
/// `CKR_ATTRIBUTE_TYPE_INVALID` for an unknown attribute, `CKR_ATTRIBUTE_VALUE_INVALID` for a bad value, also of
/// `CKA_CLASS` or the type; `CKR_ATTRIBUTE_READ_ONLY` for what only the token sets, or the security officer;
/// `CKR_TEMPLATE_INCONSISTENT` for an attribute twice with other values, of another class, or against what is implied;
/// `CKR_TEMPLATE_INCOMPLETE` without class or type.
pub fn draft(
    origin: Origin,
    maker: &Maker,
    class: Option<CK_OBJECT_CLASS>,
    key_type: Option<CK_KEY_TYPE>,
    template: Vec<Attribute>,
) -> Result<Draft> {
    let mut wanted = Attributes::once_each(template)?;
    let schema = resolve(origin, class, key_type, &mut wanted)?;
    let set = wanted.ulong(CKA_PARAMETER_SET);
    for attribute in wanted.iter() {
        let row = row_for(schema, attribute.ty)?;
        if forbidden(row, origin) {
            Err(Code::AttributeReadOnly.because(format!("{} is not for the template to say", row.name)))?;
        }
        row.check(&attribute.value, set)?;
        let raised = row.has(10) && truth(&attribute.value) == Some(true);
        if raised && origin != Origin::Token && !maker.security_officer {
            Err(Code::AttributeReadOnly.because(format!("only the security officer sets {}", row.name)))?;
        }
    }
    let mut object = wanted.clone();
    let missing = schema.rows().filter(|row| wanted.get(row.ty).is_none());
    missing.filter_map(|row| row.default(schema.made_for(row.ty))).for_each(|default| object.put(default));
    Ok(Draft { origin, schema, wanted, object })
}

/// Makes an object: [`draft`], then [`Draft::finish`], with their errors.
pub fn make(
    origin: Origin,
    maker: &Maker,
    class: Option<CK_OBJECT_CLASS>,
    key_type: Option<CK_KEY_TYPE>,
    template: Vec<Attribute>,
    given: Given,
) -> Result<Attributes> {
    draft(origin, maker, class, key_type, template)?.finish(given)
}

impl Draft {
    /// The template with the class, the type and the defaults; not yet what is given or computed.
    pub fn attributes(&self) -> &Attributes {
        &self.object
    }

    /// The whole object. `CKR_TEMPLATE_INCOMPLETE` where a required attribute is missing, `CKR_TEMPLATE_INCONSISTENT`
    /// where attributes contradict each other, `CKR_ATTRIBUTE_VALUE_INVALID` where a checksum or public key of the
    /// template
    /// is not the object's. A value given of a wrong length: `CKR_WRAPPED_KEY_LEN_RANGE` or `CKR_WRAPPED_KEY_INVALID`
    /// when unwrapping, `CKR_KEY_SIZE_RANGE` when deriving or generating.
    pub fn finish(mut self, given: Given) -> Result<Attributes> {
        let by = Circumstances { origin: self.origin, mechanism: given.mechanism, heritage: given.heritage };
        let known: Vec<_> = given.attributes.iter().map(|a| a.ty).collect();
        self.take(given.attributes)?;
        self.inherit(by.heritage)?;
        self.whole()?;
        for row in self.schema.rows() {
            match row.source {
                _ if known.contains(&row.ty) => {}
                Source::Computed(what) => self.complete(row, what, &by)?,
                _ if row.has(note::VERIFIED) && said(&self.wanted, row.ty).is_some() => {
                    Err(Code::AttributeTypeInvalid.because(format!("{} cannot be verified for this key", row.name)))?;
                }
                _ => {}
            }
        }
        match self.schema.rules().iter().find_map(|rule| breach(self.schema, rule, &self.object)) {
            Some(error) => Err(error),
            None => Ok(self.object),
        }
    }

    /// What the mechanism gives stands in for what the template says.
    fn take(&mut self, given: Vec<Attribute>) -> Result<()> {
        let stated = given.iter().find(|a| a.ty == CKA_PARAMETER_SET).and_then(|a| match &a.value {
            Value::Bytes(bytes) => row::number(bytes),
            Value::Template(_) => None,
        });
        let set = stated.or(self.object.ulong(CKA_PARAMETER_SET));
        for mut attribute in given {
            let row = self.schema.row(attribute.ty).ok_or_else(|| {
                Code::GeneralError.because(format!("{} given to a {}", attribute.ty, self.schema.class.name))
            })?;
            if matches!(self.origin, Origin::Derive | Origin::Generate) {
                row.mend(&mut attribute.value);
            }
            row.check(&attribute.value, set).map_err(|e| self.misfit(e, row, &attribute.value))?;
            let wanted = said(&self.wanted, row.ty).filter(|_| row.has(note::VERIFIED));
            if wanted.is_some_and(|wanted| *wanted != attribute.value) {
                Err(Code::AttributeValueInvalid.because(format!("{} is not that of this object", row.name)))?;
            }
            self.object.put(attribute);
        }
        Ok(())
    }

    /// The code for a value that was given and does not fit: the fault of what was unwrapped, derived or generated.
    fn misfit(&self, error: Error, row: &Row, value: &Value) -> Error {
        let parity = matches!((row.kind, value), (Kind::Des(length), Value::Bytes(bytes)) if bytes.len() == length);
        match self.origin {
            Origin::Create | Origin::Token => error,
            Origin::Unwrap if parity => error.recode(Code::WrappedKeyInvalid),
            Origin::Unwrap => error.recode(Code::WrappedKeyLenRange),
            Origin::Derive | Origin::Generate => error.recode(Code::KeySizeRange),
        }
    }

    /// A key bound to its base keys is at least as closed as they are.
    fn inherit(&self, heritage: Option<Heritage>) -> Result<()> {
        let Some(heritage) = heritage else { return Ok(()) };
        let opened = heritage.sensitive && self.object.bool(CKA_SENSITIVE) == Some(false);
        let released = heritage.unextractable && self.object.is_true(CKA_EXTRACTABLE);
        match opened || released {
            true => Err(Code::TemplateInconsistent.because("the base key is sensitive or not extractable")),
            false => Ok(()),
        }
    }

    fn complete(&mut self, row: &Row, what: Compute, by: &Circumstances) -> Result<()> {
        let found = compute::compute(row.ty, what, &self.object, by)?;
        match self.wanted.get(row.ty) {
            Some(_) if matches!(what, Compute::Check(_)) && said(&self.wanted, row.ty).is_none() => Ok(()),
            Some(wanted) if row.has(note::VERIFIED) => match found {
                Some(found) if found.value == *wanted => Ok(()),
                _ => Err(self.mismatch(what).because(format!("{} is not that of this object", row.name))),
            },
            _ => {
                found.into_iter().for_each(|found| self.object.put(found));
                Ok(())
            }
        }
    }

    fn mismatch(&self, what: Compute) -> Code {
        match (what, self.origin) {
            (Compute::Length(_), Origin::Unwrap) => Code::WrappedKeyLenRange,
            (Compute::Length(_), _) => Code::TemplateInconsistent,
            _ => Code::AttributeValueInvalid,
        }
    }

    /// Footnote 1 holds for every object in the end, whoever said the value; what is computed need not be said.
    fn whole(&self) -> Result<()> {
        let required = note_of(self.origin).required;
        let needed = |row: &&Row| {
            !matches!(row.source, Source::Computed(_)) && (row.has(1) || required.is_some_and(|note| row.has(note)))
        };
        match self.schema.rows().filter(|row| needed(row)).find(|row| self.object.get(row.ty).is_none()) {
            Some(row) => Err(Code::TemplateIncomplete.because(format!("{} is missing", row.name))),
            None => Ok(()),
        }
    }
}

/// `C_SetAttributeValue`: the object as it will be. The clear part of an object can be changed by itself, here and in
/// [`copy`]: no secret attribute changes.
///
/// `CKR_ACTION_PROHIBITED` where `CKA_MODIFIABLE` is false or a trusted certificate is not the security officer's to
/// change;
/// `CKR_ATTRIBUTE_READ_ONLY` for what may not change, or not this way; `CKR_ATTRIBUTE_TYPE_INVALID`,
/// `CKR_ATTRIBUTE_VALUE_INVALID`, `CKR_TEMPLATE_INCONSISTENT` as in [`draft`].
pub fn set(maker: &Maker, current: &Attributes, template: Vec<Attribute>) -> Result<Attributes> {
    let schema = schema_of(current)?;
    if current.bool(CKA_MODIFIABLE) != Some(true) {
        Err(Code::ActionProhibited.because("CKA_MODIFIABLE is false"))?;
    }
    change(maker, schema, current, template, false)
}

/// `C_CopyObject`: the copy, with a `CKA_UNIQUE_ID` of its own. `CKR_ACTION_PROHIBITED` where `CKA_COPYABLE` is false;
/// otherwise as [`set`], but that `CKA_MODIFIABLE` does not matter and the storage attributes may change too.
pub fn copy(maker: &Maker, current: &Attributes, template: Vec<Attribute>) -> Result<Attributes> {
    let schema = schema_of(current)?;
    if current.bool(CKA_COPYABLE) != Some(true) {
        Err(Code::ActionProhibited.because("CKA_COPYABLE is false"))?;
    }
    let mut copy = change(maker, schema, current, template, true)?;
    copy.put(Attribute::bytes(CKA_UNIQUE_ID, compute::unique_id()?.as_bytes()));
    // The copy is a key of its own, no version of another.
    [CKA_KEYWARD_LOGICAL_KEY, CKA_KEYWARD_VERSION].into_iter().for_each(|ty| drop(copy.remove(ty)));
    Ok(copy)
}

fn change(
    maker: &Maker,
    schema: &Schema,
    current: &Attributes,
    template: Vec<Attribute>,
    copying: bool,
) -> Result<Attributes> {
    let frozen = |rule: &Rule| matches!(rule, Rule::Frozen(ty) if current.is_true(*ty));
    let frozen = !maker.security_officer && schema.rules().iter().any(frozen);
    let mut next = current.clone();
    for attribute in Attributes::once_each(template)?.into_iter() {
        let row = row_for(schema, attribute.ty)?;
        row.check(&attribute.value, None)?;
        if !(row.has(8) || copying && row.has(note::COPY)) {
            Err(Code::AttributeReadOnly.because(format!("{} does not change", row.name)))?;
        }
        if frozen && row.has(8) && current.get(row.ty) != Some(&attribute.value) {
            Err(Code::ActionProhibited.because("the object is trusted: only the security officer changes it"))?;
        }
        permit(maker, row, current, &attribute.value)?;
        next.put(attribute);
    }
    // A change cannot be incomplete (4.1.2), only in contradiction to what is there. A rule that was broken before is
    // none of
    // its business: `current` may be the clear part alone.
    let kept_so_far = |rule: &&Rule| breach(schema, rule, current).is_none();
    match schema.rules().iter().filter(kept_so_far).find_map(|rule| breach(schema, rule, &next)) {
        Some(error) => Err(error.recode(Code::TemplateInconsistent)),
        None => Ok(next),
    }
}

/// Whether an attribute that may change may change to this value.
fn permit(maker: &Maker, row: &Row, current: &Attributes, value: &Value) -> Result<()> {
    let step = (current.bool(row.ty), truth(value));
    let stuck = row.has(11) && step == (Some(true), Some(false)) || row.has(12) && step == (Some(false), Some(true));
    let trusted = row.has(10) && step.1 == Some(true) && step.0 != Some(true) && !maker.security_officer;
    if stuck || trusted {
        Err(Code::AttributeReadOnly.because(format!("{} may not change to this", row.name)))?;
    }
    let erased = matches!(row.source, Source::Computed(Compute::Check(_))) && empty(value);
    if row.has(note::VERIFIED) && !erased && current.get(row.ty) != Some(value) {
        Err(Code::AttributeValueInvalid.because(format!("{} is not that of this object", row.name)))?;
    }
    Ok(())
}

fn schema_of(object: &Attributes) -> Result<&'static Schema> {
    Schema::of(object).ok_or_else(|| Code::GeneralError.because("an object of no class of ours"))
}

/// The row of an attribute in this class. `CKR_ATTRIBUTE_TYPE_INVALID` where no class has it,
/// `CKR_TEMPLATE_INCONSISTENT` where another one has (4.1.1).
fn row_for(schema: &Schema, ty: CK_ATTRIBUTE_TYPE) -> Result<&'static Row> {
    schema.row(ty).ok_or_else(|| match schema::any_row(ty) {
        Some(row) => Code::TemplateInconsistent.because(format!("a {} has no {}", schema.class.name, row.name)),
        None => Code::AttributeTypeInvalid.because(format!("attribute 0x{ty:x} is not known")),
    })
}

/// Class and type, put into `wanted` where the template left them to the function.
fn resolve(
    origin: Origin,
    class: Option<CK_OBJECT_CLASS>,
    key_type: Option<CK_KEY_TYPE>,
    wanted: &mut Attributes,
) -> Result<&'static Schema> {
    let deriving = |ty| (origin == Origin::Derive).then_some(ty);
    let class = settle(wanted, CKA_CLASS, class, deriving(CKO_SECRET_KEY))?;
    let bad = |what: &str| Code::AttributeValueInvalid.because(format!("no such {what} can be made"));
    let row = schema::class_row(class).ok_or_else(|| bad("CKA_CLASS"))?;
    if !row.origins.contains(&origin) {
        Err(match origin {
            Origin::Create => bad("CKA_CLASS"),
            _ => Code::TemplateInconsistent.because(format!("a {} is not made this way", row.name)),
        })?;
    }
    let Some(attribute) = row.subtype else {
        return Schema::find(class, None).ok_or(Code::GeneralError.into());
    };
    // Without a type a derived key is a generic secret (6.43, "Miscellaneous simple key derivation mechanisms").
    let default = deriving(CKK_GENERIC_SECRET).filter(|_| attribute == CKA_KEY_TYPE && class == CKO_SECRET_KEY);
    let implied = key_type.filter(|_| attribute == CKA_KEY_TYPE);
    let subtype = settle(wanted, attribute, implied, default)?;
    Schema::find(class, Some(subtype)).ok_or_else(|| {
        match schema::subtypes(attribute).iter().find(|known| known.value == subtype) {
            Some(known) => Code::TemplateInconsistent.because(format!("a {} is no {}", known.name, row.name)),
            None => bad("type"),
        }
    })
}

fn settle(
    wanted: &mut Attributes,
    ty: CK_ATTRIBUTE_TYPE,
    implied: Option<CK_ULONG>,
    default: Option<CK_ULONG>,
) -> Result<CK_ULONG> {
    let stated = match wanted.get(ty) {
        Some(_) => Some(wanted.ulong(ty).ok_or(Code::AttributeValueInvalid)?),
        None => None,
    };
    match (stated, implied) {
        (Some(stated), Some(implied)) if stated != implied => {
            Err(Code::TemplateInconsistent
                .because("the template asks for another class or type than the mechanism makes"))
        }
        _ => {
            let value = stated.or(implied).or(default).ok_or_else(|| {
                let name = schema::any_row(ty).map_or("an attribute", |row| row.name);
                Code::TemplateIncomplete.because(format!("{name} is missing"))
            })?;
            wanted.put(Attribute::ulong(ty, value));
            Ok(value)
        }
    }
}

/// The footnotes that speak of an origin.
struct Notes {
    required: Option<u8>,
    forbidden: &'static [u8],
}

fn note_of(origin: Origin) -> Notes {
    match origin {
        Origin::Create => Notes { required: Some(1), forbidden: &[2] },
        Origin::Generate => Notes { required: Some(3), forbidden: &[4] },
        Origin::Unwrap => Notes { required: Some(5), forbidden: &[6] },
        // No footnote speaks of derivation: what neither a generated nor an unwrapped key is told, a derived one is
        // not.
        Origin::Derive => Notes { required: None, forbidden: &[4, 6] },
        Origin::Token => Notes { required: Some(1), forbidden: &[] },
    }
}

fn forbidden(row: &Row, origin: Origin) -> bool {
    let notes = note_of(origin).forbidden;
    !notes.is_empty() && notes.iter().all(|note| row.has(*note))
}

/// Why an object breaks a rule of its class; `None` if it does not.
fn breach(schema: &Schema, rule: &Rule, object: &Attributes) -> Option<Error> {
    let filled = |ty: &CK_ATTRIBUTE_TYPE| said(object, *ty).is_some();
    let names = |types: &[CK_ATTRIBUTE_TYPE]| {
        let names = types.iter().filter_map(|ty| schema.row(*ty)).map(|row| row.name);
        names.collect::<Vec<_>>().join(", ")
    };
    match *rule {
        Rule::AnyOf(types) => (!types.iter().any(filled))
            .then(|| Code::TemplateIncomplete.because(format!("one of {} is needed", names(types)))),
        Rule::Implies(one, other) => (object.is_true(one) && !object.is_true(other)).then(|| {
            Code::TemplateInconsistent.because(format!("{} goes only with {}", names(&[one]), names(&[other])))
        }),
        Rule::Calls(one, others) => (filled(&one) && !others.iter().all(filled))
            .then(|| Code::TemplateIncomplete.because(format!("{} calls for {}", names(&[one]), names(others)))),
        Rule::When { of, is, needs } => {
            let called = of.iter().filter_map(|ty| object.ulong(*ty)).any(|value| is.contains(&value));
            (called && !needs.iter().all(filled))
                .then(|| Code::TemplateIncomplete.because(format!("{} are needed", names(needs))))
        }
        Rule::Count(list, count) => {
            let entries = object.bytes(list).map(|value| numbers(value).count() as CK_ULONG);
            (entries != object.ulong(count)).then(|| {
                Code::TemplateInconsistent.because(format!("{} is not as long as {}", names(&[list]), names(&[count])))
            })
        }
        Rule::Frozen(_) => None,
    }
}

/// The value, if there is one and it is not empty.
fn said(object: &Attributes, ty: CK_ATTRIBUTE_TYPE) -> Option<&Value> {
    object.get(ty).filter(|value| !empty(value))
}

fn empty(value: &Value) -> bool {
    match value {
        Value::Bytes(bytes) => bytes.is_empty(),
        Value::Template(template) => template.is_empty(),
    }
}

fn truth(value: &Value) -> Option<bool> {
    match value {
        Value::Bytes(bytes) => match bytes.as_slice() {
            [byte] => Some(*byte != CK_FALSE),
            _ => None,
        },
        Value::Template(_) => None,
    }
}
