//! SLH-DSA (FIPS 205), all twelve sets. RustCrypto stands behind it.
//!
//! A key is its bytes: there is nothing to prepare but the state of one hash. RustCrypto keeps signatures on the stack, in
//! several copies; a host's thread may not have as much, so that these functions bring their own where it is short.

use pkcs8::ObjectIdentifier;
use slh_dsa::{ParameterSet, Signature, SigningKey, VerifyingKey};
use zeroize::Zeroizing;

use super::pqc::{self, Hedge};
use super::random;
use crate::error::{Code, Result};
use crate::secret::SecretBytes;

/// The longest n, in bytes.
const MAX_N: usize = 32;

/// More than any of the functions was seen to use, in bytes: 320 KiB, at verification with the 256f sets.
const STACK: usize = 512 * 1024;

/// Runs `work` with at least [`STACK`] bytes of stack.
pub(super) fn with_stack<T>(work: impl FnOnce() -> T) -> T {
    stacker::maybe_grow(STACK, 2 * STACK, work)
}

type Generate = fn(usize, &[u8]) -> Result<SecretBytes>;
type Sign = fn(&[u8], &[&[u8]], Option<&[u8]>) -> Result<Vec<u8>>;
type Verify = fn(&[u8], &[&[u8]], &[u8]) -> Result<()>;

/// What a set's type of RustCrypto does, for keys and randomness of the set's lengths.
struct Functions {
    /// The private key from n and SK.seed || SK.prf || PK.seed, each of n bytes.
    generate: Generate,
    /// By the private key, over the concatenation of the parts; without randomness, the deterministic variant.
    sign: Sign,
    /// By the public key, over the concatenation of the parts, the signature.
    verify: Verify,
}

impl Functions {
    const fn of<P: ParameterSet>() -> Functions {
        Functions { generate: generate::<P>, sign: sign::<P>, verify: verify::<P> }
    }
}

fn generate<P: ParameterSet>(n: usize, seeds: &[u8]) -> Result<SecretBytes> {
    let mut seeds = seeds.chunks_exact(n);
    let (Some(secret), Some(prf), Some(public)) = (seeds.next(), seeds.next(), seeds.next()) else {
        Err(Code::AttributeValueInvalid)?
    };
    Ok(SecretBytes::new(SigningKey::<P>::slh_keygen_internal(secret, prf, public).to_vec()))
}

// The `_internal` functions take M' in parts. The public ones know no pre-hashed messages and copy none either.

fn sign<P: ParameterSet>(key: &[u8], parts: &[&[u8]], random: Option<&[u8]>) -> Result<Vec<u8>> {
    let key = SigningKey::<P>::try_from(key).map_err(|_| Code::GeneralError)?;
    Ok(key.slh_sign_internal(parts, random).to_vec())
}

fn verify<P: ParameterSet>(key: &[u8], parts: &[&[u8]], signature: &[u8]) -> Result<()> {
    let key = VerifyingKey::<P>::try_from(key).map_err(|_| Code::GeneralError)?;
    let signature = Signature::<P>::try_from(signature).map_err(|_| Code::GeneralError)?;
    Ok(key.slh_verify_internal(parts, &signature).map_err(|_| Code::SignatureInvalid)?)
}

macro_rules! sets {
    ($($set:ident = $ty:ident, $n:literal, $signature:literal, $oid:literal;)*) => {
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[allow(non_camel_case_types)]
        pub enum Set { $($set,)* }

        impl Set {
            pub const ALL: &'static [Set] = &[$(Set::$set,)*];

            /// n, the length of each hash in bytes.
            const fn n(self) -> usize {
                match self { $(Set::$set => $n,)* }
            }

            /// Length in bytes of a signature.
            pub const fn signature_len(self) -> usize {
                match self { $(Set::$set => $signature,)* }
            }

            /// RFC 9909.
            pub const fn oid(self) -> ObjectIdentifier {
                match self { $(Set::$set => const { ObjectIdentifier::new_unwrap($oid) },)* }
            }

            const fn functions(self) -> Functions {
                match self { $(Set::$set => Functions::of::<slh_dsa::$ty>(),)* }
            }
        }
    };
}

sets! {
    Sha2_128s = Sha2_128s, 16, 7856, "2.16.840.1.101.3.4.3.20";
    Shake128s = Shake128s, 16, 7856, "2.16.840.1.101.3.4.3.26";
    Sha2_128f = Sha2_128f, 16, 17088, "2.16.840.1.101.3.4.3.21";
    Shake128f = Shake128f, 16, 17088, "2.16.840.1.101.3.4.3.27";
    Sha2_192s = Sha2_192s, 24, 16224, "2.16.840.1.101.3.4.3.22";
    Shake192s = Shake192s, 24, 16224, "2.16.840.1.101.3.4.3.28";
    Sha2_192f = Sha2_192f, 24, 35664, "2.16.840.1.101.3.4.3.23";
    Shake192f = Shake192f, 24, 35664, "2.16.840.1.101.3.4.3.29";
    Sha2_256s = Sha2_256s, 32, 29792, "2.16.840.1.101.3.4.3.24";
    Shake256s = Shake256s, 32, 29792, "2.16.840.1.101.3.4.3.30";
    Sha2_256f = Sha2_256f, 32, 49856, "2.16.840.1.101.3.4.3.25";
    Shake256f = Shake256f, 32, 49856, "2.16.840.1.101.3.4.3.31";
}

impl Set {
    /// Length in bytes of PK.seed || PK.root.
    pub const fn public_len(self) -> usize {
        2 * self.n()
    }

    /// Length in bytes of SK.seed || SK.prf || PK.seed || PK.root.
    pub const fn private_len(self) -> usize {
        4 * self.n()
    }
}

pub struct PublicKey {
    set: Set,
    bytes: Vec<u8>,
}

impl PublicKey {
    /// `CKR_ATTRIBUTE_VALUE_INVALID` where the length is wrong.
    pub fn new(set: Set, key: &[u8]) -> Result<PublicKey> {
        if key.len() != set.public_len() {
            Err(Code::AttributeValueInvalid)?;
        }
        Ok(PublicKey { set, bytes: key.to_vec() })
    }

    pub fn signature_len(&self) -> usize {
        self.set.signature_len()
    }

    /// Over M', the concatenation of the parts: the prefix first (`prehash::Prefix`). `CKR_SIGNATURE_LEN_RANGE`,
    /// `CKR_SIGNATURE_INVALID`.
    pub fn verify(&self, parts: &[&[u8]], signature: &[u8]) -> Result<()> {
        if signature.len() != self.set.signature_len() {
            Err(Code::SignatureLenRange)?;
        }
        with_stack(|| (self.set.functions().verify)(&self.bytes, parts, signature))
    }
}

pub struct PrivateKey {
    set: Set,
    value: SecretBytes,
}

impl PrivateKey {
    pub fn signature_len(&self) -> usize {
        self.set.signature_len()
    }

    /// Over M', the concatenation of the parts: the prefix first (`prehash::Prefix`). `out` has at least
    /// [`Set::signature_len`] bytes; returns how many were written.
    pub fn sign(&self, parts: &[&[u8]], hedge: Hedge, out: &mut [u8]) -> Result<usize> {
        let mut random = Zeroizing::new([0; MAX_N]);
        let random = random.get_mut(..self.set.n()).ok_or(Code::GeneralError)?;
        let random = match hedge {
            Hedge::Deterministic => None,
            Hedge::Random => {
                random::fill(random)?;
                Some(&*random)
            }
        };
        let out = out.get_mut(..self.set.signature_len()).ok_or(Code::GeneralError)?;
        let signature = with_stack(|| (self.set.functions().sign)(self.value.expose(), parts, random))?;
        out.copy_from_slice(&signature);
        Ok(out.len())
    }
}

impl pqc::Private for PrivateKey {
    type Set = Set;

    fn generate(set: Set) -> Result<PrivateKey> {
        let mut seeds = Zeroizing::new([0; 3 * MAX_N]);
        let seeds = seeds.get_mut(..3 * set.n()).ok_or(Code::GeneralError)?;
        random::fill(seeds)?;
        let value = with_stack(|| (set.functions().generate)(set.n(), seeds))?;
        Ok(PrivateKey { set, value })
    }

    /// `CKR_TEMPLATE_INCONSISTENT`: SLH-DSA has no such form of a key.
    fn from_seed(_: Set, _: &[u8]) -> Result<PrivateKey> {
        Err(Code::TemplateInconsistent.because("an SLH-DSA private key has no CKA_SEED"))
    }

    fn from_value(set: Set, value: &[u8]) -> Result<PrivateKey> {
        if value.len() != set.private_len() {
            Err(Code::AttributeValueInvalid)?;
        }
        Ok(PrivateKey { set, value: SecretBytes::copy_from(value) })
    }

    /// Makes the root of the uppermost tree anew: from 1 ms to 0.3 s, by the set.
    fn check(&self) -> Result<()> {
        let made = with_stack(|| (self.set.functions().generate)(self.set.n(), self.value.expose()))?;
        if made == self.value {
            Ok(())
        } else {
            Err(Code::AttributeValueInvalid.because("the root is not that of the seeds"))?
        }
    }

    fn seed(&self) -> Option<&[u8]> {
        None
    }

    fn value(&self) -> &[u8] {
        self.value.expose()
    }

    fn public(&self) -> Result<Vec<u8>> {
        Ok(self.value.expose().get(2 * self.set.n()..).ok_or(Code::GeneralError)?.to_vec())
    }
}
