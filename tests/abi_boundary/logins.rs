//! Session states and logins.

use std::ptr::null_mut;
use std::sync::atomic::Ordering::SeqCst;

use cryptoki_sys::*;

use crate::double::*;
use crate::{c, ok};

fn state(session: CK_SESSION_HANDLE) -> CK_STATE {
    let mut info = CK_SESSION_INFO { slotID: 0, state: 99, flags: 0, ulDeviceError: 9 };
    ok!(C_GetSessionInfo, session, &raw mut info);
    assert_eq!((info.slotID, info.ulDeviceError), (SLOT, 0));
    let read_write = matches!(info.state, CKS_RW_PUBLIC_SESSION | CKS_RW_USER_FUNCTIONS | CKS_RW_SO_FUNCTIONS);
    assert_eq!(info.flags, CKF_SERIAL_SESSION | if read_write { CKF_RW_SESSION } else { 0 });
    info.state
}

#[test]
fn a_login_is_every_sessions() {
    let _running = start();
    let (reader, writer) = (open(0), open(CKF_RW_SESSION));
    assert_eq!((state(reader), state(writer)), (CKS_RO_PUBLIC_SESSION, CKS_RW_PUBLIC_SESSION));
    assert_eq!(login(reader, CKU_USER, b"wrong"), CKR_PIN_INCORRECT);
    assert_eq!(login(reader, CKU_USER, PIN), CKR_OK);
    assert_eq!((state(reader), state(writer)), (CKS_RO_USER_FUNCTIONS, CKS_RW_USER_FUNCTIONS));
    assert_eq!(login(writer, CKU_USER, PIN), CKR_USER_ALREADY_LOGGED_IN);
    assert_eq!(login(writer, 7, PIN), CKR_USER_TYPE_INVALID);
    assert_eq!(c!(C_Login, writer, CKU_USER, null_mut(), 0), CKR_ARGUMENTS_BAD);
    ok!(C_Logout, writer);
    assert_eq!((state(reader), state(writer)), (CKS_RO_PUBLIC_SESSION, CKS_RW_PUBLIC_SESSION));
    assert_eq!(c!(C_Logout, writer), CKR_USER_NOT_LOGGED_IN);
    assert_eq!(login(writer, CKU_SO, SO_PIN), CKR_SESSION_READ_ONLY_EXISTS);
}

#[test]
fn the_so_and_read_only_sessions_exclude_each_other() {
    let _running = start();
    let writer = open(CKF_RW_SESSION);
    assert_eq!(login(writer, CKU_SO, b"wrong"), CKR_PIN_INCORRECT);
    let reader = open(0);
    ok!(C_CloseSession, reader);
    assert_eq!(login(writer, CKU_SO, SO_PIN), CKR_OK);
    assert_eq!(state(writer), CKS_RW_SO_FUNCTIONS);
    let mut session = 0;
    let reader = c!(C_OpenSession, SLOT, CKF_SERIAL_SESSION, null_mut(), None, &raw mut session);
    assert_eq!((reader, session), (CKR_SESSION_READ_WRITE_SO_EXISTS, 0));
    assert_eq!(login(writer, CKU_USER, PIN), CKR_USER_ANOTHER_ALREADY_LOGGED_IN);
    ok!(C_InitPIN, writer, ptr(PIN), len(PIN));
    ok!(C_Logout, writer);
    assert_eq!(c!(C_InitPIN, writer, ptr(PIN), len(PIN)), CKR_USER_NOT_LOGGED_IN);
    assert_eq!(login(writer, CKU_USER, PIN), CKR_OK);
    assert_eq!(c!(C_InitPIN, writer, ptr(PIN), len(PIN)), CKR_USER_NOT_LOGGED_IN);
}

#[test]
fn login_user_is_login_without_a_name() {
    let _running = start();
    let session = open(CKF_RW_SESSION);
    let named = c!(C_LoginUser, session, CKU_USER, ptr(PIN), len(PIN), ptr(b"eve"), 3);
    assert_eq!(named, CKR_USER_TYPE_INVALID);
    ok!(C_LoginUser, session, CKU_USER, ptr(PIN), len(PIN), null_mut(), 0);
    assert_eq!(state(session), CKS_RW_USER_FUNCTIONS);
}

#[test]
fn a_pin_is_changed_in_a_read_write_session_only() {
    let _running = start();
    let (reader, writer) = (open(0), open(CKF_RW_SESSION));
    let change = |session, old: &[u8]| c!(C_SetPIN, session, ptr(old), len(old), ptr(b"5678"), 4);
    assert_eq!(change(reader, PIN), CKR_SESSION_READ_ONLY);
    assert_eq!(change(writer, b"wrong"), CKR_PIN_INCORRECT);
    assert_eq!(change(writer, PIN), CKR_OK);
}

#[test]
fn closing_the_last_session_logs_out() {
    let running = start();
    let (one, two) = (open(0), open(0));
    assert_eq!(login(one, CKU_USER, PIN), CKR_OK);
    ok!(C_CloseSession, one);
    assert!(running.double.login.lock().unwrap().is_some(), "a session is left");
    ok!(C_CloseSession, two);
    assert!(running.double.login.lock().unwrap().is_none());
    assert_eq!(running.double.logouts.load(SeqCst), 1);
    assert!(running.double.sessions.lock().unwrap().is_empty());

    let (one, two) = (open(0), open(CKF_RW_SESSION));
    assert_eq!(login(one, CKU_USER, PIN), CKR_OK);
    ok!(C_CloseAllSessions, SLOT);
    assert!(running.double.login.lock().unwrap().is_none());
    assert_eq!(c!(C_CloseSession, one), CKR_SESSION_HANDLE_INVALID);
    assert_eq!(c!(C_CloseSession, two), CKR_SESSION_HANDLE_INVALID);
    assert_eq!(c!(C_CloseAllSessions, 99), CKR_SLOT_ID_INVALID);
}

#[test]
fn a_session_is_opened_as_the_specification_has_it() {
    let _running = start();
    let mut session = 0;
    let mut open = |slot, flags| c!(C_OpenSession, slot, flags, null_mut(), None, &raw mut session);
    assert_eq!(open(SLOT, 0), CKR_SESSION_PARALLEL_NOT_SUPPORTED);
    assert_eq!(open(SLOT, CKF_RW_SESSION), CKR_SESSION_PARALLEL_NOT_SUPPORTED);
    assert_eq!(open(SLOT, CKF_SERIAL_SESSION | CKF_ASYNC_SESSION), CKR_SESSION_ASYNC_NOT_SUPPORTED);
    assert_eq!(open(77, CKF_SERIAL_SESSION), CKR_SLOT_ID_INVALID);
    assert_eq!(c!(C_OpenSession, SLOT, CKF_SERIAL_SESSION, null_mut(), None, null_mut()), CKR_ARGUMENTS_BAD);
}

#[test]
fn logout_ends_what_stands_on_private_objects() {
    let _running = start();
    let (session, other) = (open(0), open(0));
    assert_eq!(login(session, CKU_USER, PIN), CKR_OK);
    let (private, public) = (handle(session, PRIVATE_KEY), handle(session, PUBLIC_KEY));
    let hmac = mechanism(CKM_SHA256_HMAC);
    ok!(C_SignInit, session, ptr(&[hmac]), private);
    ok!(C_SignInit, other, ptr(&[hmac]), private);
    ok!(C_EncryptInit, session, ptr(&[mechanism(CKM_AES_CBC)]), public);
    ok!(C_FindObjectsInit, session, null_mut(), 0);
    ok!(C_Logout, session);
    let mut out = [0u8; 8];
    let mut out_len = 8;
    for session in [session, other] {
        let rv = c!(C_Sign, session, ptr(b"abc"), 3, out.as_mut_ptr(), &raw mut out_len);
        assert_eq!(rv, CKR_OPERATION_NOT_INITIALIZED);
    }
    assert_eq!(c!(C_FindObjectsFinal, session), CKR_OPERATION_NOT_INITIALIZED);
    ok!(C_Encrypt, session, ptr(b"abc"), 3, out.as_mut_ptr(), &raw mut out_len);
}

#[test]
fn a_careful_key_asks_for_a_login_before_each_use() {
    let _running = start();
    let session = open(0);
    assert_eq!(login(session, CKU_CONTEXT_SPECIFIC, PIN), CKR_OPERATION_NOT_INITIALIZED);
    assert_eq!(login(session, CKU_USER, PIN), CKR_OK);
    assert_eq!(login(session, CKU_CONTEXT_SPECIFIC, PIN), CKR_OPERATION_NOT_INITIALIZED);
    let key = handle(session, CAREFUL_KEY);
    let (mut out, mut out_len) = ([0u8; 4], 4);
    let mut sign = || c!(C_Sign, session, ptr(b"ab"), 2, out.as_mut_ptr(), &raw mut out_len);
    for _ in 0..2 {
        ok!(C_SignInit, session, ptr(&[mechanism(CKM_SHA256_HMAC)]), key);
        assert_eq!(sign(), CKR_USER_NOT_LOGGED_IN);
        assert_eq!(sign(), CKR_OPERATION_NOT_INITIALIZED, "any error ends an operation");
        ok!(C_SignInit, session, ptr(&[mechanism(CKM_SHA256_HMAC)]), key);
        assert_eq!(login(session, CKU_CONTEXT_SPECIFIC, b"no"), CKR_PIN_INCORRECT);
        assert_eq!(login(session, CKU_CONTEXT_SPECIFIC, PIN), CKR_OK);
        assert_eq!(login(session, CKU_CONTEXT_SPECIFIC, PIN), CKR_OPERATION_NOT_INITIALIZED, "one is enough");
        assert_eq!(sign(), CKR_OK);
    }
    assert_eq!(out, sum(b"ab"));
}
