//! What the attributes of HSS, XMSS and XMSS^MT keys say (PKCS#11 3.2: HSS, XMSS and XMSS^MT).

use cryptoki_sys::*;

use super::key::Key;
use super::key_attributes::needed;
use crate::crypto::keyinfo::{self, Tree};
use crate::crypto::xmss::Scheme;
use crate::crypto::{hss, xmss};
use crate::error::{Code, Result};
use crate::object::Attributes;
use crate::token::Attribute;

/// Whether a key type is one of this file's.
pub(super) fn is_tree(key_type: CK_KEY_TYPE) -> bool {
    matches!(key_type, CKK_HSS | CKK_XMSS | CKK_XMSSMT)
}

/// `None`: HSS.
fn scheme_of(attributes: &Attributes) -> Result<Option<Scheme>> {
    match attributes.ulong(CKA_KEY_TYPE) {
        Some(CKK_HSS) => Ok(None),
        Some(CKK_XMSS) => Ok(Some(Scheme::Xmss)),
        Some(CKK_XMSSMT) => Ok(Some(Scheme::XmssMt)),
        _ => Err(Code::KeyTypeInconsistent.into()),
    }
}

/// The codes of the schemes' own functions; `CKR_TEMPLATE_INCOMPLETE`, and `CKR_TEMPLATE_INCONSISTENT` where
/// `CKA_PARAMETER_SET` is not the value's.
pub(super) fn prepare_public(attributes: &Attributes) -> Result<Key> {
    let value = needed(attributes, CKA_VALUE)?;
    let Some(scheme) = scheme_of(attributes)? else { return Ok(Key::HssPublic(hss::PublicKey::new(value)?)) };
    let key = xmss::PublicKey::new(scheme, value)?;
    let stated = attributes.ulong(CKA_PARAMETER_SET).ok_or(Code::TemplateIncomplete)?;
    if stated != CK_ULONG::from(key.set().number) {
        Err(Code::TemplateInconsistent.because("CKA_PARAMETER_SET is not the set that CKA_VALUE names"))?;
    }
    Ok(Key::XmssPublic(key))
}

/// Checks a public key and adds what follows from its value. The codes of [`prepare_public`].
pub(super) fn normalise_public(attributes: &mut Attributes) -> Result<()> {
    if let Key::HssPublic(key) = prepare_public(attributes)? {
        hss_numbers(&key).into_iter().for_each(|attribute| attributes.put(attribute));
    }
    Ok(())
}

/// What an HSS public key says of its levels and its top tree.
pub(super) fn hss_numbers(key: &hss::PublicKey) -> [Attribute; 3] {
    [
        Attribute::ulong(CKA_HSS_LEVELS, key.levels() as CK_ULONG),
        Attribute::ulong(CKA_HSS_LMS_TYPE, key.kind().tree.into()),
        Attribute::ulong(CKA_HSS_LMOTS_TYPE, key.kind().one_time.into()),
    ]
}

/// A private key's value is its state: what comes from outside may be in use elsewhere too.
pub(super) fn refuse_private() -> Result<()> {
    Err(Code::TemplateInconsistent.because(
        "the private key of a stateful scheme does not come from outside, where it may still sign: generate it here",
    ))
}

fn public_value(attributes: &Attributes) -> Result<Vec<u8>> {
    let value = needed(attributes, CKA_VALUE)?;
    match attributes.ulong(CKA_CLASS) {
        Some(CKO_PUBLIC_KEY) => Ok(value.to_vec()),
        _ if scheme_of(attributes)?.is_none() => hss::PrivateKey::decode(value)?.public(),
        _ => Err(Code::KeyTypeInconsistent.into()),
    }
}

/// As `key_attributes::public_of`.
pub(super) fn public_of(attributes: &Attributes) -> Result<Vec<Attribute>> {
    let value = public_value(attributes)?;
    let numbers = match scheme_of(attributes)? {
        None => hss_numbers(&hss::PublicKey::new(&value)?).to_vec(),
        Some(_) => {
            vec![Attribute::ulong(CKA_PARAMETER_SET, attributes.ulong(CKA_PARAMETER_SET).ok_or(Code::GeneralError)?)]
        }
    };
    Ok(numbers.into_iter().chain([Attribute::bytes(CKA_VALUE, &value)]).collect())
}

/// As `key_attributes::public_key_info` (RFC 9708, RFC 9802).
pub(super) fn public_key_info(attributes: &Attributes) -> Result<Vec<u8>> {
    let scheme = match scheme_of(attributes)? {
        None => Tree::Hss,
        Some(Scheme::Xmss) => Tree::Xmss,
        Some(Scheme::XmssMt) => Tree::XmssMt,
    };
    keyinfo::encode_tree(scheme, &public_value(attributes)?)
}
