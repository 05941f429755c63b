//! Keys wrapped with a tag of their own, with IVs that the token makes, and what comes back of padded ones.

use std::collections::HashSet;
use std::ptr::null_mut;

use cryptoki_sys::*;

use crate::harness::*;
use crate::{c, ok};

fn gcm(iv: &mut [u8], tag: &mut [u8], generator: CK_GENERATOR_FUNCTION, fixed_bits: CK_ULONG) -> CK_GCM_MESSAGE_PARAMS {
    CK_GCM_MESSAGE_PARAMS {
        pIv: iv.as_mut_ptr(),
        ulIvLen: len(iv),
        ulIvFixedBits: fixed_bits,
        ivGenerator: generator,
        pTag: tag.as_mut_ptr(),
        ulTagBits: len(tag) * 8,
    }
}

fn unwrap_aead(
    session: CK_SESSION_HANDLE,
    params: &CK_GCM_MESSAGE_PARAMS,
    key: CK_OBJECT_HANDLE,
    wrapped: &[u8],
    aad: &[u8],
    mut template: Template,
) -> Result<CK_OBJECT_HANDLE, CK_RV> {
    let (mechanism, raw, mut handle) = ([with(CKM_AES_GCM, params)], template.raw(), 0);
    let (p, count) = (raw.as_mut_ptr(), len(raw));
    let (w, a) = (ptr(wrapped), ptr(aad));
    let rv = c!(
        C_UnwrapKeyAuthenticated,
        session,
        ptr(&mechanism),
        key,
        w,
        len(wrapped),
        p,
        count,
        a,
        len(aad),
        &raw mut handle
    );
    if rv == CKR_OK { Ok(handle) } else { Err(rv) }
}

#[test]
fn a_key_comes_back_from_under_its_tag_and_a_changed_one_does_not() {
    let running = start();
    let session = running.session;
    let (wrapper, target) = (aes_key(session, &[1; 32]), aes_key(session, &[2; 24]));
    let mut ivs = HashSet::new();
    for generator in [CKG_GENERATE, CKG_GENERATE_RANDOM, CKG_NO_GENERATE, CKG_GENERATE] {
        let (mut iv, mut tag) = ([9; 12], [0; 16]);
        let params = gcm(&mut iv, &mut tag, generator, 0);
        let by = [with(CKM_AES_GCM, &params)];
        let wrapped = output(|out, out_len| {
            c!(C_WrapKeyAuthenticated, session, ptr(&by), wrapper, target, ptr(b"aad"), 3, out, out_len)
        })
        .unwrap();
        assert_eq!(wrapped.len(), 24, "the tag has its own place");
        assert!(ivs.insert(iv), "a fresh IV");
        let sealed = CK_GCM_PARAMS {
            pIv: iv.as_mut_ptr(),
            ulIvLen: 12,
            ulIvBits: 96,
            pAAD: ptr(b"aad"),
            ulAADLen: 3,
            ulTagBits: 128,
        };
        let whole = [&wrapped[..], &tag].concat();
        ok!(C_DecryptInit, session, ptr(&[with(CKM_AES_GCM, &sealed)]), wrapper);
        let plain = output(|out, out_len| c!(C_Decrypt, session, ptr(&whole), len(&whole), out, out_len));
        assert_eq!(plain, Ok(vec![2; 24]), "IV and tag that came back are those used");

        let unwrap = |params: &CK_GCM_MESSAGE_PARAMS, wrapped: &[u8], aad: &[u8]| {
            unwrap_aead(session, params, wrapper, wrapped, aad, secret(CKK_AES))
        };
        let params = gcm(&mut iv, &mut tag, CKG_GENERATE_COUNTER, 12);
        let back = unwrap(&params, &wrapped, b"aad").unwrap();
        assert_eq!(value(session, back, CKA_VALUE), Ok(vec![2; 24]));
        assert_eq!(unwrap(&params, &wrapped, b"AAD"), Err(CKR_WRAPPED_KEY_INVALID));
        let mut forged = tag;
        forged[3] ^= 1;
        assert_eq!(unwrap(&gcm(&mut iv, &mut forged, 0, 0), &wrapped, b"aad"), Err(CKR_WRAPPED_KEY_INVALID));
    }
}

#[test]
fn what_is_wrong_with_authenticated_wrapping_is_named() {
    let running = start();
    let session = running.session;
    let (wrapper, target) = (aes_key(session, &[1; 32]), aes_key(session, &[2; 24]));
    let (mut iv, mut tag) = ([9; 12], [0; 16]);
    let wrap = |params: &CK_GCM_MESSAGE_PARAMS, wrapper, target| {
        let (by, mut out, mut out_len) = ([with(CKM_AES_GCM, params)], [0; 64], 64);
        let out = out.as_mut_ptr();
        c!(C_WrapKeyAuthenticated, session, ptr(&by), wrapper, target, null_mut(), 0, out, &raw mut out_len)
    };
    let good = gcm(&mut iv, &mut tag, CKG_GENERATE, 0);
    assert_eq!(wrap(&good, wrapper, target), CKR_OK);
    for generator in [CKG_GENERATE_COUNTER, CKG_GENERATE_COUNTER_XOR] {
        let counted = CK_GCM_MESSAGE_PARAMS { ivGenerator: generator, ..good };
        assert_eq!(wrap(&counted, wrapper, target), CKR_MECHANISM_PARAM_INVALID, "would repeat the IV");
    }
    let tagless = CK_GCM_MESSAGE_PARAMS { pTag: null_mut(), ..good };
    assert_eq!(wrap(&tagless, wrapper, target), CKR_MECHANISM_PARAM_INVALID);
    assert_eq!(wrap(&good, 0, target), CKR_WRAPPING_KEY_HANDLE_INVALID);
    assert_eq!(wrap(&good, wrapper, 0), CKR_KEY_HANDLE_INVALID);
    let kept = Template::new().number(CKA_CLASS, CKO_SECRET_KEY).number(CKA_KEY_TYPE, CKK_AES).no(CKA_WRAP);
    let kept = create(session, kept.bytes(CKA_VALUE, &[1; 16]));
    assert_eq!(wrap(&good, wrapper, kept), CKR_KEY_UNEXTRACTABLE);
    assert_eq!(wrap(&good, kept, target), CKR_KEY_FUNCTION_NOT_PERMITTED);
    let unknown = unwrap_aead(session, &good, 0, &[0; 24], b"", secret(CKK_AES));
    assert_eq!(unknown, Err(CKR_UNWRAPPING_KEY_HANDLE_INVALID));
    let mut readonly = Template::new().number(CKA_CLASS, CKO_SECRET_KEY).number(CKA_KEY_TYPE, CKK_AES);
    readonly = readonly.yes(CKA_LOCAL);
    let refused = unwrap_aead(session, &good, wrapper, &[0; 24], b"", readonly);
    assert_eq!(refused, Err(CKR_ATTRIBUTE_READ_ONLY));
}

#[test]
fn a_wrapped_keys_iv_may_be_the_tokens() {
    let running = start();
    let session = running.session;
    let (wrapper, target) = (aes_key(session, &[1; 32]), aes_key(session, &[2; 24]));
    let mut iv = [9; 12];
    let params = CK_GCM_WRAP_PARAMS {
        pIv: iv.as_mut_ptr(),
        ulIvLen: 12,
        ulIvFixedBits: 16,
        ivGenerator: CKG_GENERATE,
        pAAD: ptr(b"aad"),
        ulAADLen: 3,
        ulTagBits: 96,
    };
    let by = [with(CKM_AES_GCM, &params)];
    let wrapped = output(|out, out_len| c!(C_WrapKey, session, ptr(&by), wrapper, target, out, out_len)).unwrap();
    assert_eq!(wrapped.len(), 24 + 12, "the tag stands behind");
    assert_eq!(iv[..2], [9, 9]);
    assert_ne!(iv[2..], [9; 10]);
    let classic =
        CK_GCM_PARAMS { pIv: iv.as_mut_ptr(), ulIvLen: 12, ulIvBits: 0, pAAD: ptr(b"aad"), ulAADLen: 3, ulTagBits: 96 };
    for by in [with(CKM_AES_GCM, &params), with(CKM_AES_GCM, &classic)] {
        let back = unwrap(session, by, wrapper, &wrapped, secret(CKK_AES)).unwrap();
        assert_eq!(value(session, back, CKA_VALUE), Ok(vec![2; 24]));
        let short = unwrap(session, by, wrapper, &wrapped[..11], secret(CKK_AES));
        assert_eq!(short, Err(CKR_WRAPPED_KEY_LEN_RANGE));
    }
}

fn unwrap(
    session: CK_SESSION_HANDLE,
    by: CK_MECHANISM,
    key: CK_OBJECT_HANDLE,
    wrapped: &[u8],
    mut template: Template,
) -> Result<CK_OBJECT_HANDLE, CK_RV> {
    let (raw, mut handle) = (template.raw(), 0);
    let (p, count) = (raw.as_mut_ptr(), len(raw));
    let (by, w) = ([by], ptr(wrapped));
    match c!(C_UnwrapKey, session, ptr(&by), key, w, len(wrapped), p, count, &raw mut handle) {
        CKR_OK => Ok(handle),
        rv => Err(rv),
    }
}

#[test]
fn raw_rsa_gives_the_key_from_the_end_of_its_block() {
    let running = start();
    let session = running.session;
    let public = Template::new().number(CKA_MODULUS_BITS, 2048).yes(CKA_WRAP);
    let private = Template::new().yes(CKA_UNWRAP);
    let (public, private) = pair(session, CKM_RSA_PKCS_KEY_PAIR_GEN, public, private);
    let target = aes_key(session, &[0xaa; 32]);
    let by = [mechanism(CKM_RSA_X_509)];
    let wrapped = output(|out, out_len| c!(C_WrapKey, session, ptr(&by), public, target, out, out_len)).unwrap();
    let template = secret(CKK_AES).number(CKA_VALUE_LEN, 32);
    let back = unwrap(session, by[0], private, &wrapped, template).unwrap();
    assert_eq!(value(session, back, CKA_VALUE), Ok(vec![0xaa; 32]));
}

#[test]
fn zeros_that_fill_the_last_block_are_taken_off() {
    let running = start();
    let session = running.session;
    let wrapper = aes_key(session, &[1; 32]);
    let cbc = [0u8; 16];
    let mechanisms = [mechanism(CKM_AES_KEY_WRAP), with(CKM_AES_CBC, &cbc), mechanism(CKM_AES_ECB)];
    let ec = Template::new().bytes(CKA_EC_PARAMS, P256);
    let extractable = Template::new().yes(CKA_EXTRACTABLE).no(CKA_SENSITIVE).yes(CKA_SIGN);
    let (_, private) = pair(session, CKM_EC_KEY_PAIR_GEN, ec, extractable);
    let generic = create(session, secret(CKK_GENERIC_SECRET).bytes(CKA_VALUE, &[5; 21]));
    for by in mechanisms {
        let wrap =
            |target| output(|out, out_len| c!(C_WrapKey, session, ptr(&[by]), wrapper, target, out, out_len)).unwrap();
        let wrapped = wrap(private);
        let template = Template::new().number(CKA_CLASS, CKO_PRIVATE_KEY).number(CKA_KEY_TYPE, CKK_EC);
        let template = template.yes(CKA_EXTRACTABLE).no(CKA_SENSITIVE);
        let back = unwrap(session, by, wrapper, &wrapped, template).unwrap();
        assert_eq!(value(session, back, CKA_VALUE), value(session, private, CKA_VALUE));

        let wrapped = wrap(generic);
        let with_len = |len| secret(CKK_GENERIC_SECRET).number(CKA_VALUE_LEN, len);
        let back = unwrap(session, by, wrapper, &wrapped, with_len(21)).unwrap();
        assert_eq!(value(session, back, CKA_VALUE), Ok(vec![5; 21]));
        assert_eq!(unwrap(session, by, wrapper, &wrapped, with_len(33)), Err(CKR_WRAPPED_KEY_LEN_RANGE));
        if by.mechanism == CKM_AES_KEY_WRAP {
            assert_eq!(unwrap(session, by, wrapper, &wrapped, with_len(16)), Err(CKR_WRAPPED_KEY_LEN_RANGE));
        }
    }
}

/// A PKCS #8 of a curve that nobody has.
const UNKNOWN_CURVE: &[u8] = &[
    0x30, 0x22, 2, 1, 0, 0x30, 0x12, 6, 7, 0x2a, 0x86, 0x48, 0xce, 0x3d, 2, 1, 6, 7, 0x2a, 0x86, 0x48, 0xce, 0x3d, 3,
    0x7f, 4, 9, 0x30, 7, 2, 1, 1, 4, 2, 1, 1,
];

#[test]
fn an_unknown_curve_is_named_as_one() {
    let running = start();
    let session = running.session;
    let wrapper = aes_key(session, &[1; 32]);
    let by = mechanism(CKM_AES_KEY_WRAP_KWP);
    ok!(C_EncryptInit, session, ptr(&[by]), wrapper);
    let der = UNKNOWN_CURVE;
    let wrapped = output(|out, out_len| c!(C_Encrypt, session, ptr(der), len(der), out, out_len)).unwrap();
    let template = || Template::new().number(CKA_CLASS, CKO_PRIVATE_KEY).number(CKA_KEY_TYPE, CKK_EC);
    assert_eq!(unwrap(session, by, wrapper, &wrapped, template()), Err(CKR_CURVE_NOT_SUPPORTED));
    ok!(C_EncryptInit, session, ptr(&[by]), wrapper);
    let der = &UNKNOWN_CURVE[..20];
    let wrapped = output(|out, out_len| c!(C_Encrypt, session, ptr(der), len(der), out, out_len)).unwrap();
    assert_eq!(unwrap(session, by, wrapper, &wrapped, template()), Err(CKR_WRAPPED_KEY_INVALID));
}

#[test]
fn ccm_wraps_both_ways() {
    let running = start();
    let session = running.session;
    let (wrapper, target) = (aes_key(session, &[1; 32]), aes_key(session, &[2; 24]));
    let (mut nonce, mut mac) = ([0; 12], [0; 16]);
    let params = CK_CCM_MESSAGE_PARAMS {
        ulDataLen: 0,
        pNonce: nonce.as_mut_ptr(),
        ulNonceLen: 12,
        ulNonceFixedBits: 0,
        nonceGenerator: CKG_GENERATE,
        pMAC: mac.as_mut_ptr(),
        ulMACLen: 16,
    };
    let by = [with(CKM_AES_CCM, &params)];
    let wrapped = output(|out, out_len| {
        c!(C_WrapKeyAuthenticated, session, ptr(&by), wrapper, target, ptr(b"aad"), 3, out, out_len)
    })
    .unwrap();
    assert_eq!(wrapped.len(), 24);
    let (mut template, mut back) = (secret(CKK_AES), 0);
    let raw = template.raw();
    let (p, count, w, a) = (raw.as_mut_ptr(), len(raw), ptr(&wrapped), ptr(b"aad"));
    ok!(C_UnwrapKeyAuthenticated, session, ptr(&by), wrapper, w, 24, p, count, a, 3, &raw mut back);
    assert_eq!(value(session, back, CKA_VALUE), Ok(vec![2; 24]));

    nonce = [0; 12];
    let params = CK_CCM_WRAP_PARAMS {
        ulDataLen: 0,
        pNonce: nonce.as_mut_ptr(),
        ulNonceLen: 12,
        ulNonceFixedBits: 0,
        nonceGenerator: CKG_GENERATE,
        pAAD: ptr(b"aad"),
        ulAADLen: 3,
        ulMACLen: 16,
    };
    let by = with(CKM_AES_CCM, &params);
    let wrapped = output(|out, out_len| c!(C_WrapKey, session, ptr(&[by]), wrapper, target, out, out_len)).unwrap();
    assert_eq!(wrapped.len(), 40);
    assert_ne!(nonce, [0; 12]);
    let back = unwrap(session, by, wrapper, &wrapped, secret(CKK_AES)).unwrap();
    assert_eq!(value(session, back, CKA_VALUE), Ok(vec![2; 24]));
}
