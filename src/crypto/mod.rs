//! Algorithms over the chosen libraries. Knows no PKCS#11 type. One file per algorithm family; which library stands behind a
//! function is decided in its file alone: where there are two, it takes its functions from [`aws`] or, in a build without
//! the feature `aws-lc`, from [`rust`], which has the same by the same names.

#[cfg(not(any(feature = "aws-lc", feature = "pure-rust")))]
compile_error!("keyward needs the feature `aws-lc` (the default) or, with --no-default-features, `pure-rust`");

pub mod aes;
#[cfg(feature = "aws-lc")]
mod aws;
pub mod block;
// Without AWS-LC only two of the six have no crate.
#[cfg_attr(not(feature = "aws-lc"), allow(dead_code))]
mod brainpool;
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
mod nonce;
pub mod pqc;
pub mod prehash;
pub mod prf;
pub mod random;
mod refused;
pub mod rsa;
mod rsa_padding;
// With both features it is compiled for the differential tests alone, which need less than all of it.
#[cfg(any(not(feature = "aws-lc"), all(test, feature = "pure-rust")))]
#[cfg_attr(feature = "aws-lc", allow(dead_code))]
mod rust;
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

#[cfg(all(test, feature = "aws-lc", feature = "pure-rust"))]
mod differential;
#[cfg(test)]
mod pqc_tests;
