//! The mechanisms that operations are tested with: one row each, with the key, the parameter and the data that fit.

use cryptoki_sys::*;

use super::keys::{ED448, ED25519, Kind, P256, P384, P521};
use crate::data::{Hash, Mech};

/// What input an operation takes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Data {
    /// Any number of bytes.
    Any,
    /// A multiple of this many bytes, at least one block.
    Blocks(usize),
    /// At most this many bytes.
    Max(usize),
    /// Exactly this many bytes.
    Exact(usize),
}

impl Data {
    /// Input of about this length that the mechanism takes.
    pub fn sample(self, about: usize) -> Vec<u8> {
        let n = match self {
            Data::Any => about,
            Data::Blocks(b) => about.div_ceil(b).max(1) * b,
            Data::Max(m) => about.min(m),
            Data::Exact(n) => n,
        };
        (0..n).map(|i| (i * 7 + i / 256 + 1) as u8).collect()
    }
}

/// How a mechanism is used.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Family {
    Digest,
    /// Signatures and MACs.
    Sign,
    Cipher,
}

/// One mechanism as the tests use it.
#[derive(Clone, Copy)]
pub struct Case {
    pub ty: CK_MECHANISM_TYPE,
    /// Tells rows of one mechanism apart.
    pub variant: &'static str,
    pub family: Family,
    pub key: Kind,
    pub mech: fn(CK_MECHANISM_TYPE, usize) -> Mech,
    pub data: Data,
    /// Whether the specification allows it in several parts.
    pub multi: bool,
    /// Whether the same input gives the same output.
    pub repeats: bool,
    /// Whether it detects changes of a ciphertext.
    pub authentic: bool,
    /// Section of the specification.
    pub section: &'static str,
}

fn plain(ty: CK_MECHANISM_TYPE, _: usize) -> Mech {
    Mech::new(ty)
}

fn iv16(ty: CK_MECHANISM_TYPE, _: usize) -> Mech {
    Mech::bytes(ty, &[0xC3; 16])
}

fn iv8(ty: CK_MECHANISM_TYPE, _: usize) -> Mech {
    Mech::bytes(ty, &[0xC3; 8])
}

fn gcm(_: CK_MECHANISM_TYPE, _: usize) -> Mech {
    Mech::gcm(&[7; 12], b"additional data", 128)
}

/// The length of the data is part of the parameter.
fn ccm(_: CK_MECHANISM_TYPE, len: usize) -> Mech {
    Mech::ccm(len, &[7; 12], b"additional data", 16)
}

fn ctr(_: CK_MECHANISM_TYPE, _: usize) -> Mech {
    Mech::ctr(128, [0xC3; 16])
}

fn chacha(_: CK_MECHANISM_TYPE, _: usize) -> Mech {
    Mech::chacha20(0, &[9; 12])
}

fn chacha_poly(_: CK_MECHANISM_TYPE, _: usize) -> Mech {
    Mech::chacha20_poly1305(&[9; 12], b"additional data")
}

fn oaep_sha1(_: CK_MECHANISM_TYPE, _: usize) -> Mech {
    Mech::oaep(CKM_SHA_1, Hash::SHA1, b"")
}

fn oaep_sha256(_: CK_MECHANISM_TYPE, _: usize) -> Mech {
    Mech::oaep(CKM_SHA256, Hash::SHA256, b"label")
}

fn general8(ty: CK_MECHANISM_TYPE, _: usize) -> Mech {
    Mech::ulong(ty, 8)
}

/// PSS with the hash of the mechanism's name, and of SHA-256 for the one over a ready hash.
fn pss(ty: CK_MECHANISM_TYPE, _: usize) -> Mech {
    let hash = match ty {
        CKM_SHA1_RSA_PKCS_PSS => Hash::SHA1,
        CKM_SHA224_RSA_PKCS_PSS => Hash::SHA224,
        CKM_SHA384_RSA_PKCS_PSS => Hash::SHA384,
        CKM_SHA512_RSA_PKCS_PSS => Hash::SHA512,
        CKM_SHA3_224_RSA_PKCS_PSS => Hash::SHA3_224,
        CKM_SHA3_256_RSA_PKCS_PSS => Hash::SHA3_256,
        CKM_SHA3_384_RSA_PKCS_PSS => Hash::SHA3_384,
        CKM_SHA3_512_RSA_PKCS_PSS => Hash::SHA3_512,
        _ => Hash::SHA256,
    };
    Mech::pss(ty, hash, hash, hash.len)
}

macro_rules! cases {
    ($($ty:ident $variant:literal $family:ident ($key:expr) $mech:ident ($data:expr) $multi:literal $repeats:literal
       $authentic:literal $section:literal)*) => {
        pub static CASES: &[Case] = &[$(Case {
            ty: $ty, variant: $variant, family: Family::$family, key: $key, mech: $mech, data: $data, multi: $multi,
            repeats: $repeats, authentic: $authentic, section: $section,
        }),*];
    };
}

// Columns: mechanism, variant, family, key, parameter, data, several parts, same output each time, authentic, section.
cases! {
    CKM_MD5 "" Digest (Kind::None) plain (Data::Any) true true false "6.20"
    CKM_SHA_1 "" Digest (Kind::None) plain (Data::Any) true true false "6.20"
    CKM_SHA224 "" Digest (Kind::None) plain (Data::Any) true true false "6.20"
    CKM_SHA256 "" Digest (Kind::None) plain (Data::Any) true true false "6.20"
    CKM_SHA384 "" Digest (Kind::None) plain (Data::Any) true true false "6.20"
    CKM_SHA512 "" Digest (Kind::None) plain (Data::Any) true true false "6.20"
    CKM_SHA512_224 "" Digest (Kind::None) plain (Data::Any) true true false "6.20"
    CKM_SHA512_256 "" Digest (Kind::None) plain (Data::Any) true true false "6.20"
    CKM_SHA3_224 "" Digest (Kind::None) plain (Data::Any) true true false "6.20"
    CKM_SHA3_256 "" Digest (Kind::None) plain (Data::Any) true true false "6.20"
    CKM_SHA3_384 "" Digest (Kind::None) plain (Data::Any) true true false "6.20"
    CKM_SHA3_512 "" Digest (Kind::None) plain (Data::Any) true true false "6.20"
    CKM_RIPEMD160 "" Digest (Kind::None) plain (Data::Any) true true false "6.20"
    CKM_BLAKE2B_256 "" Digest (Kind::None) plain (Data::Any) true true false "6.20"
    CKM_BLAKE2B_512 "" Digest (Kind::None) plain (Data::Any) true true false "6.20"

    CKM_MD5_HMAC "" Sign (Kind::Generic(32)) plain (Data::Any) true true true "6.22"
    CKM_SHA_1_HMAC "" Sign (Kind::Generic(32)) plain (Data::Any) true true true "6.22"
    CKM_SHA224_HMAC "" Sign (Kind::Generic(32)) plain (Data::Any) true true true "6.22"
    CKM_SHA256_HMAC "" Sign (Kind::Generic(32)) plain (Data::Any) true true true "6.22"
    CKM_SHA384_HMAC "" Sign (Kind::Generic(48)) plain (Data::Any) true true true "6.22"
    CKM_SHA512_HMAC "" Sign (Kind::Generic(64)) plain (Data::Any) true true true "6.22"
    CKM_SHA512_224_HMAC "" Sign (Kind::Generic(64)) plain (Data::Any) true true true "6.22"
    CKM_SHA512_256_HMAC "" Sign (Kind::Generic(64)) plain (Data::Any) true true true "6.22"
    CKM_SHA3_224_HMAC "" Sign (Kind::Generic(32)) plain (Data::Any) true true true "6.22"
    CKM_SHA3_256_HMAC "" Sign (Kind::Generic(32)) plain (Data::Any) true true true "6.22"
    CKM_SHA3_384_HMAC "" Sign (Kind::Generic(48)) plain (Data::Any) true true true "6.22"
    CKM_SHA3_512_HMAC "" Sign (Kind::Generic(64)) plain (Data::Any) true true true "6.22"
    CKM_SHA_1_HMAC_GENERAL "" Sign (Kind::Generic(32)) general8 (Data::Any) true true true "6.22"
    CKM_SHA256_HMAC_GENERAL "" Sign (Kind::Generic(32)) general8 (Data::Any) true true true "6.22"
    CKM_SHA512_HMAC_GENERAL "" Sign (Kind::Generic(64)) general8 (Data::Any) true true true "6.22"
    CKM_AES_CMAC "" Sign (Kind::Aes(32)) plain (Data::Any) true true true "6.14"
    CKM_AES_CMAC_GENERAL "" Sign (Kind::Aes(32)) general8 (Data::Any) true true true "6.14"
    CKM_AES_MAC "" Sign (Kind::Aes(32)) plain (Data::Any) true true true "6.10.10"
    CKM_DES3_CMAC "" Sign (Kind::Des3) plain (Data::Any) true true true "6.19"

    CKM_RSA_PKCS "" Sign (Kind::Rsa) plain (Data::Max(245)) false true true "6.1.6"
    CKM_RSA_X_509 "" Sign (Kind::Rsa) plain (Data::Exact(255)) false true true "6.1.12"
    CKM_MD5_RSA_PKCS "" Sign (Kind::Rsa) plain (Data::Any) true true true "6.1.14"
    CKM_SHA1_RSA_PKCS "" Sign (Kind::Rsa) plain (Data::Any) true true true "6.1.14"
    CKM_SHA224_RSA_PKCS "" Sign (Kind::Rsa) plain (Data::Any) true true true "6.1.14"
    CKM_SHA256_RSA_PKCS "" Sign (Kind::Rsa) plain (Data::Any) true true true "6.1.14"
    CKM_SHA384_RSA_PKCS "" Sign (Kind::Rsa) plain (Data::Any) true true true "6.1.14"
    CKM_SHA512_RSA_PKCS "" Sign (Kind::Rsa) plain (Data::Any) true true true "6.1.14"
    CKM_SHA3_256_RSA_PKCS "" Sign (Kind::Rsa) plain (Data::Any) true true true "6.1.14"
    CKM_SHA3_512_RSA_PKCS "" Sign (Kind::Rsa) plain (Data::Any) true true true "6.1.14"
    CKM_RSA_PKCS_PSS "" Sign (Kind::Rsa) pss (Data::Exact(32)) false false true "6.1.10"
    CKM_SHA1_RSA_PKCS_PSS "" Sign (Kind::Rsa) pss (Data::Any) true false true "6.1.15"
    CKM_SHA224_RSA_PKCS_PSS "" Sign (Kind::Rsa) pss (Data::Any) true false true "6.1.15"
    CKM_SHA256_RSA_PKCS_PSS "" Sign (Kind::Rsa) pss (Data::Any) true false true "6.1.15"
    CKM_SHA384_RSA_PKCS_PSS "" Sign (Kind::Rsa) pss (Data::Any) true false true "6.1.15"
    CKM_SHA512_RSA_PKCS_PSS "" Sign (Kind::Rsa) pss (Data::Any) true false true "6.1.15"
    CKM_SHA3_256_RSA_PKCS_PSS "" Sign (Kind::Rsa) pss (Data::Any) true false true "6.1.15"

    CKM_ECDSA "p256" Sign (Kind::Ec(P256)) plain (Data::Exact(32)) false false true "6.3.12"
    CKM_ECDSA "p384" Sign (Kind::Ec(P384)) plain (Data::Exact(48)) false false true "6.3.12"
    CKM_ECDSA "p521" Sign (Kind::Ec(P521)) plain (Data::Exact(64)) false false true "6.3.12"
    CKM_ECDSA_SHA1 "" Sign (Kind::Ec(P256)) plain (Data::Any) true false true "6.3.13"
    CKM_ECDSA_SHA224 "" Sign (Kind::Ec(P256)) plain (Data::Any) true false true "6.3.13"
    CKM_ECDSA_SHA256 "" Sign (Kind::Ec(P256)) plain (Data::Any) true false true "6.3.13"
    CKM_ECDSA_SHA384 "" Sign (Kind::Ec(P384)) plain (Data::Any) true false true "6.3.13"
    CKM_ECDSA_SHA512 "" Sign (Kind::Ec(P521)) plain (Data::Any) true false true "6.3.13"
    CKM_ECDSA_SHA3_256 "" Sign (Kind::Ec(P256)) plain (Data::Any) true false true "6.3.13"
    CKM_ECDSA_SHA3_384 "" Sign (Kind::Ec(P384)) plain (Data::Any) true false true "6.3.13"
    CKM_EDDSA "ed25519" Sign (Kind::Edwards(ED25519)) plain (Data::Any) false true true "6.3.14"
    CKM_EDDSA "ed448" Sign (Kind::Edwards(ED448)) plain (Data::Any) false true true "6.3.14"
    CKM_ML_DSA "65" Sign (Kind::MlDsa(CKP_ML_DSA_65)) plain (Data::Any) false false true "6.56"
    CKM_SLH_DSA "sha2-128f" Sign (Kind::SlhDsa(CKP_SLH_DSA_SHA2_128F)) plain (Data::Any) false false true "6.58"

    CKM_AES_ECB "" Cipher (Kind::Aes(32)) plain (Data::Blocks(16)) true true false "6.10.4"
    CKM_AES_CBC "" Cipher (Kind::Aes(32)) iv16 (Data::Blocks(16)) true true false "6.10.5"
    CKM_AES_CBC "128" Cipher (Kind::Aes(16)) iv16 (Data::Blocks(16)) true true false "6.10.5"
    CKM_AES_CBC_PAD "" Cipher (Kind::Aes(32)) iv16 (Data::Any) true true false "6.10.6"
    CKM_AES_CTR "" Cipher (Kind::Aes(32)) ctr (Data::Any) true true false "6.11"
    CKM_AES_GCM "" Cipher (Kind::Aes(32)) gcm (Data::Any) true true true "6.13"
    CKM_AES_GCM "128" Cipher (Kind::Aes(16)) gcm (Data::Any) true true true "6.13"
    CKM_AES_CCM "" Cipher (Kind::Aes(32)) ccm (Data::Any) true true true "6.13"
    CKM_AES_OFB "" Cipher (Kind::Aes(32)) iv16 (Data::Any) true true false "6.10.7"
    CKM_AES_CFB8 "" Cipher (Kind::Aes(32)) iv16 (Data::Any) true true false "6.10.8"
    CKM_AES_CFB128 "" Cipher (Kind::Aes(32)) iv16 (Data::Any) true true false "6.10.8"
    CKM_AES_XTS "" Cipher (Kind::AesXts(64)) iv16 (Data::Blocks(16)) true true false "6.15"
    CKM_DES3_ECB "" Cipher (Kind::Des3) plain (Data::Blocks(8)) true true false "6.18"
    CKM_DES3_CBC "" Cipher (Kind::Des3) iv8 (Data::Blocks(8)) true true false "6.18"
    CKM_DES3_CBC_PAD "" Cipher (Kind::Des3) iv8 (Data::Any) true true false "6.18"
    CKM_CHACHA20 "" Cipher (Kind::ChaCha20) chacha (Data::Any) true true false "6.47"
    CKM_CHACHA20_POLY1305 "" Cipher (Kind::ChaCha20) chacha_poly (Data::Any) true true true "6.50"
    CKM_RSA_PKCS "" Cipher (Kind::Rsa) plain (Data::Max(245)) false false false "6.1.6"
    CKM_RSA_X_509 "" Cipher (Kind::Rsa) plain (Data::Exact(255)) false true false "6.1.12"
    CKM_RSA_PKCS_OAEP "sha1" Cipher (Kind::Rsa) oaep_sha1 (Data::Max(214)) false false true "6.1.8"
    CKM_RSA_PKCS_OAEP "sha256-label" Cipher (Kind::Rsa) oaep_sha256 (Data::Max(190)) false false true "6.1.8"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_have_the_lengths_asked_for() {
        assert_eq!(Data::Blocks(16).sample(17).len(), 32);
        assert_eq!(Data::Blocks(16).sample(0).len(), 16);
        assert_eq!(Data::Max(10).sample(100).len(), 10);
        assert_eq!(Data::Exact(32).sample(1).len(), 32);
    }

    #[test]
    fn rows_are_distinct() {
        for (i, a) in CASES.iter().enumerate() {
            let same = |b: &Case| a.ty == b.ty && a.variant == b.variant && a.family == b.family;
            assert!(!CASES[i + 1..].iter().any(same), "{}", crate::names::name_of("CKM_", a.ty));
        }
    }
}
