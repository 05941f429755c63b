//! What the attributes of ML-KEM, ML-DSA and SLH-DSA keys say (PKCS#11 3.2: ML-KEM, ML-DSA, SLH-DSA key objects).

use cryptoki_sys::*;

use super::key::Key;
use super::key_attributes::needed;
use crate::crypto::pqc::{self, Given, Material, Private, Set};
use crate::crypto::{ml_dsa, ml_kem, slh_dsa};
use crate::error::{Code, Result};
use crate::object::Attributes;
use crate::secret::SecretBytes;
use crate::token::Attribute;

/// Whether a key type is one of this file's.
pub(super) fn is_pqc(key_type: CK_KEY_TYPE) -> bool {
    matches!(key_type, CKK_ML_KEM | CKK_ML_DSA | CKK_SLH_DSA)
}

/// Every parameter set, with its key type and its number there (`CKP_`).
const SETS: &[(CK_KEY_TYPE, CK_ULONG, Set)] = &[
    (CKK_ML_KEM, CKP_ML_KEM_512, Set::MlKem(ml_kem::Set::MlKem512)),
    (CKK_ML_KEM, CKP_ML_KEM_768, Set::MlKem(ml_kem::Set::MlKem768)),
    (CKK_ML_KEM, CKP_ML_KEM_1024, Set::MlKem(ml_kem::Set::MlKem1024)),
    (CKK_ML_DSA, CKP_ML_DSA_44, Set::MlDsa(ml_dsa::Set::MlDsa44)),
    (CKK_ML_DSA, CKP_ML_DSA_65, Set::MlDsa(ml_dsa::Set::MlDsa65)),
    (CKK_ML_DSA, CKP_ML_DSA_87, Set::MlDsa(ml_dsa::Set::MlDsa87)),
    (CKK_SLH_DSA, CKP_SLH_DSA_SHA2_128S, Set::SlhDsa(slh_dsa::Set::Sha2_128s)),
    (CKK_SLH_DSA, CKP_SLH_DSA_SHAKE_128S, Set::SlhDsa(slh_dsa::Set::Shake128s)),
    (CKK_SLH_DSA, CKP_SLH_DSA_SHA2_128F, Set::SlhDsa(slh_dsa::Set::Sha2_128f)),
    (CKK_SLH_DSA, CKP_SLH_DSA_SHAKE_128F, Set::SlhDsa(slh_dsa::Set::Shake128f)),
    (CKK_SLH_DSA, CKP_SLH_DSA_SHA2_192S, Set::SlhDsa(slh_dsa::Set::Sha2_192s)),
    (CKK_SLH_DSA, CKP_SLH_DSA_SHAKE_192S, Set::SlhDsa(slh_dsa::Set::Shake192s)),
    (CKK_SLH_DSA, CKP_SLH_DSA_SHA2_192F, Set::SlhDsa(slh_dsa::Set::Sha2_192f)),
    (CKK_SLH_DSA, CKP_SLH_DSA_SHAKE_192F, Set::SlhDsa(slh_dsa::Set::Shake192f)),
    (CKK_SLH_DSA, CKP_SLH_DSA_SHA2_256S, Set::SlhDsa(slh_dsa::Set::Sha2_256s)),
    (CKK_SLH_DSA, CKP_SLH_DSA_SHAKE_256S, Set::SlhDsa(slh_dsa::Set::Shake256s)),
    (CKK_SLH_DSA, CKP_SLH_DSA_SHA2_256F, Set::SlhDsa(slh_dsa::Set::Sha2_256f)),
    (CKK_SLH_DSA, CKP_SLH_DSA_SHAKE_256F, Set::SlhDsa(slh_dsa::Set::Shake256f)),
];

/// The set that `CKA_PARAMETER_SET` names. `CKR_TEMPLATE_INCOMPLETE`, `CKR_ATTRIBUTE_VALUE_INVALID` where it is no number,
/// `CKR_PARAMETER_SET_NOT_SUPPORTED`.
pub(super) fn set_of(key_type: CK_KEY_TYPE, attributes: &Attributes) -> Result<Set> {
    needed(attributes, CKA_PARAMETER_SET)?;
    let number = attributes.ulong(CKA_PARAMETER_SET).ok_or(Code::AttributeValueInvalid)?;
    let row = SETS.iter().find(|row| (row.0, row.1) == (key_type, number));
    Ok(row.ok_or(Code::ParameterSetNotSupported)?.2)
}

fn set(attributes: &Attributes) -> Result<Set> {
    set_of(attributes.ulong(CKA_KEY_TYPE).ok_or(Code::KeyTypeInconsistent)?, attributes)
}

/// `CKA_KEY_TYPE` and `CKA_PARAMETER_SET`.
fn numbers_of(set: Set) -> Result<(CK_KEY_TYPE, CK_ULONG)> {
    let row = SETS.iter().find(|row| row.2 == set).ok_or(Code::GeneralError)?;
    Ok((row.0, row.1))
}

/// An empty value counts as none: some applications write the attributes that they do not know so.
fn given(attributes: &Attributes) -> Given<'_> {
    let get = |ty| attributes.bytes(ty).filter(|value| !value.is_empty());
    Given { seed: get(CKA_SEED), value: get(CKA_VALUE) }
}

fn parameter_set(set: Set) -> Result<Attribute> {
    Ok(Attribute::ulong(CKA_PARAMETER_SET, numbers_of(set)?.1))
}

/// A public key's own attributes.
pub(super) fn public_attributes(set: Set, key: &[u8]) -> Result<Vec<Attribute>> {
    Ok(vec![parameter_set(set)?, Attribute::bytes(CKA_VALUE, key)])
}

/// A private key's own attributes.
pub(super) fn private_attributes(set: Set, key: &Material) -> Result<Vec<Attribute>> {
    let seed = key.seed.as_ref().map(|seed| Attribute::bytes(CKA_SEED, seed.expose()));
    let value = Attribute::bytes(CKA_VALUE, key.value.expose());
    Ok([Some(parameter_set(set)?), seed, Some(value)].into_iter().flatten().collect())
}

/// The public key. The codes of [`set_of`]; `CKR_TEMPLATE_INCOMPLETE`, `CKR_ATTRIBUTE_VALUE_INVALID`.
pub(super) fn check_public(attributes: &Attributes) -> Result<()> {
    set(attributes)?.check_public(needed(attributes, CKA_VALUE)?)
}

/// Adds `CKA_VALUE` where only the seed was given. The codes of [`set_of`] and of `Set::complete`.
pub(super) fn normalise_private(attributes: &mut Attributes) -> Result<()> {
    let set = set(attributes)?;
    let key = set.complete(given(attributes))?;
    attributes.remove(CKA_SEED);
    private_attributes(set, &key)?.into_iter().for_each(|attribute| attributes.put(attribute));
    Ok(())
}

/// Size of a key in bits, the same for both halves of a pair: of its public half, as the mechanisms count it.
pub(super) fn bits(attributes: &Attributes) -> Option<u64> {
    u64::try_from(set(attributes).ok()?.public_len()).ok()?.checked_mul(8)
}

/// The set and the bytes of a public key, of a public or a private key.
fn public(attributes: &Attributes) -> Result<(Set, Vec<u8>)> {
    let set = set(attributes)?;
    let public = match attributes.ulong(CKA_CLASS) {
        Some(CKO_PUBLIC_KEY) => needed(attributes, CKA_VALUE)?.to_vec(),
        _ => match set {
            Set::MlKem(set) => ml_kem::PrivateKey::from_given(set, given(attributes))?.public()?,
            Set::MlDsa(set) => ml_dsa::PrivateKey::from_given(set, given(attributes))?.public()?,
            Set::SlhDsa(set) => slh_dsa::PrivateKey::from_given(set, given(attributes))?.public()?,
        },
    };
    Ok((set, public))
}

/// As `key_attributes::public_of`.
pub(super) fn public_of(attributes: &Attributes) -> Result<Vec<Attribute>> {
    let (set, public) = public(attributes)?;
    public_attributes(set, &public)
}

/// As `key_attributes::public_key_info`.
pub(super) fn public_key_info(attributes: &Attributes) -> Result<Vec<u8>> {
    let (set, public) = public(attributes)?;
    pqc::encode_public(set, &public)
}

/// As `key_attributes::private_to_pkcs8`; with the seed where the object has it.
pub(super) fn to_pkcs8(attributes: &Attributes) -> Result<SecretBytes> {
    pqc::encode_private(set(attributes)?, given(attributes).seed, needed(attributes, CKA_VALUE)?)
}

/// The attributes of a key in a PrivateKeyInfo, `CKA_KEY_TYPE` first, not yet normalised; `None` where its algorithm is
/// none of this file's. `CKR_WRAPPED_KEY_INVALID`.
pub(super) fn from_pkcs8(der: &[u8]) -> Result<Option<Vec<Attribute>>> {
    pqc::decode_private(der, |set, given| {
        let (key_type, number) = numbers_of(set)?;
        let numbers = [Attribute::ulong(CKA_KEY_TYPE, key_type), Attribute::ulong(CKA_PARAMETER_SET, number)];
        let seed = given.seed.map(|seed| Attribute::bytes(CKA_SEED, seed));
        let value = given.value.map(|value| Attribute::bytes(CKA_VALUE, value));
        Ok(numbers.into_iter().chain(seed).chain(value).collect())
    })
}

pub(super) fn prepare_public(attributes: &Attributes) -> Result<Key> {
    let value = needed(attributes, CKA_VALUE)?;
    Ok(match set(attributes)? {
        Set::MlKem(set) => Key::MlKemPublic(ml_kem::PublicKey::new(set, value)?),
        Set::MlDsa(set) => Key::MlDsaPublic(ml_dsa::PublicKey::new(set, value)?),
        Set::SlhDsa(set) => Key::SlhDsaPublic(slh_dsa::PublicKey::new(set, value)?),
    })
}

pub(super) fn prepare_private(attributes: &Attributes) -> Result<Key> {
    let given = given(attributes);
    Ok(match set(attributes)? {
        Set::MlKem(set) => Key::MlKemPrivate(ml_kem::PrivateKey::from_given(set, given)?),
        Set::MlDsa(set) => Key::MlDsaPrivate(ml_dsa::PrivateKey::from_given(set, given)?),
        Set::SlhDsa(set) => Key::SlhDsaPrivate(slh_dsa::PrivateKey::from_given(set, given)?),
    })
}
