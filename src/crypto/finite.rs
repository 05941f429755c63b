//! Discrete logarithms in finite fields: Diffie-Hellman (PKCS #3, X9.42) and DSA (FIPS 186-4). AWS-LC computes;
//! in the pure-Rust build crypto-bigint and crypto-primes.

#[cfg(feature = "aws-lc")]
use super::aws::finite as library;
use super::refused::Refused;
#[cfg(not(feature = "aws-lc"))]
use super::rust::finite as library;
use crate::error::{Code, Error, Result};
use crate::secret::SecretBytes;
use library::{DsaKey, Number, safe_prime};

/// Length in bits of the primes that are taken.
pub const MIN_BITS: usize = 1024;
pub const MAX_BITS: usize = 8192;
/// Length in bits of DSA's primes at most.
pub const MAX_DSA_BITS: usize = 4096;
/// Lengths in bits of DSA's second prime.
const DSA_SUBPRIMES: [usize; 3] = [160, 224, 256];
/// The least length in bits of X9.42's.
const MIN_SUBPRIME_BITS: usize = 160;

/// The group's numbers, most significant byte first, leading zeros allowed.
#[derive(Clone, Copy)]
pub struct Numbers<'a> {
    pub p: &'a [u8],
    /// Order of the subgroup, where it is known.
    pub q: Option<&'a [u8]>,
    pub g: &'a [u8],
}

/// A group whose numbers were checked.
pub struct Group {
    p: Number,
    q: Option<Number>,
    g: Number,
}

fn bad(why: &str) -> Error {
    Code::AttributeValueInvalid.because(why)
}

fn refused(_: Refused) -> Error {
    Code::FunctionFailed.into()
}

fn number(bytes: &[u8]) -> Result<Number> {
    Number::from_be(bytes).map_err(refused)
}

impl Group {
    /// `CKR_ATTRIBUTE_VALUE_INVALID` unless p is odd and of [`MIN_BITS`] to [`MAX_BITS`] bits, 1 < g < p - 1, and q, if it is
    /// there, divides p - 1 and is the order of g. That p and q are prime is the word of who chose them.
    pub fn new(numbers: Numbers<'_>) -> Result<Group> {
        let group = Group::trusted(numbers)?;
        if !group.p.is_odd() || !(MIN_BITS..=MAX_BITS).contains(&group.p.bits()) {
            return Err(bad("the prime is even, too short or too long"));
        }
        if !group.inside(&group.g)? {
            return Err(bad("the base is no number from 2 to the prime less 2"));
        }
        if let Some(q) = &group.q {
            let divides = q.bits() >= MIN_SUBPRIME_BITS
                && group.p.larger_than(q)
                && group.p.modulo(q).map_err(refused)?.is_one()
                && group.g.power(q, &group.p).map_err(refused)?.is_one();
            if !divides {
                return Err(bad("the subprime is not the order of the base"));
            }
        }
        Ok(group)
    }

    /// Of numbers that [`Group::new`] has taken before: that is not done again.
    pub fn trusted(numbers: Numbers<'_>) -> Result<Group> {
        Ok(Group { p: number(numbers.p)?, q: numbers.q.map(number).transpose()?, g: number(numbers.g)? })
    }

    /// 1 < value < p - 1.
    fn inside(&self, value: &Number) -> Result<bool> {
        let last = self.p.minus(1).map_err(refused)?;
        Ok(value.bits() > 1 && last.larger_than(value))
    }

    /// Length in bytes of the prime, and so of shared secrets.
    #[allow(clippy::len_without_is_empty)]
    pub fn len(&self) -> usize {
        self.p.bits().div_ceil(8)
    }

    /// Checks another party's value: `CKR_ATTRIBUTE_VALUE_INVALID` outside 2..p-2 and, where q is known, outside the
    /// subgroup (SP 800-56A r3, 5.6.2.3).
    pub fn check_public(&self, public: &[u8]) -> Result<()> {
        let value = number(public)?;
        let inside = self.inside(&value)?;
        let member = match &self.q {
            Some(q) if inside => value.power(q, &self.p).map_err(refused)?.is_one(),
            _ => inside,
        };
        if member { Ok(()) } else { Err(bad("the public value is not one of the group")) }
    }

    /// A private value: of exactly `bits` bits, else uniform below the order. `CKR_ATTRIBUTE_VALUE_INVALID` for a length
    /// that the group has not.
    pub fn generate(&self, bits: Option<usize>) -> Result<SecretBytes> {
        let order = match &self.q {
            Some(q) => number(&q.bytes().map_err(refused)?)?,
            None => self.p.minus(1).map_err(refused)?,
        };
        let value = match bits {
            None => Number::random_below(&order).map_err(refused)?,
            Some(bits) if (MIN_SUBPRIME_BITS..order.bits()).contains(&bits) => random_of(bits)?,
            Some(bits) if bits == order.bits() => Number::random_below(&order).map_err(refused)?,
            Some(_) => return Err(bad("a private value of this length is too short, or longer than the group's")),
        };
        Ok(SecretBytes::copy_from(&value.bytes().map_err(refused)?))
    }

    /// `CKR_ATTRIBUTE_VALUE_INVALID` unless the private value is above 0 and below the order, or p - 1 where none is known.
    fn exponent(&self, private: &[u8]) -> Result<Number> {
        let value = number(private)?;
        let below = match &self.q {
            Some(q) => q.larger_than(&value),
            None => self.p.minus(1).map_err(refused)?.larger_than(&value),
        };
        if value.bits() > 0 && below { Ok(value) } else { Err(bad("the private value is not one of the group")) }
    }

    /// The public value of a private one, without leading zeros.
    pub fn public(&self, private: &[u8]) -> Result<Vec<u8>> {
        let value = self.g.power(&self.exponent(private)?, &self.p).map_err(refused)?;
        Ok(value.bytes().map_err(refused)?.to_vec())
    }

    /// The shared secret, as long as the prime. `CKR_ATTRIBUTE_VALUE_INVALID` as [`Group::check_public`], and where the
    /// secret would be 1.
    pub fn agree(&self, private: &[u8], peer: &[u8]) -> Result<SecretBytes> {
        self.check_public(peer)?;
        let shared = number(peer)?.power(&self.exponent(private)?, &self.p).map_err(refused)?;
        if shared.bits() <= 1 {
            return Err(bad("the public value is of small order"));
        }
        let mut out = SecretBytes::zeroed(self.len());
        shared.to_be(out.expose_mut()).map_err(refused)?;
        Ok(out)
    }
}

/// A Diffie-Hellman private key, ready for use.
pub struct DhPrivate {
    group: Group,
    value: SecretBytes,
}

impl DhPrivate {
    /// Of numbers that [`Group::new`] has taken.
    pub fn new(numbers: Numbers<'_>, value: &[u8]) -> Result<DhPrivate> {
        Ok(DhPrivate { group: Group::trusted(numbers)?, value: SecretBytes::copy_from(value) })
    }

    /// As [`Group::agree`].
    pub fn agree(&self, peer: &[u8]) -> Result<SecretBytes> {
        self.group.agree(self.value.expose(), peer)
    }
}

/// A Diffie-Hellman public key.
pub struct DhPublic {
    group: Group,
    value: Vec<u8>,
}

impl DhPublic {
    /// Of numbers that [`Group::new`] has taken.
    pub fn new(numbers: Numbers<'_>, value: &[u8]) -> Result<DhPublic> {
        Ok(DhPublic { group: Group::trusted(numbers)?, value: value.to_vec() })
    }

    /// Length in bytes of public values as [`DhPublic::encapsulate`] writes them.
    pub fn value_len(&self) -> usize {
        self.group.len()
    }

    /// Agrees with a key pair made for this one time: its public value, as long as the prime, and the shared secret.
    pub fn encapsulate(&self) -> Result<(Vec<u8>, SecretBytes)> {
        let private = self.group.generate(None)?;
        let shared = self.group.agree(private.expose(), &self.value)?;
        let mut public = vec![0; self.group.len()];
        number(&self.group.public(private.expose())?)?.to_be(&mut public).map_err(refused)?;
        Ok((public, shared))
    }
}

fn random_of(bits: usize) -> Result<Number> {
    let mut bytes = SecretBytes::zeroed(bits.div_ceil(8));
    super::random::fill(bytes.expose_mut())?;
    let top = (bits.saturating_sub(1) % 8) as u32;
    if let Some(first) = bytes.expose_mut().first_mut() {
        *first = *first & (0xffu8 >> (7 - top)) | (1 << top);
    }
    number(bytes.expose())
}

/// Parameters p and g = 2 of a Diffie-Hellman group: p is a safe prime, g a base of its subgroup of prime order. Takes from
/// seconds to minutes. `CKR_ATTRIBUTE_VALUE_INVALID` for a length that is not taken.
pub fn generate_dh_parameters(bits: usize) -> Result<(Vec<u8>, Vec<u8>)> {
    if !(MIN_BITS..=MAX_BITS).contains(&bits) {
        return Err(bad("primes have 1024 to 8192 bits"));
    }
    Ok((safe_prime(bits).map_err(refused)?.bytes().map_err(refused)?.to_vec(), vec![2]))
}

/// Parameters p, q and g of DSA: q of 160 bits below a p of 2048 bits, else of 256. `CKR_ATTRIBUTE_VALUE_INVALID` unless
/// `bits` is a multiple of 64 and taken.
pub fn generate_dsa_parameters(bits: usize) -> Result<[Vec<u8>; 3]> {
    if !(MIN_BITS..=MAX_DSA_BITS).contains(&bits) || !bits.is_multiple_of(64) {
        return Err(bad("DSA primes have 1024 to 4096 bits, in steps of 64"));
    }
    DsaKey::parameters(bits).map_err(refused)
}

/// A DSA key, ready for use.
pub struct Dsa {
    key: DsaKey,
    /// Of q, in bytes.
    half: usize,
    private: bool,
}

impl Dsa {
    fn group(numbers: Numbers<'_>) -> Result<Group> {
        let group = Group::trusted(numbers)?;
        let bits = group.q.as_ref().map_or(0, Number::bits);
        if !DSA_SUBPRIMES.contains(&bits) || !(MIN_BITS..=MAX_DSA_BITS).contains(&group.p.bits()) {
            return Err(bad("DSA takes primes of 1024 to 4096 bits with subprimes of 160, 224 or 256"));
        }
        Ok(group)
    }

    fn new(numbers: Numbers<'_>, public: &[u8], private: Option<Number>) -> Result<Dsa> {
        let Group { p, q, g } = Dsa::group(numbers)?;
        let q = q.ok_or_else(|| bad("DSA needs a subprime"))?;
        let (half, has_private) = (q.bits().div_ceil(8), private.is_some());
        let key = DsaKey::new([p, q, g], number(public)?, private).map_err(|_| bad("no DSA key"))?;
        Ok(Dsa { key, half, private: has_private })
    }

    /// `CKR_ATTRIBUTE_VALUE_INVALID` for sizes that DSA has not.
    pub fn public(numbers: Numbers<'_>, public: &[u8]) -> Result<Dsa> {
        Dsa::new(numbers, public, None)
    }

    /// As [`Dsa::public`], and for a value that is not below q.
    pub fn private(numbers: Numbers<'_>, private: &[u8]) -> Result<Dsa> {
        let group = Dsa::group(numbers)?;
        let public = group.public(private)?;
        Dsa::new(numbers, &public, Some(group.exponent(private)?))
    }

    /// Length of signatures in bytes.
    pub fn signature_len(&self) -> usize {
        2 * self.half
    }

    pub fn is_private(&self) -> bool {
        self.private
    }

    /// Over the caller's digest, of which the leftmost bits up to q's length count. `out` has at least
    /// [`Dsa::signature_len`] bytes; returns how many were written.
    pub fn sign(&self, digest: &[u8], out: &mut [u8]) -> Result<usize> {
        let out = out.get_mut(..self.signature_len()).ok_or(Code::GeneralError)?;
        let (r, s) = out.split_at_mut(self.half);
        self.key.sign(digest, r, s)?;
        Ok(self.signature_len())
    }

    /// `CKR_SIGNATURE_LEN_RANGE`, `CKR_SIGNATURE_INVALID`.
    pub fn verify(&self, digest: &[u8], signature: &[u8]) -> Result<()> {
        if signature.len() != self.signature_len() {
            return Err(Code::SignatureLenRange.into());
        }
        let (r, s) = signature.split_at(self.half);
        Ok(self.key.verify(digest, r, s).map_err(|_| Code::SignatureInvalid)?)
    }
}
