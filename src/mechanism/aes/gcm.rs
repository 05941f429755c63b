//! GCM and CCM, and GMAC, which is GCM over additional data alone.

use std::sync::Arc;

use super::super::aead::{Aead, begin_aead};
use super::super::key::Key;
use super::super::mac::{self, Length, Mac};
use super::super::secret_key::SecretKey;
use super::super::table::Row;
use crate::crypto::aes::Direction;
use crate::crypto::ccm::Ccm;
use crate::crypto::digest::MAX_LEN;
use crate::crypto::gcm::{Gcm, MAX_DATA, MAX_TAG, acceptable};
use crate::error::{Code, Error, Result};
use crate::token::{Bytes, MessageParams, Operation, Params, Use};

pub(super) fn begin(_: &'static Row, what: Use, params: &Params, key: Option<&Arc<Key>>) -> Result<Box<dyn Operation>> {
    let key = SecretKey::of(key)?.gcm()?;
    begin_aead(what, params, |direction| Ok(GcmAead { cipher: key.begin(direction)?, tag_len: 0, waiting: None }))
}

pub(super) fn begin_ccm(
    _: &'static Row,
    what: Use,
    params: &Params,
    key: Option<&Arc<Key>>,
) -> Result<Box<dyn Operation>> {
    let cipher = Ccm::new(SecretKey::of(key)?.aes()?);
    begin_aead(what, params, |_| Ok(CcmAead { cipher, len: 0, tag_len: 0 }))
}

pub(super) fn begin_gmac(
    _: &'static Row,
    what: Use,
    params: &Params,
    key: Option<&Arc<Key>>,
) -> Result<Box<dyn Operation>> {
    let mut gmac = Gmac { cipher: SecretKey::of(key)?.gcm()?.begin(Direction::Encrypt)?, failed: None };
    gmac.start(params)?;
    mac::begin_mac(gmac, Length::Tag, what, params)
}

/// In bytes. `CKR_MECHANISM_PARAM_INVALID` unless the tag has whole bytes, 4 to 16. The specification lets shorter tags be
/// asked for; they protect nothing.
pub(in crate::mechanism) fn tag_len(tag_bits: u64) -> Result<usize> {
    match tag_bits {
        32..=128 if tag_bits.is_multiple_of(8) => Ok((tag_bits / 8) as usize),
        _ => Err(Code::MechanismParamInvalid.into()),
    }
}

struct GcmAead {
    cipher: Gcm,
    tag_len: usize,
    /// IV and additional data of a message that is not begun: one that comes whole is done in one call of the library.
    waiting: Option<(Bytes, Bytes)>,
}

impl GcmAead {
    fn begun(&mut self) -> Result<&mut Gcm> {
        if let Some((iv, aad)) = self.waiting.take() {
            self.cipher.start(&iv, &aad)?;
        }
        Ok(&mut self.cipher)
    }
}

impl Aead for GcmAead {
    /// Also where the IV has not 1 to 2^31 - 1 bytes.
    fn start(&mut self, params: &Params) -> Result<()> {
        let Params::Gcm { iv, aad, tag_bits } = params else { return Err(Code::MechanismParamInvalid.into()) };
        self.tag_len = tag_len(*tag_bits)?;
        acceptable(iv)?;
        self.waiting = Some((iv.clone(), aad.clone()));
        Ok(())
    }

    fn start_message(&mut self, message: &MessageParams, aad: &[u8]) -> Result<()> {
        self.tag_len = tag_len(8 * message.tag_len as u64)?;
        self.waiting = None;
        self.cipher.start(&message.iv, aad)
    }

    fn tag_len(&self) -> usize {
        self.tag_len
    }

    fn limit(&self) -> u64 {
        MAX_DATA
    }

    fn seal(&mut self, input: &[u8], out: &mut [u8], tag: &mut [u8]) -> Result<()> {
        match self.waiting.take() {
            Some((iv, aad)) => self.cipher.seal(&iv, &aad, input, out, tag),
            None => {
                self.cipher.update(input, out)?;
                self.cipher.tag(tag)
            }
        }
    }

    fn open(&mut self, input: &[u8], tag: &[u8], out: &mut [u8]) -> Result<()> {
        match self.waiting.take() {
            Some((iv, aad)) => self.cipher.open(&iv, &aad, input, tag, out),
            None => {
                self.cipher.update(input, out)?;
                self.cipher.check(tag)
            }
        }
    }

    fn update(&mut self, _: Direction, input: &[u8], out: &mut [u8]) -> Result<()> {
        self.begun()?.update(input, out)
    }

    fn tag(&mut self, tag: &mut [u8]) -> Result<()> {
        self.begun()?.tag(tag)
    }

    fn check(&mut self, tag: &[u8]) -> Result<()> {
        self.begun()?.check(tag)
    }
}

struct CcmAead {
    cipher: Ccm,
    len: u64,
    tag_len: usize,
}

impl Aead for CcmAead {
    fn start(&mut self, params: &Params) -> Result<()> {
        let Params::Ccm { data_len, nonce, aad, mac_len } = params else {
            return Err(Code::MechanismParamInvalid.into());
        };
        self.len = *data_len;
        self.tag_len = usize::try_from(*mac_len).map_err(|_| Code::MechanismParamInvalid)?;
        self.cipher.start(nonce, aad, self.len, self.tag_len)
    }

    fn start_message(&mut self, message: &MessageParams, aad: &[u8]) -> Result<()> {
        self.len = message.data_len.ok_or(Code::MechanismParamInvalid)?;
        self.tag_len = message.tag_len;
        self.cipher.start(&message.iv, aad, self.len, self.tag_len)
    }

    fn tag_len(&self) -> usize {
        self.tag_len
    }

    fn limit(&self) -> u64 {
        self.len
    }

    fn announced(&self) -> bool {
        true
    }

    fn update(&mut self, direction: Direction, input: &[u8], out: &mut [u8]) -> Result<()> {
        self.cipher.update(direction, input, out)
    }

    fn tag(&mut self, tag: &mut [u8]) -> Result<()> {
        self.cipher.tag(tag)
    }

    fn check(&mut self, tag: &[u8]) -> Result<()> {
        self.cipher.check(tag)
    }
}

struct Gmac {
    cipher: Gcm,
    failed: Option<Error>,
}

impl Mac for Gmac {
    /// The data is what is signed: the parameters must hold none.
    fn start(&mut self, params: &Params) -> Result<()> {
        let Params::Gcm { iv, aad, .. } = params else { return Err(Code::MechanismParamInvalid.into()) };
        if !aad.is_empty() {
            return Err(Code::MechanismParamInvalid.because("GMAC takes its data in C_Sign, not as pAAD"));
        }
        self.failed = None;
        self.cipher.start(iv, &[])
    }

    fn update(&mut self, data: &[u8]) {
        self.failed = self.failed.take().or(self.cipher.authenticate(data).err());
    }

    fn finish(&mut self, out: &mut [u8; MAX_LEN]) {
        let tag = out.get_mut(..MAX_TAG).unwrap_or_default();
        self.failed = self.failed.take().or(self.cipher.tag(tag).err());
    }

    /// A new message needs a new IV: there is none before [`Mac::start`].
    fn reset(&mut self) {
        self.failed = Some(Code::OperationNotInitialized.into());
    }

    fn failed(&mut self) -> Option<Error> {
        self.failed.take()
    }
}
