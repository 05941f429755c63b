//! XTS and CBC with ciphertext stealing: at least a block, any length, and as much comes out. The last one or two blocks
//! are done at the end, as only that shows where they are.

use std::sync::Arc;

use cryptoki_sys::*;
use zeroize::{Zeroize, Zeroizing};

use super::super::cipher::{bad_length, direction, iv};
use super::super::generic::generate_value;
use super::super::key::Key;
use super::super::secret_key::SecretKey;
use super::super::table::Row;
use crate::crypto::aes::{Aes, BLOCK, Block, Direction};
use crate::crypto::stealing::{Cts, Stealing, Xts, XtsKey};
use crate::error::{Code, Result};
use crate::object::Attributes;
use crate::token::{Attribute, Operation, Params, Size, Step, Use, Value};

/// SP 800-38E, 4: a data unit has at most 2^20 blocks.
const MAX_UNIT: usize = BLOCK << 20;

/// Bytes of a key: two AES keys of 128 or 256 bits.
pub(super) const XTS_SIZE: (CK_ULONG, CK_ULONG) = (32, 64);

/// A fresh key of 32 or 64 bytes, whose halves differ.
pub(super) fn generate_xts(_: &'static Row, _: &Params, template: &Attributes) -> Result<Vec<Attribute>> {
    loop {
        let made = generate_value(template, |len| matches!(len, 32 | 64))?;
        let weak = made.iter().any(|attribute| match &attribute.value {
            Value::Bytes(value) => XtsKey::new(value).is_ok_and(|key| key.is_weak()),
            Value::Template(_) => false,
        });
        if !weak {
            return Ok(made);
        }
    }
}

/// A key whose halves are one decrypts what there is, and encrypts no more: `CKR_KEY_FUNCTION_NOT_PERMITTED`.
pub(super) fn begin_xts(
    _: &'static Row,
    what: Use,
    params: &Params,
    key: Option<&Arc<Key>>,
) -> Result<Box<dyn Operation>> {
    let (key, direction) = (SecretKey::of(key)?.xts()?, direction(what)?);
    if key.is_weak() && direction == Direction::Encrypt {
        return Err(Code::KeyFunctionNotPermitted.because("the two halves of this XTS key are the same"));
    }
    Ok(Box::new(StealingOperation::new(Mode::Xts(key), direction, params)?))
}

pub(super) fn begin_cts(
    _: &'static Row,
    what: Use,
    params: &Params,
    key: Option<&Arc<Key>>,
) -> Result<Box<dyn Operation>> {
    let (key, direction) = (SecretKey::of(key)?.aes()?, direction(what)?);
    Ok(Box::new(StealingOperation::new(Mode::Cts(key), direction, params)?))
}

enum Mode {
    Xts(Arc<XtsKey>),
    Cts(Arc<Aes>),
}

impl Mode {
    fn start(&self, params: &Params) -> Result<Box<dyn Stealing>> {
        let iv: Block = iv(params)?;
        Ok(match self {
            Mode::Xts(key) => Box::new(Xts::new(key.clone(), iv)),
            Mode::Cts(key) => Box::new(Cts::new(key.clone(), iv)),
        })
    }

    fn limit(&self) -> usize {
        match self {
            Mode::Xts(_) => MAX_UNIT,
            Mode::Cts(_) => usize::MAX,
        }
    }
}

struct StealingOperation {
    mode: Mode,
    direction: Direction,
    state: Box<dyn Stealing>,
    /// Input so far, in bytes.
    total: usize,
    /// The end of the input, which may be the message's end: two blocks at most.
    kept: [u8; 2 * BLOCK],
    have: usize,
}

impl StealingOperation {
    fn new(mode: Mode, direction: Direction, params: &Params) -> Result<StealingOperation> {
        let state = mode.start(params)?;
        Ok(StealingOperation { mode, direction, state, total: 0, kept: [0; 2 * BLOCK], have: 0 })
    }

    /// The message's length after `input` further bytes.
    fn count(&self, input: usize) -> Result<usize> {
        let total = self.total.checked_add(input).filter(|total| *total <= self.mode.limit());
        Ok(total.ok_or(bad_length(self.direction))?)
    }

    /// Of `pending` bytes, kept ones included, how many an update writes: whole blocks that leave more than one.
    fn ready(pending: usize) -> usize {
        let ready = pending.saturating_sub(BLOCK + 1);
        ready - ready % BLOCK
    }

    fn keep(&mut self, input: &[u8]) {
        self.kept.iter_mut().skip(self.have).zip(input).for_each(|(to, from)| *to = *from);
        self.have += input.len();
    }

    /// One block alone is done as any other; with more, the last whole one and what follows it make the end.
    fn last(&mut self, out: &mut [u8]) -> Result<()> {
        let kept = Zeroizing::new(self.kept);
        let input = kept.get(..self.have).ok_or(Code::GeneralError)?;
        if self.have == BLOCK {
            self.state.blocks(self.direction, input, out)
        } else {
            self.state.tail(self.direction, input, out)
        }
    }
}

impl Operation for StealingOperation {
    fn size(&mut self, step: Step, input: usize) -> Result<Size> {
        let total = self.count(input)?;
        let pending = self.have.checked_add(input).ok_or(bad_length(self.direction))?;
        match step {
            Step::Update => Ok(Size::Exactly(Self::ready(pending))),
            Step::Whole | Step::Finish if total < BLOCK => Err(bad_length(self.direction).into()),
            Step::Whole | Step::Finish => Ok(Size::Exactly(pending)),
        }
    }

    fn update(&mut self, mut input: &[u8], out: &mut [u8]) -> Result<usize> {
        self.total = self.count(input.len())?;
        let pending = self.have.checked_add(input.len()).ok_or(bad_length(self.direction))?;
        let ready = Self::ready(pending);
        let mut out = out.get_mut(..ready).ok_or(Code::GeneralError)?;
        // Kept bytes first, filled up to whole blocks as far as those are ready.
        let from_kept = self.have.next_multiple_of(BLOCK).min(ready);
        if self.have > 0 && from_kept > 0 {
            let (now, later) = input.split_at(from_kept.saturating_sub(self.have));
            self.keep(now);
            let (first, others) = out.split_at_mut_checked(from_kept).ok_or(Code::GeneralError)?;
            let kept = Zeroizing::new(self.kept);
            self.state.blocks(self.direction, kept.get(..from_kept).ok_or(Code::GeneralError)?, first)?;
            self.kept.copy_within(from_kept.., 0);
            self.have -= from_kept;
            (input, out) = (later, others);
        }
        let (now, later) = input.split_at_checked(out.len()).ok_or(Code::GeneralError)?;
        self.state.blocks(self.direction, now, out)?;
        self.keep(later);
        Ok(ready)
    }

    fn finish(&mut self, out: &mut [u8]) -> Result<usize> {
        if self.total < BLOCK {
            return Err(bad_length(self.direction).into());
        }
        let have = self.have;
        self.last(out.get_mut(..have).ok_or(Code::GeneralError)?)?;
        Ok(have)
    }

    fn restart(&mut self, params: &Params) -> bool {
        let Ok(state) = self.mode.start(params) else { return false };
        self.state = state;
        (self.total, self.have) = (0, 0);
        self.kept.zeroize();
        true
    }
}

impl Drop for StealingOperation {
    fn drop(&mut self) {
        self.kept.zeroize();
    }
}
