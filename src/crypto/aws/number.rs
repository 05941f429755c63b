//! Numbers of any length.

#![allow(unsafe_code)]

use std::ffi::{CString, c_int};
use std::ptr::{self, NonNull};

use aws_lc_sys as ffi;
use zeroize::Zeroizing;

use super::{Refused, Result, done, made, refused};

/// An unsigned integer of any length, wiped when dropped.
pub(in crate::crypto) struct Number(pub(in crate::crypto) NonNull<ffi::BIGNUM>);

// SAFETY: nothing in a `BIGNUM` belongs to a thread.
unsafe impl Send for Number {}
// SAFETY: a number is only read once it is made: no method takes it by `&mut`.
unsafe impl Sync for Number {}

impl Drop for Number {
    fn drop(&mut self) {
        // SAFETY: we own the pointer, and nothing uses it after this.
        unsafe { ffi::BN_clear_free(self.0.as_ptr()) }
    }
}

/// Scratch space of one computation.
struct Scratch(NonNull<ffi::BN_CTX>);

impl Scratch {
    fn new() -> Result<Scratch> {
        // SAFETY: takes nothing; the result is checked for NULL.
        made(unsafe { ffi::BN_CTX_new() }).map(Scratch)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // SAFETY: we own the pointer, and nothing uses it after this.
        unsafe { ffi::BN_CTX_free(self.0.as_ptr()) }
    }
}

impl Number {
    pub(in crate::crypto) fn zero() -> Result<Number> {
        // SAFETY: takes nothing; the result is checked for NULL.
        made(unsafe { ffi::BN_new() }).map(Number)
    }

    pub fn from_be(bytes: &[u8]) -> Result<Number> {
        // SAFETY: the pointer and the length are those of one slice; NULL asks for a new number.
        made(unsafe { ffi::BN_bin2bn(bytes.as_ptr(), bytes.len(), ptr::null_mut()) }).map(Number)
    }

    /// Refused for what is no hexadecimal number.
    pub(in crate::crypto) fn from_hex(text: &str) -> Result<Number> {
        let text = CString::new(text).map_err(|_| Refused)?;
        let mut number = ptr::null_mut();
        // SAFETY: a string that ends; the place starts as NULL, which asks for a new number.
        let digits = unsafe { ffi::BN_hex2bn(&mut number, text.as_ptr()) };
        let number = made(number).map(Number)?;
        if usize::try_from(digits) == Ok(text.count_bytes()) { Ok(number) } else { Err(refused()) }
    }

    /// Big-endian, with leading zeros to the length of `out`; refused where that is too short.
    pub fn to_be(&self, out: &mut [u8]) -> Result<()> {
        write_be(self.0.as_ptr(), out)
    }

    /// Big-endian, without leading zeros.
    pub fn bytes(&self) -> Result<Zeroizing<Vec<u8>>> {
        let mut out = Zeroizing::new(vec![0; self.bits().div_ceil(8)]);
        self.to_be(&mut out)?;
        Ok(out)
    }

    pub fn bits(&self) -> usize {
        // SAFETY: a live number.
        unsafe { ffi::BN_num_bits(self.0.as_ptr()) as usize }
    }

    pub fn is_one(&self) -> bool {
        // SAFETY: a live number.
        unsafe { ffi::BN_is_one(self.0.as_ptr()) == 1 }
    }

    pub fn is_odd(&self) -> bool {
        // SAFETY: a live number.
        unsafe { ffi::BN_is_odd(self.0.as_ptr()) == 1 }
    }

    pub fn larger_than(&self, other: &Number) -> bool {
        // SAFETY: live numbers.
        unsafe { ffi::BN_ucmp(self.0.as_ptr(), other.0.as_ptr()) > 0 }
    }

    pub fn trailing_zeros(&self) -> usize {
        // SAFETY: a live number.
        usize::try_from(unsafe { ffi::BN_count_low_zero_bits(self.0.as_ptr()) }).unwrap_or(0)
    }

    fn computed(compute: impl FnOnce(*mut ffi::BIGNUM, *mut ffi::BN_CTX) -> c_int) -> Result<Number> {
        let result = Number::zero()?;
        let scratch = Scratch::new()?;
        done(compute(result.0.as_ptr(), scratch.0.as_ptr()))?;
        Ok(result)
    }

    pub fn times(&self, by: &Number) -> Result<Number> {
        // SAFETY: live numbers and scratch space.
        Number::computed(|out, scratch| unsafe { ffi::BN_mul(out, self.0.as_ptr(), by.0.as_ptr(), scratch) })
    }

    pub fn over(&self, divisor: &Number) -> Result<Number> {
        Number::computed(|out, scratch| {
            // SAFETY: live numbers and scratch space; NULL says that the remainder is not wanted.
            unsafe { ffi::BN_div(out, ptr::null_mut(), self.0.as_ptr(), divisor.0.as_ptr(), scratch) }
        })
    }

    pub fn modulo(&self, modulus: &Number) -> Result<Number> {
        // SAFETY: live numbers and scratch space.
        Number::computed(|out, scratch| unsafe { ffi::BN_nnmod(out, self.0.as_ptr(), modulus.0.as_ptr(), scratch) })
    }

    /// Refused where `word` is larger.
    pub fn minus(&self, word: u8) -> Result<Number> {
        let word = Number::from_be(&[word])?;
        // SAFETY: live numbers.
        Number::computed(|out, _| unsafe { ffi::BN_usub(out, self.0.as_ptr(), word.0.as_ptr()) })
    }

    pub fn shifted_right(&self, bits: usize) -> Result<Number> {
        let bits = c_int::try_from(bits).map_err(|_| Refused)?;
        // SAFETY: a live number.
        Number::computed(|out, _| unsafe { ffi::BN_rshift(out, self.0.as_ptr(), bits) })
    }

    pub fn gcd(&self, other: &Number) -> Result<Number> {
        // SAFETY: live numbers and scratch space.
        Number::computed(|out, scratch| unsafe { ffi::BN_gcd(out, self.0.as_ptr(), other.0.as_ptr(), scratch) })
    }

    /// Constant time in base and exponent. The modulus is odd and larger than the base.
    pub fn power(&self, exponent: &Number, modulus: &Number) -> Result<Number> {
        let (base, exponent, modulus) = (self.0.as_ptr(), exponent.0.as_ptr(), modulus.0.as_ptr());
        Number::computed(|out, scratch| {
            // SAFETY: live numbers and scratch space; NULL: the Montgomery context is made for this call.
            unsafe { ffi::BN_mod_exp_mont_consttime(out, base, exponent, modulus, scratch, ptr::null()) }
        })
    }

    /// Uniform in 2 .. `below`.
    pub fn random_below(below: &Number) -> Result<Number> {
        // SAFETY: live numbers.
        Number::computed(|out, _| unsafe { ffi::BN_rand_range_ex(out, 2, below.0.as_ptr()) })
    }
}

/// The numbers below an odd modulus, in constant time.
pub(super) struct Field<'a>(NonNull<ffi::BN_MONT_CTX>, &'a Number);

impl Drop for Field<'_> {
    fn drop(&mut self) {
        // SAFETY: we own the pointer, and nothing uses it after this.
        unsafe { ffi::BN_MONT_CTX_free(self.0.as_ptr()) }
    }
}

impl Field<'_> {
    pub fn new(modulus: &Number) -> Result<Field<'_>> {
        let scratch = Scratch::new()?;
        // SAFETY: a live number and scratch space; the result is checked for NULL.
        let context = made(unsafe { ffi::BN_MONT_CTX_new_for_modulus(modulus.0.as_ptr(), scratch.0.as_ptr()) })?;
        Ok(Field(context, modulus))
    }

    /// Of two numbers below the modulus, of which the first is live.
    pub fn product(&self, one: *const ffi::BIGNUM, other: &Number) -> Result<Number> {
        let context = self.0.as_ptr();
        // One of the two in Montgomery's form: then the product is not.
        // SAFETY: live numbers, context and scratch space.
        let other =
            Number::computed(|out, scratch| unsafe { ffi::BN_to_montgomery(out, other.0.as_ptr(), context, scratch) })?;
        // SAFETY: live numbers, context and scratch space.
        Number::computed(|out, scratch| unsafe {
            ffi::BN_mod_mul_montgomery(out, one, other.0.as_ptr(), context, scratch)
        })
    }

    /// Of two numbers below the modulus.
    pub fn sum(&self, one: &Number, other: &Number) -> Result<Number> {
        // SAFETY: live numbers.
        Number::computed(|out, _| unsafe {
            ffi::BN_mod_add_quick(out, one.0.as_ptr(), other.0.as_ptr(), self.1.0.as_ptr())
        })
    }
}

impl PartialEq for Number {
    fn eq(&self, other: &Number) -> bool {
        // SAFETY: live numbers.
        unsafe { ffi::BN_equal_consttime(self.0.as_ptr(), other.0.as_ptr()) == 1 }
    }
}

pub(in crate::crypto) fn write_be(number: *const ffi::BIGNUM, out: &mut [u8]) -> Result<()> {
    // SAFETY: callers pass a live number; the pointer and the length are those of one slice.
    done(unsafe { ffi::BN_bn2bin_padded(out.as_mut_ptr(), out.len(), number) })
}
