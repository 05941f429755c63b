//! What the families' tests share: running rows, and the rules that every cipher and every MAC keeps.

use std::sync::Arc;

use cryptoki_sys::*;

use super::key::Key;
use super::secret_key::SecretKey;
use super::table::{Derivation, row};
use crate::error::{Code, Result};
use crate::object::Attributes;
use crate::secret::SecretBytes;
use crate::token::{Attribute, Operation, Params, Size, Step, Use};

pub fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
    digits.chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

pub fn key(value: &[u8]) -> Arc<Key> {
    Arc::new(Key::Secret(SecretKey::new(SecretBytes::copy_from(value))))
}

pub fn begin(ty: CK_MECHANISM_TYPE, what: Use, params: &Params, value: &[u8]) -> Result<Box<dyn Operation>, Code> {
    let row = row(ty).unwrap();
    row.does.begin.unwrap()(row, what, params, Some(&key(value))).map_err(|e| e.code())
}

/// Makes the step with exactly the room that its size asks for.
pub fn step(operation: &mut dyn Operation, step: Step, input: &[u8]) -> Result<Vec<u8>, Code> {
    let size = operation.size(step, input.len()).map_err(|e| e.code())?;
    let mut out = vec![0x55; size.bound()];
    let written = match step {
        Step::Whole => operation.whole(input, &mut out),
        Step::Update => operation.update(input, &mut out),
        Step::Finish => operation.finish(&mut out),
    };
    out.truncate(written.map_err(|e| e.code())?);
    if let Size::Exactly(exactly) = size {
        assert_eq!(out.len(), exactly, "{step:?}");
    }
    Ok(out)
}

pub fn whole(ty: CK_MECHANISM_TYPE, what: Use, params: &Params, value: &[u8], input: &[u8]) -> Result<Vec<u8>, Code> {
    step(&mut *begin(ty, what, params, value)?, Step::Whole, input)
}

pub fn in_parts(operation: &mut dyn Operation, parts: &[&[u8]]) -> Result<Vec<u8>, Code> {
    let mut out = Vec::new();
    for part in parts {
        out.extend(step(operation, Step::Update, part)?);
    }
    out.extend(step(operation, Step::Finish, &[])?);
    Ok(out)
}

pub fn verify(ty: CK_MECHANISM_TYPE, params: &Params, value: &[u8], data: &[u8], mac: &[u8]) -> Result<(), Code> {
    begin(ty, Use::Verify, params, value)?.verify(Some(data), mac).map_err(|e| e.code())
}

pub fn data(len: usize) -> Vec<u8> {
    (0..len).map(|i| (i * 31 + 7) as u8).collect()
}

/// Parts make the whole at every split, in both directions, and again after a restart with other parameters. A length may
/// need parameters of its own.
pub fn cipher_in_parts(
    ty: CK_MECHANISM_TYPE,
    value: &[u8],
    params: impl Fn(usize) -> Params,
    others: impl Fn(usize) -> Params,
    lengths: impl Iterator<Item = usize>,
) {
    for len in lengths {
        let (plain, params, others) = (data(len), params(len), others(len));
        let sealed = whole(ty, Use::Encrypt, &params, value, &plain).unwrap();
        let sealed_otherwise = whole(ty, Use::Encrypt, &others, value, &plain).unwrap();
        assert!(params == others || len == 0 || sealed != sealed_otherwise, "{ty:#x} {len}");
        for (what, from, to, otherwise) in [
            (Use::Encrypt, &plain, &sealed, (&plain, &sealed_otherwise)),
            (Use::Decrypt, &sealed, &plain, (&sealed_otherwise, &plain)),
        ] {
            let mut operation = begin(ty, what, &params, value).unwrap();
            for split in 0..=from.len() {
                let (one, two) = from.split_at(split);
                assert_eq!(in_parts(&mut *operation, &[one, two]).as_ref(), Ok(to), "{ty:#x} {len} {split}");
                assert!(operation.restart(&others));
                assert_eq!(step(&mut *operation, Step::Whole, otherwise.0).as_ref(), Ok(otherwise.1));
                assert!(operation.restart(&params));
                // Left in the middle, it forgets.
                let some = from.get(..3.min(from.len())).unwrap();
                step(&mut *operation, Step::Update, some).unwrap();
                assert!(operation.restart(&params));
            }
            let bytes: Vec<&[u8]> = from.chunks(1).collect();
            assert_eq!(in_parts(&mut *operation, &bytes).as_ref(), Ok(to), "{ty:#x} {len} byte by byte");
            assert!(!operation.restart(&Params::Number(1)), "{ty:#x}");
        }
    }
}

/// A MAC in parts, again after a restart, and refused where it is another.
pub fn mac_in_parts(ty: CK_MECHANISM_TYPE, value: &[u8], params: &Params, len: usize) {
    let mut sign = begin(ty, Use::Sign, params, value).unwrap();
    let mut check = begin(ty, Use::Verify, params, value).unwrap();
    for data in [0, 1, 7, 8, 9, 15, 16, 17, 32, 33].map(data) {
        let mac = step(&mut *sign, Step::Whole, &data).unwrap();
        assert_eq!(mac.len(), len, "{ty:#x}");
        for split in 0..=data.len() {
            assert!(sign.restart(params) && check.restart(params));
            let (one, two) = data.split_at(split);
            assert_eq!(in_parts(&mut *sign, &[one, two]).as_ref(), Ok(&mac), "{ty:#x} {split}");
            check.update(one, &mut []).unwrap();
            check.update(two, &mut []).unwrap();
            check.verify(None, &mac).unwrap();
        }
        for at in 0..len {
            let mut wrong = mac.clone();
            wrong[at] ^= 0x10;
            assert!(check.restart(params));
            let refused = check.verify(Some(&data), &wrong).unwrap_err().code();
            assert_eq!(refused, Code::SignatureInvalid, "{ty:#x}");
        }
        for other in [&mac[1..], &[&mac[..], &[0]].concat()] {
            assert!(check.restart(params));
            assert_eq!(check.verify(Some(&data), other).unwrap_err().code(), Code::SignatureLenRange, "{ty:#x}");
        }
        assert!(sign.restart(params));
        sign.update(b"left behind", &mut []).unwrap();
        assert!(sign.restart(params) && !sign.restart(&Params::Number(1)));
        assert!(sign.restart(params));
    }
}

pub fn derive(ty: CK_MECHANISM_TYPE, params: &Params, base: &[u8], length: Option<usize>) -> Result<Vec<u8>, Code> {
    let (row, base) = (row(ty).unwrap(), key(base));
    let from = Derivation::new(row, params, &base, length);
    row.does.derive.unwrap()(&from).map(|value| value.expose().clone()).map_err(|e| e.code())
}

/// The value that a row generates for a template that asks for so many bytes.
pub fn generate(ty: CK_MECHANISM_TYPE, len: Option<u64>) -> Result<Vec<u8>, Code> {
    let row = row(ty).unwrap();
    let template: Attributes = len.map(|len| Attribute::ulong(CKA_VALUE_LEN, len)).into_iter().collect();
    let made = row.does.generate.unwrap()(row, &Params::None, &template).map_err(|e| e.code())?;
    let made: Attributes = made.into_iter().collect();
    Ok(made.bytes(CKA_VALUE).unwrap().to_vec())
}
