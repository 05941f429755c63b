//! Templates, attribute values, and handles in the codes that each function lists.

use std::ptr::null_mut;

use cryptoki_sys::*;
use keyward::token::{Attribute, Value};

use crate::double::*;
use crate::{c, ok};

fn attribute(ty: CK_ATTRIBUTE_TYPE, value: &mut [u8]) -> CK_ATTRIBUTE {
    CK_ATTRIBUTE { type_: ty, pValue: value.as_mut_ptr().cast(), ulValueLen: value.len() as CK_ULONG }
}

fn asking(ty: CK_ATTRIBUTE_TYPE) -> CK_ATTRIBUTE {
    CK_ATTRIBUTE { type_: ty, pValue: null_mut(), ulValueLen: 0 }
}

const ENTRY: CK_ULONG = size_of::<CK_ATTRIBUTE>() as CK_ULONG;

fn create(session: CK_SESSION_HANDLE, template: &[CK_ATTRIBUTE]) -> Result<CK_OBJECT_HANDLE, CK_RV> {
    let mut object = 0;
    match c!(C_CreateObject, session, ptr(template), len(template), &raw mut object) {
        CKR_OK => Ok(object),
        rv => Err(rv),
    }
}

#[test]
fn the_whole_batch_is_answered() {
    let _running = start();
    let session = open(0);
    let object = handle(session, PUBLIC_KEY);
    let (mut label, mut class, mut short) = ([0xee; 10], [0; 8], [0xee; 3]);
    let get = |template: &mut [CK_ATTRIBUTE]| {
        let rv = c!(C_GetAttributeValue, session, object, template.as_mut_ptr(), template.len() as CK_ULONG);
        (rv, template.iter().map(|entry| entry.ulValueLen).collect::<Vec<_>>())
    };
    const NONE: CK_ULONG = CK_UNAVAILABLE_INFORMATION;
    let good = [attribute(CKA_LABEL, &mut label), attribute(CKA_CLASS, &mut class), asking(CKA_LABEL)];
    assert_eq!(get(&mut good.to_vec()), (CKR_OK, vec![7, 8, 7]));
    assert_eq!(&label, b"a label\xee\xee\xee");
    assert_eq!(CK_ULONG::from_ne_bytes(class), CKO_SECRET_KEY);
    label.fill(0xee);

    let (vendor, secret) = (asking(0xcf53_4301), asking(CKA_VALUE));
    let small = attribute(CKA_LABEL, &mut short);
    let good = attribute(CKA_LABEL, &mut label);
    assert_eq!(get(&mut [small, good]), (CKR_BUFFER_TOO_SMALL, vec![NONE, 7]));
    assert_eq!(&label[..7], b"a label", "an entry after a bad one");
    assert_eq!(short, [0xee; 3]);
    assert_eq!(get(&mut [small, vendor, good]), (CKR_ATTRIBUTE_TYPE_INVALID, vec![NONE, NONE, 7]));
    assert_eq!(get(&mut [secret, small, vendor]), (CKR_ATTRIBUTE_SENSITIVE, vec![NONE; 3]));
    assert_eq!(get(&mut []), (CKR_OK, vec![]));
    assert_eq!(c!(C_GetAttributeValue, session, object, null_mut(), 1), CKR_ARGUMENTS_BAD);
    assert_eq!(c!(C_GetAttributeValue, session, object, ptr(&[vendor]), CK_ULONG::MAX), CKR_ARGUMENTS_BAD);
    assert_eq!(c!(C_GetAttributeValue, session, 999, null_mut(), 0), CKR_OBJECT_HANDLE_INVALID);
}

#[test]
fn a_template_within_is_answered_in_its_three_rounds() {
    let _running = start();
    let session = open(0);
    let object = handle(session, PUBLIC_KEY);
    let mut outer = asking(CKA_WRAP_TEMPLATE);
    ok!(C_GetAttributeValue, session, object, &raw mut outer, 1);
    assert_eq!(outer.ulValueLen, ENTRY);

    let mut inner = [asking(0)];
    outer.pValue = inner.as_mut_ptr().cast();
    ok!(C_GetAttributeValue, session, object, &raw mut outer, 1);
    assert_eq!((inner[0].type_, inner[0].ulValueLen), (CKA_ID, 6));

    let mut value = [0; 6];
    inner[0] = attribute(0, &mut value);
    ok!(C_GetAttributeValue, session, object, &raw mut outer, 1);
    assert_eq!(&value, b"nested");

    inner[0].ulValueLen = 5;
    assert_eq!(c!(C_GetAttributeValue, session, object, &raw mut outer, 1), CKR_BUFFER_TOO_SMALL);
    assert_eq!(inner[0].ulValueLen, CK_UNAVAILABLE_INFORMATION);
    outer.ulValueLen = ENTRY - 1;
    assert_eq!(c!(C_GetAttributeValue, session, object, &raw mut outer, 1), CKR_BUFFER_TOO_SMALL);
    assert_eq!(outer.ulValueLen, CK_UNAVAILABLE_INFORMATION);
}

#[test]
fn templates_arrive_as_they_were_given() {
    let running = start();
    let session = open(CKF_RW_SESSION);
    let (mut id, mut label) = (*b"id", *b"label");
    let mut nested = [attribute(CKA_ID, &mut id)];
    let template = [
        attribute(CKA_LABEL, &mut label),
        CK_ATTRIBUTE { type_: CKA_DERIVE_TEMPLATE, pValue: nested.as_mut_ptr().cast(), ulValueLen: ENTRY },
        asking(CKA_ID),
    ];
    let object = create(session, &template).unwrap();
    let objects = running.double.objects.lock().unwrap();
    let expected = [
        Attribute::bytes(CKA_LABEL, b"label"),
        Attribute { ty: CKA_DERIVE_TEMPLATE, value: Value::Template(vec![Attribute::bytes(CKA_ID, b"id")]) },
        Attribute::bytes(CKA_ID, b""),
    ];
    assert_eq!(objects[&(object & 0xf_ffff_ffff_ffff)], expected);
}

#[test]
fn broken_templates_are_refused() {
    let running = start();
    let session = open(CKF_RW_SESSION);
    let before = running.double.objects.lock().unwrap().len();
    let mut byte = [0];
    let null = CK_ATTRIBUTE { ulValueLen: 3, ..asking(CKA_ID) };
    assert_eq!(create(session, &[null]), Err(CKR_ARGUMENTS_BAD));
    let absurd = CK_ATTRIBUTE { ulValueLen: CK_ULONG::MAX, ..attribute(CKA_ID, &mut byte) };
    assert_eq!(create(session, &[absurd]), Err(CKR_ARGUMENTS_BAD));
    let broken = CK_ATTRIBUTE { type_: CKA_WRAP_TEMPLATE, ..attribute(CKA_ID, &mut byte) };
    assert_eq!(create(session, &[broken]), Err(CKR_ATTRIBUTE_VALUE_INVALID));
    // A template that contains itself has no end.
    let mut circle = [asking(CKA_WRAP_TEMPLATE); 2];
    let at = circle.as_mut_ptr().cast();
    circle.iter_mut().for_each(|entry| (entry.pValue, entry.ulValueLen) = (at, 2 * ENTRY));
    assert_eq!(create(session, &circle), Err(CKR_ATTRIBUTE_VALUE_INVALID));
    assert_eq!(c!(C_CreateObject, session, null_mut(), 0, null_mut()), CKR_ARGUMENTS_BAD);
    assert_eq!(running.double.objects.lock().unwrap().len(), before, "nothing was made");
}

#[test]
fn a_bad_handle_has_the_code_that_the_function_lists() {
    let _running = start();
    let session = open(CKF_RW_SESSION);
    let good = handle(session, PUBLIC_KEY);
    let cbc = mechanism(CKM_AES_CBC);
    let hmac = mechanism(CKM_SHA256_HMAC);
    let mut out = 0;
    let mut n = 99;
    for bad in [0, 999, CK_ULONG::MAX, good | 1 << 60] {
        assert_eq!(c!(C_DestroyObject, session, bad), CKR_OBJECT_HANDLE_INVALID);
        assert_eq!(c!(C_GetObjectSize, session, bad, &raw mut n), CKR_OBJECT_HANDLE_INVALID);
        assert_eq!(c!(C_CopyObject, session, bad, null_mut(), 0, &raw mut out), CKR_OBJECT_HANDLE_INVALID);
        assert_eq!(c!(C_SetAttributeValue, session, bad, null_mut(), 0), CKR_OBJECT_HANDLE_INVALID);
        assert_eq!(c!(C_EncryptInit, session, ptr(&[cbc]), bad), CKR_KEY_HANDLE_INVALID);
        assert_eq!(c!(C_SignInit, session, ptr(&[hmac]), bad), CKR_KEY_HANDLE_INVALID);
        assert_eq!(c!(C_VerifyInit, session, ptr(&[hmac]), bad), CKR_KEY_HANDLE_INVALID);
        let wrap = |wrapping, key, n| c!(C_WrapKey, session, ptr(&[cbc]), wrapping, key, null_mut(), n);
        assert_eq!(wrap(bad, good, &raw mut n), CKR_WRAPPING_KEY_HANDLE_INVALID);
        assert_eq!(wrap(good, bad, &raw mut n), CKR_KEY_HANDLE_INVALID);
        let unwrap = c!(C_UnwrapKey, session, ptr(&[cbc]), bad, ptr(b"x"), 1, null_mut(), 0, &raw mut out);
        assert_eq!(unwrap, CKR_UNWRAPPING_KEY_HANDLE_INVALID);
        let derive = c!(C_DeriveKey, session, ptr(&[hmac]), bad, null_mut(), 0, &raw mut out);
        assert_eq!(derive, CKR_KEY_HANDLE_INVALID);
    }
    assert_eq!(out, 0);
}

#[test]
fn keys_are_made_wrapped_and_destroyed_through_their_handles() {
    let running = start();
    let session = open(CKF_RW_SESSION);
    let cbc = mechanism(CKM_AES_CBC);
    let hmac = mechanism(CKM_SHA256_HMAC);
    let (mut one, mut two, mut three) = (0, 0, 0);
    ok!(C_GenerateKey, session, ptr(&[hmac]), null_mut(), 0, &raw mut one);
    ok!(C_GenerateKeyPair, session, ptr(&[hmac]), null_mut(), 0, null_mut(), 0, &raw mut two, &raw mut three);
    assert!(one != two && two != three && one != 0);
    let half = c!(C_GenerateKeyPair, session, ptr(&[hmac]), null_mut(), 0, null_mut(), 0, &raw mut two, null_mut());
    assert_eq!(half, CKR_ARGUMENTS_BAD);
    let wrapped = output(|out, len| c!(C_WrapKey, session, ptr(&[cbc]), one, two, out, len)).unwrap();
    assert_eq!(wrapped, b"wrapped");
    let mut small = 3;
    let rv = c!(C_WrapKey, session, ptr(&[cbc]), one, two, ptr(&[0u8; 3]), &raw mut small);
    assert_eq!((rv, small), (CKR_BUFFER_TOO_SMALL, 7));
    let (mut unwrapped, mut derived) = (0, 0);
    ok!(C_UnwrapKey, session, ptr(&[cbc]), one, ptr(&wrapped), 7, null_mut(), 0, &raw mut unwrapped);
    ok!(C_DeriveKey, session, ptr(&[hmac]), one, null_mut(), 0, &raw mut derived);
    let made = [one, two, three, unwrapped, derived];
    for object in made {
        ok!(C_DestroyObject, session, object);
        assert_eq!(c!(C_DestroyObject, session, object), CKR_OBJECT_HANDLE_INVALID);
    }
    assert_eq!(running.double.objects.lock().unwrap().len(), 3);
}

#[test]
fn mechanisms_are_checked_before_anything_begins() {
    let _running = start();
    let session = open(0);
    let key = handle(session, PUBLIC_KEY);
    let cbc = mechanism(CKM_AES_CBC);
    let begin = |mechanism: CK_MECHANISM| c!(C_EncryptInit, session, ptr(&[mechanism]), key);
    assert_eq!(begin(mechanism(0x7fff_0000)), CKR_MECHANISM_INVALID);
    assert_eq!(begin(CK_MECHANISM { ulParameterLen: 15, ..cbc }), CKR_MECHANISM_PARAM_INVALID);
    assert_eq!(begin(CK_MECHANISM { pParameter: null_mut(), ..cbc }), CKR_MECHANISM_PARAM_INVALID);
    assert_eq!(begin(CK_MECHANISM { ulParameterLen: CK_ULONG::MAX, ..cbc }), CKR_MECHANISM_PARAM_INVALID);
    assert_eq!(begin(cbc), CKR_OK);
    let mut out = 0;
    assert_eq!(c!(C_GenerateKey, session, null_mut(), null_mut(), 0, &raw mut out), CKR_ARGUMENTS_BAD);
}

#[test]
fn encapsulation_makes_a_key_only_with_its_ciphertext() {
    let running = start();
    let session = open(CKF_RW_SESSION);
    let key = handle(session, PUBLIC_KEY);
    let by = mechanism(CKM_AES_CBC);
    let (mut out, mut new) = ([0xee; 8], 0);
    let encapsulate = |key, out: *mut u8, room, new: *mut CK_OBJECT_HANDLE| {
        let mut out_len = room;
        let rv = c!(C_EncapsulateKey, session, ptr(&[by]), key, null_mut(), 0, out, &raw mut out_len, new);
        (rv, out_len)
    };
    assert_eq!(encapsulate(key, null_mut(), 0, null_mut()), (CKR_OK, 6));
    assert_eq!(encapsulate(key, out.as_mut_ptr(), 5, &raw mut new), (CKR_BUFFER_TOO_SMALL, 6));
    assert_eq!(encapsulate(key, out.as_mut_ptr(), 8, null_mut()).0, CKR_ARGUMENTS_BAD);
    assert_eq!(encapsulate(999, out.as_mut_ptr(), 8, &raw mut new).0, CKR_KEY_HANDLE_INVALID);
    assert_eq!((new, running.double.objects.lock().unwrap().len()), (0, 3), "no key yet");
    assert_eq!(encapsulate(key, out.as_mut_ptr(), 8, &raw mut new), (CKR_OK, 6));
    assert_eq!((&out, running.double.objects.lock().unwrap().len()), (b"cipher\xee\xee", 4));
    let mut again = 0;
    let mut decapsulate =
        |key| c!(C_DecapsulateKey, session, ptr(&[by]), key, null_mut(), 0, out.as_mut_ptr(), 6, &raw mut again);
    assert_eq!(decapsulate(999), CKR_UNWRAPPING_KEY_HANDLE_INVALID);
    assert_eq!(decapsulate(key), CKR_OK);
    assert!(again != 0 && again != new);
}
