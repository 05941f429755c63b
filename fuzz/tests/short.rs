//! Every target for a short time, in a process of its own: what fails leaves its input in `target/fuzz`.

use std::process::Command;

fn fuzz(target: &str, seconds: &str) -> String {
    let out = Command::new(env!("CARGO_BIN_EXE_keyward-fuzz")).args(["--seconds", seconds, target]).output().unwrap();
    let said = format!("{}{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
    assert!(out.status.success(), "{target}: {}; see target/fuzz/{target}.input\n{said}", out.status);
    said
}

fn seconds() -> String {
    std::env::var("KEYWARD_FUZZ_SECONDS").unwrap_or_else(|_| "5".to_owned())
}

/// The calls must also get somewhere: a fuzzer whose every call is refused finds nothing.
#[test]
fn calls() {
    let said = fuzz("calls", &seconds());
    let reached = said.lines().find_map(|line| line.split_once(" functions succeeded")?.0.parse::<usize>().ok());
    assert!(reached.is_some_and(|n| n >= 50), "{said}");
}

#[test]
fn slot_file() {
    fuzz("slot-file", &seconds());
}

#[test]
fn decoders() {
    for target in ["object-record", "private-key-info", "config", "profile-xml"] {
        fuzz(target, "2");
    }
}

/// A run that a failure ends must say so: the runner itself is tested on an input it cannot read.
#[test]
fn a_failure_is_told() {
    let out = Command::new(env!("CARGO_BIN_EXE_keyward-fuzz")).args(["--replay", "config", "/no/such/file"]).output();
    assert!(!out.unwrap().status.success());
}
