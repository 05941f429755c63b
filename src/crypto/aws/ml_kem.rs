//! ML-KEM.

use super::lattice::{Algorithm, Pkey};
use super::{Refused, Result};
use crate::crypto::ml_kem::Set;

impl Set {
    const fn algorithm(self) -> Algorithm {
        match self {
            Set::MlKem512 => Algorithm::ML_KEM_512,
            Set::MlKem768 => Algorithm::ML_KEM_768,
            Set::MlKem1024 => Algorithm::ML_KEM_1024,
        }
    }
}

/// An encapsulation key.
pub(in crate::crypto) struct PublicKey(Pkey);

impl PublicKey {
    /// Refused where the length is wrong or a coefficient is not below q (FIPS 203, 7.2).
    pub fn new(set: Set, key: &[u8]) -> Result<PublicKey> {
        let key = PublicKey(Pkey::kem_public(set.algorithm(), key)?);
        // AWS-LC makes that check with each encapsulation, and offers it by itself for pairs alone.
        key.encapsulate(&[0; 32], &mut vec![0; set.ciphertext_len()], &mut [0; 32])?;
        Ok(key)
    }

    /// ML-KEM.Encaps_internal. Refused unless all lengths are the set's.
    pub fn encapsulate(&self, message: &[u8; 32], ciphertext: &mut [u8], shared: &mut [u8]) -> Result<()> {
        self.0.encapsulate(message, ciphertext, shared)
    }
}

/// A decapsulation key, with its encapsulation key.
pub(in crate::crypto) struct PrivateKey(Pkey);

impl PrivateKey {
    /// ML-KEM.KeyGen_internal of d || z. Refused where the length is wrong.
    pub fn from_seed(set: Set, seed: &[u8]) -> Result<PrivateKey> {
        Pkey::kem_from_seed(set.algorithm(), seed).map(PrivateKey)
    }

    /// Refused unless the expanded key has the set's length and its parts belong together (FIPS 203, 7.1 and 7.3).
    pub fn from_value(set: Set, value: &[u8]) -> Result<PrivateKey> {
        let public = value.get(set.public_part()).ok_or(Refused)?;
        Pkey::kem_pair(set.algorithm(), public, value).map(PrivateKey)
    }

    /// ML-KEM.Decaps. Refused unless both lengths are the set's.
    pub fn decapsulate(&self, ciphertext: &[u8], shared: &mut [u8]) -> Result<()> {
        self.0.decapsulate(ciphertext, shared)
    }

    /// The encapsulation key; refused unless `out` is exactly as long.
    pub fn public(&self, out: &mut [u8]) -> Result<()> {
        self.0.public(out)
    }

    /// The expanded decapsulation key; refused unless `out` is exactly as long.
    pub fn value(&self, out: &mut [u8]) -> Result<()> {
        self.0.private(out)
    }
}
