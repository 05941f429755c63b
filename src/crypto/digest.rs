//! The hash functions, as one type: SHA-1 and SHA-2 by AWS-LC (in the pure-Rust build by the `sha1` and `sha2` crates), the
//! others by RustCrypto.

use std::ops::Deref;

use sha2::digest::common::hazmat::{SerializableState, SerializedState};
use sha2::digest::consts::{U20, U32, U48, U64};
use sha2::digest::{FixedOutputReset, Reset, Update};
use zeroize::Zeroize;

#[cfg(feature = "aws-lc")]
use super::aws::sha;
#[cfg(not(feature = "aws-lc"))]
use super::rust::sha;
use super::sha512t::{Bits, Sha512T};
use crate::error::{Code, Result};

/// The longest output, in bytes.
pub const MAX_LEN: usize = 64;
/// The longest block, in bytes (SHA3-224).
pub const MAX_BLOCK_LEN: usize = 144;

/// A digest, its output in memory: no allocation. Wiped on drop, as it may be a key's.
#[derive(Clone, PartialEq, Eq)]
pub struct Hash {
    bytes: [u8; MAX_LEN],
    len: usize,
}

impl Deref for Hash {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }
}

impl Hash {
    /// As long as the digest's, every byte the same.
    pub(super) fn filled(digest: Digest, byte: u8) -> Hash {
        Hash { bytes: [byte; MAX_LEN], len: digest.len() }
    }
}

impl Drop for Hash {
    fn drop(&mut self) {
        self.bytes.zeroize();
    }
}

macro_rules! digests {
    ($($name:ident = $ty:ty, $len:literal, $block:literal, $number:literal, $state:ident;)*) => {
        /// A hash function.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[allow(non_camel_case_types)]
        pub enum Digest {
            $($name,)*
            /// SHA-512/t, for any t.
            Sha512T(Bits),
        }

        #[allow(clippy::len_without_is_empty)]
        impl Digest {
            /// All but the many of [`Digest::Sha512T`].
            pub const ALL: &'static [Digest] = &[$(Digest::$name,)*];

            /// Length of the output in bytes.
            pub const fn len(self) -> usize {
                match self {
                    $(Digest::$name => $len,)*
                    Digest::Sha512T(bits) => bits.len(),
                }
            }

            /// Length of the compression function's block (for SHA-3, the rate) in bytes: HMAC's block.
            pub const fn block_len(self) -> usize {
                match self {
                    $(Digest::$name => $block,)*
                    Digest::Sha512T(_) => 128,
                }
            }

            /// A number that never changes, for saved states.
            pub const fn number(self) -> u8 {
                match self {
                    $(Digest::$name => $number,)*
                    Digest::Sha512T(_) => SHA512_T,
                }
            }

        }

        #[derive(Clone)]
        enum State {
            $($name($ty),)*
            Sha512T(Sha512T),
        }

        impl State {
            fn new(digest: Digest) -> State {
                match digest {
                    $(Digest::$name => State::$name(<$ty>::default()),)*
                    Digest::Sha512T(bits) => State::Sha512T(Sha512T::new(bits)),
                }
            }

            fn digest(&self) -> Digest {
                match self {
                    $(State::$name(_) => Digest::$name,)*
                    State::Sha512T(state) => Digest::Sha512T(state.bits()),
                }
            }

            fn update(&mut self, data: &[u8]) {
                match self {
                    $(State::$name(state) => Update::update(state, data),)*
                    State::Sha512T(state) => state.update(data),
                }
            }

            /// `out` is as long as the digest.
            fn finish_reset(&mut self, out: &mut [u8]) {
                match self {
                    // The lengths agree: a test compares that of each row with the type's own.
                    $(State::$name(state) => if let Ok(out) = out.try_into() {
                        state.finalize_into_reset(out)
                    },)*
                    State::Sha512T(state) => {
                        let mut whole = [0; MAX_LEN];
                        state.finish_reset(&mut whole);
                        out.iter_mut().zip(&whole).for_each(|(to, from)| *to = *from);
                        whole.zeroize();
                    }
                }
            }

            fn reset(&mut self) {
                match self {
                    $(State::$name(state) => Reset::reset(state),)*
                    State::Sha512T(state) => state.reset(),
                }
            }

            /// `None` where the library does not give its state away.
            fn save(&self) -> Option<Vec<u8>> {
                match self {
                    $(State::$name(state) => $state!(save state),)*
                    State::Sha512T(state) => Some(state.save()),
                }
            }

            fn restore(number: u8, saved: &[u8]) -> Option<State> {
                Some(match number {
                    $($number => State::$name($state!(restore $ty, saved)?),)*
                    SHA512_T => State::Sha512T(Sha512T::restore(saved)?),
                    _ => return None,
                })
            }
        }
    };
}

impl Digest {
    /// The last arc of the object identifier under 2.16.840.1.101.3.4.2, for NIST's hash functions but SHA-1.
    pub const fn nist_arc(self) -> Option<u8> {
        Some(match self {
            Digest::Sha256 => 1,
            Digest::Sha384 => 2,
            Digest::Sha512 => 3,
            Digest::Sha224 => 4,
            Digest::Sha512_224 => 5,
            Digest::Sha512_256 => 6,
            Digest::Sha3_224 => 7,
            Digest::Sha3_256 => 8,
            Digest::Sha3_384 => 9,
            Digest::Sha3_512 => 10,
            _ => return None,
        })
    }
}

/// A state that can be saved.
macro_rules! open {
    (save $state:ident) => {
        Some($state.serialize().to_vec())
    };
    (restore $ty:ty, $saved:ident) => {
        <&SerializedState<$ty>>::try_from($saved).ok().and_then(|saved| <$ty>::deserialize(saved).ok())
    };
}

/// One that cannot.
macro_rules! closed {
    (save $state:ident) => {{
        let _ = $state;
        None
    }};
    (restore $ty:ty, $saved:ident) => {
        None::<$ty>
    };
}

/// The number of [`Digest::Sha512T`].
const SHA512_T: u8 = 64;

digests! {
    Sha1 = sha::Sha1, 20, 64, 1, open;
    Sha224 = sha::Sha224, 28, 64, 2, open;
    Sha256 = sha::Sha256, 32, 64, 3, open;
    Sha384 = sha::Sha384, 48, 128, 4, open;
    Sha512 = sha::Sha512, 64, 128, 5, open;
    Sha512_224 = sha::Sha512_224, 28, 128, 6, open;
    Sha512_256 = sha::Sha512_256, 32, 128, 7, open;
    Sha3_224 = sha3::Sha3_224, 28, 144, 8, open;
    Sha3_256 = sha3::Sha3_256, 32, 136, 9, open;
    Sha3_384 = sha3::Sha3_384, 48, 104, 10, open;
    Sha3_512 = sha3::Sha3_512, 64, 72, 11, open;
    Blake2b160 = blake2::Blake2b<U20>, 20, 128, 12, closed;
    Blake2b256 = blake2::Blake2b<U32>, 32, 128, 13, closed;
    Blake2b384 = blake2::Blake2b<U48>, 48, 128, 14, closed;
    Blake2b512 = blake2::Blake2b<U64>, 64, 128, 15, closed;
    Md5 = md5::Md5, 16, 64, 16, open;
    Ripemd160 = ripemd::Ripemd160, 20, 64, 17, open;
}

/// A running digest. A clone goes on from the same point.
#[derive(Clone)]
pub struct Hasher(State);

impl Hasher {
    pub fn new(digest: Digest) -> Hasher {
        Hasher(State::new(digest))
    }

    pub fn digest(&self) -> Digest {
        self.0.digest()
    }

    pub fn update(&mut self, data: &[u8]) {
        self.0.update(data);
    }

    /// Writes the digest, or as many of its leading bytes as `out` has room for; returns how many.
    /// The hasher begins anew.
    pub fn finish_into(&mut self, out: &mut [u8]) -> usize {
        let len = self.digest().len();
        if let Some(out) = out.get_mut(..len) {
            self.0.finish_reset(out);
            return len;
        }
        let hash = self.finish();
        let len = hash.len().min(out.len());
        for (to, from) in out.iter_mut().zip(hash.iter()) {
            *to = *from;
        }
        len
    }

    /// The digest. The hasher begins anew.
    pub fn finish(&mut self) -> Hash {
        let len = self.digest().len();
        let mut hash = Hash { bytes: [0; MAX_LEN], len };
        if let Some(out) = hash.bytes.get_mut(..len) {
            self.0.finish_reset(out);
        }
        hash
    }

    /// Forgets the input so far.
    pub fn reset(&mut self) {
        self.0.reset();
    }

    /// The state, to be continued by [`Hasher::restore`] with the number of the same [`Digest`]. It tells what was hashed
    /// last. `CKR_STATE_UNSAVEABLE` for BLAKE2b.
    pub fn save(&self) -> Result<Vec<u8>> {
        Ok(self.0.save().ok_or(Code::StateUnsaveable)?)
    }

    /// `CKR_SAVED_STATE_INVALID` where `saved` is no state of the digest of that number.
    pub fn restore(number: u8, saved: &[u8]) -> Result<Hasher> {
        Ok(Hasher(State::restore(number, saved).ok_or(Code::SavedStateInvalid)?))
    }
}

/// The digest of `data`.
pub fn hash(digest: Digest, data: &[u8]) -> Hash {
    let mut hasher = Hasher::new(digest);
    hasher.update(data);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use sha2::digest::common::{BlockSizeUser, OutputSizeUser};

    use super::*;

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|b| format!("{b:02x}")).collect()
    }

    /// FIPS 180-4, FIPS 202, RFC 1321, RFC 7693 and RIPEMD-160 example values of "abc".
    #[test]
    fn known_answers() {
        let known = [
            (Digest::Sha1, "a9993e364706816aba3e25717850c26c9cd0d89d"),
            (Digest::Sha224, "23097d223405d8228642a477bda255b32aadbce4bda0b3f7e36c9da7"),
            (Digest::Sha256, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"),
            (Digest::Sha512_224, "4634270f707b6a54daae7530460842e20e37ed265ceee9a43e8924aa"),
            (Digest::Sha512_256, "53048e2681941ef99b2e29b76b4c7dabe4c2d0c634fc6d46e0e2f13107e7af23"),
            (Digest::Md5, "900150983cd24fb0d6963f7d28e17f72"),
            (Digest::Ripemd160, "8eb208f7e05d987a9b044a8e98c6b087f15a0bfc"),
            (Digest::Blake2b160, "384264f676f39536840523f284921cdc68b6846b"),
            (Digest::Blake2b256, "bddd813c634239723171ef3fee98579b94964e3bb1cb3e427262c8c068d52319"),
            (Digest::Sha3_256, "3a985da74fe225b2045c172d6bd390bd855f086e3e9d525b46bfe24511431532"),
        ];
        for (digest, expected) in known {
            assert_eq!(hex(&hash(digest, b"abc")), expected, "{digest:?}");
        }
        assert!(hex(&hash(Digest::Blake2b384, b"abc")).starts_with("6f56a82c8e7ef526dfe182eb5212f7db9df1317e57815dbd"));
        assert!(hex(&hash(Digest::Blake2b512, b"abc")).starts_with("ba80a53f981c4d0d6a2797b69f12f6e94c212f14685ac4b7"));
        assert!(hex(&hash(Digest::Sha384, b"abc")).starts_with("cb00753f45a35e8bb5a03d699ac65007272c32ab0eded163"));
        assert!(hex(&hash(Digest::Sha512, b"abc")).starts_with("ddaf35a193617abacc417349ae20413112e6fa4e89a97ea2"));
        assert!(hex(&hash(Digest::Sha3_224, b"abc")).starts_with("e642824c3f8cf24ad09234ee7d3c766fc9a3a5168d0c94ad"));
        assert!(hex(&hash(Digest::Sha3_384, b"abc")).starts_with("ec01498288516fc926459f58e2c6ad8df9b473cb0fc08c25"));
        assert!(hex(&hash(Digest::Sha3_512, b"abc")).starts_with("b751850b1a57168a5693cd924b6b096e08f621827444f70d"));
    }

    #[test]
    fn lengths_are_those_of_the_library() {
        macro_rules! same {
            ($($name:ident $ty:ty),*) => {$(
                assert_eq!(Digest::$name.len(), <$ty>::output_size());
                assert_eq!(Digest::$name.block_len(), <$ty>::block_size());
            )*};
        }
        same!(Sha1 sha1::Sha1, Sha224 sha2::Sha224, Sha256 sha2::Sha256, Sha384 sha2::Sha384, Sha512 sha2::Sha512,
            Sha512_224 sha2::Sha512_224, Sha512_256 sha2::Sha512_256, Sha3_224 sha3::Sha3_224,
            Sha3_256 sha3::Sha3_256, Sha3_384 sha3::Sha3_384, Sha3_512 sha3::Sha3_512, Blake2b160 blake2::Blake2b<U20>,
            Blake2b256 blake2::Blake2b<U32>, Blake2b384 blake2::Blake2b<U48>, Blake2b512 blake2::Blake2b<U64>,
            Md5 md5::Md5, Ripemd160 ripemd::Ripemd160);
        assert_eq!(Digest::ALL.len(), 17);
        assert!(Digest::ALL.iter().all(|d| d.len() <= MAX_LEN && d.block_len() <= MAX_BLOCK_LEN));
    }

    #[test]
    fn pieces_clones_and_saved_states_give_the_digest_of_the_whole() {
        let data: Vec<u8> = (0..500u32).map(|i| (i * 7) as u8).collect();
        for digest in Digest::ALL.iter().copied().chain([Digest::Sha512T(Bits::new(201).unwrap())]) {
            let whole = hash(digest, &data);
            for split in [0, 1, 63, 64, 65, 127, 128, 136, 144, 200, 499, 500] {
                let mut hasher = Hasher::new(digest);
                hasher.update(&data[..split]);
                let mut clone = hasher.clone();
                let mut restored = match hasher.save() {
                    Ok(saved) => Hasher::restore(digest.number(), &saved).unwrap(),
                    Err(e) => {
                        assert_eq!(e.code(), Code::StateUnsaveable, "{digest:?}");
                        assert!(format!("{digest:?}").starts_with("Blake2b"));
                        hasher.clone()
                    }
                };
                for hasher in [&mut hasher, &mut clone, &mut restored] {
                    hasher.update(&data[split..]);
                    let mut out = [0; MAX_LEN];
                    let len = hasher.finish_into(&mut out);
                    assert_eq!(out[..len], *whole, "{digest:?} {split}");
                    hasher.update(&data);
                    assert_eq!(*hasher.finish(), *whole, "begins anew");
                }
            }
            let mut short = [0; 5];
            let mut hasher = Hasher::new(digest);
            hasher.update(&data);
            assert_eq!(hasher.finish_into(&mut short), 5);
            assert_eq!(short, whole[..5]);
            let same = Digest::ALL.iter().filter(|other| other.number() == digest.number()).count();
            assert_eq!(same, Digest::ALL.iter().filter(|other| **other == digest).count(), "{digest:?}");
        }
    }

    #[test]
    fn a_state_of_another_length_is_refused() {
        let saved = Hasher::new(Digest::Sha256).save().unwrap();
        for bad in [&saved[1..], &[]] {
            let error = Hasher::restore(Digest::Sha256.number(), bad).err().unwrap();
            assert_eq!(error.code(), Code::SavedStateInvalid);
        }
    }
}
