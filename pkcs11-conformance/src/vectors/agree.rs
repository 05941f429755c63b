//! Vectors for key agreement and encapsulation.

use cryptoki_sys::*;
use serde_json::Value;

use super::asymmetric::curve;
use super::symmetric::{derived, with_key};
use super::{Checked, Got, hex, integer, same, text, unsupported, wrong};
use crate::check::keys::{X448, X25519};
use crate::data::{Mech, Template};
use crate::ffi::Session;

fn target() -> Template {
    Template::key(CKO_SECRET_KEY, CKK_GENERIC_SECRET)
        .flag(CKA_TOKEN, false)
        .flag(CKA_SENSITIVE, false)
        .flag(CKA_EXTRACTABLE, true)
}

/// Derives with a private value of this curve and the other side's point.
fn agree(s: Session, kind: CK_KEY_TYPE, oid: &[u8], private: &[u8], point: &[u8], want: &[u8]) -> Checked {
    let key = Template::key(CKO_PRIVATE_KEY, kind)
        .flag(CKA_TOKEN, false)
        .flag(CKA_DERIVE, true)
        .bytes(CKA_EC_PARAMS, oid)
        .bytes(CKA_VALUE, private);
    let t = if want.is_empty() { target() } else { target().ulong(CKA_VALUE_LEN, want.len() as CK_ULONG) };
    with_key(s, unsupported(s.create(&key)), |key| derived(s, &Mech::ecdh(CKD_NULL, b"", point), key, &t, want))
}

/// Points as octets only; public keys in a certificate's form are not a module's matter.
pub fn ecdh(s: Session, _: &str, group: &Value, v: &Value) -> Checked {
    let name = text(group, "curve");
    let Some(oid) = curve(name).filter(|_| text(group, "encoding") == "ecpoint") else {
        return Ok(Got::Unsupported("public keys in another form".into()));
    };
    let length = match name {
        "secp521r1" => 66,
        "secp384r1" => 48,
        "secp224r1" => 28,
        _ => 32,
    };
    let short = integer(v, "private");
    let private = [vec![0; usize::saturating_sub(length, short.len())], short].concat();
    agree(s, CKK_EC, oid, &private, &hex(v, "public"), &hex(v, "shared"))
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
    let Some(set) = ml_kem_set(set) else { return Ok(Got::Unsupported(format!("no set {set}"))) };
    let t = Template::key(CKO_PRIVATE_KEY, CKK_ML_KEM)
        .flag(CKA_TOKEN, false)
        .flag(CKA_DECAPSULATE, true)
        .ulong(CKA_PARAMETER_SET, set);
    let t = if key.is_empty() { t.bytes(CKA_SEED, seed) } else { t.bytes(CKA_VALUE, key) };
    with_key(s, unsupported(s.create(&t)), |key| {
        let made = wrong(s.decapsulate(&Mech::new(CKM_ML_KEM), key, sealed, &target()))?;
        let value = wrong(s.get(made, CKA_VALUE));
        wrong(s.destroy(made))?;
        Ok(same(&value?, want))
    })
}

pub fn ml_kem(s: Session, _: &str, group: &Value, v: &Value) -> Checked {
    let sealed = hex(v, "c");
    if sealed.is_empty() || v["K"].is_null() {
        return Ok(Got::Unsupported("needs a given randomness".into()));
    }
    decapsulate(s, text(group, "parameterSet"), &hex(v, "dk"), &hex(v, "seed"), &sealed, &hex(v, "K"))
}
