//! Message-based operations (PKCS#11 3.2, 5.9 and following): many messages under one init. An authenticated cipher joins as
//! [`Aead`]; a signature mechanism does without knowing.

use std::sync::Arc;

use cryptoki_sys::*;
use zeroize::{Zeroize, Zeroizing};

use super::aead::Aead;
use super::cipher::bad_length;
use super::ivs::IvMaker;
use super::key::Key;
use super::table::{ParamKind, Row};
use crate::crypto::aes::Direction;
use crate::error::{Code, Error, Result};
use crate::token::{MessageParams, Operation, Params, Size, Step, Use};

/// What the row of an AEAD cipher offers by [`SealedMessages`].
pub(super) const MESSAGES: CK_FLAGS = CKF_MESSAGE_ENCRYPT | CKF_MESSAGE_DECRYPT | CKF_MULTI_MESSAGE;

/// Room for gathered ciphertext that an operation keeps for its next message, in bytes.
const KEPT_ROOM: usize = 1 << 16;

/// Key types whose mechanisms read a message twice, or their signature before it.
const WHOLE: &[CK_KEY_TYPE] = &[CKK_SLH_DSA, CKK_HSS, CKK_XMSS, CKK_XMSSMT];

/// Begins any use of a row. `CKR_MECHANISM_INVALID` where the row begins nothing; else the codes of its own function.
pub fn begin(row: &'static Row, what: Use, params: &Params, key: Option<&Arc<Key>>) -> Result<Box<dyn Operation>> {
    let own = row.does.begin.ok_or(Code::MechanismInvalid)?;
    match what {
        Use::MessageSign => SignedMessages::begin(row, Use::Sign, params, key),
        Use::MessageVerify => SignedMessages::begin(row, Use::Verify, params, key),
        // Only the order of the arguments differs, and that is the session's; but who has the signature first may then give the
        // message of these in parts (PKCS#11 3.2, HSS, XMSS, SLH-DSA: footnotes of the tables of functions).
        Use::VerifySignature
            if row.params != ParamKind::HashSignContext && WHOLE.iter().any(|ty| row.keys.contains(ty)) =>
        {
            let operation = own(row, Use::Verify, params, key)?;
            Ok(if operation.multi_part() {
                operation
            } else {
                Box::new(Gathered { operation, message: Zeroizing::default() })
            })
        }
        Use::VerifySignature => own(row, Use::Verify, params, key),
        _ => own(row, what, params, key),
    }
}

/// Messages under an AEAD cipher. Nothing that was decrypted is released before its tag is verified: the parts but the last
/// only gather.
pub(super) struct SealedMessages<A> {
    cipher: A,
    direction: Direction,
    ivs: IvMaker,
    /// Bytes of the message so far.
    done: u64,
    /// In decryption, what the parts brought.
    gathered: Vec<u8>,
}

impl<A: Aead> SealedMessages<A> {
    /// What the init says of an IV is not used yet: each message brings its own (see the specification's example).
    pub(super) fn begin(cipher: A, direction: Direction, params: &Params) -> Result<Box<dyn Operation>> {
        match params {
            Params::None | Params::Message { .. } => {
                let (ivs, gathered) = (IvMaker::default(), Vec::new());
                Ok(Box::new(SealedMessages { cipher, direction, ivs, done: 0, gathered }))
            }
            _ => Err(Code::MechanismParamInvalid.into()),
        }
    }

    /// `input` further bytes, perhaps the last: `CKR_DATA_LEN_RANGE` or `CKR_ENCRYPTED_DATA_LEN_RANGE` where a message may
    /// not be so long.
    fn count(&mut self, input: usize, last: bool) -> Result<()> {
        let limit = self.cipher.limit();
        let done = u64::try_from(input).ok().and_then(|input| self.done.checked_add(input));
        let fits = |done: &u64| if last && self.cipher.announced() { *done == limit } else { *done <= limit };
        self.done = done.filter(fits).ok_or(bad_length(self.direction))?;
        Ok(())
    }

    fn seal(&mut self, params: &mut MessageParams, input: &[u8], out: &mut [u8]) -> Result<usize> {
        self.cipher.update(Direction::Encrypt, input, out)?;
        params.tag.clear();
        params.tag.resize(self.cipher.tag_len(), 0);
        self.cipher.tag(&mut params.tag)?;
        Ok(out.len())
    }

    fn open(&mut self, params: &MessageParams, input: &[u8], out: &mut [u8]) -> Result<usize> {
        if params.tag.len() != self.cipher.tag_len() {
            Err(Code::MechanismParamInvalid.because("no tag to check the message against"))?;
        }
        let mut gathered = std::mem::take(&mut self.gathered);
        let opened = if gathered.is_empty() {
            self.decrypt(input, &params.tag, out)
        } else {
            gathered.try_reserve(input.len()).map_err(|_| Code::HostMemory)?;
            gathered.extend_from_slice(input);
            self.decrypt(&gathered, &params.tag, out)
        };
        gathered.clear();
        gathered.shrink_to(KEPT_ROOM);
        self.gathered = gathered;
        opened.map(|()| out.len())
    }

    fn decrypt(&mut self, input: &[u8], tag: &[u8], out: &mut [u8]) -> Result<()> {
        let done = self.cipher.update(Direction::Decrypt, input, out).and_then(|()| self.cipher.check(tag));
        done.map_err(decryption_code).inspect_err(|_| out.zeroize())
    }
}

/// The codes that decryption lists, from those of the ciphers.
fn decryption_code(error: Error) -> Error {
    match error.code() {
        Code::DataLenRange => error.recode(Code::EncryptedDataLenRange),
        Code::EncryptedDataInvalid => error.recode(Code::AeadDecryptFailed),
        _ => error,
    }
}

impl<A: Aead> Operation for SealedMessages<A> {
    fn size(&mut self, step: Step, input: usize) -> Result<Size> {
        let len = match (self.direction, step) {
            (Direction::Decrypt, Step::Update) => Some(0),
            (Direction::Decrypt, Step::Finish) => self.gathered.len().checked_add(input),
            _ => Some(input),
        };
        Ok(Size::Exactly(len.ok_or(Code::EncryptedDataLenRange)?))
    }

    fn update(&mut self, input: &[u8], out: &mut [u8]) -> Result<usize> {
        self.count(input.len(), false)?;
        match self.direction {
            Direction::Encrypt => {
                let out = out.get_mut(..input.len()).ok_or(Code::GeneralError)?;
                self.cipher.update(Direction::Encrypt, input, out).map(|()| input.len())
            }
            Direction::Decrypt => {
                self.gathered.try_reserve(input.len()).map_err(|_| Code::HostMemory)?;
                self.gathered.extend_from_slice(input);
                Ok(0)
            }
        }
    }

    /// These operations end message by message.
    fn finish(&mut self, _: &mut [u8]) -> Result<usize> {
        Err(Code::FunctionNotSupported.into())
    }

    fn start_message(&mut self, params: Option<&mut MessageParams>, aad: &[u8]) -> Result<()> {
        let params = params.ok_or(Code::MechanismParamInvalid)?;
        self.gathered.clear();
        self.done = 0;
        if self.direction == Direction::Encrypt {
            self.ivs.make(params)?;
        }
        self.cipher.start_message(params, aad)
    }

    fn end_message(&mut self, params: &mut MessageParams, input: &[u8], out: &mut [u8]) -> Result<usize> {
        let len = self.size(Step::Finish, input.len())?.bound();
        let out = out.get_mut(..len).ok_or(Code::GeneralError)?;
        self.count(input.len(), true)?;
        match self.direction {
            Direction::Encrypt => self.seal(params, input, out),
            Direction::Decrypt => self.open(params, input, out),
        }
    }

    fn restart(&mut self, params: &Params) -> bool {
        self.ivs.reset();
        self.gathered.clear();
        matches!(params, Params::None | Params::Message { .. })
    }
}

/// The verification of a message that comes in parts, by an operation that takes it whole.
struct Gathered {
    operation: Box<dyn Operation>,
    message: Zeroizing<Vec<u8>>,
}

impl Operation for Gathered {
    fn size(&mut self, step: Step, input: usize) -> Result<Size> {
        self.operation.size(step, input)
    }

    fn update(&mut self, input: &[u8], _: &mut [u8]) -> Result<usize> {
        self.message.try_reserve(input.len()).map_err(|_| Code::HostMemory)?;
        self.message.extend_from_slice(input);
        Ok(0)
    }

    fn finish(&mut self, out: &mut [u8]) -> Result<usize> {
        self.operation.finish(out)
    }

    fn verify(&mut self, input: Option<&[u8]>, signature: &[u8]) -> Result<()> {
        let message = std::mem::take(&mut self.message);
        self.operation.verify(Some(input.unwrap_or(&message)), signature)
    }

    fn restart(&mut self, params: &Params) -> bool {
        self.message.clear();
        self.operation.restart(params)
    }
}

/// Messages to sign or to verify: the mechanism's own operation, restarted for each.
struct SignedMessages {
    operation: Box<dyn Operation>,
    row: &'static Row,
    what: Use,
    params: Params,
    key: Option<Arc<Key>>,
}

impl SignedMessages {
    fn begin(row: &'static Row, what: Use, params: &Params, key: Option<&Arc<Key>>) -> Result<Box<dyn Operation>> {
        let operation = begin(row, what, params, key)?;
        Ok(Box::new(SignedMessages { operation, row, what, params: params.clone(), key: key.cloned() }))
    }
}

impl Operation for SignedMessages {
    fn size(&mut self, step: Step, input: usize) -> Result<Size> {
        self.operation.size(step, input)
    }

    fn multi_part(&self) -> bool {
        self.operation.multi_part()
    }

    fn update(&mut self, input: &[u8], out: &mut [u8]) -> Result<usize> {
        self.operation.update(input, out)
    }

    fn finish(&mut self, out: &mut [u8]) -> Result<usize> {
        self.operation.finish(out)
    }

    fn whole(&mut self, input: &[u8], out: &mut [u8]) -> Result<usize> {
        self.operation.whole(input, out)
    }

    fn verify(&mut self, input: Option<&[u8]>, signature: &[u8]) -> Result<()> {
        self.operation.verify(input, signature)
    }

    fn start_message(&mut self, params: Option<&mut MessageParams>, _: &[u8]) -> Result<()> {
        if params.is_some() {
            Err(Code::MechanismParamInvalid)?;
        }
        if !self.operation.restart(&self.params) {
            self.operation = begin(self.row, self.what, &self.params, self.key.as_ref())?;
        }
        Ok(())
    }

    fn restart(&mut self, params: &Params) -> bool {
        let restarted = self.operation.restart(params);
        if restarted && self.params != *params {
            self.params = params.clone();
        }
        restarted
    }
}
