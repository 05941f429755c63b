//! ML-KEM (FIPS 203). AWS-LC stands behind it; in the pure-Rust build RustCrypto.

use std::ops::Range;

use pkcs8::ObjectIdentifier;
use zeroize::Zeroizing;

#[cfg(feature = "aws-lc")]
use super::aws::ml_kem as library;
use super::pqc;
use super::random;
#[cfg(not(feature = "aws-lc"))]
use super::rust::ml_kem as library;
use crate::error::{Code, Result};
use crate::secret::SecretBytes;

/// Length in bytes of d || z, from which a pair is made.
pub const SEED_LEN: usize = 64;
/// Length in bytes of the shared secret.
pub const SHARED_LEN: usize = 32;
/// Length in bytes of the randomness m of an encapsulation.
const MESSAGE_LEN: usize = 32;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Set {
    MlKem512,
    MlKem768,
    MlKem1024,
}

impl Set {
    pub const ALL: &'static [Set] = &[Set::MlKem512, Set::MlKem768, Set::MlKem1024];

    /// k, the rank of the module.
    const fn rank(self) -> usize {
        match self {
            Set::MlKem512 => 2,
            Set::MlKem768 => 3,
            Set::MlKem1024 => 4,
        }
    }

    /// Length in bytes of the encapsulation key ek.
    pub const fn public_len(self) -> usize {
        384 * self.rank() + 32
    }

    /// Length in bytes of the decapsulation key dk.
    pub const fn private_len(self) -> usize {
        768 * self.rank() + 96
    }

    /// Length in bytes of the ciphertext: 32 (d_u k + d_v).
    pub const fn ciphertext_len(self) -> usize {
        match self {
            Set::MlKem512 | Set::MlKem768 => 32 * (10 * self.rank() + 4),
            Set::MlKem1024 => 32 * (11 * self.rank() + 5),
        }
    }

    /// Where the encapsulation key stands in the decapsulation key: dk_PKE || ek || H(ek) || z (FIPS 203, algorithm 16).
    pub(super) const fn public_part(self) -> Range<usize> {
        let start = 384 * self.rank();
        start..start + self.public_len()
    }

    /// RFC 9935.
    pub const fn oid(self) -> ObjectIdentifier {
        match self {
            Set::MlKem512 => const { ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.4.1") },
            Set::MlKem768 => const { ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.4.2") },
            Set::MlKem1024 => const { ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.4.3") },
        }
    }
}

/// An encapsulation key.
pub struct PublicKey {
    set: Set,
    key: library::PublicKey,
}

impl PublicKey {
    /// `CKR_ATTRIBUTE_VALUE_INVALID` where the length is wrong or a coefficient is not below q (FIPS 203, 7.2).
    pub fn new(set: Set, key: &[u8]) -> Result<PublicKey> {
        let key = library::PublicKey::new(set, key).map_err(|_| Code::AttributeValueInvalid)?;
        Ok(PublicKey { set, key })
    }

    pub fn ciphertext_len(&self) -> usize {
        self.set.ciphertext_len()
    }

    /// A ciphertext of [`Set::ciphertext_len`] bytes, and the shared secret of [`SHARED_LEN`] bytes in it.
    pub fn encapsulate(&self) -> Result<(Vec<u8>, SecretBytes)> {
        let mut message = Zeroizing::new([0; MESSAGE_LEN]);
        random::fill(&mut *message)?;
        self.encapsulate_with(&message)
    }

    pub(super) fn encapsulate_with(&self, message: &[u8; MESSAGE_LEN]) -> Result<(Vec<u8>, SecretBytes)> {
        let mut ciphertext = vec![0; self.set.ciphertext_len()];
        let mut shared = SecretBytes::zeroed(SHARED_LEN);
        self.key.encapsulate(message, &mut ciphertext, shared.expose_mut())?;
        Ok((ciphertext, shared))
    }
}

/// A decapsulation key.
pub struct PrivateKey {
    set: Set,
    key: library::PrivateKey,
    seed: Option<SecretBytes>,
    value: SecretBytes,
}

impl PrivateKey {
    /// The shared secret of [`SHARED_LEN`] bytes; of a ciphertext that is no good, one that only this key can know
    /// (implicit rejection). `CKR_WRAPPED_KEY_LEN_RANGE` where the ciphertext's length is wrong.
    pub fn decapsulate(&self, ciphertext: &[u8]) -> Result<SecretBytes> {
        if ciphertext.len() != self.set.ciphertext_len() {
            Err(Code::WrappedKeyLenRange)?;
        }
        let mut shared = SecretBytes::zeroed(SHARED_LEN);
        self.key.decapsulate(ciphertext, shared.expose_mut())?;
        Ok(shared)
    }
}

impl pqc::Private for PrivateKey {
    type Set = Set;

    fn generate(set: Set) -> Result<PrivateKey> {
        let mut seed = Zeroizing::new([0; SEED_LEN]);
        random::fill(&mut *seed)?;
        PrivateKey::from_seed(set, &*seed)
    }

    fn from_seed(set: Set, seed: &[u8]) -> Result<PrivateKey> {
        let key = library::PrivateKey::from_seed(set, seed).map_err(|_| Code::AttributeValueInvalid)?;
        let mut value = SecretBytes::zeroed(set.private_len());
        key.value(value.expose_mut())?;
        Ok(PrivateKey { set, key, seed: Some(SecretBytes::copy_from(seed)), value })
    }

    fn from_value(set: Set, value: &[u8]) -> Result<PrivateKey> {
        let key = library::PrivateKey::from_value(set, value).map_err(|_| Code::AttributeValueInvalid)?;
        Ok(PrivateKey { set, key, seed: None, value: SecretBytes::copy_from(value) })
    }

    fn seed(&self) -> Option<&[u8]> {
        self.seed.as_ref().map(|seed| seed.expose().as_slice())
    }

    fn value(&self) -> &[u8] {
        self.value.expose()
    }

    fn public(&self) -> Result<Vec<u8>> {
        let mut public = vec![0; self.set.public_len()];
        self.key.public(&mut public)?;
        Ok(public)
    }
}
