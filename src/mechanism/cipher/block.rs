//! Whole blocks: ECB, CBC, and CBC with the padding of PKCS #7.

use std::sync::Arc;

use subtle::{Choice, ConditionallySelectable, ConstantTimeEq, ConstantTimeLess};
use zeroize::{Zeroize, Zeroizing};

use super::{bad_length, iv_block};
use crate::crypto::block::{Block, BlockCipher, Direction, MAX_BLOCK};
use crate::error::{Code, Result};
use crate::token::{Operation, Params, Size, Step};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    Ecb,
    Cbc,
    CbcPad,
}

impl Mode {
    /// Where the chain starts; ECB has none and keeps zeros.
    fn chain(self, block: usize, params: &Params) -> Result<Block> {
        match (self, params) {
            (Mode::Ecb, Params::None) => Ok([0; MAX_BLOCK]),
            (Mode::Ecb, _) => Err(Code::MechanismParamInvalid.into()),
            (Mode::Cbc | Mode::CbcPad, params) => iv_block(block, params),
        }
    }
}

pub(super) struct BlockOperation {
    key: Arc<dyn BlockCipher>,
    /// Length of a block in bytes.
    block: usize,
    mode: Mode,
    direction: Direction,
    chain: Block,
    /// Input that does not fill a block yet, or with padding the last full one, which may hold the padding.
    kept: Block,
    have: usize,
}

impl BlockOperation {
    pub(super) fn new(
        key: Arc<dyn BlockCipher>,
        mode: Mode,
        direction: Direction,
        params: &Params,
    ) -> Result<BlockOperation> {
        let block = key.block_len();
        let chain = mode.chain(block, params)?;
        Ok(BlockOperation { key, block, mode, direction, chain, kept: [0; MAX_BLOCK], have: 0 })
    }

    fn pads(&self) -> bool {
        self.mode == Mode::CbcPad
    }

    fn total(&self, input: usize) -> Result<usize> {
        Ok(self.have.checked_add(input).ok_or(bad_length(self.direction))?)
    }

    /// Of `total` bytes, kept ones included, how many an update writes.
    fn ready(&self, total: usize) -> usize {
        let last = usize::from(self.pads() && self.direction == Direction::Decrypt);
        let ready = total.saturating_sub(last);
        ready - ready % self.block
    }

    /// How many bytes come out where the input ends after `total` bytes, kept ones included.
    fn rest(&self, total: usize) -> Result<Size> {
        let bad = bad_length(self.direction);
        let whole = total.is_multiple_of(self.block);
        match (self.pads(), self.direction) {
            (true, Direction::Encrypt) => {
                Ok(Size::Exactly((total - total % self.block).checked_add(self.block).ok_or(bad)?))
            }
            (true, Direction::Decrypt) if whole && total > 0 => Ok(Size::AtMost(total - 1)),
            (false, _) if whole => Ok(Size::Exactly(total)),
            _ => Err(bad.into()),
        }
    }

    fn keep(&mut self, input: &[u8]) {
        for (to, from) in self.kept.iter_mut().skip(self.have).zip(input) {
            *to = *from;
        }
        self.have += input.len();
    }

    fn blocks(&mut self, input: &[u8], out: &mut [u8]) -> Result<()> {
        match self.mode {
            Mode::Ecb => self.key.ecb(self.direction, input, out),
            Mode::Cbc | Mode::CbcPad => self.key.cbc(self.direction, &mut self.chain, input, out),
        }
    }

    fn last_block(&mut self) -> Result<Zeroizing<Block>> {
        let mut block = Zeroizing::new([0; MAX_BLOCK]);
        let kept = Zeroizing::new(self.kept);
        let (kept, out) = kept.get(..self.block).zip(block.get_mut(..self.block)).ok_or(Code::GeneralError)?;
        self.blocks(kept, out)?;
        Ok(block)
    }
}

impl Operation for BlockOperation {
    fn size(&mut self, step: Step, input: usize) -> Result<Size> {
        let total = self.total(input)?;
        match step {
            Step::Update => Ok(Size::Exactly(self.ready(total))),
            Step::Whole | Step::Finish => self.rest(total),
        }
    }

    fn update(&mut self, mut input: &[u8], out: &mut [u8]) -> Result<usize> {
        let ready = self.ready(self.total(input.len())?);
        let mut out = out.get_mut(..ready).ok_or(Code::GeneralError)?;
        if ready > 0 && self.have > 0 {
            let (now, later) = input.split_at_checked(self.block - self.have).ok_or(Code::GeneralError)?;
            self.keep(now);
            let (first, others) = out.split_at_mut_checked(self.block).ok_or(Code::GeneralError)?;
            first.copy_from_slice(self.last_block()?.get(..self.block).ok_or(Code::GeneralError)?);
            self.have = 0;
            (input, out) = (later, others);
        }
        let (now, later) = input.split_at_checked(out.len()).ok_or(Code::GeneralError)?;
        self.blocks(now, out)?;
        self.keep(later);
        Ok(ready)
    }

    fn finish(&mut self, out: &mut [u8]) -> Result<usize> {
        self.rest(self.have)?;
        if !self.pads() {
            return Ok(0);
        }
        let (block, len) = match self.direction {
            Direction::Encrypt => {
                let padding = (self.block - self.have) as u8;
                self.kept.iter_mut().skip(self.have).for_each(|byte| *byte = padding);
                (self.last_block()?, self.block)
            }
            Direction::Decrypt => {
                let block = self.last_block()?;
                let len = block.get(..self.block).and_then(unpadded).ok_or(Code::EncryptedDataInvalid)?;
                (block, len)
            }
        };
        let (out, block) = out.get_mut(..len).zip(block.get(..len)).ok_or(Code::GeneralError)?;
        out.copy_from_slice(block);
        Ok(len)
    }

    fn restart(&mut self, params: &Params) -> bool {
        let Ok(chain) = self.mode.chain(self.block, params) else { return false };
        self.chain = chain;
        self.kept.zeroize();
        self.have = 0;
        true
    }
}

impl Drop for BlockOperation {
    fn drop(&mut self) {
        self.kept.zeroize();
    }
}

/// The length of what stands before the padding of PKCS #7 in `block`, the last one, of at most 255 bytes. `None` where there
/// is no such padding; the time tells nothing of why.
pub(in crate::mechanism) fn unpadded(block: &[u8]) -> Option<usize> {
    let size = u8::try_from(block.len()).ok()?;
    let padding = *block.last()?;
    let mut good = !padding.ct_eq(&0) & !size.ct_lt(&padding);
    for (from_end, byte) in (0..size).zip(block.iter().rev()) {
        let in_padding = from_end.ct_lt(&padding);
        good &= Choice::conditional_select(&Choice::from(1), &byte.ct_eq(&padding), in_padding);
    }
    bool::from(good).then(|| block.len() - usize::from(padding))
}
