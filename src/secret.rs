//! Values that must not outlive their use: wiped on drop, never printed, never cloned by accident.

use std::fmt;

use subtle::ConstantTimeEq;
use zeroize::{Zeroize, Zeroizing};

/// A secret. Read it with [`Secret::expose`], at the place of use; do not bind the result to a name that lives on.
pub struct Secret<T: Zeroize>(Zeroizing<T>);

/// Secret bytes. Build them at their full length: a vector that grows leaves copies behind.
pub type SecretBytes = Secret<Vec<u8>>;

impl<T: Zeroize> Secret<T> {
    pub fn new(value: T) -> Secret<T> {
        Secret(Zeroizing::new(value))
    }

    pub fn expose(&self) -> &T {
        &self.0
    }

    pub fn expose_mut(&mut self) -> &mut T {
        &mut self.0
    }
}

impl<T: Zeroize + Clone> Secret<T> {
    /// A second copy, said aloud.
    pub fn duplicate(&self) -> Secret<T> {
        Secret(self.0.clone())
    }
}

impl SecretBytes {
    pub fn copy_from(bytes: &[u8]) -> SecretBytes {
        Secret::new(bytes.to_vec())
    }

    pub fn zeroed(len: usize) -> SecretBytes {
        Secret::new(vec![0; len])
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Constant time in the contents; the lengths are not secret.
impl<T: Zeroize + AsRef<[u8]>> PartialEq for Secret<T> {
    fn eq(&self, other: &Self) -> bool {
        (*self.0).as_ref().ct_eq((*other.0).as_ref()).into()
    }
}

impl<T: Zeroize> fmt::Debug for Secret<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}
