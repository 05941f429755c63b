//! Calls in the wrong order, over a real token: the code of each, what the log advises, and nothing changed.

use std::ptr::null_mut;

use cryptoki_sys::*;

use crate::harness::*;
use crate::place::*;
use crate::world::*;
use crate::{c, ok};

#[test]
fn nothing_goes_before_initialising_nor_after_finalising() {
    let told = Told::new();
    let ask = || {
        let (mut count, mut session) = (0, 0);
        let list = c!(C_GetSlotList, CK_FALSE, null_mut(), &raw mut count);
        let open = c!(C_OpenSession, 0, CKF_SERIAL_SESSION, null_mut(), None, &raw mut session);
        [list, open, c!(C_Login, 1, CKU_USER, ptr(b"1234"), 4), c!(C_Finalize, null_mut())]
    };
    assert_eq!(ask(), [CKR_CRYPTOKI_NOT_INITIALIZED; 4]);
    ok!(C_Initialize, null_mut());
    assert_eq!(c!(C_Initialize, null_mut()), CKR_CRYPTOKI_ALREADY_INITIALIZED);
    ok!(C_Finalize, null_mut());
    told.said();
    assert_eq!(ask(), [CKR_CRYPTOKI_NOT_INITIALIZED; 4]);
    told.says(&["C_GetSlotList: CKR_CRYPTOKI_NOT_INITIALIZED: ", "call C_Initialize first"]);
}

#[test]
fn a_blank_token_takes_no_session_and_a_token_without_pin_no_user() {
    let told = Told::new();
    ok!(C_Initialize, null_mut());
    let slot = slots(CK_TRUE)[0];
    let mut session = 0;
    let mut opened = |flags| c!(C_OpenSession, slot, flags, null_mut(), None, &raw mut session);
    assert_eq!(opened(CKF_SERIAL_SESSION), CKR_TOKEN_NOT_RECOGNIZED);
    told.says(&["warn: C_OpenSession: the token is not initialised"]);
    let init = |pin: &[u8]| c!(C_InitToken, slot, ptr(pin), len(pin), ptr(&[b' '; 32]));
    assert_eq!(init(b"1"), CKR_PIN_LEN_RANGE);
    assert!(!told.path("tokens").exists(), "nothing is made");
    assert_eq!(init(SO_PIN), CKR_OK);
    let session = open(slot);
    assert_eq!(c!(C_Login, session, CKU_USER, ptr(USER_PIN), len(USER_PIN)), CKR_USER_PIN_NOT_INITIALIZED);
    told.says(&["C_Login: ", "CKR_USER_PIN_NOT_INITIALIZED", "pin reset"]);
    assert_eq!(c!(C_InitPIN, session, ptr(USER_PIN), len(USER_PIN)), CKR_USER_NOT_LOGGED_IN);
    assert_eq!(init(SO_PIN), CKR_SESSION_EXISTS);
    told.says(&["C_InitToken: CKR_SESSION_EXISTS: ", "close all sessions"]);
    ok!(C_CloseSession, session);
    assert_eq!(init(b"87654321"), CKR_PIN_INCORRECT, "whoever makes it anew must know the SO's PIN");
}

#[test]
fn each_operation_has_its_order() {
    let (told, slot) = Told::with_token();
    let session = logged_in(slot);
    let (_, private) = key_pair(session, b"order");
    let aes = aes_key(session, &[7; 16]);
    let (ecb, sha, ecdsa) = ([mechanism(CKM_AES_ECB)], [mechanism(CKM_SHA256)], [mechanism(CKM_ECDSA_SHA256)]);
    let (mut out, mut room) = ([0u8; 128], 128);
    let before = told.files();
    // Without a beginning there is no end.
    let o = out.as_mut_ptr();
    let input = ptr(&[0u8; 16]);
    let n = &raw mut room;
    for (what, rv) in [
        ("C_Encrypt", c!(C_Encrypt, session, input, 16, o, n)),
        ("C_EncryptUpdate", c!(C_EncryptUpdate, session, input, 16, o, n)),
        ("C_EncryptFinal", c!(C_EncryptFinal, session, o, n)),
        ("C_Decrypt", c!(C_Decrypt, session, input, 16, o, n)),
        ("C_DecryptUpdate", c!(C_DecryptUpdate, session, input, 16, o, n)),
        ("C_DecryptFinal", c!(C_DecryptFinal, session, o, n)),
        ("C_Digest", c!(C_Digest, session, input, 16, o, n)),
        ("C_DigestUpdate", c!(C_DigestUpdate, session, input, 16)),
        ("C_DigestKey", c!(C_DigestKey, session, aes)),
        ("C_DigestFinal", c!(C_DigestFinal, session, o, n)),
        ("C_Sign", c!(C_Sign, session, input, 16, o, n)),
        ("C_SignUpdate", c!(C_SignUpdate, session, input, 16)),
        ("C_SignFinal", c!(C_SignFinal, session, o, n)),
        ("C_SignRecover", c!(C_SignRecover, session, input, 16, o, n)),
        ("C_Verify", c!(C_Verify, session, input, 16, input, 16)),
        ("C_VerifyUpdate", c!(C_VerifyUpdate, session, input, 16)),
        ("C_VerifyFinal", c!(C_VerifyFinal, session, input, 16)),
        ("C_VerifyRecover", c!(C_VerifyRecover, session, input, 16, o, n)),
        ("C_FindObjects", c!(C_FindObjects, session, n, 1, n)),
        ("C_FindObjectsFinal", c!(C_FindObjectsFinal, session)),
        ("C_DigestEncryptUpdate", c!(C_DigestEncryptUpdate, session, input, 16, o, n)),
        ("C_DecryptDigestUpdate", c!(C_DecryptDigestUpdate, session, input, 16, o, n)),
        ("C_SignEncryptUpdate", c!(C_SignEncryptUpdate, session, input, 16, o, n)),
        ("C_DecryptVerifyUpdate", c!(C_DecryptVerifyUpdate, session, input, 16, o, n)),
        ("C_GetOperationState", c!(C_GetOperationState, session, o, n)),
        ("C_EncryptMessage", c!(C_EncryptMessage, session, null_mut(), 0, input, 0, input, 16, o, n)),
        ("C_MessageEncryptFinal", c!(C_MessageEncryptFinal, session)),
        ("C_MessageDecryptFinal", c!(C_MessageDecryptFinal, session)),
        ("C_MessageSignFinal", c!(C_MessageSignFinal, session)),
        ("C_MessageVerifyFinal", c!(C_MessageVerifyFinal, session)),
        ("C_VerifySignature", c!(C_VerifySignature, session, input, 16)),
        ("C_VerifySignatureFinal", c!(C_VerifySignatureFinal, session)),
    ] {
        assert_eq!(rv, CKR_OPERATION_NOT_INITIALIZED, "{what}: {rv:#x}");
    }
    let said = told.said();
    let advice = "CKR_OPERATION_NOT_INITIALIZED: the Init function comes first";
    assert_eq!(said.matches(advice).count(), said.lines().count(), "{said}");
    // One of a kind at a time; the first one goes on.
    ok!(C_EncryptInit, session, ptr(&ecb), aes);
    assert_eq!(c!(C_EncryptInit, session, ptr(&ecb), aes), CKR_OPERATION_ACTIVE);
    told.says(&["C_EncryptInit: CKR_OPERATION_ACTIVE: ", "C_SessionCancel"]);
    room = 128;
    ok!(C_Encrypt, session, input, 16, out.as_mut_ptr(), &raw mut room);
    ok!(C_DigestInit, session, ptr(&sha));
    assert_eq!(c!(C_DigestInit, session, ptr(&sha)), CKR_OPERATION_ACTIVE);
    c!(C_SessionCancel, session, CKF_DIGEST);
    ok!(C_SignInit, session, ptr(&ecdsa), private);
    assert_eq!(c!(C_SignInit, session, ptr(&ecdsa), private), CKR_OPERATION_ACTIVE);
    c!(C_SessionCancel, session, CKF_SIGN);
    ok!(C_FindObjectsInit, session, null_mut(), 0);
    assert_eq!(c!(C_FindObjectsInit, session, null_mut(), 0), CKR_OPERATION_ACTIVE);
    ok!(C_FindObjectsFinal, session);
    assert_eq!(told.files(), before);
}

#[test]
fn each_login_has_its_order() {
    let (told, slot) = Told::with_token();
    let session = open(slot);
    let user = || c!(C_Login, session, CKU_USER, ptr(USER_PIN), len(USER_PIN));
    let so = || c!(C_Login, session, CKU_SO, ptr(SO_PIN), len(SO_PIN));
    assert_eq!(c!(C_Logout, session), CKR_USER_NOT_LOGGED_IN);
    told.says(&["C_Logout: CKR_USER_NOT_LOGGED_IN: ", "C_Login first"]);
    assert_eq!(c!(C_Login, session, 7, ptr(USER_PIN), len(USER_PIN)), CKR_USER_TYPE_INVALID);
    let context = c!(C_Login, session, CKU_CONTEXT_SPECIFIC, ptr(USER_PIN), len(USER_PIN));
    assert_eq!(context, CKR_OPERATION_NOT_INITIALIZED);
    assert_eq!(c!(C_Login, session, CKU_USER, ptr(b"999999"), 6), CKR_PIN_INCORRECT);
    told.says(&["C_Login: ", "CKR_PIN_INCORRECT"]);
    assert_eq!(user(), CKR_OK);
    assert_eq!(user(), CKR_USER_ALREADY_LOGGED_IN);
    assert_eq!(so(), CKR_USER_ANOTHER_ALREADY_LOGGED_IN);
    assert_eq!(c!(C_InitPIN, session, ptr(b"newnew"), 6), CKR_USER_NOT_LOGGED_IN);
    assert_eq!(c!(C_SetPIN, session, ptr(b"999999"), 6, ptr(b"newnew"), 6), CKR_PIN_INCORRECT);
    assert_eq!(c!(C_SetPIN, session, ptr(USER_PIN), len(USER_PIN), ptr(b"1"), 1), CKR_PIN_LEN_RANGE);
    ok!(C_Logout, session);
    assert_eq!(so(), CKR_OK);
    assert_eq!(c!(C_InitPIN, session, ptr(b"1"), 1), CKR_PIN_LEN_RANGE);
    ok!(C_Logout, session);
    assert_eq!(user(), CKR_OK, "the PIN is what it was");
}

#[test]
fn a_read_only_session_changes_nothing_on_the_token() {
    let (told, slot) = Told::with_token();
    let writer = logged_in(slot);
    let object = create(writer, kept(b"kept", "kept"));
    let mut session = 0;
    ok!(C_OpenSession, slot, CKF_SERIAL_SESSION, null_mut(), None, &raw mut session);
    let before = told.files();
    let (mut template, mut made) = (kept(b"new", "new"), 0);
    let raw = template.raw();
    let refused = CKR_SESSION_READ_ONLY;
    assert_eq!(c!(C_CreateObject, session, raw.as_mut_ptr(), len(raw), &raw mut made), refused);
    told.says(&["C_CreateObject: CKR_SESSION_READ_ONLY: ", "CKF_RW_SESSION"]);
    assert_eq!(c!(C_CopyObject, session, object, null_mut(), 0, &raw mut made), refused);
    assert_eq!(c!(C_DestroyObject, session, object), refused);
    let mut name = by(CKA_LABEL, b"other");
    assert_eq!(c!(C_SetAttributeValue, session, object, name.raw().as_mut_ptr(), 1), refused);
    let aes = [mechanism(CKM_AES_KEY_GEN)];
    let mut template = Template::new().yes(CKA_TOKEN).number(CKA_VALUE_LEN, 16);
    let raw = template.raw();
    assert_eq!(c!(C_GenerateKey, session, ptr(&aes), raw.as_mut_ptr(), 2, &raw mut made), refused);
    assert_eq!(c!(C_SetPIN, session, ptr(USER_PIN), len(USER_PIN), ptr(b"newnew"), 6), refused);
    assert_eq!((told.files(), made), (before, 0));
}
