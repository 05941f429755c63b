//! The program `keyward` on the token of these tests: always another process.

use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use serde_json::Value;

/// The user's PIN and the SO's, as the harness sets them.
const PIN: &str = "1234-abcd";

/// Runs `keyward ARGUMENTS --pin-env ... --json` and gives its result; it must succeed.
pub fn keyward(arguments: &[&str]) -> Value {
    let output = run(arguments);
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "keyward {arguments:?}: {err}");
    serde_json::from_str(&out).unwrap_or_else(|error| panic!("{error}: {out}"))
}

/// As [`keyward`], and it must fail: its exit code and what it says.
pub fn refused(arguments: &[&str]) -> (i32, String) {
    let output = run(arguments);
    assert!(!output.status.success(), "keyward {arguments:?} did not fail");
    (output.status.code().unwrap(), String::from_utf8_lossy(&output.stderr).into_owned())
}

pub fn run(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_keyward"))
        .args(arguments)
        .args(["--json", "--yes"])
        .env("KEYWARD_TEST_PIN", PIN)
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

/// `keyward key COMMAND --label LABEL ...`, as the user.
pub fn key(command: &str, label: &str, more: &[&str]) -> Value {
    keyward(&key_arguments(command, label, more))
}

pub fn key_arguments<'a>(command: &'a str, label: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    let mut arguments = vec!["key", command, "--label", label, "--pin-env", "KEYWARD_TEST_PIN"];
    arguments.extend(more);
    arguments
}

/// The slot file and its log.
pub fn files() -> Vec<PathBuf> {
    let place = std::env::temp_dir().join(format!("keyward-abi-soft-{}/tokens", std::process::id()));
    let files = std::fs::read_dir(place).unwrap().map(|entry| entry.unwrap().path());
    files.filter(|path| path.to_string_lossy().contains(".slot")).collect()
}
