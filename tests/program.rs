//! The program `keyward` from outside: exit codes, streams, and what is said of a wrong configuration.

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
    assert!(signing.iter().all(|one| one["uses"].as_array().unwrap().iter().any(|usage| usage == "sign")));
    assert!(list("").iter().all(|one| one["legacy"] == false));
    assert!(list("--all --approved").iter().all(|one| one["approved"] == true));
    if let Some(first) = all.first() {
        home.config(&format!("mechanisms = [{}]", first["name"]));
        assert_eq!(list(""), [first.clone()]);
        assert_eq!(list("--name no-such-name"), Vec::<Value>::new());
    }
}
