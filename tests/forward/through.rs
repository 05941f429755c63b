//! What an application does, done through the slot.

use std::path::Path;
use std::ptr::null_mut;

use cryptoki_sys::*;

use crate::scene::*;
use crate::{both, c, ok};

fn started(lines: &str) -> Running {
    Scene::new().start(Path::new(SOFTHSM), lines)
}

#[test]
fn a_slot_shows_the_token_under_the_label_of_the_configuration() {
    let running = started("token = 'hsm'\nlabel = 'front'");
    let mut info = CK_TOKEN_INFO::default();
    ok!(C_GetTokenInfo, running.slot(), &raw mut info);
    assert_eq!(&info.label[..6], b"front ");
    assert_eq!(&info.model[..10], b"SoftHSM v2");
    assert_eq!(slots().len(), 1, "no free software slot beside it");
}

both! {
    fn signatures_verify_and_wrong_ones_do_not(how) {
        let running = started(how);
        let session = running.user();
        let (public, private) = ec_pair(session, "key", 1);
        for n in 0..3u8 {
            let mut signature = try_sign(session, private, &[n; 32]).unwrap();
            assert_eq!(signature.len(), 64);
            assert_eq!(verify(session, public, &[n; 32], &signature), CKR_OK);
            signature[5] ^= 1;
            assert_eq!(verify(session, public, &[n; 32], &signature), CKR_SIGNATURE_INVALID);
        }
    }
}

both! {
    fn lengths_are_asked_for_and_too_small_buffers_keep_the_operation(how) {
        let running = started(how);
        let session = running.user();
        let (_, private) = ec_pair(session, "key", 1);
        let mechanism = [plain(CKM_ECDSA)];
        ok!(C_SignInit, session, ptr(&mechanism), private);
        let (digest, mut out, mut out_len) = ([7u8; 32], [0u8; 64], 0);
        ok!(C_Sign, session, ptr(&digest), 32, null_mut(), &raw mut out_len);
        assert_eq!(out_len, 64);
        out_len = 63;
        assert_eq!(c!(C_Sign, session, ptr(&digest), 32, out.as_mut_ptr(), &raw mut out_len), CKR_BUFFER_TOO_SMALL);
        assert_eq!(out_len, 64);
        ok!(C_Sign, session, ptr(&digest), 32, out.as_mut_ptr(), &raw mut out_len);
        assert_eq!(
            c!(C_Sign, session, ptr(&digest), 32, out.as_mut_ptr(), &raw mut out_len),
            CKR_OPERATION_NOT_INITIALIZED
        );
    }
}

both! {
    fn parameters_reach_the_module(how) {
        let running = started(how);
        let session = running.user();
        let key = aes(session, &[]);
        let (mut iv, mut aad) = ([5u8; 12], [6u8; 7]);
        let gcm = CK_GCM_PARAMS {
            pIv: iv.as_mut_ptr(),
            ulIvLen: 12,
            ulIvBits: 96,
            pAAD: aad.as_mut_ptr(),
            ulAADLen: 7,
            ulTagBits: 128,
        };
        let mechanism = [with(CKM_AES_GCM, &gcm)];
        let (data, mut sealed, mut sealed_len) = (*b"twenty bytes of data", [0u8; 64], 64);
        ok!(C_EncryptInit, session, ptr(&mechanism), key);
        ok!(C_Encrypt, session, ptr(&data), 20, sealed.as_mut_ptr(), &raw mut sealed_len);
        assert_eq!(sealed_len, 36);
        let (mut opened, mut opened_len) = ([0u8; 64], 64);
        ok!(C_DecryptInit, session, ptr(&mechanism), key);
        ok!(C_Decrypt, session, ptr(&sealed), sealed_len, opened.as_mut_ptr(), &raw mut opened_len);
        assert_eq!(&opened[..opened_len as usize], &data);
        // The parameter points to it.
        std::hint::black_box(&mut aad)[0] ^= 1;
        (opened_len, sealed_len) = (64, 36);
        ok!(C_DecryptInit, session, ptr(&mechanism), key);
        assert_ne!(c!(C_Decrypt, session, ptr(&sealed), sealed_len, opened.as_mut_ptr(), &raw mut opened_len), CKR_OK);
    }
}

both! {
    fn wrapped_keys_come_back(how) {
        let running = started(how);
        let session = running.user();
        let (wrapping, key) = (aes(session, &[]), aes(session, &[yes(CKA_EXTRACTABLE), no(CKA_SENSITIVE)]));
        let mechanism = [plain(CKM_AES_KEY_WRAP)];
        let (mut wrapped, mut wrapped_len) = ([0u8; 64], 0);
        ok!(C_WrapKey, session, ptr(&mechanism), wrapping, key, null_mut(), &raw mut wrapped_len);
        assert_eq!(wrapped_len, 40);
        ok!(C_WrapKey, session, ptr(&mechanism), wrapping, key, wrapped.as_mut_ptr(), &raw mut wrapped_len);
        let template =
            [number(CKA_CLASS, CKO_SECRET_KEY), number(CKA_KEY_TYPE, CKK_AES), no(CKA_SENSITIVE), yes(CKA_EXTRACTABLE)];
        let (mut template, mut back) = (raw(&template), 0);
        ok!(
            C_UnwrapKey,
            session,
            ptr(&mechanism),
            wrapping,
            wrapped.as_mut_ptr(),
            wrapped_len,
            template.as_mut_ptr(),
            4,
            &raw mut back
        );
        assert_eq!(value(session, key, CKA_VALUE), value(session, back, CKA_VALUE));
    }
}

#[test]
fn there_may_be_more_sessions_and_operations_than_sessions_with_the_hsm() {
    let running = started("token = 'hsm'\nsessions = 4");
    let session = running.user();
    let (public, private) = ec_pair(session, "key", 1);
    let sessions: Vec<_> = (0..50).map(|_| running.open()).collect();
    for session in &sessions {
        let signature = try_sign(*session, private, &[1; 32]).unwrap();
        assert_eq!(verify(*session, public, &[1; 32], &signature), CKR_OK);
    }
    // Begun and left: closing the session gives the HSM's one back.
    let mechanism = [plain(CKM_ECDSA)];
    for session in &sessions {
        ok!(C_SignInit, *session, ptr(&mechanism), private);
        ok!(C_CloseSession, *session);
    }
    try_sign(session, private, &[1; 32]).unwrap();
}

both! {
    fn a_session_object_ends_with_its_session_and_a_token_object_does_not(how) {
        let running = started(how);
        let (one, two) = (running.user(), running.open());
        let key = aes(one, &[bytes(CKA_LABEL, b"mine")]);
        ec_pair(one, "stays", 1);
        assert_eq!(find(two, &[bytes(CKA_LABEL, b"mine")]), [key]);
        ok!(C_CloseSession, one);
        assert!(find(two, &[bytes(CKA_LABEL, b"mine")]).is_empty());
        assert_eq!(value(two, key, CKA_LABEL), Err(CKR_OBJECT_HANDLE_INVALID));
        assert_eq!(find(two, &[bytes(CKA_LABEL, b"stays")]).len(), 2);
    }
}

both! {
    fn the_last_session_logs_out(how) {
        let running = started(how);
        let session = running.user();
        ec_pair(session, "key", 1);
        ok!(C_CloseSession, session);
        let session = running.open();
        let mut info = CK_SESSION_INFO::default();
        ok!(C_GetSessionInfo, session, &raw mut info);
        assert_eq!(info.state, CKS_RW_PUBLIC_SESSION);
        assert!(find(session, &[number(CKA_CLASS, CKO_PRIVATE_KEY)]).is_empty());
        assert_eq!(find(session, &[number(CKA_CLASS, CKO_PUBLIC_KEY)]).len(), 1);
    }
}

both! {
    fn random_numbers_digests_and_their_parts(how) {
        let running = started(how);
        let session = running.open();
        let (mut one, mut two) = ([0u8; 32], [0u8; 32]);
        ok!(C_GenerateRandom, session, one.as_mut_ptr(), 32);
        ok!(C_GenerateRandom, session, two.as_mut_ptr(), 32);
        assert_ne!(one, two);
        let (mechanism, mut out_len) = ([plain(CKM_SHA256)], 32);
        ok!(C_DigestInit, session, ptr(&mechanism));
        ok!(C_Digest, session, ptr(b"abc"), 3, one.as_mut_ptr(), &raw mut out_len);
        ok!(C_DigestInit, session, ptr(&mechanism));
        ok!(C_DigestUpdate, session, ptr(b"a"), 1);
        ok!(C_DigestUpdate, session, ptr(b"bc"), 2);
        ok!(C_DigestFinal, session, two.as_mut_ptr(), &raw mut out_len);
        assert_eq!(one, two);
        assert_eq!(one[..4], [0xba, 0x78, 0x16, 0xbf], "SHA-256 of abc");
    }
}

both! {
    fn attributes_come_one_by_one_with_their_refusals(how) {
        let running = started(how);
        let session = running.user();
        let (_, private) = ec_pair(session, "key", 9);
        let mut room = [[0u8; 64]; 4];
        let types = [CKA_LABEL, CKA_VALUE, CKA_MODULUS, CKA_ID];
        let mut entries: Vec<_> = types
            .iter()
            .zip(&mut room)
            .map(|(ty, room)| CK_ATTRIBUTE { type_: *ty, pValue: room.as_mut_ptr().cast(), ulValueLen: 64 })
            .collect();
        assert_eq!(c!(C_GetAttributeValue, session, private, entries.as_mut_ptr(), 4), CKR_ATTRIBUTE_SENSITIVE);
        assert_eq!(entries[0].ulValueLen, 3);
        assert_eq!(entries[1].ulValueLen, CK_UNAVAILABLE_INFORMATION);
        assert_eq!(entries[2].ulValueLen, CK_UNAVAILABLE_INFORMATION);
        assert_eq!((entries[3].ulValueLen, room[3][0]), (1, 9));
    }
}
