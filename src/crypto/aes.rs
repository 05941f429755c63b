//! AES (FIPS 197) and its modes without authentication (SP 800-38A). AWS-LC stands behind all but the bulk of ECB, where
//! its public functions take one block at a time: there the `aes` crate is three times as fast. In the pure-Rust build that
//! stands behind everything.

use aes::cipher::{Array, BlockCipherDecrypt, BlockCipherEncrypt, KeyInit};
use zeroize::{Zeroize, ZeroizeOnDrop};

#[cfg(feature = "aws-lc")]
use super::aws::aes as library;
pub use super::block::{Block, Direction};
use super::block::{BlockCipher, CounterStream, MAX_BLOCK, same_length, whole_blocks};
#[cfg(not(feature = "aws-lc"))]
use super::rust::aes as library;
use crate::error::{Code, Result};

/// Length of a block in bytes.
pub const BLOCK: usize = MAX_BLOCK;

/// From how many bytes of ECB on the `aes` crate is faster.
const BULK: usize = 8 * BLOCK;

/// The `aes` crate's schedules of a key, for both directions; wiped on drop.
pub(super) enum Crate {
    Aes128(aes::Aes128),
    Aes192(aes::Aes192),
    Aes256(aes::Aes256),
}

/// Calls `$method` of the cipher behind `$crate_key`.
macro_rules! each {
    ($crate_key:expr, $method:ident($($argument:expr),*)) => {
        match $crate_key {
            Crate::Aes128(cipher) => cipher.$method($($argument),*),
            Crate::Aes192(cipher) => cipher.$method($($argument),*),
            Crate::Aes256(cipher) => cipher.$method($($argument),*),
        }
    };
}

impl Crate {
    /// `key` of 16, 24 or 32 bytes; `CKR_KEY_SIZE_RANGE`.
    pub(super) fn new(key: &[u8]) -> Result<Crate> {
        let made = match key.len() {
            16 => aes::Aes128::new_from_slice(key).map(Crate::Aes128),
            24 => aes::Aes192::new_from_slice(key).map(Crate::Aes192),
            _ => aes::Aes256::new_from_slice(key).map(Crate::Aes256),
        };
        Ok(made.map_err(|_| Code::KeySizeRange)?)
    }

    /// ECB over whole blocks; `out` is as long as `input`, else `CKR_GENERAL_ERROR`.
    pub(super) fn ecb(&self, direction: Direction, input: &[u8], out: &mut [u8]) -> Result<()> {
        whole_blocks(BLOCK, input, out)?;
        let (input, _) = Array::slice_as_chunks(input);
        let (out, _) = Array::slice_as_chunks_mut(out);
        let done = match direction {
            Direction::Encrypt => each!(self, encrypt_blocks_b2b(input, out)),
            Direction::Decrypt => each!(self, decrypt_blocks_b2b(input, out)),
        };
        Ok(done.map_err(|_| Code::GeneralError)?)
    }

    #[cfg_attr(feature = "aws-lc", allow(dead_code))]
    pub(super) fn encrypt_block(&self, block: &mut Block) {
        each!(self, encrypt_block(block.into()))
    }

    #[cfg_attr(feature = "aws-lc", allow(dead_code))]
    pub(super) fn decrypt_block(&self, block: &mut Block) {
        each!(self, decrypt_block(block.into()))
    }
}

/// A key with its schedules for both directions; wiped on drop.
pub struct Aes {
    schedules: library::Schedules,
    bulk: Crate,
}

// The `aes` crate's types wipe themselves by its feature `zeroize`.
const _: fn() = || {
    fn wipes<T: ZeroizeOnDrop>() {}
    wipes::<aes::Aes128>();
    wipes::<aes::Aes192>();
    wipes::<aes::Aes256>();
};

impl Aes {
    /// `key` of 16, 24 or 32 bytes; `CKR_KEY_SIZE_RANGE`.
    pub fn new(key: &[u8]) -> Result<Aes> {
        Ok(Aes { bulk: Crate::new(key)?, schedules: library::Schedules::new(key)? })
    }

    pub fn encrypt_block(&self, block: &mut Block) {
        self.schedules.encrypt_block(block);
    }

    pub fn decrypt_block(&self, block: &mut Block) {
        self.schedules.decrypt_block(block);
    }

    /// ECB over whole blocks; `out` is as long as `input`. `CKR_GENERAL_ERROR` where the caller keeps not to that.
    pub fn ecb(&self, direction: Direction, input: &[u8], out: &mut [u8]) -> Result<()> {
        if input.len() >= BULK {
            return self.bulk.ecb(direction, input, out);
        }
        whole_blocks(BLOCK, input, out)?;
        for (from, to) in input.as_chunks().0.iter().zip(out.as_chunks_mut().0) {
            *to = *from;
            match direction {
                Direction::Encrypt => self.encrypt_block(to),
                Direction::Decrypt => self.decrypt_block(to),
            }
        }
        Ok(())
    }

    /// CBC over whole blocks; `chain` is the IV, and after it what the next block chains to. As [`Aes::ecb`].
    pub fn cbc(&self, direction: Direction, chain: &mut Block, input: &[u8], out: &mut [u8]) -> Result<()> {
        whole_blocks(BLOCK, input, out)?;
        self.schedules.cbc(direction, chain, input, out)
    }

    /// CFB with segments of one bit over whole bytes, as long as `out` is. As [`Aes::cbc`].
    pub fn cfb1(&self, direction: Direction, register: &mut Block, input: &[u8], out: &mut [u8]) -> Result<()> {
        same_length(input, out)?;
        self.schedules.cfb1(direction, register, input, out);
        Ok(())
    }
}

impl BlockCipher for Aes {
    fn block_len(&self) -> usize {
        BLOCK
    }

    fn encrypt_block(&self, block: &mut Block) {
        Aes::encrypt_block(self, block);
    }

    fn ecb(&self, direction: Direction, input: &[u8], out: &mut [u8]) -> Result<()> {
        Aes::ecb(self, direction, input, out)
    }

    fn cbc(&self, direction: Direction, chain: &mut Block, input: &[u8], out: &mut [u8]) -> Result<()> {
        Aes::cbc(self, direction, chain, input, out)
    }

    fn ctr(&self, stream: &mut CounterStream, input: &[u8], out: &mut [u8]) -> Result<()> {
        same_length(input, out)?;
        self.schedules.ctr(stream, input, out)
    }
}

/// The modes that make a key stream from a register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Feedback {
    /// The register takes the key stream.
    Ofb,
    /// The register takes the ciphertext, this many bytes at a time (1..=16).
    Cfb(usize),
}

/// Where a stream of [`Feedback`] stands.
#[derive(Clone)]
pub struct Register {
    mode: Feedback,
    block: Block,
    pad: Block,
    /// Bytes of the present segment already done; the segment's length where a new one is due.
    done: usize,
}

impl Register {
    pub fn new(mode: Feedback, iv: Block) -> Register {
        Register { mode, block: iv, pad: [0; BLOCK], done: mode.segment() }
    }

    /// Encrypts or decrypts; `out` is as long as `input`.
    pub fn apply(&mut self, key: &Aes, direction: Direction, input: &[u8], out: &mut [u8]) -> Result<()> {
        same_length(input, out)?;
        let segment = self.mode.segment();
        let (mut input, mut out) = (input, out);
        while !input.is_empty() {
            if self.done == segment {
                self.pad = self.block;
                key.encrypt_block(&mut self.pad);
                self.block.copy_within(segment.., 0);
                self.done = 0;
            }
            let run = input.len().min(segment - self.done);
            let (from, input_left) = input.split_at(run);
            let (to, out_left) = out.split_at_mut(run);
            let pad = self.pad.get(self.done..self.done + run).ok_or(Code::GeneralError)?;
            for ((to, from), pad) in to.iter_mut().zip(from).zip(pad) {
                *to = from ^ pad;
            }
            let back: &[u8] = match (self.mode, direction) {
                (Feedback::Ofb, _) => pad,
                (Feedback::Cfb(_), Direction::Encrypt) => to,
                (Feedback::Cfb(_), Direction::Decrypt) => from,
            };
            let start = BLOCK - segment + self.done;
            self.block.get_mut(start..start + run).ok_or(Code::GeneralError)?.copy_from_slice(back);
            self.done += run;
            (input, out) = (input_left, out_left);
        }
        Ok(())
    }
}

impl Feedback {
    fn segment(self) -> usize {
        match self {
            Feedback::Ofb => BLOCK,
            Feedback::Cfb(bytes) => bytes.clamp(1, BLOCK),
        }
    }
}

impl Drop for Register {
    fn drop(&mut self) {
        self.pad.zeroize();
    }
}
