//! DSA (FIPS 186-4) over crypto-bigint, and the search for primes by crypto-primes.

use std::num::NonZeroU32;

use crypto_bigint::{BoxedUint, Limb, NonZero};
use crypto_primes::hazmat::SmallFactorsSieve;
use crypto_primes::{Flavor, is_prime};

pub(in crate::crypto) use super::number::Number;
use super::{Refused, Result};
use crate::crypto::digest::{Digest, hash};
use crate::crypto::random;

/// Random, of `bits` bits, a multiple of 8, the two highest set.
fn random_start(bits: usize) -> Result<BoxedUint> {
    let mut bytes = vec![0; bits / 8];
    random::fill(&mut bytes).map_err(|_| Refused)?;
    *bytes.first_mut().ok_or(Refused)? |= 0xc0;
    BoxedUint::from_be_slice(&bytes, u32::try_from(bits).map_err(|_| Refused)?).map_err(|_| Refused)
}

/// A safe prime of this many bits, a multiple of 8, to which 2 is a base of the subgroup of prime order: it is 23 modulo 24.
pub(in crate::crypto) fn safe_prime(bits: usize) -> Result<Number> {
    let len = u32::try_from(bits).ok().and_then(NonZeroU32::new).ok_or(Refused)?;
    let modulus = NonZero::new(Limb::from(24u8)).into_option().ok_or(Refused)?;
    loop {
        let candidates = SmallFactorsSieve::new(random_start(bits)?, len, true).map_err(|_| Refused)?;
        // Not further from one start than is usual, so that primes after long gaps are not preferred.
        let found = candidates
            .take(bits * 4)
            .filter(|candidate| candidate.rem_limb(modulus).0 == 23)
            .find(|candidate| is_prime(Flavor::Safe, candidate));
        if let Some(prime) = found {
            return Ok(prime.into());
        }
    }
}

/// p, q and g of `bits` bits: FIPS 186-4, A.1.1.2 with SHA-256, and A.2.1.
fn search(bits: usize) -> Result<[Number; 3]> {
    let q_bits = if bits < 2048 { 160 } else { 256 };
    let one = Number::from_be(&[1])?;
    loop {
        let mut seed = [0; 32];
        random::fill(&mut seed).map_err(|_| Refused)?;
        let Some(q) = subprime(&seed, q_bits)? else { continue };
        let twice = q.plus(&q);
        // Of V_0 to V_n the last is cut to `rest` bits.
        let blocks = bits.div_ceil(256);
        for counter in 0..4 * bits {
            let mut x = Vec::with_capacity(bits / 8);
            for block in 0..blocks {
                x.splice(0..0, hash(Digest::Sha256, &added(&seed, 1 + counter * blocks + block)).iter().copied());
            }
            let mut x = x.split_off(x.len() - bits / 8);
            // X = W + 2^(L-1), W being cut to L-1 bits.
            *x.first_mut().ok_or(Refused)? |= 0x80;
            let x = Number::from_be(&x)?;
            // p = X - (X mod 2q - 1)
            let p = x.plus(&one).less(&x.modulo(&twice)?)?;
            if p.bits() == bits && passes(&p) {
                let g = base(&p, &q)?;
                return Ok([p, q, g]);
            }
        }
    }
}

/// The seed plus `summand`, modulo 2^256.
fn added(seed: &[u8; 32], summand: usize) -> [u8; 32] {
    let (mut out, mut carry) = (*seed, summand);
    for byte in out.iter_mut().rev() {
        carry += usize::from(*byte);
        *byte = carry as u8;
        carry >>= 8;
    }
    out
}

/// q of a seed, where that is prime.
fn subprime(seed: &[u8], bits: usize) -> Result<Option<Number>> {
    let digest = hash(Digest::Sha256, seed);
    let mut q = digest.get(digest.len().saturating_sub(bits / 8)..).ok_or(Refused)?.to_vec();
    *q.first_mut().ok_or(Refused)? |= 0x80;
    *q.last_mut().ok_or(Refused)? |= 1;
    let q = Number::from_be(&q)?;
    Ok(passes(&q).then_some(q))
}

/// Odd small primes, the product of which fits 64 bits.
const SMALL: [u64; 15] = [3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47, 53];

/// Whether a number is prime, most others being found out by a division.
fn passes(number: &Number) -> bool {
    let Some(product) = NonZero::new(Limb::from(SMALL.iter().product::<u64>())).into_option() else { return false };
    let rest = number.uint().rem_limb(product).0;
    SMALL.iter().all(|prime| !rest.is_multiple_of(*prime)) && is_prime(Flavor::Any, number.uint())
}

/// A generator of the subgroup of order q.
fn base(p: &Number, q: &Number) -> Result<Number> {
    let exponent = p.minus(1)?.over(q)?;
    for h in 2..=u8::MAX {
        let g = Number::from_be(&[h])?.power(&exponent, p)?;
        if !g.is_one() {
            return Ok(g);
        }
    }
    Err(Refused)
}

/// A key with its parameters.
pub(in crate::crypto) struct DsaKey {
    p: Number,
    q: Number,
    g: Number,
    public: Number,
    private: Option<Number>,
}

impl DsaKey {
    /// Parameters p, q, g by FIPS 186-4's search: q of 160 bits below a p of 2048 bits, else of 256. `bits` is a multiple
    /// of 8.
    pub fn parameters(bits: usize) -> Result<[Vec<u8>; 3]> {
        let [p, q, g] = search(bits)?;
        Ok([p.bytes()?.to_vec(), q.bytes()?.to_vec(), g.bytes()?.to_vec()])
    }

    /// Refused where p or q is even or g or the public value is not below p.
    pub fn new([p, q, g]: [Number; 3], public: Number, private: Option<Number>) -> Result<DsaKey> {
        if !p.is_odd() || !q.is_odd() || !p.larger_than(&g) || !p.larger_than(&public) {
            return Err(Refused);
        }
        Ok(DsaKey { p, q, g, public, private })
    }

    /// The leftmost bits of a hash, up to q's length, which is whole bytes, modulo q.
    fn hashed(&self, digest: &[u8]) -> Result<Number> {
        Number::from_be(digest.get(..self.q.bits() / 8).unwrap_or(digest))?.modulo(&self.q)
    }

    /// Each half of the signature is as long as its slice. Refused for a public key.
    pub fn sign(&self, digest: &[u8], r: &mut [u8], s: &mut [u8]) -> Result<()> {
        let secret = self.private.as_ref().ok_or(Refused)?;
        let hashed = self.hashed(digest)?;
        loop {
            let nonce = Number::random_below(&self.q)?;
            let first = self.g.power(&nonce, &self.p)?.modulo(&self.q)?;
            let sum = first.times(secret)?.plus(&hashed).modulo(&self.q)?;
            let second = nonce.inverse(&self.q)?.times(&sum)?.modulo(&self.q)?;
            if first.bits() > 0 && second.bits() > 0 {
                first.to_be(r)?;
                return second.to_be(s);
            }
        }
    }

    pub fn verify(&self, digest: &[u8], r: &[u8], s: &[u8]) -> Result<()> {
        let (r, s) = (Number::from_be(r)?, Number::from_be(s)?);
        let possible = |half: &Number| half.bits() > 0 && self.q.larger_than(half);
        if !possible(&r) || !possible(&s) {
            return Err(Refused);
        }
        let inverse = s.inverse(&self.q)?;
        let of_base = self.hashed(digest)?.times(&inverse)?.modulo(&self.q)?;
        let of_public = r.times(&inverse)?.modulo(&self.q)?;
        let product = self.g.power(&of_base, &self.p)?.times(&self.public.power(&of_public, &self.p)?)?;
        if product.modulo(&self.p)?.modulo(&self.q)? == r { Ok(()) } else { Err(Refused) }
    }
}
