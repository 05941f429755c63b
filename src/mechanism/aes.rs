//! AES (PKCS#11 3.2, "AES" to "AES Key Wrap"): the rows, and what each begins.

mod block;
mod gcm;
mod stream;
mod wrap;

use std::sync::Arc;

use cryptoki_sys::*;

use super::generic::{generate_value, leading};
use super::key::Key;
use super::mac::{self, Length, Mac};
use super::secret_key::SecretKey;
use super::table::{Begin, Derivation, Does, NOTHING, Offer, ParamKind, Row};
use crate::crypto::aes::{BLOCK, Block, Direction, Feedback};
use crate::crypto::cmac::{BlockMac, Subkeys};
use crate::crypto::digest::MAX_LEN;
use crate::crypto::keywrap::{KW_IV, KWP_IV, SEMIBLOCK};
use crate::error::{Code, Result};
use crate::object::Attributes;
use crate::secret::SecretBytes;
use crate::token::{Attribute, Operation, Params, Use};

const CIPHER: CK_FLAGS = CKF_ENCRYPT | CKF_DECRYPT | CKF_WRAP | CKF_UNWRAP;
const MESSAGES: CK_FLAGS = CKF_MESSAGE_ENCRYPT | CKF_MESSAGE_DECRYPT | CKF_MULTI_MESSAGE;
const MAC: CK_FLAGS = CKF_SIGN | CKF_VERIFY;

macro_rules! row {
    ($ty:ident, $flags:expr, $params:expr, $approved:expr, $does:expr) => {
        Row {
            ty: $ty,
            name: stringify!($ty),
            keys: &[CKK_AES],
            size: (16, 32),
            flags: $flags,
            params: $params,
            offer: Offer::On,
            approved: $approved,
            hash: None,
            does: $does,
        }
    };
}

const IV: ParamKind = ParamKind::Iv(BLOCK);
const GENERATE: Does = Does { generate: Some(generate), ..NOTHING };
const DERIVE: Does = Does { derive: Some(encrypt_data), ..NOTHING };

const fn begins(begin: Begin) -> Does {
    Does { begin: Some(begin), ..NOTHING }
}

pub const ROWS: &[Row] = &[
    row!(CKM_AES_KEY_GEN, CKF_GENERATE, ParamKind::None, true, GENERATE),
    row!(CKM_AES_ECB, CIPHER, ParamKind::None, true, begins(begin_block)),
    row!(CKM_AES_CBC, CIPHER, IV, true, begins(begin_block)),
    row!(CKM_AES_CBC_PAD, CIPHER, IV, true, begins(begin_block)),
    row!(CKM_AES_CTR, CIPHER, ParamKind::Ctr, true, begins(begin_stream)),
    row!(CKM_AES_OFB, CIPHER, IV, true, begins(begin_stream)),
    row!(CKM_AES_CFB1, CIPHER, IV, true, begins(begin_stream)),
    row!(CKM_AES_CFB8, CIPHER, IV, true, begins(begin_stream)),
    // Not among the segment sizes of SP 800-38A that are validated.
    row!(CKM_AES_CFB64, CIPHER, IV, false, begins(begin_stream)),
    row!(CKM_AES_CFB128, CIPHER, IV, true, begins(begin_stream)),
    row!(CKM_AES_GCM, CIPHER | MESSAGES, ParamKind::Gcm, true, begins(gcm::begin)),
    row!(CKM_AES_CMAC, MAC, ParamKind::None, true, begins(begin_mac)),
    row!(CKM_AES_CMAC_GENERAL, MAC, ParamKind::MacLength, true, begins(begin_mac)),
    row!(CKM_AES_MAC, MAC, ParamKind::None, false, begins(begin_mac)),
    row!(CKM_AES_MAC_GENERAL, MAC, ParamKind::MacLength, false, begins(begin_mac)),
    Row { size: (16, 16), ..row!(CKM_AES_XCBC_MAC, MAC, ParamKind::None, false, begins(begin_mac)) },
    Row { size: (16, 16), ..row!(CKM_AES_XCBC_MAC_96, MAC, ParamKind::None, false, begins(begin_mac)) },
    row!(CKM_AES_KEY_WRAP, CIPHER, ParamKind::OptionalIv(SEMIBLOCK), true, begins(begin_wrap)),
    // Deprecated, and said of it nothing more: what the field makes of it is KWP.
    row!(CKM_AES_KEY_WRAP_PAD, CIPHER, ParamKind::OptionalIv(KWP_IV.len()), true, begins(begin_wrap)),
    row!(CKM_AES_KEY_WRAP_KWP, CIPHER, ParamKind::OptionalIv(KWP_IV.len()), true, begins(begin_wrap)),
    row!(CKM_AES_KEY_WRAP_PKCS7, CIPHER, ParamKind::OptionalIv(SEMIBLOCK), true, begins(begin_wrap)),
    row!(CKM_AES_ECB_ENCRYPT_DATA, CKF_DERIVE, ParamKind::Data, false, DERIVE),
    row!(CKM_AES_CBC_ENCRYPT_DATA, CKF_DERIVE, ParamKind::CbcData, false, DERIVE),
];

/// To a multiple of how many bytes `C_WrapKey` fills up with zeros the value that it gives to `ty`; 1 where the mechanism
/// takes any length. (As a cipher, such a mechanism refuses other lengths.)
pub fn wrap_multiple(ty: CK_MECHANISM_TYPE) -> usize {
    match ty {
        CKM_AES_ECB | CKM_AES_CBC => BLOCK,
        CKM_AES_KEY_WRAP => SEMIBLOCK,
        _ => 1,
    }
}

/// A fresh key of 16, 24 or 32 bytes.
fn generate(_: &'static Row, _: &Params, template: &Attributes) -> Result<Vec<Attribute>> {
    generate_value(template, |len| matches!(len, 16 | 24 | 32))
}

/// Encryption and wrapping, or the way back; `CKR_MECHANISM_INVALID` for another use.
fn direction(what: Use) -> Result<Direction> {
    match what {
        Use::Encrypt => Ok(Direction::Encrypt),
        Use::Decrypt => Ok(Direction::Decrypt),
        _ => Err(Code::MechanismInvalid.into()),
    }
}

/// The code for a length of input that the mechanism does not take.
fn bad_length(direction: Direction) -> Code {
    match direction {
        Direction::Encrypt => Code::DataLenRange,
        Direction::Decrypt => Code::EncryptedDataLenRange,
    }
}

/// An IV of exactly `N` bytes; `CKR_MECHANISM_PARAM_INVALID`.
fn iv<const N: usize>(params: &Params) -> Result<[u8; N]> {
    match params {
        Params::Iv(iv) => Ok(iv.as_slice().try_into().map_err(|_| Code::MechanismParamInvalid)?),
        _ => Err(Code::MechanismParamInvalid.into()),
    }
}

/// As [`iv`], or without a parameter the standard's own value.
fn iv_or<const N: usize>(params: &Params, standard: [u8; N]) -> Result<[u8; N]> {
    if *params == Params::None { Ok(standard) } else { iv(params) }
}

fn begin_block(row: &'static Row, what: Use, params: &Params, key: Option<&Arc<Key>>) -> Result<Box<dyn Operation>> {
    let mode = match row.ty {
        CKM_AES_ECB => block::Mode::Ecb,
        CKM_AES_CBC => block::Mode::Cbc,
        CKM_AES_CBC_PAD => block::Mode::CbcPad,
        _ => return Err(Code::GeneralError.into()),
    };
    Ok(Box::new(block::BlockOperation::new(SecretKey::of(key)?.aes()?, mode, direction(what)?, params)?))
}

fn begin_stream(row: &'static Row, what: Use, params: &Params, key: Option<&Arc<Key>>) -> Result<Box<dyn Operation>> {
    let mode = match row.ty {
        CKM_AES_CTR => stream::Mode::Counter,
        CKM_AES_OFB => stream::Mode::Feedback(Feedback::Ofb),
        CKM_AES_CFB1 => stream::Mode::Bitwise,
        CKM_AES_CFB8 => stream::Mode::Feedback(Feedback::Cfb(1)),
        CKM_AES_CFB64 => stream::Mode::Feedback(Feedback::Cfb(8)),
        CKM_AES_CFB128 => stream::Mode::Feedback(Feedback::Cfb(BLOCK)),
        _ => return Err(Code::GeneralError.into()),
    };
    Ok(Box::new(stream::StreamOperation::new(SecretKey::of(key)?.aes()?, mode, direction(what)?, params)?))
}

fn begin_wrap(row: &'static Row, what: Use, params: &Params, key: Option<&Arc<Key>>) -> Result<Box<dyn Operation>> {
    let scheme = match row.ty {
        CKM_AES_KEY_WRAP => wrap::Scheme::Plain(iv_or(params, KW_IV)?),
        CKM_AES_KEY_WRAP_PKCS7 => wrap::Scheme::Pkcs7(iv_or(params, KW_IV)?),
        CKM_AES_KEY_WRAP_KWP | CKM_AES_KEY_WRAP_PAD => wrap::Scheme::Padded(iv_or(params, KWP_IV)?),
        _ => return Err(Code::GeneralError.into()),
    };
    Ok(Box::new(wrap::WrapOperation::new(SecretKey::of(key)?.aes()?, scheme, direction(what)?)))
}

fn begin_mac(row: &'static Row, what: Use, params: &Params, key: Option<&Arc<Key>>) -> Result<Box<dyn Operation>> {
    let key = SecretKey::of(key)?;
    let ((aes, subkeys), full) = match row.ty {
        CKM_AES_CMAC | CKM_AES_CMAC_GENERAL => (key.cmac()?, BLOCK),
        CKM_AES_MAC => ((key.aes()?, Arc::new(Subkeys::none())), BLOCK / 2),
        CKM_AES_MAC_GENERAL => ((key.aes()?, Arc::new(Subkeys::none())), BLOCK),
        CKM_AES_XCBC_MAC => (key.xcbc()?, BLOCK),
        CKM_AES_XCBC_MAC_96 => (key.xcbc()?, 96 / 8),
        _ => return Err(Code::GeneralError.into()),
    };
    mac::begin_mac(BlockMac::new(aes, subkeys), Length::of(row, full), what, params)
}

impl Mac for BlockMac {
    fn update(&mut self, data: &[u8]) {
        BlockMac::update(self, data);
    }

    fn finish(&mut self, out: &mut [u8; MAX_LEN]) {
        for (to, from) in out.iter_mut().zip(BlockMac::finish(self).iter()) {
            *to = *from;
        }
    }

    fn reset(&mut self) {
        BlockMac::reset(self);
    }
}

/// "Key derivation by data encryption": the leading bytes of the data's encryption. `CKR_MECHANISM_PARAM_INVALID` unless the
/// data is whole blocks, `CKR_DATA_LEN_RANGE` where they are fewer than the key wanted.
fn encrypt_data(from: &Derivation<'_>) -> Result<SecretBytes> {
    let key = SecretKey::of(Some(from.base))?.aes()?;
    let (chain, data): (Option<Block>, &[u8]) = match from.params {
        Params::Data(data) => (None, data),
        Params::CbcData { iv, data } => (Some(*iv), data),
        _ => return Err(Code::MechanismParamInvalid.into()),
    };
    if data.is_empty() || !data.len().is_multiple_of(BLOCK) {
        return Err(Code::MechanismParamInvalid.into());
    }
    let mut out = SecretBytes::zeroed(data.len());
    match chain {
        None => key.ecb(Direction::Encrypt, data, out.expose_mut())?,
        Some(mut chain) => key.cbc(Direction::Encrypt, &mut chain, data, out.expose_mut())?,
    }
    leading(out.expose(), from.length).map_err(|e| e.recode(Code::DataLenRange))
}

#[cfg(test)]
mod tests;
