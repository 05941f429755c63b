//! X25519 (RFC 7748). AWS-LC stands behind it.

use zeroize::Zeroizing;

use super::{aws, random};
use crate::error::{Code, Result};
use crate::secret::{Secret, SecretBytes};

/// Length in bytes of private keys, public keys and shared secrets.
pub const KEY_LEN: usize = 32;

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
        *first &= 0xf8;
        *last = *last & 0x7f | 0x40;
        PrivateKey::new(&*scalar)
    }

    pub fn scalar(&self) -> SecretBytes {
        SecretBytes::copy_from(self.0.expose())
    }

    pub fn public(&self) -> [u8; KEY_LEN] {
        aws::x25519_public(self.0.expose())
    }

    /// `CKR_ATTRIBUTE_VALUE_INVALID` where `peer` is not [`KEY_LEN`] bytes or is of small order: the shared secret would
    /// be all zero.
    pub fn agree(&self, peer: &[u8]) -> Result<SecretBytes> {
        let peer = peer.try_into().map_err(|_| Code::AttributeValueInvalid)?;
        let mut shared = Zeroizing::new([0; KEY_LEN]);
        aws::x25519(self.0.expose(), peer, &mut shared).map_err(|_| Code::AttributeValueInvalid)?;
        Ok(SecretBytes::copy_from(&*shared))
    }
}
