//! Numbers of any length.

use crypto_bigint::modular::{BoxedMontyForm, BoxedMontyParams};
use crypto_bigint::{BoxedUint, ConcatenatingMul, Gcd, NonZero, Odd, RandomMod, Resize};
use zeroize::Zeroizing;

use super::system::System;
use super::{Refused, Result};

/// An unsigned integer of any length, wiped when dropped. How many words it takes is public: that comes of the length of
/// what it was read from.
pub(in crate::crypto) struct Number(Zeroizing<BoxedUint>);

impl From<BoxedUint> for Number {
    fn from(value: BoxedUint) -> Number {
        Number(Zeroizing::new(value))
    }
}

impl Number {
    pub fn from_be(bytes: &[u8]) -> Result<Number> {
        let bits = u32::try_from(bytes.len()).ok().and_then(|len| len.checked_mul(8)).ok_or(Refused)?;
        Ok(BoxedUint::from_be_slice(bytes, bits.max(1)).map_err(|_| Refused)?.into())
    }

    fn word(word: u8) -> Number {
        BoxedUint::from(word).into()
    }

    pub(super) fn uint(&self) -> &BoxedUint {
        &self.0
    }

    /// In as few words as its value takes, which are then public.
    pub fn shortened(&self) -> BoxedUint {
        (*self.0).clone().resize_unchecked(self.0.bit_width_vartime().max(1))
    }

    /// Big-endian, with leading zeros to the length of `out`; refused where that is too short.
    pub fn to_be(&self, out: &mut [u8]) -> Result<()> {
        let bytes = Zeroizing::new(self.0.to_be_bytes().into_vec());
        let (head, tail) = bytes.split_at(bytes.len().saturating_sub(out.len()));
        if head.iter().fold(0, |seen, byte| seen | byte) != 0 {
            return Err(Refused);
        }
        let (zeros, to) = out.split_at_mut(out.len().saturating_sub(tail.len()));
        zeros.fill(0);
        to.copy_from_slice(tail);
        Ok(())
    }

    /// Big-endian, without leading zeros.
    pub fn bytes(&self) -> Result<Zeroizing<Vec<u8>>> {
        let mut out = Zeroizing::new(vec![0; self.bits().div_ceil(8)]);
        self.to_be(&mut out)?;
        Ok(out)
    }

    pub fn bits(&self) -> usize {
        self.0.bit_width() as usize
    }

    pub fn is_one(&self) -> bool {
        self.0.is_one().to_bool()
    }

    pub fn is_odd(&self) -> bool {
        self.0.bit(0).to_bool()
    }

    pub fn larger_than(&self, other: &Number) -> bool {
        *self.0 > *other.0
    }

    pub fn trailing_zeros(&self) -> usize {
        self.0.trailing_zeros() as usize
    }

    pub fn times(&self, by: &Number) -> Result<Number> {
        Ok(self.0.concatenating_mul(&*by.0).into())
    }

    pub(super) fn plus(&self, other: &Number) -> Number {
        self.0.concatenating_add(&*other.0).into()
    }

    fn divisor(&self) -> Result<NonZero<BoxedUint>> {
        self.0.to_nz().into_option().ok_or(Refused)
    }

    pub fn over(&self, divisor: &Number) -> Result<Number> {
        Ok(self.0.div_rem(&divisor.divisor()?).0.into())
    }

    pub fn modulo(&self, modulus: &Number) -> Result<Number> {
        Ok(self.0.rem(&modulus.divisor()?).into())
    }

    /// Refused where `word` is larger.
    pub fn minus(&self, word: u8) -> Result<Number> {
        self.less(&Number::word(word))
    }

    /// Refused where `other` is larger.
    pub(super) fn less(&self, other: &Number) -> Result<Number> {
        let width = self.0.bits_precision().max(other.0.bits_precision());
        let (difference, borrow) = (*self.0).clone().resize_unchecked(width).underflowing_sub(&*other.0);
        if borrow.to_bool() { Err(Refused) } else { Ok(difference.into()) }
    }

    pub fn shifted_right(&self, bits: usize) -> Result<Number> {
        let bits = u32::try_from(bits).map_err(|_| Refused)?;
        Ok(self.0.unbounded_shr_vartime(bits).into())
    }

    pub fn gcd(&self, other: &Number) -> Result<Number> {
        Ok(self.0.gcd(&other.0).into())
    }

    /// Constant time in base and exponent. The modulus is odd and larger than the base.
    pub fn power(&self, exponent: &Number, modulus: &Number) -> Result<Number> {
        let odd = Odd::new(modulus.shortened()).into_option().ok_or(Refused)?;
        if !modulus.larger_than(self) {
            return Err(Refused);
        }
        let params = BoxedMontyParams::new(odd);
        let base = Zeroizing::new((*self.0).clone().resize_unchecked(params.bits_precision()));
        Ok(BoxedMontyForm::new((*base).clone(), &params).pow(&exponent.0).retrieve().into())
    }

    /// The inverse modulo a prime: by Fermat, the power `prime` - 2. Of 0 it is 0.
    pub(super) fn inverse(&self, prime: &Number) -> Result<Number> {
        self.modulo(prime)?.power(&prime.minus(2)?, prime)
    }

    /// Uniform in 2 .. `below`.
    pub fn random_below(below: &Number) -> Result<Number> {
        let modulus = below.divisor()?;
        let two = Number::word(2);
        if !below.larger_than(&two) {
            return Err(Refused);
        }
        loop {
            let value = BoxedUint::try_random_mod_vartime(&mut System, &modulus).map_err(|_| Refused)?;
            let value = Number::from(value);
            if !two.larger_than(&value) {
                return Ok(value);
            }
        }
    }
}

impl PartialEq for Number {
    fn eq(&self, other: &Number) -> bool {
        *self.0 == *other.0
    }
}
