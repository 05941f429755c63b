//! Short Weierstrass curves of prime order.

#![allow(unsafe_code)]

use std::ptr::{self, NonNull};

use aws_lc_sys as ffi;

use super::brainpool;
pub(in crate::crypto) use super::number::Number;
use super::number::{Field, write_be};
use super::{Result, done, made, refused};
use crate::crypto::brainpool::Domain;
use crate::crypto::curve::Curve;

/// A curve's group; it lives as long as the process.
#[derive(Clone, Copy)]
pub(in crate::crypto) struct Group(*const ffi::EC_GROUP);

// SAFETY: a group is constant once it is built.
unsafe impl Send for Group {}
// SAFETY: a group is constant once it is built.
unsafe impl Sync for Group {}

impl Group {
    /// Refused for a curve of another form.
    pub fn of(curve: Curve) -> Result<Group> {
        // SAFETY: these take nothing, and give static groups.
        Ok(Group(unsafe {
            match curve {
                Curve::P224 => ffi::EC_group_p224(),
                Curve::P256 => ffi::EC_group_p256(),
                Curve::P384 => ffi::EC_group_p384(),
                Curve::P521 => ffi::EC_group_p521(),
                Curve::Secp256k1 => ffi::EC_group_secp256k1(),
                _ => return brainpool::group(curve),
            }
        }))
    }

    /// A curve that is not built in. It is never freed: call this once for each.
    pub(super) fn of_domain(domain: &Domain) -> Result<Group> {
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
}

/// A point of a group.
pub(in crate::crypto) struct Point(NonNull<ffi::EC_POINT>, Group);

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

    /// The base point times a live number below the order, in constant time.
    fn of_base(group: Group, scalar: *const ffi::BIGNUM) -> Result<Point> {
        let point = Point::new(group)?;
        // SAFETY: a live point and number of that group; NULL point and factor: the base point alone is multiplied.
        done(unsafe {
            let (nowhere, none) = (ptr::null(), ptr::null());
            ffi::EC_POINT_mul(group.0, point.0.as_ptr(), scalar, nowhere, none, ptr::null_mut())
        })?;
        Ok(point)
    }

    fn abscissa(&self) -> Result<Number> {
        let x = Number::zero()?;
        // SAFETY: a live point of that group, a live number; NULL: neither the other coordinate nor scratch.
        done(unsafe {
            let (y, scratch) = (ptr::null_mut(), ptr::null_mut());
            ffi::EC_POINT_get_affine_coordinates_GFp(self.1.0, self.0.as_ptr(), x.0.as_ptr(), y, scratch)
        })?;
        Ok(x)
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
pub(in crate::crypto) struct EcKey(NonNull<ffi::EC_KEY>, Group);

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
        write_be(self.secret()?.as_ptr(), out)
    }

    /// The point of a public key; refused where there is none.
    pub fn public_point(&self) -> Result<Point> {
        // SAFETY: a live key; what the getter gives lives as long, is checked for NULL and only read here.
        let point = made(unsafe { ffi::EC_KEY_get0_public_key(self.0.as_ptr()) }.cast_mut())?;
        // SAFETY: a live point, the static group that it is of; the result is checked for NULL.
        Ok(Point(made(unsafe { ffi::EC_POINT_dup(point.as_ptr(), self.1.0) })?, self.1))
    }

    fn secret(&self) -> Result<NonNull<ffi::BIGNUM>> {
        // SAFETY: a live key; what the getter gives lives as long, and callers only read it.
        made(unsafe { ffi::EC_KEY_get0_private_key(self.0.as_ptr()) }.cast_mut())
    }

    /// The public point of a private key.
    pub fn multiplied_base(&self) -> Result<Point> {
        Point::of_base(self.1, self.secret()?.as_ptr())
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

    /// ECDSA with the caller's nonce, over a hash that is [`reduced`](crate::crypto::nonce::reduced); all are as long as the order.
    /// `false` where that nonce gives no signature. In constant time, by the library's own operations: its function that takes a nonce
    /// is for tests alone.
    pub fn sign_with(&self, nonce: &[u8], hashed: &[u8], r: &mut [u8], s: &mut [u8]) -> Result<bool> {
        let (nonce, hashed, order) = (Number::from_be(nonce)?, Number::from_be(hashed)?, self.1.order()?);
        let field = Field::new(&order)?;
        let first = Point::of_base(self.1, nonce.0.as_ptr())?.abscissa()?.modulo(&order)?;
        let sum = field.sum(&hashed, &field.product(self.secret()?.as_ptr(), &first)?)?;
        // The order is a prime: Fermat's inverse.
        let inverse = nonce.power(&order.minus(2)?, &order)?;
        let second = field.product(sum.0.as_ptr(), &inverse)?;
        write_be(first.0.as_ptr(), r)?;
        write_be(second.0.as_ptr(), s)?;
        Ok(first.bits() > 0 && second.bits() > 0)
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
