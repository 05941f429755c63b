//! Mechanism and profile objects.

use std::collections::HashSet;

use cryptoki_sys::*;

use crate::harness::*;
use crate::{c, ok};

fn mechanisms(slot: CK_SLOT_ID) -> HashSet<CK_MECHANISM_TYPE> {
    let mut count = 0;
    ok!(C_GetMechanismList, slot, std::ptr::null_mut(), &raw mut count);
    let mut list = vec![0; count as usize];
    ok!(C_GetMechanismList, slot, list.as_mut_ptr(), &raw mut count);
    list.into_iter().collect()
}

fn class(class: CK_OBJECT_CLASS) -> Template {
    Template::new().number(CKA_CLASS, class)
}

#[test]
fn each_mechanism_has_its_object() {
    let running = start();
    let session = running.session;
    let objects = find(session, class(CKO_MECHANISM));
    let types: HashSet<CK_MECHANISM_TYPE> = objects
        .iter()
        .map(|object| {
            let ty = value(session, *object, CKA_MECHANISM_TYPE).unwrap();
            CK_MECHANISM_TYPE::from_ne_bytes(ty.try_into().unwrap())
        })
        .collect();
    assert_eq!(types, mechanisms(running.slot));
    assert_eq!(types.len(), objects.len(), "one each");
    let ids: HashSet<Vec<u8>> = objects.iter().map(|object| value(session, *object, CKA_UNIQUE_ID).unwrap()).collect();
    assert_eq!(ids.len(), objects.len());

    let one = find(session, class(CKO_MECHANISM).number(CKA_MECHANISM_TYPE, CKM_AES_GCM).yes(CKA_TOKEN));
    assert_eq!(one.len(), 1);
    assert_eq!(value(session, one[0], CKA_LABEL), Ok(b"CKM_AES_GCM".to_vec()));
    assert!(find(session, class(CKO_MECHANISM).number(CKA_MECHANISM_TYPE, 0x7777)).is_empty());
    // Every session sees the same object, logged in or not.
    ok!(C_Logout, session);
    let other = open(running.slot);
    assert_eq!(find(other, class(CKO_MECHANISM).number(CKA_MECHANISM_TYPE, CKM_AES_GCM)), one);
}

#[test]
fn who_does_not_ask_for_them_does_not_meet_them() {
    let running = start();
    let session = running.session;
    for object in find(session, Template::new()) {
        let class = value(session, object, CKA_CLASS).unwrap();
        assert_ne!(class, CKO_MECHANISM.to_ne_bytes());
    }
}

/// That these and no others hold is shown by `pkcs11-conformance profiles`, which compares them with the cases it replays.
#[test]
fn the_profiles_have_their_objects() {
    let running = start();
    let session = open(running.slot);
    let objects = find(session, class(CKO_PROFILE));
    let number =
        |object| CK_PROFILE_ID::from_ne_bytes(value(session, object, CKA_PROFILE_ID).unwrap().try_into().unwrap());
    let claimed: Vec<CK_PROFILE_ID> = objects.iter().map(|object| number(*object)).collect();
    let expected =
        [CKP_BASELINE_PROVIDER, CKP_EXTENDED_PROVIDER, CKP_AUTHENTICATION_TOKEN, CKP_PUBLIC_CERTIFICATES_TOKEN];
    assert_eq!(claimed, expected);
    let one = find(session, class(CKO_PROFILE).number(CKA_PROFILE_ID, CKP_AUTHENTICATION_TOKEN));
    assert_eq!(one, [objects[2]]);
    assert_eq!(value(session, one[0], CKA_TOKEN), Ok(vec![1]));
    assert_eq!(value(session, one[0], CKA_PRIVATE), Ok(vec![0]));
    assert_eq!(c!(C_DestroyObject, session, one[0]), CKR_ACTION_PROHIBITED);
}

#[test]
fn nobody_changes_them() {
    let running = start();
    let session = running.session;
    let object = find(session, class(CKO_MECHANISM))[0];
    let (mut label, mut copy) = (Template::new().bytes(CKA_LABEL, b"mine"), 0);
    let raw = label.raw();
    assert_eq!(c!(C_SetAttributeValue, session, object, raw.as_mut_ptr(), 1), CKR_ACTION_PROHIBITED);
    assert_eq!(c!(C_DestroyObject, session, object), CKR_ACTION_PROHIBITED);
    assert_eq!(c!(C_CopyObject, session, object, std::ptr::null_mut(), 0, &raw mut copy), CKR_ACTION_PROHIBITED);
    let mut made = class(CKO_MECHANISM).number(CKA_MECHANISM_TYPE, CKM_AES_GCM);
    let raw = made.raw();
    assert_eq!(c!(C_CreateObject, session, raw.as_mut_ptr(), len(raw), &raw mut copy), CKR_ATTRIBUTE_VALUE_INVALID);
    assert_eq!(c!(C_EncryptInit, session, ptr(&[mechanism(CKM_AES_ECB)]), object), CKR_KEY_HANDLE_INVALID);
    let mut size = 0;
    ok!(C_GetObjectSize, session, object, &raw mut size);
    assert!(size > 0);
}
