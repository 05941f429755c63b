//! EdDSA over its two curves.

use super::curve::Curve;
use super::{ed448, ed25519};
use crate::error::{Code, Result};
use crate::secret::SecretBytes;

pub use super::ed25519::{MAX_CONTEXT_LEN, Scheme};

// Keys stand behind an `Arc` as a rule: boxing one of two would only add a hop.
#[allow(clippy::large_enum_variant)]
pub enum PublicKey {
    Ed25519(ed25519::PublicKey),
    Ed448(Box<ed448::PublicKey>),
}

#[allow(clippy::large_enum_variant)]
pub enum PrivateKey {
    Ed25519(ed25519::PrivateKey),
    Ed448(Box<ed448::PrivateKey>),
}

impl PublicKey {
    /// `CKR_ATTRIBUTE_VALUE_INVALID`; `CKR_CURVE_NOT_SUPPORTED` for no Edwards curve.
    pub fn new(curve: Curve, encoded: &[u8]) -> Result<PublicKey> {
        match curve {
            Curve::Ed25519 => ed25519::PublicKey::new(encoded).map(PublicKey::Ed25519),
            Curve::Ed448 => Ok(PublicKey::Ed448(Box::new(ed448::PublicKey::new(encoded)?))),
            _ => Err(Code::CurveNotSupported.into()),
        }
    }

    pub fn curve(&self) -> Curve {
        match self {
            PublicKey::Ed25519(_) => Curve::Ed25519,
            PublicKey::Ed448(_) => Curve::Ed448,
        }
    }

    /// A pre-hashed scheme is given the pre-hash with Ed25519, the message with Ed448. `CKR_SIGNATURE_LEN_RANGE`,
    /// `CKR_SIGNATURE_INVALID`.
    pub fn verify(&self, scheme: Scheme, message: &[u8], signature: &[u8]) -> Result<()> {
        match self {
            PublicKey::Ed25519(key) => key.verify(scheme, message, signature),
            PublicKey::Ed448(key) => key.verify(scheme, message, signature),
        }
    }
}

impl PrivateKey {
    /// As [`PublicKey::new`].
    pub fn new(curve: Curve, seed: &[u8]) -> Result<PrivateKey> {
        match curve {
            Curve::Ed25519 => ed25519::PrivateKey::new(seed).map(PrivateKey::Ed25519),
            Curve::Ed448 => Ok(PrivateKey::Ed448(Box::new(ed448::PrivateKey::new(seed)?))),
            _ => Err(Code::CurveNotSupported.into()),
        }
    }

    pub fn generate(curve: Curve) -> Result<PrivateKey> {
        match curve {
            Curve::Ed25519 => ed25519::PrivateKey::generate().map(PrivateKey::Ed25519),
            Curve::Ed448 => Ok(PrivateKey::Ed448(Box::new(ed448::PrivateKey::generate()?))),
            _ => Err(Code::CurveNotSupported.into()),
        }
    }

    pub fn curve(&self) -> Curve {
        match self {
            PrivateKey::Ed25519(_) => Curve::Ed25519,
            PrivateKey::Ed448(_) => Curve::Ed448,
        }
    }

    pub fn seed(&self) -> SecretBytes {
        match self {
            PrivateKey::Ed25519(key) => key.seed(),
            PrivateKey::Ed448(key) => key.seed(),
        }
    }

    pub fn public(&self) -> Vec<u8> {
        match self {
            PrivateKey::Ed25519(key) => key.public().to_vec(),
            PrivateKey::Ed448(key) => key.public().to_vec(),
        }
    }

    /// As [`PublicKey::verify`]. `out` has at least [`signature_len`] bytes; returns how many were written.
    pub fn sign(&self, scheme: Scheme, message: &[u8], out: &mut [u8]) -> Result<usize> {
        match self {
            PrivateKey::Ed25519(key) => key.sign(scheme, message, out),
            PrivateKey::Ed448(key) => key.sign(scheme, message, out),
        }
    }
}

/// Length in bytes of a signature.
pub fn signature_len(curve: Curve) -> usize {
    2 * curve.public_len()
}
