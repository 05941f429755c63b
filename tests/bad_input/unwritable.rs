//! Where nothing can be written: what can be read is read, the rest is refused by its own code, and nothing is half made.

use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::ptr::null_mut;

use cryptoki_sys::*;

use crate::harness::*;
use crate::place::*;
use crate::world::*;
use crate::{c, ok};

fn give(path: &Path) {
    if is_root() {
        std::os::unix::fs::chown(path, Some(65534), Some(65534)).unwrap();
    }
}

/// `C_InitToken` in a place of this kind, in the process that may write nothing.
#[track_caller]
fn nothing_is_made(told: &Told, what: &str, words: &[&str]) {
    let before = told.files();
    told.as_nobody("unwritable::no_token_is_made_where_nothing_can_be_written");
    told.says(&[&["warn: C_InitToken: ", "(CKR_TOKEN_WRITE_PROTECTED)"], words].concat());
    assert_eq!(told.files(), before, "{what}");
}

#[test]
fn no_token_is_made_where_nothing_can_be_written() {
    if is_nobody() {
        ok!(C_Initialize, null_mut());
        let slot = slots(CK_TRUE)[0];
        let init = c!(C_InitToken, slot, ptr(SO_PIN), len(SO_PIN), ptr(&[b' '; 32]));
        assert_eq!(init, CKR_TOKEN_WRITE_PROTECTED);
        let mut info = CK_TOKEN_INFO::default();
        ok!(C_GetTokenInfo, slot, &raw mut info);
        assert_eq!(info.flags & CKF_TOKEN_INITIALIZED, 0);
        ok!(C_Finalize, null_mut());
        return;
    }
    let told = Told::new();
    let place = told.path("");
    mode(&told.path("keyward.toml"), 0o644);
    mode(&place, 0o555);
    nothing_is_made(&told, "no room at all", &["cannot write", "device", "let this account write there"]);
    mode(&place, 0o755);
    std::fs::create_dir(told.path("tokens")).unwrap();
    mode(&told.path("tokens"), 0o555);
    std::fs::write(told.path("device"), [7; 32]).unwrap();
    mode(&told.path("device"), 0o600);
    give(&told.path("device"));
    nothing_is_made(&told, "no room for the slot file", &["tokens", "let this account write there"]);
    mode(&told.path("tokens"), 0o700);
    ok!(C_Initialize, null_mut());
    make_token(slots(CK_TRUE)[0]);
}

#[test]
fn a_token_that_cannot_be_written_can_be_used() {
    if is_nobody() {
        return use_it_as_it_is();
    }
    let (told, slot) = Told::with_token();
    let session = logged_in(slot);
    create(session, kept(b"kept", "kept"));
    ok!(C_Finalize, null_mut());
    let tokens = told.path("tokens");
    for entry in std::fs::read_dir(&tokens).unwrap().map(|entry| entry.unwrap().path()) {
        give(&entry);
    }
    for name in ["tokens", "device", "anchors"] {
        give(&told.path(name));
    }
    mode(&told.path("keyward.toml"), 0o644);
    mode(&tokens, 0o500);
    let before = told.files();
    told.as_nobody("unwritable::a_token_that_cannot_be_written_can_be_used");
    told.says(&["warn: C_CreateObject: ", "can only be read", "(CKR_TOKEN_WRITE_PROTECTED)"]);
    mode(&tokens, 0o700);
    assert_eq!(told.files(), before);
}

fn use_it_as_it_is() {
    ok!(C_Initialize, null_mut());
    let slot = slots(CK_TRUE)[0];
    let mut info = CK_TOKEN_INFO::default();
    ok!(C_GetTokenInfo, slot, &raw mut info);
    assert_ne!(info.flags & CKF_WRITE_PROTECTED, 0);
    let protected = CKR_TOKEN_WRITE_PROTECTED;
    let session = logged_in(slot);
    let object = find(session, by(CKA_LABEL, b"kept"))[0];
    create(session, secret(CKK_AES).bytes(CKA_VALUE, &[1; 16]));
    let mut template = kept(b"new", "new");
    let (raw, mut made) = (template.raw(), 0);
    assert_eq!(c!(C_CreateObject, session, raw.as_mut_ptr(), len(raw), &raw mut made), protected);
    assert_eq!(c!(C_DestroyObject, session, object), protected);
    let mut name = by(CKA_LABEL, b"changed");
    assert_eq!(c!(C_SetAttributeValue, session, object, name.raw().as_mut_ptr(), 1), protected);
    assert_eq!(c!(C_SetPIN, session, ptr(USER_PIN), len(USER_PIN), ptr(b"987654"), 6), protected);
    ok!(C_CloseAllSessions, slot);
    assert_eq!(c!(C_InitToken, slot, ptr(SO_PIN), len(SO_PIN), ptr(&[b' '; 32])), protected);
    ok!(C_Finalize, null_mut());
}

/// Runs one command with a mount of its own; `None` where none may be had.
fn read_only(told: &Told, line: &str) -> Option<(Option<i32>, String)> {
    if !may_mount() {
        return None;
    }
    let mut command = Command::new("unshare");
    let script = "mount --bind \"$0\" \"$0\" && mount -o remount,bind,ro \"$0\" && exec \"$@\"";
    command.args(["-rm", "sh", "-c", script]).arg(told.path("")).arg(env!("CARGO_BIN_EXE_keyward"));
    command.args(line.split_whitespace()).env("KEYWARD_CONF", told.path("keyward.toml"));
    command.env_remove("KEYWARD_LOG").env_remove("KEYWARD_LOG_FILE");
    let output = command.env("SO", "12345678").env("ONE", "123456").arg0("unshare").output().unwrap();
    Some((output.status.code(), String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()))
}

#[test]
fn a_read_only_file_system_is_read() {
    let (told, slot) = Told::with_token();
    let session = logged_in(slot);
    create(session, kept(b"kept", "kept"));
    ok!(C_Finalize, null_mut());
    let before = told.files();
    for (line, exit, words) in [
        ("token list", 0, "ready"),
        ("object list --pin-env ONE", 0, "kept"),
        ("object delete --label kept --pin-env ONE --yes", 6, "CKR_TOKEN_WRITE_PROTECTED"),
        ("pin change --pin-env ONE --new-pin-env SO", 6, "CKR_TOKEN_WRITE_PROTECTED"),
        ("pin reset --so-pin-env SO --new-pin-env ONE", 6, "CKR_TOKEN_WRITE_PROTECTED"),
        ("token init --label new --so-pin-env SO --no-user-pin", 6, "CKR_TOKEN_WRITE_PROTECTED"),
        ("token compact", 6, "CKR_TOKEN_WRITE_PROTECTED"),
    ] {
        let Some((found, said)) = read_only(&told, line) else { return };
        assert!(found == Some(exit) && said.contains(words), "{line}: {found:?}: {said}");
    }
    assert_eq!(told.files(), before);
}
