//! MACs made of AES: CMAC (SP 800-38B), XCBC-MAC (RFC 3566), and plain CBC-MAC over zero-padded data (FIPS 113).

use std::sync::Arc;

use zeroize::{Zeroize, Zeroizing};

use super::aes::{Aes, BLOCK, Block};
use crate::error::{Code, Result};

/// What the last block is mixed with; wiped on drop. They depend on the key alone.
pub struct Subkeys {
    /// For a full last block.
    full: Block,
    /// For one that was padded.
    padded: Block,
    /// First byte of the padding; zeros follow.
    mark: u8,
}

impl Subkeys {
    /// SP 800-38B, 6.1.
    pub fn cmac(key: &Aes) -> Subkeys {
        let mut zero = Zeroizing::new([0; BLOCK]);
        key.encrypt_block(&mut zero);
        let full = doubled(&zero);
        Subkeys { full, padded: doubled(&full), mark: 0x80 }
    }

    /// CBC-MAC mixes nothing in and pads with zeros. (No data at all makes one block of zeros: a MAC without encryption
    /// would be the same under every key.)
    pub fn none() -> Subkeys {
        Subkeys { full: [0; BLOCK], padded: [0; BLOCK], mark: 0 }
    }
}

impl Drop for Subkeys {
    fn drop(&mut self) {
        self.full.zeroize();
        self.padded.zeroize();
    }
}

/// RFC 3566, 4: the key that encrypts, and what the last block is mixed with. `key` has 16 bytes: `CKR_KEY_SIZE_RANGE`.
pub fn xcbc(key: &[u8]) -> Result<(Aes, Subkeys)> {
    let key: &Block = key.try_into().map_err(|_| Code::KeySizeRange)?;
    let base = Aes::new(key)?;
    let derived = |byte| {
        let mut block = Zeroizing::new([byte; BLOCK]);
        base.encrypt_block(&mut block);
        block
    };
    let subkeys = Subkeys { full: *derived(2), padded: *derived(3), mark: 0x80 };
    Ok((Aes::new(&*derived(1))?, subkeys))
}

/// Multiplication by x in GF(2^128), in constant time.
fn doubled(block: &Block) -> Block {
    let value = u128::from_be_bytes(*block);
    let carry = (value >> 127).wrapping_neg() & 0x87;
    ((value << 1) ^ carry).to_be_bytes()
}

/// A running MAC.
pub struct BlockMac {
    key: Arc<Aes>,
    subkeys: Arc<Subkeys>,
    chain: Block,
    /// The last block so far, kept back until more follows.
    last: Block,
    have: usize,
}

impl BlockMac {
    pub fn new(key: Arc<Aes>, subkeys: Arc<Subkeys>) -> BlockMac {
        BlockMac { key, subkeys, chain: [0; BLOCK], last: [0; BLOCK], have: 0 }
    }

    /// Forgets the message so far.
    pub fn reset(&mut self) {
        self.chain.zeroize();
        self.last.zeroize();
        self.have = 0;
    }

    pub fn update(&mut self, mut data: &[u8]) {
        while !data.is_empty() {
            if self.have == BLOCK {
                self.absorb();
            }
            // Past the kept block and short of the last: straight from the data.
            while self.have == 0 && data.len() > BLOCK {
                let Some((block, later)) = data.split_first_chunk() else { break };
                self.mix(block);
                data = later;
            }
            let (now, later) = data.split_at(data.len().min(BLOCK - self.have));
            for (to, from) in self.last.iter_mut().skip(self.have).zip(now) {
                *to = *from;
            }
            self.have += now.len();
            data = later;
        }
    }

    /// The MAC; the next message may begin.
    pub fn finish(&mut self) -> Zeroizing<Block> {
        let mix = if let Some((mark, zeros)) = self.last.get_mut(self.have..).and_then(<[u8]>::split_first_mut) {
            *mark = self.subkeys.mark;
            zeros.fill(0);
            &self.subkeys.padded
        } else {
            &self.subkeys.full
        };
        for (to, from) in self.last.iter_mut().zip(mix) {
            *to ^= from;
        }
        self.absorb();
        let mac = Zeroizing::new(self.chain);
        self.reset();
        mac
    }

    fn absorb(&mut self) {
        let last = self.last;
        self.mix(&last);
        self.have = 0;
    }

    fn mix(&mut self, block: &Block) {
        for (to, from) in self.chain.iter_mut().zip(block) {
            *to ^= from;
        }
        self.key.encrypt_block(&mut self.chain);
    }
}

impl Drop for BlockMac {
    fn drop(&mut self) {
        self.reset();
    }
}
