//! Vectors for signatures and for decryption with private keys.

use cryptoki_sys::*;
use serde_json::Value;

use super::symmetric::with_key;
use super::{Checked, Got, der, family, hash, hex, integer, judged, number, same, started, text, unsupported, wrong};
use crate::check::keys::{ED448, ED25519, P224, P256, P384, P521, SECP256K1};
use crate::context::Stop;
use crate::data::{Hash, Mech, Template};
use crate::ffi::Session;
use crate::functions::F;

/// The mechanism that hashes and then signs: with RSA PKCS#1, RSA PSS, and ECDSA.
pub fn hashed(h: Hash) -> Option<[CK_MECHANISM_TYPE; 3]> {
    Some(match h.ty {
        CKM_SHA_1 => [CKM_SHA1_RSA_PKCS, CKM_SHA1_RSA_PKCS_PSS, CKM_ECDSA_SHA1],
        CKM_SHA224 => [CKM_SHA224_RSA_PKCS, CKM_SHA224_RSA_PKCS_PSS, CKM_ECDSA_SHA224],
        CKM_SHA256 => [CKM_SHA256_RSA_PKCS, CKM_SHA256_RSA_PKCS_PSS, CKM_ECDSA_SHA256],
        CKM_SHA384 => [CKM_SHA384_RSA_PKCS, CKM_SHA384_RSA_PKCS_PSS, CKM_ECDSA_SHA384],
        CKM_SHA512 => [CKM_SHA512_RSA_PKCS, CKM_SHA512_RSA_PKCS_PSS, CKM_ECDSA_SHA512],
        CKM_SHA3_224 => [CKM_SHA3_224_RSA_PKCS, CKM_SHA3_224_RSA_PKCS_PSS, CKM_ECDSA_SHA3_224],
        CKM_SHA3_256 => [CKM_SHA3_256_RSA_PKCS, CKM_SHA3_256_RSA_PKCS_PSS, CKM_ECDSA_SHA3_256],
        CKM_SHA3_384 => [CKM_SHA3_384_RSA_PKCS, CKM_SHA3_384_RSA_PKCS_PSS, CKM_ECDSA_SHA3_384],
        CKM_SHA3_512 => [CKM_SHA3_512_RSA_PKCS, CKM_SHA3_512_RSA_PKCS_PSS, CKM_ECDSA_SHA3_512],
        _ => return None,
    })
}

fn no_hash(name: &str) -> Checked {
    Ok(Got::Unsupported(format!("no mechanism with {name}")))
}

/// The DSA mechanism with this hash.
pub fn dsa_by_hash(h: Hash) -> Option<CK_MECHANISM_TYPE> {
    Some(match h.ty {
        CKM_SHA_1 => CKM_DSA_SHA1,
        CKM_SHA224 => CKM_DSA_SHA224,
        CKM_SHA256 => CKM_DSA_SHA256,
        CKM_SHA384 => CKM_DSA_SHA384,
        CKM_SHA512 => CKM_DSA_SHA512,
        CKM_SHA3_224 => CKM_DSA_SHA3_224,
        CKM_SHA3_256 => CKM_DSA_SHA3_256,
        CKM_SHA3_384 => CKM_DSA_SHA3_384,
        CKM_SHA3_512 => CKM_DSA_SHA3_512,
        _ => return None,
    })
}

/// A public DSA key of numbers with these names, and a signature whose halves are as long as its subprime.
pub fn dsa_public(key: &Value, names: [&str; 4]) -> Template {
    let types = [CKA_PRIME, CKA_SUBPRIME, CKA_BASE, CKA_VALUE];
    let base = Template::key(CKO_PUBLIC_KEY, CKK_DSA);
    types.iter().zip(names).fold(base, |t, (ty, name)| t.bytes(*ty, &integer(key, name)))
}

pub fn dsa(s: Session, _: &str, group: &Value, v: &Value) -> Checked {
    let (key, name) = (&group["publicKey"], text(group, "sha"));
    let Some(ty) = hash(name).and_then(dsa_by_hash) else { return no_hash(name) };
    let Some(signature) = in_halves(group, v, integer(key, "q").len()) else { return only_der() };
    verify(s, &dsa_public(key, ["p", "q", "g", "y"]), &Mech::new(ty), &hex(v, "msg"), &signature)
}

/// The signature as PKCS#11 has it, with halves of so many bytes each; `None` for what only DER can hold.
fn in_halves(group: &Value, v: &Value, len: usize) -> Option<Vec<u8>> {
    let signature = hex(v, "sig");
    if text(group, "type").contains("P1363") { Some(signature) } else { der::signature(&signature, len) }
}

fn only_der() -> Checked {
    Ok(Got::Unsupported("a signature that only DER can hold".into()))
}

/// Verifies with a public key made of this template.
pub fn verify(s: Session, key: &Template, mech: &Mech, message: &[u8], signature: &[u8]) -> Checked {
    let key = unsupported(s.create(&key.clone().flag(CKA_TOKEN, false).flag(CKA_VERIFY, true)));
    with_key(s, key, |key| {
        unsupported(s.init(F::C_VerifyInit, mech, key))?;
        wrong(s.feed2(F::C_Verify, message, signature)).map(|()| Got::Right)
    })
}

fn rsa_public(group: &Value) -> Template {
    let key = &group["publicKey"];
    Template::key(CKO_PUBLIC_KEY, CKK_RSA)
        .bytes(CKA_MODULUS, &integer(key, "modulus"))
        .bytes(CKA_PUBLIC_EXPONENT, &integer(key, "publicExponent"))
}

pub fn rsa_pkcs1_verify(s: Session, _: &str, group: &Value, v: &Value) -> Checked {
    pkcs1(s, &rsa_public(group), text(group, "sha"), &hex(v, "msg"), &hex(v, "sig"))
}

/// What stands before a digest in PKCS#1 v1.5, for the hashes without a mechanism that hashes and signs.
const DIGEST_INFO: &[u8] = &[0x30, 0, 0x30, 13, 6, 9, 0x60, 0x86, 0x48, 1, 0x65, 3, 4, 2, 0, 5, 0, 4, 0];

/// PKCS#1 v1.5 by the mechanism that hashes, or else by two.
pub fn pkcs1(s: Session, key: &Template, name: &str, message: &[u8], signature: &[u8]) -> Checked {
    if let Some([ty, ..]) = hash(name).and_then(hashed) {
        return verify(s, key, &Mech::new(ty), message, signature);
    }
    let arc = |digest| match digest {
        CKM_SHA512_224 => Some(5),
        CKM_SHA512_256 => Some(6),
        _ => None,
    };
    let Some((digest, len, arc)) = family(name).and_then(|f| Some((f.digest, f.len as u8, arc(f.digest)?))) else {
        return no_hash(name);
    };
    let hashed = match s.init(F::C_DigestInit, &Mech::new(digest), 0).and_then(|()| s.run(F::C_Digest, message)) {
        Ok(hashed) => hashed,
        Err(r) => return Ok(Got::Unsupported(format!("{} returned {}", r.function.name(), r.rv))),
    };
    let mut info = [DIGEST_INFO, &hashed].concat();
    (info[1], info[14], info[18]) = (17 + len, arc, len);
    verify(s, key, &Mech::new(CKM_RSA_PKCS), &info, signature)
}

pub fn rsa_pss_verify(s: Session, _: &str, group: &Value, v: &Value) -> Checked {
    let (name, mgf) = (text(group, "sha"), text(group, "mgfSha"));
    let (Some(h), Some(m)) = (hash(name), hash(mgf)) else { return no_hash(name) };
    let Some([_, ty, _]) = hashed(h) else { return no_hash(name) };
    let mech = Mech::pss(ty, h, m, number(group, "sLen") as usize);
    verify(s, &rsa_public(group), &mech, &hex(v, "msg"), &hex(v, "sig"))
}

/// Decrypts with the group's private key, which is made anew each time: sets are small.
fn decrypt(s: Session, group: &Value, mech: &Mech, v: &Value) -> Checked {
    let k = &group["privateKey"];
    let parts = [
        (CKA_MODULUS, "modulus"),
        (CKA_PUBLIC_EXPONENT, "publicExponent"),
        (CKA_PRIVATE_EXPONENT, "privateExponent"),
        (CKA_PRIME_1, "prime1"),
        (CKA_PRIME_2, "prime2"),
        (CKA_EXPONENT_1, "exponent1"),
        (CKA_EXPONENT_2, "exponent2"),
        (CKA_COEFFICIENT, "coefficient"),
    ];
    let base = Template::key(CKO_PRIVATE_KEY, CKK_RSA).flag(CKA_TOKEN, false).flag(CKA_DECRYPT, true);
    let key = parts.iter().fold(base, |t, (ty, name)| t.bytes(*ty, &integer(k, name)));
    with_key(s, unsupported(s.create(&key)), |key| {
        unsupported(s.init(F::C_DecryptInit, mech, key))?;
        Ok(same(&wrong(s.run(F::C_Decrypt, &hex(v, "ct")))?, &hex(v, "msg")))
    })
}

/// A module that rejects implicitly gives random bytes for an invalid ciphertext: another result, as it should be.
pub fn rsa_pkcs1_decrypt(s: Session, _: &str, group: &Value, v: &Value) -> Checked {
    let got = decrypt(s, group, &Mech::new(CKM_RSA_PKCS), v)?;
    // An invalid vector of length 0 cannot be told from an empty message: nothing can be said.
    Ok(if text(v, "result") == "invalid" && got == Got::Right {
        Got::Unsupported("an empty result".into())
    } else {
        got
    })
}

pub fn rsa_oaep(s: Session, _: &str, group: &Value, v: &Value) -> Checked {
    let (name, mgf) = (text(group, "sha"), text(group, "mgfSha"));
    // Of the label any hash; of the mask those that PKCS#11 has a mask function of.
    let Some(of_label) = family(name) else { return no_hash(name) };
    let Some(of_mask) = hash(mgf) else { return no_hash(mgf) };
    decrypt(s, group, &Mech::oaep(of_label.digest, of_mask, &hex(v, "label")), v)
}

fn no_curve(name: &str) -> Checked {
    Ok(Got::Unsupported(format!("no curve {name}")))
}

macro_rules! brainpool {
    ($last:literal) => {
        &[6, 9, 0x2B, 0x24, 3, 3, 2, 8, 1, 1, $last]
    };
}

/// The OID of a curve by the names that vectors use.
pub fn curve(name: &str) -> Option<&'static [u8]> {
    Some(match name {
        "secp224r1" | "P-224" => P224,
        "secp256r1" | "P-256" => P256,
        "secp384r1" | "P-384" => P384,
        "secp521r1" | "P-521" => P521,
        "secp256k1" => SECP256K1,
        "brainpoolP224r1" => brainpool!(5),
        "brainpoolP256r1" => brainpool!(7),
        "brainpoolP320r1" => brainpool!(9),
        "brainpoolP384r1" => brainpool!(11),
        "brainpoolP512r1" => brainpool!(13),
        "edwards25519" | "Ed25519" | "ED-25519" => ED25519,
        "edwards448" | "Ed448" | "ED-448" => ED448,
        _ => return None,
    })
}

/// A DER OCTET STRING.
pub fn octets(bytes: &[u8]) -> Vec<u8> {
    let n = bytes.len() as u8;
    let head: &[u8] = if n < 128 { &[4, n] } else { &[4, 0x81, n] };
    [head, bytes].concat()
}

/// Signatures in DER are brought into the form of PKCS#11, r and s of equal length, where that can hold them.
pub fn ecdsa(s: Session, _: &str, group: &Value, v: &Value) -> Checked {
    if text(group, "type") == "EcdsaBitcoinVerify" {
        return Ok(Got::Unsupported("Bitcoin's own rule for s".into()));
    }
    let (key, name) = (&group["publicKey"], text(group, "sha"));
    let Some(oid) = curve(text(key, "curve")) else { return no_curve(text(key, "curve")) };
    let Some([_, _, ty]) = hash(name).and_then(hashed) else { return no_hash(name) };
    let point = hex(key, "uncompressed");
    let Some(signature) = in_halves(group, v, point.len() / 2) else { return only_der() };
    verify(s, &ec_public(CKK_EC, oid, &octets(&point)), &Mech::new(ty), &hex(v, "msg"), &signature)
}

pub fn ec_public(kind: CK_KEY_TYPE, oid: &[u8], point: &[u8]) -> Template {
    Template::key(CKO_PUBLIC_KEY, kind).bytes(CKA_EC_PARAMS, oid).bytes(CKA_EC_POINT, point)
}

pub fn eddsa(s: Session, _: &str, group: &Value, v: &Value) -> Checked {
    let key = &group["publicKey"];
    let Some(oid) = curve(text(key, "curve")) else { return no_curve(text(key, "curve")) };
    let key = ec_public(CKK_EC_EDWARDS, oid, &octets(&hex(key, "pk")));
    verify(s, &key, &Mech::new(CKM_EDDSA), &hex(v, "msg"), &hex(v, "sig"))
}

/// The parameter set by the last number of the algorithm's name.
pub fn ml_dsa_set(name: &str) -> Result<CK_ULONG, Stop> {
    match name.trim_start_matches("ML-DSA-") {
        "44" => Ok(CKP_ML_DSA_44),
        "65" => Ok(CKP_ML_DSA_65),
        "87" => Ok(CKP_ML_DSA_87),
        _ => Err(Stop::Fail(format!("{name} is no set of ML-DSA"))),
    }
}

pub fn ml_dsa(s: Session, algorithm: &str, group: &Value, v: &Value) -> Checked {
    let key = Template::key(CKO_PUBLIC_KEY, CKK_ML_DSA)
        .ulong(CKA_PARAMETER_SET, ml_dsa_set(algorithm)?)
        .bytes(CKA_VALUE, &hex(group, "publicKey"));
    let context = hex(v, "ctx");
    let mech = if context.is_empty() {
        Mech::new(CKM_ML_DSA)
    } else {
        Mech::context(CKM_ML_DSA, CKH_HEDGE_PREFERRED, &context)
    };
    verify(s, &key, &mech, &hex(v, "msg"), &hex(v, "sig"))
}

/// Deterministic signatures, with a private key given whole or by its seed.
pub fn ml_dsa_sign(s: Session, algorithm: &str, group: &Value, v: &Value) -> Checked {
    if v["msg"].is_null() {
        return Ok(Got::Unsupported("a message given by its hash alone".into()));
    }
    if text(v, "comment").starts_with("randomized") {
        return Ok(Got::Unsupported("needs a given randomness".into()));
    }
    let (ty, value) =
        if group["privateSeed"].is_string() { (CKA_SEED, "privateSeed") } else { (CKA_VALUE, "privateKey") };
    let key = private_ml_dsa(ml_dsa_set(algorithm)?).bytes(ty, &hex(group, value));
    let mech = Mech::context(CKM_ML_DSA, CKH_DETERMINISTIC_REQUIRED, &hex(v, "ctx"));
    signed(s, v, &key, &mech, &hex(v, "msg"), &hex(v, "sig"))
}

pub fn private_ml_dsa(set: CK_ULONG) -> Template {
    Template::key(CKO_PRIVATE_KEY, CKK_ML_DSA).ulong(CKA_PARAMETER_SET, set)
}

/// Signs with a private key made of this template: the signature comes out, and its key verifies nothing else.
pub fn signed(s: Session, v: &Value, key: &Template, mech: &Mech, message: &[u8], signature: &[u8]) -> Checked {
    let key = key.clone().flag(CKA_TOKEN, false).flag(CKA_SIGN, true);
    with_key(s, judged(s, mech.ty, s.create(&key)), |key| {
        started(v, s.init(F::C_SignInit, mech, key))?;
        Ok(same(&wrong(s.run(F::C_Sign, message))?, signature))
    })
}
