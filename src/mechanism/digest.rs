//! Digests (PKCS#11 3.2, "Digest", "Truncated Digest").

use cryptoki_sys::*;

use super::key::Key;
use super::table::{Does, NOTHING, Offer, ParamKind, Row};
use crate::crypto::digest::{Digest, Hasher};
use crate::crypto::sha512t::Bits;
use crate::error::{Code, Result};
use crate::token::{Operation, Params, Size, Step, Use};

pub const ROWS: &[Row] = &[
    digest(CKM_SHA_1, "CKM_SHA_1"),
    digest(CKM_SHA224, "CKM_SHA224"),
    digest(CKM_SHA256, "CKM_SHA256"),
    digest(CKM_SHA384, "CKM_SHA384"),
    digest(CKM_SHA512, "CKM_SHA512"),
    digest(CKM_SHA512_224, "CKM_SHA512_224"),
    digest(CKM_SHA512_256, "CKM_SHA512_256"),
    digest(CKM_SHA3_224, "CKM_SHA3_224"),
    digest(CKM_SHA3_256, "CKM_SHA3_256"),
    digest(CKM_SHA3_384, "CKM_SHA3_384"),
    digest(CKM_SHA3_512, "CKM_SHA3_512"),
    // The parameter is t, in bits.
    Row { params: ParamKind::MacLength, ..digest(CKM_SHA512_T, "CKM_SHA512_T") },
    digest(CKM_BLAKE2B_160, "CKM_BLAKE2B_160"),
    digest(CKM_BLAKE2B_256, "CKM_BLAKE2B_256"),
    digest(CKM_BLAKE2B_384, "CKM_BLAKE2B_384"),
    digest(CKM_BLAKE2B_512, "CKM_BLAKE2B_512"),
    digest(CKM_MD5, "CKM_MD5"),
    digest(CKM_RIPEMD160, "CKM_RIPEMD160"),
];

/// MD5 and RIPEMD-160 are for what is old.
pub(super) const fn offer(hash: CK_MECHANISM_TYPE) -> Offer {
    if matches!(hash, CKM_MD5 | CKM_RIPEMD160) { Offer::Legacy } else { Offer::On }
}

/// FIPS 180-4 and FIPS 202. SHA-512/t in general is not among the functions that FIPS 180-4, 5.3.6, approves.
pub(super) const fn is_approved(hash: CK_MECHANISM_TYPE) -> bool {
    let other = matches!(hash, CKM_BLAKE2B_160 | CKM_BLAKE2B_256 | CKM_BLAKE2B_384 | CKM_BLAKE2B_512 | CKM_SHA512_T);
    !other && !matches!(hash, CKM_MD5 | CKM_RIPEMD160)
}

const fn digest(ty: CK_MECHANISM_TYPE, name: &'static str) -> Row {
    Row {
        ty,
        name,
        keys: &[],
        size: (0, 0),
        flags: CKF_DIGEST,
        params: ParamKind::None,
        offer: offer(ty),
        approved: is_approved(ty),
        hash: Some(ty),
        does: Does { begin: Some(begin), ..NOTHING },
    }
}

/// The digest that a parameter names. `CKR_MECHANISM_PARAM_INVALID`, also for MD5 and RIPEMD-160: those serve by rows of
/// their own, which a configuration must ask for.
pub fn of_hash(ckm: CK_MECHANISM_TYPE) -> Result<Digest> {
    let digest = named(ckm).filter(|_| offer(ckm) == Offer::On);
    Ok(digest.ok_or(Code::MechanismParamInvalid)?)
}

/// The digest of a row that has one; `CKR_GENERAL_ERROR` otherwise.
pub(super) fn of_row(row: &Row) -> Result<Digest> {
    Ok(row.hash.and_then(named).ok_or(Code::GeneralError)?)
}

fn named(ckm: CK_MECHANISM_TYPE) -> Option<Digest> {
    Some(match ckm {
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
        CKM_BLAKE2B_160 => Digest::Blake2b160,
        CKM_BLAKE2B_256 => Digest::Blake2b256,
        CKM_BLAKE2B_384 => Digest::Blake2b384,
        CKM_BLAKE2B_512 => Digest::Blake2b512,
        CKM_MD5 => Digest::Md5,
        CKM_RIPEMD160 => Digest::Ripemd160,
        _ => return None,
    })
}

/// As [`of_row`], for a row that may be of SHA-512/t, whose parameter is t in bits: `CKR_MECHANISM_PARAM_INVALID` unless
/// 0 < t < 512 and t is not 384.
pub(super) fn digest_of(row: &Row, params: &Params) -> Result<Digest> {
    match (row.hash, params) {
        (Some(CKM_SHA512_T), Params::MacLength(bits)) => {
            Ok(Digest::Sha512T(Bits::new(*bits).ok_or(Code::MechanismParamInvalid)?))
        }
        (Some(CKM_SHA512_T), _) => Err(Code::MechanismParamInvalid.into()),
        _ => of_row(row),
    }
}

fn begin(row: &'static Row, what: Use, params: &Params, _: Option<&std::sync::Arc<Key>>) -> Result<Box<dyn Operation>> {
    if what != Use::Digest {
        return Err(Code::MechanismInvalid.into());
    }
    Ok(Box::new(DigestOperation { hasher: Hasher::new(digest_of(row, params)?), fed: false, params: params.clone() }))
}

/// First byte of a saved state; the digest's number follows, then the hasher's own state.
const STATE_VERSION: u8 = 1;

/// Continues from what [`Operation::save`] of a digest gave. `CKR_SAVED_STATE_INVALID`.
pub fn restore(state: &[u8]) -> Result<Box<dyn Operation>> {
    let [STATE_VERSION, number, state @ ..] = state else { return Err(Code::SavedStateInvalid.into()) };
    // Restored ones are not restarted: their parameters do not matter.
    Ok(Box::new(DigestOperation { hasher: Hasher::restore(*number, state)?, fed: true, params: Params::None }))
}

struct DigestOperation {
    hasher: Hasher,
    /// Something was fed since it began anew.
    fed: bool,
    params: Params,
}

impl Operation for DigestOperation {
    fn size(&mut self, step: Step, _: usize) -> Result<Size> {
        Ok(Size::Exactly(if step == Step::Update { 0 } else { self.hasher.digest().len() }))
    }

    fn update(&mut self, input: &[u8], _: &mut [u8]) -> Result<usize> {
        self.fed = true;
        self.hasher.update(input);
        Ok(0)
    }

    fn finish(&mut self, out: &mut [u8]) -> Result<usize> {
        self.fed = false;
        Ok(self.hasher.finish_into(out))
    }

    fn restart(&mut self, params: &Params) -> bool {
        if std::mem::take(&mut self.fed) {
            self.hasher.reset();
        }
        *params == self.params
    }

    fn save(&self) -> Result<Vec<u8>> {
        let mut state = vec![STATE_VERSION, self.hasher.digest().number()];
        state.extend(self.hasher.save()?);
        Ok(state)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::digest::hash;

    /// Every row with parameters for it, and its digest.
    fn rows() -> impl Iterator<Item = (&'static Row, Params, Digest)> {
        ROWS.iter().map(|row| {
            let params = if row.params == ParamKind::None { Params::None } else { Params::MacLength(200) };
            let digest = digest_of(row, &params).unwrap();
            (row, params, digest)
        })
    }

    #[test]
    fn rows_give_their_own_digest_whole_in_parts_and_again() {
        for (row, params, digest) in rows() {
            let mut operation = row.does.begin.unwrap()(row, Use::Digest, &params, None).unwrap();
            let expected = hash(digest, b"one two");
            for _ in 0..2 {
                let mut out = [0; 64];
                assert_eq!(operation.size(Step::Update, 4).unwrap(), Size::Exactly(0));
                operation.update(b"one ", &mut []).unwrap();
                operation.update(b"two", &mut []).unwrap();
                let len = operation.finish(&mut out).unwrap();
                assert_eq!(out[..len], *expected, "{}", row.name);
                assert!(operation.restart(&params));
                let len = operation.whole(b"one two", &mut out).unwrap();
                assert_eq!(out[..len], *expected, "{}", row.name);
                assert_eq!(operation.size(Step::Whole, 7).unwrap(), Size::Exactly(len));
                operation.update(b"left behind", &mut []).unwrap();
                assert!(operation.restart(&params), "forgets what was left");
            }
        }
        assert_eq!(ROWS.len(), Digest::ALL.len() + 1);
        for legacy in [CKM_MD5, CKM_RIPEMD160, CKM_SHA512_T, CKM_AES_CBC] {
            assert_eq!(of_hash(legacy).unwrap_err().code(), Code::MechanismParamInvalid, "not as a parameter");
        }
        for bad in [Params::None, Params::MacLength(384), Params::MacLength(0)] {
            let row = super::super::table::row(CKM_SHA512_T).unwrap();
            let refused = row.does.begin.unwrap()(row, Use::Digest, &bad, None).err().map(|e| e.code());
            assert_eq!(refused, Some(Code::MechanismParamInvalid));
        }
    }

    #[test]
    fn a_saved_digest_goes_on_and_a_damaged_one_does_not() {
        for (row, params, digest) in rows() {
            let mut operation = row.does.begin.unwrap()(row, Use::Digest, &params, None).unwrap();
            operation.update(&[7; 300], &mut []).unwrap();
            if row.name.contains("BLAKE2B") {
                assert_eq!(operation.save().unwrap_err().code(), Code::StateUnsaveable);
                continue;
            }
            let state = operation.save().unwrap();
            let mut out = [0; 64];
            let len = restore(&state).unwrap().whole(&[8; 300], &mut out).unwrap();
            let all = [[7; 300], [8; 300]].concat();
            assert_eq!(out[..len], *hash(digest, &all), "{}", row.name);
            let other_version = [&[2], &state[1..]].concat();
            let no_such_digest = [&[1, 99], &state[2..]].concat();
            for bad in [&[][..], &state[..1], &state[..state.len() - 1], &other_version, &no_such_digest] {
                assert_eq!(restore(bad).err().unwrap().code(), Code::SavedStateInvalid);
            }
        }
    }
}
