//! X25519 (RFC 7748). AWS-LC stands behind it; in the pure-Rust build curve25519-dalek.

use zeroize::Zeroizing;

#[cfg(feature = "aws-lc")]
use super::aws::curve25519 as library;
use super::random;
#[cfg(not(feature = "aws-lc"))]
use super::rust::curve25519 as library;
use crate::error::{Code, Result};
use crate::secret::{Secret, SecretBytes};

/// Length in bytes of private keys, public keys and shared secrets.
pub const KEY_LEN: usize = 32;

/// On the heap, so that moving a key leaves no copy behind.
pub struct PrivateKey(Box<Secret<[u8; KEY_LEN]>>);

impl PrivateKey {
    /// `CKR_ATTRIBUTE_VALUE_INVALID` unless `scalar` is [`KEY_LEN`] bytes; it is clamped at use, not here.
    pub fn new(scalar: &[u8]) -> Result<PrivateKey> {
        let mut key = Box::new(Secret::new([0; KEY_LEN]));
        let scalar: &[u8; KEY_LEN] = scalar.try_into().map_err(|_| Code::AttributeValueInvalid)?;
        key.expose_mut().copy_from_slice(scalar);
        Ok(PrivateKey(key))
    }

    /// The scalar comes clamped (RFC 7748, 5), for implementations that expect to find it so.
    pub fn generate() -> Result<PrivateKey> {
        let mut scalar = Zeroizing::new([0; KEY_LEN]);
        random::fill(&mut *scalar)?;
        let [first, .., last] = &mut *scalar;
        *first &= 0xf8;
        *last = *last & 0x7f | 0x40;
        PrivateKey::new(&*scalar)
    }

    pub fn scalar(&self) -> SecretBytes {
        SecretBytes::copy_from(self.0.expose())
    }

    pub fn public(&self) -> [u8; KEY_LEN] {
        library::x25519_public(self.0.expose())
    }

    /// `CKR_ATTRIBUTE_VALUE_INVALID` where `peer` is not [`KEY_LEN`] bytes or is of small order: the shared secret would
    /// be all zero.
    pub fn agree(&self, peer: &[u8]) -> Result<SecretBytes> {
        let peer = peer.try_into().map_err(|_| Code::AttributeValueInvalid)?;
        let mut shared = Zeroizing::new([0; KEY_LEN]);
        library::x25519(self.0.expose(), peer, &mut shared).map_err(|_| Code::AttributeValueInvalid)?;
        Ok(SecretBytes::copy_from(&*shared))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_agreement_of_rfc_7748() {
        // RFC 7748, 6.1.
        let private = |hex| PrivateKey::new(&hex::decode(hex).unwrap()).unwrap();
        let alice = private("77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a");
        let bob = private("5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb");
        let shared = alice.agree(&bob.public()).unwrap();
        assert_eq!(hex::encode(shared.expose()), "4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742");
        assert!(bob.agree(&alice.public()).unwrap() == shared);
    }

    #[test]
    fn generated_scalars_are_clamped_and_small_orders_refused() {
        let key = PrivateKey::generate().unwrap();
        let scalar = key.scalar();
        let scalar = scalar.expose();
        assert_eq!((scalar[0] & 7, scalar[31] & 0xc0), (0, 0x40));
        for peer in [&[0; 32][..], &[1; 31], &[1; 33]] {
            assert_eq!(key.agree(peer).unwrap_err().code(), Code::AttributeValueInvalid);
        }
    }
}
