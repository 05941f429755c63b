//! ECDH on the two Montgomery curves.

use super::curve::Curve;
use super::{x448, x25519};
use crate::error::{Code, Result};
use crate::secret::SecretBytes;

pub enum PrivateKey {
    X25519(x25519::PrivateKey),
    X448(x448::PrivateKey),
}

impl PrivateKey {
    /// `CKR_ATTRIBUTE_VALUE_INVALID`; `CKR_CURVE_NOT_SUPPORTED` for no Montgomery curve.
    pub fn new(curve: Curve, scalar: &[u8]) -> Result<PrivateKey> {
        match curve {
            Curve::X25519 => x25519::PrivateKey::new(scalar).map(PrivateKey::X25519),
            Curve::X448 => x448::PrivateKey::new(scalar).map(PrivateKey::X448),
            _ => Err(Code::CurveNotSupported.into()),
        }
    }

    pub fn generate(curve: Curve) -> Result<PrivateKey> {
        match curve {
            Curve::X25519 => x25519::PrivateKey::generate().map(PrivateKey::X25519),
            Curve::X448 => x448::PrivateKey::generate().map(PrivateKey::X448),
            _ => Err(Code::CurveNotSupported.into()),
        }
    }

    pub fn curve(&self) -> Curve {
        match self {
            PrivateKey::X25519(_) => Curve::X25519,
            PrivateKey::X448(_) => Curve::X448,
        }
    }

    pub fn scalar(&self) -> SecretBytes {
        match self {
            PrivateKey::X25519(key) => key.scalar(),
            PrivateKey::X448(key) => key.scalar(),
        }
    }

    pub fn public(&self) -> Vec<u8> {
        match self {
            PrivateKey::X25519(key) => key.public().to_vec(),
            PrivateKey::X448(key) => key.public().to_vec(),
        }
    }

    /// `CKR_ATTRIBUTE_VALUE_INVALID` where `peer` is of another length or of small order.
    pub fn agree(&self, peer: &[u8]) -> Result<SecretBytes> {
        match self {
            PrivateKey::X25519(key) => key.agree(peer),
            PrivateKey::X448(key) => key.agree(peer),
        }
    }
}
