//! X448 (RFC 7748). RustCrypto stands behind it.

use ::x448::x448_unchecked;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::random;
use crate::error::{Code, Result};
use crate::secret::{Secret, SecretBytes};

/// Length in bytes of private keys, public keys and shared secrets.
pub const KEY_LEN: usize = 56;

/// The base point: u = 5.
const BASE: [u8; KEY_LEN] = {
    let mut base = [0; KEY_LEN];
    let [u, ..] = &mut base;
    *u = 5;
    base
};

pub struct PrivateKey(Secret<[u8; KEY_LEN]>);

impl PrivateKey {
    /// `CKR_ATTRIBUTE_VALUE_INVALID` unless `scalar` is [`KEY_LEN`] bytes; it is clamped at use, not here.
    pub fn new(scalar: &[u8]) -> Result<PrivateKey> {
        Ok(PrivateKey(Secret::new(scalar.try_into().map_err(|_| Code::AttributeValueInvalid)?)))
    }

    /// The scalar comes clamped (RFC 7748, 5), for implementations that expect to find it so.
    pub fn generate() -> Result<PrivateKey> {
        let mut scalar = Zeroizing::new([0; KEY_LEN]);
        random::fill(&mut *scalar)?;
        let [first, .., last] = &mut *scalar;
        *first &= 0xfc;
        *last |= 0x80;
        PrivateKey::new(&*scalar)
    }

    pub fn scalar(&self) -> SecretBytes {
        SecretBytes::copy_from(self.0.expose())
    }

    pub fn public(&self) -> [u8; KEY_LEN] {
        x448_unchecked(*self.0.expose(), BASE)
    }

    /// `CKR_ATTRIBUTE_VALUE_INVALID` where `peer` is not [`KEY_LEN`] bytes or is of small order: the shared secret would
    /// be all zero.
    pub fn agree(&self, peer: &[u8]) -> Result<SecretBytes> {
        let peer: [u8; KEY_LEN] = peer.try_into().map_err(|_| Code::AttributeValueInvalid)?;
        let shared = Zeroizing::new(x448_unchecked(*self.0.expose(), peer));
        if shared.ct_eq(&[0; KEY_LEN]).into() {
            return Err(Code::AttributeValueInvalid.into());
        }
        Ok(SecretBytes::copy_from(&*shared))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_agreement_of_rfc_7748() {
        // RFC 7748, 6.2.
        let private = |hex| PrivateKey::new(&hex::decode(hex).unwrap()).unwrap();
        let alice = private(
            "9a8f4925d1519f5775cf46b04b5800d4ee9ee8bae8bc5565d498c28dd9c9baf574a9419744897391006382a6f127ab1d9ac2d8c0a598726b",
        );
        let bob = private(
            "1c306a7ac2a0e2e0990b294470cba339e6453772b075811d8fad0d1d6927c120bb5ee8972b0d3e21374c9c921b09d1b0366f10b65173992d",
        );
        let shared = alice.agree(&bob.public()).unwrap();
        assert_eq!(
            hex::encode(shared.expose()),
            "07fff4181ac6cc95ec1c16a94a0f74d12da232ce40a77552281d282bb60c0b56fd2464c335543936521c24403085d59a449a5037514a879d"
        );
        assert!(bob.agree(&alice.public()).unwrap() == shared);
    }

    #[test]
    fn generated_scalars_are_clamped_and_small_orders_refused() {
        let key = PrivateKey::generate().unwrap();
        let scalar = key.scalar();
        let scalar = scalar.expose();
        assert_eq!((scalar[0] & 3, scalar[55] & 0x80), (0, 0x80));
        let mut one = [0; KEY_LEN];
        one[0] = 1;
        for peer in [&[0; KEY_LEN][..], &one, &[1; 55], &[1; 57]] {
            assert_eq!(key.agree(peer).unwrap_err().code(), Code::AttributeValueInvalid);
        }
    }
}
