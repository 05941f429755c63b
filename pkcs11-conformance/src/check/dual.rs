//! Dual-function calls, recovery of signed data, verification with the signature first, and ending by Init(NULL).

use cryptoki_sys::*;

use super::keys::{Keys, Kind};
use super::operations::{DECRYPT, DIGEST, ENCRYPT, Op, SIGN, VERIFY};
use super::{Need, Row};
use crate::context::{Outcome, Stop, T, refused, same_bytes, skip};
use crate::data::Mech;
use crate::ffi::{Call, Session};
use crate::functions::F;

const CBC: Need = Need::Mech(CKM_AES_CBC, CKF_ENCRYPT | CKF_DECRYPT);
const HMAC: Need = Need::Mech(CKM_SHA256_HMAC, CKF_SIGN | CKF_VERIFY);
const SHA: Need = Need::Mech(CKM_SHA256, CKF_DIGEST);
const RECOVER: Need = Need::Mech(CKM_RSA_PKCS, CKF_SIGN_RECOVER | CKF_VERIFY_RECOVER);

pub static ROWS: &[Row] = &[
    Row("digest-encrypt", "5.17.1", &[Need::User, CBC, SHA], digest_encrypt),
    Row("decrypt-digest", "5.17.2", &[Need::User, CBC, SHA], decrypt_digest),
    Row("sign-encrypt", "5.17.3", &[Need::User, CBC, HMAC], sign_encrypt),
    Row("decrypt-verify", "5.17.4", &[Need::User, CBC, HMAC], decrypt_verify),
    Row("two-operations-side-by-side", "5.17", &[Need::User, CBC, SHA], side_by_side),
    Row("sign-recover", "5.13.6", &[Need::User, RECOVER], recover),
    Row("verify-signature-first", "5.15.7", &[Need::User, HMAC, Need::Fn(F::C_VerifySignatureInit)], signature_first),
    Row("init-null-cancels", "5.8.1", &[Need::User, CBC, Need::Fn(F::C_SessionCancel)], init_null),
    Row("digest-key", "5.12.4", &[Need::User, SHA], digest_key),
    Row("digest-sensitive-key", "5.12.4", &[Need::User, SHA], digest_sensitive_key),
];

const DATA: [u8; 64] = [0x6D; 64];

struct Parts {
    s: Session,
    aes: Keys,
    mac: Keys,
}

/// A token may have one operation at a time in a session; then there is nothing to test here.
fn started(init: Call<()>) -> Outcome {
    match init {
        Err(r) if r.rv.0 == CKR_OPERATION_ACTIVE => skip("one operation at a time"),
        result => Ok(result?),
    }
}

impl Parts {
    fn new(t: &mut T<'_>) -> Result<Self, Stop> {
        let s = t.user()?;
        Ok(Parts { s, aes: Kind::Aes(32).make(s)?, mac: Kind::Generic(32).make(s)? })
    }

    fn cipher(&self, op: Op) -> Outcome {
        started(self.s.init(op.init, &Mech::bytes(CKM_AES_CBC, &[1; 16]), self.aes.private))
    }

    fn mac(&self, op: Op) -> Outcome {
        started(self.s.init(op.init, &Mech::new(CKM_SHA256_HMAC), self.mac.private))
    }

    fn digest(&self) -> Outcome {
        started(self.s.init(F::C_DigestInit, &Mech::new(CKM_SHA256), 0))
    }

    fn sealed(&self) -> Result<Vec<u8>, Stop> {
        self.cipher(ENCRYPT)?;
        Ok(self.s.run(F::C_Encrypt, &DATA)?)
    }

    fn hashed(&self) -> Result<Vec<u8>, Stop> {
        self.digest()?;
        Ok(self.s.run(F::C_Digest, &DATA)?)
    }

    fn signed(&self) -> Result<Vec<u8>, Stop> {
        self.mac(SIGN)?;
        Ok(self.s.run(F::C_Sign, &DATA)?)
    }

    /// The dual call over data in two parts, then the cipher's end.
    fn dual(&self, f: F, end: F, data: &[u8]) -> Result<Vec<u8>, Stop> {
        let mut out = self.s.run(f, &data[..32])?;
        out.extend(self.s.run(f, &data[32..])?);
        out.extend(self.s.end(end)?);
        Ok(out)
    }
}

fn digest_encrypt(t: &mut T<'_>) -> Outcome {
    let p = Parts::new(t)?;
    let (sealed, hashed) = (p.sealed()?, p.hashed()?);
    p.digest()?;
    p.cipher(ENCRYPT)?;
    same_bytes("ciphertext", &p.dual(F::C_DigestEncryptUpdate, ENCRYPT.end, &DATA)?, &sealed)?;
    same_bytes("digest", &p.s.end(DIGEST.end)?, &hashed)
}

fn decrypt_digest(t: &mut T<'_>) -> Outcome {
    let p = Parts::new(t)?;
    let (sealed, hashed) = (p.sealed()?, p.hashed()?);
    p.cipher(DECRYPT)?;
    p.digest()?;
    same_bytes("data", &p.dual(F::C_DecryptDigestUpdate, DECRYPT.end, &sealed)?, &DATA)?;
    same_bytes("digest", &p.s.end(DIGEST.end)?, &hashed)
}

fn sign_encrypt(t: &mut T<'_>) -> Outcome {
    let p = Parts::new(t)?;
    let (sealed, signed) = (p.sealed()?, p.signed()?);
    p.mac(SIGN)?;
    p.cipher(ENCRYPT)?;
    same_bytes("ciphertext", &p.dual(F::C_SignEncryptUpdate, ENCRYPT.end, &DATA)?, &sealed)?;
    same_bytes("signature", &p.s.end(SIGN.end)?, &signed)
}

fn decrypt_verify(t: &mut T<'_>) -> Outcome {
    let p = Parts::new(t)?;
    let (sealed, signed) = (p.sealed()?, p.signed()?);
    p.cipher(DECRYPT)?;
    p.mac(VERIFY)?;
    same_bytes("data", &p.dual(F::C_DecryptVerifyUpdate, DECRYPT.end, &sealed)?, &DATA)?;
    Ok(p.s.feed(F::C_VerifyFinal, &[], &signed)?)
}

/// A digest and an encryption in one session do not disturb each other; tokens may refuse the second.
fn side_by_side(t: &mut T<'_>) -> Outcome {
    let p = Parts::new(t)?;
    let (sealed, hashed) = (p.sealed()?, p.hashed()?);
    p.digest()?;
    p.cipher(ENCRYPT)?;
    p.s.feed(F::C_DigestUpdate, &[], &DATA[..10])?;
    let mut out = p.s.run(F::C_EncryptUpdate, &DATA)?;
    p.s.feed(F::C_DigestUpdate, &[], &DATA[10..])?;
    out.extend(p.s.end(F::C_EncryptFinal)?);
    same_bytes("ciphertext", &out, &sealed)?;
    same_bytes("digest", &p.s.end(F::C_DigestFinal)?, &hashed)
}

fn recover(t: &mut T<'_>) -> Outcome {
    let s = t.user()?;
    let keys = Kind::Rsa.make(s)?;
    let mech = Mech::new(CKM_RSA_PKCS);
    s.init(F::C_SignRecoverInit, &mech, keys.private)?;
    let mut signature = s.run(F::C_SignRecover, b"recovered data")?;
    s.init(F::C_VerifyRecoverInit, &mech, keys.public)?;
    same_bytes("recovered", &s.run(F::C_VerifyRecover, &signature)?, b"recovered data")?;
    signature[5] ^= 1;
    s.init(F::C_VerifyRecoverInit, &mech, keys.public)?;
    refused("C_VerifyRecover of a changed signature", s.run(F::C_VerifyRecover, &signature), &[CKR_SIGNATURE_INVALID])
}

fn signature_first(t: &mut T<'_>) -> Outcome {
    let p = Parts::new(t)?;
    let mut signed = p.signed()?;
    let begin = |signature: &[u8]| {
        let mut raw = Mech::new(CKM_SHA256_HMAC).raw();
        p.s.feed(F::C_VerifySignatureInit, &[raw.pointer(), p.mac.private as usize], signature)
    };
    begin(&signed)?;
    p.s.feed(F::C_VerifySignature, &[], &DATA)?;
    begin(&signed)?;
    p.s.feed(F::C_VerifySignatureUpdate, &[], &DATA[..9])?;
    p.s.feed(F::C_VerifySignatureUpdate, &[], &DATA[9..])?;
    p.s.plain(F::C_VerifySignatureFinal, &[])?;
    signed[0] ^= 1;
    begin(&signed)?;
    refused("C_VerifySignature", p.s.feed(F::C_VerifySignature, &[], &DATA), &[CKR_SIGNATURE_INVALID])?;
    let again = p.s.feed(F::C_VerifySignature, &[], &DATA);
    refused("C_VerifySignature afterwards", again, &[CKR_OPERATION_NOT_INITIALIZED])
}

/// An Init call with a NULL mechanism ends the operation.
fn init_null(t: &mut T<'_>) -> Outcome {
    let p = Parts::new(t)?;
    p.cipher(ENCRYPT)?;
    match p.s.plain(F::C_EncryptInit, &[0, 0]) {
        Err(r) if r.rv.0 == CKR_OPERATION_CANCEL_FAILED => return skip("the operation cannot be cancelled"),
        result => result?,
    }
    refused("C_Encrypt", p.s.run(F::C_Encrypt, &DATA), &[CKR_OPERATION_NOT_INITIALIZED])
}

fn digest_key(t: &mut T<'_>) -> Outcome {
    let p = Parts::new(t)?;
    let value = p.s.get(p.mac.private, CKA_VALUE)?;
    p.digest()?;
    let whole = p.s.run(F::C_Digest, &value)?;
    p.digest()?;
    match p.s.plain(F::C_DigestKey, &[p.mac.private as usize]) {
        Err(r) if r.rv.0 == CKR_KEY_INDIGESTIBLE => return skip("the token digests no such key"),
        result => result?,
    }
    same_bytes("digest of the key", &p.s.end(F::C_DigestFinal)?, &whole)
}

fn digest_sensitive_key(t: &mut T<'_>) -> Outcome {
    let p = Parts::new(t)?;
    p.digest()?;
    p.s.feed(F::C_DigestUpdate, &[], b"before")?;
    let pair = p.s.plain(F::C_DigestKey, &[0x7EDC_BA98]);
    refused("C_DigestKey of no key", pair, &[CKR_KEY_HANDLE_INVALID, CKR_OBJECT_HANDLE_INVALID])
}
