//! RSA without padding, and the generation of its keys.

#![allow(unsafe_code)]

use std::ffi::c_int;
use std::ptr::{self, NonNull};

use aws_lc_sys as ffi;
use zeroize::Zeroizing;

pub(in crate::crypto) use super::number::Number;
use super::number::write_be;
use super::{Refused, Result, done, made};
use crate::crypto::rsa::RsaNumbers;

/// An RSA key with its Montgomery contexts and cache of blindings.
pub(in crate::crypto) struct RsaKey(NonNull<ffi::RSA>);

// SAFETY: nothing in an `RSA` belongs to a thread.
unsafe impl Send for RsaKey {}
// SAFETY: once built, what AWS-LC still changes in it (contexts made at first use, blindings in use) it changes under
// the key's own lock; its documentation allows concurrent operations on one key.
unsafe impl Sync for RsaKey {}

impl Drop for RsaKey {
    fn drop(&mut self) {
        // SAFETY: we own this reference, and nothing uses it after this.
        unsafe { ffi::RSA_free(self.0.as_ptr()) }
    }
}

/// Public exponents up to this many bits AWS-LC takes without being asked.
const ORDINARY_EXPONENT_BITS: usize = 33;

impl RsaKey {
    /// Refused where `n` is even or longer than 16384 bits, or `e` is even, 1, or not below `n`.
    pub fn public(n: &Number, e: &Number) -> Result<RsaKey> {
        let new =
            if e.bits() > ORDINARY_EXPONENT_BITS { ffi::RSA_new_public_key_large_e } else { ffi::RSA_new_public_key };
        // SAFETY: live numbers, which the function copies.
        made(unsafe { new(n.0.as_ptr(), e.0.as_ptr()) }).map(RsaKey)
    }

    /// Refused where the numbers do not belong together.
    pub fn private(k: &RsaNumbers<Number>) -> Result<RsaKey> {
        let new = if k.e.bits() > ORDINARY_EXPONENT_BITS {
            ffi::RSA_new_private_key_large_e
        } else {
            ffi::RSA_new_private_key
        };
        let [n, e, d, p, q, dp, dq, qinv] =
            [&k.n, &k.e, &k.d, &k.p, &k.q, &k.dp, &k.dq, &k.qinv].map(|number| number.0.as_ptr().cast_const());
        // SAFETY: live numbers, which the function copies.
        made(unsafe { new(n, e, d, p, q, dp, dq, qinv) }).map(RsaKey)
    }

    /// `bits` is a multiple of 128: AWS-LC rounds down silently.
    pub fn generate(bits: usize, e: &Number) -> Result<RsaKey> {
        let bits = c_int::try_from(bits).map_err(|_| Refused)?;
        // SAFETY: takes nothing; the result is checked for NULL.
        let key = RsaKey(made(unsafe { ffi::RSA_new() })?);
        // SAFETY: a new key that only we hold, a live number, and no callback.
        done(unsafe { ffi::RSA_generate_key_ex(key.0.as_ptr(), bits, e.0.as_ptr(), ptr::null_mut()) })?;
        Ok(key)
    }

    /// n, e, d, p, q, d mod p-1, d mod q-1, 1/q mod p, without leading zeros; refused for a public key.
    pub fn numbers(&self) -> Result<[Zeroizing<Vec<u8>>; 8]> {
        let mut out: [Zeroizing<Vec<u8>>; 8] = Default::default();
        let getters = [
            ffi::RSA_get0_n,
            ffi::RSA_get0_e,
            ffi::RSA_get0_d,
            ffi::RSA_get0_p,
            ffi::RSA_get0_q,
            ffi::RSA_get0_dmp1,
            ffi::RSA_get0_dmq1,
            ffi::RSA_get0_iqmp,
        ];
        for (bytes, getter) in out.iter_mut().zip(getters) {
            // SAFETY: a live key; what the getter gives lives as long, and is only read here.
            let (number, len) = unsafe {
                let number = made(getter(self.0.as_ptr()).cast_mut())?;
                (number, ffi::BN_num_bytes(number.as_ptr()) as usize)
            };
            *bytes = Zeroizing::new(vec![0; len]);
            write_be(number.as_ptr(), bytes)?;
        }
        Ok(out)
    }

    /// `input` to the power e. Refused unless both slices are as long as the modulus and `input` is below it.
    pub fn public_operation(&self, input: &[u8], out: &mut [u8]) -> Result<()> {
        self.operate(ffi::RSA_verify_raw, input, out)
    }

    /// `input` to the power d, blinded, the result checked. Refused unless both slices are as long as the modulus, and
    /// for an input of 0, 1, or not below n - 1.
    pub fn private_operation(&self, input: &[u8], out: &mut [u8]) -> Result<()> {
        self.operate(ffi::RSA_decrypt, input, out)
    }

    fn operate(&self, operation: RsaOperation, input: &[u8], out: &mut [u8]) -> Result<()> {
        let mut len = 0;
        // SAFETY: a live key, one slice in, another out; the function writes at most `out.len()` bytes.
        let status = unsafe {
            operation(
                self.0.as_ptr(),
                &mut len,
                out.as_mut_ptr(),
                out.len(),
                input.as_ptr(),
                input.len(),
                ffi::RSA_NO_PADDING,
            )
        };
        done(status)?;
        if len == out.len() { Ok(()) } else { Err(Refused) }
    }
}

type RsaOperation = unsafe extern "C" fn(*mut ffi::RSA, *mut usize, *mut u8, usize, *const u8, usize, c_int) -> c_int;
