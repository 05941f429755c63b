//! RSA without padding, and the generation of its keys, by the `rsa` crate. Private operations are blinded three ways: the
//! base, both exponents and both moduli, anew for each.

use crypto_bigint::BoxedUint;
use rsa::hazmat::{rsa_decrypt_and_check, rsa_encrypt};
use rsa::traits::{PrivateKeyParts, PublicKeyParts};
use rsa::{PrivateKey, PublicKey};
use zeroize::Zeroizing;

pub(in crate::crypto) use super::number::Number;
use super::system::System;
use super::{Refused, Result};
use crate::crypto::rsa::{MAX_BITS, RsaNumbers};

/// Public exponents up to this many bits the crate takes without being asked.
const ORDINARY_EXPONENT_BITS: usize = 33;

// Keys stand alone, never in arrays.
#[allow(clippy::large_enum_variant)]
pub(in crate::crypto) enum RsaKey {
    Public(PublicKey),
    Private(PrivateKey),
}

impl RsaKey {
    /// Refused where `n` is even or longer than 16384 bits, or `e` is even, 1, or not below `n`.
    pub fn public(n: &Number, e: &Number) -> Result<RsaKey> {
        if !n.is_odd() || n.bits() > MAX_BITS || !e.is_odd() || e.is_one() || !n.larger_than(e) {
            return Err(Refused);
        }
        Ok(RsaKey::Public(PublicKey::new_unchecked(n.shortened(), e.shortened())))
    }

    /// Refused where the numbers do not belong together, and where one prime is longer than half the modulus.
    pub fn private(k: &RsaNumbers<Number>) -> Result<RsaKey> {
        RsaKey::public(&k.n, &k.e)?;
        let make = if k.e.bits() > ORDINARY_EXPONENT_BITS {
            PrivateKey::from_components_with_large_exponent
        } else {
            PrivateKey::from_components
        };
        let primes = [&k.p, &k.q].map(|prime| prime.uint().clone());
        let key = make(k.n.shortened(), k.e.shortened(), k.d.uint().clone(), primes.to_vec()).map_err(|_| Refused)?;
        // It computes these anew; those given must be the same.
        let given = [&k.dp, &k.dq, &k.qinv];
        let right = crt(&key)?.into_iter().zip(given).fold(true, |right, (own, given)| right & (own == *given));
        if right { Ok(RsaKey::Private(key)) } else { Err(Refused) }
    }

    pub fn generate(bits: usize, e: &Number) -> Result<RsaKey> {
        let key = PrivateKey::new_with_exp(&mut System, bits, e.shortened()).map_err(|_| Refused)?;
        let [p, q] = key.primes() else { return Err(Refused) };
        // Again, for the private exponent modulo the least common multiple (FIPS 186-5, A.1.1); it must not be short.
        let key = PrivateKey::from_p_q((**p).clone(), (**q).clone(), e.shortened()).map_err(|_| Refused)?;
        if key.d().bit_width() as usize <= bits / 2 {
            return Err(Refused);
        }
        Ok(RsaKey::Private(key))
    }

    /// n, e, d, p, q, d mod p-1, d mod q-1, 1/q mod p, without leading zeros; refused for a public key.
    pub fn numbers(&self) -> Result<[Zeroizing<Vec<u8>>; 8]> {
        let RsaKey::Private(key) = self else { return Err(Refused) };
        let [p, q] = key.primes() else { return Err(Refused) };
        let number = |value: &BoxedUint| Number::from(value.clone()).bytes();
        let [dp, dq, qinv] = crt(key)?;
        Ok([
            number(key.n())?,
            number(key.e())?,
            number(key.d())?,
            number(p)?,
            number(q)?,
            dp.bytes()?,
            dq.bytes()?,
            qinv.bytes()?,
        ])
    }

    fn modulus(&self) -> &BoxedUint {
        match self {
            RsaKey::Public(key) => key.n(),
            RsaKey::Private(key) => key.n(),
        }
    }

    /// Both slices are as long as the modulus, and `input` is below it.
    fn base(&self, input: &[u8], out: &[u8]) -> Result<BoxedUint> {
        let n = self.modulus();
        let len = (n.bit_width_vartime() as usize).div_ceil(8);
        let base = BoxedUint::from_be_slice(input, n.bits_precision()).map_err(|_| Refused)?;
        if (input.len(), out.len()) == (len, len) && base < *n { Ok(base) } else { Err(Refused) }
    }

    /// `input` to the power e. Refused unless both slices are as long as the modulus and `input` is below it.
    pub fn public_operation(&self, input: &[u8], out: &mut [u8]) -> Result<()> {
        let base = self.base(input, out)?;
        let result = match self {
            RsaKey::Public(key) => rsa_encrypt(key, &base),
            RsaKey::Private(key) => rsa_encrypt(key, &base),
        };
        Number::from(result.map_err(|_| Refused)?).to_be(out)
    }

    /// `input` to the power d, blinded, the result checked. Refused for a public key, and unless both slices are as long as
    /// the modulus and `input` is below it.
    pub fn private_operation(&self, input: &[u8], out: &mut [u8]) -> Result<()> {
        let RsaKey::Private(key) = self else { return Err(Refused) };
        let base = self.base(input, out)?;
        let result = rsa_decrypt_and_check(key, Some(&mut System), &base).map_err(|_| Refused)?;
        Number::from(result).to_be(out)
    }
}

/// d mod p-1, d mod q-1, 1/q mod p.
fn crt(key: &PrivateKey) -> Result<[Number; 3]> {
    let (Some(dp), Some(dq), Some(qinv)) = (key.dp(), key.dq(), key.qinv()) else { return Err(Refused) };
    Ok([dp.clone().into(), dq.clone().into(), qinv.retrieve().into()])
}
