//! The bindings to AWS-LC's DSA, and its search for primes.

#![allow(unsafe_code)]

use std::ffi::{c_int, c_uint};
use std::ptr::{self, NonNull};

use aws_lc_sys as ffi;

pub(in crate::crypto) use super::number::Number;
use super::number::write_be;
use super::{Refused, Result, done, made, refused};

/// A safe prime of this many bits to which 2 is a base of the subgroup of prime order: it is 23 modulo 24.
pub(in crate::crypto) fn safe_prime(bits: usize) -> Result<Number> {
    let bits = c_int::try_from(bits).map_err(|_| Refused)?;
    let (prime, add, rest) = (Number::zero()?, Number::from_be(&[24])?, Number::from_be(&[23])?);
    // SAFETY: live numbers, and no callback.
    done(unsafe {
        ffi::BN_generate_prime_ex(prime.0.as_ptr(), bits, 1, add.0.as_ptr(), rest.0.as_ptr(), ptr::null_mut())
    })?;
    Ok(prime)
}

/// A key with its parameters.
pub(in crate::crypto) struct DsaKey(NonNull<ffi::DSA>);

// SAFETY: nothing in a `DSA` belongs to a thread.
unsafe impl Send for DsaKey {}
// SAFETY: once built, what AWS-LC still changes in it (Montgomery contexts made at first use) it changes under its own
// lock.
unsafe impl Sync for DsaKey {}

impl Drop for DsaKey {
    fn drop(&mut self) {
        // SAFETY: we own this reference, and nothing uses it after this.
        unsafe { ffi::DSA_free(self.0.as_ptr()) }
    }
}

struct Signature(NonNull<ffi::DSA_SIG>);

impl Drop for Signature {
    fn drop(&mut self) {
        // SAFETY: we own the pointer, and nothing uses it after this.
        unsafe { ffi::DSA_SIG_free(self.0.as_ptr()) }
    }
}

impl DsaKey {
    fn empty() -> Result<DsaKey> {
        // SAFETY: takes nothing; the result is checked for NULL.
        made(unsafe { ffi::DSA_new() }).map(DsaKey)
    }

    /// Parameters p, q, g by FIPS 186-4's search: q of 160 bits below a p of 2048 bits, else of 256.
    pub fn parameters(bits: usize) -> Result<[Vec<u8>; 3]> {
        let bits = c_uint::try_from(bits).map_err(|_| Refused)?;
        let key = DsaKey::empty()?;
        let (seed, counter, h) = (ptr::null(), ptr::null_mut(), ptr::null_mut());
        // SAFETY: a new key that only we hold; NULL: no seed is given, nothing more is wanted, no callback.
        done(unsafe { ffi::DSA_generate_parameters_ex(key.0.as_ptr(), bits, seed, 0, counter, h, ptr::null_mut()) })?;
        let mut out: [Vec<u8>; 3] = Default::default();
        for (bytes, getter) in out.iter_mut().zip([ffi::DSA_get0_p, ffi::DSA_get0_q, ffi::DSA_get0_g]) {
            // SAFETY: a live key; what the getter gives lives as long, and is only read here.
            let (number, len) = unsafe {
                let number = made(getter(key.0.as_ptr()).cast_mut())?;
                (number, ffi::BN_num_bytes(number.as_ptr()) as usize)
            };
            *bytes = vec![0; len];
            write_be(number.as_ptr(), bytes)?;
        }
        Ok(out)
    }

    pub fn new([p, q, g]: [Number; 3], public: Number, private: Option<Number>) -> Result<DsaKey> {
        let key = DsaKey::empty()?;
        // SAFETY: a new key that only we hold, and live numbers, which belong to it once the call succeeds, and then
        // are not freed by us.
        done(unsafe { ffi::DSA_set0_pqg(key.0.as_ptr(), p.0.as_ptr(), q.0.as_ptr(), g.0.as_ptr()) })?;
        std::mem::forget((p, q, g));
        let secret = private.as_ref().map_or(ptr::null_mut(), |private| private.0.as_ptr());
        // SAFETY: as above.
        done(unsafe { ffi::DSA_set0_key(key.0.as_ptr(), public.0.as_ptr(), secret) })?;
        std::mem::forget((public, private));
        Ok(key)
    }

    /// Each half of the signature is as long as its slice. Refused for a public key.
    pub fn sign(&self, digest: &[u8], r: &mut [u8], s: &mut [u8]) -> Result<()> {
        // SAFETY: a live key; pointer and length of one slice; the result is checked for NULL.
        let signature = Signature(made(unsafe { ffi::DSA_do_sign(digest.as_ptr(), digest.len(), self.0.as_ptr()) })?);
        let (mut from_r, mut from_s) = (ptr::null(), ptr::null());
        // SAFETY: a live signature; what it gives lives as long, and is only read here.
        unsafe { ffi::DSA_SIG_get0(signature.0.as_ptr(), &mut from_r, &mut from_s) };
        write_be(from_r, r)?;
        write_be(from_s, s)
    }

    pub fn verify(&self, digest: &[u8], r: &[u8], s: &[u8]) -> Result<()> {
        let (r, s) = (Number::from_be(r)?, Number::from_be(s)?);
        // SAFETY: takes nothing; the result is checked for NULL.
        let signature = Signature(made(unsafe { ffi::DSA_SIG_new() })?);
        // SAFETY: live numbers, which belong to the signature once the call succeeds, and then are not freed by us.
        done(unsafe { ffi::DSA_SIG_set0(signature.0.as_ptr(), r.0.as_ptr(), s.0.as_ptr()) })?;
        std::mem::forget((r, s));
        let mut valid = 0;
        let (text, len) = (digest.as_ptr(), digest.len());
        // SAFETY: a live key and signature; pointer and length of one slice.
        done(unsafe { ffi::DSA_do_check_signature(&mut valid, text, len, signature.0.as_ptr(), self.0.as_ptr()) })?;
        if valid == 1 { Ok(()) } else { Err(refused()) }
    }
}
