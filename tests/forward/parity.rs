//! The checker of `pkcs11-conformance` says the same of a module whether it is reached directly or through a slot.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use crate::scene::*;

/// Verdict by test, of a check of the token "hsm" through `module`.
fn verdicts(scene: &Scene, module: &Path, only: &[&str]) -> BTreeMap<String, String> {
    let beside = library().parent().unwrap().to_owned();
    // The build without AWS-LC makes no checker of its own: scripts/test says where that of the other is.
    let other = std::env::var_os("KEYWARD_BUILT").map(std::path::PathBuf::from);
    let places = [Some(beside.clone()), beside.parent().map(Path::to_owned), other];
    let mut checkers = places.into_iter().flatten().map(|place| place.join("pkcs11-conformance"));
    let checker = checkers.find(|path| path.exists()).expect("cargo build --workspace makes the checker");
    let json = scene.place.join("verdicts.json");
    let mut command = Command::new(checker);
    command.args(["check", "--token-label", "hsm", "--user-pin", PIN, "--so-pin", SO_PIN, "--timeout", "60"]);
    command.arg("--module").arg(module).arg("--json").arg(&json);
    for name in only {
        command.args(["--only", name]);
    }
    command.output().unwrap();
    let text = std::fs::read_to_string(&json).unwrap();
    let report: serde_json::Value = serde_json::from_str(&text).unwrap();
    let text = |record: &serde_json::Value, key: &str| record[key].as_str().unwrap().to_owned();
    report["records"].as_array().unwrap().iter().map(|record| (text(record, "id"), text(record, "verdict"))).collect()
}

fn same_verdicts(only: &[&str], least: usize) {
    let scene = Scene::new();
    scene.configure(Path::new(SOFTHSM), "token = 'hsm'\nsecurity_officer = true");
    let direct = verdicts(&scene, Path::new(SOFTHSM), only);
    no_worse(&direct, &verdicts(&scene, &library(), only), least);
}

/// What passed directly passes through the slot.
fn no_worse(direct: &BTreeMap<String, String>, through: &BTreeMap<String, String>, least: usize) {
    let passed: Vec<&String> = direct.iter().filter(|(_, verdict)| *verdict == "pass").map(|(id, _)| id).collect();
    assert!(passed.len() >= least, "{} tests passed directly", passed.len());
    println!("{} tests passed directly", passed.len());
    let worse: Vec<_> =
        passed.into_iter().filter(|id| through.get(*id).is_none_or(|verdict| verdict != "pass")).collect();
    assert!(worse.is_empty(), "{} passed directly and not through the slot: {worse:?}", worse.len());
}

/// Keyward stands for the HSM too.
fn same_verdicts_of_ourselves(only: &[&str], least: usize) {
    let scene = Scene::new();
    let lines = crate::modules::inner(&scene, "hsm");
    set_env("KEYWARD_CONF", scene.place.join("hsm.toml"));
    let direct = verdicts(&scene, &library(), only);
    set_env("KEYWARD_CONF", scene.place.join("keyward.toml"));
    scene.configure(&library(), &format!("{lines}\nsecurity_officer = true"));
    no_worse(&direct, &verdicts(&scene, &library(), only), least);
}

#[test]
fn what_passes_directly_passes_through_a_slot() {
    same_verdicts(&["sign/ECDSA", "cipher/AES_CBC", "objects/"], 80);
}

#[test]
#[ignore = "the whole check twice: some minutes"]
fn all_that_passes_directly_passes_through_a_slot() {
    same_verdicts(&[], 1000);
}

#[test]
#[ignore = "the whole check twice: some minutes"]
fn all_that_passes_on_ourselves_passes_through_ourselves() {
    same_verdicts_of_ourselves(&[], 2000);
}
