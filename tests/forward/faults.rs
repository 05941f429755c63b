//! Any code at any call, and lengths that cannot be.

use std::ptr::null_mut;

use cryptoki_sys::*;

use crate::scene::*;
use crate::{both, c, ok};

/// One of each thing that an application does, whatever it answers.
fn everything(running: &Running) {
    let mut count = 0;
    c!(C_GetSlotList, CK_TRUE, null_mut(), &raw mut count);
    let (slot, mut session) = (running.slot(), 0);
    let (mut info, mut mechanism_info) = (CK_TOKEN_INFO::default(), CK_MECHANISM_INFO::default());
    c!(C_GetTokenInfo, slot, &raw mut info);
    c!(C_GetMechanismList, slot, null_mut(), &raw mut count);
    c!(C_GetMechanismInfo, slot, CKM_ECDSA, &raw mut mechanism_info);
    if c!(C_OpenSession, slot, CKF_SERIAL_SESSION | CKF_RW_SESSION, null_mut(), None, &raw mut session) != CKR_OK {
        return;
    }
    login(session, CKU_USER, PIN);
    let (mut out, digest) = ([0u8; 512], [1u8; 32]);
    c!(C_GenerateRandom, session, out.as_mut_ptr(), 16);
    c!(C_SeedRandom, session, ptr(&digest), 32);
    c!(C_SetPIN, session, ptr(PIN.as_bytes()), len(PIN.as_bytes()), ptr(PIN.as_bytes()), len(PIN.as_bytes()));
    let sha = [plain(CKM_SHA256)];
    let mut out_len = 512;
    if c!(C_DigestInit, session, ptr(&sha)) == CKR_OK {
        c!(C_DigestUpdate, session, ptr(&digest), 32);
        c!(C_DigestFinal, session, out.as_mut_ptr(), &raw mut out_len);
    }
    let template = aes_template(&[yes(CKA_EXTRACTABLE)]);
    let key = try_generate(session, CKM_AES_KEY_GEN, &template);
    let mut all = [CK_ATTRIBUTE { type_: CKA_CLASS, pValue: out.as_mut_ptr().cast(), ulValueLen: 8 }];
    let (mut found, mut size) = ([0; 10], 0);
    if c!(C_FindObjectsInit, session, null_mut(), 0) == CKR_OK {
        c!(C_FindObjects, session, found.as_mut_ptr(), 10, &raw mut count);
        c!(C_FindObjectsFinal, session);
    }
    in_one_step_and_in_parts(session, key.ok());
    if let Ok(key) = key {
        c!(C_GetAttributeValue, session, key, all.as_mut_ptr(), 1);
        c!(C_GetObjectSize, session, key, &raw mut size);
        let mut label = raw(&[bytes(CKA_LABEL, b"x")]);
        c!(C_SetAttributeValue, session, key, label.as_mut_ptr(), 1);
        let mut copy = 0;
        c!(C_CopyObject, session, key, label.as_mut_ptr(), 1, &raw mut copy);
        let iv = [0u8; 16];
        let cbc = [with(CKM_AES_CBC_PAD, &iv)];
        out_len = 512;
        if c!(C_EncryptInit, session, ptr(&cbc), key) == CKR_OK {
            c!(C_Encrypt, session, ptr(&digest), 32, out.as_mut_ptr(), &raw mut out_len);
        }
        if c!(C_DecryptInit, session, ptr(&cbc), key) == CKR_OK {
            c!(C_DecryptUpdate, session, ptr(&digest), 32, out.as_mut_ptr(), &raw mut out_len);
            out_len = 512;
            c!(C_DecryptFinal, session, out.as_mut_ptr(), &raw mut out_len);
        }
        let wrap = [plain(CKM_AES_KEY_WRAP)];
        out_len = 512;
        c!(C_WrapKey, session, ptr(&wrap), key, key, out.as_mut_ptr(), &raw mut out_len);
        c!(C_DestroyObject, session, key);
    }
    let key = find_quietly(session);
    if let Some(key) = key {
        let _ = try_sign(session, key, &digest);
        let _ = verify(session, key, &digest, &[0; 64]);
    }
    c!(C_Logout, session);
    c!(C_CloseSession, session);
}

/// The functions that `everything` leaves out.
fn in_one_step_and_in_parts(session: CK_SESSION_HANDLE, key: Option<CK_OBJECT_HANDLE>) {
    let (mut out, mut out_len, input, iv) = ([0u8; 512], 512, [1u8; 32], [0u8; 16]);
    let _ = crate::several::try_create(session, &[number(CKA_CLASS, CKO_DATA), bytes(CKA_VALUE, b"x")]);
    let sha = [plain(CKM_SHA256)];
    if c!(C_DigestInit, session, ptr(&sha)) == CKR_OK {
        c!(C_GetOperationState, session, out.as_mut_ptr(), &raw mut out_len);
        out_len = 512;
        c!(C_Digest, session, ptr(&input), 32, out.as_mut_ptr(), &raw mut out_len);
    }
    let _ = try_session_pair(session);
    let Some(key) = key else { return };
    if c!(C_DigestInit, session, ptr(&sha)) == CKR_OK {
        c!(C_DigestKey, session, key);
        out_len = 512;
        c!(C_DigestFinal, session, out.as_mut_ptr(), &raw mut out_len);
    }
    let cbc = [with(CKM_AES_CBC_PAD, &iv)];
    if c!(C_EncryptInit, session, ptr(&cbc), key) == CKR_OK {
        out_len = 512;
        c!(C_EncryptUpdate, session, ptr(&input), 32, out.as_mut_ptr(), &raw mut out_len);
        out_len = 512;
        c!(C_EncryptFinal, session, out.as_mut_ptr(), &raw mut out_len);
    }
    if c!(C_DecryptInit, session, ptr(&cbc), key) == CKR_OK {
        out_len = 512;
        c!(C_Decrypt, session, ptr(&input), 32, out.as_mut_ptr(), &raw mut out_len);
    }
    let mac = [plain(CKM_AES_CMAC)];
    if c!(C_SignInit, session, ptr(&mac), key) == CKR_OK {
        c!(C_SignUpdate, session, ptr(&input), 32);
        out_len = 512;
        c!(C_SignFinal, session, out.as_mut_ptr(), &raw mut out_len);
    }
    if c!(C_VerifyInit, session, ptr(&mac), key) == CKR_OK {
        c!(C_VerifyUpdate, session, ptr(&input), 32);
        c!(C_VerifyFinal, session, ptr(&input), 16);
    }
    let (wrap, mut template, mut made) =
        ([plain(CKM_AES_KEY_WRAP)], raw(&SECRET.map(|(ty, value)| number(ty, value))), 0);
    let count = len(&template);
    c!(C_UnwrapKey, session, ptr(&wrap), key, ptr(&input), 24, template.as_mut_ptr(), count, &raw mut made);
    let data = CK_KEY_DERIVATION_STRING_DATA { pData: ptr(&input), ulLen: 32 };
    let derive = [with(CKM_AES_ECB_ENCRYPT_DATA, &data)];
    c!(C_DeriveKey, session, ptr(&derive), key, template.as_mut_ptr(), count, &raw mut made);
}

const SECRET: [(CK_ATTRIBUTE_TYPE, CK_ULONG); 2] = [(CKA_CLASS, CKO_SECRET_KEY), (CKA_KEY_TYPE, CKK_GENERIC_SECRET)];

fn find_quietly(session: CK_SESSION_HANDLE) -> Option<CK_OBJECT_HANDLE> {
    let mut template = raw(&[number(CKA_CLASS, CKO_PRIVATE_KEY)]);
    let (mut found, mut count) = ([0; 1], 0);
    if c!(C_FindObjectsInit, session, template.as_mut_ptr(), 1) != CKR_OK {
        return None;
    }
    c!(C_FindObjects, session, found.as_mut_ptr(), 1, &raw mut count);
    c!(C_FindObjectsFinal, session);
    (count == 1).then_some(found[0])
}

const CALLED: &[&str] = &[
    "C_GetSlotList",
    "C_GetTokenInfo",
    "C_GetMechanismList",
    "C_GetMechanismInfo",
    "C_OpenSession",
    "C_CloseSession",
    "C_Login",
    "C_Logout",
    "C_CopyObject",
    "C_DestroyObject",
    "C_GetObjectSize",
    "C_GetAttributeValue",
    "C_SetAttributeValue",
    "C_FindObjectsInit",
    "C_FindObjects",
    "C_FindObjectsFinal",
    "C_EncryptInit",
    "C_Encrypt",
    "C_DecryptInit",
    "C_DecryptUpdate",
    "C_DecryptFinal",
    "C_DigestInit",
    "C_DigestUpdate",
    "C_DigestFinal",
    "C_SignInit",
    "C_Sign",
    "C_VerifyInit",
    "C_Verify",
    "C_GenerateKey",
    "C_WrapKey",
    "C_GenerateRandom",
    "C_SeedRandom",
    "C_SetPIN",
    "C_GetSessionInfo",
    "C_GetOperationState",
    "C_CreateObject",
    "C_Digest",
    "C_DigestKey",
    "C_EncryptUpdate",
    "C_EncryptFinal",
    "C_Decrypt",
    "C_SignUpdate",
    "C_SignFinal",
    "C_VerifyUpdate",
    "C_VerifyFinal",
    "C_GenerateKeyPair",
    "C_UnwrapKey",
    "C_DeriveKey",
];

/// The codes that say most different things to us, and one of no specification.
const SOME: &[u64] = &[0x05, 0x30, 0x32, 0x54, 0x60, 0x82, 0x90, 0xa0, 0xb3, 0x101, 0x150, 0x8765_4321];

fn after_any_code_all_is_well(codes: &[u64], lines: &str) {
    let running = Scene::new().start(faulty(), lines);
    let session = running.user();
    let (public, _) = ec_pair(session, "key", 1);
    for code in codes {
        for name in CALLED {
            running.scene.faults(&format!("{name} rv {code:#x} 2"));
            everything(&running);
        }
        running.scene.faults("");
        // Whatever state that has left, an application that starts over is served.
        ok!(C_Finalize, null_mut());
        ok!(C_Initialize, null_mut());
        let session = running.user();
        let key = find_quietly(session).expect("the key of before");
        let signature = try_sign(session, key, &[2; 32]).unwrap();
        let public = find(session, &[number(CKA_CLASS, CKO_PUBLIC_KEY)])[0];
        assert_eq!(verify(session, public, &[2; 32], &signature), CKR_OK, "after {code:#x}");
    }
    let _ = public;
}

#[test]
fn any_code_at_any_call_does_no_harm() {
    after_any_code_all_is_well(&[0x05, 0x32], "token = 'hsm'");
}

#[test]
fn a_loss_told_by_any_call_of_a_helper_does_no_harm() {
    after_any_code_all_is_well(&[0x30], "token = 'hsm'\nisolate = true");
}

/// Without faults, and past the pause after helpers that died one after the other, for which an application that starts over does
/// not wait: the key of before signs.
fn starts_over(running: &Running, after: &str) {
    running.scene.faults("");
    ok!(C_Finalize, null_mut());
    ok!(C_Initialize, null_mut());
    let session = running.user();
    let key = find_quietly(session).expect("the key of before");
    assert!(try_sign(session, key, &[2; 32]).is_ok(), "after {after}");
}

#[test]
#[ignore = "a new helper for every function: half a minute"]
fn a_crash_in_any_call_does_no_harm() {
    let running = Scene::new().start(faulty(), "token = 'hsm'\nisolate = true");
    let session = running.user();
    ec_pair(session, "key", 1);
    for name in CALLED {
        running.scene.faults(&format!("{name} crash once"));
        everything(&running);
        starts_over(&running, &format!("a crash in {name}"));
    }
}

#[test]
#[ignore = "every function times twelve codes: some minutes"]
fn every_kind_of_code_at_any_call_does_no_harm() {
    after_any_code_all_is_well(SOME, "token = 'hsm'");
}

#[test]
#[ignore = "every function times twelve codes: ten minutes"]
fn every_kind_of_code_of_a_helper_does_no_harm() {
    after_any_code_all_is_well(SOME, "token = 'hsm'\nisolate = true");
}

both! {
    fn a_code_comes_through_as_it_is_and_an_unknown_one_as_a_device_error(how) {
        let running = Scene::new().start(faulty(), how);
        let session = running.user();
        let (_, private) = ec_pair(session, "key", 1);
        for code in [CKR_KEY_FUNCTION_NOT_PERMITTED, CKR_KEY_TYPE_INCONSISTENT, CKR_PIN_EXPIRED, CKR_FUNCTION_FAILED] {
            running.scene.faults(&format!("C_SignInit rv {code:#x}"));
            assert_eq!(try_sign(session, private, &[1; 32]), Err(code));
        }
        running.scene.faults("C_SignInit rv 0x80001234");
        assert_eq!(try_sign(session, private, &[1; 32]), Err(CKR_DEVICE_ERROR));
        assert!(running.scene.log().contains("0x80001234"), "{}", running.scene.log());
    }
}

both! {
    fn lengths_that_cannot_be_are_not_believed(how) {
        let running = Scene::new().start(faulty(), how);
        let session = running.user();
        let (_, private) = ec_pair(session, "key", 1);
        for length in ["0xffffffffffffffff", "0x7fffffffffffffff", "1000000"] {
            running.scene.faults(&format!("C_Sign number 5 {length}"));
            assert_eq!(try_sign(session, private, &[1; 32]), Err(CKR_DEVICE_ERROR), "{length}");
            running.scene.faults(&format!("C_FindObjects number 4 {length}"));
            let mut count = 0;
            ok!(C_FindObjectsInit, session, null_mut(), 0);
            let mut found = [0; 4];
            assert_eq!(c!(C_FindObjects, session, found.as_mut_ptr(), 4, &raw mut count), CKR_DEVICE_ERROR);
            ok!(C_FindObjectsFinal, session);
            running.scene.faults(&format!("C_GetMechanismList number 3 {length}"));
            c!(C_GetMechanismList, running.slot(), null_mut(), &raw mut count);
            running.scene.faults("");
            try_sign(session, private, &[1; 32]).unwrap();
        }
    }
}

/// Where a function answers with a length, a count, a handle or a type: its argument, and how many bytes behind its beginning.
const NUMBERS: &[(&str, u8, u8)] = &[
    ("C_GetSlotList", 3, 0),
    ("C_GetMechanismList", 3, 0),
    ("C_GetTokenInfo", 2, 96),
    ("C_GetTokenInfo", 2, 104),
    ("C_OpenSession", 5, 0),
    ("C_GetSessionInfo", 2, 8),
    ("C_FindObjects", 2, 0),
    ("C_FindObjects", 4, 0),
    ("C_GetAttributeValue", 3, 0),
    ("C_GetAttributeValue", 3, 16),
    ("C_GetObjectSize", 3, 0),
    ("C_GetOperationState", 3, 0),
    ("C_CreateObject", 4, 0),
    ("C_CopyObject", 5, 0),
    ("C_GenerateKey", 5, 0),
    ("C_GenerateKeyPair", 7, 0),
    ("C_UnwrapKey", 8, 0),
    ("C_DeriveKey", 6, 0),
    ("C_WrapKey", 6, 0),
    ("C_Encrypt", 5, 0),
    ("C_EncryptUpdate", 5, 0),
    ("C_EncryptFinal", 3, 0),
    ("C_Decrypt", 5, 0),
    ("C_DecryptUpdate", 5, 0),
    ("C_DecryptFinal", 3, 0),
    ("C_Digest", 5, 0),
    ("C_DigestFinal", 3, 0),
    ("C_Sign", 5, 0),
    ("C_SignFinal", 3, 0),
];

fn after_any_number_all_is_well(numbers: &[&str], lines: &str) {
    let running = Scene::new().start(faulty(), lines);
    ec_pair(running.user(), "key", 1);
    for number in numbers {
        for (name, argument, offset) in NUMBERS {
            running.scene.faults(&format!("{name} number {argument} {number} {offset}"));
            everything(&running);
        }
        starts_over(&running, number);
    }
}

/// Lengths and counts beyond what there was room for, handles of nothing, types that nobody asked for.
#[test]
fn any_number_in_any_answer_does_no_harm() {
    after_any_number_all_is_well(&["0xffffffffffffffff", "0x7fffffff"], "token = 'hsm'");
}

#[test]
#[ignore = "every number of every answer, also of a helper: some minutes"]
fn every_kind_of_number_in_any_answer_does_no_harm() {
    let numbers = ["0", "1", "0xffffffffffffffff", "0xfffffffffffffffe", "0x7fffffffffffffff", "0x7fffffff", "1000000"];
    after_any_number_all_is_well(&numbers, "token = 'hsm'");
    after_any_number_all_is_well(&numbers, "token = 'hsm'\nisolate = true");
}
