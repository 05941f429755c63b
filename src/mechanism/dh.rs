//! Diffie-Hellman over finite fields (PKCS#11 3.2, Diffie-Hellman): PKCS #3 and X9.42.

use cryptoki_sys::*;
use pkcs8::ObjectIdentifier;
use pkcs8::der::asn1::{AnyRef, OctetStringRef};
use pkcs8::der::{Decode, Tag, Tagged};

use super::ec::{Order, expand, truncated};
use super::finite_attributes::{group, parameters};
use super::key::Key;
use super::table::{Derivation, Derive, Does, Kem, NOTHING, Offer, Pair, ParamKind, Row, Shared};
use crate::crypto::digest::{Digest, Hasher};
use crate::crypto::finite::{MAX_BITS, MIN_BITS, generate_dh_parameters};
use crate::error::{Code, Result};
use crate::object::Attributes;
use crate::secret::SecretBytes;
use crate::token::{Attribute, Params};

const PAIRS: Does = Does { generate_pair: Some(generate_pair), ..NOTHING };

pub const ROWS: &[Row] = &[
    Row {
        flags: CKF_GENERATE_KEY_PAIR,
        does: PAIRS,
        ..row(CKM_DH_PKCS_KEY_PAIR_GEN, "CKM_DH_PKCS_KEY_PAIR_GEN", &[CKK_DH])
    },
    Row {
        flags: CKF_GENERATE,
        does: Does { generate: Some(generate_parameters), generates: CKO_DOMAIN_PARAMETERS, ..NOTHING },
        ..row(CKM_DH_PKCS_PARAMETER_GEN, "CKM_DH_PKCS_PARAMETER_GEN", &[CKK_DH])
    },
    derives(CKM_DH_PKCS_DERIVE, "CKM_DH_PKCS_DERIVE", &[CKK_DH], ParamKind::Integer, derive, shared_by_kem),
    Row {
        flags: CKF_GENERATE_KEY_PAIR,
        offer: Offer::Legacy,
        does: PAIRS,
        ..row(CKM_X9_42_DH_KEY_PAIR_GEN, "CKM_X9_42_DH_KEY_PAIR_GEN", &[CKK_X9_42_DH])
    },
    Row {
        offer: Offer::Legacy,
        // CK_X9_42_DH1_DERIVE_PARAMS has the layout of CK_ECDH1_DERIVE_PARAMS.
        ..derives(
            CKM_X9_42_DH_DERIVE,
            "CKM_X9_42_DH_DERIVE",
            &[CKK_X9_42_DH],
            ParamKind::Ecdh,
            derive_x9_42,
            shared_by_x9_42_kem,
        )
    },
];

/// What all rows share; sizes are those of the prime, in bits. Approved are the groups of RFC 7919 and RFC 3526 alone
/// (SP 800-56A r3, appendix D), which no row can tell from others.
const fn row(ty: CK_MECHANISM_TYPE, name: &'static str, keys: &'static [CK_KEY_TYPE]) -> Row {
    Row {
        ty,
        name,
        keys,
        size: (MIN_BITS as u64, MAX_BITS as u64),
        flags: 0,
        params: ParamKind::None,
        offer: Offer::On,
        approved: false,
        hash: None,
        does: NOTHING,
    }
}

const fn derives(
    ty: CK_MECHANISM_TYPE,
    name: &'static str,
    keys: &'static [CK_KEY_TYPE],
    params: ParamKind,
    derive: Derive,
    shared: Shared,
) -> Row {
    let does = Does { derive: Some(derive), kem: Some(KEM), shared, ..NOTHING };
    Row { flags: CKF_DERIVE | CKF_ENCAPSULATE | CKF_DECAPSULATE, params, does, ..row(ty, name, keys) }
}

/// A template's number of bits; `CKR_ATTRIBUTE_VALUE_INVALID`.
fn bits(template: &Attributes, ty: CK_ATTRIBUTE_TYPE) -> Result<Option<usize>> {
    let number = || template.ulong(ty).and_then(|bits| usize::try_from(bits).ok());
    Ok(template.get(ty).map(|_| number().ok_or(Code::AttributeValueInvalid)).transpose()?)
}

/// `CKR_TEMPLATE_INCOMPLETE` without the group's numbers, `CKR_DOMAIN_PARAMS_INVALID` where they make no group,
/// `CKR_ATTRIBUTE_VALUE_INVALID` for a `CKA_VALUE_BITS` that it has not.
fn generate_pair(_: &'static Row, _: &Params, public: &Attributes, private: &Attributes) -> Result<Pair> {
    let group = group(public).map_err(|error| match error.code() {
        Code::AttributeValueInvalid => error.recode(Code::DomainParamsInvalid),
        _ => error,
    })?;
    let value = group.generate(bits(private, CKA_VALUE_BITS)?)?;
    let mut own = parameters(public)?;
    own.push(Attribute::bytes(CKA_VALUE, value.expose()));
    Ok(Pair { public: vec![Attribute::bytes(CKA_VALUE, &group.public(value.expose())?)], private: own })
}

/// `CKR_TEMPLATE_INCOMPLETE` without `CKA_PRIME_BITS`, `CKR_ATTRIBUTE_VALUE_INVALID` where it is out of range.
fn generate_parameters(_: &'static Row, _: &Params, template: &Attributes) -> Result<Vec<Attribute>> {
    let bits = bits(template, CKA_PRIME_BITS)?.ok_or(Code::TemplateIncomplete)?;
    let (prime, base) = generate_dh_parameters(bits)?;
    Ok(vec![Attribute::bytes(CKA_PRIME, &prime), Attribute::bytes(CKA_BASE, &base)])
}

/// The shared secret, as long as the prime; `CKR_PUBLIC_KEY_INVALID` where the other party's value is not one of the group.
fn agree(base: &Key, public: &[u8]) -> Result<SecretBytes> {
    base.dh_private()?.agree(public).map_err(|error| match error.code() {
        Code::AttributeValueInvalid => error.recode(Code::PublicKeyInvalid),
        _ => error,
    })
}

/// As a KEM the public value of an ephemeral pair is the ciphertext, as long as the prime.
const KEM: Kem = Kem { ciphertext_len, encapsulate, decapsulate };

fn ciphertext_len(key: &Key) -> Result<usize> {
    Ok(key.dh_public()?.value_len())
}

/// `CKR_MECHANISM_PARAM_INVALID` where the parameters bring a public value: the function's own argument is that.
fn without_public(params: &Params) -> Result<()> {
    match params {
        Params::Data(public) | Params::Ecdh { public, .. } if public.is_empty() => Ok(()),
        _ => Err(Code::MechanismParamInvalid.into()),
    }
}

fn encapsulate(params: &Params, key: &Key) -> Result<(Vec<u8>, SecretBytes)> {
    without_public(params)?;
    key.dh_public()?.encapsulate()
}

fn decapsulate(params: &Params, key: &Key, ciphertext: &[u8]) -> Result<SecretBytes> {
    without_public(params)?;
    agree(key, ciphertext)
}

fn shared_by_kem(_: &Params, secret: SecretBytes, length: Option<usize>) -> Result<SecretBytes> {
    truncated(secret, length)
}

fn shared_by_x9_42_kem(params: &Params, secret: SecretBytes, length: Option<usize>) -> Result<SecretBytes> {
    let Params::Ecdh { kdf, shared, .. } = params else { return Err(Code::MechanismParamInvalid.into()) };
    finished(secret, *kdf, shared, length)
}

fn derive(from: &Derivation<'_>) -> Result<SecretBytes> {
    let Params::Data(public) = from.params else { return Err(Code::MechanismParamInvalid.into()) };
    truncated(agree(from.base, public)?, from.length)
}

fn derive_x9_42(from: &Derivation<'_>) -> Result<SecretBytes> {
    let Params::Ecdh { kdf, shared, public } = from.params else { return Err(Code::MechanismParamInvalid.into()) };
    finished(agree(from.base, public)?, *kdf, shared, from.length)
}

/// What the parameters make of an agreed secret. `CKR_MECHANISM_PARAM_INVALID` for an unknown function, or one without
/// the other information that it needs.
fn finished(secret: SecretBytes, kdf: CK_EC_KDF_TYPE, shared: &[u8], length: Option<usize>) -> Result<SecretBytes> {
    let wanted = length.unwrap_or(secret.len());
    match kdf {
        CKD_NULL if shared.is_empty() => truncated(secret, length),
        CKD_SHA1_KDF_CONCATENATE => expand(Digest::Sha1, Order::SecretFirst, secret.expose(), shared, wanted),
        CKD_SHA1_KDF_ASN1 => expand_asn1(secret.expose(), shared, counter_of(shared)?, wanted),
        _ => Err(Code::MechanismParamInvalid.into()),
    }
}

/// The longest key that is derived in this way, in bytes: no key type needs more.
const MAX_EXPANDED: usize = 1 << 16;

/// SHA-1 over the secret and OtherInfo, whose counter rises from 1 (RFC 2631, 2.1.2). `CKR_KEY_SIZE_RANGE`.
fn expand_asn1(secret: &[u8], other: &[u8], counter: usize, length: usize) -> Result<SecretBytes> {
    if !(1..=MAX_EXPANDED).contains(&length) {
        return Err(Code::KeySizeRange.into());
    }
    let mut out = SecretBytes::zeroed(length);
    let mut other = other.to_vec();
    let mut hasher = Hasher::new(Digest::Sha1);
    for (number, chunk) in (1u32..).zip(out.expose_mut().chunks_mut(Digest::Sha1.len())) {
        let place = other.get_mut(counter..).and_then(<[u8]>::first_chunk_mut).ok_or(Code::GeneralError)?;
        *place = number.to_be_bytes();
        hasher.update(secret);
        hasher.update(&other);
        hasher.finish_into(chunk);
    }
    Ok(out)
}

/// Where the counter's four bytes stand in an OtherInfo: the OCTET STRING behind the OID in its first SEQUENCE.
fn counter_of(other: &[u8]) -> Result<usize> {
    let invalid = |_| Code::MechanismParamInvalid.because("the other information is no OtherInfo of X9.42");
    let inside = |tag: Tag, any: AnyRef<'_>| if any.tag() == tag { Ok(()) } else { Err(tag.value_error()) };
    let find = || {
        let whole = AnyRef::from_der(other)?;
        inside(Tag::Sequence, whole)?;
        let (key_info, _) = AnyRef::from_der_partial(whole.value())?;
        inside(Tag::Sequence, key_info)?;
        let (_, behind): (ObjectIdentifier, _) = ObjectIdentifier::from_der_partial(key_info.value())?;
        let counter = <&OctetStringRef>::from_der(behind)?.as_bytes();
        Ok::<_, pkcs8::der::Error>((counter.as_ptr() as usize, counter.len()))
    };
    let (address, len) = find().map_err(invalid)?;
    match address.checked_sub(other.as_ptr() as usize) {
        Some(at) if len == 4 => Ok(at),
        _ => Err(Code::MechanismParamInvalid.because("the counter in an OtherInfo of X9.42 has four bytes")),
    }
}

#[cfg(test)]
pub(super) mod tests;
