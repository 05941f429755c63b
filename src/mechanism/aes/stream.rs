//! Modes that take any length and write as much: CTR, OFB, CFB.

use std::sync::Arc;

use super::iv;
use crate::crypto::aes::{Aes, Block, Counter, Direction, Feedback, Register};
use crate::error::{Code, Result};
use crate::token::{Operation, Params, Size, Step};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    Counter,
    Feedback(Feedback),
    /// CFB with segments of one bit.
    Bitwise,
}

enum State {
    Counter(Counter),
    Register(Register),
    Bitwise(Block),
}

impl State {
    fn new(mode: Mode, params: &Params) -> Result<State> {
        Ok(match (mode, params) {
            (Mode::Counter, &Params::Ctr { counter_bits, block }) => {
                State::Counter(Counter::new(block, counter_bits).ok_or(Code::MechanismParamInvalid)?)
            }
            (Mode::Counter, _) => return Err(Code::MechanismParamInvalid.into()),
            (Mode::Feedback(mode), params) => State::Register(Register::new(mode, iv(params)?)),
            (Mode::Bitwise, params) => State::Bitwise(iv(params)?),
        })
    }
}

pub(super) struct StreamOperation {
    key: Arc<Aes>,
    mode: Mode,
    direction: Direction,
    state: State,
}

impl StreamOperation {
    pub(super) fn new(key: Arc<Aes>, mode: Mode, direction: Direction, params: &Params) -> Result<StreamOperation> {
        Ok(StreamOperation { key, mode, direction, state: State::new(mode, params)? })
    }
}

impl Operation for StreamOperation {
    /// `CKR_DATA_LEN_RANGE` where the counter would run over ("AES with Counter Encryption / Decryption").
    fn size(&mut self, step: Step, input: usize) -> Result<Size> {
        match (&self.state, step) {
            (_, Step::Finish) => Ok(Size::Exactly(0)),
            (State::Counter(counter), _) if !counter.has(input) => Err(Code::DataLenRange.into()),
            _ => Ok(Size::Exactly(input)),
        }
    }

    fn update(&mut self, input: &[u8], out: &mut [u8]) -> Result<usize> {
        let out = out.get_mut(..input.len()).ok_or(Code::GeneralError)?;
        match &mut self.state {
            State::Counter(counter) => counter.apply(&self.key, input, out)?,
            State::Register(register) => register.apply(&self.key, self.direction, input, out)?,
            State::Bitwise(register) => self.key.cfb1(self.direction, register, input, out)?,
        }
        Ok(input.len())
    }

    fn finish(&mut self, _: &mut [u8]) -> Result<usize> {
        Ok(0)
    }

    fn restart(&mut self, params: &Params) -> bool {
        match State::new(self.mode, params) {
            Ok(state) => self.state = state,
            Err(_) => return false,
        }
        true
    }
}
