//! Encryption under a passphrase as it was before PBES2: PBES1 (RFC 8018, 6.1), and OpenSSL's own of traditional PEM files
//! (RFC 1421's headers; the key by `EVP_BytesToKey` with MD5, in one round).

use cbc::cipher::KeyInit;
use keyward::crypto::digest::{Digest, Hasher};
use zeroize::Zeroizing;

use super::{Result, Wrong, cbc, wrong};
use crate::pem::{Sealed, element};

type Plain = Option<Zeroizing<Vec<u8>>>;

/// Of a key, an IV and a text.
type Decrypt = fn(&[u8], &[u8], &[u8]) -> Plain;

/// A cipher of traditional PEM files: its name there, the length of its key in bytes, and how it decrypts.
type Cipher = (&'static str, usize, Decrypt);

const CIPHERS: [Cipher; 5] = [
    ("AES-128-CBC", 16, |key, iv, data| cbc(aes::Aes128::new_from_slice(key).ok()?, iv, data)),
    ("AES-192-CBC", 24, |key, iv, data| cbc(aes::Aes192::new_from_slice(key).ok()?, iv, data)),
    ("AES-256-CBC", 32, |key, iv, data| cbc(aes::Aes256::new_from_slice(key).ok()?, iv, data)),
    ("DES-EDE3-CBC", 24, |key, iv, data| cbc(des::TdesEde3::new_from_slice(key).ok()?, iv, data)),
    ("DES-CBC", 8, |key, iv, data| cbc(des::Des::new_from_slice(key).ok()?, iv, data)),
];

/// The DER of a traditional PEM block.
pub fn open_pem(sealed: &Sealed, data: &[u8], passphrase: &[u8]) -> Result<Zeroizing<Vec<u8>>> {
    let cipher = CIPHERS.iter().find(|cipher| cipher.0.eq_ignore_ascii_case(&sealed.cipher));
    let (_, len, decrypt) = cipher.ok_or_else(|| {
        let name = &sealed.cipher;
        wrong(&format!("is encrypted by {name}, which is not supported: bring it into PKCS#8, `openssl pkcs8 -topk8`"))
    })?;
    let salt = sealed.iv.get(..8).ok_or_else(|| wrong("has an IV that is too short"))?;
    let mut key = Zeroizing::new(Vec::with_capacity(64));
    let mut hasher = Hasher::new(Digest::Md5);
    while key.len() < *len {
        let last = key.len().saturating_sub(Digest::Md5.len());
        hasher.update(key.get(last..).unwrap_or_default());
        hasher.update(passphrase);
        hasher.update(salt);
        key.extend_from_slice(&hasher.finish());
        hasher.reset();
    }
    key.truncate(*len);
    decrypt(&key, &sealed.iv, data).filter(|plain| is_sequence(plain)).ok_or(Wrong::Passphrase)
}

/// A wrong passphrase passes the padding once in some 256 times.
fn is_sequence(plain: &[u8]) -> bool {
    element(plain).is_some_and(|outer| outer.tag == super::SEQUENCE && outer.rest.is_empty())
}

/// PBES1's arcs under PKCS#5, with the digest and the cipher.
const PBES1: [(u8, Digest, Decrypt); 4] = [
    (3, Digest::Md5, |key, iv, data| cbc(des::Des::new_from_slice(key).ok()?, iv, data)),
    (6, Digest::Md5, |key, iv, data| cbc(rc2::Rc2::new_with_eff_key_len(key, 64), iv, data)),
    (10, Digest::Sha1, |key, iv, data| cbc(des::Des::new_from_slice(key).ok()?, iv, data)),
    (11, Digest::Sha1, |key, iv, data| cbc(rc2::Rc2::new_with_eff_key_len(key, 64), iv, data)),
];

/// `None`: the arc is none of PBES1's. The key is 8 bytes of PBKDF1, the IV the next 8.
pub fn pbes1(
    arc: u8,
    (passphrase, salt, rounds): (&[u8], &[u8], u32),
    data: &[u8],
) -> Option<Result<Zeroizing<Vec<u8>>>> {
    let (_, digest, decrypt) = PBES1.iter().find(|scheme| scheme.0 == arc)?;
    let mut hasher = Hasher::new(*digest);
    hasher.update(passphrase);
    hasher.update(salt);
    let mut derived = hasher.finish();
    for _ in 1..rounds {
        hasher.reset();
        hasher.update(&derived);
        derived = hasher.finish();
    }
    let (key, iv) = derived.split_at_checked(8)?;
    let iv = iv.get(..8)?;
    Some(decrypt(key, iv, data).ok_or(Wrong::Passphrase))
}
