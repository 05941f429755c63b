//! Vectors for key agreement and encapsulation.

use cryptoki_sys::*;
use serde_json::Value;

use super::asymmetric::curve;
use super::symmetric::{derived, with_key};
use super::{Checked, Got, der, hex, integer, judged, same, text, unsupported, wrong};
use crate::check::keys::{X448, X25519};
use crate::data::{Mech, Template};
use crate::ffi::Session;

pub fn target() -> Template {
    Template::key(CKO_SECRET_KEY, CKK_GENERIC_SECRET)
        .flag(CKA_TOKEN, false)
        .flag(CKA_SENSITIVE, false)
        .flag(CKA_EXTRACTABLE, true)
}

/// Derives with a private value of this curve and the other side's point.
pub fn agree(s: Session, kind: CK_KEY_TYPE, oid: &[u8], private: &[u8], point: &[u8], want: &[u8]) -> Checked {
    let key = Template::key(CKO_PRIVATE_KEY, kind)
        .flag(CKA_TOKEN, false)
        .flag(CKA_DERIVE, true)
        .bytes(CKA_EC_PARAMS, oid)
        .bytes(CKA_VALUE, private);
    let t = if want.is_empty() { target() } else { target().ulong(CKA_VALUE_LEN, want.len() as CK_ULONG) };
    with_key(s, unsupported(s.create(&key)), |key| derived(s, &Mech::ecdh(CKD_NULL, b"", point), key, &t, want))
}

/// Points, also those in a public key that names its curve; other forms of certificates are not a module's matter.
pub fn ecdh(s: Session, _: &str, group: &Value, v: &Value) -> Checked {
    let name = text(group, "curve");
    let Some(oid) = curve(name) else { return Ok(Got::Unsupported(format!("no curve {name}"))) };
    let public = hex(v, "public");
    let point = match text(group, "encoding") {
        "ecpoint" => Some(&public[..]),
        _ => der::point(&public, oid),
    };
    let Some(point) = point else { return Ok(Got::Unsupported("public keys in another form".into())) };
    ecdh_with(s, name, &integer(v, "private"), point, &hex(v, "shared"))
}

/// Derives on the curve of this name with a private number.
pub fn ecdh_with(s: Session, name: &str, private: &[u8], point: &[u8], want: &[u8]) -> Checked {
    let Some(oid) = curve(name) else { return Ok(Got::Unsupported(format!("no curve {name}"))) };
    let length = match name {
        "secp521r1" | "P-521" => 66,
        "brainpoolP512r1" => 64,
        "secp384r1" | "P-384" | "brainpoolP384r1" => 48,
        "brainpoolP320r1" => 40,
        "secp224r1" | "P-224" | "brainpoolP224r1" => 28,
        _ => 32,
    };
    let private = [&vec![0; usize::saturating_sub(length, private.len())], private].concat();
    agree(s, CKK_EC, oid, &private, point, want)
}

pub fn xdh(s: Session, _: &str, group: &Value, v: &Value) -> Checked {
    let oid = match text(group, "curve") {
        "curve25519" => X25519,
        "curve448" => X448,
        other => return Ok(Got::Unsupported(format!("no curve {other}"))),
    };
    agree(s, CKK_EC_MONTGOMERY, oid, &hex(v, "private"), &hex(v, "public"), &hex(v, "shared"))
}

pub fn ml_kem_set(name: &str) -> Option<CK_ULONG> {
    match name {
        "ML-KEM-512" => Some(CKP_ML_KEM_512),
        "ML-KEM-768" => Some(CKP_ML_KEM_768),
        "ML-KEM-1024" => Some(CKP_ML_KEM_1024),
        _ => None,
    }
}

/// Decapsulation with a private key given whole or by its seed.
pub fn decapsulate(s: Session, set: &str, key: &[u8], seed: &[u8], sealed: &[u8], want: &[u8]) -> Checked {
    let Some(number) = ml_kem_set(set) else { return no_set(set) };
    let t = private_ml_kem(number).flag(CKA_TOKEN, false).flag(CKA_DECAPSULATE, true);
    let t = if key.is_empty() { t.bytes(CKA_SEED, seed) } else { t.bytes(CKA_VALUE, key) };
    with_key(s, judged(s, CKM_ML_KEM, s.create(&t)), |key| {
        let made = wrong(s.decapsulate(&Mech::new(CKM_ML_KEM), key, sealed, &target()))?;
        let value = wrong(s.get(made, CKA_VALUE));
        wrong(s.destroy(made))?;
        Ok(same(&value?, want))
    })
}

/// A private key made of its seed, readable: its value, and its public key's where the module tells it.
pub fn from_seed(s: Session, t: &Template, seed: &[u8], private: &[u8], public: &[u8]) -> Checked {
    let ty = if t.value(CKA_KEY_TYPE) == Some(&CKK_ML_KEM.to_ne_bytes()) { CKM_ML_KEM } else { CKM_ML_DSA };
    let t = t.clone().flag(CKA_TOKEN, false).flag(CKA_SENSITIVE, false).flag(CKA_EXTRACTABLE, true);
    with_key(s, judged(s, ty, s.create(&t.flag(CKA_DERIVE, true).bytes(CKA_SEED, seed))), |key| {
        let value = wrong(s.get(key, CKA_VALUE))?;
        if value != private {
            return Ok(same(&value, private));
        }
        public_is(s, key, public)
    })
}

/// Right if the private key's public half is this, or if the module does not tell it.
pub fn public_is(s: Session, private: CK_OBJECT_HANDLE, public: &[u8]) -> Result<Got, Got> {
    let t = Template::new().flag(CKA_TOKEN, false);
    let Ok(half) = s.derive(&Mech::new(CKM_PUB_KEY_FROM_PRIV_KEY), private, &t) else { return Ok(Got::Right) };
    let value = wrong(s.get(half, CKA_VALUE));
    wrong(s.destroy(half))?;
    Ok(same(&value?, public))
}

fn no_set(name: &str) -> Checked {
    Ok(Got::Unsupported(format!("no set {name}")))
}

/// A public key is taken, and something encapsulated with it; the randomness cannot be given, so the result says nothing more.
pub fn encapsulates(s: Session, set: &str, key: &[u8]) -> Checked {
    let Some(number) = ml_kem_set(set) else { return no_set(set) };
    let t = Template::key(CKO_PUBLIC_KEY, CKK_ML_KEM)
        .flag(CKA_TOKEN, false)
        .flag(CKA_ENCAPSULATE, true)
        .ulong(CKA_PARAMETER_SET, number)
        .bytes(CKA_VALUE, key);
    with_key(s, judged(s, CKM_ML_KEM, s.create(&t)), |key| {
        let (_, secret) = wrong(s.encapsulate(&Mech::new(CKM_ML_KEM), key, &target()))?;
        wrong(s.destroy(secret)).map(|()| Got::Right)
    })
}

/// Whether a decapsulation key is taken at all.
pub fn takes_private(s: Session, set: &str, key: &[u8]) -> Checked {
    let Some(number) = ml_kem_set(set) else { return no_set(set) };
    let t = private_ml_kem(number).flag(CKA_TOKEN, false).bytes(CKA_VALUE, key);
    with_key(s, judged(s, CKM_ML_KEM, s.create(&t)), |_| Ok(Got::Right))
}

pub fn private_ml_kem(set: CK_ULONG) -> Template {
    Template::key(CKO_PRIVATE_KEY, CKK_ML_KEM).ulong(CKA_PARAMETER_SET, set)
}

pub fn ml_kem(s: Session, _: &str, group: &Value, v: &Value) -> Checked {
    let set = text(group, "parameterSet");
    match text(group, "type") {
        "MLKEMEncapsTest" => encapsulates(s, set, &hex(v, "ek")),
        "MLKEMKeyGen" => match ml_kem_set(set) {
            Some(number) => from_seed(s, &private_ml_kem(number), &hex(v, "seed"), &hex(v, "dk"), &hex(v, "ek")),
            None => no_set(set),
        },
        _ => decapsulate(s, set, &hex(v, "dk"), &hex(v, "seed"), &hex(v, "c"), &hex(v, "K")),
    }
}
