//! Key derivation functions: the hash-based ones here, the others each in its file.

pub mod hkdf;
pub mod ike;
pub mod pbkdf2;
pub mod public_key;
pub mod sp800_108;
pub mod tls;

use cryptoki_sys::*;

use super::digest::{digest_of, offer};
use super::generic::{MAX_SECRET, SECRET_KEYS, leading};
use super::secret_key::SecretKey;
use super::table::{Derivation, Does, NOTHING, Offer, ParamKind, Row};
use crate::crypto::digest::hash;
use crate::crypto::shake;
use crate::error::{Code, Result};
use crate::secret::SecretBytes;

pub const ROWS: &[Row] = &[
    hashed(CKM_MD5_KEY_DERIVATION, "CKM_MD5_KEY_DERIVATION", CKM_MD5),
    Row { offer: Offer::Legacy, ..hashed(CKM_SHA1_KEY_DERIVATION, "CKM_SHA1_KEY_DERIVATION", CKM_SHA_1) },
    hashed(CKM_SHA224_KEY_DERIVATION, "CKM_SHA224_KEY_DERIVATION", CKM_SHA224),
    hashed(CKM_SHA256_KEY_DERIVATION, "CKM_SHA256_KEY_DERIVATION", CKM_SHA256),
    hashed(CKM_SHA384_KEY_DERIVATION, "CKM_SHA384_KEY_DERIVATION", CKM_SHA384),
    hashed(CKM_SHA512_KEY_DERIVATION, "CKM_SHA512_KEY_DERIVATION", CKM_SHA512),
    hashed(CKM_SHA512_224_KEY_DERIVATION, "CKM_SHA512_224_KEY_DERIVATION", CKM_SHA512_224),
    hashed(CKM_SHA512_256_KEY_DERIVATION, "CKM_SHA512_256_KEY_DERIVATION", CKM_SHA512_256),
    Row {
        params: ParamKind::MacLength,
        ..hashed(CKM_SHA512_T_KEY_DERIVATION, "CKM_SHA512_T_KEY_DERIVATION", CKM_SHA512_T)
    },
    hashed(CKM_BLAKE2B_160_KEY_DERIVE, "CKM_BLAKE2B_160_KEY_DERIVE", CKM_BLAKE2B_160),
    hashed(CKM_BLAKE2B_256_KEY_DERIVE, "CKM_BLAKE2B_256_KEY_DERIVE", CKM_BLAKE2B_256),
    hashed(CKM_BLAKE2B_384_KEY_DERIVE, "CKM_BLAKE2B_384_KEY_DERIVE", CKM_BLAKE2B_384),
    hashed(CKM_BLAKE2B_512_KEY_DERIVE, "CKM_BLAKE2B_512_KEY_DERIVE", CKM_BLAKE2B_512),
    hashed(CKM_SHA3_224_KEY_DERIVATION, "CKM_SHA3_224_KEY_DERIVATION", CKM_SHA3_224),
    hashed(CKM_SHA3_256_KEY_DERIVATION, "CKM_SHA3_256_KEY_DERIVATION", CKM_SHA3_256),
    hashed(CKM_SHA3_384_KEY_DERIVATION, "CKM_SHA3_384_KEY_DERIVATION", CKM_SHA3_384),
    hashed(CKM_SHA3_512_KEY_DERIVATION, "CKM_SHA3_512_KEY_DERIVATION", CKM_SHA3_512),
    expanded(CKM_SHAKE_128_KEY_DERIVATION, "CKM_SHAKE_128_KEY_DERIVATION"),
    expanded(CKM_SHAKE_256_KEY_DERIVATION, "CKM_SHAKE_256_KEY_DERIVATION"),
];

/// What the rows of derivations from secret keys share.
const fn derivation(ty: CK_MECHANISM_TYPE, name: &'static str, params: ParamKind) -> Row {
    Row {
        ty,
        name,
        keys: SECRET_KEYS,
        size: (1, MAX_SECRET as CK_ULONG),
        flags: CKF_DERIVE,
        params,
        offer: Offer::On,
        approved: true,
        hash: None,
        does: NOTHING,
    }
}

const fn hashed(ty: CK_MECHANISM_TYPE, name: &'static str, hash: CK_MECHANISM_TYPE) -> Row {
    Row {
        offer: offer(hash),
        approved: false,
        hash: Some(hash),
        does: Does { derive: Some(hash_of_value), ..NOTHING },
        ..derivation(ty, name, ParamKind::None)
    }
}

const fn expanded(ty: CK_MECHANISM_TYPE, name: &'static str) -> Row {
    let does = Does { derive: Some(shake_of_value), ..NOTHING };
    Row { approved: false, does, ..derivation(ty, name, ParamKind::None) }
}

/// The same with SHAKE, to the length that the section gives: 32 bytes, or 64.
fn shake_of_value(from: &Derivation<'_>) -> Result<SecretBytes> {
    let value = base(from)?;
    let whole = match from.row.ty {
        CKM_SHAKE_128_KEY_DERIVATION => shake::shake128(value, 32),
        CKM_SHAKE_256_KEY_DERIVATION => shake::shake256(value, 64),
        _ => return Err(Code::GeneralError.into()),
    };
    leading(whole.expose(), from.length)
}

/// "Hash-based key derivations": the digest of the base key's value, or its leading bytes. `CKR_KEY_SIZE_RANGE` where the
/// key wanted is longer than the digest.
fn hash_of_value(from: &Derivation<'_>) -> Result<SecretBytes> {
    leading(&hash(digest_of(from.row, from.params)?, SecretKey::of(Some(from.base))?.value()), from.length)
}

/// The value of the base key, which is a secret one.
fn base<'a>(from: &Derivation<'a>) -> Result<&'a [u8]> {
    Ok(SecretKey::of(Some(from.base))?.value())
}

/// The values of the keys among the parameters, in their order.
fn others<'a>(from: &Derivation<'a>) -> Result<Vec<&'a [u8]>> {
    from.others.iter().map(|other| SecretKey::of(Some(other)).map(SecretKey::value)).collect()
}

#[cfg(test)]
mod tests;
