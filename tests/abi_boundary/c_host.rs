//! A C program loads the shared library (tests/c/host.c).

use std::path::{Path, PathBuf};
use std::process::Command;

use keyward::abi::FUNCTIONS;

/// The one that cargo built for this test program, beside it; the directory above may hold an older one.
fn library() -> PathBuf {
    let program = std::env::current_exe().unwrap();
    let path = program.parent().unwrap().join("libkeyward.so");
    assert!(path.exists(), "{} is built with the tests", path.display());
    path
}

fn scratch(name: &str) -> PathBuf {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("abi-{name}-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    directory
}

fn run(mode: &str, more: &[&str]) {
    let directory = scratch(mode);
    let host = directory.join("host");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/c/host.c");
    let compiler = std::env::var("CC").unwrap_or_else(|_| "cc".into());
    let mut words = compiler.split_whitespace();
    let compiled = Command::new(words.next().unwrap())
        .args(words)
        .args(["-std=gnu99", "-Wall", "-Wextra", "-Werror", "-rdynamic", "-pthread", "-o"])
        .args([&host, &source])
        .arg("-ldl")
        .status()
        .unwrap();
    assert!(compiled.success(), "host.c compiles");
    let output = Command::new(&host)
        .arg(library())
        .arg(mode)
        .args(more)
        .env_remove("KEYWARD_CONF")
        .env("KEYWARD_LOG_FILE", directory.join("log"))
        .env("HOME", &directory)
        .env("XDG_DATA_HOME", &directory)
        .env("XDG_CONFIG_HOME", &directory)
        .env("KEYWARD_LOG", "debug")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{mode}: {}: {said}", output.status);
    if mode == "walk" {
        // Before the first `C_Initialize` no configuration has been read that could name a file.
        assert_eq!(said.matches("debug: C_GetInfo: CKR_CRYPTOKI_NOT_INITIALIZED").count(), 1, "the trace: {said}");
        let logged = std::fs::read_to_string(directory.join("log")).unwrap();
        assert_eq!(logged.matches("debug: C_Finalize: CKR_CRYPTOKI_NOT_INITIALIZED").count(), 3, "{logged}");
    }
    std::fs::remove_dir_all(&directory).unwrap();
}

#[test]
fn it_loads_walks_unloads_and_loads_again() {
    let names: Vec<&str> = FUNCTIONS.iter().map(|function| function.name).collect();
    run("walk", &names);
}

#[test]
fn threads_that_used_it_may_end() {
    run("threads", &[]);
}

#[test]
fn a_process_may_end_without_finalising_or_finalise_as_it_ends() {
    run("leave", &[]);
    run("atexit", &[]);
}

#[test]
fn a_forked_child_is_on_its_own() {
    run("fork", &[]);
}
