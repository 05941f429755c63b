//! SHA-1 and SHA-2, behind the traits of RustCrypto's `digest`, by the names of its crates.

#![allow(unsafe_code)]

use std::ptr;

use aws_lc_sys::*;
use sha2::digest::common::hazmat::{DeserializeStateError, SerializableState, SerializedState};
use sha2::digest::consts::{U20, U28, U32, U48, U64, U92, U104, U208};
use sha2::digest::{FixedOutput, FixedOutputReset, Output, OutputSizeUser, Reset, Update};

macro_rules! hashes {
    ($($name:ident = $context:ident.$buffer:ident of $block:literal, $word:ty, $count:ty; $init:ident, $update:ident, $last:ident,
        $out:ty, $saved:ty;)*) => {$(
        /// A running hash, wiped on drop.
        #[derive(Clone)]
        pub(in crate::crypto) struct $name($context);

        impl Default for $name {
            fn default() -> Self {
                // SAFETY: plain integers, for which zero is a value.
                let mut hash = $name(unsafe { std::mem::zeroed() });
                // SAFETY: writes the context.
                unsafe { $init(&mut hash.0) };
                hash
            }
        }

        impl Update for $name {
            fn update(&mut self, data: &[u8]) {
                // SAFETY: an initialised context, and as many bytes as are said.
                unsafe { $update(&mut self.0, data.as_ptr().cast(), data.len()) };
            }
        }

        impl Reset for $name {
            fn reset(&mut self) {
                self.wipe();
                // SAFETY: writes the context.
                unsafe { $init(&mut self.0) };
            }
        }

        impl OutputSizeUser for $name {
            type OutputSize = $out;
        }

        impl FixedOutput for $name {
            fn finalize_into(mut self, out: &mut Output<Self>) {
                self.finalize_into_reset(out);
            }
        }

        impl FixedOutputReset for $name {
            fn finalize_into_reset(&mut self, out: &mut Output<Self>) {
                // SAFETY: an initialised context, and room for its digest: the differential tests compare the lengths.
                unsafe { $last(out.as_mut_ptr(), &mut self.0) };
                self.reset();
            }
        }

        /// Byte for byte as `sha1` and `sha2` do it: the words, the count of whole blocks, and the rest behind its length.
        impl SerializableState for $name {
            type SerializedStateSize = $saved;

            fn serialize(&self) -> SerializedState<Self> {
                let bits = <$count>::from(self.0.Nh) << (8 * size_of_val(&self.0.Nl)) | <$count>::from(self.0.Nl);
                let rest = (self.0.num as usize).min($block - 1);
                let words = self.0.h.iter().flat_map(|word| word.to_le_bytes());
                let blocks = (bits / (8 * $block)).to_le_bytes();
                let rest = [rest as u8].into_iter().chain(self.0.$buffer.iter().copied().take(rest));
                let mut saved = SerializedState::<Self>::default();
                saved.iter_mut().zip(words.chain(blocks).chain(rest)).for_each(|(to, from)| *to = from);
                saved
            }

            fn deserialize(saved: &SerializedState<Self>) -> Result<Self, DeserializeStateError> {
                let mut hash = $name::default();
                let mut saved = saved.as_slice();
                for word in &mut hash.0.h {
                    *word = <$word>::from_le_bytes(*split(&mut saved)?);
                }
                let blocks = <$count>::from_le_bytes(*split(&mut saved)?);
                let [rest] = *split(&mut saved)?;
                let (data, zeros) = saved.split_at_checked(rest.into()).ok_or(DeserializeStateError)?;
                if zeros.iter().any(|byte| *byte != 0) {
                    return Err(DeserializeStateError);
                }
                let bits = blocks.wrapping_mul(8 * $block).wrapping_add(<$count>::from(rest) * 8);
                (hash.0.Nl, hash.0.Nh) = (bits as _, (bits >> (8 * size_of_val(&hash.0.Nl))) as _);
                hash.0.num = rest.into();
                hash.0.$buffer.iter_mut().zip(data).for_each(|(to, from)| *to = *from);
                Ok(hash)
            }
        }

        impl $name {
            fn wipe(&mut self) {
                // SAFETY: as in `default`; volatile, so that it is done.
                unsafe { ptr::write_volatile(&mut self.0, std::mem::zeroed()) };
            }
        }

        impl Drop for $name {
            fn drop(&mut self) {
                self.wipe();
            }
        }
    )*};
}

hashes! {
    Sha1 = SHA_CTX.data of 64, u32, u64; SHA1_Init, SHA1_Update, SHA1_Final, U20, U92;
    Sha224 = SHA256_CTX.data of 64, u32, u64; SHA224_Init, SHA224_Update, SHA224_Final, U28, U104;
    Sha256 = SHA256_CTX.data of 64, u32, u64; SHA256_Init, SHA256_Update, SHA256_Final, U32, U104;
    Sha384 = SHA512_CTX.p of 128, u64, u128; SHA384_Init, SHA384_Update, SHA384_Final, U48, U208;
    Sha512 = SHA512_CTX.p of 128, u64, u128; SHA512_Init, SHA512_Update, SHA512_Final, U64, U208;
    Sha512_224 = SHA512_CTX.p of 128, u64, u128; SHA512_224_Init, SHA512_224_Update, SHA512_224_Final, U28, U208;
    Sha512_256 = SHA512_CTX.p of 128, u64, u128; SHA512_256_Init, SHA512_256_Update, SHA512_256_Final, U32, U208;
}

/// The next `N` bytes.
fn split<'a, const N: usize>(saved: &mut &'a [u8]) -> Result<&'a [u8; N], DeserializeStateError> {
    let (first, rest) = saved.split_first_chunk().ok_or(DeserializeStateError)?;
    *saved = rest;
    Ok(first)
}
