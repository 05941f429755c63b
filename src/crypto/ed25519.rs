//! Ed25519, Ed25519ctx and Ed25519ph (RFC 8032). AWS-LC stands behind them; in the pure-Rust build curve25519-dalek.

use zeroize::Zeroizing;

#[cfg(feature = "aws-lc")]
use super::aws::{curve25519 as library, number::Number};
use super::random;
#[cfg(not(feature = "aws-lc"))]
use super::rust::{curve25519 as library, number::Number};
use crate::error::{Code, Result};
use crate::secret::SecretBytes;

/// Length in bytes of seeds and of public keys.
pub const KEY_LEN: usize = 32;
/// Length in bytes of signatures.
pub const SIGNATURE_LEN: usize = 64;
/// Length in bytes of a context at most.
pub const MAX_CONTEXT_LEN: usize = 255;

/// Which of the three schemes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme<'a> {
    Pure,
    /// Ed25519ctx; the context is 1 to [`MAX_CONTEXT_LEN`] bytes.
    Context(&'a [u8]),
    /// Ed25519ph: what is signed is the message's SHA-512; the context is 0 to [`MAX_CONTEXT_LEN`] bytes.
    Prehashed(&'a [u8]),
}

/// A scheme as the library takes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form<'a> {
    Pure,
    /// The context is 1 to 255 bytes.
    Context(&'a [u8]),
    /// The SHA-512 that is signed, whatever message is given; the context is at most 255 bytes.
    Prehashed(&'a [u8; 64], &'a [u8]),
}

impl<'a> Scheme<'a> {
    /// The library's form: `CKR_DATA_LEN_RANGE` where a pre-hash is not 64 bytes.
    fn over(self, message: &'a [u8]) -> Result<Form<'a>> {
        Ok(match self {
            Scheme::Pure => Form::Pure,
            Scheme::Context(context) => Form::Context(context),
            Scheme::Prehashed(context) => Form::Prehashed(message.try_into().map_err(|_| Code::DataLenRange)?, context),
        })
    }
}

pub struct PublicKey([u8; KEY_LEN]);

impl PublicKey {
    /// `CKR_ATTRIBUTE_VALUE_INVALID` where the length is wrong, or where no point of the curve is encoded so.
    pub fn new(encoded: &[u8]) -> Result<PublicKey> {
        let encoded = encoded.try_into().map_err(|_| Code::AttributeValueInvalid)?;
        if !is_point(&encoded)? {
            return Err(Code::AttributeValueInvalid.because("the public key is no point of the curve"));
        }
        Ok(PublicKey(encoded))
    }

    /// `CKR_SIGNATURE_LEN_RANGE`, `CKR_SIGNATURE_INVALID`.
    pub fn verify(&self, scheme: Scheme, message: &[u8], signature: &[u8]) -> Result<()> {
        let signature = signature.try_into().map_err(|_| Code::SignatureLenRange)?;
        let scheme = scheme.over(message)?;
        Ok(library::ed25519_verify(scheme, &self.0, message, signature).map_err(|_| Code::SignatureInvalid)?)
    }
}

/// The field's prime, 2^255 - 19.
const PRIME: [u8; KEY_LEN] = {
    let mut prime = [0xff; KEY_LEN];
    prime[0] = 0x7f;
    prime[KEY_LEN - 1] = 0xed;
    prime
};
/// -d modulo the prime: 121665/121666 (RFC 8032, 5.1).
const MINUS_D: [u8; KEY_LEN] = [
    0x2d, 0xfc, 0x93, 0x11, 0xd4, 0x90, 0x01, 0x8c, 0x73, 0x38, 0xbf, 0x86, 0x88, 0x86, 0x17, 0x67, 0xff, 0x8f, 0xf5,
    0xb2, 0xbe, 0xbe, 0x27, 0x54, 0x8a, 0x14, 0xb2, 0x35, 0xec, 0xa6, 0x87, 0x4a,
];

/// Whether a point has this y (RFC 8032, 5.1.3): x^2 = (y^2 - 1) / (d y^2 + 1). That is a square where (y^2 - 1) (-d y^2 - 1) is
/// one, since -1 is. It is 0 where x is. AWS-LC does not tell.
fn is_point(encoded: &[u8; KEY_LEN]) -> Result<bool> {
    let mut y = *encoded;
    y.reverse();
    if let Some(first) = y.first_mut() {
        *first &= 0x7f;
    }
    let prime = Number::from_be(&PRIME)?;
    let y = Number::from_be(&y)?;
    let square = y.times(&y)?.modulo(&prime)?;
    if square.bits() == 0 {
        return Ok(true);
    }
    let other = square.times(&Number::from_be(&MINUS_D)?)?.modulo(&prime)?;
    let product = square.minus(1)?.times(&other.minus(1)?)?.modulo(&prime)?;
    if product.bits() == 0 {
        return Ok(true);
    }
    Ok(product.power(&prime.shifted_right(1)?, &prime)?.is_one())
}

pub struct PrivateKey {
    /// Seed and public key, as the library wants them.
    pair: SecretBytes,
    public: [u8; KEY_LEN],
}

impl PrivateKey {
    /// `CKR_ATTRIBUTE_VALUE_INVALID` unless `seed` is [`KEY_LEN`] bytes.
    pub fn new(seed: &[u8]) -> Result<PrivateKey> {
        let seed = seed.try_into().map_err(|_| Code::AttributeValueInvalid)?;
        let mut pair = SecretBytes::zeroed(2 * KEY_LEN);
        let to = pair.expose_mut().first_chunk_mut().ok_or(Code::GeneralError)?;
        let public = library::ed25519_from_seed(seed, to);
        Ok(PrivateKey { pair, public })
    }

    pub fn generate() -> Result<PrivateKey> {
        let mut seed = Zeroizing::new([0; KEY_LEN]);
        random::fill(&mut *seed)?;
        PrivateKey::new(&*seed)
    }

    pub fn seed(&self) -> SecretBytes {
        SecretBytes::copy_from(self.pair.expose().get(..KEY_LEN).unwrap_or_default())
    }

    pub fn public(&self) -> [u8; KEY_LEN] {
        self.public
    }

    /// `out` has at least [`SIGNATURE_LEN`] bytes; returns how many were written.
    pub fn sign(&self, scheme: Scheme, message: &[u8], out: &mut [u8]) -> Result<usize> {
        let out = out.first_chunk_mut().ok_or(Code::GeneralError)?;
        let pair = self.pair.expose().first_chunk().ok_or(Code::GeneralError)?;
        library::ed25519_sign(scheme.over(message)?, pair, message, out)?;
        Ok(SIGNATURE_LEN)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::digest::{Digest, hash};

    fn check(seed: &str, public: &str, scheme: Scheme, message: &[u8], signature: &str) {
        let key = PrivateKey::new(&hex::decode(seed).unwrap()).unwrap();
        assert_eq!(hex::encode(key.public()), public);
        assert_eq!(hex::encode(key.seed().expose()), seed);
        let mut out = [0; SIGNATURE_LEN];
        assert_eq!(key.sign(scheme, message, &mut out).unwrap(), SIGNATURE_LEN);
        assert_eq!(hex::encode(out), signature);
        let public = PublicKey::new(&key.public()).unwrap();
        public.verify(scheme, message, &out).unwrap();
        assert_eq!(public.verify(scheme, message, &out[1..]).unwrap_err().code(), Code::SignatureLenRange);
        out[0] ^= 1;
        assert_eq!(public.verify(scheme, message, &out).unwrap_err().code(), Code::SignatureInvalid);
    }

    #[test]
    fn the_three_schemes_give_the_signatures_of_rfc_8032() {
        // 7.1, test 1; 7.2, "foo"; 7.3, "abc".
        check(
            "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
            "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
            Scheme::Pure,
            b"",
            "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e06522490155\
             5fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b",
        );
        check(
            "0305334e381af78f141cb666f6199f57bc3495335a256a95bd2a55bf546663f6",
            "dfc9425e4f968f7f0c29f0259cf5f9aed6851c2bb4ad8bfb860cfee0ab248292",
            Scheme::Context(b"foo"),
            &hex::decode("f726936d19c800494e3fdaff20b276a8").unwrap(),
            "55a4cc2f70a54e04288c5f4cd1e45a7bb520b36292911876cada7323198dd87a\
             8b36950b95130022907a7fb7c4e9b2d5f6cca685a587b4b21f4b888e4e7edb0d",
        );
        check(
            "833fe62409237b9d62ec77587520911e9a759cec1d19755b7da901b96dca3d42",
            "ec172b93ad5e563bf4932c70e1245034c35467ef2efd4d64ebf819683467e2bf",
            Scheme::Prehashed(b""),
            &hash(Digest::Sha512, b"abc"),
            "98a70222f0b8121aa9d30f813d683f809e462b469c7ff87639499bb94e6dae41\
             31f85042463c2a355a2003d062adf5aaa10b8c61e636062aaad11c2a26083406",
        );
    }

    /// The curve's own points, those of small order, and half of all other bytes.
    #[test]
    fn what_is_no_point_is_no_key() {
        for _ in 0..20 {
            assert!(PublicKey::new(&PrivateKey::generate().unwrap().public()).is_ok());
        }
        // y of 0, 1, -1.
        let mut minus_one = PRIME;
        minus_one[KEY_LEN - 1] -= 1;
        minus_one.reverse();
        for y in [[0; KEY_LEN], [&[1][..], &[0; 31]].concat().try_into().unwrap(), minus_one] {
            assert!(PublicKey::new(&y).is_ok(), "{y:02x?}");
        }
        let mut two = [0; KEY_LEN];
        two[0] = 2;
        assert_eq!(PublicKey::new(&two).err().unwrap().code(), Code::AttributeValueInvalid);
        let taken = (0..=255u8).filter(|n| PublicKey::new(&hash(Digest::Sha256, &[*n])).is_ok()).count();
        assert!((90..=166).contains(&taken), "{taken} of 256");
    }

    #[test]
    fn a_scheme_without_what_it_needs_is_refused() {
        let key = PrivateKey::generate().unwrap();
        let mut out = [0; SIGNATURE_LEN];
        assert!(key.sign(Scheme::Context(b""), b"message", &mut out).is_err());
        assert!(key.sign(Scheme::Context(&[1; 256]), b"message", &mut out).is_err());
        let code = key.sign(Scheme::Prehashed(b""), &[1; 63], &mut out).unwrap_err().code();
        assert_eq!(code, Code::DataLenRange);
        assert_eq!(PrivateKey::new(&[1; 33]).err().unwrap().code(), Code::AttributeValueInvalid);
    }
}
