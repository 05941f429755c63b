//! The operation of every authenticated cipher. Nothing that was decrypted is released before the tag is verified: updates
//! only gather, the end gives it all.

use zeroize::Zeroize;

use super::cipher::{bad_length, direction};
use super::messages::SealedMessages;
use crate::crypto::aes::Direction;
use crate::error::{Code, Result};
use crate::token::{MessageParams, Operation, Params, Size, Step, Use};

/// Room for gathered ciphertext that a finished operation keeps for its next message, in bytes.
const KEPT_ROOM: usize = 1 << 16;

/// An algorithm with its key.
pub(super) trait Aead: Send + 'static {
    /// Begins a message. `CKR_MECHANISM_PARAM_INVALID`.
    fn start(&mut self, params: &Params) -> Result<()>;

    /// Begins a message of a message-based operation. `CKR_MECHANISM_PARAM_INVALID`.
    fn start_message(&mut self, message: &MessageParams, aad: &[u8]) -> Result<()>;

    /// Length of the tag in bytes.
    fn tag_len(&self) -> usize;

    /// The longest message, in bytes.
    fn limit(&self) -> u64;

    /// Whether the message has exactly that length, as the parameters announced.
    fn announced(&self) -> bool {
        false
    }

    /// Encrypts the whole message, of which nothing came before; `out` is as long as `input`, `tag` as [`Aead::tag_len`].
    fn seal(&mut self, input: &[u8], out: &mut [u8], tag: &mut [u8]) -> Result<()> {
        self.update(Direction::Encrypt, input, out)?;
        self.tag(tag)
    }

    /// Decrypts the whole message; the codes of [`Aead::check`].
    fn open(&mut self, input: &[u8], tag: &[u8], out: &mut [u8]) -> Result<()> {
        self.update(Direction::Decrypt, input, out)?;
        self.check(tag)
    }

    /// Encrypts or decrypts further bytes; `out` is as long as `input`.
    fn update(&mut self, direction: Direction, input: &[u8], out: &mut [u8]) -> Result<()>;

    /// Ends an encryption; `tag` is as long as [`Aead::tag_len`].
    fn tag(&mut self, tag: &mut [u8]) -> Result<()>;

    /// Ends a decryption: `CKR_ENCRYPTED_DATA_INVALID` unless `tag` is the message's.
    fn check(&mut self, tag: &[u8]) -> Result<()>;
}

/// The operation of any use: one message, or many of them.
pub(super) fn begin_aead<A: Aead>(
    what: Use,
    params: &Params,
    aead: impl FnOnce(Direction) -> Result<A>,
) -> Result<Box<dyn Operation>> {
    let messages = match what {
        Use::MessageEncrypt => Direction::Encrypt,
        Use::MessageDecrypt => Direction::Decrypt,
        _ => {
            let direction = direction(what)?;
            return Ok(Box::new(AeadOperation::new(aead(direction)?, direction, params)?));
        }
    };
    SealedMessages::begin(aead(messages)?, messages, params)
}

struct AeadOperation<A> {
    aead: A,
    direction: Direction,
    /// Bytes encrypted so far.
    done: u64,
    /// In decryption, what updates brought: ciphertext and, at its end, the tag.
    gathered: Vec<u8>,
}

impl<A: Aead> AeadOperation<A> {
    fn new(aead: A, direction: Direction, params: &Params) -> Result<AeadOperation<A>> {
        let mut operation = AeadOperation { aead, direction, done: 0, gathered: Vec::new() };
        operation.start(params)?;
        Ok(operation)
    }

    fn start(&mut self, params: &Params) -> Result<()> {
        self.done = 0;
        self.gathered.clear();
        self.gathered.shrink_to(KEPT_ROOM);
        self.aead.start(params)
    }

    /// The message's length after `input` further bytes; `CKR_DATA_LEN_RANGE` where it may not be so long.
    fn count(&self, input: usize) -> Result<u64> {
        let done = u64::try_from(input).ok().and_then(|input| self.done.checked_add(input));
        Ok(done.filter(|&done| done <= self.aead.limit()).ok_or(Code::DataLenRange)?)
    }

    /// The message ends after `len` bytes of plaintext.
    fn ends(&self, len: u64) -> Result<()> {
        let limit = self.aead.limit();
        let fits = if self.aead.announced() { len == limit } else { len <= limit };
        if fits { Ok(()) } else { Err(bad_length(self.direction).into()) }
    }

    /// Length of the plaintext of `len` bytes of ciphertext and tag.
    fn opened(&self, len: usize) -> Result<usize> {
        let len = len.checked_sub(self.aead.tag_len()).ok_or(Code::EncryptedDataLenRange)?;
        self.ends(len as u64)?;
        Ok(len)
    }

    /// Decrypts a whole message; `out` is wiped where the tag is not the message's.
    fn open(&mut self, message: &[u8], out: &mut [u8]) -> Result<usize> {
        let len = self.opened(message.len())?;
        let (data, tag) = message.split_at_checked(len).ok_or(Code::GeneralError)?;
        let out = out.get_mut(..len).ok_or(Code::GeneralError)?;
        if let Err(e) = self.aead.open(data, tag, out) {
            out.zeroize();
            return Err(e);
        }
        Ok(len)
    }
}

impl<A: Aead> Operation for AeadOperation<A> {
    fn size(&mut self, step: Step, input: usize) -> Result<Size> {
        match (self.direction, step) {
            (Direction::Encrypt, Step::Update) => self.count(input).map(|_| Size::Exactly(input)),
            (Direction::Encrypt, Step::Whole | Step::Finish) => {
                self.ends(self.count(input)?)?;
                Ok(Size::Exactly(input.checked_add(self.aead.tag_len()).ok_or(Code::DataLenRange)?))
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
                self.aead.update(Direction::Encrypt, input, out)?;
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
                self.ends(self.done)?;
                let len = self.aead.tag_len();
                self.aead.tag(out.get_mut(..len).ok_or(Code::GeneralError)?)?;
                Ok(len)
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
                self.done = self.count(input.len())?;
                self.ends(self.done)?;
                let tag_len = self.aead.tag_len();
                let (out, rest) = out.split_at_mut_checked(input.len()).ok_or(Code::GeneralError)?;
                self.aead.seal(input, out, rest.get_mut(..tag_len).ok_or(Code::GeneralError)?)?;
                Ok(input.len() + tag_len)
            }
            Direction::Decrypt => self.open(input, out),
        }
    }

    fn restart(&mut self, params: &Params) -> bool {
        self.start(params).is_ok()
    }
}
