//! When operations begin, go on and end.

use std::ptr::null_mut;
use std::sync::atomic::Ordering::SeqCst;

use cryptoki_sys::*;

use crate::double::*;
use crate::{c, ok};

fn begin_sign(session: CK_SESSION_HANDLE, ty: CK_MECHANISM_TYPE) -> CK_RV {
    c!(C_SignInit, session, ptr(&[mechanism(ty)]), handle(session, PUBLIC_KEY))
}

fn begin_decrypt(session: CK_SESSION_HANDLE) {
    ok!(C_DecryptInit, session, ptr(&[mechanism(CKM_AES_CBC_PAD)]), handle(session, PUBLIC_KEY));
}

fn sign(session: CK_SESSION_HANDLE, data: &[u8], out: &mut [u8]) -> (CK_RV, CK_ULONG) {
    let mut out_len = len(out);
    let rv = c!(C_Sign, session, ptr(data), len(data), out.as_mut_ptr(), &raw mut out_len);
    (rv, out_len)
}

#[test]
fn a_question_and_a_small_buffer_keep_an_operation_and_the_result_ends_it() {
    let _running = start();
    let session = open(0);
    assert_eq!(begin_sign(session, CKM_SHA256_HMAC), CKR_OK);
    assert_eq!(begin_sign(session, CKM_SHA256_HMAC), CKR_OPERATION_ACTIVE);
    let mut needed = 0;
    ok!(C_Sign, session, ptr(b"abc"), 3, null_mut(), &raw mut needed);
    assert_eq!(needed, 4);
    assert_eq!(sign(session, b"abc", &mut [0; 3]), (CKR_BUFFER_TOO_SMALL, 4));
    let mut out = [9; 6];
    assert_eq!(sign(session, b"abc", &mut out), (CKR_OK, 4));
    assert_eq!(out, [0, 0, 1, 38, 9, 9], "the sum, and nothing behind it");
    assert_eq!(sign(session, b"abc", &mut out).0, CKR_OPERATION_NOT_INITIALIZED);
}

#[test]
fn an_error_ends_an_operation() {
    let _running = start();
    let session = open(0);
    assert_eq!(begin_sign(session, CKM_SHA256_HMAC), CKR_OK);
    assert_eq!(c!(C_SignUpdate, session, ptr(b"bad"), 3), CKR_DATA_INVALID);
    assert_eq!(c!(C_SignUpdate, session, ptr(b"abc"), 3), CKR_OPERATION_NOT_INITIALIZED);
}

#[test]
fn parts_and_the_whole_do_not_mix() {
    let _running = start();
    let session = open(0);
    assert_eq!(begin_sign(session, CKM_SHA256_HMAC), CKR_OK);
    ok!(C_SignUpdate, session, ptr(b"ab"), 2);
    assert_eq!(sign(session, b"c", &mut [0; 4]).0, CKR_OPERATION_NOT_INITIALIZED);
    assert_eq!(begin_sign(session, CKM_SHA256_HMAC), CKR_OK, "that ended it");
    ok!(C_SignUpdate, session, ptr(b"ab"), 2);
    ok!(C_SignUpdate, session, ptr(b"c"), 1);
    let signature = output(|out, len| c!(C_SignFinal, session, out, len));
    assert_eq!(signature.unwrap(), sum(b"abc"));
    assert_eq!(begin_sign(session, CKM_AES_CMAC), CKR_OK);
    assert_eq!(c!(C_SignUpdate, session, ptr(b"ab"), 2), CKR_FUNCTION_NOT_SUPPORTED);
    assert_eq!(begin_sign(session, CKM_AES_CMAC), CKR_OK, "that ended it");
    assert_eq!(sign(session, b"abc", &mut [0; 4]), (CKR_OK, 4));
}

#[test]
fn a_result_whose_length_shows_late_waits_for_its_buffer() {
    let running = start();
    let session = open(0);
    let decrypt = |data: &[u8], out: &mut [u8]| {
        let mut out_len = len(out);
        let rv = c!(C_Decrypt, session, ptr(data), len(data), out.as_mut_ptr(), &raw mut out_len);
        (rv, out_len)
    };
    begin_decrypt(session);
    let mut out = [0; 4];
    assert_eq!(decrypt(b"text####", &mut out), (CKR_OK, 4), "exactly as long as the result");
    assert_eq!(&out, b"text");

    begin_decrypt(session);
    let runs = running.double.runs.load(SeqCst);
    assert_eq!(decrypt(b"text####", &mut [0; 3]), (CKR_BUFFER_TOO_SMALL, 4));
    let mut needed = 99;
    ok!(C_Decrypt, session, ptr(b"text####"), 8, null_mut(), &raw mut needed);
    assert_eq!(needed, 4, "known by now");
    let mut out = [0; 5];
    assert_eq!(decrypt(b"text####", &mut out), (CKR_OK, 4));
    assert_eq!(&out, b"text\0");
    assert_eq!(running.double.runs.load(SeqCst), runs + 1, "the operation ran once");
    assert_eq!(decrypt(b"text####", &mut out).0, CKR_OPERATION_NOT_INITIALIZED);

    begin_decrypt(session);
    assert_eq!(decrypt(b"text####", &mut [0; 3]).0, CKR_BUFFER_TOO_SMALL);
    assert_eq!(decrypt(b"else####", &mut out).0, CKR_FUNCTION_FAILED, "never another input's result");
    assert_eq!(decrypt(b"text####", &mut out).0, CKR_OPERATION_NOT_INITIALIZED);
}

#[test]
fn in_and_out_may_be_the_same_place() {
    let _running = start();
    let session = open(0);
    let key = handle(session, PUBLIC_KEY);
    for shift in 0..4 {
        let mut memory = *b"0123456789abcdef";
        let expected: Vec<u8> = b"01234567".iter().map(|byte| byte ^ 0x55).collect();
        ok!(C_EncryptInit, session, ptr(&[mechanism(CKM_AES_CBC)]), key);
        let mut out_len = 8;
        let base = memory.as_mut_ptr();
        ok!(C_Encrypt, session, base, 8, base.wrapping_add(shift), &raw mut out_len);
        assert_eq!(memory[shift..shift + 8], expected);
    }
}

#[test]
fn empty_input_may_be_null_and_other_input_not() {
    let _running = start();
    let session = open(0);
    ok!(C_DigestInit, session, ptr(&[mechanism(CKM_SHA256)]));
    ok!(C_DigestUpdate, session, null_mut(), 0);
    let (mut out, mut out_len) = ([0u8; 4], 4);
    ok!(C_DigestFinal, session, out.as_mut_ptr(), &raw mut out_len);
    ok!(C_DigestInit, session, ptr(&[mechanism(CKM_SHA256)]));
    let mut digest = |data, n, out_len: *mut CK_ULONG| c!(C_Digest, session, data, n, out.as_mut_ptr(), out_len);
    assert_eq!(digest(null_mut(), 1, &raw mut out_len), CKR_ARGUMENTS_BAD);
    assert_eq!(digest(ptr(b"a"), CK_ULONG::MAX, &raw mut out_len), CKR_ARGUMENTS_BAD);
    assert_eq!(digest(ptr(b"a"), 1, null_mut()), CKR_ARGUMENTS_BAD);
    let mut absurd = CK_ULONG::MAX;
    assert_eq!(digest(ptr(b"a"), 1, &raw mut absurd), CKR_ARGUMENTS_BAD);
    assert_eq!(digest(ptr(b"a"), 1, &raw mut out_len), CKR_OK, "none of them reached the operation");
}

#[test]
fn a_missing_mechanism_cancels() {
    let _running = start();
    let session = open(0);
    assert_eq!(begin_sign(session, CKM_SHA256_HMAC), CKR_OK);
    ok!(C_SignInit, session, null_mut(), 0);
    assert_eq!(sign(session, b"a", &mut [0; 4]).0, CKR_OPERATION_NOT_INITIALIZED);
    assert_eq!(c!(C_SignInit, session, null_mut(), 0), CKR_ARGUMENTS_BAD, "nothing to cancel");
}

#[test]
fn session_cancel_takes_what_its_flags_say() {
    let _running = start();
    let session = open(0);
    assert_eq!(begin_sign(session, CKM_SHA256_HMAC), CKR_OK);
    ok!(C_DigestInit, session, ptr(&[mechanism(CKM_SHA256)]));
    ok!(C_FindObjectsInit, session, null_mut(), 0);
    ok!(C_SessionCancel, session, 0);
    assert_eq!(begin_sign_code(session), CKR_OPERATION_ACTIVE);
    ok!(C_SessionCancel, session, CKF_SIGN | CKF_ENCRYPT | CKF_FIND_OBJECTS);
    assert_eq!(sign(session, b"a", &mut [0; 4]).0, CKR_OPERATION_NOT_INITIALIZED);
    assert_eq!(c!(C_FindObjectsFinal, session), CKR_OPERATION_NOT_INITIALIZED);
    assert_eq!(c!(C_DigestInit, session, ptr(&[mechanism(CKM_SHA256)])), CKR_OPERATION_ACTIVE);
}

fn begin_sign_code(session: CK_SESSION_HANDLE) -> CK_RV {
    // No search for the key: one is running.
    c!(C_SignInit, session, ptr(&[mechanism(CKM_SHA256_HMAC)]), 1)
}

#[test]
fn verification_ends_whatever_it_finds() {
    let _running = start();
    let session = open(0);
    let key = handle(session, PUBLIC_KEY);
    let good = sum(b"abc");
    for (signature, code) in [
        (&good[..], CKR_OK),
        (&[1, 2, 3, 4], CKR_SIGNATURE_INVALID),
        (&[1, 2, 3], CKR_SIGNATURE_LEN_RANGE),
        (&[], CKR_SIGNATURE_LEN_RANGE),
    ] {
        ok!(C_VerifyInit, session, ptr(&[mechanism(CKM_SHA256_HMAC)]), key);
        assert_eq!(c!(C_Verify, session, ptr(b"abc"), 3, ptr(signature), len(signature)), code);
        assert_eq!(c!(C_VerifyFinal, session, ptr(signature), len(signature)), CKR_OPERATION_NOT_INITIALIZED);
        ok!(C_VerifyInit, session, ptr(&[mechanism(CKM_SHA256_HMAC)]), key);
        ok!(C_VerifyUpdate, session, ptr(b"abc"), 3);
        assert_eq!(c!(C_VerifyFinal, session, ptr(signature), len(signature)), code);
    }
}

#[test]
fn recover_functions_are_wired_to_their_own_uses() {
    let _running = start();
    let session = open(0);
    let key = handle(session, PUBLIC_KEY);
    ok!(C_SignRecoverInit, session, ptr(&[mechanism(CKM_SHA256_HMAC)]), key);
    let signature = output(|out, len| c!(C_SignRecover, session, ptr(b"ab"), 2, out, len));
    assert_eq!(signature.unwrap(), sum(b"ab"));
    ok!(C_VerifyRecoverInit, session, ptr(&[mechanism(CKM_SHA256_HMAC)]), key);
    let data = output(|out, len| c!(C_VerifyRecover, session, ptr(b"ab"), 2, out, len));
    assert_eq!(data.unwrap(), [b'a' ^ 0x55, b'b' ^ 0x55]);
}

#[test]
fn the_spare_operation_comes_back() {
    let running = start();
    let session = open(0);
    for round in 0..3 {
        assert_eq!(begin_sign(session, CKM_SHA256_HMAC), CKR_OK);
        let mut out = [0; 4];
        assert_eq!(sign(session, b"abc", &mut out).0, CKR_OK);
        assert_eq!(out, sum(b"abc"), "nothing of the last round is left");
        assert_eq!(running.double.restarts.load(SeqCst), round);
    }
}

#[test]
fn dual_functions_feed_only_what_came_out() {
    let _running = start();
    let session = open(0);
    let key = handle(session, PUBLIC_KEY);
    let (mut out, mut out_len) = ([0u8; 8], 8);
    let dual = |out: *mut u8, out_len| c!(C_DigestEncryptUpdate, session, ptr(b"abc"), 3, out, out_len);
    ok!(C_DigestInit, session, ptr(&[mechanism(CKM_SHA256)]));
    assert_eq!(dual(out.as_mut_ptr(), &raw mut out_len), CKR_OPERATION_NOT_INITIALIZED);
    ok!(C_EncryptInit, session, ptr(&[mechanism(CKM_AES_CBC)]), key);
    assert_eq!(dual(null_mut(), &raw mut out_len), CKR_OK);
    assert_eq!(out_len, 3);
    out_len = 2;
    assert_eq!(dual(out.as_mut_ptr(), &raw mut out_len), CKR_BUFFER_TOO_SMALL);
    out_len = 8;
    assert_eq!(dual(out.as_mut_ptr(), &raw mut out_len), CKR_OK);
    assert_eq!((out_len, &out[..3]), (3, &b"abc".map(|byte| byte ^ 0x55)[..]));
    let digest = output(|out, len| c!(C_DigestFinal, session, out, len));
    assert_eq!(digest.unwrap(), sum(b"abc"), "fed once");
    ok!(C_EncryptFinal, session, out.as_mut_ptr(), &raw mut out_len);
    assert_eq!(out_len, 0);
}

#[test]
fn the_other_dual_functions_feed_the_plaintext() {
    let _running = start();
    let session = open(0);
    let key = handle(session, PUBLIC_KEY);
    let cipher = b"abc".map(|byte| byte ^ 0x55);
    ok!(C_DecryptInit, session, ptr(&[mechanism(CKM_AES_CBC)]), key);
    ok!(C_DigestInit, session, ptr(&[mechanism(CKM_SHA256)]));
    ok!(C_VerifyInit, session, ptr(&[mechanism(CKM_SHA256_HMAC)]), key);
    let plain = output(|out, len| c!(C_DecryptDigestUpdate, session, ptr(&cipher), 3, out, len));
    assert_eq!(plain.unwrap(), b"abc");
    let plain = output(|out, len| c!(C_DecryptVerifyUpdate, session, ptr(&cipher), 3, out, len));
    assert_eq!(plain.unwrap(), b"abc");
    ok!(C_VerifyFinal, session, ptr(&sum(b"abc")), 4);
    let digest = output(|out, len| c!(C_DigestFinal, session, out, len));
    assert_eq!(digest.unwrap(), sum(b"abc"));

    ok!(C_EncryptInit, session, ptr(&[mechanism(CKM_AES_CBC)]), key);
    ok!(C_SignInit, session, ptr(&[mechanism(CKM_SHA256_HMAC)]), key);
    let encrypted = output(|out, len| c!(C_SignEncryptUpdate, session, ptr(b"abc"), 3, out, len));
    assert_eq!(encrypted.unwrap(), cipher);
    let signature = output(|out, len| c!(C_SignFinal, session, out, len));
    assert_eq!(signature.unwrap(), sum(b"abc"));
}

#[test]
fn a_state_is_saved_and_restored() {
    let _running = start();
    let (session, other) = (open(0), open(0));
    assert_eq!(output(|out, len| c!(C_GetOperationState, session, out, len)), Err(CKR_OPERATION_NOT_INITIALIZED));
    ok!(C_DigestInit, session, ptr(&[mechanism(CKM_SHA256)]));
    ok!(C_DigestUpdate, session, ptr(b"abc"), 3);
    let state = output(|out, len| c!(C_GetOperationState, session, out, len)).unwrap();
    let restore = |state: &[u8], key| c!(C_SetOperationState, other, ptr(state), len(state), key, 0);
    assert_eq!(restore(&state[..3], 0), CKR_SAVED_STATE_INVALID);
    assert_eq!(restore(&state, 1), CKR_KEY_NOT_NEEDED);
    assert_eq!(restore(&state, 0), CKR_OK);
    for session in [session, other] {
        ok!(C_DigestUpdate, session, ptr(b"d"), 1);
        let digest = output(|out, len| c!(C_DigestFinal, session, out, len));
        assert_eq!(digest.unwrap(), sum(b"abcd"));
    }
    assert_eq!(begin_sign(session, CKM_SHA256_HMAC), CKR_OK);
    assert_eq!(output(|out, len| c!(C_GetOperationState, session, out, len)), Err(CKR_STATE_UNSAVEABLE));
}

#[test]
fn a_key_is_digested_and_a_stranger_is_not() {
    let _running = start();
    let session = open(0);
    ok!(C_DigestInit, session, ptr(&[mechanism(CKM_SHA256)]));
    ok!(C_DigestKey, session, handle(session, PUBLIC_KEY));
    let digest = output(|out, len| c!(C_DigestFinal, session, out, len));
    assert_eq!(digest.unwrap(), sum(&[0x10]));
    ok!(C_DigestInit, session, ptr(&[mechanism(CKM_SHA256)]));
    assert_eq!(c!(C_DigestKey, session, 999), CKR_KEY_HANDLE_INVALID);
}

#[test]
fn random_bytes_come_from_one_generator_per_session() {
    let _running = start();
    let session = open(0);
    let mut out = [0xee; 4];
    ok!(C_SeedRandom, session, ptr(&[7]), 1);
    ok!(C_GenerateRandom, session, out.as_mut_ptr(), 3);
    assert_eq!(out, [7, 7, 7, 0xee]);
    ok!(C_GenerateRandom, session, out.as_mut_ptr(), 4);
    assert_eq!(out, [8, 8, 8, 8], "the generator went on");
    ok!(C_GenerateRandom, session, null_mut(), 0);
    assert_eq!(c!(C_GenerateRandom, session, null_mut(), 4), CKR_ARGUMENTS_BAD);
    assert_eq!(c!(C_GenerateRandom, session, out.as_mut_ptr(), CK_ULONG::MAX), CKR_ARGUMENTS_BAD);
    assert_eq!(c!(C_SeedRandom, session, null_mut(), 4), CKR_ARGUMENTS_BAD);
}

#[test]
fn searches_stream_and_end() {
    let _running = start();
    let session = open(0);
    let (mut found, mut count) = ([0; 2], 0);
    let mut next = |max| {
        let rv = c!(C_FindObjects, session, found.as_mut_ptr(), max, &raw mut count);
        (rv, count)
    };
    assert_eq!(next(2).0, CKR_OPERATION_NOT_INITIALIZED);
    ok!(C_FindObjectsInit, session, null_mut(), 0);
    assert_eq!(c!(C_FindObjectsInit, session, null_mut(), 0), CKR_OPERATION_ACTIVE);
    assert_eq!(next(2), (CKR_OK, 2));
    assert_eq!(next(0), (CKR_OK, 0));
    assert_eq!(next(2), (CKR_OK, 1));
    assert_eq!(next(2), (CKR_OK, 0));
    assert_eq!(next(CK_ULONG::MAX).0, CKR_ARGUMENTS_BAD);
    assert_eq!(c!(C_FindObjects, session, null_mut(), 2, &raw mut count), CKR_ARGUMENTS_BAD);
    ok!(C_FindObjectsFinal, session);
    assert_eq!(c!(C_FindObjectsFinal, session), CKR_OPERATION_NOT_INITIALIZED);
}

#[test]
fn a_panic_is_a_code_and_ends_the_operation() {
    let _running = start();
    let session = open(0);
    assert_eq!(begin_sign(session, CKM_AES_MAC), CKR_OK);
    assert_eq!(sign(session, b"a", &mut [0; 4]).0, CKR_GENERAL_ERROR);
    assert_eq!(sign(session, b"a", &mut [0; 4]).0, CKR_OPERATION_NOT_INITIALIZED);
    assert_eq!(login(session, CKU_USER, b"panic"), CKR_GENERAL_ERROR);
    assert_eq!(login(session, CKU_USER, PIN), CKR_OK, "the session lives on");
}
