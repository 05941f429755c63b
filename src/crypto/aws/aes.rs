//! AES, block by block and in its modes.

#![allow(unsafe_code)]

use std::mem::MaybeUninit;

use aws_lc_sys::{
    AES_KEY, AES_cbc_encrypt, AES_cfb1_encrypt, AES_ctr128_encrypt, AES_decrypt, AES_encrypt, AES_set_decrypt_key,
    AES_set_encrypt_key,
};
use zeroize::Zeroize;

use crate::crypto::aes::BLOCK;
use crate::crypto::block::{Block, CounterStream, Direction, same_length, whole_blocks};
use crate::error::{Code, Result};

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

/// A key's schedules for both directions; wiped on drop.
pub(in crate::crypto) struct Schedules {
    encrypt: Schedule,
    decrypt: Schedule,
}

impl Schedules {
    /// `key` of 16, 24 or 32 bytes; `CKR_KEY_SIZE_RANGE`.
    pub fn new(key: &[u8]) -> Result<Schedules> {
        Ok(Schedules {
            encrypt: Schedule::new(key, Direction::Encrypt)?,
            decrypt: Schedule::new(key, Direction::Decrypt)?,
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

    /// `CKR_GENERAL_ERROR` unless both are whole blocks, and equally many.
    pub fn cbc(&self, direction: Direction, chain: &mut Block, input: &[u8], out: &mut [u8]) -> Result<()> {
        whole_blocks(chain.len(), input, out)?;
        let (schedule, flag) = match direction {
            Direction::Encrypt => (&self.encrypt.0, 1),
            Direction::Decrypt => (&self.decrypt.0, 0),
        };
        // SAFETY: `input` and `out` have the same length, a multiple of 16, and do not overlap; `chain` has 16 bytes.
        unsafe { AES_cbc_encrypt(input.as_ptr(), out.as_mut_ptr(), input.len(), schedule, chain.as_mut_ptr(), flag) }
        Ok(())
    }

    /// As far as both slices go.
    pub fn cfb1(&self, direction: Direction, register: &mut Block, input: &[u8], out: &mut [u8]) {
        let flag = i32::from(direction == Direction::Encrypt);
        let len = input.len().min(out.len());
        let (input, out) = (input.split_at(len).0, out.split_at_mut(len).0);
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
    }

    /// `CKR_GENERAL_ERROR` unless both are equally long.
    pub fn ctr(&self, stream: &mut CounterStream, input: &[u8], out: &mut [u8]) -> Result<()> {
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

/// What a batch of key stream is made of.
static ZEROS: [u8; 4096] = [0; 4096];

/// The key stream of AES-256 in counter mode, from block 0 on. `CKR_GENERAL_ERROR` where the library refuses the key.
pub(in crate::crypto) fn key_stream(key: &[u8; 32], out: &mut [u8]) -> Result<()> {
    let schedule = Schedule::new(key, Direction::Encrypt)?;
    let mut stream = CounterStream::new([0; BLOCK]);
    for out in out.chunks_mut(ZEROS.len()) {
        // SAFETY: as in `Schedules::ctr`; there are at least as many zeros.
        unsafe {
            AES_ctr128_encrypt(
                ZEROS.as_ptr(),
                out.as_mut_ptr(),
                out.len(),
                &schedule.0,
                stream.block.as_mut_ptr(),
                stream.pad.as_mut_ptr(),
                &mut stream.used,
            )
        }
    }
    Ok(())
}
