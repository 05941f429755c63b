//! Digests (PKCS#11 3.2, "Digest", "Truncated Digest").

use cryptoki_sys::*;

use super::key::Key;
use super::table::{Does, NOTHING, Offer, ParamKind, Row};
use crate::crypto::digest::{Digest, Hasher};
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
];

const fn digest(ty: CK_MECHANISM_TYPE, name: &'static str) -> Row {
    Row {
        ty,
        name,
        keys: &[],
        size: (0, 0),
        flags: CKF_DIGEST,
        params: ParamKind::None,
        offer: Offer::On,
        approved: true,
        hash: Some(ty),
        does: Does { begin: Some(begin), ..NOTHING },
    }
}

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

/// The digest of a row that has one; `CKR_GENERAL_ERROR` otherwise.
pub(super) fn of_row(row: &Row) -> Result<Digest> {
    of_hash(row.hash.ok_or(Code::GeneralError)?).map_err(|e| e.recode(Code::GeneralError))
}

fn begin(row: &'static Row, what: Use, _: &Params, _: Option<&std::sync::Arc<Key>>) -> Result<Box<dyn Operation>> {
    if what != Use::Digest {
        return Err(Code::MechanismInvalid.into());
    }
    Ok(Box::new(DigestOperation(Hasher::new(of_row(row)?))))
}

/// First byte of a saved state; the digest's number follows, then the hasher's own state.
const STATE_VERSION: u8 = 1;

/// Continues from what [`Operation::save`] of a digest gave. `CKR_SAVED_STATE_INVALID`.
pub fn restore(state: &[u8]) -> Result<Box<dyn Operation>> {
    let [STATE_VERSION, number, state @ ..] = state else { return Err(Code::SavedStateInvalid.into()) };
    let digest = Digest::from_number(*number).ok_or(Code::SavedStateInvalid)?;
    Ok(Box::new(DigestOperation(Hasher::restore(digest, state)?)))
}

struct DigestOperation(Hasher);

impl Operation for DigestOperation {
    fn size(&mut self, step: Step, _: usize) -> Result<Size> {
        Ok(Size::Exactly(if step == Step::Update { 0 } else { self.0.digest().len() }))
    }

    fn update(&mut self, input: &[u8], _: &mut [u8]) -> Result<usize> {
        self.0.update(input);
        Ok(0)
    }

    fn finish(&mut self, out: &mut [u8]) -> Result<usize> {
        Ok(self.0.finish_into(out))
    }

    fn restart(&mut self, params: &Params) -> bool {
        self.0.reset();
        *params == Params::None
    }

    fn save(&self) -> Result<Vec<u8>> {
        let mut state = vec![STATE_VERSION, self.0.digest().number()];
        state.extend(self.0.save());
        Ok(state)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::digest::hash;

    #[test]
    fn rows_give_their_own_digest_whole_in_parts_and_again() {
        for row in ROWS {
            let mut operation = row.does.begin.unwrap()(row, Use::Digest, &Params::None, None).unwrap();
            let expected = hash(of_hash(row.ty).unwrap(), b"one two");
            for _ in 0..2 {
                let mut out = [0; 64];
                assert_eq!(operation.size(Step::Update, 4).unwrap(), Size::Exactly(0));
                operation.update(b"one ", &mut []).unwrap();
                operation.update(b"two", &mut []).unwrap();
                let len = operation.finish(&mut out).unwrap();
                assert_eq!(out[..len], *expected, "{}", row.name);
                assert!(operation.restart(&Params::None));
                let len = operation.whole(b"one two", &mut out).unwrap();
                assert_eq!(out[..len], *expected, "{}", row.name);
                assert_eq!(operation.size(Step::Whole, 7).unwrap(), Size::Exactly(len));
                operation.update(b"left behind", &mut []).unwrap();
                assert!(operation.restart(&Params::None), "forgets what was left");
            }
        }
        assert_eq!(ROWS.len(), Digest::ALL.len());
    }

    #[test]
    fn a_saved_digest_goes_on_and_a_damaged_one_does_not() {
        for row in ROWS {
            let mut operation = row.does.begin.unwrap()(row, Use::Digest, &Params::None, None).unwrap();
            operation.update(&[7; 300], &mut []).unwrap();
            let state = operation.save().unwrap();
            let mut out = [0; 64];
            let len = restore(&state).unwrap().whole(&[8; 300], &mut out).unwrap();
            let all = [[7; 300], [8; 300]].concat();
            assert_eq!(out[..len], *hash(of_hash(row.ty).unwrap(), &all), "{}", row.name);
            let other_version = [&[2], &state[1..]].concat();
            let no_such_digest = [&[1, 99], &state[2..]].concat();
            for bad in [&[][..], &state[..1], &state[..state.len() - 1], &other_version, &no_such_digest] {
                assert_eq!(restore(bad).err().unwrap().code(), Code::SavedStateInvalid);
            }
        }
    }
}
