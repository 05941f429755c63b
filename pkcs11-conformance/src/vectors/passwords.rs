//! Vectors for keys made of passwords.

use cryptoki_sys::*;
use serde_json::Value;

use super::symmetric::{both_ways, with_key};
use super::{Checked, Got, hex, invalid, number, same, text, unsupported, wrong};
use crate::data::{Mech, Template};
use crate::ffi::Session;

/// The pseudorandom function of PBKDF2 by its hash's name.
fn prf(hash: &str) -> Option<CK_ULONG> {
    let plain = hash.replace("SHA2-", "SHA").replace(['-', '/'], "").to_uppercase();
    Some(match plain.as_str() {
        "SHA1" => CKP_PKCS5_PBKD2_HMAC_SHA1,
        "SHA224" => CKP_PKCS5_PBKD2_HMAC_SHA224,
        "SHA256" => CKP_PKCS5_PBKD2_HMAC_SHA256,
        "SHA384" => CKP_PKCS5_PBKD2_HMAC_SHA384,
        "SHA512" => CKP_PKCS5_PBKD2_HMAC_SHA512,
        "SHA512224" => CKP_PKCS5_PBKD2_HMAC_SHA512_224,
        "SHA512256" => CKP_PKCS5_PBKD2_HMAC_SHA512_256,
        _ => return None,
    })
}

fn made(kind: CK_KEY_TYPE, len: usize) -> Template {
    Template::key(CKO_SECRET_KEY, kind)
        .flag(CKA_TOKEN, false)
        .flag(CKA_SENSITIVE, false)
        .flag(CKA_EXTRACTABLE, true)
        .ulong(CKA_VALUE_LEN, len as CK_ULONG)
}

/// A key of a password, and its value.
pub fn derived(s: Session, hash: &str, password: &[u8], salt: &[u8], iterations: u64, want: &[u8]) -> Checked {
    let Some(prf) = prf(hash) else { return Ok(Got::Unsupported(format!("no PRF with {hash}"))) };
    let key = wrong(s.generate(&Mech::pbkdf2(prf, salt, iterations, password), &made(CKK_GENERIC_SECRET, want.len())));
    with_key(s, key, |key| Ok(same(&wrong(s.get(key, CKA_VALUE))?, want)))
}

pub fn pbkdf2(s: Session, algorithm: &str, _: &Value, v: &Value) -> Checked {
    let Some(hash) = algorithm.strip_prefix("PBKDF2-HMAC") else {
        return Ok(Got::Unsupported(format!("no mechanism for {algorithm}")));
    };
    derived(s, hash, &hex(v, "password"), &hex(v, "salt"), number(v, "iterationCount"), &hex(v, "dk"))
}

/// PBES2: AES-CBC with padding under a key of the password.
pub fn pbes2(s: Session, algorithm: &str, _: &Value, v: &Value) -> Checked {
    let parts = algorithm.strip_prefix("PbeWithHmac").and_then(|rest| rest.split_once("AndAes_"));
    let Some((hash, bits)) = parts.and_then(|(hash, bits)| Some((prf(hash)?, bits.parse::<usize>().ok()?))) else {
        return Ok(Got::Unsupported(format!("no mechanism for {algorithm}")));
    };
    let mech = Mech::pbkdf2(hash, &hex(v, "salt"), number(v, "iterationCount"), &hex(v, "password"));
    let t = made(CKK_AES, bits / 8).yes(&[CKA_ENCRYPT, CKA_DECRYPT]);
    let key = if invalid(v) { wrong(s.generate(&mech, &t)) } else { unsupported(s.generate(&mech, &t)) };
    with_key(s, key, |key| {
        both_ways(s, v, key, &Mech::bytes(CKM_AES_CBC_PAD, &hex(v, "iv")), &hex(v, "msg"), &hex(v, "ct"))
    })
}

/// NIST's PBKDF2, whose passwords are text.
pub fn acvp(s: Session, _: &str, group: &Value, v: &Value) -> Checked {
    let password = text(v, "password").as_bytes();
    derived(s, text(group, "hmacAlg"), password, &hex(v, "salt"), number(v, "iterationCount"), &hex(v, "derivedKey"))
}
