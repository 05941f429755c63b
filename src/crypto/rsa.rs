//! RSA (RFC 8017). AWS-LC stands behind the modular arithmetic and the generation of keys; the paddings are ours, so that
//! every hash, mask, salt length and label goes, and so that decryption never tells what was wrong with a padding.

use zeroize::Zeroizing;

use super::aws::{Number, RsaKey, RsaNumbers};
use super::digest::{Digest, hash};
use super::rsa_padding::{self as padding, Block};
pub use super::rsa_padding::{MAX_LEN, Oaep, PKCS1_OVERHEAD, Pss, digest_info};
use crate::error::{Code, Result};
use crate::secret::Secret;

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

    /// `text` as a block, zeros before it, if it is a number below the modulus.
    fn block(&self, text: &[u8]) -> Result<Option<Block>> {
        let block = Block::ending_with(self.len(), text)?;
        Ok(if block.bytes() < &*self.bytes { Some(block) } else { None })
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

    /// `input` to the power e: `None` where it is not below the modulus.
    fn apply(&self, input: &[u8]) -> Result<Option<Block>> {
        let Some(input) = self.modulus.block(input)? else { return Ok(None) };
        let mut out = Block::new(self.len())?;
        self.key.public_operation(input.bytes(), out.bytes_mut())?;
        Ok(Some(out))
    }

    fn open(&self, signature: &[u8]) -> Result<Block> {
        if signature.len() != self.len() {
            Err(Code::SignatureLenRange)?;
        }
        Ok(self.apply(signature)?.ok_or(Code::SignatureInvalid)?)
    }

    fn write(&self, block: &Block, out: &mut [u8]) -> Result<usize> {
        let out = out.get_mut(..self.len()).ok_or(Code::GeneralError)?;
        self.key.public_operation(block.bytes(), out)?;
        Ok(out.len())
    }

    /// Encrypts `data`, zeros before it, without padding. `CKR_DATA_LEN_RANGE` where it is longer than the modulus,
    /// `CKR_DATA_INVALID` where it is not below it.
    pub fn encrypt_raw(&self, data: &[u8], out: &mut [u8]) -> Result<usize> {
        self.write(&self.modulus.block(data)?.ok_or(Code::DataInvalid)?, out)
    }

    /// `CKR_DATA_LEN_RANGE` where `data` is longer than the modulus less [`PKCS1_OVERHEAD`].
    pub fn encrypt_pkcs1(&self, data: &[u8], out: &mut [u8]) -> Result<usize> {
        self.write(&padding::pkcs1_encrypt(data, self.len())?, out)
    }

    /// `CKR_DATA_LEN_RANGE` where `data` is longer than the modulus less [`Oaep::overhead`].
    pub fn encrypt_oaep(&self, oaep: &Oaep, data: &[u8], out: &mut [u8]) -> Result<usize> {
        self.write(&oaep.encode(data, self.len())?, out)
    }

    /// What a signature without padding holds, as long as the modulus. `CKR_SIGNATURE_LEN_RANGE`, `CKR_SIGNATURE_INVALID`.
    pub fn recover_raw(&self, signature: &[u8], out: &mut [u8]) -> Result<usize> {
        let block = self.open(signature)?;
        out.get_mut(..self.len()).ok_or(Code::GeneralError)?.copy_from_slice(block.bytes());
        Ok(self.len())
    }

    /// Against `data`, zeros before it. `CKR_DATA_LEN_RANGE`, `CKR_SIGNATURE_LEN_RANGE`, `CKR_SIGNATURE_INVALID`.
    pub fn verify_raw(&self, data: &[u8], signature: &[u8]) -> Result<()> {
        self.compare(&Block::ending_with(self.len(), data)?, signature)
    }

    /// What a PKCS #1 v1.5 signature holds. `CKR_SIGNATURE_LEN_RANGE`, `CKR_SIGNATURE_INVALID`.
    pub fn recover_pkcs1(&self, signature: &[u8], out: &mut [u8]) -> Result<usize> {
        let block = self.open(signature)?;
        let text = padding::pkcs1_recover(block.bytes())?;
        out.get_mut(..text.len()).ok_or(Code::GeneralError)?.copy_from_slice(text);
        Ok(text.len())
    }

    /// RSASSA-PKCS1-v1_5 over `prefix` (a [`digest_info`], or nothing) and `data`. `CKR_DATA_LEN_RANGE`,
    /// `CKR_SIGNATURE_LEN_RANGE`, `CKR_SIGNATURE_INVALID`.
    pub fn verify_pkcs1(&self, prefix: &[u8], data: &[u8], signature: &[u8]) -> Result<()> {
        self.compare(&padding::pkcs1_sign(prefix, data, self.len())?, signature)
    }

    fn compare(&self, expected: &Block, signature: &[u8]) -> Result<()> {
        if self.open(signature)?.bytes() == expected.bytes() { Ok(()) } else { Err(Code::SignatureInvalid)? }
    }

    /// RSASSA-PSS over a digest. `CKR_DATA_LEN_RANGE`, `CKR_KEY_SIZE_RANGE`, `CKR_SIGNATURE_LEN_RANGE`,
    /// `CKR_SIGNATURE_INVALID`.
    pub fn verify_pss(&self, pss: &Pss, digest: &[u8], signature: &[u8]) -> Result<()> {
        pss.verify(digest, self.open(signature)?, self.bits())
    }
}

/// A private key with its Montgomery contexts and blindings. Threads may share it.
pub struct PrivateKey {
    key: RsaKey,
    modulus: Modulus,
    /// SHA-256 of d, the root of what implicit rejection answers.
    rejection: Secret<[u8; 32]>,
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
        let d = Block::ending_with(modulus.len(), &d)?;
        let digest = hash(Digest::Sha256, d.bytes());
        let rejection = digest.first_chunk().copied().map(Secret::new).ok_or(Code::GeneralError)?;
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
    fn apply(&self, block: &Block, out: &mut [u8]) -> Result<usize> {
        let out = out.get_mut(..self.len()).ok_or(Code::GeneralError)?;
        if self.is_fixed_point(block.bytes()) {
            out.copy_from_slice(block.bytes());
        } else {
            self.key.private_operation(block.bytes(), out)?;
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

    fn open(&self, ciphertext: &[u8]) -> Result<Block> {
        if ciphertext.len() != self.len() {
            Err(Code::EncryptedDataLenRange)?;
        }
        let block = self.modulus.block(ciphertext)?.ok_or(Code::EncryptedDataInvalid)?;
        let mut out = Block::new(self.len())?;
        self.apply(&block, out.bytes_mut())?;
        Ok(out)
    }

    /// Signs `data`, zeros before it, without padding. `CKR_DATA_LEN_RANGE` where it is longer than the modulus,
    /// `CKR_DATA_INVALID` where it is not below it.
    pub fn sign_raw(&self, data: &[u8], out: &mut [u8]) -> Result<usize> {
        self.apply(&self.modulus.block(data)?.ok_or(Code::DataInvalid)?, out)
    }

    /// RSASSA-PKCS1-v1_5 over `prefix` (a [`digest_info`], or nothing) and `data`; `CKR_DATA_LEN_RANGE` where both are
    /// longer than the modulus less [`PKCS1_OVERHEAD`].
    pub fn sign_pkcs1(&self, prefix: &[u8], data: &[u8], out: &mut [u8]) -> Result<usize> {
        self.apply(&padding::pkcs1_sign(prefix, data, self.len())?, out)
    }

    /// RSASSA-PSS over a digest; `CKR_DATA_LEN_RANGE`, `CKR_KEY_SIZE_RANGE`.
    pub fn sign_pss(&self, pss: &Pss, digest: &[u8], out: &mut [u8]) -> Result<usize> {
        self.apply(&pss.encode(digest, self.bits())?, out)
    }

    /// The whole block, without unpadding. `CKR_ENCRYPTED_DATA_LEN_RANGE`, `CKR_ENCRYPTED_DATA_INVALID`.
    pub fn decrypt_raw(&self, ciphertext: &[u8], out: &mut [u8]) -> Result<usize> {
        let block = self.open(ciphertext)?;
        out.get_mut(..self.len()).ok_or(Code::GeneralError)?.copy_from_slice(block.bytes());
        Ok(self.len())
    }

    /// With implicit rejection: a wrong padding gives a message, always the same for the same ciphertext, and no error.
    /// `out` has at least [`PrivateKey::len`] less [`PKCS1_OVERHEAD`] bytes. `CKR_ENCRYPTED_DATA_LEN_RANGE`, and
    /// `CKR_ENCRYPTED_DATA_INVALID` where the ciphertext is not below the modulus.
    pub fn decrypt_pkcs1(&self, ciphertext: &[u8], out: &mut [u8]) -> Result<usize> {
        padding::pkcs1_decrypt(&self.open(ciphertext)?, self.rejection.expose(), ciphertext, out)
    }

    /// `out` has at least [`PrivateKey::len`] less [`Oaep::overhead`] bytes. `CKR_ENCRYPTED_DATA_LEN_RANGE`,
    /// `CKR_ENCRYPTED_DATA_INVALID`.
    pub fn decrypt_oaep(&self, oaep: &Oaep, ciphertext: &[u8], out: &mut [u8]) -> Result<usize> {
        oaep.decode(self.open(ciphertext)?, out)
    }
}

/// Computes what is missing beside n, e and d. What is given is taken as it is: building the key checks it.
fn complete(numbers: Numbers<Option<&[u8]>>) -> Result<RsaNumbers> {
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
        (Some(p), None) => (n.over(checked_prime(&p, &n)?)?, p),
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
