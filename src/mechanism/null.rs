//! `CKM_NULL` (PKCS#11 3.2, "NULL Mechanism"): what goes in comes out.
//!
//! Two of its uses are not offered, as they would hand out a sensitive key's value: wrapping with it, and digesting a key
//! with it.

use std::sync::Arc;

use cryptoki_sys::*;
use subtle::ConstantTimeEq;
use zeroize::Zeroize;

use super::generic::{MAX_SECRET, SECRET_KEYS, leading};
use super::key::Key;
use super::secret_key::SecretKey;
use super::table::{Derivation, Does, NOTHING, Offer, ParamKind, Row};
use crate::error::{Code, Result};
use crate::object::build::Heritage;
use crate::secret::SecretBytes;
use crate::token::{Operation, Params, Size, Step, Use};

pub const ROWS: &[Row] = &[Row {
    ty: CKM_NULL,
    name: "CKM_NULL",
    keys: SECRET_KEYS,
    size: (1, MAX_SECRET as CK_ULONG),
    flags: CKF_ENCRYPT
        | CKF_DECRYPT
        | CKF_SIGN
        | CKF_VERIFY
        | CKF_SIGN_RECOVER
        | CKF_VERIFY_RECOVER
        | CKF_DIGEST
        | CKF_DERIVE,
    params: ParamKind::None,
    offer: Offer::On,
    approved: false,
    hash: None,
    does: Does { begin: Some(begin), derive: Some(derive), heritage: Heritage::bound, ..NOTHING },
}];

fn begin(row: &'static Row, what: Use, params: &Params, key: Option<&Arc<Key>>) -> Result<Box<dyn Operation>> {
    if !row.allows(what) {
        return Err(Code::MechanismInvalid.into());
    }
    if what != Use::Digest {
        SecretKey::of(key)?;
    }
    if *params != Params::None {
        return Err(Code::MechanismParamInvalid.into());
    }
    // A cipher gives at once what the others give at the end.
    let gathers = !matches!(what, Use::Encrypt | Use::Decrypt);
    Ok(Box::new(Null { gathers, gathered: Vec::new() }))
}

/// "The derived key has the same value as the base key", or its leading bytes. `CKR_KEY_SIZE_RANGE`.
fn derive(from: &Derivation<'_>) -> Result<SecretBytes> {
    leading(SecretKey::of(Some(from.base))?.value(), from.length)
}

struct Null {
    gathers: bool,
    gathered: Vec<u8>,
}

impl Operation for Null {
    fn size(&mut self, step: Step, input: usize) -> Result<Size> {
        Ok(Size::Exactly(match step {
            Step::Update if self.gathers => 0,
            Step::Update => input,
            Step::Whole | Step::Finish => self.gathered.len().checked_add(input).ok_or(Code::DataLenRange)?,
        }))
    }

    fn update(&mut self, input: &[u8], out: &mut [u8]) -> Result<usize> {
        if self.gathers {
            self.gathered.try_reserve(input.len()).map_err(|_| Code::HostMemory)?;
            self.gathered.extend_from_slice(input);
            return Ok(0);
        }
        out.get_mut(..input.len()).ok_or(Code::GeneralError)?.copy_from_slice(input);
        Ok(input.len())
    }

    fn finish(&mut self, out: &mut [u8]) -> Result<usize> {
        let len = self.gathered.len();
        out.get_mut(..len).ok_or(Code::GeneralError)?.copy_from_slice(&self.gathered);
        self.gathered.zeroize();
        Ok(len)
    }

    fn verify(&mut self, input: Option<&[u8]>, signature: &[u8]) -> Result<()> {
        self.update(input.unwrap_or_default(), &mut [])?;
        let (len, good) = (self.gathered.len(), self.gathered.ct_eq(signature));
        self.gathered.zeroize();
        match bool::from(good) {
            true => Ok(()),
            false if signature.len() != len => Err(Code::SignatureLenRange.into()),
            false => Err(Code::SignatureInvalid.into()),
        }
    }

    fn digest_key(&mut self, _: &[u8]) -> Result<()> {
        Err(Code::KeyIndigestible.because("CKM_NULL would give the key's value out as its digest"))
    }

    fn restart(&mut self, params: &Params) -> bool {
        self.gathered.zeroize();
        *params == Params::None
    }
}

impl Drop for Null {
    fn drop(&mut self) {
        self.gathered.zeroize();
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{begin, cipher_in_parts, derive, in_parts, step, verify};
    use super::{Code, Params, ROWS, Step, Use};
    use cryptoki_sys::*;

    #[test]
    fn what_goes_in_comes_out_in_every_use() {
        let none = Params::None;
        cipher_in_parts(CKM_NULL, b"key", |_| none.clone(), |_| none.clone(), [0, 1, 5].into_iter());
        for what in [Use::Sign, Use::SignRecover, Use::VerifyRecover, Use::Digest] {
            let mut operation = begin(CKM_NULL, what, &none, b"key").unwrap();
            for _ in 0..2 {
                assert_eq!(step(&mut *operation, Step::Whole, b"one two").as_deref(), Ok(&b"one two"[..]), "{what:?}");
                assert!(operation.restart(&none));
                assert_eq!(in_parts(&mut *operation, &[b"one", b" two"]).as_deref(), Ok(&b"one two"[..]), "{what:?}");
                operation.update(b"left behind", &mut []).unwrap();
                assert!(operation.restart(&none));
            }
        }
        assert_eq!(verify(CKM_NULL, &none, b"key", b"data", b"data"), Ok(()));
        assert_eq!(verify(CKM_NULL, &none, b"key", b"data", b"datA"), Err(Code::SignatureInvalid));
        for wrong in [&b"dat"[..], b"data!", b""] {
            assert_eq!(verify(CKM_NULL, &none, b"key", b"data", wrong), Err(Code::SignatureLenRange));
        }
        assert_eq!(derive(CKM_NULL, &none, b"the key", None).as_deref(), Ok(&b"the key"[..]));
        assert_eq!(derive(CKM_NULL, &none, b"the key", Some(3)).as_deref(), Ok(&b"the"[..]));
        assert_eq!(derive(CKM_NULL, &none, b"the key", Some(8)), Err(Code::KeySizeRange));
    }

    #[test]
    fn it_gives_no_key_away() {
        let row = &ROWS[0];
        assert_eq!(row.flags & (CKF_WRAP | CKF_UNWRAP), 0);
        let mut digest = begin(CKM_NULL, Use::Digest, &Params::None, b"key").unwrap();
        assert_eq!(digest.digest_key(b"value").unwrap_err().code(), Code::KeyIndigestible);
        assert_eq!(step(&mut *digest, Step::Finish, &[]), Ok(vec![]));
        let refused = row.does.begin.unwrap()(row, Use::Sign, &Params::None, None).err().map(|e| e.code());
        assert_eq!(refused, Some(Code::KeyHandleInvalid));
        let refused = begin(CKM_NULL, Use::Digest, &Params::Number(1), b"key").err();
        assert_eq!(refused, Some(Code::MechanismParamInvalid));
    }
}
