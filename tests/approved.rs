//! `mechanisms = "approved"`, through the C ABI: what is offered, what is refused, and what is said of what was done. One test,
//! since one process holds one configuration.

// The calls take what the module's own methods take, without their assertions.
#[allow(dead_code)]
#[path = "openssl_c_abi/module.rs"]
mod module;

use std::ptr::null_mut;

use cryptoki_sys::*;
use module::gcm::gcm;
use module::{Attr, Module, attributes, bytes, mechanism, no, plain, ulong, yes};

const P256: &[u8] = &[6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7];
const SECP256K1: &[u8] = &[6, 5, 0x2b, 0x81, 4, 0, 10];

/// `CKS_LAST_VALIDATION_OK`.
fn flags(module: &Module) -> CK_FLAGS {
    let mut flags = 0x5555;
    // SAFETY: a live place.
    let rv = unsafe { module.api.C_GetSessionValidationFlags(module.session, CKS_LAST_VALIDATION_OK, &raw mut flags) };
    assert_eq!(rv, CKR_OK);
    flags
}

fn pair(module: &Module, curve: &[u8]) -> Result<(CK_OBJECT_HANDLE, CK_OBJECT_HANDLE), CK_RV> {
    let template = [bytes(CKA_EC_PARAMS, curve)];
    let (mut public, mut made) = (attributes(&template), (0, 0));
    // SAFETY: live values with their lengths.
    let rv = unsafe {
        module.api.C_GenerateKeyPair(
            module.session,
            &mut plain(CKM_EC_KEY_PAIR_GEN),
            public.as_mut_ptr(),
            public.len() as CK_ULONG,
            null_mut(),
            0,
            &raw mut made.0,
            &raw mut made.1,
        )
    };
    if rv == CKR_OK { Ok(made) } else { Err(rv) }
}

fn secret(module: &Module, key_type: CK_KEY_TYPE, value: &[u8]) -> CK_OBJECT_HANDLE {
    let template: [Attr; 8] = [
        ulong(CKA_CLASS, CKO_SECRET_KEY),
        ulong(CKA_KEY_TYPE, key_type),
        bytes(CKA_VALUE, value),
        yes(CKA_SIGN),
        yes(CKA_ENCRYPT),
        yes(CKA_DECRYPT),
        no(CKA_SENSITIVE),
        yes(CKA_EXTRACTABLE),
    ];
    module.create(&template)
}

#[test]
fn the_approved_mode_offers_and_refuses() {
    let directory = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("approved-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    let module = Module::with(&directory, "approved");

    let digest = |ty| {
        // SAFETY: a live mechanism.
        unsafe { module.api.C_DigestInit(module.session, &mut plain(ty)) }
    };
    assert_eq!(digest(CKM_MD5), CKR_MECHANISM_INVALID, "not offered");
    assert_eq!(digest(CKM_BLAKE2B_256), CKR_MECHANISM_INVALID);
    assert_eq!(flags(&module), 0, "nothing has been done");
    assert_eq!(module.digest(CKM_SHA256, b"abc").len(), 32);
    assert_eq!(flags(&module), 1);

    // Curves: by size as the mechanism has it both would do.
    let (public, private) = pair(&module, P256).unwrap();
    assert_eq!(flags(&module), 1);
    for key in [public, private] {
        assert_eq!(module.value(key, CKA_OBJECT_VALIDATION_FLAGS), 1u64.to_ne_bytes());
    }
    assert_eq!(pair(&module, SECP256K1), Err(CKR_OPERATION_NOT_VALIDATED));
    assert_eq!(flags(&module), 0, "the last operation was refused");
    let signature = module.sign(plain(CKM_ECDSA_SHA256), private, b"message");
    assert_eq!(flags(&module), 1);
    assert_eq!(module.verify(plain(CKM_ECDSA_SHA256), public, b"other", &signature), CKR_SIGNATURE_INVALID);
    assert_eq!(flags(&module), 0);

    // Keys from outside say nothing of how they were made.
    let long = secret(&module, CKK_GENERIC_SECRET, &[1; 14]);
    assert_eq!(module.value(long, CKA_OBJECT_VALIDATION_FLAGS), 0u64.to_ne_bytes());
    let sign = |key, mut by: CK_MECHANISM| {
        // SAFETY: a live mechanism.
        let rv = unsafe { module.api.C_SignInit(module.session, &mut by, key) };
        if rv == CKR_OK {
            // SAFETY: cancels it.
            assert_eq!(unsafe { module.api.C_SignInit(module.session, null_mut(), 0) }, CKR_OK);
        }
        rv
    };
    assert_eq!(sign(long, plain(CKM_SHA256_HMAC)), CKR_OK);
    assert_eq!(
        sign(secret(&module, CKK_GENERIC_SECRET, &[1; 13]), plain(CKM_SHA256_HMAC)),
        CKR_OPERATION_NOT_VALIDATED
    );
    assert_eq!(sign(long, mechanism(CKM_SHA256_HMAC_GENERAL, &mut 8u64)), CKR_OK);
    assert_eq!(sign(long, mechanism(CKM_SHA256_HMAC_GENERAL, &mut 4u64)), CKR_OPERATION_NOT_VALIDATED);
    // What one use was begun with says nothing of the next, though the token keeps the operation for it.
    assert_eq!(module.sign(mechanism(CKM_SHA256_HMAC_GENERAL, &mut 8u64), long, b"message").len(), 8);
    assert_eq!(sign(long, mechanism(CKM_SHA256_HMAC_GENERAL, &mut 4u64)), CKR_OPERATION_NOT_VALIDATED);
    assert_eq!(module.sign(mechanism(CKM_SHA256_HMAC_GENERAL, &mut 16u64), long, b"message").len(), 16);

    // GCM decrypts with the IV that it is told, and encrypts with one of its own.
    let (aes, mut iv, mut tag) = (secret(&module, CKK_AES, &[2; 32]), [3u8; 12], [0u8; 16]);
    let mut params = gcm(&mut iv, 128);
    // SAFETY: live parameters.
    let rv = unsafe { module.api.C_EncryptInit(module.session, &mut mechanism(CKM_AES_GCM, &mut params), aes) };
    assert_eq!(rv, CKR_OPERATION_NOT_VALIDATED);
    // SAFETY: as above.
    let rv = unsafe { module.api.C_DecryptInit(module.session, &mut mechanism(CKM_AES_GCM, &mut params), aes) };
    assert_eq!(rv, CKR_OK);
    // SAFETY: as above.
    let rv = unsafe { module.api.C_MessageEncryptInit(module.session, &mut plain(CKM_AES_GCM), aes) };
    assert_eq!(rv, CKR_OK);
    let (mut text, mut sealed, mut len) = (*b"text", [0u8; 4], 4);
    let refused = CKR_OPERATION_NOT_VALIDATED;
    for (generator, tag_bits, expected) in
        [(CKG_NO_GENERATE, 128, refused), (CKG_GENERATE_RANDOM, 88, refused), (CKG_GENERATE_RANDOM, 128, CKR_OK)]
    {
        let mut message = CK_GCM_MESSAGE_PARAMS {
            pIv: iv.as_mut_ptr(),
            ulIvLen: 12,
            ulIvFixedBits: 0,
            ivGenerator: generator,
            pTag: tag.as_mut_ptr(),
            ulTagBits: tag_bits,
        };
        // SAFETY: live values with their lengths.
        let rv = unsafe {
            module.api.C_EncryptMessage(
                module.session,
                (&raw mut message).cast(),
                size_of::<CK_GCM_MESSAGE_PARAMS>() as CK_ULONG,
                null_mut(),
                0,
                text.as_mut_ptr(),
                4,
                sealed.as_mut_ptr(),
                &raw mut len,
            )
        };
        assert_eq!(rv, expected, "generator {generator}, tag of {tag_bits} bits");
    }
    assert!(flags(&module) == 1 && iv != [3; 12]);

    // No claim: no validation object.
    let class = [ulong(CKA_CLASS, CKO_VALIDATION)];
    let (mut template, mut found, mut count) = (attributes(&class), [0; 4], 0);
    // SAFETY: live values with their lengths.
    unsafe {
        assert_eq!(module.api.C_FindObjectsInit(module.session, template.as_mut_ptr(), 1), CKR_OK);
        assert_eq!(module.api.C_FindObjects(module.session, found.as_mut_ptr(), 4, &raw mut count), CKR_OK);
    }
    assert_eq!(count, 0);
    std::fs::remove_dir_all(directory).unwrap();
}
