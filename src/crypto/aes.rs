//! AES (FIPS 197) and its modes without authentication (SP 800-38A). AWS-LC stands behind all but the bulk of ECB, where
//! its public functions take one block at a time: there the `aes` crate is three times as fast.

#![allow(unsafe_code)]

use std::mem::MaybeUninit;

use aes::cipher::{Array, BlockCipherDecrypt, BlockCipherEncrypt, KeyInit};
use aws_lc_sys::{
    AES_KEY, AES_cbc_encrypt, AES_cfb1_encrypt, AES_ctr128_encrypt, AES_decrypt, AES_encrypt, AES_set_decrypt_key,
    AES_set_encrypt_key,
};
use zeroize::{Zeroize, ZeroizeOnDrop};

pub use super::block::{Block, Direction};
use super::block::{BlockCipher, CounterStream, MAX_BLOCK, same_length, whole_blocks};
use crate::error::{Code, Result};

/// Length of a block in bytes.
pub const BLOCK: usize = MAX_BLOCK;

/// One direction's schedule.
struct Schedule(AES_KEY);

impl Schedule {
    fn new(key: &[u8], direction: Direction) -> Result<Schedule> {
        let bits = match key.len() {
            16 | 24 | 32 => key.len() as u32 * 8,
            _ => return Err(Code::KeySizeRange.into()),
        };
        let set = match direction {
            Direction::Encrypt => AES_set_encrypt_key,
            Direction::Decrypt => AES_set_decrypt_key,
        };
        // SAFETY: AES_KEY is plain words, for which zero is a value.
        let mut schedule = Schedule(unsafe { MaybeUninit::zeroed().assume_init() });
        // SAFETY: `key` has `bits / 8` bytes, and `schedule` is ours to write.
        match unsafe { set(key.as_ptr(), bits, &mut schedule.0) } {
            0 => Ok(schedule),
            _ => Err(Code::GeneralError.into()),
        }
    }
}

impl Drop for Schedule {
    fn drop(&mut self) {
        self.0.rd_key.zeroize();
    }
}

/// From how many bytes of ECB on the `aes` crate is faster.
const BULK: usize = 8 * BLOCK;

enum Bulk {
    Aes128(aes::Aes128),
    Aes192(aes::Aes192),
    Aes256(aes::Aes256),
}

impl Bulk {
    fn new(key: &[u8]) -> Result<Bulk> {
        let made = match key.len() {
            16 => aes::Aes128::new_from_slice(key).map(Bulk::Aes128),
            24 => aes::Aes192::new_from_slice(key).map(Bulk::Aes192),
            _ => aes::Aes256::new_from_slice(key).map(Bulk::Aes256),
        };
        Ok(made.map_err(|_| Code::KeySizeRange)?)
    }
}

/// A key with its schedules for both directions; wiped on drop.
pub struct Aes {
    encrypt: Schedule,
    decrypt: Schedule,
    bulk: Bulk,
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
        Ok(Aes {
            encrypt: Schedule::new(key, Direction::Encrypt)?,
            decrypt: Schedule::new(key, Direction::Decrypt)?,
            bulk: Bulk::new(key)?,
        })
    }

    pub fn encrypt_block(&self, block: &mut Block) {
        let at = block.as_mut_ptr();
        // SAFETY: 16 readable and writable bytes at `at`; the function allows input and output to be the same.
        unsafe { AES_encrypt(at, at, &self.encrypt.0) }
    }

    pub fn decrypt_block(&self, block: &mut Block) {
        let at = block.as_mut_ptr();
        // SAFETY: as in `encrypt_block`.
        unsafe { AES_decrypt(at, at, &self.decrypt.0) }
    }

    /// ECB over whole blocks; `out` is as long as `input`. `CKR_GENERAL_ERROR` where the caller keeps not to that.
    pub fn ecb(&self, direction: Direction, input: &[u8], out: &mut [u8]) -> Result<()> {
        whole_blocks(BLOCK, input, out)?;
        if input.len() < BULK {
            for (from, to) in input.as_chunks().0.iter().zip(out.as_chunks_mut().0) {
                *to = *from;
                match direction {
                    Direction::Encrypt => self.encrypt_block(to),
                    Direction::Decrypt => self.decrypt_block(to),
                }
            }
            return Ok(());
        }
        let (input, _) = Array::slice_as_chunks(input);
        let (out, _) = Array::slice_as_chunks_mut(out);
        macro_rules! run {
            ($cipher:expr) => {
                match direction {
                    Direction::Encrypt => $cipher.encrypt_blocks_b2b(input, out),
                    Direction::Decrypt => $cipher.decrypt_blocks_b2b(input, out),
                }
            };
        }
        let done = match &self.bulk {
            Bulk::Aes128(cipher) => run!(cipher),
            Bulk::Aes192(cipher) => run!(cipher),
            Bulk::Aes256(cipher) => run!(cipher),
        };
        Ok(done.map_err(|_| Code::GeneralError)?)
    }

    /// CBC over whole blocks; `chain` is the IV, and after it what the next block chains to. As [`Aes::ecb`].
    pub fn cbc(&self, direction: Direction, chain: &mut Block, input: &[u8], out: &mut [u8]) -> Result<()> {
        whole_blocks(BLOCK, input, out)?;
        let (schedule, flag) = match direction {
            Direction::Encrypt => (&self.encrypt.0, 1),
            Direction::Decrypt => (&self.decrypt.0, 0),
        };
        // SAFETY: `input` and `out` have the same length, a multiple of 16, and do not overlap; `chain` has 16 bytes.
        unsafe { AES_cbc_encrypt(input.as_ptr(), out.as_mut_ptr(), input.len(), schedule, chain.as_mut_ptr(), flag) }
        Ok(())
    }

    /// CFB with segments of one bit over whole bytes, as long as `out` is. As [`Aes::cbc`].
    pub fn cfb1(&self, direction: Direction, register: &mut Block, input: &[u8], out: &mut [u8]) -> Result<()> {
        same_length(input, out)?;
        let flag = i32::from(direction == Direction::Encrypt);
        // The bits of a piece are counted in a usize.
        for (input, out) in input.chunks(1 << 20).zip(out.chunks_mut(1 << 20)) {
            let mut number = 0;
            // SAFETY: equal lengths, given in bits, no overlap; the register has 16 bytes; `number` is in and out, 0.
            unsafe {
                AES_cfb1_encrypt(
                    input.as_ptr(),
                    out.as_mut_ptr(),
                    input.len() * 8,
                    &self.encrypt.0,
                    register.as_mut_ptr(),
                    &mut number,
                    flag,
                )
            }
        }
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
        // SAFETY: equal lengths, no overlap; both blocks have 16 bytes; `used` is below 16, as the function leaves it.
        unsafe {
            AES_ctr128_encrypt(
                input.as_ptr(),
                out.as_mut_ptr(),
                input.len(),
                &self.encrypt.0,
                stream.block.as_mut_ptr(),
                stream.pad.as_mut_ptr(),
                &mut stream.used,
            )
        }
        Ok(())
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
