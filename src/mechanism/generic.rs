//! Generic secrets: generation, and the simple derivations (PKCS#11 3.2, "Generic secret key", "Miscellaneous simple key
//! derivation mechanisms").

use cryptoki_sys::*;
use zeroize::Zeroizing;

use super::secret_key::SecretKey;
use super::table::{Derivation, Derive, Does, NOTHING, Offer, ParamKind, Row};
use crate::crypto::random;
use crate::error::{Code, Result};
use crate::object::Attributes;
use crate::object::build::Heritage;
use crate::secret::SecretBytes;
use crate::token::{Attribute, Params, Value};

/// The longest secret that is generated, in bytes.
pub(super) const MAX_SECRET: usize = 1 << 16;

/// Key types of secret keys that hash-based and simple derivations start from.
pub(super) const SECRET_KEYS: &[CK_KEY_TYPE] = &[
    CKK_GENERIC_SECRET,
    CKK_AES,
    CKK_SHA_1_HMAC,
    CKK_SHA224_HMAC,
    CKK_SHA256_HMAC,
    CKK_SHA384_HMAC,
    CKK_SHA512_HMAC,
    CKK_SHA512_224_HMAC,
    CKK_SHA512_256_HMAC,
    CKK_SHA3_224_HMAC,
    CKK_SHA3_256_HMAC,
    CKK_SHA3_384_HMAC,
    CKK_SHA3_512_HMAC,
    CKK_SHA512_T_HMAC,
    CKK_BLAKE2B_160_HMAC,
    CKK_BLAKE2B_256_HMAC,
    CKK_BLAKE2B_384_HMAC,
    CKK_BLAKE2B_512_HMAC,
    CKK_MD5_HMAC,
    CKK_RIPEMD160_HMAC,
    CKK_HKDF,
    CKK_CHACHA20,
    CKK_POLY1305,
    CKK_SALSA20,
    CKK_AES_XTS,
    CKK_DES,
    CKK_DES2,
    CKK_DES3,
    CKK_CAMELLIA,
    CKK_ARIA,
    CKK_SEED,
];

pub const ROWS: &[Row] = &[
    Row {
        ty: CKM_GENERIC_SECRET_KEY_GEN,
        name: "CKM_GENERIC_SECRET_KEY_GEN",
        keys: &[CKK_GENERIC_SECRET],
        // In bits, as this mechanism alone has it.
        size: (8, 8 * MAX_SECRET as CK_ULONG),
        flags: CKF_GENERATE,
        params: ParamKind::None,
        offer: Offer::On,
        approved: true,
        hash: None,
        does: Does { generate: Some(generate_any_length), ..NOTHING },
    },
    // SP 800-133 r2, 6.3, approves the combination of keys; data that is no key is not covered.
    derivation(
        CKM_CONCATENATE_BASE_AND_KEY,
        "CKM_CONCATENATE_BASE_AND_KEY",
        ParamKind::Object,
        true,
        concatenate_base_and_key,
    ),
    derivation(
        CKM_CONCATENATE_BASE_AND_DATA,
        "CKM_CONCATENATE_BASE_AND_DATA",
        ParamKind::Data,
        false,
        concatenate_base_and_data,
    ),
    derivation(
        CKM_CONCATENATE_DATA_AND_BASE,
        "CKM_CONCATENATE_DATA_AND_BASE",
        ParamKind::Data,
        false,
        concatenate_data_and_base,
    ),
    derivation(CKM_XOR_BASE_AND_DATA, "CKM_XOR_BASE_AND_DATA", ParamKind::Data, false, xor_base_and_data),
    derivation(CKM_EXTRACT_KEY_FROM_KEY, "CKM_EXTRACT_KEY_FROM_KEY", ParamKind::Number, false, extract),
];

const fn derivation(
    ty: CK_MECHANISM_TYPE,
    name: &'static str,
    params: ParamKind,
    approved: bool,
    derive: Derive,
) -> Row {
    Row {
        ty,
        name,
        keys: SECRET_KEYS,
        size: (1, MAX_SECRET as CK_ULONG),
        flags: CKF_DERIVE,
        params,
        offer: Offer::On,
        approved,
        hash: None,
        does: Does { derive: Some(derive), heritage: Heritage::bound, ..NOTHING },
    }
}

/// A fresh secret of `CKA_VALUE_LEN` bytes. `CKR_TEMPLATE_INCOMPLETE` without that attribute,
/// `CKR_ATTRIBUTE_VALUE_INVALID` where `fits` refuses it.
pub(super) fn generate_value(template: &Attributes, fits: impl FnOnce(usize) -> bool) -> Result<Vec<Attribute>> {
    template.get(CKA_VALUE_LEN).ok_or(Code::TemplateIncomplete)?;
    let len = template.ulong(CKA_VALUE_LEN).and_then(|len| usize::try_from(len).ok());
    let len = len.filter(|&len| fits(len)).ok_or(Code::AttributeValueInvalid)?;
    fresh(len)
}

fn fresh(len: usize) -> Result<Vec<Attribute>> {
    let mut value = Zeroizing::new(vec![0; len]);
    random::fill(&mut value)?;
    Ok(vec![Attribute { ty: CKA_VALUE, value: Value::Bytes(value) }])
}

/// For key types that take any length: 1 to [`MAX_SECRET`] bytes.
pub(super) fn generate_any_length(_: &'static Row, _: &Params, template: &Attributes) -> Result<Vec<Attribute>> {
    generate_value(template, |len| (1..=MAX_SECRET).contains(&len))
}

/// For key types of one length: that of the row's keys, in bytes. A template that gives another is not consistent with
/// the key type: `CKR_TEMPLATE_INCONSISTENT`.
pub(super) fn generate_fixed(row: &'static Row, _: &Params, template: &Attributes) -> Result<Vec<Attribute>> {
    if template.get(CKA_VALUE_LEN).is_some() && template.ulong(CKA_VALUE_LEN) != Some(row.size.0) {
        return Err(Code::TemplateInconsistent.into());
    }
    fresh(usize::try_from(row.size.0).map_err(|_| Code::GeneralError)?)
}

/// The leading `length` bytes of `material`, or all; `CKR_KEY_SIZE_RANGE` where there are fewer.
pub(super) fn leading(material: &[u8], length: Option<usize>) -> Result<SecretBytes> {
    Ok(SecretBytes::copy_from(material.get(..length.unwrap_or(material.len())).ok_or(Code::KeySizeRange)?))
}

fn data<'a>(from: &'a Derivation<'_>) -> Result<&'a [u8]> {
    match from.params {
        Params::Data(data) => Ok(data),
        _ => Err(Code::MechanismParamInvalid.into()),
    }
}

fn joined(first: &[u8], second: &[u8], length: Option<usize>) -> Result<SecretBytes> {
    leading(&Zeroizing::new([first, second].concat()), length)
}

fn concatenate_base_and_key(from: &Derivation<'_>) -> Result<SecretBytes> {
    let other = SecretKey::of(Some(from.others.first().ok_or(Code::MechanismParamInvalid)?))?;
    joined(SecretKey::of(Some(from.base))?.value(), other.value(), from.length)
}

fn concatenate_base_and_data(from: &Derivation<'_>) -> Result<SecretBytes> {
    joined(SecretKey::of(Some(from.base))?.value(), data(from)?, from.length)
}

fn concatenate_data_and_base(from: &Derivation<'_>) -> Result<SecretBytes> {
    joined(data(from)?, SecretKey::of(Some(from.base))?.value(), from.length)
}

fn xor_base_and_data(from: &Derivation<'_>) -> Result<SecretBytes> {
    let base = SecretKey::of(Some(from.base))?.value();
    let mixed: Zeroizing<Vec<u8>> = Zeroizing::new(base.iter().zip(data(from)?).map(|(a, b)| a ^ b).collect());
    leading(&mixed, from.length)
}

/// The key's bits from a given one on, the first following the last. `CKR_TEMPLATE_INCOMPLETE` without a length.
fn extract(from: &Derivation<'_>) -> Result<SecretBytes> {
    let base = SecretKey::of(Some(from.base))?.value();
    let Params::Number(bit) = *from.params else { return Err(Code::MechanismParamInvalid.into()) };
    let bit = usize::try_from(bit).ok().filter(|bit| bit / 8 < base.len()).ok_or(Code::MechanismParamInvalid)?;
    let length = from.length.ok_or(Code::TemplateIncomplete)?;
    if length > base.len() {
        return Err(Code::KeySizeRange.into());
    }
    let mut bytes = base.iter().cycle().skip(bit / 8).copied();
    let mut pair = u16::from(bytes.next().unwrap_or_default());
    let mut out = SecretBytes::zeroed(length);
    for (byte, next) in out.expose_mut().iter_mut().zip(bytes) {
        pair = (pair << 8) | u16::from(next);
        *byte = ((pair << (bit % 8)) >> 8) as u8;
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::key::Key;
    use super::super::table::row;
    use super::*;
    use crate::token::ObjectId;

    fn secret(value: &[u8]) -> Arc<Key> {
        Arc::new(Key::Secret(SecretKey::new(SecretBytes::copy_from(value))))
    }

    fn derive(ty: CK_MECHANISM_TYPE, params: Params, base: &[u8], length: Option<usize>) -> Result<Vec<u8>, Code> {
        let (row, base, other) = (row(ty).unwrap(), secret(base), secret(&[0x89, 0xab, 0xcd, 0xef]));
        let others = [other];
        let from = Derivation { others: &others, ..Derivation::new(row, &params, &base, length) };
        row.does.derive.unwrap()(&from).map(|value| value.expose().clone()).map_err(|e| e.code())
    }

    fn bytes(data: &[u8]) -> Params {
        Params::Data(data.into())
    }

    /// The examples of the specification's own sections.
    #[test]
    fn simple_derivations_are_those_of_the_specification() {
        let (base, other) = ([0x01, 0x23, 0x45, 0x67], [0x89, 0xab, 0xcd, 0xef]);
        let forth = vec![0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef];
        let back = vec![0x89, 0xab, 0xcd, 0xef, 0x01, 0x23, 0x45, 0x67];
        assert_eq!(derive(CKM_CONCATENATE_BASE_AND_KEY, Params::Object(ObjectId(1)), &base, None), Ok(forth.clone()));
        assert_eq!(derive(CKM_CONCATENATE_BASE_AND_DATA, bytes(&other), &base, None), Ok(forth.clone()));
        assert_eq!(derive(CKM_CONCATENATE_DATA_AND_BASE, bytes(&other), &base, None), Ok(back));
        assert_eq!(derive(CKM_XOR_BASE_AND_DATA, bytes(&other), &base, None), Ok(vec![0x88; 4]));
        assert_eq!(derive(CKM_XOR_BASE_AND_DATA, bytes(&other[..3]), &base, None), Ok(vec![0x88; 3]));
        let number = Params::Number(21);
        let example = [0x32, 0x9f, 0x84, 0xa9];
        assert_eq!(derive(CKM_EXTRACT_KEY_FROM_KEY, number.clone(), &example, Some(2)), Ok(vec![0x95, 0x26]));
        assert_eq!(derive(CKM_EXTRACT_KEY_FROM_KEY, Params::Number(0), &example, Some(4)), Ok(example.to_vec()));
        // Lengths: a part, and more than there is.
        assert_eq!(derive(CKM_CONCATENATE_BASE_AND_DATA, bytes(&other), &base, Some(5)), Ok(forth[..5].to_vec()));
        assert_eq!(derive(CKM_CONCATENATE_BASE_AND_DATA, bytes(&other), &base, Some(9)), Err(Code::KeySizeRange));
        assert_eq!(derive(CKM_XOR_BASE_AND_DATA, bytes(&other[..3]), &base, Some(4)), Err(Code::KeySizeRange));
        assert_eq!(derive(CKM_EXTRACT_KEY_FROM_KEY, number.clone(), &example, Some(5)), Err(Code::KeySizeRange));
        assert_eq!(derive(CKM_EXTRACT_KEY_FROM_KEY, number, &example, None), Err(Code::TemplateIncomplete));
        for outside in [32, u64::MAX] {
            let refused = derive(CKM_EXTRACT_KEY_FROM_KEY, Params::Number(outside), &example, Some(1));
            assert_eq!(refused, Err(Code::MechanismParamInvalid));
        }
    }

    #[test]
    fn generation_takes_the_length_of_the_template() {
        let row = row(CKM_GENERIC_SECRET_KEY_GEN).unwrap();
        let generate =
            |template: Vec<Attribute>| row.does.generate.unwrap()(row, &Params::None, &template.into_iter().collect());
        let code = |template| generate(template).unwrap_err().code();
        let made: Attributes = generate(vec![Attribute::ulong(CKA_VALUE_LEN, 33)]).unwrap().into_iter().collect();
        let again: Attributes = generate(vec![Attribute::ulong(CKA_VALUE_LEN, 33)]).unwrap().into_iter().collect();
        assert_eq!(made.bytes(CKA_VALUE).unwrap().len(), 33);
        assert_ne!(made, again);
        assert_eq!(code(vec![]), Code::TemplateIncomplete);
        for bad in [0, MAX_SECRET as u64 + 1, u64::MAX] {
            assert_eq!(code(vec![Attribute::ulong(CKA_VALUE_LEN, bad)]), Code::AttributeValueInvalid);
        }
        assert_eq!(code(vec![Attribute::bytes(CKA_VALUE_LEN, &[1])]), Code::AttributeValueInvalid);
    }
}
