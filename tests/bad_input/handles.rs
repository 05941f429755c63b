//! Handles of another kind than the function takes: sessions for objects, objects for sessions, data and certificates for
//! keys, public keys for private ones, and objects of the other token.

use std::ptr::null_mut;

use cryptoki_sys::*;

use crate::harness::*;
use crate::place::*;
use crate::world::*;
use crate::{c, ok};

/// One object of each kind, in a session of a user who is logged in.
struct Objects {
    session: CK_SESSION_HANDLE,
    data: CK_OBJECT_HANDLE,
    certificate: CK_OBJECT_HANDLE,
    mechanism: CK_OBJECT_HANDLE,
    profile: CK_OBJECT_HANDLE,
    public: CK_OBJECT_HANDLE,
    private: CK_OBJECT_HANDLE,
    aes: CK_OBJECT_HANDLE,
}

impl Objects {
    fn new(slot: CK_SLOT_ID) -> Objects {
        let session = logged_in(slot);
        let of = |class| Template::new().number(CKA_CLASS, class);
        let certificate = of(CKO_CERTIFICATE).number(CKA_CERTIFICATE_TYPE, CKC_X_509);
        let certificate = certificate.bytes(CKA_SUBJECT, &[0x30, 0]).bytes(CKA_VALUE, &[0x30, 0]);
        let (public, private) = pair(
            session,
            CKM_RSA_PKCS_KEY_PAIR_GEN,
            Template::new().number(CKA_MODULUS_BITS, 2048).yes(CKA_ENCRYPT).yes(CKA_VERIFY).yes(CKA_WRAP),
            Template::new().yes(CKA_DECRYPT).yes(CKA_SIGN).yes(CKA_UNWRAP),
        );
        Objects {
            session,
            data: create(session, of(CKO_DATA).bytes(CKA_VALUE, b"data")),
            certificate: create(session, certificate),
            mechanism: find(session, of(CKO_MECHANISM))[0],
            profile: find(session, of(CKO_PROFILE))[0],
            public,
            private,
            aes: aes_key(session, &[7; 16]),
        }
    }

    /// No keys at all.
    fn others(&self) -> [(&'static str, CK_OBJECT_HANDLE); 5] {
        let Objects { session, data, certificate, mechanism, profile, .. } = self;
        [
            ("a session", *session),
            ("data", *data),
            ("a certificate", *certificate),
            ("a mechanism", *mechanism),
            ("a profile", *profile),
        ]
    }

    fn count(&self) -> usize {
        find(self.session, Template::new()).len()
    }
}

fn code(rv: CK_RV) -> &'static str {
    keyward::error::Code::from_ckr(rv).map_or("CKR_OK", keyward::error::Code::name)
}

#[test]
fn what_is_no_key_does_no_keys_work() {
    let (told, slot) = Told::with_token();
    let objects = Objects::new(slot);
    let session = objects.session;
    let iv = [0u8; 16];
    let cbc = [with(CKM_AES_CBC, &iv)];
    let (rsa, hmac, sha) = ([mechanism(CKM_RSA_PKCS)], [mechanism(CKM_SHA256_HMAC)], [mechanism(CKM_SHA256)]);
    let derive = [mechanism(CKM_SHA256_KEY_DERIVATION)];
    let (before, mut made, mut room) = (objects.count(), 0, 0);
    for (what, handle) in objects.others() {
        let key = [
            ("C_EncryptInit", c!(C_EncryptInit, session, ptr(&cbc), handle)),
            ("C_DecryptInit", c!(C_DecryptInit, session, ptr(&cbc), handle)),
            ("C_SignInit", c!(C_SignInit, session, ptr(&rsa), handle)),
            ("C_VerifyInit", c!(C_VerifyInit, session, ptr(&hmac), handle)),
            ("C_SignRecoverInit", c!(C_SignRecoverInit, session, ptr(&rsa), handle)),
            ("C_VerifyRecoverInit", c!(C_VerifyRecoverInit, session, ptr(&rsa), handle)),
            ("C_DeriveKey", c!(C_DeriveKey, session, ptr(&derive), handle, null_mut(), 0, &raw mut made)),
            ("C_WrapKey", c!(C_WrapKey, session, ptr(&cbc), objects.aes, handle, null_mut(), &raw mut room)),
        ];
        for (function, rv) in key {
            assert_eq!(code(rv), "CKR_KEY_HANDLE_INVALID", "{function} of {what}");
        }
        let wrapping = c!(C_WrapKey, session, ptr(&cbc), handle, objects.aes, null_mut(), &raw mut room);
        assert_eq!(code(wrapping), "CKR_WRAPPING_KEY_HANDLE_INVALID", "{what}");
        let unwrapping = c!(C_UnwrapKey, session, ptr(&cbc), handle, ptr(&[0u8; 16]), 16, null_mut(), 0, &raw mut made);
        assert_eq!(code(unwrapping), "CKR_UNWRAPPING_KEY_HANDLE_INVALID", "{what}");
        ok!(C_DigestInit, session, ptr(&sha));
        assert_eq!(code(c!(C_DigestKey, session, handle)), "CKR_KEY_HANDLE_INVALID", "{what}");
        c!(C_SessionCancel, session, CKF_DIGEST);
        told.says(&["C_EncryptInit: CKR_KEY_HANDLE_INVALID: ", "find it anew"]);
    }
    assert_eq!((objects.count(), made), (before, 0));
}

#[test]
fn a_key_of_another_kind_is_told_from_none() {
    let (_told, slot) = Told::with_token();
    let objects = Objects::new(slot);
    let Objects { session, public, private, aes, .. } = objects;
    let iv = [0u8; 16];
    let (cbc, rsa, hmac) = ([with(CKM_AES_CBC, &iv)], [mechanism(CKM_RSA_PKCS)], [mechanism(CKM_SHA256_HMAC)]);
    for (what, rv) in [
        ("RSA for AES", c!(C_EncryptInit, session, ptr(&cbc), public)),
        ("AES for RSA", c!(C_EncryptInit, session, ptr(&rsa), aes)),
        ("AES to sign by RSA", c!(C_SignInit, session, ptr(&rsa), aes)),
        ("RSA for HMAC", c!(C_SignInit, session, ptr(&hmac), private)),
    ] {
        assert_eq!(code(rv), "CKR_KEY_TYPE_INCONSISTENT", "{what}");
    }
    // The other half of a pair has no such use.
    for (what, rv) in [
        ("a private key to encrypt", c!(C_EncryptInit, session, ptr(&rsa), private)),
        ("a public key to sign", c!(C_SignInit, session, ptr(&rsa), public)),
        ("a private key to verify", c!(C_VerifyInit, session, ptr(&rsa), private)),
        ("a public key to decrypt", c!(C_DecryptInit, session, ptr(&rsa), public)),
    ] {
        assert!(["CKR_KEY_TYPE_INCONSISTENT", "CKR_KEY_FUNCTION_NOT_PERMITTED"].contains(&code(rv)), "{what}: {rv:#x}");
    }
    let mut room = 0;
    let public_key = c!(C_WrapKey, session, ptr(&cbc), aes, public, null_mut(), &raw mut room);
    assert!(["CKR_KEY_NOT_WRAPPABLE", "CKR_KEY_UNEXTRACTABLE", "CKR_KEY_HANDLE_INVALID"].contains(&code(public_key)));
    let unextractable = c!(C_WrapKey, session, ptr(&cbc), aes, private, null_mut(), &raw mut room);
    assert_eq!(code(unextractable), "CKR_KEY_UNEXTRACTABLE");
}

#[test]
fn objects_and_sessions_are_not_each_other() {
    let (told, slot) = Told::with_token();
    let objects = Objects::new(slot);
    let session = objects.session;
    let mut info = CK_SESSION_INFO { slotID: 0, state: 0, flags: 0, ulDeviceError: 0 };
    for object in [objects.data, objects.aes, objects.private, slot] {
        assert_eq!(c!(C_GetSessionInfo, object, &raw mut info), CKR_SESSION_HANDLE_INVALID);
        assert_eq!(c!(C_CloseSession, object), CKR_SESSION_HANDLE_INVALID);
        assert_eq!(c!(C_Logout, object), CKR_SESSION_HANDLE_INVALID);
        assert_eq!(c!(C_DestroyObject, object, session), CKR_SESSION_HANDLE_INVALID);
    }
    told.says(&["C_CloseSession: CKR_SESSION_HANDLE_INVALID: ", "another kind of handle"]);
    let (mut size, mut copy) = (0, 0);
    for other in [session, slot, 0, CK_ULONG::MAX] {
        assert_eq!(c!(C_DestroyObject, session, other), CKR_OBJECT_HANDLE_INVALID);
        assert_eq!(c!(C_GetObjectSize, session, other, &raw mut size), CKR_OBJECT_HANDLE_INVALID);
        assert_eq!(c!(C_CopyObject, session, other, null_mut(), 0, &raw mut copy), CKR_OBJECT_HANDLE_INVALID);
    }
    told.says(&["C_DestroyObject: CKR_OBJECT_HANDLE_INVALID: ", "destroyed, is private, or is of another slot"]);
    let mut token = CK_TOKEN_INFO::default();
    assert_eq!(c!(C_GetTokenInfo, session | 1 << 40, &raw mut token), CKR_SLOT_ID_INVALID);
    told.says(&["C_GetTokenInfo: CKR_SLOT_ID_INVALID: ", "C_GetSlotList"]);
}

#[test]
fn what_is_gone_or_hidden_has_no_handle_any_more() {
    let (_told, slot) = Told::with_token();
    let objects = Objects::new(slot);
    let session = objects.session;
    let other = open(slot);
    let passing = create(other, secret(CKK_AES).bytes(CKA_VALUE, &[1; 16]));
    ok!(C_CloseSession, other);
    let mut size = 0;
    assert_eq!(c!(C_GetObjectSize, session, passing, &raw mut size), CKR_OBJECT_HANDLE_INVALID, "its session's");
    ok!(C_DestroyObject, session, objects.data);
    assert_eq!(c!(C_DestroyObject, session, objects.data), CKR_OBJECT_HANDLE_INVALID);
    let private = create(session, kept(b"kept", "kept"));
    ok!(C_Logout, session);
    let hmac = [mechanism(CKM_SHA256_HMAC)];
    assert_eq!(c!(C_GetObjectSize, session, private, &raw mut size), CKR_OBJECT_HANDLE_INVALID, "private");
    assert_eq!(c!(C_SignInit, session, ptr(&hmac), private), CKR_KEY_HANDLE_INVALID);
    ok!(C_Login, session, CKU_USER, ptr(USER_PIN), len(USER_PIN));
    assert_eq!(find(session, by(CKA_LABEL, b"kept")).len(), 1);
}
