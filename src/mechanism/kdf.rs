//! Key derivation functions.

use cryptoki_sys::*;

use super::digest::{digest_of, offer};
use super::generic::{MAX_SECRET, SECRET_KEYS, leading};
use super::secret_key::SecretKey;
use super::table::{Derivation, Does, NOTHING, Offer, ParamKind, Row};
use crate::crypto::digest::hash;
use crate::error::Result;
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
];

const fn hashed(ty: CK_MECHANISM_TYPE, name: &'static str, hash: CK_MECHANISM_TYPE) -> Row {
    Row {
        ty,
        name,
        keys: SECRET_KEYS,
        size: (1, MAX_SECRET as CK_ULONG),
        flags: CKF_DERIVE,
        params: ParamKind::None,
        offer: offer(hash),
        approved: false,
        hash: Some(hash),
        does: Does { derive: Some(hash_of_value), ..NOTHING },
    }
}

/// "Hash-based key derivations": the digest of the base key's value, or its leading bytes. `CKR_KEY_SIZE_RANGE` where the
/// key wanted is longer than the digest.
fn hash_of_value(from: &Derivation<'_>) -> Result<SecretBytes> {
    leading(&hash(digest_of(from.row, from.params)?, SecretKey::of(Some(from.base))?.value()), from.length)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::key::Key;
    use super::*;
    use crate::error::Code;
    use crate::token::Params;

    #[test]
    fn the_digest_of_the_value_in_the_length_wanted() {
        let base = Arc::new(Key::Secret(SecretKey::new(SecretBytes::copy_from(b"abc"))));
        for row in ROWS {
            let params = if row.params == ParamKind::None { Params::None } else { Params::MacLength(200) };
            let digest = digest_of(row, &params).unwrap();
            let derive = |length| {
                let from = Derivation { row, params: &params, base: &base, other: None, length };
                row.does.derive.unwrap()(&from).map(|value| value.expose().clone()).map_err(|e| e.code())
            };
            let expected = hash(digest, b"abc").to_vec();
            assert_eq!(derive(Some(16)), Ok(expected[..16].to_vec()), "{}", row.name);
            assert_eq!(derive(Some(digest.len() + 1)), Err(Code::KeySizeRange), "{}", row.name);
            assert_eq!(derive(None), Ok(expected), "{}", row.name);
        }
    }
}
