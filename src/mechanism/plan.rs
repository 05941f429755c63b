//! What `C_DeriveKey` is to make: known from the templates and the parameters before any value is.

use cryptoki_sys::*;

use super::table::Row;
use crate::error::{Code, Result};
use crate::object::Attributes;
use crate::token::{Attribute, Params};

/// What a derivation starts from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Base {
    /// A key with `CKA_DERIVE`.
    Key,
    /// Such a key, or a data object.
    KeyOrData,
    /// A private key, whatever its `CKA_DERIVE`.
    PrivateKey,
}

/// The objects to make.
pub struct Plan {
    /// The one whose handle `C_DeriveKey` returns; `None` where all handles go into the parameters.
    pub key: Option<Wanted>,
    /// Those whose handles go into the parameters, in their order there.
    pub further: Vec<Wanted>,
}

/// One object to make.
pub struct Wanted {
    pub class: CK_OBJECT_CLASS,
    /// `None` for classes without key type.
    pub key_type: Option<CK_KEY_TYPE>,
    pub template: Vec<Attribute>,
    /// Length in bytes, where the class has no attribute to say it with.
    pub length: Option<usize>,
}

/// What a plan is made from. The key's `CKA_DERIVE_TEMPLATE` is part of the templates already.
pub struct Request<'a> {
    pub row: &'static Row,
    pub params: &'a Params,
    /// The base key's attributes, but for the secret ones.
    pub base: &'a Attributes,
    pub template: Vec<Attribute>,
    /// Those among the parameters.
    pub further: Vec<Vec<Attribute>>,
}

pub type MakePlan = fn(Request<'_>) -> Result<Plan>;

impl Wanted {
    /// A secret key, generic unless the template says otherwise. `CKR_ATTRIBUTE_VALUE_INVALID`.
    pub fn secret(template: Vec<Attribute>) -> Result<Wanted> {
        Wanted::secret_of(template, CKK_GENERIC_SECRET)
    }

    /// A secret key, of type `usual` unless the template says otherwise.
    pub fn secret_of(template: Vec<Attribute>, usual: CK_KEY_TYPE) -> Result<Wanted> {
        Ok(Wanted {
            class: said(&template, CKA_CLASS)?.unwrap_or(CKO_SECRET_KEY),
            key_type: Some(said(&template, CKA_KEY_TYPE)?.unwrap_or(usual)),
            template,
            length: None,
        })
    }
}

impl Plan {
    pub fn one(key: Wanted) -> Plan {
        Plan { key: Some(key), further: Vec::new() }
    }
}

/// The plan of most derivations: one secret key.
pub fn one_secret(request: Request<'_>) -> Result<Plan> {
    Wanted::secret(request.template).map(Plan::one)
}

/// A number that the template states; `CKR_ATTRIBUTE_VALUE_INVALID`.
pub fn said(template: &[Attribute], ty: CK_ATTRIBUTE_TYPE) -> Result<Option<CK_ULONG>> {
    let Some(attribute) = template.iter().find(|attribute| attribute.ty == ty) else { return Ok(None) };
    let one: Attributes = std::iter::once(attribute.clone()).collect();
    Ok(Some(one.ulong(ty).ok_or(Code::AttributeValueInvalid)?))
}

/// Adds what the template does not say.
pub fn fill(template: &mut Vec<Attribute>, attribute: Attribute) {
    if !template.iter().any(|said| said.ty == attribute.ty) {
        template.push(attribute);
    }
}

/// `CKA_SENSITIVE` and `CKA_EXTRACTABLE` as the base key has them, where the template does not say it.
pub fn fill_protection(template: &mut Vec<Attribute>, base: &Attributes) {
    for ty in [CKA_SENSITIVE, CKA_EXTRACTABLE] {
        if let Some(value) = base.bool(ty) {
            fill(template, Attribute::bool(ty, value));
        }
    }
}
