//! Filters, PINs, and who may do what.

use std::path::Path;
use std::ptr::null_mut;

use cryptoki_sys::*;

use crate::scene::*;
use crate::{c, ok};

fn started(lines: &str) -> Running {
    Scene::new().start(Path::new(SOFTHSM), lines)
}

#[test]
fn only_the_objects_of_the_configuration_are_seen() {
    let scene = Scene::new();
    let running = scene.start(Path::new(SOFTHSM), "token = 'hsm'");
    let session = running.user();
    for (label, id) in [("web", 1), ("mail", 2), ("web", 3)] {
        ec_pair(session, label, id);
    }
    ok!(C_Finalize, null_mut());
    running.scene.configure(
        Path::new(SOFTHSM),
        "token = 'hsm'\nobjects = ['pkcs11:object=web;id=%01', 'pkcs11:object=mail;type=public']",
    );
    ok!(C_Initialize, null_mut());
    let session = running.user();
    let labels = find(session, &[]).into_iter().map(|object| value(session, object, CKA_LABEL).unwrap());
    let mut labels: Vec<_> = labels.collect();
    labels.sort();
    assert_eq!(labels, [b"mail".to_vec(), b"web".to_vec(), b"web".to_vec()]);
    assert!(find(session, &[bytes(CKA_ID, &[3])]).is_empty());
    let outside = try_generate(session, CKM_AES_KEY_GEN, &aes_template(&[yes(CKA_TOKEN), bytes(CKA_LABEL, b"other")]));
    assert_eq!(outside, Err(CKR_TEMPLATE_INCONSISTENT));
    // Nor does one leave it by a new name, or a copy of one.
    let web = find(session, &[bytes(CKA_LABEL, b"web"), number(CKA_CLASS, CKO_PUBLIC_KEY)])[0];
    let (mut other, mut copy) = (raw(&[bytes(CKA_LABEL, b"other"), yes(CKA_TOKEN)]), 0);
    assert_eq!(c!(C_SetAttributeValue, session, web, other.as_mut_ptr(), 1), CKR_TEMPLATE_INCONSISTENT);
    assert_eq!(c!(C_CopyObject, session, web, other.as_mut_ptr(), 2, &raw mut copy), CKR_TEMPLATE_INCONSISTENT);
    assert_eq!(value(session, web, CKA_LABEL).unwrap(), b"web");
    let mut same = raw(&[bytes(CKA_LABEL, b"web")]);
    ok!(C_SetAttributeValue, session, web, same.as_mut_ptr(), 1);
    ok!(C_CopyObject, session, web, same.as_mut_ptr(), 1, &raw mut copy);
}

#[test]
fn only_the_mechanisms_of_the_configuration_are_offered() {
    let running = started("token = 'hsm'\nmechanisms = ['ECDSA', 'CKM_EC_KEY_PAIR_GEN']");
    let (mut list, mut count) = ([0; 200], 200);
    ok!(C_GetMechanismList, running.slot(), list.as_mut_ptr(), &raw mut count);
    let mut list = list[..count as usize].to_vec();
    list.sort();
    assert_eq!(list, [CKM_EC_KEY_PAIR_GEN, CKM_ECDSA]);
    let session = running.user();
    let (public, private) = ec_pair(session, "key", 1);
    let signature = try_sign(session, private, &[1; 32]).unwrap();
    assert_eq!(verify(session, public, &[1; 32], &signature), CKR_OK);
    assert_eq!(try_generate(session, CKM_AES_KEY_GEN, &aes_template(&[])), Err(CKR_MECHANISM_INVALID));
    let mechanism = [plain(CKM_SHA256)];
    assert_eq!(c!(C_DigestInit, session, ptr(&mechanism)), CKR_MECHANISM_INVALID);
}

#[test]
fn nothing_of_a_read_only_slot_is_altered() {
    let scene = Scene::new();
    let running = scene.start(Path::new(SOFTHSM), "token = 'hsm'");
    ec_pair(running.user(), "key", 1);
    ok!(C_Finalize, null_mut());
    running.scene.configure(Path::new(SOFTHSM), "token = 'hsm'\nread_only = true");
    ok!(C_Initialize, null_mut());
    let mut info = CK_TOKEN_INFO::default();
    ok!(C_GetTokenInfo, running.slot(), &raw mut info);
    assert_ne!(info.flags & CKF_WRITE_PROTECTED, 0);
    let session = running.user();
    let key = find(session, &[number(CKA_CLASS, CKO_PRIVATE_KEY)])[0];
    assert_eq!(c!(C_DestroyObject, session, key), CKR_TOKEN_WRITE_PROTECTED);
    let mut label = raw(&[bytes(CKA_LABEL, b"other")]);
    assert_eq!(c!(C_SetAttributeValue, session, key, label.as_mut_ptr(), 1), CKR_TOKEN_WRITE_PROTECTED);
    let new = try_generate(session, CKM_AES_KEY_GEN, &aes_template(&[yes(CKA_TOKEN)]));
    assert_eq!(new, Err(CKR_TOKEN_WRITE_PROTECTED));
    let pin = PIN.as_bytes();
    assert_eq!(c!(C_SetPIN, session, ptr(pin), len(pin), ptr(pin), len(pin)), CKR_TOKEN_WRITE_PROTECTED);
    try_sign(session, key, &[1; 32]).unwrap();
    aes(session, &[]);
}

#[test]
fn a_read_only_session_writes_no_token_objects() {
    let running = started("token = 'hsm'");
    let session = running.user();
    let (public, _) = ec_pair(session, "key", 1);
    let reader = open(running.slot(), 0);
    let new = try_generate(reader, CKM_AES_KEY_GEN, &aes_template(&[yes(CKA_TOKEN)]));
    assert_eq!(new, Err(CKR_SESSION_READ_ONLY));
    assert_eq!(c!(C_DestroyObject, reader, public), CKR_SESSION_READ_ONLY);
    aes(reader, &[]);
}

#[test]
fn the_officer_is_let_in_only_by_the_configuration() {
    let running = started("token = 'hsm'");
    let session = running.open();
    assert_eq!(login(session, CKU_SO, SO_PIN), CKR_USER_TYPE_INVALID);
    ok!(C_CloseSession, session);
    let label = [b' '; 32];
    let pin = SO_PIN.as_bytes();
    assert_eq!(c!(C_InitToken, running.slot(), ptr(pin), len(pin), ptr(&label)), CKR_TOKEN_WRITE_PROTECTED);
    ok!(C_Finalize, null_mut());
    running.scene.configure(Path::new(SOFTHSM), "token = 'hsm'\nsecurity_officer = true");
    ok!(C_Initialize, null_mut());
    let session = running.open();
    assert_eq!(login(session, CKU_SO, SO_PIN), CKR_OK);
    ok!(C_InitPIN, session, ptr(b"4321"), 4);
    ok!(C_Logout, session);
    assert_eq!(login(session, CKU_USER, PIN), CKR_PIN_INCORRECT);
    assert_eq!(login(session, CKU_USER, "4321"), CKR_OK);
}

#[test]
fn a_pin_of_the_configuration_takes_the_place_of_the_callers() {
    let scene = Scene::new();
    std::fs::write(scene.place.join("pin"), "1234\n").unwrap();
    let running = scene.start(faulty(), "token = 'hsm'\npin = 'file:pin'");
    let mut info = CK_TOKEN_INFO::default();
    ok!(C_GetTokenInfo, running.slot(), &raw mut info);
    assert_ne!(info.flags & CKF_PROTECTED_AUTHENTICATION_PATH, 0);
    let session = running.open();
    ok!(C_Login, session, CKU_USER, null_mut(), 0);
    ok!(C_Logout, session);
    assert_eq!(login(session, CKU_USER, "not looked at"), CKR_OK);
    ok!(C_Logout, session);
    // A wrong one is tried once, however often the application asks.
    std::fs::write(running.scene.place.join("pin"), "wrong\n").unwrap();
    let before = running.scene.calls("C_Login");
    for _ in 0..3 {
        assert_eq!(login(session, CKU_USER, PIN), CKR_PIN_INCORRECT);
    }
    assert_eq!(running.scene.calls("C_Login"), before + 1);
    std::fs::write(running.scene.place.join("pin"), "1234\n").unwrap();
    ok!(C_Login, session, CKU_USER, null_mut(), 0);
    ok!(C_Logout, session);
    // One that is locked too, and the code stays.
    running.scene.faults("C_Login rv 0xa4");
    let before = running.scene.calls("C_Login");
    for _ in 0..3 {
        assert_eq!(login(session, CKU_USER, PIN), CKR_PIN_LOCKED);
    }
    assert_eq!(running.scene.calls("C_Login"), before + 1);
    assert!(running.scene.log().contains("refuses the PIN"), "{}", running.scene.log());
}

#[test]
fn a_wrong_pin_of_the_callers_is_the_callers() {
    let running = Scene::new().start(faulty(), "token = 'hsm'");
    let session = running.open();
    assert_eq!(login(session, CKU_USER, "9999"), CKR_PIN_INCORRECT);
    assert_eq!(running.scene.calls("C_Login"), 1);
    running.scene.faults("C_Login rv 0xa4");
    assert_eq!(login(session, CKU_USER, PIN), CKR_PIN_LOCKED);
    assert_eq!(running.scene.calls("C_Login"), 2);
}
