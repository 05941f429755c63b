//! ChaCha20's key stream (RFC 8439).

use chacha20::ChaCha20;
use chacha20::cipher::{KeyIvInit, StreamCipher};

/// XORs the key stream, of a nonce of zeros and from block 0 on, into `data`; at most 256 GiB.
pub(in crate::crypto) fn stream(key: &[u8; 32], data: &mut [u8]) {
    ChaCha20::new(key.into(), &[0; 12].into()).apply_keystream(data);
}
