//! Messages encrypted and decrypted under one init.

use std::collections::HashSet;
use std::ptr::null_mut;

use cryptoki_sys::*;

use crate::harness::*;
use crate::{c, ok};

const KEY: &[u8; 16] = &[7; 16];

/// `CK_GCM_MESSAGE_PARAMS` with its buffers.
struct Params {
    iv: Vec<u8>,
    tag: [u8; 16],
    fixed_bits: CK_ULONG,
    generator: CK_GENERATOR_FUNCTION,
}

impl Params {
    fn new(iv: &[u8], generator: CK_GENERATOR_FUNCTION, fixed_bits: CK_ULONG) -> Params {
        Params { iv: iv.to_vec(), tag: [0; 16], fixed_bits, generator }
    }

    fn given(iv: &[u8], tag: [u8; 16]) -> Params {
        Params { tag, ..Params::new(iv, CKG_NO_GENERATE, 0) }
    }

    fn raw(&mut self) -> CK_GCM_MESSAGE_PARAMS {
        CK_GCM_MESSAGE_PARAMS {
            pIv: self.iv.as_mut_ptr(),
            ulIvLen: len(&self.iv),
            ulIvFixedBits: self.fixed_bits,
            ivGenerator: self.generator,
            pTag: self.tag.as_mut_ptr(),
            ulTagBits: 128,
        }
    }
}

const SIZE: CK_ULONG = size_of::<CK_GCM_MESSAGE_PARAMS>() as CK_ULONG;

fn begin(session: CK_SESSION_HANDLE, key: CK_OBJECT_HANDLE) {
    ok!(C_MessageEncryptInit, session, ptr(&[mechanism(CKM_AES_GCM)]), key);
}

fn begin_decrypt(session: CK_SESSION_HANDLE, key: CK_OBJECT_HANDLE) {
    ok!(C_MessageDecryptInit, session, ptr(&[mechanism(CKM_AES_GCM)]), key);
}

fn encrypt(session: CK_SESSION_HANDLE, params: &mut Params, aad: &[u8], data: &[u8]) -> Result<Vec<u8>, CK_RV> {
    let raw = [params.raw()];
    output(|out, out_len| {
        let (p, data_len) = (ptr(&raw).cast(), len(data));
        c!(C_EncryptMessage, session, p, SIZE, ptr(aad), len(aad), ptr(data), data_len, out, out_len)
    })
}

fn decrypt(session: CK_SESSION_HANDLE, params: &mut Params, aad: &[u8], data: &[u8]) -> Result<Vec<u8>, CK_RV> {
    let raw = [params.raw()];
    output(|out, out_len| {
        let (p, data_len) = (ptr(&raw).cast(), len(data));
        c!(C_DecryptMessage, session, p, SIZE, ptr(aad), len(aad), ptr(data), data_len, out, out_len)
    })
}

/// Through the ordinary functions: ciphertext and tag.
fn in_one(session: CK_SESSION_HANDLE, key: CK_OBJECT_HANDLE, iv: &[u8], aad: &[u8], data: &[u8]) -> Vec<u8> {
    let params = CK_GCM_PARAMS {
        pIv: ptr(iv),
        ulIvLen: len(iv),
        ulIvBits: 0,
        pAAD: ptr(aad),
        ulAADLen: len(aad),
        ulTagBits: 128,
    };
    ok!(C_EncryptInit, session, ptr(&[with(CKM_AES_GCM, &params)]), key);
    output(|out, out_len| c!(C_Encrypt, session, ptr(data), len(data), out, out_len)).unwrap()
}

#[test]
fn messages_are_those_of_the_ordinary_functions() {
    let running = start();
    let (session, key) = (running.session, aes_key(running.session, KEY));
    begin(session, key);
    let mut sealed = Vec::new();
    for at in 0..3u8 {
        let mut params = Params::given(&[at; 12], [0; 16]);
        let out = encrypt(session, &mut params, b"aad", &[at; 50]).unwrap();
        assert_eq!([&out[..], &params.tag].concat(), in_one(session, key, &[at; 12], b"aad", &[at; 50]));
        sealed.push((out, params.tag));
    }
    ok!(C_MessageEncryptFinal, session);
    begin_decrypt(session, key);
    for (at, (data, tag)) in (0..3u8).zip(&sealed) {
        assert_eq!(decrypt(session, &mut Params::given(&[at; 12], *tag), b"aad", data), Ok(vec![at; 50]));
        let wrong = [(b"aad", [9; 16]), (b"AAD", *tag)];
        for (aad, tag) in wrong {
            let mut out = [0xee; 50];
            let (raw, mut out_len) = ([Params::given(&[at; 12], tag).raw()], 50);
            let (p, data_len) = (ptr(&raw).cast(), len(data));
            let rv = c!(
                C_DecryptMessage,
                session,
                p,
                SIZE,
                ptr(aad),
                3,
                ptr(data),
                data_len,
                out.as_mut_ptr(),
                &raw mut out_len
            );
            assert_eq!(rv, CKR_AEAD_DECRYPT_FAILED);
            assert!(out.iter().all(|byte| *byte == 0 || *byte == 0xee), "nothing decrypted is left");
        }
        assert_eq!(decrypt(session, &mut Params::given(&[at; 12], *tag), b"aad", data), Ok(vec![at; 50]), "goes on");
    }
    ok!(C_MessageDecryptFinal, session);
    assert_eq!(c!(C_MessageDecryptFinal, session), CKR_OPERATION_NOT_INITIALIZED);
}

/// One part of a message.
fn next(
    session: CK_SESSION_HANDLE,
    encrypts: bool,
    params: &mut Params,
    data: &[u8],
    flags: CK_FLAGS,
) -> Result<Vec<u8>, CK_RV> {
    let raw = [params.raw()];
    output(|out, out_len| {
        let (p, data_len) = (ptr(&raw).cast(), len(data));
        if encrypts {
            c!(C_EncryptMessageNext, session, p, SIZE, ptr(data), data_len, out, out_len, flags)
        } else {
            c!(C_DecryptMessageNext, session, p, SIZE, ptr(data), data_len, out, out_len, flags)
        }
    })
}

fn in_parts(
    session: CK_SESSION_HANDLE,
    encrypts: bool,
    params: &mut Params,
    parts: &[&[u8]],
) -> Result<Vec<u8>, CK_RV> {
    let (raw, aad) = ([params.raw()], b"aad");
    let p = ptr(&raw).cast();
    if encrypts {
        ok!(C_EncryptMessageBegin, session, p, SIZE, ptr(aad), 3);
    } else {
        ok!(C_DecryptMessageBegin, session, p, SIZE, ptr(aad), 3);
    }
    let mut all = Vec::new();
    for (at, part) in parts.iter().enumerate() {
        let flags = if at + 1 == parts.len() { CKF_END_OF_MESSAGE } else { 0 };
        all.extend(next(session, encrypts, params, part, flags)?);
    }
    Ok(all)
}

#[test]
fn a_message_in_parts_is_the_same_message() {
    let running = start();
    let (session, key) = (running.session, aes_key(running.session, KEY));
    let data = [5; 100];
    begin(session, key);
    let mut params = Params::given(&[1; 12], [0; 16]);
    let parts: &[&[u8]] = &[&data[..33], &[], &data[33..90], &data[90..]];
    let sealed = in_parts(session, true, &mut params, parts).unwrap();
    assert_eq!([&sealed[..], &params.tag].concat(), in_one(session, key, &[1; 12], b"aad", &data));
    let mut params = Params::given(&[2; 12], [0; 16]);
    let empty = in_parts(session, true, &mut params, &[&[]]).unwrap();
    assert_eq!([&empty[..], &params.tag].concat(), in_one(session, key, &[2; 12], b"aad", &[]));
    ok!(C_MessageEncryptFinal, session);

    begin_decrypt(session, key);
    let tag: [u8; 16] = in_one(session, key, &[1; 12], b"aad", &data)[100..].try_into().unwrap();
    for _ in 0..2 {
        let mut params = Params::given(&[1; 12], tag);
        let opened = in_parts(session, false, &mut params, &[&sealed[..1], &sealed[1..60], &sealed[60..]]);
        assert_eq!(opened, Ok(data.to_vec()));
        let mut forged = Params::given(&[1; 12], [0; 16]);
        assert_eq!(in_parts(session, false, &mut forged, &[&sealed, &[]]), Err(CKR_AEAD_DECRYPT_FAILED));
        let over = next(session, false, &mut forged, &[], CKF_END_OF_MESSAGE);
        assert_eq!(over, Err(CKR_OPERATION_NOT_INITIALIZED), "the message has ended");
    }
    ok!(C_MessageDecryptFinal, session);
}

#[test]
fn messages_have_their_order() {
    let running = start();
    let (session, key) = (running.session, aes_key(running.session, KEY));
    let mut params = Params::given(&[1; 12], [0; 16]);
    assert_eq!(encrypt(session, &mut params, b"", b"x"), Err(CKR_OPERATION_NOT_INITIALIZED));
    begin(session, key);
    let twice = c!(C_MessageEncryptInit, session, ptr(&[mechanism(CKM_AES_GCM)]), key);
    assert_eq!(twice, CKR_OPERATION_ACTIVE);
    assert_eq!(next(session, true, &mut params, b"x", 0), Err(CKR_OPERATION_NOT_INITIALIZED), "no message");
    let raw = [params.raw()];
    ok!(C_EncryptMessageBegin, session, ptr(&raw).cast(), SIZE, null_mut(), 0);
    let amid = c!(C_EncryptMessageBegin, session, ptr(&raw).cast(), SIZE, null_mut(), 0);
    assert_eq!(amid, CKR_OPERATION_ACTIVE);
    assert_eq!(encrypt(session, &mut params, b"", b"x"), Err(CKR_OPERATION_ACTIVE));
    assert_eq!(c!(C_MessageEncryptFinal, session), CKR_OPERATION_ACTIVE);
    assert_eq!(next(session, true, &mut params, b"x", 2), Err(CKR_ARGUMENTS_BAD), "an unknown flag");
    assert_eq!(next(session, true, &mut params, b"x", CKF_END_OF_MESSAGE).map(|out| out.len()), Ok(1));
    // Beside it an ordinary encryption.
    assert_eq!(in_one(session, key, &[4; 12], b"", b"abc").len(), 19);
    assert_eq!(encrypt(session, &mut params, b"", b"x").map(|out| out.len()), Ok(1));
    ok!(C_MessageEncryptInit, session, null_mut(), 0);
    assert_eq!(encrypt(session, &mut params, b"", b"x"), Err(CKR_OPERATION_NOT_INITIALIZED), "cancelled");
    begin(session, key);
    ok!(C_SessionCancel, session, CKF_MESSAGE_ENCRYPT);
    assert_eq!(encrypt(session, &mut params, b"", b"x"), Err(CKR_OPERATION_NOT_INITIALIZED), "cancelled");
    ok!(C_EncryptInit, session, ptr(&[mechanism(CKM_AES_ECB)]), key);
    let other = c!(C_MessageEncryptInit, session, ptr(&[mechanism(CKM_AES_ECB)]), key);
    assert_eq!(other, CKR_MECHANISM_INVALID, "no mechanism for messages");
}

#[test]
fn generated_ivs_come_back_and_none_twice() {
    let running = start();
    let (session, key) = (running.session, aes_key(running.session, KEY));
    for generator in [CKG_GENERATE, CKG_GENERATE_RANDOM, CKG_GENERATE_COUNTER, CKG_GENERATE_COUNTER_XOR] {
        let mut seen = HashSet::new();
        begin(session, key);
        for at in 0..300u16 {
            let mut params = Params::new(&[0xaa; 12], generator, 32);
            let sealed = encrypt(session, &mut params, b"aad", b"data").unwrap();
            assert_eq!(params.iv[..4], [0xaa; 4], "the fixed part");
            let count = at.to_be_bytes();
            match generator {
                CKG_GENERATE_COUNTER => assert_eq!(params.iv[4..], [0, 0, 0, 0, 0, 0, count[0], count[1]]),
                CKG_GENERATE_COUNTER_XOR => assert_eq!(params.iv[10..], [0xaa ^ count[0], 0xaa ^ count[1]]),
                _ => {}
            }
            let whole = in_one(session, key, &params.iv, b"aad", b"data");
            assert_eq!([&sealed[..], &params.tag].concat(), whole, "what came back is what was used");
            assert!(seen.insert(params.iv), "{generator} {at}");
        }
        ok!(C_MessageEncryptFinal, session);
    }
    begin(session, key);
    let mut params = Params::new(&[0; 12], CKG_GENERATE, 0);
    let sealed = in_parts(session, true, &mut params, &[b"da", b"ta"]).unwrap();
    assert_ne!(params.iv, [0; 12]);
    assert_eq!([&sealed[..], &params.tag].concat(), in_one(session, key, &params.iv, b"aad", b"data"));
}

#[test]
fn bad_parameters_are_named_and_end_their_message_only() {
    let running = start();
    let (session, key) = (running.session, aes_key(running.session, KEY));
    begin(session, key);
    let mut iv = [1; 12];
    let mut good = Params::given(&[1; 12], [0; 16]);
    let good = good.raw();
    let bad = [
        CK_GCM_MESSAGE_PARAMS { ulTagBits: 24, ..good },
        CK_GCM_MESSAGE_PARAMS { ulTagBits: 127, ..good },
        CK_GCM_MESSAGE_PARAMS { ulTagBits: 136, ..good },
        CK_GCM_MESSAGE_PARAMS { pTag: null_mut(), ..good },
        CK_GCM_MESSAGE_PARAMS { pIv: null_mut(), ..good },
        CK_GCM_MESSAGE_PARAMS { ulIvLen: 0, ..good },
        CK_GCM_MESSAGE_PARAMS { ivGenerator: 5, ..good },
        CK_GCM_MESSAGE_PARAMS { ivGenerator: CKG_GENERATE, ulIvFixedBits: 96, ..good },
        CK_GCM_MESSAGE_PARAMS { ivGenerator: CKG_GENERATE, ulIvFixedBits: CK_ULONG::MAX, ..good },
        CK_GCM_MESSAGE_PARAMS { pIv: iv.as_mut_ptr(), ulIvLen: CK_ULONG::MAX, ..good },
    ];
    let call = |raw: &CK_GCM_MESSAGE_PARAMS, size: CK_ULONG| {
        let (mut out, mut out_len) = ([0; 8], 8);
        let p = (&raw const *raw).cast_mut().cast();
        c!(C_EncryptMessage, session, p, size, null_mut(), 0, ptr(b"x"), 1, out.as_mut_ptr(), &raw mut out_len)
    };
    for raw in bad {
        assert_eq!(call(&raw, SIZE), CKR_MECHANISM_PARAM_INVALID, "{raw:?}");
    }
    assert_eq!(call(&good, SIZE - 1), CKR_MECHANISM_PARAM_INVALID);
    assert_eq!(call(&good, 0), CKR_MECHANISM_PARAM_INVALID);
    assert_eq!(call(&good, SIZE), CKR_OK);
}

#[test]
fn text_and_ciphertext_may_be_in_one_place_and_the_tag_behind_them() {
    let running = start();
    let (session, key) = (running.session, aes_key(running.session, KEY));
    begin(session, key);
    let (mut buffer, mut iv, mut out_len) = ([6; 66], [3; 12], 66);
    let raw = [CK_GCM_MESSAGE_PARAMS {
        pIv: iv.as_mut_ptr(),
        ulIvLen: 12,
        ulIvFixedBits: 0,
        ivGenerator: CKG_NO_GENERATE,
        pTag: buffer.as_mut_ptr().wrapping_add(50),
        ulTagBits: 128,
    }];
    let (p, data) = (ptr(&raw).cast(), buffer.as_mut_ptr());
    // The associated data lies in the buffer too.
    ok!(C_EncryptMessage, session, p, SIZE, data, 10, data, 50, data, &raw mut out_len);
    assert_eq!(out_len, 50);
    assert_eq!(buffer[..], in_one(session, key, &[3; 12], &[6; 10], &[6; 50]));
}

#[test]
fn a_key_must_allow_it() {
    let running = start();
    let session = running.session;
    let template = Template::new().number(CKA_CLASS, CKO_SECRET_KEY).number(CKA_KEY_TYPE, CKK_AES);
    let key = create(session, template.bytes(CKA_VALUE, KEY).no(CKA_ENCRYPT).yes(CKA_DECRYPT));
    let init = c!(C_MessageEncryptInit, session, ptr(&[mechanism(CKM_AES_GCM)]), key);
    assert_eq!(init, CKR_KEY_FUNCTION_NOT_PERMITTED);
    begin_decrypt(session, key);
    ok!(C_Logout, session);
    let after = decrypt(session, &mut Params::given(&[1; 12], [0; 16]), b"", b"x");
    assert_eq!(after, Err(CKR_OPERATION_NOT_INITIALIZED), "ends with the login that its key needs");
}

/// One message there and back under a mechanism's own structure; ciphertext and tag.
fn there_and_back<P>(ty: CK_MECHANISM_TYPE, key: CK_OBJECT_HANDLE, session: CK_SESSION_HANDLE, params: &P) -> Vec<u8> {
    let (p, size) = ((&raw const *params).cast_mut().cast(), size_of::<P>() as CK_ULONG);
    ok!(C_MessageEncryptInit, session, ptr(&[mechanism(ty)]), key);
    let sealed = output(|out, out_len| {
        c!(C_EncryptMessage, session, p, size, ptr(b"aad"), 3, ptr(b"a message"), 9, out, out_len)
    })
    .unwrap();
    ok!(C_MessageEncryptFinal, session);
    ok!(C_MessageDecryptInit, session, ptr(&[mechanism(ty)]), key);
    let open = |aad: &[u8]| {
        let (a, a_len, data, data_len) = (ptr(aad), len(aad), ptr(&sealed), len(&sealed));
        output(|out, out_len| c!(C_DecryptMessage, session, p, size, a, a_len, data, data_len, out, out_len))
    };
    assert_eq!(open(b"aad"), Ok(b"a message".to_vec()));
    assert_eq!(open(b"bad"), Err(CKR_AEAD_DECRYPT_FAILED));
    ok!(C_MessageDecryptFinal, session);
    sealed
}

#[test]
fn ccm_has_messages_too() {
    let running = start();
    let (session, key) = (running.session, aes_key(running.session, KEY));
    let (mut nonce, mut mac) = ([0; 12], [0; 8]);
    let params = CK_CCM_MESSAGE_PARAMS {
        ulDataLen: 9,
        pNonce: nonce.as_mut_ptr(),
        ulNonceLen: 12,
        ulNonceFixedBits: 0,
        nonceGenerator: CKG_GENERATE,
        pMAC: mac.as_mut_ptr(),
        ulMACLen: 8,
    };
    let sealed = there_and_back(CKM_AES_CCM, key, session, &params);
    assert_ne!(nonce, [0; 12]);
    let whole = CK_CCM_PARAMS {
        ulDataLen: 9,
        pNonce: nonce.as_mut_ptr(),
        ulNonceLen: 12,
        pAAD: ptr(b"aad"),
        ulAADLen: 3,
        ulMACLen: 8,
    };
    ok!(C_EncryptInit, session, ptr(&[with(CKM_AES_CCM, &whole)]), key);
    let expected = output(|out, out_len| c!(C_Encrypt, session, ptr(b"a message"), 9, out, out_len)).unwrap();
    assert_eq!([&sealed[..], &mac].concat(), expected);
    // Another length than announced.
    ok!(C_MessageEncryptInit, session, ptr(&[mechanism(CKM_AES_CCM)]), key);
    let (p, size) = ((&raw const params).cast_mut().cast(), size_of_val(&params) as CK_ULONG);
    let (mut out, mut out_len) = ([0; 64], 64);
    let rv =
        c!(C_EncryptMessage, session, p, size, null_mut(), 0, ptr(b"short"), 5, out.as_mut_ptr(), &raw mut out_len);
    assert_eq!(rv, CKR_DATA_LEN_RANGE);
}

#[test]
fn chacha20_poly1305_has_messages_too() {
    let running = start();
    let session = running.session;
    let key = create(session, secret(CKK_CHACHA20).bytes(CKA_VALUE, &[9; 32]));
    let (mut nonce, mut tag) = ([4; 12], [0; 16]);
    let params =
        CK_SALSA20_CHACHA20_POLY1305_MSG_PARAMS { pNonce: nonce.as_mut_ptr(), ulNonceLen: 96, pTag: tag.as_mut_ptr() };
    let sealed = there_and_back(CKM_CHACHA20_POLY1305, key, session, &params);
    let whole = CK_SALSA20_CHACHA20_POLY1305_PARAMS {
        pNonce: nonce.as_mut_ptr(),
        ulNonceLen: 96,
        pAAD: ptr(b"aad"),
        ulAADLen: 3,
    };
    ok!(C_EncryptInit, session, ptr(&[with(CKM_CHACHA20_POLY1305, &whole)]), key);
    let expected = output(|out, out_len| c!(C_Encrypt, session, ptr(b"a message"), 9, out, out_len)).unwrap();
    assert_eq!([&sealed[..], &tag].concat(), expected);
}
