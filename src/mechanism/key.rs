//! A prepared key: parsed once, with what its algorithm precomputes, cached with its object while the login lasts.

use super::secret_key::SecretKey;
use crate::error::{Code, Result};
use crate::object::Attributes;
use crate::secret::SecretBytes;

/// One variant per kind of key. The families add what they precompute inside their variant's type.
pub enum Key {
    /// A secret key of any type.
    Secret(SecretKey),
}

impl Key {
    /// From an object's attributes, secret ones included. `CKR_KEY_TYPE_INCONSISTENT` where the class or key type
    /// has no cryptography here.
    pub fn prepare(attributes: &Attributes) -> Result<Key> {
        let value = attributes.bytes(cryptoki_sys::CKA_VALUE).ok_or(Code::KeyTypeInconsistent)?;
        Ok(Key::Secret(SecretKey::new(SecretBytes::copy_from(value))))
    }
}
