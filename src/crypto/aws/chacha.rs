//! ChaCha20's key stream (RFC 8439).

#![allow(unsafe_code)]

use aws_lc_sys as ffi;

/// XORs the key stream, of a nonce of zeros and from block 0 on, into `data`; at most 256 GiB.
pub(in crate::crypto) fn stream(key: &[u8; 32], data: &mut [u8]) {
    let nonce = [0; 12];
    // SAFETY: reads and writes the same `data`, which the function allows; the key has 32 bytes and the nonce 12.
    unsafe { ffi::CRYPTO_chacha_20(data.as_mut_ptr(), data.as_ptr(), data.len(), key.as_ptr(), nonce.as_ptr(), 0) }
}
