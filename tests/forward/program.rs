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
fn keys_move_from_an_hsm_to_software_and_what_may_not_is_named() {
    let scene = both();
    let pair = |kind: &str, label: &str, id: &str, more: &[&str]| {
        tool("hsm", &[&["--keypairgen", "--key-type", kind, "--label", label, "--id", id], more].concat());
    };
    pair("EC:prime256v1", "goes", "01", &["--extractable"]);
    pair("rsa:2048", "rsa", "02", &["--extractable"]);
    pair("EC:prime256v1", "stays", "03", &[]);
    let keygen = ["--keygen", "--key-type", "AES:32", "--id", "04", "--label", "aes", "--extractable", "--sensitive"];
    tool("hsm", &keygen);
    let path = |name: &str| scene.place.join(name).to_str().unwrap().to_owned();
    std::fs::write(path("note"), b"a note").unwrap();
    tool("hsm", &["--write-object", &path("note"), "--type", "data", "--label", "note"]);
    let fate = |json: &serde_json::Value, what: &str| {
        results(json).into_iter().find(|(name, _)| name == what).unwrap_or_else(|| panic!("{what}: {json}")).1
    };
    let goes =
        ["goes private key", "goes public key", "rsa private key", "rsa public key", "aes secret key", "note data"];
    let (code, json) = migrate("hsm", "soft", &["--dry-run"]);
    assert_eq!(code, Some(7), "{json}");
    goes.iter().for_each(|what| assert_eq!(fate(&json, what), "would be moved", "{what}"));
    assert!(fate(&json, "stays private key").contains("STAYS") && json.to_string().contains("CKA_EXTRACTABLE"));
    assert_eq!(listed("soft"), 0, "a dry run");
    let (code, json) = migrate("hsm", "soft", &[]);
    assert_eq!(code, Some(7), "{json}");
    goes.iter().for_each(|what| assert_eq!(fate(&json, what), "moved", "{what}"));
    assert!(fate(&json, "stays private key").contains("STAYS"));
    // What the software token signs now, the HSM's public key verifies; nothing is missing there.
    std::fs::write(path("data"), [7; 32]).unwrap();
    let (data, signature) = (path("data"), path("signature"));
    for (mechanism, id) in [("ECDSA", "01"), ("SHA256-RSA-PKCS", "02")] {
        tool("soft", &["--sign", "-m", mechanism, "--id", id, "-i", &data, "-o", &signature]);
        tool("hsm", &["--verify", "-m", mechanism, "--id", id, "-i", &data, "--signature-file", &signature]);
    }
    let (from, to) = (path("from"), path("to"));
    let crypt = ["-m", "AES-CBC-PAD", "--iv", "00112233445566778899aabbccddeeff", "--id", "04"];
    tool("hsm", &[&["--encrypt", "-i", &data, "-o", &from], &crypt[..]].concat());
    tool("soft", &[&["--decrypt", "-i", &from, "-o", &to], &crypt[..]].concat());
    assert_eq!(std::fs::read(to).unwrap(), [7; 32]);
    // As sensitive as it was.
    let output =
        keyward(&["--json", "object", "show", "--token", "soft", "--label", "aes", "--pin-env", "USER_PIN", "--login"]);
    assert!(said(&output).contains("\"CKA_SENSITIVE\""), "{}", said(&output));
    let (_, json) = migrate("hsm", "soft", &[]);
    goes.iter().for_each(|what| assert_eq!(fate(&json, what), "is there already", "{what}"));
}

fn listed(token: &str) -> usize {
    let output = keyward(&["--json", "object", "list", "--token", token, "--login", "--pin-env", "USER_PIN"]);
    let json: serde_json::Value =
        serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", said(&output)));
    json.as_array().unwrap().len()
}

#[test]
fn the_doctor_looks_at_slots_that_lead_elsewhere() {
    let scene = both();
    let output = keyward(&["doctor"]);
    assert!(said(&output).contains("module") && said(&output).contains("isolate = true"), "{}", said(&output));
    scene.configure(std::path::Path::new("/nowhere/module.so"), "token = 'hsm'");
    let output = keyward(&["doctor"]);
    assert!(said(&output).contains("/nowhere/module.so") && said(&output).contains("ERROR"), "{}", said(&output));
}

/// What brings down the process that it is in leaves nothing to read: the doctor survives it, and says what would help.
#[test]
fn the_doctor_survives_a_module_that_crashes_in_initialise() {
    let scene = both();
    for (fault, found) in [("crash", "died of signal 11"), ("exit", "called exit")] {
        scene.configure(faulty(), "token = 'hsm'");
        scene.faults(&format!("C_Initialize {fault}"));
        let output = keyward(&["doctor"]);
        let said = said(&output);
        assert!(said.contains(found) && said.contains("isolate = true") && said.contains("ERROR"), "{said}");
    }
}
