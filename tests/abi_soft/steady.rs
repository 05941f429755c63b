//! Message after message under one init allocates nothing.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::ptr::null_mut;

use cryptoki_sys::*;

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
