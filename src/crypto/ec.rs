//! ECDSA and ECDH on short Weierstrass curves. AWS-LC stands behind all of them; in the pure-Rust build RustCrypto's curves.

use zeroize::Zeroizing;

#[cfg(feature = "aws-lc")]
use super::aws::ec as library;
use super::curve::{Curve, Form};
use super::digest::Digest;
use super::nonce::{Nonces, reduced};
#[cfg(not(feature = "aws-lc"))]
use super::rust::ec as library;
use crate::error::{Code, Result};
use crate::secret::SecretBytes;
use library::{EcKey, Group, Number, Point};

/// The longest half of a signature in bytes (P-521).
const MAX_SCALAR_LEN: usize = 66;

fn group(curve: Curve) -> Result<Group> {
    match curve.form() {
        Form::Weierstrass => Ok(Group::of(curve)?),
        Form::Edwards | Form::Montgomery => Err(Code::CurveNotSupported.into()),
    }
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

    /// Its point, uncompressed.
    pub fn point(&self) -> Result<Vec<u8>> {
        encode(self.curve, &self.key.public_point()?)
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

    /// As [`PrivateKey::generate`], with 64 random bits more than the order has, reduced (FIPS 186-4, B.4.1).
    pub fn generate_with_extra_bits(curve: Curve) -> Result<PrivateKey> {
        let limit = group(curve)?.order()?.minus(1)?;
        let mut random = SecretBytes::zeroed(limit.bits().saturating_add(64).div_ceil(8));
        super::random::fill(random.expose_mut())?;
        let mut scalar = SecretBytes::zeroed(curve.private_len());
        Number::from_be(random.expose())?.modulo(&limit)?.to_be(scalar.expose_mut())?;
        // Plus one, whatever the carry.
        let mut carry = 1u16;
        for byte in scalar.expose_mut().iter_mut().rev() {
            carry += u16::from(*byte);
            *byte = carry as u8;
            carry >>= 8;
        }
        PrivateKey::new(curve, scalar.expose())
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

    /// As [`PrivateKey::sign`], with the nonce that follows from key, hash and hash function (RFC 6979): the same signature each time.
    pub fn sign_deterministic(&self, function: Digest, digest: &[u8], out: &mut [u8]) -> Result<usize> {
        let len = self.signature_len();
        let out = out.get_mut(..len).ok_or(Code::GeneralError)?;
        let (r, s) = out.split_at_mut(len / 2);
        let mut order = vec![0; self.curve.private_len()];
        group(self.curve)?.order()?.to_be(&mut order)?;
        let hashed = reduced(digest, &order);
        let mut nonces = Nonces::new(function, &order, self.scalar()?.expose(), &hashed);
        while !self.key.sign_with(nonces.next().expose(), &hashed, r, s)? {}
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Every short Weierstrass curve.
    const CURVES: [Curve; 11] = [
        Curve::P224,
        Curve::P256,
        Curve::P384,
        Curve::P521,
        Curve::Secp256k1,
        Curve::BrainpoolP256r1,
        Curve::BrainpoolP256t1,
        Curve::BrainpoolP384r1,
        Curve::BrainpoolP384t1,
        Curve::BrainpoolP512r1,
        Curve::BrainpoolP512t1,
    ];

    #[test]
    fn no_curve_is_forgotten() {
        let all = Curve::ALL.iter().copied().filter(|curve| curve.form() == crate::crypto::curve::Form::Weierstrass);
        assert!(all.eq(CURVES));
    }

    /// The compressed form of an uncompressed point.
    fn compressed(point: &[u8]) -> Vec<u8> {
        let field = (point.len() - 1) / 2;
        let mut out = vec![2 + (point[point.len() - 1] & 1)];
        out.extend_from_slice(&point[1..=field]);
        out
    }

    #[test]
    fn both_encodings_are_one_point_and_all_else_is_refused() {
        for curve in CURVES {
            let point = PrivateKey::generate(curve).unwrap().public().unwrap();
            assert_eq!(uncompressed(curve, &compressed(&point)).unwrap(), point);
            let mut off = point.clone();
            *off.last_mut().unwrap() ^= 1;
            let mut hybrid = point.clone();
            hybrid[0] = 6 + (point[point.len() - 1] & 1);
            // Not below the field's prime.
            let mut large = point.clone();
            large[1..=curve.field_len()].fill(0xff);
            for wrong in [&off[..], &hybrid, &large, &[0], &[], &point[1..], &point[..point.len() - 1]] {
                let refused = PublicKey::new(curve, wrong).err().unwrap();
                assert_eq!(refused.code(), Code::AttributeValueInvalid, "{wrong:02x?}");
                let private = PrivateKey::generate(curve).unwrap();
                assert_eq!(private.agree(wrong).unwrap_err().code(), Code::AttributeValueInvalid);
            }
        }
    }

    #[test]
    fn scalars_from_one_to_the_order_less_one_are_keys() {
        // The order of P-256 (SP 800-186, 3.2.1.3).
        let order = hex::decode("ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551").unwrap();
        let mut last = order.clone();
        last[31] -= 1;
        let private = PrivateKey::new(Curve::P256, &last).unwrap();
        assert_eq!(*private.scalar().unwrap().expose(), last);
        assert_eq!(PrivateKey::new(Curve::P256, &[1]).unwrap().scalar().unwrap().expose()[31], 1);
        for wrong in [&order[..], &[], &[0; 32], &[0xff; 33]] {
            assert_eq!(PrivateKey::new(Curve::P256, wrong).err().unwrap().code(), Code::AttributeValueInvalid);
        }
    }

    #[test]
    fn hashes_of_any_length_are_signed_by_their_leftmost_bits() {
        for curve in CURVES {
            let private = PrivateKey::generate(curve).unwrap();
            let public = PublicKey::new(curve, &private.public().unwrap()).unwrap();
            let mut signature = vec![0; private.signature_len()];
            for len in [0, 1, 20, 32, 48, 64, 66, 128, 1000] {
                let digest = vec![0xa5; len];
                assert_eq!(private.sign(&digest, &mut signature).unwrap(), signature.len());
                public.verify(&digest, &signature).unwrap();
                if len > 66 {
                    let mut other = digest.clone();
                    other[len - 1] ^= 0xff;
                    public.verify(&other, &signature).unwrap();
                    other[0] ^= 1;
                    assert_eq!(public.verify(&other, &signature).unwrap_err().code(), Code::SignatureInvalid);
                }
            }
        }
    }

    #[test]
    fn signatures_may_lack_leading_zeros_and_nothing_else() {
        let private = PrivateKey::generate(Curve::P256).unwrap();
        let public = PublicKey::new(Curve::P256, &private.public().unwrap()).unwrap();
        let mut signature = [0; 64];
        // About one signature in 2^16 has two halves that begin with a zero; one half is enough to see the rule.
        for len in [0, 1, 63, 65, 66, 128] {
            let code = public.verify(&[1; 32], &vec![1; len]).unwrap_err().code();
            assert_eq!(code, Code::SignatureLenRange, "{len}");
        }
        private.sign(&[1; 32], &mut signature).unwrap();
        assert_eq!(public.verify(&[1; 32], &signature[1..63]).unwrap_err().code(), Code::SignatureInvalid);
        signature[40] ^= 1;
        assert_eq!(public.verify(&[1; 32], &signature).unwrap_err().code(), Code::SignatureInvalid);
    }

    #[test]
    fn keys_with_extra_bits_are_keys() {
        for curve in CURVES {
            let key = PrivateKey::generate_with_extra_bits(curve).unwrap();
            let other = PrivateKey::generate_with_extra_bits(curve).unwrap();
            assert!(key.scalar().unwrap() != other.scalar().unwrap());
            assert!(key.agree(&other.public().unwrap()).unwrap() == other.agree(&key.public().unwrap()).unwrap());
        }
    }

    #[test]
    fn both_sides_agree_and_threads_share_a_key() {
        for curve in CURVES {
            let (one, other) = (PrivateKey::generate(curve).unwrap(), PrivateKey::generate(curve).unwrap());
            let shared = one.agree(&other.public().unwrap()).unwrap();
            assert_eq!(shared.len(), curve.field_len());
            assert!(other.agree(&compressed(&one.public().unwrap())).unwrap() == shared);
            std::thread::scope(|scope| {
                for thread in 0..4u8 {
                    let one = &one;
                    scope.spawn(move || {
                        let public = PublicKey::new(curve, &one.public().unwrap()).unwrap();
                        let mut signature = vec![0; one.signature_len()];
                        one.sign(&[thread; 32], &mut signature).unwrap();
                        public.verify(&[thread; 32], &signature).unwrap();
                    });
                }
            });
        }
    }
}
