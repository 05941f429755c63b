//! The checker proven on other people's modules: what it says of them is kept under `expected/` and compared here.
//! A module that is not installed is left out, and the test says so.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

const SOFTHSM: &str = "/usr/lib/softhsm/libsofthsm2.so";
const TRUST: &str = "/usr/lib/x86_64-linux-gnu/pkcs11/p11-kit-trust.so";

fn expected(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("expected").join(name)
}

/// A folder of our own with SoftHSM's configuration in it, removed at the end.
struct Home(PathBuf);

impl Home {
    fn new(name: &str) -> Home {
        let folder = std::env::temp_dir().join(format!("pkcs11-conformance-{name}-{}", std::process::id()));
        std::fs::create_dir_all(folder.join("tokens")).unwrap();
        let conf = format!("directories.tokendir = {}\nlog.level = ERROR\n", folder.join("tokens").display());
        std::fs::write(folder.join("softhsm2.conf"), conf).unwrap();
        Home(folder)
    }

    fn run(&self, args: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_pkcs11-conformance"))
            .args(args)
            .env("SOFTHSM2_CONF", self.0.join("softhsm2.conf"))
            .output()
            .unwrap()
    }

    /// Runs and demands exit status 0; shows what was said otherwise.
    fn passes(&self, args: &[&str]) -> String {
        let out = self.run(args);
        let text = String::from_utf8_lossy(&out.stdout).into_owned();
        assert!(out.status.success(), "{args:?}\n{text}\n{}", String::from_utf8_lossy(&out.stderr));
        text
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn installed(module: &str) -> bool {
    let there = Path::new(module).exists();
    if !there {
        eprintln!("left out: {module} is not installed");
    }
    there
}

#[test]
fn softhsm_checks_as_expected() {
    if !installed(SOFTHSM) {
        return;
    }
    let file = expected("softhsm-2.6.1.txt");
    let text = Home::new("check").passes(&[
        "check",
        "--module",
        SOFTHSM,
        "--init-token",
        "--expected",
        file.to_str().unwrap(),
    ]);
    assert!(text.contains("0 results are not as"), "{text}");
}

#[test]
fn p11_kit_trust_checks_as_expected() {
    if !installed(TRUST) {
        return;
    }
    let file = expected("p11-kit-trust-0.24.1.txt");
    Home::new("trust").passes(&["check", "--module", TRUST, "--expected", file.to_str().unwrap()]);
}

#[test]
fn softhsm_vectors_as_expected() {
    if !installed(SOFTHSM) {
        return;
    }
    let file = expected("softhsm-2.6.1-vectors.txt");
    Home::new("vectors").passes(&[
        "vectors",
        "--only",
        "wycheproof",
        "--module",
        SOFTHSM,
        "--init-token",
        "--expected",
        file.to_str().unwrap(),
    ]);
}

/// The mandatory cases of the OASIS profiles, from the folder that `KEYWARD_VECTORS` names, by default
/// `../shared/vectors` beside the workspace.
#[test]
fn softhsm_profiles_as_expected() {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/vectors");
    let folder = std::env::var_os("KEYWARD_VECTORS").map_or(beside, PathBuf::from).join("oasis-profiles-3.2");
    if !installed(SOFTHSM) || !folder.is_dir() {
        eprintln!("left out: no SoftHSM or no {} (set KEYWARD_VECTORS to the directory of vectors)", folder.display());
        return;
    }
    let (file, home) = (expected("softhsm-2.6.1-profiles.txt"), Home::new("oasis"));
    let (json, junit) = (home.0.join("p.json"), home.0.join("p.xml"));
    let (folder, file) = (folder.to_str().unwrap(), file.to_str().unwrap());
    let outputs = ["--json", json.to_str().unwrap(), "--junit", junit.to_str().unwrap()];
    let args = ["profiles", "--module", SOFTHSM, "--init-token", folder, "--expected", file];
    home.passes(&[&args[..], &outputs].concat());
    // The same results in both files.
    let told: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(json).unwrap()).unwrap();
    let records = told["records"].as_array().unwrap();
    assert_eq!(records.len(), 5, "four cases, and the claims");
    assert_eq!(records[0]["id"], "profiles/AUTH-M-1-32");
    let text = std::fs::read_to_string(junit).unwrap();
    assert_eq!(text.matches("<testcase ").count(), 5, "{text}");
    let failed = records.iter().filter(|r| r["verdict"] == "fail").count();
    assert_eq!(text.matches("<failure").count(), failed, "{text}");
}

/// A case that the module answers as told, and the same with one return value changed.
#[test]
fn profiles_tell_right_from_wrong() {
    if !installed(SOFTHSM) {
        return;
    }
    let home = Home::new("profiles");
    let case = |rv: &str| {
        format!(
            "<PKCS11><C_Initialize/><C_Initialize rv=\"OK\"/><C_GetSlotList><TokenPresent value=\"true\"/><SlotList/>\
             </C_GetSlotList><C_GetSlotList rv=\"OK\"><SlotList length=\"${{n}}\"/></C_GetSlotList><C_GetSlotList>\
             <TokenPresent value=\"true\"/><SlotList length=\"${{n}}\"/></C_GetSlotList><C_GetSlotList rv=\"OK\">\
             <SlotList><SlotID value=\"${{slot}}\"/></SlotList></C_GetSlotList><C_OpenSession><SlotID \
             value=\"${{slot}}\"/><Flags value=\"SERIAL_SESSION\"/></C_OpenSession><C_OpenSession rv=\"OK\"><Session \
             value=\"${{s}}\"/></C_OpenSession><C_FindObjectsFinal><Session value=\"${{s}}\"/></C_FindObjectsFinal>\
             <C_FindObjectsFinal rv=\"{rv}\"/><C_Finalize/><C_Finalize rv=\"OK\"/></PKCS11>"
        )
    };
    let file = home.0.join("case.xml");
    let args = ["profiles", "--module", SOFTHSM, "--init-token", file.to_str().unwrap()];
    std::fs::write(&file, case("OPERATION_NOT_INITIALIZED")).unwrap();
    home.passes(&args);
    std::fs::write(&file, case("OK")).unwrap();
    let out = home.run(&args);
    let text = String::from_utf8_lossy(&out.stdout);
    assert_eq!(out.status.code(), Some(1), "{text}");
    assert!(text.contains("C_FindObjectsFinal returned CKR_OPERATION_NOT_INITIALIZED"), "{text}");
}

#[test]
fn a_bench_of_two_gives_table_json_and_chart() {
    if !installed(SOFTHSM) {
        return;
    }
    let home = Home::new("bench");
    let (json, svg) = (home.0.join("b.json"), home.0.join("b.svg"));
    let text = home.passes(&[
        "bench",
        "--module",
        SOFTHSM,
        "--vs",
        SOFTHSM,
        "--init-token",
        "--only",
        "SHA-256 ",
        "--sizes",
        "16",
        "--rounds",
        "2",
        "--slice",
        "5",
        "--json",
        json.to_str().unwrap(),
        "--svg",
        svg.to_str().unwrap(),
    ]);
    assert!(text.contains("SHA-256 16 B"), "{text}");
    let told: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(json).unwrap()).unwrap();
    let first = &told["lines"][0]["results"];
    assert!(first[0]["cpu"].as_f64().unwrap() > 0.0 && first[1]["rate"].as_f64().unwrap() > 0.0, "{told}");
    assert!(std::fs::read_to_string(svg).unwrap().contains("<svg"));
}

#[test]
fn a_module_that_is_none_is_told_plainly() {
    let out = Home::new("none").run(&["check", "--module", "/no/such/module.so"]);
    assert_eq!(out.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&out.stderr).contains("cannot load /no/such/module.so"));
}
