//! RSA (RFC 8017). AWS-LC, in the pure-Rust build the `rsa` crate, stands behind the modular arithmetic and the generation
//! of keys; the paddings are ours, so that every hash, mask, salt length and label goes, and so that decryption never tells
//! what was wrong with a padding.

use zeroize::Zeroizing;

#[cfg(feature = "aws-lc")]
use super::aws::rsa as library;
use super::digest::{Digest, hash};
use super::rsa_padding::{self as padding, Block};
pub use super::rsa_padding::{MAX_LEN, Oaep, PKCS1_OVERHEAD, Pss, digest_info};
#[cfg(not(feature = "aws-lc"))]
use super::rust::rsa as library;
use crate::error::{Code, Result};
use crate::secret::SecretBytes;
use library::{Number, RsaKey};

/// The shortest modulus of any key, in bits.
pub const MIN_BITS: usize = 1024;
/// The shortest modulus that is generated, signs, encrypts and decrypts, in bits.
pub const MIN_STRONG_BITS: usize = 2048;
pub const MAX_BITS: usize = MAX_LEN * 8;
/// Generated moduli are a multiple of this many bits.
pub const BITS_STEP: usize = 128;

/// Something for each number of an RSA private key, in the order of `RSAPrivateKey` (RFC 8017, A.1.2): n, e, d, p, q,
/// d mod p-1, d mod q-1, 1/q mod p. The numbers are big-endian.
pub type Numbers<T> = [T; 8];

/// The numbers of an RSA private key (RFC 8017, A.1.2), as the library takes them.
pub(super) struct RsaNumbers<N> {
    pub n: N,
    pub e: N,
    pub d: N,
    pub p: N,
    pub q: N,
    pub dp: N,
    pub dq: N,
    pub qinv: N,
}

/// The modulus, as both kinds of key need it.
struct Modulus {
    bytes: Box<[u8]>,
    bits: usize,
}

impl Modulus {
    /// `CKR_ATTRIBUTE_VALUE_INVALID` outside [`MIN_BITS`] to [`MAX_BITS`].
    fn new(n: &Number) -> Result<Modulus> {
        let bits = n.bits();
        if !(MIN_BITS..=MAX_BITS).contains(&bits) {
            Err(Code::AttributeValueInvalid
                .because(format!("an RSA modulus of {bits} bits; from {MIN_BITS} to {MAX_BITS} are possible")))?;
        }
        Ok(Modulus { bytes: n.bytes()?.as_slice().into(), bits })
    }

    fn len(&self) -> usize {
        self.bytes.len()
    }

    fn block(&self) -> Result<Block> {
        Block::new(self.len())
    }

    /// Whether `number`, as long as the modulus, is below it.
    fn exceeds(&self, number: &[u8]) -> bool {
        number < &*self.bytes
    }
}

/// A public key with its Montgomery context. Threads may share it.
pub struct PublicKey {
    key: RsaKey,
    modulus: Modulus,
}

impl PublicKey {
    /// `CKR_ATTRIBUTE_VALUE_INVALID` where the modulus is even, shorter than [`MIN_BITS`] or longer than [`MAX_BITS`], or
    /// the exponent is even, 1, or not below the modulus.
    pub fn new(n: &[u8], e: &[u8]) -> Result<PublicKey> {
        let (n, e) = (Number::from_be(n)?, Number::from_be(e)?);
        let modulus = Modulus::new(&n)?;
        let key = RsaKey::public(&n, &e).map_err(|_| Code::AttributeValueInvalid)?;
        Ok(PublicKey { key, modulus })
    }

    pub fn bits(&self) -> usize {
        self.modulus.bits
    }

    /// Length of the modulus in bytes: of every signature and ciphertext.
    #[allow(clippy::len_without_is_empty)]
    pub fn len(&self) -> usize {
        self.modulus.len()
    }

    fn open(&self, signature: &[u8], block: &mut Block) -> Result<()> {
        if signature.len() != self.len() {
            Err(Code::SignatureLenRange)?;
        }
        if !self.modulus.exceeds(signature) {
            Err(Code::SignatureInvalid)?;
        }
        Ok(self.key.public_operation(signature, block.bytes_mut())?)
    }

    fn write(&self, block: &Block, out: &mut [u8]) -> Result<usize> {
        let out = out.get_mut(..self.len()).ok_or(Code::GeneralError)?;
        self.key.public_operation(block.bytes(), out)?;
        Ok(out.len())
    }

    /// Encrypts `data`, zeros before it, without padding. `CKR_DATA_LEN_RANGE` where it is longer than the modulus,
    /// `CKR_DATA_INVALID` where it is not below it.
    pub fn encrypt_raw(&self, data: &[u8], out: &mut [u8]) -> Result<usize> {
        let mut block = self.modulus.block()?;
        block.end_with(data)?;
        if !self.modulus.exceeds(block.bytes()) {
            Err(Code::DataInvalid)?;
        }
        self.write(&block, out)
    }

    /// `CKR_DATA_LEN_RANGE` where `data` is longer than the modulus less [`PKCS1_OVERHEAD`].
    pub fn encrypt_pkcs1(&self, data: &[u8], out: &mut [u8]) -> Result<usize> {
        let mut block = self.modulus.block()?;
        padding::pkcs1_encrypt(data, &mut block)?;
        self.write(&block, out)
    }

    /// `CKR_DATA_LEN_RANGE` where `data` is longer than the modulus less [`Oaep::overhead`].
    pub fn encrypt_oaep(&self, oaep: &Oaep, data: &[u8], out: &mut [u8]) -> Result<usize> {
        let mut block = self.modulus.block()?;
        oaep.encode(data, &mut block)?;
        self.write(&block, out)
    }

    /// What a signature without padding holds, as long as the modulus. `CKR_SIGNATURE_LEN_RANGE`, `CKR_SIGNATURE_INVALID`.
    pub fn recover_raw(&self, signature: &[u8], out: &mut [u8]) -> Result<usize> {
        let mut block = self.modulus.block()?;
        self.open(signature, &mut block)?;
        out.get_mut(..self.len()).ok_or(Code::GeneralError)?.copy_from_slice(block.bytes());
        Ok(self.len())
    }

    /// Against `data`, zeros before it. `CKR_DATA_LEN_RANGE`, `CKR_SIGNATURE_LEN_RANGE`, `CKR_SIGNATURE_INVALID`.
    pub fn verify_raw(&self, data: &[u8], signature: &[u8]) -> Result<()> {
        let mut expected = self.modulus.block()?;
        expected.end_with(data)?;
        self.compare(&expected, signature)
    }

    /// What a PKCS #1 v1.5 signature holds. `CKR_SIGNATURE_LEN_RANGE`, `CKR_SIGNATURE_INVALID`.
    pub fn recover_pkcs1(&self, signature: &[u8], out: &mut [u8]) -> Result<usize> {
        let mut block = self.modulus.block()?;
        self.open(signature, &mut block)?;
        let text = padding::pkcs1_recover(block.bytes())?;
        out.get_mut(..text.len()).ok_or(Code::GeneralError)?.copy_from_slice(text);
        Ok(text.len())
    }

    /// RSASSA-PKCS1-v1_5 over `prefix` (a [`digest_info`], or nothing) and `data`. `CKR_DATA_LEN_RANGE`,
    /// `CKR_SIGNATURE_LEN_RANGE`, `CKR_SIGNATURE_INVALID`.
    pub fn verify_pkcs1(&self, prefix: &[u8], data: &[u8], signature: &[u8]) -> Result<()> {
        let mut expected = self.modulus.block()?;
        padding::pkcs1_sign(prefix, data, &mut expected)?;
        self.compare(&expected, signature)
    }

    fn compare(&self, expected: &Block, signature: &[u8]) -> Result<()> {
        let mut block = self.modulus.block()?;
        self.open(signature, &mut block)?;
        if block.bytes() == expected.bytes() { Ok(()) } else { Err(Code::SignatureInvalid)? }
    }

    /// RSASSA-PSS over a digest. `CKR_DATA_LEN_RANGE`, `CKR_KEY_SIZE_RANGE`, `CKR_SIGNATURE_LEN_RANGE`,
    /// `CKR_SIGNATURE_INVALID`.
    pub fn verify_pss(&self, pss: &Pss, digest: &[u8], signature: &[u8]) -> Result<()> {
        let mut block = self.modulus.block()?;
        self.open(signature, &mut block)?;
        pss.verify(digest, &mut block, self.bits())
    }
}

/// A private key with its Montgomery contexts and blindings. Threads may share it.
pub struct PrivateKey {
    key: RsaKey,
    modulus: Modulus,
    /// SHA-256 of d, the root of what implicit rejection answers.
    rejection: SecretBytes,
}

impl PrivateKey {
    /// n, e and d are needed; whatever else is missing is computed. `CKR_TEMPLATE_INCOMPLETE` where one of the three is
    /// missing, `CKR_ATTRIBUTE_VALUE_INVALID` where the numbers do not belong together or the modulus is shorter than
    /// [`MIN_BITS`] or longer than [`MAX_BITS`].
    pub fn new(numbers: Numbers<Option<&[u8]>>) -> Result<PrivateKey> {
        PrivateKey::ready(RsaKey::private(&complete(numbers)?).map_err(|_| Code::AttributeValueInvalid)?)
    }

    /// `bits` from [`MIN_STRONG_BITS`] to [`MAX_BITS`] in steps of [`BITS_STEP`], else `CKR_KEY_SIZE_RANGE`; `e` odd, from 3
    /// to 32 bits long, else `CKR_TEMPLATE_INCONSISTENT` (PKCS#11 3.2, PKCS #1 RSA key pair generation).
    pub fn generate(bits: usize, e: &[u8]) -> Result<PrivateKey> {
        if !(MIN_STRONG_BITS..=MAX_BITS).contains(&bits) || !bits.is_multiple_of(BITS_STEP) {
            Err(Code::KeySizeRange.because(format!(
                "an RSA modulus of {bits} bits; from {MIN_STRONG_BITS} to {MAX_BITS} in steps of {BITS_STEP} are possible"
            )))?;
        }
        let e = Number::from_be(e)?;
        if !e.is_odd() || !(2..=32).contains(&e.bits()) {
            Err(Code::TemplateInconsistent
                .because("an RSA public exponent is odd, at least 3, and 32 bits long at most"))?;
        }
        // AWS-LC's search gives up about once in a million keys.
        let key = RsaKey::generate(bits, &e).or_else(|_| RsaKey::generate(bits, &e))?;
        PrivateKey::ready(key)
    }

    fn ready(key: RsaKey) -> Result<PrivateKey> {
        let [n, _, d, ..] = key.numbers()?;
        let modulus = Modulus::new(&Number::from_be(&n)?)?;
        let mut block = modulus.block()?;
        block.end_with(&d)?;
        let rejection = SecretBytes::copy_from(&hash(Digest::Sha256, block.bytes()));
        Ok(PrivateKey { key, modulus, rejection })
    }

    pub fn bits(&self) -> usize {
        self.modulus.bits
    }

    /// Length of the modulus in bytes: of every signature and ciphertext.
    #[allow(clippy::len_without_is_empty)]
    pub fn len(&self) -> usize {
        self.modulus.len()
    }

    /// All numbers, without leading zeros.
    pub fn numbers(&self) -> Result<Numbers<Zeroizing<Vec<u8>>>> {
        Ok(self.key.numbers()?)
    }

    /// `block`, a number below the modulus, to the power d.
    fn apply(&self, block: &[u8], out: &mut [u8]) -> Result<usize> {
        let out = out.get_mut(..self.len()).ok_or(Code::GeneralError)?;
        if self.is_fixed_point(block) {
            out.copy_from_slice(block);
        } else {
            self.key.private_operation(block, out)?;
        }
        Ok(out.len())
    }

    /// 0, 1 and n - 1, which every odd exponent leaves as they are and AWS-LC refuses. The numbers compared are public or
    /// their own result.
    fn is_fixed_point(&self, block: &[u8]) -> bool {
        let (Some((last, head)), Some((n_last, n_head))) = (block.split_last(), self.modulus.bytes.split_last()) else {
            return false;
        };
        (*last <= 1 && head.iter().all(|&byte| byte == 0)) || (Some(*last) == n_last.checked_sub(1) && head == n_head)
    }

    fn open(&self, ciphertext: &[u8], out: &mut [u8]) -> Result<usize> {
        if ciphertext.len() != self.len() {
            Err(Code::EncryptedDataLenRange)?;
        }
        if !self.modulus.exceeds(ciphertext) {
            Err(Code::EncryptedDataInvalid)?;
        }
        self.apply(ciphertext, out)
    }

    /// Signs `data`, zeros before it, without padding. `CKR_DATA_LEN_RANGE` where it is longer than the modulus,
    /// `CKR_DATA_INVALID` where it is not below it.
    pub fn sign_raw(&self, data: &[u8], out: &mut [u8]) -> Result<usize> {
        let mut block = self.modulus.block()?;
        block.end_with(data)?;
        if !self.modulus.exceeds(block.bytes()) {
            Err(Code::DataInvalid)?;
        }
        self.apply(block.bytes(), out)
    }

    /// RSASSA-PKCS1-v1_5 over `prefix` (a [`digest_info`], or nothing) and `data`; `CKR_DATA_LEN_RANGE` where both are
    /// longer than the modulus less [`PKCS1_OVERHEAD`].
    pub fn sign_pkcs1(&self, prefix: &[u8], data: &[u8], out: &mut [u8]) -> Result<usize> {
        let mut block = self.modulus.block()?;
        padding::pkcs1_sign(prefix, data, &mut block)?;
        self.apply(block.bytes(), out)
    }

    /// RSASSA-PSS over a digest; `CKR_DATA_LEN_RANGE`, `CKR_KEY_SIZE_RANGE`.
    pub fn sign_pss(&self, pss: &Pss, digest: &[u8], out: &mut [u8]) -> Result<usize> {
        let mut block = self.modulus.block()?;
        pss.encode(digest, self.bits(), &mut block)?;
        self.apply(block.bytes(), out)
    }

    /// The whole block, without unpadding. `CKR_ENCRYPTED_DATA_LEN_RANGE`, `CKR_ENCRYPTED_DATA_INVALID`.
    pub fn decrypt_raw(&self, ciphertext: &[u8], out: &mut [u8]) -> Result<usize> {
        self.open(ciphertext, out)
    }

    /// With implicit rejection: a wrong padding gives a message, always the same for the same ciphertext, and no error.
    /// `out` has at least [`PrivateKey::len`] less [`PKCS1_OVERHEAD`] bytes. `CKR_ENCRYPTED_DATA_LEN_RANGE`, and
    /// `CKR_ENCRYPTED_DATA_INVALID` where the ciphertext is not below the modulus.
    pub fn decrypt_pkcs1(&self, ciphertext: &[u8], out: &mut [u8]) -> Result<usize> {
        let mut block = self.modulus.block()?;
        self.open(ciphertext, block.bytes_mut())?;
        padding::pkcs1_decrypt(&block, self.rejection.expose(), ciphertext, out)
    }

    /// `out` has at least [`PrivateKey::len`] less [`Oaep::overhead`] bytes. `CKR_ENCRYPTED_DATA_LEN_RANGE`,
    /// `CKR_ENCRYPTED_DATA_INVALID`.
    pub fn decrypt_oaep(&self, oaep: &Oaep, ciphertext: &[u8], out: &mut [u8]) -> Result<usize> {
        let mut block = self.modulus.block()?;
        self.open(ciphertext, block.bytes_mut())?;
        oaep.decode(&mut block, out)
    }
}

/// Computes what is missing beside n, e and d. What is given is taken as it is: building the key checks it.
fn complete(numbers: Numbers<Option<&[u8]>>) -> Result<RsaNumbers<Number>> {
    let read = |number: Option<&[u8]>| number.map(Number::from_be).transpose();
    let [n, e, d, p, q, dp, dq, qinv] = numbers;
    let needed = |number| Ok::<_, crate::error::Error>(read(number)?.ok_or(Code::TemplateIncomplete)?);
    let (n, e, d) = (needed(n)?, needed(e)?, needed(d)?);
    // Bounds the work below, and makes sure that the modulus is odd.
    Modulus::new(&n)?;
    RsaKey::public(&n, &e).map_err(|_| Code::AttributeValueInvalid)?;
    if d.bits() > n.bits() {
        Err(Code::AttributeValueInvalid)?;
    }
    let (p, q) = match (read(p)?, read(q)?) {
        (Some(p), Some(q)) => (p, q),
        (Some(p), None) => {
            let q = n.over(checked_prime(&p, &n)?)?;
            (p, q)
        }
        (None, Some(q)) => (n.over(checked_prime(&q, &n)?)?, q),
        (None, None) => factor(&n, &e, &d)?,
    };
    for prime in [&p, &q] {
        checked_prime(prime, &n)?;
    }
    let reduced = |given, prime: &Number| -> Result<Number> {
        Ok(match read(given)? {
            Some(exponent) => exponent,
            None => d.modulo(&prime.minus(1)?)?,
        })
    };
    let (dp, dq) = (reduced(dp, &p)?, reduced(dq, &q)?);
    let qinv = match read(qinv)? {
        Some(qinv) => qinv,
        // Fermat: the inverse modulo a prime is the power p - 2.
        None => q.modulo(&p)?.power(&p.minus(2)?, &p)?,
    };
    Ok(RsaNumbers { n, e, d, p, q, dp, dq, qinv })
}

/// Not a test of primality: odd, more than 1, below the modulus, as the arithmetic needs it.
fn checked_prime<'a>(prime: &'a Number, n: &Number) -> Result<&'a Number> {
    if prime.is_odd() && !prime.is_one() && prime.bits() < n.bits() {
        Ok(prime)
    } else {
        Err(Code::AttributeValueInvalid)?
    }
}

/// The primes of n from e and d: NIST SP 800-56B Rev. 2, C.1. `CKR_ATTRIBUTE_VALUE_INVALID` where d is no inverse of e.
fn factor(n: &Number, e: &Number, d: &Number) -> Result<(Number, Number)> {
    let invalid = || Code::AttributeValueInvalid.because("the RSA private exponent does not belong to the public key");
    let product = e.times(d)?;
    if !product.is_odd() || product.is_one() {
        Err(invalid())?;
    }
    let exponent = product.minus(1)?;
    let twos = exponent.trailing_zeros();
    let odd = exponent.shifted_right(twos)?;
    let minus_one = n.minus(1)?;
    // Each try succeeds with a probability of at least one half.
    for _ in 0..100 {
        let mut x = Number::random_below(&minus_one)?.power(&odd, n)?;
        for _ in 0..twos {
            if x.is_one() || x == minus_one {
                break;
            }
            let square = x.times(&x)?.modulo(n)?;
            if square.is_one() {
                let p = x.minus(1)?.gcd(n)?;
                let q = n.over(&p)?;
                // In the usual order, so that the result does not depend on chance.
                return Ok(if p.larger_than(&q) { (p, q) } else { (q, p) });
            }
            x = square;
        }
        // Were d an inverse of e, every number to the power of d e - 1 would be 1.
        if !x.is_one() && x != minus_one {
            break;
        }
    }
    Err(invalid())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::keyinfo::{Private, decode_private};

    fn key(pkcs8: &[u8]) -> PrivateKey {
        let Private::Rsa(numbers) = decode_private(pkcs8).unwrap() else { panic!("an RSA key") };
        PrivateKey::new(numbers.each_ref().map(|number| Some(number.as_slice()))).unwrap()
    }

    fn public(key: &PrivateKey) -> PublicKey {
        let [n, e, ..] = key.numbers().unwrap();
        PublicKey::new(&n, &e).unwrap()
    }

    /// Name, ciphertext, message.
    type Answer = (&'static str, Vec<u8>, Vec<u8>);

    /// The vectors' keys of 1024, 1031 and 2048 bits, each with its known answers.
    fn vectors() -> Vec<(PrivateKey, Vec<Answer>)> {
        let mut all = Vec::new();
        for line in include_str!("../../tests/vectors/rsa_pkcs1_implicit_rejection.txt").lines() {
            let fields: Vec<_> = line.split(' ').collect();
            match fields.as_slice() {
                ["#", ..] => {}
                ["key", _, pkcs8] => all.push((key(&hex::decode(pkcs8).unwrap()), Vec::new())),
                [name, ciphertext, message] => all.last_mut().unwrap().1.push((
                    *name,
                    hex::decode(ciphertext).unwrap(),
                    hex::decode(message.replace('-', "")).unwrap(),
                )),
                _ => panic!("{line}"),
            }
        }
        all
    }

    #[test]
    fn implicit_rejection_answers_as_openssl_does() {
        let mut ran = 0;
        for (key, pairs) in vectors() {
            for (name, ciphertext, message) in pairs {
                let mut out = vec![0; key.len() - PKCS1_OVERHEAD];
                let len = key.decrypt_pkcs1(&ciphertext, &mut out).unwrap();
                assert_eq!(hex::encode(&out[..len]), hex::encode(message), "{name}, {} bits", key.bits());
                ran += 1;
            }
        }
        assert_eq!(ran, 45);
    }

    #[test]
    fn decryption_refuses_what_cannot_be_a_ciphertext() {
        let (key, pairs) = vectors().pop().unwrap();
        let mut out = vec![0; key.len()];
        let [n, ..] = key.numbers().unwrap();
        let code = |result: Result<usize>| result.unwrap_err().code();
        assert_eq!(code(key.decrypt_pkcs1(&pairs[0].1[1..], &mut out)), Code::EncryptedDataLenRange);
        assert_eq!(code(key.decrypt_pkcs1(&n, &mut out)), Code::EncryptedDataInvalid);
        assert_eq!(code(key.decrypt_pkcs1(&vec![0xff; key.len()], &mut out)), Code::EncryptedDataInvalid);
    }

    #[test]
    fn the_fixed_points_that_the_library_refuses_work() {
        let (key, _) = vectors().pop().unwrap();
        let [n, ..] = key.numbers().unwrap();
        let mut less = n.to_vec();
        *less.last_mut().unwrap() -= 1;
        let mut one = vec![0; key.len()];
        *one.last_mut().unwrap() = 1;
        for block in [vec![0; key.len()], one, less] {
            let mut out = vec![7; key.len()];
            assert_eq!(key.decrypt_raw(&block, &mut out).unwrap(), key.len());
            assert_eq!(out, block);
            assert_eq!(key.sign_raw(&block, &mut out).unwrap(), key.len());
            assert_eq!(out, block);
        }
        let mut out = vec![0; key.len()];
        assert_eq!(key.sign_raw(&n, &mut out).unwrap_err().code(), Code::DataInvalid);
    }

    #[test]
    fn missing_numbers_are_computed() {
        for (key, _) in vectors() {
            let numbers = key.numbers().unwrap();
            let given = |at: &[usize]| {
                let mut some = [None; 8];
                at.iter().for_each(|&at| some[at] = Some(numbers[at].as_slice()));
                PrivateKey::new(some).map(|key| key.numbers().unwrap())
            };
            let mut swapped = numbers.clone();
            swapped.swap(3, 4);
            let by_hand = |key: &[Zeroizing<Vec<u8>>]| key[..5].to_vec();
            // OpenSSL does not order the primes, factoring does.
            let factored = given(&[0, 1, 2]).unwrap();
            assert!(by_hand(&factored) == by_hand(&numbers) || by_hand(&factored) == by_hand(&swapped));
            assert!(factored == numbers || factored[7] != numbers[7]);
            assert_eq!(given(&[0, 1, 2, 3]).unwrap(), numbers);
            assert_eq!(given(&[0, 1, 2, 4]).unwrap(), numbers);
            assert_eq!(given(&[0, 1, 2, 3, 4]).unwrap(), numbers);
            assert_eq!(given(&[0, 1]).unwrap_err().code(), Code::TemplateIncomplete);
        }
    }

    #[test]
    fn numbers_that_do_not_belong_together_are_refused() {
        let (key, _) = vectors().pop().unwrap();
        let numbers = key.numbers().unwrap();
        for wrong in 0..8 {
            let mut some = numbers.each_ref().map(|number| number.to_vec());
            // Another odd number of the same length.
            let middle = some[wrong].len() / 2;
            some[wrong][middle] ^= 1;
            let refused = PrivateKey::new(some.each_ref().map(|number| Some(number.as_slice())));
            assert_eq!(refused.err().unwrap().code(), Code::AttributeValueInvalid, "number {wrong}");
            // And where the primes are to be found from it.
            if wrong < 3 {
                let refused = PrivateKey::new(std::array::from_fn(|at| (at < 3).then(|| some[at].as_slice())));
                assert_eq!(refused.err().unwrap().code(), Code::AttributeValueInvalid, "number {wrong} of three");
            }
        }
    }

    #[test]
    fn generation_keeps_to_its_bounds() {
        let code = |bits, e: &[u8]| PrivateKey::generate(bits, e).err().unwrap().code();
        for bits in [0, 1024, 1920, 2047, 2049, 2050, 16512, usize::MAX] {
            assert_eq!(code(bits, &[1, 0, 1]), Code::KeySizeRange, "{bits}");
        }
        for e in [&[][..], &[0], &[1], &[2], &[1, 0, 0], &[1, 0, 0, 0, 1]] {
            assert_eq!(code(2048, e), Code::TemplateInconsistent, "{e:?}");
        }
        let key = PrivateKey::generate(2048, &[0, 3]).unwrap();
        assert_eq!((key.bits(), &*key.numbers().unwrap()[1]), (2048, &vec![3]));
    }

    #[test]
    fn pss_fills_the_modulus_to_the_last_byte_and_no_further() {
        for (key, _) in vectors() {
            let public = public(&key);
            let mut pss = Pss { hash: Digest::Sha256, mgf: Digest::Sha1, salt_len: (key.bits() - 1).div_ceil(8) - 34 };
            let digest = hash(Digest::Sha256, b"message");
            let mut signature = vec![0; key.len()];
            key.sign_pss(&pss, &digest, &mut signature).unwrap();
            public.verify_pss(&pss, &digest, &signature).unwrap();
            let other = Pss { salt_len: pss.salt_len - 1, ..pss };
            assert_eq!(public.verify_pss(&other, &digest, &signature).unwrap_err().code(), Code::SignatureInvalid);
            pss.salt_len += 1;
            assert!(!pss.fits(key.bits()));
            assert_eq!(key.sign_pss(&pss, &digest, &mut signature).unwrap_err().code(), Code::KeySizeRange);
        }
    }

    #[test]
    fn threads_share_one_prepared_key() {
        let (key, _) = vectors().pop().unwrap();
        let public = public(&key);
        let prefix = digest_info(Digest::Sha256).unwrap();
        std::thread::scope(|scope| {
            for thread in 0..4u8 {
                let (key, public, prefix) = (&key, &public, &prefix);
                scope.spawn(move || {
                    for round in 0..25u8 {
                        let digest = hash(Digest::Sha256, &[thread, round]);
                        let mut signature = vec![0; key.len()];
                        key.sign_pkcs1(prefix, &digest, &mut signature).unwrap();
                        public.verify_pkcs1(prefix, &digest, &signature).unwrap();
                    }
                });
            }
        });
    }

    #[test]
    fn short_moduli_are_no_keys() {
        let mut n = vec![0xff; 127];
        assert_eq!(PublicKey::new(&n, &[3]).err().unwrap().code(), Code::AttributeValueInvalid);
        n.push(0xff);
        assert_eq!(PublicKey::new(&n, &[3]).unwrap().bits(), 1024);
        assert_eq!(PublicKey::new(&n, &[4]).err().unwrap().code(), Code::AttributeValueInvalid);
        // An exponent of a whole modulus' length is unusual, and legal.
        let mut e = vec![0x7f; 128];
        e[127] = 1;
        PublicKey::new(&n, &e).unwrap();
    }
}
