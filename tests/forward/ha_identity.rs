//! One object on several HSMs: what makes it one, and what is done where nobody can say.

use std::ptr::null_mut;

use cryptoki_sys::*;

use crate::scene::*;
use crate::several::*;
use crate::{c, ok};

fn secret(label: &str, id: &[u8], value: u8) -> Vec<Attr> {
    vec![
        number(CKA_CLASS, CKO_SECRET_KEY),
        number(CKA_KEY_TYPE, CKK_AES),
        bytes(CKA_VALUE, &[value; 32]),
        bytes(CKA_LABEL, label.as_bytes()),
        bytes(CKA_ID, id),
        yes(CKA_TOKEN),
        yes(CKA_ENCRYPT),
        yes(CKA_WRAP),
        yes(CKA_UNWRAP),
        yes(CKA_EXTRACTABLE),
    ]
}

fn encrypt(session: CK_SESSION_HANDLE, key: CK_OBJECT_HANDLE) -> Result<Vec<u8>, CK_RV> {
    let mechanism = [plain(CKM_AES_ECB)];
    match c!(C_EncryptInit, session, ptr(&mechanism), key) {
        CKR_OK => {}
        rv => return Err(rv),
    }
    let (mut out, mut out_len) = ([0u8; 16], 16);
    match c!(C_Encrypt, session, ptr(&[9u8; 16]), 16, out.as_mut_ptr(), &raw mut out_len) {
        CKR_OK => Ok(out.to_vec()),
        rv => Err(rv),
    }
}

/// What somebody makes on one member alone, past Keyward: a key of the same label and ID, and another value.
fn strangers_key(several: &Several, name: &str, label: &str, id: &str) {
    let file = several.scene.place.join("value");
    std::fs::write(&file, [5; 32]).unwrap();
    let file = file.to_str().unwrap();
    several.tool(
        name,
        &["--write-object", file, "--type", "secrkey", "--key-type", "AES:32", "--label", label, "--id", id],
    );
}

#[test]
fn two_keys_that_could_be_meant_are_both_refused() {
    let together = Several::new(2, QUICK).start();
    let session = together.user();
    let key = try_create(session, &secret("same", b"\x01", 3)).unwrap();
    let clear = try_create(session, &secret("clear", b"\x02", 4)).unwrap();
    let encrypted = encrypt(session, clear).unwrap();
    strangers_key(&together.several, "west", "same", "01");
    // Found anew, so that nothing is known of the other member yet.
    let session = together.again();
    let found = find(session, &[bytes(CKA_LABEL, b"same")]);
    assert_eq!(found.len(), 1, "two on the one, one on the other: one handle, of the first");
    encrypt(session, found[0]).expect("on the member where there is but one");
    assert_ne!(key, 0);
    together.several.dies("east");
    assert_eq!(encrypt(session, found[0]), Err(CKR_KEY_HANDLE_INVALID));
    assert!(together.several.scene.log().contains("none is taken on a guess"), "{}", together.several.scene.log());
    let clear = find(session, &[bytes(CKA_LABEL, b"clear")])[0];
    assert_eq!(encrypt(session, clear).unwrap(), encrypted, "the other one is not touched by that");
}

#[test]
fn what_cannot_be_told_apart_is_not_destroyed_on_a_guess() {
    let together = Several::new(2, QUICK).start();
    let session = together.user();
    try_create(session, &secret("same", b"\x01", 3)).unwrap();
    strangers_key(&together.several, "west", "same", "01");
    let session = together.again();
    let key = find(session, &[bytes(CKA_LABEL, b"same")])[0];
    assert_eq!(c!(C_DestroyObject, session, key), CKR_OBJECT_HANDLE_INVALID);
    assert_eq!(together.several.keys("east"), ["same"]);
    assert_eq!(together.several.keys("west"), ["same", "same"]);
}

#[test]
fn an_object_is_one_handle_and_is_altered_and_destroyed_everywhere() {
    let together = Several::new(3, QUICK).start();
    let session = together.user();
    let key = try_create(session, &secret("old", b"\x01", 3)).unwrap();
    assert_eq!(find(session, &[bytes(CKA_ID, b"\x01")]), [key]);
    let mut label = raw(&[bytes(CKA_LABEL, b"new")]);
    ok!(C_SetAttributeValue, session, key, label.as_mut_ptr(), 1);
    NAMES.iter().for_each(|name| assert_eq!(together.several.keys(name), ["new"], "{name}"));
    // It is the same object still, when it is first needed elsewhere.
    together.several.dies("east");
    encrypt(session, key).unwrap();
    let mut label = raw(&[bytes(CKA_LABEL, b"other")]);
    assert_eq!(c!(C_SetAttributeValue, session, key, label.as_mut_ptr(), 1), CKR_DEVICE_REMOVED);
    assert_eq!(together.several.keys("west"), ["new"], "nothing is altered while one is away");
    together.several.lives("east");
    // The third one refuses: the others are set back.
    together.several.faults("north", "C_SetAttributeValue rv 0x1b");
    assert_eq!(c!(C_SetAttributeValue, session, key, label.as_mut_ptr(), 1), CKR_ACTION_PROHIBITED);
    NAMES.iter().for_each(|name| assert_eq!(together.several.keys(name), ["new"], "{name}"));
    together.several.faults("north", "");
    ok!(C_DestroyObject, session, key);
    NAMES.iter().for_each(|name| assert!(together.several.keys(name).is_empty(), "{name}"));
    assert_eq!(encrypt(session, key), Err(CKR_KEY_HANDLE_INVALID));
}

#[test]
fn a_wrapped_key_is_unwrapped_on_every_member() {
    let together = Several::new(2, QUICK).start();
    let session = together.user();
    let wrapping = try_create(session, &secret("kek", b"\x01", 3)).unwrap();
    let key = try_create(session, &secret("key", b"\x02", 4)).unwrap();
    let expected = encrypt(session, key).unwrap();
    let mechanism = [plain(CKM_AES_KEY_WRAP_PAD)];
    let (mut wrapped, mut wrapped_len) = ([0u8; 64], 64);
    ok!(C_WrapKey, session, ptr(&mechanism), wrapping, key, wrapped.as_mut_ptr(), &raw mut wrapped_len);
    let mut template = secret("again", b"\x03", 0);
    template.retain(|(ty, _)| *ty != CKA_VALUE);
    let (mut template, mut again) = (raw(&template), 0);
    let count = len(&template);
    ok!(
        C_UnwrapKey,
        session,
        ptr(&mechanism),
        wrapping,
        wrapped.as_mut_ptr(),
        wrapped_len,
        template.as_mut_ptr(),
        count,
        &raw mut again
    );
    assert_eq!(together.several.keys("west"), ["again", "kek", "key"]);
    together.several.dies("east");
    assert_eq!(encrypt(session, again).unwrap(), expected);
    wrapped_len = 64;
    ok!(C_WrapKey, session, ptr(&mechanism), wrapping, again, wrapped.as_mut_ptr(), &raw mut wrapped_len);
}

#[test]
fn session_objects_and_logins_end_as_those_of_one_token() {
    let together = Several::new(2, QUICK).start();
    let session = together.user();
    let key = aes(session, &[bytes(CKA_LABEL, b"passing")]);
    assert_eq!(find(session, &[bytes(CKA_LABEL, b"passing")]), [key]);
    let stays = try_create(session, &[secret("stays", b"\x01", 3), vec![yes(CKA_PRIVATE)]].concat()).unwrap();
    ok!(C_Logout, session);
    assert!(find(session, &[bytes(CKA_LABEL, b"stays")]).is_empty());
    assert!(matches!(encrypt(session, stays), Err(CKR_KEY_HANDLE_INVALID | CKR_USER_NOT_LOGGED_IN)));
    assert_eq!(login(session, CKU_USER, PIN), CKR_OK);
    assert_eq!(find(session, &[bytes(CKA_LABEL, b"stays")]).len(), 1);
    let other = open(slots()[0], CKF_RW_SESSION);
    ok!(C_CloseSession, session);
    assert!(find(other, &[bytes(CKA_LABEL, b"passing")]).is_empty());
    let mut state = CK_SESSION_INFO::default();
    ok!(C_GetSessionInfo, other, &raw mut state);
    assert_eq!(state.state, CKS_RW_USER_FUNCTIONS);
    ok!(C_CloseAllSessions, slots()[0]);
    let last = open(slots()[0], CKF_RW_SESSION);
    ok!(C_GetSessionInfo, last, &raw mut state);
    assert_eq!(state.state, CKS_RW_PUBLIC_SESSION);
    assert_eq!(c!(C_CloseSession, session), CKR_SESSION_HANDLE_INVALID);
    ok!(C_Finalize, null_mut());
    ok!(C_Initialize, null_mut());
}
