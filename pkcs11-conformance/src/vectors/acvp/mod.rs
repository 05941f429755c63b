//! The ACVP files of NIST: `NAME.json.gz` with inputs and results together, or `NAME.prompt.json.gz` and
//! `NAME.expectedResults.json.gz`, each with one half.

mod public;
mod secret;

use std::collections::HashMap;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use flate2::read::GzDecoder;
use serde_json::Value;

use super::{Check, Checked, Got, Set, Tell, Want, invalid, passwords, text, through};
use crate::context::Stop;
use crate::ffi::Session;

/// File names that are read, by their beginnings, with what checks them. Left out, since no mechanism of PKCS#11 takes what
/// they give: the parts of key derivations whose secret is no key (`kdf-components`).
const KNOWN: &[(&str, Check)] = &[
    ("SHA2-", secret::digest),
    ("SHA3-", secret::digest),
    ("HMAC-", secret::hmac),
    ("ACVP-AES-GCM", secret::gcm),
    ("ACVP-AES-GMAC", secret::gmac),
    ("ACVP-AES-CCM", secret::ccm),
    ("ACVP-AES-KW", secret::keywrap),
    ("ACVP-AES-XTS", secret::xts),
    ("ACVP-AES-", secret::cipher),
    ("ACVP-TDES-", secret::triple_des),
    ("CMAC-", secret::cmac),
    ("PBKDF", passwords::acvp),
    ("TLS-v1.2-KDF", secret::tls),
    ("RSA-Sig", public::rsa),
    ("RSA-DecryptionPrimitive", public::rsa_decrypt),
    ("RSA-signaturePrimitive", public::rsa_sign),
    ("DSA-SigVer", public::dsa),
    ("ECDSA-Sig", public::ecdsa),
    ("DetECDSA-SigGen", public::ecdsa),
    ("EDDSA-SigGen", public::eddsa_sign),
    ("EDDSA-SigVer", public::eddsa),
    ("EDDSA-KeyVer", public::eddsa_key),
    ("KAS-ECC-CDH", public::ecdh),
    ("KAS-FFC", public::dh),
    ("XECDH-SSC", public::xdh),
    ("XECDH-keyVer", public::xdh_key),
    ("LMS-sigVer", public::lms),
    ("ML-DSA-keyGen", public::ml_dsa_key),
    ("ML-DSA-sigGen", public::ml_dsa_sign),
    ("ML-DSA-sigVer", public::ml_dsa),
    ("ML-KEM-encapDecap", public::ml_kem),
    ("ML-KEM-keyGen", public::ml_kem_key),
    ("SLH-DSA-keyGen", public::slh_dsa_key),
];

pub fn sets(folder: &Path) -> Result<Vec<Set>, String> {
    let entries = std::fs::read_dir(folder).map_err(|e| format!("cannot read {}: {e}", folder.display()))?;
    let mut files: Vec<PathBuf> = entries.filter_map(|e| e.ok().map(|e| e.path())).collect();
    files.sort();
    let mut sets = Vec::new();
    for file in files {
        let name = file.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        let Some(id) = name.strip_suffix(".json.gz").filter(|n| !n.ends_with(".expectedResults")) else { continue };
        if let Some((_, check)) = KNOWN.iter().find(|(start, _)| id.starts_with(start)) {
            sets.push(set(format!("acvp/{}", id.trim_end_matches(".prompt")), file, *check));
        }
    }
    Ok(sets)
}

fn read(file: &Path) -> Result<Value, Stop> {
    let why = |e: &dyn std::fmt::Display| Stop::Fail(format!("{}: {e}", file.display()));
    let mut text = String::new();
    let mut reader = GzDecoder::new(File::open(file).map_err(|e| why(&e))?);
    reader.read_to_string(&mut text).map_err(|e| why(&e))?;
    let whole: Value = serde_json::from_str(&text).map_err(|e| why(&e))?;
    // Some files wrap the set in a list after the version.
    Ok(whole.as_array().and_then(|a| a.last()).cloned().unwrap_or(whole))
}

/// With the other half's members in each vector, where the file is a `prompt`.
fn read_whole(file: &Path) -> Result<Value, Stop> {
    let mut whole = read(file)?;
    let name = file.to_string_lossy();
    let Some(start) = name.strip_suffix(".prompt.json.gz") else { return Ok(whole) };
    let answers = read(Path::new(&format!("{start}.expectedResults.json.gz")))?;
    let tests = |groups: &Value| groups["testGroups"].as_array().cloned().unwrap_or_default();
    let answers: HashMap<u64, Value> = tests(&answers)
        .iter()
        .flat_map(|group| group["tests"].as_array().cloned().unwrap_or_default())
        .filter_map(|answer| Some((answer["tcId"].as_u64()?, answer)))
        .collect();
    for group in whole["testGroups"].as_array_mut().into_iter().flatten() {
        for v in group["tests"].as_array_mut().into_iter().flatten() {
            let answer = v["tcId"].as_u64().and_then(|id| answers.get(&id)).and_then(Value::as_object);
            if let (Some(v), Some(answer)) = (v.as_object_mut(), answer) {
                v.extend(answer.clone());
            }
        }
    }
    Ok(whole)
}

fn set(id: String, file: PathBuf, check: Check) -> Set {
    let run = move |s: Session, most: Option<usize>, tell: &mut Tell<'_>| {
        let want = |v: &Value| if invalid(v) { Want::Invalid } else { Want::Valid };
        through(s, &read_whole(&file)?, most, check, want, tell)
    };
    Set { id, run: Box::new(run) }
}

/// Only the plain tests: the Monte Carlo ones ask for a program of their own.
fn plain(group: &Value) -> bool {
    text(group, "testType") == "AFT"
}

/// Messages that were randomised before they were signed (SP 800-106), which is the application's matter.
fn randomised(group: &Value) -> bool {
    group["conformance"].is_string()
}

fn other() -> Checked {
    Ok(Got::Unsupported("a kind of test that is not run".into()))
}
