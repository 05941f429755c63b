//! SHA-512/t for every t (FIPS 180-4, 5.3.6): SHA-512 from an initial value of its own, cut to t bits.

use sha2::block_api::compress512;
use zeroize::{Zeroize, ZeroizeOnDrop};

/// How many bits remain: 1 to 511, but not 384 (which would be another function than SHA-384).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Bits(u16);

impl Bits {
    pub fn new(bits: u64) -> Option<Bits> {
        u16::try_from(bits).ok().filter(|bits| (1..512).contains(bits) && *bits != 384).map(Bits)
    }

    /// Length of the output in bytes.
    pub const fn len(self) -> usize {
        self.0.div_ceil(8) as usize
    }

    pub const fn is_empty(self) -> bool {
        false
    }
}

const BLOCK: usize = 128;
const OUTPUT: usize = 64;

/// SHA-512's own initial value, each word exclusive-or'd with a5a5a5a5a5a5a5a5.
const GENERATOR: [u64; 8] = [
    0x6a09e667f3bcc908 ^ MASK,
    0xbb67ae8584caa73b ^ MASK,
    0x3c6ef372fe94f82b ^ MASK,
    0xa54ff53a5f1d36f1 ^ MASK,
    0x510e527fade682d1 ^ MASK,
    0x9b05688c2b3e6c1f ^ MASK,
    0x1f83d9abfb41bd6b ^ MASK,
    0x5be0cd19137e2179 ^ MASK,
];
const MASK: u64 = 0xa5a5_a5a5_a5a5_a5a5;

#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct Sha512T {
    #[zeroize(skip)]
    bits: Bits,
    state: [u64; 8],
    kept: [u8; BLOCK],
    have: usize,
    /// Bytes so far.
    length: u128,
}

impl Sha512T {
    pub fn new(bits: Bits) -> Sha512T {
        let mut generator = Sha512T::from(bits, GENERATOR);
        generator.update(format!("SHA-512/{}", bits.0).as_bytes());
        generator.pad();
        Sha512T::from(bits, generator.state)
    }

    fn from(bits: Bits, state: [u64; 8]) -> Sha512T {
        Sha512T { bits, state, kept: [0; BLOCK], have: 0, length: 0 }
    }

    pub fn bits(&self) -> Bits {
        self.bits
    }

    pub fn reset(&mut self) {
        *self = Sha512T::new(self.bits);
    }

    pub fn update(&mut self, mut data: &[u8]) {
        self.length = self.length.wrapping_add(data.len() as u128);
        while !data.is_empty() {
            if self.have == 0 {
                let (blocks, rest) = data.as_chunks();
                compress512(&mut self.state, blocks);
                data = rest;
            }
            let (now, later) = data.split_at(data.len().min(BLOCK - self.have));
            self.kept.iter_mut().skip(self.have).zip(now).for_each(|(to, from)| *to = *from);
            self.have += now.len();
            if self.have == BLOCK {
                compress512(&mut self.state, &[self.kept]);
                self.have = 0;
            }
            data = later;
        }
    }

    /// The end of the message: a one bit, zeros, and the length in bits as the last 16 bytes of a block.
    fn pad(&mut self) {
        let bits = self.length.wrapping_mul(8);
        let zeros = (2 * BLOCK - 1 - 16 - self.have) % BLOCK;
        self.update(&[0x80]);
        self.update([0; BLOCK].get(..zeros).unwrap_or_default());
        self.update(&bits.to_be_bytes());
    }

    /// The digest at the front of `out`, the unused bits of its last byte zero; begins anew.
    pub fn finish_reset(&mut self, out: &mut [u8; OUTPUT]) {
        self.pad();
        let words = self.state.iter().flat_map(|word| word.to_be_bytes());
        out.iter_mut().zip(words.take(self.bits.len())).for_each(|(to, from)| *to = from);
        if let (Some(last), 1..) = (out.get_mut(self.bits.len() - 1), self.bits.0 % 8) {
            *last &= 0xff << (8 - self.bits.0 % 8);
        }
        self.reset();
    }

    /// The whole state, for [`Sha512T::restore`].
    pub fn save(&self) -> Vec<u8> {
        let words = self.state.iter().flat_map(|word| word.to_be_bytes());
        let mut saved: Vec<u8> = self.bits.0.to_be_bytes().into_iter().chain(words).collect();
        saved.extend(self.length.to_be_bytes());
        saved.extend(self.kept.iter().take(self.have));
        saved
    }

    pub fn restore(saved: &[u8]) -> Option<Sha512T> {
        let (bits, saved) = saved.split_first_chunk()?;
        let (words, saved) = saved.split_at_checked(OUTPUT)?;
        let (length, kept) = saved.split_first_chunk()?;
        let mut state = Sha512T::from(Bits::new(u16::from_be_bytes(*bits).into())?, [0; 8]);
        state.state.iter_mut().zip(words.as_chunks().0).for_each(|(to, from)| *to = u64::from_be_bytes(*from));
        state.length = u128::from_be_bytes(*length);
        state.have = kept.len();
        let right = state.length % BLOCK as u128 == kept.len() as u128;
        state.kept.get_mut(..kept.len()).filter(|_| right)?.copy_from_slice(kept);
        Some(state)
    }
}

#[cfg(test)]
mod tests {
    use sha2::Digest;

    use super::*;

    fn digest(bits: u64, data: &[u8]) -> Vec<u8> {
        let mut state = Sha512T::new(Bits::new(bits).unwrap());
        state.update(data);
        let mut out = [0; OUTPUT];
        state.finish_reset(&mut out);
        out[..state.bits().len()].to_vec()
    }

    #[test]
    fn the_two_standard_ones_at_every_length() {
        for len in 0..300 {
            let data = vec![len as u8; len];
            assert_eq!(digest(224, &data), sha2::Sha512_224::digest(&data)[..], "{len}");
            assert_eq!(digest(256, &data), sha2::Sha512_256::digest(&data)[..], "{len}");
        }
    }

    #[test]
    fn other_lengths_are_other_functions_and_cut_to_the_bit() {
        assert_eq!([0, 384, 512, u64::MAX].map(Bits::new), [None; 4]);
        assert!(!digest(256, b"abc").starts_with(&digest(248, b"abc")));
        for bits in [1, 9, 255, 511] {
            let digest = digest(bits, b"abc");
            assert_eq!(digest.len() as u64, bits.div_ceil(8));
            assert_eq!(digest.last().unwrap() & (0xff >> (bits % 8)), 0, "{bits}");
        }
    }

    #[test]
    fn saved_states_go_on_and_damaged_ones_do_not() {
        let data = [7; 300];
        for split in 0..=300 {
            let mut state = Sha512T::new(Bits::new(100).unwrap());
            state.update(&data[..split]);
            let saved = state.save();
            let mut restored = Sha512T::restore(&saved).unwrap();
            restored.update(&data[split..]);
            let mut out = [0; OUTPUT];
            restored.finish_reset(&mut out);
            assert_eq!(out[..13], digest(100, &data), "{split}");
            assert!(Sha512T::restore(&saved[..saved.len() - 1]).is_none());
            assert!(Sha512T::restore(&[&saved[..], &[0]].concat()).is_none());
            assert!(Sha512T::restore(&[&[0xff], &saved[1..]].concat()).is_none());
        }
    }
}
