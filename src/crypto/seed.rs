//! SEED (RFC 4269), from its description: the one crate that has it writes through misaligned pointers.
//!
//! It looks its bytes up in tables, as every software SEED does: its time may depend on key and data through the cache.
//! It is a legacy mechanism, off unless asked for.

use zeroize::{Zeroize, ZeroizeOnDrop};

use super::block::{Block, BlockCipher, Direction, MAX_BLOCK, whole_blocks};
use crate::error::{Code, Result};

const ROUNDS: usize = 16;

/// The two S-boxes are an affine image of a power of the byte in GF(2^8) modulo x^8 + x^6 + x^5 + x + 1.
const S1: [u8; 256] = s_box(247, 0xa9, [0x2c, 0xd0, 0x69, 0xc2, 0x41, 0x44, 0x58, 0xe2]);
const S2: [u8; 256] = s_box(251, 0x38, [0xd0, 0x2a, 0xe1, 0x2c, 0x21, 0x30, 0xa2, 0x6c]);

/// The four bytes of a word through their S-boxes and masks at once (RFC 4269, 2.2: "SS0" to "SS3").
static MIXED: [[u32; 256]; 4] = [mixed(&S1, 0), mixed(&S2, 1), mixed(&S1, 2), mixed(&S2, 3)];

const fn times(mut a: u8, mut b: u8) -> u8 {
    let mut product = 0;
    while b > 0 {
        if b & 1 == 1 {
            product ^= a;
        }
        a = (a << 1) ^ (if a & 0x80 == 0 { 0 } else { 0x63 });
        b >>= 1;
    }
    product
}

const fn power(base: u8, mut exponent: u32) -> u8 {
    let (mut square, mut result) = (base, 1);
    while exponent > 0 {
        if exponent & 1 == 1 {
            result = times(result, square);
        }
        square = times(square, square);
        exponent >>= 1;
    }
    result
}

/// `columns` is the matrix of the affine map: what each bit of the power adds.
#[allow(clippy::indexing_slicing)] // At compile time.
const fn s_box(exponent: u32, constant: u8, columns: [u8; 8]) -> [u8; 256] {
    let mut table = [constant; 256];
    let mut at = 0;
    while at < 256 {
        let power = power(at as u8, exponent);
        let mut bit = 0;
        while bit < 8 {
            if power >> bit & 1 == 1 {
                table[at] ^= columns[bit];
            }
            bit += 1;
        }
        at += 1;
    }
    table
}

/// What the byte in `place` (0: the lowest) adds to each byte of the result.
#[allow(clippy::indexing_slicing)] // At compile time.
const fn mixed(s_box: &[u8; 256], place: usize) -> [u32; 256] {
    const MASKS: [u8; 4] = [0xfc, 0xf3, 0xcf, 0x3f];
    let mut table = [0; 256];
    let mut at = 0;
    while at < 256 {
        let mut to = 0;
        while to < 4 {
            table[at] |= ((s_box[at] & MASKS[(to + place) % 4]) as u32) << (8 * to);
            to += 1;
        }
        at += 1;
    }
    table
}

/// The function G.
fn g(word: u32) -> u32 {
    MIXED.iter().zip(word.to_le_bytes()).fold(0, |sum, (table, byte)| sum ^ table.get(usize::from(byte)).unwrap_or(&0))
}

/// The function F, on both halves of the right side.
fn f([c, d]: [u32; 2], [k0, k1]: [u32; 2]) -> [u32; 2] {
    let c = c ^ k0;
    let d = g(c ^ d ^ k1);
    let c = g(c.wrapping_add(d));
    let d = g(d.wrapping_add(c));
    [c.wrapping_add(d), d]
}

/// The round keys.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct Seed([[u32; 2]; ROUNDS]);

impl Seed {
    /// `key` of 16 bytes; `CKR_KEY_SIZE_RANGE`.
    pub fn new(key: &[u8]) -> Result<Seed> {
        let key: &Block = key.try_into().map_err(|_| Code::KeySizeRange)?;
        let [mut ab, mut cd] = halves(key);
        let mut seed = Seed([[0; 2]; ROUNDS]);
        let mut constant = 0x9e37_79b9u32;
        for (round, key) in seed.0.iter_mut().enumerate() {
            let ([a, b], [c, d]) = (words(ab), words(cd));
            *key = [g(a.wrapping_add(c).wrapping_sub(constant)), g(b.wrapping_sub(d).wrapping_add(constant))];
            match round % 2 {
                0 => ab = ab.rotate_right(8),
                _ => cd = cd.rotate_left(8),
            }
            constant = constant.rotate_left(1);
        }
        ab.zeroize();
        cd.zeroize();
        Ok(seed)
    }

    fn rounds<'a>(block: &mut Block, keys: impl Iterator<Item = &'a [u32; 2]>) {
        let [left, right] = halves(block);
        let (mut left, mut right) = (words(left), words(right));
        for key in keys {
            let [f0, f1] = f(right, *key);
            let [l0, l1] = left;
            (left, right) = (right, [l0 ^ f0, l1 ^ f1]);
        }
        // The halves are not exchanged after the last round.
        let words = [right, left]
            .as_flattened()
            .iter()
            .flat_map(|word| word.to_be_bytes())
            .collect::<smallvec::SmallVec<[u8; 16]>>();
        block.iter_mut().zip(words).for_each(|(to, from)| *to = from);
    }
}

fn halves(block: &Block) -> [u64; 2] {
    let whole = u128::from_be_bytes(*block);
    [(whole >> 64) as u64, whole as u64]
}

fn words(half: u64) -> [u32; 2] {
    [(half >> 32) as u32, half as u32]
}

impl BlockCipher for Seed {
    fn block_len(&self) -> usize {
        MAX_BLOCK
    }

    fn encrypt_block(&self, block: &mut Block) {
        Seed::rounds(block, self.0.iter());
    }

    fn ecb(&self, direction: Direction, input: &[u8], out: &mut [u8]) -> Result<()> {
        whole_blocks(MAX_BLOCK, input, out)?;
        for (from, to) in input.as_chunks().0.iter().zip(out.as_chunks_mut().0) {
            *to = *from;
            match direction {
                Direction::Encrypt => Seed::rounds(to, self.0.iter()),
                Direction::Decrypt => Seed::rounds(to, self.0.iter().rev()),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 4269, appendix B.
    #[test]
    fn vectors_of_the_standard() {
        for (key, plain, sealed) in [
            (0, 0x000102030405060708090a0b0c0d0e0fu128, 0x5ebac6e0054e166819aff1cc6d346cdbu128),
            (0x000102030405060708090a0b0c0d0e0f, 0, 0xc11f22f20140505084483597e4370f43),
            (
                0x4706480851e61be85d74bfb3fd956185,
                0x83a2f8a288641fb9a4e9a5cc2f131c7d,
                0xee54d13ebcae706d226bc3142cd40d4a,
            ),
            (
                0x28dbc3bc49ffd87dcfa509b11d422be7,
                0xb41e6be2eba84a148e2eed84593c5ec7,
                0x9b9b7bfcd1813cb95d0b3618f40f5122,
            ),
        ] {
            let seed = Seed::new(&u128::to_be_bytes(key)).unwrap();
            let mut out = [0; 16];
            seed.ecb(Direction::Encrypt, &plain.to_be_bytes(), &mut out).unwrap();
            assert_eq!(u128::from_be_bytes(out), sealed);
            seed.ecb(Direction::Decrypt, &sealed.to_be_bytes(), &mut out).unwrap();
            assert_eq!(u128::from_be_bytes(out), plain);
        }
    }
}
