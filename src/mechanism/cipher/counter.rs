//! Counter mode: any length, and as much comes out.

use std::sync::Arc;

use crate::crypto::block::{BlockCipher, Counter};
use crate::error::{Code, Result};
use crate::token::{Operation, Params, Size, Step};

pub(super) struct CounterOperation {
    key: Arc<dyn BlockCipher>,
    counter: Counter,
}

impl CounterOperation {
    pub(super) fn new(key: Arc<dyn BlockCipher>, params: &Params) -> Result<CounterOperation> {
        Ok(CounterOperation { key, counter: counter(params)? })
    }
}

/// `CKR_MECHANISM_PARAM_INVALID` unless 1 to 128 bits count.
fn counter(params: &Params) -> Result<Counter> {
    match *params {
        Params::Ctr { counter_bits, block } => {
            Ok(Counter::new(block, counter_bits).ok_or(Code::MechanismParamInvalid)?)
        }
        _ => Err(Code::MechanismParamInvalid.into()),
    }
}

impl Operation for CounterOperation {
    /// `CKR_DATA_LEN_RANGE` where the counter would run over ("AES with Counter Encryption / Decryption").
    fn size(&mut self, step: Step, input: usize) -> Result<Size> {
        match step {
            Step::Finish => Ok(Size::Exactly(0)),
            _ if !self.counter.has(input) => Err(Code::DataLenRange.into()),
            _ => Ok(Size::Exactly(input)),
        }
    }

    fn update(&mut self, input: &[u8], out: &mut [u8]) -> Result<usize> {
        let out = out.get_mut(..input.len()).ok_or(Code::GeneralError)?;
        self.counter.apply(&*self.key, input, out)?;
        Ok(input.len())
    }

    fn finish(&mut self, _: &mut [u8]) -> Result<usize> {
        Ok(0)
    }

    fn restart(&mut self, params: &Params) -> bool {
        counter(params).map(|counter| self.counter = counter).is_ok()
    }
}
