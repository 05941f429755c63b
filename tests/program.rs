//! The program `keyward` from outside: exit codes, streams, and what is said of a wrong configuration.

// `c!` calls what its arguments name, and the tests know what they pass.
#![allow(clippy::macro_metavars_in_unsafe)]

#[path = "program/commands.rs"]
mod commands;
#[path = "program/files.rs"]
mod files;
#[path = "abi_soft/harness.rs"]
#[allow(dead_code)]
mod harness;
#[path = "program/kryoptic.rs"]
mod kryoptic;
#[path = "program/pins.rs"]
mod pins;
#[path = "program/shells.rs"]
mod shells;

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::Value;

/// A home of this test's own.
struct Home(PathBuf);

impl Home {
    fn new() -> Home {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("keyward-program-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).unwrap();
        Home(path)
    }

    fn config(&self, text: &str) -> PathBuf {
        let path = self.0.join(".config/keyward/keyward.toml");
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        path
    }

    fn run(&self, line: &str) -> Output {
        self.command(line).output().unwrap()
    }

    fn command(&self, line: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_keyward"));
        command.args(line.split_whitespace()).env_clear().env("HOME", &self.0).stdin(Stdio::null());
        command
    }

    fn data(&self) -> PathBuf {
        self.0.join(".local/share/keyward")
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

fn json(bytes: &[u8]) -> Value {
    serde_json::from_slice(bytes).unwrap_or_else(|error| panic!("{error}: {}", text(bytes)))
}

fn mode(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn help_lists_the_exit_codes_and_no_hidden_option() {
    let help = Home::new().run("--help");
    assert_eq!(help.status.code(), Some(0));
    let said = text(&help.stdout);
    assert!(said.contains("Exit codes:") && said.contains("8  not confirmed"), "{said}");
    assert!(!said.contains("--so-pin "), "no option that takes a PIN is advertised");
}

#[test]
fn a_wrong_command_line_is_2_and_says_nothing_on_standard_output() {
    let home = Home::new();
    for line in
        ["", "token", "token init", "nonsense", "object list --id 123", "token info --token a --slot 1", "--free"]
    {
        let output = home.run(line);
        assert_eq!(output.status.code(), Some(2), "{line}");
        assert!(output.stdout.is_empty(), "{line}");
        assert!(!output.stderr.is_empty(), "{line}");
    }
}

#[test]
fn the_default_configuration_lies_in_the_home() {
    let home = Home::new();
    let shown = json(&home.run("config show --json").stdout);
    assert_eq!(shown["source"], Value::Null);
    assert_eq!(shown["values"]["tokens"], home.data().join("tokens").to_str().unwrap());
    let path = home.config("free_slot = 'never'\n");
    let shown = json(&home.run("config show --json").stdout);
    assert_eq!(shown["source"], path.to_str().unwrap());
    assert_eq!(shown["values"]["free_slot"], "never");
}

#[test]
fn a_wrong_configuration_is_3_with_file_and_line_in_both_forms() {
    let home = Home::new();
    let path = home.config("# mine\nfree_slots = 'never'\n");
    let output = home.run("token list");
    assert_eq!(output.status.code(), Some(3));
    let said = text(&output.stderr);
    assert!(said.starts_with("keyward: ") && said.contains(&format!("{}, line 2", path.display())), "{said}");
    let output = home.run("token list --json");
    let error = json(&output.stderr);
    assert_eq!(error["error"]["exit"], 3);
    assert!(output.stdout.is_empty());
}

#[test]
fn without_a_home_the_program_says_what_to_set() {
    let output = Home::new().command("config show").env_remove("HOME").output().unwrap();
    assert_eq!(output.status.code(), Some(3));
    assert!(text(&output.stderr).contains("HOME"));
}

#[test]
fn another_configuration_file_can_be_named() {
    let home = Home::new();
    let other = home.0.join("other.toml");
    std::fs::write(&other, "kdf = 'strong'").unwrap();
    let line = format!("config show --json --config {}", other.display());
    assert_eq!(json(&home.run(&line).stdout)["values"]["kdf"], "strong");
    let missing = home.run("config show --config /nonexistent/k.toml");
    assert_eq!(missing.status.code(), Some(3));
    assert!(text(&missing.stderr).contains("/nonexistent/k.toml"));
}

#[test]
fn the_doctor_finds_a_readable_device_secret_and_makes_nothing_itself() {
    let home = Home::new();
    let before = home.run("doctor --json");
    assert!(json(&before.stdout).as_array().unwrap().iter().any(|one| one["subject"] == "device secret"));
    assert!(!home.data().exists());
    std::fs::create_dir_all(home.data().join("tokens")).unwrap();
    mode(&home.data().join("tokens"), 0o700);
    let secret = home.data().join("device.secret");
    std::fs::write(&secret, [7; 32]).unwrap();
    mode(&secret, 0o644);
    let output = home.run("doctor --json");
    assert_eq!(output.status.code(), Some(7));
    let findings = json(&output.stdout);
    let finding = findings.as_array().unwrap().iter().find(|one| one["subject"] == "device secret").unwrap();
    assert_eq!(finding["grade"], "error");
    assert_eq!(finding["advice"], format!("chmod 600 {}", secret.display()));
}

#[test]
fn the_doctor_speaks_of_a_wrong_configuration_too() {
    let home = Home::new();
    home.config("mechanisms = ['AES_GCM', 'AES_GMC']\n");
    let output = home.run("doctor");
    assert_eq!(output.status.code(), Some(7));
    assert!(text(&output.stdout).contains("no mechanism AES_GMC"), "{}", text(&output.stdout));
    home.config("[pin]\nmin_len = 0\n");
    let output = home.run("doctor");
    assert_eq!(output.status.code(), Some(7));
    assert!(text(&output.stdout).contains("line 2"), "{}", text(&output.stdout));
}

#[test]
fn completion_is_there_for_the_usual_shells() {
    let home = Home::new();
    for shell in ["bash", "zsh", "fish"] {
        let output = home.run(&format!("completion {shell}"));
        assert_eq!(output.status.code(), Some(0), "{shell}");
        let script = text(&output.stdout);
        assert!(script.contains("doctor") && script.contains("so-pin-file"), "{shell}");
    }
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let mut child = Home::new().command("completion zsh").stdout(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn mechanisms_are_filtered_and_follow_the_configuration() {
    let home = Home::new();
    let list = |line: &str| json(&home.run(&format!("mechanisms --json {line}")).stdout).as_array().unwrap().clone();
    let all = list("--all");
    assert_eq!(all.len(), keyward::mechanism::table::all().count());
    let signing = list("--all --use sign");
    assert!(!signing.is_empty() && signing.len() < all.len());
    assert!(signing.iter().all(|one| one["uses"].as_array().unwrap().iter().any(|usage| usage == "sign")));
    assert!(list("").iter().all(|one| one["legacy"] == false));
    assert!(list("--all --approved").iter().all(|one| one["approved"] == true));
    home.config(&format!("mechanisms = [{}]", all[0]["name"]));
    assert_eq!(list(""), all[..1]);
    assert_eq!(list("--name no-such-name"), Vec::<Value>::new());
}

/// `--pin-env` and its kin, as the tests below give them.
const PINS: [(&str, &str); 4] = [("SO", "12345678"), ("ONE", "1234"), ("TWO", "5678"), ("WRONG", "0000")];

impl Home {
    fn with_pins(&self, line: &str) -> Output {
        self.command(line).envs(PINS).output().unwrap()
    }

    fn done(&self, line: &str) -> Value {
        let output = self.with_pins(&format!("{line} --json"));
        assert_eq!(output.status.code(), Some(0), "{line}: {}", text(&output.stderr));
        json(&output.stdout)
    }

    fn refused(&self, line: &str) -> (Option<i32>, String) {
        let output = self.with_pins(line);
        assert!(output.stdout.is_empty(), "{line}: {}", text(&output.stdout));
        (output.status.code(), text(&output.stderr).to_owned())
    }
}

#[test]
fn a_token_lives_through_all_its_commands_each_in_a_process_of_its_own() {
    let home = Home::new();
    assert_eq!(home.done("token list"), Value::Array(vec![]));
    let (code, said) = home.refused("token info");
    assert_eq!(code, Some(4));
    assert!(said.contains("keyward token init"), "{said}");

    let web = home.done("token init --label web --so-pin-env SO --pin-env ONE");
    let mail = home.done("token init --label mail --so-pin-env SO --no-user-pin");
    assert_ne!(web["slot"], mail["slot"]);
    assert_eq!(home.done("token list").as_array().unwrap().len(), 2, "the free slot is no token");
    assert_eq!(home.done("token info --token web")["slot"], web["slot"], "a slot keeps its number");
    assert_eq!(home.refused("token info").0, Some(6), "two tokens, none chosen");

    home.done("pin change --token web --pin-env ONE --new-pin-env TWO");
    assert_eq!(home.refused("object list --token web --pin-env ONE").0, Some(5));
    assert_eq!(home.done("object list --token web --pin-env TWO"), Value::Array(vec![]));
    assert_eq!(home.refused("object list --token mail --pin-env ONE").0, Some(5), "no user PIN yet");
    home.done("pin reset --token mail --so-pin-env SO --new-pin-env ONE");
    home.done("object list --token mail --pin-env ONE");

    assert_eq!(home.with_pins("doctor").status.code(), Some(0), "{}", text(&home.with_pins("doctor").stdout));
    assert_eq!(home.refused("token init --token web --label new --so-pin-env SO").0, Some(8));
    assert_eq!(home.refused("token init --token web --label new --so-pin-env WRONG --yes").0, Some(5));
    assert_eq!(home.done("token info --token web")["label"], "web", "nothing was changed");
    home.done("token init --token web --label new --so-pin-env SO --pin-env ONE --yes");
    assert_eq!(home.done("token info --token new")["slot"], web["slot"]);
}

#[test]
fn wrong_pins_lock_and_the_officer_unlocks() {
    let home = Home::new();
    home.config("[pin]\nmax_failures = 2\n");
    home.done("token init --label t --so-pin-env SO --pin-env ONE");
    for _ in 0..2 {
        assert_eq!(home.refused("object list --pin-env WRONG").0, Some(5));
    }
    let (code, said) = home.refused("object list --pin-env ONE");
    assert_eq!(code, Some(5));
    assert!(said.contains("CKR_PIN_LOCKED") && said.contains("pin reset"), "{said}");
    assert_eq!(home.done("token list")[0]["state"], "user PIN locked");
    home.done("pin reset --so-pin-env SO --new-pin-env TWO");
    home.done("object list --pin-env TWO");
}

#[test]
fn a_damaged_slot_file_is_told_by_the_doctor_and_costs_no_other_token() {
    let home = Home::new();
    home.done("token init --label sound --so-pin-env SO --no-user-pin");
    let broken = home.done("token init --label broken --so-pin-env SO --no-user-pin");
    let serial = broken["serial"].as_str().unwrap();
    let file = home.data().join("tokens").join(format!("{serial}.slot"));
    assert!(file.exists());
    std::fs::write(&file, b"no database").unwrap();
    let doctor = home.with_pins("doctor");
    assert_eq!(doctor.status.code(), Some(7), "{}", text(&doctor.stdout));
    assert_eq!(home.done("token info --token sound")["label"], "sound");
}
