//! AES (PKCS#11 3.2, "AES" to "AES Key Wrap"): the rows, and what each begins.

pub(super) mod gcm;
mod stealing;
mod stream;
mod wrap;

use std::sync::Arc;

use cryptoki_sys::*;

use super::cipher::*;
use super::key::Key;
use super::mac::{self, Length};
use super::messages::MESSAGES;
use super::secret_key::SecretKey;
use super::table::{Does, NOTHING, Offer, ParamKind, Row};
use crate::crypto::aes::{BLOCK, Feedback};
use crate::crypto::cmac::BlockMac;
use crate::crypto::keywrap::{KW_IV, KWP_IV, SEMIBLOCK};
use crate::error::{Code, Result};
use crate::token::{Operation, Params, Use};

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
const GENERATE: Does = Does { generate: Some(generate_16_24_32), ..NOTHING };

const GENERATE_XTS: Does = Does { generate: Some(stealing::generate_xts), ..NOTHING };

pub const ROWS: &[Row] = &[
    row!(CKM_AES_KEY_GEN, CKF_GENERATE, ParamKind::None, true, GENERATE),
    row!(CKM_AES_ECB, CIPHER, ParamKind::None, true, whole_blocks(begin_ecb, BLOCK)),
    row!(CKM_AES_CBC, CIPHER, IV, true, whole_blocks(begin_cbc, BLOCK)),
    row!(CKM_AES_CBC_PAD, CIPHER, IV, true, begins(begin_cbc_pad)),
    row!(CKM_AES_CTR, CIPHER, ParamKind::Ctr, true, begins(begin_ctr)),
    row!(CKM_AES_OFB, CIPHER, IV, true, begins(begin_stream)),
    row!(CKM_AES_CFB1, CIPHER, IV, true, begins(begin_stream)),
    row!(CKM_AES_CFB8, CIPHER, IV, true, begins(begin_stream)),
    // Not among the segment sizes of SP 800-38A that are validated.
    row!(CKM_AES_CFB64, CIPHER, IV, false, begins(begin_stream)),
    row!(CKM_AES_CFB128, CIPHER, IV, true, begins(begin_stream)),
    row!(CKM_AES_GCM, CIPHER | MESSAGES, ParamKind::Gcm, true, begins(gcm::begin)),
    row!(CKM_AES_CCM, CIPHER | MESSAGES, ParamKind::Ccm, true, begins(gcm::begin_ccm)),
    row!(CKM_AES_CTS, CIPHER, IV, true, begins(stealing::begin_cts)),
    Row {
        keys: &[CKK_AES_XTS],
        size: stealing::XTS_SIZE,
        ..row!(CKM_AES_XTS, CIPHER, IV, true, begins(stealing::begin_xts))
    },
    Row {
        keys: &[CKK_AES_XTS],
        size: stealing::XTS_SIZE,
        ..row!(CKM_AES_XTS_KEY_GEN, CKF_GENERATE, ParamKind::None, true, GENERATE_XTS)
    },
    row!(CKM_AES_GMAC, MAC, ParamKind::Gcm, true, begins(gcm::begin_gmac)),
    row!(CKM_AES_CMAC, MAC, ParamKind::None, true, begins(begin_cmac)),
    row!(CKM_AES_CMAC_GENERAL, MAC, ParamKind::MacLength, true, begins(begin_cmac)),
    row!(CKM_AES_MAC, MAC, ParamKind::None, false, begins(begin_mac)),
    row!(CKM_AES_MAC_GENERAL, MAC, ParamKind::MacLength, false, begins(begin_mac)),
    Row { size: (16, 16), ..row!(CKM_AES_XCBC_MAC, MAC, ParamKind::None, false, begins(begin_xcbc)) },
    Row { size: (16, 16), ..row!(CKM_AES_XCBC_MAC_96, MAC, ParamKind::None, false, begins(begin_xcbc)) },
    row!(CKM_AES_KEY_WRAP, CIPHER, ParamKind::OptionalIv(SEMIBLOCK), true, whole_blocks(begin_wrap, SEMIBLOCK)),
    // Deprecated, and said of it nothing more: what the field makes of it is KWP.
    row!(CKM_AES_KEY_WRAP_PAD, CIPHER, ParamKind::OptionalIv(KWP_IV.len()), true, begins(begin_wrap)),
    row!(CKM_AES_KEY_WRAP_KWP, CIPHER, ParamKind::OptionalIv(KWP_IV.len()), true, begins(begin_wrap)),
    row!(CKM_AES_KEY_WRAP_PKCS7, CIPHER, ParamKind::OptionalIv(SEMIBLOCK), true, begins(begin_wrap)),
    row!(CKM_AES_ECB_ENCRYPT_DATA, CKF_DERIVE, ParamKind::Data, false, ENCRYPT_DATA),
    row!(CKM_AES_CBC_ENCRYPT_DATA, CKF_DERIVE, ParamKind::CbcData(BLOCK), false, ENCRYPT_DATA),
];

/// As [`iv`], or without a parameter the standard's own value.
fn iv_or<const N: usize>(params: &Params, standard: [u8; N]) -> Result<[u8; N]> {
    if *params == Params::None { Ok(standard) } else { iv(params) }
}

fn begin_stream(row: &'static Row, what: Use, params: &Params, key: Option<&Arc<Key>>) -> Result<Box<dyn Operation>> {
    let mode = match row.ty {
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

fn begin_xcbc(row: &'static Row, what: Use, params: &Params, key: Option<&Arc<Key>>) -> Result<Box<dyn Operation>> {
    let (key, subkeys) = SecretKey::of(key)?.xcbc()?;
    let len = if row.ty == CKM_AES_XCBC_MAC_96 { 96 / 8 } else { BLOCK };
    mac::begin_mac(BlockMac::new(key, subkeys), Length::of(row, len), what, params)
}

#[cfg(test)]
mod tests;
