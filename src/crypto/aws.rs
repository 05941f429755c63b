//! The bindings to AWS-LC that the public-key files share: owned handles, byte slices in and out, one error.
//!
//! Every pointer here comes from AWS-LC, is checked for NULL once, and is freed by its owner's `Drop` (AWS-LC wipes what
//! it frees). A failed call leaves nothing in the thread's error queue.

#![allow(unsafe_code)]

pub(super) mod finite;

use std::ffi::{CStr, c_int};
use std::ptr::{self, NonNull};

use aws_lc_sys as ffi;
use zeroize::Zeroizing;

use crate::error::{Code, Error};

/// AWS-LC did not do it: the values given are not what the function needs, or memory ran out. The caller knows which
/// code that means; without saying so, it is `CKR_FUNCTION_FAILED`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Refused;

impl From<Refused> for Error {
    fn from(_: Refused) -> Error {
        Code::FunctionFailed.into()
    }
}

type Result<T> = std::result::Result<T, Refused>;

fn refused() -> Refused {
    // SAFETY: touches only this thread's error queue.
    unsafe { ffi::ERR_clear_error() };
    Refused
}

pub(super) fn done(status: c_int) -> Result<()> {
    if status == 1 { Ok(()) } else { Err(refused()) }
}

pub(super) fn made<T>(pointer: *mut T) -> Result<NonNull<T>> {
    NonNull::new(pointer).ok_or_else(refused)
}

/// An unsigned integer of any length, wiped when dropped.
pub(super) struct Number(NonNull<ffi::BIGNUM>);

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

impl Drop for Scratch {
    fn drop(&mut self) {
        // SAFETY: we own the pointer, and nothing uses it after this.
        unsafe { ffi::BN_CTX_free(self.0.as_ptr()) }
    }
}

impl Number {
    fn zero() -> Result<Number> {
        // SAFETY: takes nothing; the result is checked for NULL.
        made(unsafe { ffi::BN_new() }).map(Number)
    }

    pub fn from_be(bytes: &[u8]) -> Result<Number> {
        // SAFETY: the pointer and the length are those of one slice; NULL asks for a new number.
        made(unsafe { ffi::BN_bin2bn(bytes.as_ptr(), bytes.len(), ptr::null_mut()) }).map(Number)
    }

    /// Refused for what is no hexadecimal number.
    fn from_hex(text: &CStr) -> Result<Number> {
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
        // SAFETY: takes nothing; the result is checked for NULL.
        let scratch = Scratch(made(unsafe { ffi::BN_CTX_new() })?);
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

impl PartialEq for Number {
    fn eq(&self, other: &Number) -> bool {
        // SAFETY: live numbers.
        unsafe { ffi::BN_equal_consttime(self.0.as_ptr(), other.0.as_ptr()) == 1 }
    }
}

fn write_be(number: *const ffi::BIGNUM, out: &mut [u8]) -> Result<()> {
    // SAFETY: callers pass a live number; the pointer and the length are those of one slice.
    done(unsafe { ffi::BN_bn2bin_padded(out.as_mut_ptr(), out.len(), number) })
}

/// The numbers of an RSA private key (RFC 8017, A.1.2).
pub(super) struct RsaNumbers {
    pub n: Number,
    pub e: Number,
    pub d: Number,
    pub p: Number,
    pub q: Number,
    pub dp: Number,
    pub dq: Number,
    pub qinv: Number,
}

/// An RSA key with its Montgomery contexts and cache of blindings.
pub(super) struct RsaKey(NonNull<ffi::RSA>);

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
    pub fn private(k: &RsaNumbers) -> Result<RsaKey> {
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

/// A curve's group; it lives as long as the process.
#[derive(Clone, Copy)]
pub(super) struct Group(*const ffi::EC_GROUP);

// SAFETY: a group is constant once it is built.
unsafe impl Send for Group {}
// SAFETY: a group is constant once it is built.
unsafe impl Sync for Group {}

/// The constants of a curve of prime order in short Weierstrass form, in hexadecimal.
pub(super) struct Domain {
    /// The field's prime.
    pub p: &'static CStr,
    pub a: &'static CStr,
    pub b: &'static CStr,
    /// The base point.
    pub x: &'static CStr,
    pub y: &'static CStr,
    pub order: &'static CStr,
}

impl Group {
    /// A curve that is not built in. It is never freed: call this once for each.
    pub fn of(domain: &Domain) -> Result<Group> {
        let number = Number::from_hex;
        let (p, a, b) = (number(domain.p)?, number(domain.a)?, number(domain.b)?);
        // SAFETY: live numbers; NULL scratch is allowed; the result is checked for NULL.
        let group =
            made(unsafe { ffi::EC_GROUP_new_curve_GFp(p.0.as_ptr(), a.0.as_ptr(), b.0.as_ptr(), ptr::null_mut()) })?;
        let (x, y, order) = (number(domain.x)?, number(domain.y)?, number(domain.order)?);
        let base = Point::new(Group(group.as_ptr()))?;
        let one = Number::from_be(&[1])?;
        // SAFETY: a live point of that group, and live numbers; NULL scratch is allowed.
        done(unsafe {
            let (x, y) = (x.0.as_ptr(), y.0.as_ptr());
            ffi::EC_POINT_set_affine_coordinates_GFp(group.as_ptr(), base.0.as_ptr(), x, y, ptr::null_mut())
        })?;
        // SAFETY: a new group that only we hold, a live point of it, and live numbers.
        done(unsafe {
            ffi::EC_GROUP_set_generator(group.as_ptr(), base.0.as_ptr(), order.0.as_ptr(), one.0.as_ptr())
        })?;
        Ok(Group(group.as_ptr()))
    }

    pub fn order(self) -> Result<Number> {
        // SAFETY: a live group; what the getter gives lives as long, and is copied.
        made(unsafe { ffi::BN_dup(ffi::EC_GROUP_get0_order(self.0)) }).map(Number)
    }

    pub fn p224() -> Group {
        // SAFETY: takes nothing, gives a static group.
        Group(unsafe { ffi::EC_group_p224() })
    }

    pub fn secp256k1() -> Group {
        // SAFETY: takes nothing, gives a static group.
        Group(unsafe { ffi::EC_group_secp256k1() })
    }

    pub fn p256() -> Group {
        // SAFETY: takes nothing, gives a static group.
        Group(unsafe { ffi::EC_group_p256() })
    }

    pub fn p384() -> Group {
        // SAFETY: takes nothing, gives a static group.
        Group(unsafe { ffi::EC_group_p384() })
    }

    pub fn p521() -> Group {
        // SAFETY: takes nothing, gives a static group.
        Group(unsafe { ffi::EC_group_p521() })
    }
}

/// A point of a group.
pub(super) struct Point(NonNull<ffi::EC_POINT>, Group);

impl Drop for Point {
    fn drop(&mut self) {
        // SAFETY: we own the pointer, and nothing uses it after this.
        unsafe { ffi::EC_POINT_free(self.0.as_ptr()) }
    }
}

impl Point {
    fn new(group: Group) -> Result<Point> {
        // SAFETY: a static group; the result is checked for NULL.
        Ok(Point(made(unsafe { ffi::EC_POINT_new(group.0) })?, group))
    }

    /// Refused unless `encoded` is a point of the curve.
    pub fn decode(group: Group, encoded: &[u8]) -> Result<Point> {
        let point = Point::new(group)?;
        // SAFETY: a live point of that group; pointer and length of one slice; NULL scratch is allowed.
        done(unsafe {
            ffi::EC_POINT_oct2point(group.0, point.0.as_ptr(), encoded.as_ptr(), encoded.len(), ptr::null_mut())
        })?;
        Ok(point)
    }

    /// Uncompressed; `out` has exactly that length.
    pub fn encode(&self, out: &mut [u8]) -> Result<()> {
        let form = ffi::point_conversion_form_t::POINT_CONVERSION_UNCOMPRESSED;
        // SAFETY: a live point of that group; pointer and length of one slice; NULL scratch is allowed.
        let written = unsafe {
            ffi::EC_POINT_point2oct(self.1.0, self.0.as_ptr(), form, out.as_mut_ptr(), out.len(), ptr::null_mut())
        };
        if written == out.len() { Ok(()) } else { Err(refused()) }
    }
}

/// A public key, or a private key with or without its public point.
pub(super) struct EcKey(NonNull<ffi::EC_KEY>, Group);

// SAFETY: nothing in an `EC_KEY` belongs to a thread.
unsafe impl Send for EcKey {}
// SAFETY: once built it is only read; its reference count is atomic and not used here.
unsafe impl Sync for EcKey {}

impl Drop for EcKey {
    fn drop(&mut self) {
        // SAFETY: we own this reference, and nothing uses it after this.
        unsafe { ffi::EC_KEY_free(self.0.as_ptr()) }
    }
}

/// `r` and `s` of one signature.
struct Signature(NonNull<ffi::ECDSA_SIG>);

impl Drop for Signature {
    fn drop(&mut self) {
        // SAFETY: we own the pointer, and nothing uses it after this.
        unsafe { ffi::ECDSA_SIG_free(self.0.as_ptr()) }
    }
}

impl EcKey {
    fn new(group: Group) -> Result<EcKey> {
        // SAFETY: takes nothing; the result is checked for NULL.
        let key = EcKey(made(unsafe { ffi::EC_KEY_new() })?, group);
        // SAFETY: a new key that only we hold, a static group.
        done(unsafe { ffi::EC_KEY_set_group(key.0.as_ptr(), group.0) })?;
        Ok(key)
    }

    pub fn public(point: &Point) -> Result<EcKey> {
        let key = EcKey::new(point.1)?;
        // SAFETY: a new key that only we hold; the point is of its group, and copied.
        done(unsafe { ffi::EC_KEY_set_public_key(key.0.as_ptr(), point.0.as_ptr()) })?;
        Ok(key)
    }

    /// Refused unless 0 < `scalar` < order.
    pub fn private(group: Group, scalar: &[u8]) -> Result<EcKey> {
        let key = EcKey::new(group)?;
        let scalar = Number::from_be(scalar)?;
        // SAFETY: a new key that only we hold; the number is copied.
        done(unsafe { ffi::EC_KEY_set_private_key(key.0.as_ptr(), scalar.0.as_ptr()) })?;
        Ok(key)
    }

    pub fn generate(group: Group) -> Result<EcKey> {
        let key = EcKey::new(group)?;
        // SAFETY: a new key that only we hold.
        done(unsafe { ffi::EC_KEY_generate_key(key.0.as_ptr()) })?;
        Ok(key)
    }

    /// The private scalar, big-endian to the length of `out`; refused for a public key.
    pub fn scalar(&self, out: &mut [u8]) -> Result<()> {
        // SAFETY: a live key; what the getter gives lives as long, and is only read here.
        let scalar = made(unsafe { ffi::EC_KEY_get0_private_key(self.0.as_ptr()) }.cast_mut())?;
        write_be(scalar.as_ptr(), out)
    }

    /// The point of a public key; refused where there is none.
    pub fn public_point(&self) -> Result<Point> {
        // SAFETY: a live key; what the getter gives lives as long, is checked for NULL and only read here.
        let point = made(unsafe { ffi::EC_KEY_get0_public_key(self.0.as_ptr()) }.cast_mut())?;
        // SAFETY: a live point, the static group that it is of; the result is checked for NULL.
        Ok(Point(made(unsafe { ffi::EC_POINT_dup(point.as_ptr(), self.1.0) })?, self.1))
    }

    /// The public point of a private key.
    pub fn multiplied_base(&self) -> Result<Point> {
        let point = Point::new(self.1)?;
        // SAFETY: a live key; what the getter gives lives as long, and is only read here.
        let scalar = made(unsafe { ffi::EC_KEY_get0_private_key(self.0.as_ptr()) }.cast_mut())?;
        // SAFETY: a live point and number of that group; NULL point and factor: the base point alone is multiplied.
        done(unsafe {
            let (nowhere, none) = (ptr::null(), ptr::null());
            ffi::EC_POINT_mul(self.1.0, point.0.as_ptr(), scalar.as_ptr(), nowhere, none, ptr::null_mut())
        })?;
        Ok(point)
    }

    /// ECDSA; each half of the signature is as long as its slice.
    pub fn sign(&self, digest: &[u8], r: &mut [u8], s: &mut [u8]) -> Result<()> {
        // SAFETY: a live key; pointer and length of one slice; the result is checked for NULL.
        let made = made(unsafe { ffi::ECDSA_do_sign(digest.as_ptr(), digest.len(), self.0.as_ptr()) })?;
        let signature = Signature(made);
        // SAFETY: a live signature; what the getters give lives as long, and is only read here.
        let (from_r, from_s) =
            unsafe { (ffi::ECDSA_SIG_get0_r(signature.0.as_ptr()), ffi::ECDSA_SIG_get0_s(signature.0.as_ptr())) };
        write_be(from_r, r)?;
        write_be(from_s, s)
    }

    pub fn verify(&self, digest: &[u8], r: &[u8], s: &[u8]) -> Result<()> {
        let (r, s) = (Number::from_be(r)?, Number::from_be(s)?);
        // SAFETY: takes nothing; the result is checked for NULL.
        let signature = Signature(made(unsafe { ffi::ECDSA_SIG_new() })?);
        // SAFETY: live numbers, which belong to the signature once the call succeeds, and then are not freed by us.
        done(unsafe { ffi::ECDSA_SIG_set0(signature.0.as_ptr(), r.0.as_ptr(), s.0.as_ptr()) })?;
        std::mem::forget((r, s));
        // SAFETY: a live key and signature; pointer and length of one slice.
        done(unsafe { ffi::ECDSA_do_verify(digest.as_ptr(), digest.len(), signature.0.as_ptr(), self.0.as_ptr()) })
    }

    /// The x-coordinate of the shared point, in as many bytes as the field has; `out` has exactly that length.
    pub fn agree(&self, peer: &Point, out: &mut [u8]) -> Result<()> {
        // SAFETY: a live key and point, which the function checks to be of one group; pointer and length of one slice.
        let written = unsafe {
            ffi::ECDH_compute_key(out.as_mut_ptr().cast(), out.len(), peer.0.as_ptr(), self.0.as_ptr(), None)
        };
        if usize::try_from(written) == Ok(out.len()) { Ok(()) } else { Err(refused()) }
    }
}

/// Which of RFC 8032's three schemes over edwards25519.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ed25519<'a> {
    Pure,
    /// The context is 1 to 255 bytes.
    Context(&'a [u8]),
    /// The message given is its SHA-512; the context is at most 255 bytes.
    Prehashed(&'a [u8; 64], &'a [u8]),
}

/// Fills `private` as AWS-LC wants it, with seed and public key; gives the public key.
pub(super) fn ed25519_from_seed(seed: &[u8; 32], private: &mut [u8; 64]) -> [u8; 32] {
    let mut public = [0; 32];
    // SAFETY: the arrays have the lengths that the function documents.
    unsafe { ffi::ED25519_keypair_from_seed(public.as_mut_ptr(), private.as_mut_ptr(), seed.as_ptr()) };
    public
}

pub(super) fn ed25519_sign(scheme: Ed25519, private: &[u8; 64], message: &[u8], out: &mut [u8; 64]) -> Result<()> {
    let (text, key, out) = (message.as_ptr(), private.as_ptr(), out.as_mut_ptr());
    // SAFETY: the arrays have the lengths that the functions document; message and context are whole slices.
    done(unsafe {
        match scheme {
            Ed25519::Pure => ffi::ED25519_sign(out, text, message.len(), key),
            Ed25519::Context(context) => {
                ffi::ED25519ctx_sign(out, text, message.len(), key, context.as_ptr(), context.len())
            }
            Ed25519::Prehashed(digest, context) => {
                ffi::ED25519ph_sign_digest(out, digest.as_ptr(), key, context.as_ptr(), context.len())
            }
        }
    })
}

pub(super) fn ed25519_verify(scheme: Ed25519, public: &[u8; 32], message: &[u8], signature: &[u8; 64]) -> Result<()> {
    let (text, signature, key) = (message.as_ptr(), signature.as_ptr(), public.as_ptr());
    // SAFETY: the arrays have the lengths that the functions document; message and context are whole slices.
    done(unsafe {
        match scheme {
            Ed25519::Pure => ffi::ED25519_verify(text, message.len(), signature, key),
            Ed25519::Context(context) => {
                ffi::ED25519ctx_verify(text, message.len(), signature, key, context.as_ptr(), context.len())
            }
            Ed25519::Prehashed(digest, context) => {
                ffi::ED25519ph_verify_digest(digest.as_ptr(), signature, key, context.as_ptr(), context.len())
            }
        }
    })
}

pub(super) fn x25519_public(private: &[u8; 32]) -> [u8; 32] {
    let mut public = [0; 32];
    // SAFETY: the arrays have the lengths that the function documents.
    unsafe { ffi::X25519_public_from_private(public.as_mut_ptr(), private.as_ptr()) };
    public
}

/// Refused where the shared value is all zero: the peer's value is of small order (RFC 7748, 6.1).
pub(super) fn x25519(private: &[u8; 32], peer: &[u8; 32], out: &mut [u8; 32]) -> Result<()> {
    // SAFETY: the arrays have the lengths that the function documents.
    done(unsafe { ffi::X25519(out.as_mut_ptr(), private.as_ptr(), peer.as_ptr()) })
}
