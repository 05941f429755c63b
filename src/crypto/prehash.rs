//! What the NIST signature schemes sign: the message with its context, or its hash (FIPS 204, 5.2 to 5.4; FIPS 205, 10.2).

use shake::{ExtendableOutput, Shake128, Shake256, Update, XofReader};
use smallvec::SmallVec;
use zeroize::Zeroizing;

use super::digest::{Digest, Hasher};
use crate::error::{Code, Result};

/// Length in bytes of a context at most.
pub const MAX_CONTEXT_LEN: usize = 255;

/// A hash that may stand for the message. SHAKE128 gives 32 bytes here, SHAKE256 64.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Prehash {
    Fixed(Digest),
    Shake128,
    Shake256,
}

impl Prehash {
    /// Length of the hash in bytes.
    #[allow(clippy::len_without_is_empty)]
    pub const fn len(self) -> usize {
        match self {
            Prehash::Fixed(digest) => digest.len(),
            Prehash::Shake128 => 32,
            Prehash::Shake256 => 64,
        }
    }

    /// The last arc of the hash's object identifier under 2.16.840.1.101.3.4.2. `CKR_MECHANISM_PARAM_INVALID` for SHA-1
    /// and others, which are none of those that the standards allow.
    fn arc(self) -> Result<u8> {
        Ok(match self {
            Prehash::Fixed(digest) => digest.nist_arc().ok_or(Code::MechanismParamInvalid)?,
            Prehash::Shake128 => 11,
            Prehash::Shake256 => 12,
        })
    }

    pub fn hasher(self) -> PrehashHasher {
        PrehashHasher(match self {
            Prehash::Fixed(digest) => State::Fixed(Hasher::new(digest)),
            Prehash::Shake128 => State::Shake128(Shake128::default()),
            Prehash::Shake256 => State::Shake256(Shake256::default()),
        })
    }
}

/// A running hash of the message.
#[derive(Clone)]
pub struct PrehashHasher(State);

#[derive(Clone)]
enum State {
    Fixed(Hasher),
    Shake128(Shake128),
    Shake256(Shake256),
}

impl PrehashHasher {
    pub fn prehash(&self) -> Prehash {
        match &self.0 {
            State::Fixed(hasher) => Prehash::Fixed(hasher.digest()),
            State::Shake128(_) => Prehash::Shake128,
            State::Shake256(_) => Prehash::Shake256,
        }
    }

    pub fn update(&mut self, data: &[u8]) {
        match &mut self.0 {
            State::Fixed(hasher) => hasher.update(data),
            State::Shake128(state) => state.update(data),
            State::Shake256(state) => state.update(data),
        }
    }

    /// The hash. The hasher begins anew.
    pub fn finish(&mut self) -> Zeroizing<Vec<u8>> {
        let fresh = self.prehash().hasher();
        let mut out = Zeroizing::new(vec![0; self.prehash().len()]);
        match std::mem::replace(self, fresh).0 {
            State::Fixed(mut hasher) => {
                hasher.finish_into(&mut out);
            }
            State::Shake128(state) => state.finalize_xof().read(&mut out),
            State::Shake256(state) => state.finalize_xof().read(&mut out),
        }
        out
    }
}

/// What stands before the message, or before its hash, in the M' of the standards: which of the two, the context, and
/// the hash's object identifier.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prefix(SmallVec<[u8; 64]>);

impl Prefix {
    /// Before the message itself. `CKR_MECHANISM_PARAM_INVALID` where the context is longer than [`MAX_CONTEXT_LEN`].
    pub fn pure(context: &[u8]) -> Result<Prefix> {
        Prefix::new(0, context)
    }

    /// Before the message's hash. `CKR_MECHANISM_PARAM_INVALID` as for [`Prefix::pure`], and for SHA-1.
    pub fn hashed(prehash: Prehash, context: &[u8]) -> Result<Prefix> {
        let mut prefix = Prefix::new(1, context)?;
        prefix.0.extend_from_slice(&[0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, prehash.arc()?]);
        Ok(prefix)
    }

    fn new(domain: u8, context: &[u8]) -> Result<Prefix> {
        let len = u8::try_from(context.len()).map_err(|_| {
            Code::MechanismParamInvalid
                .because(format!("a context of {} bytes; {MAX_CONTEXT_LEN} are the most", context.len()))
        })?;
        let mut prefix = SmallVec::from_slice(&[domain, len]);
        prefix.extend_from_slice(context);
        Ok(Prefix(prefix))
    }

    pub fn bytes(&self) -> &[u8] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first bytes of each function's value of the empty message: FIPS 202's examples.
    #[test]
    fn shake_of_nothing() {
        let mut hasher = Prehash::Shake128.hasher();
        assert_eq!(hasher.finish()[..8], [0x7f, 0x9c, 0x2b, 0xa4, 0xe8, 0x8f, 0x82, 0x7d]);
        assert_eq!(hasher.finish().len(), 32);
        let mut hasher = Prehash::Shake256.hasher();
        assert_eq!(hasher.finish()[..8], [0x46, 0xb9, 0xdd, 0x2b, 0x0b, 0xa8, 0x8d, 0x13]);
        assert_eq!(hasher.finish().len(), 64);
    }

    #[test]
    fn a_hasher_begins_anew_and_takes_pieces() {
        for prehash in [Prehash::Fixed(Digest::Sha384), Prehash::Shake128, Prehash::Shake256] {
            let mut hasher = prehash.hasher();
            hasher.update(b"one ");
            hasher.update(b"two");
            let pieces = hasher.finish();
            hasher.update(b"one two");
            assert_eq!(*hasher.finish(), *pieces, "{prehash:?}");
            assert_eq!(pieces.len(), prehash.len());
        }
    }

    #[test]
    fn a_context_has_255_bytes_at_most() {
        assert_eq!(Prefix::pure(&[7; 255]).unwrap().bytes()[..3], [0, 255, 7]);
        for prefix in [Prefix::pure(&[7; 256]), Prefix::hashed(Prehash::Shake128, &[7; 256])] {
            assert_eq!(prefix.unwrap_err().code(), Code::MechanismParamInvalid);
        }
    }

    #[test]
    fn a_hash_is_named_by_its_identifier() {
        let prefix = Prefix::hashed(Prehash::Fixed(Digest::Sha3_512), b"c").unwrap();
        assert_eq!(prefix.bytes()[..3], [1, 1, b'c']);
        let oid = pkcs8::ObjectIdentifier::new("2.16.840.1.101.3.4.2.10").unwrap();
        assert_eq!(prefix.bytes()[5..], *oid.as_bytes());
        let sha1 = Prefix::hashed(Prehash::Fixed(Digest::Sha1), b"");
        assert_eq!(sha1.unwrap_err().code(), Code::MechanismParamInvalid);
    }
}
