//! ECDSA and ECDH on short Weierstrass curves. AWS-LC stands behind P-256, P-384 and P-521.

use zeroize::Zeroizing;

use super::aws::{EcKey, Group, Point};
use super::curve::Curve;
use crate::error::{Code, Result};
use crate::secret::SecretBytes;

/// The longest half of a signature in bytes (P-521).
const MAX_SCALAR_LEN: usize = 66;

fn group(curve: Curve) -> Result<Group> {
    Ok(match curve {
        Curve::P256 => Group::p256(),
        Curve::P384 => Group::p384(),
        Curve::P521 => Group::p521(),
        Curve::Ed25519 | Curve::X25519 => Err(Code::CurveNotSupported)?,
    })
}

/// The point of an encoding: uncompressed or compressed (SEC 1, 2.3.4). The point at infinity, the hybrid form and what
/// is not on the curve are `CKR_ATTRIBUTE_VALUE_INVALID`.
fn decode(curve: Curve, encoded: &[u8]) -> Result<Point> {
    let field = curve.field_len();
    let known = match encoded.first() {
        Some(0x04) => encoded.len() == 1 + 2 * field,
        Some(0x02 | 0x03) => encoded.len() == 1 + field,
        _ => false,
    };
    if !known {
        Err(Code::AttributeValueInvalid)?;
    }
    Ok(Point::decode(group(curve)?, encoded).map_err(|_| Code::AttributeValueInvalid)?)
}

fn encode(curve: Curve, point: &Point) -> Result<Vec<u8>> {
    let mut out = vec![0; curve.public_len()];
    point.encode(&mut out)?;
    Ok(out)
}

/// Checks a public key's encoding and gives it uncompressed; `CKR_ATTRIBUTE_VALUE_INVALID`.
pub fn uncompressed(curve: Curve, encoded: &[u8]) -> Result<Vec<u8>> {
    encode(curve, &decode(curve, encoded)?)
}

/// A public key, its point decoded once.
pub struct PublicKey {
    curve: Curve,
    key: EcKey,
}

impl PublicKey {
    /// `encoded` is uncompressed or compressed; `CKR_ATTRIBUTE_VALUE_INVALID` where it is no point of the curve.
    pub fn new(curve: Curve, encoded: &[u8]) -> Result<PublicKey> {
        Ok(PublicKey { curve, key: EcKey::public(&decode(curve, encoded)?)? })
    }

    pub fn curve(&self) -> Curve {
        self.curve
    }

    /// Length in bytes of the signatures made with this key's private half.
    pub fn signature_len(&self) -> usize {
        2 * self.curve.private_len()
    }

    /// ECDSA over the caller's hash, of which the leftmost bits up to the order's length count (FIPS 186-5, 6.4.2).
    /// Both halves of the signature are equally long and may lack leading zeros (PKCS#11 3.2, EC Signatures).
    /// `CKR_SIGNATURE_LEN_RANGE`, `CKR_SIGNATURE_INVALID`.
    pub fn verify(&self, digest: &[u8], signature: &[u8]) -> Result<()> {
        if signature.is_empty() || !signature.len().is_multiple_of(2) || signature.len() > self.signature_len() {
            Err(Code::SignatureLenRange)?;
        }
        let (r, s) = signature.split_at(signature.len() / 2);
        Ok(self.key.verify(digest, r, s).map_err(|_| Code::SignatureInvalid)?)
    }
}

/// A private key, ready for use.
pub struct PrivateKey {
    curve: Curve,
    key: EcKey,
}

impl PrivateKey {
    /// `scalar` is big-endian, of any length; `CKR_ATTRIBUTE_VALUE_INVALID` unless 0 < scalar < order.
    pub fn new(curve: Curve, scalar: &[u8]) -> Result<PrivateKey> {
        let group = group(curve)?;
        Ok(PrivateKey { curve, key: EcKey::private(group, scalar).map_err(|_| Code::AttributeValueInvalid)? })
    }

    pub fn generate(curve: Curve) -> Result<PrivateKey> {
        Ok(PrivateKey { curve, key: EcKey::generate(group(curve)?)? })
    }

    pub fn curve(&self) -> Curve {
        self.curve
    }

    /// Big-endian, as long as the order.
    pub fn scalar(&self) -> Result<SecretBytes> {
        let mut out = SecretBytes::zeroed(self.curve.private_len());
        self.key.scalar(out.expose_mut())?;
        Ok(out)
    }

    /// The public key, uncompressed.
    pub fn public(&self) -> Result<Vec<u8>> {
        encode(self.curve, &self.key.multiplied_base()?)
    }

    pub fn signature_len(&self) -> usize {
        2 * self.curve.private_len()
    }

    /// ECDSA over the caller's hash (see [`PublicKey::verify`]): r and s, each as long as the order. `out` has at least
    /// [`PrivateKey::signature_len`] bytes; returns how many were written.
    pub fn sign(&self, digest: &[u8], out: &mut [u8]) -> Result<usize> {
        let len = self.signature_len();
        let out = out.get_mut(..len).ok_or(Code::GeneralError)?;
        let (r, s) = out.split_at_mut(len / 2);
        self.key.sign(digest, r, s)?;
        Ok(len)
    }

    /// ECDH: the x-coordinate of the shared point, as long as the field. All these curves have cofactor 1, so that the
    /// cofactor method gives the same. `CKR_ATTRIBUTE_VALUE_INVALID` where `peer` is no point of the curve.
    pub fn agree(&self, peer: &[u8]) -> Result<SecretBytes> {
        let peer = decode(self.curve, peer)?;
        let mut x = Zeroizing::new([0; MAX_SCALAR_LEN]);
        let x = x.get_mut(..self.curve.field_len()).ok_or(Code::GeneralError)?;
        self.key.agree(&peer, x)?;
        Ok(SecretBytes::copy_from(x))
    }
}
