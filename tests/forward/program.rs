//! `keyward migrate` and `keyward doctor` with a slot that leads to SoftHSM.

use std::process::{Command, Output};

use crate::scene::*;

fn keyward(words: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_keyward"));
    command.args(words).env("USER_PIN", PIN).env("OFFICER", SO_PIN).output().unwrap()
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// A software token "soft" beside the HSM's "hsm".
fn both() -> Scene {
    let scene = Scene::new();
    scene.configure(std::path::Path::new(SOFTHSM), "token = 'hsm'");
    let made = keyward(&["token", "init", "--label", "soft", "--so-pin-env", "OFFICER", "--pin-env", "USER_PIN"]);
    assert!(made.status.success(), "{}", said(&made));
    scene
}

fn tool(label: &str, words: &[&str]) {
    let keyward = library();
    let mut command = Command::new("pkcs11-tool");
    command.arg("--module").arg(keyward).args(["--token-label", label, "--login", "--pin", PIN]).args(words);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", said(&output));
}

fn migrate(from: &str, to: &str, more: &[&str]) -> (Option<i32>, serde_json::Value) {
    let words =
        ["--json", "migrate", "--from", from, "--to", to, "--pin-env", "USER_PIN", "--source-pin-env", "USER_PIN"];
    let output = keyward(&[&words[..], more].concat());
    let json = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", said(&output)));
    (output.status.code(), json)
}

fn results(json: &serde_json::Value) -> Vec<(String, String)> {
    let text = |line: &serde_json::Value, key: &str| line[key].as_str().unwrap().to_owned();
    let mut lines: Vec<_> = json
        .as_array()
        .unwrap()
        .iter()
        .map(|line| (text(line, "label") + " " + &text(line, "class"), text(line, "result")))
        .collect();
    lines.sort();
    lines
}

#[test]
fn keys_move_from_software_to_an_hsm_and_what_may_not_is_named() {
    let scene = both();
    tool("soft", &["--keypairgen", "--key-type", "EC:prime256v1", "--label", "goes", "--id", "01", "--extractable"]);
    tool("soft", &["--keypairgen", "--key-type", "EC:prime256v1", "--label", "stays", "--id", "02"]);
    let (_, json) = migrate("soft", "hsm", &["--dry-run"]);
    assert!(results(&json).iter().any(|(what, how)| what == "goes private key" && how == "would be moved"), "{json}");
    let (code, json) = migrate("soft", "hsm", &[]);
    assert_eq!(code, Some(7), "something stays: {json}");
    let lines = results(&json);
    let of = |what: &str| {
        lines.iter().find(|(found, _)| found == what).unwrap_or_else(|| panic!("{what}: {json}")).1.clone()
    };
    assert_eq!(of("goes private key"), "moved");
    assert_eq!(of("goes public key"), "moved");
    assert!(of("stays private key").starts_with("STAYS"));
    // What the software token's public key verifies, the HSM's private key has signed.
    std::fs::write(scene.place.join("data"), [7; 32]).unwrap();
    let path = |name: &str| scene.place.join(name).to_str().unwrap().to_owned();
    let (data, signature) = (path("data"), path("signature"));
    tool("hsm", &["--sign", "-m", "ECDSA", "--id", "01", "-i", &data, "-o", &signature]);
    tool("soft", &["--verify", "-m", "ECDSA", "--id", "01", "-i", &data, "--signature-file", &signature]);
    let (_, json) = migrate("soft", "hsm", &[]);
    assert!(results(&json).iter().filter(|(_, how)| how == "is there already").count() >= 2, "{json}");
}

#[test]
fn the_doctor_looks_at_slots_that_lead_elsewhere() {
    let scene = both();
    let output = keyward(&["doctor"]);
    assert!(said(&output).contains("module"), "{}", said(&output));
    scene.configure(std::path::Path::new("/nowhere/module.so"), "token = 'hsm'");
    let output = keyward(&["doctor"]);
    assert!(said(&output).contains("/nowhere/module.so") && said(&output).contains("ERROR"), "{}", said(&output));
}
