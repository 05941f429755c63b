//! `mechanisms = "approved"`: the conditions of size, curve, hash and parameter hold for an HSM's keys as for our own.

use std::path::Path;
use std::ptr::null_mut;

use cryptoki_sys::*;

use crate::scene::*;
use crate::{both, c, ok};

const P256: &[u8] = &[6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7];
const SECP256K1: &[u8] = &[6, 5, 0x2b, 0x81, 4, 0, 10];

type Pair = (CK_OBJECT_HANDLE, CK_OBJECT_HANDLE);

fn try_pair(session: CK_SESSION_HANDLE, ty: CK_MECHANISM_TYPE, what: Attr, label: &str) -> Result<Pair, CK_RV> {
    let named = [yes(CKA_TOKEN), bytes(CKA_LABEL, label.as_bytes()), bytes(CKA_ID, label.as_bytes())];
    let public = [&named[..], &[what, yes(CKA_VERIFY), yes(CKA_ENCRYPT)]].concat();
    let private = [&named[..], &[yes(CKA_SIGN), yes(CKA_DECRYPT), yes(CKA_PRIVATE)]].concat();
    let (mut public, mut private, mut pair, by) = (raw(&public), raw(&private), (0, 0), [plain(ty)]);
    let (publics, privates) = (len(&public), len(&private));
    let (one, other) = (public.as_mut_ptr(), private.as_mut_ptr());
    match c!(C_GenerateKeyPair, session, ptr(&by), one, publics, other, privates, &raw mut pair.0, &raw mut pair.1) {
        CKR_OK => Ok(pair),
        rv => Err(rv),
    }
}

fn key(session: CK_SESSION_HANDLE, class: CK_OBJECT_CLASS, label: &str) -> CK_OBJECT_HANDLE {
    let found = find(session, &[number(CKA_CLASS, class), bytes(CKA_LABEL, label.as_bytes())]);
    assert_eq!(found.len(), 1, "{label}");
    found[0]
}

fn sign(session: CK_SESSION_HANDLE, key: CK_OBJECT_HANDLE, by: CK_MECHANISM) -> CK_RV {
    let (mut out, mut out_len) = ([0u8; 512], 512);
    match c!(C_SignInit, session, ptr(&[by]), key) {
        CKR_OK => c!(C_Sign, session, ptr(&[7u8; 32]), 32, out.as_mut_ptr(), &raw mut out_len),
        rv => rv,
    }
}

fn pss(hash: CK_MECHANISM_TYPE, mgf: CK_RSA_PKCS_MGF_TYPE, salt: CK_ULONG) -> CK_RSA_PKCS_PSS_PARAMS {
    CK_RSA_PKCS_PSS_PARAMS { hashAlg: hash, mgf, sLen: salt }
}

both! {
    fn what_is_not_approved_of_an_hsms_keys_is_refused(how) {
        const REFUSED: CK_RV = CKR_OPERATION_NOT_VALIDATED;
        let running = Scene::new().start(Path::new(SOFTHSM), how);
        let session = running.user();
        for (bits, label) in [(1024, "short"), (2048, "long")] {
            try_pair(session, CKM_RSA_PKCS_KEY_PAIR_GEN, number(CKA_MODULUS_BITS, bits), label).unwrap();
        }
        for (curve, label) in [(P256, "p256"), (SECP256K1, "k1")] {
            try_pair(session, CKM_EC_KEY_PAIR_GEN, bytes(CKA_EC_PARAMS, curve), label).unwrap();
        }
        let secret = [number(CKA_VALUE_LEN, 13), yes(CKA_TOKEN), yes(CKA_SIGN), bytes(CKA_LABEL, b"secret")];
        try_generate(session, CKM_GENERIC_SECRET_KEY_GEN, &secret).unwrap();
        ok!(C_Finalize, null_mut());
        running.scene.configure(Path::new(SOFTHSM), &format!("{how}\nmechanisms = 'approved'"));
        ok!(C_Initialize, null_mut());
        let session = running.user();
        let private = |label| key(session, CKO_PRIVATE_KEY, label);

        // Sizes and curves, of both halves, and of what is to be made.
        let rsa = || plain(CKM_SHA256_RSA_PKCS);
        assert_eq!(sign(session, private("long"), rsa()), CKR_OK);
        assert_eq!(sign(session, private("short"), rsa()), REFUSED);
        assert_eq!(c!(C_VerifyInit, session, ptr(&[rsa()]), key(session, CKO_PUBLIC_KEY, "short")), REFUSED);
        assert_eq!(sign(session, private("p256"), plain(CKM_ECDSA)), CKR_OK);
        assert_eq!(sign(session, private("k1"), plain(CKM_ECDSA)), REFUSED);
        let hmac = sign(session, key(session, CKO_SECRET_KEY, "secret"), plain(CKM_SHA256_HMAC));
        assert_eq!(hmac, REFUSED);
        let made = try_pair(session, CKM_EC_KEY_PAIR_GEN, bytes(CKA_EC_PARAMS, SECP256K1), "other");
        assert_eq!(made, Err(REFUSED));
        let made = try_pair(session, CKM_RSA_PKCS_KEY_PAIR_GEN, number(CKA_MODULUS_BITS, 1024), "other");
        assert_eq!(made, Err(REFUSED));
        assert!(find(session, &[bytes(CKA_LABEL, b"other")]).is_empty());
        try_pair(session, CKM_EC_KEY_PAIR_GEN, bytes(CKA_EC_PARAMS, P256), "good").unwrap();

        // Hashes and parameters, also where the same key was used in a good way just before.
        let good = pss(CKM_SHA256, CKG_MGF1_SHA256, 32);
        for bad in [pss(CKM_SHA256, CKG_MGF1_SHA256, 33), pss(CKM_SHA_1, CKG_MGF1_SHA1, 20)] {
            assert_eq!(sign(session, private("long"), with(CKM_RSA_PKCS_PSS, &good)), CKR_OK);
            assert_eq!(sign(session, private("long"), with(CKM_RSA_PKCS_PSS, &bad)), REFUSED);
        }
        let aes = aes(session, &[]);
        let mut iv = [3u8; 12];
        let gcm = CK_GCM_PARAMS {
            pIv: iv.as_mut_ptr(),
            ulIvLen: 12,
            ulIvBits: 96,
            pAAD: null_mut(),
            ulAADLen: 0,
            ulTagBits: 128,
        };
        assert_eq!(c!(C_EncryptInit, session, ptr(&[with(CKM_AES_GCM, &gcm)]), aes), REFUSED, "an IV of the caller's");
        ok!(C_DecryptInit, session, ptr(&[with(CKM_AES_GCM, &gcm)]), aes);
        // Not ours to say of an HSM: its own validations have flags of theirs.
        let mut flags = 7;
        ok!(C_GetSessionValidationFlags, session, CKS_LAST_VALIDATION_OK, &raw mut flags);
        assert_eq!(flags, 0);
    }
}
