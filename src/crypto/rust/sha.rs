//! SHA-1 and SHA-2, by the crates `sha1` and `sha2`.

pub(in crate::crypto) use sha1::Sha1;
pub(in crate::crypto) use sha2::{Sha224, Sha256, Sha384, Sha512, Sha512_224, Sha512_256};
