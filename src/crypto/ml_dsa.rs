//! ML-DSA (FIPS 204). AWS-LC, in the pure-Rust build RustCrypto, stands behind keys and signatures of a message's
//! representative mu; RustCrypto's SHAKE256 makes mu, so that a message may come in pieces.

use pkcs8::ObjectIdentifier;
use shake::{ExtendableOutput, Shake256, Update, XofReader};
use zeroize::Zeroizing;

#[cfg(feature = "aws-lc")]
use super::aws::ml_dsa as library;
use super::pqc::{self, Hedge};
use super::random;
#[cfg(not(feature = "aws-lc"))]
use super::rust::ml_dsa as library;
use crate::error::{Code, Result};
use crate::secret::SecretBytes;

/// Length in bytes of the seed xi, from which a pair is made.
pub const SEED_LEN: usize = 32;
/// Length in bytes of the message representative mu.
pub const MU_LEN: usize = 64;
/// Length in bytes of rnd, the randomness of a signature.
const RANDOM_LEN: usize = 32;
/// Length in bytes of tr, the hash of the public key.
const TR_LEN: usize = 64;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Set {
    MlDsa44,
    MlDsa65,
    MlDsa87,
}

impl Set {
    pub const ALL: &'static [Set] = &[Set::MlDsa44, Set::MlDsa65, Set::MlDsa87];

    /// Length in bytes of the public key.
    pub const fn public_len(self) -> usize {
        match self {
            Set::MlDsa44 => 1312,
            Set::MlDsa65 => 1952,
            Set::MlDsa87 => 2592,
        }
    }

    /// Length in bytes of the expanded private key.
    pub const fn private_len(self) -> usize {
        match self {
            Set::MlDsa44 => 2560,
            Set::MlDsa65 => 4032,
            Set::MlDsa87 => 4896,
        }
    }

    /// Length in bytes of a signature.
    pub const fn signature_len(self) -> usize {
        match self {
            Set::MlDsa44 => 2420,
            Set::MlDsa65 => 3309,
            Set::MlDsa87 => 4627,
        }
    }

    /// RFC 9881.
    pub const fn oid(self) -> ObjectIdentifier {
        match self {
            Set::MlDsa44 => const { ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.3.17") },
            Set::MlDsa65 => const { ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.3.18") },
            Set::MlDsa87 => const { ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.3.19") },
        }
    }
}

/// mu = SHAKE256(tr || M'), as it grows: fed with M', the prefix first (`prehash::Prefix`).
#[derive(Clone)]
pub struct Mu(Shake256);

impl Mu {
    fn of_tr(tr: &[u8]) -> Mu {
        let mut state = Shake256::default();
        state.update(tr);
        Mu(state)
    }

    fn of_public(key: &[u8]) -> Mu {
        let mut tr = [0; TR_LEN];
        let mut state = Shake256::default();
        state.update(key);
        state.finalize_xof().read(&mut tr);
        Mu::of_tr(&tr)
    }

    pub fn update(&mut self, data: &[u8]) {
        self.0.update(data);
    }

    pub fn finish(self) -> Zeroizing<[u8; MU_LEN]> {
        let mut mu = Zeroizing::new([0; MU_LEN]);
        self.0.finalize_xof().read(&mut *mu);
        mu
    }
}

pub struct PublicKey {
    set: Set,
    key: library::PublicKey,
    mu: Mu,
}

impl PublicKey {
    /// `CKR_ATTRIBUTE_VALUE_INVALID` where the length is wrong.
    pub fn new(set: Set, key: &[u8]) -> Result<PublicKey> {
        let handle = library::PublicKey::new(set, key).map_err(|_| Code::AttributeValueInvalid)?;
        Ok(PublicKey { set, key: handle, mu: Mu::of_public(key) })
    }

    pub fn signature_len(&self) -> usize {
        self.set.signature_len()
    }

    /// The beginning of each mu under this key.
    pub fn mu(&self) -> Mu {
        self.mu.clone()
    }

    /// `CKR_SIGNATURE_LEN_RANGE`, `CKR_SIGNATURE_INVALID`.
    pub fn verify(&self, mu: &[u8; MU_LEN], signature: &[u8]) -> Result<()> {
        if signature.len() != self.set.signature_len() {
            Err(Code::SignatureLenRange)?;
        }
        Ok(self.key.verify(mu, signature).map_err(|_| Code::SignatureInvalid)?)
    }
}

pub struct PrivateKey {
    set: Set,
    seed: Option<SecretBytes>,
    key: library::PrivateKey,
    mu: Mu,
}

impl PrivateKey {
    pub fn signature_len(&self) -> usize {
        self.set.signature_len()
    }

    /// The beginning of each mu under this key.
    pub fn mu(&self) -> Mu {
        self.mu.clone()
    }

    /// `out` has at least [`Set::signature_len`] bytes; returns how many were written.
    pub fn sign(&self, mu: &[u8; MU_LEN], hedge: Hedge, out: &mut [u8]) -> Result<usize> {
        let mut random = Zeroizing::new([0; RANDOM_LEN]);
        if hedge == Hedge::Random {
            random::fill(&mut *random)?;
        }
        self.sign_with(mu, &random, out)
    }

    pub(super) fn sign_with(&self, mu: &[u8; MU_LEN], random: &[u8; RANDOM_LEN], out: &mut [u8]) -> Result<usize> {
        let out = out.get_mut(..self.set.signature_len()).ok_or(Code::GeneralError)?;
        self.key.sign(mu, random, out)?;
        Ok(out.len())
    }

    /// From a seed or an expanded key.
    fn expand(set: Set, key: &[u8], seed: Option<SecretBytes>) -> Result<PrivateKey> {
        let key = library::PrivateKey::new(set, key).map_err(|_| Code::AttributeValueInvalid)?;
        let mu = Mu::of_public(key.public());
        Ok(PrivateKey { set, seed, key, mu })
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
        if seed.len() != SEED_LEN {
            Err(Code::AttributeValueInvalid)?;
        }
        PrivateKey::expand(set, seed, Some(SecretBytes::copy_from(seed)))
    }

    fn from_value(set: Set, value: &[u8]) -> Result<PrivateKey> {
        if value.len() != set.private_len() {
            Err(Code::AttributeValueInvalid)?;
        }
        PrivateKey::expand(set, value, None)
    }

    fn seed(&self) -> Option<&[u8]> {
        self.seed.as_ref().map(|seed| seed.expose().as_slice())
    }

    fn value(&self) -> &[u8] {
        self.key.value()
    }

    fn public(&self) -> Result<Vec<u8>> {
        Ok(self.key.public().to_vec())
    }
}
