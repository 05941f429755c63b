//! The mechanisms: one table, one file per family. A family's file holds its rows and the operations they begin; the
//! algorithms are in `crypto`.

mod aead;
pub mod aes;
pub mod approved;
pub mod cipher;
pub mod dh;
pub mod digest;
pub mod dsa;
pub mod ec;
pub mod ec_wrap;
pub mod ecdsa;
mod finite_attributes;
pub mod generic;
mod ivs;
pub mod kdf;
pub mod key;
pub mod key_attributes;
pub mod mac;
pub mod messages;
pub mod null;
pub mod otp;
pub mod plan;
pub mod pqc;
mod pqc_attributes;
mod prf;
pub mod provenance;
pub mod rsa;
pub mod salsa;
pub mod secret_key;
mod signing;
pub mod table;
#[cfg(test)]
mod testing;
mod tree_attributes;
pub mod trees;
