//! The completion scripts in the shells that they are for: loaded without a word, and of use.

use std::path::PathBuf;
use std::process::Command;

use crate::{Home, text};

fn script(home: &Home, shell: &str, name: &str) -> PathBuf {
    let path = home.0.join(name);
    std::fs::write(&path, home.run(&format!("completion {shell}")).stdout).unwrap();
    path
}

/// What the shell says to a line of its own; it must not complain.
fn said(home: &Home, shell: &[&str], line: &str) -> String {
    let mut command = Command::new(shell[0]);
    command.args(&shell[1..]).arg(line).env("HOME", &home.0).current_dir(&home.0);
    let output = command.output().unwrap_or_else(|error| panic!("{}: {error}: scripts/test installs it", shell[0]));
    assert!(output.status.success() && output.stderr.is_empty(), "{line}: {}", text(&output.stderr));
    text(&output.stdout).to_owned()
}

#[test]
fn bash_completes() {
    let home = Home::new();
    script(&home, "bash", "keyward.bash");
    let line = "source ./keyward.bash; complete -p keyward; COMP_WORDS=(keyward token in); COMP_CWORD=2; \
        _keyward keyward in token; echo ${COMPREPLY[*]}";
    let said = said(&home, &["bash", "--norc", "-c"], line);
    assert!(said.contains("-F _keyward") && said.ends_with("init info\n"), "{said}");
}

#[test]
fn zsh_completes() {
    let home = Home::new();
    script(&home, "zsh", "_keyward");
    let line = "fpath=($PWD $fpath); autoload -Uz compinit; compinit -u -D; print $_comps[keyward]; autoload +X _keyward; \
        print ${+functions[_keyward]}";
    assert_eq!(said(&home, &["zsh", "-f", "-c"], line), "_keyward\n1\n");
    assert_eq!(said(&home, &["zsh", "-f", "-n"], "_keyward"), "");
}

#[test]
fn fish_completes() {
    let home = Home::new();
    script(&home, "fish", "keyward.fish");
    let line = "source ./keyward.fish; complete -C 'keyward token in'";
    let said = said(&home, &["fish", "--no-config", "-c"], line);
    let words: Vec<&str> = said.lines().filter_map(|line| line.split_whitespace().next()).collect();
    assert_eq!(words, ["info", "init"], "{said}");
}
