//! AES, block by block and in its modes, by the `aes` crate.

use zeroize::Zeroize;

use crate::crypto::aes::{BLOCK, Crate};
use crate::crypto::block::{Block, BlockCipher, CounterStream, Direction, mix, same_length};
use crate::error::{Code, Result};

/// How many blocks of key stream are made at a time.
const BATCH: usize = 32;

/// A key's schedules for both directions; wiped on drop. CBC is [`BlockCipher`]'s.
pub(in crate::crypto) struct Schedules(Crate);

impl Schedules {
    /// `key` of 16, 24 or 32 bytes; `CKR_KEY_SIZE_RANGE`.
    pub fn new(key: &[u8]) -> Result<Schedules> {
        Crate::new(key).map(Schedules)
    }

    pub fn decrypt_block(&self, block: &mut Block) {
        self.0.decrypt_block(block);
    }

    /// As far as both slices go.
    pub fn cfb1(&self, direction: Direction, register: &mut Block, input: &[u8], out: &mut [u8]) {
        for (from, to) in input.iter().zip(out) {
            *to = 0;
            for bit in (0..8).rev() {
                let mut pad = *register;
                self.0.encrypt_block(&mut pad);
                let given = from >> bit & 1;
                let made = given ^ pad[0] >> 7;
                *to |= made << bit;
                let cipher = if direction == Direction::Encrypt { made } else { given };
                *register = (u128::from_be_bytes(*register) << 1 | u128::from(cipher)).to_be_bytes();
            }
        }
    }

    /// Adds a key stream, whose blocks follow each other by `next`. `CKR_GENERAL_ERROR` unless both are equally long.
    pub(super) fn add_stream(
        &self,
        stream: &mut CounterStream,
        next: fn(Block) -> Block,
        input: &[u8],
        out: &mut [u8],
    ) -> Result<()> {
        same_length(input, out)?;
        out.copy_from_slice(input);
        let mut left = out;
        if stream.used > 0 {
            let pad = stream.pad.get(stream.used as usize..).ok_or(Code::GeneralError)?;
            let (now, later) = left.split_at_mut(left.len().min(pad.len()));
            mix(now, pad);
            stream.used = (stream.used + now.len() as u32) % BLOCK as u32;
            left = later;
        }
        let (mut counters, mut pads) = ([0; BATCH * BLOCK], [0; BATCH * BLOCK]);
        let (whole, rest) = left.as_chunks_mut::<BLOCK>();
        for batch in whole.chunks_mut(BATCH) {
            let len = batch.len() * BLOCK;
            for counter in counters.as_chunks_mut().0.iter_mut().take(batch.len()) {
                *counter = stream.block;
                stream.block = next(stream.block);
            }
            let (counters, pads) = (counters.get(..len), pads.get_mut(..len));
            let (Some(counters), Some(pads)) = (counters, pads) else { return Err(Code::GeneralError.into()) };
            self.0.ecb(Direction::Encrypt, counters, pads)?;
            mix(batch.as_flattened_mut(), pads);
        }
        pads.zeroize();
        if !rest.is_empty() {
            stream.pad = stream.block;
            self.0.encrypt_block(&mut stream.pad);
            stream.block = next(stream.block);
            mix(rest, &stream.pad);
            stream.used = rest.len() as u32;
        }
        Ok(())
    }
}

impl BlockCipher for Schedules {
    fn block_len(&self) -> usize {
        BLOCK
    }

    fn encrypt_block(&self, block: &mut Block) {
        self.0.encrypt_block(block);
    }

    fn ecb(&self, direction: Direction, input: &[u8], out: &mut [u8]) -> Result<()> {
        self.0.ecb(direction, input, out)
    }

    fn ctr(&self, stream: &mut CounterStream, input: &[u8], out: &mut [u8]) -> Result<()> {
        self.add_stream(stream, |block| u128::from_be_bytes(block).wrapping_add(1).to_be_bytes(), input, out)
    }
}

/// The key stream of AES-256 in counter mode, from block 0 on.
pub(in crate::crypto) fn key_stream(key: &[u8; 32], out: &mut [u8]) -> Result<()> {
    let schedules = Schedules::new(key)?;
    let mut stream = CounterStream::new([0; BLOCK]);
    let zeros = [0; BATCH * BLOCK];
    out.chunks_mut(zeros.len()).try_for_each(|out| {
        let zeros = zeros.get(..out.len()).ok_or(Code::GeneralError)?;
        schedules.ctr(&mut stream, zeros, out)
    })
}
