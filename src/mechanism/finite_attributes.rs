//! What the attributes of DSA and Diffie-Hellman keys say (PKCS#11 3.2: DSA, Diffie-Hellman).

use cryptoki_sys::*;

use super::key::Key;
use super::key_attributes::{needed, without_leading_zeros};
use crate::crypto::finite::{DhPrivate, DhPublic, Dsa, Group, Numbers};
use crate::crypto::finite_info::{self, Scheme};
use crate::error::{Code, Result};
use crate::object::Attributes;
use crate::secret::SecretBytes;
use crate::token::Attribute;

/// The scheme of a key type; `None` where it is none of this file's.
pub(super) fn scheme_of(key_type: CK_KEY_TYPE) -> Option<Scheme> {
    match key_type {
        CKK_DSA => Some(Scheme::Dsa),
        CKK_DH => Some(Scheme::Pkcs3),
        CKK_X9_42_DH => Some(Scheme::X942),
        _ => None,
    }
}

fn key_type_of(scheme: Scheme) -> CK_KEY_TYPE {
    match scheme {
        Scheme::Dsa => CKK_DSA,
        Scheme::Pkcs3 => CKK_DH,
        Scheme::X942 => CKK_X9_42_DH,
    }
}

/// Where the parameters stand, in the order of the DER.
fn places(scheme: Scheme) -> &'static [CK_ATTRIBUTE_TYPE] {
    match scheme {
        Scheme::Dsa => &[CKA_PRIME, CKA_SUBPRIME, CKA_BASE],
        Scheme::Pkcs3 => &[CKA_PRIME, CKA_BASE],
        Scheme::X942 => &[CKA_PRIME, CKA_BASE, CKA_SUBPRIME],
    }
}

fn scheme(attributes: &Attributes) -> Result<Scheme> {
    Ok(attributes.ulong(CKA_KEY_TYPE).and_then(scheme_of).ok_or(Code::KeyTypeInconsistent)?)
}

fn is_private(attributes: &Attributes) -> bool {
    attributes.ulong(CKA_CLASS) == Some(CKO_PRIVATE_KEY)
}

/// `CKR_TEMPLATE_INCOMPLETE`
fn numbers(scheme: Scheme, attributes: &Attributes) -> Result<Numbers<'_>> {
    let q = match scheme {
        Scheme::Pkcs3 => None,
        Scheme::Dsa | Scheme::X942 => Some(needed(attributes, CKA_SUBPRIME)?),
    };
    Ok(Numbers { p: needed(attributes, CKA_PRIME)?, q, g: needed(attributes, CKA_BASE)? })
}

/// The group of a key, or of the template for one. `CKR_TEMPLATE_INCOMPLETE`, `CKR_ATTRIBUTE_VALUE_INVALID`.
pub(super) fn group(attributes: &Attributes) -> Result<Group> {
    Group::new(numbers(scheme(attributes)?, attributes)?)
}

/// The parameters as attributes, without leading zeros.
pub(super) fn parameters(attributes: &Attributes) -> Result<Vec<Attribute>> {
    let parameter = |ty: &CK_ATTRIBUTE_TYPE| {
        needed(attributes, *ty).map(|number| Attribute::bytes(*ty, without_leading_zeros(number)))
    };
    places(scheme(attributes)?).iter().map(parameter).collect()
}

/// Checks a key's numbers against each other and brings them to their standard form.
pub(super) fn normalise(attributes: &mut Attributes) -> Result<()> {
    let group = group(attributes)?;
    let value = needed(attributes, CKA_VALUE)?;
    if is_private(attributes) {
        group.public(value)?;
    } else {
        group.check_public(value)?;
    }
    // The sizes that DSA alone has.
    if scheme(attributes)? == Scheme::Dsa {
        prepare(attributes)?;
    }
    let mut own = parameters(attributes)?;
    own.push(Attribute::bytes(CKA_VALUE, without_leading_zeros(value)));
    own.into_iter().for_each(|attribute| attributes.put(attribute));
    Ok(())
}

/// The group was checked when the key was made: not again at every use.
pub(super) fn prepare(attributes: &Attributes) -> Result<Key> {
    let scheme = scheme(attributes)?;
    let (numbers, value) = (numbers(scheme, attributes)?, needed(attributes, CKA_VALUE)?);
    Ok(match (scheme, is_private(attributes)) {
        (Scheme::Dsa, true) => Key::Dsa(Dsa::private(numbers, value)?),
        (Scheme::Dsa, false) => Key::Dsa(Dsa::public(numbers, value)?),
        (_, true) => Key::DhPrivate(DhPrivate::new(numbers, value)?),
        (_, false) => Key::DhPublic(DhPublic::new(numbers, value)?),
    })
}

/// Length of the prime.
pub(super) fn bits(attributes: &Attributes) -> Option<u64> {
    let prime = without_leading_zeros(attributes.bytes(CKA_PRIME)?);
    let first = u64::from(prime.first()?.leading_zeros());
    u64::try_from(prime.len()).ok()?.checked_mul(8)?.checked_sub(first)
}

/// The public value, of a private or a public key.
fn public(attributes: &Attributes) -> Result<Vec<u8>> {
    let value = needed(attributes, CKA_VALUE)?;
    if is_private(attributes) {
        Group::trusted(numbers(scheme(attributes)?, attributes)?)?.public(value)
    } else {
        Ok(without_leading_zeros(value).to_vec())
    }
}

/// As `key_attributes::public_of`.
pub(super) fn public_of(attributes: &Attributes) -> Result<Vec<Attribute>> {
    let mut own = parameters(attributes)?;
    own.push(Attribute::bytes(CKA_VALUE, &public(attributes)?));
    Ok(own)
}

/// The parameters in the order of the DER.
fn ordered(scheme: Scheme, attributes: &Attributes) -> Result<Vec<&[u8]>> {
    places(scheme).iter().map(|ty| needed(attributes, *ty)).collect()
}

/// As `key_attributes::public_key_info`.
pub(super) fn public_key_info(attributes: &Attributes) -> Result<Vec<u8>> {
    let scheme = scheme(attributes)?;
    finite_info::encode_public(scheme, &ordered(scheme, attributes)?, &public(attributes)?)
}

/// As `key_attributes::private_to_pkcs8`.
pub(super) fn to_pkcs8(attributes: &Attributes) -> Result<SecretBytes> {
    let scheme = scheme(attributes)?;
    finite_info::encode_private(scheme, &ordered(scheme, attributes)?, needed(attributes, CKA_VALUE)?)
}

/// The attributes of a key in a PrivateKeyInfo, `CKA_KEY_TYPE` first, not yet normalised; `None` where its algorithm is
/// none of this file's. `CKR_WRAPPED_KEY_INVALID`.
pub(super) fn from_pkcs8(der: &[u8]) -> Result<Option<Vec<Attribute>>> {
    let Some((scheme, parameters, value)) = finite_info::decode_private(der)? else { return Ok(None) };
    let mut own = vec![Attribute::ulong(CKA_KEY_TYPE, key_type_of(scheme))];
    own.extend(places(scheme).iter().zip(&parameters).map(|(ty, number)| Attribute::bytes(*ty, number)));
    own.push(Attribute::bytes(CKA_VALUE, &value));
    Ok(Some(own))
}
