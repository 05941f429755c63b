//! Algorithms over the chosen libraries. Knows no PKCS#11 type. One file per algorithm family; which library stands behind a
//! function is decided in its file alone.

pub mod aes;
mod aws;
mod aws_lattice;
mod brainpool;
pub mod block;
pub mod ccm;
pub mod check_value;
pub mod cmac;
pub mod curve;
pub mod digest;
pub mod ec;
pub mod ed25519;
pub mod ed448;
pub mod eddsa;
pub mod finite;
pub mod finite_info;
pub mod gcm;
mod hash_trees;
pub mod hmac;
pub mod hss;
pub mod kbkdf;
pub mod kdf;
pub mod keyinfo;
pub mod keywrap;
pub mod lms;
pub mod ml_dsa;
pub mod ml_kem;
pub mod pqc;
pub mod prehash;
pub mod prf;
pub mod random;
pub mod rsa;
mod rsa_padding;
pub mod salsa;
pub mod shake;
pub mod slh_dsa;
pub mod seed;
pub mod sha512t;
pub mod stealing;
pub mod x25519;
pub mod x448;
pub mod xdh;
pub mod xmss;

#[cfg(test)]
mod pqc_tests;
