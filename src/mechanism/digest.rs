//! Digests.

use cryptoki_sys::*;

use super::table::Row;
use crate::crypto::digest::Digest;
use crate::error::{Code, Result};

pub const ROWS: &[Row] = &[];

/// The digest that a `CKM_` names where a parameter or a row says a hash; `CKR_MECHANISM_PARAM_INVALID`.
pub fn of_hash(ckm: CK_MECHANISM_TYPE) -> Result<Digest> {
    Ok(match ckm {
        CKM_SHA_1 => Digest::Sha1,
        CKM_SHA224 => Digest::Sha224,
        CKM_SHA256 => Digest::Sha256,
        CKM_SHA384 => Digest::Sha384,
        CKM_SHA512 => Digest::Sha512,
        CKM_SHA512_224 => Digest::Sha512_224,
        CKM_SHA512_256 => Digest::Sha512_256,
        CKM_SHA3_224 => Digest::Sha3_224,
        CKM_SHA3_256 => Digest::Sha3_256,
        CKM_SHA3_384 => Digest::Sha3_384,
        CKM_SHA3_512 => Digest::Sha3_512,
        _ => Err(Code::MechanismParamInvalid)?,
    })
}
