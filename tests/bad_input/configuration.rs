//! A configuration that cannot be used: `CKR_GENERAL_ERROR` and exit code 3, one sentence in log and program, nothing made.

use std::os::unix::net::UnixListener;
use std::path::Path;
use std::ptr::null_mut;

use cryptoki_sys::*;

use crate::place::*;
use crate::{c, ok};

type Make = fn(&Path);

/// What stands in the place of the file, and what is said of it.
const FILES: &[(&str, Make, &[&str])] = &[
    ("a directory", |path| std::fs::create_dir(path).unwrap(), &["a directory", "KEYWARD_CONF"]),
    ("a named pipe", fifo, &["a named pipe", "KEYWARD_CONF"]),
    ("a socket", |path| drop(UnixListener::bind(path).unwrap()), &["a socket", "KEYWARD_CONF"]),
    ("nothing", |_| {}, &["there is no such file", "unset KEYWARD_CONF"]),
    ("a link to nothing", |path| link("nowhere", path), &["there is no such file", "unset KEYWARD_CONF"]),
    ("a link to itself", |path| link("keyward.toml", path), &["cannot be read", "it must be a readable text file"]),
    ("no UTF-8", |path| std::fs::write(path, b"kdf = '\xff'").unwrap(), &["UTF-8 text in TOML"]),
    ("a database", |path| std::fs::write(path, b"SQLite format 3\0").unwrap(), &["line 1", "Correct that line"]),
];

fn link(to: &str, path: &Path) {
    std::os::unix::fs::symlink(to, path).unwrap();
}

/// A text, the line that is wrong, and words of what is said of it.
const TEXTS: &[(&str, u32, &str)] = &[
    ("# mine\ntokens =\n", 2, ""),
    ("tokens = '/t'\n[pin\n", 2, ""),
    ("kdf = 'strong'\nkdf = 'standard'\n", 2, "duplicate key"),
    ("\n\nfree_slots = 'never'\n", 3, "unknown field `free_slots`"),
    ("[pin]\nshortest = 3\n", 2, "unknown field `shortest`"),
    ("[pins]\n", 1, "unknown field `pins`"),
    ("tokens = 7\n", 1, "expected path string"),
    ("free_slot = true\n", 1, ""),
    ("free_slot = 'sometimes'\n", 1, "unknown variant `sometimes`"),
    ("kdf = 'weak'\n", 1, "unknown variant `weak`"),
    ("pin = 4\n", 1, "expected"),
    ("[pin]\nmin_len = '4'\n", 2, "invalid type"),
    ("[pin]\nmin_len = 0\n", 2, "expected 1 to"),
    ("[pin]\nmin_len = -1\n", 2, ""),
    ("[pin]\nmax_failures = 0\n", 2, "expected 1 to"),
    ("[pin]\nmax_len = 300\n", 2, "expected 1 to 255"),
    ("[pin]\nmin_len = 9\nmax_len = 8\n", 2, "expected 1 to 8"),
    ("[pin]\nrequire = ['vowel']\n", 2, "unknown variant `vowel`"),
    ("tokens = ''\n", 1, "the path is empty"),
    ("mechanisms = 'some'\n", 1, "expected \"modern\""),
    ("mechanisms = []\n", 1, "an empty list"),
    ("mechanisms = ['AES_GCM', '-SHA_1']\n", 1, "mixes names"),
    ("[log]\nlevel = 'loud'\n", 2, "unknown variant `loud`"),
    ("[log]\nfile = 3\n", 2, ""),
    ("[audit]\nmax_size = 1\n", 2, "audit.max_size is 1"),
    ("[audit]\nlogin = 'sometimes'\n", 2, "unknown variant `sometimes`"),
    ("[[slot]]\nkind = 'cloud'\n", 2, "unknown variant `cloud`"),
    ("[[slot]]\nkind = 'forward'\n", 1, ""),
];

/// What the C function and the program make of the file that now stands there.
#[track_caller]
fn refused(told: &Told, what: &str, words: &[&str], lines: &[&str]) {
    let path = told.path("keyward.toml");
    let before = told.files();
    told.said();
    let code = within(20, || c!(C_Initialize, null_mut()));
    assert_eq!(code, CKR_GENERAL_ERROR, "{what}");
    let file = path.display().to_string();
    let mut all = vec!["warn: C_Initialize: ", "(CKR_GENERAL_ERROR)", &file];
    all.extend(words);
    told.says(&all);
    let mut count = 0;
    assert_eq!(c!(C_GetSlotList, CK_FALSE, null_mut(), &raw mut count), CKR_CRYPTOKI_NOT_INITIALIZED, "{what}");
    assert_eq!(c!(C_Finalize, null_mut()), CKR_CRYPTOKI_NOT_INITIALIZED, "{what}");
    for line in lines {
        let (exit, said) = told.exit(line);
        assert_eq!(exit, Some(if *line == "doctor" { 7 } else { 3 }), "{what}: {said}");
        assert!(words.iter().chain([&file.as_str()]).all(|word| said.contains(word)), "{what}: {said}");
    }
    assert_eq!(told.files(), before, "{what}: nothing is changed");
}

fn clear(path: &Path) {
    let _ = std::fs::remove_dir(path);
    let _ = std::fs::remove_file(path);
}

/// And once it is mended all goes on.
fn mended(told: &Told) {
    clear(&told.path("keyward.toml"));
    told.configuration("keyward.toml", "auto");
    ok!(C_Initialize, null_mut());
    ok!(C_Finalize, null_mut());
    assert_eq!(told.exit("token list").0, Some(0));
}

#[test]
fn what_is_no_file_is_no_configuration() {
    let told = Told::new();
    let path = told.path("keyward.toml");
    for (what, make, words) in FILES {
        clear(&path);
        make(&path);
        refused(&told, what, words, &["token init --label x --so-pin-env SO --no-user-pin", "doctor"]);
    }
    mended(&told);
}

#[test]
fn each_wrong_line_is_named() {
    let told = Told::new();
    for (text, line, words) in TEXTS {
        std::fs::write(told.path("keyward.toml"), text).unwrap();
        let line = format!("line {line}: ");
        refused(&told, text, &[&line, words, "Correct that line"], &["token list"]);
    }
    mended(&told);
}

#[test]
fn a_file_that_may_not_be_read_is_said_to_be_so() {
    const NAME: &str = "configuration::a_file_that_may_not_be_read_is_said_to_be_so";
    if is_nobody() {
        assert_eq!(c!(C_Initialize, null_mut()), CKR_GENERAL_ERROR);
        return;
    }
    let told = Told::new();
    mode(&told.path("keyward.toml"), 0o000);
    told.as_nobody(NAME);
    told.says(&["warn: C_Initialize: ", "cannot be read", "Permission denied", "chmod"]);
    mended(&told);
}

#[test]
fn a_log_that_nobody_reads_holds_nobody_up() {
    let told = Told::new();
    fifo(&told.path("log"));
    within(20, || {
        ok!(C_Initialize, null_mut());
        assert_eq!(c!(C_CloseSession, 1), CKR_SESSION_HANDLE_INVALID);
        ok!(C_Finalize, null_mut());
    });
}
