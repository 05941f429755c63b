//! `keyward mechanisms --compare`: another module's mechanisms beside ours.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

const SOFTHSM: &str = "/usr/lib/softhsm/libsofthsm2.so";

/// A home with a token of Keyward's and a configuration of SoftHSM's.
struct Home(PathBuf);

impl Home {
    fn new(name: &str) -> Home {
        let path = std::env::temp_dir().join(format!("keyward-mechanisms-{name}-{}", std::process::id()));
        std::fs::create_dir_all(path.join("tokens")).unwrap();
        let conf = format!("directories.tokendir = {}/tokens\nlog.level = ERROR\n", path.display());
        std::fs::write(path.join("softhsm2.conf"), conf).unwrap();
        Home(path)
    }

    fn run(&self, words: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_keyward"));
        let conf = self.0.join("softhsm2.conf");
        command.args(words).env_clear().env("HOME", &self.0).env("SOFTHSM2_CONF", conf).env("SO", "12345678");
        command.output().unwrap()
    }

    fn json(&self, words: &[&str]) -> Value {
        let output = self.run(&[&["--json", "mechanisms"], words].concat());
        assert_eq!(output.status.code(), Some(0), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// The newest that was built: a test alone builds the library in `deps`.
fn ours() -> PathBuf {
    let beside = Path::new(env!("CARGO_BIN_EXE_keyward")).with_file_name("libkeyward.so");
    let places = [beside.clone(), beside.with_file_name("deps").join("libkeyward.so")];
    let dated = |path: PathBuf| Some((path.metadata().ok()?.modified().ok()?, path));
    places.into_iter().filter_map(dated).max().expect("cargo builds libkeyward.so with the tests").1
}

fn names(list: &Value) -> BTreeSet<String> {
    list.as_array().unwrap().iter().map(|one| one["name"].as_str().unwrap().to_owned()).collect()
}

fn count(value: &Value, key: &str) -> usize {
    value[key].as_array().unwrap().len()
}

#[test]
fn softhsm_is_told_apart_row_by_row() {
    if !Path::new(SOFTHSM).exists() {
        eprintln!("left out: {SOFTHSM} is not installed");
        return;
    }
    let home = Home::new("softhsm");
    let told = home.json(&["--all", "--compare", SOFTHSM]);
    let alike = usize::try_from(told["alike"].as_u64().unwrap()).unwrap();
    // Each side's rows come once: ours by the same program, SoftHSM's as another program counts them.
    let all = home.json(&["--all"]).as_array().unwrap().len();
    assert_eq!(count(&told, "only_here") + count(&told, "different") + alike, all);
    let mut tool = Command::new("pkcs11-tool");
    tool.args(["--module", SOFTHSM, "-M"]).env("SOFTHSM2_CONF", home.0.join("softhsm2.conf"));
    let listed = String::from_utf8(tool.output().unwrap().stdout).unwrap();
    let listed = listed.lines().filter(|line| line.starts_with("  ")).count();
    assert_eq!(count(&told, "only_there") + count(&told, "different") + alike, listed);
    assert!(names(&told["only_here"]).contains("CKM_ML_KEM"), "{told}");
    let pair = told["different"].as_array().unwrap().iter().find(|one| one["name"] == "CKM_RSA_PKCS_KEY_PAIR_GEN");
    let pair = pair.unwrap();
    assert_ne!(pair["here"]["least_size"], pair["there"]["least_size"], "{pair}");

    let encryption = home.json(&["--all", "--compare", SOFTHSM, "--use", "encrypt", "--name", "aes"]);
    assert!(names(&encryption["only_here"]).contains("CKM_AES_CCM"), "{encryption}");
    assert!(names(&encryption["only_here"]).iter().all(|name| name.contains("AES")), "{encryption}");

    let text = home.run(&["mechanisms", "--all", "--compare", SOFTHSM, "--key-type", "ml-kem"]);
    let text = String::from_utf8(text.stdout).unwrap();
    assert!(text.starts_with("MECHANISM") && text.contains("CKM_ML_KEM_KEY_PAIR_GEN"), "{text}");
    assert!(
        text.ends_with("3 only here, 0 only in /usr/lib/softhsm/libsofthsm2.so, 0 in both but different, 0 alike\n"),
        "{text}"
    );
}

/// What the program prints of the table is what the library answers.
#[test]
fn our_own_library_differs_in_nothing() {
    let home = Home::new("ours");
    let made = home.run(&["token", "init", "--label", "one", "--so-pin-env", "SO", "--no-user-pin"]);
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let told = home.json(&["--token", "one", "--compare", ours().to_str().unwrap()]);
    assert!(told["alike"].as_u64().unwrap() > 200, "{told}");
    for key in ["only_here", "only_there", "different"] {
        assert_eq!(told[key], Value::Array(vec![]), "{key}");
    }
}

#[test]
fn what_is_no_module_is_told_plainly() {
    let home = Home::new("none");
    let text = home.0.join("text.so");
    std::fs::write(&text, "not a library").unwrap();
    let said = |module: &str, more: &[&str]| {
        let output = home.run(&[&["mechanisms", "--compare", module], more].concat());
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    let (code, message) = said("/nowhere/module.so", &[]);
    assert!(code == Some(2) && message.contains("there is no file /nowhere/module.so"), "{message}");
    let (code, message) = said(text.to_str().unwrap(), &[]);
    assert!(code == Some(1) && message.contains("cannot be loaded"), "{message}");
    let (code, message) = said("/lib/x86_64-linux-gnu/libm.so.6", &[]);
    assert!(code == Some(1) && message.contains("is no PKCS#11 module"), "{message}");
    if Path::new(SOFTHSM).exists() {
        let (code, message) = said(SOFTHSM, &["--compare-slot", "99"]);
        assert!(code == Some(4) && message.contains("CKR_SLOT_ID_INVALID"), "{code:?} {message}");
    }
    let (code, _) = said(SOFTHSM, &["--compare-slot", "x"]);
    assert_eq!(code, Some(2));
}
