//! The modes that make no ciphertext longer than its plaintext by taking bytes of the block before the last: XTS (IEEE
//! 1619, SP 800-38E) and CBC with ciphertext stealing (the addendum to SP 800-38A, its variant CS1).

use std::sync::Arc;

use subtle::ConstantTimeEq;
use zeroize::{Zeroize, Zeroizing};

use super::aes::{Aes, BLOCK, Block, Direction};
use super::block::mix;
use crate::error::{Code, Result};

/// A message's running state.
pub trait Stealing: Send {
    /// Whole blocks that are not the end of the message; `out` is as long as `input`.
    fn blocks(&mut self, direction: Direction, input: &[u8], out: &mut [u8]) -> Result<()>;

    /// The end of the message: the block before the last, whole, and 1 to 16 bytes more.
    fn tail(&mut self, direction: Direction, input: &[u8], out: &mut [u8]) -> Result<()>;
}

/// The two keys of XTS.
pub struct XtsKey {
    data: Aes,
    tweak: Aes,
    same: bool,
}

impl XtsKey {
    /// `key` of 32 or 64 bytes; `CKR_KEY_SIZE_RANGE`.
    pub fn new(key: &[u8]) -> Result<XtsKey> {
        let (data, tweak) = key.split_at(key.len() / 2);
        match key.len() {
            32 | 64 => {
                let same = data.ct_eq(tweak).into();
                Ok(XtsKey { data: Aes::new(data)?, tweak: Aes::new(tweak)?, same })
            }
            _ => Err(Code::KeySizeRange.into()),
        }
    }

    /// Whether the two keys are one, which gives XTS's security away (FIPS 140-3 IG C.I).
    pub fn is_weak(&self) -> bool {
        self.same
    }
}

/// Blocks that are masked and encrypted at once.
const BATCH: usize = 32 * BLOCK;

pub struct Xts {
    key: Arc<XtsKey>,
    /// Of the next block.
    tweak: Block,
}

impl Xts {
    /// A data unit by its number, as 16 bytes little-endian.
    pub fn new(key: Arc<XtsKey>, unit: Block) -> Xts {
        let mut tweak = unit;
        key.tweak.encrypt_block(&mut tweak);
        Xts { key, tweak }
    }

    /// The present tweak; the next takes its place: times x in GF(2^128), in constant time.
    fn next_tweak(&mut self) -> Block {
        let present = self.tweak;
        let value = u128::from_le_bytes(present);
        let carry = (value >> 127).wrapping_neg() & 0x87;
        self.tweak = ((value << 1) ^ carry).to_le_bytes();
        present
    }

    fn block(&self, direction: Direction, tweak: &Block, block: &mut Block) {
        mix(block, tweak);
        match direction {
            Direction::Encrypt => self.key.data.encrypt_block(block),
            Direction::Decrypt => self.key.data.decrypt_block(block),
        }
        mix(block, tweak);
    }
}

impl Drop for Xts {
    fn drop(&mut self) {
        self.tweak.zeroize();
    }
}

impl Stealing for Xts {
    fn blocks(&mut self, direction: Direction, input: &[u8], out: &mut [u8]) -> Result<()> {
        let (mut masks, mut masked) = (Zeroizing::new([0; BATCH]), Zeroizing::new([0; BATCH]));
        for (from, to) in input.chunks(BATCH).zip(out.chunks_mut(BATCH)) {
            let (masks, masked) =
                masks.get_mut(..from.len()).zip(masked.get_mut(..from.len())).ok_or(Code::GeneralError)?;
            masks.as_chunks_mut().0.iter_mut().for_each(|mask| *mask = self.next_tweak());
            masked.copy_from_slice(from);
            mix(masked, masks);
            self.key.data.ecb(direction, masked, to)?;
            mix(to, masks);
        }
        Ok(())
    }

    fn tail(&mut self, direction: Direction, input: &[u8], out: &mut [u8]) -> Result<()> {
        // Whole blocks stay in their order.
        if input.len() == 2 * BLOCK {
            return self.blocks(direction, input, out);
        }
        let (mut first, mut second) = (self.next_tweak(), self.next_tweak());
        if direction == Direction::Decrypt {
            std::mem::swap(&mut first, &mut second);
        }
        let (whole, part) = input.split_first_chunk::<BLOCK>().ok_or(Code::GeneralError)?;
        let mut one = Zeroizing::new(*whole);
        self.block(direction, &first, &mut one);
        let mut two = one.clone();
        two.iter_mut().zip(part).for_each(|(to, from)| *to = *from);
        self.block(direction, &second, &mut two);
        put(out, [&*two, one.get(..part.len()).ok_or(Code::GeneralError)?])
    }
}

pub struct Cts {
    key: Arc<Aes>,
    chain: Block,
}

impl Cts {
    pub fn new(key: Arc<Aes>, iv: Block) -> Cts {
        Cts { key, chain: iv }
    }
}

impl Stealing for Cts {
    fn blocks(&mut self, direction: Direction, input: &[u8], out: &mut [u8]) -> Result<()> {
        self.key.cbc(direction, &mut self.chain, input, out)
    }

    fn tail(&mut self, direction: Direction, input: &[u8], out: &mut [u8]) -> Result<()> {
        let part =
            input.len().checked_sub(BLOCK).filter(|part| (1..=BLOCK).contains(part)).ok_or(Code::GeneralError)?;
        let (mut one, mut two) = (Zeroizing::new([0; BLOCK]), Zeroizing::new([0; BLOCK]));
        match direction {
            Direction::Encrypt => {
                let (whole, rest) = input.split_at(BLOCK);
                self.key.cbc(direction, &mut self.chain, whole, &mut *one)?;
                two.iter_mut().zip(rest).for_each(|(to, from)| *to = *from);
                mix(&mut *two, &*one);
                self.key.encrypt_block(&mut two);
                put(out, [one.get(..part).ok_or(Code::GeneralError)?, &*two])
            }
            Direction::Decrypt => {
                // The ciphertext lacks the end of its last block but one, which the last block's decryption holds.
                let (short, last) = input.split_at(part);
                two.copy_from_slice(last);
                self.key.decrypt_block(&mut two);
                let mut whole = two.clone();
                whole.iter_mut().zip(short).for_each(|(to, from)| *to = *from);
                mix(&mut *two, &*whole);
                self.key.cbc(direction, &mut self.chain, &*whole, &mut *one)?;
                put(out, [&*one, two.get(..part).ok_or(Code::GeneralError)?])
            }
        }
    }
}

/// Writes both parts; they fill `out`.
fn put(out: &mut [u8], [one, two]: [&[u8]; 2]) -> Result<()> {
    if out.len() != one.len() + two.len() {
        return Err(Code::GeneralError.into());
    }
    out.iter_mut().zip(one.iter().chain(two)).for_each(|(to, from)| *to = *from);
    Ok(())
}
