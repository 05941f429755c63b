//! Hashing of the house's own numbers: handles, object numbers, mechanism types. No attacker chooses them freely enough for a
//! hash that resists one, which costs as much as all the rest of a lookup.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

/// A map by numbers.
pub type NumberMap<K, V> = HashMap<K, V, Numbers>;

/// How [`NumberMap`] hashes.
pub type Numbers = BuildHasherDefault<NumberHasher>;

/// Multiplies, and folds the high half of the product into the low one: tables look at the highest bits and at the lowest.
#[derive(Clone, Copy, Default)]
pub struct NumberHasher(u64);

/// 2^64 over the golden ratio.
const SPREAD: u64 = 0x9E37_79B9_7F4A_7C15;

impl Hasher for NumberHasher {
    #[inline]
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.write_u64(u64::from(*byte)));
    }

    #[inline]
    fn write_u64(&mut self, number: u64) {
        // The rotation keeps what was hashed before apart from what comes now.
        let product = u128::from(self.0.rotate_left(32) ^ number).wrapping_mul(u128::from(SPREAD));
        self.0 = (product as u64) ^ ((product >> 64) as u64);
    }
}

#[cfg(test)]
mod tests {
    use std::hash::BuildHasher;

    use super::*;

    #[test]
    fn neighbours_part_in_the_bits_that_tables_look_at() {
        let hash = |number: (u64, u64)| Numbers::default().hash_one(number);
        for step in [1u64, 2, 64, 1 << 12, 1 << 41] {
            let hashes: Vec<u64> = (0..4096).map(|n| hash((n * step, 7))).collect();
            for bits in [|h: u64| h & 0xfff, |h: u64| h >> 52] {
                let places: std::collections::HashSet<u64> = hashes.iter().map(|h| bits(*h)).collect();
                // 4096 throws at 4096 places leave a third of them empty.
                assert!(places.len() > 2000, "{step}: {} places", places.len());
            }
        }
        assert_ne!(hash((1, 2)), hash((2, 1)));
    }
}
