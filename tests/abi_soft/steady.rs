//! Message after message under one init allocates nothing.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::ptr::null_mut;

use cryptoki_sys::*;

use crate::harness::gcm::gcm;
use crate::harness::*;
use crate::ok;

struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
}

// SAFETY: the system's allocator, and a count beside it that allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let _ = ALLOCATIONS.try_with(|count| count.set(count.get() + 1));
        // SAFETY: passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: passed on.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

/// How many allocations the later rounds make.
fn allocations(mut round: impl FnMut()) -> usize {
    (0..3).for_each(|_| round());
    let before = ALLOCATIONS.get();
    (0..100).for_each(|_| round());
    ALLOCATIONS.get() - before
}

#[test]
fn messages_encrypted_and_decrypted() {
    let running = start();
    let (session, key) = (running.session, aes_key(running.session, &[7; 16]));
    let (mut iv, mut tag, mut sealed, mut opened) = ([0; 12], [0; 16], [0; 300], [0; 300]);
    let params = CK_GCM_MESSAGE_PARAMS {
        pIv: iv.as_mut_ptr(),
        ulIvLen: 12,
        ulIvFixedBits: 0,
        ivGenerator: CKG_GENERATE,
        pTag: tag.as_mut_ptr(),
        ulTagBits: 128,
    };
    let (p, size) = ((&raw const params).cast_mut().cast(), size_of_val(&params) as CK_ULONG);
    let (data, aad) = ([6; 300], [5; 200]);
    let by = [mechanism(CKM_AES_GCM)];
    ok!(C_MessageEncryptInit, session, ptr(&by), key);
    ok!(C_MessageDecryptInit, session, ptr(&by), key);
    let made = allocations(|| {
        let mut out_len = 300;
        let (out, back) = (sealed.as_mut_ptr(), opened.as_mut_ptr());
        ok!(C_EncryptMessage, session, p, size, ptr(&aad), 200, ptr(&data), 300, out, &raw mut out_len);
        ok!(C_DecryptMessage, session, p, size, ptr(&aad), 200, out, 300, back, &raw mut out_len);
        assert_eq!(opened, data);
    });
    assert_eq!(made, 0);
}

#[test]
fn messages_signed_and_verified() {
    let running = start();
    let session = running.session;
    let key = create(session, secret(CKK_GENERIC_SECRET).bytes(CKA_VALUE, &[3; 32]));
    let by = [mechanism(CKM_SHA256_HMAC)];
    ok!(C_MessageSignInit, session, ptr(&by), key);
    ok!(C_MessageVerifyInit, session, ptr(&by), key);
    let made = allocations(|| {
        let (mut out, mut out_len) = ([0; 32], 32);
        ok!(C_SignMessage, session, null_mut(), 0, ptr(b"data"), 4, out.as_mut_ptr(), &raw mut out_len);
        ok!(C_VerifyMessage, session, null_mut(), 0, ptr(b"data"), 4, ptr(&out), 32);
    });
    assert_eq!(made, 0);
}

type Do = unsafe extern "C" fn(CK_SESSION_HANDLE, *mut u8, CK_ULONG, *mut u8, *mut CK_ULONG) -> CK_RV;

/// An init and its one call, again and again, by mechanism: nothing but what the cryptographic library does for itself.
#[test]
fn sign_encrypt_and_digest() {
    let running = start();
    let session = running.session;
    let list = keyward::abi::function_list_3_2();
    let generic = create(session, secret(CKK_GENERIC_SECRET).bytes(CKA_VALUE, &[3; 32]));
    let aes = aes_key(session, &[7; 32]);
    let public = || Template::new().yes(CKA_VERIFY);
    let (_, ec) =
        pair(session, CKM_EC_KEY_PAIR_GEN, public().bytes(CKA_EC_PARAMS, P256), Template::new().yes(CKA_SIGN));
    let ed25519 = public().bytes(CKA_EC_PARAMS, &[6, 3, 0x2b, 0x65, 0x70]);
    let (_, ed) = pair(session, CKM_EC_EDWARDS_KEY_PAIR_GEN, ed25519, Template::new().yes(CKA_SIGN));
    let bits = public().number(CKA_MODULUS_BITS, 2048);
    let (_, rsa) = pair(session, CKM_RSA_PKCS_KEY_PAIR_GEN, bits, Template::new().yes(CKA_SIGN));
    let mut iv = [5u8; 16];
    let params = gcm(&mut iv[..12], 128);
    let (sign_init, encrypt_init) = (list.C_SignInit.unwrap(), list.C_EncryptInit.unwrap());
    let (sign, encrypt, digest): (Do, Do, Do) = (list.C_Sign.unwrap(), list.C_Encrypt.unwrap(), list.C_Digest.unwrap());
    let cases = [
        (mechanism(CKM_SHA256_HMAC), Some((sign_init, generic)), sign),
        (mechanism(CKM_ECDSA), Some((sign_init, ec)), sign),
        (mechanism(CKM_ECDSA_SHA256), Some((sign_init, ec)), sign),
        (mechanism(CKM_EDDSA), Some((sign_init, ed)), sign),
        (mechanism(CKM_SHA256_RSA_PKCS), Some((sign_init, rsa)), sign),
        (mechanism(CKM_AES_CMAC), Some((sign_init, aes)), sign),
        (with(CKM_AES_CBC, &iv), Some((encrypt_init, aes)), encrypt),
        (with(CKM_AES_GCM, &params), Some((encrypt_init, aes)), encrypt),
        (mechanism(CKM_SHA256), None, digest),
    ];
    let data = [6; 32];
    let mut out = [0; 512];
    for (by, begin, call) in cases {
        let by = [by];
        let made = allocations(|| {
            match begin {
                // SAFETY: arguments that live until the call returns.
                Some((init, key)) => assert_eq!(unsafe { init(session, ptr(&by), key) }, CKR_OK),
                None => ok!(C_DigestInit, session, ptr(&by)),
            }
            let mut out_len = 512;
            // SAFETY: as above.
            let rv = unsafe { call(session, ptr(&data), 32, out.as_mut_ptr(), &raw mut out_len) };
            assert_eq!(rv, CKR_OK, "{:#x}", by[0].mechanism);
        });
        // Without AWS-LC, RSA's big numbers are on Rust's own heap.
        let of_the_library = !cfg!(feature = "aws-lc") && by[0].mechanism == CKM_SHA256_RSA_PKCS;
        assert!(made == 0 || of_the_library, "mechanism {:#x} made {made} allocations", by[0].mechanism);
    }
}

/// The gate between (docs/lifecycle.md, "The gate") keeps its verdict and allocates nothing either.
#[test]
fn one_key_begun_again_and_again() {
    let running = start();
    let session = running.session;
    let key = create(session, secret(CKK_GENERIC_SECRET).bytes(CKA_VALUE, &[3; 32]));
    let by = [mechanism(CKM_SHA256_HMAC)];
    let made = allocations(|| {
        let (mut out, mut out_len) = ([0; 32], 32);
        ok!(C_SignInit, session, ptr(&by), key);
        ok!(C_Sign, session, ptr(b"data"), 4, out.as_mut_ptr(), &raw mut out_len);
    });
    assert_eq!(made, 0);
}
