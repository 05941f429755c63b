//! ECDSA (PKCS#11 3.2, EC Signatures), with nonces of chance, or such as follow from key and message (RFC 6979).

use std::sync::Arc;

use cryptoki_sys::*;

use super::digest::of_row;
use super::ec::{CURVES, POINTS, SIGNS, row};
use super::key::Key;
use super::signing::{self, Scheme};
use super::table::{Begin, Does, NOTHING, Offer, Row};
use crate::config::EcdsaNonces;
use crate::crypto::digest::Digest;
use crate::error::{Code, Result};
use crate::token::{Operation, Use};

pub const ROWS: &[Row] = &rows(|row, what, _, key| begin(row, what, key, EcdsaNonces::Random));

/// The same mechanisms, where the configuration asks for it.
const DETERMINISTIC: &[Row] = &rows(|row, what, _, key| begin(row, what, key, EcdsaNonces::Deterministic));

/// What stands for a row of the table in a configuration with such nonces.
pub fn with_nonces(row: &'static Row, nonces: EcdsaNonces) -> &'static Row {
    match nonces {
        EcdsaNonces::Random => row,
        EcdsaNonces::Deterministic => DETERMINISTIC.iter().find(|other| other.ty == row.ty).unwrap_or(row),
    }
}

const fn rows(begin: Begin) -> [Row; 10] {
    [
        ecdsa(CKM_ECDSA, "CKM_ECDSA", None, begin),
        Row {
            offer: Offer::Legacy,
            approved: false,
            ..ecdsa(CKM_ECDSA_SHA1, "CKM_ECDSA_SHA1", Some(CKM_SHA_1), begin)
        },
        ecdsa(CKM_ECDSA_SHA224, "CKM_ECDSA_SHA224", Some(CKM_SHA224), begin),
        ecdsa(CKM_ECDSA_SHA256, "CKM_ECDSA_SHA256", Some(CKM_SHA256), begin),
        ecdsa(CKM_ECDSA_SHA384, "CKM_ECDSA_SHA384", Some(CKM_SHA384), begin),
        ecdsa(CKM_ECDSA_SHA512, "CKM_ECDSA_SHA512", Some(CKM_SHA512), begin),
        ecdsa(CKM_ECDSA_SHA3_224, "CKM_ECDSA_SHA3_224", Some(CKM_SHA3_224), begin),
        ecdsa(CKM_ECDSA_SHA3_256, "CKM_ECDSA_SHA3_256", Some(CKM_SHA3_256), begin),
        ecdsa(CKM_ECDSA_SHA3_384, "CKM_ECDSA_SHA3_384", Some(CKM_SHA3_384), begin),
        ecdsa(CKM_ECDSA_SHA3_512, "CKM_ECDSA_SHA3_512", Some(CKM_SHA3_512), begin),
    ]
}

const fn ecdsa(ty: CK_MECHANISM_TYPE, name: &'static str, hash: Option<CK_MECHANISM_TYPE>, begin: Begin) -> Row {
    Row {
        flags: SIGNS | CURVES | POINTS,
        hash,
        does: Does { begin: Some(begin), ..NOTHING },
        ..row(ty, name, &[CKK_EC], (224, 521), true)
    }
}

fn begin(row: &'static Row, what: Use, key: Option<&Arc<Key>>, nonces: EcdsaNonces) -> Result<Box<dyn Operation>> {
    let key = key.ok_or(Code::KeyHandleInvalid)?.clone();
    match what {
        Use::Sign => key.ec_private().map(|_| ())?,
        Use::Verify | Use::VerifySignature => key.ec_public().map(|_| ())?,
        _ => Err(Code::KeyFunctionNotPermitted)?,
    }
    let hash = row.hash.map(|_| of_row(row)).transpose()?;
    signing::begin(row, Ecdsa { key, nonces, hash })
}

/// The hash function that is meant by a digest that the caller made, by its length; for lengths that none of these has, the last.
fn made_by(digest: &[u8]) -> Digest {
    match digest.len() {
        20 => Digest::Sha1,
        28 => Digest::Sha224,
        32 => Digest::Sha256,
        48 => Digest::Sha384,
        _ => Digest::Sha512,
    }
}

struct Ecdsa {
    key: Arc<Key>,
    nonces: EcdsaNonces,
    /// `None`: the caller hashes.
    hash: Option<Digest>,
}

impl Scheme for Ecdsa {
    fn signature_len(&self) -> Result<usize> {
        match &*self.key {
            Key::EcPublic(key) => Ok(key.signature_len()),
            key => Ok(key.ec_private()?.signature_len()),
        }
    }

    fn sign(&self, input: &[u8], out: &mut [u8]) -> Result<usize> {
        let key = self.key.ec_private()?;
        match self.nonces {
            EcdsaNonces::Random => key.sign(input, out),
            EcdsaNonces::Deterministic => {
                key.sign_deterministic(self.hash.unwrap_or_else(|| made_by(input)), input, out)
            }
        }
    }

    fn verify(&self, input: &[u8], signature: &[u8]) -> Result<()> {
        self.key.ec_public()?.verify(input, signature)
    }
}
