//! Algorithms over the chosen libraries. Knows no PKCS#11 type. One file per algorithm family; which library stands behind a
//! function is decided in its file alone.

pub mod aes;
pub mod cmac;
pub mod digest;
pub mod gcm;
pub mod hmac;
pub mod keywrap;
pub mod random;
