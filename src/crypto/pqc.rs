//! What ML-KEM, ML-DSA and SLH-DSA have in common: how their private keys are given, and their DER (RFC 9881, RFC 9935,
//! RFC 9909).

use pkcs8::der::asn1::{AnyRef, BitStringRef, OctetStringRef};
use pkcs8::der::{self, Decode, Encode, Tag, TagNumber, Tagged};
use pkcs8::spki::{AlgorithmIdentifierRef, SubjectPublicKeyInfoRef};
use pkcs8::{ObjectIdentifier, PrivateKeyInfoRef};
use zeroize::Zeroizing;

use super::{ml_dsa, ml_kem, slh_dsa};
use crate::error::{Code, Error, Result};
use crate::secret::{Secret, SecretBytes};

/// Whether a signature takes randomness.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hedge {
    Random,
    Deterministic,
}

/// An algorithm with its parameter set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Set {
    MlKem(ml_kem::Set),
    MlDsa(ml_dsa::Set),
    SlhDsa(slh_dsa::Set),
}

impl Set {
    pub fn all() -> impl Iterator<Item = Set> {
        let kem = ml_kem::Set::ALL.iter().copied().map(Set::MlKem);
        let dsa = ml_dsa::Set::ALL.iter().copied().map(Set::MlDsa);
        kem.chain(dsa).chain(slh_dsa::Set::ALL.iter().copied().map(Set::SlhDsa))
    }

    pub const fn oid(self) -> ObjectIdentifier {
        match self {
            Set::MlKem(set) => set.oid(),
            Set::MlDsa(set) => set.oid(),
            Set::SlhDsa(set) => set.oid(),
        }
    }

    /// Length in bytes of the public key.
    pub const fn public_len(self) -> usize {
        match self {
            Set::MlKem(set) => set.public_len(),
            Set::MlDsa(set) => set.public_len(),
            Set::SlhDsa(set) => set.public_len(),
        }
    }

    /// Length in bytes of the seed; `None` for SLH-DSA, which has none apart from its private key.
    const fn seed_len(self) -> Option<usize> {
        match self {
            Set::MlKem(_) => Some(ml_kem::SEED_LEN),
            Set::MlDsa(_) => Some(ml_dsa::SEED_LEN),
            Set::SlhDsa(_) => None,
        }
    }

    /// `CKR_ATTRIBUTE_VALUE_INVALID` unless `key` is a public key of this set, as far as can be seen.
    pub fn check_public(self, key: &[u8]) -> Result<()> {
        match self {
            Set::MlKem(set) => ml_kem::PublicKey::new(set, key).map(|_| ()),
            Set::MlDsa(set) => ml_dsa::PublicKey::new(set, key).map(|_| ()),
            Set::SlhDsa(set) => slh_dsa::PublicKey::new(set, key).map(|_| ()),
        }
    }

    /// A new key.
    pub fn generate(self) -> Result<Material> {
        match self {
            Set::MlKem(set) => Material::of(ml_kem::PrivateKey::generate(set)?),
            Set::MlDsa(set) => Material::of(ml_dsa::PrivateKey::generate(set)?),
            Set::SlhDsa(set) => Material::of(slh_dsa::PrivateKey::generate(set)?),
        }
    }

    /// The whole of a key of which `given` came from outside, checked. The codes of [`Private::from_given`], and
    /// `CKR_ATTRIBUTE_VALUE_INVALID` for an SLH-DSA key whose root is wrong.
    pub fn complete(self, given: Given) -> Result<Material> {
        match self {
            Set::MlKem(set) => Material::checked(ml_kem::PrivateKey::from_given(set, given)?),
            Set::MlDsa(set) => Material::checked(ml_dsa::PrivateKey::from_given(set, given)?),
            Set::SlhDsa(set) => Material::checked(slh_dsa::PrivateKey::from_given(set, given)?),
        }
    }
}

/// A private key as someone has it: by its seed, by its value, or both.
#[derive(Clone, Copy)]
pub struct Given<'a> {
    pub seed: Option<&'a [u8]>,
    pub value: Option<&'a [u8]>,
}

/// What a private key of each algorithm here can do.
pub trait Private: Sized {
    type Set: Copy;

    fn generate(set: Self::Set) -> Result<Self>;

    /// `CKR_ATTRIBUTE_VALUE_INVALID` where the length is wrong.
    fn from_seed(set: Self::Set, seed: &[u8]) -> Result<Self>;

    /// `CKR_ATTRIBUTE_VALUE_INVALID` where the length is wrong or the parts do not belong together.
    fn from_value(set: Self::Set, value: &[u8]) -> Result<Self>;

    /// Checks for a key from outside that would cost too much at each use.
    fn check(&self) -> Result<()> {
        Ok(())
    }

    fn seed(&self) -> Option<&[u8]>;

    fn value(&self) -> &[u8];

    /// The public key.
    fn public(&self) -> Result<Vec<u8>>;

    /// `CKR_TEMPLATE_INCOMPLETE` where nothing was given, `CKR_TEMPLATE_INCONSISTENT` where seed and value are of two
    /// keys, `CKR_ATTRIBUTE_VALUE_INVALID` where one of them is of none.
    fn from_given(set: Self::Set, given: Given) -> Result<Self> {
        let Some(seed) = given.seed else {
            return Self::from_value(set, given.value.ok_or(Code::TemplateIncomplete)?);
        };
        let key = Self::from_seed(set, seed)?;
        let same = |value| SecretBytes::copy_from(value) == SecretBytes::copy_from(key.value());
        if !given.value.is_none_or(same) {
            Err(Code::TemplateInconsistent.because("the private key's value is not the one that its seed makes"))?;
        }
        Ok(key)
    }
}

/// All that there is to a key.
pub struct Material {
    pub seed: Option<SecretBytes>,
    pub value: SecretBytes,
    pub public: Vec<u8>,
}

impl Material {
    fn of(key: impl Private) -> Result<Material> {
        Ok(Material {
            seed: key.seed().map(SecretBytes::copy_from),
            value: SecretBytes::copy_from(key.value()),
            public: key.public()?,
        })
    }

    fn checked(key: impl Private) -> Result<Material> {
        key.check()?;
        Material::of(key)
    }
}

/// The values come from ourselves: that they cannot be encoded is our own fault.
fn unencodable(_: der::Error) -> Error {
    Code::GeneralError.into()
}

fn algorithm(set: Set) -> AlgorithmIdentifierRef<'static> {
    AlgorithmIdentifierRef { oid: set.oid(), parameters: None }
}

/// SubjectPublicKeyInfo.
pub fn encode_public(set: Set, key: &[u8]) -> Result<Vec<u8>> {
    let info = |subject_public_key| SubjectPublicKeyInfoRef { algorithm: algorithm(set), subject_public_key }.to_der();
    BitStringRef::from_bytes(key).and_then(info).map_err(unencodable)
}

/// PrivateKeyInfo, version 1: with seed and value where both are known, which every reader can use.
pub fn encode_private(set: Set, seed: Option<&[u8]>, value: &[u8]) -> Result<SecretBytes> {
    let key = match (set, seed) {
        (Set::SlhDsa(_), _) => Ok(Zeroizing::new(value.to_vec())),
        (_, None) => OctetStringRef::new(value).and_then(|value| value.to_der()).map(Zeroizing::new),
        (_, Some(seed)) => both(seed, value),
    };
    let info = |key: Zeroizing<Vec<u8>>| PrivateKeyInfoRef::new(algorithm(set), OctetStringRef::new(&key)?).to_der();
    key.and_then(info).map(Secret::new).map_err(unencodable)
}

/// SEQUENCE { seed OCTET STRING, expandedKey OCTET STRING }
fn both(seed: &[u8], value: &[u8]) -> der::Result<Zeroizing<Vec<u8>>> {
    let (seed, value) = (OctetStringRef::new(seed)?, OctetStringRef::new(value)?);
    let len = usize::try_from((seed.encoded_len()? + value.encoded_len()?)?)?;
    let mut contents = Zeroizing::new(Vec::with_capacity(len));
    seed.encode_to_vec(&mut contents)?;
    value.encode_to_vec(&mut contents)?;
    Ok(Zeroizing::new(AnyRef::new(Tag::Sequence, &contents)?.to_der()?))
}

/// A PrivateKeyInfo or OneAsymmetricKey; the parts that it gives of the key. `None` where it is of another algorithm, or
/// malformed before it names one. What it says of the public key is not read. `CKR_WRAPPED_KEY_INVALID` where the key in it
/// is malformed.
pub fn decode_private<T>(info: &[u8], take: impl FnOnce(Set, Given) -> Result<T>) -> Result<Option<T>> {
    let Ok(info) = PrivateKeyInfoRef::from_der(info) else { return Ok(None) };
    let Some(set) = Set::all().find(|set| set.oid() == info.algorithm.oid) else { return Ok(None) };
    let malformed = || Code::WrappedKeyInvalid.because("the private key in the PKCS #8 structure is malformed");
    if info.algorithm.parameters.is_some() {
        Err(malformed())?;
    }
    let given = given(set, info.private_key.as_bytes()).map_err(|_| malformed())?;
    take(set, given).map(Some)
}

/// The CHOICE of seed `[0] IMPLICIT OCTET STRING`, expandedKey OCTET STRING, and SEQUENCE of both; bare for SLH-DSA.
fn given(set: Set, key: &[u8]) -> der::Result<Given<'_>> {
    let Some(seed_len) = set.seed_len() else { return Ok(Given { seed: None, value: Some(key) }) };
    let any = AnyRef::from_der(key)?;
    let given = match any.tag() {
        Tag::ContextSpecific { constructed: false, number: TagNumber(0) } => {
            Given { seed: Some(any.value()), value: None }
        }
        Tag::OctetString => Given { seed: None, value: Some(any.value()) },
        tag => {
            tag.assert_eq(Tag::Sequence)?;
            any.sequence(|parts| {
                let (seed, value) = (<&OctetStringRef>::decode(parts)?, <&OctetStringRef>::decode(parts)?);
                Ok::<_, der::Error>(Given { seed: Some(seed.as_bytes()), value: Some(value.as_bytes()) })
            })?
        }
    };
    match given.seed {
        Some(seed) if seed.len() != seed_len => Err(Tag::OctetString.length_error().into()),
        _ => Ok(given),
    }
}
