//! Operation states, and the functions that answer for what there is not.

use std::ptr::null_mut;

use cryptoki_sys::*;

use crate::harness::*;
use crate::{c, ok};

fn digest_final(session: CK_SESSION_HANDLE) -> Vec<u8> {
    output(|out, out_len| c!(C_DigestFinal, session, out, out_len)).unwrap()
}

#[test]
fn a_digest_goes_on_elsewhere() {
    let running = start();
    let (session, other) = (running.session, open(running.slot));
    ok!(C_DigestInit, session, ptr(&[mechanism(CKM_SHA256)]));
    ok!(C_DigestUpdate, session, ptr(b"one "), 4);
    let state = output(|out, out_len| c!(C_GetOperationState, session, out, out_len)).unwrap();
    ok!(C_DigestUpdate, session, ptr(b"two"), 3);
    let whole = digest_final(session);
    for _ in 0..2 {
        ok!(C_SetOperationState, other, ptr(&state), len(&state), 0, 0);
        ok!(C_DigestUpdate, other, ptr(b"two"), 3);
        assert_eq!(digest_final(other), whole);
    }
    let key = aes_key(session, &[1; 16]);
    let needless = c!(C_SetOperationState, other, ptr(&state), len(&state), key, 0);
    assert_eq!(needless, CKR_KEY_NOT_NEEDED);
}

#[test]
fn a_digest_that_holds_a_key_does_not_leave() {
    let running = start();
    let session = running.session;
    let key = create(session, secret(CKK_GENERIC_SECRET).bytes(CKA_VALUE, b"two"));
    ok!(C_DigestInit, session, ptr(&[mechanism(CKM_SHA256)]));
    ok!(C_DigestUpdate, session, ptr(b"one "), 4);
    ok!(C_DigestKey, session, key);
    let mut needed = 0;
    assert_eq!(c!(C_GetOperationState, session, null_mut(), &raw mut needed), CKR_STATE_UNSAVEABLE);
    let with_key = digest_final(session);
    ok!(C_DigestInit, session, ptr(&[mechanism(CKM_SHA256)]));
    ok!(C_DigestUpdate, session, ptr(b"one two"), 7);
    ok!(C_GetOperationState, session, null_mut(), &raw mut needed);
    assert_eq!(digest_final(session), with_key, "and the operation goes on");
}

#[test]
fn nothing_runs_asynchronously() {
    let running = start();
    let (session, mut other) = (running.session, 0);
    let flags = CKF_SERIAL_SESSION | CKF_ASYNC_SESSION;
    let opened = c!(C_OpenSession, running.slot, flags, null_mut(), None, &raw mut other);
    assert_eq!(opened, CKR_SESSION_ASYNC_NOT_SUPPORTED);
    let name = ptr(b"C_SignInit\0");
    let (mut data, mut id) = (CK_ASYNC_DATA::default(), 0);
    assert_eq!(c!(C_AsyncComplete, session, name, &raw mut data), CKR_SESSION_ASYNC_NOT_SUPPORTED);
    assert_eq!(c!(C_AsyncGetID, session, name, &raw mut id), CKR_OPERATION_NOT_INITIALIZED);
    assert_eq!(c!(C_AsyncJoin, session, name, 1, null_mut(), 0), CKR_SAVED_STATE_INVALID);
    assert_eq!(c!(C_AsyncGetID, session, null_mut(), &raw mut id), CKR_ARGUMENTS_BAD);
}

#[test]
fn nobody_validated_this_module() {
    let running = start();
    let mut flags = 99;
    ok!(C_GetSessionValidationFlags, running.session, CKS_LAST_VALIDATION_OK, &raw mut flags);
    assert_eq!(flags, 0);
    let unknown = c!(C_GetSessionValidationFlags, running.session, 77, &raw mut flags);
    assert_eq!(unknown, CKR_ARGUMENTS_BAD);
    let nowhere = c!(C_GetSessionValidationFlags, running.session, CKS_LAST_VALIDATION_OK, null_mut());
    assert_eq!(nowhere, CKR_ARGUMENTS_BAD);
}

#[test]
fn users_have_types_and_no_names() {
    let running = start();
    let session = running.session;
    let login = |user, name: &[u8]| {
        let pin = b"1234-abcd";
        c!(C_LoginUser, session, user, ptr(pin), len(pin), ptr(name), len(name))
    };
    assert_eq!(login(CKU_USER, b""), CKR_USER_ALREADY_LOGGED_IN);
    assert_eq!(login(CKU_SO, b""), CKR_USER_ANOTHER_ALREADY_LOGGED_IN);
    assert_eq!(login(9, b""), CKR_USER_TYPE_INVALID);
    assert_eq!(login(CKU_CONTEXT_SPECIFIC, b""), CKR_OPERATION_NOT_INITIALIZED);
    ok!(C_Logout, session);
    assert_eq!(login(CKU_USER, b"eve"), CKR_USER_TYPE_INVALID);
    assert_eq!(login(CKU_USER, b""), CKR_OK);
}
