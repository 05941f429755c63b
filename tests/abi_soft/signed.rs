//! Messages signed and verified, and signatures given before the data.

use std::ptr::null_mut;

use cryptoki_sys::*;

use crate::harness::*;
use crate::{c, ok};

/// A mechanism with its two keys.
pub struct Signer {
    pub mechanism: CK_MECHANISM,
    pub signs: CK_OBJECT_HANDLE,
    pub verifies: CK_OBJECT_HANDLE,
    in_parts: bool,
}

const PSS: CK_RSA_PKCS_PSS_PARAMS = CK_RSA_PKCS_PSS_PARAMS { hashAlg: CKM_SHA256, mgf: CKG_MGF1_SHA256, sLen: 32 };
static PSS_PARAMS: CK_RSA_PKCS_PSS_PARAMS = PSS;

pub fn signers(session: CK_SESSION_HANDLE) -> Vec<Signer> {
    let ec = Template::new().bytes(CKA_EC_PARAMS, P256).yes(CKA_VERIFY);
    let (ec_public, ec_private) = pair(session, CKM_EC_KEY_PAIR_GEN, ec, Template::new().yes(CKA_SIGN));
    let ed = Template::new().bytes(CKA_EC_PARAMS, b"\x06\x03\x2b\x65\x70").yes(CKA_VERIFY);
    let (ed_public, ed_private) = pair(session, CKM_EC_EDWARDS_KEY_PAIR_GEN, ed, Template::new().yes(CKA_SIGN));
    let rsa = Template::new().number(CKA_MODULUS_BITS, 2048).yes(CKA_VERIFY);
    let (rsa_public, rsa_private) = pair(session, CKM_RSA_PKCS_KEY_PAIR_GEN, rsa, Template::new().yes(CKA_SIGN));
    let mac = create(session, secret(CKK_GENERIC_SECRET).bytes(CKA_VALUE, &[3; 32]));
    let aes = aes_key(session, &[4; 16]);
    let signer = |mechanism, signs, verifies, in_parts| Signer { mechanism, signs, verifies, in_parts };
    vec![
        signer(mechanism(CKM_ECDSA), ec_private, ec_public, false),
        signer(mechanism(CKM_ECDSA_SHA256), ec_private, ec_public, true),
        signer(mechanism(CKM_EDDSA), ed_private, ed_public, true),
        signer(mechanism(CKM_RSA_PKCS), rsa_private, rsa_public, false),
        signer(mechanism(CKM_SHA384_RSA_PKCS), rsa_private, rsa_public, true),
        signer(with(CKM_SHA256_RSA_PKCS_PSS, &PSS_PARAMS), rsa_private, rsa_public, true),
        signer(mechanism(CKM_SHA256_HMAC), mac, mac, true),
        signer(mechanism(CKM_AES_CMAC), aes, aes, true),
    ]
}

fn sign(session: CK_SESSION_HANDLE, data: &[u8]) -> Result<Vec<u8>, CK_RV> {
    output(|out, out_len| c!(C_SignMessage, session, null_mut(), 0, ptr(data), len(data), out, out_len))
}

fn verify(session: CK_SESSION_HANDLE, data: &[u8], signature: &[u8]) -> CK_RV {
    c!(C_VerifyMessage, session, null_mut(), 0, ptr(data), len(data), ptr(signature), len(signature))
}

fn changed(signature: &[u8]) -> Vec<u8> {
    let mut changed = signature.to_vec();
    *changed.last_mut().unwrap() ^= 1;
    changed
}

#[test]
fn one_init_signs_and_verifies_many_messages() {
    let running = start();
    let session = running.session;
    for signer in signers(session) {
        let name = signer.mechanism.mechanism;
        let mut signatures = Vec::new();
        ok!(C_MessageSignInit, session, ptr(&[signer.mechanism]), signer.signs);
        for at in 0..3u8 {
            let signature = sign(session, &[at; 32]).unwrap();
            // The ordinary functions take it.
            ok!(C_VerifyInit, session, ptr(&[signer.mechanism]), signer.verifies);
            ok!(C_Verify, session, ptr(&[at; 32]), 32, ptr(&signature), len(&signature));
            signatures.push(signature);
        }
        ok!(C_MessageSignFinal, session);
        assert_eq!(sign(session, &[0; 32]), Err(CKR_OPERATION_NOT_INITIALIZED));

        ok!(C_MessageVerifyInit, session, ptr(&[signer.mechanism]), signer.verifies);
        for (at, signature) in (0..3u8).zip(&signatures) {
            assert_eq!(verify(session, &[at; 32], &changed(signature)), CKR_SIGNATURE_INVALID, "{name:#x}");
            assert_eq!(verify(session, &[9; 32], signature), CKR_SIGNATURE_INVALID, "{name:#x}");
            assert_eq!(verify(session, &[at; 32], &[]), CKR_SIGNATURE_LEN_RANGE, "{name:#x}");
            assert_eq!(verify(session, &[at; 32], signature), CKR_OK, "{name:#x}");
        }
        ok!(C_MessageVerifyFinal, session);
    }
}

#[test]
fn parts_are_the_whole_and_only_where_the_mechanism_has_them() {
    let running = start();
    let session = running.session;
    for signer in signers(session) {
        let mut info = CK_MECHANISM_INFO::default();
        ok!(C_GetMechanismInfo, running.slot, signer.mechanism.mechanism, &raw mut info);
        assert_ne!(info.flags & CKF_MESSAGE_SIGN, 0);
        assert_eq!(info.flags & CKF_MULTI_MESSAGE != 0, signer.in_parts, "{:#x}", signer.mechanism.mechanism);
        ok!(C_MessageSignInit, session, ptr(&[signer.mechanism]), signer.signs);
        ok!(C_MessageVerifyInit, session, ptr(&[signer.mechanism]), signer.verifies);
        if !signer.in_parts {
            assert_eq!(c!(C_SignMessageBegin, session, null_mut(), 0), CKR_FUNCTION_NOT_SUPPORTED);
            assert_eq!(c!(C_VerifyMessageBegin, session, null_mut(), 0), CKR_FUNCTION_NOT_SUPPORTED);
        } else {
            for _ in 0..2 {
                parts(session);
            }
        }
        ok!(C_MessageSignFinal, session);
        ok!(C_MessageVerifyFinal, session);
    }
}

/// A message in three parts, whose signature is that of the whole; and one given up.
fn parts(session: CK_SESSION_HANDLE) {
    let next = |part: &[u8]| {
        let no_length: *mut CK_ULONG = null_mut();
        ok!(C_SignMessageNext, session, null_mut(), 0, ptr(part), len(part), null_mut(), no_length);
    };
    ok!(C_SignMessageBegin, session, null_mut(), 0);
    next(b"one ");
    next(b"");
    assert_eq!(sign(session, b"whole"), Err(CKR_OPERATION_ACTIVE));
    let last = |out, out_len| c!(C_SignMessageNext, session, null_mut(), 0, ptr(b"two"), 3, out, out_len);
    let signature = output(last).unwrap();
    assert_eq!(verify(session, b"one two", &signature), CKR_OK);

    let verify_next = |part: &[u8], signature: &[u8]| {
        let (p, signature_len) = (ptr(signature), len(signature));
        c!(C_VerifyMessageNext, session, null_mut(), 0, ptr(part), len(part), p, signature_len)
    };
    for (signature, expected) in [(signature.clone(), CKR_OK), (changed(&signature), CKR_SIGNATURE_INVALID)] {
        ok!(C_VerifyMessageBegin, session, null_mut(), 0);
        ok!(C_VerifyMessageNext, session, null_mut(), 0, ptr(b"one "), 4, null_mut(), 0);
        assert_eq!(verify_next(b"two", &signature), expected);
        assert_eq!(verify_next(b"two", &signature), CKR_OPERATION_NOT_INITIALIZED, "the message has ended");
    }
}

#[test]
fn a_message_to_sign_has_no_parameter() {
    let running = start();
    let session = running.session;
    let key = create(session, secret(CKK_GENERIC_SECRET).bytes(CKA_VALUE, &[3; 32]));
    ok!(C_MessageSignInit, session, ptr(&[mechanism(CKM_SHA256_HMAC)]), key);
    let (mut out, mut out_len) = ([0; 32], 32);
    let p = ptr(b"parameter").cast();
    let rv = c!(C_SignMessage, session, p, 9, ptr(b"x"), 1, out.as_mut_ptr(), &raw mut out_len);
    assert_eq!(rv, CKR_MECHANISM_PARAM_INVALID);
    assert_eq!(c!(C_SignMessageBegin, session, p, 9), CKR_MECHANISM_PARAM_INVALID);
    assert!(sign(session, b"x").is_ok());
}

fn signed_by(session: CK_SESSION_HANDLE, signer: &Signer, data: &[u8]) -> Vec<u8> {
    ok!(C_SignInit, session, ptr(&[signer.mechanism]), signer.signs);
    output(|out, out_len| c!(C_Sign, session, ptr(data), len(data), out, out_len)).unwrap()
}

#[test]
fn a_signature_may_come_first() {
    let running = start();
    let session = running.session;
    for signer in signers(session) {
        let data = [8; 32];
        let signature = signed_by(session, &signer, &data);
        let begin = |signature: &[u8]| {
            let mechanism = [signer.mechanism];
            c!(C_VerifySignatureInit, session, ptr(&mechanism), signer.verifies, ptr(signature), len(signature))
        };
        for (given, expected) in [(signature.clone(), CKR_OK), (changed(&signature), CKR_SIGNATURE_INVALID)] {
            assert_eq!(begin(&given), CKR_OK);
            assert_eq!(begin(&given), CKR_OPERATION_ACTIVE);
            assert_eq!(c!(C_VerifySignature, session, ptr(&data), 32), expected);
            assert_eq!(c!(C_VerifySignature, session, ptr(&data), 32), CKR_OPERATION_NOT_INITIALIZED);
            assert_eq!(begin(&given), CKR_OK);
            if signer.in_parts {
                ok!(C_VerifySignatureUpdate, session, ptr(&data), 20);
                ok!(C_VerifySignatureUpdate, session, ptr(&data), 12);
                assert_eq!(c!(C_VerifySignatureFinal, session), expected);
            } else {
                assert_eq!(c!(C_VerifySignatureUpdate, session, ptr(&data), 20), CKR_FUNCTION_NOT_SUPPORTED);
            }
        }
        assert_eq!(c!(C_VerifySignatureFinal, session), CKR_OPERATION_NOT_INITIALIZED);
        assert_eq!(begin(&signature), CKR_OK);
        ok!(C_VerifySignatureInit, session, null_mut(), 0, null_mut(), 0);
        assert_eq!(c!(C_VerifySignature, session, ptr(&data), 32), CKR_OPERATION_NOT_INITIALIZED, "cancelled");
    }
}

#[test]
fn a_careful_key_asks_before_each_message() {
    let running = start();
    let session = running.session;
    let ec = Template::new().bytes(CKA_EC_PARAMS, P256);
    let private = Template::new().yes(CKA_SIGN).yes(CKA_ALWAYS_AUTHENTICATE);
    let (_, private) = pair(session, CKM_EC_KEY_PAIR_GEN, ec, private);
    ok!(C_MessageSignInit, session, ptr(&[mechanism(CKM_ECDSA_SHA256)]), private);
    let mut needed = 0;
    ok!(C_SignMessage, session, null_mut(), 0, ptr(b"x"), 1, null_mut(), &raw mut needed);
    assert_eq!(needed, 64, "a question needs no login");
    for _ in 0..2 {
        let (mut out, mut out_len) = ([0; 64], 64);
        let mut once = || c!(C_SignMessage, session, null_mut(), 0, ptr(b"x"), 1, out.as_mut_ptr(), &raw mut out_len);
        assert_eq!(once(), CKR_USER_NOT_LOGGED_IN);
        assert_eq!(login(session, CKU_CONTEXT_SPECIFIC), CKR_OK);
        assert_eq!(once(), CKR_OK);
    }
}
