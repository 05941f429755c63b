//! What every block cipher has in common: the modes and MACs that PKCS#11 gives each of them, and the rows of all but AES
//! (PKCS#11 3.2, "Double and Triple-length DES" and its CMAC, "Camellia", "ARIA", "SEED", and the derivations by data
//! encryption of each).

pub(super) mod block;
mod counter;

use std::sync::Arc;

use cryptoki_sys::*;

use super::generic::{generate_fixed, generate_value, leading};
use super::key::Key;
use super::mac::{self, Length, Mac};
use super::secret_key::SecretKey;
use super::table::{Begin, Derivation, Does, NOTHING, Offer, ParamKind, Row};
use crate::crypto::block::{Block, Cipher, Direction, MAX_BLOCK};
use crate::crypto::cmac::{BlockMac, Subkeys};
use crate::crypto::digest::MAX_LEN;
use crate::error::{Code, Result};
use crate::object::Attributes;
use crate::secret::SecretBytes;
use crate::token::{Attribute, Operation, Params, Use};

pub(super) const CIPHER: CK_FLAGS = CKF_ENCRYPT | CKF_DECRYPT | CKF_WRAP | CKF_UNWRAP;
pub(super) const MAC: CK_FLAGS = CKF_SIGN | CKF_VERIFY;

/// What the rows of a cipher share.
struct Family {
    keys: &'static [CK_KEY_TYPE],
    /// Lengths of the keys in bytes, the unit of all these mechanisms.
    size: (u64, u64),
    offer: Offer,
    block: usize,
}

const DES: Family = Family { keys: &[CKK_DES], size: (8, 8), offer: Offer::Legacy, block: 8 };
/// "Double-length DES keys can be used with all the same mechanisms as triple-DES keys."
const DES3: Family = Family { keys: &[CKK_DES3, CKK_DES2], size: (16, 24), offer: Offer::Legacy, block: 8 };
const DES2_KEY: Family = Family { keys: &[CKK_DES2], size: (16, 16), ..DES3 };
const DES3_KEY: Family = Family { keys: &[CKK_DES3], size: (24, 24), ..DES3 };
const CAMELLIA: Family = Family { keys: &[CKK_CAMELLIA], size: (16, 32), offer: Offer::On, block: 16 };
const ARIA: Family = Family { keys: &[CKK_ARIA], ..CAMELLIA };
const SEED: Family = Family { keys: &[CKK_SEED], size: (16, 16), offer: Offer::Legacy, block: 16 };

impl Family {
    const fn row(&self, ty: CK_MECHANISM_TYPE, name: &'static str) -> Row {
        Row {
            ty,
            name,
            keys: self.keys,
            size: self.size,
            flags: CIPHER,
            params: ParamKind::None,
            offer: self.offer,
            // Of these only triple DES ever was; SP 800-131A r2 ended its use with 2023.
            approved: false,
            hash: None,
            does: NOTHING,
        }
    }

    /// A key of one length, or of 16, 24 or 32 bytes.
    const fn key_gen(&self, ty: CK_MECHANISM_TYPE, name: &'static str) -> Row {
        let generate = if self.size.0 == self.size.1 { generate_fixed } else { generate_16_24_32 };
        Row { flags: CKF_GENERATE, does: Does { generate: Some(generate), ..NOTHING }, ..self.row(ty, name) }
    }

    const fn ecb(&self, ty: CK_MECHANISM_TYPE, name: &'static str) -> Row {
        Row { does: whole_blocks(begin_ecb, self.block), ..self.row(ty, name) }
    }

    const fn cbc(&self, ty: CK_MECHANISM_TYPE, name: &'static str) -> Row {
        Row { params: ParamKind::Iv(self.block), does: whole_blocks(begin_cbc, self.block), ..self.row(ty, name) }
    }

    const fn cbc_pad(&self, ty: CK_MECHANISM_TYPE, name: &'static str) -> Row {
        Row { params: ParamKind::Iv(self.block), does: begins(begin_cbc_pad), ..self.row(ty, name) }
    }

    const fn ctr(&self, ty: CK_MECHANISM_TYPE, name: &'static str) -> Row {
        Row { params: ParamKind::Ctr, does: begins(begin_ctr), ..self.row(ty, name) }
    }

    const fn mac(&self, ty: CK_MECHANISM_TYPE, name: &'static str) -> Row {
        Row { flags: MAC, does: begins(begin_mac), ..self.row(ty, name) }
    }

    const fn mac_general(&self, ty: CK_MECHANISM_TYPE, name: &'static str) -> Row {
        Row { params: ParamKind::MacLength, ..self.mac(ty, name) }
    }

    const fn cmac(&self, ty: CK_MECHANISM_TYPE, name: &'static str) -> Row {
        Row { does: begins(begin_cmac), ..self.mac(ty, name) }
    }

    const fn cmac_general(&self, ty: CK_MECHANISM_TYPE, name: &'static str) -> Row {
        Row { params: ParamKind::MacLength, ..self.cmac(ty, name) }
    }

    const fn ecb_data(&self, ty: CK_MECHANISM_TYPE, name: &'static str) -> Row {
        Row { flags: CKF_DERIVE, params: ParamKind::Data, does: ENCRYPT_DATA, ..self.row(ty, name) }
    }

    const fn cbc_data(&self, ty: CK_MECHANISM_TYPE, name: &'static str) -> Row {
        Row { params: ParamKind::CbcData(self.block), ..self.ecb_data(ty, name) }
    }
}

macro_rules! rows {
    ($($family:ident: $($shape:ident $ty:ident),*;)*) => {
        pub const ROWS: &[Row] = &[$($($family.$shape($ty, stringify!($ty)),)*)*];
    };
}

rows! {
    DES: key_gen CKM_DES_KEY_GEN, ecb CKM_DES_ECB, cbc CKM_DES_CBC, cbc_pad CKM_DES_CBC_PAD,
        ecb_data CKM_DES_ECB_ENCRYPT_DATA, cbc_data CKM_DES_CBC_ENCRYPT_DATA;
    DES2_KEY: key_gen CKM_DES2_KEY_GEN;
    DES3_KEY: key_gen CKM_DES3_KEY_GEN;
    DES3: ecb CKM_DES3_ECB, cbc CKM_DES3_CBC, cbc_pad CKM_DES3_CBC_PAD, mac CKM_DES3_MAC,
        mac_general CKM_DES3_MAC_GENERAL, cmac CKM_DES3_CMAC, cmac_general CKM_DES3_CMAC_GENERAL,
        ecb_data CKM_DES3_ECB_ENCRYPT_DATA, cbc_data CKM_DES3_CBC_ENCRYPT_DATA;
    CAMELLIA: key_gen CKM_CAMELLIA_KEY_GEN, ecb CKM_CAMELLIA_ECB, cbc CKM_CAMELLIA_CBC, cbc_pad CKM_CAMELLIA_CBC_PAD,
        ctr CKM_CAMELLIA_CTR, mac CKM_CAMELLIA_MAC, mac_general CKM_CAMELLIA_MAC_GENERAL,
        ecb_data CKM_CAMELLIA_ECB_ENCRYPT_DATA, cbc_data CKM_CAMELLIA_CBC_ENCRYPT_DATA;
    ARIA: key_gen CKM_ARIA_KEY_GEN, ecb CKM_ARIA_ECB, cbc CKM_ARIA_CBC, cbc_pad CKM_ARIA_CBC_PAD,
        mac CKM_ARIA_MAC, mac_general CKM_ARIA_MAC_GENERAL,
        ecb_data CKM_ARIA_ECB_ENCRYPT_DATA, cbc_data CKM_ARIA_CBC_ENCRYPT_DATA;
    SEED: key_gen CKM_SEED_KEY_GEN, ecb CKM_SEED_ECB, cbc CKM_SEED_CBC, cbc_pad CKM_SEED_CBC_PAD,
        mac CKM_SEED_MAC, mac_general CKM_SEED_MAC_GENERAL,
        ecb_data CKM_SEED_ECB_ENCRYPT_DATA, cbc_data CKM_SEED_CBC_ENCRYPT_DATA;
}

pub(super) const ENCRYPT_DATA: Does = Does { derive: Some(encrypt_data), ..NOTHING };

pub(super) const fn begins(begin: Begin) -> Does {
    Does { begin: Some(begin), ..NOTHING }
}

/// For what neither pads nor takes a part of a block.
pub(super) const fn whole_blocks(begin: Begin, block: usize) -> Does {
    Does { wrap_multiple: block, ..begins(begin) }
}

/// A fresh key of 16, 24 or 32 bytes.
pub(super) fn generate_16_24_32(_: &'static Row, _: &Params, template: &Attributes) -> Result<Vec<Attribute>> {
    generate_value(template, |len| matches!(len, 16 | 24 | 32))
}

/// The cipher of a row, by the key type that it takes.
fn cipher_of(row: &Row) -> Result<Cipher> {
    Ok(match row.keys.first() {
        Some(&CKK_AES) => Cipher::Aes,
        Some(&CKK_DES) => Cipher::Des,
        Some(&CKK_DES3) => Cipher::TripleDes,
        Some(&CKK_CAMELLIA) => Cipher::Camellia,
        Some(&CKK_ARIA) => Cipher::Aria,
        Some(&CKK_SEED) => Cipher::Seed,
        _ => Err(Code::GeneralError)?,
    })
}

/// Encryption and wrapping, or the way back; `CKR_MECHANISM_INVALID` for another use.
pub(super) fn direction(what: Use) -> Result<Direction> {
    match what {
        Use::Encrypt => Ok(Direction::Encrypt),
        Use::Decrypt => Ok(Direction::Decrypt),
        _ => Err(Code::MechanismInvalid.into()),
    }
}

/// The code for a length of input that the mechanism does not take.
pub(super) fn bad_length(direction: Direction) -> Code {
    match direction {
        Direction::Encrypt => Code::DataLenRange,
        Direction::Decrypt => Code::EncryptedDataLenRange,
    }
}

/// An IV of exactly `N` bytes; `CKR_MECHANISM_PARAM_INVALID`.
pub(super) fn iv<const N: usize>(params: &Params) -> Result<[u8; N]> {
    match params {
        Params::Iv(iv) => Ok(iv.as_slice().try_into().map_err(|_| Code::MechanismParamInvalid)?),
        _ => Err(Code::MechanismParamInvalid.into()),
    }
}

/// An IV of a block of `len` bytes; `CKR_MECHANISM_PARAM_INVALID`.
fn iv_block(len: usize, params: &Params) -> Result<Block> {
    match params {
        Params::Iv(iv) => block_of(len, iv),
        _ => Err(Code::MechanismParamInvalid.into()),
    }
}

fn block_of(len: usize, iv: &[u8]) -> Result<Block> {
    let mut block = [0; MAX_BLOCK];
    if iv.len() != len {
        return Err(Code::MechanismParamInvalid.into());
    }
    block.get_mut(..len).ok_or(Code::GeneralError)?.copy_from_slice(iv);
    Ok(block)
}

macro_rules! begin_blocks {
    ($($begin:ident $mode:ident;)*) => {$(
        pub(super) fn $begin(
            row: &'static Row,
            what: Use,
            params: &Params,
            key: Option<&Arc<Key>>,
        ) -> Result<Box<dyn Operation>> {
            let (key, direction) = (SecretKey::of(key)?.block(cipher_of(row)?)?, direction(what)?);
            Ok(Box::new(block::BlockOperation::new(key, block::Mode::$mode, direction, params)?))
        }
    )*};
}

begin_blocks! {
    begin_ecb Ecb;
    begin_cbc Cbc;
    begin_cbc_pad CbcPad;
}

pub(super) fn begin_ctr(
    row: &'static Row,
    what: Use,
    params: &Params,
    key: Option<&Arc<Key>>,
) -> Result<Box<dyn Operation>> {
    // Both directions are one.
    direction(what)?;
    Ok(Box::new(counter::CounterOperation::new(SecretKey::of(key)?.block(cipher_of(row)?)?, params)?))
}

/// CBC-MAC: half a block, or as long as the parameters say.
pub(super) fn begin_mac(
    row: &'static Row,
    what: Use,
    params: &Params,
    key: Option<&Arc<Key>>,
) -> Result<Box<dyn Operation>> {
    let key = SecretKey::of(key)?.block(cipher_of(row)?)?;
    let block = key.block_len();
    let full = if row.params == ParamKind::MacLength { block } else { block / 2 };
    mac::begin_mac(BlockMac::new(key, Arc::new(Subkeys::none())), Length::of(row, full), what, params)
}

/// CMAC: a whole block, or as long as the parameters say.
pub(super) fn begin_cmac(
    row: &'static Row,
    what: Use,
    params: &Params,
    key: Option<&Arc<Key>>,
) -> Result<Box<dyn Operation>> {
    let (key, subkeys) = SecretKey::of(key)?.cmac(cipher_of(row)?)?;
    let length = Length::of(row, key.block_len());
    mac::begin_mac(BlockMac::new(key, subkeys), length, what, params)
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
    let key = SecretKey::of(Some(from.base))?.block(cipher_of(from.row)?)?;
    let block = key.block_len();
    let (chain, data): (Option<Block>, &[u8]) = match from.params {
        Params::Data(data) => (None, data),
        Params::CbcData { iv, data } => (Some(block_of(block, iv)?), data),
        _ => return Err(Code::MechanismParamInvalid.into()),
    };
    if data.is_empty() || !data.len().is_multiple_of(block) {
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
