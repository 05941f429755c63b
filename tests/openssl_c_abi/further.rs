//! The further symmetric mechanisms: other block ciphers, stealing modes, stream ciphers, and what wraps with them.

use cryptoki_sys::*;
use openssl::cipher::Cipher;
use openssl::cipher_ctx::CipherCtx;
use openssl::error::ErrorStack;
use openssl::hash::{MessageDigest, hash};
use openssl::symm;

use crate::module::{DECRYPT, ENCRYPT, Module, mechanism, plain, ulong, yes};
use crate::symmetric::{secret, some};

/// OpenSSL's encryption in its named mode; `None` where this OpenSSL lacks it.
fn openssl(name: &str, key: &[u8], iv: Option<&[u8]>, pad: bool, input: &[u8]) -> Option<Vec<u8>> {
    let cipher = Cipher::fetch(None, name, None).ok()?;
    let mut context = CipherCtx::new().unwrap();
    context.encrypt_init(Some(&cipher), Some(key), iv).unwrap();
    context.set_padding(pad);
    let mut out = Vec::new();
    context.cipher_update_vec(input, &mut out).unwrap();
    context.cipher_final_vec(&mut out).unwrap();
    Some(out)
}

/// With odd parity in each byte, as DES keys have it; the other ciphers do not mind.
fn key_value(len: usize) -> Vec<u8> {
    some(len, 21).into_iter().map(|byte| byte & 0xfe | (1 ^ (byte >> 1).count_ones() as u8 & 1)).collect()
}

pub fn block_ciphers(module: &Module) {
    let mut seen = 0;
    for (key_type, len, block, name, [ecb, cbc, cbc_pad]) in [
        (CKK_DES2, 16, 8, "DES-EDE", [CKM_DES3_ECB, CKM_DES3_CBC, CKM_DES3_CBC_PAD]),
        (CKK_DES3, 24, 8, "DES-EDE3", [CKM_DES3_ECB, CKM_DES3_CBC, CKM_DES3_CBC_PAD]),
        (CKK_CAMELLIA, 16, 16, "CAMELLIA-128", [CKM_CAMELLIA_ECB, CKM_CAMELLIA_CBC, CKM_CAMELLIA_CBC_PAD]),
        (CKK_CAMELLIA, 32, 16, "CAMELLIA-256", [CKM_CAMELLIA_ECB, CKM_CAMELLIA_CBC, CKM_CAMELLIA_CBC_PAD]),
        (CKK_ARIA, 24, 16, "ARIA-192", [CKM_ARIA_ECB, CKM_ARIA_CBC, CKM_ARIA_CBC_PAD]),
        (CKK_ARIA, 32, 16, "ARIA-256", [CKM_ARIA_ECB, CKM_ARIA_CBC, CKM_ARIA_CBC_PAD]),
    ] {
        let value = key_value(len);
        let key = module.create(&secret(key_type, &value));
        let mut iv = some(block, 22);
        for (ty, mode, unit) in [(ecb, "ECB", block), (cbc, "CBC", block), (cbc_pad, "CBC", 1)] {
            for len in [0, 1, block, block + 1, 10 * block + 3].map(|len| len / unit * unit) {
                let input = some(len, 23);
                let with_iv = (mode != "ECB").then_some(iv.clone());
                let Some(expected) = openssl(&format!("{name}-{mode}"), &value, with_iv.as_deref(), unit == 1, &input)
                else {
                    continue;
                };
                let make = |iv: &mut [u8]| match (mode, <&mut [u8; 8]>::try_from(&mut *iv)) {
                    ("ECB", _) => plain(ty),
                    (_, Ok(iv)) => mechanism(ty, iv),
                    (_, Err(_)) => mechanism(ty, <&mut [u8; 16]>::try_from(iv).unwrap()),
                };
                assert_eq!(module.cipher(&ENCRYPT, make(&mut iv), key, &input), expected, "{name}-{mode} {len}");
                assert_eq!(module.cipher(&DECRYPT, make(&mut iv), key, &expected), input, "{name}-{mode} {len}");
                seen += 1;
            }
        }
    }
    assert!(seen > 60, "{seen}");
}

pub fn stealing(module: &Module) {
    for (key_type, len, ty, name) in [
        (CKK_AES_XTS, 32, CKM_AES_XTS, "AES-128-XTS"),
        (CKK_AES_XTS, 64, CKM_AES_XTS, "AES-256-XTS"),
        (CKK_AES, 32, CKM_AES_CTS, "AES-256-CBC-CTS"),
    ] {
        let value = some(len, 24);
        let key = module.create(&secret(key_type, &value));
        let mut iv: [u8; 16] = some(16, 25).try_into().unwrap();
        for len in [16, 17, 31, 32, 33, 48, 1000, 4096] {
            let input = some(len, 26);
            let expected = openssl(name, &value, Some(&iv), false, &input).unwrap();
            assert_eq!(module.cipher(&ENCRYPT, mechanism(ty, &mut iv), key, &input), expected, "{name} {len}");
            assert_eq!(module.cipher(&DECRYPT, mechanism(ty, &mut iv), key, &expected), input, "{name} {len}");
        }
    }
}

pub fn streams_and_seals(module: &Module) {
    let value = some(32, 27);
    let key = module.create(&secret(CKK_CHACHA20, &value));
    let (mut counter, mut nonce, mut aad, input) = (7u32.to_le_bytes(), some(12, 28), some(20, 29), some(500, 30));
    let mut params = CK_CHACHA20_PARAMS {
        pBlockCounter: counter.as_mut_ptr(),
        blockCounterBits: 32,
        pNonce: nonce.as_mut_ptr(),
        ulNonceBits: 96,
    };
    let expected = openssl("ChaCha20", &value, Some(&[&counter[..], &nonce].concat()), false, &input).unwrap();
    assert_eq!(module.cipher(&ENCRYPT, mechanism(CKM_CHACHA20, &mut params), key, &input), expected);
    assert_eq!(module.cipher(&DECRYPT, mechanism(CKM_CHACHA20, &mut params), key, &expected), input);

    let mut tag = [0; 16];
    let cipher = symm::Cipher::chacha20_poly1305();
    let mut expected = symm::encrypt_aead(cipher, &value, Some(&nonce), &aad, &input, &mut tag).unwrap();
    expected.extend(tag);
    let mut params = CK_SALSA20_CHACHA20_POLY1305_PARAMS {
        pNonce: nonce.as_mut_ptr(),
        ulNonceLen: 96,
        pAAD: aad.as_mut_ptr(),
        ulAADLen: aad.len() as CK_ULONG,
    };
    assert_eq!(module.cipher(&ENCRYPT, mechanism(CKM_CHACHA20_POLY1305, &mut params), key, &input), expected);
    assert_eq!(module.cipher(&DECRYPT, mechanism(CKM_CHACHA20_POLY1305, &mut params), key, &expected), input);
}

fn openssl_ccm(key: &[u8], nonce: &[u8], aad: &[u8], input: &[u8]) -> Result<Vec<u8>, ErrorStack> {
    let mut context = CipherCtx::new()?;
    context.encrypt_init(Some(&*Cipher::fetch(None, "AES-256-CCM", None)?), None, None)?;
    context.set_iv_length(nonce.len())?;
    context.set_tag_length(16)?;
    context.encrypt_init(None, Some(key), Some(nonce))?;
    context.set_data_len(input.len())?;
    context.cipher_update(aad, None)?;
    let (mut sealed, mut tag) = (Vec::new(), [0; 16]);
    context.cipher_update_vec(input, &mut sealed)?;
    context.cipher_final_vec(&mut sealed)?;
    context.tag(&mut tag)?;
    sealed.extend(tag);
    Ok(sealed)
}

pub fn ccm(module: &Module) {
    let value = some(32, 31);
    let key = module.create(&secret(CKK_AES, &value));
    let (mut nonce, mut aad, input) = (some(12, 32), some(20, 33), some(300, 34));
    let sealed = |nonce: &[u8], aad: &[u8], input: &[u8]| openssl_ccm(&value, nonce, aad, input).unwrap();
    let expected = sealed(&nonce, &aad, &input);
    let mut params = CK_CCM_PARAMS {
        ulDataLen: input.len() as CK_ULONG,
        pNonce: nonce.as_mut_ptr(),
        ulNonceLen: 12,
        pAAD: aad.as_mut_ptr(),
        ulAADLen: aad.len() as CK_ULONG,
        ulMACLen: 16,
    };
    assert_eq!(module.cipher(&ENCRYPT, mechanism(CKM_AES_CCM, &mut params), key, &input), expected);
    assert_eq!(module.cipher(&DECRYPT, mechanism(CKM_AES_CCM, &mut params), key, &expected), input);

    // Wrapping takes the length from the key, in both structures.
    let wanted = some(29, 35);
    let wrapped_key = module.create(&secret(CKK_GENERIC_SECRET, &wanted));
    let expected = sealed(&nonce, &aad, &wanted);
    params.ulDataLen = 0;
    assert_eq!(module.wrap(mechanism(CKM_AES_CCM, &mut params), key, wrapped_key), expected);
    let mut wrapping = CK_CCM_WRAP_PARAMS {
        ulDataLen: 0,
        pNonce: params.pNonce,
        ulNonceLen: params.ulNonceLen,
        ulNonceFixedBits: 0,
        nonceGenerator: CKG_NO_GENERATE,
        pAAD: params.pAAD,
        ulAADLen: params.ulAADLen,
        ulMACLen: params.ulMACLen,
    };
    assert_eq!(module.wrap(mechanism(CKM_AES_CCM, &mut wrapping), key, wrapped_key), expected);
    let template = [
        ulong(CKA_CLASS, CKO_SECRET_KEY),
        ulong(CKA_KEY_TYPE, CKK_GENERIC_SECRET),
        (CKA_SENSITIVE, vec![CK_FALSE]),
        yes(CKA_EXTRACTABLE),
    ];
    let back = module.unwrap(mechanism(CKM_AES_CCM, &mut wrapping), key, &expected, &template);
    assert_eq!(module.value(back, CKA_VALUE), wanted);
}

/// A key that is no whole blocks is wrapped with zeros behind it, to blocks of the wrapping cipher.
pub fn filled_wrapping(module: &Module) {
    let value = key_value(24);
    let kek = module.create(&secret(CKK_DES3, &value));
    let wanted = some(13, 36);
    let key = module.create(&secret(CKK_GENERIC_SECRET, &wanted));
    let mut iv: [u8; 8] = some(8, 37).try_into().unwrap();
    let filled = [&wanted[..], &[0; 3]].concat();
    let expected = openssl("DES-EDE3-CBC", &value, Some(&iv), false, &filled).unwrap();
    assert_eq!(module.wrap(mechanism(CKM_DES3_CBC, &mut iv), kek, key), expected);
}

pub fn digests(module: &Module) {
    let mut seen = 0;
    for (ty, name) in [(CKM_MD5, "MD5"), (CKM_RIPEMD160, "RIPEMD160"), (CKM_BLAKE2B_512, "BLAKE2b512")] {
        let Some(openssl) = MessageDigest::from_name(name) else { continue };
        for len in [0, 1, 64, 1000] {
            let input = some(len, 38);
            let Ok(expected) = hash(openssl, &input) else { continue };
            assert_eq!(module.digest(ty, &input), expected.as_ref(), "{name} of {len} bytes");
            seen += 1;
        }
    }
    assert!(seen >= 8, "{seen}");
}
