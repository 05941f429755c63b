//! The feedback modes, which take any length and write as much: OFB, CFB.

use std::sync::Arc;

use super::super::cipher::iv;
use crate::crypto::aes::{Aes, Block, Direction, Feedback, Register};
use crate::error::{Code, Result};
use crate::token::{Operation, Params, Size, Step};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    Feedback(Feedback),
    /// CFB with segments of one bit.
    Bitwise,
}

enum State {
    Register(Register),
    Bitwise(Block),
}

impl State {
    fn new(mode: Mode, params: &Params) -> Result<State> {
        Ok(match mode {
            Mode::Feedback(mode) => State::Register(Register::new(mode, iv(params)?)),
            Mode::Bitwise => State::Bitwise(iv(params)?),
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
    fn size(&mut self, step: Step, input: usize) -> Result<Size> {
        Ok(Size::Exactly(if step == Step::Finish { 0 } else { input }))
    }

    fn update(&mut self, input: &[u8], out: &mut [u8]) -> Result<usize> {
        let out = out.get_mut(..input.len()).ok_or(Code::GeneralError)?;
        match &mut self.state {
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
