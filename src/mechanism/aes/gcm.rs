//! GCM. Nothing that was decrypted is released before the tag is verified: updates only gather, the end gives it all.

use std::sync::Arc;

use zeroize::Zeroize;

use super::super::cipher::direction;
use super::super::key::Key;
use super::super::secret_key::SecretKey;
use super::super::table::Row;
use crate::crypto::aes::Direction;
use crate::crypto::gcm::{Gcm, MAX_DATA};
use crate::error::{Code, Result};
use crate::token::{Operation, Params, Size, Step, Use};

/// Room for gathered ciphertext that a finished operation keeps for its next message, in bytes.
const KEPT_ROOM: usize = 1 << 16;

pub(super) fn begin(_: &'static Row, what: Use, params: &Params, key: Option<&Arc<Key>>) -> Result<Box<dyn Operation>> {
    let direction = direction(what)?;
    let cipher = SecretKey::of(key)?.gcm()?.begin(direction)?;
    let mut operation = GcmOperation { cipher, direction, tag_len: 0, done: 0, gathered: Vec::new() };
    operation.start(params)?;
    Ok(Box::new(operation))
}

struct GcmOperation {
    cipher: Gcm,
    direction: Direction,
    tag_len: usize,
    /// Bytes encrypted so far.
    done: u64,
    /// In decryption, what updates brought: ciphertext and, at its end, the tag.
    gathered: Vec<u8>,
}

impl GcmOperation {
    /// `CKR_MECHANISM_PARAM_INVALID` unless the tag has whole bytes, 4 to 16, and the IV has 1 to 2^31 - 1. The specification
    /// lets shorter tags be asked for; they protect nothing.
    fn start(&mut self, params: &Params) -> Result<()> {
        let Params::Gcm { iv, aad, tag_bits } = params else { return Err(Code::MechanismParamInvalid.into()) };
        self.tag_len = match tag_bits {
            32..=128 if tag_bits % 8 == 0 => (tag_bits / 8) as usize,
            _ => return Err(Code::MechanismParamInvalid.into()),
        };
        self.done = 0;
        self.gathered.clear();
        self.gathered.shrink_to(KEPT_ROOM);
        self.cipher.start(iv, aad)
    }

    /// `input` further bytes of plaintext; `CKR_DATA_LEN_RANGE` where a message may not be so long.
    fn count(&self, input: usize) -> Result<u64> {
        let done = u64::try_from(input).ok().and_then(|input| self.done.checked_add(input));
        Ok(done.filter(|&done| done <= MAX_DATA).ok_or(Code::DataLenRange)?)
    }

    /// Length of the plaintext of `len` bytes of ciphertext and tag.
    fn opened(&self, len: usize) -> Result<usize> {
        Ok(len.checked_sub(self.tag_len).ok_or(Code::EncryptedDataLenRange)?)
    }

    /// Decrypts a whole message; `out` is wiped where the tag is not the message's.
    fn open(&mut self, message: &[u8], out: &mut [u8]) -> Result<usize> {
        let len = self.opened(message.len())?;
        let (data, tag) = message.split_at_checked(len).ok_or(Code::GeneralError)?;
        let out = out.get_mut(..len).ok_or(Code::GeneralError)?;
        let done = self.cipher.update(data, out).map_err(|e| match e.code() {
            Code::DataLenRange => e.recode(Code::EncryptedDataLenRange),
            _ => e,
        });
        if let Err(e) = done.and_then(|()| self.cipher.check(tag)) {
            out.zeroize();
            return Err(e);
        }
        Ok(len)
    }
}

impl Operation for GcmOperation {
    fn size(&mut self, step: Step, input: usize) -> Result<Size> {
        match (self.direction, step) {
            (Direction::Encrypt, Step::Update) => self.count(input).map(|_| Size::Exactly(input)),
            (Direction::Encrypt, Step::Finish) => Ok(Size::Exactly(self.tag_len)),
            (Direction::Encrypt, Step::Whole) => {
                self.count(input)?;
                Ok(Size::Exactly(input.checked_add(self.tag_len).ok_or(Code::DataLenRange)?))
            }
            (Direction::Decrypt, Step::Update) => Ok(Size::Exactly(0)),
            (Direction::Decrypt, Step::Finish) => self.opened(self.gathered.len()).map(Size::Exactly),
            (Direction::Decrypt, Step::Whole) => self.opened(input).map(Size::Exactly),
        }
    }

    fn update(&mut self, input: &[u8], out: &mut [u8]) -> Result<usize> {
        match self.direction {
            Direction::Encrypt => {
                self.done = self.count(input.len())?;
                let out = out.get_mut(..input.len()).ok_or(Code::GeneralError)?;
                self.cipher.update(input, out)?;
                Ok(input.len())
            }
            Direction::Decrypt => {
                self.gathered.try_reserve(input.len()).map_err(|_| Code::HostMemory)?;
                self.gathered.extend_from_slice(input);
                Ok(0)
            }
        }
    }

    fn finish(&mut self, out: &mut [u8]) -> Result<usize> {
        match self.direction {
            Direction::Encrypt => {
                self.cipher.tag(out.get_mut(..self.tag_len).ok_or(Code::GeneralError)?)?;
                Ok(self.tag_len)
            }
            Direction::Decrypt => {
                let message = std::mem::take(&mut self.gathered);
                let opened = self.open(&message, out);
                self.gathered = message;
                opened
            }
        }
    }

    fn whole(&mut self, input: &[u8], out: &mut [u8]) -> Result<usize> {
        match self.direction {
            Direction::Encrypt => {
                let done = self.update(input, out)?;
                let rest = out.get_mut(done..).ok_or(Code::GeneralError)?;
                Ok(done + self.finish(rest)?)
            }
            Direction::Decrypt => self.open(input, out),
        }
    }

    fn restart(&mut self, params: &Params) -> bool {
        self.start(params).is_ok()
    }
}
