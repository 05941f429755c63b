//! Random bytes: from the system for keys ([`fill`]), and from a generator of one's own for what an application asks of a
//! session ([`Generator`]), where the system call would be ten times slower.

use zeroize::{Zeroize, Zeroizing};

#[cfg(feature = "aws-lc")]
use super::aws::aes::key_stream;
#[cfg(not(feature = "aws-lc"))]
use super::rust::aes::key_stream;

use super::digest::{Digest, Hasher};
use crate::error::{Code, Result};
use crate::os::{self, fork_epoch};

const KEY: usize = 32;
const BUFFER: usize = 1024;
/// Bytes given out under one seed of the system.
const RESEED_AFTER: usize = 1 << 20;
/// Most bytes of one key: what SP 800-90A allows a request of CTR_DRBG, 2^19 bits.
const PIECE: usize = 1 << 16;

/// Fills `out` from the system's generator: keys, IVs, salts. `CKR_RANDOM_NO_RNG` where that fails.
pub fn fill(out: &mut [u8]) -> Result<()> {
    os::random(out)
}

/// A generator of AES-256 in counter mode, with key erasure: each refill replaces the key, and what was given out is wiped, so that a look at
/// the memory tells nothing of the past. It reseeds from the system every mebibyte and in a forked child.
pub struct Generator {
    /// The next key, then the bytes not given out yet, the last `left` of the buffer. What was given out is zero.
    buffer: [u8; BUFFER],
    left: usize,
    until_reseed: usize,
    epoch: u64,
}

impl Generator {
    pub fn new() -> Result<Generator> {
        let mut generator = Generator { buffer: [0; BUFFER], left: 0, until_reseed: 0, epoch: fork_epoch() };
        generator.reseed(&[])?;
        Ok(generator)
    }

    /// Fills `out`. Fails only where a reseed was due and the system gave nothing; see [`fill`].
    pub fn fill(&mut self, out: &mut [u8]) -> Result<()> {
        if self.epoch != fork_epoch() || self.until_reseed < out.len().min(RESEED_AFTER) {
            self.reseed(&[])?;
        }
        self.until_reseed = self.until_reseed.saturating_sub(out.len());
        if out.len() > BUFFER - KEY {
            return out.chunks_mut(PIECE).try_for_each(|piece| {
                let mut key = Zeroizing::new([0; KEY]);
                self.give(&mut *key)?;
                key_stream(&key, piece)
            });
        }
        self.give(out)
    }

    /// Mixes the caller's seed in (`C_SeedRandom`), and the system's: the seed alone can never weaken the generator.
    pub fn mix(&mut self, seed: &[u8]) -> Result<()> {
        self.reseed(seed)
    }

    /// At most `BUFFER - KEY` bytes.
    fn give(&mut self, out: &mut [u8]) -> Result<()> {
        if self.left < out.len() {
            self.refill()?;
        }
        let from = self.buffer.get_mut(BUFFER - self.left..).and_then(|rest| rest.get_mut(..out.len()));
        let from = from.ok_or(Code::GeneralError)?;
        out.copy_from_slice(from);
        from.zeroize();
        self.left -= out.len();
        Ok(())
    }

    fn refill(&mut self) -> Result<()> {
        let mut key = Zeroizing::new([0; KEY]);
        for (to, from) in key.iter_mut().zip(&self.buffer) {
            *to = *from;
        }
        // Overwrites the old key, and what is left of the old stream.
        key_stream(&key, &mut self.buffer)?;
        self.left = BUFFER - KEY;
        Ok(())
    }

    /// The new key hashes the old one, 32 bytes of the system and `seed`.
    fn reseed(&mut self, seed: &[u8]) -> Result<()> {
        let epoch = fork_epoch();
        let mut fresh = Zeroizing::new([0; KEY]);
        fill(&mut *fresh)?;
        let mut hasher = Hasher::new(Digest::Sha256);
        hasher.update(self.buffer.get(..KEY).unwrap_or_default());
        hasher.update(&*fresh);
        hasher.update(seed);
        self.buffer.zeroize();
        hasher.finish_into(&mut self.buffer);
        self.left = 0;
        self.until_reseed = RESEED_AFTER;
        self.epoch = epoch;
        Ok(())
    }
}

impl Drop for Generator {
    fn drop(&mut self) {
        self.buffer.zeroize();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn take(generator: &mut Generator, len: usize) -> Vec<u8> {
        let mut out = vec![0; len];
        generator.fill(&mut out).unwrap();
        out
    }

    #[test]
    fn no_piece_comes_twice() {
        let mut generator = Generator::new().unwrap();
        let mut seen = std::collections::HashSet::new();
        for len in [16, 31, 32, 33, 500, 992, 993, 1024, 5000, 3 << 20].into_iter().cycle().take(40) {
            for piece in take(&mut generator, len).chunks_exact(16) {
                assert!(seen.insert(piece.to_vec()), "repeated in a request of {len}");
            }
        }
    }

    #[test]
    fn what_was_given_out_is_no_longer_in_memory() {
        let mut generator = Generator::new().unwrap();
        let given = take(&mut generator, 64);
        assert!(!generator.buffer.windows(16).any(|window| given.windows(16).any(|given| given == window)));
        assert!(generator.left > 0, "the rest is kept");
    }

    #[test]
    fn a_child_of_a_fork_goes_its_own_way() {
        let mut parent = Generator::new().unwrap();
        take(&mut parent, 32);
        let mut child = copy(&parent);
        child.epoch ^= 1;
        let mut same = copy(&parent);
        let next = take(&mut parent, 32);
        assert_eq!(take(&mut same, 32), next, "a copy without a fork is a copy");
        assert_ne!(take(&mut child, 32), next);
        assert_eq!(child.epoch, parent.epoch, "and does so once");
    }

    #[test]
    fn a_seed_changes_the_stream_and_the_system_is_always_mixed_in() {
        let mut one = Generator::new().unwrap();
        let (mut two, mut unmixed) = (copy(&one), copy(&one));
        one.mix(b"the same").unwrap();
        two.mix(b"the same").unwrap();
        let (one, two) = (take(&mut one, 32), take(&mut two, 32));
        assert_ne!(one, two);
        assert_ne!(take(&mut unmixed, 32), one);
    }

    #[test]
    fn reseeds_after_its_share() {
        let mut one = Generator::new().unwrap();
        let mut two = copy(&one);
        let mut last = (Vec::new(), Vec::new());
        for _ in 0..RESEED_AFTER / 512 {
            last = (take(&mut one, 512), take(&mut two, 512));
        }
        assert_eq!(last.0, last.1);
        assert_ne!(take(&mut one, 512), take(&mut two, 512));
    }

    fn copy(generator: &Generator) -> Generator {
        Generator {
            buffer: generator.buffer,
            left: generator.left,
            until_reseed: generator.until_reseed,
            epoch: generator.epoch,
        }
    }
}
