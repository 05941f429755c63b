//! Pure-Rust cryptography by the names that `aws` uses: RustCrypto's crates and curve25519-dalek.
//!
//! What is secret is computed in constant time by the crates' own word, for lengths that are public. Nothing here asks for
//! `unsafe`.

pub(super) mod aes;
mod brainpool512;
pub(super) mod curve25519;
pub(super) mod ec;
pub(super) mod finite;
pub(super) mod gcm;
pub(super) mod ml_dsa;
mod ml_dsa_key;
pub(super) mod ml_kem;
pub(super) mod number;
pub(super) mod rsa;
pub(super) mod sha;
mod system;

use super::refused::{Refused, Result};
