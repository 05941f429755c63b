//! Short Weierstrass curves of prime order: their groups by RustCrypto's crates, ECDSA's equations over them here, because
//! the `ecdsa` crate takes neither short hashes nor, on secp256k1, every valid signature.

use std::marker::PhantomData;

use primeorder::elliptic_curve::ops::{Invert, MulByGeneratorVartime, Reduce};
use primeorder::elliptic_curve::point::AffineCoordinates;
use primeorder::elliptic_curve::sec1::{FromSec1Point, ModulusSize, Sec1Point, ToSec1Point};
use primeorder::elliptic_curve::{
    CurveArithmetic, CurveGroup, Field, FieldBytes, FieldBytesSize, Generate, Group as _, PrimeCurve, PrimeField,
};
use zeroize::Zeroizing;

use super::brainpool512::{BrainpoolP512r1, BrainpoolP512t1};
pub(in crate::crypto) use super::number::Number;
use super::system::System;
use super::{Refused, Result};
use crate::crypto::curve::Curve;
use crate::crypto::nonce::leftmost;
use crate::secret::SecretBytes;

/// What is computed on a curve. Scalars are big-endian and as long as the order, points uncompressed.
trait Arithmetic: Send + Sync {
    fn order(&self) -> Result<Number>;
    fn scalar_len(&self) -> usize;
    /// Refused unless 0 < scalar < order.
    fn check(&self, scalar: &[u8]) -> Result<()>;
    fn random(&self) -> Result<SecretBytes>;
    /// Of an uncompressed or compressed encoding; refused for what is no point, and for the one at infinity.
    fn decode(&self, encoded: &[u8]) -> Result<Vec<u8>>;
    fn multiply_base(&self, scalar: &[u8]) -> Result<Vec<u8>>;
    /// The x-coordinate of the product.
    fn multiply(&self, scalar: &[u8], point: &[u8], out: &mut [u8]) -> Result<()>;
    fn sign(&self, scalar: &[u8], digest: &[u8], r: &mut [u8], s: &mut [u8]) -> Result<()>;
    /// With that nonce, over a hash of which only the bits that count are left; `false` where that gives no signature.
    fn sign_with(&self, scalar: &[u8], nonce: &[u8], hashed: &[u8], r: &mut [u8], s: &mut [u8]) -> Result<bool>;
    fn verify(&self, point: &[u8], digest: &[u8], r: &[u8], s: &[u8]) -> Result<()>;
}

/// The arithmetic of RustCrypto's curve `C`.
struct Of<C>(PhantomData<fn() -> C>);

impl<C> Of<C>
where
    C: PrimeCurve + CurveArithmetic,
    C::AffinePoint: FromSec1Point<C> + ToSec1Point<C>,
    FieldBytesSize<C>: ModulusSize,
{
    /// Not zero.
    fn scalar(bytes: &[u8]) -> Result<Zeroizing<C::Scalar>> {
        let bytes = Zeroizing::new(FieldBytes::<C>::try_from(bytes).map_err(|_| Refused)?);
        let scalar = Option::from(C::Scalar::from_repr(*bytes));
        let scalar = scalar.map(Zeroizing::<C::Scalar>::new).ok_or(Refused)?;
        if bool::from(scalar.is_zero()) { Err(Refused) } else { Ok(scalar) }
    }

    fn fresh() -> Result<Zeroizing<C::Scalar>> {
        loop {
            let scalar = Zeroizing::new(C::Scalar::try_generate_from_rng(&mut System).map_err(|_| Refused)?);
            if !bool::from(scalar.is_zero()) {
                return Ok(scalar);
            }
        }
    }

    fn point(encoded: &[u8]) -> Result<C::AffinePoint> {
        // Neither the point at infinity nor the compact form, which has a tag of its own.
        if !matches!(encoded.first(), Some(2..=4)) {
            return Err(Refused);
        }
        let encoded = Sec1Point::<C>::from_bytes(encoded).map_err(|_| Refused)?;
        Option::from(C::AffinePoint::from_sec1_point(&encoded)).ok_or(Refused)
    }

    /// The leftmost bits of a hash, up to the order's length (FIPS 186-5, 6.4.1), modulo the order.
    fn hashed(digest: &[u8]) -> C::Scalar {
        let mut bytes = FieldBytes::<C>::default();
        leftmost(digest, C::Scalar::NUM_BITS as usize, &mut bytes);
        C::Scalar::reduce(&bytes)
    }

    /// ECDSA with that nonce; `false` where it gives no signature.
    fn signed(secret: &C::Scalar, nonce: &C::Scalar, hashed: &C::Scalar, r: &mut [u8], s: &mut [u8]) -> Result<bool> {
        let inverse = Option::from(Invert::invert(nonce)).map(Zeroizing::<C::Scalar>::new).ok_or(Refused)?;
        let first = Of::<C>::abscissa(&C::ProjectivePoint::mul_by_generator(nonce));
        let second = *inverse * (*hashed + first * *secret);
        if bool::from(first.is_zero() | second.is_zero()) {
            return Ok(false);
        }
        copy(&first.to_repr(), r)?;
        copy(&second.to_repr(), s)?;
        Ok(true)
    }

    /// The x-coordinate, modulo the order.
    fn abscissa(point: &C::ProjectivePoint) -> C::Scalar {
        C::Scalar::reduce(&point.to_affine().x())
    }
}

fn copy(from: &[u8], to: &mut [u8]) -> Result<()> {
    if from.len() != to.len() {
        return Err(Refused);
    }
    to.copy_from_slice(from);
    Ok(())
}

impl<C> Arithmetic for Of<C>
where
    C: PrimeCurve + CurveArithmetic,
    C::AffinePoint: FromSec1Point<C> + ToSec1Point<C>,
    FieldBytesSize<C>: ModulusSize,
{
    fn order(&self) -> Result<Number> {
        // The order less one, and one.
        let last = (C::Scalar::ZERO - C::Scalar::ONE).to_repr();
        Ok(Number::from_be(&last)?.plus(&Number::from_be(&[1])?))
    }

    fn scalar_len(&self) -> usize {
        FieldBytes::<C>::default().len()
    }

    fn check(&self, scalar: &[u8]) -> Result<()> {
        Of::<C>::scalar(scalar).map(drop)
    }

    fn random(&self) -> Result<SecretBytes> {
        Ok(SecretBytes::copy_from(&Zeroizing::new(Of::<C>::fresh()?.to_repr())))
    }

    fn decode(&self, encoded: &[u8]) -> Result<Vec<u8>> {
        Ok(Of::<C>::point(encoded)?.to_sec1_point(false).as_bytes().to_vec())
    }

    fn multiply_base(&self, scalar: &[u8]) -> Result<Vec<u8>> {
        let point = C::ProjectivePoint::mul_by_generator(&*Of::<C>::scalar(scalar)?);
        Ok(point.to_affine().to_sec1_point(false).as_bytes().to_vec())
    }

    fn multiply(&self, scalar: &[u8], point: &[u8], out: &mut [u8]) -> Result<()> {
        let product = C::ProjectivePoint::from(Of::<C>::point(point)?) * *Of::<C>::scalar(scalar)?;
        copy(&Zeroizing::new(product.to_affine().x()), out)
    }

    fn sign(&self, scalar: &[u8], digest: &[u8], r: &mut [u8], s: &mut [u8]) -> Result<()> {
        let (secret, hashed) = (Of::<C>::scalar(scalar)?, Of::<C>::hashed(digest));
        while !Of::<C>::signed(&secret, &*Of::<C>::fresh()?, &hashed, r, s)? {}
        Ok(())
    }

    fn sign_with(&self, scalar: &[u8], nonce: &[u8], hashed: &[u8], r: &mut [u8], s: &mut [u8]) -> Result<bool> {
        let hashed = FieldBytes::<C>::try_from(hashed).map_err(|_| Refused)?;
        Of::<C>::signed(&*Of::<C>::scalar(scalar)?, &*Of::<C>::scalar(nonce)?, &C::Scalar::reduce(&hashed), r, s)
    }

    fn verify(&self, point: &[u8], digest: &[u8], r: &[u8], s: &[u8]) -> Result<()> {
        let (r, s) = (Of::<C>::scalar(r)?, Of::<C>::scalar(s)?);
        let inverse = Option::<C::Scalar>::from(Invert::invert(&*s)).ok_or(Refused)?;
        let point = C::ProjectivePoint::from(Of::<C>::point(point)?);
        let (of_base, of_point) = (Of::<C>::hashed(digest) * inverse, *r * inverse);
        let sum = C::ProjectivePoint::mul_by_generator_and_mul_add_vartime(&of_base, &of_point, &point);
        if !bool::from(sum.is_identity()) && Of::<C>::abscissa(&sum) == *r { Ok(()) } else { Err(Refused) }
    }
}

/// A curve's group.
#[derive(Clone, Copy)]
pub(in crate::crypto) struct Group(&'static dyn Arithmetic);

impl Group {
    /// Refused for a curve of another form.
    pub fn of(curve: Curve) -> Result<Group> {
        Ok(Group(match curve {
            Curve::P224 => &Of::<p224::NistP224>(PhantomData),
            Curve::P256 => &Of::<p256::NistP256>(PhantomData),
            Curve::P384 => &Of::<p384::NistP384>(PhantomData),
            Curve::P521 => &Of::<p521::NistP521>(PhantomData),
            Curve::Secp256k1 => &Of::<k256::Secp256k1>(PhantomData),
            Curve::BrainpoolP256r1 => &Of::<bp256::BrainpoolP256r1>(PhantomData),
            Curve::BrainpoolP256t1 => &Of::<bp256::BrainpoolP256t1>(PhantomData),
            Curve::BrainpoolP384r1 => &Of::<bp384::BrainpoolP384r1>(PhantomData),
            Curve::BrainpoolP384t1 => &Of::<bp384::BrainpoolP384t1>(PhantomData),
            Curve::BrainpoolP512r1 => &Of::<BrainpoolP512r1>(PhantomData),
            Curve::BrainpoolP512t1 => &Of::<BrainpoolP512t1>(PhantomData),
            Curve::Ed25519 | Curve::Ed448 | Curve::X25519 | Curve::X448 => return Err(Refused),
        }))
    }

    pub fn order(self) -> Result<Number> {
        self.0.order()
    }

    /// A number of any length as long as the order; refused unless 0 < number < order.
    fn scalar(self, number: &[u8]) -> Result<SecretBytes> {
        let mut scalar = SecretBytes::zeroed(self.0.scalar_len());
        Number::from_be(number)?.to_be(scalar.expose_mut())?;
        self.0.check(scalar.expose())?;
        Ok(scalar)
    }
}

/// A point of a group, uncompressed.
pub(in crate::crypto) struct Point(Vec<u8>, Group);

impl Point {
    /// Refused unless `encoded` is a point of the curve.
    pub fn decode(group: Group, encoded: &[u8]) -> Result<Point> {
        Ok(Point(group.0.decode(encoded)?, group))
    }

    /// Uncompressed; `out` has exactly that length.
    pub fn encode(&self, out: &mut [u8]) -> Result<()> {
        copy(&self.0, out)
    }
}

/// A public key, or a private key without its public point.
pub(in crate::crypto) struct EcKey {
    group: Group,
    scalar: Option<SecretBytes>,
    point: Option<Vec<u8>>,
}

impl EcKey {
    pub fn public(point: &Point) -> Result<EcKey> {
        Ok(EcKey { group: point.1, scalar: None, point: Some(point.0.clone()) })
    }

    /// Refused unless 0 < `scalar` < order.
    pub fn private(group: Group, scalar: &[u8]) -> Result<EcKey> {
        Ok(EcKey { group, scalar: Some(group.scalar(scalar)?), point: None })
    }

    pub fn generate(group: Group) -> Result<EcKey> {
        Ok(EcKey { group, scalar: Some(group.0.random()?), point: None })
    }

    fn secret(&self) -> Result<&[u8]> {
        Ok(self.scalar.as_ref().ok_or(Refused)?.expose())
    }

    /// The private scalar, big-endian to the length of `out`; refused for a public key.
    pub fn scalar(&self, out: &mut [u8]) -> Result<()> {
        copy(self.secret()?, out)
    }

    /// The point of a public key; refused where there is none.
    pub fn public_point(&self) -> Result<Point> {
        Ok(Point(self.point.clone().ok_or(Refused)?, self.group))
    }

    /// The public point of a private key.
    pub fn multiplied_base(&self) -> Result<Point> {
        Ok(Point(self.group.0.multiply_base(self.secret()?)?, self.group))
    }

    /// ECDSA; each half of the signature is as long as its slice.
    pub fn sign(&self, digest: &[u8], r: &mut [u8], s: &mut [u8]) -> Result<()> {
        self.group.0.sign(self.secret()?, digest, r, s)
    }

    /// ECDSA with the caller's nonce, over a hash that is [`reduced`](crate::crypto::nonce::reduced); all are as long as the order.
    /// `false` where that nonce gives no signature.
    pub fn sign_with(&self, nonce: &[u8], hashed: &[u8], r: &mut [u8], s: &mut [u8]) -> Result<bool> {
        self.group.0.sign_with(self.secret()?, nonce, hashed, r, s)
    }

    pub fn verify(&self, digest: &[u8], r: &[u8], s: &[u8]) -> Result<()> {
        let (r, s) = (self.group.scalar(r)?, self.group.scalar(s)?);
        self.group.0.verify(self.point.as_ref().ok_or(Refused)?, digest, r.expose(), s.expose())
    }

    /// The x-coordinate of the shared point, in as many bytes as the field has; `out` has exactly that length.
    pub fn agree(&self, peer: &Point, out: &mut [u8]) -> Result<()> {
        self.group.0.multiply(self.secret()?, &peer.0, out)
    }
}
