//! SHA-1, SHA-2 and SHA-3, as one type. RustCrypto stands behind all of them.

use std::ops::Deref;

use sha2::digest::common::hazmat::{SerializableState, SerializedState};
use sha2::digest::{FixedOutputReset, Reset, Update};
use zeroize::Zeroize;

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

impl Drop for Hash {
    fn drop(&mut self) {
        self.bytes.zeroize();
    }
}

macro_rules! digests {
    ($($name:ident = $ty:ty, $len:literal, $block:literal, $number:literal;)*) => {
        /// A hash function.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[allow(non_camel_case_types)]
        pub enum Digest { $($name,)* }

        #[allow(clippy::len_without_is_empty)]
        impl Digest {
            pub const ALL: &'static [Digest] = &[$(Digest::$name,)*];

            /// Length of the output in bytes.
            pub const fn len(self) -> usize {
                match self { $(Digest::$name => $len,)* }
            }

            /// Length of the compression function's block (for SHA-3, the rate) in bytes: HMAC's block.
            pub const fn block_len(self) -> usize {
                match self { $(Digest::$name => $block,)* }
            }

            /// A number that never changes, for saved states.
            pub const fn number(self) -> u8 {
                match self { $(Digest::$name => $number,)* }
            }

            pub fn from_number(number: u8) -> Option<Digest> {
                Digest::ALL.iter().copied().find(|digest| digest.number() == number)
            }
        }

        #[derive(Clone)]
        enum State { $($name($ty),)* }

        impl State {
            fn new(digest: Digest) -> State {
                match digest { $(Digest::$name => State::$name(<$ty>::default()),)* }
            }

            fn digest(&self) -> Digest {
                match self { $(State::$name(_) => Digest::$name,)* }
            }

            fn update(&mut self, data: &[u8]) {
                match self { $(State::$name(state) => Update::update(state, data),)* }
            }

            fn finish_reset(&mut self, out: &mut [u8; MAX_LEN]) {
                let Some(out) = out.get_mut(..self.digest().len()) else { return };
                match self {
                    // The lengths agree: a test compares `len` with the type's own for each row.
                    $(State::$name(state) => if let Ok(out) = out.try_into() { state.finalize_into_reset(out) },)*
                }
            }

            fn reset(&mut self) {
                match self { $(State::$name(state) => Reset::reset(state),)* }
            }

            fn save(&self) -> Vec<u8> {
                match self { $(State::$name(state) => state.serialize().to_vec(),)* }
            }

            fn restore(digest: Digest, saved: &[u8]) -> Option<State> {
                Some(match digest {
                    $(Digest::$name => {
                        let saved: &SerializedState<$ty> = saved.try_into().ok()?;
                        State::$name(<$ty>::deserialize(saved).ok()?)
                    })*
                })
            }
        }
    };
}

digests! {
    Sha1 = sha1::Sha1, 20, 64, 1;
    Sha224 = sha2::Sha224, 28, 64, 2;
    Sha256 = sha2::Sha256, 32, 64, 3;
    Sha384 = sha2::Sha384, 48, 128, 4;
    Sha512 = sha2::Sha512, 64, 128, 5;
    Sha512_224 = sha2::Sha512_224, 28, 128, 6;
    Sha512_256 = sha2::Sha512_256, 32, 128, 7;
    Sha3_224 = sha3::Sha3_224, 28, 144, 8;
    Sha3_256 = sha3::Sha3_256, 32, 136, 9;
    Sha3_384 = sha3::Sha3_384, 48, 104, 10;
    Sha3_512 = sha3::Sha3_512, 64, 72, 11;
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
        let hash = self.finish();
        let len = hash.len().min(out.len());
        for (to, from) in out.iter_mut().zip(hash.iter()) {
            *to = *from;
        }
        len
    }

    /// The digest. The hasher begins anew.
    pub fn finish(&mut self) -> Hash {
        let mut hash = Hash { bytes: [0; MAX_LEN], len: self.digest().len() };
        self.0.finish_reset(&mut hash.bytes);
        hash
    }

    /// Forgets the input so far.
    pub fn reset(&mut self) {
        self.0.reset();
    }

    /// The state, to be continued by [`Hasher::restore`] of the same [`Digest`]. It tells what was hashed last.
    pub fn save(&self) -> Vec<u8> {
        self.0.save()
    }

    /// `CKR_SAVED_STATE_INVALID` where `saved` is no state of `digest`.
    pub fn restore(digest: Digest, saved: &[u8]) -> Result<Hasher> {
        Ok(Hasher(State::restore(digest, saved).ok_or(Code::SavedStateInvalid)?))
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

    /// FIPS 180-4 and FIPS 202 example values of "abc".
    #[test]
    fn known_answers() {
        let known = [
            (Digest::Sha1, "a9993e364706816aba3e25717850c26c9cd0d89d"),
            (Digest::Sha224, "23097d223405d8228642a477bda255b32aadbce4bda0b3f7e36c9da7"),
            (Digest::Sha256, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"),
            (Digest::Sha512_224, "4634270f707b6a54daae7530460842e20e37ed265ceee9a43e8924aa"),
            (Digest::Sha512_256, "53048e2681941ef99b2e29b76b4c7dabe4c2d0c634fc6d46e0e2f13107e7af23"),
            (Digest::Sha3_256, "3a985da74fe225b2045c172d6bd390bd855f086e3e9d525b46bfe24511431532"),
        ];
        for (digest, expected) in known {
            assert_eq!(hex(&hash(digest, b"abc")), expected, "{digest:?}");
        }
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
            Sha3_256 sha3::Sha3_256, Sha3_384 sha3::Sha3_384, Sha3_512 sha3::Sha3_512);
        assert_eq!(Digest::ALL.len(), 11);
        assert!(Digest::ALL.iter().all(|d| d.len() <= MAX_LEN && d.block_len() <= MAX_BLOCK_LEN));
    }

    #[test]
    fn pieces_clones_and_saved_states_give_the_digest_of_the_whole() {
        let data: Vec<u8> = (0..500u32).map(|i| (i * 7) as u8).collect();
        for &digest in Digest::ALL {
            let whole = hash(digest, &data);
            for split in [0, 1, 63, 64, 65, 127, 128, 136, 144, 200, 499, 500] {
                let mut hasher = Hasher::new(digest);
                hasher.update(&data[..split]);
                let mut clone = hasher.clone();
                let mut restored = Hasher::restore(digest, &hasher.save()).unwrap();
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
            assert_eq!(Digest::from_number(digest.number()), Some(digest));
        }
    }

    #[test]
    fn a_state_of_another_length_is_refused() {
        let saved = Hasher::new(Digest::Sha256).save();
        for bad in [&saved[1..], &[]] {
            let error = Hasher::restore(Digest::Sha256, bad).err().unwrap();
            assert_eq!(error.code(), Code::SavedStateInvalid);
        }
    }
}
