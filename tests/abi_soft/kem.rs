//! Encapsulation: ECDH with an ephemeral key, and fresh keys wrapped under RSA.

use std::ptr::null_mut;

use cryptoki_sys::*;

use crate::harness::*;
use crate::{c, ok};

const X25519: &[u8] = &[6, 3, 0x2b, 0x65, 0x6e];

fn ecdh(kdf: CK_EC_KDF_TYPE, public: &[u8]) -> CK_ECDH1_DERIVE_PARAMS {
    CK_ECDH1_DERIVE_PARAMS {
        kdf,
        ulSharedDataLen: 0,
        pSharedData: null_mut(),
        ulPublicDataLen: len(public),
        pPublicData: if public.is_empty() { null_mut() } else { ptr(public) },
    }
}

fn readable(key_type: CK_KEY_TYPE, length: CK_ULONG) -> Template {
    let template = Template::new().number(CKA_CLASS, CKO_SECRET_KEY).number(CKA_KEY_TYPE, key_type);
    template.number(CKA_VALUE_LEN, length).no(CKA_SENSITIVE).yes(CKA_EXTRACTABLE)
}

/// As an application calls it; no key is made by a question or a buffer too small.
fn encapsulate(
    session: CK_SESSION_HANDLE,
    by: CK_MECHANISM,
    public: CK_OBJECT_HANDLE,
    mut template: Template,
) -> Result<(Vec<u8>, CK_OBJECT_HANDLE), CK_RV> {
    let (raw, by, mut key) = (template.raw(), [by], 0);
    let (p, count) = (raw.as_mut_ptr(), len(raw));
    let before = find(session, Template::new()).len();
    let ciphertext = output(|out, out_len| {
        assert_eq!(find(session, Template::new()).len(), before, "no key yet");
        c!(C_EncapsulateKey, session, ptr(&by), public, p, count, out, out_len, &raw mut key)
    })?;
    Ok((ciphertext, key))
}

fn decapsulate(
    session: CK_SESSION_HANDLE,
    by: CK_MECHANISM,
    private: CK_OBJECT_HANDLE,
    ciphertext: &[u8],
    mut template: Template,
) -> Result<CK_OBJECT_HANDLE, CK_RV> {
    let (raw, by, mut key) = (template.raw(), [by], 0);
    let (p, count, ct) = (raw.as_mut_ptr(), len(raw), ptr(ciphertext));
    match c!(C_DecapsulateKey, session, ptr(&by), private, p, count, ct, len(ciphertext), &raw mut key) {
        CKR_OK => Ok(key),
        rv => Err(rv),
    }
}

fn ec_pair(session: CK_SESSION_HANDLE, ty: CK_MECHANISM_TYPE, curve: &[u8]) -> (CK_OBJECT_HANDLE, CK_OBJECT_HANDLE) {
    let public = Template::new().bytes(CKA_EC_PARAMS, curve).yes(CKA_ENCAPSULATE);
    pair(session, ty, public, Template::new().yes(CKA_DECAPSULATE).yes(CKA_DERIVE))
}

#[test]
fn both_sides_of_ecdh_come_to_the_same_key() {
    let running = start();
    let session = running.session;
    for (generate, curve, ciphertext_len) in
        [(CKM_EC_KEY_PAIR_GEN, P256, 65), (CKM_EC_MONTGOMERY_KEY_PAIR_GEN, X25519, 32)]
    {
        let (public, private) = ec_pair(session, generate, curve);
        for (kdf, length) in [(CKD_NULL, 32), (CKD_NULL, 16), (CKD_SHA256_KDF, 48)] {
            let key_type = if length == 48 { CKK_GENERIC_SECRET } else { CKK_AES };
            let params = ecdh(kdf, &[]);
            let by = with(CKM_ECDH1_DERIVE, &params);
            let (ciphertext, ours) = encapsulate(session, by, public, readable(key_type, length)).unwrap();
            assert_eq!(ciphertext.len(), ciphertext_len);
            let theirs = decapsulate(session, by, private, &ciphertext, readable(key_type, length)).unwrap();
            let secret = value(session, ours, CKA_VALUE).unwrap();
            assert_eq!(secret.len(), length as usize);
            assert_eq!(value(session, theirs, CKA_VALUE), Ok(secret.clone()));
            for (key, ty) in [ours, theirs]
                .iter()
                .flat_map(|key| [CKA_LOCAL, CKA_ALWAYS_SENSITIVE, CKA_NEVER_EXTRACTABLE].map(|ty| (*key, ty)))
            {
                assert_eq!(value(session, key, ty), Ok(vec![CK_FALSE]), "{ty:#x}");
            }
            // The ciphertext is a public key, from which C_DeriveKey comes to the same.
            let params = ecdh(kdf, &ciphertext);
            let (derive, mut template, mut derived) =
                ([with(CKM_ECDH1_DERIVE, &params)], readable(key_type, length), 0);
            let raw = template.raw();
            ok!(C_DeriveKey, session, ptr(&derive), private, raw.as_mut_ptr(), len(raw), &raw mut derived);
            assert_eq!(value(session, derived, CKA_VALUE), Ok(secret));
        }
    }
}

#[test]
fn what_is_wrong_with_an_encapsulation_is_named() {
    let running = start();
    let session = running.session;
    let (public, private) = ec_pair(session, CKM_EC_KEY_PAIR_GEN, P256);
    let params = ecdh(CKD_NULL, &[]);
    let by = with(CKM_ECDH1_DERIVE, &params);
    let aes = || readable(CKK_AES, 32);
    let (ciphertext, _) = encapsulate(session, by, public, aes()).unwrap();
    assert_eq!(encapsulate(session, by, private, aes()).err(), Some(CKR_KEY_FUNCTION_NOT_PERMITTED));
    assert_eq!(encapsulate(session, by, 0, aes()).err(), Some(CKR_KEY_HANDLE_INVALID));
    assert_eq!(encapsulate(session, mechanism(CKM_SHA256), public, aes()).err(), Some(CKR_MECHANISM_INVALID));
    let with_public = ecdh(CKD_NULL, &ciphertext);
    let bad = with(CKM_ECDH1_DERIVE, &with_public);
    assert_eq!(decapsulate(session, bad, private, &ciphertext, aes()), Err(CKR_MECHANISM_PARAM_INVALID));
    assert_eq!(decapsulate(session, by, public, &ciphertext, aes()), Err(CKR_KEY_FUNCTION_NOT_PERMITTED));
    assert_eq!(decapsulate(session, by, 0, &ciphertext, aes()), Err(CKR_UNWRAPPING_KEY_HANDLE_INVALID));
    let off_curve = [&ciphertext[..64], &[ciphertext[64] ^ 1]].concat();
    assert_eq!(decapsulate(session, by, private, &off_curve, aes()), Err(CKR_WRAPPED_KEY_INVALID));
    let too_long = decapsulate(session, by, private, &ciphertext, readable(CKK_GENERIC_SECRET, 33));
    assert_eq!(too_long, Err(CKR_KEY_SIZE_RANGE));
}

#[test]
fn templates_of_the_keys_in_use_are_kept() {
    let running = start();
    let session = running.session;
    let mut only_aes = Template::new().number(CKA_KEY_TYPE, CKK_AES);
    let mut labelled = Template::new().bytes(CKA_LABEL, b"imposed");
    let public = Template::new().bytes(CKA_EC_PARAMS, P256).yes(CKA_ENCAPSULATE);
    let private = Template::new().yes(CKA_DECAPSULATE).template(CKA_DECAPSULATE_TEMPLATE, &mut labelled);
    let public = public.template(CKA_ENCAPSULATE_TEMPLATE, &mut only_aes);
    let (public, private) = pair(session, CKM_EC_KEY_PAIR_GEN, public, private);
    let params = ecdh(CKD_NULL, &[]);
    let by = with(CKM_ECDH1_DERIVE, &params);
    let before = find(session, Template::new()).len();
    let refused = encapsulate_once(session, by, public, readable(CKK_GENERIC_SECRET, 32));
    assert_eq!(refused, Err(CKR_KEY_HANDLE_INVALID));
    assert_eq!(find(session, Template::new()).len(), before, "no key");
    let ciphertext = encapsulate_once(session, by, public, readable(CKK_AES, 32)).unwrap();
    let key = decapsulate(session, by, private, &ciphertext, readable(CKK_AES, 32)).unwrap();
    assert_eq!(value(session, key, CKA_LABEL), Ok(b"imposed".to_vec()));
    let other = readable(CKK_AES, 32).bytes(CKA_LABEL, b"mine");
    assert_eq!(decapsulate(session, by, private, &ciphertext, other), Err(CKR_TEMPLATE_INCONSISTENT));
}

/// Without asking for the length first.
fn encapsulate_once(
    session: CK_SESSION_HANDLE,
    by: CK_MECHANISM,
    public: CK_OBJECT_HANDLE,
    mut template: Template,
) -> Result<Vec<u8>, CK_RV> {
    let (raw, by, mut key) = (template.raw(), [by], 0);
    let (p, count) = (raw.as_mut_ptr(), len(raw));
    let (mut out, mut out_len) = (vec![0; 2048], 2048);
    let rv =
        c!(C_EncapsulateKey, session, ptr(&by), public, p, count, out.as_mut_ptr(), &raw mut out_len, &raw mut key);
    out.truncate(out_len as usize);
    if rv == CKR_OK { Ok(out) } else { Err(rv) }
}

#[test]
fn rsa_wraps_a_fresh_key() {
    let running = start();
    let session = running.session;
    let public = Template::new().number(CKA_MODULUS_BITS, 2048).yes(CKA_ENCAPSULATE);
    let private = Template::new().yes(CKA_DECAPSULATE);
    let (public, private) = pair(session, CKM_RSA_PKCS_KEY_PAIR_GEN, public, private);
    let oaep = CK_RSA_PKCS_OAEP_PARAMS {
        hashAlg: CKM_SHA256,
        mgf: CKG_MGF1_SHA256,
        source: CKZ_DATA_SPECIFIED,
        pSourceData: null_mut(),
        ulSourceDataLen: 0,
    };
    for by in [mechanism(CKM_RSA_PKCS), with(CKM_RSA_PKCS_OAEP, &oaep)] {
        let (ciphertext, ours) = encapsulate(session, by, public, readable(CKK_AES, 32)).unwrap();
        assert_eq!(ciphertext.len(), 256);
        let secret = value(session, ours, CKA_VALUE).unwrap();
        let (_, another) = encapsulate(session, by, public, readable(CKK_AES, 32)).unwrap();
        assert_ne!(value(session, another, CKA_VALUE), Ok(secret.clone()), "fresh each time");
        let template = || Template::new().number(CKA_CLASS, CKO_SECRET_KEY).number(CKA_KEY_TYPE, CKK_AES);
        let theirs = template().no(CKA_SENSITIVE).yes(CKA_EXTRACTABLE);
        let theirs = decapsulate(session, by, private, &ciphertext, theirs).unwrap();
        assert_eq!(value(session, theirs, CKA_VALUE), Ok(secret));
        assert_eq!(encapsulate(session, by, public, template()).err(), Some(CKR_TEMPLATE_INCOMPLETE), "how long?");
        let long = encapsulate(session, by, public, readable(CKK_GENERIC_SECRET, 250));
        assert_eq!(long.err(), Some(CKR_KEY_SIZE_RANGE));
    }
}

#[test]
fn both_sides_of_ml_kem_come_to_the_same_key() {
    let running = start();
    let session = running.session;
    for (set, ciphertext_len) in [(CKP_ML_KEM_512, 768), (CKP_ML_KEM_768, 1088), (CKP_ML_KEM_1024, 1568)] {
        let public = Template::new().number(CKA_PARAMETER_SET, set);
        let (public, private) = pair(session, CKM_ML_KEM_KEY_PAIR_GEN, public, Template::new());
        let by = mechanism(CKM_ML_KEM);
        let (ciphertext, ours) = encapsulate(session, by, public, readable(CKK_AES, 32)).unwrap();
        assert_eq!(ciphertext.len(), ciphertext_len);
        let theirs = decapsulate(session, by, private, &ciphertext, readable(CKK_AES, 32)).unwrap();
        assert_eq!(value(session, ours, CKA_VALUE), value(session, theirs, CKA_VALUE));
        let short = decapsulate(session, by, private, &ciphertext[1..], readable(CKK_AES, 32));
        assert_eq!(short, Err(CKR_WRAPPED_KEY_LEN_RANGE));
        let long = encapsulate_once(session, by, public, readable(CKK_GENERIC_SECRET, 33));
        assert_eq!(long, Err(CKR_KEY_SIZE_RANGE));
    }
}
