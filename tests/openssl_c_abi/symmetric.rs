//! AES, digests and MACs.

use cryptoki_sys::*;
use openssl::hash::{MessageDigest, hash};
use openssl::pkey::PKey;
use openssl::sign::Signer;
use openssl::symm::{Cipher, decrypt_aead, encrypt, encrypt_aead};

use crate::module::{Attr, DECRYPT, ENCRYPT, Module, bytes, mechanism, plain, ulong, yes};

/// Values that look like nothing in particular, the same in every run.
pub fn some(len: usize, seed: u8) -> Vec<u8> {
    (0..len).map(|i| (i as u8).wrapping_mul(167).wrapping_add(seed).rotate_left(3)).collect()
}

pub fn secret(key_type: CK_KEY_TYPE, value: &[u8]) -> Vec<Attr> {
    let mut template = vec![
        ulong(CKA_CLASS, CKO_SECRET_KEY),
        ulong(CKA_KEY_TYPE, key_type),
        bytes(CKA_VALUE, value),
        (CKA_SENSITIVE, vec![CK_FALSE]),
    ];
    template.extend([CKA_EXTRACTABLE, CKA_ENCRYPT, CKA_DECRYPT, CKA_SIGN, CKA_VERIFY, CKA_WRAP, CKA_UNWRAP].map(yes));
    template
}

pub fn ciphers(module: &Module) {
    type Pick = fn(usize) -> Cipher;
    let modes: [(CK_MECHANISM_TYPE, bool, usize, Pick); 6] = [
        (CKM_AES_ECB, false, 16, |n| [Cipher::aes_128_ecb, Cipher::aes_192_ecb, Cipher::aes_256_ecb][n]()),
        (CKM_AES_CBC, true, 16, |n| [Cipher::aes_128_cbc, Cipher::aes_192_cbc, Cipher::aes_256_cbc][n]()),
        (CKM_AES_CBC_PAD, true, 1, |n| [Cipher::aes_128_cbc, Cipher::aes_192_cbc, Cipher::aes_256_cbc][n]()),
        (CKM_AES_OFB, true, 1, |n| [Cipher::aes_128_ofb, Cipher::aes_192_ofb, Cipher::aes_256_ofb][n]()),
        (CKM_AES_CFB128, true, 1, |n| [Cipher::aes_128_cfb128, Cipher::aes_192_cfb128, Cipher::aes_256_cfb128][n]()),
        (CKM_AES_CFB8, true, 1, |n| [Cipher::aes_128_cfb8, Cipher::aes_192_cfb8, Cipher::aes_256_cfb8][n]()),
    ];
    for n in 0..3 {
        let value = some(16 + 8 * n, 1);
        let key = module.create(&secret(CKK_AES, &value));
        let mut iv: [u8; 16] = some(16, 9).try_into().unwrap();
        for (ty, has_iv, unit, pick) in modes {
            for len in [0, 1, 15, 16, 17, 160, 1000].map(|len| len / unit * unit) {
                let input = some(len, 3);
                let expected = openssl_cipher(pick(n), ty == CKM_AES_CBC_PAD, &value, has_iv.then_some(&iv), &input);
                let (mut for_encryption, mut for_decryption) = (iv, iv);
                let make = |iv: &mut [u8; 16]| if has_iv { mechanism(ty, iv) } else { plain(ty) };
                let ours = module.cipher(&ENCRYPT, make(&mut for_encryption), key, &input);
                assert_eq!(ours, expected, "{ty:#x} of {len} bytes");
                assert_eq!(module.cipher(&DECRYPT, make(&mut for_decryption), key, &expected), input);
            }
        }
        counter(module, key, &value, &mut iv, n);
    }
}

fn openssl_cipher(cipher: Cipher, pad: bool, key: &[u8], iv: Option<&[u8; 16]>, input: &[u8]) -> Vec<u8> {
    if pad {
        return encrypt(cipher, key, iv.map(|iv| iv.as_slice()), input).unwrap();
    }
    let mode = openssl::symm::Mode::Encrypt;
    let mut crypter = openssl::symm::Crypter::new(cipher, mode, key, iv.map(|iv| iv.as_slice())).unwrap();
    crypter.pad(false);
    let mut out = vec![0; input.len() + 32];
    let done = crypter.update(input, &mut out).unwrap();
    let rest = crypter.finalize(&mut out[done..]).unwrap();
    out.truncate(done + rest);
    out
}

fn counter(module: &Module, key: CK_OBJECT_HANDLE, value: &[u8], iv: &mut [u8; 16], n: usize) {
    let cipher = [Cipher::aes_128_ctr, Cipher::aes_192_ctr, Cipher::aes_256_ctr][n]();
    let input = some(333, 4);
    let expected = encrypt(cipher, value, Some(iv), &input).unwrap();
    let mut params = CK_AES_CTR_PARAMS { ulCounterBits: 128, cb: *iv };
    assert_eq!(module.cipher(&ENCRYPT, mechanism(CKM_AES_CTR, &mut params), key, &input), expected);
    assert_eq!(module.cipher(&DECRYPT, mechanism(CKM_AES_CTR, &mut params), key, &expected), input);
}

pub fn authenticated(module: &Module) {
    for (n, cipher) in [Cipher::aes_128_gcm(), Cipher::aes_192_gcm(), Cipher::aes_256_gcm()].into_iter().enumerate() {
        let value = some(16 + 8 * n, 5);
        let key = module.create(&secret(CKK_AES, &value));
        for (len, aad_len, iv_len, tag_len) in [(0, 0, 12, 16), (1, 13, 12, 16), (100, 0, 12, 12), (1000, 70, 16, 16)] {
            let (input, mut aad, mut iv) = (some(len, 6), some(aad_len, 7), some(iv_len, 8));
            let mut tag = vec![0; tag_len];
            let mut expected = encrypt_aead(cipher, &value, Some(&iv), &aad, &input, &mut tag).unwrap();
            let mut params = CK_GCM_PARAMS {
                pIv: iv.as_mut_ptr(),
                ulIvLen: iv_len as CK_ULONG,
                ulIvBits: 8 * iv_len as CK_ULONG,
                pAAD: aad.as_mut_ptr(),
                ulAADLen: aad_len as CK_ULONG,
                ulTagBits: 8 * tag_len as CK_ULONG,
            };
            let ours = module.cipher(&ENCRYPT, mechanism(CKM_AES_GCM, &mut params), key, &input);
            let (text, ours_tag) = ours.split_at(len);
            assert_eq!(decrypt_aead(cipher, &value, Some(&iv), &aad, text, ours_tag).unwrap(), input);
            expected.extend_from_slice(&tag);
            assert_eq!(ours, expected);
            assert_eq!(module.cipher(&DECRYPT, mechanism(CKM_AES_GCM, &mut params), key, &expected), input);
        }
    }
}

pub fn key_wrapping(module: &Module) {
    let kek_value = some(32, 10);
    let kek = module.create(&secret(CKK_AES, &kek_value));
    for len in [16, 24, 32] {
        let value = some(len, 11);
        let key = module.create(&secret(CKK_AES, &value));
        let wrapped = module.wrap(plain(CKM_AES_KEY_WRAP), kek, key);
        let mut expected = vec![0; len + 8];
        let openssl_kek = openssl::aes::AesKey::new_encrypt(&kek_value).unwrap();
        openssl::aes::wrap_key(&openssl_kek, None, &mut expected, &value).unwrap();
        assert_eq!(wrapped, expected);
        assert_eq!(unwrapped(module, CKM_AES_KEY_WRAP, kek, &expected, CKK_AES), value);
    }
    for len in [1, 8, 13, 40] {
        let value = some(len, 12);
        let key = module.create(&secret(CKK_GENERIC_SECRET, &value));
        let expected = openssl_kwp(&kek_value, &value);
        assert_eq!(module.wrap(plain(CKM_AES_KEY_WRAP_KWP), kek, key), expected, "{len} bytes");
        assert_eq!(unwrapped(module, CKM_AES_KEY_WRAP_KWP, kek, &expected, CKK_GENERIC_SECRET), value);
    }
}

fn unwrapped(module: &Module, ty: CK_MECHANISM_TYPE, kek: CK_OBJECT_HANDLE, blob: &[u8], kind: CK_KEY_TYPE) -> Vec<u8> {
    let template = [
        ulong(CKA_CLASS, CKO_SECRET_KEY),
        ulong(CKA_KEY_TYPE, kind),
        (CKA_SENSITIVE, vec![CK_FALSE]),
        yes(CKA_EXTRACTABLE),
    ];
    module.value(module.unwrap(plain(ty), kek, blob, &template), CKA_VALUE)
}

fn openssl_kwp(kek: &[u8], value: &[u8]) -> Vec<u8> {
    use openssl::cipher_ctx::{CipherCtx, CipherCtxFlags};
    let mut ctx = CipherCtx::new().unwrap();
    ctx.set_flags(CipherCtxFlags::FLAG_WRAP_ALLOW);
    let cipher = openssl::cipher::Cipher::fetch(None, "id-aes256-wrap-pad", None).unwrap();
    ctx.encrypt_init(Some(&cipher), Some(kek), None).unwrap();
    let mut out = Vec::new();
    ctx.cipher_update_vec(value, &mut out).unwrap();
    ctx.cipher_final_vec(&mut out).unwrap();
    out
}

/// Each hash: its digest mechanism, its HMAC mechanism and OpenSSL's name.
fn hashes() -> Vec<(CK_MECHANISM_TYPE, CK_MECHANISM_TYPE, MessageDigest)> {
    [
        (CKM_SHA_1, CKM_SHA_1_HMAC, "SHA1"),
        (CKM_SHA224, CKM_SHA224_HMAC, "SHA224"),
        (CKM_SHA256, CKM_SHA256_HMAC, "SHA256"),
        (CKM_SHA384, CKM_SHA384_HMAC, "SHA384"),
        (CKM_SHA512, CKM_SHA512_HMAC, "SHA512"),
        (CKM_SHA512_224, CKM_SHA512_224_HMAC, "SHA512-224"),
        (CKM_SHA512_256, CKM_SHA512_256_HMAC, "SHA512-256"),
        (CKM_SHA3_224, CKM_SHA3_224_HMAC, "SHA3-224"),
        (CKM_SHA3_256, CKM_SHA3_256_HMAC, "SHA3-256"),
        (CKM_SHA3_384, CKM_SHA3_384_HMAC, "SHA3-384"),
        (CKM_SHA3_512, CKM_SHA3_512_HMAC, "SHA3-512"),
    ]
    .map(|(digest, hmac, name)| (digest, hmac, MessageDigest::from_name(name).expect(name)))
    .to_vec()
}

pub fn digests(module: &Module) {
    for (ty, _, openssl) in hashes() {
        for len in [0, 1, 64, 1000] {
            let input = some(len, 13);
            assert_eq!(module.digest(ty, &input), hash(openssl, &input).unwrap().as_ref(), "{ty:#x} of {len} bytes");
        }
    }
}

pub fn macs(module: &Module) {
    let value = some(32, 14);
    let generic = module.create(&secret(CKK_GENERIC_SECRET, &value));
    let input = some(777, 15);
    let mac = |key: &PKey<openssl::pkey::Private>, digest: Option<MessageDigest>| {
        let signer = match digest {
            Some(digest) => Signer::new(digest, key),
            None => Signer::new_without_digest(key),
        };
        signer.unwrap().sign_oneshot_to_vec(&input).unwrap()
    };
    let check = |ty, key, expected: &[u8]| {
        assert_eq!(module.sign(plain(ty), key, &input), expected, "{ty:#x}");
        assert_eq!(module.sign_parts(plain(ty), key, &input), expected, "{ty:#x} in parts");
        assert_eq!(module.verify(plain(ty), key, &input, expected), CKR_OK);
        let mut wrong = expected.to_vec();
        wrong[0] ^= 1;
        assert_eq!(module.verify(plain(ty), key, &input, &wrong), CKR_SIGNATURE_INVALID);
    };
    for (_, ty, openssl) in hashes() {
        check(ty, generic, &mac(&PKey::hmac(&value).unwrap(), Some(openssl)));
    }
    let aes = module.create(&secret(CKK_AES, &value));
    check(CKM_AES_CMAC, aes, &mac(&PKey::cmac(&Cipher::aes_256_cbc(), &value).unwrap(), None));
}
