//! Secrets made of secrets, MACs of chosen length, and what stands on the discrete logarithm of finite fields.

use std::ptr::null_mut;

use cryptoki_sys::*;
use openssl::bn::{BigNum, BigNumContext, BigNumRef};
use openssl::dh::Dh;
use openssl::dsa::{Dsa, DsaSig};
use openssl::hash::{MessageDigest, hash};
use openssl::md::Md;
use openssl::pkcs5::pbkdf2_hmac;
use openssl::pkey::{Id, PKey, Private};
use openssl::pkey_ctx::PkeyCtx;
use openssl::sign::{Signer, Verifier};
use openssl::symm::{Cipher, Crypter, Mode};

use crate::module::gcm::gcm;
use crate::module::{Attr, Module, bytes, mechanism, no, plain, ulong, yes};
use crate::symmetric::{secret, some};

/// What a derived secret key is to be, so that it can be looked at.
fn open(len: usize) -> Vec<Attr> {
    let template = [ulong(CKA_CLASS, CKO_SECRET_KEY), ulong(CKA_KEY_TYPE, CKK_GENERIC_SECRET)];
    let rest = [ulong(CKA_VALUE_LEN, len as CK_ULONG), no(CKA_SENSITIVE), yes(CKA_EXTRACTABLE)];
    template.into_iter().chain(rest).collect()
}

fn named(name: &str) -> MessageDigest {
    MessageDigest::from_name(name).expect(name)
}

/// The mechanisms of a hash: the MAC of chosen length, the derivation, and PBKDF2's number.
const HASHES: [(CK_MECHANISM_TYPE, CK_MECHANISM_TYPE, CK_MECHANISM_TYPE, &str); 11] = [
    (CKM_SHA_1, CKM_SHA_1_HMAC_GENERAL, CKM_SHA1_KEY_DERIVATION, "SHA1"),
    (CKM_SHA224, CKM_SHA224_HMAC_GENERAL, CKM_SHA224_KEY_DERIVATION, "SHA224"),
    (CKM_SHA256, CKM_SHA256_HMAC_GENERAL, CKM_SHA256_KEY_DERIVATION, "SHA256"),
    (CKM_SHA384, CKM_SHA384_HMAC_GENERAL, CKM_SHA384_KEY_DERIVATION, "SHA384"),
    (CKM_SHA512, CKM_SHA512_HMAC_GENERAL, CKM_SHA512_KEY_DERIVATION, "SHA512"),
    (CKM_SHA512_224, CKM_SHA512_224_HMAC_GENERAL, CKM_SHA512_224_KEY_DERIVATION, "SHA512-224"),
    (CKM_SHA512_256, CKM_SHA512_256_HMAC_GENERAL, CKM_SHA512_256_KEY_DERIVATION, "SHA512-256"),
    (CKM_SHA3_224, CKM_SHA3_224_HMAC_GENERAL, CKM_SHA3_224_KEY_DERIVATION, "SHA3-224"),
    (CKM_SHA3_256, CKM_SHA3_256_HMAC_GENERAL, CKM_SHA3_256_KEY_DERIVATION, "SHA3-256"),
    (CKM_SHA3_384, CKM_SHA3_384_HMAC_GENERAL, CKM_SHA3_384_KEY_DERIVATION, "SHA3-384"),
    (CKM_SHA3_512, CKM_SHA3_512_HMAC_GENERAL, CKM_SHA3_512_KEY_DERIVATION, "SHA3-512"),
];

pub fn of_hashes(module: &Module) {
    let (value, input) = (some(40, 51), some(333, 52));
    let key = module.create(&[&secret(CKK_GENERIC_SECRET, &value)[..], &[yes(CKA_DERIVE)]].concat());
    for (hash_type, general, derivation, name) in HASHES {
        let digest = named(name);
        let whole = Signer::new(digest, &PKey::hmac(&value).unwrap()).unwrap().sign_oneshot_to_vec(&input).unwrap();
        for len in [4, 11, whole.len()] {
            let mac = module.sign(mechanism(general, &mut (len as CK_ULONG)), key, &input);
            assert_eq!(mac, whole[..len], "{name}, {len} bytes of its HMAC");
        }
        let expected = hash(digest, &value).unwrap();
        let made = module.derive(plain(derivation), key, &open(expected.len()));
        assert_eq!(module.value(made, CKA_VALUE), expected.as_ref(), "{name} of a key");
        for len in [16, expected.len() + 7] {
            assert_eq!(by_hkdf(module, key, hash_type, len), openssl_hkdf(name, &value, len), "HKDF with {name}");
        }
    }
}

const SALT: &[u8] = b"salt of the derivation";
const INFO: &[u8] = b"what it is for";

fn by_hkdf(module: &Module, key: CK_OBJECT_HANDLE, hash: CK_MECHANISM_TYPE, len: usize) -> Vec<u8> {
    let mut params = CK_HKDF_PARAMS {
        bExtract: CK_TRUE,
        bExpand: CK_TRUE,
        prfHashMechanism: hash,
        ulSaltType: CKF_HKDF_SALT_DATA,
        pSalt: SALT.as_ptr().cast_mut(),
        ulSaltLen: SALT.len() as CK_ULONG,
        hSaltKey: 0,
        pInfo: INFO.as_ptr().cast_mut(),
        ulInfoLen: INFO.len() as CK_ULONG,
    };
    let made = module.derive(mechanism(CKM_HKDF_DERIVE, &mut params), key, &open(len));
    let value = module.value(made, CKA_VALUE);
    let data = [ulong(CKA_CLASS, CKO_DATA), ulong(CKA_VALUE_LEN, len as CK_ULONG)];
    let data = module.derive(mechanism(CKM_HKDF_DATA, &mut params), key, &data[1..]);
    assert_eq!(module.value(data, CKA_VALUE), value);
    value
}

fn openssl_hkdf(name: &str, key: &[u8], len: usize) -> Vec<u8> {
    let mut context = PkeyCtx::new_id(Id::HKDF).unwrap();
    context.derive_init().unwrap();
    context.set_hkdf_md(&Md::fetch(None, name, None).unwrap()).unwrap();
    context.set_hkdf_key(key).unwrap();
    context.set_hkdf_salt(SALT).unwrap();
    context.add_hkdf_info(INFO).unwrap();
    let mut out = vec![0; len];
    context.derive(Some(&mut out)).unwrap();
    out
}

pub fn passwords(module: &Module) {
    for (prf, name) in [
        (CKP_PKCS5_PBKD2_HMAC_SHA1, "SHA1"),
        (CKP_PKCS5_PBKD2_HMAC_SHA224, "SHA224"),
        (CKP_PKCS5_PBKD2_HMAC_SHA256, "SHA256"),
        (CKP_PKCS5_PBKD2_HMAC_SHA384, "SHA384"),
        (CKP_PKCS5_PBKD2_HMAC_SHA512, "SHA512"),
        (CKP_PKCS5_PBKD2_HMAC_SHA512_224, "SHA512-224"),
        (CKP_PKCS5_PBKD2_HMAC_SHA512_256, "SHA512-256"),
    ] {
        let password = b"a password of some length";
        let mut expected = [0; 77];
        pbkdf2_hmac(password, SALT, 19, named(name), &mut expected).unwrap();
        let mut params = CK_PKCS5_PBKD2_PARAMS2 {
            saltSource: CKZ_SALT_SPECIFIED,
            pSaltSourceData: SALT.as_ptr().cast_mut().cast(),
            ulSaltSourceDataLen: SALT.len() as CK_ULONG,
            iterations: 19,
            prf,
            pPrfData: null_mut(),
            ulPrfDataLen: 0,
            pPassword: password.as_ptr().cast_mut(),
            ulPasswordLen: password.len() as CK_ULONG,
        };
        let made = module.generate(mechanism(CKM_PKCS5_PBKD2, &mut params), &open(expected.len()));
        assert_eq!(module.value(made, CKA_VALUE), expected, "{name}");
    }
}

pub fn gmac(module: &Module) {
    let (value, input, mut iv) = (some(24, 53), some(100, 54), some(12, 55));
    let mut crypter = Crypter::new(Cipher::aes_192_gcm(), Mode::Encrypt, &value, Some(&iv)).unwrap();
    crypter.aad_update(&input).unwrap();
    crypter.finalize(&mut [0; 16]).unwrap();
    let mut expected = [0; 16];
    crypter.get_tag(&mut expected).unwrap();
    let mut params = gcm(&mut iv, 128);
    let key = module.create(&secret(CKK_AES, &value));
    assert_eq!(module.sign(mechanism(CKM_AES_GMAC, &mut params), key, &input), expected);
    assert_eq!(module.verify(mechanism(CKM_AES_GMAC, &mut params), key, &input, &expected), CKR_OK);
}

/// Signatures in both directions, with keys of ours from OpenSSL's parameters.
pub fn dsa(module: &Module) {
    let theirs = Dsa::generate(1024).unwrap();
    let parameters = [
        bytes(CKA_PRIME, &theirs.p().to_vec()),
        bytes(CKA_SUBPRIME, &theirs.q().to_vec()),
        bytes(CKA_BASE, &theirs.g().to_vec()),
    ];
    let (public, private) = module.generate_pair(CKM_DSA_KEY_PAIR_GEN, &parameters, &[]);
    let ours = PKey::public_key_from_der(&module.value(public, CKA_PUBLIC_KEY_INFO)).unwrap();
    let theirs_here = [ulong(CKA_CLASS, CKO_PUBLIC_KEY), ulong(CKA_KEY_TYPE, CKK_DSA), yes(CKA_VERIFY)];
    let value = [bytes(CKA_VALUE, &theirs.pub_key().to_vec())];
    let theirs_here = module.create(&[&theirs_here[..], &parameters, &value].concat());
    let (len, theirs) = (theirs.q().num_bytes(), PKey::from_dsa(theirs).unwrap());
    let input = b"what is signed";
    for (ty, name) in [
        (CKM_DSA_SHA1, "SHA1"),
        (CKM_DSA_SHA224, "SHA224"),
        (CKM_DSA_SHA256, "SHA256"),
        (CKM_DSA_SHA384, "SHA384"),
        (CKM_DSA_SHA512, "SHA512"),
        (CKM_DSA_SHA3_224, "SHA3-224"),
        (CKM_DSA_SHA3_256, "SHA3-256"),
        (CKM_DSA_SHA3_384, "SHA3-384"),
        (CKM_DSA_SHA3_512, "SHA3-512"),
    ] {
        let digest = hash(named(name), input).unwrap();
        for (ty, input) in [(ty, &input[..]), (CKM_DSA, &digest[..])] {
            let signature = module.sign(plain(ty), private, input);
            let (r, s) = signature.split_at(signature.len() / 2);
            let (r, s) = (BigNum::from_slice(r).unwrap(), BigNum::from_slice(s).unwrap());
            let der = DsaSig::from_private_components(r, s).unwrap().to_der().unwrap();
            let mut verifier = Verifier::new(named(name), &ours).unwrap();
            assert!(verifier.verify_oneshot(&der, b"what is signed").unwrap(), "{name}, ours");
        }
        let der = Signer::new(named(name), &theirs).unwrap().sign_oneshot_to_vec(input).unwrap();
        let parsed = DsaSig::from_der(&der).unwrap();
        let number = |number: &BigNumRef| number.to_vec_padded(len).unwrap();
        let mut signature = [number(parsed.r()), number(parsed.s())].concat();
        assert_eq!(module.verify(plain(ty), theirs_here, input, &signature), CKR_OK, "{name}, theirs");
        assert_eq!(module.verify(plain(CKM_DSA), theirs_here, &digest, &signature), CKR_OK, "{name}, theirs");
        signature[9] ^= 1;
        assert_eq!(module.verify(plain(ty), theirs_here, input, &signature), CKR_SIGNATURE_INVALID);
    }
}

/// The secret that both agree on, by PKCS #3 and by X9.42, with a group of RFC 5114.
pub fn finite_agreement(module: &Module) {
    let group = || Dh::get_2048_256().unwrap();
    let theirs: Dh<Private> = group().generate_key().unwrap();
    let their_public = theirs.public_key().to_vec();
    let parameters = [
        bytes(CKA_PRIME, &theirs.prime_p().to_vec()),
        bytes(CKA_BASE, &theirs.generator().to_vec()),
        bytes(CKA_SUBPRIME, &theirs.prime_q().unwrap().to_vec()),
    ];
    let usage = [yes(CKA_DERIVE)];
    let (public, private) = module.generate_pair(CKM_DH_PKCS_KEY_PAIR_GEN, &parameters[..2], &usage);
    let ours = BigNum::from_slice(&module.value(public, CKA_VALUE)).unwrap();
    let by = CK_MECHANISM {
        mechanism: CKM_DH_PKCS_DERIVE,
        pParameter: their_public.as_ptr().cast_mut().cast(),
        ulParameterLen: their_public.len() as CK_ULONG,
    };
    assert_eq!(module.value(module.derive(by, private, &open(256)), CKA_VALUE), padded(&theirs, &ours));
    let (public, private) = module.generate_pair(CKM_X9_42_DH_KEY_PAIR_GEN, &parameters, &usage);
    let ours = BigNum::from_slice(&module.value(public, CKA_VALUE)).unwrap();
    let mut params = CK_X9_42_DH1_DERIVE_PARAMS {
        kdf: CKD_NULL,
        ulOtherInfoLen: 0,
        pOtherInfo: null_mut(),
        ulPublicDataLen: their_public.len() as CK_ULONG,
        pPublicData: their_public.as_ptr().cast_mut(),
    };
    let made = module.derive(mechanism(CKM_X9_42_DH_DERIVE, &mut params), private, &open(256));
    assert_eq!(module.value(made, CKA_VALUE), padded(&theirs, &ours));
}

/// As long as the prime. (`DH_compute_key` leaves leading zeros out, and the binding does not say how many.)
fn padded(theirs: &Dh<Private>, ours: &BigNumRef) -> Vec<u8> {
    let mut shared = BigNum::new().unwrap();
    shared.mod_exp(ours, theirs.private_key(), theirs.prime_p(), &mut BigNumContext::new().unwrap()).unwrap();
    shared.to_vec_padded(256).unwrap()
}
