//! Ed25519, Ed25519ctx and Ed25519ph (RFC 8032). AWS-LC stands behind them.

use zeroize::Zeroizing;

use super::aws::{self, Ed25519};
use super::random;
use crate::error::{Code, Result};
use crate::secret::{Secret, SecretBytes};

/// Length in bytes of seeds and of public keys.
pub const KEY_LEN: usize = 32;
/// Length in bytes of signatures.
pub const SIGNATURE_LEN: usize = 64;
/// Length in bytes of a context at most.
pub const MAX_CONTEXT_LEN: usize = 255;

/// Which of the three schemes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme<'a> {
    Pure,
    /// Ed25519ctx; the context is 1 to [`MAX_CONTEXT_LEN`] bytes.
    Context(&'a [u8]),
    /// Ed25519ph: what is signed is the message's SHA-512; the context is 0 to [`MAX_CONTEXT_LEN`] bytes.
    Prehashed(&'a [u8]),
}

impl<'a> Scheme<'a> {
    /// The binding's form: `CKR_DATA_LEN_RANGE` where a pre-hash is not 64 bytes.
    fn over(self, message: &'a [u8]) -> Result<Ed25519<'a>> {
        Ok(match self {
            Scheme::Pure => Ed25519::Pure,
            Scheme::Context(context) => Ed25519::Context(context),
            Scheme::Prehashed(context) => {
                Ed25519::Prehashed(message.try_into().map_err(|_| Code::DataLenRange)?, context)
            }
        })
    }
}

pub struct PublicKey([u8; KEY_LEN]);

impl PublicKey {
    /// `CKR_ATTRIBUTE_VALUE_INVALID` where the length is wrong. Whether the bytes are a point of the curve shows at
    /// verification, which then fails.
    pub fn new(encoded: &[u8]) -> Result<PublicKey> {
        Ok(PublicKey(encoded.try_into().map_err(|_| Code::AttributeValueInvalid)?))
    }

    /// `CKR_SIGNATURE_LEN_RANGE`, `CKR_SIGNATURE_INVALID`.
    pub fn verify(&self, scheme: Scheme, message: &[u8], signature: &[u8]) -> Result<()> {
        let signature = signature.try_into().map_err(|_| Code::SignatureLenRange)?;
        let scheme = scheme.over(message)?;
        Ok(aws::ed25519_verify(scheme, &self.0, message, signature).map_err(|_| Code::SignatureInvalid)?)
    }
}

pub struct PrivateKey {
    /// Seed and public key, as AWS-LC wants them.
    pair: Secret<[u8; 2 * KEY_LEN]>,
    public: [u8; KEY_LEN],
}

impl PrivateKey {
    /// `CKR_ATTRIBUTE_VALUE_INVALID` unless `seed` is [`KEY_LEN`] bytes.
    pub fn new(seed: &[u8]) -> Result<PrivateKey> {
        let seed = seed.try_into().map_err(|_| Code::AttributeValueInvalid)?;
        let (public, pair) = aws::ed25519_from_seed(seed);
        Ok(PrivateKey { pair: Secret::new(*pair), public })
    }

    pub fn generate() -> Result<PrivateKey> {
        let mut seed = Zeroizing::new([0; KEY_LEN]);
        random::fill(&mut *seed)?;
        PrivateKey::new(&*seed)
    }

    pub fn seed(&self) -> SecretBytes {
        SecretBytes::copy_from(self.pair.expose().split_at(KEY_LEN).0)
    }

    pub fn public(&self) -> [u8; KEY_LEN] {
        self.public
    }

    /// `out` has at least [`SIGNATURE_LEN`] bytes; returns how many were written.
    pub fn sign(&self, scheme: Scheme, message: &[u8], out: &mut [u8]) -> Result<usize> {
        let out = out.first_chunk_mut().ok_or(Code::GeneralError)?;
        aws::ed25519_sign(scheme.over(message)?, self.pair.expose(), message, out)?;
        Ok(SIGNATURE_LEN)
    }
}
