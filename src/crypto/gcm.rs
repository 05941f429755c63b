//! AES-GCM (SP 800-38D), by AWS-LC; in the pure-Rust build by the `aes` and `ghash` crates. The key's schedule and GHASH
//! table are made once.

use super::aes::Direction;
#[cfg(feature = "aws-lc")]
use super::aws::gcm as library;
#[cfg(not(feature = "aws-lc"))]
use super::rust::gcm as library;
use crate::error::{Code, Result};

/// The longest tag, in bytes.
pub const MAX_TAG: usize = 16;

/// SP 800-38D, 5.2.1.1: 2^39 - 256 bits of plaintext.
pub const MAX_DATA: u64 = (1 << 36) - 32;

/// A key's schedule and GHASH table, to be copied into each new [`Gcm`].
pub struct GcmKey(library::Key);

impl GcmKey {
    /// `key` of 16, 24 or 32 bytes; `CKR_KEY_SIZE_RANGE`.
    pub fn new(key: &[u8]) -> Result<GcmKey> {
        if !matches!(key.len(), 16 | 24 | 32) {
            return Err(Code::KeySizeRange.into());
        }
        Ok(GcmKey(library::Key::new(key).map_err(|_| Code::HostMemory)?))
    }

    /// An operation under this key.
    pub fn begin(&self, direction: Direction) -> Result<Gcm> {
        Ok(Gcm { message: self.0.begin(direction).map_err(|_| Code::HostMemory)?, done: 0 })
    }
}

/// One key in one direction, for one message after the other: `start`, `update`s, then `tag` or `check`.
pub struct Gcm {
    message: library::Message,
    done: u64,
}

impl Gcm {
    /// Begins a message. `CKR_MECHANISM_PARAM_INVALID` where the IV is empty or longer than 2^31 - 1 bytes.
    pub fn start(&mut self, iv: &[u8], aad: &[u8]) -> Result<()> {
        acceptable(iv)?;
        self.done = 0;
        self.message.start(iv).map_err(|_| Code::GeneralError)?;
        self.authenticate(aad)
    }

    /// A whole message at once, whatever was started; writes the leading bytes of its tag, 1 to 16. `out` is as long as `input`.
    /// The codes of `start`, `update` and `tag`.
    pub fn seal(&mut self, iv: &[u8], aad: &[u8], input: &[u8], out: &mut [u8], tag: &mut [u8]) -> Result<()> {
        possible(tag)?;
        acceptable(iv)?;
        if input.len() as u64 > MAX_DATA {
            return Err(Code::DataLenRange.into());
        }
        let whole = self.message.seal(iv, aad, input, out).map_err(|_| Code::GeneralError)?;
        tag.iter_mut().zip(whole).for_each(|(to, from)| *to = from);
        Ok(())
    }

    /// The reverse. `CKR_ENCRYPTED_DATA_INVALID` unless `tag`, of 1 to 16 bytes, is the message's.
    pub fn open(&mut self, iv: &[u8], aad: &[u8], input: &[u8], tag: &[u8], out: &mut [u8]) -> Result<()> {
        let Ok(whole) = tag.try_into() else {
            self.start(iv, aad)?;
            self.update(input, out)?;
            return self.check(tag);
        };
        acceptable(iv)?;
        if input.len() as u64 > MAX_DATA {
            return Err(Code::DataLenRange.into());
        }
        Ok(self.message.open(iv, aad, input, whole, out).map_err(|_| Code::EncryptedDataInvalid)?)
    }

    /// Further additional data, while no other data has come.
    pub fn authenticate(&mut self, aad: &[u8]) -> Result<()> {
        Ok(self.message.authenticate(aad).map_err(|_| Code::GeneralError)?)
    }

    /// Encrypts or decrypts further bytes; `out` is as long as `input`. What is decrypted is not yet authentic.
    /// `CKR_DATA_LEN_RANGE` beyond [`MAX_DATA`] bytes in a message.
    pub fn update(&mut self, input: &[u8], out: &mut [u8]) -> Result<()> {
        self.done = self.done.saturating_add(input.len() as u64);
        if self.done > MAX_DATA {
            return Err(Code::DataLenRange.into());
        }
        Ok(self.message.update(input, out).map_err(|_| Code::GeneralError)?)
    }

    /// Ends an encryption: the leading bytes of the tag, 1 to 16.
    pub fn tag(&mut self, tag: &mut [u8]) -> Result<()> {
        possible(tag)?;
        Ok(self.message.tag(tag).map_err(|_| Code::GeneralError)?)
    }

    /// Ends a decryption: `CKR_ENCRYPTED_DATA_INVALID` unless `tag`, of 1 to 16 bytes, is the message's. The comparison
    /// takes constant time.
    pub fn check(&mut self, tag: &[u8]) -> Result<()> {
        possible(tag)?;
        Ok(self.message.check(tag).map_err(|_| Code::EncryptedDataInvalid)?)
    }
}

/// `CKR_MECHANISM_PARAM_INVALID` where the IV is empty or longer than 2^31 - 1 bytes.
pub fn acceptable(iv: &[u8]) -> Result<()> {
    let good = !iv.is_empty() && i32::try_from(iv.len()).is_ok();
    if good { Ok(()) } else { Err(Code::MechanismParamInvalid.into()) }
}

fn possible(tag: &[u8]) -> Result<()> {
    if (1..=MAX_TAG).contains(&tag.len()) { Ok(()) } else { Err(Code::GeneralError.into()) }
}
