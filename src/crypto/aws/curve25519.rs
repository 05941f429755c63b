//! Ed25519 and X25519.

#![allow(unsafe_code)]

use aws_lc_sys as ffi;

use super::{Result, done};
use crate::crypto::ed25519::Form;

/// Fills `private` as AWS-LC wants it, with seed and public key; gives the public key.
pub(in crate::crypto) fn ed25519_from_seed(seed: &[u8; 32], private: &mut [u8; 64]) -> [u8; 32] {
    let mut public = [0; 32];
    // SAFETY: the arrays have the lengths that the function documents.
    unsafe { ffi::ED25519_keypair_from_seed(public.as_mut_ptr(), private.as_mut_ptr(), seed.as_ptr()) };
    public
}

pub(in crate::crypto) fn ed25519_sign(
    form: Form,
    private: &[u8; 64],
    message: &[u8],
    out: &mut [u8; 64],
) -> Result<()> {
    let (text, key, out) = (message.as_ptr(), private.as_ptr(), out.as_mut_ptr());
    // SAFETY: the arrays have the lengths that the functions document; message and context are whole slices.
    done(unsafe {
        match form {
            Form::Pure => ffi::ED25519_sign(out, text, message.len(), key),
            Form::Context(context) => {
                ffi::ED25519ctx_sign(out, text, message.len(), key, context.as_ptr(), context.len())
            }
            Form::Prehashed(digest, context) => {
                ffi::ED25519ph_sign_digest(out, digest.as_ptr(), key, context.as_ptr(), context.len())
            }
        }
    })
}

pub(in crate::crypto) fn ed25519_verify(
    form: Form,
    public: &[u8; 32],
    message: &[u8],
    signature: &[u8; 64],
) -> Result<()> {
    let (text, signature, key) = (message.as_ptr(), signature.as_ptr(), public.as_ptr());
    // SAFETY: the arrays have the lengths that the functions document; message and context are whole slices.
    done(unsafe {
        match form {
            Form::Pure => ffi::ED25519_verify(text, message.len(), signature, key),
            Form::Context(context) => {
                ffi::ED25519ctx_verify(text, message.len(), signature, key, context.as_ptr(), context.len())
            }
            Form::Prehashed(digest, context) => {
                ffi::ED25519ph_verify_digest(digest.as_ptr(), signature, key, context.as_ptr(), context.len())
            }
        }
    })
}

pub(in crate::crypto) fn x25519_public(private: &[u8; 32]) -> [u8; 32] {
    let mut public = [0; 32];
    // SAFETY: the arrays have the lengths that the function documents.
    unsafe { ffi::X25519_public_from_private(public.as_mut_ptr(), private.as_ptr()) };
    public
}

/// Refused where the shared value is all zero: the peer's value is of small order (RFC 7748, 6.1).
pub(in crate::crypto) fn x25519(private: &[u8; 32], peer: &[u8; 32], out: &mut [u8; 32]) -> Result<()> {
    // SAFETY: the arrays have the lengths that the function documents.
    done(unsafe { ffi::X25519(out.as_mut_ptr(), private.as_ptr(), peer.as_ptr()) })
}
