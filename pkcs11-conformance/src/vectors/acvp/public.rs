//! ACVP vectors for key pairs.

use cryptoki_sys::*;
use serde_json::Value;

use super::{other, plain, randomised};
use crate::check::keys::{X448, X25519};
use crate::data::{Hash, Mech, Template};
use crate::ffi::Session;
use crate::functions::F;
use crate::vectors::agree::{self, agree, ecdh_with, from_seed, ml_kem_set, private_ml_kem, public_is};
use crate::vectors::asymmetric::{
    curve, dsa_by_hash, dsa_public, ec_public, hashed, ml_dsa_set, octets, pkcs1, private_ml_dsa, signed, verify,
};
use crate::vectors::symmetric::with_key;
use crate::vectors::{
    Checked, Got, hash, hex, integer, invalid, judged, number, offers, same, started, text, unsupported, wrong,
};

/// A member of the vector, or of its group.
fn either(v: &Value, group: &Value, key: &str) -> Vec<u8> {
    if v[key].is_string() { hex(v, key) } else { hex(group, key) }
}

/// Signatures to verify, also those that somebody else has generated.
pub fn rsa(s: Session, _: &str, group: &Value, v: &Value) -> Checked {
    let (name, mask) = (text(group, "hashAlg"), text(group, "maskFunction"));
    if randomised(group) || !matches!(mask, "" | "none" | "mgf1") {
        return other();
    }
    let key = Template::key(CKO_PUBLIC_KEY, CKK_RSA)
        .bytes(CKA_MODULUS, &integer(group, "n"))
        .bytes(CKA_PUBLIC_EXPONENT, &integer(group, "e"));
    let (message, signature) = (hex(v, "message"), hex(v, "signature"));
    match text(group, "sigType") {
        "pkcs1v1.5" => pkcs1(s, &key, name, &message, &signature),
        "pss" => match hash(name).and_then(|h: Hash| Some((h, hashed(h)?))) {
            Some((h, [_, ty, _])) => {
                verify(s, &key, &Mech::pss(ty, h, h, number(group, "saltLen") as usize), &message, &signature)
            }
            None => other(),
        },
        _ => other(),
    }
}

fn rsa_private(v: &Value) -> Template {
    let parts = [
        (CKA_MODULUS, "n"),
        (CKA_PUBLIC_EXPONENT, "e"),
        (CKA_PRIVATE_EXPONENT, "d"),
        (CKA_PRIME_1, "p"),
        (CKA_PRIME_2, "q"),
        (CKA_EXPONENT_1, "dmp1"),
        (CKA_EXPONENT_2, "dmq1"),
        (CKA_COEFFICIENT, "iqmp"),
    ];
    let base = Template::key(CKO_PRIVATE_KEY, CKK_RSA).flag(CKA_TOKEN, false);
    let given = parts.iter().filter(|(_, name)| !text(v, name).is_empty());
    given.fold(base, |t, (ty, name)| t.bytes(*ty, &integer(v, name)))
}

/// Numbers that SP 800-56B refuses and raw RSA does not: 0, 1, and n - 1.
fn trivial(number: &[u8], modulus: &[u8]) -> bool {
    let low = number.iter().rposition(|byte| *byte != 0).is_none_or(|at| at == number.len() - 1 && number[at] == 1);
    let mut last = modulus.to_vec();
    last.iter_mut().last().into_iter().for_each(|byte| *byte -= 1);
    low && number.iter().rev().skip(1).all(|byte| *byte == 0) || number == last
}

pub fn rsa_decrypt(s: Session, _: &str, _: &Value, v: &Value) -> Checked {
    let sealed = hex(v, "ct");
    if invalid(v) && trivial(&sealed, &integer(v, "n")) {
        return Ok(Got::Unsupported("0, 1 and n - 1 are numbers to raw RSA".into()));
    }
    let key = unsupported(s.create(&rsa_private(v).flag(CKA_DECRYPT, true)));
    with_key(s, key, |key| {
        started(v, s.init(F::C_DecryptInit, &Mech::new(CKM_RSA_X_509), key))?;
        let opened = wrong(s.run(F::C_Decrypt, &sealed))?;
        Ok(if invalid(v) { Got::Right } else { same(&opened, &hex(v, "pt")) })
    })
}

pub fn rsa_sign(s: Session, _: &str, _: &Value, v: &Value) -> Checked {
    let key = unsupported(s.create(&rsa_private(v).flag(CKA_SIGN, true)));
    with_key(s, key, |key| {
        started(v, s.init(F::C_SignInit, &Mech::new(CKM_RSA_X_509), key))?;
        let made = wrong(s.run(F::C_Sign, &hex(v, "message")))?;
        Ok(if invalid(v) { Got::Right } else { same(&made, &hex(v, "signature")) })
    })
}

/// Two numbers of `len` bytes each.
fn halves(v: &Value, len: usize) -> Vec<u8> {
    let half = |name| {
        let number = integer(v, name);
        [vec![0; len.saturating_sub(number.len())], number].concat()
    };
    [half("r"), half("s")].concat()
}

pub fn dsa(s: Session, _: &str, group: &Value, v: &Value) -> Checked {
    let Some(ty) = hash(text(group, "hashAlg")).and_then(dsa_by_hash).filter(|_| !randomised(group)) else {
        return other();
    };
    let key = dsa_public(group, ["p", "q", "g", ""]).without(CKA_VALUE).bytes(CKA_VALUE, &integer(v, "y"));
    verify(s, &key, &Mech::new(ty), &hex(v, "message"), &halves(v, integer(group, "q").len()))
}

/// Signatures to verify, also those that somebody else has generated.
pub fn ecdsa(s: Session, _: &str, group: &Value, v: &Value) -> Checked {
    let (oid, h) = (curve(text(group, "curve")), hash(text(group, "hashAlg")));
    let (Some(oid), Some([_, _, ty]), false) = (oid, h.and_then(hashed), randomised(group)) else { return other() };
    if group["componentTest"] == true {
        return other();
    }
    let x = either(v, group, "qx");
    let signature = halves(v, x.len());
    let point = [vec![4], x, either(v, group, "qy")].concat();
    let mech = Mech::new(ty);
    let public = ec_public(CKK_EC, oid, &octets(&point));
    // What is wrong may be the point.
    match s.create(&public.clone().flag(CKA_TOKEN, false)) {
        Ok(key) => s.destroy(key)?,
        refused if invalid(v) => return judged(s, ty, refused).map_or_else(Ok, |_| other()),
        _ => {}
    }
    verify(s, &public, &mech, &hex(v, "message"), &signature)
}

fn eddsa_mech(group: &Value, v: &Value) -> Mech {
    let (prehash, context) = (group["preHash"].as_bool().unwrap_or(false), hex(v, "context"));
    let bare = !prehash && context.is_empty() && text(group, "curve") == "ED-25519";
    if bare { Mech::new(CKM_EDDSA) } else { Mech::eddsa(prehash, &context) }
}

pub fn eddsa(s: Session, _: &str, group: &Value, v: &Value) -> Checked {
    let Some(oid) = curve(text(group, "curve")) else { return other() };
    let key = ec_public(CKK_EC_EDWARDS, oid, &octets(&either(v, group, "q")));
    verify(s, &key, &eddsa_mech(group, v), &hex(v, "message"), &hex(v, "signature"))
}

pub fn eddsa_sign(s: Session, _: &str, group: &Value, v: &Value) -> Checked {
    let Some(oid) = curve(text(group, "curve")) else { return other() };
    let key =
        Template::key(CKO_PRIVATE_KEY, CKK_EC_EDWARDS).bytes(CKA_EC_PARAMS, oid).bytes(CKA_VALUE, &hex(group, "d"));
    signed(s, v, &key, &eddsa_mech(group, v), &hex(v, "message"), &hex(v, "signature"))
}

/// Whether a public key is taken: at once, or when it is to verify.
pub fn eddsa_key(s: Session, _: &str, group: &Value, v: &Value) -> Checked {
    let Some(oid) = curve(text(group, "curve")) else { return other() };
    let key = ec_public(CKK_EC_EDWARDS, oid, &octets(&hex(v, "q"))).flag(CKA_TOKEN, false).flag(CKA_VERIFY, true);
    let mech = if text(group, "curve") == "ED-25519" { Mech::new(CKM_EDDSA) } else { Mech::eddsa(false, b"") };
    with_key(s, judged(s, CKM_EDDSA, s.create(&key)), |key| {
        wrong(s.init(F::C_VerifyInit, &mech, key))?;
        let _ = s.feed2(F::C_Verify, b"", &[0; 64]);
        Ok(Got::Right)
    })
}

pub fn ecdh(s: Session, _: &str, group: &Value, v: &Value) -> Checked {
    let point = [vec![4], hex(v, "publicServerX"), hex(v, "publicServerY")].concat();
    ecdh_with(s, text(group, "curve"), &integer(v, "privateIut"), &point, &hex(v, "z"))
}

fn montgomery(group: &Value) -> &'static [u8] {
    if text(group, "curve") == "Curve25519" { X25519 } else { X448 }
}

pub fn xdh(s: Session, _: &str, group: &Value, v: &Value) -> Checked {
    let (private, public) = (hex(v, "privateIut"), hex(v, "publicServer"));
    agree(s, CKK_EC_MONTGOMERY, montgomery(group), &private, &public, &hex(v, "z"))
}

/// A public key of the wrong length.
pub fn xdh_key(s: Session, _: &str, group: &Value, v: &Value) -> Checked {
    let key = ec_public(CKK_EC_MONTGOMERY, montgomery(group), &octets(&hex(v, "publicKey")));
    with_key(s, judged(s, CKM_ECDH1_DERIVE, s.create(&key.flag(CKA_TOKEN, false))), |_| Ok(Got::Right))
}

/// The agreement of two ephemeral keys; the other schemes are of several agreements.
pub fn dh(s: Session, _: &str, group: &Value, v: &Value) -> Checked {
    if text(group, "scheme") != "dhEphem" {
        return other();
    }
    let key = Template::key(CKO_PRIVATE_KEY, CKK_DH)
        .flag(CKA_TOKEN, false)
        .flag(CKA_DERIVE, true)
        .bytes(CKA_PRIME, &integer(group, "p"))
        .bytes(CKA_BASE, &integer(group, "g"))
        .bytes(CKA_VALUE, &integer(v, "ephemeralPrivateIut"));
    let mech = Mech::bytes(CKM_DH_PKCS_DERIVE, &hex(v, "ephemeralPublicServer"));
    let t = agree::target().ulong(CKA_VALUE_LEN, integer(group, "p").len() as CK_ULONG);
    with_key(s, unsupported(s.create(&key)), |key| {
        let made = wrong(s.derive(&mech, key, &t))?;
        let value = wrong(s.get(made, CKA_VALUE));
        wrong(s.destroy(made))?;
        let value = value?;
        let zeros = value.iter().take_while(|byte| **byte == 0).count();
        Ok(same(&value[zeros..], &integer(v, "z")))
    })
}

/// An LMS signature is one of HSS with one level.
pub fn lms(s: Session, _: &str, group: &Value, v: &Value) -> Checked {
    let public = [&[0, 0, 0, 1], &hex(group, "publicKey")[..]].concat();
    let signature = [&[0; 4], &hex(v, "signature")[..]].concat();
    let key = Template::key(CKO_PUBLIC_KEY, CKK_HSS).bytes(CKA_VALUE, &public);
    verify(s, &key, &Mech::new(CKM_HSS), &hex(v, "message"), &signature)
}

pub fn ml_dsa_key(s: Session, _: &str, group: &Value, v: &Value) -> Checked {
    let set = ml_dsa_set(text(group, "parameterSet"))?;
    from_seed(s, &private_ml_dsa(set), &hex(v, "seed"), &hex(v, "sk"), &hex(v, "pk"))
}

/// Pure, or by the mechanism that hashes first; `None` for what the mechanisms do not offer.
fn ml_dsa_mech(group: &Value, v: &Value, hedge: CK_ULONG) -> Option<Mech> {
    let hash = text(v, "hashAlg");
    let ty = match text(group, "preHash") {
        _ if text(group, "signatureInterface") != "external" => return None,
        "pure" => CKM_ML_DSA,
        _ => match hash {
            "SHA2-224" => CKM_HASH_ML_DSA_SHA224,
            "SHA2-256" => CKM_HASH_ML_DSA_SHA256,
            "SHA2-384" => CKM_HASH_ML_DSA_SHA384,
            "SHA2-512" => CKM_HASH_ML_DSA_SHA512,
            "SHA3-224" => CKM_HASH_ML_DSA_SHA3_224,
            "SHA3-256" => CKM_HASH_ML_DSA_SHA3_256,
            "SHA3-384" => CKM_HASH_ML_DSA_SHA3_384,
            "SHA3-512" => CKM_HASH_ML_DSA_SHA3_512,
            "SHAKE-128" => CKM_HASH_ML_DSA_SHAKE128,
            "SHAKE-256" => CKM_HASH_ML_DSA_SHAKE256,
            _ => return None,
        },
    };
    Some(Mech::context(ty, hedge, &hex(v, "context")))
}

/// Deterministic signatures; for the others the randomness cannot be given.
pub fn ml_dsa_sign(s: Session, _: &str, group: &Value, v: &Value) -> Checked {
    let mech = ml_dsa_mech(group, v, CKH_DETERMINISTIC_REQUIRED);
    let Some(mech) = mech.filter(|_| group["deterministic"] == true) else { return other() };
    let key = private_ml_dsa(ml_dsa_set(text(group, "parameterSet"))?).bytes(CKA_VALUE, &either(v, group, "sk"));
    signed(s, v, &key, &mech, &hex(v, "message"), &hex(v, "signature"))
}

pub fn ml_dsa(s: Session, _: &str, group: &Value, v: &Value) -> Checked {
    let Some(mech) = ml_dsa_mech(group, v, CKH_HEDGE_PREFERRED) else { return other() };
    let key = Template::key(CKO_PUBLIC_KEY, CKK_ML_DSA)
        .ulong(CKA_PARAMETER_SET, ml_dsa_set(text(group, "parameterSet"))?)
        .bytes(CKA_VALUE, &either(v, group, "pk"));
    verify(s, &key, &mech, &hex(v, "message"), &hex(v, "signature"))
}

/// Where the randomness of an encapsulation was given, what it gave is decapsulated.
pub fn ml_kem(s: Session, _: &str, group: &Value, v: &Value) -> Checked {
    let set = text(group, "parameterSet");
    match text(group, "function") {
        "encapsulationKeyCheck" => agree::encapsulates(s, set, &either(v, group, "ek")),
        "decapsulationKeyCheck" => agree::takes_private(s, set, &either(v, group, "dk")),
        // Here `testPassed` would speak of the ciphertext; the shared secret is right either way.
        _ => agree::decapsulate(s, set, &either(v, group, "dk"), &[], &hex(v, "c"), &hex(v, "k")),
    }
}

pub fn ml_kem_key(s: Session, _: &str, group: &Value, v: &Value) -> Checked {
    let Some(set) = ml_kem_set(text(group, "parameterSet")) else { return other() };
    let seed = [hex(v, "d"), hex(v, "z")].concat();
    from_seed(s, &private_ml_kem(set), &seed, &hex(v, "dk"), &hex(v, "ek"))
}

fn slh_dsa_set(name: &str) -> Option<CK_ULONG> {
    Some(match name {
        "SLH-DSA-SHA2-128s" => CKP_SLH_DSA_SHA2_128S,
        "SLH-DSA-SHAKE-128s" => CKP_SLH_DSA_SHAKE_128S,
        "SLH-DSA-SHA2-128f" => CKP_SLH_DSA_SHA2_128F,
        "SLH-DSA-SHAKE-128f" => CKP_SLH_DSA_SHAKE_128F,
        "SLH-DSA-SHA2-192s" => CKP_SLH_DSA_SHA2_192S,
        "SLH-DSA-SHAKE-192s" => CKP_SLH_DSA_SHAKE_192S,
        "SLH-DSA-SHA2-192f" => CKP_SLH_DSA_SHA2_192F,
        "SLH-DSA-SHAKE-192f" => CKP_SLH_DSA_SHAKE_192F,
        "SLH-DSA-SHA2-256s" => CKP_SLH_DSA_SHA2_256S,
        "SLH-DSA-SHAKE-256s" => CKP_SLH_DSA_SHAKE_256S,
        "SLH-DSA-SHA2-256f" => CKP_SLH_DSA_SHA2_256F,
        "SLH-DSA-SHAKE-256f" => CKP_SLH_DSA_SHAKE_256F,
        _ => return None,
    })
}

/// The private key's public half. With the fastest set it also signs, and the vector's public key verifies that: a root that was
/// computed otherwise would not. (The others take seconds to sign.)
pub fn slh_dsa_key(s: Session, _: &str, group: &Value, v: &Value) -> Checked {
    let Some(set) = slh_dsa_set(text(group, "parameterSet")).filter(|_| offers(s, CKM_SLH_DSA) && plain(group)) else {
        return other();
    };
    let private = Template::key(CKO_PRIVATE_KEY, CKK_SLH_DSA)
        .flag(CKA_TOKEN, false)
        .flag(CKA_SIGN, true)
        .flag(CKA_DERIVE, true)
        .ulong(CKA_PARAMETER_SET, set)
        .bytes(CKA_VALUE, &hex(v, "sk"));
    let public =
        Template::key(CKO_PUBLIC_KEY, CKK_SLH_DSA).ulong(CKA_PARAMETER_SET, set).bytes(CKA_VALUE, &hex(v, "pk"));
    with_key(s, judged(s, CKM_SLH_DSA, s.create(&private)), |key| {
        if let other @ Got::Wrong(_) = public_is(s, key, &hex(v, "pk"))? {
            return Ok(other);
        }
        if text(group, "parameterSet") != "SLH-DSA-SHA2-128f" {
            return Ok(Got::Right);
        }
        let mech = Mech::new(CKM_SLH_DSA);
        unsupported(s.init(F::C_SignInit, &mech, key))?;
        let signature = wrong(s.run(F::C_Sign, b"message"))?;
        verify(s, &public, &mech, b"message", &signature).map_err(|_| Got::Wrong("the public key".into()))
    })
}
