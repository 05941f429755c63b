//! Several keys of one SP 800-108 derivation (PKCS#11 3.2, Deriving Additional Keys): each has its own segments, in order, and its
//! template's attributes; all are made or none. The values come of OpenSSL's HMAC and CMAC, by the formulas of SP 800-108.

use std::ptr::{from_mut, null_mut};

use cryptoki_sys::*;
use openssl::hash::MessageDigest;
use openssl::pkey::PKey;
use openssl::sign::Signer;
use openssl::symm::Cipher;

use super::module::{Attr, Module, attributes, bytes, mechanism, no, ulong, yes};
use super::{NEVER, open};

const KEY: [u8; 32] = [0x4b; 32];
const LABEL: &[u8] = b"label\0context";
const IV: [u8; 20] = [0x77; 20];
const MODES: [CK_MECHANISM_TYPE; 3] =
    [CKM_SP800_108_COUNTER_KDF, CKM_SP800_108_FEEDBACK_KDF, CKM_SP800_108_DOUBLE_PIPELINE_KDF];

/// What `C_DeriveKey` made: its own handle, and those of the parameter.
type Made = (CK_RV, CK_OBJECT_HANDLE, Vec<CK_OBJECT_HANDLE>);

/// Iteration, a counter of 16 bits beside it but in the counter mode, label and context, the length of the keys in 32 bits.
fn derive(
    module: &Module,
    session: CK_SESSION_HANDLE,
    (ty, prf, base): (CK_MECHANISM_TYPE, CK_MECHANISM_TYPE, CK_OBJECT_HANDLE),
    first: &[Attr],
    further: &[Vec<Attr>],
) -> Made {
    let mut counter = CK_SP800_108_COUNTER_FORMAT { bLittleEndian: CK_FALSE, ulWidthInBits: 16 };
    let mut length = CK_SP800_108_DKM_LENGTH_FORMAT {
        dkmLengthMethod: CK_SP800_108_DKM_LENGTH_SUM_OF_KEYS,
        bLittleEndian: CK_FALSE,
        ulWidthInBits: 32,
    };
    let (mut label, mut iv) = (LABEL.to_vec(), IV);
    let counter_len = size_of::<CK_SP800_108_COUNTER_FORMAT>() as CK_ULONG;
    let field = |type_, pValue, ulValueLen| CK_PRF_DATA_PARAM { type_, pValue, ulValueLen };
    let mut fields = match ty {
        CKM_SP800_108_COUNTER_KDF => {
            vec![field(CK_SP800_108_ITERATION_VARIABLE, from_mut(&mut counter).cast(), counter_len)]
        }
        _ => vec![
            field(CK_SP800_108_ITERATION_VARIABLE, null_mut(), 0),
            field(CK_SP800_108_COUNTER, from_mut(&mut counter).cast(), counter_len),
        ],
    };
    fields.push(field(CK_SP800_108_BYTE_ARRAY, label.as_mut_ptr().cast(), label.len() as CK_ULONG));
    let length_len = size_of::<CK_SP800_108_DKM_LENGTH_FORMAT>() as CK_ULONG;
    fields.push(field(CK_SP800_108_DKM_LENGTH, from_mut(&mut length).cast(), length_len));
    let mut handles = vec![NEVER; further.len()];
    let mut lists: Vec<Vec<CK_ATTRIBUTE>> = further.iter().map(|template| attributes(template)).collect();
    let mut derived: Vec<CK_DERIVED_KEY> = lists
        .iter_mut()
        .zip(&mut handles)
        .map(|(list, phKey)| CK_DERIVED_KEY {
            pTemplate: list.as_mut_ptr(),
            ulAttributeCount: list.len() as CK_ULONG,
            phKey,
        })
        .collect();
    let (pDataParams, ulNumberOfDataParams) = (fields.as_mut_ptr(), fields.len() as CK_ULONG);
    let (pAdditionalDerivedKeys, ulAdditionalDerivedKeys) = (derived.as_mut_ptr(), derived.len() as CK_ULONG);
    let mut plain = CK_SP800_108_KDF_PARAMS {
        prfType: prf,
        ulNumberOfDataParams,
        pDataParams,
        ulAdditionalDerivedKeys,
        pAdditionalDerivedKeys,
    };
    let mut feedback = CK_SP800_108_FEEDBACK_KDF_PARAMS {
        prfType: prf,
        ulNumberOfDataParams,
        pDataParams,
        ulIVLen: IV.len() as CK_ULONG,
        pIV: iv.as_mut_ptr(),
        ulAdditionalDerivedKeys,
        pAdditionalDerivedKeys,
    };
    let mut by = match ty {
        CKM_SP800_108_FEEDBACK_KDF => mechanism(ty, &mut feedback),
        _ => mechanism(ty, &mut plain),
    };
    let (mut template, mut made) = (attributes(first), NEVER);
    let count = template.len() as CK_ULONG;
    // SAFETY: every pointer is to a live value whose length is passed with it.
    let rv = unsafe { module.api.C_DeriveKey(session, &mut by, base, template.as_mut_ptr(), count, &mut made) };
    (rv, made, handles)
}

fn prf(ty: CK_MECHANISM_TYPE, input: &[u8]) -> Vec<u8> {
    let mac = |key: &PKey<_>, digest: Option<MessageDigest>| {
        let mut signer = match digest {
            Some(digest) => Signer::new(digest, key),
            None => Signer::new_without_digest(key),
        }
        .unwrap();
        signer.sign_oneshot_to_vec(input).unwrap()
    };
    match ty {
        CKM_AES_CMAC => mac(&PKey::cmac(&Cipher::aes_256_cbc(), &KEY).unwrap(), None),
        CKM_SHA512_HMAC => mac(&PKey::hmac(&KEY).unwrap(), Some(MessageDigest::sha512())),
        _ => mac(&PKey::hmac(&KEY).unwrap(), Some(MessageDigest::sha256())),
    }
}

/// SP 800-108 r1, 4.1 to 4.3: the first `count` segments, of keys with `bits` in all.
fn segments(ty: CK_MECHANISM_TYPE, by: CK_MECHANISM_TYPE, count: u16, bits: u32) -> Vec<Vec<u8>> {
    let fixed = [LABEL, &bits.to_be_bytes()].concat();
    let (mut made, mut chain) = (Vec::<Vec<u8>>::new(), fixed.clone());
    for number in 1..=count {
        let iterated = match ty {
            CKM_SP800_108_COUNTER_KDF => Vec::new(),
            CKM_SP800_108_FEEDBACK_KDF => made.last().cloned().unwrap_or(IV.to_vec()),
            _ => {
                chain = prf(by, &chain);
                chain.clone()
            }
        };
        made.push(prf(by, &[&iterated[..], &number.to_be_bytes(), &fixed].concat()));
    }
    made
}

fn key_of(module: &Module, key_type: CK_KEY_TYPE, more: &[Attr]) -> CK_OBJECT_HANDLE {
    let key = [
        ulong(CKA_CLASS, CKO_SECRET_KEY),
        ulong(CKA_KEY_TYPE, key_type),
        bytes(CKA_VALUE, &KEY),
        yes(CKA_DERIVE),
        no(CKA_TOKEN),
    ];
    module.create(&[&key[..], more].concat())
}

fn generic(len: CK_ULONG, more: &[Attr]) -> Vec<Attr> {
    [&open()[..], &[ulong(CKA_KEY_TYPE, CKK_GENERIC_SECRET), ulong(CKA_VALUE_LEN, len)], more].concat()
}

fn aes(len: CK_ULONG, more: &[Attr]) -> Vec<Attr> {
    [&open()[..], &[ulong(CKA_KEY_TYPE, CKK_AES), ulong(CKA_VALUE_LEN, len)], more].concat()
}

pub fn several_keys(module: &Module) {
    values(module);
    kept_where_the_template_says(module);
    protection(module);
    all_or_none(module);
}

/// A key longer than a segment, one of a part of one, one of exactly two, and one whose type says its length.
fn values(module: &Module) {
    for (by, key_type) in
        [(CKM_SHA256_HMAC, CKK_GENERIC_SECRET), (CKM_SHA512_HMAC, CKK_GENERIC_SECRET), (CKM_AES_CMAC, CKK_AES)]
    {
        let base = key_of(module, key_type, &open());
        let len = prf(by, b"").len();
        let long = len + len / 2;
        for ty in MODES {
            let des = [&open()[..], &[ulong(CKA_KEY_TYPE, CKK_DES3)]].concat();
            let further = [aes(16, &[yes(CKA_SIGN)]), generic(2 * len as CK_ULONG, &[bytes(CKA_ID, b"2")]), des];
            let (rv, first, handles) =
                derive(module, module.session, (ty, by, base), &generic(long as CK_ULONG, &[]), &further);
            assert_eq!(rv, CKR_OK, "{ty:#x} {by:#x}");
            let lengths = [long, 16, 2 * len, 24];
            let mut segments = segments(ty, by, 16, 8 * lengths.iter().sum::<usize>() as u32).into_iter();
            for (at, (key, length)) in std::iter::once(first).chain(handles.clone()).zip(lengths).enumerate() {
                let mut expected: Vec<u8> = segments.by_ref().take(length.div_ceil(len)).flatten().collect();
                expected.truncate(length);
                let mut value = module.value(key, CKA_VALUE);
                if at == 3 {
                    // The eighth bit of a byte of DES is parity.
                    assert!(value.iter().all(|byte| byte.count_ones() % 2 == 1));
                    [&mut value, &mut expected].into_iter().flatten().for_each(|byte| *byte &= 0xfe);
                }
                assert_eq!(value, expected, "{ty:#x} {by:#x}, key {at}");
            }
            assert_eq!(module.value(handles[0], CKA_KEY_TYPE), CKK_AES.to_ne_bytes());
            assert_eq!(module.value(handles[0], CKA_SIGN), [CK_TRUE]);
            assert_eq!(module.value(handles[1], CKA_ID), b"2");
            assert_eq!(module.value(first, CKA_ID), b"");
            for key in std::iter::once(first).chain(handles) {
                assert_eq!(module.value(key, CKA_LOCAL), [CK_FALSE]);
                assert_eq!(module.value(key, CKA_KEY_GEN_MECHANISM), CK_UNAVAILABLE_INFORMATION.to_ne_bytes());
            }
        }
    }
}

/// A label's objects, as this session sees them.
fn labelled(module: &Module, label: &[u8]) -> usize {
    let label = [bytes(CKA_LABEL, label)];
    let (mut label, mut found, mut count) = (attributes(&label), [0; 16], 0);
    // SAFETY: live values with their lengths.
    unsafe {
        assert_eq!(module.api.C_FindObjectsInit(module.session, label.as_mut_ptr(), 1), CKR_OK);
        assert_eq!(module.api.C_FindObjects(module.session, found.as_mut_ptr(), 16, &mut count), CKR_OK);
        assert_eq!(module.api.C_FindObjectsFinal(module.session), CKR_OK);
    }
    count as usize
}

fn session(module: &Module, flags: CK_FLAGS) -> CK_SESSION_HANDLE {
    // SAFETY: an all-zero CK_SESSION_INFO is a value.
    let (mut info, mut session) = (unsafe { std::mem::zeroed::<CK_SESSION_INFO>() }, 0);
    // SAFETY: live values.
    unsafe {
        assert_eq!(module.api.C_GetSessionInfo(module.session, &mut info), CKR_OK);
        let rv = module.api.C_OpenSession(info.slotID, CKF_SERIAL_SESSION | flags, null_mut(), None, &mut session);
        assert_eq!(rv, CKR_OK);
    }
    session
}

/// Keys of the token and of the session from one call: when the session ends, its own go.
fn kept_where_the_template_says(module: &Module) {
    let base = key_of(module, CKK_GENERIC_SECRET, &open());
    let other = session(module, CKF_RW_SESSION);
    let label = bytes(CKA_LABEL, b"kept");
    let (kept, passing) = ([label.clone(), yes(CKA_TOKEN)], [label, no(CKA_TOKEN)]);
    let by = (CKM_SP800_108_COUNTER_KDF, CKM_SHA256_HMAC, base);
    let further = [generic(8, &kept), aes(32, &passing), aes(16, &kept)];
    let (rv, first, handles) = derive(module, other, by, &generic(8, &passing), &further);
    assert_eq!(rv, CKR_OK);
    let on_token = |key| module.value(key, CKA_TOKEN) == [CK_TRUE];
    assert_eq!([first, handles[0], handles[1], handles[2]].map(on_token), [false, true, false, true]);
    assert_eq!(labelled(module, b"kept"), 4);
    let before = [0, 2].map(|at| module.value(handles[at], CKA_VALUE));
    // SAFETY: a session.
    assert_eq!(unsafe { module.api.C_CloseSession(other) }, CKR_OK);
    assert_eq!(labelled(module, b"kept"), 2);
    assert_eq!([0, 2].map(|at| module.value(handles[at], CKA_VALUE)), before);
    for at in [0, 2] {
        // SAFETY: a session and an object.
        assert_eq!(unsafe { module.api.C_DestroyObject(module.session, handles[at]) }, CKR_OK);
    }
}

/// Key Derivation Attribute Rules: open where the base is unless the template says otherwise, each key for itself.
fn protection(module: &Module) {
    let flags = |key| {
        [CKA_SENSITIVE, CKA_EXTRACTABLE, CKA_ALWAYS_SENSITIVE, CKA_NEVER_EXTRACTABLE]
            .map(|ty| module.value(key, ty) == [CK_TRUE])
    };
    let plain = |more: &[Attr]| [&[ulong(CKA_VALUE_LEN, 16)][..], more].concat();
    let closed = [yes(CKA_SENSITIVE), no(CKA_EXTRACTABLE)];
    let further = [plain(&closed), plain(&open()), plain(&[])];
    // Created, so that it never was always anything.
    let created = key_of(module, CKK_GENERIC_SECRET, &closed);
    let template = [ulong(CKA_KEY_TYPE, CKK_GENERIC_SECRET), ulong(CKA_VALUE_LEN, 32), yes(CKA_DERIVE)];
    let by = super::plain(CKM_GENERIC_SECRET_KEY_GEN);
    let generated = module.generate(by, &[&template[..], &closed].concat());
    for (base, history) in [(created, false), (generated, true)] {
        let by = (CKM_SP800_108_FEEDBACK_KDF, CKM_SHA256_HMAC, base);
        let (rv, first, handles) = derive(module, module.session, by, &plain(&[]), &further);
        assert_eq!(rv, CKR_OK);
        let both = [true, false, history, history];
        assert_eq!(flags(first), both);
        assert_eq!([0, 1, 2].map(|at| flags(handles[at])), [both, [false, true, false, false], both]);
    }
}

/// One template at fault, at each place, for whatever reason: the code is that of the fault, no key is there, and the handle at fault is
/// the invalid one.
fn all_or_none(module: &Module) {
    let base = key_of(module, CKK_GENERIC_SECRET, &open());
    let by = (CKM_SP800_108_DOUBLE_PIPELINE_KDF, CKM_SHA256_HMAC, base);
    let label = [bytes(CKA_LABEL, b"none")];
    let on_token = [label[0].clone(), yes(CKA_TOKEN)];
    let good = [generic(8, &on_token), aes(16, &label), generic(40, &on_token)];
    let read_only = session(module, 0);
    for (what, bad, expected) in [
        ("an AES key of 17 bytes", aes(17, &label), CKR_KEY_SIZE_RANGE),
        ("no length", generic(8, &label)[..3].to_vec(), CKR_TEMPLATE_INCOMPLETE),
        ("a value", generic(8, &[bytes(CKA_VALUE, &[1; 8])]), CKR_ATTRIBUTE_READ_ONLY),
        ("a private key", generic(8, &[ulong(CKA_CLASS, CKO_PRIVATE_KEY)]), CKR_TEMPLATE_INCONSISTENT),
        ("a data object", generic(8, &[ulong(CKA_CLASS, CKO_DATA)]), CKR_TEMPLATE_INCONSISTENT),
        ("a type of pairs", vec![ulong(CKA_KEY_TYPE, CKK_RSA), ulong(CKA_VALUE_LEN, 8)], CKR_TEMPLATE_INCONSISTENT),
        ("an unknown attribute", generic(8, &[bytes(0x4000_0000, b"")]), CKR_ATTRIBUTE_TYPE_INVALID),
        ("no truth value", generic(8, &[bytes(CKA_SIGN, &[1, 1])]), CKR_ATTRIBUTE_VALUE_INVALID),
        ("more than the counter numbers", generic(1 << 22, &label), CKR_KEY_SIZE_RANGE),
        ("a read-only session", Vec::new(), CKR_SESSION_READ_ONLY),
    ] {
        let (session, good) = match bad.is_empty() {
            // There the good ones are of the session, and the bad one of the token.
            true => (read_only, [&label[..]; 3].map(|label| generic(8, label))),
            false => (module.session, good.clone()),
        };
        let bad = if bad.is_empty() { generic(8, &on_token) } else { bad };
        for at in 0..4 {
            let mut all = good.to_vec();
            all.insert(at, bad.clone());
            let (rv, first, handles) = derive(module, session, by, &all[0], &all[1..]);
            assert_eq!(rv, expected, "{what} at {at}");
            assert_eq!(first, NEVER, "{what} at {at}");
            let told: Vec<usize> = (0..3).filter(|at| handles[*at] == CK_INVALID_HANDLE).collect();
            let rest = handles.iter().filter(|handle| **handle == NEVER).count();
            let blamed = at.checked_sub(1);
            assert_eq!((told.as_slice(), rest), (blamed.as_slice(), 3 - blamed.iter().count()), "{what} at {at}");
            assert_eq!(labelled(module, b"none"), 0, "{what} at {at}");
        }
    }
    // SAFETY: a session.
    assert_eq!(unsafe { module.api.C_CloseSession(read_only) }, CKR_OK);
}
