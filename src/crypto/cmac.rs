//! MACs made of a block cipher: CMAC (SP 800-38B), XCBC-MAC (RFC 3566), and plain CBC-MAC over zero-padded data (FIPS 113).

use std::sync::Arc;

use zeroize::{Zeroize, Zeroizing};

use super::aes::Aes;
use super::block::{Block, BlockCipher, MAX_BLOCK, mix};
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
    pub fn cmac(key: &dyn BlockCipher) -> Subkeys {
        let mut zero = Zeroizing::new([0; MAX_BLOCK]);
        key.encrypt_block(&mut zero);
        let full = doubled(&zero, key.block_len());
        Subkeys { full, padded: doubled(&full, key.block_len()), mark: 0x80 }
    }

    /// CBC-MAC mixes nothing in and pads with zeros. (No data at all makes one block of zeros: a MAC without encryption
    /// would be the same under every key.)
    pub fn none() -> Subkeys {
        Subkeys { full: [0; MAX_BLOCK], padded: [0; MAX_BLOCK], mark: 0 }
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
        let mut block = Zeroizing::new([byte; MAX_BLOCK]);
        base.encrypt_block(&mut block);
        block
    };
    let subkeys = Subkeys { full: *derived(2), padded: *derived(3), mark: 0x80 };
    Ok((Aes::new(&*derived(1))?, subkeys))
}

/// Multiplication by x in GF(2^128), or for blocks of 8 bytes in GF(2^64); in constant time.
fn doubled(block: &Block, len: usize) -> Block {
    let value = u128::from_be_bytes(*block);
    let reduction = if len == MAX_BLOCK { 0x87 } else { 0x1b << 64 };
    let carry = (value >> 127).wrapping_neg() & reduction;
    ((value << 1) ^ carry).to_be_bytes()
}

/// A running MAC.
pub struct BlockMac {
    key: Arc<dyn BlockCipher>,
    block: usize,
    subkeys: Arc<Subkeys>,
    chain: Block,
    /// The last block so far, kept back until more follows.
    last: Block,
    have: usize,
}

impl BlockMac {
    pub fn new(key: Arc<dyn BlockCipher>, subkeys: Arc<Subkeys>) -> BlockMac {
        let block = key.block_len();
        BlockMac { key, block, subkeys, chain: [0; MAX_BLOCK], last: [0; MAX_BLOCK], have: 0 }
    }

    /// Forgets the message so far.
    pub fn reset(&mut self) {
        self.chain.zeroize();
        self.last.zeroize();
        self.have = 0;
    }

    pub fn update(&mut self, mut data: &[u8]) {
        while !data.is_empty() {
            if self.have == self.block {
                self.absorb();
            }
            // Past the kept block and short of the last: straight from the data.
            while self.have == 0 && data.len() > self.block {
                let (block, later) = data.split_at(self.block);
                absorb(&*self.key, &mut self.chain, block);
                data = later;
            }
            let (now, later) = data.split_at(data.len().min(self.block - self.have));
            for (to, from) in self.last.iter_mut().skip(self.have).zip(now) {
                *to = *from;
            }
            self.have += now.len();
            data = later;
        }
    }

    /// The MAC, as long as a block, at the front; the next message may begin.
    pub fn finish(&mut self) -> Zeroizing<Block> {
        let padding = self.last.get_mut(self.have..self.block).and_then(<[u8]>::split_first_mut);
        let subkey = if let Some((mark, zeros)) = padding {
            *mark = self.subkeys.mark;
            zeros.fill(0);
            &self.subkeys.padded
        } else {
            &self.subkeys.full
        };
        mix(&mut self.last, subkey);
        self.absorb();
        let mac = Zeroizing::new(self.chain);
        self.reset();
        mac
    }

    fn absorb(&mut self) {
        absorb(&*self.key, &mut self.chain, &self.last);
        self.have = 0;
    }
}

fn absorb(key: &dyn BlockCipher, chain: &mut Block, block: &[u8]) {
    mix(chain, block);
    key.encrypt_block(chain);
}

impl Drop for BlockMac {
    fn drop(&mut self) {
        self.reset();
    }
}
