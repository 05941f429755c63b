//! The checker of `pkcs11-conformance`, and its vectors, say the same of a module whether it is reached directly or through a slot.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value as Json;

use crate::scene::*;

/// What the checker reports of each test or set, of the token "hsm" through `module`.
fn records(scene: &Scene, module: &Path, words: &[&str]) -> Vec<Json> {
    let beside = library().parent().unwrap().to_owned();
    // The build without AWS-LC makes no checker of its own: scripts/test says where that of the other is.
    let other = std::env::var_os("KEYWARD_BUILT").map(std::path::PathBuf::from);
    let places = [Some(beside.clone()), beside.parent().map(Path::to_owned), other];
    let mut checkers = places.into_iter().flatten().map(|place| place.join("pkcs11-conformance"));
    let checker = checkers.find(|path| path.exists()).expect("cargo build --workspace makes the checker");
    let json = scene.place.join("records.json");
    let mut command = Command::new(checker);
    command.args(words).args(["--token-label", "hsm", "--user-pin", PIN, "--so-pin", SO_PIN]);
    command.arg("--module").arg(module).arg("--json").arg(&json).output().unwrap();
    let report: Json = serde_json::from_str(&std::fs::read_to_string(&json).unwrap()).unwrap();
    report["records"].as_array().unwrap().clone()
}

fn text(record: &Json, key: &str) -> String {
    record[key].as_str().unwrap_or_default().to_owned()
}

/// Verdict by test.
fn verdicts(scene: &Scene, module: &Path, only: &[&str]) -> BTreeMap<String, String> {
    let only = only.iter().flat_map(|name| ["--only", name]);
    let words: Vec<&str> = ["check", "--timeout", "60"].into_iter().chain(only).collect();
    records(scene, module, &words).iter().map(|record| (text(record, "id"), text(record, "verdict"))).collect()
}

/// By set of vectors, how many were right, wrong and not supported, and which.
fn tallies(scene: &Scene, module: &Path, words: &[&str]) -> BTreeMap<String, (String, String)> {
    let words: Vec<&str> = ["vectors", "--timeout", "900"].iter().chain(words).copied().collect();
    let of = |record: &Json| (text(record, "id"), (text(record, "verdict"), text(record, "reason")));
    records(scene, module, &words).iter().map(of).collect()
}

/// A token "hsm" of SoftHSM's, or of our own; its module, and the lines of the slot that leads to it.
fn behind(scene: &Scene, ourselves: bool) -> (PathBuf, String) {
    match ourselves {
        false => (SOFTHSM.into(), "token = 'hsm'".to_owned()),
        true => (library(), crate::modules::inner(scene, "hsm")),
    }
}

/// The same of a module directly, and through a slot.
fn compared<T>(ourselves: bool, ask: impl Fn(&Scene, &Path) -> T) -> (T, T) {
    let scene = Scene::new();
    let (module, lines) = behind(&scene, ourselves);
    if ourselves {
        set_env("KEYWARD_CONF", scene.place.join("hsm.toml"));
    }
    let direct = ask(&scene, &module);
    set_env("KEYWARD_CONF", scene.place.join("keyward.toml"));
    scene.configure(&module, &format!("{lines}\nsecurity_officer = true"));
    (direct, ask(&scene, &library()))
}

fn same_verdicts(ourselves: bool, only: &[&str], least: usize) {
    let (direct, through) = compared(ourselves, |scene, module| verdicts(scene, module, only));
    no_worse(&direct, &through, least);
}

fn same_tallies(ourselves: bool, words: &[&str], least: usize) {
    let (direct, through) = compared(ourselves, |scene, module| tallies(scene, module, words));
    let passed = direct.values().filter(|(verdict, _)| verdict == "pass").count();
    assert!(passed >= least, "{passed} sets passed directly");
    let other: Vec<_> = direct.iter().filter(|(set, tally)| through.get(*set) != Some(tally)).collect();
    let through: Vec<_> = other.iter().map(|(set, _)| through.get(*set)).collect();
    assert!(other.is_empty(), "{} sets differ: {other:#?}, and through the slot {through:#?}", other.len());
}

/// What is not carried through a slot, and why (docs/forward.md, "What is not emulated").
const INHERENT: [(&str, &str); 1] =
    [("HOTP", "a one-time password comes back in a structure with the module's own pointers")];

/// What passed directly passes through the slot.
fn no_worse(direct: &BTreeMap<String, String>, through: &BTreeMap<String, String>, least: usize) {
    let carried = |id: &str| INHERENT.iter().all(|(name, _)| !id.contains(name));
    let passed = direct.iter().filter(|(id, verdict)| *verdict == "pass" && carried(id));
    let passed: Vec<&String> = passed.map(|(id, _)| id).collect();
    assert!(passed.len() >= least, "{} tests passed directly", passed.len());
    println!("{} tests passed directly", passed.len());
    let worse: Vec<_> =
        passed.into_iter().filter(|id| through.get(*id).is_none_or(|verdict| verdict != "pass")).collect();
    assert!(worse.is_empty(), "{} passed directly and not through the slot: {worse:?}", worse.len());
}

#[test]
fn what_passes_directly_passes_through_a_slot() {
    same_verdicts(false, &["sign/ECDSA", "cipher/AES_CBC", "objects/"], 80);
}

#[test]
#[ignore = "the whole check twice: some minutes"]
fn all_that_passes_directly_passes_through_a_slot() {
    same_verdicts(false, &[], 1000);
}

/// Keyward stands for the HSM too.
#[test]
#[ignore = "the whole check twice: some minutes"]
fn all_that_passes_on_ourselves_passes_through_ourselves() {
    same_verdicts(true, &[], 2000);
}

/// Sets of ciphers with and without tags, of MACs, of curves and of RSA.
const SOME: &[&str] = &[
    "aead/AesGcm",
    "cipher/AesCbcPkcs5",
    "mac/AesCmac",
    "mac/HmacSha256",
    "keywrap/AesKeyWrap",
    "eddsa/Ed25519",
    "ecdh/EcdhSecp256r1",
    "rsa_oaep/Rsa2048Sha1Mgf1Sha1",
    "rsa_pss_verify/RsaPss2048Sha256Mgf1SaltLen32",
];

fn sample(number: &str) -> Vec<&str> {
    ["--sample", number].into_iter().chain(SOME.iter().flat_map(|set| ["--only", set])).collect()
}

#[test]
fn vectors_give_the_same_through_a_slot() {
    same_tallies(false, &sample("3"), SOME.len());
}

#[test]
fn vectors_give_the_same_through_ourselves() {
    same_tallies(true, &sample("1"), SOME.len());
}

#[test]
#[ignore = "every vector twice: many minutes"]
fn every_vector_gives_the_same_through_a_slot() {
    same_tallies(false, &[], 80);
}

#[test]
#[ignore = "every vector twice: many minutes"]
fn every_vector_gives_the_same_through_ourselves() {
    same_tallies(true, &[], 200);
}
