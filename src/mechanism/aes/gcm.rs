//! GCM and CCM, and GMAC, which is GCM over additional data alone.

use std::sync::Arc;

use super::super::aead::{Aead, AeadOperation};
use super::super::cipher::direction;
use super::super::key::Key;
use super::super::mac::{self, Length, Mac};
use super::super::messages::{self, SealedMessages};
use super::super::secret_key::SecretKey;
use super::super::table::Row;
use crate::crypto::aes::Direction;
use crate::crypto::ccm::Ccm;
use crate::crypto::digest::MAX_LEN;
use crate::crypto::gcm::{Gcm, MAX_DATA, MAX_TAG};
use crate::error::{Code, Error, Result};
use crate::token::{MessageParams, Operation, Params, Use};

pub(super) fn begin(_: &'static Row, what: Use, params: &Params, key: Option<&Arc<Key>>) -> Result<Box<dyn Operation>> {
    let messages = match what {
        Use::MessageEncrypt => Some(Direction::Encrypt),
        Use::MessageDecrypt => Some(Direction::Decrypt),
        _ => None,
    };
    let key = SecretKey::of(key)?.gcm()?;
    if let Some(direction) = messages {
        return SealedMessages::begin(key.begin(direction)?, direction, params);
    }
    let direction = direction(what)?;
    let cipher = key.begin(direction)?;
    Ok(Box::new(AeadOperation::new(GcmAead { cipher, tag_len: 0 }, direction, params)?))
}

pub(super) fn begin_ccm(
    _: &'static Row,
    what: Use,
    params: &Params,
    key: Option<&Arc<Key>>,
) -> Result<Box<dyn Operation>> {
    let direction = direction(what)?;
    let cipher = Ccm::new(SecretKey::of(key)?.aes()?);
    Ok(Box::new(AeadOperation::new(CcmAead { cipher, len: 0, tag_len: 0 }, direction, params)?))
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

/// The specification lets shorter tags be asked for; they protect nothing.
const TAG_LENGTHS: std::ops::RangeInclusive<usize> = 4..=16;

impl messages::Aead for Gcm {
    fn start(&mut self, params: &MessageParams, aad: &[u8]) -> Result<()> {
        if !TAG_LENGTHS.contains(&params.tag_len) {
            Err(Code::MechanismParamInvalid)?;
        }
        Gcm::start(self, &params.iv, aad)
    }

    fn update(&mut self, input: &[u8], out: &mut [u8]) -> Result<()> {
        Gcm::update(self, input, out)
    }

    fn seal(&mut self, tag: &mut [u8]) -> Result<()> {
        self.tag(tag)
    }

    fn check(&mut self, tag: &[u8]) -> Result<()> {
        Gcm::check(self, tag)
    }
}

struct GcmAead {
    cipher: Gcm,
    tag_len: usize,
}

impl Aead for GcmAead {
    /// Also where the IV has not 1 to 2^31 - 1 bytes.
    fn start(&mut self, params: &Params) -> Result<()> {
        let Params::Gcm { iv, aad, tag_bits } = params else { return Err(Code::MechanismParamInvalid.into()) };
        self.tag_len = tag_len(*tag_bits)?;
        self.cipher.start(iv, aad)
    }

    fn tag_len(&self) -> usize {
        self.tag_len
    }

    fn limit(&self) -> u64 {
        MAX_DATA
    }

    fn update(&mut self, _: Direction, input: &[u8], out: &mut [u8]) -> Result<()> {
        self.cipher.update(input, out)
    }

    fn tag(&mut self, tag: &mut [u8]) -> Result<()> {
        self.cipher.tag(tag)
    }

    fn check(&mut self, tag: &[u8]) -> Result<()> {
        self.cipher.check(tag)
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
