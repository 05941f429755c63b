//! Vectors for secret keys.

use cryptoki_sys::*;
use serde_json::Value;

use super::{Checked, Got, family, hash, hex, invalid, number, same, secret, settle, started, unsupported, wrong};
use crate::data::{Mech, Template};
use crate::ffi::Session;
use crate::functions::F;

/// Encrypts and decrypts: the vector's ciphertext and plaintext both come out. A ciphertext that is to be refused must not be
/// opened at all, whatever comes out.
pub fn both_ways(
    s: Session,
    v: &Value,
    key: CK_OBJECT_HANDLE,
    mech: &Mech,
    plain: &[u8],
    sealed: &[u8],
) -> Result<Got, Got> {
    started(v, s.init(F::C_DecryptInit, mech, key))?;
    let opened = wrong(s.run(F::C_Decrypt, sealed))?;
    if invalid(v) {
        return Ok(Got::Right);
    }
    unsupported(s.init(F::C_EncryptInit, mech, key))?;
    let made = wrong(s.run(F::C_Encrypt, plain))?;
    Ok(if opened == plain { same(&made, sealed) } else { same(&opened, plain) })
}

/// Runs with a key that is destroyed afterwards.
pub fn with_key(
    s: Session,
    key: Result<CK_OBJECT_HANDLE, Got>,
    work: impl FnOnce(CK_OBJECT_HANDLE) -> Result<Got, Got>,
) -> Checked {
    let key = match key {
        Ok(key) => key,
        Err(got) => return Ok(got),
    };
    let got = settle(work(key));
    s.destroy(key)?;
    Ok(got)
}

pub fn aead(s: Session, algorithm: &str, group: &Value, v: &Value) -> Checked {
    let (iv, aad, plain) = (hex(v, "iv"), hex(v, "aad"), hex(v, "msg"));
    let sealed = [hex(v, "ct"), hex(v, "tag")].concat();
    let tag = number(group, "tagSize");
    let (kind, mech) = match algorithm {
        "AES-GCM" => (CKK_AES, Mech::gcm(&iv, &aad, tag)),
        "AES-CCM" => (CKK_AES, Mech::ccm(plain.len(), &iv, &aad, tag / 8)),
        "CHACHA20-POLY1305" => (CKK_CHACHA20, Mech::chacha20_poly1305(&iv, &aad)),
        other => return Ok(Got::Unsupported(format!("PKCS#11 has no {other}"))),
    };
    with_key(s, secret(s, kind, &hex(v, "key")), |key| both_ways(s, v, key, &mech, &plain, &sealed))
}

pub fn cipher(s: Session, algorithm: &str, _: &Value, v: &Value) -> Checked {
    let (kind, ty) = match algorithm {
        "AES-CBC-PKCS5" => (CKK_AES, CKM_AES_CBC_PAD),
        "ARIA-CBC-PKCS5" => (CKK_ARIA, CKM_ARIA_CBC_PAD),
        "CAMELLIA-CBC-PKCS5" => (CKK_CAMELLIA, CKM_CAMELLIA_CBC_PAD),
        "AES-XTS" => (CKK_AES_XTS, CKM_AES_XTS),
        other => return Ok(Got::Unsupported(format!("no mechanism for {other}"))),
    };
    let mech = Mech::bytes(ty, &hex(v, "iv"));
    let (plain, sealed) = (hex(v, "msg"), hex(v, "ct"));
    with_key(s, secret(s, kind, &hex(v, "key")), |key| both_ways(s, v, key, &mech, &plain, &sealed))
}

/// Makes the MAC and has it verified; an invalid one must not verify.
pub fn mac_by(s: Session, key: CK_OBJECT_HANDLE, mech: &Mech, message: &[u8], tag: &[u8]) -> Result<Got, Got> {
    unsupported(s.init(F::C_VerifyInit, mech, key))?;
    wrong(s.feed2(F::C_Verify, message, tag))?;
    unsupported(s.init(F::C_SignInit, mech, key))?;
    Ok(same(&wrong(s.run(F::C_Sign, message))?, tag))
}

/// [`mac_by`] with a key of this type: key, message, tag.
pub fn mac_with(s: Session, kind: CK_KEY_TYPE, mech: &Mech, v: &[&[u8]; 3]) -> Checked {
    let [key, message, tag] = *v;
    with_key(s, secret(s, kind, key), |key| mac_by(s, key, mech, message, tag))
}

pub fn mac(s: Session, algorithm: &str, group: &Value, v: &Value) -> Checked {
    let bytes = number(group, "tagSize") / 8;
    let found = match algorithm {
        "AES-CMAC" if bytes == 16 => Some((CKK_AES, Mech::new(CKM_AES_CMAC))),
        "AES-CMAC" => Some((CKK_AES, Mech::ulong(CKM_AES_CMAC_GENERAL, bytes))),
        other => other.strip_prefix("HMAC").and_then(family).map(|f| (CKK_GENERIC_SECRET, f.hmac(bytes))),
    };
    let Some((kind, mech)) = found else { return Ok(Got::Unsupported(format!("no mechanism for {algorithm}"))) };
    mac_with(s, kind, &mech, &[&hex(v, "key"), &hex(v, "msg"), &hex(v, "tag")])
}

/// GMAC; other MACs with a nonce PKCS#11 does not have.
pub fn mac_with_nonce(s: Session, algorithm: &str, group: &Value, v: &Value) -> Checked {
    if algorithm != "AES-GMAC" {
        return Ok(Got::Unsupported(format!("no mechanism for {algorithm}")));
    }
    let mech = gmac(&hex(v, "iv"), number(group, "tagSize"));
    mac_with(s, CKK_AES, &mech, &[&hex(v, "key"), &hex(v, "msg"), &hex(v, "tag")])
}

/// The tag's length in bits.
pub fn gmac(iv: &[u8], bits: CK_ULONG) -> Mech {
    let mut mech = Mech::gcm(iv, b"", bits);
    mech.ty = CKM_AES_GMAC;
    mech
}

pub fn keywrap(s: Session, algorithm: &str, _: &Value, v: &Value) -> Checked {
    let ty = match algorithm {
        "AES-WRAP" => CKM_AES_KEY_WRAP,
        "AES-KWP" => CKM_AES_KEY_WRAP_KWP,
        other => return Ok(Got::Unsupported(format!("no mechanism for {other}"))),
    };
    wrapped(s, v, ty, &hex(v, "msg"), &hex(v, "ct"))
}

/// Unwraps, and wraps again.
pub fn wrapped(s: Session, v: &Value, ty: CK_MECHANISM_TYPE, plain: &[u8], sealed: &[u8]) -> Checked {
    let mech = Mech::new(ty);
    let target = Template::key(CKO_SECRET_KEY, CKK_GENERIC_SECRET)
        .flag(CKA_TOKEN, false)
        .flag(CKA_SENSITIVE, false)
        .flag(CKA_EXTRACTABLE, true);
    with_key(s, secret(s, CKK_AES, &hex(v, "key")), |key| {
        let back = wrong(s.unwrap(&mech, key, sealed, &target))?;
        let value = wrong(s.get(back, CKA_VALUE))?;
        wrong(s.destroy(back))?;
        if invalid(v) {
            return Ok(Got::Right);
        }
        if value != plain {
            return Ok(same(&value, plain));
        }
        let original = unsupported(s.create(&target.clone().bytes(CKA_VALUE, plain)))?;
        let made = wrong(s.wrap(&mech, key, original));
        wrong(s.destroy(original))?;
        Ok(same(&made?, sealed))
    })
}

pub fn hkdf(s: Session, algorithm: &str, _: &Value, v: &Value) -> Checked {
    let Some(h) = algorithm.strip_prefix("HKDF-").and_then(hash) else {
        return Ok(Got::Unsupported(format!("no mechanism for {algorithm}")));
    };
    let mech = Mech::hkdf(CKM_HKDF_DERIVE, true, true, h, &hex(v, "salt"), &hex(v, "info"));
    let target = Template::key(CKO_SECRET_KEY, CKK_GENERIC_SECRET)
        .flag(CKA_TOKEN, false)
        .flag(CKA_SENSITIVE, false)
        .flag(CKA_EXTRACTABLE, true)
        .ulong(CKA_VALUE_LEN, number(v, "size"));
    with_key(s, secret(s, CKK_GENERIC_SECRET, &hex(v, "ikm")), |key| derived(s, &mech, key, &target, &hex(v, "okm")))
}

/// Derives and compares the value.
pub fn derived(s: Session, mech: &Mech, base: CK_OBJECT_HANDLE, t: &Template, want: &[u8]) -> Result<Got, Got> {
    let made = wrong(s.derive(mech, base, t))?;
    let value = wrong(s.get(made, CKA_VALUE));
    wrong(s.destroy(made))?;
    Ok(same(&value?, want))
}
