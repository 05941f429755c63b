//! The ACVP files of NIST: `NAME.json.gz` with inputs and results together, or a `prompt` and an `expectedResults` half.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use cryptoki_sys::*;
use flate2::read::GzDecoder;
use serde_json::Value;

use super::asymmetric::{curve, ec_public, hashed, ml_dsa_set, octets, verify};
use super::symmetric::{both_ways, mac_with, with_key};
use super::{Checked, Got, Set, Want, agree, hash, hex, number, same, secret, text, unsupported, wrong};
use crate::context::Stop;
use crate::data::{Mech, Template};
use crate::ffi::Session;
use crate::functions::F;

/// Checks one vector: session, algorithm with its mode, group, vector.
type Check = fn(Session, &str, &Value, &Value) -> Checked;

/// File names that are read, by their beginnings, with what checks them.
const KNOWN: &[(&str, Check)] = &[
    ("SHA2-", digest),
    ("SHA3-", digest),
    ("HMAC-", hmac),
    ("ACVP-AES-ECB", cipher),
    ("ACVP-AES-CBC-1", cipher),
    ("ACVP-AES-CTR", cipher),
    ("ACVP-AES-GCM", gcm),
    ("CMAC-AES", cmac),
    ("ECDSA-SigVer", ecdsa),
    ("EDDSA-SigVer", eddsa),
    ("ML-DSA-sigVer", ml_dsa),
    ("ML-KEM-encapDecap", ml_kem),
];

pub fn sets(folder: &Path) -> Result<Vec<Set>, String> {
    let entries = std::fs::read_dir(folder).map_err(|e| format!("cannot read {}: {e}", folder.display()))?;
    let mut files: Vec<PathBuf> = entries.filter_map(|e| e.ok().map(|e| e.path())).collect();
    files.sort();
    let mut sets = Vec::new();
    for file in files {
        let name = file.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        let Some(id) = name.strip_suffix(".json.gz").filter(|n| !n.contains(".prompt") && !n.contains(".expected"))
        else {
            continue;
        };
        if let Some((_, check)) = KNOWN.iter().find(|(start, _)| id.starts_with(start)) {
            sets.push(set(format!("acvp/{id}"), file, *check));
        }
    }
    Ok(sets)
}

fn read(file: &Path) -> Result<Value, Stop> {
    let why = |e: &dyn std::fmt::Display| Stop::Fail(format!("{}: {e}", file.display()));
    let mut text = String::new();
    let mut reader = GzDecoder::new(File::open(file).map_err(|e| why(&e))?);
    reader.read_to_string(&mut text).map_err(|e| why(&e))?;
    serde_json::from_str(&text).map_err(|e| why(&e))
}

fn set(id: String, file: PathBuf, check: Check) -> Set {
    let run = move |s: Session, tell: &mut dyn FnMut(&str, Want, Got)| {
        let whole = read(&file)?;
        // Some files wrap the set in a list after the version.
        let whole = whole.as_array().and_then(|a| a.last()).cloned().unwrap_or(whole);
        let algorithm = text(&whole, "algorithm").to_owned();
        let none = Vec::new();
        for group in whole["testGroups"].as_array().unwrap_or(&none) {
            for v in group["tests"].as_array().unwrap_or(&none) {
                let passed = v["testPassed"].as_bool().unwrap_or(true);
                let want = if passed { Want::Valid } else { Want::Invalid };
                tell(&format!("{}.{}", group["tgId"], v["tcId"]), want, check(s, &algorithm, group, v)?);
            }
        }
        Ok(())
    };
    Set { id, run: Box::new(run) }
}

/// Only the plain tests: the Monte Carlo ones ask for a program of their own, and those of bits for lengths in bits.
fn plain(group: &Value) -> bool {
    text(group, "testType") == "AFT"
}

fn other() -> Checked {
    Ok(Got::Unsupported("a kind of test that is not run".into()))
}

fn digest(s: Session, algorithm: &str, group: &Value, v: &Value) -> Checked {
    let bits = number(v, "len");
    if !plain(group) || !bits.is_multiple_of(8) {
        return other();
    }
    let Some(h) = hash(algorithm) else { return other() };
    let message = hex(v, "msg");
    let message = message.get(..bits as usize / 8).unwrap_or(&message);
    let run = || {
        unsupported(s.init(F::C_DigestInit, &Mech::new(h.ty), 0))?;
        Ok(same(&wrong(s.run(F::C_Digest, message))?, &hex(v, "md")))
    };
    Ok(super::settle(run()))
}

fn hmac(s: Session, algorithm: &str, group: &Value, v: &Value) -> Checked {
    let Some(h) = algorithm.strip_prefix("HMAC-").and_then(hash) else { return other() };
    let bits = if number(v, "macLen") > 0 { number(v, "macLen") } else { number(group, "macLen") };
    let tag = hex(v, "mac");
    if bits != 8 * h.len as u64 || tag.len() != h.len {
        return other();
    }
    mac_with(s, CKK_GENERIC_SECRET, &Mech::new(h.hmac), &[&hex(v, "key"), &hex(v, "msg"), &tag])
}

fn cipher(s: Session, algorithm: &str, group: &Value, v: &Value) -> Checked {
    let iv = hex(v, "iv");
    let mech = match algorithm {
        _ if !plain(group) => return other(),
        "ACVP-AES-ECB" => Mech::new(CKM_AES_ECB),
        "ACVP-AES-CBC" => Mech::bytes(CKM_AES_CBC, &iv),
        "ACVP-AES-CTR" if number(v, "payloadLen").is_multiple_of(8) => match iv.try_into() {
            Ok(block) => Mech::ctr(128, block),
            Err(_) => return other(),
        },
        _ => return other(),
    };
    with_key(s, secret(s, CKK_AES, &hex(v, "key")), |key| both_ways(s, key, &mech, &hex(v, "pt"), &hex(v, "ct")))
}

fn gcm(s: Session, _: &str, group: &Value, v: &Value) -> Checked {
    let sealed = [hex(v, "ct"), hex(v, "tag")].concat();
    let mech = Mech::gcm(&hex(v, "iv"), &hex(v, "aad"), number(group, "tagLen"));
    with_key(s, secret(s, CKK_AES, &hex(v, "key")), |key| both_ways(s, key, &mech, &hex(v, "pt"), &sealed))
}

fn cmac(s: Session, _: &str, group: &Value, v: &Value) -> Checked {
    let bytes = number(group, "macLen") / 8;
    let mech = if bytes == 16 { Mech::new(CKM_AES_CMAC) } else { Mech::ulong(CKM_AES_CMAC_GENERAL, bytes) };
    let message = if v["message"].is_string() { hex(v, "message") } else { hex(v, "msg") };
    mac_with(s, CKK_AES, &mech, &[&hex(v, "key"), &message, &hex(v, "mac")])
}

/// A member of the vector, or of its group.
fn either(v: &Value, group: &Value, key: &str) -> Vec<u8> {
    if v[key].is_string() { hex(v, key) } else { hex(group, key) }
}

fn ecdsa(s: Session, _: &str, group: &Value, v: &Value) -> Checked {
    let (oid, h) = (curve(text(group, "curve")), hash(text(group, "hashAlg")));
    let (Some(oid), Some([_, _, ty])) = (oid, h.and_then(hashed)) else { return other() };
    let point = [vec![4], either(v, group, "qx"), either(v, group, "qy")].concat();
    let signature = [hex(v, "r"), hex(v, "s")].concat();
    verify(s, &ec_public(CKK_EC, oid, &octets(&point)), &Mech::new(ty), &hex(v, "message"), &signature)
}

fn eddsa(s: Session, _: &str, group: &Value, v: &Value) -> Checked {
    let Some(oid) = curve(text(group, "curve")) else { return other() };
    let prehash = group["preHash"].as_bool().unwrap_or(false);
    let context = hex(v, "context");
    let bare = !prehash && context.is_empty() && text(group, "curve") == "ED-25519";
    let mech = if bare { Mech::new(CKM_EDDSA) } else { Mech::eddsa(prehash, &context) };
    let key = ec_public(CKK_EC_EDWARDS, oid, &octets(&either(v, group, "q")));
    verify(s, &key, &mech, &hex(v, "message"), &hex(v, "signature"))
}

fn ml_dsa(s: Session, _: &str, group: &Value, v: &Value) -> Checked {
    if text(group, "signatureInterface") != "external" || text(group, "preHash") != "pure" {
        return other();
    }
    let key = Template::key(CKO_PUBLIC_KEY, CKK_ML_DSA)
        .ulong(CKA_PARAMETER_SET, ml_dsa_set(text(group, "parameterSet"))?)
        .bytes(CKA_VALUE, &either(v, group, "pk"));
    let context = hex(v, "context");
    let mech = match context.is_empty() {
        true => Mech::new(CKM_ML_DSA),
        false => Mech::context(CKM_ML_DSA, CKH_HEDGE_PREFERRED, &context),
    };
    verify(s, &key, &mech, &hex(v, "message"), &hex(v, "signature"))
}

fn ml_kem(s: Session, _: &str, group: &Value, v: &Value) -> Checked {
    if text(group, "function") != "decapsulation" {
        return other();
    }
    // Here `testPassed` would speak of the ciphertext; the shared secret is right either way.
    agree::decapsulate(s, text(group, "parameterSet"), &either(v, group, "dk"), &[], &hex(v, "c"), &hex(v, "k"))
}
