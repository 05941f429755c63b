//! Key derivation functions over HMAC: HKDF (RFC 5869), PBKDF2 (RFC 8018), the PRF of TLS (RFC 5246, RFC 2246).

use std::sync::Arc;

use zeroize::Zeroizing;

use super::digest::{Digest, Hash};
use super::hmac::HmacKey;
use super::prf::Prf;
use crate::error::{Code, Result};

fn hmac(digest: Digest, key: &[u8]) -> Prf {
    Prf::Hmac(Arc::new(HmacKey::new(digest, key)))
}

/// HKDF's first step. No salt is the same as one of zeros.
pub fn hkdf_extract(digest: Digest, salt: &[u8], secret: &[u8]) -> Hash {
    HmacKey::new(digest, salt).mac(secret)
}

/// HKDF's second step. `CKR_KEY_SIZE_RANGE` for more than 255 digests' length.
pub fn hkdf_expand(digest: Digest, key: &[u8], info: &[u8], out: &mut [u8]) -> Result<()> {
    counted(&hmac(digest, key), &[info], out)
}

/// Each value over the one before it, `parts` and a counter of one byte: HKDF's expansion, and `prf+` of IKEv2 (RFC 7296,
/// 2.13). `CKR_KEY_SIZE_RANGE` for more than 255 values.
pub fn counted(prf: &Prf, parts: &[&[u8]], out: &mut [u8]) -> Result<()> {
    if out.len() > prf.len().saturating_mul(usize::from(u8::MAX)) {
        return Err(Code::KeySizeRange.because("longer than 255 values of the function"));
    }
    prf.fill(out, |input, number, previous| {
        input.update(previous);
        parts.iter().for_each(|part| input.update(part));
        input.update(&[number as u8]);
    });
    Ok(())
}

/// PBKDF2 with the password as `key`. `iterations` of 0 counts as 1.
pub fn pbkdf2(key: &HmacKey, salt: &[u8], iterations: u64, out: &mut [u8]) {
    let len = key.digest().len();
    for (number, chunk) in (1u32..).zip(out.chunks_mut(len)) {
        let mut message = key.start();
        message.update(salt);
        message.update(&number.to_be_bytes());
        let mut value = key.finish(&mut message);
        let mut sum = Zeroizing::new(value.to_vec());
        for _ in 1..iterations {
            value = key.mac(&value);
            sum.iter_mut().zip(value.iter()).for_each(|(to, from)| *to ^= from);
        }
        chunk.iter_mut().zip(sum.iter()).for_each(|(to, from)| *to = *from);
    }
}

/// Which PRF of TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlsPrf {
    /// That of TLS 1.2.
    Hash(Digest),
    /// That of TLS 1.0 and 1.1: MD5 and SHA-1, each under one half of the secret.
    Md5AndSha1,
}

impl TlsPrf {
    /// The PRF of `secret` over a label and the parts of a seed.
    pub fn fill(self, secret: &[u8], label: &[u8], seed: &[&[u8]], out: &mut [u8]) {
        let seed = Zeroizing::new([&[label], seed].concat().concat());
        match self {
            TlsPrf::Hash(digest) => p_hash(digest, secret, &seed, out),
            TlsPrf::Md5AndSha1 => {
                // RFC 2246, 5: of a secret of odd length both halves have the middle byte.
                let half = secret.len().div_ceil(2);
                let (first, second) = (secret.get(..half), secret.get(secret.len().saturating_sub(half)..));
                p_hash(Digest::Md5, first.unwrap_or_default(), &seed, out);
                let mut other = Zeroizing::new(vec![0; out.len()]);
                p_hash(Digest::Sha1, second.unwrap_or_default(), &seed, &mut other);
                out.iter_mut().zip(other.iter()).for_each(|(to, from)| *to ^= from);
            }
        }
    }
}

/// RFC 5246, 5.
fn p_hash(digest: Digest, secret: &[u8], seed: &[u8], out: &mut [u8]) {
    let prf = hmac(digest, secret);
    let mut chain = prf.chain(seed);
    prf.fill(out, |input, _, _| {
        input.update(&chain());
        input.update(seed);
    });
}
