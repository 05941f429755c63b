//! Key wrapping, as a cipher for one call ("The mechanisms support only single-part operations").

use std::sync::Arc;

use zeroize::Zeroize;

use super::super::cipher::bad_length;
use super::super::cipher::block::unpadded;
use super::iv_or;
use crate::crypto::aes::{Aes, Direction};
use crate::crypto::keywrap::{self, KW_IV, KWP_IV, SEMIBLOCK};
use crate::error::{Code, Result};
use crate::token::{Operation, Params, Size, Step};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scheme {
    /// KW over whole semiblocks.
    Plain([u8; SEMIBLOCK]),
    /// KWP over any length.
    Padded([u8; KWP_IV.len()]),
    /// KW over data padded as of PKCS #7 to whole semiblocks. What makes only one is too short for KW.
    Pkcs7([u8; SEMIBLOCK]),
}

pub(super) struct WrapOperation {
    key: Arc<Aes>,
    scheme: Scheme,
    direction: Direction,
}

impl WrapOperation {
    pub(super) fn new(key: Arc<Aes>, scheme: Scheme, direction: Direction) -> WrapOperation {
        WrapOperation { key, scheme, direction }
    }

    /// Length of the wrapping of `len` bytes; `CKR_DATA_LEN_RANGE`.
    fn wrapped(&self, len: usize) -> Result<usize> {
        let semiblocks = match self.scheme {
            Scheme::Padded(_) => return keywrap::padded_len(len),
            Scheme::Plain(_) => Some(len).filter(|len| len.is_multiple_of(SEMIBLOCK)),
            Scheme::Pkcs7(_) => (len - len % SEMIBLOCK).checked_add(SEMIBLOCK),
        };
        let semiblocks = semiblocks.filter(|&len| len >= 2 * SEMIBLOCK);
        Ok(semiblocks.and_then(|len| len.checked_add(SEMIBLOCK)).ok_or(Code::DataLenRange)?)
    }

    fn wrap(&self, input: &[u8], out: &mut [u8]) -> Result<usize> {
        let len = self.wrapped(input.len())?;
        let out = out.get_mut(..len).ok_or(Code::GeneralError)?;
        match self.scheme {
            Scheme::Padded(iv) => keywrap::wrap_padded(&self.key, &iv, input, out)?,
            Scheme::Plain(iv) | Scheme::Pkcs7(iv) => {
                let room = out.get_mut(SEMIBLOCK..).ok_or(Code::GeneralError)?;
                let (data, padding) = room.split_at_mut_checked(input.len()).ok_or(Code::GeneralError)?;
                data.copy_from_slice(input);
                padding.fill(padding.len() as u8);
                keywrap::wrap(&self.key, &iv, out)?;
            }
        }
        Ok(len)
    }

    fn unwrap(&self, input: &[u8], out: &mut [u8]) -> Result<usize> {
        let room = input.len().checked_sub(SEMIBLOCK).ok_or(Code::EncryptedDataLenRange)?;
        let out = out.get_mut(..room).ok_or(Code::GeneralError)?;
        match self.scheme {
            Scheme::Padded(iv) => keywrap::unwrap_padded(&self.key, &iv, input, out),
            Scheme::Plain(iv) => keywrap::unwrap(&self.key, &iv, input, out).map(|()| room),
            Scheme::Pkcs7(iv) => {
                keywrap::unwrap(&self.key, &iv, input, out)?;
                let data = out.last_chunk::<SEMIBLOCK>().and_then(|last| unpadded(last));
                let Some(data) = data.map(|data| room - SEMIBLOCK + data) else {
                    out.zeroize();
                    return Err(Code::EncryptedDataInvalid.into());
                };
                out.get_mut(data..).unwrap_or_default().zeroize();
                Ok(data)
            }
        }
    }
}

impl Operation for WrapOperation {
    fn size(&mut self, step: Step, input: usize) -> Result<Size> {
        if step != Step::Whole {
            return Err(Code::FunctionNotSupported.into());
        }
        match self.direction {
            Direction::Encrypt => self.wrapped(input).map(Size::Exactly),
            Direction::Decrypt => {
                let room = input.checked_sub(SEMIBLOCK).filter(|room| room.is_multiple_of(SEMIBLOCK));
                let room = room.ok_or(bad_length(self.direction))?;
                Ok(if matches!(self.scheme, Scheme::Plain(_)) { Size::Exactly(room) } else { Size::AtMost(room) })
            }
        }
    }

    fn multi_part(&self) -> bool {
        false
    }

    fn update(&mut self, _: &[u8], _: &mut [u8]) -> Result<usize> {
        Err(Code::FunctionNotSupported.into())
    }

    fn finish(&mut self, _: &mut [u8]) -> Result<usize> {
        Err(Code::FunctionNotSupported.into())
    }

    fn whole(&mut self, input: &[u8], out: &mut [u8]) -> Result<usize> {
        match self.direction {
            Direction::Encrypt => self.wrap(input, out),
            Direction::Decrypt => self.unwrap(input, out),
        }
    }

    fn restart(&mut self, params: &Params) -> bool {
        let scheme = match self.scheme {
            Scheme::Plain(_) => iv_or(params, KW_IV).map(Scheme::Plain),
            Scheme::Padded(_) => iv_or(params, KWP_IV).map(Scheme::Padded),
            Scheme::Pkcs7(_) => iv_or(params, KW_IV).map(Scheme::Pkcs7),
        };
        scheme.map(|scheme| self.scheme = scheme).is_ok()
    }
}
